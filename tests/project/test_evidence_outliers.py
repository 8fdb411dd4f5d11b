"""What the page of the comparison says of a training that went wrong."""

from pathlib import Path
from typing import Any

import pytest

from tests.project.made_records import MadeRecords

ROOT = Path(__file__).parents[2]
LEVELS = {"static": (0.80, 0.60, 0.79), "context": (0.85, 0.85, 0.84), "s": (0.81, 0.71, 0.80)}


@pytest.fixture(autouse=True)
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The benchmarks are no package of the project."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))


def long_records(seeds: int) -> Any:
    """Return the records of long trainings; seed 1 of the plain network is far below the others, that of S nearly."""
    from evidence.tasks import Task

    store = MadeRecords()
    for arm, levels in LEVELS.items():
        for seed, level in enumerate(levels[:seeds]):
            store.add(Task("omniglot", "imagenet", "long", arm, 1e-3, seed), level)
    return store


def test_a_training_far_below_its_other_seeds_is_named_with_the_gain_of_the_others() -> None:
    from evidence.outliers import outlier_notes
    from evidence.tasks import SCALES

    (note,) = outlier_notes(long_records(3), SCALES["test"])
    assert "static on Omniglot, from MobileNetV2 trained on ImageNet, long, seed 1, has 60.0 mAP" in note
    assert "its other seeds 79.5 in the mean" in note
    assert "the gain is +5.0 (" in note
    assert "of which D + C are 80 % (" in note


def test_the_page_says_so_beside_the_goals() -> None:
    from evidence.goals import goal_section
    from evidence.tasks import SCALES

    assert "One training went wrong: static on" in " ".join(
        "\n".join(goal_section(long_records(3), SCALES["test"])).split()
    )


def test_two_seeds_do_not_tell_which_of_them_went_wrong() -> None:
    from evidence.outliers import outlier_notes
    from evidence.tasks import SCALES

    assert not list(outlier_notes(long_records(2), SCALES["test"]))
