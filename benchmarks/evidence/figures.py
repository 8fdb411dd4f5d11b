"""Figures in words, and text in lines."""

import textwrap
from collections.abc import Iterable

from evidence.data import DATASETS
from jointreid.analysis.resampling import Estimate


def mean(values: Iterable[float]) -> float:
    """Return the mean of one value or more."""
    found = list(values)
    return sum(found) / len(found)


def percent(value: float) -> str:
    """Write a share as percent with one decimal."""
    return f"{100 * value:.1f}"


def signed(estimate: Estimate) -> str:
    """Write a difference with its sign and its interval, in percent."""
    value, low, high = (with_sign(number) for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def with_sign(share: float) -> str:
    """Write a difference with its sign, in percent."""
    return f"{round(100 * share, 1) or 0.0:+.1f}"  # never -0.0


def short_name(dataset: str) -> str:
    """Return the name of a data set as in running text."""
    return DATASETS[dataset].words.partition(":")[0]


def paragraph(*sentences: str) -> str:
    """Return sentences as lines of at most 120 characters."""
    return textwrap.fill(" ".join(sentences), 120, break_long_words=False, break_on_hyphens=False)
