"""The commands about models: demo, train, pretrain, evaluate, compare, report, profile."""

import re
import shlex
from argparse import ArgumentTypeError
from dataclasses import asdict, fields
from pathlib import Path
from typing import get_args, get_type_hints

from jointreid.cli.command import Command, Parser, print_json
from jointreid.cli.data import data_arguments, data_config
from jointreid.messages.errors import JointreidError

# train


def _train(argv: list[str]) -> int:
    from jointreid.options import read_options
    from jointreid.training.distributed.world import report_once

    with report_once():
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


def _evaluate_parser() -> Parser:
    parser = Parser(RUN_COMMANDS["evaluate"].usage)
    parser.add_argument("run", metavar="RUN", help="a run directory")
    data_arguments(parser)
    parser.add_argument("--checkpoint", choices=("last", "best"), default="last", help="last (default) or best")
    parser.add_argument("--flip", action="store_true", help="average each feature with that of the mirrored image")
    parser.add_argument("--rerank", action="store_true", help="re-rank by k-reciprocal neighbours")
    parser.add_argument("--max-memory", type=_bytes, metavar="SIZE", help="for ranking, such as 2GB (the run's: 1GiB)")
    parser.add_argument("--batch-size", type=int, metavar="N", help="images at a time (the run's: 64)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    return parser


def _bytes(text: str) -> int:
    """Return the bytes that a size means: a plain number, or one with kB, MB, GB (1000), KiB, MiB or GiB (1024)."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kMG])(i?)B?|B)?", text, re.IGNORECASE)
    if not found:
        raise ArgumentTypeError(f"{text!r}; expected bytes, or a size such as 500MB or 2GB")
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** (" kmg".index(unit.lower()) if unit else 0))


def _evaluate(argv: list[str]) -> int:
    options = _evaluate_parser().read(argv)
    from jointreid.retrieval.evaluate import evaluate_run
    from jointreid.retrieval.results import render

    results = evaluate_run(
        options.run,
        data_config(options),
        checkpoint=options.checkpoint,
        flip=options.flip,
        rerank=options.rerank,
        max_memory=options.max_memory,
        batch_size=options.batch_size,
        device=options.device,
    )
    print_json(results.to_dict()) if options.json else print(render(results))
    return 0


# compare


def _compare_parser() -> Parser:
    parser = Parser(RUN_COMMANDS["compare"].usage)
    parser.add_argument("run_a", metavar="RUN_A", help="a run directory, evaluated")
    parser.add_argument("run_b", metavar="RUN_B", help="another; differences are B minus A")
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON")
    return parser


def _compare(argv: list[str]) -> int:
    options = _compare_parser().read(argv)
    from jointreid.analysis.compare import compare, render

    comparison = compare(options.run_a, options.run_b)
    print_json(comparison.to_dict()) if options.json else print(render(comparison))
    return 0


# pretrain


def _pretrain_parser() -> Parser:
    from jointreid.training.pretrain.config import PretrainConfig

    parser = Parser(RUN_COMMANDS["pretrain"].usage)
    parser.add_argument("images", metavar="IMAGEFOLDER", help="a folder with train/CLASS/* and val/CLASS/*")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the weights go")
    for field, kind in zip(fields(PretrainConfig), get_type_hints(PretrainConfig).values(), strict=True):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=kind if isinstance(kind, type) else str,
            choices=get_args(kind) or None,
            default=field.default,
            metavar="VALUE",
            help=f"{field.metadata['help']} ({field.default})",
        )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    parser.add_argument("--devices", type=int, default=1, metavar="N", help="how many of them (1)")
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="machines; more than one needs torchrun (1)")
    parser.add_argument("--workers", type=int, default=8, metavar="N", help="processes a device that decode images (8)")
    parser.add_argument("--resume", action="store_true", help="go on after the last whole epoch in DIR")
    return parser


def _pretrain(argv: list[str]) -> int:
    given = vars(_pretrain_parser().read(argv))
    from jointreid.training.distributed.world import report_once
    from jointreid.training.pretrain.config import PretrainConfig
    from jointreid.training.pretrain.loop import pretrain

    with report_once():
        config = PretrainConfig(**{field.name: given.pop(field.name) for field in fields(PretrainConfig)})
    pretrain(given.pop("images"), given.pop("out"), config, **given)
    return 0


# report


def _report_parser() -> Parser:
    parser = Parser(RUN_COMMANDS["report"].usage)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run directories, evaluated")
    parser.add_argument("--out", default="report.html", metavar="FILE", help="the page (report.html)")
    parser.add_argument("--title", default="Models side by side", help="of the page")
    parser.add_argument(
        "--queries", type=int, default=3, metavar="N", help="queries shown of each domain; 0 for none (3)"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    return parser


def _report(argv: list[str]) -> int:
    options = _report_parser().read(argv)
    from jointreid.analysis.report import write_report
    from jointreid.analysis.reported import RunGroup

    path = write_report(
        [RunGroup("", options.runs)],
        options.out,
        title=options.title,
        command=shlex.join(["jointreid", "report", *argv]),
        queries=options.queries,
        device=options.device,
    )
    print(f"Wrote {path}. It holds images from the data sets: pass it on as their terms allow.")
    return 0


# profile


def _profile(argv: list[str]) -> int:
    as_json = "--json" in argv
    argv = [token for token in argv if token != "--json"]
    if not argv or argv[0].startswith("--"):
        raise JointreidError(f"which model? Usage: jointreid {RUN_COMMANDS['profile'].usage}")
    from jointreid.options import read_options, require_known, spell_out

    settings = spell_out(argv[1:])
    if stray := [token for token in settings if not token.startswith("--dcsd.")]:
        require_known(stray, ["--dcsd.squeeze", "--dcsd.factors", "--dcsd.mlp_bias", "--dcsd.kernel_size", "--json"])
    config = read_options(settings)
    from jointreid.models.profile import profile, render, render_variants, variants

    counts = profile(argv[0], config.dcsd)
    others = variants(config.dcsd) if argv[0] == "resnet50-dcsd" else ()
    if as_json:
        print_json(counts.to_dict() | {"variants": [asdict(variant) for variant in others]})
    else:
        print(render(counts))
        if others:
            print(render_variants(others))
    return 0


# demo


def _demo_parser() -> Parser:
    parser = Parser(RUN_COMMANDS["demo"].usage)
    parser.add_argument("--out", default="out/demo", metavar="DIR", help="where to draw, train and write (out/demo)")
    parser.add_argument("--scale", default="full", metavar="NAME", help="full (default), or test: does it work at all?")
    parser.add_argument("--make-weights", action="store_true", help="train the weights it starts from anew, into DIR")
    return parser


def _demo(argv: list[str]) -> int:
    options = _demo_parser().read(argv)
    if options.make_weights:
        from jointreid.demo.weights import make_weights

        make_weights(Path(options.out))
    else:
        from jointreid.demo import demo

        demo(Path(options.out), options.scale)
    return 0


RUN_COMMANDS: dict[str, Command] = {
    "demo": Command(
        "see it work: synthetic people, BoT and BoT-DCSD trained on all domains at once, a page with the outcome",
        "demo [--out DIR] [--scale full|test]",
        _demo,
        lambda full: _demo_parser().options_help(),
    ),
    "train": Command(
        "train one model on several data sets at once",
        "train [--recipe NAME] (--data NAME=PATH | --manifest FILE)... [--out RUN] [--section.field VALUE]...",
        _train,
        _train_help,
    ),
    "pretrain": Command(
        "train a trunk on classes of images, such as ImageNet's, for runs to start from",
        "pretrain IMAGEFOLDER --out DIR [--network NAME] [--epochs N] [--resume] ...",
        _pretrain,
        lambda full: _pretrain_parser().options_help(),
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
    "report": Command(
        "one page about several runs: accuracy, curves, and what each finds, right and wrong",
        "report RUN... [--out FILE] [--title TEXT] [--queries N]",
        _report,
        lambda full: _report_parser().options_help(),
    ),
    "profile": Command(
        "count a model's parameters and multiply-adds",
        "profile MODEL [--dcsd.field VALUE]... [--json]",
        _profile,
        lambda full: (
            "  MODEL                        a trunk (resnet50, resnet50-dcsd, ...: 224x224, with a 1000-way layer) or\n"
            "                               a system (bot, agw, bot-dcsd, ...: 256x128, last stride 1)\n"
            "  --dcsd.field VALUE           a setting of the generated convolution; see `jointreid train --help-all`"
        ),
    ),
}
