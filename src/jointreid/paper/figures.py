"""What a table is made of: numbers, each ours beside the paper's, in rows and columns.

Rates are in percent here, as the paper prints them. A difference is taken between the numbers as printed, so that a
reader who subtracts finds the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, stdev
from typing import Any

QUOTED = "quoted"
NOT_RUN = "not run"
NO_DATA = "no data"
NOT_RUN_WITHDRAWN = "withdrawn, not run"


@dataclass(frozen=True)
class Figure:
    """One number of a table.

    Attributes:
        paper: what the paper prints, or None.
        ours: what was found, one value a seed; none if it was not.
        decimals: as printed.
        signed: whether it is a difference, printed with its sign.
        status: why there is none of ours, or nothing.
        remarks: what is to be known about the paper's number.
        doubts: why ours cannot stand beside it.
        behind: which runs, data and settings ours is of, for programs.
    """

    paper: float | None
    ours: tuple[float, ...] = ()
    decimals: int = 1
    signed: bool = False
    status: str = ""
    remarks: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    behind: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mean(self) -> float | None:
        """The mean over seeds, rounded as printed."""
        return round(fmean(self.ours), self.decimals) if self.ours else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation over seeds (n - 1), or None for a single one."""
        return stdev(self.ours) if len(self.ours) > 1 else None

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's, as printed."""
        if self.mean is None or self.paper is None:
            return None
        return round(self.mean - self.paper, self.decimals)


@dataclass(frozen=True)
class Column:
    """One column of numbers.

    Attributes:
        group: the title that it shares with its neighbours.
        name: its own.
        about: what its numbers are of, in words: protocol and queries; may be empty.
    """

    group: str
    name: str
    about: str = ""


@dataclass(frozen=True)
class TableRow:
    """One row: its names, one a heading of `Table.heads`, and its numbers, one a column."""

    names: tuple[str, ...]
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class Table:
    """One table of the paper, ours beside it.

    Attributes:
        name: I to VI, or controls.
        title: what it shows.
        warning: its first line, if its numbers mean nothing.
        heads: headings of the rows' names.
        columns: the columns of numbers.
        rows: the rows.
        notes: remarks on the table as a whole.
        details: more lines below it, for people.
    """

    name: str
    title: str
    warning: str
    heads: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()
    details: str = ""
