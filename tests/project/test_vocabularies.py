"""The names that a setting may have stand once, in `jointreid.config`; each table of them in the code covers them."""

from collections.abc import Collection
from typing import Any, get_args, get_type_hints

import pytest

from jointreid import config
from jointreid.analysis import report
from jointreid.data import decode
from jointreid.data.readers.cuhk03 import _MARKET_FOLDERS
from jointreid.models.pretrained import NONE, SOURCES
from jointreid.models.reid import SYSTEMS
from jointreid.models.trunk import TRUNKS
from jointreid.prepare.cuhk03 import BOXES
from jointreid.training.pretrain.config import PretrainConfig

TABLES: dict[str, tuple[Any, Collection[str]]] = {
    "systems": (config.SystemName, SYSTEMS),
    "systems of a report": (config.SystemName, report.SYSTEMS),
    "trunks": (config.TrunkName, TRUNKS),
    "sources of weights": (config.PretrainSource, {NONE, *SOURCES}),
    "resampling": (config.Interpolation, decode._RESAMPLING),
    "folders of CUHK03": (config.Cuhk03Boxes, _MARKET_FOLDERS),
    "conversions of CUHK03": (config.Cuhk03Boxes, BOXES),
    "networks to pre-train": (
        get_type_hints(PretrainConfig)["network"],
        {f"{name}{suffix}" for name in TRUNKS for suffix in ("", "-dcsd")},
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_covers_its_vocabulary(name: str) -> None:
    vocabulary, table = TABLES[name]
    assert set(table) == set(get_args(vocabulary))
