"""The files of pre-training: a checkpoint after each epoch, and weights for runs to start from."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn, optim

from jointreid.machine.files import replacing, write_atomically
from jointreid.machine.hashing import file_sha256
from jointreid.machine.reading import load_metadata, load_tensors
from jointreid.messages.commands import command
from jointreid.messages.errors import JointreidError
from jointreid.models.weight_sources import own_label

FORMAT_VERSION = 1


class PretrainCheckpoint:
    """The progress of a training, saved and loaded.

    Args:
        out: the folder of the files.
        facts: network, data and recipe; written into the JSON, and must be the same to resume.
        model: the network in training.
        optimizer: SGD with momentum.
        precision: Fabric's arithmetic, which in 16-mixed holds the scale of the losses.

    Attributes:
        epoch: whole epochs done.
        accuracy: top-1 and top-5 accuracy on val after the last of them, shares in [0, 1].
    """

    def __init__(
        self, out: Path, facts: dict[str, Any], model: nn.Module, optimizer: optim.Optimizer, precision: Any
    ) -> None:
        self.out, self.facts = out, facts
        self._model, self._optimizer, self._precision = model, optimizer, precision
        self.epoch = 0
        self.accuracy: dict[str, float] = {}

    def save(self) -> None:
        """Write all that resuming after an epoch needs, in one file, which is replaced whole."""
        tensors = {f"model/{name}": tensor.contiguous() for name, tensor in self._model.state_dict().items()}
        for name, parameter in self._model.named_parameters():
            if slots := self._optimizer.state.get(parameter):  # none as long as a scaler skips the steps
                tensors[f"momentum/{name}"] = slots["momentum_buffer"].contiguous()
        state = {
            "format_version": FORMAT_VERSION,
            "epoch": self.epoch,
            **self.accuracy,
            "scaler": self._precision.state_dict(),
            "facts": self.facts,
        }
        with replacing(self.out / "training.safetensors") as temporary:
            save_file(tensors, temporary, {"state": json.dumps(state)})

    def resume(self) -> None:
        """Load the checkpoint of the last whole epoch.

        Raises:
            JointreidError: it is damaged, or the training has other settings or data.
        """
        path = self.out / "training.safetensors"
        try:
            state = json.loads(load_metadata(path)["state"])
            tensors = load_tensors(path)
            if changed := _changed(state["facts"], self.facts):
                raise JointreidError(
                    f"--resume: {self.out} was started with other {', '.join(changed)}; leave that as it was, or "
                    "choose another --out"
                )
            scaler = state.get("scaler")  # earlier versions did not keep it
            stepped = not scaler or any(name.startswith("momentum/") for name in tensors)
            self._model.load_state_dict({name: tensors[f"model/{name}"] for name in self._model.state_dict()})
            for name, parameter in self._model.named_parameters() if stepped else ():
                momentum = tensors[f"momentum/{name}"].to(parameter.device)
                self._optimizer.state[parameter]["momentum_buffer"] = momentum
            if scaler:
                self._precision.load_state_dict(scaler)
            self.epoch = int(state["epoch"])
            self.accuracy = {name: float(state[name]) for name in ("top1", "top5")}
        except JointreidError:
            raise
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise JointreidError(f"{path}: cannot be resumed ({error!r}); start again in another --out") from error

    def export(self) -> str:
        """Write the weights under the names of the trunk, then the JSON that describes them; return their label."""
        path = self.out / "model.safetensors"
        tensors = {name.removeprefix("trunk."): tensor for name, tensor in self._model.state_dict().items()}
        with replacing(path) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
        sha256 = file_sha256(path)
        facts = {
            "format_version": FORMAT_VERSION,
            **self.accuracy,
            "epochs": self.epoch,
            "sha256": sha256,
            **self.facts,
            "versions": {package: version(package) for package in ("jointreid", "torch", "timm")},
        }
        write_atomically(path.with_suffix(".json"), json.dumps(facts, indent=1) + "\n")
        return own_label(path, sha256)


def check_out(out: Path, resume: bool) -> None:
    """Refuse to write over a training, or to resume none.

    Raises:
        JointreidError: there is one without `resume`, or `resume` without one.
    """
    started = (out / "training.safetensors").is_file()
    if resume and not started:
        raise JointreidError(f"--resume: {out} holds no finished epoch to resume after; leave out --resume to start")
    if not resume and (started or (out / "model.safetensors").is_file()):
        raise JointreidError(f"{out} already holds a training; resume it with --resume, or choose another --out")
    if (out / "config.yaml").is_file():
        raise JointreidError(f"{out} holds a run of `{command('train')}`; choose another --out")


def _changed(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return the names of the facts and settings that have changed."""
    flat_before, flat_now = ({**facts, **facts["recipe"], "recipe": None} for facts in (before, now))
    return [name for name in flat_now if flat_before.get(name) != flat_now[name]]
