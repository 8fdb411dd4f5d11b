"""The objective against values by hand and brute force."""

import doctest
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from jointreid import losses
from jointreid.config import LossConfig
from jointreid.data.images import Batch
from jointreid.errors import JointreidError
from jointreid.losses import (
    batch_hard_triplet,
    factor_cross_entropy,
    head_accuracy,
    identity_cross_entropy,
    reid_loss,
)
from jointreid.models.dcsd import FactorLogits
from jointreid.models.reid import ModelOutput

TOY = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_batch_hard_on_four_points() -> None:
    loss = batch_hard_triplet(TOY, torch.tensor([0, 0, 1, 1]), 0.3)
    # Farthest positives 1, 1, sqrt 13, sqrt 13; nearest negatives 2, 2, 2, 2.
    assert loss.item() == pytest.approx(2 * (math.sqrt(13) - 2 + 0.3) / 4, abs=1e-7)
    assert loss.item() == pytest.approx(0.952776, abs=5e-7)


def test_worked_example_of_the_docstring() -> None:
    assert doctest.testmod(losses) == (0, 2)


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
def test_refuses_an_anchor_without_positive_or_negative(labels: list[int]) -> None:
    with pytest.raises(JointreidError, match="at least 2 identities with at least 2 images"):
        batch_hard_triplet(TOY, torch.tensor(labels), 0.3)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_identity_cross_entropy_is_the_smoothed_formula(smoothing: float) -> None:
    logits, labels = randn(6, 11), torch.tensor([0, 3, 10, 3, 7, 1])
    expected = 0.0
    for row, label in zip(logits.double(), labels.tolist(), strict=True):
        log_p = (row - row.exp().sum().log()).tolist()
        target = [smoothing / 11 + (1 - smoothing) * (j == label) for j in range(11)]
        expected -= sum(t * p for t, p in zip(target, log_p, strict=True)) / 6
    assert identity_cross_entropy(logits, labels, smoothing).item() == pytest.approx(expected, rel=1e-6)


def test_smoothing_relates_to_that_over_the_other_classes() -> None:
    """fast-reid spreads epsilon over the other C - 1 classes; the two agree at epsilon (C - 1) / C."""
    logits, labels, classes, smoothing = randn(6, 11), torch.arange(6), 11, 0.1
    epsilon = smoothing * (classes - 1) / classes
    target = torch.full((6, classes), epsilon / (classes - 1))
    target[torch.arange(6), labels] = 1 - epsilon
    theirs = -(target * logits.log_softmax(1)).sum(1).mean()
    torch.testing.assert_close(identity_cross_entropy(logits, labels, smoothing), theirs)


def factors(blocks: int, num_domains: int = 5, num_cameras: int = 32, batch: int = 6) -> tuple[FactorLogits, ...]:
    return tuple(
        FactorLogits(randn(batch, num_domains, seed=2 * i), randn(batch, num_cameras, seed=2 * i + 1))
        for i in range(blocks)
    )


def test_factor_terms_are_means_over_blocks() -> None:
    blocks, domain_ids, camids = factors(16), torch.tensor([0, 1, 2, 3, 4, 0]), torch.tensor([0, 7, 31, 2, 7, 0])
    terms = factor_cross_entropy(blocks, domain_ids, camids)
    domain = [-x.domain.log_softmax(1)[range(6), domain_ids].mean() for x in blocks if x.domain is not None]
    camera = [-x.camera.log_softmax(1)[range(6), camids].mean() for x in blocks if x.camera is not None]
    assert len(domain) == len(camera) == 16
    assert terms.domain.item() == pytest.approx(torch.stack(domain).mean().item(), rel=1e-6)
    assert terms.camera.item() == pytest.approx(torch.stack(camera).mean().item(), rel=1e-6)


def test_uniform_logits_cost_the_logarithm_of_the_classes() -> None:
    blocks = (FactorLogits(torch.zeros(4, 5), torch.full((4, 32), 2.5)),) * 3
    terms = factor_cross_entropy(blocks, torch.arange(4), torch.arange(4))
    assert terms.domain.item() == pytest.approx(math.log(5), rel=1e-6)
    assert terms.camera.item() == pytest.approx(math.log(32), rel=1e-6)


def test_one_class_costs_nothing_exactly() -> None:
    logits = randn(4, 1).requires_grad_()
    terms = factor_cross_entropy([FactorLogits(logits, logits)], torch.zeros(4).long(), torch.zeros(4).long())
    assert terms.domain.item() == terms.camera.item() == 0.0
    torch.autograd.backward(terms)
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(4, 1))


@pytest.mark.parametrize("blocks", [(), (FactorLogits(None, None),)])
def test_no_heads_cost_nothing(blocks: tuple[FactorLogits, ...]) -> None:
    ids = torch.arange(4)
    assert [term.item() for term in factor_cross_entropy(blocks, ids, ids)] == [0.0, 0.0]
    accuracy = head_accuracy(blocks, ids, ids)
    assert math.isnan(accuracy.mean_domain.item())
    assert accuracy.camera.shape == (0,)


def test_factor_smoothing() -> None:
    block = FactorLogits(randn(4, 5), None)
    ids = torch.arange(4)
    expected = functional.cross_entropy(randn(4, 5), ids, label_smoothing=0.2)
    torch.testing.assert_close(factor_cross_entropy([block], ids, ids, 0.2).domain, expected)


def test_head_accuracy_per_block() -> None:
    right = functional.one_hot(torch.tensor([0, 1, 2, 0]), 3).float()
    wrong_once = functional.one_hot(torch.tensor([0, 1, 2, 1]), 3).float()
    domain_ids = torch.tensor([0, 1, 2, 0])
    accuracy = head_accuracy([FactorLogits(right, wrong_once), FactorLogits(wrong_once, right)], domain_ids, domain_ids)
    assert accuracy.domain.tolist() == [1.0, 0.75]
    assert accuracy.camera.tolist() == [0.75, 1.0]
    assert accuracy.mean_domain.item() == accuracy.mean_camera.item() == 0.875


def output_and_batch(dtype: torch.dtype = torch.float32) -> tuple[ModelOutput, Batch]:
    blocks = tuple(FactorLogits(x.domain, x.camera) for x in factors(2, 3, 4, batch=4))
    output = ModelOutput(TOY.to(dtype), TOY.to(dtype), randn(4, 5).to(dtype), blocks)
    ids = torch.tensor([0, 0, 1, 1])
    return output, Batch(torch.zeros(4, 3, 8, 4), ids, torch.tensor([0, 3, 1, 2]), torch.tensor([0, 2, 1, 1]))


def test_total_is_the_weighted_sum() -> None:
    output, batch = output_and_batch()
    config = LossConfig(w_triplet=2.0, w_id=3.0, w_domain=5.0, w_camera=7.0, aux_smoothing=0.05)
    terms = reid_loss(output, batch, config)
    assert terms.triplet.item() == pytest.approx(0.952776, abs=5e-7)
    torch.testing.assert_close(terms.identity, identity_cross_entropy(output.id_logits, batch.labels, 0.1))
    expected = factor_cross_entropy(output.factor_logits, batch.domain_ids, batch.global_camids, 0.05)
    assert (terms.domain, terms.camera) == expected
    assert terms.domain != terms.camera
    total = 2 * terms.triplet + 3 * terms.identity + 5 * terms.domain + 7 * terms.camera
    torch.testing.assert_close(terms.total, total)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_terms_are_fp32_under_autocast(dtype: Any) -> None:
    output, batch = output_and_batch(dtype)
    with torch.autocast("cpu", dtype):
        terms = reid_loss(output, batch, LossConfig())
    assert {term.dtype for term in terms} == {torch.float32}
    exact = ModelOutput(output.embedding.float(), output.bn_embedding, output.id_logits.float(), output.factor_logits)
    for term, expected in zip(terms, reid_loss(exact, batch, LossConfig()), strict=True):
        torch.testing.assert_close(term, expected, rtol=1e-6, atol=0)
