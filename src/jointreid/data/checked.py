"""The outcome of a check of tables, remembered until a table, an image, the settings or this package change.

All that an outcome depends on is hashed: a check of 200,000 rows that are known then reads the tables and asks the
system for the images' sizes and times, and does nothing else.
"""

import hashlib
import json
import os
from array import array
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from jointreid.config import RunConfig, to_dict
from jointreid.data.findings import CheckResult, render
from jointreid.data.manifest import read_side_file, side_file
from jointreid.data.remembered import stamp_of
from jointreid.data.sources import split_source
from jointreid.data.table_files import Table, read_table
from jointreid.data.table_row import path_below, stated_root, table_root
from jointreid.machine.files import write_atomically
from jointreid.messages.errors import JointreidError

_FILE = "checks.json"
# Outcomes kept in the file, those of the last checks.
_KEPT = 16


class Outcome(NamedTuple):
    """A check's outcome: whether there are no errors, the result for people, and the same as plain values."""

    ok: bool
    text: str
    plain: Mapping[str, Any]

    @classmethod
    def of(cls, result: CheckResult) -> "Outcome":
        """Return the outcome that a result has."""
        return cls(result.ok, render(result), result.to_dict())


def check_key(config: RunConfig) -> str | None:
    """Return the hash of all that the outcome of a check with these settings depends on.

    None where that is not known: of a folder, which its reader would have to read, or if something is missing or wrong.
    """
    digest = hashlib.sha256(json.dumps([to_dict(config), os.getcwd()]).encode())
    try:
        for file in sorted(Path(__file__).parents[1].rglob("*.py")):
            digest.update(array("q", stamp_of(str(file))[:2]))
        for source in config.data.sources:
            table = split_source(source)[1]
            side = side_file(table)
            digest.update(hashlib.sha256(table.read_bytes()).digest())
            digest.update(hashlib.sha256(side.read_bytes() if side.exists() else b"").digest())
            stamps = array("q")
            for image in dict.fromkeys(_images(table, read_table(table))):
                stamp = stamp_of(image)
                if not any(stamp):
                    return None
                stamps.extend(stamp)
            digest.update(stamps)
    except (OSError, OverflowError, ValueError):  # the last of them also for a folder that is given as `.`
        return None
    return digest.hexdigest()


def recall(folder: Path, key: str) -> Outcome | None:
    """Return the outcome that a folder holds under a key; None if it holds none."""
    with suppress(KeyError, TypeError):
        return Outcome(**_read(folder)[key])
    return None


def remember(folder: Path, key: str, result: CheckResult) -> None:
    """Keep a check's outcome in a folder, as that of a second check; not if images could not be read.

    Those are tried again each time, so that a repaired disk is noticed.
    """
    if result.unreadable:
        return
    outcome = Outcome.of(replace(result, decoded=0, from_cache=result.decoded + result.from_cache))
    known = {name: kept for name, kept in _read(folder).items() if name != key} | {key: outcome._asdict()}
    with suppress(OSError):
        write_atomically(folder / _FILE, json.dumps(dict(list(known.items())[-_KEPT:])))


def _read(folder: Path) -> dict[str, Any]:
    try:
        plain = json.loads((folder / _FILE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}


def _images(path: Path, table: Table) -> Iterator[str]:
    """Yield the absolute path of the image of each row; raise JointreidError for one outside its folder."""
    own = table_root(path.parent).absolute
    policies = read_side_file(side_file(path))
    roots = {name: stated_root(Path(policy["root"])).absolute for name, policy in policies.items() if "root" in policy}
    domain, image = table.columns.index("domain"), table.columns.index("path")
    for number, cells in table.rows:
        if len(cells) != len(table.columns):
            raise JointreidError(f"{path}, row {number}: {len(cells)} cells")
        root = roots.get(cells[domain], own)
        below = path_below(root, cells[image])
        if below is None:
            raise JointreidError(f"{path}, row {number}: {cells[image]} lies outside {root}")
        yield f"{root}/{below}"
