"""Drawn data sets: equal files for equal arguments, valid splits, identities that colour alone does not tell."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from jointreid.data.drawn import CAMERAS, draw_dataset
from jointreid.data.manifest import read_manifest
from jointreid.data.records import Domain, ImageRecord
from jointreid.errors import JointreidError


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def pixels(record: ImageRecord) -> NDArray[np.float64]:
    return np.asarray(Image.open(record.path), np.float64)


def test_equal_arguments_draw_equal_files_and_another_seed_other_images(tmp_path: Path) -> None:
    small = {"domains": 2, "train_ids": 2, "test_ids": 1, "height": 33, "width": 17}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        draw_dataset(tmp_path / name, seed=seed, **small)
    first, same, other = (files(tmp_path / name) for name in "abc")
    assert first == same
    assert first.keys() == other.keys()
    assert {path for path in first if first[path] == other[path]} == {"manifest.csv"}


def test_drawing_again_in_the_same_folder_gives_the_same(tmp_path: Path, tiny_manifest: Path) -> None:
    for _ in range(2):
        draw_dataset(tmp_path, train_ids=6, test_ids=4, height=32, width=16)
    assert files(tmp_path) == files(tiny_manifest.parent)


def test_splits_hold_what_was_asked_for(tiny_manifest: Path) -> None:
    domains = read_manifest(tiny_manifest)
    assert list(domains) == ["bricks", "meadow", "night"]
    for domain in domains.values():
        assert (len(domain.train), len(domain.query), len(domain.gallery)) == (6 * 6, 4 * CAMERAS, 4 * (6 - CAMERAS))
        assert domain.cameras == tuple(range(CAMERAS))
        assert len(domain.train_pids) == 6
        assert not set(domain.train_pids) & {record.pid for record in domain.query + domain.gallery}
        for query in domain.query:
            assert any(match.pid == query.pid and match.camid != query.camid for match in domain.gallery)
        assert {Image.open(record.path).size for record in domain} == {(16, 32)}


def test_a_camera_is_a_light_and_a_domain_a_background(tiny_manifest: Path) -> None:
    domains = read_manifest(tiny_manifest)
    for domain in domains.values():
        colours = [
            np.stack([pixels(record).mean((0, 1)) for record in domain if record.camid == camera])
            for camera in domain.cameras
        ]
        for one in range(CAMERAS):
            for other in range(one):
                between = np.linalg.norm(colours[one].mean(0) - colours[other].mean(0))
                assert between > np.linalg.norm(colours[one].std(0))
    corners = [np.mean([pixels(record)[0, 0] for record in domain], axis=0) for domain in domains.values()]
    assert min(np.linalg.norm(corners[a] - corners[b]) for a, b in ((0, 1), (0, 2), (1, 2))) > 40


def test_identities_differ_and_an_untrained_histogram_finds_only_some(tmp_path: Path) -> None:
    domains = read_manifest(draw_dataset(tmp_path, train_ids=1, test_ids=24)).values()
    rates = [first_match_rate(domain) for domain in domains]
    assert all(1 / 24 < rate < 0.95 for rate in rates), rates


def first_match_rate(domain: Domain) -> float:
    """Rank-1 of the cosine between histograms of 4x4x4 colours, channels standardised by image against the light."""

    def histogram(record: ImageRecord) -> NDArray[np.float64]:
        image = pixels(record)
        image = (image - image.mean((0, 1))) / image.std((0, 1))
        bins = (image + 2).clip(0, 3.99).astype(int) @ (16, 4, 1)
        counts = np.bincount(bins.ravel(), minlength=64)
        return np.asarray(counts / np.linalg.norm(counts))

    gallery = np.stack([histogram(record) for record in domain.gallery])
    hits = []
    for query in domain.query:
        similarity = gallery @ histogram(query)
        allowed = [not (r.pid == query.pid and r.camid == query.camid) for r in domain.gallery]
        best = int(np.argmax(np.where(allowed, similarity, -1)))
        hits.append(domain.gallery[best].pid == query.pid)
    return float(np.mean(hits))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"domains": 4}, "domains is 4; expected 1 to 3"),
        ({"domains": 0}, "domains is 0"),
        ({"images_per_id": 5}, "images_per_id is 5; expected 6 or more"),
        ({"test_ids": 0}, "train_ids and test_ids is .24, 0.; expected 1 or more each"),
        ({"train_ids": 990}, "expected 1000 together at most"),
        ({"height": 8}, "height and width is .8, 32.; expected at least 16 pixels each"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_anything_is_written(
    tmp_path: Path, arguments: dict[str, int], message: str
) -> None:
    with pytest.raises(JointreidError, match=message):
        draw_dataset(tmp_path / "new", **arguments)
    assert not (tmp_path / "new").exists()
