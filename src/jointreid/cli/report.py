"""`jointreid report`."""

from dataclasses import dataclass
from pathlib import Path

from jointreid.cli.options import argument, cache, device, moved, skip_unreadable
from jointreid.config import setting
from jointreid.machine.device import Device
from jointreid.messages.commands import command

_TITLE = "Models side by side"


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Options of `jointreid report`."""

    runs: tuple[str, ...] = argument("RUN", "run directories, evaluated")
    out: str = setting("report.html", "the page", metavar="FILE")
    title: str = setting(_TITLE, "title of the page")
    queries: int = setting(3, "queries shown of each domain, 200 at most; 0 for none")
    data: tuple[str, ...] = moved()
    cache: str = cache()
    device: Device = device()
    skip_unreadable: bool = skip_unreadable()


def report(options: ReportOptions) -> int:
    """Write one page about several runs: accuracy, curves, and what each retrieves, right and wrong."""
    from jointreid.analysis.report import write_report
    from jointreid.analysis.reported import RunGroup
    from jointreid.machine.paths import require_writable_file, user_path

    require_writable_file(user_path(options.out), "--out")
    path = write_report(
        [RunGroup("", options.runs)],
        options.out,
        title=options.title,
        command=_command(options),
        queries=options.queries,
        device=options.device,
        skip_unreadable=options.skip_unreadable,
        sources=options.data,
        cache=options.cache,
    )
    print(f"Wrote {path}. It holds images from the data sets: pass it on as their terms allow.")
    return 0


def _command(options: ReportOptions) -> str:
    """Return the command that makes the page again."""
    words: list[str | Path] = ["report", *map(Path, options.runs), "--out", Path(options.out)]
    default = ReportOptions(runs=())
    changed = (
        name for name in ("title", "queries", "cache", "device") if getattr(options, name) != getattr(default, name)
    )
    words += [word for source in options.data for word in ("--data", source)]
    words += [f"--{name}={getattr(options, name)}" for name in changed]  # a title may begin with dashes
    words += ["--skip-unreadable"] * options.skip_unreadable
    return command(*words)
