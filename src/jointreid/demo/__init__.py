"""A demo in minutes: three systems trained jointly on domains of synthetic people, and a report."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from jointreid.analysis.report import write_report
from jointreid.analysis.reported import RunGroup
from jointreid.config import RunConfig
from jointreid.demo.weights import NETWORK, committed_weights
from jointreid.machine.paths import require_writable
from jointreid.messages.commands import command
from jointreid.messages.console import say
from jointreid.messages.errors import JointreidError, RunStopped, no_such
from jointreid.messages.progress import progress_bar
from jointreid.messages.tables import text_table
from jointreid.recipes import apply_recipe
from jointreid.retrieval.result_files import load_results
from jointreid.retrieval.results import Results
from jointreid.run import read_config
from jointreid.synthetic import synthesise
from jointreid.training.data import load_training_data
from jointreid.training.lock import run_lock
from jointreid.training.train import train

LABEL = "demo"
# The recipes, and the committed weights that each starts from: generated kernels are added to those of a plain network.
SYSTEMS = {"bot": "bot", "bot-dcsd": "bot-dcsd", "joint": "bot"}
_NOTES = (
    "The people are synthetic: a program drew them, and no real person is shown. The numbers compare the systems "
    "on these pictures at a small scale; they say nothing about photographs or about the paper's data sets.",
    "All systems are trained on the same pictures, for the same number of steps, with the same settings.",
)


@dataclass(frozen=True)
class DemoScale:
    """The size of a demo.

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
    "full": DemoScale(
        "demo",
        dict(NETWORK["image"]),
        dict(NETWORK["sampler"]),
        {"epochs": 10, "milestones": (7, 9), "warmup_epochs": 1},
    ),
    "test": DemoScale(
        "tiny",
        {"height": 32, "width": 16, "pad": 2},
        {"ids_per_batch": 8, "images_per_id": 4},
        {"epochs": 1, "milestones": (1,), "warmup_epochs": 0},
    ),
}


class DemoStart(NamedTuple):
    """The initial weights of all systems.

    Attributes:
        words: their description in a run's name.
        heading: on the page.
        folder: of the runs.
        given: whether they are the committed weights.
        lr: learning rate.
    """

    words: str
    heading: str
    folder: str
    given: bool
    lr: float


_STARTS = (
    DemoStart("committed weights", "From weights trained on other synthetic people", "", True, 1e-3),
    DemoStart("random weights", "From random weights", "scratch", False, 2e-3),
)


def demo(out: Path, scale: str = "full", console: Console | None = None, *, cache: str = "") -> Path:
    """Draw synthetic people, train every system on all domains from two starts each, and write `report.html`.

    Args:
        out: folder to write: `data/`, the runs `bot/`, `bot-dcsd/` and `joint/`, the same in `scratch/` from random
            weights, and the page. Runs of an earlier demo in the same place are replaced.
        scale: full, or test: as small as possible, to check that it works.
        console: where to print; standard output by default.
        cache: folder for decoded images; empty for `out`/cache.

    Returns:
        The path of the page.

    Raises:
        JointreidError: no such scale, `out` holds something else, or another demo is at work there.
    """
    if scale not in SCALES:
        raise JointreidError(no_such("scale", scale, SCALES))
    require_writable(out, "--out")
    console = console or Console()
    runs = {
        f"{system}, {start.words}": _settings(out, system, SCALES[scale], start, cache or str(out / "cache"))
        for start in _STARTS
        for system in SYSTEMS
    }
    with run_lock(out, partial(say, console)):  # a second demo would remove the runs of the first
        _clear([Path(config.train.out) for config in runs.values()])
        _draw(out / "data", SCALES[scale], console)
        _train_all(runs, console)
        made_by = command("demo", "--out", out, *(("--scale", scale) if scale != "full" else ()))
        return _finish(runs, out / "report.html", made_by, console)


def _finish(runs: Mapping[str, RunConfig], path: Path, made_by: str, console: Console) -> Path:
    paths = [config.train.out for config in runs.values()]
    each = len(SYSTEMS)
    groups = [RunGroup(start.heading, paths[n * each : (n + 1) * each]) for n, start in enumerate(_STARTS)]
    say(console, "Computing the ranked lists for the report.")
    page = write_report(groups, path, title="One model for all data sets: the demo", notes=_NOTES, command=made_by)
    say(console, _side_by_side(runs))
    say(console, f"Open {page} in a browser: accuracy, training curves and ranked lists of pictures.")
    return page


def _clear(runs: Sequence[Path]) -> None:
    """Remove the runs of an earlier demo; refuse, before removing any, if one is not the demo's."""
    there = [path for path in runs if (path / "config.yaml").is_file()]
    for path in there:
        if read_config(path / "config.yaml").train.label != LABEL:
            raise JointreidError(f"{path}: holds a run that is not the demo's; choose another --out")
    for path in there:
        shutil.rmtree(path)


def _draw(folder: Path, scale: DemoScale, console: Console) -> None:
    with progress_bar(console, "drawing people") as on_progress:
        synthesise(folder, scale.preset, on_progress=on_progress)
    say(console, f"Drew synthetic people into {folder}; {folder / 'sheet.jpg'} shows some of them.")


def _settings(out: Path, system: str, scale: DemoScale, start: DemoStart, cache: str) -> RunConfig:
    return apply_recipe(system).replace(
        data={"sources": (str(out / "data" / "manifest.csv"),), "cache": cache},
        image=scale.image,
        model=NETWORK["model"],
        sampler=scale.sampler,
        schedule=scale.schedule,
        optim={"lr": start.lr},
        train={
            "out": str(out / start.folder / system),
            "label": LABEL,
            "eval_every": max(1, scale.schedule["epochs"] // 2),
            "save_every": 0,
            "init": str(committed_weights(SYSTEMS[system])) if start.given else "",
        },
    )


def _train_all(runs: Mapping[str, RunConfig], console: Console) -> None:
    """Train the runs one after the other on data that is read and checked once."""
    data = load_training_data(next(iter(runs.values())))
    say(console, data.summary)
    for number, (name, config) in enumerate(runs.items(), start=1):
        console.rule(f"{number} of {len(runs)}: {name}")
        try:
            train(config, console, data=data)
        except RunStopped as stopped:
            raise RunStopped(f"{name}: {stopped.where}", "the same command starts the demo again") from stopped


def _side_by_side(runs: Mapping[str, RunConfig]) -> str:
    """Return a table for people: mAP and Rank-1 of each run on each domain, in percent."""
    results = {name: load_results(Path(config.train.out))[0] for name, config in runs.items()}
    domains = [domain.domain for domain in next(iter(results.values())).domains]
    head = ["mAP / Rank-1 in percent", *domains, "mean"]
    rows = [[name, *_cells(found)] for name, found in results.items()]
    return f"\n{text_table([head, *rows], 'l' + 'r' * (len(head) - 1))}\n"


def _cells(run: Results) -> list[str]:
    cells = [f"{100 * domain.mAP:.1f} / {100 * domain.cmc[1]:.1f}" for domain in run.domains]
    return [*cells, f"{100 * run.mean['mAP']:.1f} / {100 * run.mean['rank1']:.1f}"]
