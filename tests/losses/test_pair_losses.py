"""Losses of pairs and triplets of images against values by hand and brute force."""

import doctest
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from jointreid.losses import dual_causality, triplets
from jointreid.losses.triplets import Pairs, batch_hard_triplet, draw_pairs, weighted_regularised_triplet
from jointreid.messages.errors import JointreidError
from jointreid.models.norms import Restitution
from tests.losses.small_numbers import TOY, randn


def test_batch_hard_on_four_points() -> None:
    loss = batch_hard_triplet(TOY, torch.tensor([0, 0, 1, 1]), 0.3)
    # Farthest positives 1, 1, sqrt 13, sqrt 13; nearest negatives 2, 2, 2, 2.
    assert loss.item() == pytest.approx(2 * (math.sqrt(13) - 2 + 0.3) / 4, abs=1e-7)
    assert loss.item() == pytest.approx(0.952776, abs=5e-7)


def test_worked_example_of_the_docstring() -> None:
    assert doctest.testmod(triplets) == (0, 2)


def brute_force(embedding: Tensor, labels: list[int], margin: float) -> float:
    points = embedding.double().tolist()
    total = 0.0
    for anchor, label in zip(points, labels, strict=True):
        distances = [(math.dist(anchor, other), other_label) for other, other_label in zip(points, labels, strict=True)]
        hardest_positive = max(distance for distance, other in distances if other == label)
        hardest_negative = min(distance for distance, other in distances if other != label)
        total += max(0.0, hardest_positive - hardest_negative + margin)
    return total / len(points)


@pytest.mark.parametrize(("identities", "each", "dim"), [(2, 2, 1), (3, 4, 7), (16, 4, 33)])
@pytest.mark.parametrize("margin", [0.0, 0.3, 2.0])
def test_batch_hard_equals_brute_force(identities: int, each: int, dim: int, margin: float) -> None:
    labels = torch.arange(identities).repeat_interleave(each)[torch.randperm(identities * each)]
    embedding = randn(len(labels), dim) + labels[:, None]  # near identities, so that some hinges are closed
    loss = batch_hard_triplet(embedding, labels, margin)
    assert loss.item() == pytest.approx(brute_force(embedding, labels.tolist(), margin), rel=1e-5, abs=1e-6)


def test_batch_hard_keeps_small_distances_between_large_embeddings() -> None:
    embedding = TOY * 1e-3 + torch.tensor([256.0, 256.0])
    exact = brute_force(embedding, [0, 0, 1, 1], 0.0)
    assert exact > 7e-4
    assert batch_hard_triplet(embedding, torch.tensor([0, 0, 1, 1]), 0.0).item() == pytest.approx(exact, rel=1e-4)


def test_batch_hard_gradient() -> None:
    embedding = TOY.clone().requires_grad_()
    torch.autograd.backward(batch_hard_triplet(embedding, torch.tensor([0, 0, 1, 1]), 0.3))
    step, expected = 1e-3, torch.zeros(4, 2)
    for index in range(8):
        shift = torch.zeros(8)
        shift[index] = step
        ends = [brute_force(TOY + sign * shift.view(4, 2), [0, 0, 1, 1], 0.3) for sign in (1, -1)]
        expected.view(-1)[index] = (ends[0] - ends[1]) / (2 * step)
    assert embedding.grad is not None
    torch.testing.assert_close(embedding.grad, expected, rtol=1e-2, atol=1e-3)


def test_equal_embeddings_have_a_finite_gradient() -> None:
    embedding = torch.zeros(4, 3, requires_grad=True)
    loss = batch_hard_triplet(embedding, torch.tensor([0, 0, 1, 1]), 0.3)
    torch.autograd.backward(loss)
    assert loss.item() == pytest.approx(0.3)
    assert embedding.grad is not None
    assert torch.equal(embedding.grad, torch.zeros(4, 3))


@pytest.mark.parametrize("labels", [[0, 0, 1, 2], [5, 5, 5, 5], [0, 1, 2, 3]])
@pytest.mark.parametrize(
    "function",
    [lambda labels: batch_hard_triplet(TOY, labels, 0.3), lambda x: weighted_regularised_triplet(TOY, x), draw_pairs],
)
def test_refuses_an_anchor_without_positive_or_negative(function: Any, labels: list[int]) -> None:
    with pytest.raises(JointreidError, match="at least 2 identities with at least 2 images"):
        function(torch.tensor(labels))


def weighted_by_loops(embedding: Tensor, labels: list[int], added: float = 0.0) -> float:
    """AGW's term by loops in float64; `added` to the sum of powers after its public code's shift of the negatives."""
    points = embedding.double().tolist()
    total = 0.0
    for anchor, label in zip(points, labels, strict=True):
        distances = [(math.dist(anchor, other), other_label) for other, other_label in zip(points, labels, strict=True)]
        means = []
        for sign, group in (
            (1, [d for d, o in distances if o == label]),
            (-1, [d for d, o in distances if o != label]),
        ):
            shift = max(group) if sign == 1 else 0.0
            powers = [math.exp(sign * d - shift) for d in group]
            means.append(sum(w * d for w, d in zip(powers, group, strict=True)) / (sum(powers) + added))
        total += math.log1p(math.exp(means[0] - means[1]))
    return total / len(points)


@pytest.mark.parametrize(("identities", "each", "dim"), [(2, 2, 1), (3, 4, 7), (16, 4, 33)])
@pytest.mark.parametrize(("numerics", "added"), [("stable", 0.0), ("published", 1e-6)])
def test_weighted_triplet_equals_loops(identities: int, each: int, dim: int, numerics: Any, added: float) -> None:
    labels = torch.arange(identities).repeat_interleave(each)[torch.randperm(identities * each)]
    embedding = randn(len(labels), dim) + labels[:, None]
    loss = weighted_regularised_triplet(embedding, labels, numerics)
    assert loss.item() == pytest.approx(weighted_by_loops(embedding, labels.tolist(), added), rel=1e-5, abs=1e-6)


def test_weights_are_those_of_a_logsumexp() -> None:
    """The derivative of logsumexp(d) is the softmax: the weighted mean is d . grad logsumexp(d)."""
    labels, embedding = torch.tensor([0, 0, 0, 1, 1, 1]), randn(6, 5)
    same = labels[:, None] == labels
    distance = torch.cdist(embedding, embedding)
    means = []
    for sign, members in ((1, same), (-1, ~same)):
        values = (sign * distance).detach().requires_grad_()
        lse = values.masked_fill(~members, -torch.inf).logsumexp(1).sum()
        (weights,) = torch.autograd.grad(lse, values)
        means.append((weights * distance).sum(1))
    expected = functional.softplus(means[0] - means[1]).mean()
    torch.testing.assert_close(weighted_regularised_triplet(embedding, labels), expected)


def equidistant(distance: float) -> tuple[Tensor, Tensor]:
    """16 identities of 4 equal images each, every two identities at this distance."""
    corners = torch.eye(16) * distance / 2**0.5
    return corners.repeat_interleave(4, 0), torch.arange(16).repeat_interleave(4)


@pytest.mark.parametrize(("distance", "counted_as"), [(5.0, 5.0), (20.0, 2.20), (30.0, 0.0002)])
def test_far_negatives_keep_their_distance_unless_weighted_as_published(distance: float, counted_as: float) -> None:
    embedding, labels = equidistant(distance)
    stable = weighted_regularised_triplet(embedding, labels).item()
    assert stable == pytest.approx(math.log1p(math.exp(-distance)), rel=1e-4, abs=1e-8)
    published = weighted_regularised_triplet(embedding, labels, "published").item()
    mean = -math.log(math.expm1(published))  # of the negatives: log(1 + exp(0 - mean)) turned round
    assert mean == pytest.approx(counted_as, rel=0.01, abs=5e-5)


@pytest.mark.parametrize("numerics", ["stable", "published"])
def test_weighted_triplet_has_finite_gradients_at_any_distance(numerics: Any) -> None:
    for scale in (0.0, 1.0, 1e3):
        embedding = (TOY * scale).requires_grad_()
        torch.autograd.backward(weighted_regularised_triplet(embedding, torch.tensor([0, 0, 1, 1]), numerics))
        assert embedding.grad is not None
        assert torch.isfinite(embedding.grad).all()


PK = torch.arange(4).repeat_interleave(3)


def test_pairs_follow_from_the_generator_and_keep_to_the_labels() -> None:
    first, again, other = (draw_pairs(PK, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert torch.equal(PK[first.positive], PK)
    assert (first.positive != torch.arange(12)).all()
    assert (PK[first.negative] != PK).all()


def test_every_allowed_pair_is_drawn_equally_often() -> None:
    generator, draws = torch.Generator().manual_seed(0), 3000
    drawn = [draw_pairs(PK, generator) for _ in range(draws)]
    positives = torch.stack([pairs.positive[4] for pairs in drawn]).bincount(minlength=12) / draws
    negatives = torch.stack([pairs.negative[4] for pairs in drawn]).bincount(minlength=12) / draws
    assert positives.tolist() == pytest.approx([0, 0, 0, 1 / 2, 0, 1 / 2, *[0] * 6], abs=0.03)
    assert negatives.tolist() == pytest.approx([1 / 9] * 3 + [0] * 3 + [1 / 9] * 6, abs=0.03)


def causality_by_loops(restitution: Restitution, pairs: Pairs) -> float:
    def d(feature: Tensor, a: int, b: int) -> float:
        x, y = feature[a].double(), feature[b].double()
        return 0.5 - 0.5 * float(x @ y / x.norm() / y.norm())

    def softplus(value: float) -> float:
        return math.log1p(math.exp(value))

    plain, useful, useless = restitution
    total = 0.0
    for a, (p, n) in enumerate(zip(pairs.positive.tolist(), pairs.negative.tolist(), strict=True)):
        total += softplus(d(useful, a, p) - d(plain, a, p)) + softplus(d(plain, a, n) - d(useful, a, n))
        total += softplus(d(plain, a, p) - d(useless, a, p)) + softplus(d(useless, a, n) - d(plain, a, n))
    return total / len(plain)


def restitution(seed: int = 0) -> Restitution:
    return Restitution(randn(12, 5, seed=seed), randn(12, 5, seed=seed + 1), randn(12, 5, seed=seed + 2))


def test_dual_causality_equals_its_formula() -> None:
    pairs = draw_pairs(PK, torch.Generator().manual_seed(0))
    expected = causality_by_loops(restitution(), pairs)
    assert dual_causality(restitution(), pairs).item() == pytest.approx(expected, rel=1e-5)


def test_dual_causality_falls_as_the_useful_part_tells_identities_apart_and_the_useless_part_does_not() -> None:
    pairs = draw_pairs(PK, torch.Generator().manual_seed(0))
    plain, telling = torch.ones(12, 4), functional.one_hot(PK, 4).float()
    blurring = functional.one_hot(torch.arange(12) % 3, 4).float()  # every image of an identity another
    good = dual_causality(Restitution(plain, telling, blurring), pairs)
    bad = dual_causality(Restitution(plain, blurring, telling), pairs)
    assert good < dual_causality(Restitution(plain, plain, plain), pairs) < bad
    assert dual_causality(Restitution(plain, plain, plain), pairs).item() == pytest.approx(4 * math.log(2))


def test_equal_plain_vectors_are_at_distance_zero_and_have_no_gradient_even_at_zero() -> None:
    pairs = draw_pairs(PK, torch.Generator().manual_seed(0))
    for value in (0.0, 1e-3):
        plain = torch.full((1, 5), value, requires_grad=True)
        rest = restitution()
        torch.autograd.backward(dual_causality(rest._replace(plain=plain.expand(12, 5)), pairs))
        assert plain.grad is not None
        assert torch.equal(plain.grad, torch.zeros(1, 5))
