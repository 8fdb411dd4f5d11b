"""`jointreid ranklist`."""

from dataclasses import dataclass
from pathlib import Path

from jointreid.cli.options import argument, cache, device, moved, skip_unreadable
from jointreid.config import setting
from jointreid.machine.device import Device
from jointreid.messages.commands import command


@dataclass(frozen=True, kw_only=True)
class RanklistOptions:
    """Options of `jointreid ranklist`."""

    run: str = argument("RUN", "a run directory, evaluated")
    out: str = setting("ranklist", "the page, or a folder for it; pictures lie beside it", metavar="DIR|FILE")
    domain: str = setting("", "the data set (default: all that the run was evaluated on)")
    length: int = setting(10, "answers shown for each query")
    maps: bool = setting(False, "show for each wrong first answer what makes it like the query")
    data: tuple[str, ...] = moved()
    cache: str = cache()
    device: Device = device()
    skip_unreadable: bool = skip_unreadable()


def ranklist(options: RanklistOptions) -> int:
    """Write a page with the ranked list of every query, to look through the failures of a run."""
    from rich.console import Console

    from jointreid.analysis.ranklist_page import write_ranklist
    from jointreid.messages.progress import progress_bars

    with progress_bars(Console(stderr=True)) as on_batch:
        path = write_ranklist(
            options.run,
            options.out,
            domain=options.domain,
            length=options.length,
            maps=options.maps,
            device=options.device,
            skip_unreadable=options.skip_unreadable,
            sources=options.data,
            cache=options.cache,
            command=_command(options),
            on_batch=on_batch,
        )
    print(f"Wrote {path} and pictures beside it. They are from the data sets: pass them on as their terms allow.")
    return 0


def _command(options: RanklistOptions) -> str:
    """Return the command that makes the page again."""
    words: list[str | Path] = ["ranklist", Path(options.run), "--out", Path(options.out)]
    default = RanklistOptions(run="")
    names = ("domain", "length", "cache", "device")
    words += [f"--{name}={value}" for name in names if (value := getattr(options, name)) != getattr(default, name)]
    words += [word for source in options.data for word in ("--data", source)]
    words += ["--maps"] * options.maps + ["--skip-unreadable"] * options.skip_unreadable
    return command(*words)
