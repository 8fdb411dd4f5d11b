"""The contact sheet: a few people of each domain, one after the other, their cameras in turn."""

import io
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from jointreid.data.records import Domain, ImageRecord
from jointreid.synthetic.sheet import contact_sheet

pytestmark = pytest.mark.slow  # its kernels are compiled first

HEIGHT, WIDTH = 40, 20
TITLE, ABREAST, PEOPLE, SHOTS, GAP = 22, 2, 6, 6, 2


def domain(folder: Path, name: str, shots: Mapping[int, Iterable[int]], cameras: int = 3) -> Domain:
    """People by number, each with the cameras of their shots; a shot is 50 * camera red and 20 * person green."""
    records = []
    for pid, camids in shots.items():
        for number, camid in enumerate(camids):
            path = folder / f"{name}-{pid}-{number}.png"
            Image.new("RGB", (WIDTH, HEIGHT), (50 * camid, 20 * pid, 0)).save(path)
            records.append(ImageRecord(path, str(pid), camid))
    return Domain(name, train=tuple(records), cameras=tuple(range(cameras)))


def opened(domains: list[Domain]) -> NDArray[np.int64]:
    with Image.open(io.BytesIO(contact_sheet(domains))) as image:
        assert image.format == "JPEG"
        return np.asarray(image.convert("RGB")).astype(np.int64)


def shown(sheet: NDArray[np.int64], index: int = 0) -> list[list[int]]:
    """The cameras of each person's shots on the sheet, of the domain at that place; people must be the right ones."""
    people = []
    for number in range(PEOPLE):
        row, column = divmod(number, ABREAST)
        top = index * (TITLE + PEOPLE // ABREAST * (HEIGHT + GAP)) + TITLE + row * (HEIGHT + GAP)
        cameras = []
        for shot in range(SHOTS):
            left = column * (SHOTS * (WIDTH + GAP) + 4 * GAP) + shot * (WIDTH + GAP)
            red, green, blue = sheet[top + 4 : top + HEIGHT - 4, left + 4 : left + WIDTH - 4].mean((0, 1))
            if blue < 128:  # white where nothing is
                assert green == pytest.approx(20 * (number + 1), abs=8)
                cameras.append(round(red / 50))
        people.append(cameras)
    return people


def test_cameras_come_in_turn_and_people_one_after_the_other(tmp_path: Path) -> None:
    seen = [0, 0, 0, 1, 1, 1, 2, 2]
    sheet = opened([domain(tmp_path, "shop", dict.fromkeys(range(1, 9), seen))])
    assert sheet.shape == (TITLE + 3 * (HEIGHT + GAP), 2 * (SHOTS * (WIDTH + GAP) + 4 * GAP), 3)
    assert shown(sheet) == [[0, 1, 2, 0, 1, 2]] * PEOPLE


def test_people_with_few_shots_come_last(tmp_path: Path) -> None:
    # Numbered in the order in which they are to be shown.
    shots = {3: [0], 1: [2] * 7, 2: [0, 1]}
    assert shown(opened([domain(tmp_path, "shop", shots)])) == [[2] * SHOTS, [0, 1], [0], [], [], []]


def test_each_domain_has_a_part_of_its_own(tmp_path: Path) -> None:
    domains = [domain(tmp_path, "shop", {1: [0, 1]}), domain(tmp_path, "park", {1: [2] * 6, 2: [1] * 6})]
    sheet = opened(domains)
    assert [shown(sheet, index)[:2] for index in (0, 1)] == [[[0, 1], []], [[2] * 6, [1] * 6]]


def test_the_title_says_how_many_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    monkeypatch.setattr("PIL.ImageDraw.ImageDraw.text", lambda self, place, text, *_: titles.append(text))
    contact_sheet(
        [domain(tmp_path, "shop", {1: [0], 2: [0]}, 1), domain(tmp_path, "park", {pid: [0, 1] for pid in range(9)})]
    )
    assert titles == ["shop: 1 camera, 2 people", "park: 3 cameras, 6 people"]
