"""The proof of an exported file: its features against those of the model in PyTorch, on real images.

Letters: N images, D numbers of a feature.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from jointreid.config import GraphPrecision, RunConfig
from jointreid.data.images import ImageStore
from jointreid.data.records import Domain, ImageRecord
from jointreid.export.contract import Contract
from jointreid.machine.paths import cache_folder
from jointreid.messages.errors import JointreidError
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.domain_ranking import images_of
from jointreid.retrieval.embeddings import Embeddings
from jointreid.retrieval.extract import evaluating, forward

Floats = NDArray[np.float32]
# Maps images as the graph takes them to features [B, D].
Runner = Callable[[NDArray[Any]], Floats]

# Fewer images may miss where a file differs from its model.
IMAGES = 200
NEIGHBOURS = 10
# Similarities this close count as equal: which of two such images comes first is rounding.
TIE = 1e-5
# Where different people are more alike than this, any two features agree, whatever the graph computes.
DEGENERATE = 0.8
# The smallest cosine between a feature and the model's own. Those of other precisions are judged by accuracy too.
AGREEMENT: dict[GraphPrecision, float] = {"fp32": 0.9999, "fp16": 0.999, "int8": 0.9}
# How much mAP a precision may lose, mean over the data sets.
LOSS: dict[GraphPrecision, float] = {"fp32": 0.0005, "fp16": 0.002, "int8": 0.02}
_BATCH = 32


@dataclass(frozen=True)
class Proof:
    """What a comparison found.

    Attributes:
        images: how many were compared.
        domains: of which data sets.
        cosine_smallest: between a feature of the file and the model's own, over the images.
        cosine_mean: the mean of these.
        same_neighbours: share of the images whose ten nearest others are the same, in the same order; near-ties count
            as the same.
        different_people: median similarity of two images of different people.
        vacuous: whether these are so alike that agreement proves nothing.
        too_few: whether fewer images were compared than a proof needs.
    """

    images: int
    domains: tuple[str, ...]
    cosine_smallest: float
    cosine_mean: float
    same_neighbours: float
    different_people: float
    vacuous: bool
    too_few: bool

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.images} images of {', '.join(self.domains)}: cosine at least {self.cosine_smallest:.6f}, the same "
            f"{NEIGHBOURS} nearest for {self.same_neighbours:.1%}, different people {self.different_people:.3f} alike"
        )


def sample(domains: Sequence[Domain], count: int = IMAGES) -> list[tuple[str, ImageRecord]]:
    """Return test images of all domains, spread over each, with their domains' names.

    All domains have equal parts, but for those with fewer images, whose rest the others make up for.
    """
    found = {domain.name: [record for record in images_of(domain) if not record.distractor] for domain in domains}
    shares: dict[str, int] = {}
    for name in sorted(found, key=lambda name: len(found[name])):
        equal = -(-(count - sum(shares.values())) // (len(found) - len(shares)))
        shares[name] = max(0, min(equal, len(found[name])))
    chosen = []
    for name, records in found.items():
        places = np.linspace(0, len(records) - 1, shares[name]).round().astype(int)
        chosen += [(name, records[place]) for place in places]
    return chosen


def require_enough(images: Sequence[tuple[str, ImageRecord]], allow: bool) -> None:
    """Refuse too few images for a proof, unless told.

    Raises:
        JointreidError: there are fewer than 200, or none.
    """
    if not images or (len(images) < IMAGES and not allow):
        raise JointreidError(
            f"the proof would have {len(images)} test images; expected {IMAGES} or more, since few may miss where the "
            f"file differs from the model. Compare more (--images {IMAGES}; --data NAME=FOLDER for other data sets), "
            "or pass --allow-few to accept these; the contract then says that the proof had too few"
        )


def read_pixels(records: Sequence[ImageRecord], config: RunConfig) -> NDArray[np.uint8]:
    """Return the pixels of images, decoded and resized as evaluation does: uint8 [N, H, W, 3]."""
    store = ImageStore.build(records, config.image, cache_folder(config.data.cache), config.train.workers, "off")
    return store.take(np.arange(len(records))).permute(0, 2, 3, 1).numpy()


def model_features(model: ReIDModel, pixels: NDArray[np.uint8], config: RunConfig) -> Floats:
    """Return the features [N, D] of the model itself, of length 1, without mirrored images."""
    parts = []
    with evaluating(model):
        for start in range(0, len(pixels), _BATCH):
            batch = torch.from_numpy(pixels[start : start + _BATCH]).permute(0, 3, 1, 2)
            parts.append(forward(model, batch, config.image, False, torch.device("cpu")).features)
    return _unit(np.concatenate(parts))


def file_features(run: Runner, contract: Contract, pixels: NDArray[np.uint8]) -> Floats:
    """Return the features [N, D] of the exported file."""
    batches = (pixels[start : start + _BATCH] for start in range(0, len(pixels), _BATCH))
    return np.concatenate([run(contract.prepare(batch)) for batch in batches])


def compare(
    expected: Floats, found: Floats, images: Sequence[tuple[str, ImageRecord]], precision: GraphPrecision = "fp32"
) -> Proof:
    """Compare features.

    Args:
        expected: of the model, [N, D], of length 1.
        found: of the file.
        images: their domains and records.
        precision: of the file.

    Raises:
        JointreidError: a feature is not finite, or differs by more than the precision explains.
    """
    if not np.isfinite(found).all():
        wrong = int(np.isfinite(found).all(axis=1).argmin())
        raise JointreidError(f"the exported file returns a feature that is not finite for {images[wrong][1].path}")
    found = _unit(found)
    cosine = (expected * found).sum(axis=1)
    same = _same_neighbours(expected, found, TIE if precision == "fp32" else 2e-3)
    people = np.array([f"{domain}/{record.pid}" for domain, record in images])
    alike = expected @ expected.T
    different = alike[people[:, None] != people]
    median = float(np.median(different)) if different.size else 1.0
    names = tuple(dict.fromkeys(domain for domain, _ in images))
    proof = Proof(
        len(found),
        names,
        float(cosine.min()),
        float(cosine.mean()),
        float(same.mean()),
        median,
        vacuous=median >= DEGENERATE,
        too_few=len(found) < IMAGES,
    )
    worst = images[int(cosine.argmin())][1].path
    if proof.cosine_smallest < AGREEMENT[precision]:
        raise JointreidError(
            f"the exported file does not compute what the model does: cosine {proof.cosine_smallest:.6f} for {worst}, "
            f"expected at least {AGREEMENT[precision]}; nothing was written"
        )
    if precision == "fp32" and proof.same_neighbours < 1:
        raise JointreidError(
            f"the exported file ranks differently: of {len(found)} images, {int((~same).sum())} have other "
            f"{NEIGHBOURS} nearest neighbours than by the model; nothing was written"
        )
    return proof


def require_meaning(proof: Proof, allow: bool) -> None:
    """Refuse a proof that proves nothing, unless told.

    Raises:
        JointreidError: the features of different people are nearly equal.
    """
    if proof.vacuous and not allow:
        raise JointreidError(
            f"the proof is vacuous: images of different people are {proof.different_people:.3f} alike (median; below "
            f"{DEGENERATE} expected), so that any two features agree. The model is hardly trained, or its weights are "
            "damaged; train it, or pass --allow-vacuous to write the file all the same"
        )


def embed_with(
    run: Runner, contract: Contract, config: RunConfig
) -> Callable[[Sequence[ImageRecord], str], Embeddings]:
    """Return a function that computes the features of an evaluation with the exported file."""

    def embed(records: Sequence[ImageRecord], domain: str) -> Embeddings:
        parts = [
            file_features(run, contract, read_pixels(records[start : start + 512], config))
            for start in range(0, len(records), 512)
        ]
        return Embeddings.of(records, np.concatenate(parts), None, None)

    return embed


def _unit(features: Floats) -> Floats:
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit: Floats = features / np.maximum(lengths, 1e-12)
    return unit


def _same_neighbours(expected: Floats, found: Floats, tie: float) -> NDArray[np.bool_]:
    """Return for each image whether its nearest others are the same [N], as far as `expected` tells them apart."""
    tables = [features @ features.T for features in (expected, found)]
    count = min(NEIGHBOURS, len(expected) - 1)
    for table in tables:
        np.fill_diagonal(table, -np.inf)
    orders = [np.argsort(-table, axis=1, kind="stable")[:, :count] for table in tables]
    before, after = (np.take_along_axis(tables[0], order, axis=1) for order in orders)
    same: NDArray[np.bool_] = np.all(np.abs(before - after) <= tie, axis=1)
    return same
