"""The objective against values by hand and brute force."""

import doctest
import math
from typing import Any

import pytest
import torch
from torch import Tensor
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
    triplets,
)
from jointreid.losses.identity import identity_cross_entropy
from jointreid.losses.triplets import Pairs, batch_hard_triplet, draw_pairs, weighted_regularised_triplet
from jointreid.messages.errors import JointreidError
from jointreid.models.context import FactorLogits
from jointreid.models.norms import Restitution
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
