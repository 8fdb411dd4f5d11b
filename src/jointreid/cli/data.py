"""The commands about data: check, ingest, prepare, synth."""

import dataclasses
import sys
import time
from dataclasses import MISSING, dataclass

from jointreid.cli.options import Overrides, argument, as_json, overrides, short_keys
from jointreid.cli.output import print_json
from jointreid.config import CameraChoice, EvaluationProtocol, Layout, RunConfig, SplitChoice, setting
from jointreid.machine.collection import collection
from jointreid.machine.paths import cache_folder

# What a training is checked for: its data, and how its batches are drawn and shared.
_CHECKED = (
    *short_keys("data"), "data.val_ids", "data.places", "data.leave_out_cameras",
    "sampler.kind", "sampler.ids_per_batch", "sampler.images_per_id", "sampler.temperature",
    "sampler.domain_weights", "sampler.domains_per_batch",
    "train.seed", "train.devices", "train.nodes", "train.batch", "train.gather", "schedule.epoch_length",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """Options of `jointreid data check`."""

    settings: Overrides = overrides(_CHECKED)
    json: bool = as_json("the result")


def check(options: CheckOptions) -> int:
    """Check whether training and evaluation can run on the data, and list what is wrong with it."""
    from jointreid.data.checked import Outcome, check_key, recall, remember
    from jointreid.data.preflight import check
    from jointreid.data.sources import load_domains

    config = RunConfig().replace(**options.settings)
    data = config.data
    with collection(on=False):
        cache = cache_folder(data.cache)
        key = check_key(config) if cache else None
        outcome = recall(cache, key) if cache and key else None
        if outcome is None:
            result, _ = check(
                load_domains(data), cache_dir=cache, skip_unreadable=data.skip_unreadable, training=config
            )
            outcome = Outcome.of(result)
            if cache and key and key == check_key(config):  # nothing changed meanwhile
                remember(cache, key, result)
    print_json(outcome.plain) if options.json else print(outcome.text)
    return 0 if outcome.ok else 1


@dataclass(frozen=True, kw_only=True)
class IngestOptions:
    """Options of `jointreid data ingest`."""

    source: str = argument("SRC", "the folder; its images are neither moved nor changed")
    out: str = setting(MISSING, "the manifest to write, a .csv anywhere", metavar="FILE")
    name: str = setting("", "the domain's name; by default the folder's", metavar="NAME")
    layout: Layout = setting(
        "auto",
        "market (names like 0002_c1_7.jpg), imagefolder (a folder per person), mot (tracks), or a published one by "
        "name; auto recognises it",
    )
    pattern: str = setting(
        "", "what folders and names mean, such as {camera}/{pid}/{frame}.jpg; fields split, camera, pid, track, "
        "sequence, frame, and * for the rest", metavar="PATTERN"
    )  # fmt: skip
    camera: CameraChoice = setting(
        "auto",
        "where camera ids come from: file names, folders inside or above those of people, or none; auto recognises it",
    )
    split: SplitChoice = setting("auto", "auto keeps the folder's splits, if it has some, or draws; draw always draws")
    test_share: float = setting(0.5, "share of the identities to test on", metavar="SHARE")
    seed: int = setting(0, "another seed draws another split")
    every: int = setting(10, "of a track, frames between two boxes", metavar="FRAMES")
    min_height: int = setting(32, "smallest height of a track's boxes", metavar="PIXELS")
    min_visibility: float = setting(0.3, "smallest visible share of a track's boxes", metavar="SHARE")
    class_: str = setting("", "of a track's boxes, the class by number or name; by default pedestrian", metavar="CLASS")
    nobody: tuple[str, ...] = setting(
        (),
        "NAME=junk, NAME=distractor or NAME=person, for a folder such as unknown; repeat for more",
        metavar="NAME=KIND",
    )
    protocol: EvaluationProtocol = setting(
        "query_gallery", "query_gallery, or leave_one_out: every test image asks all others, whatever its camera"
    )
    overwrite: bool = setting(False, "replace a manifest that is there")
    dry_run: bool = setting(False, "show how the folder is read, and write nothing")
    json: bool = as_json("the summary")


def ingest(options: IngestOptions) -> int:
    """Describe a folder of your own images in a manifest: with splits, and a match for every query."""
    from jointreid.ingest import ingest

    settings = dataclasses.asdict(options)
    as_json = settings.pop("json")
    settings |= {"name": options.name or None, "on_reading": None if as_json else print}
    summary = ingest(settings.pop("source"), settings.pop("out"), **settings)
    print_json(summary.to_dict()) if as_json else print(summary.render())
    return 0


@dataclass(frozen=True, kw_only=True)
class PrepareOptions:
    """Options of `jointreid data prepare`."""

    name: str = argument("NAME", "cuhk03 or cuhk_sysu; the others are read in the form their owners release")
    source: str = argument("SRC", "the folder with the release")
    target: str = argument("DST", "a folder to write to; the same command resumes a conversion that was stopped")
    json: bool = as_json("what was written")


def prepare(options: PrepareOptions) -> int:
    """Convert a raw release of CUHK03 or CUHK-SYSU once, into a folder that its reader takes."""
    from rich.console import Console

    from jointreid.messages.progress import progress_bar
    from jointreid.prepare import prepare, render, terms_of

    # Before the work, and not among what --json prints.
    print(f"Terms: {terms_of(options.name)}\n", file=sys.stderr)
    with progress_bar(Console(stderr=True), f"preparing {options.name}") as on_progress:
        prepared = prepare(options.name, options.source, options.target, on_progress=on_progress)
    print_json(prepared.to_dict()) if options.json else print(render(prepared))
    return 0


@dataclass(frozen=True, kw_only=True)
class SynthOptions:
    """Options of `jointreid data synth`."""

    out: str = setting(MISSING, "a new folder, or one where the same command was stopped", metavar="DIR")
    preset: str = setting("demo", "tiny, demo, start, shop or table1: see docs/synthetic.md", metavar="NAME")
    limit: int = setting(0, "at most N images, of whole identities; 0 for all")
    seed: int = setting(0, "another seed draws other people and cameras")
    height: int = setting(128, "height of an image, twice its width", metavar="PIXELS")
    workers: int = setting(0, "processes; 0 takes one for each core")


def synth(options: SynthOptions) -> int:
    """Draw synthetic people: several domains, each with its cameras, as images with a manifest."""
    from rich.console import Console

    from jointreid.ingest.summary import check_command
    from jointreid.messages.progress import progress_bar
    from jointreid.synthetic import synthesise

    settings, since = dataclasses.asdict(options), time.monotonic()
    with progress_bar(Console(stderr=True), "drawing") as on_progress:
        manifest = synthesise(settings.pop("out"), settings.pop("preset"), **settings, on_progress=on_progress)
    print(f"Wrote {manifest} in {time.monotonic() - since:.0f} s, and {manifest.with_name('sheet.jpg')} to look at.")
    print(f"Next: {check_command(manifest)}")
    return 0
