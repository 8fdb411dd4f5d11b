"""The commands about the paper: plan and run its grid, print its tables, draw its figure 5."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jointreid.cli.command import Command, Parser, print_json
from jointreid.cli.data import data_arguments, data_config
from jointreid.messages.errors import JointreidError

if TYPE_CHECKING:
    from jointreid.paper.request import Request


_TABLES_HELP = "all (default); some, as in 2,5 or II,V; or controls, which the paper lacks (docs/reproduce.md)"


def _grid_parser(name: str) -> Parser:
    parser = Parser(PAPER_COMMANDS[name].usage)
    data_arguments(parser)
    parser.add_argument("--out", default="out/paper", metavar="DIR", help="the grid's folder (out/paper)")
    parser.add_argument("--table", default="all", metavar="LIST", help=_TABLES_HELP)
    parser.add_argument("--models", default="", metavar="LIST", help="only these, as in bot,bot-dcsd")
    parser.add_argument("--datasets", default="", metavar="LIST", help="only these of the data sets given")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="train everything N times (1)")
    parser.add_argument("--scale", default="full", metavar="NAME", help="full (default), or tiny: does it all run?")
    parser.add_argument(
        "--preset", default="paper", metavar="NAME", help="paper (default), fastreid, bot-repo, agw-repo"
    )
    parser.add_argument(
        "--init",
        action="append",
        default=[],
        metavar="MODEL=START",
        help="weights to start from: static=tv_in1k, dcsd=ddf_imagenet=FILE, bot=RUN; repeat for more",
    )
    parser.add_argument("--allow-counts", action="store_true", help="run with other counts than Table I's")
    parser.add_argument("--cache", default="out/cache", metavar="DIR", help="folder for decoded images")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--precision", default="", metavar="KIND", help="arithmetic, as train.precision of one run")
    parser.add_argument("--deterministic", action="store_true", help="refuse operations that differ from run to run")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    return parser


def _request(options: argparse.Namespace) -> "Request":
    from jointreid.config import RunConfig
    from jointreid.paper.request import Request, find_scale

    starts = [given.partition("=") for given in options.init]
    if wrong := [given for given, (_, equals, _) in zip(options.init, starts, strict=True) if not equals]:
        raise JointreidError(f"--init {wrong[0]}: expected MODEL=START, as in static=tv_in1k")
    base = RunConfig().replace(
        data={**vars(data_config(options)), "cache": options.cache},
        train={
            "device": options.device,
            "deterministic": options.deterministic,
            **({"precision": options.precision} if options.precision else {}),
        },
    )
    return Request(
        Path(options.out),
        base,
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


def _plan(argv: list[str]) -> int:
    from jointreid.paper.plan import calibrate, make_plan, render, render_time

    options = _grid_parser("paper plan").read(argv)
    plan = make_plan(_request(options))
    if options.json:
        print_json(plan.to_dict())
        return 0
    print(render(plan))
    if plan.steps_left:
        print("Measuring a step of each model here (--json leaves that out).", flush=True)
        print(render_time(plan, calibrate(plan)))
    return 0


def _run(argv: list[str]) -> int:
    parser = _grid_parser("paper run")
    parser.add_argument("--gpus", default="", metavar="LIST", help="one process for each of these GPUs, as in 0,1")
    options = parser.read(argv)
    request = _request(options)
    from rich.console import Console

    from jointreid.paper.run import run_grid
    from jointreid.paper.workers import run_on_gpus

    console = Console(stderr=options.json)  # with --json, standard output holds JSON alone
    run_on_gpus(request, _split(options.gpus), console) if options.gpus else run_grid(request, console)
    return _print_tables(options)


def _print_tables(options: argparse.Namespace) -> int:
    from jointreid.paper.render import markdown, write_tables
    from jointreid.paper.tables import build_tables

    out = Path(options.out)
    tables = build_tables(out, _tables(options.table))
    files = write_tables(tables, out / "tables")
    if options.json:
        print_json({"files": [str(file) for file in files]})
    else:
        print("\n".join(map(markdown, tables)))
    return 0


def _tables_parser() -> Parser:
    parser = Parser(PAPER_COMMANDS["paper tables"].usage)
    parser.add_argument("--out", default="out/paper", metavar="DIR", help="the grid's folder (out/paper)")
    parser.add_argument("--table", default="all", metavar="LIST", help=_TABLES_HELP)
    parser.add_argument("--json", action="store_true", help="print the names of the files written as JSON")
    return parser


def _figure_parser() -> Parser:
    parser = Parser(PAPER_COMMANDS["paper figure5"].usage)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="the run with S alone, then the whole; or one run")
    parser.add_argument(
        "--out",
        default="out/paper",
        metavar="DIR",
        help="where figure5.png and .json go; without RUN a grid's folder, whose own runs are shown (out/paper)",
    )
    parser.add_argument("--ablate-context", action="store_true", help="one RUN, with and without domain and camera")
    parser.add_argument("--per-domain", type=int, default=200, metavar="N", help="images of each domain (200)")
    parser.add_argument("--split", choices=("test", "train"), default="test", help="which images (test)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice of images (0)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    return parser


def _figure5(argv: list[str]) -> int:
    options = _figure_parser().read(argv)
    from jointreid.paper.store import joint_runs, load_setup

    out = Path(options.out)
    runs = options.runs or joint_runs(out, ("bot-dcsd-s", "bot-dcsd"))[options.ablate_context :]
    if len(runs) != (1 if options.ablate_context else 2):
        raise JointreidError("give RUN_S and RUN_SDC, or one RUN with --ablate-context; or none, and a grid by --out")
    from jointreid.analysis.figure5 import figure5
    from jointreid.analysis.figure5_output import render, save

    figure = figure5(
        None if options.ablate_context else runs[0],
        runs[-1],
        per_domain=options.per_domain,
        split=options.split,
        seed=options.seed,
        device=options.device,
        warning="" if options.runs else load_setup(out).warning,
    )
    picture, _ = save(figure, out)
    print_json(figure.to_dict()) if options.json else print(f"{render(figure)}\nWrote {picture}")
    return 0


PAPER_COMMANDS: dict[str, Command] = {
    "paper plan": Command(
        "list the trainings behind the paper's tables, their iterations and the time they take here",
        "paper plan [--data NAME=PATH | --manifest FILE]... [--table LIST] [--json]",
        _plan,
        lambda full: _grid_parser("paper plan").options_help(),
    ),
    "paper run": Command(
        "train and evaluate what is missing for the paper's tables, then print them",
        "paper run (--data NAME=PATH | --manifest FILE)... [--table LIST] [--scale full|tiny] [--out DIR]",
        _run,
        lambda full: _grid_parser("paper run").options_help(),
    ),
    "paper tables": Command(
        "print the paper's tables: ours / paper / difference",
        "paper tables [--out DIR] [--table LIST]",
        lambda argv: _print_tables(_tables_parser().read(argv)),
        lambda full: _tables_parser().options_help(),
    ),
    "paper figure5": Command(
        "draw the generated filters by domain, and say how far they tell domains apart",
        "paper figure5 [RUN_S RUN_SDC | RUN --ablate-context] [--out DIR]",
        _figure5,
        lambda full: _figure_parser().options_help(),
    ),
}
