"""The command line: parse, call one function, print. Nothing else parses arguments.

Every command exits with 0 only on success; a mistake in input is one paragraph on stderr, without a traceback.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from jointreid.errors import JointreidError, no_such


@dataclass(frozen=True)
class Command:
    """One verb: what it is for, how it is used, and the function that takes its arguments and returns an exit code."""

    summary: str
    usage: str
    run: Callable[[list[str]], int]
    help: Callable[[bool], str]


class _Parser(argparse.ArgumentParser):
    """argparse that raises `JointreidError` and names the nearest option."""

    def __init__(self, usage: str) -> None:
        super().__init__(prog="jointreid", usage=usage, add_help=False, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise JointreidError(f"{message}. Usage: jointreid {self.usage}")

    def read(self, argv: list[str]) -> argparse.Namespace:
        """Parse, refusing unknown options with the nearest known one."""
        found, left = self.parse_known_args(argv)
        for token in left:
            name = token.partition("=")[0]
            if name.startswith("--"):
                raise JointreidError(no_such("option", name, self._option_string_actions))
            raise JointreidError(f"{token!r} is one argument too many. Usage: jointreid {self.usage}")
        return found

    def options_help(self) -> str:
        """Return a line for each argument."""
        lines = []
        for action in self._actions:
            name = ", ".join(action.option_strings) or str(action.metavar or action.dest)
            value = (
                "" if action.nargs == 0 or not action.option_strings else f" {action.metavar or action.dest.upper()}"
            )
            lines.append(f"  {name + value:<28} {action.help}")
        return "\n".join(lines)


def console() -> None:
    """Run the command line and leave the process: the console script."""
    sys.exit(main(sys.argv[1:]))


def main(argv: Sequence[str]) -> int:
    """Run one command.

    Returns:
        0 on success, 1 when a check found errors, 2 for a mistake in the command or its input, 130 when interrupted.
    """
    try:
        return _dispatch(list(argv))
    except JointreidError as error:
        print(f"jointreid: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("jointreid: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has what it wants
        sys.stderr.close()
        return 0


def _dispatch(argv: list[str]) -> int:
    if not argv or argv[0] in ("--help", "-h", "help", "--help-all"):
        print(_overview())
        return 0
    if argv[0] == "--version":
        from jointreid import __version__

        print(f"jointreid {__version__}")
        return 0
    words = 2 if " ".join(argv[:2]) in COMMANDS else 1
    name, rest = " ".join(argv[:words]), argv[words:]
    if name not in COMMANDS:
        raise JointreidError(f"{no_such('command', name, COMMANDS)}. `jointreid --help` lists them")
    command = COMMANDS[name]
    if {"--help", "-h", "--help-all"} & set(rest):
        print(f"{command.summary}\n\nusage: jointreid {command.usage}\n\n{command.help('--help-all' in rest)}")
        return 0
    return command.run(rest)


def _overview() -> str:
    lines = [
        "Train one re-identification model on many data sets at once, without the domain conflict.",
        "",
        "usage: jointreid COMMAND ...",
        "",
        *(f"  {name:<12} {command.summary}" for name, command in COMMANDS.items()),
        "",
        "jointreid COMMAND --help explains one; --help-all shows every setting; --version prints the version.",
    ]
    return "\n".join(lines)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, allow_nan=False))


def _data_arguments(parser: _Parser) -> None:
    parser.add_argument(
        "--data", action="append", default=[], metavar="NAME=PATH", help="a data set: a reader's folder or a manifest"
    )
    parser.add_argument(
        "--manifest", action="append", default=[], metavar="FILE", help="a table: all domains in it; see docs/data.md"
    )
    parser.add_argument(
        "--missing-camid",
        choices=("refuse", "one_camera"),
        default="refuse",
        help="a table without camid: refuse it (default), or one_camera",
    )


# data check


def _check_parser() -> _Parser:
    parser = _Parser(COMMANDS["data check"].usage)
    _data_arguments(parser)
    parser.add_argument("--skip-unreadable", action="store_true", help="list unreadable images and check the others")
    parser.add_argument("--cache", default="out/cache", metavar="DIR", help="where results of decoding are kept")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    return parser


def _check(argv: list[str]) -> int:
    from jointreid.data.findings import render
    from jointreid.data.preflight import check
    from jointreid.data.sources import load_domains

    options = _check_parser().read(argv)
    domains = load_domains(options.data + options.manifest, options.missing_camid)
    report, _ = check(domains, cache_dir=Path(options.cache), skip_unreadable=options.skip_unreadable)
    _print_json(report.to_dict()) if options.json else print(render(report))
    return 0 if report.ok else 1


# train


def _train(argv: list[str]) -> int:
    from jointreid.options import read_options

    config = read_options(argv)
    from jointreid.training.train import train

    train(config)
    return 0


def _train_help(full: bool) -> str:
    from jointreid.options import settings_help
    from jointreid.recipes import PRESETS, RECIPES

    lines = [
        f"  --recipe NAME                {', '.join(RECIPES)} (default bot-dcsd), or my_package.module:function",
        f"  --preset NAME                {', '.join(PRESETS)} (default paper)",
        "  --config FILE                settings in YAML, such as the config.yaml of a run",
        "  --data NAME=PATH             a data set: a reader's folder or a manifest; repeat for more",
        "  --manifest FILE              a table: all domains in it",
        settings_help(full),
    ]
    return "\n".join(lines)


# evaluate


def _evaluate_parser() -> _Parser:
    parser = _Parser(COMMANDS["evaluate"].usage)
    parser.add_argument("run", metavar="RUN", help="a run directory")
    _data_arguments(parser)
    parser.add_argument("--checkpoint", choices=("last", "best"), default="last", help="last (default) or best")
    parser.add_argument("--flip", action="store_true", help="average each feature with that of the mirrored image")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser


def _evaluate(argv: list[str]) -> int:
    options = _evaluate_parser().read(argv)
    from jointreid.retrieval.evaluate import evaluate_run
    from jointreid.retrieval.results import render

    results = evaluate_run(
        options.run,
        sources=tuple(options.data + options.manifest),
        missing_camid=options.missing_camid,
        checkpoint=options.checkpoint,
        flip=options.flip,
        device=options.device,
    )
    _print_json(results.to_dict()) if options.json else print(render(results))
    return 0


# compare


def _compare_parser() -> _Parser:
    parser = _Parser(COMMANDS["compare"].usage)
    parser.add_argument("run_a", metavar="RUN_A", help="a run directory, evaluated")
    parser.add_argument("run_b", metavar="RUN_B", help="another; differences are B minus A")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    return parser


def _compare(argv: list[str]) -> int:
    options = _compare_parser().read(argv)
    from jointreid.analysis.compare import compare, render

    comparison = compare(options.run_a, options.run_b)
    _print_json(comparison.to_dict()) if options.json else print(render(comparison))
    return 0


# profile


def _profile(argv: list[str]) -> int:
    as_json = "--json" in argv
    argv = [token for token in argv if token != "--json"]
    if not argv or argv[0].startswith("--"):
        raise JointreidError(f"which model? Usage: jointreid {COMMANDS['profile'].usage}")
    from jointreid.options import read_options, require_known, spell_out

    settings = spell_out(argv[1:])
    if stray := [token for token in settings if not token.startswith("--dcsd.")]:
        require_known(stray, ["--dcsd.squeeze", "--dcsd.factors", "--dcsd.mlp_bias", "--dcsd.kernel_size", "--json"])
    config = read_options(settings)
    from jointreid.models.profile import profile, render, render_variants, variants

    counts = profile(argv[0], config.dcsd)
    others = variants(config.dcsd) if argv[0] == "resnet50-dcsd" else ()
    if as_json:
        _print_json(counts.to_dict() | {"variants": [asdict(variant) for variant in others]})
    else:
        print(render(counts))
        if others:
            print(render_variants(others))
    return 0


# demo


def _demo_parser() -> _Parser:
    parser = _Parser(COMMANDS["demo"].usage)
    parser.add_argument("--out", default="out/demo", metavar="DIR", help="where to draw, train and write (out/demo)")
    parser.add_argument("--minutes", type=float, default=1.0, help="minutes to train at most (1)")
    return parser


def _demo(argv: list[str]) -> int:
    options = _demo_parser().read(argv)
    from jointreid.demo import demo

    demo(Path(options.out), options.minutes)
    return 0


COMMANDS = {
    "demo": Command(
        "train and evaluate BoT-DCSD on small images that it draws itself",
        "demo [--out DIR] [--minutes N]",
        _demo,
        lambda full: _demo_parser().options_help(),
    ),
    "data check": Command(
        "say whether training and evaluation can run on the data, and what is wrong with it",
        "data check (--data NAME=PATH | --manifest FILE)... [--json] [--skip-unreadable]",
        _check,
        lambda full: _check_parser().options_help(),
    ),
    "train": Command(
        "train one model on several data sets at once",
        "train [--recipe NAME] (--data NAME=PATH | --manifest FILE)... [--out RUN] [--section.field VALUE]...",
        _train,
        _train_help,
    ),
    "evaluate": Command(
        "say how good a run is on each data set, also on ones it never saw",
        "evaluate RUN [--data NAME=PATH | --manifest FILE]... [--checkpoint last|best] [--json]",
        _evaluate,
        lambda full: _evaluate_parser().options_help(),
    ),
    "compare": Command(
        "lay two runs side by side: settings, and differences per domain with their uncertainty",
        "compare RUN_A RUN_B [--json]",
        _compare,
        lambda full: _compare_parser().options_help(),
    ),
    "profile": Command(
        "count a model's parameters and multiply-adds",
        "profile MODEL [--dcsd.field VALUE]... [--json]",
        _profile,
        lambda full: (
            "  MODEL                        a trunk (resnet50, resnet50-dcsd, ...: 224x224, with a 1000-way layer) or\n"
            "                               a system (bot, bot-dcsd: 256x128, last stride 1)\n"
            "  --dcsd.field VALUE           a setting of the generated convolution; see `jointreid train --help-all`"
        ),
    ),
}
