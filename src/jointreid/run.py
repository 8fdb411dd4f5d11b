"""A run directory: config.yaml, labels.json, metrics.jsonl, last/, best/, results.json. Opening it executes no code.

A checkpoint (`last`, `best`) is a folder with `model.safetensors`, `state.json` and their checksums; `last` also has
the optimiser and all else that resuming needs. A run may come from a stranger: every file is checked before it is used,
and has to lie inside the directory.
"""

import json
import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jointreid.config import RunConfig, config_difference, from_dict, to_dict
from jointreid.data.holdout import held_out_identities
from jointreid.data.label_space import LabelSpace
from jointreid.data.moved import find_sources
from jointreid.machine.files import write_atomically
from jointreid.machine.paths import user_path
from jointreid.machine.reading import facts_of, is_file, misfits, read_facts, read_tensors, read_yaml, require_inside
from jointreid.machine.run_files import (
    CHECKPOINTS,
    FORMAT_VERSION,
    STATE,
    WEIGHTS,
    folder_of,
    read_state,
    require_version,
    verify,
)
from jointreid.messages.commands import command
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

if TYPE_CHECKING:
    from jointreid.models.reid import ReIDModel

# A checkpoint is read so often before giving up, if training saves another one meanwhile each time.
_TRIES = 5


@dataclass(frozen=True)
class Run:
    """A run directory, opened.

    Attributes:
        path: the directory.
        config: its settings.
        label_space: the identity, camera and domain of each class of its heads.
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
        folder = folder_of(self.path, name)
        if folder is None or not (folder / WEIGHTS).is_file():
            hint = "train with --data.val_ids to choose one" if name == "best" else "the run has not saved yet"
            raise JointreidError(f"{self.path} has no checkpoint {name!r}; {hint}")
        return folder

    def state(self, name: str = "last") -> dict[str, Any]:
        """Return the state of a checkpoint: step, epoch and more, as plain numbers and strings.

        Raises:
            JointreidError: there is none, it is damaged, or it belongs to other identities or cameras.
        """
        return self.state_in(self.checkpoint(name))

    def state_in(self, folder: Path) -> dict[str, Any]:
        """Return the state of the checkpoint in a folder of the run, see `state`."""
        state = read_state(self.path, folder)
        if state.get("labels", self.label_space.hash) != self.label_space.hash:
            raise JointreidError(
                f"{folder}: was saved with other identities or cameras than {self.path}/labels.json lists; restore "
                "files of the same run"
            )
        return state

    def step(self, name: str = "last") -> int | None:
        """Return the steps that a checkpoint was trained for; None if it does not tell."""
        return step_in(self._told(name))

    def model(self, name: str = "last") -> "ReIDModel":
        """Return the model of a checkpoint, see `loaded`."""
        return self.loaded(name)[0]

    def loaded(self, name: str = "last") -> "tuple[ReIDModel, dict[str, Any]]":
        """Return the model of a checkpoint, on the CPU and in evaluation mode, and its state, empty if it has none.

        Both are of one save, even if the run is being trained and saves meanwhile. The model of a published run has no
        domain and camera heads: their classifiers were not published.

        Raises:
            JointreidError: the weights are missing, damaged, of another shape, or for other identities or cameras; or
                the run saves faster than it can be read.
        """
        for _ in range(_TRIES):
            state = self._told(name)
            weights = self.checkpoint(name) / WEIGHTS
            require_inside(weights, self.path)
            model = model_for(self.config, self.label_space)
            load_weights(model, weights)
            if self._told(name) == state:
                if self.label_space.is_published:
                    model.prune_heads()
                return model.eval(), state
        raise JointreidError(f"{self.path} saves {name!r} faster than it can be read; wait until it is trained")

    def _told(self, name: str) -> dict[str, Any]:
        """Return the state of a checkpoint, empty if it has none."""
        folder = self.checkpoint(name)
        return self.state_in(folder) if (folder / STATE).is_file() else {}


def step_in(state: Mapping[str, Any]) -> int | None:
    """Return the steps that the state of a checkpoint tells; None if it does not."""
    step = state.get("step")
    return step if isinstance(step, int) else None


def open_run(path: str | Path) -> Run:
    """Open a run directory.

    Raises:
        JointreidError: it is not one, or its settings or labels are damaged.
    """
    path = user_path(path)
    if not is_file(path / "config.yaml"):
        what = "is not a run directory (no config.yaml in it)" if path.is_dir() else "does not exist"
        if path.is_file():
            raise JointreidError(f"{path} is a file; expected a run directory, such as {path.parent}")
        raise JointreidError(f"{path} {what}; expected what `{command('train', '--out', path)}` writes")
    for file in ("config.yaml", "labels.json"):
        require_inside(path / file, path)
    return Run(path, read_config(path / "config.yaml"), LabelSpace.load(path / "labels.json"))


def find_data(run: Run, sources: Sequence[str] = (), cache: str = "") -> Run:
    """Return a run with the settings that find its data where they lie now.

    Args:
        run: the run.
        sources: where its data were moved to, see `jointreid.data.moved.find_sources`.
        cache: another folder for decoded images; empty for that of the run.

    Raises:
        JointreidError: its data are neither given nor where they were nor beside the run.
    """
    names = [domain.name for domain in run.label_space.domains]
    found = find_sources(run.config, run.path, names, sources)
    return replace(run, config=run.config.replace(data={"sources": found, "cache": cache or run.config.data.cache}))


def read_config(path: str | Path, base: RunConfig | None = None) -> RunConfig:
    """Read settings from YAML, in sections, as in a run's `config.yaml`; those it leaves out are taken from `base`.

    Raises:
        JointreidError: not readable, not in sections, an unknown key or a value out of range.
    """
    path = user_path(path)
    plain = read_yaml(path)
    if isinstance(plain, dict):
        require_version(plain.pop("format_version", 1), path)
    if not isinstance(plain, dict) or not all(
        isinstance(name, str) and isinstance(section, dict) and all(isinstance(key, str) for key in section)
        for name, section in plain.items()
    ):
        raise JointreidError(f"{path}: expected sections of settings, such as `train:` with `seed: 1` below it")
    try:
        return from_dict(plain, base)
    except JointreidError as error:
        raise JointreidError(f"{path}: {error}") from error


def write_config(config: RunConfig, path: Path, given: RunConfig | None = None) -> None:
    """Write settings as YAML for `read_config` and `--config`.

    Args:
        config: the settings.
        path: the file.
        given: as they were given, where paths may be relative to the working directory; what differs is noted in
            comments at the end.
    """
    import yaml

    text = yaml.safe_dump({"format_version": FORMAT_VERSION, **to_dict(config)}, sort_keys=False)
    changes = config_difference(given, config) if given else {}
    notes = [f"#   {key}: {json.dumps(before)}\n" for key, (before, _) in changes.items()]
    if notes:
        text += f"# In {json.dumps(os.getcwd())} these were given as\n{''.join(notes)}"
    write_atomically(path, text)


def model_for(config: RunConfig, label_space: LabelSpace) -> "ReIDModel":
    """Return the untrained model of a run's settings, with heads for its labels."""
    from jointreid.models.reid import Classes, assemble

    classes = Classes(label_space.num_ids, label_space.num_domains, label_space.num_cameras)
    return assemble(config.model, config.dcsd, classes)


def hold_out_identities(model: "ReIDModel", config: RunConfig, label_space: LabelSpace) -> None:
    """Tell a model which identities its context network does not learn from, before a loss of it is computed.

    Without `dcsd.context_held_out` there are none, and the model stays as it is.

    Args:
        model: of `model_for`, changed in place.
        config: the settings of the run.
        label_space: the identities of its classes.

    Raises:
        JointreidError: no domain has two identities, one to learn from and one to hold out.
    """
    if model.context_trust is not None:
        model.context_trust.hold_out(held_out_identities(label_space, config.dcsd.context_held_out))


def load_weights(model: "ReIDModel", path: Path, *, heads: bool = True) -> None:
    """Load a model's weights, all of them or none.

    Args:
        model: the model to fill, changed in place.
        path: a safetensors file of the same architecture.
        heads: load the classifiers for identities, domains and cameras too; otherwise they keep their weights, and so
            do generators beside static kernels if the file is of the plain network and holds none. What
            `dcsd.context_held_out` and `dcsd.camera_shrinkage` add may then be in one of the two alone.

    Raises:
        JointreidError: the file is damaged, or a tensor is missing, left over, of another shape or type; lists up to
            five of them.
    """
    own = model.state_dict()
    in_file = read_facts(path)
    kept = set() if heads else _kept_without_heads(model, own.keys(), in_file.keys())
    expected = {name: facts for name, facts in facts_of(own).items() if name not in kept}
    found = {name: facts for name, facts in in_file.items() if name not in kept}
    # A checkpoint holds what was saved; weights from elsewhere may be floats of another width.
    if wrong := misfits(found, expected, any_float=not heads):
        raise JointreidError(f"{path} does not fit the model: {first_few(wrong, sep='; ')}")
    verify(path)
    tensors = read_tensors(path)
    model.load_state_dict({name: own[name] if name in kept else tensors[name] for name in own})


def _kept_without_heads(model: "ReIDModel", own: Set[str], in_file: Set[str]) -> set[str]:
    """Return the names that are not loaded from a file without the classifiers, see `load_weights`."""
    kept, generated = set(model.head_names()), set(model.generated_names())
    if not in_file & generated:
        kept |= generated
    optional = ("context.trust.", "context.shrinkage.")
    return kept | {name for name in own ^ in_file if name.startswith(optional)}
