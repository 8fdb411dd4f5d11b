"""Data sets as the settings name them, `NAME=PATH` or `PATH`, read into domains of a fixed order."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

from jointreid.config import DataConfig
from jointreid.data.camera_settings import with_settings
from jointreid.data.manifest import read_manifest
from jointreid.data.protocols import canonical_order
from jointreid.data.readers import READERS
from jointreid.data.readers.market_style import is_market_style, market_style
from jointreid.data.records import Domain, name_fault
from jointreid.machine.collection import collection
from jointreid.messages.commands import command
from jointreid.messages.errors import JointreidError, no_such


def load_domains(data: DataConfig) -> tuple[Domain, ...]:
    """Read the data sets that the settings name: the one way from settings to domains.

    Args:
        data: the settings; each of `data.sources` is one of
            `TABLE`, all domains of a manifest (`.csv` or `.parquet`);
            `NAME=TABLE`, the manifest's domain NAME, or its only domain under that name, or, where it holds several
            and none is called so or nearly so, all of them as `NAME-<domain>`;
            `NAME=FOLDER`, a folder that the reader NAME knows, or under any other name one in Market-1501's layout.

    Returns:
        The domains, the paper's in Table I's order first, then the others by name, whatever the order of the sources.

    Raises:
        JointreidError: no sources, a path that does not exist, an unknown name, a domain given twice, or whatever
            the reader found wrong.
    """
    return canonical_order(domain for domains in load_by_source(data).values() for domain in domains)


def load_by_source(data: DataConfig) -> dict[str, tuple[Domain, ...]]:
    """Return the same domains, those of each source under it, in the order of the sources; raises the same."""
    if not data.sources:
        raise JointreidError(
            "no data sets given; name some, as in --data market1501=/data/market1501 or --manifest table.csv"
        )
    loaded: dict[str, tuple[Domain, ...]] = {}
    given: dict[str, str] = {}
    for source in data.sources:
        with collection(on=False):
            loaded[source] = tuple(with_settings(domain, data) for domain in _load(source, data))
        for domain in loaded[source]:
            if domain.name in given:
                raise JointreidError(
                    f"domain {domain.name} is given twice, by {given[domain.name]} and by {source}; "
                    "leave one out, or rename it with NAME=TABLE"
                )
            given[domain.name] = source
    return loaded


def _load(source: str, data: DataConfig) -> Sequence[Domain]:
    name, path = split_source(source)
    try:
        if not path.exists():
            raise JointreidError(
                f"{source}: there is no file or folder {path}; expected NAME=PATH or a manifest's PATH"
            )
        if path.is_dir():
            return [_read_folder(name, path, data)]
        table = read_manifest(path, data.missing_camid)
    except OSError as error:  # a folder that may not be looked into, a name that is too long
        raise JointreidError(f"{source}: {error.filename or path} cannot be read: {error.strerror}") from error
    return list(table.values()) if not name else _pick(name, path, table)


def split_source(source: str) -> tuple[str, Path]:
    """Return (NAME or nothing, PATH) of one of `data.sources`; an `=` after a path separator belongs to the path.

    Raises:
        JointreidError: the name or the path is empty, or no domain can have the name.
    """
    name, equals, path = source.partition("=")
    if not equals or "/" in name or "\\" in name:
        return "", _path(source)
    if not name or not path:
        raise JointreidError(f"{source}: expected NAME=PATH or PATH; write ./ before a path with '=' in its name")
    if fault := name_fault(name):
        raise JointreidError(f"{source}: {fault}")
    return name, _path(path)


def _path(text: str) -> Path:
    """Return the path that a text means; `~name` stays as it is where there is no such user."""
    return Path(os.path.expanduser(text))


def _read_folder(name: str, path: Path, data: DataConfig) -> Domain:
    if name in READERS:
        return READERS[name](path, data)
    if name and is_market_style(path):
        return market_style(path, name)
    if parts := sorted(path.glob("*.parquet")):
        raise JointreidError(
            f"{path}: is a folder of {len(parts)} Parquet files, and a manifest is one file; give each by --manifest "
            f"(a domain may not be in two), or write them into one, beside the folders of the images: "
            f"pyarrow.parquet.write_table(pyarrow.parquet.read_table('{path.name}'), '{path.name}.parquet')"
        )
    wrong = no_such("reader", name, READERS) if name else f"a folder needs a reader's name: {', '.join(READERS)}"
    raise JointreidError(
        f"{path}: {wrong} (as in {next(iter(READERS))}={path}). Any other folder becomes a manifest with "
        f"`{command('data', 'ingest', path, '--out', 'manifest.csv')}`, and that is given in its place"
    )


def _pick(name: str, path: Path, table: Mapping[str, Domain]) -> Sequence[Domain]:
    if name in table:
        return [table[name]]
    if len(table) == 1:
        return [dataclasses.replace(next(iter(table.values())), name=name)]
    if get_close_matches(name, table, n=1):  # more likely a typing error than a new name
        raise JointreidError(f"{path}: {no_such('domain', name, table)}")
    return [dataclasses.replace(domain, name=f"{name}-{domain.name}") for domain in table.values()]
