"""Settings on the command line: every field of `RunConfig` as `--section.field`, and short names for the usual ones."""

import argparse
import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import jsonargparse
import yaml

from jointreid.config import SECTIONS, RunConfig, all_keys
from jointreid.custom import is_custom, trust
from jointreid.messages.errors import JointreidError, no_such
from jointreid.messages.typed import describe
from jointreid.recipes import apply_recipe
from jointreid.run import read_config

SHORT = {
    "--out": "--train.out",
    "--device": "--train.device",
    "--devices": "--train.devices",
    "--nodes": "--train.nodes",
    "--max-steps": "--train.max_steps",
    "--minutes": "--train.minutes",
    "--init": "--train.init",
    "--resume": "--train.resume",
    "--deterministic": "--train.deterministic",
    "--skip-unreadable": "--data.skip_unreadable",
    "--missing-camid": "--data.missing_camid",
    "--cuhk03": "--data.cuhk03",
    "--msmt17-trainval": "--data.msmt17_trainval",
    "--acknowledge-withdrawn": "--data.acknowledge_withdrawn",
}
SOURCES = ("--data", "--manifest")
# Settings that may name a function of a person's own.
CUSTOM = ("--model.trunk", "--loss.kind", "--sampler.kind")
SWITCHES = {
    f"--{section}.{name}"
    for section, cls in SECTIONS.items()
    for name, kind in get_type_hints(cls).items()
    if kind is bool
}


def read_options(argv: Sequence[str]) -> RunConfig:
    """Return the settings that a command line asks for: recipe, then `--config`, then single options.

    With `--resume` and neither recipe nor file, they start from those the run was begun with.

    Raises:
        JointreidError: an unknown option (names the nearest), a value of another type or out of range.
    """
    argv = spell_out(argv)
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for option in ("--recipe", "--preset", "--config"):
        first.add_argument(option)
    for option in ("--train.out", "--train.resume"):
        first.add_argument(option, default="")
    require_known(argv, [f"--{key}" for key in all_keys()] + ["--recipe", "--preset", "--config"], shown=list(SHORT))
    chosen, _ = first.parse_known_args(argv)
    begun = Path(chosen.__dict__["train.out"]) / "config.yaml"
    if chosen.__dict__["train.resume"] == "true" and begun.is_file() and not (chosen.recipe or chosen.config):
        base = read_config(begun).replace(train={"max_steps": 0, "minutes": 0.0})  # limits are for one sitting
    else:
        base = apply_recipe(chosen.recipe or "bot-dcsd", chosen.preset or "paper")
    if chosen.config:
        base = read_config(chosen.config, base)
    return _parse(argv, base)


def spell_out(argv: Sequence[str]) -> list[str]:
    """Return the options in their full form: `--section.field=value`, sources gathered, switches with their value."""
    full: list[str] = []
    sources: list[str] = []
    tokens = list(argv)
    while tokens:
        token = tokens.pop(0)
        if not token.startswith("--"):
            raise JointreidError(f"{token!r} stands alone; settings are given as --section.field value")
        name, equals, value = token.partition("=")
        name = SHORT.get(name, name)
        follows = bool(tokens) and not tokens[0].startswith("--")
        if name == "--train.resume" and not equals and follows and tokens[0] not in ("true", "false"):
            full.append(f"--train.out={tokens.pop(0)}")  # `--resume RUN`, as people write it
            follows = False
        if not equals and follows:
            value = tokens.pop(0)
        elif not equals and name in SWITCHES:
            value = "true"
        elif not equals:
            raise JointreidError(f"{name} needs a value")
        if name in SOURCES:
            sources.append(value)
        else:
            full.append(f"{name}={value}")
    return full + ([f"--data.sources={_listed(sources)}"] if sources else [])


def require_known(argv: Iterable[str], known: Sequence[str], shown: Sequence[str] = ()) -> None:
    """Refuse an option that does not exist, naming the nearest among `known` and `shown`."""
    for token in argv:
        name = token.partition("=")[0]
        if name not in known:
            raise JointreidError(no_such("option", name, [*known, *shown, *SOURCES]))


def settings_help(full: bool) -> str:
    """Return the help for settings: the usual ones, or with `full` every one with its default."""
    if not full:
        lines = ["settings (all of them: --help-all):"]
        lines += [_line(f"{short} VALUE" if long not in SWITCHES else short, long[2:]) for short, long in SHORT.items()]
        return "\n".join(lines)
    lines = []
    for section, cls in SECTIONS.items():
        lines += ["", f"{section}: {(cls.__doc__ or '').splitlines()[0]}"]
        lines += [_line(f"--{section}.{f.name}", f"{section}.{f.name}") for f in dataclasses.fields(cls)]
    return "\n".join(lines)


def _line(option: str, key: str) -> str:
    section, _, name = key.partition(".")
    described = {f.name: f for f in dataclasses.fields(SECTIONS[section])}[name]
    default = "" if described.default in ("", (), False) else f" (default {described.default})"
    return f"  {option:<28} {described.metadata['help']}{default}"


def _parse(argv: Sequence[str], base: RunConfig) -> RunConfig:
    """Return `base` with the options in place, each read as its field's type."""
    parser = jsonargparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    for section, cls in SECTIONS.items():
        for name, kind in get_type_hints(cls).items():
            parser.add_argument(f"--{section}.{name}", type=kind)
    given = [token for token in argv if token.partition("=")[0] not in ("--recipe", "--preset", "--config")]
    changed: dict[str, dict[str, Any]] = {}
    for token in given:  # one at a time, so that a message can name the option it is about
        key, _, value = token[2:].partition("=")
        section, _, name = key.partition(".")
        if f"--{key}" in CUSTOM and is_custom(value):
            trust(value.partition(":")[0])
        try:
            read = parser.parse_args([token], defaults=False)
        except jsonargparse.ArgumentError as error:
            kind = get_type_hints(SECTIONS[section])[name]
            raise JointreidError(f"--{key} is {value!r}; expected {describe(kind)}") from error
        changed.setdefault(section, {})[name] = read[section][name]
    return base.replace(**changed)


def _listed(texts: Sequence[str]) -> str:
    """Return texts as a list in YAML on one line, whatever letters they hold."""
    return yaml.safe_dump(list(texts), default_flow_style=True, width=float("inf")).strip()
