"""Files found = images kept + files left out, each with its reason, for every reader, suffix and split."""

import json
from pathlib import Path

import pytest
from PIL import Image

from jointreid.config import DataConfig
from jointreid.data.findings import render
from jointreid.data.preflight import check
from jointreid.data.records import Domain
from jointreid.data.sources import load_domains

MARKET = (
    "bounding_box_train/0001_c1s1_000001_00.jpg",
    "bounding_box_train/0001_c2s1_000001_00.jpg",
    "bounding_box_train/0000_c1s1_000002_00.jpg",
    "bounding_box_train/-1_c1s1_000003_00.jpg",
    "bounding_box_train/0003_c1s1_000004_00.png",
    "bounding_box_train/more/0004_c1s1_000005_00.jpg",
    "bounding_box_train/Thumbs.db",
    "query/0005_c1s1_000006_00.jpg",
    "query/0000_c1s1_000007_00.jpg",
    "query/._0005_c1s1_000006_00.jpg",
    "bounding_box_test/0005_c2s1_000008_00.jpg",
    "bounding_box_test/0000_c2s1_000009_00.jpg",
    "bounding_box_test/-1_c2s1_000010_00.JPG",
    "gt_bbox/0001_c1s1_000001_00.jpg",
    "readme.txt",
)
DUKE = (
    "bounding_box_train/0001_c1_f0000001.jpg",
    "bounding_box_train/0001_c2_f0000002.jpeg",
    "query/0005_c1_f0000003.jpg",
    "bounding_box_test/0005_c2_f0000004.jpg",
    "CITATION.txt",
)
MSMT17 = (
    "train/0000/0000_000_01_0303morning_0008_0.jpg",
    "train/0000/0000_001_02_0303morning_0009_0.jpg",
    "train/0001/0001_000_01_0303morning_0008_0.jpg",
    "test/0000/0000_000_01_0303morning_0008_0.jpg",
    "test/0000/0000_001_02_0303morning_0008_1.jpg",
    "test/0000/0000_002_02_0303morning_0008_2.jpg",
    "list_train.txt",
    "list_val.txt",
    "list_query.txt",
    "list_gallery.txt",
)
SYSU = (
    *(f"train/00001_s1_000000{n}_0.jpg" for n in range(4)),
    "train/00002_s1_0000009_0.jpg",
    "query/00003_s2_0000001_0.jpg",
    "gallery/00003_s3_0000002_0.png",
    "gallery/00003_s3_0000002_0.bmp",
    "combine/00001_s1_0000000_0.jpg",
)
CUHK03 = (
    "images_labeled/1_001_1_01.png",
    "images_labeled/1_001_2_06.png",
    "images_labeled/1_002_1_01.png",
    "images_labeled/1_003_1_01.png",
    "images_labeled/1_003_2_01.png",
    "images_detected/1_001_1_01.png",
    "splits_new_labeled.json",
)

# reader -> files, and (reason, split, count, by the data set's rule) of those left out.
JUNK, ZERO = (
    "junk images (pid -1)",
    "images of pid 0, which means distractor in this layout and is for the gallery only",
)
EXPECTED = {
    "market1501": (
        MARKET,
        {
            (JUNK, "gallery", 1, True),
            (JUNK, "train", 1, True),
            (ZERO, "query", 1, False),
            (ZERO, "train", 1, False),
            ("files that are no images", "", 1, True),
            ("files that are no images", "train", 1, True),
            ("files whose names begin with a dot", "query", 1, True),
            ("images in folders inside that of a split", "train", 1, False),
            ("images outside the folders of the splits", "", 1, True),
            ("images that end in .png, which is not read here", "train", 1, False),
        },
    ),
    "shop": (
        MARKET,
        {
            (JUNK, "gallery", 1, True),
            (JUNK, "train", 1, True),
            (ZERO, "query", 1, False),
            (ZERO, "train", 1, False),
            ("files that are no images", "", 1, True),
            ("files that are no images", "train", 1, True),
            ("files whose names begin with a dot", "query", 1, True),
            ("images in folders inside that of a split", "train", 1, False),
            ("images outside the folders of the splits", "", 1, False),
        },
    ),
    "dukemtmc": (
        DUKE,
        {
            ("files that are no images", "", 1, True),
            ("images that end in .jpeg, which is not read here", "train", 1, False),
        },
    ),
    "msmt17": (
        MSMT17,
        {
            ("files that are no images", "", 4, True),
            ("images of list_val.txt, which the paper does not train on", "", 1, True),
            ("images that no list names", "", 1, False),
        },
    ),
    "cuhk_sysu": (
        SYSU,
        {
            ("images of identities with fewer than 4, as in the paper", "train", 1, True),
            ("images outside the folders of the splits", "", 1, True),
            ("images that end in .bmp, which is not read here", "gallery", 1, False),
        },
    ),
    "cuhk03": (
        CUHK03,
        {
            ("files that are no images", "", 1, True),
            ("images of other boxes than the labeled ones", "", 1, True),
            ("images that splits_new_labeled.json does not name", "", 1, False),
        },
    ),
}  # fmt: skip


def build(root: Path, name: str) -> Path:
    for number, path in enumerate(EXPECTED[name][0]):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        if Path(path).suffix.lower() in (".txt", ".db", ".json") or Path(path).name.startswith("."):
            (root / path).touch()
        else:
            Image.new("RGB", (4, 8), (number * 9, 0, 0)).save(root / path)
    lists = {
        "train": "0000/0000_000_01_0303morning_0008_0.jpg 0\n0000/0000_001_02_0303morning_0009_0.jpg 0\n",
        "val": "0001/0001_000_01_0303morning_0008_0.jpg 1\n",
        "query": "0000/0000_000_01_0303morning_0008_0.jpg 0\n",
        "gallery": "0000/0000_001_02_0303morning_0008_1.jpg 0\n",
    }
    if name == "msmt17":
        for part, text in lists.items():
            (root / f"list_{part}.txt").write_text(text)
    if name == "cuhk03":
        split = {
            "train": [["x/1_001_1_01.png", 1, 0], ["x/1_001_2_06.png", 1, 1]],
            "query": [["x/1_003_1_01.png", 3, 0]],
            "gallery": [["x/1_003_2_01.png", 3, 1]],
        }
        (root / "splits_new_labeled.json").write_text(json.dumps([split]))
    return root


def read(root: Path, name: str) -> Domain:
    (domain,) = load_domains(DataConfig(sources=(f"{name}={build(root, name)}",), acknowledge_withdrawn=True))
    return domain


@pytest.mark.parametrize("name", EXPECTED)
def test_files_found_are_images_kept_and_files_left_out(tmp_path: Path, name: str) -> None:
    domain = read(tmp_path, name)
    found = sum(path.is_file() for path in tmp_path.rglob("*"))
    assert found == len(EXPECTED[name][0])
    assert len(list(domain)) + sum(omission.count for omission in domain.omissions) == found
    assert {(each.reason, each.split, each.count, each.by_rule) for each in domain.omissions} == EXPECTED[name][1]
    assert all(len(omission.examples) == min(3, omission.count) for omission in domain.omissions)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_check_tells_all_and_warns_of_what_no_rule_explains(tmp_path: Path, name: str) -> None:
    domain = read(tmp_path, name)
    result, _ = check([domain], cache_dir=None)
    text = render(result)
    total = len(EXPECTED[name][0])
    kept = len(list(domain))
    assert f"{total} files found = {kept} images kept + {total - kept} left out:" in text
    for reason, split, count, by_rule in EXPECTED[name][1]:
        assert f"  left out: {count} {reason} (" in text
        warnings = [problem for problem in result.problems if f"left out: {count} {reason}" in problem.message]
        assert bool([w for w in warnings if w.message.count(f", in {split};" if split else ");")]) == (not by_rule)
    plain = json.loads(json.dumps(result.to_dict()))["domains"][domain.name]
    assert plain["images"] + sum(each["count"] for each in plain["left_out"]) == total


def test_a_split_that_is_a_link_is_counted_too(tmp_path: Path) -> None:
    build(tmp_path / "a", "market1501")
    (tmp_path / "a/query").rename(tmp_path / "elsewhere")
    (tmp_path / "a/query").symlink_to(tmp_path / "elsewhere")
    (domain,) = load_domains(DataConfig(sources=(f"market1501={tmp_path / 'a'}",)))
    assert len(list(domain)) + sum(omission.count for omission in domain.omissions) == len(MARKET)
