"""Negatives of the anchor's own domain or of others, and identity heads by domain."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from jointreid.config import LossConfig, RunConfig
from jointreid.data.batch_shares import check_batches
from jointreid.data.images import Batch
from jointreid.data.joint import join
from jointreid.data.records import Domain, ImageRecord
from jointreid.losses import identity_by_domain, reid_loss
from jointreid.losses.identity import identity_cross_entropy, identity_loss
from jointreid.losses.triplets import batch_hard_triplet, minable, weighted_regularised_triplet
from jointreid.messages.errors import JointreidError
from jointreid.models.reid import ModelOutput
from tests.losses.small_numbers import randn

# On a line: two identities of domain 0 and one of domain 1, with two images each.
POINTS = torch.tensor([[0.0], [1.0], [5.0], [5.5], [2.0], [2.2]])
LABELS, DOMAINS = torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([0, 0, 0, 0, 1, 1])
NOBODY = torch.zeros(6, 6, dtype=torch.bool)


@pytest.mark.parametrize(
    ("mining", "losses"),
    [
        ("any", [0.0, 0.3, 0.0, 0.0, 0.0, 0.0]),  # the nearest negative of 1.0 is 2.0, as far as its positive
        ("within", [0.0, 0.0, 0.0, 0.0]),  # domain 1 has one identity: its anchors are left out
        ("across", [0.0, 0.3, 0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_the_hardest_negative_keeps_to_the_rule(mining: Any, losses: list[float]) -> None:
    loss = batch_hard_triplet(POINTS, LABELS, 0.3, minable(DOMAINS, mining))
    assert loss.item() == pytest.approx(sum(losses) / len(losses), abs=1e-6)


def test_anchors_without_a_negative_are_left_out_of_the_mean() -> None:
    loss = batch_hard_triplet(POINTS, LABELS, 5.0, minable(DOMAINS, "within"))
    # Positives at 1, 1, 0.5, 0.5; negatives within the domain at 5, 4, 4, 4.5; over four anchors, not six.
    assert loss.item() == pytest.approx((1 + 2 + 1.5 + 1) / 4)


def weighted_by_loops(mining: str) -> float:
    losses = []
    for point, label, domain in zip(POINTS[:, 0].tolist(), LABELS.tolist(), DOMAINS.tolist(), strict=True):
        means = []
        for sign in (1, -1):
            group = [
                abs(point - other)
                for other, other_label, other_domain in zip(
                    POINTS[:, 0].tolist(), LABELS.tolist(), DOMAINS.tolist(), strict=True
                )
                if (other_label == label) == (sign == 1)
                and (sign == 1 or mining == "any" or (other_domain == domain) == (mining == "within"))
            ]
            powers = [math.exp(sign * distance) for distance in group]
            means.append(sum(w * d for w, d in zip(powers, group, strict=True)) / sum(powers) if group else None)
        if means[1] is not None and means[0] is not None:
            losses.append(math.log1p(math.exp(means[0] - means[1])))
    return sum(losses) / len(losses)


@pytest.mark.parametrize("mining", ["any", "within", "across"])
def test_the_weighted_triplet_keeps_to_the_rule(mining: Any) -> None:
    loss = weighted_regularised_triplet(POINTS, LABELS, "stable", minable(DOMAINS, mining))
    assert loss.item() == pytest.approx(weighted_by_loops(mining), rel=1e-5)


@pytest.mark.parametrize(
    "function",
    [
        lambda x, negatives: batch_hard_triplet(x, LABELS, 0.3, negatives),
        lambda x, negatives: weighted_regularised_triplet(x, LABELS, "stable", negatives),
        lambda x, negatives: weighted_regularised_triplet(x, LABELS, "published", negatives),
    ],
)
def test_gradients_are_finite_where_anchors_have_no_negative(function: Any) -> None:
    for negatives in (NOBODY, minable(DOMAINS, "within")):
        points = POINTS.clone().requires_grad_()
        loss = function(points, negatives)
        torch.autograd.backward(loss)
        assert points.grad is not None
        assert torch.isfinite(points.grad).all()
        if negatives is NOBODY:
            assert loss.item() == 0
            assert points.grad.abs().sum() == 0


ID_DOMAINS = torch.tensor([0, 0, 0, 1, 1])


def test_a_masked_head_asks_only_which_identity_of_the_own_domain_it_is() -> None:
    logits, labels = randn(4, 5), torch.tensor([0, 2, 4, 3])
    own = [
        functional.cross_entropy(logits[i : i + 1, part], labels[i : i + 1] - part.start, label_smoothing=0.1).item()
        for i, part in enumerate([slice(0, 3), slice(0, 3), slice(3, 5), slice(3, 5)])
    ]
    loss = identity_loss(logits, labels, 0.1, "masked", ID_DOMAINS)
    assert loss.item() == pytest.approx(sum(own) / 4, rel=1e-5)
    changed = logits.clone()
    changed[:2, 3:] += 7  # of the other domain: no difference
    assert identity_loss(changed, labels, 0.1, "masked", ID_DOMAINS).item() == pytest.approx(loss.item(), rel=1e-6)
    assert identity_loss(changed, labels, 0.1) != identity_loss(logits, labels, 0.1)


def test_heads_by_domain_count_every_domain_in_the_batch_alike() -> None:
    logits, labels = randn(5, 5), torch.tensor([0, 1, 2, 0, 4])  # four images and one
    of_first = identity_loss(logits[:4], labels[:4], 0.1, "masked", ID_DOMAINS)
    of_second = identity_loss(logits[4:], labels[4:], 0.1, "masked", ID_DOMAINS)
    loss = identity_loss(logits, labels, 0.1, "per_domain", ID_DOMAINS)
    torch.testing.assert_close(loss, (of_first + of_second) / 2)
    masked = identity_loss(logits, labels, 0.1, "masked", ID_DOMAINS)
    torch.testing.assert_close(masked, (4 * of_first + of_second) / 5)


@pytest.mark.parametrize("head", ["masked", "per_domain"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_heads_by_domain_have_no_gradient_on_other_domains_and_are_fp32(head: Any, dtype: torch.dtype) -> None:
    logits, labels = randn(4, 5).to(dtype).requires_grad_(), torch.tensor([0, 2, 4, 3])
    loss = identity_loss(logits, labels, 0.1, head, ID_DOMAINS)
    assert loss.dtype == torch.float32
    torch.autograd.backward(loss)
    assert logits.grad is not None
    assert (logits.grad != 0).tolist() == [[True] * 3 + [False] * 2] * 2 + [[False] * 3 + [True] * 2] * 2


@pytest.mark.parametrize("head", ["masked", "per_domain"])
def test_heads_by_domain_of_one_domain_are_the_softmax(head: Any) -> None:
    logits, labels = randn(4, 5), torch.tensor([0, 2, 4, 3])
    loss = identity_loss(logits, labels, 0.1, head, torch.zeros(5, dtype=torch.int64))
    torch.testing.assert_close(loss, identity_cross_entropy(logits, labels, 0.1))


def test_the_loss_takes_both_rules_from_its_settings() -> None:
    logits = randn(6, 3)
    batch = Batch(torch.zeros(6, 3, 8, 4), LABELS, DOMAINS, DOMAINS, torch.tensor([0, 0, 1]))
    output = ModelOutput(POINTS, POINTS, logits, ())
    terms = reid_loss(output, batch, LossConfig(margin=5.0, mining="within", id_head="masked"))
    assert terms.triplet.item() == pytest.approx((1 + 2 + 1.5 + 1) / 4)
    assert terms.identity == identity_loss(logits, LABELS, 0.1, "masked", batch.id_domains)
    for kind in ("batch_hard", "wrt"):
        plain = reid_loss(output, batch, LossConfig(triplet=kind))
        assert plain == reid_loss(output, batch._replace(id_domains=None), LossConfig(triplet=kind))
    with pytest.raises(JointreidError, match=r"needs the domain of every identity: Batch\.id_domains"):
        reid_loss(output, batch._replace(id_domains=None), LossConfig(id_head="per_domain"))
    sums, images = identity_by_domain(output, batch, 2, "masked")
    assert images.tolist() == [4, 2]
    assert sums[1].item() == 0  # the one identity of its domain
    assert sums[0].item() == pytest.approx(functional.cross_entropy(logits[:4, :2], LABELS[:4]).item() * 4, rel=1e-5)


def test_a_batch_carries_the_domain_of_every_identity_to_the_device() -> None:
    records = tuple(ImageRecord(Path(f"{pid}-{n}"), f"{pid}", 0) for pid in range(3) for n in range(2))
    train_set = join([Domain("a", records), Domain("b", records[:2])])
    assert train_set.label_space.id_domains.tolist() == [0, 0, 0, 1]
    batch = Batch(torch.zeros(6, 3, 8, 4), LABELS, DOMAINS, DOMAINS, torch.tensor(train_set.label_space.id_domains))
    moved = batch.to("cpu")
    assert moved.id_domains is not None
    assert moved.id_domains.tolist() == [0, 0, 0, 1]
    assert batch._replace(id_domains=None).to("cpu").id_domains is None


def test_negatives_of_other_data_sets_need_two() -> None:
    records = tuple(ImageRecord(Path(f"{pid}-{n}"), f"{pid}", 0) for pid in range(16) for n in range(4))
    config = RunConfig().replace(loss={"mining": "across"})
    problems, composition = check_batches([Domain("a", records)], config)
    assert composition is None
    assert [problem.level for problem in problems] == ["error"]
    assert "only a has train images" in problems[0].message
    assert check_batches([Domain("a", records), Domain("b", records)], config)[0] == []


@pytest.mark.parametrize(
    ("per_batch", "train", "refusal"),
    [
        (1, {}, "a batch is of one data set (sampler.domains_per_batch is 1, of 2 data sets): choose 2 or more"),
        (2, {}, ""),
        (2, {"devices": 2}, "the part of a process in a batch is of one data set"),
        (2, {"devices": 2, "gather": True}, ""),
    ],
)
def test_negatives_of_other_data_sets_need_two_in_a_batch(per_batch: int, train: dict[str, Any], refusal: str) -> None:
    records = tuple(ImageRecord(Path(f"{pid}-{n}"), f"{pid}", 0) for pid in range(16) for n in range(4))
    sampler = {"kind": "grouped_domains", "domains_per_batch": per_batch}
    config = RunConfig().replace(loss={"mining": "across"}, sampler=sampler, train=train)
    problems, _ = check_batches([Domain("a", records), Domain("b", records)], config)
    assert [refusal in problem.message for problem in problems] == [True] * bool(refusal)
