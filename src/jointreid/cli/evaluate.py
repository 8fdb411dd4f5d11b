"""`jointreid evaluate`."""

import re
from dataclasses import dataclass

from jointreid.cli.options import Overrides, argument, as_json, cache, device, overrides, short_keys
from jointreid.cli.output import print_json
from jointreid.config import RunConfig, setting
from jointreid.machine.device import Device
from jointreid.machine.run_files import CheckpointName
from jointreid.messages.errors import JointreidError

# The run's settings say where decoded images lie.
_OF_THE_RUN = ("data.cache",)


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """Options of `jointreid evaluate`."""

    run: str = argument("RUN", "a run directory")
    settings: Overrides = overrides(key for key in short_keys("data") if key not in _OF_THE_RUN)
    checkpoint: CheckpointName = setting("last", "which weights: the last, or the best on held-out identities")
    flip: bool = setting(False, "average each feature with that of the mirrored image")
    rerank: bool = setting(False, "re-rank by k-reciprocal neighbours")
    merged_gallery: bool = setting(False, "search the galleries of all data sets together too, and show the drop")
    max_memory: str = setting("", "memory for ranking, such as 2GB (default: the run's, 1GiB)", metavar="SIZE")
    batch_size: int = setting(0, "images at a time (default: the run's, 64)")
    cache: str = cache()
    device: Device = device()
    json: bool = as_json("the results")


def evaluate(options: EvaluateOptions) -> int:
    """Evaluate a run on each of its data sets, or on others, also ones that it never saw."""
    max_memory = _bytes("--max-memory", options.max_memory) if options.max_memory else None
    from jointreid.retrieval.evaluate import evaluate_run
    from jointreid.retrieval.results import render

    data = RunConfig().replace(**options.settings).data
    results = evaluate_run(
        options.run,
        data,
        checkpoint=options.checkpoint,
        flip=options.flip,
        rerank=options.rerank,
        max_memory=max_memory,
        batch_size=options.batch_size or None,
        device=options.device,
        skip_unreadable=data.skip_unreadable,
        cache=options.cache,
        merged_gallery=options.merged_gallery,
    )
    print_json(results.to_dict()) if options.json else print(render(results))
    return 0


def _bytes(option: str, text: str) -> int:
    """Return the bytes that a size means: a plain number, or one with kB, MB, GB (1000), KiB, MiB or GiB (1024)."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kMG])(i?)B?|B)?", text, re.IGNORECASE)
    if not found:
        raise JointreidError(f"{option} is {text!r}; expected bytes, or a size such as 500MB or 2GB")
    number, unit, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** (" kmg".index(unit.lower()) if unit else 0))
