"""Readers of published data sets: the folder as its owner gives it out -> `Domain`. A reader never asserts counts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from jointreid.config import DataConfig
from jointreid.data.readers.cuhk03 import cuhk03
from jointreid.data.readers.cuhk_sysu import cuhk_sysu
from jointreid.data.readers.dukemtmc import dukemtmc
from jointreid.data.readers.market1501 import market1501
from jointreid.data.readers.msmt17 import msmt17
from jointreid.data.records import Domain


class Reader(Protocol):
    """A function that reads one data set."""

    def __call__(self, path: str | Path, data: DataConfig = DataConfig()) -> Domain:
        """Return the data set at `path`, read as the settings `data` say."""


READERS: Mapping[str, Reader] = {
    "market1501": market1501,
    "dukemtmc": dukemtmc,
    "cuhk03": cuhk03,
    "cuhk_sysu": cuhk_sysu,
    "msmt17": msmt17,
}
