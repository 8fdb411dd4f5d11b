"""The tables of what each network costs: counted, and measured by `costs.py`."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from measure import spread

from evidence.arms import ARMS, START_WORDS, Start
from evidence.counts import count
from evidence.data import image_of
from evidence.figures import paragraph, short_name
from evidence.tasks import Scale, arms_of
from jointreid.messages.tables import text_table
from jointreid.models.profile import NUM_CAMERAS, NUM_DOMAINS


@dataclass(frozen=True)
class Costs:
    """CPU time of the training steps.

    Attributes:
        rows: of the file that `costs.py` writes, by data set, start and arm; none if it is not there.
        words: how it was measured.
    """

    rows: Mapping[tuple[str, str, str], Mapping[str, Any]]
    words: str

    @classmethod
    def read(cls, path: Path) -> "Costs":
        """Return what a file holds, which may not be there."""
        if not path.is_file():
            return cls({}, "")
        plain = json.loads(path.read_text(encoding="utf-8"))
        rows = {(row["dataset"], row["start"], row["arm"]): row for row in plain["rows"]}
        rounds = plain["rounds"]
        words = f"{rounds} round{'s' * (rounds > 1)} on one thread of {plain['machine']}, load {plain['load']}"
        return cls(rows, words)


def millions(value: float) -> str:
    """Write a number in millions, with two decimals."""
    return f"{value / 1e6:.2f}"


def cost_tables(costs: Costs, scale: Scale) -> Iterator[str]:
    """Yield the section: for each start a table of all arms."""
    yield "## What each network costs"
    yield ""
    yield paragraph(
        "Parameters and multiply-adds for one image, in millions, without the identity classifier, which is not needed "
        f"after training, and with heads for {NUM_DOMAINS} domains and {NUM_CAMERAS} cameras.",
        "CPU time of a training step of 64 images, as a multiple of the plain network's: median and quartiles, "
        f"measured side by side in one process ({costs.words})."
        if costs.rows
        else "CPU time is not measured yet; `benchmarks/evidence/costs.py` does it.",
    )
    yield ""
    for start in scale.starts:
        yield f"From {START_WORDS[start]}:"
        yield ""
        head, *rows = _rows(costs, start, scale.datasets)
        yield text_table([head, *rows], "l" + "r" * (len(head) - 1))
        yield ""


def _rows(costs: Costs, start: Start, datasets: Sequence[str]) -> Iterator[list[str]]:
    """Yield the head, then the row of each arm."""
    images = {name: image_of(name, start) for name in datasets}
    sizes = {f"{image['height']}x{image['width']}": name for name, image in images.items()}
    timed = [name for name in datasets if (name, start, "static") in costs.rows]
    words = [f"multiply-adds, {size}" for size in sizes]
    yield ["arm", "params", *words, *(f"CPU time, {short_name(name)}" for name in timed)]
    for arm in arms_of(start):
        row = [ARMS[arm].name, millions(count(arm, start, datasets[0]).params)]
        for dataset in sizes.values():
            macs = count(arm, start, dataset).macs
            row.append(f"{millions(macs)} ({macs / count('static', start, dataset).macs:.2f})")
        for dataset in timed:
            measured = costs.rows.get((dataset, start, arm))
            row.append("" if measured is None else _time(measured, is_plain=arm == "static"))
        yield row


def _time(measured: Mapping[str, Any], *, is_plain: bool) -> str:
    if is_plain:
        return f"{median(measured['cpu_ms']):.0f} ms"
    return spread(measured["against_static"], 2)
