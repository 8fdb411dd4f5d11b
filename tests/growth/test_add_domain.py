"""A run is grown by a data set: classes keep their rows, the comparison covers every data set, mistakes stop early."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from jointreid.cli import main
from jointreid.config import DcsdConfig, RunConfig
from jointreid.data.label_space import DomainLabels, LabelSpace
from jointreid.data.manifest import read_manifest, write_manifest
from jointreid.growth.add_domain import add_domain
from jointreid.messages.errors import JointreidError
from jointreid.models.reid import build_model
from jointreid.retrieval.evaluate import evaluate_run
from jointreid.retrieval.result_files import load_results
from jointreid.run import Run, open_run
from jointreid.training.known_classes import copy_known_rows, known_classes
from jointreid.training.train import train
from tests.small import small_config

BEFORE = LabelSpace((DomainLabels("a", ("1", "2"), (0, 1), 0, 0), DomainLabels("c", ("1", "5"), (0,), 2, 2)))
NOW = LabelSpace(
    (
        DomainLabels("a", ("1", "2"), (0, 1), 0, 0),
        DomainLabels("b", ("1", "9"), (0, 1), 2, 2),
        DomainLabels("c", ("0", "1", "5"), (0, 3), 4, 4),
    )
)


def test_classes_are_known_by_domain_and_name() -> None:
    assert known_classes(BEFORE, NOW) == {
        "identity": ([0, 1, 2, 3], [0, 1, 5, 6]),
        "domain": ([0, 1], [0, 2]),
        "camera": ([0, 1, 2], [0, 1, 4]),
    }


def test_rows_of_known_classes_are_copied_and_others_stay() -> None:
    torch.manual_seed(0)
    old = build_model("bot-dcsd", BEFORE.num_ids, BEFORE.num_domains, BEFORE.num_cameras, trunk="resnet50-w16")
    new = build_model("bot-dcsd", NOW.num_ids, NOW.num_domains, NOW.num_cameras, trunk="resnet50-w16")
    start = {name: tensor.clone() for name, tensor in new.state_dict().items()}
    assert copy_known_rows(new, old.state_dict(), BEFORE, NOW) == 4
    now, weights = new.state_dict(), old.state_dict()
    rows = now["classifier.weight"]
    assert torch.equal(rows[[0, 1, 5, 6]], weights["classifier.weight"])
    assert torch.equal(rows[[2, 3, 4]], start["classifier.weight"][[2, 3, 4]])
    camera = "trunk.layer1.0.conv2.camera.classifier.bias"
    assert torch.equal(now[camera][[0, 1, 4]], weights[camera])
    assert torch.equal(now[camera][[2, 3, 5]], start[camera][[2, 3, 5]])
    domain = "trunk.layer4.2.conv2.domain.classifier.weight"
    assert torch.equal(now[domain][[0, 2]], weights[domain])
    assert torch.equal(now["trunk.conv1.weight"], start["trunk.conv1.weight"])


def test_the_vectors_of_known_domains_and_cameras_are_copied() -> None:
    dcsd = DcsdConfig(context="labels", camera_shrinkage=5)
    old, new = (
        build_model("bot-dcsd", s.num_ids, s.num_domains, s.num_cameras, trunk="resnet50-w16", dcsd=dcsd)
        for s in (BEFORE, NOW)
    )
    copy_known_rows(new, old.state_dict(), BEFORE, NOW)
    now, weights = new.state_dict(), old.state_dict()
    assert torch.equal(now["context.domain.weight"][[0, 2]], weights["context.domain.weight"])
    assert torch.equal(now["context.camera.weight"][[0, 1, 4]], weights["context.camera.weight"])


def part(manifest: Path, to: Path, name: str) -> Path:
    """Write a manifest of one of the domains."""
    write_manifest([read_manifest(manifest)[name]], to / f"{name}.csv", root=manifest.parent)
    return to / f"{name}.csv"


@pytest.fixture(scope="module")
def grown(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[RunConfig, Run, Path]:
    """A run of two steps on one domain, and the manifest of another domain."""
    folder = tmp_path_factory.mktemp("growth")
    known, new = part(tiny_manifest, folder, "plaza"), part(tiny_manifest, folder, "gate")
    config = small_config(manifest=known, cache=folder / "cache", train={"out": str(folder / "run"), "max_steps": 2})
    data = {"places": ("plaza=town",), "leave_out_cameras": ("plaza:1",)}
    config = config.replace(data=data, optim={"generator_lr": 0})
    return config, train(config, Console(quiet=True)), new


@pytest.mark.slow
def test_a_run_is_grown_and_compared_on_every_data_set(
    grown: tuple[RunConfig, Run, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, run, new = grown
    out = tmp_path / "grown"
    command = ["add-domain", str(run.path), "--manifest", str(new), "--out", str(out), "--max-steps", "1"]
    assert main([*command, "--lr-factor", "0.5"]) == 0
    printed = capsys.readouterr().out
    grown_run = open_run(out)
    assert [domain.name for domain in grown_run.label_space.domains] == ["gate", "plaza"]
    assert grown_run.config.optim.lr == run.config.optim.lr * 0.5
    assert grown_run.config.optim.generator_lr == 1  # as the run that began at random had it
    assert (grown_run.config.train.init, grown_run.config.train.init_classes) == (str(run.path), True)
    assert "identities keep their class" in printed
    table = [line.split("|")[1:3] for line in printed[printed.index("mAP before") :].splitlines() if "|" in line]
    assert [[cell.strip() for cell in row] for row in table[2:]] == [["plaza", "known"], ["gate", "new"]]
    assert any(line.startswith(("Forgotten: plaza (-", "No known data set lost ")) for line in printed.splitlines())
    assert "for 2 epochs (schedule.epochs), at most 1 steps (train.max_steps), lr 1.75e-04 (optim.lr)." in printed
    assert main(command) == 2
    assert "holds a run already; resume it with" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_is_grown_by_the_new_data_alone(
    grown: tuple[RunConfig, Run, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the settings say of data sets that are not trained on is left out, and standard output is JSON alone."""
    _, run, new = grown
    out = tmp_path / "grown"
    command = ["add-domain", str(run.path), "--manifest", str(new), "--out", str(out), "--replay", "false", "--json"]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["known"], found["added"], found["replayed"]) == (["plaza"], ["gate"], False)
    assert [domain["domain"] for domain in found["comparison"]["domains"]] == ["plaza", "gate"]
    config = open_run(out).config
    assert (config.data.places, config.data.leave_out_cameras, config.train.max_steps) == ((), (), 2)


@pytest.mark.slow
def test_results_of_other_weights_or_of_another_way_are_not_taken_for_those_before(
    grown: tuple[RunConfig, Run, Path], tmp_path: Path
) -> None:
    _, run, new = grown
    copy = Path(shutil.copytree(run.path, tmp_path / "run"))
    evaluate_run(copy, rerank=True)
    add_domain(copy, (str(new),), tmp_path / "one", settings={"train": {"max_steps": 1}}, console=Console(quiet=True))
    results, _ = load_results(copy)
    assert [(r.domain, r.conditions.rerank) for r in results.domains if r.conditions] == [
        ("plaza", False),
        ("gate", False),
    ]
    of_plaza = [replace(r, conditions=replace(r.conditions, step=1)) for r in results.domains[:1] if r.conditions]
    text = json.dumps(replace(results, domains=tuple(of_plaza)).to_dict())
    (copy / "results.json").write_text(text)
    found = add_domain(
        copy, (str(new),), tmp_path / "two", settings={"train": {"max_steps": 1}}, console=Console(quiet=True)
    )
    assert found is not None
    assert set(found.changes) == {"plaza", "gate"}


def test_another_way_of_evaluating_is_refused(grown: tuple[RunConfig, Run, Path], tmp_path: Path) -> None:
    _, run, new = grown
    with pytest.raises(JointreidError, match=r"eval\.flip is True; expected False, as in the run before"):
        add_domain(run.path, (str(new),), tmp_path / "no", settings={"eval": {"flip": True}})


def test_settings_that_do_not_fit_all_data_sets_are_refused_before_anything_is_evaluated(
    grown: tuple[RunConfig, Run, Path], tmp_path: Path
) -> None:
    _, run, new = grown
    weights = {"sampler": {"kind": "domain_weighted", "domain_weights": ("plaza=1",)}}
    with pytest.raises(JointreidError, match=r"the data sets do not fit the settings: .*gate"):
        add_domain(run.path, (str(new),), tmp_path / "no", settings=weights)


def test_a_data_set_that_the_run_knows_is_refused(grown: tuple[RunConfig, Run, Path], tmp_path: Path) -> None:
    config, run, _ = grown
    with pytest.raises(JointreidError, match="was trained on a data set called plaza already; give the new one"):
        add_domain(run.path, config.data.sources, tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_missing_data_and_folder_are_named(
    tmp_path: Path, grown: tuple[RunConfig, Run, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, run, new = grown
    assert main(["add-domain", str(run.path), "--manifest", str(new)]) == 2
    assert "--out is missing" in capsys.readouterr().err
    with pytest.raises(JointreidError, match="no new data sets; name them with --manifest FILE"):
        add_domain(run.path, (), tmp_path / "no")
