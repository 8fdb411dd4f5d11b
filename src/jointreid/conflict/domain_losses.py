"""The identity loss of each domain over the training, from `metrics.jsonl`."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jointreid.analysis.curves import Point


def domain_losses(run: Path) -> dict[str, list[Point]]:
    """Return (step, mean identity loss since the last logged step) of each domain, where it is finite.

    Args:
        run: the run directory; one of an earlier version, or trained with `train.log_domains` off, has no such values.
    """
    found: dict[str, list[Point]] = {}
    for line in _lines(run / "metrics.jsonl"):
        for name, loss in line.get("identity_by_domain", {}).items():
            if isinstance(loss, int | float) and math.isfinite(loss):
                found.setdefault(name, []).append((float(line["step"]), float(loss)))
    return found


def _lines(log: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines up to the first incomplete one, where a run was killed."""
    try:
        text = log.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            return
        if not isinstance(values, dict) or not isinstance(values.get("step"), int):
            return
        yield values
