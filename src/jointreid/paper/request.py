"""A request to run the grid, and the settings of each of its runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from jointreid.config import PretrainSource, RunConfig, config_difference
from jointreid.machine.hashing import apart_from_others, name_on_disk
from jointreid.messages.errors import JointreidError, no_such
from jointreid.paper.datasets import GridDataset
from jointreid.paper.facts import JOINT, TABLES
from jointreid.paper.grid import SLOTS, PlannedRun, plan_grid
from jointreid.recipes import PRESETS, apply_recipe


@dataclass(frozen=True)
class GridScale:
    """The size of the runs.

    Attributes:
        name: as in `--scale`.
        sections: settings that every run has at this scale; they override those of the request.
        warning: the first line of every table, where its numbers mean nothing.
    """

    name: str
    sections: Mapping[str, Mapping[str, Any]]
    warning: str = ""


SCALES = {
    # Runs are evaluated once, at their end, on all test sets that the tables need.
    "full": GridScale("full", {"train": {"eval_every": 0}}),
    "tiny": GridScale(
        "tiny",
        {
            "image": {"height": 64, "width": 32, "pad": 4},
            "model": {"trunk": "resnet50-w16"},
            "schedule": {"epochs": 30, "milestones": (30,), "warmup_epochs": 0},
            "train": {"max_steps": 30, "log_every": 1, "eval_every": 0, "save_every": 0},
        },
        "Scale tiny: 30 iterations of a narrow network on 64x32 pixels. The numbers below mean nothing; they show that "
        "every training and evaluation behind the tables runs.",
    ),
}


# Networks that share initial weights: those with static 3x3 convolutions, and those with generated ones.
NETWORKS = ("static", "dcsd")


@dataclass(frozen=True)
class Request:
    """The trainings to run, and their settings.

    Attributes:
        out: the grid's folder, with `runs/`, `tables/` and `grid.json`.
        base: settings that all runs share, such as `data` (where the data sets are) and the device.
        tables: the tables to fill.
        models: only these; none for all.
        datasets: names of the data sets to use among those of `base`; none for all.
        seeds: every training is repeated for each of them.
        scale: the size of the runs.
        preset: the settings that recipes start from.
        init: model, its recipe, or one of `NETWORKS` -> initial weights: KIND or KIND=FILE with a kind of
            `model.pretrain`, or a run or file as in `train.init`. The most specific key counts.
        allow_counts: accept the paper's data sets in a protocol other than the paper's.

    Raises:
        JointreidError: no such table, model or preset, no seed or one twice, or a setting that the grid cannot use.
    """

    out: Path
    base: RunConfig = field(default_factory=RunConfig)
    tables: Sequence[str] = TABLES
    models: Sequence[str] = ()
    datasets: Sequence[str] = ()
    seeds: Sequence[int] = (0,)
    scale: GridScale = SCALES["full"]
    preset: str = "paper"
    init: Mapping[str, str] = field(default_factory=dict)
    allow_counts: bool = False

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise JointreidError(no_such("preset", self.preset, PRESETS))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise JointreidError(f"seeds are {list(self.seeds)}; expected one or more different numbers >= 0")
        if self.base.data.val_ids:
            raise JointreidError(
                "data.val_ids holds out identities to choose the best checkpoint, but the tables report the last; "
                "leave it 0"
            )
        if self.base.data.skip_unreadable and not self.allow_counts:
            raise JointreidError(
                "data.skip_unreadable leaves images out, but the tables need all of them; repair the images that "
                "`jointreid data check` lists, or pass --allow-counts too: their results are then marked"
            )
        runs = plan_grid(tables=self.tables, models=self.models)
        known = [*NETWORKS, *dict.fromkeys(name for run in runs for name in (run.model, run.recipe))]
        for model in self.init:
            if model not in known:
                raise JointreidError(no_such("model with initial weights", model, known))

    def runs(self, datasets: Sequence[GridDataset]) -> tuple[PlannedRun, ...]:
        """Return the trainings of this request on these data sets."""
        slots = [dataset.slot for dataset in datasets]
        return plan_grid(slots, tables=self.tables, models=self.models, seeds=self.seeds)


def find_scale(name: str) -> GridScale:
    """Return the scale of that name.

    Raises:
        JointreidError: there is none.
    """
    if name not in SCALES:
        raise JointreidError(no_such("scale", name, SCALES))
    return SCALES[name]


def run_name(run: PlannedRun, datasets: Sequence[GridDataset]) -> str:
    """Return the name of a run's folder: model, training data, seed. A joint training on fewer than five names them."""
    names = "+".join(dataset.name for dataset in datasets if dataset.slot in run.train_slots)
    if run.trained_on == JOINT:
        names = JOINT if run.train_slots == SLOTS else f"{JOINT}-{names}"
    return f"{run.model}-{name_on_disk(names, '+-.')}-s{run.seed}"


def run_path(request: Request, run: PlannedRun, datasets: Sequence[GridDataset]) -> Path:
    """Return a run's directory."""
    return apart_from_others(request.out / "runs" / run_name(run, datasets))


def config_for(request: Request, run: PlannedRun, datasets: Sequence[GridDataset]) -> RunConfig:
    """Return the settings of a run: preset, recipe, the request's settings, and finally the scale.

    Raises:
        JointreidError: the model is defined by its initial weights, and they are not given.
    """
    if run.model != run.recipe and run.model not in request.init:
        raise JointreidError(
            f"{run.model} is {run.recipe} from other initial weights; give them with --init {run.model}=a1_in1k, which "
            f"downloads them, or --init {run.model}=a1_in1k=FILE"
        )
    config = apply_recipe(run.recipe, request.preset, request.base).replace(**request.scale.sections)
    network = "dcsd" if config.model.name.endswith("-dcsd") else "static"
    given = next((request.init[key] for key in (run.model, run.recipe, network) if key in request.init), "")
    return config.replace(
        **_start(given),
        data={"sources": tuple(dataset.source for dataset in datasets if dataset.slot in run.train_slots)},
    ).replace(
        train={
            "out": str(run_path(request, run, datasets)),
            "label": run_name(run, datasets),
            "seed": run.seed,
            "resume": False,
        },
    )


def _start(given: str) -> dict[str, dict[str, str]]:
    """Return the settings for one value of `Request.init`."""
    kind, _, file = given.partition("=")
    if kind in get_args(PretrainSource):
        return {"model": {"pretrain": kind, "pretrain_file": file}, "train": {"init": ""}}
    return {"model": {"pretrain": "none", "pretrain_file": ""}, "train": {"init": given}} if given else {}


# Settings that say where and how often a run computes and saves, or that the tables print in other words.
_NOT_COMPARED = {
    "train.out", "train.label", "train.seed", "train.device", "train.workers", "train.init", "train.resume",
    "train.log_every", "train.eval_every", "train.save_every", "train.deterministic", "train.minutes",
    "model.pretrain", "model.pretrain_file", "eval.batch_size", "eval.max_memory",
}  # fmt: skip


def changed_settings(config: RunConfig, recipe: str, preset: str) -> dict[str, str]:
    """Return the settings in which a run differs from its recipe, with their values."""
    difference = config_difference(apply_recipe(recipe, preset), config)
    return {
        key: str(value)
        for key, (_, value) in difference.items()
        if key not in _NOT_COMPARED and (not key.startswith("data.") or key == "data.camera_ids")
    }
