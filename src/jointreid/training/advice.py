"""Advice for a run that is short of memory or disk."""

from pathlib import Path

import torch

from jointreid.config import RunConfig
from jointreid.machine.run_files import folder_of
from jointreid.machine.system import peak_memory
from jointreid.messages.commands import command, options

_GIB = 2**30


def memory_advice(config: RunConfig, run: Path, device: torch.device) -> str:
    """Return which settings to lower, and to what, after a step ran out of memory.

    The memory of a batch grows with its images and their pixels: half of either is half of the memory.
    """
    identities, image = config.sampler.ids_per_batch, config.image
    ways = []
    if identities >= 4:
        ways.append(
            f"--sampler.ids_per_batch {identities // 2} (it is {identities}) with --train.accumulate "
            f"{2 * config.train.accumulate} halves a batch, and a step sees as many images"
        )
    if config.train.precision == "32-true":
        ways.append("--train.precision bf16-mixed nearly halves what a batch takes")
    height, width = image.height * 3 // 4, image.width * 3 // 4
    ways.append(f"--image.height {height} --image.width {width} (it is {image.height} x {image.width}) takes 56 %")
    again = (
        f"start a new run from its last checkpoint, with {options('--init', run)} and another --out"
        if folder_of(run, "last")
        else f"it has no checkpoint yet: delete {run}, or choose another --out"
    )
    return (
        f"a step needs more than there is; {_used(device)}Lower one of: {'; '.join(ways)}. A run cannot change these "
        f"settings: {again}"
    )


def disk_advice(run: Path) -> str:
    """Return what was lost on a full disk, and how to resume."""
    if folder_of(run, "last"):
        return f"make room; the last checkpoint is intact: resume with `{command('train', '--resume', run)}`"
    if (run / "config.yaml").is_file():
        return (
            f"make room; there is no checkpoint yet: `{command('train', '--resume', run)}` starts from the first step"
        )
    return "make room, and run the same command again"


def _used(device: torch.device) -> str:
    """Return the most memory that was in use, of a GPU or of this process, in a sentence; nothing if unknown."""
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
    return "" if peak is None else f"{peak / _GIB:.1f} GiB were in use at the peak. "
