"""Which runs a gain compares: those that are left out or missing, and which make up an arm."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jointreid.analysis.gain import compute_gain
from jointreid.analysis.gain_text import render
from jointreid.data.run_images import RunImage, save_images
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.result_files import load_results, save_results
from tests.analysis.made_runs import made_run
from tests.analysis.test_gain import papers_runs


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
    dcsd |= {"context_stages": (1, 2)}
    shuffled = {"context_labels": "shuffled"}
    made_run(tmp_path / "whole", "bot-dcsd", names, dict.fromkeys(names, 0.5), dcsd=dcsd, loss=shuffled)
    for seed, labels in enumerate(("correct", "shuffled")):
        loss = {"context_labels": labels}
        made_run(tmp_path / labels, "bot", names, dict.fromkeys(names, 0.5), seed=seed, loss=loss)
    (joint,) = compute_gain([tmp_path]).joint
    assert [(arm.label, arm.runs) for arm in joint.arms if "dcsd" not in arm.label] == [("bot", 2)]
    (missing,) = [text for text in joint.missing if "owes to S" in text]
    options = (
        "--dcsd.factors '[sample]' --dcsd.camera_shrinkage 0 --dcsd.context_dropout 0 --dcsd.context_stages '[]' "
        "--loss.context_labels correct"
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
