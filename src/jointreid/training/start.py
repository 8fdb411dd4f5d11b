"""Where a run starts: its directory, the weights and arithmetic it begins with, and what keeps it from going on."""

from pathlib import Path

import torch
from rich.console import Console

from jointreid.config import RunConfig, config_difference
from jointreid.machine.device import Precision, pick_precision
from jointreid.machine.reading import require_inside
from jointreid.machine.run_files import WEIGHTS, candidates, folder_of
from jointreid.messages.console import say
from jointreid.messages.errors import JointreidError
from jointreid.models.pretrained import NONE, check_source, load_pretrained
from jointreid.models.reid import ReIDModel
from jointreid.run import load_weights, open_run
from jointreid.training.checkpoint import Saved

# Settings that may differ from those a run was begun with: they say where and how long it runs, not what it computes.
FREE_ON_RESUME = {
    "train.out", "train.resume", "train.device", "train.max_steps", "train.minutes", "train.workers", "train.compile",
    "train.devices", "train.nodes",  # their product may not differ
    "data.cache", "data.cache_mode", "eval.batch_size", "eval.max_memory",
}  # fmt: skip


def check_start(config: RunConfig) -> None:
    """Refuse weights to start from that cannot be had or do not fit, before the data are read.

    Raises:
        JointreidError: two starts, or one that does not fit the network.
    """
    model = config.model
    if config.train.init and model.pretrain != NONE:
        raise JointreidError(
            f"train.init and model.pretrain both name weights to start from ({config.train.init} and "
            f"{model.pretrain}); leave one out"
        )
    if not config.train.resume:  # a run gone on with has its own
        check_source(model.pretrain, model.pretrain_file, system=model.name, trunk=model.trunk)


def has_checkpoint(path: Path) -> bool:
    """Say whether a run has saved."""
    return folder_of(path, "last") is not None


def weights_of(init: str) -> Path:
    """Return the file of weights to start from: itself, or the last of a run."""
    path = Path(init).expanduser()
    return path if path.suffix == ".safetensors" else open_run(path).checkpoint() / WEIGHTS


def claim(path: Path, config: RunConfig) -> None:
    """Refuse to write over a run, or to go on with one under other settings.

    Raises:
        JointreidError: there is a run and no `--resume`, none and `--resume`, or settings that say what is computed
            differ from those it was begun with.
    """
    if not (path / "config.yaml").is_file():
        if config.train.resume:
            raise JointreidError(f"--resume: {path} holds no run to go on with (no config.yaml in it)")
        return
    if not config.train.resume:
        raise JointreidError(f"{path} already holds a run; go on with it by --resume, or choose another --out")
    begun = open_run(path).config
    before, now = (c.train.devices * c.train.nodes for c in (begun, config))
    if before != now:
        raise JointreidError(
            f"--resume: {path} was begun by {before} process{'es' if before > 1 else ''}, now there are {now}: with "
            "another number, batch normalisation and triplets would see other parts of a batch. Start as many as "
            "before, or start a new run from its weights with --init"
        )
    require_inside(path / "tensorboard", path)  # which training writes into
    changed = config_difference(begun, config)
    refused = [f"{key} was {old}, now {new}" for key, (old, new) in changed.items() if key not in FREE_ON_RESUME]
    if refused:
        raise JointreidError(
            f"--resume: {path} was begun with other settings: {'; '.join(refused)}. Leave them as they were, or start "
            "a new run from its weights with --init"
        )


def load_start(model: ReIDModel, saved: Saved | None, config: RunConfig, console: Console) -> str:
    """Load the weights to start from, and return what results call them; a checkpoint knows what its own began with."""
    if saved:
        return str(saved.state.get("pretraining", "")) or config.train.init or NONE
    if config.train.init:
        load_weights(model, weights_of(config.train.init), heads=False)
        return config.train.init
    if config.model.pretrain == NONE:
        return NONE
    zero_context = config.dcsd.context_init == "auto"
    loaded = load_pretrained(model, config.model.pretrain, config.model.pretrain_file, zero_context=zero_context)
    total = sum(parameter.numel() for parameter in model.trunk.parameters())
    text = f"Loaded {loaded.parameters:,} of the trunk's {total:,} parameters from {loaded.file}."
    say(console, text)
    return loaded.label


def precision_of(path: Path, config: RunConfig, device: torch.device) -> Precision:
    """Return the arithmetic of a run: the one it was begun in, on whatever device it goes on."""
    for folder in candidates(path, "last") if config.train.resume else ():
        try:
            begun: Precision | None = open_run(path).state_in(folder).get("precision")
        except JointreidError:  # whoever loads it says what is wrong
            continue
        if begun:
            return begun
    return pick_precision(config.train.precision, device)
