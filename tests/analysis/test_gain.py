import csv
import json
import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import pytest

from jointreid.analysis.gain import compute_gain
from jointreid.analysis.gain_page import write_gain_page
from jointreid.analysis.gain_text import as_csv, render
from jointreid.analysis.gain_values import Gain
from jointreid.cli import main
from jointreid.messages.errors import JointreidError
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
    assert "\ndifferences were computed before rounding, so they may be 0.1 away from those of the numbers" in text
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
    # One scale for both maps, up to the +12.3 of S + D + C over BoT.
    assert '<td class="less" style="--share: 8%"><b>-1.6</b><br><small>-1.6 to -1.6</small></td>' in page
    assert '<td class="more" style="--share: 43%"><b>+8.9</b>' in page
    captions = re.findall(r"<caption><span>([^<]*)", page)
    assert sum("strongest colour stands for 12.3 points, on every map of this page." in text for text in captions) == 2
    assert "<h3>The gain of bot-dcsd, S + D + C in parts</h3>" in page
    assert 'aria-label="The gain of bot-dcsd, S + D + C in parts: joining -1.' in page
    assert f"<code>jointreid gain {runs} --html {tmp_path}/gain.html</code>" in page


def test_small_differences_have_pale_colours(tmp_path: Path) -> None:
    for name in "ab":
        made_run(tmp_path / "runs" / name, "bot", [name], {name: 0.5})
    made_run(tmp_path / "runs" / "joint", "bot", ["a", "b"], {"a": 0.501, "b": 0.5})
    page = write_gain_page(compute_gain([tmp_path / "runs"]), tmp_path / "gain.html").read_text(encoding="utf-8")
    assert '<td class="more" style="--share: 3%">' in page  # 0.1 of 2 points
    assert "The strongest colour stands for 2.0 points" in page


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
