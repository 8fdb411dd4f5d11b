"""Readers of published data sets: the folder as its owner gives it out -> `Domain`. A reader never asserts counts."""

from collections.abc import Callable, Mapping
from pathlib import Path

from jointreid.data.readers.market1501 import market1501
from jointreid.data.records import Domain

READERS: Mapping[str, Callable[[str | Path], Domain]] = {"market1501": market1501}
