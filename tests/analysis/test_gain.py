import csv
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from jointreid.analysis.gain import compute_gain
from jointreid.analysis.gain_page import write_gain_page
from jointreid.analysis.gain_text import as_csv, render
from jointreid.analysis.gain_values import Gain
from jointreid.cli import main
from jointreid.data.run_images import RunImage, save_images
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.result_files import load_results, save_results
from tests.analysis.made_runs import made_run

# mAP of the paper's Tables II and V: BoT on each data set alone, then in joint training BoT, S, and S + D + C.
PAPER = {"cuhk03": (0.673, 0.657, 0.746, 0.780), "msmt17": (0.502, 0.495, 0.588, 0.615)}


def papers_runs(folder: Path, seeds: Mapping[int, float] | None = None) -> Path:
    """Runs with the paper's numbers, for each seed shifted by a number."""
    for seed, shift in (seeds or {0: 0.0}).items():
        for name, (alone, *_) in PAPER.items():
            made_run(folder / f"bot-{name}-{seed}", "bot", [name], {name: alone}, seed=seed)
        for index, recipe in enumerate(("bot", "bot-dcsd-s", "bot-dcsd"), start=1):
            joint = {name: values[index] + shift for name, values in PAPER.items()}
            made_run(folder / f"{recipe}-joint-{seed}", recipe, list(PAPER), joint, seed=seed)
    return folder


def parts_of(gain: Gain) -> dict[str, dict[str, float]]:
    """Part -> data set -> its difference in percent, of the only split."""
    ((split,),) = [joint.splits for joint in gain.joint]
    changes = (*split.changes, split.total)
    return {c.name: {name: round(100 * e.value, 4) for name, e in c.domains.items()} for c in changes}


def test_the_papers_gain_is_split_into_joining_s_and_d_and_c(tmp_path: Path) -> None:
    gain = compute_gain([papers_runs(tmp_path)])
    assert parts_of(gain) == {
        "joining": {"cuhk03": -1.6, "msmt17": -0.7},
        "S": {"cuhk03": 8.9, "msmt17": 9.3},
        "D + C": {"cuhk03": 3.4, "msmt17": 2.7},
        "total": {"cuhk03": 10.7, "msmt17": 11.3},
    }
    ((split,),) = [joint.splits for joint in gain.joint]
    means = [c.mean.value for c in (*split.changes, split.total) if c.mean]
    assert means == pytest.approx([-0.0115, 0.091, 0.0305, 0.11])
    text = render(gain)
    # The means -1.15 and 3.05 may be rounded either way.
    assert re.search(r"bot: trained jointly instead of on each data set alone it loses 1\.[12] mAP on average", text)
    assert re.search(r"Its parts: joining -1\.[12], S \+9\.1, D \+ C \+3\.[01]\.", text)
    assert "settings of both that differ: dcsd.factors sample -> sample domain camera" in text


def test_another_trunk_is_a_part_of_its_own(tmp_path: Path) -> None:
    names = ["a", "b"]
    made_run(tmp_path / "alone-a", "bot", ["a"], {"a": 0.5})
    made_run(tmp_path / "alone-b", "bot", ["b"], {"b": 0.25})
    made_run(tmp_path / "joint", "bot", names, {"a": 0.375, "b": 0.25})
    mobile = {"trunk": "mobilenetv2_100"}
    made_run(tmp_path / "mobile", "bot", names, {"a": 0.5, "b": 0.5}, model=mobile)
    made_run(tmp_path / "mobile-dcsd", "bot-dcsd", names, {"a": 0.75, "b": 0.625}, model=mobile)
    assert parts_of(compute_gain([tmp_path])) == {
        "joining": {"a": -12.5, "b": 0.0},
        "trunk": {"a": 12.5, "b": 25.0},
        "S + D + C": {"a": 25.0, "b": 12.5},
        "total": {"a": 25.0, "b": 37.5},
    }
    by_hand = compute_gain([tmp_path], plain=tmp_path / "mobile")
    assert parts_of(by_hand) == {"S + D + C": {"a": 25.0, "b": 12.5}, "total": {"a": 25.0, "b": 12.5}}
    with pytest.raises(JointreidError, match="is a run of bot-dcsd; expected one of bot or agw"):
        compute_gain([tmp_path], plain=tmp_path / "mobile-dcsd")


def test_an_arm_is_compared_with_the_plain_network_that_is_most_like_it(tmp_path: Path) -> None:
    names, mobile = ["a", "b"], {"trunk": "mobilenetv2_100"}
    for trunk, model, of_trunk in (("resnet", {}, 0.25), ("mobile", mobile, 0.5)):
        for name in names:
            made_run(tmp_path / f"{trunk}-{name}", "bot", [name], {name: of_trunk}, model=model)
        made_run(tmp_path / trunk, "bot", names, dict.fromkeys(names, of_trunk), model=model)
    made_run(tmp_path / "mobile-dcsd", "bot-dcsd", names, dict.fromkeys(names, 0.75), model=mobile)
    gain = compute_gain([tmp_path])
    assert parts_of(gain)["total"] == {"a": 25.0, "b": 25.0}
    (over,) = [arm.over_plain for arm in gain.joint[0].arms if arm.over_plain]
    assert over.before.endswith("mobilenetv2_100")
    assert {name: found.value for name, found in over.domains.items()} == {"a": 0.25, "b": 0.25}


def test_another_learning_rate_of_the_plain_network_is_not_called_a_trunk(tmp_path: Path) -> None:
    names = ["a", "b"]
    for name in names:
        made_run(tmp_path / f"alone-{name}", "bot", [name], {name: 0.125})
    made_run(tmp_path / "joint", "bot", names, dict.fromkeys(names, 0.25))
    made_run(tmp_path / "faster", "bot", names, dict.fromkeys(names, 0.5), optim={"lr": 0.01})
    made_run(tmp_path / "dcsd", "bot-dcsd", names, dict.fromkeys(names, 0.75), optim={"lr": 0.01})
    parts = parts_of(gain := compute_gain([tmp_path]))
    assert list(parts) == ["joining", "settings", "S + D + C", "total"]
    assert parts["settings"] == {"a": 25.0, "b": 25.0}
    assert "settings: another plain network on the same trunk" in render(gain)


def test_what_else_differs_from_the_plain_network_is_on_the_page(tmp_path: Path) -> None:
    made_run(tmp_path / "bot", "bot", ["a", "b"], {"a": 0.5, "b": 0.5})
    made_run(tmp_path / "dn", "bot-dn", ["a", "b"], {"a": 0.75, "b": 0.5}, optim={"lr": 0.01})
    write_gain_page(compute_gain([tmp_path]), tmp_path / "gain.html")
    assert re.search(
        r"bot-dn\S* and bot\S* also differ in optim.lr 0.00035 -&gt; 0.01", (tmp_path / "gain.html").read_text()
    )


def test_seeds_are_averaged_and_widen_the_interval(tmp_path: Path) -> None:
    one = compute_gain([papers_runs(tmp_path / "one")])
    two = compute_gain([papers_runs(tmp_path / "two", {0: -0.02, 1: 0.02})])
    assert parts_of(two) == parts_of(one)
    (joining_one, joining_two) = (gain.joint[0].splits[0].changes[0] for gain in (one, two))
    assert joining_one.mean is not None
    assert joining_two.mean is not None
    assert joining_one.mean.low == pytest.approx(joining_one.mean.high)
    # The joint runs of both data sets share a seed: -2, 0 or +2 with probability 1/4, 1/2 and 1/4.
    assert joining_two.mean.low == pytest.approx(-0.0315)
    assert joining_two.mean.high == pytest.approx(0.0085)
    # All joint runs of a seed are shifted alike, so the parts between them are certain.
    s = two.joint[0].splits[0].changes[1].mean
    assert s is not None
    assert (s.low, s.high) == pytest.approx((0.091, 0.091))
    assert "may be chance" in render(two)


def test_a_single_joint_run_is_shown_with_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "people.csv"
    run = made_run(tmp_path / "joint", "bot-dcsd", ["a", "b"], {"a": 0.5, "b": 0.25}, sources=[str(table)])
    assert main(["gain", str(run)]) == 0
    text = capsys.readouterr().out
    assert "| A   | a      |     – |  50.0 |" in text
    assert (
        "What joining gains for: bot-dcsd, S + D + C. No run was trained on any of the data sets alone; for a: " in text
    )
    assert f"`jointreid train --config {run}/config.yaml --data a={table} --out {run}-a`" in text
    other = f"`jointreid train --config {run}/config.yaml"
    assert f"No run generates filters from the sample alone: {other} --dcsd.factors '[sample]' --out {run}-s`" in text
    assert f"No run is of one (bot or agw): {other} --model.name bot --out {run}-bot`" in text
    assert "Parts of the gain" not in text


def test_runs_that_were_trained_alone_only(tmp_path: Path) -> None:
    made_run(tmp_path / "a", "bot", ["a"], {"a": 0.5, "b": 0.25})
    text = render(compute_gain([tmp_path]))
    assert "| A   | a      |  50.0 |     – |" in text
    assert "No run was trained on two data sets or more, so there is nothing to compare." in text


def test_files_hold_every_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = papers_runs(tmp_path / "runs")
    assert main(["gain", str(runs), "--json", "--csv", str(tmp_path / "gain.csv")]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert {arm["start"] for arm in plain["joint"][0]["arms"]} == {"none"}
    (split,) = plain["joint"][0]["splits"]
    assert [change["name"] for change in split["changes"]] == ["joining", "S", "D + C"]
    assert split["changes"][1]["domains"]["msmt17"]["value"] == pytest.approx(0.093)
    rows = list(csv.DictReader(StringIO((tmp_path / "gain.csv").read_text())))
    (found,) = [r for r in rows if r["part"] == "bot-dcsd, S + D + C: D + C" and r["domain"] == "msmt17"]
    assert float(found["difference"]) == pytest.approx(0.027)
    assert (found["after"], found["after_training"], found["identities"]) == ("bot-dcsd, S + D + C", "joint", "4")
    assert (
        as_csv(compute_gain([runs], metric="rank1")).splitlines()[1].startswith("cuhk03 msmt17,rank1,joining,bot,alone")
    )


def test_the_page_shows_the_differences_and_names_nothing_outside(tmp_path: Path) -> None:
    runs = papers_runs(tmp_path / "runs")
    assert main(["gain", str(runs), "--html", str(tmp_path / "gain.html")]) == 0
    page = (tmp_path / "gain.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=|https?:", page)
    assert '<td class="less" style="--share: 60%"><b>-1.6</b><br><small>-1.6 to -1.6</small></td>' in page
    assert '<td class="more" style="--share: 43%"><b>+8.9</b>' in page  # of S over BoT, beside +12.3
    assert "<h3>The gain of bot-dcsd, S + D + C in parts</h3>" in page
    assert 'aria-label="The gain of bot-dcsd, S + D + C in parts: joining -1.' in page
    assert f"<code>jointreid gain {runs} --html {tmp_path}/gain.html</code>" in page


def test_what_training_started_from_is_said(tmp_path: Path) -> None:
    made_run(tmp_path / "runs" / "bot", "bot", ["a", "b"], {"a": 0.5, "b": 0.25}, pretraining="tv_in1k, sha256 0123")
    assert "\nTraining started from tv_in1k.\n" in render(compute_gain([tmp_path / "runs"]))
    made_run(tmp_path / "runs" / "dcsd", "bot-dcsd", ["a", "b"], {"a": 0.5, "b": 0.25}, pretraining="ddf_imagenet")
    gain = compute_gain([tmp_path / "runs"])
    said = "Training started: A from tv_in1k, B from ddf_imagenet."
    assert f"\n{said}\n" in render(gain)
    assert said in write_gain_page(gain, tmp_path / "gain.html").read_text(encoding="utf-8")
    made_run(tmp_path / "runs" / "random", "bot", ["a", "b"], {"a": 0.5, "b": 0.25})
    text = render(compute_gain([tmp_path / "runs"]))
    assert "A bot, from tv_in1k, 1 run\n" in text
    assert "Training started" not in text  # the names of the arms say it


def test_the_page_explains_the_words_in_the_names_of_networks(tmp_path: Path) -> None:
    made_run(tmp_path / "runs" / "bot", "bot", ["a", "b"], {"a": 0.5, "b": 0.25})
    made_run(tmp_path / "runs" / "joint", "joint", ["a", "b"], {"a": 0.5, "b": 0.25})
    page = write_gain_page(compute_gain([tmp_path / "runs"]), tmp_path / "gain.html").read_text(encoding="utf-8")
    assert "<li><b>static base</b>: the generated filters are added to fixed ones" in page
    assert "<li><b>context network</b>: one small network recognises" in page
    assert "<b>film</b>" not in page
    assert "add up to the total" not in page  # a single part is the whole gain


def test_the_page_of_one_run_shows_its_accuracy(tmp_path: Path) -> None:
    run = made_run(tmp_path / "joint", "bot", ["a", "b"], {"a": 0.5, "b": 0.25}, sources=["people <1>.csv"])
    assert main(["gain", str(run), "--html", str(tmp_path / "gain.html")]) == 0
    page = (tmp_path / "gain.html").read_text(encoding="utf-8")
    assert '<th scope="row">a</th><td class="first">–</td><td>50.0</td>' in page
    assert "What these runs cannot tell" in page
    assert "a=people &lt;1&gt;.csv" in page
    assert 'class="heat"' not in page


# Runs that cannot be compared, or are left out


def test_other_test_data_are_refused(tmp_path: Path) -> None:
    a = made_run(tmp_path / "a", "bot", ["a"], {"a": 0.5})
    b = made_run(tmp_path / "b", "bot", ["a", "b"], {"a": [0.5, 0.5, 0.5]})
    with pytest.raises(
        JointreidError, match=f"a: {a} and {b} cannot be compared: their test data differ, 4 queries in"
    ):
        compute_gain([a, b])
    b = made_run(tmp_path / "b", "bot", ["a", "b"], {"a": 0.5})
    for run, contents in ((a, "00"), (b, "01")):
        image = RunImage("a", "gallery", "x.jpg", "", "1", 0, False, False, contents * 16)
        save_images([image, RunImage("a", "train", "y.jpg", "", "1", 0, False, False, contents * 16)], run)
    with pytest.raises(JointreidError, match="1 gallery images are only in the first and 1 only in the second"):
        compute_gain([a, b])


def test_the_same_images_under_other_names_are_called_so(tmp_path: Path) -> None:
    a, b = (made_run(tmp_path / name, "bot", ["a"], {"a": 0.5}) for name in ("a", "b"))
    results, queries = load_results(b)
    save_results(results, [replace(query, path=f"moved/{query.path}") for query in queries], b)
    for run in (a, b):
        image = RunImage("a", "query", "x.jpg", "", "1", 0, False, False, "00" * 16)
        save_images([replace(image, split="train"), image, replace(image, split="gallery")], run)
    with pytest.raises(JointreidError, match=r"images are the same, but have other names .* such as 0.jpg in one"):
        compute_gain([a, b])


def test_runs_of_a_folder_with_other_test_data_are_left_out_by_name(tmp_path: Path) -> None:
    made_run(tmp_path / "a", "bot", ["a"], {"a": [0.5, 0.5, 0.5]})
    for name in ("b", "c"):
        made_run(tmp_path / name, "bot", [name, "a"], {"a": 0.5})
    gain = compute_gain([tmp_path])
    assert gain.runs == (str(tmp_path / "b"), str(tmp_path / "c"))
    (remark,) = gain.remarks
    assert remark == (
        f"left out {tmp_path / 'a'}: a: {tmp_path / 'b'} and {tmp_path / 'a'} cannot be compared: their test data "
        "differ, 4 queries in the first and 3 in the second"
    )
    # A run that was named is kept, and the others of the folder left out.
    assert compute_gain([tmp_path, tmp_path / "a"]).runs == (str(tmp_path / "a"),)


def test_another_way_of_evaluating_is_refused(tmp_path: Path) -> None:
    a = made_run(tmp_path / "a", "bot", ["a"], {"a": 0.5})
    b = made_run(tmp_path / "b", "bot", ["a", "b"], {"a": 0.5}, rerank=True)
    with pytest.raises(JointreidError, match=r"different ways, rerank False and True.*`jointreid evaluate"):
        compute_gain([a, b])


def test_what_is_no_evaluated_run_is_left_out_of_a_folder(tmp_path: Path) -> None:
    papers_runs(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.yaml").write_text("train: {seed: 1}\n")
    gain = compute_gain([tmp_path])
    assert len(gain.runs) == 5
    (remark,) = gain.remarks
    assert remark.startswith(f"left out {tmp_path / 'broken'}: ")
    with pytest.raises(JointreidError, match=r"labels\.json"):
        compute_gain([tmp_path / "broken"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(JointreidError, match="no evaluated run was found in"):
        compute_gain([tmp_path / "empty"])


def test_a_second_run_with_the_same_seed_is_left_out_or_another_arm(tmp_path: Path) -> None:
    made_run(tmp_path / "short", "bot", ["a", "b"], {"a": 0.25, "b": 0.25}, step=50)
    made_run(tmp_path / "long", "bot", ["a", "b"], {"a": 0.5, "b": 0.5}, step=100)
    gain = compute_gain([tmp_path])
    assert [arm.joint for arm in gain.joint[0].arms] == [{"a": 0.5, "b": 0.5}]
    assert gain.remarks == (
        f"left out {tmp_path / 'short'}: {tmp_path / 'long'} has the same settings, data and seed (0), and was trained "
        "for more steps",
    )
    made_run(tmp_path / "short", "bot", ["a", "b"], {"a": 0.25, "b": 0.25}, train={"max_steps": 50})
    labels = {arm.label: arm.joint["a"] for arm in compute_gain([tmp_path]).joint[0].arms}
    assert labels == {"bot, train.max_steps 0": 0.5, "bot, train.max_steps 50": 0.25}


def test_arms_are_told_apart_by_their_base_and_their_context(tmp_path: Path) -> None:
    names, static = ["a", "b"], {"base": "static"}
    for index, (recipe, dcsd) in enumerate(
        [
            ("bot", {}),
            ("bot-dcsd-s", {}),
            ("bot-dcsd-s", static),
            ("bot-dcsd", static),
            ("bot-dcsd", {**static, "context": "network"}),
        ]
    ):
        made_run(tmp_path / str(index), recipe, names, dict.fromkeys(names, index / 8), dcsd=dcsd)
    (joint,) = compute_gain([tmp_path]).joint
    assert [arm.label for arm in joint.arms] == [
        "bot",
        "bot-dcsd, S",
        "bot-dcsd, S, static base",
        "bot-dcsd, S + D + C, static base",
        "bot-dcsd, S + D + C, static base, context network",
    ]
    # D + C is measured against S on the same base, and S without a base is compared with the plain network.
    parts = {split.label: [(c.name, c.before) for c in split.changes] for split in joint.splits}
    assert parts == {
        "bot-dcsd, S + D + C, static base": [("S", "bot"), ("D + C", "bot-dcsd, S, static base")],
        "bot-dcsd, S + D + C, static base, context network": [("S", "bot"), ("D + C", "bot-dcsd, S, static base")],
        "bot-dcsd, S": [("S", "bot")],
    }


def test_a_control_owes_nothing_to_filters_from_the_sample(tmp_path: Path) -> None:
    names = ["a", "b"]
    shared = {"base": "static", "context": "network"}
    for recipe, dcsd in [("bot", {}), ("bot-dcsd-s", {"base": "static"}), ("bot-dcsd", {**shared, "inject": "film"})]:
        made_run(tmp_path / recipe, recipe, names, dict.fromkeys(names, 0.5), dcsd=dcsd)
    (joint,) = compute_gain([tmp_path]).joint
    parts = {split.label: [(change.name, change.before) for change in split.changes] for split in joint.splits}
    assert parts == {
        "bot-dcsd, D + C, static base, film, context network": [("D + C", "bot")],
        "bot-dcsd, S, static base": [("S", "bot")],
    }
    assert not [text for text in joint.missing if "owes to S" in text]


def test_suggested_runs_have_settings_that_fit(tmp_path: Path) -> None:
    """A plain network has no context whose labels could be shuffled, and shrinking cameras needs the factor camera."""
    names = ["a", "b"]
    dcsd = {"base": "static", "context": "network", "camera_shrinkage": 5, "context_dropout": 0.2}
    shuffled = {"context_labels": "shuffled"}
    made_run(tmp_path / "whole", "bot-dcsd", names, dict.fromkeys(names, 0.5), dcsd=dcsd, loss=shuffled)
    for seed, labels in enumerate(("correct", "shuffled")):
        loss = {"context_labels": labels}
        made_run(tmp_path / labels, "bot", names, dict.fromkeys(names, 0.5), seed=seed, loss=loss)
    (joint,) = compute_gain([tmp_path]).joint
    assert [(arm.label, arm.runs) for arm in joint.arms if "dcsd" not in arm.label] == [("bot", 2)]
    (missing,) = [text for text in joint.missing if "owes to S" in text]
    options = (
        "--dcsd.factors '[sample]' --dcsd.camera_shrinkage 0 --dcsd.context_dropout 0 --loss.context_labels correct"
    )
    assert f"{options} --out" in missing


def test_settings_of_single_data_sets_belong_to_the_runs_that_were_trained_on_them(tmp_path: Path) -> None:
    names = ["a", "b"]
    settings: dict[str, Any] = {
        "data": {"leave_out_cameras": ("b:1",), "places": ("a=town", "b=town"), "sources": ("a=a.csv", "b=b.csv")},
        "sampler": {"kind": "domain_weighted", "domain_weights": ("a=1", "b=2")},
    }
    made_run(tmp_path / "joint", "bot", names, {"a": 0.5, "b": 0.5}, **settings)
    (text,) = compute_gain([tmp_path]).joint[0].missing
    options = "--data.places [a=town] --data.leave_out_cameras [] --sampler.domain_weights [a=1] --data a=a.csv"
    assert options in text.replace("'", "")
    of_a: dict[str, Any] = {
        "data": {"places": ("a=town",)},
        "sampler": {"kind": "domain_weighted", "domain_weights": ("a=1",)},
    }
    made_run(tmp_path / "a", "bot", ["a"], {"a": 0.25}, **of_a)
    made_run(tmp_path / "b", "bot", ["b"], {"b": 0.25}, sampler={"kind": "domain_weighted", "domain_weights": ("b=9",)})
    arms = compute_gain([tmp_path]).joint[0].arms
    # The run on b alone was trained on the camera that the joint one left out, so it is another arm.
    assert [(sorted(arm.alone), sorted(arm.joint)) for arm in arms] == [(["a"], ["a", "b"]), (["b"], [])]


def test_a_grown_run_is_no_joint_training_and_no_command_starts_from_the_run_before(tmp_path: Path) -> None:
    before, grown = tmp_path / "before", tmp_path / "grown"
    made_run(before, "bot-dcsd", ["a"], {"a": 0.5}, sources=["a=/data/a"], optim={"lr": 0.001})
    made_run(
        grown,
        "bot-dcsd",
        ["a", "b"],
        {"a": 0.5, "b": 0.5},
        sources=["a=/data/a", "b=/data/b"],
        pretraining=str(before),
        optim={"lr": 0.0003},
        train={"init": str(before), "init_classes": True},
    )
    (text,) = compute_gain([tmp_path]).joint[0].missing
    assert "Its joint run was grown by add-domain from a run on other data" in text
    data = "--data a=/data/a --data b=/data/b"
    assert text.endswith(f"`jointreid train --config {before}/config.yaml {data} --out {grown}-joint`")
    (tmp_path / "before" / "config.yaml").unlink()
    (text,) = compute_gain([grown]).joint[0].missing
    start = "--train.init= --train.init_classes=false"
    assert text.endswith(f"`jointreid train --config {grown}/config.yaml {start} {data} --out {grown}-joint`")


def test_means_are_over_the_data_sets_that_have_both(tmp_path: Path) -> None:
    made_run(tmp_path / "alone", "bot", ["a"], {"a": 0.5})
    made_run(tmp_path / "joint", "bot", ["a", "b"], {"a": 0.25, "b": 0.75})
    gain = compute_gain([tmp_path])
    assert gain.joint[0].arms[0].means == (0.5, 0.25)
    assert "| A   | mean   |  50.0 |  25.0 |" in render(gain)
    assert "No run was trained on b alone" in render(gain)
