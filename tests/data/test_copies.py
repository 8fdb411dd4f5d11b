"""Test images that training has seen, and copies inside a test split, are found by content, whatever their names."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jointreid.data.decode import scan_images
from jointreid.data.findings import CheckResult, Purpose
from jointreid.data.preflight import check
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.remembered import content_hashes
from jointreid.data.run_images import load_images, run_images, save_images
from jointreid.data.trained import TrainedImages

Change = Callable[[Image.Image], Image.Image]
CHANGES: dict[str, tuple[Change, str]] = {
    "same bytes": (lambda image: image, "png"),
    "re-encoded": (lambda image: image, "jpg"),
    "larger": (lambda image: image.resize((96, 160), Image.Resampling.BICUBIC), "jpg"),
    "smaller": (lambda image: image.resize((24, 40), Image.Resampling.BICUBIC), "png"),
    "mirrored": (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), "jpg"),
}


def _draw(seed: int) -> Image.Image:
    """Return a picture of smooth colours, another for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 3, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((48, 80), Image.Resampling.BICUBIC)


def _save(folder: Path, seeds: Iterable[int], change: str = "same bytes") -> list[ImageRecord]:
    """Write pictures; an even seed and the next show one identity, at cameras 0 and 1."""
    folder.mkdir(parents=True)
    turn, suffix = CHANGES[change]
    records: list[ImageRecord] = []
    for seed in seeds:
        path = folder / f"{len(records):03}.{suffix}"
        turn(_draw(seed)).save(path, quality=80)
        records.append(ImageRecord(path, f"{folder.name}{seed // 2}", seed % 2))
    return records


def _domain(name: str, query: list[ImageRecord], gallery: list[ImageRecord], rule: bool = True) -> Domain:
    return Domain(name, query=tuple(query), gallery=tuple(gallery), exclude_same_camera=rule)


def _check(*domains: Domain, purpose: Purpose = "evaluate", trained: TrainedImages | None = None) -> CheckResult:
    return check(domains, cache_dir=None, purpose=purpose, trained=trained)[0]


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_evaluated_on_its_train_images_is_refused_and_on_a_few_is_told(change: str, tmp_path: Path) -> None:
    train, run = _save(tmp_path / "train", range(8)), tmp_path / "run"
    run.mkdir()
    whole, _ = check([Domain("shop", train=tuple(train))], cache_dir=None, purpose="train")
    assert whole.ok
    scan = scan_images([record.path for record in train], None, 1)
    save_images(run_images("shop", "train", train, content_hashes(scan.sizes, None, 1), scan.looks), run)
    trained = TrainedImages.of_run(load_images(run))
    seen = _save(tmp_path / "seen", range(8), change)
    new = _save(tmp_path / "new", range(100, 120))
    result = _check(_domain("again", seen[::2], seen[1::2]), trained=trained)
    assert not result.ok
    assert "again: 8 images of query or gallery are" in result.problems[0].message
    assert "4 of 4 queries and 4 of 4 gallery images" in result.problems[0].message
    result = _check(_domain("mixed", new[::2], [*new[1::2], *seen[1:3]]), trained=trained)
    assert result.ok
    (mark,) = result.marks["mixed"]
    assert mark.endswith("of train images of the run (0 of 10 queries and 2 of 12 gallery images)")
    assert _check(_domain("new", new[::2], new[1::2]), trained=trained).problems == ()


@pytest.mark.parametrize("change", CHANGES)
def test_a_query_set_that_is_the_gallery_under_other_names_is_refused(change: str, tmp_path: Path) -> None:
    query = _save(tmp_path / "a" / "p", range(0, 12, 2))
    gallery = _save(tmp_path / "b" / "p", range(0, 12, 2), change)
    result = _check(_domain("shop", query, gallery, rule=False))
    assert [problem.level for problem in result.problems] == ["error"]
    assert "6 of 6 queries have" in result.problems[0].message
    assert "copies of themselves among their matches" in result.problems[0].message
    assert (
        _check(_domain("shop", query, gallery)).problems[0].message.startswith("shop: 6 of 6 queries have matches from")
    )


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_under_another_identity_is_told(change: str, tmp_path: Path) -> None:
    people = _save(tmp_path / "p", range(20))
    (copy,) = _save(tmp_path / "q", [4], change)
    result = _check(_domain("shop", people[::2], [*people[1::2], copy]))
    (problem,) = result.problems
    assert (problem.level, problem.mark.endswith("copies of themselves under another identity")) == ("warning", True)


def test_two_domains_with_the_same_test_images_are_told(tmp_path: Path) -> None:
    a, b = _save(tmp_path / "a" / "p", range(8)), _save(tmp_path / "b" / "p", range(8))
    (problem,) = _check(_domain("a", a[::2], a[1::2]), _domain("b", b[::2], b[1::2])).problems
    assert "b: 8 of 8 test images are those of a: the same images count twice in every mean" in problem.message


def test_test_images_that_are_a_part_of_anothers_are_told_in_either_order(tmp_path: Path) -> None:
    few, many = _save(tmp_path / "a" / "p", range(8)), _save(tmp_path / "b" / "p", range(30))
    domains = _domain("few", few[::2], few[1::2]), _domain("many", many[::2], many[1::2])
    for order in (domains, domains[::-1]):
        told = [problem.message for problem in _check(*order).problems]
        assert any("few: 8 of 8 test images are those of many" in text for text in told)


def test_a_gallery_of_one_identity_cannot_be_failed(tmp_path: Path) -> None:
    people = _save(tmp_path / "p", range(2))
    domain = _domain("shop", people[:1], people[1:])
    (problem,) = _check(domain).problems
    assert (problem.level, problem.mark) == ("error", "every answer is right, so any model gets 100")
    train = tuple(_save(tmp_path / "t", range(50, 54)))
    both = Domain("shop", train=train, query=domain.query, gallery=domain.gallery)
    assert _check(both, purpose="both").marks["shop"] == ("every answer is right, so any model gets 100",)


def test_a_gallery_with_few_wrong_answers_is_told(tmp_path: Path) -> None:
    people = _save(tmp_path / "p", range(4))
    more = [ImageRecord(r.path, people[0].pid, 1) for r in _save(tmp_path / "q", range(60, 64))]
    (problem,) = _check(_domain("shop", people[:1], [people[1], people[3], *more])).problems
    assert (problem.level, problem.mark) == ("warning", "guessing gets a Rank-1 of 83%")


def test_a_single_look_alike_is_chance_and_equal_bytes_never_are(tmp_path: Path) -> None:
    images = _save(tmp_path / "new", range(40))
    query, gallery = images[::2], images[1::2]
    for change, told in (("mirrored", False), ("same bytes", True)):
        (copy,) = _save(tmp_path / change.replace(" ", "-"), [0], change)
        same = replace(copy, pid="new0", camid=5)
        problems = _check(_domain("shop", query, [*gallery, same])).problems
        assert bool(problems) == told, problems
