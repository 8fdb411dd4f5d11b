"""A run remembers its images by content, wherever their files lie and whatever they are called."""

from dataclasses import replace
from pathlib import Path

import pytest

from jointreid.data.records import ImageRecord
from jointreid.data.run_images import IMAGES, RunImage, load_images, require_same_images, run_images, save_images
from jointreid.messages.errors import JointreidError


def images(domain: str = "shop", folder: str = "/old") -> tuple[RunImage, ...]:
    records = [
        ImageRecord(Path(folder, "1.jpg"), "ann", 0),
        ImageRecord(Path(folder, "2.jpg"), "bob", 1, box=(1, 2, 3, 4)),
        ImageRecord(Path(folder, "3.jpg"), "nobody", 1, distractor=True),
    ]
    contents = {record.path: f"{number:032x}" for number, record in enumerate(records)}
    return run_images(domain, "gallery", records, contents)


def test_images_come_back_and_those_of_another_domain_stay(tmp_path: Path) -> None:
    assert load_images(tmp_path) == ()
    save_images(images(), tmp_path)
    assert load_images(tmp_path) == images()
    save_images(images("street"), tmp_path)
    save_images(images()[:1], tmp_path)
    assert load_images(tmp_path) == (*images("street"), *images()[:1])


def test_other_folders_names_and_orders_are_the_same_images() -> None:
    require_same_images(images(), images(folder="/new")[::-1], Path("run"), "")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"content": "f" * 32}, r"shop, gallery: 1 of the run are not among them \(/old/1\.jpg\) and 1 are not of"),
        ({"pid": "eve"}, "1 are not of the run"),
        ({"camid": 7}, "1 are not of the run"),
        ({"box": "0 0 1 1"}, "1 are not of the run"),
        ({"distractor": True}, "1 are not of the run"),
    ],
)
def test_another_image_is_refused_by_name(changed: dict[str, object], expected: str) -> None:
    other = (replace(images()[0], **changed), *images()[1:])  # type: ignore[arg-type]
    with pytest.raises(JointreidError, match=expected) as error:
        require_same_images(images(), other, Path("run"), "Give it another name")
    assert str(error.value).endswith("Give it another name")


def test_an_image_twice_is_not_one_image() -> None:
    with pytest.raises(JointreidError, match=r"1 are not of the run \(/old/1\.jpg\)"):
        require_same_images(images(), (*images(), images()[0]), Path("run"), "")


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    save_images(images(), tmp_path)
    content = (tmp_path / IMAGES).read_bytes()
    (tmp_path / IMAGES).write_bytes(content[: len(content) // 2])
    with pytest.raises(JointreidError, match=r"images\.parquet is damaged"):
        load_images(tmp_path)
