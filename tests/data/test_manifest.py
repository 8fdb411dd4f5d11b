"""A table of images and its side file become domains, or an error that names the file, the row and the column."""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from jointreid.data.manifest import read_manifest, side_file, write_manifest
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError

HEADER = "domain,split,path,pid,camid\n"
GOOD = HEADER + "a,train,t.png,1,0\na,query,q.png,2,0\na,gallery,g.png,2,1\n"


def write(folder: Path, text: str | bytes, policies: object = None) -> Path:
    """Write a table, and its side file where policies are given."""
    path = folder / "table.csv"
    folder.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if policies is not None:
        side_file(path).write_text(policies if isinstance(policies, str) else json.dumps(policies))
    return path


def domain(folder: Path, text: str | bytes, policies: object = None) -> Domain:
    return read_manifest(write(folder, text, policies))["a"]


def test_rows_become_records_sorted_by_domain_and_path(tmp_path: Path) -> None:
    text = HEADER + "b,train,z/2.png,007,3\nb,train,z/1.png,7,10\na,gallery,g.png,x y,0\na,query,q.png,x y,2\n"
    domains = read_manifest(write(tmp_path, text))
    assert list(domains) == ["a", "b"]
    first, second = ImageRecord(tmp_path / "z/1.png", "7", 10), ImageRecord(tmp_path / "z/2.png", "007", 3)
    assert domains["b"] == Domain("b", train=(first, second), cameras=(3, 10))
    assert domains["b"].source == str(tmp_path / "table.csv")
    assert domains["a"].exclude_same_camera
    assert domains["a"].query[0].pid == "x y"


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    header, *rows = (GOOD + "a,train,u.png,3,lobby\n").splitlines(keepends=True)
    assert domain(tmp_path, header + "".join(rows)) == domain(tmp_path, header + "".join(reversed(rows)))


@pytest.mark.parametrize(
    ("rows", "camids", "cameras"),
    [
        (["3", "0", "10"], (3, 0, 10), (0, 3, 10)),
        (["3.0", "00", "10."], (3, 0, 10), (0, 3, 10)),
        (["lobby", "door", "lobby"], (1, 0, 1), (0, 1)),
        (["10", "9", "door"], (0, 1, 2), (0, 1, 2)),
        (["1234567890", "2", "2"], (0, 1, 1), (0, 1)),
    ],
)
def test_cameras_are_the_integers_or_ranks_over_all_splits(
    tmp_path: Path, rows: list[str], camids: tuple[int, ...], cameras: tuple[int, ...]
) -> None:
    splits = ("train", "query", "gallery")
    text = "".join(f"a,{split},{split}.png,1,{camera}\n" for split, camera in zip(splits, rows, strict=True))
    found = domain(tmp_path, HEADER + text)
    assert tuple(record.camid for record in found) == camids
    assert found.cameras == cameras


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ({"exclude_same_camera": False, "terms": "ask Jo"}, (False, (0, 1), "ask Jo")),
        ({"cameras": 4}, (True, (0, 1, 2, 3), "")),
        ({"cameras": [7, 1, 0]}, (True, (0, 1, 7), "")),
        ({"cameras": ["07", "1", 0]}, (True, (0, 1, 7), "")),
    ],
)
def test_side_file_states_policies(tmp_path: Path, policy: object, expected: tuple[bool, tuple[int, ...], str]) -> None:
    found = domain(tmp_path, GOOD, {"a": policy})
    assert (found.exclude_same_camera, found.cameras, found.terms) == expected


@pytest.mark.parametrize("other", ["cam1", "C01", "camera-1", "Camera 1"])
def test_cameras_written_in_two_ways_are_refused_unless_declared(tmp_path: Path, other: str) -> None:
    text = HEADER + f"a,train,t.png,1,1\na,train,u.png,1,{other}\n"
    with pytest.raises(JointreidError, match=f"domain a are written in several ways \\(1 and {other}\\)"):
        domain(tmp_path, text)
    assert domain(tmp_path, text, {"a": {"cameras": ["1", other]}}).cameras == (0, 1)


def test_declared_camera_names_fix_the_ranks(tmp_path: Path) -> None:
    text = HEADER + "a,train,t.png,1,lobby\n"
    assert domain(tmp_path, text).train[0].camid == 0
    found = domain(tmp_path, text, {"a": {"cameras": ["lobby", "attic", "door"]}})
    assert (found.train[0].camid, found.cameras) == (2, (0, 1, 2))
    named = domain(tmp_path, text, {"a": {"cameras": 3}})
    assert (named.train[0].camid, named.cameras) == (0, (0, 1, 2))


@pytest.mark.parametrize("column", [HEADER.strip(), "domain,split,path,pid"])
def test_without_camids_a_policy_is_asked_for(tmp_path: Path, column: str) -> None:
    end = "," if column.endswith("camid") else ""
    rows = f"a,query,q.png,1{end}\na,gallery,g.png,1{end}\nb,query,b.png,1{end}\n"
    policies = {"a": {"terms": "mine"}, "b": {"cameras": 1, "exclude_same_camera": False}}
    path = write(tmp_path, f"{column}\n{rows}", policies)
    with pytest.raises(JointreidError) as caught:
        read_manifest(path)
    message = str(caught.value)
    assert "no camera ids for a. " in message
    assert "--missing-camid one_camera" in message
    expected = Domain(
        "a",
        query=(ImageRecord(tmp_path / "q.png", "1", 0),),
        gallery=(ImageRecord(tmp_path / "g.png", "1", 0),),
        exclude_same_camera=False,
        cameras=(0,),
        terms="mine",
    )
    assert read_manifest(path, "one_camera")["a"] == expected
    # The message holds the side file to write: written as printed, it is enough.
    printed = message[message.index("{") : message.rindex("}") + 1]
    assert str(side_file(path)) in message
    side_file(path).write_text(printed)
    assert read_manifest(path)["a"] == expected


def test_camids_for_some_images_of_a_domain_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match=r"row 5, column camid: empty, as in 1 of the 4 rows of domain a"):
        domain(tmp_path, GOOD + "a,train,u.png,1,\n")


@pytest.mark.parametrize(
    "policy", [{"cameras": 1}, {"exclude_same_camera": False}, {"cameras": 1, "exclude_same_camera": True}]
)
def test_half_a_policy_is_not_enough_without_camids(tmp_path: Path, policy: object) -> None:
    with pytest.raises(JointreidError, match="no camera ids for a"):
        domain(tmp_path, "domain,split,path,pid\na,query,q.png,1\n", {"a": policy})


@pytest.mark.parametrize("policy", [{"cameras": 2}, {"exclude_same_camera": True}])
def test_one_camera_does_not_override_a_side_file(tmp_path: Path, policy: object) -> None:
    path = write(tmp_path, "domain,split,path,pid\na,query,q.png,1\n", {"a": policy})
    with pytest.raises(JointreidError, match="no camera ids for a"):
        read_manifest(path, "one_camera")


def test_one_camera_leaves_domains_with_cameras_alone(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + "b,train,b.png,1,\n")
    domains = read_manifest(path, "one_camera")
    assert (domains["a"].exclude_same_camera, domains["a"].cameras) == (True, (0, 1))
    assert (domains["b"].exclude_same_camera, domains["b"].cameras) == (False, (0,))


@pytest.mark.parametrize(
    ("policies", "words"),
    [
        ("{", "cannot be read as JSON"),
        ([], "expected"),
        ({"a": 1}, "expected"),
        ({"aa": {}}, "no domain aa; did you mean a?"),
        ({"zebra": {}}, "no domain zebra; there are a"),
        (
            {"a": {"exclude_same_cam": False}},
            "domain a: there is no key exclude_same_cam; did you mean exclude_same_camera?",
        ),
        ({"a": {"exclude_same_camera": 0}}, "exclude_same_camera is 0; expected true or false"),
        ({"a": {"cameras": 0}}, "cameras is 0"),
        ({"a": {"cameras": True}}, "cameras is True"),
        ({"a": {"cameras": []}}, r"cameras is \[\]"),
        ({"a": {"cameras": [0, 0]}}, r"cameras is \[0, 0\]"),
        ({"a": {"cameras": [0, "0"]}}, "cameras is"),
        ({"a": {"cameras": [0, -1]}}, "cameras is"),
        ({"a": {"cameras": [0, True]}}, "cameras is"),
        ({"a": {"terms": None}}, "terms is None; expected a text"),
        ({"a": {"root": "images"}}, "root is 'images'; expected an absolute folder"),
        ({"a": {"root": "../images"}}, "root is '../images'; expected an absolute folder"),
        ({"a": {"root": ""}}, "root is ''"),
        ({"a": {"root": "/x\0"}}, "root is"),
        ({"a": {"root": None}}, "root is None"),
        ({"a": {"cameras": 1}}, "row 4, column camid: camera 1 of domain a"),
        ({"a": {"cameras": [0, "door"]}}, "row 4, column camid: camera 1 of domain a"),
    ],
)
def test_faulty_side_files(tmp_path: Path, policies: object, words: str) -> None:
    with pytest.raises(JointreidError, match=words) as caught:
        domain(tmp_path, GOOD, policies)
    assert "table.domains.json" in str(caught.value)


def test_more_camera_names_than_declared(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match="camera lobby of domain a is not among"):
        domain(tmp_path, HEADER + "a,train,t.png,1,door\na,train,u.png,1,lobby\n", {"a": {"cameras": 1}})


def test_what_is_written_is_read_back_equal(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    plain = Domain("plain", train=(ImageRecord(tmp_path / "a,b/ü.png", "007", 4, timestamp=0.1 + 0.2),))
    rich = Domain(
        "rich",
        query=(ImageRecord(tmp_path / "q.png", 'a "b"', 0, box=(0, 1, 2, 3)),),
        gallery=(
            ImageRecord(tmp_path / "g.png", "x", 3, junk=True),
            ImageRecord(tmp_path / "h.png", "y\nz", 0, distractor=True),
        ),
        exclude_same_camera=False,
        cameras=(0, 1, 3),
        terms="für Forschung",
    )
    write_manifest([rich, plain], path)
    assert read_manifest(path) == {"plain": plain, "rich": rich}
    assert list(json.loads(side_file(path).read_text())) == ["rich"]
    assert not list(tmp_path.glob(".*"))

    write_manifest([plain], path)
    assert read_manifest(path) == {"plain": plain}
    assert path.read_text().splitlines()[0] == "domain,split,path,pid,camid,timestamp"
    assert not side_file(path).exists()


def test_a_root_is_where_the_images_of_a_domain_lie_and_its_source(tmp_path: Path) -> None:
    root = tmp_path / "far/away"
    path = write(tmp_path / "far", GOOD + "b,train,b.png,1,0\n", {"a": {"root": str(root), "terms": "mine"}})
    domains = read_manifest(path)
    assert {record.path for record in domains["a"]} == {root / "t.png", root / "q.png", root / "g.png"}
    assert domains["b"].train[0].path == tmp_path / "far/b.png"
    assert (domains["a"].source, domains["b"].source) == (str(root), str(path))
    with pytest.raises(
        JointreidError, match=r"row 2, column path: '\.\./t\.png' does not stay below .*away, the root of its"
    ):
        read_manifest(write(tmp_path / "far", HEADER + "a,train,../t.png,1,0\n"))
    side_file(path).unlink()
    with pytest.raises(JointreidError, match="does not stay below the table's folder"):
        read_manifest(write(tmp_path / "far", HEADER + f"a,train,{tmp_path}/away/t.png,1,0\n"))


def test_images_elsewhere_are_written_with_their_root(tmp_path: Path) -> None:
    path, root = tmp_path / "out/table.csv", tmp_path / "src"
    given = Domain("a", train=(ImageRecord(root / "x/t.png", "1", 0), ImageRecord(root / "u.png", "1", 1)))
    write_manifest([given], path, root=root)
    assert read_manifest(path) == {"a": given}
    assert json.loads(side_file(path).read_text()) == {"a": {"root": str(root)}}
    assert [line.split(",")[2] for line in path.read_text().splitlines()[1:]] == ["u.png", "x/t.png"]
    with pytest.raises(
        JointreidError, match=r"u\.png: lies outside .*src/x, the folder that paths of the manifest are relative to"
    ):
        write_manifest([given], path, root=root / "x")
    assert read_manifest(path) == {"a": given}


def test_relative_folders_are_written_as_they_are_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    given = Domain("a", train=(ImageRecord(Path("src/t.png"), "1", 0),))
    write_manifest([given], "table.csv")
    assert read_manifest("table.csv") == {"a": given}
    write_manifest([given], "../out/table.csv", root="src")
    assert read_manifest("../out/table.csv")["a"].train[0].path == tmp_path / "work/src/t.png"


@pytest.mark.parametrize("name", ["a\rb.png", "a\r\nb.png", 'a"b,c.png', " a.png", "a\u2028b.png", "\u3000a.png"])
def test_odd_letters_in_names_are_read_back(tmp_path: Path, name: str) -> None:
    given = Domain("d\re", train=(ImageRecord(tmp_path / name, "f\rg", 0),))
    write_manifest([given], tmp_path / "table.csv")
    assert read_manifest(tmp_path / "table.csv") == {"d\re": given}


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match="is not valid Unicode; rename"):
        write_manifest([Domain("a", train=(ImageRecord(tmp_path / "\udce9.png", "1", 0),))], tmp_path / "table.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("steps", range(8))
@pytest.mark.parametrize("terms", [("", "new"), ("old", ""), ("old", "new"), ("same", "same"), ("", "")])
def test_killed_at_any_step_a_table_has_its_own_side_file_or_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, terms: tuple[str, str]
) -> None:
    path = tmp_path / "table.csv"
    records = (ImageRecord(tmp_path / "t.png", "1", 0), ImageRecord(tmp_path / "u.png", "2", 1))
    old = Domain("a", query=records[:1], gallery=records[1:], terms=terms[0])
    new = Domain("a", query=records[1:], gallery=records[:1], terms=terms[1])
    write_manifest([old], path)

    left = [steps]

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: Any, **options: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return call(*arguments, **options)

        return step

    for owner, name in ((os, "replace"), (Path, "unlink"), (os, "fsync")):
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))
    with suppress(KeyboardInterrupt):
        write_manifest([new], path)
    monkeypatch.undo()
    # With one policy the table is replaced in one step; and done is done.
    if path.exists() or terms[0] == terms[1] or left[0] >= 0:
        assert read_manifest(path) in ({"a": old}, {"a": new})


def test_a_write_that_fails_leaves_the_old_table(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    inside = ImageRecord(tmp_path / "t.png", "1", 0)
    for domains, words in [
        ([Domain("a", train=(inside,)), Domain("b", train=(ImageRecord(Path("/x.png"), "1", 0),))], "lies outside"),
        ([Domain("a", train=(inside,)), Domain("a", train=(inside,))], "given twice"),
        ([Domain("a")], "has no images"),
    ]:
        with pytest.raises(JointreidError, match=words):
            write_manifest(domains, path)
        assert path.read_text() == GOOD
        assert sorted(file.name for file in tmp_path.iterdir()) == ["table.csv"]
    with pytest.raises(JointreidError, match="is written as"):
        write_manifest([Domain("a", train=(inside,))], tmp_path / "table.parquet")
    (tmp_path / "file").touch()
    with pytest.raises(JointreidError, match="cannot be written"):
        write_manifest([Domain("a", train=(ImageRecord(tmp_path / "file/t.png", "1", 0),))], tmp_path / "file/t.csv")
