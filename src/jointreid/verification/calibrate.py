"""Calibrate a run: its held-out people -> features -> thresholds, kept in the run directory."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from jointreid.config import DataConfig
from jointreid.extraction.embedder import Embedder
from jointreid.machine.paths import require_writable
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.evaluate import embed, origins_of
from jointreid.retrieval.run_data import load_evaluation_data
from jointreid.run import open_run, step_in
from jointreid.verification.calibrated_thresholds import (
    DomainSearches,
    PairKind,
    PairThreshold,
    VerdictShares,
    bounds_between,
)
from jointreid.verification.calibration import Calibration
from jointreid.verification.halves import Half, across_domains, counts_of, halves_of
from jointreid.verification.pairs import People, count_at_least, positives_of
from jointreid.verification.searches import largest_gallery, method_for, search_thresholds, sizes_for
from jointreid.verification.thresholds import (
    LEAST_ERRORS,
    match_threshold,
    non_match_threshold,
    smallest_rate,
)

# Called with (domain, images done, images in all) after each batch.
OnBatch = Callable[[str, int, int], None]


@dataclass(frozen=True)
class CalibrationRequest:
    """What to calibrate for.

    Attributes:
        fmr: share of the pairs of two people that may be taken for one, above 0 and below 1.
        fnmr: share of the pairs of one person that may be called different, above 0 and below 1.
        fpir: share of the searches for somebody unknown that may find anybody, above 0 and below 1.
        gallery_people: sizes of galleries, in people, that searches must have a threshold for, beside the usual ones.
        domains: only these data sets; all if empty.
        images: of each half of a data set, at most.
        seed: of the split into halves, of the choice of images, and of the resamples.

    Raises:
        JointreidError: a number is out of range.
    """

    fmr: float = 0.001
    fnmr: float = 0.1
    fpir: float = 0.1
    gallery_people: tuple[int, ...] = ()
    domains: tuple[str, ...] = ()
    images: int = 4_000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("fmr", "fnmr", "fpir"):
            if not 0 < getattr(self, name) < 1:
                raise JointreidError(f"{name} is {getattr(self, name)}; expected a rate above 0 and below 1")
        if self.images < 4 or min(self.gallery_people, default=1) < 1 or self.seed < 0:
            raise JointreidError(
                "expected 4 images or more, gallery sizes of 1 person or more, and a seed of 0 or more"
            )


def calibrate_run(
    path: str | Path,
    request: CalibrationRequest,
    data: DataConfig | None = None,
    checkpoint: str = "last",
    *,
    flip: bool = False,
    device: str = "auto",
    cache: str = "",
    skip_unreadable: bool = False,
    on_batch: OnBatch | None = None,
) -> Calibration:
    """Choose thresholds on half of the held-out people, check them on the other half, and save them with the run.

    Args:
        path: the run directory.
        request: the rates.
        data: data sets with people the run has never seen; if it names none, the test people of the run's own.
        checkpoint: last or best.
        flip: average features with those of the mirrored images, even if the run's settings do not.
        device: auto, cpu, cuda or mps.
        cache: folder for decoded images; empty for that of the run.
        skip_unreadable: leave out unreadable images, even if the run's settings do not.
        on_batch: called with (domain, images done, images in all) after each batch.

    Raises:
        JointreidError: not a run; data that cannot be read or that the run was trained on; too few pairs for a rate.
    """
    run = open_run(path)
    require_writable(run.path, "")
    model, state = run.loaded(checkpoint)
    flipped = run.config.replace(eval={"flip": flip or run.config.eval.flip})
    embedder = Embedder.of(model, flipped, run.label_space, device)
    found = load_evaluation_data(run, data, skip_unreadable=skip_unreadable, cache=cache)
    names = [domain.name for domain in found.domains]
    if strange := [name for name in request.domains if name not in names]:
        raise JointreidError(f"no data set is called {strange[0]}; those with test people are {', '.join(names)}")
    trained = {domain.name: domain.pids for domain in run.label_space.domains}
    chosen = [domain for domain in found.domains if not request.domains or domain.name in request.domains]
    halves = [halves_of(domain, trained.get(domain.name, ()), request.images, request.seed) for domain in chosen]
    require_enough([half for half, _ in halves], request)
    config = found.config.replace(eval={"flip": embedder.evaluation.flip})
    embedded = []
    for first, second in halves:
        records = (*first.records, *second.records)
        origins = origins_of(embedder.model, records, first.domain, run.label_space)
        features = embed(embedder.model, records, config, embedder.device, first.domain, on_batch, origins).features
        one, other = np.split(features, [len(first.records)])
        embedded.append((first.with_features(one), second.with_features(other)))
    pairs, searches, notes = thresholds_of(embedded, request)
    calibration = Calibration(
        checkpoint=checkpoint,
        step=step_in(state),
        flip=embedder.evaluation.flip,
        fingerprint=embedder.fingerprint,
        fmr=request.fmr,
        fnmr=request.fnmr,
        fpir=request.fpir,
        seed=request.seed,
        pairs=pairs,
        searches=searches,
        notes=notes,
    )
    calibration.save(run.path)
    return calibration


def require_enough(halves: Sequence[Half], request: CalibrationRequest) -> None:
    """Refuse a rate that the pairs of a data set are too few for, and a size of gallery.

    Raises:
        JointreidError: names each data set with the smallest rate that it allows.
    """
    least = {half.domain: smallest_rate(half.people.num_negatives) for half in halves}
    counts = {half.domain: half.people.num_negatives for half in halves}
    if too_few := [name for name, rate in least.items() if request.fmr < rate]:
        every = "; ".join(f"{name}: {counts[name]:,} pairs, {round_up(rate):g}" for name, rate in least.items())
        without = ", or leave data sets out with --domain" if len(too_few) < len(least) else ""
        raise JointreidError(
            f"a false-match rate of {request.fmr:g} takes {LEAST_ERRORS / request.fmr:,.0f} pairs of two people or "
            f"more (an estimate takes {LEAST_ERRORS} errors), and there are fewer of {', '.join(too_few)}. The "
            f"smallest rate that each allows is {every}. Take a rate of {round_up(max(least.values())):g} or more, or "
            f"give more people with --data{without}"
        )
    for size in request.gallery_people:
        lacking = [half for half in halves if method_for(half.people, request.fpir, size) is None]
        if lacking:
            most = "; ".join(f"{h.domain}: {largest_gallery(h.people, request.fpir):,} people" for h in lacking)
            raise JointreidError(
                f"a false-alarm rate of {request.fpir:g} a search in galleries of {size:,} people takes more held-out "
                f"people than there are. The largest galleries at this rate are {most}. Take a higher --fpir, a "
                "smaller gallery, or give more people with --data"
            )


def round_up(rate: float) -> float:
    """Return a rate rounded up to two digits, so that it is still allowed."""
    if not 0 < rate < 1:
        return rate
    digits = 10.0 ** np.floor(np.log10(rate) - 1)
    return float(f"{np.ceil(round(rate / digits, 9)) * digits:.2g}")


def thresholds_of(
    halves: Sequence[tuple[Half, Half]], request: CalibrationRequest
) -> tuple[tuple[PairThreshold, ...], tuple[DomainSearches, ...], tuple[str, ...]]:
    """Return the thresholds of pairs and of searches, and notes on what the data do not allow."""
    pairs: list[PairThreshold] = []
    searches: list[DomainSearches] = []
    notes: list[str] = []
    for one, other in halves:
        pairs.append(_pairs(one.domain, "any", one.people, other.people, request))
        if request.fmr >= smallest_rate(one.across.num_negatives) and other.across.num_negatives:
            pairs.append(_pairs(one.domain, "across cameras", one.across, other.across, request))
        else:
            notes.append(
                f"{one.domain}: no threshold for pairs of two cameras, of which there are "
                f"{one.across.num_negatives:,}; that of all pairs serves instead"
            )
        searches.append(_searches(one, other, request))
    if len(halves) > 1:
        first, second = (across_domains(of, request.images) for of in zip(*halves, strict=True))
        pairs.append(_pairs("", "across domains", first, second, request))
    notes += [
        f"{entry.name}: {entry.calibrated.positives:,} pairs of one person are too few for a false non-match rate of "
        f"{request.fnmr:g} ({LEAST_ERRORS / request.fnmr:,.0f} are needed), so the interval alone decides"
        for entry in pairs
        if entry.different is None and entry.pairs != "across domains"
    ]
    return tuple(pairs), tuple(searches), (*notes, *(f"{of.domain}: {of.note}" for of in searches if of.note))


def _pairs(domain: str, kind: PairKind, one: People, other: People, request: CalibrationRequest) -> PairThreshold:
    same = match_threshold(one, request.fmr, seed=request.seed)
    different = non_match_threshold(one, request.fnmr, seed=request.seed)
    upper, lower = bounds_between(same, different)
    negatives, (matching, _) = max(1, other.num_negatives), positives_of(other)
    two = one_person = None
    if kind != "across domains":  # by itself that threshold calls nothing different
        above = [count_at_least(other, bound) / negatives for bound in (upper, lower)]
        two = VerdictShares(above[0], 1 - above[1])
    if len(matching):
        one_person = VerdictShares(float((matching >= upper).mean()), float((matching < lower).mean()))
    return PairThreshold(
        domain=domain,
        pairs=kind,
        same=same,
        different=different,
        calibrated=counts_of(one),
        checked=counts_of(other),
        realised=count_at_least(other, same.value) / negatives,
        realised_non_match=float((matching < same.value).mean()) if len(matching) else None,
        of_two_people=two,
        of_one_person=one_person,
    )


def _searches(one: Half, other: Half, request: CalibrationRequest) -> DomainSearches:
    sizes = sorted({*sizes_for(one.people, request.fpir), *request.gallery_people})
    found = search_thresholds(one.people, other.people, request.fpir, sizes, seed=request.seed)
    assert all(a.threshold.value <= b.threshold.value for a, b in pairwise(found))
    note = "" if found else f"no threshold for searches: too few people for a false-alarm rate of {request.fpir:g}"
    return DomainSearches(one.domain, counts_of(one.people), tuple(found), note)
