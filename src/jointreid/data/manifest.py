"""Any data set without writing Python: a CSV or Parquet table with one image a row -> `Domain`.

`table` says what is in a row. How a domain is evaluated is said beside the table, in `<stem>.domains.json`, every key
optional: `{domain: {"exclude_same_camera": bool, "protocol": "leave_one_out", "cameras": a number n (0..n-1) or a list,
"place": text, "terms": text, "root": folder}}`.

Images lie below the table's folder, so that a table from somebody else cannot reach other files. Only a domain's
`root`, an absolute folder, changes that; it is then the domain's source, which every check of the data shows.
"""

import csv
import io
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jointreid.config import MissingCamid
from jointreid.data.overlaps import plain_camera, written_alike
from jointreid.data.protocols import LEAVE_ONE_OUT
from jointreid.data.records import SPLITS, Domain, ImageRecord, seen_by
from jointreid.data.table import read_rows
from jointreid.data.table_files import ALL_COLUMNS, BOX_COLUMNS, COLUMNS
from jointreid.data.table_row import (
    CAMERA_NUMBER,
    TEST,
    ImageRoot,
    TableRow,
    camera_name,
    parse_row,
    path_below,
    stated_root,
    table_root,
)
from jointreid.machine.files import replacing, sync_handle
from jointreid.messages.errors import JointreidError, no_such
from jointreid.messages.listing import first_few

# More than any data set has; each is a class of a classifier.
MAX_CAMERAS = 100_000

_ONE_CAMERA: dict[str, Any] = {"cameras": 1, "exclude_same_camera": False}
_POLICY_KEYS = {
    "exclude_same_camera": "true or false",
    "protocol": "query_gallery (the default) or leave_one_out: every test image asks all others",
    "cameras": f"how many there are (1 to {MAX_CAMERAS:,}), or a list of the camera ids or names in the table",
    "place": "a text, the same for data sets whose cameras are the same",
    "terms": "a text",
    "root": "an absolute folder, which the paths in the table are relative to",
}


def read_manifest(path: str | Path, missing_camid: MissingCamid = "refuse") -> dict[str, Domain]:
    """Read a table of images and its side file.

    The pre-flight check, not this function, looks whether the images exist and decode.

    Args:
        path: a `.csv` (UTF-8) or `.parquet` file. A row's number in a message is its line in a CSV file, and its
            place counted from 1 in a Parquet file.
        missing_camid: what to do with a domain without camera ids whose side file does not say
            `"cameras": 1, "exclude_same_camera": false`: refuse it, or read it as if it did.

    Returns:
        The domains by name, sorted. A pid is the text in the table ("007" is not "7"). A camid is the integer in the
        table; where a domain has any camera that is not an integer, its rank among the domain's sorted cameras.

    Raises:
        JointreidError: naming the file, the rows (ten at most, with their count) and the columns that are wrong.
    """
    path = Path(path)
    policies = read_side_file(side_file(path))
    roots = {name: Path(policy["root"]) for name, policy in policies.items() if "root" in policy}
    by_domain: dict[str, list[TableRow]] = defaultdict(list)
    alone = [name for name, policy in policies.items() if policy.get("protocol") == LEAVE_ONE_OUT]
    for row in read_rows(path, roots, alone):
        by_domain[row.domain].append(row)
    if stray := [name for name in policies if name not in by_domain]:
        raise JointreidError(f"{side_file(path)}: in the table {no_such('domain', stray[0], sorted(by_domain))}")
    policies |= _one_camera_policies(path, by_domain, policies, missing_camid)
    return {name: _domain(path, name, by_domain[name], policies.get(name, {})) for name in sorted(by_domain)}


def side_file(path: str | Path) -> Path:
    """Return the file with the policies of a table's domains: `<stem>.domains.json` beside it."""
    return Path(path).with_name(f"{Path(path).stem}.domains.json")


def write_manifest(domains: Iterable[Domain], path: str | Path, *, root: str | Path | None = None) -> None:
    """Write domains as a CSV table that `read_manifest` reads back equal, with a side file where one is needed.

    Killed at any moment, this leaves the table and side file of before, the new ones, or no table, never one with the
    other's side file. The side file of an earlier table at this path is removed if none is needed.

    Args:
        domains: what to write.
        path: the `.csv`.
        root: a folder that all images lie below, where that of `path` is none; the side file then names it.

    Raises:
        JointreidError: `path` is not a `.csv` or cannot be written, an image does not lie below its folder, or below
            `root`, a domain is empty or given twice, or an image is twice in a split or has a name or an identity that
            no table holds (a number below 0, spaces around it).
    """
    path, rows, policies = Path(path), [], {}
    named = "" if root is None else os.path.abspath(root)
    image_root = stated_root(Path(named)) if named else table_root(path.parent)
    if path.suffix.lower() != ".csv":
        raise JointreidError(f"{path}: a manifest is written as .csv")
    for domain in domains:
        if domain.name in policies or not any(domain):
            raise JointreidError(f"{path}: domain {domain.name} has no images or is given twice; leave it out")
        policies[domain.name] = _policy_of(domain, named)
        for split in SPLITS:
            records: tuple[ImageRecord, ...] = getattr(domain, split)
            if domain.leave_one_out and split == "query":
                continue  # the gallery holds the same
            for record, before in zip(records, (None, *records), strict=False):
                if before and record.key == before.key:
                    raise JointreidError(f"{record.path}: is twice in {split} of {domain.name}; remove one")
                rows.append(_cells(domain.name, split, record, image_root))
                if domain.leave_one_out and split == "gallery":
                    rows[-1]["split"] = TEST
    stated = {name: policy for name, policy in policies.items() if policy}
    side = json.dumps(stated, indent=2, ensure_ascii=False) + "\n" if stated else ""
    try:
        _replace_both(path, _to_csv(rows), side)
    except OSError as error:
        raise JointreidError(f"{path}: cannot be written: {error.strerror}") from error
    except UnicodeEncodeError as error:
        row = error.object[: error.end].splitlines()[-1]
        raise JointreidError(f"{path}: {row!r} is not valid Unicode; rename the file or folder") from error


# Cameras and policies


def _one_camera_policies(
    path: Path,
    by_domain: Mapping[str, Sequence[TableRow]],
    policies: Mapping[str, Mapping[str, Any]],
    missing_camid: MissingCamid,
) -> dict[str, dict[str, Any]]:
    """Return the whole policy of each domain without camera ids, if it is known to be one camera."""
    chosen: dict[str, dict[str, Any]] = {}
    undecided: dict[str, dict[str, Any]] = {}
    for name, rows in sorted(by_domain.items()):
        empty = [row.number for row in rows if not row.camera]
        if 0 < len(empty) < len(rows):
            raise JointreidError(
                f"{path}, row {empty[0]}, column camid: empty, as in {len(empty)} of the {len(rows)} rows of domain "
                f"{name}; fill it in for every row of the domain or for none"
            )
        stated = {key: value for key, value in policies.get(name, {}).items() if key in _ONE_CAMERA}
        if policies.get(name, {}).get("protocol") == LEAVE_ONE_OUT:
            stated.setdefault("exclude_same_camera", False)
            stated.setdefault("cameras", 1)
        decided = stated == _ONE_CAMERA or (missing_camid == "one_camera" and stated.items() <= _ONE_CAMERA.items())
        if empty:
            (chosen if decided else undecided)[name] = {**policies.get(name, {}), **_ONE_CAMERA}
    if undecided:
        raise JointreidError(
            f"{path}, column camid: no camera ids for {', '.join(undecided)}. If each is one camera, of which every "
            f"gallery image counts, write {side_file(path)} with {json.dumps({**policies, **undecided})} or pass "
            "--missing-camid one_camera"
        )
    return chosen


def _domain(path: Path, name: str, rows: Sequence[TableRow], policy: Mapping[str, Any]) -> Domain:
    found = {row.camera for row in rows}
    declared = policy.get("cameras")
    names = {camera_name(str(camera)) for camera in declared} if isinstance(declared, list) else found
    if not isinstance(declared, list) and (twins := written_alike(names, plain_camera)):
        raise JointreidError(
            f"{path}, column camid: cameras of domain {name} are written in several ways "
            f"({first_few(twins, sep='; ')}) and would be taken for different ones, so that matches from the same "
            'camera would count; write each in one way, or, if they are different, list all in "cameras" of '
            f"{side_file(path)}"
        )
    if names == {""}:
        index = {"": 0}
    elif all(CAMERA_NUMBER.fullmatch(camera) for camera in names):
        index = {camera: int(camera) for camera in names}
    elif policy.get("place"):
        raise JointreidError(
            f"{path}, column camid: domain {name} names its cameras, and {side_file(path)} gives it a place, in which "
            "data sets share cameras of equal number; write numbers, the same for the same camera"
        )
    else:
        index = {camera: rank for rank, camera in enumerate(sorted(names))}
    cameras = tuple(range(declared)) if isinstance(declared, int) else tuple(sorted(index.values()))
    names_cameras = any(camera and not CAMERA_NUMBER.fullmatch(camera) for camera in names)
    known = set(cameras)
    camids = {camera: index[camera] for camera in found if index.get(camera) in known}
    splits: dict[str, list[ImageRecord]] = {split: [] for split in SPLITS}
    for row in rows:
        if row.camera not in camids:
            raise JointreidError(
                f"{path}, row {row.number}, column camid: camera {row.camera} of domain {name} is not among those "
                f"that {side_file(path)} declares ({declared}); correct one of the two"
            )
        splits[row.split].append(seen_by(row.record, camids[row.camera]))
    return Domain(
        name,
        train=tuple(splits["train"]),
        query=tuple(splits["query"]),
        gallery=tuple(splits["gallery"]),
        exclude_same_camera=policy.get("exclude_same_camera", policy.get("protocol") != LEAVE_ONE_OUT),
        leave_one_out=policy.get("protocol") == LEAVE_ONE_OUT,
        cameras=cameras,
        place=policy.get("place", ""),
        terms=policy.get("terms", ""),
        source=policy.get("root", str(path)),
        names_cameras=names_cameras,
    )


def read_side_file(path: Path) -> dict[str, dict[str, Any]]:
    """Return the policies of a table's domains, none without such a file; raise JointreidError for wrong ones."""
    try:
        policies = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_distinct)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise JointreidError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(policies, dict) or not all(isinstance(policy, dict) for policy in policies.values()):
        raise JointreidError(f'{path}: expected {{"domain": {{"exclude_same_camera": false, ...}}, ...}}')
    for name, policy in policies.items():
        for key, value in policy.items():
            if key not in _POLICY_KEYS:
                raise JointreidError(f"{path}, domain {name}: {no_such('key', key, _POLICY_KEYS)}")
            if not _is_valid(key, value):
                raise JointreidError(f"{path}, domain {name}: {key} is {value!r}; expected {_POLICY_KEYS[key]}")
    return policies


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; raise if a name occurs twice, of which `json` would drop one silently."""
    plain = dict(pairs)
    if len(plain) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{max(names, key=names.count)!r} is there twice; remove one")
    return plain


def _is_valid(key: str, value: object) -> bool:
    if key == "exclude_same_camera":
        return isinstance(value, bool)
    if key == "protocol":
        return value in ("query_gallery", LEAVE_ONE_OUT)
    if key in ("place", "terms"):
        return isinstance(value, str)
    if key == "root":
        return isinstance(value, str) and os.path.isabs(value) and "\0" not in value
    if isinstance(value, list):
        # By type, not isinstance, because true and false are integers to Python.
        names = {
            camera_name(str(camera)) for camera in value if type(camera) is str or (type(camera) is int and camera >= 0)
        }
        return 0 < len(names) == len(value)
    return type(value) is int and 1 <= value <= MAX_CAMERAS


# Writing


def _policy_of(domain: Domain, root: str) -> dict[str, Any]:
    """Return what the side file must say for the domain to be read back equal."""
    policy: dict[str, Any] = {}
    if domain.leave_one_out:
        policy["protocol"] = LEAVE_ONE_OUT
    if domain.exclude_same_camera == domain.leave_one_out:  # not the default
        policy["exclude_same_camera"] = domain.exclude_same_camera
    if set(domain.cameras) != {record.camid for record in domain}:
        policy["cameras"] = list(domain.cameras)
    if domain.place:
        policy["place"] = domain.place
    if domain.terms:
        policy["terms"] = domain.terms
    if root:
        policy["root"] = root
    return policy


def _cells(domain: str, split: str, record: ImageRecord, image_root: ImageRoot) -> dict[str, object]:
    """Return a row that reads back as it is given."""
    name = path_below(image_root.absolute, os.path.abspath(record.path))
    if name is None:
        raise JointreidError(
            f"{record.path}: lies outside {image_root.absolute}, the folder that paths of the manifest are relative to"
        )
    path = Path(name).as_posix()
    cells = {
        "domain": domain,
        "split": split,
        "path": path if path == path.strip() else f"./{path}",  # no cell begins with a space
        "pid": record.pid,
        "camid": record.camid,
        **dict(zip(BOX_COLUMNS, record.box or ("", "", "", ""), strict=True)),
        "timestamp": "" if record.timestamp is None else record.timestamp,
        "junk": int(record.junk) or "",
        "distractor": int(record.distractor) or "",
    }
    try:
        parse_row(0, {column: str(cell) for column, cell in cells.items()}, image_root)
    except JointreidError as error:
        raise JointreidError(f"{record.path} of {domain}: no table can hold it: {error}") from error
    return cells


def _to_csv(rows: Sequence[Mapping[str, object]]) -> str:
    used = [column for column in ALL_COLUMNS if column in COLUMNS or any(row[column] != "" for row in rows)]
    # The csv module leaves a carriage return unquoted, and then reads it as the end of a row.
    returns = any("\r" in str(row[column]) for row in rows for column in COLUMNS)
    quoting: Literal[0, 1] = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    text = io.StringIO()
    writer = csv.DictWriter(text, used, extrasaction="ignore", lineterminator="\n", quoting=quoting)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _replace_both(path: Path, table: str, side: str) -> None:
    """Put a table and its side file in the place of others; no side file where `side` is empty."""
    beside = side_file(path)
    before = beside.read_bytes() if beside.exists() else None
    with replacing(path) as new_table:
        _write_through(new_table, table)
        if (side.encode() or None) == before:
            return
        # From here on there is no table, rather than one that the other's side file speaks of.
        if side:
            with replacing(beside) as new_side:
                _write_through(new_side, side)
                path.unlink(missing_ok=True)
        else:
            path.unlink(missing_ok=True)
            beside.unlink()


def _write_through(path: Path, text: str) -> None:
    """Write and wait for the disk, so that a full one is noticed while the old files stand."""
    with path.open("wb") as file:
        file.write(text.encode())
        file.flush()
        sync_handle(file.fileno(), path)
