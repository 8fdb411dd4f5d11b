"""`jointreid extract`."""

from dataclasses import dataclass, fields
from typing import Literal

from jointreid.cli.options import argument, as_json, device, skip_unreadable
from jointreid.cli.output import print_json
from jointreid.config import setting
from jointreid.machine.device import Device
from jointreid.machine.run_files import CheckpointName
from jointreid.messages.errors import JointreidError

_TRACKLETS = "images with the same tracklet: pool them into one row by their quality, or keep a row for each"


@dataclass(frozen=True, kw_only=True)
class ExtractOptions:
    """Options of `jointreid extract`."""

    run: str = argument("RUN", "a run directory (not with --join)", "")
    images: str = setting(
        "", "a folder of images, or a .csv or .parquet table with the column path", metavar="PATH|URI"
    )
    out: str = setting("", "the file to write", metavar="FILE.parquet")
    root: str = setting("", "folder that the paths in the table are relative to (default: the table's)", metavar="DIR")
    checkpoint: CheckpointName = setting("last", "which weights: the last, or the best on held-out identities")
    flip: bool = setting(False, "average each feature with that of the mirrored image")
    raw: bool = setting(False, "leave features as they are, instead of scaling them to length 1")
    tracklets: Literal["pool", "keep"] = setting("pool", _TRACKLETS)
    skip_unreadable: bool = skip_unreadable()
    shard: str = setting("", "compute only part K of N, into a file of its own", metavar="K/N")
    join: tuple[str, ...] = setting((), "join these shards, or those in this folder; repeat for more", metavar="PATH")
    batch_size: int = setting(0, "images at a time (default: the run's, 64)")
    workers: int = setting(0, "threads that decode images (default: one a core)")
    device: Device = device()
    engine: Literal["local", "ray"] = setting("local", "compute in this process, or on Ray: all cores, or a cluster")
    address: str = setting("", "Ray cluster, or auto for this machine's (default: start Ray here)", metavar="HOST:PORT")
    json: bool = as_json("what was written")


def extract(options: ExtractOptions) -> int:
    """Compute the feature of each image, box or tracklet, in order, into one file; killed, the same command resumes."""
    if not options.out:
        raise JointreidError("--out is missing; give the file to write, such as --out features.parquet")
    if options.join and (options.run or options.images or options.shard):
        raise JointreidError("--join takes shards that are complete; leave RUN, --images and --shard out")
    if options.join:
        plain = ExtractOptions()
        names = [field.name for field in fields(options) if field.name not in ("join", "out", "json")]
        if changed := [name for name in names if getattr(options, name) != getattr(plain, name)]:
            words = ", ".join(f"--{name.replace('_', '-')}" for name in changed)
            raise JointreidError(f"--join takes shards as they are; leave out {words}")
    if not options.join and not (options.run and options.images):
        raise JointreidError("give a run directory and --images; or --join, to join shards")
    if options.address and options.engine != "ray":
        raise JointreidError("--address is that of a Ray cluster; add --engine ray")
    from rich.console import Console

    from jointreid.extraction.shards import Shard
    from jointreid.extraction.work import extract_features, join, print_skipped
    from jointreid.messages.progress import progress_bar

    if options.join:
        outcome = join(options.join, options.out)
    else:
        with progress_bar(Console(stderr=True), "images") as on_progress:
            outcome = extract_features(
                options.run,
                options.images,
                options.out,
                root=options.root,
                checkpoint=options.checkpoint,
                flip=options.flip,
                normalise=not options.raw,
                pool_tracklets=options.tracklets == "pool",
                shard=Shard.parse(options.shard) if options.shard else None,
                skip_unreadable=options.skip_unreadable,
                batch_size=options.batch_size or None,
                threads=options.workers,
                device=options.device,
                engine=options.engine,
                address=options.address,
                on_progress=on_progress,
            )
    print_skipped(outcome.info)
    if options.json:
        print_json(outcome.to_dict())
    else:
        state = "Already complete" if outcome.was_there else "Wrote"
        print(f"{state}: {outcome.path}, {outcome.num_rows:,} rows of {outcome.info.dims} numbers.")
    return 0
