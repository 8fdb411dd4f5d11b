"""What a person asks of the grid, and the settings of each of its runs."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

from jointreid.config import ModelConfig, RunConfig, config_difference
from jointreid.messages.errors import JointreidError, no_such
from jointreid.paper.facts import JOINT, TABLES
from jointreid.paper.grid import PLACES, PlannedRun, plan_grid
from jointreid.paper.holdings import Holding
from jointreid.recipes import PRESETS, apply_recipe


@dataclass(frozen=True)
class Scale:
    """How large the runs are.

    Attributes:
        name: for people.
        sections: settings that every run has at this scale, over those asked for.
        warning: the first line of every table, if its numbers mean nothing.
    """

    name: str
    sections: Mapping[str, Mapping[str, Any]]
    warning: str = ""


SCALES = {
    # Runs are evaluated once, at their end: on all that the tables need.
    "full": Scale("full", {"train": {"eval_every": 0}}),
    "tiny": Scale(
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


# Networks that start from the same weights: those with static 3x3 convolutions, and those that generate them.
NETWORKS = ("static", "dcsd")


@dataclass(frozen=True)
class Request:
    """What to run.

    Attributes:
        out: folder of the whole: `runs/`, `tables/`, `grid.json`.
        base: settings that all runs share, among them `data` (where the data sets are) and where to compute.
        tables: those to fill.
        models: only these; none for all.
        datasets: names of the data sets to take among those of `base`; none for all.
        seeds: every training is repeated for each.
        scale: how large the runs are.
        preset: settings that recipes start from.
        init: model, its recipe, or one of `NETWORKS` -> weights to start from: KIND or KIND=FILE with a kind of
            `model.pretrain`, or a run or file as in `train.init`. The nearest to the model counts.
        allow_counts: go on with the paper's data sets in another protocol than its own.

    Raises:
        JointreidError: no such table, model or preset, no seed or one twice, or a setting that the grid has no use for.
    """

    out: Path
    base: RunConfig = field(default_factory=RunConfig)
    tables: Sequence[str] = TABLES
    models: Sequence[str] = ()
    datasets: Sequence[str] = ()
    seeds: Sequence[int] = (0,)
    scale: Scale = SCALES["full"]
    preset: str = "paper"
    init: Mapping[str, str] = field(default_factory=dict)
    allow_counts: bool = False

    def __post_init__(self) -> None:
        if self.preset not in PRESETS:
            raise JointreidError(no_such("preset", self.preset, PRESETS))
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise JointreidError(f"seeds are {list(self.seeds)}; expected one or more numbers >= 0, each once")
        if self.base.data.val_ids:
            raise JointreidError("data.val_ids holds out identities to choose a checkpoint; the tables report the last")
        if self.base.data.skip_unreadable:
            raise JointreidError(
                "data.skip_unreadable leaves images out; the tables need all of them: repair those that "
                "`jointreid data check` lists"
            )
        runs = plan_grid(tables=self.tables, models=self.models)
        known = [*NETWORKS, *dict.fromkeys(name for run in runs for name in (run.model, run.recipe))]
        for model in self.init:
            if model not in known:
                raise JointreidError(no_such("model to start from weights", model, known))

    def runs(self, holdings: Sequence[Holding]) -> tuple[PlannedRun, ...]:
        """Return the trainings to do on these data sets."""
        places = [holding.place for holding in holdings]
        return plan_grid(places, tables=self.tables, models=self.models, seeds=self.seeds)


def find_scale(name: str) -> Scale:
    """Return the scale of that name.

    Raises:
        JointreidError: there is none.
    """
    if name not in SCALES:
        raise JointreidError(no_such("scale", name, SCALES))
    return SCALES[name]


def run_name(run: PlannedRun, holdings: Sequence[Holding]) -> str:
    """Return the name of a run's folder: model, what it is trained on, seed. A joint training on less says on what."""
    names = "+".join(holding.name for holding in holdings if holding.place in run.places)
    if run.trained_on == JOINT:
        names = JOINT if run.places == PLACES else f"{JOINT}-{names}"
    safe = re.sub(r"[^\w.+-]", "_", names)[:80]
    if safe != names:  # cut or changed: other names must not come to the same
        safe += f"-{hashlib.sha256(names.encode()).hexdigest()[:8]}"
    return f"{run.model}-{safe}-s{run.seed}"


def run_path(request: Request, run: PlannedRun, holdings: Sequence[Holding]) -> Path:
    """Return a run's directory."""
    return request.out / "runs" / run_name(run, holdings)


def config_for(request: Request, run: PlannedRun, holdings: Sequence[Holding]) -> RunConfig:
    """Return the settings of a run: preset, recipe, what was asked for, and the scale over them all.

    Raises:
        JointreidError: the model is defined by the weights it starts from, and they are not given.
    """
    if run.model != run.recipe and run.model not in request.init:
        raise JointreidError(
            f"{run.model} is {run.recipe} from other weights; give them with --init {run.model}=a1_in1k, downloaded, "
            f"or {run.model}=a1_in1k=FILE"
        )
    config = apply_recipe(run.recipe, request.preset, request.base).replace(**request.scale.sections)
    network = "dcsd" if config.model.name.endswith("-dcsd") else "static"
    given = next((request.init[key] for key in (run.model, run.recipe, network) if key in request.init), "")
    return config.replace(
        **_start(given),
        data={"sources": tuple(holding.source for holding in holdings if holding.place in run.places)},
    ).replace(
        train={
            "out": str(run_path(request, run, holdings)),
            "label": run_name(run, holdings),
            "seed": run.seed,
            "resume": False,
        },
    )


def _start(given: str) -> dict[str, dict[str, str]]:
    """Return the settings that one of `Request.init` stands for."""
    kind, _, file = given.partition("=")
    if kind in get_args(get_type_hints(ModelConfig)["pretrain"]):
        return {"model": {"pretrain": kind, "pretrain_file": file}, "train": {"init": ""}}
    return {"model": {"pretrain": "none", "pretrain_file": ""}, "train": {"init": given}} if given else {}


# What says where, how often and on which data a run is done, or is told of in other words.
_TOLD = {
    "train.out", "train.label", "train.seed", "train.device", "train.workers", "train.init", "train.resume",
    "train.log_every", "train.eval_every", "train.save_every", "train.deterministic", "train.minutes",
    "model.pretrain", "model.pretrain_file", "eval.batch_size", "eval.max_memory",
}  # fmt: skip


def changed_settings(config: RunConfig, recipe: str, preset: str) -> dict[str, str]:
    """Return the settings in which a run differs from its recipe as it stands, with their values."""
    difference = config_difference(apply_recipe(recipe, preset), config)
    return {
        key: str(value)
        for key, (_, value) in difference.items()
        if key not in _TOLD and (not key.startswith("data.") or key == "data.camera_ids")
    }
