"""Checkpoints: what evaluation needs, and what training needs to go on exactly where it was.

A checkpoint is a folder in a run directory: `model.safetensors` (the weights that evaluation uses), `state.json`
(progress as plain numbers) and, for `last`, `training.safetensors` (optimiser, random state, raw weights).
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from jointreid.errors import JointreidError
from jointreid.files import write_atomically
from jointreid.models.reid import ReIDModel
from jointreid.run import Run, load_weights, read_tensors
from jointreid.training.optim import WeightAverage

FORMAT_VERSION = 1


def save_checkpoint(
    run: Path,
    name: str,
    model: nn.Module,
    state: dict[str, Any],
    *,
    average: WeightAverage | None = None,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Write a checkpoint beside the old one, then let it take its place.

    Args:
        run: the run directory.
        name: `last` or `best`.
        model: its weights are saved, or those of `average` where there is one.
        state: progress, of plain numbers, strings, lists and dicts.
        average: the moving average of the weights.
        optimizer: with it the checkpoint can be trained on: its state and the random state are saved too.
    """
    folder, new, old = run / name, run / f"{name}.new", run / f"{name}.old"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    _save_tensors(average.tensors if average else model.state_dict(), new / "model.safetensors")
    plain: dict[str, Any] = {"format_version": FORMAT_VERSION, **state}
    if optimizer is not None:
        tensors, plain["optimizer"] = _flatten(optimizer)
        tensors["random/cpu"] = torch.get_rng_state()
        if average is not None:
            tensors |= {f"raw/{key}": tensor for key, tensor in model.state_dict().items()}
        _save_tensors(tensors, new / "training.safetensors")
    write_atomically(new / "state.json", json.dumps(plain, indent=1))
    if folder.is_dir():
        shutil.rmtree(old, ignore_errors=True)
        os.rename(folder, old)
    os.rename(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(
    run: Run, model: ReIDModel, optimizer: torch.optim.Optimizer, average: WeightAverage | None
) -> dict[str, Any]:
    """Load `last` of a run into a model and its optimiser, in place, and return its progress.

    Raises:
        JointreidError: a file is missing, damaged, of another format version or of another architecture.
    """
    folder = run.checkpoint("last")
    state = run.state("last")
    if state.get("format_version") != FORMAT_VERSION:
        raise JointreidError(
            f"{folder}: format version {state.get('format_version')}, this version of jointreid reads {FORMAT_VERSION}"
        )
    tensors = read_tensors(folder / "training.safetensors")
    load_weights(model, folder / "model.safetensors")
    if average is not None:
        average.tensors = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        model.load_state_dict({key[4:]: tensor for key, tensor in tensors.items() if key.startswith("raw/")})
    try:
        optimizer.load_state_dict(_unflatten(tensors, state["optimizer"]))
        torch.set_rng_state(tensors["random/cpu"])
    except (KeyError, ValueError, RuntimeError) as error:
        raise JointreidError(f"{folder}: does not hold the optimiser of this model ({error})") from error
    return state


def _save_tensors(tensors: dict[str, Tensor], path: Path) -> None:
    save_file({key: tensor.detach().contiguous() for key, tensor in tensors.items()}, path)
    with path.open("rb") as written:
        os.fsync(written.fileno())


def _flatten(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Split an optimiser's state into tensors by name and plain settings by group."""
    state = optimizer.state_dict()
    tensors = {
        f"optimizer/{index}/{key}": value for index, slots in state["state"].items() for key, value in slots.items()
    }
    return tensors, state["param_groups"]


def _unflatten(tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> dict[str, Any]:
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = tensor
    # JSON has no tuples; of a group's settings only the parameters are a list.
    settings = [{k: tuple(v) if isinstance(v, list) and k != "params" else v for k, v in g.items()} for g in groups]
    return {"state": state, "param_groups": settings}
