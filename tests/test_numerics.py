"""Degenerate and extreme numbers: gradients stay finite, or training is stopped by the check that the table names.

There are two checks before each step, of the loss and of the gradients. A case is of one of three outcomes: `finite`;
`loss`, where what is computed is not finite already; `gradient`, where only the gradients are not.
"""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from jointreid.config import DcsdConfig, LossConfig
from jointreid.data.images import Batch
from jointreid.losses import dual_causality, factor_cross_entropy, reid_loss
from jointreid.losses.identity import identity_cross_entropy
from jointreid.losses.triplets import Pairs, batch_hard_triplet, weighted_regularised_triplet
from jointreid.models import build_model
from jointreid.models.agw import GeM, NonLocal
from jointreid.models.context import FactorLogits
from jointreid.models.dcsd import DCSD
from jointreid.models.dynamic_filter import dynamic_filter, dynamic_filter_reference, filter_norm, filter_norm_reference
from jointreid.models.norms import SNR, InstanceNorm, Restitution

FINITE, LOSS, GRADIENT = "finite", "loss", "gradient"
LABELS = torch.tensor([0, 0, 1, 1])
SIGNS = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0])


def outcome(value: Tensor, *leaves: Tensor) -> str:
    """Differentiate a value, all of whose elements count, and return which check would stop training, if any."""
    if not bool(value.isfinite().all()):
        return LOSS
    weights = torch.linspace(-1, 2, value.numel(), dtype=torch.float32).view(value.shape)
    torch.autograd.backward((value.float() * weights).sum())
    gradients = [leaf.grad for leaf in leaves if leaf.grad is not None]
    assert gradients
    return FINITE if all(bool(gradient.isfinite().all()) for gradient in gradients) else GRADIENT


def leaf(value: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    return value.to(dtype).clone().requires_grad_()


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


# Groups of taps


def groups(dtype: torch.dtype) -> dict[str, Tensor]:
    """Nine taps each; the powers of two are exact in every dtype."""
    largest, smallest = torch.finfo(dtype).max, torch.finfo(dtype).smallest_normal
    return {
        "zero": torch.zeros(9),
        "constant": torch.full((9,), 0.1),
        "subnormal": SIGNS * smallest / 64,
        "smallest": SIGNS * smallest,
        "one tap": torch.eye(9)[4],
        "one large tap": torch.eye(9)[4] * largest,
        "large": SIGNS * largest / 16,
        "largest": SIGNS * largest,
    }


# By (group, dtype); every other is finite. float16 has no room for the gradient of a group without spread, 1 / eps;
# the sum of nine numbers near the end of float32, which bfloat16 shares, overflows.
NOT_FINITE = {
    **{(name, torch.float16): GRADIENT for name in ("zero", "constant", "subnormal")},
    ("largest", torch.float32): LOSS,
    ("largest", torch.bfloat16): LOSS,
}


@pytest.mark.parametrize("norm", [filter_norm, filter_norm_reference])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", groups(torch.float32))
@pytest.mark.parametrize("alone", [True, False])
def test_a_group_of_taps(norm: Callable[..., Tensor], dtype: torch.dtype, name: str, alone: bool) -> None:
    raw = groups(dtype)[name].expand(2, 3, 9) if alone else torch.cat([groups(dtype)[name][None], randn(2, 9)])[None]
    channel, std = leaf(raw, dtype), leaf(torch.full((3, 9), 0.5))
    expected = NOT_FINITE.get((name, dtype), FINITE)
    assert outcome(norm(channel, 2, std), channel, std) == expected
    spatial = leaf(raw.mT, dtype)  # taps in dimension 1, as positions have them
    assert outcome(norm(spatial, 1, math.sqrt(2) / 3), spatial) == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("filtered", [dynamic_filter, dynamic_filter_reference])
@pytest.mark.parametrize(("share", "expected"), [(1.0, LOSS), (1 / 16, FINITE), (0.0, FINITE)])
def test_features_near_the_end_of_their_range(
    dtype: torch.dtype, filtered: Callable[..., Tensor], share: float, expected: str
) -> None:
    x = leaf(torch.full((1, 2, 4, 3), torch.finfo(dtype).max * share), dtype)
    spatial, channel = leaf(torch.ones(1, 9, 4, 3)), leaf(torch.full((1, 2, 9), 0.5))
    assert outcome(filtered(x, spatial, channel), x) == expected


# Networks

FEATURES = {
    "zero": torch.zeros(4, 8, 4, 3),
    "constant": torch.full((4, 8, 4, 3), 3.0),
    "equal images": randn(1, 8, 4, 3).expand(4, -1, -1, -1),
    "subnormal": randn(4, 8, 4, 3) * 1e-41,
    "large": randn(4, 8, 4, 3) * 1e4,
}


def constant_filters() -> DCSD:
    """A DCSD whose generators are at zero: every group of every kernel is."""
    module = DCSD(8, 2, 3)
    for generator in (module.channel_branch.fc2, module.spatial_branch.conv):
        for parameter in generator.parameters():
            torch.nn.init.zeros_(parameter)
    return module


MODULES: dict[str, Callable[[], torch.nn.Module]] = {
    "DCSD": lambda: DCSD(8, 2, 3),
    "DCSD of the sum": lambda: DCSD(8, 2, 3, DcsdConfig(combine="add")),
    "DCSD with filters of zero": constant_filters,
    "DCSD with heads of one class": lambda: DCSD(8, 1, 1),
    "GeM": lambda: GeM(3.0, learnable=True),
    "instance norm": lambda: InstanceNorm(8),
    "SNR": lambda: SNR(8),
    "non-local": lambda: NonLocal(8),
}


@pytest.mark.parametrize("name", MODULES)
@pytest.mark.parametrize("features", FEATURES)
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_degenerate_features(name: str, features: str, precision: torch.dtype) -> None:
    torch.manual_seed(0)
    module, x = MODULES[name](), leaf(FEATURES[features])
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        result = module(x)
    parts = [part.float().flatten() for part in tensors_of(result)]
    assert outcome(torch.cat(parts), x, *module.parameters()) == FINITE


def tensors_of(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    return [tensor for part in result or () for tensor in tensors_of(part)]


@pytest.mark.parametrize("system", ["bot-dcsd", "agw", "bot-snr"])
def test_a_batch_of_one_picture(system: str) -> None:
    """BNNeck's deviation, every distance and the difference of any two images are 0."""
    torch.manual_seed(0)
    model = build_model(system, 2, 1, 1, trunk="resnet50-w16")
    batch = Batch(randn(1, 3, 32, 16).expand(4, -1, -1, -1), LABELS, torch.zeros_like(LABELS), torch.zeros_like(LABELS))
    config = LossConfig(triplet="wrt" if system == "agw" else "batch_hard", snr=system == "bot-snr")
    loss = reid_loss(model(batch.images), batch, config, torch.Generator().manual_seed(0)).total
    assert outcome(loss, *model.parameters()) == FINITE


# Losses

EMBEDDINGS = {
    "zero": (torch.zeros(4, 5), FINITE),
    "equal": (torch.full((4, 5), 7.0), FINITE),
    "equal but one": (torch.cat([torch.ones(3, 5), torch.zeros(1, 5)]), FINITE),
    "closer than fp32 tells apart": (torch.ones(4, 5) + torch.eye(4, 5) * 1e-7, FINITE),
    "subnormal": (randn(4, 5) * 1e-41, FINITE),
    "at the end of float16": (randn(4, 5).sign() * 65504, FINITE),
    "too large to square": (randn(4, 5) * 1e30, LOSS),
    "NaN": (torch.full((4, 5), torch.nan), LOSS),
}
TERMS: dict[str, Callable[[Tensor], Tensor]] = {
    "batch-hard": lambda x: batch_hard_triplet(x, LABELS, 0.3),
    "weighted": lambda x: weighted_regularised_triplet(x, LABELS),
    "weighted as published": lambda x: weighted_regularised_triplet(x, LABELS, "published"),
}


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("name", EMBEDDINGS)
def test_triplet_terms(term: str, name: str) -> None:
    value, expected = EMBEDDINGS[name]
    embedding = leaf(value)
    assert outcome(TERMS[term](embedding), embedding) == expected


@pytest.mark.parametrize("name", ["zero", "equal", "equal but one", "subnormal", "at the end of float16"])
def test_the_term_of_snr(name: str) -> None:
    parts = [leaf(EMBEDDINGS[name][0]) for _ in range(3)]
    pairs = Pairs(torch.tensor([1, 0, 3, 2]), torch.tensor([2, 2, 0, 0]))
    assert outcome(dual_causality(Restitution(*parts), pairs), *parts) == FINITE


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("logits", "expected"), [(0.0, FINITE), (65504.0, FINITE), (-1e37, FINITE), (math.inf, LOSS), (math.nan, LOSS)]
)
def test_cross_entropies(classes: int, smoothing: float, logits: float, expected: str) -> None:
    """A row of logits at the end of a range, the true class lowest; one class costs nothing and teaches nothing."""
    values = torch.full((4, classes), logits)
    values[:, 0] = 0.0 if classes > 1 else logits
    ids = torch.zeros(4, dtype=torch.int64)

    def identity(x: Tensor) -> Tensor:
        return identity_cross_entropy(x, ids, smoothing)

    def factors(x: Tensor) -> Tensor:
        return sum(factor_cross_entropy([FactorLogits(x, x)], ids, ids, smoothing), start=torch.zeros(()))

    for term in (identity, factors):
        x = leaf(values)
        assert outcome(term(x), x) == expected
        if classes == 1 and expected == FINITE:
            assert x.grad is not None
            assert not x.grad.any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("value", [0.0, -1.0, 1e-7, 100.0])
@pytest.mark.parametrize("power", [1.0, 3.0, 6.5])
def test_generalised_mean(dtype: torch.dtype, value: float, power: float) -> None:
    pool, x = GeM(power, learnable=True), leaf(torch.full((2, 3, 4, 2), value), dtype)
    assert outcome(pool(x), x, *pool.parameters()) == FINITE


@pytest.mark.parametrize(("scale", "expected"), [(1.0, FINITE), (2.0**16, GRADIENT)])
def test_a_scaled_loss_in_float16_overflows_in_its_gradients_alone(scale: float, expected: str) -> None:
    """2^16 is where a gradient scaler starts: such a step is skipped, and the next one has half the scale."""
    x = leaf(torch.ones(4, 3), torch.float16)
    assert outcome(x.float() * scale, x) == expected
