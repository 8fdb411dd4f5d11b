"""Simple classifiers on fixed features: how much of an image's domain or camera the features hold.

A linear probe is multinomial logistic regression with an L2 penalty; beside it the vote of the nearest neighbours. Both
are fitted on images of some identities and judged on those of others, so that knowing a person gives nothing away.

Letters: N images, D dimensions, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch.nn import functional

Matrix = NDArray[np.float64]
Codes = NDArray[np.int64]

NEIGHBOURS = 5
# Of the penalty: that of logistic regression with standardised features that are scaled to a mean square length of 1.
PENALTY = 1e-3
STEPS = 100


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """Logistic regression on standardised features.

    Attributes:
        mean: [D], of the features it was fitted on.
        scale: [D], what centred features are multiplied by.
        weights: [D, K].
        bias: [K].
    """

    mean: Matrix
    scale: Matrix
    weights: Matrix
    bias: Matrix

    @classmethod
    def fit(cls, features: ArrayLike, labels: ArrayLike, num_classes: int) -> "LinearProbe":
        """Fit a probe; each class counts the same, whatever its number of images.

        The same features give the same probe: the problem is convex, and L-BFGS starts from 0.

        Args:
            features: [N, D].
            labels: int [N], from 0 to K - 1; a class may have no image.
            num_classes: K.
        """
        x, y = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.int64)
        mean, deviation = x.mean(0), x.std(0)
        scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12) / np.sqrt(x.shape[1])
        # Only the span of the images matters, and it has at most N dimensions: a rotation into it changes nothing.
        centred = torch.from_numpy((x - mean) * scale)
        left, sizes, right = torch.linalg.svd(centred, full_matrices=False)
        inputs = left * sizes
        target = torch.from_numpy(y)
        counts = torch.bincount(target, minlength=num_classes).double()
        balance = (len(y) / counts.clamp(min=1) / (counts > 0).sum())[target]
        weights = torch.zeros(inputs.shape[1], num_classes, dtype=torch.float64, requires_grad=True)
        bias = torch.zeros(num_classes, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([weights, bias], max_iter=STEPS, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            losses = functional.cross_entropy(inputs @ weights + bias, target, reduction="none")
            loss = (balance * losses).mean() + PENALTY * weights.square().sum()
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimizer.step(closure)  # type: ignore[no-untyped-call]
        return cls(mean, scale, (right.T @ weights.detach()).numpy(), bias.detach().numpy())

    def posterior(self, features: ArrayLike) -> Matrix:
        """Return the probability of each class, [N, D] -> [N, K]."""
        x = (np.asarray(features, dtype=np.float64) - self.mean) * self.scale
        logits = x @ self.weights + self.bias
        powers = np.exp(logits - logits.max(1, keepdims=True))
        posterior: Matrix = powers / powers.sum(1, keepdims=True)
        return posterior


@dataclass(frozen=True)
class ProbeResult:
    """How often simple classifiers are right, in [0, 1]: the mean over the classes, however many images each has.

    Attributes:
        linear: of the linear probe.
        neighbours: of the vote of the nearest neighbours.
        chance: of who knows nothing, 1 / K.
        classes: K.
        images: that were judged.
    """

    linear: float
    neighbours: float
    chance: float
    classes: int
    images: int


def probe(
    features: NDArray[np.floating], labels: Sequence[object], pids: Sequence[object], seed: int = 0
) -> ProbeResult | None:
    """Judge features by two halves of the identities: fitted on one, judged on the other, both ways.

    Args:
        features: [N, D].
        labels: [N], what to tell.
        pids: [N], who is shown; no identity is in both halves.
        seed: of the halves.

    Returns:
        None where there are not two classes with images in both halves.
    """
    codes = np.unique(np.array([str(label) for label in labels]), return_inverse=True)[1]
    people, owners = np.unique(np.array([str(pid) for pid in pids]), return_inverse=True)
    first = halves(codes, owners, len(people), seed)[owners]
    shared = set(codes[first].tolist()) & set(codes[~first].tolist())
    usable = np.isin(codes, list(shared))
    if len(shared) < 2:
        return None
    kept = np.unique(codes[usable], return_inverse=True)[1]
    x, first = features[usable].astype(np.float64), first[usable]
    linear, near, truth = [], [], []
    for fitted in (first, ~first):
        judged = ~fitted
        own = LinearProbe.fit(x[fitted], kept[fitted], len(shared))
        linear.append(own.posterior(x[judged]).argmax(1))
        near.append(vote(x[fitted], kept[fitted], x[judged]))
        truth.append(kept[judged])
    told = np.concatenate(truth)
    right = [_mean_over_classes(told, np.concatenate(answers)) for answers in (linear, near)]
    return ProbeResult(right[0], right[1], 1 / len(shared), len(shared), len(kept))


def _mean_over_classes(told: Codes, answers: Codes) -> float:
    return float(np.mean([(answers[told == k] == k).mean() for k in np.unique(told)]))


def halves(codes: Codes, owners: Codes, people: int, seed: int) -> NDArray[np.bool_]:
    """Return which identities are in the first half; those of one class alternate, in a random order.

    Args:
        codes: [N], class of each image.
        owners: [N], identity of each image.
        people: identities.
        seed: of the order.
    """
    first_class = np.zeros(people, dtype=np.int64)
    first_class[owners[::-1]] = codes[::-1]
    order = np.random.default_rng(seed).permutation(people)
    order = order[np.argsort(first_class[order], kind="stable")]
    chosen = np.zeros(people, dtype=bool)
    chosen[order[::2]] = True
    return chosen


def vote(known: Matrix, labels: Codes, asked: Matrix, count: int = NEIGHBOURS) -> Codes:
    """Return the class that most of the nearest known images have, by cosine after centring; ties to the nearest.

    Args:
        known: [N, D].
        labels: [N].
        asked: [M, D].
        count: neighbours that vote.
    """
    mean, deviation = known.mean(0), known.std(0)
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12)
    a, b = (unit((x - mean) * scale) for x in (asked, known))
    nearest = np.argsort(-(a @ b.T), axis=1, kind="stable")[:, :count]
    votes = np.eye(int(labels.max()) + 1)[labels[nearest]]  # M count K
    weights = 1 + 1e-6 * np.arange(nearest.shape[1], 0, -1)[:, None]
    winners: Codes = (votes * weights).sum(1).argmax(1)
    return winners


def unit(rows: NDArray[np.floating]) -> Matrix:
    """Return rows scaled to length 1, in float64; zeros stay zeros."""
    x = rows.astype(np.float64)
    lengths = np.linalg.norm(x, axis=1, keepdims=True)
    scaled: Matrix = np.divide(x, lengths, out=np.zeros_like(x), where=lengths > 0)
    return scaled
