"""Figure 5 as files and as text: a picture, all of its numbers, and a table for people."""

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path

from jointreid.analysis.figure5 import Figure5, FilterPanel
from jointreid.analysis.filters import NEIGHBOURS
from jointreid.analysis.scatter import ScatterPanel, scatter_grid
from jointreid.machine.files import write_atomically
from jointreid.machine.paths import user_path
from jointreid.messages.tables import text_table
from jointreid.retrieval.results import percent

LINE = 105  # characters that fit below the picture


def save(figure: Figure5, folder: str | Path) -> tuple[Path, Path]:
    """Write `figure5.png` and `figure5.json` into a folder, each whole or not at all; returns their paths."""
    picture, numbers = user_path(folder) / "figure5.png", user_path(folder) / "figure5.json"
    rows = [
        [ScatterPanel(_title(panel, figure.chance), panel.points) for panel in panels]
        for panels in zip(*(column.panels for column in figure.columns), strict=True)
    ]
    headings = [column.heading for column in figure.columns]
    chosen = figure.chosen
    write_atomically(picture, scatter_grid(headings, rows, chosen.domains, chosen.domain_ids, _footnote(figure)))
    write_atomically(numbers, json.dumps(figure.to_dict(), indent=1, allow_nan=False) + "\n")
    return picture, numbers


def render(figure: Figure5) -> str:
    """Return the numbers of the figure for people: a table, then the images and runs behind it."""
    rows = [["Filters from", "DCSD", "Block", "Numbers", "Silhouette", f"{NEIGHBOURS}-NN", "Chance", "Spread"]]
    for column in figure.columns:
        for panel in column.panels:
            found = panel.separation
            values = f"{found.silhouette:+.3f}", percent(found.accuracy), percent(figure.chance), f"{found.spread:.3g}"
            rows.append([column.heading, str(panel.number), panel.block, f"{panel.dimensions:,}", *values])
    warning = (figure.warning, "") if figure.warning else ()
    return "\n".join((*warning, text_table(rows, "lllrrrrr"), *_notes(figure)))


def _title(panel: FilterPanel, chance: float) -> str:
    silhouette = f"{panel.separation.silhouette:+.2f}".replace("-", "\N{MINUS SIGN}")
    accuracy = f"{NEIGHBOURS}-NN {percent(panel.separation.accuracy)}% (chance {percent(chance)}%)"
    return f"DCSD {panel.number}, {panel.block}\nsilhouette {silhouette}    {accuracy}"


def _footnote(figure: Figure5) -> str:
    chosen = figure.chosen
    warning = f"{textwrap.fill(figure.warning, LINE)}\n" if figure.warning else ""
    return warning + (
        f"Each point shows the channel filters generated for one of {chosen.per_domain} {chosen.split} images of each "
        "domain,\n"
        f"placed by t-SNE (perplexity {figure.perplexity:.0f}): near neighbours mean more than large distances.\n"
        "The numbers are computed from the filters before t-SNE, by Euclidean distance. Silhouette: +1 where domains\n"
        "are far apart, 0 where they overlap, negative where an image is nearer to another domain than to its own.\n"
        f"{NEIGHBOURS}-NN: how often the {NEIGHBOURS} nearest filters of other images predict an image's domain."
    )


def _notes(figure: Figure5) -> Iterator[str]:
    chosen = figure.chosen
    less = f" ({figure.asked} requested; the smallest domain has no more)" if chosen.per_domain < figure.asked else ""
    yield (
        f"{chosen.per_domain} {chosen.split} images{less} of each of {len(chosen.domains)} domains, "
        f"{len(chosen.records)} in all, seed {chosen.seed}: {', '.join(chosen.domains)}"
    )
    for column in figure.columns:
        yield f"{column.heading} ({column.run}, checkpoint last, step {column.step:,})"
    yield (
        f"silhouette by domain and leave-one-out accuracy of {NEIGHBOURS} neighbours in percent, from the filters "
        "by Euclidean distance; where the spread is near 0, filters hardly depend on the image"
    )
    if len({column.labels for column in figure.columns}) > 1:
        yield "the runs were trained on other identities or cameras of these domains, so more differs than the factors"
    if figure.columns[1].context_to == "spatial":
        yield "dcsd.context_to is spatial: domain and camera do not enter these filters"
    yield "settings that differ, left -> right:" if figure.settings else "no settings differ"
    yield from (f"  {key}: {a!r} -> {b!r}" for key, (a, b) in figure.settings.items())
