"""Camera pairs, look-alikes and candidates on a few vectors whose answers are plain."""

import math
from pathlib import Path

import numpy as np
import pytest

from jointreid.conflict.candidates import find_candidates
from jointreid.conflict.neighbours import camera_pairs, cross_domain
from jointreid.data.records import ImageRecord


def image(pid: str, camid: int, name: str = "") -> ImageRecord:
    return ImageRecord(Path(f"{name or pid}-{camid}.jpg"), pid, camid)


def direction(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


def test_errors_are_counted_by_the_asking_and_the_searched_camera() -> None:
    # Person a looks the same in both cameras; b in camera 1 looks like a.
    records = [image("a", 0), image("a", 1), image("b", 0), image("b", 1)]
    features = np.array([direction(0), direction(5), direction(90), direction(30)])
    found = camera_pairs(features, records, same_camera=False)
    assert found.cameras == (0, 1)
    assert found.queries.tolist() == [[0, 2], [2, 0]]
    assert found.error[0, 1] == 0.0  # a's 0 is nearest to a's 5; b's 90 is nearest to b's 30
    assert found.error[1, 0] == 0.5  # b's 30 is nearest to a's 0
    assert math.isnan(found.error[0, 0])


def test_an_image_asks_its_own_camera_where_that_counts() -> None:
    records = [image("a", 0, "x"), image("a", 0, "y"), image("b", 0)]
    features = np.array([direction(0), direction(40), direction(30)])
    found = camera_pairs(features, records, same_camera=True)
    assert found.queries.tolist() == [[2]]
    assert found.error.tolist() == [[1.0]]  # b is nearer to both


def test_images_of_two_domains_that_are_alike_come_first() -> None:
    records = [image("1", 0), image("1", 1), image("2", 0), image("1", 0), image("1", 1)]
    domains = ["east", "east", "east", "west", "west"]
    features = np.array([direction(0), direction(10), direction(100), direction(12), direction(60)])
    found = cross_domain(features, records, domains, shown=3)
    # Equal pids of two domains are two people; each is shown once, so the pair of 10 and 12 degrees is all.
    first = found.hardest[0]
    assert (first.a, first.b) == (("east", records[1]), ("west", records[3]))
    assert first.similarity == pytest.approx(math.cos(math.radians(2)))
    assert len(found.hardest) == 1
    # East: 10 is nearer to 12 (west) than to 0; 0 is nearest to 10; 100 is nearest to 60 (west).
    assert found.foreign_first == {"east": pytest.approx(2 / 3), "west": pytest.approx(1.0)}
    # With a match: of east 0 (10 away, west at 12) and 10 (10 away, west at 2); of west both.
    assert found.foreign_nearer == {"east": 0.5, "west": 1.0}


def test_a_wrong_label_and_a_shared_person_are_candidates() -> None:
    records = [
        *(image("a", camera, "a") for camera in range(3)),
        *(image("b", camera, "b") for camera in range(3)),
        image("a", 3, "wrong"),
        *(image("z", camera, "z") for camera in range(2)),
    ]
    domains = ["east"] * 7 + ["west"] * 2
    angles = [0, 2, 4, 90, 92, 94, 91, 1, 3]
    found = find_candidates(np.array([direction(x) for x in angles]), records, domains, most=5)
    assert found.resembling == 1
    (label,) = found.labels
    assert label.record.path == Path("wrong-3.jpg")
    assert label.suggested.pid == "b"
    assert label.other == pytest.approx(np.mean([math.cos(math.radians(x)) for x in (1, 1, 3)]))
    assert label.score == pytest.approx(label.other - label.own)
    (shared,) = found.shared
    assert (shared.a[0], shared.a[1].pid, shared.b[0], shared.b[1].pid) == ("east", "a", "west", "z")
    assert 0 < shared.score <= 1
    assert found.num_shared >= 1
    assert not [pair for pair in found.same_domain if pair.a[1].pid == pair.b[1].pid]


def test_one_identity_has_nothing_to_be_taken_for() -> None:
    records = [image("a", 0), image("a", 1)]
    found = find_candidates(np.array([direction(0), direction(1)]), records, ["east", "east"], most=3)
    assert (found.labels, found.same_domain, found.shared, found.resembling, found.alike) == ((), (), (), 0, 0)


def test_all_candidates_are_counted_and_only_some_kept() -> None:
    # The people of each domain look the same, in images a degree apart: 3 pairs of a, b, c, and y with z.
    people = [("east", pid, 0.0) for pid in "abc"] + [("west", pid, 90.0) for pid in "yz"]
    shown = [(domain, pid, angle + camera) for domain, pid, angle in people for camera in range(2)]
    records = [image(pid, place % 2) for place, (_, pid, _) in enumerate(shown)]
    found = find_candidates(np.array([direction(x) for *_, x in shown]), records, [name for name, *_ in shown], most=1)
    assert (len(found.same_domain), found.num_same_domain) == (1, 4)
    assert (len(found.shared), found.num_shared) == (0, 0)
    assert (len(found.labels), found.resembling, found.alike) == (1, 10, 4)
