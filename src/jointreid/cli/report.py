"""`jointreid report`."""

import shlex
from dataclasses import dataclass

from jointreid.cli.options import argument, device
from jointreid.config import setting
from jointreid.machine.device import Device

_TITLE = "Models side by side"


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of `jointreid report`."""

    runs: tuple[str, ...] = argument("RUN", "run directories, evaluated")
    out: str = setting("report.html", "the page", metavar="FILE")
    title: str = setting(_TITLE, "title of the page")
    queries: int = setting(3, "queries shown of each domain; 0 for none")
    device: Device = device()


def report(options: ReportOptions) -> int:
    """Write one page about several runs: accuracy, curves, and what each retrieves, right and wrong."""
    from jointreid.analysis.report import write_report
    from jointreid.analysis.reported import RunGroup

    path = write_report(
        [RunGroup("", options.runs)],
        options.out,
        title=options.title,
        command=shlex.join(_command(options)),
        queries=options.queries,
        device=options.device,
    )
    print(f"Wrote {path}. It holds images from the data sets: pass it on as their terms allow.")
    return 0


def _command(options: ReportOptions) -> list[str]:
    """Return the command that makes the page again."""
    command = ["jointreid", "report", *options.runs, "--out", options.out]
    default = ReportOptions(runs=())
    for name in ("title", "queries", "device"):
        if getattr(options, name) != getattr(default, name):
            command += [f"--{name}", str(getattr(options, name))]
    return command
