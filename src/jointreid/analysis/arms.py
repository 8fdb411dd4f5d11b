"""Finished runs sorted into arms: an arm is one network under one way of training, with any data and any seed.

Two runs belong to one arm if they differ in their data, seed, length and place alone, so an arm can hold a network
trained on each data set alone and on all of them jointly, each with several seeds. What settings say of a data set that
one of the runs was not trained on makes no difference. Nothing here needs torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any, get_args

from jointreid.analysis.evaluated_run import EvaluatedRun
from jointreid.config import BY_DOMAIN, Factor, TrunkName, keep_domains, to_dict

# Settings that do not make another arm: where things lie, what is printed or saved, how a run is evaluated. The initial
# weights are told by the results. The schedule may differ, since data sets of different sizes need different lengths.
_APART = {
    "data.sources", "data.cache", "data.cache_mode", "data.skip_unreadable", "data.acknowledge_withdrawn",
    "data.missing_camid", "model.pretrain", "model.pretrain_file",
}  # fmt: skip
_OF_TRAINING = {"train.accumulate", "train.ema", "train.batch", "train.gather", "train.sync_bn"}
_OF_GENERATED = {
    "loss.w_domain", "loss.w_camera", "loss.aux_smoothing", "loss.context_labels", "optim.generator_lr",
}  # fmt: skip
_LENGTH = {"train.max_steps", "train.minutes"}
_LETTERS: Mapping[str, str] = {"sample": "S", "domain": "D", "camera": "C"}
# The settings that a label spells out in words.
_IN_WORDS = {"model.name", "model.trunk", "dcsd.factors", "dcsd.base", "dcsd.context", "dcsd.inject"}


@dataclass(frozen=True)
class Arm:
    """Runs of one network, trained in one way.

    Attributes:
        label: what tells it from the other arms, in words.
        settings: `section.field` -> value, of the settings that define it.
        start: the weights that training started from; none for random ones.
        runs: its runs, for each training set and seed one.
    """

    label: str
    settings: Mapping[str, Any]
    start: str
    runs: tuple[EvaluatedRun, ...]

    @property
    def system(self) -> str:
        """The network's name, such as `bot-dcsd`."""
        return str(self.settings["model.name"])

    @property
    def trunk(self) -> str:
        """The trunk's name, such as `resnet50`."""
        return str(self.settings["model.trunk"])

    @property
    def is_plain(self) -> bool:
        """True if no filter is generated and no style is normalised: the network that joint training is hard for."""
        return self.system in ("bot", "agw")

    @property
    def is_random(self) -> bool:
        """True if training started from random weights."""
        return self.start == "none"

    @property
    def host(self) -> str:
        """The plain system that it extends: `bot` of `bot-dcsd`, `bot-dn` and so on."""
        return self.system.partition("-")[0]

    @property
    def factors(self) -> tuple[Factor, ...]:
        """What its filters depend on, in the order sample, domain, camera; empty if none does.

        The controls of `dcsd.inject` generate none from the sample.
        """
        chosen = set(self.settings.get("dcsd.factors", ()))
        chosen -= {"sample"} if self.inject != "kernel" else set()
        return tuple(factor for factor in get_args(Factor) if factor in chosen)

    @property
    def inject(self) -> str:
        """What a context changes in each block: `kernel`, or one of the controls."""
        return str(self.settings.get("dcsd.inject", "kernel"))

    @property
    def base(self) -> str:
        """The kernel beside the generated ones: none or static; empty if none is generated."""
        return str(self.settings.get("dcsd.base", ""))

    @property
    def network(self) -> str:
        """Its system and how its filters are generated, in words, such as `bot-dcsd, S + D + C, static base`."""
        words = [self.system, self.letters] if self.factors else [self.system]
        words += ["static base"] if self.base == "static" else []
        words += [self.inject] if self.inject != "kernel" else []
        context = self.settings.get("dcsd.context", "block")
        return ", ".join(
            [*words, *([f"context {context}"] if context != "block" and self.factors != ("sample",) else [])]
        )

    @property
    def letters(self) -> str:
        """Its factors as the paper writes them, such as `S + D + C`."""
        return letters_of(self.factors)

    def is_sample_of(self, other: "Arm") -> bool:
        """Return whether it generates the filters of another arm from the sample alone."""
        mine, theirs = ((arm.system, arm.trunk, arm.base, arm.is_random) for arm in (self, other))
        return self.letters == "S" and mine == theirs

    def trained_on(self, domains: Iterable[str]) -> dict[int, EvaluatedRun]:
        """Return its runs on exactly these data sets, by seed, in the order of the seeds."""
        wanted = set(domains)
        found = [run for run in self.runs if set(run.trained_on) == wanted]
        return {run.seed: run for run in sorted(found, key=lambda run: run.seed)}

    def differs(self, other: "Arm") -> dict[str, tuple[Any, Any]]:
        """Return what differs between two arms, as (here, in the other): settings, and `start`."""
        keys = [*self.settings, *(key for key in other.settings if key not in self.settings)]
        mine, theirs = {"start": self.start, **self.settings}, {"start": other.start, **other.settings}
        pairs = {key: (mine.get(key), theirs.get(key)) for key in ("start", *keys)}
        return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def letters_of(factors: Iterable[Factor]) -> str:
    """Return factors as the paper writes them.

    >>> letters_of(("domain", "camera"))
    'D + C'
    """
    return " + ".join(_LETTERS[factor] for factor in factors)


def sort_into_arms(runs: Sequence[EvaluatedRun]) -> tuple[tuple[Arm, ...], tuple[str, ...]]:
    """Sort runs into arms.

    Args:
        runs: the runs; where two have the same settings, data and seed, the one that was trained longer is taken.

    Returns:
        The arms, plain networks first, then by trunk and by what their filters are generated from; and remarks on runs
        that were left out.
    """
    arms, remarks = [], []
    for members in _groups(runs, length=False):
        length = _collide(members)
        for same in _groups(members, length=length):
            kept, left_out = _longest(same)
            remarks += left_out
            widest = max(kept, key=lambda run: len(run.trained_on))
            settings = _defining(widest, length=length) | _of_each(widest)
            arms.append(Arm("", settings, widest.results.pretraining, tuple(kept)))
    arms.sort(key=_order)
    return tuple(_labelled(arms)), tuple(remarks)


def _groups(runs: Sequence[EvaluatedRun], *, length: bool) -> list[list[EvaluatedRun]]:
    """Return runs in groups of equal defining settings and initial weights, runs on more data sets first."""
    groups: list[tuple[Any, list[EvaluatedRun]]] = []
    for run in sorted(runs, key=lambda run: -len(run.trained_on)):
        key = _defining(run, length=length), run.results.pretraining
        fitting = [own for known, own in groups if known == key and all(_agree(run, other) for other in own)]
        # Of several that a run on one data set fits, the one with most settings as its own.
        same = max(fitting, key=lambda own: _of_each(own[0]) == _of_each(run), default=None)
        if same is None:
            groups.append((key, same := []))
        same.append(run)
    return [members for _, members in groups]


def _of_each(run: EvaluatedRun) -> dict[str, Any]:
    """Return the settings that name single data sets."""
    plain = to_dict(run.config)
    return {key: plain[key.partition(".")[0]][key.partition(".")[2]] for key in BY_DOMAIN}


def _agree(a: EvaluatedRun, b: EvaluatedRun) -> bool:
    """Return whether the settings of two runs say the same of every data set that both were trained on.

    Weights and common places tell nothing where a single data set was trained on.
    """
    shared = {*a.trained_on} & {*b.trained_on}
    mine, theirs = (keep_domains(run.config, shared.__contains__) for run in (a, b))
    if {*mine.data.leave_out_cameras} != {*theirs.data.leave_out_cameras}:
        return False
    if min(len(a.trained_on), len(b.trained_on)) == 1:
        return True
    pairs = ((mine.data.places, theirs.data.places), (mine.sampler.domain_weights, theirs.sampler.domain_weights))
    return all({*one} == {*other} for one, other in pairs)


def _defining(run: EvaluatedRun, *, length: bool) -> dict[str, Any]:
    """Return the settings that define a run's arm, with `length` those that say how long it was trained too."""
    plain = to_dict(run.config)
    values = {f"{section}.{name}": value for section, fields in plain.items() for name, value in fields.items()}
    is_generated = run.config.model.name.endswith("-dcsd")

    def defines(key: str) -> bool:
        section = key.partition(".")[0]
        if section == "dcsd" or key in _OF_GENERATED:
            return is_generated
        if section == "schedule" or key in _LENGTH:
            return length
        return key in _OF_TRAINING if section == "train" else section != "eval" and key not in (*_APART, *BY_DOMAIN)

    return {key: value for key, value in values.items() if defines(key)}


def _collide(runs: Sequence[EvaluatedRun]) -> bool:
    """Return whether two of the runs have the same data and seed."""
    keys = {(frozenset(run.trained_on), run.seed) for run in runs}
    return len(keys) < len(runs)


def _longest(runs: Sequence[EvaluatedRun]) -> tuple[list[EvaluatedRun], list[str]]:
    """Return one run of each training set and seed, and remarks on the others."""
    kept: dict[tuple[frozenset[str], int], EvaluatedRun] = {}
    remarks = []
    for run in runs:
        key = frozenset(run.trained_on), run.seed
        other = kept.get(key)
        if other is None or (run.step or 0) > (other.step or 0):
            kept[key] = run
        if other is not None:
            taken, left = (run, other) if kept[key] is run else (other, run)
            remarks.append(
                f"left out {left.path}: {taken.path} has the same settings, data and seed ({taken.seed}), and was "
                f"trained for {'more' if (taken.step or 0) > (left.step or 0) else 'as many'} steps"
            )
    return list(kept.values()), remarks


def _order(arm: Arm) -> tuple[Any, ...]:
    known = get_args(TrunkName)
    trunk = known.index(arm.trunk) if arm.trunk in known else len(known)
    return not arm.is_plain, arm.system, trunk, arm.trunk, len(arm.factors), arm.factors


def _labelled(arms: Sequence[Arm]) -> list[Arm]:
    """Return the arms with labels: the network, and the settings that differ between arms of the same label."""
    words = [[arm.network] for arm in arms]
    if len({arm.trunk for arm in arms}) > 1:
        words = [[*said, arm.trunk] for said, arm in zip(words, arms, strict=True)]
    if len({arm.is_random for arm in arms}) > 1 or len({(arm.system, arm.start) for arm in arms}) > len(
        {arm.system for arm in arms}
    ):
        words = [[*said, f"from {start_in_words(arm.start)}"] for said, arm in zip(words, arms, strict=True)]
    labels: list[str] = []
    for arm, said in zip(arms, words, strict=True):
        alike = [other for other, others in zip(arms, words, strict=True) if others == said]
        keys = dict.fromkeys(key for other in alike for key in arm.differs(other) if key not in _IN_WORDS)
        more = [f"{key} {_plain(arm.settings[key])}" for key in keys if key in arm.settings]
        label = ", ".join([*said, *more])
        same = sum(other.partition(" (")[0] == label for other in labels)
        labels.append(f"{label} ({same + 1})" if same else label)
    return [replace(arm, label=label) for arm, label in zip(arms, labels, strict=True)]


def start_in_words(start: str) -> str:
    """Return what training started from, briefly.

    >>> start_in_words("none"), start_in_words("/runs/bot.safetensors")
    ('random weights', 'bot.safetensors')
    """
    if start == "none":
        return "random weights"
    brief = start.partition(", sha256")[0]
    return PurePath(brief).name if PurePath(brief).is_absolute() else brief


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value).lower()
