"""The page of the comparison of networks, from records made by the test: complete, partial, and without any."""

import json
import re
from collections.abc import Iterator
from math import nan
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from tests.project.made_records import MadeRecords

ROOT = Path(__file__).parents[2]
IDENTITIES, MACHINE = 6, "one abacus"
# Mean average precision of each arm; those of other arms are that of static.
LEVELS = {"static": 0.4, "static-wide": 0.45, "s": 0.49, "context": 0.6, "labels": 0.65}
# What is added to it, by stage.
OF_STAGE = {"solo": -0.1, "closed": -0.2, "long": 0.05, "longest": 0.1}


@pytest.fixture(scope="module")
def evidence() -> Iterator[Any]:
    """The modules of the comparison; the benchmarks are no package of the project."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        import evidence.arms
        import evidence.cost_table
        import evidence.counts
        import evidence.data
        import evidence.length
        import evidence.plan
        import evidence.records
        import evidence.tables
        import evidence.tasks

        patch.setattr(evidence.counts, "_count", count)
        yield evidence


@pytest.fixture(scope="module")
def store(evidence: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """All records of the plan."""
    return make_store(evidence, tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def complete(evidence: Any, store: Any) -> str:
    """The page of all records of the plan."""
    return page(evidence, store)


def count(arm: str, _start: str, _size: tuple[int, int]) -> Any:
    """Return the cost of a network without building it, which takes a while for all of them."""
    return SimpleNamespace(params=1_500_000, macs=20_000_000 if arm == "static" else 25_000_000)


def record_of(task: Any, domains: tuple[str, ...]) -> dict[str, Any]:
    """Return the record of a training: each query is `LEVELS` plus a little noise."""
    level = LEVELS.get(task.arm, LEVELS["static"]) + OF_STAGE.get(task.stage, 0.0)
    noise = np.random.default_rng(len(task.name)).normal(0, 0.01, (len(domains), 2 * IDENTITIES))
    values = {name: np.round(1e4 * (level + row)) for name, row in zip(domains, noise, strict=True)}
    if task.domain:
        values = {task.domain: values[task.domain]}
    means = {name: float(row.mean()) / 1e4 for name, row in values.items()}
    record = {
        "task": task.identity,
        "steps": {"matched": 160 if task.start == "random" else 200, "long": 200, "longest": 400}.get(task.stage, 100),
        "seconds": 1800.0,
        "cpu_seconds": 1700.0,
        "provenance": {"machine": MACHINE},
        "domains": {name: {"mAP": value} for name, value in means.items()},
        "mean": float(np.mean(list(means.values()))),
        "ap": {name: row.astype(int).tolist() for name, row in values.items()},
    }
    if task.arm == "context" and task.stage in ("short", "long"):
        for of_domain in record["domains"].values():
            of_domain |= {"domain_accuracy": 0.5, "camera_accuracy": 0.25}
        record["context"] = {name: dict.fromkeys(domains, 0.123) for name in ("zeroed", "shuffled")}
    return record


def make_store(evidence: Any, folder: Path, *, most: int | None = None) -> Any:
    """Return a store with the first records of the plan of `test`, by default with all."""
    store = evidence.records.RecordStore(folder)
    data = evidence.data.DATASETS["omniglot"]
    queries = {
        name: [[f"p{k % IDENTITIES}", data.closed_camera[1]] for k in range(2 * IDENTITIES)] for name in data.domains
    }
    (folder / "queries-omniglot.json").write_text(json.dumps(queries))
    scale, made = evidence.tasks.SCALES["test"], 0
    while most is None or made < most:
        task = next((task for task in evidence.plan.tasks(scale, store) if store(task.name) is None), None)
        if task is None:
            break
        store.save(task, record_of(task, data.domains))
        made += 1
    return store


def page(evidence: Any, store: Any) -> str:
    """Return the page of the records."""
    text: str = evidence.tables.page(store, evidence.cost_table.Costs({}, ""), evidence.tasks.SCALES["test"])
    return text


def rows(text: str, heading: str, beginning: str) -> list[list[str]]:
    """Return the cells of the rows that begin so, below a heading that may come several times."""
    found = []
    for section in text.split(f"# {heading}\n")[1:]:
        lines = section.partition("\n#")[0].splitlines()
        found += [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith(beginning)]
    return found


def goals(text: str) -> list[dict[str, str]]:
    """Return the rows of Omniglot in the table of the goals, each by the heads of its columns."""
    head, *found = rows(text, "What the recommended network gains", "| ")
    return [dict(zip(head, row, strict=True)) for row in found if row[0] == "Omniglot"]


def test_a_page_without_records_says_so(evidence: Any, tmp_path: Path) -> None:
    text = page(evidence, make_store(evidence, tmp_path, most=0))
    assert text.count("not trained yet") == 2
    counts = rows(text, "What is trained so far", "| Omniglot")[0][2:7]
    assert counts == ["0 of 11", "0 of 12", "0 of 1", "0 of 11", "0 of 8"]
    assert "not measured yet" in " ".join(text.split())
    assert "### " not in text
    assert "no training" in text


@pytest.mark.parametrize("most", [1, 4, 9, 60])
def test_a_page_of_a_comparison_that_was_interrupted(evidence: Any, tmp_path: Path, most: int) -> None:
    text = page(evidence, make_store(evidence, tmp_path, most=most))
    assert ("### Short trainings" in text) == (most >= 4)
    assert "### Learning rates" in text
    assert f"CPU hours on {MACHINE}." in text
    trained = rows(text, "What is trained so far", "| Omniglot")[0]
    assert trained[2] == f"{min(most // 4, 4) if most < 60 else 7} of 11"
    assert ("static + S;" in trained[-1]) == (most < 60)


def test_the_goals_of_a_complete_comparison(complete: str) -> None:
    assert "not trained yet" not in complete
    counts = [row[2:] for row in rows(complete, "What is trained so far", "| Omniglot")]
    assert counts == [
        ["11 of 11", "12 of 12", "1 of 1", "11 of 11", "8 of 8", "2 of 2", "", ""],
        ["7 of 7", "12 of 12", "1 of 1", "7 of 7", "8 of 8", "2 of 2", "", ""],
    ]
    expected = (("static, wider", "1.00", 15), ("static", "0.80 (no equal one exists)", 20))
    for row, (plain, share, gained) in zip(goals(complete), expected, strict=True):
        assert (row["trainings"], row["against"], row["multiply-adds"]) == ("long, 3 seeds", plain, share)
        assert float(row["gain"].split()[0]) == pytest.approx(gained, abs=1)
        assert [float(cell) for cell in row["each seed"].split(",")] == pytest.approx(3 * [gained], abs=1)
        assert row["goal"] == "+2 reached"
        share, low, high = re.findall(r"\d+", row["D + C, share of the gain over static"])
        assert float(share) == pytest.approx(55, abs=3)
        assert 45 < float(low) < float(share) < float(high) < 65
        assert float(row["closed domain (short, 1 seed)"].split()[0]) == pytest.approx(gained, abs=1)
        assert row["clearly below"] == "no"


def test_an_opponent_that_is_not_trained_yet_is_waited_for(evidence: Any, tmp_path: Path) -> None:
    """The long trainings go seed by seed, and the plain network that would win comes after the recommended one."""
    from evidence.complete import CompleteRecords
    from evidence.goals import goal_section

    store = make_store(evidence, tmp_path)

    def row() -> dict[str, str]:
        return goals("\n".join(goal_section(CompleteRecords(store), evidence.tasks.SCALES["test"])))[0]

    def drop(stage: str, arm: str, seed: int = 0) -> None:
        (path,) = tmp_path.glob(f"omniglot_random_{stage}_{arm}_*_s{seed}.json")
        path.unlink()

    assert (row()["trainings"], row()["against"]) == ("long, 3 seeds", "static, wider")
    drop("long", "static-wide", 2)
    assert (row()["trainings"], row()["against"]) == ("long, 2 seeds", "static, wider")
    assert row()["goal"] == "+2 reached (2 of 3 seeds)"
    split = rows(page(evidence, store), "Where the gain comes from", "| S:")[0]
    assert float(split[2].split()[0]) == pytest.approx(9, abs=1)
    drop("long", "static-wide", 1)
    drop("long", "static-wide", 0)
    assert (row()["trainings"], row()["against"]) == ("short, 1 seed", "static, wider")
    drop("closed", "static-wide")
    assert row()["closed domain (short, 1 seed)"] == "not trained yet"
    drop("short", "static-wide")
    assert (row()["gain"], row()["against"]) == ("not trained yet", "")


def test_a_file_that_is_being_written_is_no_record(evidence: Any, tmp_path: Path) -> None:
    store = make_store(evidence, tmp_path, most=1)
    (path,) = tmp_path.glob("*_lr*.json")
    (tmp_path / f".{path.name}.1f.json").write_text("")
    assert len(list(store)) == 1


def test_a_goal_needs_a_gain_with_every_seed(evidence: Any) -> None:
    from evidence.goals import _goal
    from evidence.outcome import Outcome

    from jointreid.analysis.resampling import Estimate

    def goal(low: float, *seed_gains: float) -> str:
        return _goal(Outcome([], Estimate(0.06, low, 0.1), seed_gains, share=None, wanted=0.05))

    assert goal(0.01, 0.05, 0.06, 0.07) == "+5 reached"
    assert goal(0.01, -0.01, 0.09, 0.1) == "+5 NOT reached"
    assert goal(-0.01, 0.05, 0.06, 0.07) == "+5 NOT reached"
    assert goal(nan, 0.05, 0.06, 0.07) == "+5 NOT reached"
    assert goal(0.01, 0.06) == "+5 reached (1 of 3 seeds)"
    assert goal(-0.01, 0.06) == "+5 NOT reached (1 of 3 seeds)"


def test_page_and_plan_have_one_rule_of_what_reaches_the_goal(evidence: Any) -> None:
    """A gain that is as high as it is to be, also with every seed, but of one person of six: the interval holds 0."""
    from evidence.goals import goal_section

    found, scale = {}, evidence.tasks.SCALES["test"]
    for name, of_context in (("all", 6 * [0.433]), ("one", [0.85, *5 * [0.35]])):
        store: Any = MadeRecords(IDENTITIES)
        while task := next((task for task in evidence.plan.tasks(scale, store) if store(task.name) is None), None):
            store.add(task, *(of_context if task.arm == "context" else [0.4]))
        row = goals("\n".join(goal_section(store, scale)))[0]
        assert float(row["gain"].split()[0]) == pytest.approx(3.3, abs=0.1)
        found[name] = row["goal"], any("_random_remedies_" in task for task in store.records)
    assert found == {"all": ("+2 reached", False), "one": ("+2 NOT reached", True)}


def test_the_coverage_of_three_seeds_is_as_the_page_says(evidence: Any, complete: str) -> None:
    from evidence.coverage import coverage

    percent = round(100 * coverage(3))
    assert f"in {percent} % of the cases" in " ".join(complete.split())
    assert coverage(3, trials=500) < coverage(10, trials=500) < 0.95


@pytest.mark.parametrize("best", ["static", "static-wide", "static-dense"])
def test_the_opponent_is_the_best_plain_network(
    evidence: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: str
) -> None:
    monkeypatch.setitem(LEVELS, best, 0.55)
    store = make_store(evidence, tmp_path)
    for path in tmp_path.glob("*_long_*"):
        path.unlink()
    row = goals(page(evidence, store))[0]
    assert (row["trainings"], row["against"]) == ("short, 1 seed", evidence.arms.ARMS[best].words)
    assert float(row["gain"].split()[0]) == pytest.approx(5, abs=1)


def test_the_tunings_have_a_table_and_an_edge_is_marked(
    evidence: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complete: str
) -> None:
    found = rows(complete, "Learning rates", "| ")
    assert found[0] == ["arm", "lr 0.001", "lr 0.002", "lr 0.004"]
    assert found[1][0] == "static"
    assert [float(cell) for cell in found[1][1:]] == pytest.approx([40, 40, 40], abs=1)
    monkeypatch.setitem(evidence.tasks.LRS, "random", (0.001, 0.002, 0.004, 0.008, 0.016))
    store = make_store(evidence, tmp_path, most=12)
    for arm, best, words in (("static", 0.008, "0.008"), ("context", 0.016, "0.016 (edge)")):
        for lr in evidence.tasks.LRS["random"]:
            task = evidence.tasks.Task("omniglot", "random", "tune", arm, lr)
            store.save(task, {**store(task.name), "mean": float(lr == best)})
        short = evidence.tasks.Task("omniglot", "random", "short", arm, best)
        store.save(short, record_of(short, evidence.data.DATASETS["omniglot"].domains))
        for path in tmp_path.glob(f"*_short_{arm}_*"):
            if path.stem != short.name:
                path.unlink()
        name = evidence.arms.ARMS[arm].words
        head, *_ = rows(page(evidence, store), "Short trainings, seed 0", "| arm")
        row = rows(page(evidence, store), "Short trainings, seed 0", f"| {name} ")[0]
        assert dict(zip(head, row, strict=True))["lr"] == words


def test_a_learning_rate_that_another_beats_is_marked(evidence: Any, tmp_path: Path) -> None:
    from evidence.tuning_table import lr_words

    store = make_store(evidence, tmp_path, most=3)
    for lr, mean in ((0.001, 0.2), (0.002, 0.3), (0.004, 0.4), (0.008, 0.5)):
        task = evidence.tasks.Task("omniglot", "random", "tune", "static", lr)
        store.save(task, {"task": task.identity, "mean": mean})
    words = [lr_words(store, "omniglot", "random", "static", lr) for lr in (0.004, 0.008, 0.016)]
    assert words == ["0.004 (not the best)", "0.008 (edge)", "0.016"]


def test_a_tuning_that_ends_at_its_second_milestone_says_so(evidence: Any, complete: str) -> None:
    from evidence.tuning_table import _words

    assert "end at the second milestone" in " ".join(_words("people", "random", [0.001]))
    assert "end at the second milestone" not in " ".join(complete.split())
    assert "the lr of the trainings without them is chosen with them" in " ".join(complete.split())


def test_the_long_trainings_show_each_seed(complete: str) -> None:
    """A seed whose training went wrong is to be seen."""
    found = rows(complete, "Long trainings", "| static, wider")[0]
    head = rows(complete, "Long trainings", "| arm")[0]
    seeds = [float(value) for value in found[head.index("mean of each seed")].split(",")]
    assert len(seeds) == 3
    assert float(found[head.index("mean")]) == pytest.approx(sum(seeds) / 3, abs=0.1)
    assert "mean of each seed" not in rows(complete, "Short trainings, seed 0", "| arm")[0]


def test_the_gain_is_split_into_its_parts(complete: str) -> None:
    def short(beginning: str) -> float:
        return float(rows(complete, "Where the gain comes from", f"| {beginning}")[0][1].split()[0])

    parts = (
        "static, all",
        "S:",
        "D + C:",
        "S, D and C",
        "what true labels",
        "joining: static",
        "joining: static + context",
    )
    assert [short(part) for part in parts] == pytest.approx([40, 10, 10, 20, 5, 10, 10], abs=1)


def test_joining_names_steps_and_learning_rate(complete: str) -> None:
    assert "100 steps of the one, 100 of each of the others, 400 together" in " ".join(complete.split())
    assert "take the lr that was tuned for the joint one" in " ".join(complete.split())


def test_each_domain_has_its_gain_over_the_best_plain_network(evidence: Any, complete: str) -> None:
    domains = evidence.data.DATASETS["omniglot"].domains
    found = rows(complete, "Gain in each domain", "| ")
    assert [row[0] for row in found] == 2 * ["domain", *domains, "mean"]
    assert found[0] == ["domain", "static, wider", "with context", "gain"]
    for row in found[1 : 2 + len(domains)]:
        assert [float(cell.split()[0]) for cell in row[1:]] == pytest.approx([50, 65, 15], abs=1.5)
        assert re.search(r"\(\+.* to \+.*\)", row[3])


def test_the_page_explains_its_words_networks_and_data(evidence: Any, complete: str) -> None:
    for arm in evidence.arms.ARMS.values():
        words, why, start = rows(complete, "Words", f"| {arm.name} ")[0]
        assert (words, why) == (arm.name, arm.why)
        assert ("MobileNetV2" in start) == ("imagenet" in arm.starts)
    from evidence.legend import legend, people_words

    assert "300 train identities (29 to 43 %), 2,400 train images (8 to 55 %) and 100 test id" in people_words()
    assert "with one camera id shows 8 places, where `table1` has 40" in people_words()
    assert "Synthetic people: 5 domains, 32 cameras. Their domains" in " ".join(
        "\n".join(legend(evidence.tasks.SCALES["cpu"])).split()
    )


def test_the_context_network_is_compared_at_equal_width_multiply_adds_and_cpu_time(complete: str) -> None:
    found = rows(complete, "The recommended network against plain ones of the same cost", "| ")
    short = [row[:2] for row in found if row[2] == "short"]
    assert short[:4] == [
        ["width", "static"],
        ["multiply-adds", "static, wider"],
        ["multiply-adds", "static, dense 3x3s"],
        ["CPU time", "static"],
    ]
    assert short[4:] == [["width", "static"], ["CPU time", "static"]]  # from ImageNet
    longest = [row[:2] for row in found if row[3] == "400"]  # twice the steps of long
    assert longest == [["CPU time x 1.25", "static"], ["CPU time", "static"]]
    assert "Weights from ImageNet fix the width" in " ".join(complete.split())


def test_costs_are_counted_and_measured(evidence: Any, store: Any) -> None:
    row: dict[str, Any] = {
        "dataset": "omniglot", "start": "random", "cpu_ms": [150.0, 170.0, 158.0, 162.0],
        "against_static": [1.5, 1.6, 1.8],
    }  # fmt: skip
    measured = {("omniglot", "random", arm): {**row, "arm": arm} for arm in ("static", "context")}
    costs = evidence.cost_table.Costs(measured, "4 rounds on an abacus")
    text = evidence.tables.page(store, costs, evidence.tasks.SCALES["test"])
    assert "(4 rounds on an abacus)" in text
    found = rows(text, "What each network costs", "| static")
    assert found[0] == ["static", "1.50", "20.00 (1.00)", "160 ms"]
    assert found[1] == ["static + context network", "1.50", "25.00 (1.25)", "1.60 (1.50-1.80)"]
    assert found[2][-1] == ""  # not measured


def test_other_contexts_have_columns(complete: str) -> None:
    head, *_ = rows(complete, "Short trainings, seed 0", "| arm")
    own = rows(complete, "Short trainings, seed 0", "| static + context network ")[0]
    assert dict(zip(head, own, strict=True))["context zeroed"] == "12.3"
    assert dict(zip(head, own, strict=True))["context shuffled"] == "12.3"
    assert dict(zip(head, own, strict=True))["domain right"] == "50 %"
    assert dict(zip(head, own, strict=True))["camera right"] == "25 %"
    assert rows(complete, "Short trainings, seed 0", "| static  ")[0][-1] == ""


def test_the_lengths_have_a_table_and_a_drawing(evidence: Any, store: Any, complete: str) -> None:
    found = rows(complete, "Longer training", "| Omniglot | random")
    assert [row[2:5] for row in found] == [["short", "1", "100"], ["long", "3", "200"], ["longest", "1", "400"]]
    assert [float(row[5]) for row in found] == pytest.approx([40, 45, 50], abs=1)
    assert [float(row[6]) for row in found] == pytest.approx([60, 65, 70], abs=1)
    assert "](images/evidence-length.svg)" in complete
    drawing = ElementTree.fromstring(evidence.length.length_drawing(store, evidence.tasks.SCALES["test"]))
    charts = [element for element in drawing.iter() if "chart" in element.get("class", "").split()]
    ends = [
        [float(value) for value in re.findall(r"ends at ([\d.]+)", chart.get("aria-label", ""))] for chart in charts
    ]
    assert ends == pytest.approx(np.array([[50, 70], [50, 70]]), abs=1)


def test_remedies_have_a_table_where_the_goal_is_missed(
    evidence: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, complete: str
) -> None:
    assert "### Remedies" not in complete
    monkeypatch.setitem(LEVELS, "context", 0.46)
    monkeypatch.setitem(LEVELS, "masked", 0.5)
    text = page(evidence, make_store(evidence, tmp_path, most=40))  # to the remedies from random weights
    found = rows(text, "Remedies", "| ")
    assert [row[0] for row in found[1:]] == [
        "none",
        *(evidence.arms.REMEDIES[name].words for name in evidence.arms.remedies_of("omniglot")),
    ]
    by_name = {row[0]: row for row in found}
    assert float(by_name["none"][6].split()[0]) == pytest.approx(1, abs=1)
    masked = by_name["masked identity head"]
    assert [float(cell.split()[0]) for cell in masked[3:7]] == pytest.approx([50, 50, 4, 5], abs=1)
    assert "+2 NOT reached" in text


def test_a_single_length_is_not_drawn(evidence: Any, tmp_path: Path) -> None:
    few = make_store(evidence, tmp_path, most=20)
    assert evidence.length.length_drawing(few, evidence.tasks.SCALES["test"]) == ""
    assert "Longer training" not in page(evidence, few)
