"""A converted checkpoint on disk: a run directory, or a file of weights for `--init`."""

import json
from pathlib import Path

from jointreid.hub.convert import Conversion
from jointreid.machine.files import replacing, write_atomically
from jointreid.machine.paths import user_path
from jointreid.messages.errors import JointreidError
from jointreid.run import model_for, open_run, write_config
from jointreid.training.checkpoint import save_checkpoint

CONVERSION = "conversion.json"


def write_peer_run(conversion: Conversion, out: str | Path) -> Path:
    """Write a run directory that can be evaluated, extracted with, exported and started from.

    It holds the settings, invented labels, the weights and, in `conversion.json`, what became of each tensor. Training
    cannot resume it: it has no state of an optimiser.

    Args:
        conversion: from `jointreid.hub.convert.convert`.
        out: the directory, empty or not there.

    Raises:
        JointreidError: there is something in the directory, or it cannot be written.
    """
    folder = user_path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise JointreidError(f"{folder} is not empty; name a new directory with --out")
    folder.mkdir(parents=True, exist_ok=True)
    model = model_for(conversion.config, conversion.label_space)
    model.load_state_dict(dict(conversion.tensors))
    state = {
        "step": 0,
        "epoch": 0.0,
        "labels": conversion.label_space.hash,
        "pretraining": conversion.origin,
    }
    conversion.label_space.save(folder / "labels.json")
    write_atomically(folder / CONVERSION, json.dumps(conversion.to_dict(), indent=1) + "\n")
    save_checkpoint(folder, "last", model, state)
    write_config(conversion.config, folder / "config.yaml")  # last: it makes the directory a run
    return open_run(folder).path


def write_peer_file(conversion: Conversion, out: str | Path) -> Path:
    """Write the weights as one safetensors file for `--init`, with its origin in the header.

    Args:
        conversion: from `jointreid.hub.convert.convert`.
        out: the file; one that is there is replaced.
    """
    from safetensors.torch import save_file

    path = user_path(out)
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {key: value for key, value in conversion.to_dict().items() if isinstance(value, str)}
    with replacing(path) as temporary:
        save_file(dict(conversion.tensors), temporary, {"provenance": json.dumps(facts, sort_keys=True)})
    return path
