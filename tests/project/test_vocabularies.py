"""The names that a setting may have stand once, in `jointreid.config`; each table of them in the code covers them."""

from collections.abc import Collection
from typing import Any, Literal, get_args, get_type_hints

import pytest

from jointreid import config
from jointreid.analysis import report
from jointreid.data import decode
from jointreid.data.protocols import TABLE_I
from jointreid.data.readers import READERS
from jointreid.data.readers.cuhk03 import _MARKET_FOLDERS
from jointreid.data.sampling import PASSES
from jointreid.models.families import TRUNKS
from jointreid.models.reid import SYSTEMS
from jointreid.models.weight_sources import NONE, SOURCES
from jointreid.paper import facts
from jointreid.training.pretrain.config import PretrainConfig

# The data sets of Table I, which the paper's tables, readers and checks of counts each have a table of.
DATASETS = Literal["market1501", "cuhk_sysu", "dukemtmc", "cuhk03", "msmt17"]

TABLES: dict[str, tuple[Any, Collection[str]]] = {
    "systems": (config.SystemName, SYSTEMS),
    "systems of a report": (config.SystemName, report.SYSTEMS),
    "trunks": (config.TrunkName, TRUNKS),
    "sources of weights": (config.PretrainSource, {NONE, *SOURCES}),
    "samplers": (config.SamplerKind, PASSES),
    "readers": (DATASETS, READERS),
    "counts of Table I": (DATASETS, TABLE_I),
    "columns of the paper's tables": (DATASETS, facts.TESTS),
    "resampling": (config.Interpolation, decode._RESAMPLING),
    "folders of CUHK03": (config.Cuhk03Boxes, _MARKET_FOLDERS),
    "networks to pre-train": (
        get_type_hints(PretrainConfig)["network"],
        {f"{name}{suffix}" for name in TRUNKS for suffix in ("", "-dcsd")},
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_covers_its_vocabulary(name: str) -> None:
    vocabulary, table = TABLES[name]
    assert set(table) == set(get_args(vocabulary))
