"""`jointreid why`."""

from dataclasses import dataclass
from pathlib import Path

from jointreid.cli.options import argument, as_json, device
from jointreid.cli.output import print_json
from jointreid.config import setting
from jointreid.machine.device import Device
from jointreid.messages.commands import command


@dataclass(frozen=True, kw_only=True)
class WhyOptions:
    """Options of `jointreid why`."""

    run: str = argument("RUN", "a run directory")
    first: str = argument("A", "an image")
    second: str = argument("B", "another image")
    out: str = setting("why.html", "the page", metavar="FILE")
    device: Device = device()
    json: bool = as_json("the similarity and every contribution (and write no page)")


def why(options: WhyOptions) -> int:
    """Say how alike two images are to a run, and show which places of both make them so."""
    from jointreid.analysis.why_page import explain_images, summary, to_dict, write_why_page
    from jointreid.machine.paths import require_writable_file, user_path

    out = user_path(options.out)
    if not options.json:
        require_writable_file(out, "--out")
    found = explain_images(options.run, options.first, options.second, device=options.device)
    if options.json:
        print_json(to_dict(found))
        return 0
    write_why_page(found, out, _command(options))
    print(f"{summary(found)}\nWrote {out}. It holds both pictures: pass it on only as their terms allow.")
    return 0


def _command(options: WhyOptions) -> str:
    """Return the command that makes the page again."""
    words: list[str | Path] = ["why", Path(options.run), Path(options.first), Path(options.second)]
    words += ["--out", Path(options.out)]
    words += [f"--device={options.device}"] * (options.device != WhyOptions.device)
    return command(*words)
