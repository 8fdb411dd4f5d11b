"""Losses of logits, and the objective that adds up all losses, against values by hand."""

import math
from typing import Any

import pytest
import torch
from torch.nn import functional

from jointreid.config import LossConfig
from jointreid.data.images import Batch
from jointreid.losses import (
    dual_causality,
    factor_cross_entropy,
    head_accuracy,
    identity_by_domain,
    reid_loss,
    trained_terms,
)
from jointreid.losses.identity import identity_cross_entropy
from jointreid.losses.triplets import batch_hard_triplet, draw_pairs, weighted_regularised_triplet
from jointreid.models.context import FactorLogits
from jointreid.models.norms import Restitution
from jointreid.models.reid import ModelOutput
from tests.losses.small_numbers import TOY, randn


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
    assert accuracy.domain.shape == accuracy.camera.shape == (0,)


def test_factor_smoothing() -> None:
    block = FactorLogits(randn(4, 5), None)
    ids = torch.arange(4)
    expected = functional.cross_entropy(randn(4, 5), ids, label_smoothing=0.2)
    torch.testing.assert_close(factor_cross_entropy([block], ids, ids, 0.2).domain, expected)


def test_the_identity_loss_is_added_up_by_domain() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)], [0.0, 0.0]])  # p = 1/2; 3/4 for class 1; 1/2
    batch = Batch(torch.zeros(3, 3, 1, 1), torch.tensor([0, 1, 1]), torch.zeros(3).long(), torch.tensor([2, 0, 2]))
    sums, images = identity_by_domain(ModelOutput(logits, logits, logits, ()), batch, 3)
    assert sums.tolist() == pytest.approx([math.log(4 / 3), 0.0, 2 * math.log(2)])
    assert images.tolist() == [1.0, 0.0, 2.0]


def test_head_accuracy_per_block() -> None:
    right = functional.one_hot(torch.tensor([0, 1, 2, 0]), 3).float()
    wrong_once = functional.one_hot(torch.tensor([0, 1, 2, 1]), 3).float()
    domain_ids = torch.tensor([0, 1, 2, 0])
    accuracy = head_accuracy([FactorLogits(right, wrong_once), FactorLogits(wrong_once, right)], domain_ids, domain_ids)
    assert accuracy.domain.tolist() == [1.0, 0.75]
    assert accuracy.camera.tolist() == [0.75, 1.0]
    assert accuracy.mean_domain.item() == accuracy.mean_camera.item() == 0.875


def test_head_accuracy_leaves_out_heads_of_one_class() -> None:
    camera = functional.one_hot(torch.tensor([0, 1, 1, 1]), 2).float()
    accuracy = head_accuracy([FactorLogits(randn(4, 1), camera)], torch.zeros(4).long(), torch.tensor([0, 1, 0, 0]))
    assert accuracy.domain.shape == (0,)
    assert accuracy.camera.tolist() == [0.5]


def in_dtype(logits: FactorLogits, dtype: torch.dtype) -> FactorLogits:
    assert logits.domain is not None
    assert logits.camera is not None
    return FactorLogits(logits.domain.to(dtype), logits.camera.to(dtype))


def output_and_batch(dtype: torch.dtype = torch.float32) -> tuple[ModelOutput, Batch]:
    blocks = tuple(in_dtype(x, dtype) for x in factors(2, 3, 4, batch=4))
    output = ModelOutput(TOY.to(dtype), TOY.to(dtype), randn(4, 5).to(dtype), blocks)
    ids = torch.tensor([0, 0, 1, 1])
    return output, Batch(torch.zeros(4, 3, 8, 4), ids, torch.tensor([0, 3, 1, 2]), torch.tensor([0, 2, 1, 1]))


def test_the_triplet_of_choice_is_taken() -> None:
    output, batch = output_and_batch()
    for numerics in ("stable", "published"):
        terms = reid_loss(output, batch, LossConfig(triplet="wrt", wrt_numerics=numerics))
        assert terms.triplet == weighted_regularised_triplet(TOY, batch.labels, numerics)
    assert reid_loss(output, batch, LossConfig()).triplet == batch_hard_triplet(TOY, batch.labels, 0.3)


def test_the_snr_term_is_weighted_by_stage_drawn_once_and_can_be_switched_off() -> None:
    output, batch = output_and_batch()
    stages = tuple(
        Restitution(*(randn(4, 3 + stage, seed=9 * stage + part) for part in range(3))) for stage in range(4)
    )
    config = LossConfig(w_snr=(0.5, 0.25, 0.0, 2.0))
    without, on = (
        reid_loss(output._replace(restitutions=given), batch, config, torch.Generator().manual_seed(7))
        for given in ((), stages)
    )
    pairs = draw_pairs(batch.labels, torch.Generator().manual_seed(7))
    terms = [dual_causality(stage, pairs) for stage in stages]
    assert without.snr is None
    assert on.snr is not None
    assert on.snr.item() > 1  # each of the four parts of dual_causality is near log 2
    torch.testing.assert_close(on.snr, 0.5 * terms[0] + 0.25 * terms[1] + 2 * terms[3])
    torch.testing.assert_close(on.total, without.total + on.snr)
    off = reid_loss(output._replace(restitutions=stages), batch, LossConfig(snr=False, w_snr=config.w_snr))
    assert off.snr is None
    assert off.total == without.total


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (None, ["triplet", "identity", "total"]),
        ((1, 1), ["triplet", "identity", "total"]),
        ((1, 4), ["triplet", "identity", "camera", "total"]),
        ((3, 1), ["triplet", "identity", "domain", "total"]),
        ((3, 4), ["triplet", "identity", "domain", "camera", "total"]),
    ],
)
def test_terms_that_train_nothing_are_left_out_but_not_from_the_graph(
    classes: tuple[int, int] | None, names: list[str]
) -> None:
    output, batch = output_and_batch()
    heads = [randn(4, count).requires_grad_() for count in classes or ()]
    batch = batch._replace(
        **{
            name: torch.arange(4) % count
            for name, count in zip(("domain_ids", "global_camids"), classes or (), strict=False)
        }
    )
    terms = reid_loss(output._replace(factor_logits=(FactorLogits(*heads),) if heads else ()), batch, LossConfig())
    trained = trained_terms(terms)
    assert list(trained) == names
    assert sum(term.item() for name, term in trained.items() if name != "total") == pytest.approx(terms.total.item())
    if heads:
        torch.autograd.backward(terms.total)
        assert [logits.grad is not None for logits in heads] == [True, True]


def test_total_is_the_weighted_sum() -> None:
    output, batch = output_and_batch()
    config = LossConfig(w_triplet=2.0, w_id=3.0, w_domain=5.0, w_camera=7.0, aux_smoothing=0.05)
    terms = reid_loss(output, batch, config)
    assert terms.triplet.item() == pytest.approx(0.952776, abs=5e-7)
    torch.testing.assert_close(terms.identity, identity_cross_entropy(output.id_logits, batch.labels, 0.1))
    expected = factor_cross_entropy(output.factor_logits, batch.domain_ids, batch.global_camids, 0.05)
    assert (terms.domain, terms.camera) == expected
    assert terms.domain is not None
    assert terms.camera is not None
    assert terms.domain != terms.camera
    total = 2 * terms.triplet + 3 * terms.identity + 5 * terms.domain + 7 * terms.camera
    torch.testing.assert_close(terms.total, total)


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_terms_are_fp32_in_low_precision(dtype: Any, autocast: bool) -> None:
    output, batch = output_and_batch(dtype)
    with torch.autocast("cpu", dtype, enabled=autocast):
        terms = reid_loss(output, batch, LossConfig())
    assert {term.dtype for term in trained_terms(terms).values()} == {torch.float32}
    blocks = tuple(in_dtype(x, torch.float32) for x in output.factor_logits)
    exact = ModelOutput(output.embedding.float(), output.bn_embedding, output.id_logits.float(), blocks)
    expected = trained_terms(reid_loss(exact, batch, LossConfig()))
    assert expected.keys() == {"triplet", "identity", "domain", "camera", "total"}
    torch.testing.assert_close(trained_terms(terms), expected, rtol=1e-6, atol=0)
