"""Tables that compare our numbers with the paper's: numbers, rows, columns.

Accuracy is in percent here, as the paper prints it. A difference is taken between the rounded numbers, so that a reader
who subtracts them gets the same.
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
class ComparedNumber:
    """One number of a table, ours beside the paper's.

    Attributes:
        paper: the number that the paper prints, or None.
        ours: our values, one for each seed; empty if there are none.
        decimals: how many are printed.
        signed: whether it is a difference, printed with its sign.
        status: why there is no value of ours, or empty.
        remarks: notes on the paper's number.
        doubts: reasons why ours cannot be compared with it.
        behind: the runs, data and settings that ours comes from, for programs.
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
class ComparedColumn:
    """One column of numbers.

    Attributes:
        group: the title that it shares with its neighbours.
        name: its own title.
        about: protocol and queries of its numbers, in words; may be empty.
    """

    group: str
    name: str
    about: str = ""


@dataclass(frozen=True)
class ComparedRow:
    """One row: its names, one for each of `ComparedTable.heads`, and its numbers, one for each column."""

    names: tuple[str, ...]
    numbers: tuple[ComparedNumber, ...]


@dataclass(frozen=True)
class ComparedTable:
    """One table: the paper's and ours together.

    Attributes:
        name: I to VI, or controls.
        title: what it shows.
        warning: its first line where its numbers mean nothing.
        heads: headings of the rows' names.
        columns: the columns of numbers.
        rows: the rows.
        notes: remarks on the table as a whole.
        details: further lines below it, for people.
    """

    name: str
    title: str
    warning: str
    heads: tuple[str, ...]
    columns: tuple[ComparedColumn, ...]
    rows: tuple[ComparedRow, ...]
    notes: tuple[str, ...] = ()
    details: str = ""
