"""The gain of joint training over whichever runs are found: each data set alone against all of them jointly.

`joint_gain` says how a gain is split. Nothing here needs torch.
"""

from collections.abc import Sequence
from pathlib import Path

from jointreid.analysis.arms import Arm, sort_into_arms
from jointreid.analysis.evaluated_run import EvaluatedRun
from jointreid.analysis.found_runs import find_runs
from jointreid.analysis.gain_values import Gain, GainMetric
from jointreid.analysis.joint_gain import joint_gain
from jointreid.machine.paths import user_path
from jointreid.messages.errors import JointreidError


def compute_gain(paths: Sequence[str | Path], *, metric: GainMetric = "mAP", plain: str | Path = "") -> Gain:
    """Compare solo with joint training over the runs that are found.

    Args:
        paths: run directories, and folders that hold some at any depth.
        metric: mAP or rank1.
        plain: a run of the plain network that gains start from; by default one of the same system (bot or agw), of the
            same kind of initial weights (random or not), trained both ways, on the same trunk and with as many equal
            settings as possible, in this order.

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
        tuple(joint_gain(arms, [n for n in order if n in names], metric, chosen) for names in sets),
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
