"""`jointreid predict`: domain and camera of any images, an alarm for images of no known domain, and wrong camera ids.

Letters: N images, D domains, C cameras.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointreid.conflict.alarm import DriftAlarm, KnownImages, fit_alarm
from jointreid.conflict.context import true_classes
from jointreid.conflict.layers import LayerFeatures, collect_layers
from jointreid.conflict.material import OnProgress, StudiedRun
from jointreid.conflict.origin import OriginReader, fit_reader
from jointreid.conflict.repair import CameraSuggestion, suggest_cameras
from jointreid.conflict.study import test_domains
from jointreid.data.label_space import LabelSpace
from jointreid.data.records import ImageRecord
from jointreid.data.table_row import camera_name
from jointreid.extraction.image_table import ImageTable
from jointreid.machine.paths import is_uri
from jointreid.messages.errors import JointreidError
from jointreid.models.reid import ReIDModel

Matrix = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PredictedOrigins:
    """What is predicted of N images.

    Attributes:
        table: the images, with what it states of them.
        labels: of the run.
        domain: [N, D], the probability of each domain.
        camera: [N, C], the probability of each camera class.
        how: the sources of both, in words.
        scores: [N], distance to the nearest images of the run; 1 is usual between people of one domain.
        alarms: [N], images unlike those of every domain of the run.
        alarm: that judged them.
        expected_alarms: the rate of alarms to expect of images like the run's own.
        suggestions: for stated cameras.
        compared: images whose stated camera could be compared.
        named: domains that were not compared, since the table gives names of their cameras.
        false_suggestions: (test images of the run, share of them for which another camera would be suggested).
        margin: from which on a camera is suggested.
    """

    table: ImageTable
    labels: LabelSpace
    domain: Matrix
    camera: Matrix
    how: tuple[str, str]
    scores: Matrix
    alarms: NDArray[np.bool_]
    alarm: DriftAlarm
    expected_alarms: float
    suggestions: tuple[CameraSuggestion, ...]
    compared: int
    named: tuple[str, ...]
    false_suggestions: tuple[int, float]
    margin: float

    @property
    def drift_p(self) -> float:
        """The probability of at least as many alarms if the images were like the run's own: below 0.01 is drift.

        Images of one person or one moment depend on each other, so it is smaller than it should be.
        """
        from scipy.stats import binomtest

        count = int(self.alarms.sum())
        return float(binomtest(count, len(self.alarms), self.expected_alarms, alternative="greater").pvalue)


def predict_origins(
    studied: StudiedRun,
    table: ImageTable,
    *,
    false_alarms: float = 0.05,
    margin: float = 0.5,
    domain: str = "",
    on_progress: OnProgress | None = None,
) -> PredictedOrigins:
    """Predict where images come from.

    Args:
        studied: the run, with images of its own.
        table: the images; the columns `domain` and `camid`, if there, state what the run is compared with.
        false_alarms: the rate of false alarms that thresholds are set for, in (0, 1).
        margin: difference of probabilities from which on another camera is suggested, in [0, 1].
        domain: states the domain of images of which the table states none.
        on_progress: called with (what, images done, images in all).

    Raises:
        JointreidError: a rate or margin out of range, an unknown domain, an image in an object store or unreadable.
    """
    labels = studied.run.label_space
    if not 0 < false_alarms < 1:
        raise JointreidError(f"false_alarms is {false_alarms}; expected a share between 0 and 1, such as 0.05")
    if not 0 <= margin <= 1:
        raise JointreidError(f"camera_margin is {margin}; expected a difference of probabilities in [0, 1]")
    if domain:
        labels.domain_id(domain)  # refuses an unknown one
    records, model = _records(table), studied.run.model().to(studied.device)
    given = collect_layers(studied, model, records, "images", on_progress, told=False)
    train, test = _own_layers(studied, model, on_progress)
    samples = studied.train_samples
    people = [f"{sample.domain_id} {sample.record.pid}" for sample in samples]
    readers = [
        fit_reader(factor, train, [getattr(s, name) for s in samples], people, classes, studied.seed)
        for factor, name, classes in (
            ("domain", "domain_id", labels.num_domains),
            ("camera", "global_camid", labels.num_cameras),
        )
    ]
    alarm = _alarm(studied, train, test, false_alarms)
    scores, alarms, nearest = alarm.judge(given.layers)
    camera = readers[1].posterior(given)
    domains, camids, named = _stated(table, domain)
    suggestions, compared = suggest_cameras(camera, domains, camids, labels, margin)
    return PredictedOrigins(
        table,
        labels,
        readers[0].posterior(given),
        camera,
        (readers[0].how, readers[1].how),
        scores,
        alarms,
        alarm,
        alarm.expected_rate(nearest),
        tuple(suggestions),
        len(compared),
        named,
        _false_suggestions(studied, test, readers[1], margin),
        margin,
    )


def _records(table: ImageTable) -> list[ImageRecord]:
    if away := next((file for file in table.files if is_uri(file)), None):
        raise JointreidError(f"{away}: lies in an object store; predict reads local files, so copy the images first")
    return [ImageRecord(Path(file), "unknown", 0, box) for file, box in zip(table.files, table.boxes, strict=True)]


def _own_layers(
    studied: StudiedRun, model: ReIDModel, on_progress: OnProgress | None
) -> tuple[LayerFeatures, LayerFeatures | None]:
    """Return the features of train and test images of the run, like those of any others: not told where from."""
    train = [sample.record for sample in studied.train_samples]
    found = collect_layers(studied, model, train, "train images of the run", on_progress, told=False)
    if not studied.test_records:
        return found, None
    test = collect_layers(studied, model, studied.test_records, "test images of the run", on_progress, told=False)
    return found, test


def _alarm(studied: StudiedRun, train: LayerFeatures, test: LayerFeatures | None, rate: float) -> DriftAlarm:
    """Return the alarm; a domain without test images lends half of its train people to set the thresholds."""
    samples = studied.train_samples
    own = np.array([sample.domain_id for sample in samples])
    people = np.array([sample.label for sample in samples])
    reference = KnownImages(train.layers, own, people)
    domains = np.array(true_classes(studied, domain=True), dtype=np.int64)
    without = ~np.isin(own, domains)
    lent = without & np.isin(people, _every_second(own, people))
    parts = [reference.subset(lent)] if lent.any() else []
    if test is not None:
        keys = [f"{name} {r.pid}" for name, r in zip(test_domains(studied), studied.test_records, strict=True)]
        numbers = np.unique(keys, return_inverse=True)[1] + studied.run.label_space.num_ids
        parts.append(KnownImages(test.layers, domains, numbers))
    known = KnownImages(
        {layer: np.concatenate([part.layers[layer] for part in parts]) for layer in train.layers},
        np.concatenate([part.domains for part in parts]),
        np.concatenate([part.people for part in parts]),
    )
    return fit_alarm(reference.subset(~lent), known, rate, studied.seed)


def _every_second(domains: Codes, people: Codes) -> list[int]:
    """Return every second person of each domain."""
    return [person for domain in np.unique(domains) for person in np.unique(people[domains == domain])[1::2].tolist()]


def _stated(table: ImageTable, domain: str) -> tuple[list[str | None], list[int | None], tuple[str, ...]]:
    """Return the stated domain and camera of each image, None where it is not stated, and the domains of named cameras.

    Training numbers the cameras of a domain anew if one of them has a name, and a run keeps the numbers alone: such
    cameras count as not stated.
    """
    domains = [name or domain or None for name in table.values("domain") or [None] * len(table)]
    camids = table.values("camid") or [None] * len(table)
    names = [None if camid is None else camera_name(str(camid)) for camid in camids]
    named = {own for own, name in zip(domains, names, strict=True) if name and not name.isdecimal()}
    numbers = [int(name) if name and own not in named else None for own, name in zip(domains, names, strict=True)]
    return domains, numbers, tuple(sorted(own for own in named if own))


def _false_suggestions(
    studied: StudiedRun, test: LayerFeatures | None, reader: OriginReader, margin: float
) -> tuple[int, float]:
    if test is None:
        return 0, float("nan")
    stated: Sequence[Any] = [record.camid for record in studied.test_records]
    found, compared = suggest_cameras(
        reader.posterior(test), test_domains(studied), stated, studied.run.label_space, margin
    )
    return len(compared), len(found) / len(compared) if compared else float("nan")
