"""Figures in words, and text in lines."""

import textwrap

from evidence.data import DATASETS
from jointreid.analysis.heat_map import signed
from jointreid.analysis.resampling import Estimate


def with_interval(estimate: Estimate) -> str:
    """Write a difference with its sign and its interval, in percent."""
    return f"{signed(estimate.value)} ({signed(estimate.low)} to {signed(estimate.high)})"


def short_name(dataset: str) -> str:
    """Return the name of a data set as in running text."""
    return DATASETS[dataset].words.partition(":")[0]


def paragraph(*sentences: str) -> str:
    """Return sentences as lines of at most 120 characters."""
    return textwrap.fill(" ".join(sentences), 120, break_long_words=False, break_on_hyphens=False)
