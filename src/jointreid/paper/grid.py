"""Which trainings and evaluations the tables are made of: 41 and 165 for all of them, each once.

A cell of a table is (recipe, what it was trained on, test set); a training serves every cell it appears in.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from jointreid.config import RunConfig
from jointreid.data.protocols import TABLE_I
from jointreid.messages.errors import JointreidError, no_such
from jointreid.paper.facts import JOINT, RATE_TABLES, SOLO, TABLES, Row, table_rows

# What the paper lacks: what the sample alone gains on single data sets, and a baseline that starts as high as DDF does.
CONTROLS = "controls"
CONTROL_ROWS = (
    Row("BoT-DCSD, S", "bot-dcsd-s", SOLO),
    Row("BoT, from ResNet-50 a1_in1k", "bot-a1", SOLO),
    Row("BoT (Joint Training), from ResNet-50 a1_in1k", "bot-a1", JOINT),
)
# Models that are a recipe with other weights to start from.
SAME_RECIPE = {"bot-a1": "bot"}

# Rows of ours below the paper's: what S alone gains, and what domain and camera add to it.
GAINS = (
    Row("Gain from S", "bot-dcsd-s", JOINT, minus="bot"),
    Row("Gain from D + C", "bot-dcsd", JOINT, minus="bot-dcsd-s"),
)

PLACES = tuple(TABLE_I)
# Tables that no training is needed for.
UNTRAINED = ("I", "IV")


class Cell(NamedTuple):
    """One model on one test set.

    Attributes:
        model: a recipe, or a key of `SAME_RECIPE`.
        trained_on: one of `PLACES`, or `JOINT`.
        test: one of `PLACES`.
    """

    model: str
    trained_on: str
    test: str


@dataclass(frozen=True)
class PlannedRun:
    """One training and what it is measured on.

    Attributes:
        model: a recipe, or a key of `SAME_RECIPE`.
        trained_on: one of `PLACES`, or `JOINT`.
        places: the data sets to train on.
        seed: of weights, batches and random changes.
        tests: the test sets that its tables need.
        tables: those tables.
    """

    model: str
    trained_on: str
    places: tuple[str, ...]
    seed: int
    tests: tuple[str, ...]
    tables: tuple[str, ...]

    @property
    def recipe(self) -> str:
        """The recipe that it is trained by."""
        return SAME_RECIPE.get(self.model, self.model)


def rows_of(table: str) -> tuple[Row, ...]:
    """Return the rows of a table of rates, ours below the paper's.

    Raises:
        JointreidError: there is no such table.
    """
    if table == CONTROLS:
        return CONTROL_ROWS
    if table not in RATE_TABLES:
        raise JointreidError(no_such("table of rates", table, [*RATE_TABLES, CONTROLS]))
    return table_rows(table) + (GAINS if table == "V" else ())


def cells(table: str, places: Iterable[str] = PLACES) -> list[Cell]:
    """Return the cells of a table that need a training; rows of differences need none.

    Args:
        table: one of `RATE_TABLES`, or `CONTROLS`.
        places: the data sets that there are.
    """
    there = [place for place in PLACES if place in set(places)]
    return [cell for row in rows_of(table) for cell in _cells_of(row, there)]


def plan_grid(
    places: Iterable[str] = PLACES,
    *,
    tables: Sequence[str] = TABLES,
    models: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
) -> tuple[PlannedRun, ...]:
    """Return the trainings that tables need: seed by seed, on single data sets first, on all together last.

    Args:
        places: the data sets that there are. Joint training is on all of them, and needs two.
        tables: some of `TABLES`, and `CONTROLS`. I and IV need no training.
        models: only these; none for all that the tables name.
        seeds: every training is repeated for each.

    Raises:
        JointreidError: no such table or model.
    """
    for table in tables:
        if table not in (*TABLES, CONTROLS):
            raise JointreidError(no_such("table", table, [*TABLES, CONTROLS]))
    trained = [table for table in (*TABLES, CONTROLS) if table in tables and table not in UNTRAINED]
    known = dict.fromkeys(cell.model for table in trained for cell in cells(table))
    for model in models:
        if model not in known:
            raise JointreidError(no_such("model in these tables", model, known))
    there = tuple(place for place in PLACES if place in set(places))
    uses = [(cell, table) for table in trained for cell in cells(table, there) if cell.model in (models or known)]
    return tuple(
        _planned(model, place, there, seed, uses)
        for seed in seeds
        for place in (*PLACES, JOINT)
        for model in dict.fromkeys(cell.model for cell, _ in uses if cell.trained_on == place)
    )


def iterations(images: int, config: RunConfig) -> int:
    """Return the steps of a run on so many train images: epochs of floor(images / batch), or `train.max_steps`.

    >>> iterations(12_936, RunConfig()) // 120
    202
    """
    batches = max(1, images // config.sampler.batch_size)
    total = config.schedule.epochs * max(1, batches // config.train.accumulate)
    return min(total, config.train.max_steps or total)


def _cells_of(row: Row, there: Sequence[str]) -> Iterator[Cell]:
    if not row.recipe or row.minus:
        return
    for test in there:
        trained_on = test if row.trained_on == SOLO else row.trained_on
        if trained_on in there or (trained_on == JOINT and len(there) > 1):
            yield Cell(row.recipe, trained_on, test)


def _planned(
    model: str, trained_on: str, there: tuple[str, ...], seed: int, uses: Sequence[tuple[Cell, str]]
) -> PlannedRun:
    own = [(cell.test, table) for cell, table in uses if (cell.model, cell.trained_on) == (model, trained_on)]
    tests = {test for test, _ in own}
    return PlannedRun(
        model,
        trained_on,
        places=there if trained_on == JOINT else (trained_on,),
        seed=seed,
        tests=tuple(place for place in PLACES if place in tests),
        tables=tuple(dict.fromkeys(table for _, table in own)),
    )
