"""Your own folder becomes a manifest that reads back, wherever the two lie, with a match for every query."""

import json
import os
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from jointreid.data.manifest import read_manifest, side_file
from jointreid.data.preflight import check
from jointreid.data.records import SPLITS, Domain
from jointreid.ingest import ingest
from jointreid.messages.errors import JointreidError


def build(root: Path, *names: str) -> Path:
    """Make images of 4 x 8 pixels, no two alike."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 8), (number, 0, 0)).save(root / name, "PNG")
    return root


def people(root: Path, count: int = 6) -> Path:
    """Make people seen by two cameras, two images each."""
    return build(root, *(f"p{n}/{k}_c{camera}_.png" for n in range(count) for camera in (1, 2) for k in (0, 1)))


def test_a_folder_becomes_a_manifest_that_passes_the_check(tmp_path: Path) -> None:
    source = people(tmp_path / "my shop")
    (source / "notes.docx").touch()
    summary = ingest(source, tmp_path / "out/m.csv")
    (domain,) = read_manifest(tmp_path / "out/m.csv").values()
    report, _ = check([domain], cache_dir=None)
    assert (report.ok, report.problems) == (True, ())
    assert domain.source == str(source)
    assert domain.name == summary.name == "my shop"
    held = {split: (found.ids, found.images, found.cameras) for split, found in summary.splits.items()}
    assert held == {"train": (3, 12, 2), "query": (3, 6, 2), "gallery": (3, 6, 2)}
    assert summary.splits == report.domains["my shop"].splits
    assert summary.drawn
    out = shlex.quote(str(tmp_path / "out/m.csv"))
    assert summary.render().splitlines() == [
        "my shop: layout imagefolder, identities split at random",
        "  train: 3 identities, 12 images, 2 cameras",
        "  query: 3 identities, 6 images, 2 cameras",
        "  gallery: 3 identities, 6 images, 2 cameras",
        "cameras: 2 cameras, from the file names, which count them from 1: "
        "matches from the query's own camera are ignored",
        "  camid 0 is c1, 1 is c2",
        "25 found = 24 kept + 1 left out:",
        "left out: 1 files that are no images (notes.docx)",
        f"wrote {tmp_path}/out/m.csv; the images stay in {source}",
        "  its side file names that folder: you may move the manifest, but not the images",
        f"Next: jointreid data check --manifest {out}",
    ]
    plain = json.loads(json.dumps(summary.to_dict()))
    assert (plain["found"], plain["kept"]) == (25, 24)
    assert (plain["manifest"], plain["source"], plain["layout"]) == (
        str(tmp_path / "out/m.csv"),
        str(source),
        "imagefolder",
    )
    assert plain["dropped"] == [{"reason": "files that are no images", "count": 1, "examples": ["notes.docx"]}]


@pytest.mark.parametrize(
    ("source", "out", "root"),
    [
        ("data/shop", "m.csv", False),
        ("data/shop", "data/shop/m.csv", False),
        ("data/shop", "out/deep/m.csv", True),
        ("data/shop", "data/shop/p0/m.csv", True),
        ("./data/../data/shop", "out/m.csv", True),
        ("{tmp}/data/shop", "m.csv", False),
        ("{tmp}/data/shop", "out/m.csv", True),
        ("data/shop", "{tmp}/out/m.csv", True),
    ],
)
def test_source_and_manifest_may_lie_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, out: str, root: bool
) -> None:
    people(tmp_path / "data/shop")
    monkeypatch.chdir(tmp_path)
    summary = ingest(source.format(tmp=tmp_path), out.format(tmp=tmp_path))
    assert summary.root == (str(tmp_path / "data/shop") if root else "")
    assert side_file(summary.manifest).exists() == root
    (tmp_path / "elsewhere").mkdir()
    domain = read_manifest(summary.manifest)["shop"]
    assert {record.path.resolve() for record in domain} == set((tmp_path / "data/shop").rglob("*.png"))


def test_with_a_root_the_manifest_can_be_moved(tmp_path: Path) -> None:
    summary = ingest(people(tmp_path / "shop"), tmp_path / "out/m.csv")
    before = read_manifest(summary.manifest)
    os.rename(tmp_path / "out", tmp_path / "moved")
    assert read_manifest(tmp_path / "moved/m.csv") == before
    assert all(record.path.is_file() for record in read_manifest(tmp_path / "moved/m.csv")[summary.name])


def test_unusual_names_are_kept(tmp_path: Path) -> None:
    folders = ["Zoë, A", 'b "c"', "d;e", "ff\rg", "山田 太郎", "=1+1", "h\ni"]
    source = build(tmp_path / "src", *(f"{folder}/ {k},ü.png" for folder in folders for k in (0, 1)))
    build(source, "p/ q.png", "p/r .png")
    (source / " s.png").touch()
    ingest(source, tmp_path / "m/m.csv", layout="imagefolder")
    domain = read_manifest(tmp_path / "m/m.csv")["src"]
    assert {record.pid for record in domain} == {*folders, "p"}
    assert {record.path for record in domain} == {path for path in source.rglob("*.png") if path.parent != source}
    ingest(build(tmp_path / "flat", " 1_c1.png", "1_c1.png", "1_c2.png", "2_c1.png", "2_c2.png"), tmp_path / "m/f.csv",
           layout="market", test_share=1)  # fmt: skip
    assert len(list(read_manifest(tmp_path / "m/f.csv")["flat"])) == 4


def test_a_path_that_begins_with_a_space_is_read_back(tmp_path: Path) -> None:
    source = build(tmp_path, *(f" x/{pid}/{k}.png" for pid in "abc" for k in "01"))
    ingest(source / " x", tmp_path / "m.csv", name="x")
    assert all(record.path.is_file() for record in read_manifest(tmp_path / "m.csv")["x"])


@pytest.mark.parametrize("folder", [" bob", "bob ", "-7"])
def test_names_that_cannot_be_identities_are_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(JointreidError, match=f"1 folders have names that cannot be identities in a table .'{folder}'"):
        ingest(build(people(tmp_path / "shop"), f"{folder}/1.png"), tmp_path / "m.csv")
    assert not (tmp_path / "m.csv").exists()


def test_the_same_call_writes_the_same_bytes_and_other_seeds_others(tmp_path: Path) -> None:
    source = people(tmp_path / "shop", 10)
    tables = []
    for number, seed in enumerate([0, 0, 1]):
        ingest(source, tmp_path / f"{number}.csv", seed=seed)
        tables.append((tmp_path / f"{number}.csv").read_bytes())
    assert tables[0] == tables[1] != tables[2]


def test_splits_are_kept_or_drawn(tmp_path: Path) -> None:
    names = [
        f"{split}/{pid}/{k}.png" for split, pids in (("train", "ab"), ("test", "bc")) for pid in pids for k in "012"
    ]
    source = build(tmp_path / "shop", *names)
    summary = ingest(source, tmp_path / "kept.csv")
    kept = read_manifest(tmp_path / "kept.csv")["shop"]
    assert (kept.train_pids, sorted({record.pid for record in kept.query})) == (("a", "b"), ["b", "c"])
    assert not summary.drawn
    assert "1 identities are in train and in query or gallery (b)" in summary.render()
    assert "splits taken from the folder" in summary.render()
    summary = ingest(source, tmp_path / "drawn.csv", split="draw", test_share=0.4)
    drawn = read_manifest(tmp_path / "drawn.csv")["shop"]
    assert not {record.pid for record in drawn.train} & {record.pid for record in drawn.gallery}
    assert len(list(drawn)) == len(names)
    assert (summary.drawn, len(drawn.query)) == (True, 1)


def test_boxes_of_tracks_become_images_of_the_manifest(tmp_path: Path) -> None:
    for name in ("a", "b"):
        build(tmp_path / "mot", *(f"{name}/img1/{frame}.png" for frame in range(1, 6)))
        (tmp_path / f"mot/{name}/gt").mkdir()
        rows = [f"{frame},{track},{track - 2},1,3,6,1,1,1\n" for frame in range(1, 6) for track in (1, 2)]
        (tmp_path / f"mot/{name}/gt/gt.txt").write_text("".join(rows) + f"1,3,0,0,{len(name)},2,0,1,1\n# "[:-2])
        (tmp_path / f"mot/{name}/seqinfo.ini").write_text(f"[Sequence]\nframeRate=2\nname={name}\n")
    with pytest.raises(JointreidError, match=r"no image is left: 10 boxes lower than 32 pixels; .*another \(b, as a\)"):
        ingest(tmp_path / "mot", tmp_path / "m.csv")
    with open(tmp_path / "mot/b/gt/gt.txt", "a") as file:
        file.write("2,3,0,0,4,8,0,1,1\n")
    summary = ingest(tmp_path / "mot", tmp_path / "m.csv", every=1, min_height=6)
    domain = read_manifest(tmp_path / "m.csv")["mot"]
    report, _ = check([domain], cache_dir=None)
    assert report.ok, report.problems
    assert summary.cameras == {0: "a", 1: "b"}
    assert not domain.exclude_same_camera
    assert {(record.pid[-1], record.box) for record in domain} == {("1", (0, 1, 2, 6)), ("2", (0, 1, 3, 6))}
    for query in domain.query:
        times = [record.timestamp for record in domain.gallery if record.pid == query.pid]
        assert query.timestamp is not None
        assert min(abs((time or 0) - query.timestamp) for time in times) >= 1
    assert "left out: 3 boxes marked as ignored (conf 0)" in summary.render()
    assert "people are told apart within a view, not across cameras" in summary.render()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layout": "imagefolders"}, "there is no layout imagefolders; did you mean imagefolder?"),
        ({"camera": "names"}, "there is no camera names; did you mean name?"),
        ({"split": "keep"}, "there is no split keep; there are auto, draw"),
        ({"test_share": 1.1}, "--test-share is 1.1; expected a number from 0 to 1"),
        ({"test_share": float("nan")}, "--test-share is nan"),
        ({"min_visibility": -1}, "--min-visibility is -1"),
        ({"every": 0}, "--every is 0; expected 1 or more"),
        ({"min_height": 0}, "--min-height is 0"),
        ({"name": ""}, "'' cannot be a domain's name"),
        ({"name": " x"}, "' x' cannot be a domain's name"),
    ],
)
def test_settings_are_checked_first(tmp_path: Path, options: Mapping[str, Any], words: str) -> None:
    with pytest.raises(JointreidError, match=words):
        ingest(people(tmp_path / "shop", 1), tmp_path / "m.csv", **options)
    assert not (tmp_path / "m.csv").exists()


def test_source_and_target_are_checked(tmp_path: Path) -> None:
    source = people(tmp_path / "shop")
    (tmp_path / "file").touch()
    for wrong in ("none", "file"):
        with pytest.raises(JointreidError, match=f"{wrong}: there is no such folder"):
            ingest(tmp_path / wrong, tmp_path / "m.csv")
    with pytest.raises(JointreidError, match=r"m\.parquet: a manifest is a \.csv file"):
        ingest(source, tmp_path / "m.parquet")
    with pytest.raises(JointreidError, match=r"file/m\.csv: cannot be written"):
        ingest(source, tmp_path / "file/m.csv")


def test_an_existing_table_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    source, out = people(tmp_path / "shop"), tmp_path / "out/m.csv"
    ingest(source, out)
    before = out.read_bytes()
    with pytest.raises(JointreidError, match=r"m.csv and .*m.domains.json: already there; .*--overwrite"):
        ingest(source, out, seed=1)
    assert out.read_bytes() == before
    ingest(source, out, seed=1, name="other", overwrite=True)
    assert list(read_manifest(out)) == ["other"]


def test_no_query_writes_nothing_and_names_the_folder(tmp_path: Path) -> None:
    source = build(tmp_path / "shop", "a/1_c1.png", "a/2_c1.png", "b/1_c2.png", "c/1_c2.png")
    with pytest.raises(JointreidError, match="none of the 3 identities was seen by two cameras") as caught:
        ingest(source, tmp_path / "m.csv")
    assert str(caught.value).startswith(f"{source}: ")
    assert not (tmp_path / "m.csv").exists()
    summary = ingest(source, tmp_path / "m.csv", camera="none")
    assert summary.notes[:2] == (
        "2 of 3 identities have one image: they go to train",
        "1 identities to test on instead of 2: two are left to train on",
    )
    assert [note[:42] for note in summary.notes[2:]] == ["the gallery shows one identity, a: any mod"]


# Any tree


def _imagefolder(pid: int, camera: int, number: int) -> str:
    return f"p{pid}/x_c{camera + 1}_{number}.png"


def _market(pid: int, camera: int, number: int) -> str:
    return f"{pid:04}_c{camera + 1}_{number}.png"


def _split(pid: int, camera: int, number: int) -> str:
    return f"{('train', 'query', 'gallery', 'gallery')[(pid + number) % 4]}/p{pid}/x_c{camera + 1}_{number}.png"


def _test(pid: int, camera: int, number: int) -> str:
    return f"{('train', 'test')[pid % 2]}/p{pid}/{camera}-{number}.png"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([_imagefolder, _market, _split, _test]),
    st.sets(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 2)), max_size=25),
    st.integers(0, 3),
)
def test_in_any_tree_every_query_has_a_match(
    tmp_path_factory: pytest.TempPathFactory,
    call: Callable[[int, int, int], str],
    images: set[tuple[int, int, int]],
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    (folder / "src").mkdir()
    source = build(folder / "src", *(call(*image) for image in images))
    try:
        summary = ingest(source, folder / "out/m.csv", seed=seed)
    except JointreidError:
        assert not (folder / "out").exists()
        return
    (domain,) = read_manifest(summary.manifest).values()
    report, _ = check([domain], cache_dir=None)
    faults = [problem.message for problem in report.problems if problem.level == "error"]
    # A split that is kept may lack train; nothing else may stand in the way.
    told = ("no images in train", "the gallery shows one identity")
    assert [fault for fault in faults if not any(words in fault for words in told)] == []
    assert _once(domain)
    assert len(list(domain)) + sum(dropped.count for dropped in summary.dropped) == len(images)


def _once(domain: Domain) -> bool:
    keys = [record.key for split in SPLITS for record in getattr(domain, split)]
    return len(keys) == len(set(keys))
