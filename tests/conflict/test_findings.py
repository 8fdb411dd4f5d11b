"""The three sentences, for studies whose figures are known."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jointreid.analysis.resampling import Estimate
from jointreid.conflict.candidates import Candidates, PersonCandidate
from jointreid.conflict.charts import number, share
from jointreid.conflict.context import ContextUse
from jointreid.conflict.domain_losses import domain_losses
from jointreid.conflict.findings import NOT_COMPARED, findings, worst_part
from jointreid.conflict.gradients import SHARED, GradientConflict, PartConflict
from jointreid.conflict.neighbours import CameraPairs
from jointreid.conflict.page import render_page
from jointreid.conflict.probe import ProbeResult
from jointreid.conflict.study import ConflictStudy, LayerProbe
from jointreid.data.records import ImageRecord

NOTHING = ConflictStudy(
    run="runs/x",
    system="bot, resnet50",
    step=None,
    images={"east": (10, 0)},
    gradients=None,
    losses={},
    probes=(),
    cameras={},
    cross=None,
    candidates=None,
    context=ContextUse({}, "This model has no context: nothing in it is told where an image comes from."),
    kernels=(),
)


def part(name: str, between: float, within: float, opposing: float) -> PartConflict:
    cosine = np.array([[within, between], [between, within]])
    return PartConflict(name, 10, cosine, np.array([[0.0, opposing], [opposing, 0.0]]))


def study(whole: PartConflict) -> ConflictStudy:
    probe = ProbeResult(0.9, 0.8, 0.25, 4, 100)
    arms = {"predicted": 0.8, "true": 0.85, "shuffled": 0.5, "zeroed": 0.4}
    return replace(
        NOTHING,
        images={"east": (50, 50), "west": (50, 50)},
        gradients=GradientConflict(
            (part("stem", 0.2, 0.5, 0.1), part("stage 2", -0.3, 0.4, 0.9), part("head", -0.9, 0.4, 1.0), whole),
            5,
            {"east": 16, "west": 16},
            {},
        ),
        probes=(LayerProbe("stem", probe, None), LayerProbe("embedding", probe, probe)),
        cameras={
            "west": CameraPairs(
                (1, 5), np.array([[0.9, 0.2], [0.6, np.nan]]), np.array([[50, 40], [30, 0]], dtype=np.int64)
            )
        },
        candidates=Candidates((), (), (), 1, 2, 1),
        context=ContextUse(
            {arm: {"east": value, "west": None} for arm, value in arms.items()}, lost=Estimate(0.3, 0.2, 0.4)
        ),
    )


def test_sentences_name_the_figures() -> None:
    first, second, third = findings(study(part(SHARED, -0.2, 0.4, 0.7)))
    assert "in opposite directions" in first
    assert "a mean cosine of \N{MINUS SIGN}0.20 (two batches of one data set: 0.40)" in first
    assert "in 70% of the cases" in first
    assert "agree least in stage 2 (cosine \N{MINUS SIGN}0.30, opposed in 90%)" in first  # a head tells data sets apart
    assert "the data set of 90% of new people's images (chance 25%)" in second
    assert (
        "the model uses its context: among the images looked at the mean mAP is 80.0 with its own context, 50.0"
        in second
    )
    assert "from 5 to 1 of west, where 60% of 30 queries find somebody else first" in third
    assert "1 image resembles another person" in third
    assert "3 pairs of identities are alike enough" in third


def test_what_few_people_cannot_tell_of_the_context_is_not_told() -> None:
    whole = study(part(SHARED, 0.0, 0.4, 0.5))
    for lost, words in (
        (Estimate(0.03, -0.02, 0.08), "these images do not tell whether the model uses its context: among"),
        (Estimate(0.001, -0.004, 0.006), "the model hardly uses its context: among"),
    ):
        found = findings(replace(whole, context=replace(whole.context, lost=lost)))[1]
        assert words in found
        assert f"({'95 % interval of the loss with another image'}'s: {100 * lost.low:+.1f} to" in found


def test_directions_are_judged_by_what_batches_of_one_data_set_show() -> None:
    assert "nearly unrelated directions" in findings(study(part(SHARED, 0.1, 0.4, 0.5)))[0]
    assert "similar directions" in findings(study(part(SHARED, 0.3, 0.4, 0.1)))[0]


def test_a_weak_model_says_nothing_about_labels() -> None:
    weak = replace(study(part(SHARED, 0.0, 0.4, 0.5)), candidates=Candidates((), (), (), 41, 800, 100))
    assert "41 of 200 images resemble another person" in findings(weak)[2]
    assert "errs too often to say which labels are wrong" in findings(weak)[2]


def test_headings_tell_how_many_candidates_there_are_of_which_some_are_shown() -> None:
    east, west = (ImageRecord(Path(f"{name}.jpg"), name, 0) for name in ("e", "w"))
    pair = PersonCandidate(("east", east), ("west", west), 0.9, 0.8)
    found = replace(NOTHING, candidates=Candidates((), (), (pair,), 1312, 0, 12))
    page = render_page(found, terms={}, pictures=False)
    assert "another person of their data set more (1,312)" in page
    assert "may be one person (0)" in page
    assert "People whom two data sets may share (1 of 12 shown)" in page
    assert found.to_dict()["candidates"]["alike"] == 12


def test_losses_that_are_not_finite_are_left_out_and_every_data_set_has_its_own_letters(tmp_path: Path) -> None:
    names = [f"set {index}" for index in range(28)]
    lines = [{"step": step, "identity_by_domain": dict.fromkeys(names, 1.0)} for step in (1, 2)]
    lines.append(
        {"step": 3, "identity_by_domain": {"set 0": math.nan, "set 1": math.inf, "set 2": 2.0, "new": math.nan}}
    )
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 4, "iden')
    losses = domain_losses(tmp_path)
    assert list(losses) == names
    assert [losses[name][-1] for name in names[:3]] == [(2.0, 1.0), (2.0, 1.0), (3.0, 2.0)]
    page = render_page(replace(NOTHING, losses=losses), terms={})
    keys = re.findall(r'<b class="badge">(\w+)</b>', page)
    assert (len(set(keys)), keys[:2], keys[-2:]) == (28, ["A", "B"], ["A1", "B1"])


def test_a_run_that_is_the_working_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "joint").mkdir()
    monkeypatch.chdir(tmp_path / "joint")
    page = render_page(replace(NOTHING, run="."), terms={})
    assert page.count("Conflict between data sets: joint<") == 2
    assert ">joint: bot, resnet50" in page


def test_what_does_not_apply_is_said_in_a_line(tmp_path: Path) -> None:
    assert worst_part(NOTHING) is None
    assert findings(NOTHING) == [
        "This run has a single data set, so no gradients of data sets can oppose each other.",
        "This model has no context: nothing in it is told where an image comes from.",
        "There are no test images to say more about the data.",
    ]
    page = render_page(NOTHING, terms={"east": ""}, command="jointreid conflict runs/x")
    for line in (
        "One data set has nothing to be in conflict with.",
        "that needs train.log_domains",
        "There are no test images to read it from.",
        "This model has no context",
        "This model applies the same kernels to every image.",
        "No data set has test images from two cameras.",
        "That needs test images of two data sets.",
        "There are no images to compare.",
    ):
        assert line in page


def test_data_sets_with_too_few_people_could_not_be_compared() -> None:
    nothing = replace(study(part(SHARED, np.nan, 0.4, np.nan)))
    assert nothing.gradients is not None
    parts = (part("stem", np.nan, 0.4, np.nan), nothing.gradients.parts[-1])
    nothing = replace(nothing, gradients=replace(nothing.gradients, parts=parts))
    assert findings(nothing)[0] == NOT_COMPARED
    assert NOT_COMPARED in render_page(nothing, terms={"east": "", "west": ""}, command="jointreid conflict runs/x")


def test_numbers_for_people() -> None:
    assert number(-0.001) == "0.00"
    assert number(-0.25, 1) == "\N{MINUS SIGN}0.2"
    assert (number(None), share(float("nan")), share(0.333)) == ("–", "–", "33%")
