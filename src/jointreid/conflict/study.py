"""All that is found out about the conflict between the domains of one run."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jointreid.analysis.curves import Point
from jointreid.conflict.candidates import Candidates, find_candidates
from jointreid.conflict.context import ContextUse, study_context
from jointreid.conflict.domain_losses import domain_losses
from jointreid.conflict.gradients import GradientConflict, study_gradients
from jointreid.conflict.kernels import GeneratedKernel, study_kernels
from jointreid.conflict.layers import LayerFeatures, collect_layers
from jointreid.conflict.material import OnProgress, StudiedRun
from jointreid.conflict.neighbours import CameraPairs, CrossDomain, camera_pairs, cross_domain
from jointreid.conflict.probe import ProbeResult, probe
from jointreid.data.records import ImageRecord
from jointreid.models.reid import ReIDModel
from jointreid.run import step_in

# Pairs and candidates that are kept.
SHOWN = 8


@dataclass(frozen=True)
class LayerProbe:
    """What simple classifiers read from the features of one layer.

    Attributes:
        layer: its name.
        domain: telling domains apart; None with a single domain.
        camera: telling the cameras of one domain apart, the mean over domains; None where none has two.
    """

    layer: str
    domain: ProbeResult | None
    camera: ProbeResult | None


@dataclass(frozen=True)
class ConflictStudy:
    """The conflict between the domains of a run; all figures are of the checkpoint `last`.

    Attributes:
        run: the run directory.
        system: the network, such as `bot-dcsd, resnet50`.
        step: steps it was trained for; None if it does not tell.
        images: domain -> chosen train and test images.
        gradients: None with a single domain.
        losses: domain -> (step, identity loss); none where they were not logged.
        probes: layer by layer; none without test images.
        cameras: domain -> errors by camera pair.
        cross: None with a single domain with test images.
        candidates: wrong labels and shared people, among the chosen test and train images; None without images.
        context: accuracy with other contexts.
        kernels: block by block; none where kernels are not generated.
    """

    run: str
    system: str
    step: int | None
    images: Mapping[str, tuple[int, int]]
    gradients: GradientConflict | None
    losses: Mapping[str, Sequence[Point]]
    probes: tuple[LayerProbe, ...]
    cameras: Mapping[str, CameraPairs]
    cross: CrossDomain | None
    candidates: Candidates | None
    context: ContextUse
    kernels: tuple[GeneratedKernel, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return all figures as plain dicts, lists, strings and numbers, for JSON; NaN is None."""
        plain: dict[str, Any] = _plain(self)
        if self.gradients:
            for part, entry in zip(self.gradients.parts, plain["gradients"]["parts"], strict=True):
                summary = {name: getattr(part, name) for name in ("between", "within", "opposing_between")}
                entry.update(_plain(summary))
        if self.candidates:
            plain["candidates"]["alike"] = self.candidates.alike
        plain["context"]["mean"] = {arm: self.context.mean(arm) for arm in self.context.mean_ap}
        return plain


def study_conflict(studied: StudiedRun, images: int, on_progress: OnProgress | None = None) -> ConflictStudy:
    """Study a run.

    Args:
        studied: the run and the chosen images.
        images: train images of each domain for the gradients, about.
        on_progress: called with (what, items done, items in all).

    Raises:
        JointreidError: no weights, an unreadable image, or too little memory.
    """
    model, state = studied.run.loaded()
    model, config = model.to(studied.device), studied.run.config
    test = train = None
    if studied.test_records:
        test = collect_layers(studied, model, studied.test_records, "test images", on_progress)
    if studied.train_samples:
        train = collect_layers(
            studied, model, [sample.record for sample in studied.train_samples], "train images", on_progress
        )
    several = len(studied.domains) > 1
    return ConflictStudy(
        run=str(studied.run.path),
        system=f"{config.model.name}, {config.model.trunk}",
        step=step_in(state),
        images={domain.name: (len(domain.train), len(domain.test)) for domain in studied.domains},
        gradients=study_gradients(studied, model, images, on_progress) if several else None,
        losses=domain_losses(studied.run.path),
        probes=_probes(studied, test) if test else (),
        cameras=_camera_pairs(studied, test) if test else {},
        cross=_cross_domain(studied, test) if test else None,
        candidates=_candidates(studied, [part for part in (test, train) if part]),
        context=_context(studied, model, test, on_progress),
        kernels=study_kernels(studied, model, on_progress),
    )


def test_domains(studied: StudiedRun) -> list[str]:
    """Return the domain of each of `studied.test_records`."""
    return [domain.name for domain in studied.domains for _ in domain.test]


def _probes(studied: StudiedRun, test: LayerFeatures) -> tuple[LayerProbe, ...]:
    domains = np.array(test_domains(studied))
    records = studied.test_records
    pids = [f"{name}\0{record.pid}" for name, record in zip(domains, records, strict=True)]
    found = []
    for layer, features in test.layers.items():
        of_cameras = []
        for name in dict.fromkeys(domains.tolist()):
            rows = np.flatnonzero(domains == name)
            own = [records[i] for i in rows.tolist()]
            of_cameras.append(probe(features[rows], [r.camid for r in own], [r.pid for r in own], studied.seed))
        domain = probe(features, domains.tolist(), pids, studied.seed)
        found.append(LayerProbe(layer, domain, _mean_probe([result for result in of_cameras if result])))
    return tuple(found)


def _mean_probe(results: Sequence[ProbeResult]) -> ProbeResult | None:
    if not results:
        return None
    means = {name: float(np.mean([getattr(r, name) for r in results])) for name in ("linear", "neighbours", "chance")}
    return ProbeResult(**means, classes=sum(r.classes for r in results), images=sum(r.images for r in results))


def _camera_pairs(studied: StudiedRun, test: LayerFeatures) -> dict[str, CameraPairs]:
    found, start = {}, 0
    for domain in studied.domains:
        rows = test.embeddings.features[start : start + len(domain.test)]
        start += len(domain.test)
        if len({record.camid for record in domain.test}) > 1:
            found[domain.name] = camera_pairs(rows, domain.test, same_camera=not domain.exclude_same_camera)
    return found


def _cross_domain(studied: StudiedRun, test: LayerFeatures) -> CrossDomain | None:
    domains = test_domains(studied)
    if len(set(domains)) < 2:
        return None
    return cross_domain(test.embeddings.features, studied.test_records, domains, SHOWN)


def _candidates(studied: StudiedRun, parts: Sequence[LayerFeatures]) -> Candidates | None:
    if not parts:
        return None
    records = [*studied.test_records, *(sample.record for sample in studied.train_samples)]
    domains = test_domains(studied) + [studied.names[sample.domain_id] for sample in studied.train_samples]
    features = np.concatenate([part.embeddings.features for part in parts])
    return find_candidates(features, records, domains, SHOWN)


def _context(
    studied: StudiedRun, model: ReIDModel, test: LayerFeatures | None, on_progress: OnProgress | None
) -> ContextUse:
    if test is None:
        return ContextUse({}, "The data sets of this run have no test split.")
    return study_context(studied, model, test.embeddings.features, on_progress)


def _plain(value: Any) -> Any:
    if isinstance(value, ImageRecord):
        return {"path": str(value.path), "box": value.box, "pid": value.pid, "camid": value.camid}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
