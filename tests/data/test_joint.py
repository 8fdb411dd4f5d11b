import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jointreid.data.joint import JointTrainSet, join
from jointreid.data.label_space import DomainLabels, LabelSpace
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError

TABLE_I = {"market1501": 6, "cuhk_sysu": 1, "dukemtmc": 8, "cuhk03": 2, "msmt17": 15}


def domain(name: str, people: dict[str, list[int]], cameras: tuple[int, ...] = ()) -> Domain:
    """One image a (pid, camid)."""
    train = tuple(
        ImageRecord(Path(f"{name}/{pid}_{camid}.jpg"), pid, camid) for pid, camids in people.items() for camid in camids
    )
    return Domain(name, train, cameras=cameras)


def shifted(**changes: Any) -> LabelSpace:
    """The label space of two domains, with fields of the first or of the whole replaced."""
    space = LabelSpace((DomainLabels("a", ("1", "2"), (0, 4), 0, 0), DomainLabels("b", ("1",), (0,), 2, 2)))
    whole = {key: value for key, value in changes.items() if key == "camera_ids"}
    first = {key: value for key, value in changes.items() if key != "camera_ids"}
    return replace(space, domains=(replace(space.domains[0], **first), *space.domains[1:]), **whole)


def test_the_example_of_figure_3() -> None:
    joint = join([domain("d0", {"1": [0, 1, 2]}), domain("d1", {"1": [0]}), domain("d2", {"1": [0, 1]})])
    assert joint.global_camids.tolist() == [0, 1, 2, 3, 4, 5]
    assert joint.domain_ids.tolist() == [0, 0, 0, 1, 2, 2]
    assert joint.labels.tolist() == [0, 0, 0, 1, 2, 2]


def test_the_cameras_of_table_i_make_32() -> None:
    # Each train split shows one camera only: the counts come from the definition of the data set.
    space = join(
        domain(name, {"7": [count - 1]}, cameras=tuple(range(count))) for name, count in TABLE_I.items()
    ).label_space
    assert [entry.camera_offset for entry in space.domains] == [0, 6, 7, 15, 17]
    assert (space.num_cameras, space.num_domains, space.num_ids) == (32, 5, 5)
    assert space.global_camid("msmt17", 14) == 31
    assert space.domain_id("dukemtmc") == 2


def test_gaps_in_camera_ids_never_collide() -> None:
    joint = join([domain("a", {"1": [0, 7]}), domain("b", {"1": [3]})])
    assert joint.global_camids.tolist() == [0, 1, 2]
    assert joint.label_space.num_cameras == 3


def test_cameras_of_query_and_gallery_have_a_class() -> None:
    a = Domain("a", (ImageRecord(Path("1"), "1", 2),), query=(ImageRecord(Path("q"), "9", 1),))
    assert join([a]).global_camids.tolist() == [1]
    assert join([a]).label_space.global_camid("a", 1) == 0


def test_equal_pids_of_two_domains_are_two_people() -> None:
    joint = join([domain("a", {"0002": [0], "0010": [0]}), domain("b", {"0002": [0]})])
    assert joint.labels.tolist() == [0, 1, 2]
    assert joint.label_space.label("a", "0002") == 0
    assert joint.label_space.label("b", "0002") == 2
    assert joint.label_space.num_ids == 3


def test_pids_rank_as_strings() -> None:
    joint = join([domain("a", {"10": [0], "9": [0], "-3": [0]})])
    assert joint.label_space.domains[0].pids == ("-3", "10", "9")


def test_samples_run_parallel_to_the_arrays() -> None:
    joint = join([domain("a", {"x": [0, 7], "y": [7]}), domain("b", {"x": [3], "w": [5]})])
    assert len(joint) == 5
    for i, sample in enumerate(joint.samples):
        name = joint.label_space.domains[sample.domain_id].name
        assert sample.record.path.parent.name == name
        assert joint.labels[i] == sample.label == joint.label_space.label(name, sample.record.pid)
        assert (
            joint.global_camids[i] == sample.global_camid == joint.label_space.global_camid(name, sample.record.camid)
        )
        assert joint.domain_ids[i] == sample.domain_id
    assert not joint.labels.flags.writeable
    assert joint.labels is joint.labels


def test_the_order_of_the_images_does_not_matter() -> None:
    # Numbers are ranks among sorted values, so no set or dict order (PYTHONHASHSEED) can reach them either.
    def joined(step: int) -> JointTrainSet:
        a = domain("a", {str(pid): [pid % 3, 5] for pid in range(30)})
        return join([replace(a, train=a.train[::step]), domain("b", {"3": [1]})])

    forward, backward = joined(1), joined(-1)
    assert forward == backward
    assert forward.labels.tolist() == backward.labels.tolist()
    assert forward.label_space.hash == backward.label_space.hash


def test_local_camera_ids_are_shared_by_rank() -> None:
    joint = join([domain("a", {"1": [0, 7]}), domain("b", {"1": [3, 4, 9]})], camera_ids="local")
    assert joint.global_camids.tolist() == [0, 1, 0, 1, 2]
    assert joint.label_space.num_cameras == 3
    assert joint.labels.tolist() == [0, 0, 1, 1, 1]


@pytest.mark.parametrize(
    ("domains", "message"),
    [
        ([], "at least one domain"),
        ([domain("a", {"1": [0]}), domain("a", {"2": [0]})], "two domains are called a;"),
        ([domain("a", {"1": [0]}), Domain("empty")], "empty: has no train images"),
    ],
)
def test_join_refuses(domains: list[Domain], message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        join(domains)


def test_what_is_not_in_the_label_space_is_named() -> None:
    space = shifted()
    with pytest.raises(JointreidError, match="there is no domain c; there are a, b"):
        space.label("c", "1")
    with pytest.raises(JointreidError, match="b: pid '2' is not"):
        space.label("b", "2")
    with pytest.raises(JointreidError, match="a: camid 3 is not"):
        space.global_camid("a", 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"label_offset": 1}, "a: label_offset and camera_offset are 1 and 0; expected 0 and 0"),
        ({"camera_offset": -1}, "a: label_offset and camera_offset are 0 and -1; expected 0 and 0"),
        ({"pids": ("2", "1")}, "a: pids are empty, unsorted or not distinct"),
        ({"pids": ("1", "1")}, "a: pids are empty, unsorted or not distinct"),
        ({"cameras": ()}, "a: cameras are empty, unsorted or not distinct"),
        ({"cameras": (4, 0)}, "a: cameras are empty, unsorted or not distinct"),
        ({"cameras": (0, 0)}, "a: cameras are empty, unsorted or not distinct"),
        ({"name": "b"}, "two domains are called b"),
        ({"camera_ids": "local"}, "b: label_offset and camera_offset are 2 and 2; expected 2 and 0"),
        ({"camera_ids": "shared"}, "camera_ids is 'shared'; expected one of global, local"),
    ],
)
def test_a_label_space_that_contradicts_itself_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        shifted(**changes)


def test_domains_of_equal_names_are_listed_in_order() -> None:
    names = ["e", "d", "c", "b", "a"]
    with pytest.raises(JointreidError, match="two domains are called a, b, c, d, e; give each"):
        join([domain(name, {"1": [0]}) for name in [*names, *names]])


def test_the_hash_changes_with_anything() -> None:
    base = [domain("a", {"1": [0], "2": [0]}), domain("b", {"1": [0]})]
    variants = [
        join(base),
        join(base, camera_ids="local"),
        join(base[::-1]),
        join(base[:1]),
        join([replace(base[0], name="c"), base[1]]),
        join([domain("a", {"1": [0], "3": [0]}), base[1]]),
        join([domain("a", {"1": [0], "2": [1]}), base[1]]),
        join([replace(base[0], cameras=(0, 2)), base[1]]),
        join([domain("a", {"1": [0]}), domain("b", {"1": [0], "2": [0]})]),
    ]
    assert len({joint.label_space.hash for joint in variants}) == len(variants)
    assert all(len(joint.label_space.hash) == 64 for joint in variants)


@pytest.mark.parametrize("camera_ids", ["global", "local"])
def test_round_trip(camera_ids: Any, tmp_path: Path) -> None:
    odd = "räum \udc80"  # a byte of a file name that is not UTF-8
    space = join([domain("a", {odd: [0, 7], "2": [3]}), domain("b", {odd: [1]})], camera_ids).label_space
    assert LabelSpace.from_dict(space.to_dict()) == space
    space.save(tmp_path / "labels.json")
    assert LabelSpace.load(tmp_path / "labels.json") == space
    assert [path.name for path in tmp_path.iterdir()] == ["labels.json"]


def test_a_tampered_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    shifted().save(path)
    plain = json.loads(path.read_text())
    plain["domains"][0]["pids"][1] = "3"
    path.write_text(json.dumps(plain))
    with pytest.raises(JointreidError, match=r"labels\.json: the hash is .* changed after it was saved"):
        LabelSpace.load(path)


def test_a_file_of_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    join([domain("a", {"1": [0]})]).label_space.save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 99}))
    with pytest.raises(JointreidError, match=r"labels\.json: its format version is 99.*update"):
        LabelSpace.load(path)


def test_the_hash_is_that_of_the_json_with_sorted_keys() -> None:
    space = join([domain("b", {"1": [0, 2]})]).label_space
    numbers = '{"camera_offset":0,"cameras":[0,2],"label_offset":0,"name":"b","pids":["1"]}'
    canonical = f'{{"camera_ids":"global","domains":[{numbers}]}}'
    assert space.hash == hashlib.sha256(canonical.encode()).hexdigest()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"hash": "0"}', "\x00"])
def test_a_file_that_is_no_label_space_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(text)
    with pytest.raises(JointreidError, match=r"labels\.json: "):
        LabelSpace.load(path)


def test_files_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match=r"none\.json: cannot be read: it is not there; expected a label space"):
        LabelSpace.load(tmp_path / "none.json")
    (tmp_path / "file").touch()
    with pytest.raises(JointreidError, match=r"labels\.json: cannot write the label space: "):
        shifted().save(tmp_path / "file" / "labels.json")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("camera_ids",), None, "label space.camera_ids is None; expected str"),
        (("domains",), {}, r"label space.domains is \{\}; expected list"),
        (("domains", 1), 3, r"domains\[1\]: expected an object with the keys name, .*; found int"),
        (("domains", 0, "label_offset"), True, r"domains\[0\].label_offset is True; expected int"),
        (("domains", 0, "pids", 1), 2, r"domains\[0\].pids\[1\] is 2; expected str"),
        (("domains", 0, "cameras", 0), 0.0, r"domains\[0\].cameras\[0\] is 0.0; expected int"),
        (("domains", 0, "colour"), "red", r"domains\[0\]: expected an object with the keys .*; found .*colour"),
    ],
)
def test_from_dict_names_the_wrong_field(path: tuple[Any, ...], value: object, message: str) -> None:
    plain = shifted().to_dict()
    place: Any = plain
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(JointreidError, match=message):
        LabelSpace.from_dict(plain)
