"""The commands about the paper: plan and run its grid, print its tables, draw its figure 5."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from jointreid.cli.options import (
    Overrides,
    argument,
    as_json,
    cache,
    device,
    moved,
    overrides,
    short_keys,
    skip_unreadable,
)
from jointreid.cli.output import print_json
from jointreid.config import RunConfig, setting
from jointreid.machine.device import Device
from jointreid.machine.paths import require_writable, user_path
from jointreid.messages.errors import JointreidError

if TYPE_CHECKING:
    from jointreid.paper.request import Request

# Of a grid's settings, those that its command line may change.
_SETTINGS = (*short_keys("data"), "train.device", "train.precision", "train.deterministic")


@dataclass(frozen=True, kw_only=True)
class TablesOptions:
    """Options of `jointreid paper tables`."""

    out: str = setting("out/paper", "the grid's folder", metavar="DIR")
    table: str = setting(
        "all", "all; some, as in 2,5 or II,V; or controls, which the paper lacks (docs/reproduce.md)", metavar="LIST"
    )
    json: bool = as_json("what was done")


@dataclass(frozen=True, kw_only=True)
class GridOptions(TablesOptions):
    """Options of `jointreid paper plan`: which trainings, on what data."""

    settings: Overrides = overrides(_SETTINGS)
    models: str = setting("", "only these models, as in bot,bot-dcsd", metavar="LIST")
    datasets: str = setting("", "only these of the data sets given", metavar="LIST")
    seeds: int = setting(1, "train everything N times")
    scale: str = setting("full", "full, or tiny: does it all run?", metavar="NAME")
    preset: str = setting("paper", "paper, fastreid, bot-repo, agw-repo", metavar="NAME")
    init: tuple[str, ...] = setting(
        (),
        "weights to start from: static=tv_in1k, dcsd=ddf_imagenet=FILE, bot=RUN; repeat for more",
        metavar="MODEL=START",
    )
    allow_counts: bool = setting(False, "run although a data set has other counts than in Table I")


@dataclass(frozen=True, kw_only=True)
class RunOptions(GridOptions):
    """Options of `jointreid paper run`."""

    gpus: str = setting("", "one process for each of these GPUs, as in 0,1", metavar="LIST")


@dataclass(frozen=True, kw_only=True)
class FigureOptions:
    """Options of `jointreid paper figure5`."""

    runs: tuple[str, ...] = argument(
        "RUN", "the run with the sample alone and the whole one; or one run, with --ablate-context; or none", ()
    )
    out: str = setting(
        "out/paper",
        "where figure5.png and .json go; without RUN also the folder of the grid whose runs are shown",
        metavar="DIR",
    )
    ablate_context: bool = setting(False, "show one RUN, with and without its domain and camera")
    per_domain: int = setting(200, "images of each domain")
    split: Literal["test", "train"] = setting("test", "which images")
    seed: int = setting(0, "seed of the choice of images")
    data: tuple[str, ...] = moved()
    cache: str = cache()
    device: Device = device()
    skip_unreadable: bool = skip_unreadable()
    json: bool = as_json("the numbers")


def request_of(options: GridOptions) -> "Request":
    """Return the trainings that the options ask for.

    Raises:
        JointreidError: an option without the form it needs, or a request that the grid refuses.
    """
    from jointreid.paper.request import Request, find_scale

    starts = [given.partition("=") for given in options.init]
    if wrong := [given for given, (_, equals, _) in zip(options.init, starts, strict=True) if not equals]:
        raise JointreidError(f"--init {wrong[0]}: expected MODEL=START, as in static=tv_in1k")
    return Request(
        user_path(options.out),
        RunConfig().replace(**options.settings),
        tables=_tables(options.table),
        models=_split(options.models),
        datasets=_split(options.datasets),
        seeds=tuple(range(options.seeds)),
        scale=find_scale(options.scale),
        preset=options.preset,
        init={model: start for model, _, start in starts},
        allow_counts=options.allow_counts,
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(",") if part)


def _tables(text: str) -> tuple[str, ...]:
    """Return the names of tables: all, or numbers in either way of writing them."""
    from jointreid.paper.facts import TABLES

    if text == "all":
        return tuple(TABLES)
    numbers = {str(number): name for number, name in enumerate(TABLES, start=1)}
    return tuple(numbers.get(part, part) for part in _split(text))


def plan(options: GridOptions) -> int:
    """List the trainings behind the paper's tables, their iterations and the time they take here."""
    from jointreid.paper.plan import calibrate, make_plan, render, render_time

    grid = make_plan(request_of(options))
    if options.json:
        print_json(grid.to_dict())
        return 0
    print(render(grid))
    if grid.steps_left:
        print("Measuring a step of each model here (--json leaves that out).", flush=True)
        print(render_time(grid, calibrate(grid)))
    return 0


def run(options: RunOptions) -> int:
    """Train and evaluate what is missing for the paper's tables, then print them."""
    request = request_of(options)
    from rich.console import Console

    from jointreid.paper.run import run_grid
    from jointreid.paper.workers import run_on_gpus

    console = Console(stderr=options.json)  # with --json, standard output holds JSON alone
    run_on_gpus(request, _split(options.gpus), console) if options.gpus else run_grid(request, console)
    return tables(options)


def tables(options: TablesOptions) -> int:
    """Print the paper's tables: ours / paper / difference."""
    from jointreid.paper.render import markdown, write_tables
    from jointreid.paper.tables import build_tables

    out = user_path(options.out)
    built = build_tables(out, _tables(options.table))
    files = write_tables(built, out / "tables")
    if options.json:
        print_json({"files": [str(file) for file in files]})
    else:
        print("\n".join(map(markdown, built)))
    return 0


def figure5(options: FigureOptions) -> int:
    """Draw the generated filters by domain, and say how far they tell domains apart."""
    from jointreid.paper.store import joint_runs, load_setup

    out = user_path(options.out)
    runs = options.runs or joint_runs(out, ("bot-dcsd-s", "bot-dcsd"))[options.ablate_context :]
    if len(runs) != (1 if options.ablate_context else 2):
        raise JointreidError("give RUN_S and RUN_SDC, or one RUN with --ablate-context; or none, and a grid by --out")
    require_writable(out, "--out")
    from jointreid.analysis.figure5 import figure5
    from jointreid.analysis.figure5_output import render, save

    figure = figure5(
        None if options.ablate_context else runs[0],
        runs[-1],
        per_domain=options.per_domain,
        split=options.split,
        seed=options.seed,
        device=options.device,
        skip_unreadable=options.skip_unreadable,
        sources=options.data,
        cache=options.cache,
        warning="" if options.runs else load_setup(out).warning,
    )
    picture, _ = save(figure, out)
    print_json(figure.to_dict()) if options.json else print(f"{render(figure)}\nWrote {picture}")
    return 0
