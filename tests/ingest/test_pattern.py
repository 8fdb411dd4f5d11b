"""A pattern says what each level and each part of a name means, and what is wrong in one is said."""

from pathlib import Path

import pytest

from jointreid.ingest.images import Omissions
from jointreid.ingest.layouts import read_layout
from jointreid.ingest.mot import BoxChoice
from jointreid.ingest.pattern import Pattern
from jointreid.messages.errors import JointreidError


@pytest.mark.parametrize(
    ("pattern", "path", "fields"),
    [
        ("{camera}/{pid}/{frame}.jpg", "cam1/0001/7.JPG", {"camera": "cam1", "pid": "0001", "frame": "7"}),
        ("{camera}/{pid}/{frame}.jpg", "cam1/0001/7.png", None),
        ("{camera}/{pid}/{frame}", "cam1/0001/7.png", {"camera": "cam1", "pid": "0001", "frame": "7"}),
        ("{camera}/{pid}/{frame}", "0001/7.png", None),
        ("{pid}_{camera}_{frame}.jpg", "0001_c001_0016_0.jpg", {"pid": "0001", "camera": "c001", "frame": "0016_0"}),
        ("{pid:4}{camera:3}.png", "0001002.png", {"pid": "0001", "camera": "002"}),
        ("{pid:4}C{camera}T{track}F{frame}", "0001C1T0002F003.jpg",
         {"pid": "0001", "camera": "1", "track": "0002", "frame": "003"}),
        ("*/{pid}/{_}_{camera}.*", "x/bob/1_c2.bmp", {"pid": "bob", "camera": "c2"}),
        ("{pid}/**/{frame}", "bob/1.jpg", {"pid": "bob", "frame": "1"}),
        ("{pid}/**/{frame}", "bob/a/b/1.jpg", {"pid": "bob", "frame": "1"}),
        ("./p (1)/{pid}+{frame}", "p (1)/a+b.jpg", {"pid": "a", "frame": "b"}),
        ("{split}/{pid}/{sequence}/{frame}", "train/Zoë/t1/1.jpg",
         {"split": "train", "pid": "Zoë", "sequence": "t1", "frame": "1"}),
    ],
)  # fmt: skip
def test_fields_are_found(pattern: str, path: str, fields: dict[str, str] | None) -> None:
    assert Pattern(pattern).match(path) == fields


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("{camera}/{frame}.jpg", r"has no \{pid\}; say where the person's name or number is"),
        ("{cam}/{pid}", "there is no field cam; did you mean camera"),
        ("{pid}/{pid}.jpg", r"has \{pid\} twice"),
        ("{pid}{camera}/{frame}", r"nothing between \{camera\} and the field before; say a width"),
        ("{pid", r"has a single \{"),
        ("{pid:x}/{frame}", "has the width 'x'"),
        ("/data/{pid}/{frame}", "expected a path below the folder"),
        ("../{pid}/{frame}", "expected a path below the folder"),
        ("{pid}//{frame}", "has an empty level"),
    ],
)
def test_a_wrong_pattern_is_refused(pattern: str, words: str) -> None:
    with pytest.raises(JointreidError, match=words) as caught:
        Pattern(pattern)
    assert f"--pattern {pattern}: " in str(caught.value)


def test_images_that_do_not_fit_are_counted_and_if_none_does_it_is_refused(tmp_path: Path) -> None:
    for name in ("cam1/a/1.jpg", "cam2/a/1.jpg", "loose.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    omissions = Omissions()
    found = read_layout(tmp_path, "auto", "auto", BoxChoice(), omissions, "{camera}/{pid}/{frame}.jpg")
    assert [str(dropped) for dropped in omissions.listed()] == [
        "1 images that do not fit {camera}/{pid}/{frame}.jpg (loose.jpg)"
    ]
    assert (found.cameras, found.exclude_same_camera) == ({1: "cam1", 2: "cam2"}, True)
    with pytest.raises(
        JointreidError, match=r"none of 3 images fits --pattern \{pid\}/x/\{frame\}; the first are cam1"
    ):
        read_layout(tmp_path, "auto", "auto", BoxChoice(), Omissions(), "{pid}/x/{frame}")
    with pytest.raises(JointreidError, match="--layout market and --pattern"):
        read_layout(tmp_path, "market", "auto", BoxChoice(), Omissions(), "{pid}/{frame}")
    with pytest.raises(JointreidError, match=r"--camera name: --pattern \*/\{pid\}/\{frame\} has no \{camera\}"):
        read_layout(tmp_path, "auto", "name", BoxChoice(), Omissions(), "*/{pid}/{frame}")
