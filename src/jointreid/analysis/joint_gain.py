"""The gains of all arms on one set of data sets, and the split of each gain into its causes.

For a data set d, an arm X and a plain network P, with m the mean metric over queries and seeds,

    m(X, joint) - m(P, d alone) = [m(P, joint) - m(P, d alone)]      joining
                                + [m(P', joint) - m(P, joint)]       trunk: P' is plain, on the trunk of X
                                + [m(S, joint) - m(P', joint)]       S: filters generated from the picture
                                + [m(X, joint) - m(S, joint)]        D + C: and from its domain and camera

A network that no run has is left out, and the parts on its two sides become one. Unless it is named, P is the plain
network that was trained both ways and is most like X.
"""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from jointreid.analysis.arms import Arm, letters_of
from jointreid.analysis.evaluated_run import EvaluatedRun
from jointreid.analysis.gain_values import (
    JOINING,
    OVER_PLAIN,
    SETTINGS,
    TRUNK,
    ArmAccuracy,
    ArmDifference,
    GainMetric,
    GainSplit,
    JointGain,
    Training,
)
from jointreid.analysis.missing_runs import missing_runs
from jointreid.analysis.reported import run_key
from jointreid.analysis.resampling import Estimate, QueryMetrics, difference, resampled_difference
from jointreid.retrieval.results import QueryResult


def joint_gain(arms: Sequence[Arm], names: Sequence[str], metric: GainMetric, plain: Arm | None = None) -> JointGain:
    """Return everything about joint training on some data sets.

    Args:
        arms: all arms; those without a run on these data sets or on one of them are left out.
        names: the data sets; with one there is no joint training.
        metric: mAP or rank1.
        plain: the plain network that gains start from; None for one that suits each arm.
    """
    return _JointGainBuilder(arms, names, metric, plain).build()


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
            self.known[key] = query_metrics(tested, name, self.metric) if tested else None
        return self.known[key]

    def _plain_of(self, arm: Arm) -> Arm | None:
        """Return the plain network that an arm's gain starts from."""
        if self.chosen:
            return self.chosen

        def fits(plain: Arm) -> tuple[bool, bool, int, bool, int]:
            # One that was trained both ways tells the gain of joining.
            trained = sum(self._is_trained(plain, kind) for kind in _KINDS)
            alike = plain.trunk == arm.trunk, -len(arm.differs(plain))
            return plain.system == arm.host, plain.is_random == arm.is_random, trained, *alike

        return max((known for known in self.arms if known.is_plain), key=fits, default=None)

    def _is_trained(self, arm: Arm, training: Training) -> bool:
        return any(self._metrics(arm, training, name) for name in self.names)

    def _accuracy(self, key: str, arm: Arm) -> ArmAccuracy:
        found = {kind: {name: self._metrics(arm, kind, name) for name in self.names} for kind in _KINDS}
        alone, joint = (
            {name: metrics for name, metrics in found[kind].items() if metrics is not None} for kind in _KINDS
        )
        over, plain = None, self.chosen or self._same_trunk(arm) or self._plain_of(arm)
        if plain is not None and not arm.is_plain:
            over = self._change(OVER_PLAIN, (plain, "joint"), (arm, "joint"), self.names)
        counted = {run.path for names in ([n] for n in self.names) for run in arm.trained_on(names).values()}
        counted |= {run.path for run in arm.trained_on(self.names).values()}
        return ArmAccuracy(
            key,
            arm.label,
            arm.start,
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
    ) -> ArmDifference:
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
        return ArmDifference(name, before[0].label, before[1], after[0].label, after[1], settings, found, mean)

    def _splits(self) -> Iterator[GainSplit]:
        generated = [arm for arm in self.arms if arm.factors and self._is_trained(arm, "joint")]
        whole = [arm for arm in generated if arm.factors != ("sample",)]
        samples = {id(found) for arm in whole if (found := self._sample_arm(arm))}
        for arm in (*whole, *(arm for arm in generated if arm.factors == ("sample",) and id(arm) not in samples)):
            split = self._split(arm)
            if split.changes:  # none where no run is of another network or another training
                yield split

    def _split(self, arm: Arm) -> GainSplit:
        first, same_trunk = self._plain_of(arm), self._same_trunk(arm)
        # Two plain networks on one trunk differ in other settings, such as the learning rate.
        is_other_trunk = first is None or same_trunk is None or first.trunk != same_trunk.trunk
        path: list[tuple[str, Arm | None]] = [(TRUNK if is_other_trunk else SETTINGS, same_trunk)]
        if "sample" in arm.factors:
            path.append(("S", self._sample_arm(arm)))
        if others := [factor for factor in arm.factors if factor != "sample"]:
            path.append((letters_of(others), arm))
        first = first or next(node for _, node in path if node is not None)
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

    def _same_trunk(self, arm: Arm) -> Arm | None:
        """Return the plain network in joint training that an arm's filters are put into; None without one."""
        if self.chosen and (self.chosen.system, self.chosen.trunk) == (arm.host, arm.trunk):
            return self.chosen
        plain = [a for a in self._in_joint() if a.is_plain and a.is_random == arm.is_random]
        return _nearest(arm, [a for a in plain if (a.system, a.trunk) == (arm.host, arm.trunk)])

    def _in_joint(self) -> list[Arm]:
        return [arm for arm in self.arms if self._is_trained(arm, "joint")]

    def _sample_arm(self, arm: Arm) -> Arm | None:
        """Return the arm that generates the same filters from the sample alone; None for one that generates none."""
        if "sample" not in arm.factors:
            return None
        if len(arm.factors) == 1:
            return arm
        return _nearest(arm, [other for other in self._in_joint() if other.is_sample_of(arm)])


_KINDS: tuple[Training, Training] = ("alone", "joint")


def _nearest(arm: Arm, others: Sequence[Arm]) -> Arm | None:
    """Return the arm that differs in the fewest settings, the first of several."""
    return min(others, key=lambda other: len(arm.differs(other)), default=None)


def query_metrics(
    runs: Mapping[int, EvaluatedRun], name: str, metric: GainMetric, paths: Sequence[str] | None = None
) -> QueryMetrics:
    """Return the metric of each query of a data set, for each run.

    Args:
        runs: seed -> run; all have the same valid queries, or at least those of `paths`.
        name: the data set.
        metric: mAP or rank1.
        paths: images of the queries; None for all valid ones, sorted.
    """
    first = next(iter(runs.values())).valid_queries[name]
    chosen = sorted(first) if paths is None else paths
    _, people = np.unique([first[path].pid for path in chosen], return_inverse=True)
    values = [[_value(run.valid_queries[name][path], metric) for path in chosen] for run in runs.values()]
    return QueryMetrics(tuple(runs), np.array(values, float), people)


def _value(query: QueryResult, metric: GainMetric) -> float:
    assert query.average_precision is not None  # it is valid
    return query.average_precision if metric == "mAP" else float(query.first_match_rank == 1)
