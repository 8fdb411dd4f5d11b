"""`jointreid predict`."""

from dataclasses import dataclass

from jointreid.cli.options import argument, as_json, cache, device, moved
from jointreid.cli.output import print_json
from jointreid.config import setting
from jointreid.machine.device import Device
from jointreid.messages.errors import JointreidError


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Options of `jointreid predict`."""

    run: str = argument("RUN", "a run directory")
    images: str = setting("", "a folder of images, or a .csv or .parquet table with the column path", metavar="PATH")
    out: str = setting("", "file for the rows, .csv, .parquet or .json", metavar="FILE")
    root: str = setting("", "folder that the paths in the table are relative to (default: the table's)", metavar="DIR")
    domain: str = setting("", "data set of the run that images belong to, where the table has no column domain")
    false_alarms: float = setting(0.05, "share of false alarms that the alarm is set for")
    camera_margin: float = setting(0.5, "difference of probabilities from which on another camera is suggested")
    own_images: int = setting(150, "train and test images of each data set of the run to compare with, about")
    seed: int = setting(0, "of the choice of these images")
    data: tuple[str, ...] = moved()
    cache: str = cache()
    device: Device = device()
    json: bool = as_json("all figures and rows")


def predict(options: PredictOptions) -> int:
    """Say which data set and camera images look like, which are like none, and which camera ids look wrong."""
    if not options.images:
        raise JointreidError("--images is missing; give a folder of images, or a table with the column path")
    from rich.console import Console

    from jointreid.conflict.material import study_run
    from jointreid.conflict.predict import predict_origins
    from jointreid.conflict.prediction_file import render, require_suffix, to_dict, write_predictions
    from jointreid.extraction.image_table import read_images
    from jointreid.machine.paths import require_writable_file, user_path
    from jointreid.messages.progress import progress_bars

    out = user_path(options.out) if options.out else None
    if out:
        require_suffix(out)
        require_writable_file(out, "--out")
    table = read_images(options.images, options.root)
    studied = study_run(
        options.run,
        options.own_images,
        sources=options.data,
        cache=options.cache,
        device=options.device,
        seed=options.seed,
    )
    with progress_bars(Console(stderr=True)) as on_progress:
        found = predict_origins(
            studied,
            table,
            false_alarms=options.false_alarms,
            margin=options.camera_margin,
            domain=options.domain,
            on_progress=on_progress,
        )
    if out:
        write_predictions(found, out)
    print_json(to_dict(found)) if options.json else print(render(found))
    if out and not options.json:
        print(f"Wrote {out}.")
    return 0
