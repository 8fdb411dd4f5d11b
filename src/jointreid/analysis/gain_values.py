"""What a comparison of training on each data set alone with joint training found, as records."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from jointreid.analysis.resampling import Estimate

GainMetric = Literal["mAP", "rank1"]
Training = Literal["alone", "joint"]

JOINING, TRUNK, SETTINGS, OVER_PLAIN = "joining", "trunk", "settings", "over plain"


@dataclass(frozen=True)
class ArmDifference:
    """The difference between two trainings, for each data set.

    Attributes:
        name: what causes it: joining, trunk, settings, S, D + C, or several of these that could not be told apart.
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
        start: the name of the weights that its training started from; none for random ones.
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
    start: str
    runs: int
    alone: Mapping[str, float]
    joint: Mapping[str, float]
    alone_seeds: Mapping[str, tuple[int, ...]]
    joint_seeds: Mapping[str, tuple[int, ...]]
    joining: ArmDifference
    over_plain: ArmDifference | None

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
    changes: tuple[ArmDifference, ...]
    total: ArmDifference


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
