"""The trainings and evaluations that the tables need: 41 and 165 for all of them, each once.

An entry of a table is (recipe, training data, test set); one training serves every entry that it appears in.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, cast

from jointreid.config import RunConfig, SamplerKind
from jointreid.data.protocols import TABLE_I
from jointreid.data.sampling import batches_per_epoch
from jointreid.messages.errors import JointreidError, no_such
from jointreid.paper.facts import ACCURACY_TABLES, JOINT, SOLO, TABLES, PrintedRow, table_rows

# Comparisons that the paper lacks: the gain from the sample alone on single data sets, and a baseline whose ImageNet
# weights are as accurate as DDF's.
CONTROLS = "controls"
CONTROL_ROWS = (
    PrintedRow("BoT-DCSD, S", "bot-dcsd-s", SOLO),
    PrintedRow("BoT, from ResNet-50 a1_in1k", "bot-a1", SOLO),
    PrintedRow("BoT (Joint Training), from ResNet-50 a1_in1k", "bot-a1", JOINT),
)
# Models that are a recipe with other initial weights.
SAME_RECIPE = {"bot-a1": "bot"}

# Our rows below the paper's: the gain from S alone, and what domain and camera add to it.
GAINS = (
    PrintedRow("Gain from S", "bot-dcsd-s", JOINT, minus="bot"),
    PrintedRow("Gain from D + C", "bot-dcsd", JOINT, minus="bot-dcsd-s"),
)

SLOTS = tuple(TABLE_I)
# Tables that need no training.
UNTRAINED = ("I", "IV")


class GridEntry(NamedTuple):
    """One model evaluated on one test set.

    Attributes:
        model: a recipe, or a key of `SAME_RECIPE`.
        trained_on: one of `SLOTS`, or `JOINT`.
        test: one of `SLOTS`.
    """

    model: str
    trained_on: str
    test: str


@dataclass(frozen=True)
class PlannedRun:
    """One training and the data that it is evaluated on.

    Attributes:
        model: a recipe, or a key of `SAME_RECIPE`.
        trained_on: one of `SLOTS`, or `JOINT`.
        train_slots: the data sets to train on.
        seed: of weights, batches and random changes.
        tests: the test sets that its tables need.
        tables: those tables.
    """

    model: str
    trained_on: str
    train_slots: tuple[str, ...]
    seed: int
    tests: tuple[str, ...]
    tables: tuple[str, ...]

    @property
    def recipe(self) -> str:
        """The recipe that it is trained with."""
        return SAME_RECIPE.get(self.model, self.model)

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain dicts, lists and numbers, for JSON."""
        plain = asdict(self)
        return {"places" if key == "train_slots" else key: value for key, value in plain.items()}


def rows_of(table: str) -> tuple[PrintedRow, ...]:
    """Return the rows of an accuracy table, ours below the paper's.

    Raises:
        JointreidError: there is no such table.
    """
    if table == CONTROLS:
        return CONTROL_ROWS
    if table not in ACCURACY_TABLES:
        raise JointreidError(no_such("accuracy table", table, [*ACCURACY_TABLES, CONTROLS]))
    return table_rows(table) + (GAINS if table == "V" else ())


def entries(table: str, slots: Iterable[str] = SLOTS) -> list[GridEntry]:
    """Return the entries of a table that need a training; rows of differences need none.

    Args:
        table: one of `ACCURACY_TABLES`, or `CONTROLS`.
        slots: the data sets that are available.
    """
    available = [slot for slot in SLOTS if slot in set(slots)]
    return [entry for row in rows_of(table) for entry in _entries_of(row, available)]


def plan_grid(
    slots: Iterable[str] = SLOTS,
    *,
    tables: Sequence[str] = TABLES,
    models: Sequence[str] = (),
    seeds: Sequence[int] = (0,),
) -> tuple[PlannedRun, ...]:
    """Return the trainings that tables need: seed by seed, single data sets first, the joint training last.

    Args:
        slots: the data sets that are available. Joint training is on all of them, and needs two.
        tables: some of `TABLES`, and `CONTROLS`. I and IV need no training.
        models: only these; none for all that the tables name.
        seeds: every training is repeated for each of them.

    Raises:
        JointreidError: no such table or model.
    """
    for table in tables:
        if table not in (*TABLES, CONTROLS):
            raise JointreidError(no_such("table", table, [*TABLES, CONTROLS]))
    trained = [table for table in (*TABLES, CONTROLS) if table in tables and table not in UNTRAINED]
    known = dict.fromkeys(entry.model for table in trained for entry in entries(table))
    for model in models:
        if model not in known:
            raise JointreidError(no_such("model in these tables", model, known))
    available = tuple(slot for slot in SLOTS if slot in set(slots))
    uses = [
        (entry, table) for table in trained for entry in entries(table, available) if entry.model in (models or known)
    ]
    return tuple(
        _planned(model, slot, available, seed, uses)
        for seed in seeds
        for slot in (*SLOTS, JOINT)
        for model in dict.fromkeys(entry.model for entry, _ in uses if entry.trained_on == slot)
    )


def iterations(images: Sequence[int], config: RunConfig, domains: Sequence[int] | None = None) -> int:
    """Return the steps of a run: its epochs (`batches_per_epoch`), or `train.max_steps`.

    Args:
        images: train images of each identity; only their sum counts, unless `schedule.epoch_length` is `pass`.
        config: the settings of the run, with a sampler of this package.
        domains: the number of the data set of each identity, from 0, where there are several.

    >>> iterations([12_936], RunConfig()) // 120
    202
    """
    sampler = config.sampler
    size = sampler.ids_per_batch, sampler.images_per_id
    kind, each = cast(SamplerKind, sampler.kind), sampler.domains_per_batch
    batches = batches_per_epoch(images, *size, config.schedule.epoch_length, kind, domains, each)
    total = config.schedule.epochs * max(1, batches // config.train.accumulate)
    return min(total, config.train.max_steps or total)


def _entries_of(row: PrintedRow, available: Sequence[str]) -> Iterator[GridEntry]:
    if not row.recipe or row.minus:
        return
    for test in available:
        trained_on = test if row.trained_on == SOLO else row.trained_on
        if trained_on in available or (trained_on == JOINT and len(available) > 1):
            yield GridEntry(row.recipe, trained_on, test)


def _planned(
    model: str, trained_on: str, available: tuple[str, ...], seed: int, uses: Sequence[tuple[GridEntry, str]]
) -> PlannedRun:
    used_by = [(entry.test, table) for entry, table in uses if (entry.model, entry.trained_on) == (model, trained_on)]
    tests = {test for test, _ in used_by}
    return PlannedRun(
        model,
        trained_on,
        train_slots=available if trained_on == JOINT else (trained_on,),
        seed=seed,
        tests=tuple(slot for slot in SLOTS if slot in tests),
        tables=tuple(dict.fromkeys(table for _, table in used_by)),
    )
