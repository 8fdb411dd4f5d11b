"""The gain of joint training: each data set alone against all of them jointly, split into its causes.

For a data set d, an arm X and a plain network P, with m the mean metric over queries and seeds,

    m(X, joint) - m(P, d alone) = [m(P, joint) - m(P, d alone)]      joining
                                + [m(P', joint) - m(P, joint)]       trunk: P' is plain, on the trunk of X
                                + [m(S, joint) - m(P', joint)]       S: filters generated from the picture
                                + [m(X, joint) - m(S, joint)]        D + C: and from its domain and camera

A network that no run has is left out, and the parts on its two sides become one. Nothing here needs torch.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jointreid.analysis.arms import Arm, letters_of, sort_into_arms
from jointreid.analysis.evaluated_run import EvaluatedRun
from jointreid.analysis.found_runs import find_runs
from jointreid.analysis.missing_runs import missing_runs
from jointreid.analysis.reported import run_key
from jointreid.analysis.resampling import Estimate, QueryMetrics, difference, resampled_difference
from jointreid.machine.paths import user_path
from jointreid.messages.errors import JointreidError

GainMetric = Literal["mAP", "rank1"]
Training = Literal["alone", "joint"]

JOINING, TRUNK = "joining", "trunk"


@dataclass(frozen=True)
class Change:
    """The difference between two trainings, for each data set.

    Attributes:
        name: what causes it: joining, trunk, S, D + C, or several of these that could not be told apart.
        before: the label of the one arm.
        before_training: whether it was trained on each data set alone, or jointly.
        after: the label of the other; differences are after minus before.
        after_training: the same for the other.
        settings: `section.field` -> (before, after), of the settings in which the two arms differ, and `start`.
        domains: data set -> difference, for those where both were evaluated.
        mean: the mean of these.
    """

    name: str
    before: str
    before_training: Training
    after: str
    after_training: Training
    settings: Mapping[str, tuple[Any, Any]]
    domains: Mapping[str, Estimate]
    mean: Estimate | None


@dataclass(frozen=True)
class ArmAccuracy:
    """One arm, trained on each data set alone and on all jointly.

    Attributes:
        key: the letter that names it in tables.
        label: the arm's.
        runs: the number of its runs that count here.
        alone: data set -> the metric of its runs on that data set alone.
        joint: data set -> the metric of its joint runs.
        alone_seeds: data set -> the seeds of these runs.
        joint_seeds: the same of the joint runs.
        joining: joint minus alone.
        over_plain: joint minus the joint of the plain network it is compared with; None for a plain one, or without
            one.
    """

    key: str
    label: str
    runs: int
    alone: Mapping[str, float]
    joint: Mapping[str, float]
    alone_seeds: Mapping[str, tuple[int, ...]]
    joint_seeds: Mapping[str, tuple[int, ...]]
    joining: Change
    over_plain: Change | None

    @property
    def means(self) -> tuple[float | None, float | None]:
        """The means, alone and joint, over the data sets that have both, or over all where none has; None without."""
        both = self.joining.domains
        sides = ([value for name, value in side.items() if name in (both or side)] for side in (self.alone, self.joint))
        alone, joint = (sum(values) / len(values) if values else None for values in sides)
        return alone, joint


@dataclass(frozen=True)
class GainSplit:
    """The gain of one arm over the plain network on each data set alone, split into its causes.

    Attributes:
        label: the arm's.
        plain: the label of the network that it is compared with.
        changes: the parts, which add up to `total` on every data set of it.
        total: the arm in joint training minus the plain network on each data set alone.
    """

    label: str
    plain: str
    changes: tuple[Change, ...]
    total: Change


@dataclass(frozen=True)
class JointGain:
    """Everything about joint training on one set of data sets.

    Attributes:
        trained_on: the data sets.
        arms: the arms with a run on all of them, or on one of them alone.
        splits: the gains of arms with generated filters.
        missing: what no run shows, and which run would.
    """

    trained_on: tuple[str, ...]
    arms: tuple[ArmAccuracy, ...]
    splits: tuple[GainSplit, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Gain:
    """Runs compared by what joint training gained.

    Attributes:
        metric: mAP or rank1.
        runs: the directories.
        joint: an entry for each set of data sets that a run was trained on jointly; one for all data sets if no run
            was trained on several.
        identities: data set -> people among its queries.
        remarks: runs that were left out, and why.
    """

    metric: GainMetric
    runs: tuple[str, ...]
    joint: tuple[JointGain, ...]
    identities: Mapping[str, int]
    remarks: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain dicts, lists and numbers in [0, 1], for JSON."""
        return asdict(self)


def measure_gain(paths: Sequence[str | Path], *, metric: GainMetric = "mAP", plain: str | Path = "") -> Gain:
    """Compare solo with joint training over the runs that are found.

    Args:
        paths: run directories, and folders that hold some at any depth.
        metric: mAP or rank1.
        plain: a run of the plain network that gains start from; by default one of the same system (bot or agw), of the
            same kind of initial weights (random or not), and trained both ways, as far as there is one.

    Raises:
        JointreidError: see `find_runs`; `plain` is not among the runs, or not plain.
    """
    runs, left_out = find_runs(paths)
    arms, duplicates = sort_into_arms(runs)
    chosen = _arm_of(plain, arms) if plain else None
    trained = dict.fromkeys(frozenset(run.trained_on) for run in runs)
    joint = sorted((names for names in trained if len(names) > 1), key=lambda names: (-len(names), sorted(names)))
    sets = joint or [frozenset().union(*trained)]
    order = list(dict.fromkeys(name for run in runs for name in run.trained_on))
    return Gain(
        metric,
        tuple(str(run.path) for run in runs),
        tuple(_JointGainBuilder(arms, [n for n in order if n in names], metric, chosen).build() for names in sets),
        _identities(runs),
        (*left_out, *duplicates),
    )


def _arm_of(run: str | Path, arms: Sequence[Arm]) -> Arm:
    """Return the arm of the run that was named as plain."""
    path = user_path(run).resolve()
    for arm in arms:
        if any(known.path.resolve() == path for known in arm.runs):
            if not arm.is_plain:
                raise JointreidError(f"--plain {run} is a run of {arm.system}; expected one of bot or agw")
            return arm
    raise JointreidError(f"--plain {run} is none of the runs that are compared; name one of them")


def _identities(runs: Sequence[EvaluatedRun]) -> dict[str, int]:
    found: dict[str, int] = {}
    for run in runs:
        for name, queries in run.valid_queries.items():
            found.setdefault(name, len({query.pid for query in queries.values()}))
    return found


class _JointGainBuilder:
    """Collects the gains for one set of data sets."""

    def __init__(self, arms: Sequence[Arm], names: Sequence[str], metric: GainMetric, plain: Arm | None) -> None:
        self.names, self.metric = tuple(names), metric
        self.joint = len(names) > 1
        self.known: dict[tuple[int, Training, str], QueryMetrics | None] = {}
        self.arms = [arm for arm in arms if any(self._metrics(arm, kind, n) for kind in _KINDS for n in names)]
        self.chosen = plain if plain in self.arms else None

    def build(self) -> JointGain:
        return JointGain(
            self.names,
            tuple(self._accuracy(run_key(index), arm) for index, arm in enumerate(self.arms)),
            tuple(self._splits()),
            tuple(missing_runs(self.arms, self.names)),
        )

    def _metrics(self, arm: Arm, training: Training, name: str) -> QueryMetrics | None:
        """Return the metric of each query of a data set, for each seed of an arm; None without such runs."""
        key = id(arm), training, name
        if key not in self.known:
            if training == "joint" and not self.joint:
                runs = {}
            else:
                runs = arm.trained_on([name] if training == "alone" else self.names)
            tested = {seed: run for seed, run in runs.items() if run.valid_queries.get(name)}
            self.known[key] = _query_metrics(tested, name, self.metric) if tested else None
        return self.known[key]

    def _plain_of(self, arm: Arm) -> Arm | None:
        """Return the plain network that an arm's gain starts from."""
        if self.chosen:
            return self.chosen

        def fits(plain: Arm) -> tuple[bool, bool, int]:
            # One that was trained both ways tells the gain of joining.
            trained = sum(self._is_trained(plain, kind) for kind in _KINDS)
            return plain.system == arm.host, plain.is_random == arm.is_random, trained

        return max((known for known in self.arms if known.is_plain), key=fits, default=None)

    def _is_trained(self, arm: Arm, training: Training) -> bool:
        return any(self._metrics(arm, training, name) for name in self.names)

    def _accuracy(self, key: str, arm: Arm) -> ArmAccuracy:
        found = {kind: {name: self._metrics(arm, kind, name) for name in self.names} for kind in _KINDS}
        alone, joint = (
            {name: metrics for name, metrics in found[kind].items() if metrics is not None} for kind in _KINDS
        )
        over, plain = None, self._plain_of(arm)
        if plain is not None and not arm.is_plain:
            over = self._change("", (plain, "joint"), (arm, "joint"), self.names)
        counted = {run.path for names in ([n] for n in self.names) for run in arm.trained_on(names).values()}
        counted |= {run.path for run in arm.trained_on(self.names).values()}
        return ArmAccuracy(
            key,
            arm.label,
            len(counted),
            {name: metrics.mean for name, metrics in alone.items()},
            {name: metrics.mean for name, metrics in joint.items()},
            {name: metrics.seeds for name, metrics in alone.items()},
            {name: metrics.seeds for name, metrics in joint.items()},
            self._change(JOINING, (arm, "alone"), (arm, "joint"), self.names),
            over,
        )

    def _change(
        self, name: str, before: tuple[Arm, Training], after: tuple[Arm, Training], names: Sequence[str]
    ) -> Change:
        """Return the difference between two trainings on data sets, with its mean over those that have both."""
        found, resampled = {}, []
        for domain in names:
            a, b = self._metrics(*before, domain), self._metrics(*after, domain)
            if a is not None and b is not None:
                draws = resampled_difference(a, b, seed=(0, self.names.index(domain)))
                found[domain] = Estimate.of(difference(a, b), draws)
                resampled.append(draws)
        mean = None
        if found:
            mean = Estimate.of(float(np.mean([e.value for e in found.values()])), np.mean(resampled, axis=0))
        settings = before[0].differs(after[0])
        return Change(name, before[0].label, before[1], after[0].label, after[1], settings, found, mean)

    def _splits(self) -> Iterator[GainSplit]:
        generated = [arm for arm in self.arms if arm.factors and self._is_trained(arm, "joint")]
        whole = [arm for arm in generated if len(arm.factors) > 1]
        samples = {id(found) for arm in whole if (found := self._sample_arm(arm))}
        for arm in (*whole, *(arm for arm in generated if len(arm.factors) == 1 and id(arm) not in samples)):
            yield self._split(arm)

    def _split(self, arm: Arm) -> GainSplit:
        plain = [a for a in self._in_joint() if a.is_plain and a.is_random == arm.is_random]
        same_trunk = _nearest(arm, [a for a in plain if (a.system, a.trunk) == (arm.host, arm.trunk)])
        path: list[tuple[str, Arm | None]] = [(TRUNK, same_trunk), ("S", self._sample_arm(arm))]
        if len(arm.factors) > 1:
            path.append((letters_of(arm.factors[1:]), arm))
        first = self._plain_of(arm) or next(node for _, node in path if node is not None)
        steps: list[tuple[str, tuple[Arm, Training], tuple[Arm, Training]]] = []
        if self._is_trained(first, "alone"):
            steps.append((JOINING, (first, "alone"), (first, "joint")))
        pending: list[str] = []
        before = first
        for name, node in path:
            if node is before:
                pending.clear()
                continue
            pending.append(name)
            if node is not None:
                steps.append((" + ".join(pending), (before, "joint"), (node, "joint")))
                before = node
                pending.clear()
        names = [n for n in self.names if all(self._metrics(*side, n) for _, *sides in steps for side in sides)]
        begin: Training = "alone" if self._is_trained(first, "alone") else "joint"
        total = self._change("total", (first, begin), (arm, "joint"), names)
        return GainSplit(arm.label, first.label, tuple(self._change(*step, names) for step in steps), total)

    def _in_joint(self) -> list[Arm]:
        return [arm for arm in self.arms if self._is_trained(arm, "joint")]

    def _sample_arm(self, arm: Arm) -> Arm | None:
        """Return the arm that generates the same filters from the sample alone."""
        if len(arm.factors) == 1:
            return arm
        wanted = arm.system, arm.trunk, arm.base, arm.is_random, "S"
        joint = self._in_joint()
        return _nearest(arm, [a for a in joint if (a.system, a.trunk, a.base, a.is_random, a.letters) == wanted])


_KINDS: tuple[Training, Training] = ("alone", "joint")


def _nearest(arm: Arm, others: Sequence[Arm]) -> Arm | None:
    """Return the arm that differs in the fewest settings, the first of several."""
    return min(others, key=lambda other: len(arm.differs(other)), default=None)


def _query_metrics(runs: Mapping[int, EvaluatedRun], name: str, metric: GainMetric) -> QueryMetrics:
    first = next(iter(runs.values())).valid_queries[name]
    paths = sorted(first)
    pids = sorted({query.pid for query in first.values()})
    number = {pid: index for index, pid in enumerate(pids)}
    values = [[_value(run.valid_queries[name][path], metric) for path in paths] for run in runs.values()]
    return QueryMetrics(tuple(runs), np.array(values, float), np.array([number[first[path].pid] for path in paths]))


def _value(query: Any, metric: GainMetric) -> float:
    return float(query.average_precision) if metric == "mAP" else float(query.first_match_rank == 1)
