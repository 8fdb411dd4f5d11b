"""The identity loss of each domain over the training, from `metrics.jsonl`."""

import json
from pathlib import Path

from jointreid.analysis.curves import Point


def domain_losses(run: Path) -> dict[str, list[Point]]:
    """Return (step, mean identity loss since the last logged step) of each domain.

    Args:
        run: the run directory; one of an earlier version, or trained with `train.log_domains` off, has no such values.
    """
    try:
        text = (run / "metrics.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    found: dict[str, list[Point]] = {}
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except ValueError:  # a line that a kill cut short
            break
        of_domain = values.get("identity_by_domain", {}) if isinstance(values, dict) else {}
        for name, loss in of_domain.items():
            found.setdefault(name, []).append((float(values["step"]), float(loss)))
    return found
