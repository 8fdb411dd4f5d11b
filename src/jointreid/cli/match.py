"""`jointreid match`."""

from dataclasses import dataclass

from jointreid.cli.options import argument, as_json, device
from jointreid.cli.output import print_json
from jointreid.config import setting
from jointreid.machine.device import Device
from jointreid.machine.run_files import CheckpointName
from jointreid.messages.errors import JointreidError


@dataclass(frozen=True, kw_only=True)
class MatchOptions:
    """Options of `jointreid match`."""

    run: str = argument("RUN", "a run directory, calibrated by `jointreid calibrate`")
    images: tuple[str, ...] = argument("A B", "two images (not with --pairs)", ())
    pairs: str = setting("", "a .csv of pairs with the columns a and b, paths below its folder", metavar="FILE")
    domain: str = setting("", "data set that all images belong to (default: as the network predicts)", metavar="NAME")
    across_cameras: bool = setting(False, "the two images are of two cameras: use the thresholds for such pairs")
    checkpoint: CheckpointName = setting("last", "which weights: the last, or the best on held-out identities")
    device: Device = device()
    json: bool = as_json("the verdicts with all numbers")


def match(options: MatchOptions) -> int:
    """Say whether two images show the same person, by the calibrated threshold.

    Same: the similarity is at the upper end of the threshold's interval or above. Different: below its lower end, and
    below what nearly all pairs of one person reach. Unsure: between.
    """
    from dataclasses import replace

    from jointreid.machine.paths import user_path
    from jointreid.verification.match import ImagePair, match, read_pairs, render

    if bool(options.pairs) == bool(options.images) or (options.images and len(options.images) != 2):
        raise JointreidError(f"{len(options.images)} images are given; expected two, or a table with --pairs")
    pairs = read_pairs(user_path(options.pairs)) if options.pairs else [ImagePair(options.images[0], options.images[1])]
    if options.domain:
        pairs = [
            replace(pair, domain_a=pair.domain_a or options.domain, domain_b=pair.domain_b or options.domain)
            for pair in pairs
        ]
    if options.across_cameras:
        pairs = [replace(pair, across_cameras=True) for pair in pairs]
    found = match(options.run, pairs, options.checkpoint, options.device)
    print_json(found.to_dict()) if options.json else print(render(found))
    return 0
