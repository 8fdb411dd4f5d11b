"""The runs of a report: each opened once, with its results, its log and its colours."""

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase
from typing import Any, NamedTuple

from jointreid.analysis.curves import Curve, Point
from jointreid.machine.paths import user_path
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.result_files import load_results
from jointreid.retrieval.results import DomainResult, QueryResult, Results
from jointreid.run import Run, open_run


@dataclass(frozen=True)
class RunGroup:
    """Runs that a report shows together, such as all that were trained from scratch.

    Attributes:
        label: what they have in common; may be empty.
        runs: their directories.

    Raises:
        JointreidError: `runs` is empty.
    """

    label: str
    runs: Sequence[str | Path]

    def __post_init__(self) -> None:
        if not self.runs:
            raise JointreidError(f"the group {self.label!r} holds no runs; name one run directory or more")


class EvaluationWay(NamedTuple):
    """What of an evaluation changes its figures, and may differ between the domains of a run.

    Attributes:
        flip: whether features were averaged with those of the mirrored images.
        rerank: whether answers were re-ranked.
    """

    flip: bool
    rerank: bool

    def __str__(self) -> str:
        return f"with{'' if self.flip else 'out'} mirrored images, {'' if self.rerank else 'not '}re-ranked"


@dataclass(frozen=True)
class ReportedRun:
    """One run of a report.

    Attributes:
        key: the letter that names it in charts.
        label: the name of its directory, with its parents' as far as they tell it from others of its group, and with
            its key where even these do not.
        group: index of its group, from 0.
        group_label: what the group has in common, in words; may be empty.
        position: index in its group, from 0.
        run: its settings, labels and weights.
        results: of its evaluation.
        queries: the result of each query.
        log: the lines of `metrics.jsonl`, in order; none where there is no such file.
    """

    key: str
    label: str
    group: int
    group_label: str
    position: int
    run: Run
    results: Results
    queries: tuple[QueryResult, ...]
    log: tuple[Mapping[str, Any], ...]

    @property
    def name(self) -> str:
        """Its label and its group's, unique in the report; marked if re-ranked."""
        label = f"{self.label} (re-ranked)" if self.results.rerank else self.label
        return f"{label} · {self.group_label}" if self.group_label else label

    @property
    def system(self) -> str:
        """The network, such as `bot-dcsd, resnet50`."""
        return f"{self.run.config.model.name}, {self.run.config.model.trunk}"

    @property
    def domains(self) -> dict[str, DomainResult]:
        """Its results by domain."""
        return {result.domain: result for result in self.results.domains}

    def way(self, domain: str) -> EvaluationWay:
        """Return how a domain was evaluated; domains that the run was not trained on may have their own way."""
        told = self.domains[domain].conditions or self.results
        return EvaluationWay(told.flip, told.rerank)

    @cached_property
    def state(self) -> dict[str, Any]:
        """The progress that its checkpoint `last` records."""
        return self.run.state()

    def has_heads(self, factor: str) -> bool:
        """Return whether the run's network classifies domains, or cameras."""
        return any(f"{factor}_accuracy" in line for line in self.log)

    def points(self, kind: str, name: str) -> list[Point]:
        """Return (epochs, value) of a logged value; the mean over domains where it was logged for each of them.

        Args:
            kind: of the lines, as in `metrics.jsonl`.
            name: of the value.
        """
        steps = self.state["step"] or 1  # a run that took no step logged nothing before its evaluation, at 0
        found = [(line["step"] * self.state["epoch"] / steps, _value(line, name)) for line in self.log_of(kind)]
        return [(x, y) for x, y in found if y is not None and math.isfinite(y)]

    def log_of(self, kind: str) -> list[Mapping[str, Any]]:
        """Return the logged lines of a kind."""
        return [line for line in self.log if line["kind"] == kind]

    def line(self, points: Sequence[Point]) -> Curve:
        """Return a curve in the run's style: a colour for its position in the group, dashes for the group."""
        return Curve(self.key, self.name, points, self.position, self.group)


def open_runs(groups: Iterable[RunGroup], cache: str = "") -> list[ReportedRun]:
    """Open the runs of all groups, in order.

    Args:
        groups: the runs.
        cache: folder for decoded images; empty for that of each run.

    Raises:
        JointreidError: there are none, a directory is not a run, or it holds no results; the message names the
            command to run.
    """
    runs: list[ReportedRun] = []
    for number, group in enumerate(groups):
        paths = [user_path(path) for path in group.runs]
        for position, (path, label) in enumerate(zip(paths, _labels(paths), strict=True)):
            run, (results, queries), log = open_run(path), load_results(path), _read_log(path)
            run = replace(run, config=run.config.replace(data={"cache": cache or run.config.data.cache}))
            runs.append(
                ReportedRun(run_key(len(runs)), label, number, group.label, position, run, results, queries, log)
            )
    if not runs:
        raise JointreidError("there are no runs to report; name one run directory or more")
    return _with_distinct_names(runs)


def domain_names(runs: Sequence[ReportedRun]) -> list[str]:
    """Return the domains that any of the runs was evaluated on, in the order of the runs."""
    return list(dict.fromkeys(name for run in runs for name in run.domains))


def _labels(paths: Sequence[Path]) -> list[str]:
    """Return the names of folders, each with as many of its parents' as tell it from the others."""
    folders = [path.resolve() for path in paths]
    return [_shortest_name(folder, set(folders) - {folder}) for folder in folders]


def _shortest_name(folder: Path, others: Collection[Path]) -> str:
    parts = folder.parts
    counts = range(1, len(parts))
    enough = (count for count in counts if all(other.parts[-count:] != parts[-count:] for other in others))
    return Path(*parts[-next(enough, len(parts)) :]).as_posix()


def _with_distinct_names(runs: Sequence[ReportedRun]) -> list[ReportedRun]:
    """Return the runs, those of the same name with their keys: a run that was given twice, or in two groups."""
    counts = Counter(run.name for run in runs)
    return [replace(run, label=f"{run.label} ({run.key})") if counts[run.name] > 1 else run for run in runs]


def run_key(index: int) -> str:
    """Return the letter of a run or an arm by its index: A, B, ..., Z, A1, B1, ..."""
    round_, letter = divmod(index, len(ascii_uppercase))
    return f"{ascii_uppercase[letter]}{round_ or ''}"


def _read_log(run: Path) -> tuple[Mapping[str, Any], ...]:
    """Return the lines of `metrics.jsonl` up to the first incomplete one, where a run was killed."""
    try:
        text = (run / "metrics.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return ()
    lines = []
    for line in text.splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            break
        if not isinstance(values, dict) or "kind" not in values or not isinstance(values.get("step"), int):
            break
        lines.append(values)
    return tuple(lines)


def _value(line: Mapping[str, Any], name: str) -> float | None:
    """Return a line's value of that name, or the mean of its domains' values."""
    value = line.get(name)
    if isinstance(value, int | float):
        return float(value)
    values = [entry[name] for entry in line.values() if isinstance(entry, dict) and name in entry]
    return sum(values) / len(values) if values else None
