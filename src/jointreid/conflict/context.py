"""The context at test: as predicted, true, that of another image, and none, with the accuracy of each.

If accuracy stays when the context of another image takes the place of an image's own, the model does not use it.

Letters: N images, B of them in a batch, D dimensions of a feature, V numbers of a vector.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from jointreid.analysis.resampling import Estimate, QueryMetrics, difference, resampled_difference
from jointreid.conflict.layers import context_heads, embed_images
from jointreid.conflict.material import OnProgress, StudiedDomain, StudiedRun
from jointreid.data.records import ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.embeddings import Floats
from jointreid.retrieval.ranking import evaluate_ranking

PREDICTED, TRUE, SHUFFLED, ZEROED = "predicted", "true", "shuffled", "zeroed"
# (vectors [B, V], position of the first image of the batch) -> other vectors [B, V]
Change = Callable[[Tensor, int], Tensor]
# Images -> their features [N, D], in the same order.
Embed = Callable[[Sequence[ImageRecord]], Floats]


@dataclass(frozen=True)
class ContextUse:
    """Accuracy with other contexts.

    Attributes:
        mean_ap: arm -> domain -> mAP in [0, 1] over its chosen test images, each of which asks the others; None where
            none has a match.
        why_none: the reason why there are no other contexts; empty where there are.
        lost: what the mean mAP loses with the context of another image, over resamples of the people; None without.
    """

    mean_ap: dict[str, dict[str, float | None]]
    why_none: str = ""
    lost: Estimate | None = None

    def mean(self, arm: str) -> float | None:
        """Return the mean over the domains that have a value."""
        values = [value for value in self.mean_ap.get(arm, {}).values() if value is not None]
        return float(np.mean(values)) if values else None


def study_context(
    studied: StudiedRun, model: ReIDModel, features: Floats, on_progress: OnProgress | None = None
) -> ContextUse:
    """Evaluate a model with its own and with other contexts.

    True: in each head's place the mean vector that it gives the chosen train images of the true domain, or camera; an
    image of a camera without train images keeps its own vector. Shuffled and zeroed: see `features_with_context`.

    Args:
        studied: the run.
        model: its model, on its device.
        features: of `studied.test_records`, with its own context.
        on_progress: called with (what, images done, images in all) after each batch.
    """
    found = {PREDICTED: mean_ap_by_domain(studied.domains, features)}
    heads = context_heads(model)
    if model.needs_origins:
        return ContextUse(found, "This model is given the true data set and camera of an image, and predicts neither.")
    if heads and studied.run.config.dcsd.inject == "norm":
        return ContextUse(
            found, "This model mixes normalisations by the domain that it predicts, and has no vectors to change."
        )
    if not heads:
        return ContextUse(found, "This model has no context: nothing in it is told where an image comes from.")
    records, vectors = studied.test_records, _mean_vectors(studied, model, on_progress)

    def embed(what: str) -> Embed:
        return lambda records: embed_images(studied, model, records, f"context {what}", on_progress).features

    with changed_heads(heads, lambda head: _true_vectors(studied, head, vectors[head])):
        found[TRUE] = mean_ap_by_domain(studied.domains, embed(TRUE)(records))
    others = {arm: features_with_context(arm, heads, records, embed(arm), studied.seed) for arm in (SHUFFLED, ZEROED)}
    found |= {arm: mean_ap_by_domain(studied.domains, rows) for arm, rows in others.items()}
    return ContextUse(found, lost=_difference(studied.domains, others[SHUFFLED], features))


def _difference(domains: Sequence[StudiedDomain], a: Floats, b: Floats) -> Estimate | None:
    """Return the mean mAP of features b minus that of features a, over resamples of the people of each domain."""
    values, resampled = [], []
    for number, (of_a, of_b) in enumerate(zip(_precisions(domains, a), _precisions(domains, b), strict=True)):
        if of_a is not None and of_b is not None:
            values.append(difference(of_a, of_b))
            resampled.append(resampled_difference(of_a, of_b, seed=(0, number)))
    return Estimate.of(float(np.mean(values)), np.mean(resampled, axis=0)) if values else None


def features_with_context(
    context: str, heads: Sequence[tuple[str, nn.Module]], records: Sequence[ImageRecord], embed: Embed, seed: int
) -> Floats:
    """Return the features [N, D] of images with another context than their own.

    Args:
        context: `SHUFFLED`: all heads give the vectors of an image half a batch away, in one random order of the
            images; or `ZEROED`: vectors of 0.
        heads: of `context_heads`.
        records: the N images, those of all domains together.
        embed: computes the features of images, in their order.
        seed: of the random order.
    """
    if context == ZEROED:
        with changed_heads(heads, lambda _head: lambda x, _start: torch.zeros_like(x)):
            return embed(records)
    order = np.random.default_rng(seed).permutation(len(records))
    with changed_heads(heads, lambda _head: lambda x, _start: x.roll(max(1, len(x) // 2), 0)):
        rows = embed([records[i] for i in order.tolist()])
    back = np.empty_like(rows)
    back[order] = rows
    return back


def mean_ap_by_domain(domains: Sequence[StudiedDomain], features: Floats) -> dict[str, float | None]:
    """Return the mAP of each domain, every image of which asks the others.

    Args:
        domains: the domains.
        features: of their test images, domain after domain.
    """
    found = zip(domains, _precisions(domains, features), strict=True)
    return {domain.name: None if own is None else own.mean for domain, own in found if domain.test}


def _precisions(domains: Sequence[StudiedDomain], features: Floats) -> Iterator[QueryMetrics | None]:
    """Yield the average precision of each image of each domain that has a match among the others; None if none has."""
    start = 0
    for domain in domains:
        rows = features[start : start + len(domain.test)]
        start += len(domain.test)
        yield _precisions_of(domain, rows) if domain.test else None


def _precisions_of(domain: StudiedDomain, features: Floats) -> QueryMetrics | None:
    numbers = {pid: i for i, pid in enumerate(sorted({record.pid for record in domain.test}))}
    pids = np.array([numbers[record.pid] for record in domain.test])
    camids = np.array([record.camid for record in domain.test])
    try:
        ranking = evaluate_ranking(
            features,
            features,
            pids,
            pids,
            camids,
            camids,
            exclude_same_camera=domain.exclude_same_camera,
            leave_one_out=True,
        )
    except JointreidError:  # no image has a match under the camera rule
        return None
    _, people = np.unique(pids[ranking.valid_queries], return_inverse=True)
    return QueryMetrics((0,), ranking.average_precision[None], people)


@contextmanager
def changed_heads(heads: Sequence[tuple[str, nn.Module]], change: Callable[[str], Change]) -> Iterator[None]:
    """Let every head give other vectors in this context; its logits stay.

    Args:
        heads: of `context_heads`.
        change: name of a head -> its change, which is called with the vectors and the images that came before.
    """
    done = dict.fromkeys((name for name, _ in heads), 0)

    def apply(name: str, own: Change, output: tuple[Any, ...]) -> tuple[Any, ...]:
        vectors = own(output[0], done[name])
        done[name] += len(vectors)
        return (vectors, *output[1:])

    with ExitStack() as stack:
        for name, module in heads:
            own = change(name)
            hook = module.register_forward_hook(lambda _m, _i, output, name=name, own=own: apply(name, own, output))
            stack.callback(hook.remove)
        yield


def _mean_vectors(
    studied: StudiedRun, model: ReIDModel, on_progress: OnProgress | None
) -> dict[str, dict[int, Tensor]]:
    """Return, for each head, the mean vector of the chosen train images of each class."""
    heads, samples = context_heads(model), studied.train_samples
    seen: dict[str, list[Tensor]] = {name: [] for name, _ in heads}

    def keep(name: str) -> Change:
        def kept(vectors: Tensor, _start: int) -> Tensor:
            seen[name].append(vectors)
            return vectors

        return kept

    with changed_heads(heads, keep):
        embed_images(studied, model, [sample.record for sample in samples], "context of train images", on_progress)
    means: dict[str, dict[int, Tensor]] = {}
    for name, parts in seen.items():
        attribute = "domain_id" if _is_domain(name) else "global_camid"
        classes = torch.tensor([getattr(sample, attribute) for sample in samples])
        vectors = torch.cat(parts)
        means[name] = {k: vectors[(classes == k).to(vectors.device)].mean(0) for k in set(classes.tolist())}
    return means


def _true_vectors(studied: StudiedRun, head: str, means: dict[int, Tensor]) -> Change:
    classes = true_classes(studied, domain=_is_domain(head))

    def change(vectors: Tensor, start: int) -> Tensor:
        own = classes[start : start + len(vectors)]
        return torch.stack([means.get(k, row) for k, row in zip(own, vectors, strict=True)])

    return change


def true_classes(studied: StudiedRun, *, domain: bool) -> list[int]:
    """Return the domain class, or the camera class, of each of `studied.test_records`; -1 for a camera without one."""
    space, found = studied.run.label_space, []
    for number, own in enumerate(studied.domains):
        labels = space.domains[number]
        known = set(labels.cameras)

        def camera(record: ImageRecord, labels: Any = labels, known: set[int] = known) -> int:
            return int(labels.global_camid(record.camid)) if record.camid in known else -1

        found += [number if domain else camera(record) for record in own.test]
    return found


def _is_domain(head: str) -> bool:
    return head.rpartition(".")[2] == "domain"
