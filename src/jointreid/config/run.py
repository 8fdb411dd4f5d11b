"""All settings of a run, in sections; as plain values, compared, and hashed."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jointreid.config.data import DataConfig, ImageConfig, SamplerConfig
from jointreid.config.fields import require
from jointreid.config.network import DcsdConfig, ModelConfig
from jointreid.config.training import EvalConfig, LossConfig, OptimConfig, ScheduleConfig, TrainConfig
from jointreid.machine.hashing import text_sha256
from jointreid.machine.paths import FORMER_CACHE
from jointreid.messages.errors import JointreidError, no_such


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run, in sections."""

    data: DataConfig = field(default_factory=DataConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    dcsd: DcsdConfig = field(default_factory=DcsdConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        generates = self.model.name.endswith("-dcsd")  # other systems leave the settings of a context unread
        require(
            not generates or self.dcsd.factors != ("sample",) or self.loss.context_labels == "correct",
            "loss.context_labels",
            self.loss.context_labels,
            "correct with dcsd.factors sample, which predict neither domain nor camera",
        )
        require(
            not generates or not self.dcsd.context_held_out or self.loss.context_labels == "correct",
            "loss.context_labels",
            self.loss.context_labels,
            "correct with dcsd.context_held_out, which would measure that shuffled ones teach nothing and set the "
            "context to 0: no control of the same size",
        )
        told = generates and self.dcsd.context == "labels"
        require(
            not told or self.loss.context_labels == "correct",
            "loss.context_labels",
            self.loss.context_labels,
            "correct with dcsd.context labels, which predicts neither domain nor camera",
        )

    def replace(self, **sections: Mapping[str, Any]) -> "RunConfig":
        """Return a copy with the named fields changed: `config.replace(optim={"lr": 1e-3})`.

        Raises:
            JointreidError: a section or field does not exist (the message names the nearest), or a value is of another
                type or out of range.
        """
        changed: dict[str, Any] = {}
        for name, fields in sections.items():
            if name not in SECTIONS:
                raise JointreidError(no_such("section", name, SECTIONS))
            for key in fields:
                if f"{name}.{key}" not in all_keys():
                    raise JointreidError(no_such("setting", f"{name}.{key}", all_keys()))
            changed[name] = dataclasses.replace(getattr(self, name), **fields)
        return dataclasses.replace(self, **changed)


SECTIONS: dict[str, Any] = {f.name: f.default_factory for f in dataclasses.fields(RunConfig)}


# Settings that runs and hashes of format version 1 may lack: left at its default, such a setting changes no hash.
ADDED_LATER = (
    ("image", "erase_ratio_law"),
    ("schedule", "epoch_length"),
    ("model", "width"),
    ("model", "depthwise"),
    ("model", "stem_pool"),
    ("train", "log_domains"),
    ("loss", "mining"),
    ("loss", "id_head"),
    ("loss", "context_labels"),
    ("dcsd", "inject"),
    ("dcsd", "context_stages"),
    ("dcsd", "camera_shrinkage"),
    ("data", "places"),
    ("data", "leave_out_cameras"),
    ("sampler", "temperature"),
    ("sampler", "domain_weights"),
    ("sampler", "domains_per_batch"),
    ("dcsd", "base"),
    ("dcsd", "gain_relative"),
    ("dcsd", "generated_start"),
    ("dcsd", "context"),
    ("dcsd", "context_dropout"),
    ("dcsd", "context_held_out"),
    ("dcsd", "hidden_floor"),
    ("dcsd", "decay_generators"),
    ("optim", "generator_lr"),
    ("train", "init_classes"),
)


def all_keys() -> list[str]:
    """Return all keys, `section.field`, in order."""
    return [f"{name}.{f.name}" for name, section in SECTIONS.items() for f in dataclasses.fields(section)]


def to_dict(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return the settings as plain dicts, lists and numbers, for YAML and JSON."""
    plain: dict[str, dict[str, Any]] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def from_dict(plain: Mapping[str, Mapping[str, Any]], base: RunConfig | None = None) -> RunConfig:
    """Return the settings that `to_dict` wrote; fields that are missing are taken from `base`, or are the defaults.

    Raises:
        JointreidError: an unknown key, or a value of another type or out of range.
    """
    return (base or RunConfig()).replace(**plain)


def config_difference(a: RunConfig, b: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, as `{"section.field": (value in a, value in b)}`."""
    values_a, values_b = (
        {f"{s}.{k}": v for s, fields in to_dict(c).items() for k, v in fields.items()} for c in (a, b)
    )
    return {key: (values_a[key], values_b[key]) for key in values_a if values_a[key] != values_b[key]}


def config_hash(config: RunConfig) -> str:
    """Return eight hex digits that depend on what is computed, not on where it is written or computed."""
    plain = to_dict(config)
    for name in ("out", "label", "resume", "workers", "device", "compile"):
        del plain["train"][name]
    processes = plain["train"].pop("devices") * plain["train"].pop("nodes")
    if processes == 1:  # these are about several processes
        for name in ("batch", "gather", "sync_bn"):
            del plain["train"][name]
    else:
        plain["train"]["processes"] = processes
    del plain["data"]["cache_mode"]
    plain["data"]["cache"] = plain["data"]["cache"] or FORMER_CACHE  # the default when hashes began
    defaults = to_dict(RunConfig())
    for section, name in ADDED_LATER:
        if plain[section][name] == defaults[section][name]:
            del plain[section][name]
    return text_sha256(json.dumps(plain, sort_keys=True))[:8]
