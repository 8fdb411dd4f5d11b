"""The main job in minutes: synthetic people, BoT and BoT-DCSD trained on all domains at once, a page to look at."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from jointreid.analysis.report import write_report
from jointreid.analysis.reported import RunGroup
from jointreid.config import RunConfig
from jointreid.data.synthetic import synthesise
from jointreid.demo.weights import NETWORK, SYSTEMS, committed_weights
from jointreid.errors import JointreidError, no_such
from jointreid.progress import counting
from jointreid.recipes import apply_recipe
from jointreid.retrieval.results import Results, load_results
from jointreid.run import read_config
from jointreid.training.data import prepare
from jointreid.training.train import train

LABEL = "demo"
_NOTES = (
    "The people are synthetic: a program drew them, and nobody is shown. The figures say how the two systems compare "
    "on these pictures, at a small scale, and nothing about photographs or about the paper's data sets.",
    "Both systems are trained alike: on the same pictures, for as many steps, with the same settings.",
)


@dataclass(frozen=True)
class Scale:
    """How large a demo is.

    Attributes:
        preset: of the synthetic people.
        image: settings of the images.
        sampler: settings of the batches.
        schedule: settings of the epochs.
    """

    preset: str
    image: dict[str, Any]
    sampler: dict[str, Any]
    schedule: dict[str, Any]


SCALES = {
    "full": Scale(
        "demo",
        dict(NETWORK["image"]),
        dict(NETWORK["sampler"]),
        {"epochs": 10, "milestones": (7, 9), "warmup_epochs": 1},
    ),
    "test": Scale(
        "tiny",
        {"height": 32, "width": 16, "pad": 2},
        {"ids_per_batch": 8, "images_per_id": 4},
        {"epochs": 1, "milestones": (1,), "warmup_epochs": 0},
    ),
}
# (what the runs have in common, the folder they lie in, whether they start from committed weights, rate of learning)
_GROUPS = (
    ("From weights trained on other synthetic people", "", True, 1e-3),
    ("From random weights", "scratch", False, 2e-3),
)


def demo(out: Path, scale: str = "full", console: Console | None = None) -> Path:
    """Draw synthetic people, train both systems on all domains from two starts each, and write `report.html`.

    Args:
        out: folder to write: `data/`, the runs `bot/` and `bot-dcsd/`, the same in `scratch/` from random weights, and
            the page. Runs of an earlier demo in the same place are replaced.
        scale: full, or test: as small as can be, to see that it works.
        console: where to print; standard output by default.

    Returns:
        The path of the page.

    Raises:
        JointreidError: no such scale, or `out` holds something else.
    """
    if scale not in SCALES:
        raise JointreidError(no_such("scale", scale, SCALES))
    console = console or Console()
    configs = [
        (label, [_settings(out, system, SCALES[scale], folder, given, rate) for system in SYSTEMS])
        for label, folder, given, rate in _GROUPS
    ]
    _clear([Path(config.train.out) for _, group in configs for config in group])
    _draw(out / "data", SCALES[scale], console)
    _train_all([config for _, group in configs for config in group], console)
    groups = [RunGroup(label, [config.train.out for config in group]) for label, group in configs]
    command = f"jointreid demo --out {out}" + (f" --scale {scale}" if scale != "full" else "")
    return _finish(groups, out / "report.html", command, console)


def _finish(groups: Sequence[RunGroup], path: Path, command: str, console: Console) -> Path:
    console.print("Looking for what each model finds, for the page.", highlight=False)
    page = write_report(groups, path, title="One model for all data sets: the demo", notes=_NOTES, command=command)
    console.print(_side_by_side(groups), highlight=False, markup=False, soft_wrap=True)
    console.print(f"Open {page} in a browser: accuracy, curves and what each model finds.", highlight=False)
    return page


def _clear(runs: Sequence[Path]) -> None:
    """Remove the runs of an earlier demo; refuse, before any of them, to touch another run."""
    there = [path for path in runs if (path / "config.yaml").is_file()]
    for path in there:
        if read_config(path / "config.yaml").train.label != LABEL:
            raise JointreidError(f"{path}: holds a run that is not the demo's; choose another --out")
    for path in there:
        shutil.rmtree(path)


def _draw(folder: Path, scale: Scale, console: Console) -> None:
    with counting(console, "drawing people") as progress:
        synthesise(folder, scale.preset, progress=progress)
    console.print(f"Drew synthetic people into {folder}; {folder / 'sheet.jpg'} shows some.", highlight=False)


def _settings(out: Path, system: str, scale: Scale, folder: str, given: bool, rate: float) -> RunConfig:
    return apply_recipe(system).replace(
        data={"sources": (str(out / "data" / "manifest.csv"),), "cache": str(out / "cache")},
        image=scale.image,
        model=NETWORK["model"],
        sampler=scale.sampler,
        schedule=scale.schedule,
        optim={"lr": rate},
        train={
            "out": str(out / folder / system),
            "label": LABEL,
            "eval_every": max(1, scale.schedule["epochs"] // 2),
            "save_every": 0,
            "init": str(committed_weights(system)) if given else "",
        },
    )


def _train_all(configs: Sequence[RunConfig], console: Console) -> None:
    """Train one after the other, on data that are read and checked once."""
    data = prepare(configs[0])
    console.print(data.summary, highlight=False, markup=False, soft_wrap=True)
    for number, config in enumerate(configs, start=1):
        start = "from committed weights" if config.train.init else "from random weights"
        console.rule(f"{number} of {len(configs)}: {config.model.name}, {start}")
        train(config, console, data=data)


def _side_by_side(groups: Sequence[RunGroup]) -> str:
    """Return a table for people: mAP and Rank-1 of each run on each domain, in percent."""
    results = [[load_results(Path(path))[0] for path in group.runs] for group in groups]
    names = [domain.domain for domain in results[0][0].domains]
    head = ["mAP / Rank-1 in percent", *names, "mean"]
    rows = [[label, *_cells(run)] for label, run in _labelled(results)]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, *others = zip(cells, widths, strict=True)
        return "| " + " | ".join([f"{first[0]:<{first[1]}}", *(f"{c:>{w}}" for c, w in others)]) + " |"

    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join(["", line(head), rule, *map(line, rows), ""])


def _labelled(results: Sequence[Sequence[Results]]) -> list[tuple[str, Results]]:
    starts = ("committed weights", "random weights")
    return [
        (f"{system}, {start}", run)
        for start, runs in zip(starts, results, strict=True)
        for system, run in zip(SYSTEMS, runs, strict=True)
    ]


def _cells(run: Results) -> list[str]:
    cells = [f"{100 * domain.mAP:.1f} / {100 * domain.cmc[1]:.1f}" for domain in run.domains]
    return [*cells, f"{100 * run.mean['mAP']:.1f} / {100 * run.mean['rank1']:.1f}"]
