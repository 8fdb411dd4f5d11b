"""The pre-flight finds what would stop a run, names it, and passes what is sound."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from jointreid.data.findings import CheckResult, Purpose, render
from jointreid.data.manifest import read_manifest, write_manifest
from jointreid.data.preflight import check
from jointreid.data.protocols import TABLE_I, SplitCounts, identify
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError

OMNIGLOT = Path(__file__).parents[3] / "shared" / "data" / "omniglot" / "manifest.csv"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with 60 small images, `00.png` to `59.png`."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(60):
        Image.new("L", (6, 9), number).save(folder / f"{number:02}.png")
    return folder


class Builder:
    """Makes domains whose records take the next unused image."""

    def __init__(self, folder: Path) -> None:
        self.paths: Iterator[Path] = iter(sorted(folder.iterdir()))

    def records(self, labels: str) -> tuple[ImageRecord, ...]:
        """Read `"a0 a1 b0"` as pid a at camera 0, pid a at camera 1, pid b at camera 0."""
        return tuple(ImageRecord(next(self.paths), label[0], int(label[1:])) for label in labels.split())

    def domain(
        self, train: str = "a0 a1 b0 b1", query: str = "x0 y0", gallery: str = "x1 y1", exclude_same_camera: bool = True
    ) -> Domain:
        return Domain(
            "shop",
            train=self.records(train),
            query=self.records(query),
            gallery=self.records(gallery),
            exclude_same_camera=exclude_same_camera,
            source="table.csv",
        )


@pytest.fixture
def build(images: Path) -> Builder:
    return Builder(images)


def inspect(*domains: Domain, purpose: Purpose = "both") -> CheckResult:
    return check(domains, cache_dir=None, purpose=purpose)[0]


def levels(result: CheckResult) -> list[str]:
    return [problem.level for problem in result.problems]


def test_sound_data_pass_without_a_word(build: Builder) -> None:
    domain = build.domain()
    result, checked = check([domain], cache_dir=None)
    assert (result.ok, result.problems, result.unreadable, checked) == (True, (), (), (domain,))
    summary = result.domains["shop"]
    assert (summary.source, summary.cameras, summary.exclude_same_camera, summary.protocol) == (
        "table.csv",
        2,
        True,
        None,
    )
    held = {split: (counts.ids, counts.images, counts.cameras) for split, counts in summary.splits.items()}
    assert held == {"train": (2, 4, 2), "query": (2, 2, 1), "gallery": (2, 2, 1)}


# One flaw each in a sound domain: what changes, the camera rule, the findings and what the first must say.
# Without a query or a gallery there is a second one: no domain to evaluate on.
FLAWS: dict[str, tuple[dict[str, str], bool, list[str], tuple[str, ...]]] = {
    "no train": ({"train": ""}, True, ["error"], ("shop (table.csv)", "no images in train")),
    "no query": ({"query": ""}, True, ["error", "error"], ("no images in query", "evaluation needs both")),
    "no gallery": ({"gallery": ""}, True, ["error", "error"], ("no images in gallery", "evaluation needs both")),
    "identity not in gallery": (
        {"query": "x0 y0 z0"},
        True,
        ["error"],
        ("1 of 3 queries", "the gallery does not hold", "pid z camid 0", "add gallery images"),
    ),
    "identity not in gallery, every camera counting": (
        {"query": "x0 z0"},
        False,
        ["error"],
        ("1 of 2 queries", "the gallery does not hold", "pid z camid 0"),
    ),
    "matches from the own camera only": (
        {"query": "x0 y0", "gallery": "x0 x0 y1"},
        True,
        ["error"],
        ("1 of 2 queries", "their own camera only", "pid x camid 0", '"exclude_same_camera": false'),
    ),
    "one image of an identity": (
        {"train": "a0 a1 b0 b1 c1"},
        True,
        ["warning"],
        ("1 of 3 train identities have one image (c)", "repeating"),
    ),
    "one identity": ({"train": "a0 a1"}, True, ["warning"], ("train holds one identity, a",)),
    "camera with one identity": (
        {"train": "a0 a1 b0 b1 b2"},
        True,
        ["warning"],
        ("1 of 3 cameras in train hold one identity (camid 2)",),
    ),
    "identity in train and test": (
        {"train": "a0 a1 x0 x1"},
        True,
        ["warning"],
        ("1 identities are in train and in query or gallery (x)", "split by identity"),
    ),
}


@pytest.mark.parametrize("name", FLAWS)
def test_each_flaw_is_found_and_nothing_else(build: Builder, name: str) -> None:
    changed, exclude_same_camera, expected, words = FLAWS[name]
    result = inspect(build.domain(**changed, exclude_same_camera=exclude_same_camera))
    assert levels(result) == expected
    assert result.ok is ("error" not in expected)
    message = result.problems[0].message
    assert message.startswith("shop")
    assert [word for word in words if word not in message] == []


def test_own_camera_matches_count_without_the_camera_rule(build: Builder) -> None:
    assert inspect(build.domain(query="x0", gallery="x0 y0", exclude_same_camera=False)).problems == ()


def test_junk_and_distractors_are_no_matches(build: Builder) -> None:
    domain = build.domain(query="x0", gallery="x1 y1")
    match, another = domain.gallery
    for other in (replace(match, junk=True), replace(match, distractor=True)):
        result = inspect(replace(domain, gallery=(other, another)))
        assert "1 of 1 queries show an identity that the gallery does not hold" in result.problems[0].message
    junk_query = replace(build.records("z0")[0], junk=True)
    result = inspect(replace(domain, query=(*domain.query, junk_query)))
    assert (result.ok, result.domains["shop"].splits["query"].junk) == (True, 1)
    assert not inspect(replace(domain, query=(junk_query,))).ok
    result = inspect(replace(domain, query=(replace(domain.query[0], distractor=True),)))
    assert "1 of 1 queries show an identity that the gallery does not hold" in result.problems[0].message


def test_five_queries_are_named_and_the_others_counted(build: Builder) -> None:
    domain = build.domain(query="x0 " + "z0 " * 8)
    message = inspect(domain).problems[0].message
    named = [record for record in domain.query if f"pid {record.pid} camid {record.camid} {record.path}" in message]
    assert len(named) == 5
    assert "8 of 9 queries" in message
    assert "and 3 more" in message


@pytest.mark.parametrize(
    ("domains", "purpose", "expected"),
    [
        ([{}], "both", []),
        ([{"query": "", "gallery": ""}, {}], "both", ["warning"]),
        ([{"query": "", "gallery": ""}], "both", ["error", "warning"]),
        ([{"query": "", "gallery": ""}], "train", []),
        ([{"query": "z0"}], "train", []),
        ([{"query": "", "gallery": ""}, {}], "evaluate", ["error"]),
        ([{"train": ""}, {}], "evaluate", []),
        ([{"train": "a0"}], "evaluate", []),
        ([{"train": ""}, {}], "train", ["error"]),
        ([{"train": ""}, {}], "both", ["error"]),
    ],
)
def test_the_purpose_decides_what_is_needed(
    build: Builder, domains: list[dict[str, Any]], purpose: Purpose, expected: list[str]
) -> None:
    built = [replace(build.domain(**changed), name=f"d{number}") for number, changed in enumerate(domains)]
    assert levels(inspect(*built, purpose=purpose)) == expected


def test_an_image_in_train_and_in_test_is_an_error(build: Builder) -> None:
    domain = build.domain()
    leaked = replace(domain.train[0], pid="x", camid=1)
    result = inspect(replace(domain, gallery=(*domain.gallery, leaked)))
    assert levels(result) == ["error"]
    assert f"1 images are in train and in query or gallery (pid x camid 1 {leaked.path})" in render(result)


def test_two_boxes_of_one_file_are_two_images(build: Builder) -> None:
    domain = build.domain()
    left, right = replace(domain.train[0], box=(0, 0, 3, 9)), replace(domain.query[0], path=domain.train[0].path)
    both = replace(domain, train=(left, *domain.train[1:]), query=(replace(right, box=(3, 0, 3, 9)), domain.query[1]))
    assert inspect(both).problems == ()


@pytest.mark.parametrize(
    ("exclude_same_camera", "changed", "expected"),
    [
        (True, {}, "warning"),
        (False, {}, "error"),
        (True, {"camid": 1}, "error"),
        (True, {"pid": "y"}, "error"),
        (False, {"junk": True}, None),
    ],
)
def test_a_query_in_the_gallery(
    build: Builder, exclude_same_camera: bool, changed: dict[str, Any], expected: str | None
) -> None:
    domain = build.domain(exclude_same_camera=exclude_same_camera)
    twin = replace(domain.query[0], **changed)
    result = inspect(replace(domain, gallery=(*domain.gallery, twin)))
    assert levels(result) == ([expected] if expected else [])
    if expected:
        assert f"1 query images are in the gallery too (pid x camid 0 {twin.path})" in result.problems[0].message


def test_unreadable_images_are_named_or_skipped(build: Builder, images: Path) -> None:
    domain = build.domain(train="a0 a1 b0 b1 c0 c1", query="x0 z0", gallery="x1 z1")
    cut, box, gone = domain.train[4], domain.gallery[0], domain.gallery[1]
    cut.path.write_bytes(cut.path.read_bytes()[:40])
    gone.path.unlink()
    domain = replace(domain, gallery=(replace(box, box=(4, 0, 3, 9)), gone))

    result, same = check([domain], cache_dir=None)
    assert (result.ok, same) == (False, (domain,))
    causes = {found.path: found.cause for found in result.unreadable}
    assert causes.keys() == {str(cut.path), str(box.path), str(gone.path)}
    assert causes[str(box.path)] == "the box (4, 0, 3, 9) reaches to 7, 9, but the image is 6 x 9 pixels"
    assert causes[str(gone.path)] == "no such file"
    assert causes[str(cut.path)]
    (problem,) = result.problems
    for word in ("3 images cannot be read", f"{gone.path}: no such file", str(cut.path), "--skip-unreadable"):
        assert word in problem.message

    # Without them c has one image, and neither query has a match.
    result, (cleaned,) = check([domain], cache_dir=None, skip_unreadable=True)
    assert cleaned == replace(domain, train=tuple(r for r in domain.train if r != cut), gallery=())
    assert cleaned.cameras == domain.cameras
    assert len(result.unreadable) == 3
    text = render(result)
    for word in (
        "3 images cannot be read",
        "skipped",
        "no images in gallery",
        "1 of 3 train identities have one image",
    ):
        assert word in text


def test_skipping_can_leave_data_that_are_sound(build: Builder) -> None:
    domain = build.domain(gallery="x1 y1 x1")
    domain.gallery[2].path.write_bytes(b"")
    assert not inspect(domain).ok
    result, (cleaned,) = check([domain], cache_dir=None, skip_unreadable=True)
    assert (result.ok, levels(result), len(cleaned.gallery)) == (True, ["warning"], 2)
    assert result.domains["shop"].splits["gallery"].images == 2


def test_another_protocol_than_the_papers_is_one_warning(build: Builder) -> None:
    result = inspect(replace(build.domain(), name="msmt17", variant="V1"))
    (problem,) = result.problems
    assert (result.ok, problem.level, problem.domain) == (True, "warning", "msmt17")
    assert problem.message == (
        "msmt17: part of MSMT17: 4 of 30,248 train images, 2 of 11,659 query images and 2 of 82,161 gallery images; "
        "V1; figures are not comparable with the paper's"
    )
    summary = result.domains["msmt17"]
    assert summary.variant == "V1"
    assert summary.protocol is not None
    assert len(summary.protocol.differences) == 4
    assert "not as in the paper: train: 2 identities and 4 images (the paper: 1,041 identities and 3" in render(result)


def test_skipping_an_image_does_not_change_the_protocol_that_was_read(build: Builder) -> None:
    domain = replace(build.domain(gallery="x1 y1 x1"), name="market1501")
    domain.gallery[2].path.write_bytes(b"")
    result, (cleaned,) = check([domain], cache_dir=None, skip_unreadable=True)
    assert (len(cleaned.gallery), result.domains["market1501"].splits["gallery"].images) == (2, 2)
    assert result.domains["market1501"].protocol == identify(domain) != identify(cleaned)


def test_data_in_the_papers_protocol_are_no_warning(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    two = SplitCounts(2, 2)
    small = replace(TABLE_I["market1501"], train=SplitCounts(2, 4), query=two, gallery=two, cameras=2)
    monkeypatch.setitem(TABLE_I, "market1501", small)
    result = inspect(replace(build.domain(), name="market1501"))
    assert result.problems == ()
    assert (
        "  protocol: Market-1501, distractors in the gallery and no junk (the paper's)" in render(result).splitlines()
    )


def test_that_data_were_withdrawn_is_always_said(build: Builder) -> None:
    result = inspect(replace(build.domain(), name="dukemtmc", terms="Why it was withdrawn."))
    assert "dukemtmc: Why it was withdrawn." in [problem.message for problem in result.problems]
    assert result.ok


def test_a_second_check_decodes_nothing(build: Builder, tmp_path: Path) -> None:
    domain = build.domain()
    first, _ = check([domain], cache_dir=tmp_path / "cache")
    second, _ = check([domain], cache_dir=tmp_path / "cache")
    assert (first.decoded, first.from_cache, second.decoded, second.from_cache) == (8, 0, 0, 8)
    domain.train[0].path.write_bytes(b"damaged")
    third, _ = check([domain], cache_dir=tmp_path / "cache")
    assert (third.ok, third.decoded, third.from_cache) == (False, 0, 7)


def test_a_box_of_an_image_known_from_the_cache_is_still_checked(build: Builder, tmp_path: Path) -> None:
    domain = build.domain()
    check([domain], cache_dir=tmp_path)
    outside = replace(domain.train[0], box=(0, 0, 6, 10))
    result, _ = check([replace(domain, train=(outside, *domain.train[1:]))], cache_dir=tmp_path)
    assert (result.from_cache, len(result.unreadable)) == (8, 1)


def test_several_domains_are_reported_together(build: Builder) -> None:
    flawed = build.domain(train="a0 a1 b0 b1 c0", query="x0 z0")
    sound = replace(build.domain(exclude_same_camera=False), name="a", source="")
    result = inspect(flawed, sound)
    assert [(problem.level, problem.domain) for problem in result.problems] == [("error", "shop"), ("warning", "shop")]
    assert (result.decoded, result.from_cache, result.unreadable) == (17, 0, ())
    assert list(result.domains) == ["shop", "a"]
    assert (result.domains["a"].exclude_same_camera, result.domains["a"].source) == (False, "")


def test_nothing_to_check_is_refused() -> None:
    with pytest.raises(JointreidError, match="no domains"):
        check([], cache_dir=None)


def alphabets(folder: Path) -> dict[str, Domain]:
    """The four domains of handwritten characters, or where they are not at hand, drawn ones of the same shape."""
    if OMNIGLOT.exists():
        return read_manifest(OMNIGLOT)
    domains = []
    random = np.random.default_rng(0)
    for name, (train, test) in {"e": (43, 44), "r": (25, 25), "h": (19, 20), "i": (33, 33)}.items():
        (folder / name).mkdir()
        records = []
        for number in range((train + test) * 20):
            pid, camid = divmod(number, 20)
            path = folder / name / f"{number}.png"
            Image.fromarray(random.random((105, 105)) < 0.5).save(path)
            records.append(ImageRecord(path, str(pid), camid))
        test_records = records[train * 20 :]
        query = tuple(record for record in test_records if record.camid % 5 == 0)
        gallery = tuple(record for record in test_records if record.camid % 5)
        domains.append(Domain(name, train=tuple(records[: train * 20]), query=query, gallery=gallery))
    write_manifest(domains, folder / "manifest.csv")
    return read_manifest(folder / "manifest.csv")


@pytest.mark.slow
def test_four_real_domains_pass_and_the_second_check_opens_no_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    domains = list(alphabets(tmp_path).values())
    result, _ = check(domains, cache_dir=tmp_path / "cache")
    assert (result.ok, result.problems, result.decoded) == (True, (), 4_840)
    assert [summary.cameras for summary in result.domains.values()] == [20] * 4
    assert sum(counts.images for summary in result.domains.values() for counts in summary.splits.values()) == 4_840

    def never(path: object, *_: object) -> None:
        raise AssertionError(f"{path} was opened again")

    monkeypatch.setattr(Image, "open", never)
    monkeypatch.setattr(hashlib, "file_digest", never)
    again, _ = check(domains, cache_dir=tmp_path / "cache")
    assert (again.ok, again.decoded, again.from_cache) == (True, 0, 4_840)
