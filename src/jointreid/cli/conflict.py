"""`jointreid conflict`."""

from dataclasses import dataclass
from pathlib import Path

from jointreid.cli.options import argument, as_json, cache, device, moved
from jointreid.cli.output import print_json
from jointreid.config import setting
from jointreid.machine.device import Device
from jointreid.messages.commands import command


@dataclass(frozen=True, kw_only=True)
class ConflictOptions:
    """Options of `jointreid conflict`."""

    run: str = argument("RUN", "a run directory")
    html: str = setting("conflict.html", "the page; empty for none", metavar="FILE")
    images: int = setting(100, "train and test images of each data set that are looked at, about")
    pictures: bool = setting(True, "show pictures of people on the page")
    seed: int = setting(0, "of the choice of images")
    data: tuple[str, ...] = moved()
    cache: str = cache()
    device: Device = device()
    json: bool = as_json("all figures")


def conflict(options: ConflictOptions) -> int:
    """Show where the data sets of a run are in conflict: gradients, losses, features, context, cameras, labels."""
    from rich.console import Console

    from jointreid.conflict.findings import findings
    from jointreid.conflict.material import study_run
    from jointreid.conflict.page import render_page
    from jointreid.conflict.study import study_conflict
    from jointreid.machine.files import write_atomically
    from jointreid.machine.paths import require_writable_file, user_path
    from jointreid.messages.progress import progress_bars

    page = user_path(options.html) if options.html else None
    if page:
        require_writable_file(page, "--html")
    studied = study_run(
        options.run,
        options.images,
        sources=options.data,
        cache=options.cache,
        device=options.device,
        seed=options.seed,
    )
    with progress_bars(Console(stderr=True)) as on_progress:
        study = study_conflict(studied, options.images, on_progress)
    if page:
        terms = {domain.name: domain.terms for domain in studied.domains}
        write_atomically(page, render_page(study, terms=terms, command=_command(options), pictures=options.pictures))
    if options.json:
        print_json(study.to_dict())
        return 0
    print("\n\n".join(findings(study)))
    if page:
        kept = ": pass it on as their terms allow." if options.pictures else ", but names of files and people."
        print(f"\nWrote {page}. It holds {'' if options.pictures else 'no '}images from the data sets{kept}")
    return 0


def _command(options: ConflictOptions) -> str:
    """Return the command that makes the page again."""
    words: list[str | Path] = ["conflict", Path(options.run), "--html", Path(options.html)]
    default = ConflictOptions(run="")
    changed = (n for n in ("images", "seed", "cache", "device") if getattr(options, n) != getattr(default, n))
    words += [f"--{name}={getattr(options, name)}" for name in changed]
    words += ["--pictures=false"] * (not options.pictures)
    words += [word for source in options.data for word in ("--data", source)]
    return command(*words)
