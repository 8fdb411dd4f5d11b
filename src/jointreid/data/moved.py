"""The data sets of a run, wherever they lie now: as given, where they were, or beside the run if both were moved."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from jointreid.config import RunConfig
from jointreid.data.sources import load_domains, split_source
from jointreid.machine.paths import absolute
from jointreid.messages.commands import source_word
from jointreid.messages.errors import JointreidError


def resolve_paths(config: RunConfig) -> RunConfig:
    """Return the settings with absolute paths, so that they mean the same in any working directory.

    The default of `data.cache` stays: it is another folder for each user.
    """
    data, train, model = config.data, config.train, config.model
    return config.replace(
        data={"sources": tuple(map(_absolute, data.sources)), "cache": absolute(data.cache) if data.cache else ""},
        train={"init": absolute(train.init) if train.init else "", "out": absolute(train.out) if train.out else ""},
        model={
            "pretrain": absolute(model.pretrain) if model.pretrain.endswith(".safetensors") else model.pretrain,
            "pretrain_file": absolute(model.pretrain_file) if model.pretrain_file else "",
        },
    )


def find_sources(config: RunConfig, run: Path, names: Sequence[str], given: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the data sets of a run as `data.sources` names them, where they lie now.

    Nothing is compared here: `jointreid.data.run_images` says whether the images are those of the run.

    Args:
        config: the run's settings, as `config.yaml` has them.
        run: the run directory, where it is now.
        names: the domains of the run.
        given: `NAME=PATH` for a domain or a source of the run, or the `PATH` of a table; each takes the place of what
            the settings name.

    Raises:
        JointreidError: data sets are neither given nor where they were nor beside the run; the message names them and
            the option.
    """
    before = dict.fromkeys(config.data.sources)
    replaced: dict[str, str] = {}
    covered: set[str] = set()
    extra: list[str] = []
    for source in given:
        name, path = split_source(source)
        same = [old for old in before if old not in replaced and _stands_for(source, old, len(before))]
        if same:
            replaced[same[0]] = source
        else:
            extra.append(source)
        if name in names:
            covered.add(name)
        elif not name and path.is_file():
            covered |= {domain.name for domain in load_domains(replace(config.data, sources=(source,)))}
    kept: list[str] = []
    missing: list[str] = []
    for old in before:
        if old in replaced:
            kept.append(replaced[old])
            continue
        name, path = split_source(old)
        if name in covered:
            continue
        found = _where(path, config.train.out or f"runs/{run.name}", run)  # by default it was below `runs`
        if found is None:
            missing.append(old)
        elif covered and found.is_file() and not name:
            held = [domain.name for domain in load_domains(replace(config.data, sources=(str(found),)))]
            left = [held_name for held_name in held if held_name not in covered]
            kept += [source_word(held_name, found) for held_name in left] if len(left) < len(held) else [str(found)]
        else:
            kept.append(source_word(name, found) if name else str(found))
    if missing and not covered.issuperset(names):
        raise JointreidError(
            f"{run}: its data are not where they were ({', '.join(missing)}), nor beside the run; if they were moved, "
            f"say where to: {' '.join(_example(old) for old in missing)}"
        )
    return (*kept, *extra)


def is_of_run(source: str, config: RunConfig, names: Sequence[str]) -> bool:
    """Return whether a source that is given stands for data of a run: a domain's name, or a table of the same name."""
    name, _ = split_source(source)
    return name in names or any(_stands_for(source, old, 0) for old in config.data.sources)


def _absolute(source: str) -> str:
    name, path = split_source(source)
    return f"{name}={absolute(path)}" if name else absolute(path)


def _stands_for(given: str, old: str, sources: int) -> bool:
    """Return whether a source takes the place of another: of the same name, or both tables without a name.

    Args:
        given: the source.
        old: one of the run's.
        sources: of the run in all; a table takes the place of the only one, whatever its file is called.
    """
    (name, path), (old_name, old_path) = split_source(given), split_source(old)
    if name or old_name:
        return name == old_name
    return path.name == old_path.name or sources == 1


def _where(path: Path, out: str, run: Path) -> Path | None:
    """Return where a source is: where it was, or at the same place as seen from the run directory."""
    if path.exists():
        return path
    if path.is_absolute() == os.path.isabs(os.path.expanduser(out)):
        beside = Path(os.path.normpath(run.absolute() / os.path.relpath(path, os.path.expanduser(out))))
        if beside.exists():
            return beside
    return None


def _example(old: str) -> str:
    name, path = split_source(old)
    return f"--data {name}=NEWPATH" if name else f"--data NEWFOLDER/{path.name}"
