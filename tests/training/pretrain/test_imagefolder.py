"""Folders of classes."""

from pathlib import Path

import pytest

from jointreid.messages.errors import JointreidError
from jointreid.training.pretrain.imagefolder import read_image_folder


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_classes_are_numbered_in_the_order_of_their_names(tmp_path: Path) -> None:
    touch(tmp_path, "train/n02/b.JPEG", "train/n02/deep/a.png", "train/n01/x.jpg", "val/n02/y.webp", "val/n01/z.tif")
    touch(tmp_path, "train/n01/Thumbs.db", "train/n01/.hidden.jpg", "train/.cache/x.jpg", "train/readme.txt")
    touch(tmp_path, "train/n01/.thumbs/x.png", "train/n01/folder.jpg/readme.txt")
    folder = read_image_folder(tmp_path)
    assert folder.classes == ("n01", "n02")
    assert [path.name for path in folder.train.paths] == ["x.jpg", "b.JPEG", "a.png"]
    assert folder.train.labels == (0, 1, 1)
    assert folder.val.labels == (0, 1)
    assert len(folder.val) == 2


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train/a/1.jpg"], r"val: no such folder; expected train/CLASS/\* and val/CLASS/\* below"),
        (["train/a/1.jpg", "val/a/1.jpg"], "train holds 1 class; expected a folder each for two or more"),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/c/1.jpg"],
            r"train and val have different classes: b \(only in train\), c \(only in val\)",
        ),
        (
            ["train/a/1.jpg", "train/b/1.jpg", "val/a/1.txt", "val/b/1.jpg"],
            r"val: no images in a \(1 of 2 classes\); expected files that end in \.jpg",
        ),
    ],
)
def test_folders_that_cannot_be_learnt_from_are_refused(names: list[str], expected: str, tmp_path: Path) -> None:
    touch(tmp_path, *names)
    with pytest.raises(JointreidError, match=expected):
        read_image_folder(tmp_path)
