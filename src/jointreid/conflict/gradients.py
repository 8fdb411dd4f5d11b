"""Gradients of each domain's loss, and how far they point against each other.

In each batch the same forward pass serves all domains, with batch normalisation over the whole batch as in training;
each domain's loss is that of its own images, triplets within the domain. A step that helps one domain by a gradient g
changes the loss of another, of gradient h, by about -lr g.h: with a negative cosine it hurts the other.

Letters: D domains, T batches.
"""

import copy
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jointreid.config import LossConfig
from jointreid.conflict.layers import CONTEXT, HEAD, part_of, parts_in_order
from jointreid.conflict.material import OnProgress, StudiedRun
from jointreid.data.augment import normalise
from jointreid.data.images import Batch, ImageStore
from jointreid.data.joint import JointSample
from jointreid.losses import LossFunction, Terms, loss_function, trained_terms
from jointreid.machine.device import sent
from jointreid.machine.memory import kept_memory
from jointreid.machine.paths import cache_folder
from jointreid.models.context import Origins
from jointreid.models.reid import ReIDModel
from jointreid.run import hold_out_identities
from jointreid.training.batches import draw_kept_contexts
from jointreid.training.step import without_held_out

Matrix = NDArray[np.float64]
# All that the data sets share for one task; the head and the context tell them apart.
SHARED = "all but head and context"
# Backward passes at most, one for each domain and batch: they take most of the time of a study.
MOST_PASSES = 28


@dataclass(frozen=True)
class PartConflict:
    """The gradients of one part of the network.

    Attributes:
        part: of the network, or `SHARED`.
        parameters: numbers in it.
        cosine: [D, D], the mean over batches of the cosine between the gradients of two domains, within a batch; on
            the diagonal between those of one domain in two batches that follow each other and show other people. NaN
            where it is undefined.
        opposing: [D, D], the share of batches where that cosine is below 0.
    """

    part: str
    parameters: int
    cosine: Matrix
    opposing: Matrix

    @property
    def between(self) -> float:
        """The mean cosine over pairs of domains; NaN with one domain."""
        return _mean(self.cosine[~np.eye(len(self.cosine), dtype=bool)])

    @property
    def within(self) -> float:
        """The mean cosine between two batches of one domain: what to compare `between` with."""
        return _mean(np.diagonal(self.cosine))

    @property
    def opposing_between(self) -> float:
        """The share of batches and pairs of domains whose gradients point against each other."""
        return _mean(self.opposing[~np.eye(len(self.opposing), dtype=bool)])


@dataclass(frozen=True)
class GradientConflict:
    """The gradients of a run at the end of its training.

    Attributes:
        parts: from input to output; the last is `SHARED`.
        batches: T.
        images_per_domain: domain -> its images in a batch.
        losses: domain -> term of the loss -> its mean over batches.
    """

    parts: tuple[PartConflict, ...]
    batches: int
    images_per_domain: Mapping[str, int]
    losses: Mapping[str, Mapping[str, float]]


def cosine_of(a: Tensor, b: Tensor) -> float:
    """Return the cosine between two gradients, flat, in float64; NaN if one is 0."""
    x, y = a.double(), b.double()
    lengths = float(x.norm() * y.norm())
    return float(x @ y) / lengths if lengths else float("nan")


def gradients_by_part(loss: Tensor, parameters: Mapping[str, Sequence[nn.Parameter]]) -> dict[str, Tensor]:
    """Return the gradient of a loss as one flat vector for each part; 0 for parameters that it does not reach.

    Args:
        loss: a scalar; its graph is kept.
        parameters: part -> its parameters.
    """
    every = [parameter for own in parameters.values() for parameter in own]
    gradients = iter(torch.autograd.grad(loss, every, retain_graph=True, allow_unused=True))
    flat = {}
    for part, own in parameters.items():
        found = zip(own, gradients, strict=False)
        flat[part] = torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in found])
    return flat


def select(output: Any, rows: Tensor) -> Any:
    """Return some rows of every tensor in nested tuples, such as a `ModelOutput` of some images of a batch."""
    if isinstance(output, Tensor):
        return output[rows]
    if isinstance(output, tuple):
        chosen = [select(value, rows) for value in output]
        return type(output)(*chosen) if hasattr(output, "_fields") else tuple(chosen)
    return output


class ConflictTally:
    """Collects the gradients of the domains batch by batch.

    Args:
        sizes: part -> numbers in it.
        domains: D.
    """

    def __init__(self, sizes: Mapping[str, int], domains: int) -> None:
        self._sizes, self._domains = dict(sizes), domains
        self._cosines: dict[str, list[Matrix]] = {part: [] for part in sizes}
        self._before: dict[int, dict[str, Tensor]] = {}
        self._people: dict[int, frozenset[int]] = {}

    def add(self, gradients: Mapping[int, Mapping[str, Tensor]], people: Mapping[int, frozenset[int]]) -> None:
        """Add a batch.

        Two batches of one domain that show a common person agree on that person alone already, and are not compared.

        Args:
            gradients: domain -> part -> gradient; a domain may be missing.
            people: domain -> its identities in the batch.
        """
        for part, cosines in self._cosines.items():
            matrix = np.full((self._domains, self._domains), np.nan)
            for a, of_a in gradients.items():
                if a in self._before and not self._people[a] & people[a]:
                    matrix[a, a] = cosine_of(of_a[part], self._before[a][part])
                for b, of_b in gradients.items():
                    if a < b:
                        matrix[a, b] = matrix[b, a] = cosine_of(of_a[part], of_b[part])
            cosines.append(matrix)
        self._before |= {domain: dict(of_domain) for domain, of_domain in gradients.items()}
        self._people |= people

    def parts(self) -> tuple[PartConflict, ...]:
        """Return the means over the batches."""
        return tuple(
            PartConflict(
                part,
                self._sizes[part],
                _mean_over_batches(cosines),
                _mean_over_batches([np.where(np.isnan(m), np.nan, m < 0) for m in cosines]),
            )
            for part, cosines in self._cosines.items()
        )


def study_gradients(
    studied: StudiedRun, model: ReIDModel, images: int, on_progress: OnProgress | None = None
) -> GradientConflict:
    """Compute the gradients of each domain's loss in some batches, with the weights of the end of the training.

    A batch has as many identities of each domain as an equal share of the run's, but half of those chosen at most, so
    that the next batch shows others, and two at least; it is not augmented. There are at most `MOST_PASSES` backward
    passes, or two batches.

    Args:
        studied: the run.
        model: its model, which stays as it is.
        images: train images of each domain that are used, about; two batches at least are.
        on_progress: called with (what, batches done, batches in all).
    """
    config, count = studied.run.config, len(studied.domains)
    ids = max(2, round(config.sampler.ids_per_batch / count))
    batches = list(_draw_batches(studied, ids, config.sampler.images_per_id, images))
    samples = studied.train_samples
    records = [sample.record for sample in samples]
    store = ImageStore.build(
        records, config.image, cache_folder(config.data.cache), config.train.workers, config.data.cache_mode
    )
    network = copy.deepcopy(model).to(studied.device).train()  # batch normalisation changes in a forward pass
    hold_out_identities(network, config, studied.run.label_space)
    parameters = _parameters_by_part(network)
    sizes = {part: sum(p.numel() for p in own) for part, own in parameters.items()}
    shared = [part for part in sizes if part not in (HEAD, CONTEXT)]
    sizes[SHARED] = sum(sizes[part] for part in shared)
    tally, loss = ConflictTally(sizes, count), loss_function(config.loss.kind)
    terms: dict[str, dict[str, list[float]]] = {name: {} for name in studied.names}
    with kept_memory(studied.device.type):
        for number, indices in enumerate(batches):
            seed = studied.seed + number
            batch = _batch(store, samples, indices, studied, seed)
            found = _domain_losses(network, batch, loss, config.loss, seed)
            of_domain = {}
            for domain, values in found.items():
                for term, value in trained_terms(values).items():
                    terms[studied.names[domain]].setdefault(term, []).append(value.item())
                gradients = gradients_by_part(values.total, parameters)
                of_domain[domain] = {**gradients, SHARED: torch.cat([gradients[part] for part in shared])}
            tally.add(of_domain, _people(samples, indices))
            if on_progress is not None:
                on_progress("gradients", number + 1, len(batches))
    losses = {name: {term: float(np.mean(values)) for term, values in own.items()} for name, own in terms.items()}
    of_batch = Counter(studied.names[samples[index].domain_id] for index in batches[0].tolist())
    return GradientConflict(tally.parts(), len(batches), dict(of_batch), losses)


def _people(samples: Sequence[JointSample], indices: NDArray[np.int64]) -> dict[int, frozenset[int]]:
    """Return the identities of each domain in a batch."""
    found: dict[int, set[int]] = {}
    for index in indices.tolist():
        found.setdefault(samples[index].domain_id, set()).add(samples[index].label)
    return {domain: frozenset(labels) for domain, labels in found.items()}


def _domain_losses(
    network: ReIDModel, batch: Batch, loss: LossFunction, config: LossConfig, seed: int
) -> dict[int, Terms]:
    """Return the loss of the images of each domain in a batch, after one forward pass for all of them."""
    with _seeded(seed, batch.images.device):  # custom code may draw from the shared generators
        origins = Origins(batch.domain_ids, batch.global_camids) if network.needs_origins else None
        output = network(batch.images, origins, batch.keeps_context)
        output = without_held_out(network, output, batch)
    found = {}
    for domain in sorted(set(batch.domain_ids.tolist())):
        rows = torch.nonzero(batch.domain_ids == domain).flatten()
        generator = torch.Generator().manual_seed(seed)
        own = select(batch._replace(id_domains=None), rows)._replace(id_domains=batch.id_domains)
        found[domain] = loss(select(output, rows), own, replace(config, mining="any"), generator)
    return found


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's generators of the CPU and of a CUDA device inside the block; after it they are as before."""
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would also seed every other device
        for used in cuda:
            with torch.cuda.device(used):
                torch.cuda.manual_seed(seed)
        yield


def _draw_batches(studied: StudiedRun, ids: int, images_per_id: int, images: int) -> Iterator[NDArray[np.int64]]:
    """Yield batches of indices into `studied.train_samples`, each with `ids` identities of each domain or fewer.

    Two batches that follow each other have no identity in common, unless a domain has fewer than four.
    """
    generator = np.random.default_rng(studied.seed)
    places: list[dict[int, list[int]]] = [{} for _ in studied.domains]
    for index, sample in enumerate(studied.train_samples):
        places[sample.domain_id].setdefault(sample.label, []).append(index)
    orders = [generator.permutation(list(own)).tolist() for own in places]
    most = max(2, MOST_PASSES // len(places))
    for number in range(min(most, max(2, round(images / (ids * images_per_id))))):
        batch: list[int] = []
        for own, order in zip(places, orders, strict=True):
            if len(order) < 2:  # a triplet needs two identities
                continue
            count = max(2, min(ids, len(order) // 2))
            for place in range(number * count, (number + 1) * count):
                pool = own[order[place % len(order)]]
                batch += generator.choice(pool, images_per_id, replace=len(pool) < images_per_id).tolist()
        yield np.array(batch, dtype=np.int64)


def _batch(
    store: ImageStore, samples: Sequence[Any], indices: NDArray[np.int64], studied: StudiedRun, seed: int
) -> Batch:
    image, chosen = studied.run.config.image, [samples[index] for index in indices.tolist()]
    pixels = normalise(store.take(indices).to(studied.device), image.mean, image.std)
    labels = ([getattr(sample, name) for sample in chosen] for name in ("label", "global_camid", "domain_id"))
    id_domains = torch.tensor(studied.run.label_space.id_domains, device=studied.device)
    own, cameras, domains = (torch.tensor(values, device=studied.device) for values in labels)
    kept = draw_kept_contexts(studied.run.config, len(indices), torch.Generator().manual_seed(seed))
    return Batch(
        pixels, own, cameras, domains, id_domains, keeps_context=None if kept is None else sent(kept, studied.device)
    )


def _parameters_by_part(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    parts = parts_in_order([name for name, _ in named])
    return {part: [parameter for name, parameter in named if part_of(name) == part] for part in parts}


def _mean_over_batches(matrices: Sequence[Matrix]) -> Matrix:
    """Return the mean of each entry over the batches that have it."""
    stacked = np.stack(matrices)
    counts = (~np.isnan(stacked)).sum(axis=0)
    sums = np.nansum(stacked, axis=0)
    mean: Matrix = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    return mean


def _mean(values: NDArray[np.floating[Any]]) -> float:
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else float("nan")
