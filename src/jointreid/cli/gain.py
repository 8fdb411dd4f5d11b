"""`jointreid gain`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jointreid.cli.options import argument, as_json
from jointreid.cli.output import print_json
from jointreid.config import setting
from jointreid.machine.files import write_atomically
from jointreid.machine.paths import require_writable_file, user_path


@dataclass(frozen=True, kw_only=True)
class GainOptions:
    """Options of `jointreid gain`."""

    runs: tuple[str, ...] = argument("RUN", "run directories, evaluated, or folders that hold some")
    metric: Literal["mAP", "rank1"] = setting("mAP", "the metric that is compared")
    plain: str = setting(
        "", "a run of the plain network that gains start from (default: one that suits the others)", metavar="RUN"
    )
    html: str = setting("", "write a page with heat maps too", metavar="FILE")
    csv: str = setting("", "write every difference as CSV too", metavar="FILE")
    json: bool = as_json("the comparison")


def gain(options: GainOptions) -> int:
    """Compare training on each data set alone with joint training, and split the gain into its causes."""
    files = {"--html": options.html, "--csv": options.csv}
    for option, file in files.items():
        if file:
            require_writable_file(user_path(file), option)
    from jointreid.analysis.gain import compute_gain
    from jointreid.analysis.gain_text import as_csv, render

    found = compute_gain(options.runs, metric=options.metric, plain=options.plain)
    print_json(found.to_dict()) if options.json else print(render(found))
    if options.csv:
        write_atomically(user_path(options.csv), as_csv(found))
    if options.html:
        from jointreid.analysis.gain_page import write_gain_page

        write_gain_page(found, user_path(options.html), _command(options))
    if not options.json:
        print("".join(f"\nWrote {file}" for file in files.values() if file).strip())
    return 0


def _command(options: GainOptions) -> str:
    """Return the command that makes the page again."""
    from jointreid.messages.commands import command

    words: list[str | Path] = ["gain", *map(Path, options.runs)]
    words += ["--metric", options.metric] if options.metric != "mAP" else []
    words += ["--plain", Path(options.plain)] if options.plain else []
    return command(*words, "--html", Path(options.html))
