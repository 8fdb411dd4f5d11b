"""Training sets against test sets, in the shape of the paper's Table III: each network trained on each data set alone
and jointly, evaluated on each. Nothing here needs torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from jointreid.analysis.arms import Arm, sort_into_arms
from jointreid.analysis.evaluated_run import EvaluatedRun
from jointreid.analysis.found_runs import find_runs
from jointreid.analysis.missing_runs import source_of
from jointreid.messages.commands import command

METRICS = {"rank1": "Rank-1", "mAP": "mAP"}
MEAN, OTHERS = "mean", "mean of others"


@dataclass(frozen=True)
class MatrixNumber:
    """One metric of one row, for one column.

    Attributes:
        by_seed: the value for each seed, in [0, 1], at least one.
        is_best: whether no other row that it can be compared with has a higher one, as printed.
    """

    by_seed: tuple[float, ...]
    is_best: bool = False

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return fmean(self.by_seed)

    @property
    def deviation(self) -> float | None:
        """The standard deviation over seeds (n - 1), or None for a single one."""
        return stdev(self.by_seed) if len(self.by_seed) > 1 else None

    @property
    def printed(self) -> str:
        """The mean in percent with one decimal, and the deviation if there is one.

        >>> MatrixNumber((0.5,)).printed, MatrixNumber((0.49, 0.51)).printed
        ('50.0', '50.0±1.4')
        """
        deviation = "" if self.deviation is None else f"±{100 * self.deviation:.1f}"
        return f"{100 * self.mean:.1f}{deviation}"


# (column, metric) -> number; a column is a test set, `MEAN` or `OTHERS`.
Numbers = Mapping[tuple[str, str], MatrixNumber]


@dataclass(frozen=True)
class MatrixRow:
    """One network, trained on one set of data sets.

    Attributes:
        network: the arm's label.
        start: the name of the weights that training started from; none for random ones.
        trained_on: the data sets.
        source: these in words.
        seeds: of its runs.
        numbers: (column, metric) -> number, where there is one.
    """

    network: str
    start: str
    trained_on: tuple[str, ...]
    source: str
    seeds: tuple[int, ...]
    numbers: Numbers


@dataclass(frozen=True)
class Matrix:
    """All networks, training sets and test sets of some runs.

    Attributes:
        tests: the test sets.
        rows: network by network, single data sets first.
        notes: what is missing, and which runs were left out.
    """

    tests: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    notes: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The test sets, then the means that any row has."""
        found = {column for row in self.rows for column, _ in row.numbers}
        return (*self.tests, *(column for column in (MEAN, OTHERS) if column in found))

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain dicts, lists and numbers in [0, 1], for JSON."""
        rows = [
            {
                "network": row.network,
                "start": row.start,
                "trained_on": list(row.trained_on),
                "seeds": list(row.seeds),
                "tests": {column: _plain(row, column) for column in self.columns if (column, "mAP") in row.numbers},
            }
            for row in self.rows
        ]
        return {"tests": list(self.tests), "rows": rows, "notes": list(self.notes)}


def _plain(row: MatrixRow, column: str) -> dict[str, Any]:
    numbers = {metric: row.numbers[column, metric] for metric in METRICS}
    return {
        metric: {"mean": n.mean, "deviation": n.deviation, "by_seed": list(n.by_seed), "is_best": n.is_best}
        for metric, n in numbers.items()
    }


def build_matrix(paths: Sequence[str | Path]) -> Matrix:
    """Return the matrix of the runs that are found.

    Args:
        paths: run directories, and folders that hold some at any depth.

    Raises:
        JointreidError: see `find_runs`.
    """
    runs, left_out = find_runs(paths)
    arms, duplicates = sort_into_arms(runs)
    trained = list(dict.fromkeys(name for run in runs for name in run.trained_on))
    evaluated = list(dict.fromkeys(name for run in runs for name in run.domains))
    tests = (*(n for n in trained if n in evaluated), *(n for n in evaluated if n not in trained))
    rows = _with_best([row for arm in arms for row in _rows(arm, trained, tests)], tests)
    notes = (*_missing(arms, rows, trained, tests), *left_out, *duplicates)
    return Matrix(tests, tuple(rows), notes)


def _rows(arm: Arm, trained: Sequence[str], tests: Sequence[str]) -> Iterator[MatrixRow]:
    sets = dict.fromkeys(frozenset(run.trained_on) for run in arm.runs)
    for names in sorted(sets, key=lambda names: (len(names), [trained.index(n) for n in trained if n in names])):
        ordered = tuple(name for name in trained if name in names)
        runs = arm.trained_on(names)
        numbers: dict[tuple[str, str], MatrixNumber] = {}
        for column, of_column in {**{n: [n] for n in tests}, MEAN: tests, OTHERS: _others(names, tests)}.items():
            known = [run for run in runs.values() if of_column and all(name in run.domains for name in of_column)]
            for metric in METRICS if known else ():
                values = (fmean(_value(run, name, metric) for name in of_column) for run in known)
                numbers[column, metric] = MatrixNumber(tuple(values))
        yield MatrixRow(arm.label, arm.start, ordered, _in_words(ordered, trained), tuple(runs), numbers)


def _others(names: frozenset[str], tests: Sequence[str]) -> list[str]:
    return [name for name in tests if name not in names]


def _value(run: EvaluatedRun, name: str, metric: str) -> float:
    result = run.domains[name]
    return result.mAP if metric == "mAP" else result.cmc[1]


def _in_words(names: Sequence[str], trained: Sequence[str]) -> str:
    """Return data sets as a row names them.

    >>> _in_words("abc", "abc"), _in_words("ac", "abc"), _in_words("b", "abc"), _in_words("ab", "abcd")
    ('all jointly', 'all but b', 'b', 'a + b')
    """
    left = [name for name in trained if name not in names]
    if len(names) == 1:
        return names[0]
    if not left:
        return "all jointly"
    return f"all but {left[0]}" if len(left) == 1 else " + ".join(names)


def _with_best(rows: Sequence[MatrixRow], tests: Sequence[str]) -> list[MatrixRow]:
    """Return the rows with the best numbers of each column told.

    A mean over the other test sets is compared only between rows of the same training set: it is over the same ones.
    """
    best: dict[Any, list[float]] = {}
    for row in rows:
        for key, number in row.numbers.items():
            best.setdefault(_compared(row, key), []).append(round(100 * number.mean, 1))

    def is_best(row: MatrixRow, key: tuple[str, str], number: MatrixNumber) -> bool:
        values = best[_compared(row, key)]
        return len(values) > 1 and round(100 * number.mean, 1) == max(values)

    return [
        replace(row, numbers={key: MatrixNumber(n.by_seed, is_best(row, key, n)) for key, n in row.numbers.items()})
        for row in rows
    ]


def _compared(row: MatrixRow, key: tuple[str, str]) -> tuple[object, ...]:
    return (*key, row.trained_on if key[0] == OTHERS else ())


def _missing(
    arms: Sequence[Arm], rows: Sequence[MatrixRow], trained: Sequence[str], tests: Sequence[str]
) -> Iterator[str]:
    """Yield which trainings and evaluations the table lacks, each with a command for one of them where it is known."""
    for arm in arms:
        own = [row for row in rows if row.network == arm.label]
        absent = [name for name in trained if (name,) not in [row.trained_on for row in own]]
        words = [f"{', '.join(absent)} alone"] if absent else []
        if len(trained) > 1 and tuple(trained) not in [row.trained_on for row in own]:
            words.append("all data sets jointly")
        if words:
            yield f"{arm.label}: no run was trained on {', nor on '.join(words)}"
    pairs = [(row, name) for row in rows for name in tests if (name, "mAP") not in row.numbers]
    if pairs:
        row, name = pairs[0]
        yield (
            f"{len(pairs)} of {len(rows) * len(tests)} pairs of network and test set were not evaluated, such as "
            f"{row.network}, trained on {row.source}, on {name}{_evaluate(arms, row, name)}"
        )


def _evaluate(arms: Sequence[Arm], row: MatrixRow, name: str) -> str:
    run = next(r for arm in arms if arm.label == row.network for r in arm.trained_on(row.trained_on).values())
    sources = (source_of(other, name) for arm in arms for other in arm.runs if name in other.trained_on)
    source = next(filter(None, sources), "")
    return f": `{command('evaluate', run.path, '--data', source)}`" if source else ""
