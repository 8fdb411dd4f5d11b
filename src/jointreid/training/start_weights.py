"""The weights that a new run starts from: ImageNet's, those of another run, or none."""

from pathlib import Path

from rich.console import Console

from jointreid.config import RunConfig
from jointreid.data.label_space import LabelSpace
from jointreid.machine.paths import user_path
from jointreid.machine.reading import read_tensors
from jointreid.machine.run_files import WEIGHTS
from jointreid.messages.console import say
from jointreid.messages.errors import JointreidError
from jointreid.models.pretrained import check_source, load_pretrained
from jointreid.models.reid import ReIDModel
from jointreid.models.weight_sources import NONE
from jointreid.run import load_weights, open_run
from jointreid.training.known_classes import copy_known_rows


def check_start_weights(config: RunConfig) -> None:
    """Refuse weights that are missing or do not fit the network, before the data are read.

    Raises:
        JointreidError: two sources of weights, one that does not fit the network, or `train.init_classes` with
            something other than a run.
    """
    model = config.model
    if config.train.init and model.pretrain != NONE:
        raise JointreidError(
            f"train.init and model.pretrain both name weights to start from ({config.train.init} and "
            f"{model.pretrain}); leave one out"
        )
    if config.train.init_classes and not config.train.resume:
        if not config.train.init:
            raise JointreidError("train.init_classes is on, but train.init names no run to take the classes from")
        open_run(config.train.init).checkpoint()
    if config.train.init and not config.train.resume:
        _require_held_out(config)
    if not config.train.resume:  # a resumed run loads its own checkpoint
        check_source(model.pretrain, model.pretrain_file, system=model.name, trunk=model.trunk, base=config.dcsd.base)


def load_start_weights(model: ReIDModel, config: RunConfig, label_space: LabelSpace, console: Console) -> str:
    """Load the weights that a new run starts from, in place, and return the name that results give them.

    Args:
        model: the network, with random weights.
        config: settings of the run.
        label_space: the classes of its heads.
        console: where to print.

    Raises:
        JointreidError: they do not fit the network.
    """
    if config.train.init:
        load_weights(model, _file_of(config.train.init), heads=False)
        if config.train.init_classes:
            before = open_run(config.train.init)
            known = copy_known_rows(model, read_tensors(_file_of(config.train.init)), before.label_space, label_space)
            say(console, f"{known:,} of {label_space.num_ids:,} identities keep their class of {before.path}.")
        elif model.context_trust is not None:
            model.context_trust.forget()
        return config.train.init
    if config.model.pretrain == NONE:
        return NONE
    zero_context = config.dcsd.context_init == "auto"
    loaded = load_pretrained(model, config.model.pretrain, config.model.pretrain_file, zero_context=zero_context)
    total = sum(parameter.numel() for parameter in model.trunk.parameters())
    text = f"Loaded {loaded.parameters:,} of the trunk's {total:,} parameters from {loaded.file}."
    say(console, text)
    return loaded.label


def _require_held_out(config: RunConfig) -> None:
    """Refuse to measure what a context network knows of new people on those whom it learnt from in an earlier run.

    Raises:
        JointreidError: the run to start from held out fewer of them.
    """
    path, share = user_path(config.train.init), config.dcsd.context_held_out
    if not share or path.suffix == ".safetensors":
        return
    before = open_run(path).config
    learnt = before.model.name.endswith("-dcsd") and before.dcsd.context == "network"
    if learnt and before.dcsd.context_held_out < share:
        raise JointreidError(
            f"dcsd.context_held_out is {share:g}, but the run to start from ({path}) held out "
            f"{before.dcsd.context_held_out:g}: its context network has learnt from people that would now measure "
            f"what it knows of others; expected {before.dcsd.context_held_out:g} or less, or another train.init"
        )


def _file_of(init: str) -> Path:
    """Return the weights file of `train.init`: the file itself, or that of a run's last checkpoint."""
    path = user_path(init)
    return path if path.suffix == ".safetensors" else open_run(path).checkpoint() / WEIGHTS
