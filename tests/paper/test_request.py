"""Valid requests, and the settings of each of their runs."""

from pathlib import Path

import pytest

from jointreid.config import RunConfig
from jointreid.messages.errors import JointreidError
from jointreid.paper.datasets import GridDataset, datasets_of_paper
from jointreid.paper.facts import JOINT
from jointreid.paper.grid import PlannedRun
from jointreid.paper.request import SCALES, Request, changed_settings, config_for, find_scale, run_name

DATASETS = datasets_of_paper()
FOUR = [dataset for dataset in DATASETS if dataset.slot != "dukemtmc"]


def planned(
    model: str = "bot-dcsd", trained_on: str = JOINT, datasets: tuple[GridDataset, ...] = DATASETS
) -> PlannedRun:
    slots = tuple(h.slot for h in datasets) if trained_on == JOINT else (trained_on,)
    return PlannedRun(model, trained_on, slots, 0, slots, ("II",))


def test_run_folders_are_named_by_model_data_and_seed() -> None:
    assert run_name(planned(), DATASETS) == "bot-dcsd-joint-s0"
    assert run_name(planned("agw", "cuhk03"), DATASETS) == "agw-cuhk03-s0"
    four = run_name(planned(datasets=tuple(FOUR)), FOUR)
    assert four == "bot-dcsd-joint-market1501+cuhk_sysu+cuhk03+msmt17-s0"


def test_names_that_no_folder_can_have_stay_apart() -> None:
    def name(domain: str) -> str:
        dataset = GridDataset("market1501", domain, "", "", None, DATASETS[0].counts)
        return run_name(planned("bot", "market1501", (dataset,)), [dataset])

    names = {name(domain) for domain in ("a b", "a/b", "a_b", "x" * 200, "x" * 201)}
    assert len(names) == 5
    assert all("/" not in name and len(name) < 120 for name in names)


def test_a_run_has_its_recipe_its_data_and_what_was_asked_for(tmp_path: Path) -> None:
    base = RunConfig().replace(optim={"lr": 1e-4}, train={"device": "cpu"})
    datasets = [GridDataset(h.slot, h.name, f"{h.name}=/d", "", None, h.counts) for h in DATASETS]
    request = Request(tmp_path, base, init={"bot": "r50.safetensors", "bot-dcsd": "runs/before"})
    config = config_for(request, planned("bot-dcsd", "cuhk03"), datasets)
    assert (config.model.name, config.optim.lr, config.schedule.epochs) == ("bot-dcsd", 1e-4, 120)
    assert config.data.sources == ("cuhk03=/d",)
    assert config.train.init == "runs/before"
    assert config.train.eval_every == 0
    assert config.train.out == str(tmp_path / "runs" / "bot-dcsd-cuhk03-s0")
    assert changed_settings(config, "bot-dcsd", "paper") == {"optim.lr": "0.0001"}
    sample_only = config_for(request, planned("bot-dcsd-s"), datasets)
    assert sample_only.dcsd.factors == ("sample",)
    assert sample_only.train.init == ""
    assert changed_settings(config_for(Request(tmp_path), planned(), datasets), "bot-dcsd", "paper") == {}


def test_weights_to_start_from_are_given_by_model_recipe_or_network(tmp_path: Path) -> None:
    init = {
        "static": "tv_in1k",
        "dcsd": "ddf_imagenet=/w/ddf=1.pth.tar",
        "agw-dcsd": "r50_partial",
        "bot-snr": "runs/x",
    }
    request = Request(tmp_path, init=init)

    def start(model: str) -> tuple[str, str, str]:
        config = config_for(request, planned(model), DATASETS)
        return config.model.pretrain, config.model.pretrain_file, config.train.init

    assert start("bot") == start("agw") == ("tv_in1k", "", "")
    assert start("bot-dcsd") == start("bot-dcsd-s") == ("ddf_imagenet", "/w/ddf=1.pth.tar", "")
    assert start("agw-dcsd") == ("r50_partial", "", "")
    assert start("agw-dcsd-no-sg") == ("ddf_imagenet", "/w/ddf=1.pth.tar", "")
    assert start("bot-snr") == ("none", "", "runs/x")
    assert changed_settings(config_for(request, planned("bot"), DATASETS), "bot", "paper") == {}


def test_scale_tiny_is_30_iterations_of_a_narrow_network_logged_one_by_one(tmp_path: Path) -> None:
    base = RunConfig().replace(image={"height": 256}, train={"log_every": 20})
    config = config_for(Request(tmp_path, base, scale=find_scale("tiny")), planned("agw"), DATASETS)
    assert (config.image.height, config.image.width, config.model.trunk) == (64, 32, "resnet50-w16")
    assert (config.train.max_steps, config.train.log_every, config.sampler.batch_size) == (30, 1, 64)
    assert config.schedule.epochs >= 30  # an epoch may be a single step
    assert "mean nothing" in SCALES["tiny"].warning


def test_a_model_defined_by_its_weights_needs_them(tmp_path: Path) -> None:
    run = planned("bot-a1", "cuhk03")
    request = Request(tmp_path, tables=("controls",), init={"bot": "r50.safetensors"})
    with pytest.raises(JointreidError, match="give them with --init bot-a1=a1_in1k"):
        config_for(request, run, DATASETS)
    given = Request(tmp_path, tables=("controls",), init={"bot-a1": "a1.safetensors"})
    assert config_for(given, run, DATASETS).train.init == "a1.safetensors"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"preset": "papers"}, "no preset papers; did you mean paper"),
        ({"seeds": ()}, r"seeds are \[\]; expected one or more different numbers"),
        ({"seeds": (1, 1)}, r"seeds are \[1, 1\]; expected one or more different"),
        ({"seeds": (-1,)}, "numbers >= 0"),
        ({"base": RunConfig().replace(data={"val_ids": 3})}, "the tables report the last"),
        ({"base": RunConfig().replace(data={"skip_unreadable": True})}, "the tables need all of them"),
        ({"tables": ("2",)}, "no table 2"),
        ({"models": ("bott",)}, "did you mean bot"),
        ({"init": {"resnet": "x"}}, "no model with initial weights resnet"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        Request(tmp_path, **options)  # type: ignore[arg-type]
    with pytest.raises(JointreidError, match="no scale tini; did you mean tiny"):
        find_scale("tini")
