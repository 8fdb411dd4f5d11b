"""`jointreid calibrate`."""

from dataclasses import dataclass

from jointreid.cli.options import Overrides, argument, as_json, cache, device, overrides, short_keys
from jointreid.cli.output import print_json
from jointreid.config import RunConfig, setting
from jointreid.machine.device import Device
from jointreid.machine.run_files import CheckpointName

# The run's settings say where decoded images lie.
_OF_THE_RUN = ("data.cache",)


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions:
    """Options of `jointreid calibrate`."""

    run: str = argument("RUN", "a run directory")
    fmr: float = setting(0.001, "false-match rate: share of pairs of two people that may be called the same")
    fnmr: float = setting(0.1, "share of pairs of one person that may be called different; the others are unsure")
    fpir: float = setting(0.1, "share of searches for somebody unknown in which anybody may be called the same")
    gallery_size: tuple[int, ...] = setting(
        (), "people in a gallery that searches must have a threshold for; repeat for more", metavar="PEOPLE"
    )
    domain: tuple[str, ...] = setting((), "only this data set; repeat for more (default: all)", metavar="NAME")
    settings: Overrides = overrides(key for key in short_keys("data") if key not in _OF_THE_RUN)
    images: int = setting(4000, "images of each half of a data set that are compared, at most", metavar="N")
    seed: int = setting(0, "of the split of the people into halves, and of the intervals")
    checkpoint: CheckpointName = setting("last", "which weights: the last, or the best on held-out identities")
    flip: bool = setting(False, "average each feature with that of the mirrored image")
    cache: str = cache()
    device: Device = device()
    json: bool = as_json("the thresholds")


def calibrate(options: CalibrateOptions) -> int:
    """Choose the similarity from which on two images show the same person, on people whom the run has never seen."""
    from rich.console import Console

    from jointreid.messages.progress import progress_bars
    from jointreid.verification.calibrate import CalibrationRequest, calibrate_run
    from jointreid.verification.calibration import path_of
    from jointreid.verification.table import render

    data = RunConfig().replace(**options.settings).data
    request = CalibrationRequest(
        fmr=options.fmr,
        fnmr=options.fnmr,
        fpir=options.fpir,
        gallery_people=options.gallery_size,
        domains=options.domain,
        images=options.images,
        seed=options.seed,
    )
    with progress_bars(Console(stderr=True)) as on_batch:
        found = calibrate_run(
            options.run,
            request,
            data,
            options.checkpoint,
            flip=options.flip,
            device=options.device,
            cache=options.cache,
            skip_unreadable=data.skip_unreadable,
            on_batch=on_batch,
        )
    if options.json:
        print_json(found.to_dict())
    else:
        from jointreid.machine.paths import user_path

        print(render(found))
        print(f"\nWrote {path_of(user_path(options.run), found.checkpoint)}.")
    return 0
