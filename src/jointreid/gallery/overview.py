"""What is in a gallery: counts, the model, and the files that were added."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from jointreid.gallery.index import EXACT_BELOW
from jointreid.gallery.store import Facts


def overview(uri: str, facts: Facts, rows: Any, index: Mapping[str, Any] | None, folder: Path) -> dict[str, Any]:
    """Return what is in a gallery as plain values.

    Args:
        uri: where it is.
        facts: what holds for all rows.
        rows: their metadata, as an Arrow table.
        index: see `jointreid.gallery.index.index_state`.
        folder: its files on this machine.
    """
    plain = rows.select(["pid", "domain", "camera", "file", "retention"]).to_pydict()
    people = {pair for pair in zip(plain["domain"], plain["pid"], strict=True) if pair[1] is not None}
    cameras = {pair for pair in zip(plain["domain"], plain["camera"], strict=True) if pair[1] is not None}
    days = [day for day in plain["retention"] if day is not None]
    return {
        "uri": uri,
        "images": rows.num_rows,
        "people": len(people),
        "images_without_pid": plain["pid"].count(None),
        "domains": dict(sorted(Counter(name or "" for name in plain["domain"]).items())),
        "cameras": len(cameras),
        "files": dict(sorted(Counter(name or "" for name in plain["file"]).items())),
        "first_retention_date": min(days).isoformat() if days else None,
        "expired": sum(day < date.today() for day in days),
        **asdict(facts),
        "index": dict(index) if index else None,
        "bytes": sum(map(_size, folder.rglob("*"))),
    }


def _size(path: Path) -> int:
    """Return the bytes of a file; 0 for a folder, and where another process has removed it meanwhile."""
    try:
        return path.stat().st_size if path.is_file() else 0
    except FileNotFoundError:
        return 0


def render(plain: Mapping[str, Any]) -> str:
    """Return `overview` for a terminal."""
    model, index = plain["model"], plain["index"]
    unknown = f", {plain['images_without_pid']:,} images without pid" if plain["images_without_pid"] else ""
    lines = [
        f"{plain['uri']}: {plain['images']:,} images of {plain['people']:,} people{unknown}, "
        f"{plain['cameras']:,} cameras, {plain['bytes'] / 1e6:,.1f} MB on this machine",
        *(f"  domain {name or 'not given'}: {count:,} images" for name, count in plain["domains"].items()),
        f"model: {model['fingerprint'][:12]}, {plain['dims']} numbers a feature, run {model['run'] or 'not known'}"
        f" ({model['checkpoint']}{', mirrored images too' if model['flip'] else ''})",
    ]
    if index:
        lines.append(f"index: {index['kind']}, {index['indexed']:,} images in it, {index['unindexed']:,} not yet")
    else:
        lines.append(f"index: none; every image is compared (an index is made from {EXACT_BELOW:,} images on)")
    if plain["first_retention_date"]:
        lines.append(
            f"retention: the first date is {plain['first_retention_date']}; {plain['expired']:,} images are past "
            "theirs (`gallery remove --expire` erases them)"
        )
    lines += [f"added from {name or 'memory'}: {count:,} images" for name, count in plain["files"].items()]
    lines.append("an erasure does not reach these files, the images themselves, or copies and backups")
    return "\n".join(lines)
