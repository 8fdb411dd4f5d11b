"""A published model: a folder without people, and the way back from it to a run directory.

It holds `model.safetensors` (the weights without classifiers), `config.yaml` (without paths), `jointreid.json` (names
of domains and cameras, a checksum, the fingerprint), `README.md` (the model card) and, if there are thresholds,
`calibration.json`. Identities are not in it: neither their names nor the rows of a classifier.
"""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jointreid.config import RunConfig
from jointreid.data.label_space import NOT_PUBLISHED, DomainLabels, LabelSpace
from jointreid.extraction.fingerprint import fingerprint
from jointreid.hub.card import model_card
from jointreid.machine.files import write_atomically
from jointreid.machine.hashing import file_sha256
from jointreid.machine.paths import user_path
from jointreid.machine.reading import facts_of, misfits, read_facts, read_json, read_tensors
from jointreid.machine.run_files import WEIGHTS
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few
from jointreid.run import Run, model_for, open_run, read_config, write_config
from jointreid.training.checkpoint import save_checkpoint
from jointreid.training.optim import generator_lr
from jointreid.verification.calibration import Calibration, read_calibration

if TYPE_CHECKING:
    from torch import Tensor

    from jointreid.models.reid import ReIDModel

FACTS, CARD, CONFIG, THRESHOLDS = "jointreid.json", "README.md", "config.yaml", "calibration.json"
FILES = (WEIGHTS, CONFIG, FACTS, CARD, THRESHOLDS)
_FORMAT = 1
_MAX_FACTS = 2**22  # bytes


def write_package(run: str | Path, out: str | Path, checkpoint: str = "last", licence: str = "other") -> Path:
    """Write what is published of a run into an empty folder.

    Args:
        run: the run directory.
        out: the folder, empty or not there.
        checkpoint: last or best.
        licence: of the weights, by its name on the hub, such as apache-2.0.

    Raises:
        JointreidError: not a run, a folder that is not empty, or a model that needs the true domain of each image.
    """
    opened, folder = open_run(run), user_path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise JointreidError(f"{folder} is not empty; name a new folder")
    model = opened.model(checkpoint)
    if model.needs_origins:
        raise JointreidError(
            f"{opened.path}: dcsd.context labels needs the true domain and camera of each image; it is a control, not "
            "a model to publish"
        )
    config, state = _without_paths(opened.config), _state(opened, checkpoint)
    digest = fingerprint(model, config.image, config.eval, config.model, config.dcsd)
    thresholds = _thresholds(opened, checkpoint, model)
    folder.mkdir(parents=True, exist_ok=True)
    model.prune_heads()
    tensors = {name: tensor.contiguous() for name, tensor in _published(model).items()}
    from safetensors.torch import save_file

    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    write_config(config, folder / CONFIG)
    facts = {
        "format": _FORMAT,
        "sha256": file_sha256(folder / WEIGHTS),
        "fingerprint": digest,
        "camera_ids": opened.label_space.camera_ids,
        "domains": [
            {"name": d.name, "cameras": list(d.cameras), "camera_offset": d.camera_offset, "place": d.place}
            for d in opened.label_space.domains
        ],
        **state,
    }
    write_atomically(folder / FACTS, json.dumps(facts, indent=1) + "\n")
    if thresholds is not None:
        write_atomically(folder / THRESHOLDS, json.dumps(thresholds.to_dict(), indent=1) + "\n")
    write_atomically(folder / CARD, model_card(opened, checkpoint, state, model, digest, thresholds, licence))
    return folder


def read_package(folder: Path, out: str | Path) -> Run:
    """Write a run directory from a published folder: all of its tensors, or none.

    The classifiers that were not published are zero in its files, and `Run.model` leaves those of domains and cameras
    out. Each domain has one identity, an invented one. Training cannot resume the run, but start from it.

    Args:
        folder: what `write_package` wrote.
        out: the run directory, empty or not there.

    Raises:
        JointreidError: a file is missing or damaged, a tensor is missing, left over or of another shape, or the model
            computes other features than the published one (its fingerprint).
    """
    target = user_path(out)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise JointreidError(f"{target} is not empty; name a new directory with --out")
    facts = _facts(folder)
    config = read_config(folder / CONFIG)
    space = _label_space(facts, folder)
    model = model_for(config, space)
    _load(model, folder / WEIGHTS, str(facts["sha256"]))
    digest = fingerprint(model.eval(), config.image, config.eval, config.model, config.dcsd)
    if digest != facts["fingerprint"]:
        raise JointreidError(
            f"{folder}: the model computes other features than the published one (fingerprint {digest[:12]}, expected "
            f"{facts['fingerprint']!r:.14}); its settings or weights were changed, or this jointreid is too old"
        )
    target.mkdir(parents=True, exist_ok=True)
    space.save(target / "labels.json")
    state = {"step": facts["step"], "epoch": facts["epoch"], "pretraining": facts["pretraining"]}
    save_checkpoint(target, "last", model, {**state, "labels": space.hash})
    for name in (THRESHOLDS, CARD):
        if (folder / name).is_file():
            write_atomically(target / name, (folder / name).read_bytes())
    write_config(config, target / CONFIG)  # last: it makes the directory a run
    return open_run(target)


def _without_paths(config: RunConfig) -> RunConfig:
    """Return the settings without the places of data and runs, and without the weights that training started from.

    What `optim.generator_lr` chose by these weights stays.
    """
    return config.replace(
        optim={"generator_lr": generator_lr(config)},
        data={"sources": (), "cache": ""},
        train={"out": "", "init": "", "init_classes": False, "resume": False},
        model={"pretrain": "none", "pretrain_file": ""},
    )


def _state(run: Run, checkpoint: str) -> dict[str, Any]:
    """Return the steps and the epochs of a checkpoint, and what it started from, by its last name if it is a path."""
    has_state = (run.checkpoint(checkpoint) / "state.json").is_file()
    state = run.state(checkpoint) if has_state else {}
    start = str(state.get("pretraining", ""))
    return {
        "step": int(state.get("step", 0)),
        "epoch": float(state.get("epoch", 0.0)),
        "pretraining": Path(start).name if Path(start).is_absolute() else start,
    }


def _thresholds(run: Run, checkpoint: str, model: "ReIDModel") -> Calibration | None:
    """Return the thresholds of these weights, as those of `last`; None if there are none, or they are of others."""
    config = run.config
    try:
        found = read_calibration(run.path, checkpoint)
    except JointreidError:
        return None
    digest = fingerprint(model, config.image, replace(config.eval, flip=found.flip), config.model, config.dcsd)
    return replace(found, checkpoint="last") if found.fingerprint == digest else None


def _published(model: "ReIDModel") -> "dict[str, Tensor]":
    """Return the tensors of a pruned model without its identity classifier."""
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("classifier.")}


def _facts(folder: Path) -> dict[str, Any]:
    for name in (FACTS, CONFIG, WEIGHTS):
        path = folder / name
        if not path.is_file():
            there = ", ".join(sorted(other.name for other in folder.iterdir())) if folder.is_dir() else "nothing"
            raise JointreidError(
                f"{folder}: holds no {name} (there: {there}); expected what `jointreid hub push` publishes. Weights in "
                "other formats, such as a pickle, are not read"
            )
    facts = read_json(folder / FACTS, _MAX_FACTS)
    kinds = {"sha256": str, "fingerprint": str, "camera_ids": str, "domains": list, "step": int, "pretraining": str}
    wrong = [name for name, kind in kinds.items() if type(facts.get(name)) is not kind]
    if facts.get("format") != _FORMAT or wrong or not isinstance(facts.get("epoch"), int | float):
        raise JointreidError(f"{folder / FACTS}: damaged, or of a newer jointreid: {first_few(wrong) or 'its format'}")
    return facts


def _label_space(facts: dict[str, Any], folder: Path) -> LabelSpace:
    """Return a label space with the domains and cameras of a package, and one invented identity in each domain."""
    try:
        domains = tuple(
            DomainLabels(
                str(entry["name"]),
                (NOT_PUBLISHED,),
                tuple(int(camid) for camid in entry["cameras"]),
                number,
                int(entry["camera_offset"]),
                str(entry["place"]),
            )
            for number, entry in enumerate(facts["domains"])
        )
        return LabelSpace(domains, facts["camera_ids"])
    except (KeyError, TypeError, ValueError) as error:
        raise JointreidError(f"{folder / FACTS}: its domains cannot be read ({error!r})") from error


def _load(model: "ReIDModel", path: Path, sha256: str) -> None:
    """Load the published weights strictly, and set the classifiers that were not published to zero."""
    if (found := file_sha256(path)) != sha256:
        raise JointreidError(f"{path}: is damaged (SHA-256 {found[:12]}, expected {sha256[:12]}); fetch it again")
    pruned = copy.deepcopy(model)
    pruned.prune_heads()
    expected = facts_of(_published(pruned))
    if wrong := misfits(read_facts(path), expected):
        raise JointreidError(f"{path} does not fit its settings: {first_few(wrong, sep='; ')}. Nothing was written")
    tensors = read_tensors(path)
    own = model.state_dict()
    model.load_state_dict({name: tensors[name] if name in tensors else own[name] * 0 for name in own})
