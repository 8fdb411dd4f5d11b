"""The commands about data: check, ingest, prepare, synth."""

import argparse
import sys
import time
from pathlib import Path

from jointreid.cli.command import Command, Parser, print_json
from jointreid.config import DataConfig


def data_arguments(parser: Parser) -> None:
    """Add the options by which every command is told of data sets."""
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
    parser.add_argument(
        "--cuhk03", choices=("labeled", "detected"), default="labeled", help="boxes of CUHK03 (labeled)"
    )
    parser.add_argument("--msmt17-trainval", action="store_true", help="add MSMT17's list_val to train")
    parser.add_argument(
        "--acknowledge-withdrawn", action="store_true", help="read data sets that their owner has withdrawn"
    )


def data_config(options: argparse.Namespace) -> DataConfig:
    """Return the settings that `data_arguments` stand for."""
    return DataConfig(
        sources=tuple(options.data + options.manifest),
        missing_camid=options.missing_camid,
        acknowledge_withdrawn=options.acknowledge_withdrawn,
        cuhk03=options.cuhk03,
        msmt17_trainval=options.msmt17_trainval,
    )


# data check


def _check_parser() -> Parser:
    parser = Parser(DATA_COMMANDS["data check"].usage)
    data_arguments(parser)
    parser.add_argument("--skip-unreadable", action="store_true", help="list unreadable images and check the others")
    parser.add_argument("--cache", default="out/cache", metavar="DIR", help="where results of decoding are kept")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def _check(argv: list[str]) -> int:
    from jointreid.data.findings import render
    from jointreid.data.preflight import check
    from jointreid.data.sources import load_domains

    options = _check_parser().read(argv)
    domains = load_domains(data_config(options))
    result, _ = check(domains, cache_dir=Path(options.cache), skip_unreadable=options.skip_unreadable)
    print_json(result.to_dict()) if options.json else print(render(result))
    return 0 if result.ok else 1


# data ingest


def _ingest_parser() -> Parser:
    parser = Parser(DATA_COMMANDS["data ingest"].usage)
    parser.add_argument("source", metavar="SRC", help="the folder; its images are neither moved nor changed")
    parser.add_argument("--out", required=True, metavar="FILE", help="the manifest to write, a .csv anywhere")
    parser.add_argument("--name", metavar="NAME", help="the domain's name; by default the folder's")
    parser.add_argument(
        "--layout",
        choices=("auto", "market", "imagefolder", "mot"),
        default="auto",
        help="market (names like 0002_c1_7.jpg), imagefolder (a folder a person), mot (tracks); auto (default) looks",
    )
    parser.add_argument(
        "--camera",
        choices=("auto", "name", "folder", "none"),
        default="auto",
        help="where camera ids come from: file names, a folder in each person's, or none; auto (default) looks",
    )
    parser.add_argument(
        "--split",
        choices=("auto", "draw"),
        default="auto",
        help="auto (default) keeps the folder's splits if it has some, else draws; draw draws anyway",
    )
    parser.add_argument("--test-share", type=float, default=0.5, metavar="SHARE", help="of identities to test on (0.5)")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws another split (0)")
    parser.add_argument("--every", type=int, default=10, metavar="FRAMES", help="of a track, between two boxes (10)")
    parser.add_argument("--min-height", type=int, default=32, metavar="PIXELS", help="of a track's boxes (32)")
    parser.add_argument("--min-visibility", type=float, default=0.3, metavar="SHARE", help="of a track's boxes (0.3)")
    parser.add_argument("--overwrite", action="store_true", help="replace a manifest that is there")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def _ingest(argv: list[str]) -> int:
    from jointreid.ingest import ingest

    settings = vars(_ingest_parser().read(argv))
    as_json = settings.pop("json")
    summary = ingest(settings.pop("source"), settings.pop("out"), **settings)
    print_json(summary.to_dict()) if as_json else print(summary.render())
    return 0


# data prepare


def _prepare_parser() -> Parser:
    parser = Parser(DATA_COMMANDS["data prepare"].usage)
    parser.add_argument("name", metavar="NAME", help="cuhk03 or cuhk_sysu; the others are read as they are given out")
    parser.add_argument("source", metavar="SRC", help="the folder with the release, as its owner gives it out")
    parser.add_argument("target", metavar="DST", help="a folder to write to; the same call goes on where one stopped")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    return parser


def _prepare(argv: list[str]) -> int:
    from rich.console import Console

    from jointreid.messages.progress import progress_bar
    from jointreid.prepare import prepare, render, terms_of

    options = _prepare_parser().read(argv)
    # Before the work, and not among what --json prints.
    print(f"Terms: {terms_of(options.name)}\n", file=sys.stderr)
    with progress_bar(Console(stderr=True), f"preparing {options.name}") as on_progress:
        prepared = prepare(options.name, options.source, options.target, on_progress=on_progress)
    print_json(prepared.to_dict()) if options.json else print(render(prepared))
    return 0


# data synth


def _synth_parser() -> Parser:
    parser = Parser(DATA_COMMANDS["data synth"].usage)
    parser.add_argument("--out", required=True, metavar="DIR", help="a new folder, or one where the same call stopped")
    parser.add_argument(
        "--preset", default="demo", metavar="NAME", help="tiny, demo (default), table1 or start: see docs/synthetic.md"
    )
    parser.add_argument("--limit", type=int, default=0, metavar="N", help="N images at most, of whole identities")
    parser.add_argument("--seed", type=int, default=0, help="another seed draws other people and cameras (0)")
    parser.add_argument("--height", type=int, default=128, metavar="PIXELS", help="of an image, twice its width (128)")
    parser.add_argument("--workers", type=int, default=0, metavar="N", help="processes; 0 (default) takes one a core")
    return parser


def _synth(argv: list[str]) -> int:
    from rich.console import Console

    from jointreid.ingest.summary import check_command
    from jointreid.messages.progress import progress_bar
    from jointreid.synthetic import synthesise

    options = _synth_parser().read(argv)
    since = time.monotonic()
    with progress_bar(Console(stderr=True), "drawing") as on_progress:
        manifest = synthesise(
            options.out,
            options.preset,
            seed=options.seed,
            limit=options.limit,
            height=options.height,
            workers=options.workers,
            on_progress=on_progress,
        )
    print(f"Wrote {manifest} in {time.monotonic() - since:.0f} s, and {manifest.with_name('sheet.jpg')} to look at.")
    print(f"Next: {check_command(manifest)}")
    return 0


DATA_COMMANDS: dict[str, Command] = {
    "data check": Command(
        "say whether training and evaluation can run on the data, and what is wrong with it",
        "data check (--data NAME=PATH | --manifest FILE)... [--json] [--skip-unreadable]",
        _check,
        lambda full: _check_parser().options_help(),
    ),
    "data ingest": Command(
        "turn a folder of your own into a manifest: split it, with a match for every query",
        "data ingest SRC --out MANIFEST [--name NAME] [--layout NAME] ...",
        _ingest,
        lambda full: _ingest_parser().options_help(),
    ),
    "data prepare": Command(
        "convert a raw release of CUHK03 or CUHK-SYSU once, into a folder its reader takes",
        "data prepare NAME SRC DST [--json]",
        _prepare,
        lambda full: _prepare_parser().options_help(),
    ),
    "data synth": Command(
        "draw synthetic people: several domains with cameras of their own, on disk, with a manifest",
        "data synth --out DIR [--preset NAME] [--limit N] [--seed N]",
        _synth,
        lambda full: _synth_parser().options_help(),
    ),
}
