"""Tables as files: Markdown for people, CSV and JSON for programs, LaTeX for papers."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jointreid.machine.files import write_atomically
from jointreid.messages.table_formats import csv_text, latex_table, markdown_table, tex
from jointreid.messages.tables import NO_VALUE
from jointreid.paper.compared import QUOTED, ComparedNumber, ComparedTable
from jointreid.paper.facts import TABLES

LEGEND = "ours / paper / difference"
_BEHIND = (
    "model", "recipe", "trained_on", "trained_on_data", "test_data", "seeds", "steps", "preset", "other_settings",
    "pretraining", "commit", "protocol", "variant", "valid_queries", "feature_hashes", "parameters", "multiply_adds",
)  # fmt: skip


def write_tables(tables: Sequence[ComparedTable], folder: Path) -> tuple[Path, ...]:
    """Write each table as `table-NAME.md`, `.csv`, `.json` and `.tex`, and all of them as `tables.md`.

    Args:
        tables: the tables.
        folder: made if missing; each file is replaced whole.

    Returns:
        The files.
    """
    files = {folder / "tables.md": "\n".join(map(markdown, tables))}
    for table in tables:
        for suffix, rendered in (("md", markdown), ("csv", as_csv), ("json", as_json), ("tex", latex)):
            files[folder / f"table-{table.name}.{suffix}"] = rendered(table)
    for path, text in files.items():
        write_atomically(path, text)
    return tuple(files)


def markdown(table: ComparedTable) -> str:
    """Return a table as Markdown, followed by its footnotes and the runs and data behind its numbers."""
    marks = _Marks(table)
    head = [*table.heads, *(f"{column.group} {column.name}".strip() for column in table.columns)]
    lines = [table.warning, ""] if table.warning else []
    lines += [f"## {_title(table)}", "", f"Each cell: {LEGEND}.", ""]
    rows = ([*row.names, *(cell(number) + marks.of(number) for number in row.numbers)] for row in table.rows)
    lines += markdown_table(head, rows, _align(table))
    for notes in (marks.lines(), [f"- {note}" for note in (*_behind(table), *table.notes)]):
        lines += ["", *notes] if notes else []
    if table.details:
        lines += ["", "```", table.details, "```"]
    return "\n".join(lines) + "\n"


def as_csv(table: ComparedTable) -> str:
    """Return a table as CSV, one line for each number; a warning comes first, after a `#`."""
    names = ("table", "row", "source", "column", "measure", "ours", "deviation", "paper", "difference", "status")
    rows: list[list[Any]] = [[*names, "remarks", "doubts", *_BEHIND]]
    for entry in _entries(table):
        behind = [_flat(entry["behind"].get(key, "")) for key in _BEHIND]
        lists = [" ".join(entry[name]) for name in ("remarks", "doubts")]
        rows.append([*(entry[name] for name in names), *lists, *behind])
    return (f"# {table.warning}\n" if table.warning else "") + csv_text(rows)


def as_json(table: ComparedTable) -> str:
    """Return a table as JSON: its notes, and its numbers as a list."""
    plain = {
        "warning": table.warning,
        "table": table.name,
        "title": table.title,
        "notes": table.notes,
        "columns": [{"group": c.group, "name": c.name, "about": c.about} for c in table.columns],
        "figures": list(_entries(table)),
        "details": table.details,
    }
    return json.dumps(plain, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def latex(table: ComparedTable) -> str:
    """Return a table as LaTeX, for `\\input` in a document that loads the package graphicx; as wide as the page."""
    marks = _Marks(table)
    warning = [f"% {table.warning}"] if table.warning else []
    groups = [(name, len(list(members))) for name, members in groupby(table.columns, key=lambda column: column.group)]
    names = [*map(tex, table.heads), *(tex(column.name) for column in table.columns)]
    body = [
        [
            *map(tex, row.names),
            *(_tex_cell(f) + (f"$^{{{m}}}$" if (m := marks.keys(f)) else "") for f in row.numbers),
        ]
        for row in table.rows
    ]
    caption = f"{_title(table)}. Each cell: {LEGEND}."
    lines = latex_table(
        names,
        body,
        _align(table),
        caption=f"{table.warning} {caption}".strip(),
        groups=[("", 1)] * len(table.heads) + groups,
        notes=[*(f"{mark}: {text}" for mark, text in marks.texts.items()), *_behind(table), *table.notes],
    )
    return "\n".join([*warning, *lines]) + "\n"


def _align(table: ComparedTable) -> str:
    return "l" * len(table.heads) + "r" * len(table.columns)


def cell(number: ComparedNumber) -> str:
    """Return a number as `ours / paper / difference`.

    >>> cell(ComparedNumber(79.4, (78.0, 79.0)))
    '78.5±0.7 / 79.4 / -0.9'
    >>> cell(ComparedNumber(79.4, status="not run"))
    'not run / 79.4 / –'
    """
    ours = NO_VALUE if number.status == QUOTED else number.status
    if number.mean is not None:
        deviation = "" if number.deviation is None else f"±{number.deviation:.{number.decimals}f}"
        ours = _format(number.mean, number, number.signed) + deviation
    if ours == NO_VALUE and number.paper is None:
        return NO_VALUE
    paper = NO_VALUE if number.paper is None else _format(number.paper, number, number.signed)
    difference = NO_VALUE if number.difference is None else _format(number.difference, number, True)
    return f"{ours} / {paper} / {difference}"


def _format(value: float, number: ComparedNumber, signed: bool) -> str:
    value = value or 0.0  # no minus before zero
    return f"{value:{'+' if signed and value else ''},.{number.decimals}f}"


class _Marks:
    """The letters that link a number to its footnotes, in order of appearance."""

    def __init__(self, table: ComparedTable) -> None:
        numbers = (number for row in table.rows for number in row.numbers)
        texts = dict.fromkeys(text for number in numbers for text in (*number.remarks, *number.doubts))
        self.texts = {_letters(index): text for index, text in enumerate(texts)}
        self._mark = {text: mark for mark, text in self.texts.items()}

    def keys(self, number: ComparedNumber) -> str:
        return ",".join(self._mark[text] for text in (*number.remarks, *number.doubts))

    def of(self, number: ComparedNumber) -> str:
        keys = self.keys(number)
        return f" [{keys}]" if keys else ""

    def lines(self) -> list[str]:
        return [f"- [{mark}] {text}" for mark, text in self.texts.items()]


def _letters(index: int) -> str:
    """Return a, b, ..., z, aa, ab, ...

    >>> _letters(0), _letters(25), _letters(26)
    ('a', 'z', 'aa')
    """
    more, index = divmod(index, 26)
    return (_letters(more - 1) if more else "") + chr(ord("a") + index)


def _title(table: ComparedTable) -> str:
    return f"Table {table.name}. {table.title}" if table.name in TABLES else table.title


def _behind(table: ComparedTable) -> list[str]:
    """Return where the numbers come from, in words: the runs of each row, the data of each column."""
    runs: dict[str, list[str]] = {}
    for row in table.rows:
        behind = [number.behind for number in row.numbers if number.behind.get("seeds")]
        if behind and not any(number.signed for number in row.numbers):
            runs.setdefault(_runs_in_words(behind), []).append(" ".join(row.names))
    everywhere = len(runs) == 1
    lines = [f"{'All rows' if everywhere else '; '.join(names)}: {text}" for text, names in runs.items()]
    return lines + [f"{group}: {about}" for group, about in {c.group: c.about for c in table.columns}.items() if about]


def _runs_in_words(behind: Sequence[Any]) -> str:
    steps = sorted({step for entry in behind for step in _listed(entry["steps"])})
    taken = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    start = ", ".join("random weights" if kind == "none" else kind for kind in _distinct(behind, "pretraining"))
    seeds = ", ".join(map(str, sorted({seed for entry in behind for seed in entry["seeds"]})))
    code = ", ".join(text if text.startswith("version") else f"commit {text}" for text in _distinct(behind, "commit"))
    return f"seed {seeds}; preset {', '.join(_distinct(behind, 'preset'))}; from {start}; {taken} steps; {code}"


def _distinct(behind: Sequence[Any], key: str) -> list[str]:
    return list(dict.fromkeys(str(value) for entry in behind for value in _listed(entry[key])))


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _entries(table: ComparedTable) -> Iterator[dict[str, Any]]:
    """Yield each number with everything that is known about it."""
    for row in table.rows:
        for column, number in zip(table.columns, row.numbers, strict=True):
            yield {
                "table": table.name,
                "row": row.names[0],
                "source": row.names[1] if len(row.names) > 1 else "",
                "column": column.group,
                "measure": column.name,
                "ours": number.mean,
                "ours_by_seed": list(number.ours),
                "deviation": number.deviation,
                "paper": number.paper,
                "difference": number.difference,
                "status": number.status,
                "remarks": number.remarks,
                "doubts": number.doubts,
                "behind": number.behind,
            }


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={item}" for key, item in value.items())
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _tex_cell(number: ComparedNumber) -> str:
    return re.sub(r"-(?=\d)", "$-$", tex(cell(number)))  # a minus, not a hyphen
