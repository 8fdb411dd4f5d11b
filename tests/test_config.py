"""Settings: each is documented, checked where it is made, and changes what identifies a run."""

import dataclasses
from typing import Any, get_args, get_type_hints

import pytest

from jointreid.config import (
    ADDED_LATER,
    SECTIONS,
    RunConfig,
    ScheduleConfig,
    all_keys,
    config_difference,
    config_hash,
    from_dict,
    to_dict,
)
from jointreid.messages.errors import JointreidError


def test_every_field_has_one_line_of_help() -> None:
    for section, cls in SECTIONS.items():
        for field in dataclasses.fields(cls):
            text = field.metadata["help"]
            assert text == text.strip(), f"{section}.{field.name}"
            assert len(text.splitlines()) == 1, f"{section}.{field.name}"
            assert not text.endswith("."), f"{section}.{field.name}"


def test_settings_survive_a_round_trip_through_plain_data() -> None:
    config = RunConfig().replace(
        schedule={"milestones": (3, 5)}, data={"sources": ("a=b",)}, dcsd={"factors": ("sample",)}
    )
    assert from_dict(to_dict(config)) == config


@pytest.mark.parametrize(
    ("section", "field", "value", "expected"),
    [
        ("schedule", "epochs", 0, "schedule.epochs is 0; expected 1 or more"),
        ("schedule", "milestones", (90, 40), "rising epochs"),
        ("image", "erase_area", (0.5, 0.1), "smallest <= largest"),
        ("image", "height", 8, "at least 16 pixels"),
        ("dcsd", "kernel_size", 1, "no spread over one tap"),
        ("dcsd", "factors", ("domain",), "sample, and at most"),
        ("sampler", "images_per_id", 1, "needs a positive"),
        ("optim", "lr", float("inf"), "positive number"),
        ("train", "accumulate", 0, "1 or more batches"),
        ("eval", "max_memory", 5, "1 MiB"),
        ("loss", "id_smoothing", 1.0, r"\[0, 1\)"),
        ("loss", "w_snr", (0.1, 0.1, -0.5, 0.5), "weights of 0 or more"),
        ("loss", "w_snr", (0.1, 0.1), "of 4 values, each a number"),
        ("loss", "triplet", "hard", "one of batch_hard, wrt"),
        ("model", "name", "bot-agw", "one of bot, agw, bot-dcsd, agw-dcsd, bot-dn, bot-snr"),
        ("model", "gem_p", 0.0, "positive number"),
        ("model", "classifier_std", float("inf"), "positive number"),
        ("model", "nonlocal_reduction", -2, "0 or more"),
        ("dcsd", "combine", "sum", "one of mul, add"),
    ],
)
def test_values_out_of_range_are_refused_by_name(section: str, field: str, value: object, expected: str) -> None:
    with pytest.raises(JointreidError, match=expected) as caught:
        RunConfig().replace(**{section: {field: value}})
    assert f"{section}." in str(caught.value)


WRONG_TYPES: dict[type, Any] = {bool: "no", int: 1.5, float: "fast", str: 3, tuple: 3}


@pytest.mark.parametrize("key", all_keys())
def test_a_value_of_another_type_is_refused_where_the_section_is_made(key: str) -> None:
    section, _, name = key.partition(".")
    default = getattr(SECTIONS[section](), name)
    with pytest.raises(JointreidError, match=rf"^{section}\.{name} is .*; expected "):
        SECTIONS[section](**{name: WRONG_TYPES[type(default)]})


def test_a_section_holds_values_of_its_types() -> None:
    config = RunConfig().replace(schedule={"milestones": [3, 5]}, optim={"lr": 1})
    assert config.schedule.milestones == (3, 5)
    assert type(config.optim.lr) is float
    assert ScheduleConfig(milestones=[3, 5]) == config.schedule  # type: ignore[arg-type]


def test_unknown_keys_name_the_nearest() -> None:
    with pytest.raises(JointreidError, match=r"schedule\.epoch; did you mean schedule\.epochs"):
        RunConfig().replace(schedule={"epoch": 3})
    with pytest.raises(JointreidError, match="section optm; did you mean optim"):
        RunConfig().replace(optm={"lr": 1.0})


def test_difference_and_hash_follow_what_is_computed() -> None:
    a, b = RunConfig(), RunConfig().replace(optim={"lr": 1e-3})
    assert config_difference(a, b) == {"optim.lr": (3.5e-4, 1e-3)}
    assert config_difference(a, a) == {}
    assert config_hash(a) != config_hash(b)
    assert config_hash(a) == config_hash(a.replace(train={"out": "elsewhere", "resume": True, "device": "cpu"}))


@pytest.mark.parametrize(("section", "name"), ADDED_LATER)
def test_a_setting_added_later_changes_no_hash_at_its_default(section: str, name: str) -> None:
    plain = to_dict(RunConfig())
    assert plain[section].pop(name) == to_dict(RunConfig())[section][name]
    assert from_dict(plain) == RunConfig()
    changed = another_value(f"{section}.{name}")
    assert config_hash(RunConfig().replace(**{section: {name: changed}})) != config_hash(RunConfig())


def test_the_hash_is_the_one_of_runs_before_settings_were_added() -> None:
    assert config_hash(RunConfig()) == "38179c78"


# Where a run is written and computed. The settings of several processes count only where there are several.
NOT_IN_THE_HASH = {"data.cache_mode", "train.out", "train.label", "train.resume", "train.workers", "train.device"}
NOT_IN_THE_HASH |= {"train.compile", "train.batch", "train.gather", "train.sync_bn"}

OTHER_VALUES: dict[str, Any] = {
    "data.sources": ("a=b",),
    "image.erase_area": (0.1, 0.2),
    "image.erase_ratio": (0.5, 2.0),
    "image.mean": (0.5, 0.5, 0.5),
    "image.std": (0.5, 0.5, 0.5),
    "model.trunk": "resnet101",
    "dcsd.kernel_size": 5,
    "dcsd.factors": ("sample",),
    "model.pretrain": "weights.safetensors",
    "loss.kind": "mine:loss",
    "loss.w_snr": (1.0, 1.0, 1.0, 1.0),
    "sampler.kind": "mine:sampler",
    "sampler.domain_weights": ("a=1",),
    "dcsd.context_stages": (1, 2),
    "data.leave_out_cameras": ("a:1",),
    "data.places": ("a=b",),
    "schedule.milestones": (3,),
}


def another_value(key: str) -> Any:
    """Return a valid value of a setting that is not its default."""
    section, _, name = key.partition(".")
    default, kind = getattr(SECTIONS[section](), name), get_type_hints(SECTIONS[section])[name]
    if key in OTHER_VALUES:
        return OTHER_VALUES[key]
    if choices := get_args(kind):
        return next(choice for choice in choices if choice != default)
    if isinstance(default, bool):
        return not default
    return (
        f"{default}x"
        if isinstance(default, str)
        else default + 1
        if isinstance(default, int)
        else 0.75 * default + 0.01
    )


@pytest.mark.parametrize("key", all_keys())
def test_a_setting_changes_the_hash_unless_it_is_about_where(key: str) -> None:
    section, _, name = key.partition(".")
    changed = RunConfig().replace(**{section: {name: another_value(key)}})
    assert list(config_difference(RunConfig(), changed)) == [key]
    assert (config_hash(changed) == config_hash(RunConfig())) == (key in NOT_IN_THE_HASH)
    assert from_dict(to_dict(changed)) == changed


def test_settings_of_several_processes_change_the_hash_where_there_are_several() -> None:
    two = RunConfig().replace(train={"devices": 2})
    assert config_hash(two) == config_hash(RunConfig().replace(train={"nodes": 2}))
    for changed in ({"batch": "per_process"}, {"gather": True}, {"sync_bn": True}):
        assert config_hash(two.replace(train=changed)) != config_hash(two)


def test_keys_are_all_fields_in_order() -> None:
    keys = all_keys()
    assert keys[:2] == ["data.sources", "data.val_ids"]
    assert keys[-1] == "eval.max_memory"
    assert len(keys) == len(set(keys)) == sum(len(fields) for fields in to_dict(RunConfig()).values())
