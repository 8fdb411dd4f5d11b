"""The small initial weights of the demo, and the function behind `jointreid demo --make-weights`, which trains them.

They are trained on synthetic people with other identities and cameras than the demo's; both systems see the same
pictures for the same number of steps. A trunk this small learns slowly from random weights, even more so with generated
filters, just as a large one does without ImageNet.
"""

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

from jointreid.machine.files import replacing, write_atomically
from jointreid.machine.hashing import file_sha256
from jointreid.messages.errors import JointreidError
from jointreid.messages.progress import progress_bar
from jointreid.recipes import apply_recipe
from jointreid.run import Run
from jointreid.synthetic import synthesise
from jointreid.training.train import train

SYSTEMS = ("bot", "bot-dcsd")
# The network that the weights fit, and the settings they are trained with.
NETWORK: dict[str, dict[str, Any]] = {
    "image": {"height": 96, "width": 48, "pad": 5},
    "model": {"trunk": "resnet50-w16"},
    "sampler": {"ids_per_batch": 16, "images_per_id": 4},
}
_PEOPLE: dict[str, Any] = {"preset": "start", "seed": 1000}
_TRAINING: dict[str, dict[str, Any]] = {
    "schedule": {"epochs": 24, "milestones": (16, 22), "warmup_epochs": 1},
    "optim": {"lr": 2e-3},
}
_MAX_BYTES = 4_000_000


def committed_weights(system: str) -> Path:
    """Return the weights file that comes with the package."""
    return Path(__file__).with_name(f"{system}.safetensors")


def make_weights(out: Path, console: Console | None = None) -> None:
    """Draw people, train both systems on them and write their weights with their origin.

    Takes about half an hour on two cores. A stopped run is resumed.

    Args:
        out: folder to write: `data/`, the two runs, `<system>.safetensors` and `weights.json`.
        console: where to print; standard output by default.
    """
    console = console or Console()
    with progress_bar(console, "drawing people") as on_progress:
        manifest = synthesise(out / "data", on_progress=on_progress, **_PEOPLE)
    made: dict[str, Any] = {}
    for system in SYSTEMS:
        path = out / system
        config = apply_recipe(system).replace(
            data={"sources": (str(manifest),), "cache": str(out / "cache")},
            **NETWORK,
            **_TRAINING,
            train={"out": str(path), "eval_every": 0, "resume": (path / "config.yaml").is_file()},
        )
        run = train(config, console)
        made[system] = _write_weights(run, out / f"{system}.safetensors") | {"steps": run.state()["step"]}
    origin = {"people": _PEOPLE, **NETWORK, **_TRAINING, "torch": version("torch"), "weights": made}
    write_atomically(out / "weights.json", json.dumps(origin, indent=1) + "\n")


def _write_weights(run: Run, path: Path) -> dict[str, Any]:
    """Write a run's weights without its heads, in half precision."""
    from safetensors.torch import save_file

    model = run.model()
    heads = model.head_names()
    tensors = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in model.state_dict().items()
        if name not in heads
    }
    with replacing(path) as temporary:
        save_file(tensors, temporary)
    if os.path.getsize(path) > _MAX_BYTES:
        raise JointreidError(f"{path}: larger than {_MAX_BYTES:,} bytes, the limit that keeps the package small")
    return {"sha256": file_sha256(path), "label_space": run.label_space.hash}
