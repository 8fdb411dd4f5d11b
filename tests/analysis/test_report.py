"""The whole page: what stands in its tables and charts, from run directories made by hand, and that it is sound."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from jointreid.analysis.report import write_report
from jointreid.analysis.reported import RunGroup, open_runs
from jointreid.config import DataConfig
from jointreid.data.joint import join
from jointreid.data.protocols import ProtocolMatch
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.sources import load_domains
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.evaluate import evaluate_run
from jointreid.retrieval.result_files import load_results, save_results
from jointreid.retrieval.results import Conditions, MergedResult
from jointreid.run import model_for, write_config
from jointreid.training.checkpoint import save_checkpoint
from tests.analysis.report_pages import HEADS, evaluation, make_run, report, step
from tests.small import small_config

NASTY = "x<b>&\"y'"

# Results


def test_the_best_of_each_group_is_bold_as_shown(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", {"m": (0.5, 0.6), "n": (0.31234, 0.1)})
    b = make_run(tmp_path / "b", {"m": (0.4, 0.7), "n": (0.31201, 0.1)})  # the same to one decimal
    c = make_run(tmp_path / "c", {"m": (0.9, 0.9), "n": (0.9, 0.9)})
    page = report(tmp_path, {"First": [a, b], "Second": [c]})
    assert page.rows(0) == [
        ["", "m", "n", "mean"],
        ["Run", "mAP", "Rank-1", "mAP", "Rank-1", "mAP", "Rank-1"],
        ["First"],
        ["A a bot, resnet50", "50.0", "60.0", "31.2", "10.0", "40.6", "35.0"],
        ["B b bot, resnet50", "40.0", "70.0", "31.2", "10.0", "35.6", "40.0"],
        ["Second"],
        ["C c bot, resnet50", "90.0", "90.0", "90.0", "90.0", "90.0", "90.0"],
        ["queries with a match", "7", "7", ""],
    ]
    bold = page.bold(0)
    assert bold[3] == ["50.0", "31.2", "10.0", "40.6"]
    assert bold[4] == ["70.0", "31.2", "10.0", "40.0"]
    assert bold[6] == []  # alone in its group
    assert page.rows(1)[1] == ["Run", *["Rank-5", "Rank-10", "mINP"] * 3]
    assert page.rows(1)[3][1:4] == ["80.0", "90.0", "12.5"]


def test_header_cells_name_their_rows_and_columns(tmp_path: Path) -> None:
    page = report(tmp_path, {"First": [make_run(tmp_path / "a", {"m": (0.5, 0.6)})]})
    cells = [attributes for tag, attributes in page.elements if tag == "th"]
    assert {attributes.get("scope") for attributes in cells} == {"row", "col", "colgroup", "rowgroup"}


def test_runs_on_other_domains_share_a_table_but_their_means_are_not_compared(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", {"m": (0.5, 0.6), "n": (0.3, 0.1)})
    b = make_run(tmp_path / "b", {"n": (0.4, 0.7)}, trained_on=["n", "k", "l"])
    page = report(tmp_path, {"": [a, b]})
    rows, bold = page.rows(0), page.bold(0)
    assert rows[2] == ["A a bot, resnet50", "50.0", "60.0", "30.0", "10.0", "40.0", "35.0"]
    assert rows[3] == ["B b bot, resnet50", "–", "–", "40.0", "70.0", "40.0", "70.0"]
    assert bold[2:4] == [[], ["40.0", "70.0"]]
    assert "their means cannot be compared" in page.text
    assert "2 models were trained, each on different data, from 2 to 3 data sets at once" in page.text


def test_the_introduction_names_systems_and_data(tmp_path: Path) -> None:
    rates = {"m": (0.5, 0.6), "n": (0.3, 0.1), "o": (0.3, 0.1)}
    page = report(tmp_path, {"": [make_run(tmp_path / "a", rates), make_run(tmp_path / "b", rates)]})
    lead = "2 models were trained, each on 3 data sets at once (m, n, o): 6 people, seen by 6 cameras."
    assert lead in page.text
    assert "None of these people were in the training data." in page.text
    assert "All models started from random weights" in page.text
    alone = report(tmp_path, {"": [make_run(tmp_path / "c", {"m": (0.5, 0.6)})]})
    assert "One model was trained on one data set (m): 2 people, seen by 2 cameras." in alone.text


def test_the_introduction_counts_as_a_person_would(tmp_path: Path) -> None:
    rates = {"m": (0.5, 0.6)}
    a, b = (make_run(tmp_path / name, rates, trained_on=["m", name]) for name in "ab")
    assert "each on different data, 2 data sets at once; the settings" in report(tmp_path, {"": [a, b]}).text
    c, d = (make_run(tmp_path / name, rates, trained_on=[name]) for name in "cd")
    assert "each on different data, one data set; the settings" in report(tmp_path, {"": [c, d]}).text
    people = tuple(ImageRecord(Path(pid), pid, 0) for pid in "12")
    join([Domain("m", train=people)]).label_space.save(a / "labels.json")
    assert "2 people, seen by 1 camera." in report(tmp_path, {"": [a]}).text


def test_the_page_says_what_makes_runs_not_comparable(tmp_path: Path) -> None:
    protocol = ProtocolMatch("part of x", False, "Market-1501, half of it", ("train: fewer",))
    a = make_run(tmp_path / "a", {"m": (0.5, 0.6)}, facts={"protocol": protocol}, asked="1")
    page = report(tmp_path, {"Half": [a]})
    assert "m: Market-1501, half of it; not comparable with the paper's numbers." in page.text
    assert "m: 1 queries show people that a model was trained on" in page.text
    assert "None of these people were in the training data" not in page.text


def test_a_data_set_that_was_evaluated_in_two_ways_is_not_compared(tmp_path: Path) -> None:
    a, b, c = (make_run(tmp_path / name, {"m": (0.5, 0.6)}) for name in "abc")
    for run, mAP, rerank in ((a, 0.9, True), (b, 0.4, False), (c, 0.3, True)):
        add_other(run, mAP, rerank=rerank)
    page = report(tmp_path, {"": [a, b]})
    assert page.rows(0)[2] == ["A a bot, resnet50", "50.0", "60.0", "90.0", "45.0", "70.0", "52.5"]
    assert page.bold(0)[2:4] == [["50.0", "60.0"], ["50.0", "60.0"]]  # of m alone
    words = (
        "other: compare neither these numbers nor the means, since the ways of evaluation differ "
        "(a: without mirrored images, re-ranked; b: without mirrored images, not re-ranked)."
    )
    assert words in page.text
    alike = report(tmp_path, {"": [a, c]})
    assert alike.bold(0)[2] == ["50.0", "60.0", "90.0", "45.0", "70.0", "52.5"]
    assert (
        "other: evaluated without mirrored images, re-ranked, unlike other data sets of a; c; the mean is over both."
        in alike.text
    )


def add_other(run: Path, mAP: float, *, rerank: bool) -> None:
    """Add the results on a data set `other` to a run's, as `evaluate RUN --data other=... --rerank` does."""
    results, queries = load_results(run)
    conditions = Conditions("2026-01-31T12:00:00Z", "last", 40, False, rerank)
    cmc = {1: mAP / 2, 5: 0.8, 10: 0.9}
    found = replace(results.domains[0], domain="other", mAP=mAP, cmc=cmc, trained_on=False, conditions=conditions)
    save_results(
        replace(results, domains=(found,), rerank=rerank), [replace(query, domain="other") for query in queries], run
    )


# Training


def test_every_term_has_a_chart_with_one_line_for_each_run(tmp_path: Path) -> None:
    rates = {"m": (0.5, 0.6)}
    a = make_run(tmp_path / "a", rates, log=[step(20, 8.0), step(40, 4.0), evaluation(40, {"m": 0.5})])
    b = make_run(tmp_path / "b", rates, log=[step(20, 9.0, **HEADS), step(40, 6.0, **HEADS)])
    page = report(tmp_path, {"Two": [a, b]})
    assert page.charts() == [
        "Total loss, weighted sum: A a · Two ends at 4; B b · Two ends at 6",
        "Triplet term, distance of embeddings: A a · Two ends at 1; B b · Two ends at 1",
        "Identity term, nats: A a · Two ends at 2; B b · Two ends at 2",
        "Domain term, nats, mean over blocks: B b · Two ends at 1",
        "Camera term, nats, mean over blocks: B b · Two ends at 1.5",
        "Accuracy of the domain heads, % of training images: B b · Two ends at 75",
        "Accuracy of the camera heads, % of training images: B b · Two ends at 50",
    ]
    assert "The models were evaluated once, at the end" in page.text
    assert "chance 100%" in page.text  # one domain
    assert "chance 50%" in page.text  # of two cameras
    assert "has two more terms" in page.text


def test_steps_become_epochs_and_domains_a_mean(tmp_path: Path) -> None:
    lines = [evaluation(10, {"m": 0.25, "n": 0.75}), step(15, 2.0), evaluation(20, {"m": 0.5, "n": 1.0})]
    path = make_run(tmp_path / "a", {"m": (0.5, 0.6), "n": (0.5, 0.6)}, log=lines)
    (run,) = open_runs([RunGroup("", [path])])
    assert run.points("train", "total") == [(1.5, 2.0)]
    assert run.points("evaluation", "mAP") == [(1.0, 0.5), (2.0, 0.75)]
    assert run.points("evaluation", "rank1") == [(1.0, 0.25), (2.0, 0.375)]
    assert run.points("validation", "mAP") == []
    page = report(tmp_path, {"": [path]})
    assert "mAP, %, mean over domains: A a ends at 75" in page.charts()
    assert "The accuracy is that of the models at that time." in page.text
    no_losses = make_run(
        tmp_path / "b", {"m": (0.5, 0.6)}, log=[evaluation(10, {"m": 0.25}), evaluation(20, {"m": 0.5})]
    )
    assert ("ul", {"class": "legend"}) in report(tmp_path, {"": [no_losses]}).elements


def test_a_truncated_log_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    path = make_run(tmp_path / "a", {"m": (0.5, 0.6)}, log=[step(20, 8.0), step(30, float("nan"))])
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 40, "tot')
    (run,) = open_runs([RunGroup("", [path])])
    assert len(run.log) == 2
    assert run.points("train", "total") == [(2.0, 8.0)]  # what is not a number is not drawn


def test_runs_without_a_log_or_heads_say_so(tmp_path: Path) -> None:
    page = report(tmp_path, {"": [make_run(tmp_path / "a", {"m": (0.5, 0.6)})]})
    assert page.charts() == []
    assert "have no training lines in metrics.jsonl" in page.text
    assert "None of these models has such heads" in page.text


def test_accuracies_of_heads_are_shown_beside_chance(tmp_path: Path) -> None:
    rates, facts = {"m": (0.5, 0.6), "n": (0.5, 0.6)}, {"domain_accuracy": 0.9, "camera_accuracy": 0.4}
    a = make_run(tmp_path / "a", rates)
    b = make_run(tmp_path / "b", rates, facts=facts)
    page = report(tmp_path, {"Both": [a, b]})
    assert page.rows(2)[1:] == [
        ["Run", *["domain", "camera"] * 3],
        ["Both"],
        ["B b bot, resnet50", "90.0", "40.0", "90.0", "40.0", "50.0", "25.0"],
    ]
    assert "Run directories do not store the accuracy of each convolution" in page.text


# Settings


def test_equal_settings_are_shown_once(tmp_path: Path) -> None:
    a = make_run(tmp_path / "a", {"m": (0.5, 0.6)}, optim={"lr": 1e-3}, dcsd={"factors": ("sample",)})
    b = make_run(tmp_path / "b", {"m": (0.5, 0.6)}, optim={"lr": 2e-3})
    page = report(tmp_path, {"": [a, b]}, command="jointreid demo --minutes <1>")
    rows = {row[0]: row[1:] for row in page.rows(2)}
    assert rows["run directory"] == [str(a), str(b)]
    assert rows["learning rate"] == ["0.001", "0.002"]
    assert rows["image"] == ["256 x 128 pixels"]
    assert rows["trained for"] == ["4 of 120 epochs, 40 steps"]
    assert rows["versions"] == ["jointreid 1.2.3"]
    assert rows["dcsd.factors"] == ["sample", "sample, domain, camera"]
    assert not {"optim.lr", "train.out"} & rows.keys()
    assert page.text.endswith("Made by jointreid demo --minutes <1>")


# The page


def test_names_with_html_in_them_do_no_harm(tmp_path: Path) -> None:
    path = make_run(tmp_path / NASTY, {NASTY: (0.5, 0.6)}, log=[step(20, 8.0, **HEADS), step(40, 4.0, **HEADS)])
    options = {"title": NASTY, "notes": [NASTY, "Plain"], "command": NASTY}
    page = report(tmp_path, {NASTY: [path]}, **options)
    assert page.text.count(NASTY) > 8
    assert f"A {NASTY} · {NASTY}" in page.charts()[0]
    assert ("html", {"lang": "en"}) in page.elements


def test_the_remarks_of_two_runs_in_folders_of_one_name_are_both_on_the_page(tmp_path: Path) -> None:
    runs = [
        make_run(tmp_path / folder / "seed0" / "bot", {"m": (0.5, 0.6)}, facts={"marks": (mark,)})
        for folder, mark in (("e1", "first remark"), ("e2", "second remark"))
    ]
    page = report(tmp_path, {"": runs})
    assert "e1/seed0/bot, m: first remark." in page.text
    assert "e2/seed0/bot, m: second remark." in page.text


@pytest.mark.slow
def test_runs_of_the_same_name_get_different_labels(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / folder / "bot", {"m": (0.5, 0.6)}) for folder in ("x", "y", "z")]
    runs = open_runs([RunGroup("G", paths[:2]), RunGroup("H", paths[2:])])
    assert [(run.key, run.name) for run in runs] == [("A", "x/bot · G"), ("B", "y/bot · G"), ("C", "bot · H")]
    assert [(run.line(()).colour, run.line(()).dash) for run in runs] == [(0, 0), (1, 0), (0, 1)]
    far = [make_run(tmp_path / folder / "seed0" / "bot", {"m": (0.5, 0.6)}) for folder in ("e1", "e2")]
    runs = open_runs([RunGroup("", far), RunGroup("", far[:1])])
    assert [run.name for run in runs] == ["e1/seed0/bot", "e2/seed0/bot", "bot"]
    twice = open_runs([RunGroup("", [far[0], far[0], far[1]])])
    assert [run.name for run in twice] == ["e1/seed0/bot (A)", "e1/seed0/bot (B)", "e2/seed0/bot"]
    many = open_runs([RunGroup("G", paths[:1] * 28)])
    assert [many[index].key for index in (25, 26, 27)] == ["Z", "A1", "B1"]


def test_runs_that_cannot_be_reported_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a", {"m": (0.5, 0.6)})
    with pytest.raises(JointreidError, match="the group 'G' holds no runs"):
        RunGroup("G", [])
    with pytest.raises(JointreidError, match="there are no runs to report"):
        report(tmp_path, {})
    with pytest.raises(JointreidError, match="does not exist"):
        report(tmp_path, {"G": [run, tmp_path / "none"]})
    with pytest.raises(JointreidError, match="queries is -1; expected 0 or more"):
        report(tmp_path, {"G": [run]}, queries=-1)
    with pytest.raises(JointreidError, match=r"queries is 201; expected at most 200 .* the page holds the pictures"):
        report(tmp_path, {"G": [run]}, queries=201)
    with pytest.raises(JointreidError, match="a: is a folder; name a file, in it or elsewhere, with --out"):
        write_report([RunGroup("G", [run])], tmp_path / "a", title="page")
    (run / "results.json").unlink()
    with pytest.raises(JointreidError, match=f"run `jointreid evaluate {run}`"):
        report(tmp_path, {"G": [run]})
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_page_with_pictures_is_complete_repeatable_and_loads_nothing(
    tiny_manifest: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path / "bot-dcsd"
    config = small_config("bot-dcsd", manifest=tiny_manifest, cache=tmp_path_factory.getbasetemp() / "cache")
    space = join(load_domains(DataConfig(sources=(str(tiny_manifest),)))).label_space
    write_config(config, path / "config.yaml")
    space.save(path / "labels.json")
    torch.manual_seed(0)
    save_checkpoint(path, "last", model_for(config, space), {"step": 0, "epoch": 0.0})
    evaluate_run(path, device="cpu")
    page = report(tmp_path, {"Alone": [path]}, queries=3, device="cpu")
    written = (tmp_path / "out" / "report.html").read_bytes()
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) == 5 * 3 * (1 + 8)
    assert all(image["src"].startswith("data:image/jpeg;base64,") and image["alt"] for image in images)
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object")
        assert attributes.get("href", "#").startswith("#")
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {"results", "training", "heads", "lists", "settings", "right", "wrong"} == set(ids)
    assert "Different from the evaluation" not in page.text
    report(tmp_path, {"Alone": [path]}, queries=3, device="cpu")
    assert (tmp_path / "out" / "report.html").read_bytes() == written
    assert len(written) < 500_000


def test_a_merged_gallery_has_a_table_of_its_own(tmp_path: Path) -> None:
    merged = MergedResult(("a", "b"), 2400, 0.25, 0.125, {1: 0.5, 5: 0.8, 10: 0.9}, 0.125)
    a = make_run(tmp_path / "bot", {"a": (0.5, 0.75), "b": (0.75, 1.0)}, facts={"merged": merged})
    b = make_run(tmp_path / "agw", {"a": (0.5, 0.75), "b": (0.75, 1.0)})
    page = report(tmp_path, {"": [a, b]})
    assert "All collections searched at once" in page.text
    (rows,) = [page.rows(i) for i in range(len(page.tables)) if page.rows(i)[1][1:4] == ["own", "merged", "overtaken"]]
    assert rows[2][1:] == ["50.0", "25.0", "12.5", "75.0", "25.0", "12.5"]
    assert len(rows) == 3  # the other run was not evaluated so
    assert "All collections" not in report(tmp_path, {"": [b]}).text


def test_galleries_of_other_data_sets_are_not_compared(tmp_path: Path) -> None:
    runs = []
    for name, domains in (("two", ("a", "b")), ("three", ("a", "b", "c"))):
        merged = MergedResult(domains, 2400, 0.25, 0.125, {1: 0.5, 5: 0.8, 10: 0.9}, 0.125)
        runs.append(make_run(tmp_path / name, {"a": (0.5, 0.75), "b": (0.75, 1.0)}, facts={"merged": merged}))
    page = report(tmp_path, {"": runs})
    tables = [page.rows(i) for i in range(len(page.tables))]
    assert sum(rows[1][1:4] == ["own", "merged", "overtaken"] for rows in tables) == 2
    assert "with the galleries of a, b, c merged" in page.text
