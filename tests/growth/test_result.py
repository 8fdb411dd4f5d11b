"""The verdict on a grown run: what was forgotten, over resamples of people."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from jointreid.analysis.compare import Comparison, compare
from jointreid.config import RunConfig
from jointreid.data.label_space import DomainLabels, LabelSpace
from jointreid.growth.result import Growth, accuracy_changes, render
from jointreid.retrieval.result_files import load_results, save_results
from jointreid.run import Run
from tests.analysis.made_runs import made_run

SPACE = LabelSpace((DomainLabels("plaza", ("1",), (0,), 0, 0),))


def growth(folder: Path, before: Sequence[float], after: Sequence[float], *, people: int = 0) -> Growth:
    """Return the growth of plaza between average precisions of its queries, of so many people or each of one."""
    runs = []
    for name, values in (("before", before), ("after", after)):
        runs.append(made_run(folder / name, "bot", ["plaza"], {"plaza": values, "gate": 0.5}))
        results, queries = load_results(runs[-1])
        numbered = [replace(q, pid=f"p{n % people}") for n, q in enumerate(queries)] if people else queries
        save_results(results, numbered, runs[-1])
    changes = accuracy_changes(*runs)
    return Growth(Run(runs[1], RunConfig(), SPACE), ("plaza",), ("gate",), True, compare(*runs), changes)


def test_what_every_person_lost_is_forgotten(tmp_path: Path) -> None:
    found = growth(tmp_path, [0.9, 0.8, 0.7, 0.9], [0.7, 0.6, 0.5, 0.7])
    printed = render(found)
    assert "Forgotten: plaza (-20.0 mAP)." in printed.splitlines()
    assert "No known data set lost" not in printed
    assert found.to_dict()["changes"]["plaza"] == pytest.approx({"value": -0.2, "low": -0.2, "high": -0.2})


def test_a_loss_that_the_choice_of_people_explains_is_not_forgotten(tmp_path: Path) -> None:
    printed = render(found := growth(tmp_path, [0.9, 0.8, 0.7, 0.9], [0.3, 0.9, 0.8, 0.9]))
    last = "No known data set lost more mAP than the choice of people explains; the interval of plaza allows a loss of "
    assert printed.splitlines()[-1].startswith(last)
    low = found.changes["plaza"].low
    assert printed.endswith(f"a loss of {-100 * low:.1f}.")
    assert "Forgotten:" not in printed


def test_what_a_new_data_set_lost_was_not_known(tmp_path: Path) -> None:
    lost = growth(tmp_path, [0.9, 0.8, 0.7, 0.9], [0.7, 0.6, 0.5, 0.7])
    printed = render(Growth(lost.run, ("gate",), ("plaza",), True, lost.comparison, lost.changes))
    assert "No known data set lost more mAP than the choice of people explains." in printed


def test_people_are_drawn_and_not_their_queries(tmp_path: Path) -> None:
    before, after = [0.9] * 100, [0.9, 0.5] * 50  # two people: of one every query lost, of the other none
    found = growth(tmp_path, before, after, people=2).changes["plaza"]
    by_query = growth(tmp_path, before, after).changes["plaza"]
    assert found.value == by_query.value == pytest.approx(-0.2)
    assert (found.low, found.high) == pytest.approx((-0.4, 0.0), abs=1e-9)
    assert by_query.high < -0.1


def test_data_sets_that_could_not_be_compared_are_named() -> None:
    comparison = Comparison("a", "b", "none", "none", {}, {}, {}, {}, (), (), ())
    printed = render(Growth(Run(Path("b"), RunConfig(), SPACE), ("plaza",), ("gate",), True, comparison, {}))
    assert printed == "Not compared, since no query is valid in both runs: plaza, gate."
