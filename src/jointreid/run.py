"""A run directory: config.yaml, labels.json, metrics.jsonl, last/, best/, results.json. Opening one executes nothing.

A checkpoint (`last`, `best`) is a folder with `model.safetensors` and `state.json`; `last` also holds what training
needs to go on. A checkpoint is replaced by renaming, so a reader finds the old one or the new one, whole.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jointreid.config import RunConfig, from_dict, to_dict
from jointreid.data.joint import LabelSpace
from jointreid.errors import JointreidError
from jointreid.files import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

    from jointreid.models.reid import ReIDModel

CHECKPOINTS = ("last", "best")


@dataclass(frozen=True)
class Run:
    """A run directory, opened.

    Attributes:
        path: the directory.
        config: every setting it was made with.
        label_space: which identity, camera and domain each class of its heads stands for.
    """

    path: Path
    config: RunConfig
    label_space: LabelSpace

    def checkpoint(self, name: str = "last") -> Path:
        """Return the folder of a checkpoint.

        Raises:
            JointreidError: not one of `CHECKPOINTS`, or not there.
        """
        if name not in CHECKPOINTS:
            raise JointreidError(f"checkpoint is {name!r}; expected one of {', '.join(CHECKPOINTS)}")
        folder = self.path / name
        kept = self.path / f"{name}.old"  # only there when a replacement was cut off between two renames
        folder = folder if folder.is_dir() or not kept.is_dir() else kept
        if not (folder / "model.safetensors").is_file():
            hint = "train with --data.val_ids to choose one" if name == "best" else "the run has not saved yet"
            raise JointreidError(f"{self.path} holds no checkpoint {name!r}; {hint}")
        return folder

    def state(self, name: str = "last") -> dict[str, Any]:
        """Return the progress a checkpoint records: step, epoch and more, as plain numbers and strings."""
        return read_json(self.checkpoint(name) / "state.json")

    def model(self, name: str = "last") -> "ReIDModel":
        """Return the model of a checkpoint, on the CPU and in evaluation mode.

        Raises:
            JointreidError: the weights are missing, unreadable or of another shape.
        """
        model = model_for(self.config, self.label_space)
        load_weights(model, self.checkpoint(name) / "model.safetensors")
        return model.eval()


def open_run(path: str | Path) -> Run:
    """Open a run directory.

    Raises:
        JointreidError: it is not one, or its settings or labels are damaged.
    """
    path = Path(path)
    if not (path / "config.yaml").is_file():
        what = "is not a run directory (no config.yaml in it)" if path.is_dir() else "does not exist"
        raise JointreidError(f"{path} {what}; expected what `jointreid train --out {path}` writes")
    return Run(path, read_config(path / "config.yaml"), LabelSpace.load(path / "labels.json"))


def read_config(path: str | Path, base: RunConfig | None = None) -> RunConfig:
    """Read settings from YAML, in sections, as `config.yaml` in a run directory; what it leaves out is as in `base`.

    Raises:
        JointreidError: not readable, not in sections, an unknown key or a value out of range.
    """
    import yaml

    try:
        plain = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise JointreidError(f"{path}: cannot read settings: {error}") from error
    if not isinstance(plain, dict) or not all(isinstance(section, dict) for section in plain.values()):
        raise JointreidError(f"{path}: expected sections of settings, such as `train:` with `seed: 1` below it")
    try:
        return from_dict(plain, base)
    except JointreidError as error:
        raise JointreidError(f"{path}: {error}") from error


def write_config(config: RunConfig, path: Path) -> None:
    """Write settings as YAML that `read_config` and `--config` take back."""
    import yaml

    write_atomically(path, yaml.safe_dump(to_dict(config), sort_keys=False))


def model_for(config: RunConfig, label_space: LabelSpace) -> "ReIDModel":
    """Return the untrained model of a run's settings with heads for its labels."""
    from jointreid.models.reid import build_model

    return build_model(
        config.model.name,
        num_ids=label_space.num_ids,
        num_domains=label_space.num_domains,
        num_cameras=label_space.num_cameras,
        trunk=config.model.trunk,
        last_stride=config.model.last_stride,
        stem_relu=config.model.stem_relu,
        classifier_std=config.model.classifier_std,
        nonlocal_reduction=config.model.nonlocal_reduction,
        gem_p=config.model.gem_p,
        gem_learnable=config.model.gem_learnable,
        dcsd=config.dcsd,
    )


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """Read a safetensors file; nothing in it can be executed.

    Raises:
        JointreidError: it is missing, cut off, or another kind of file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise JointreidError(
            f"{path}: not a readable safetensors file ({error}). Nothing in it was loaded or executed; "
            "restore the file from a copy, or train again"
        ) from error


def load_weights(model: "ReIDModel", path: Path, *, heads: bool = True) -> None:
    """Load a model's weights, all of them or none.

    Args:
        model: the model to fill, changed in place.
        path: a safetensors file of the same architecture.
        heads: whether the classifiers for identities, domains and cameras must fit too; without, they stay as they are.

    Raises:
        JointreidError: a tensor is missing, left over or of another shape; lists up to five of them.
    """
    tensors = read_tensors(path)
    own = model.state_dict()
    if not heads:
        heads_of_model = set(model.head_names())
        tensors = {name: own[name] if name in heads_of_model else tensor for name, tensor in tensors.items()}
        tensors |= {name: own[name] for name in heads_of_model}
    wrong = [f"{name} is missing" for name in own if name not in tensors]
    wrong += [f"{name} is left over" for name in tensors if name not in own]
    for name in own.keys() & tensors.keys():
        if own[name].shape != tensors[name].shape:
            wrong.append(f"{name} is {tuple(tensors[name].shape)}, expected {tuple(own[name].shape)}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise JointreidError(f"{path} does not fit the model: {'; '.join(wrong[:5])}{more}")
    model.load_state_dict(tensors)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        JointreidError: it is missing or not a JSON object.
    """
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise JointreidError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(plain, dict):
        raise JointreidError(f"{path}: expected a JSON object, found {type(plain).__name__}")
    return plain
