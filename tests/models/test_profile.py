"""Counts against published figures, hand arithmetic and PyTorch's own counter."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from jointreid.config import DcsdConfig, ModelConfig
from jointreid.messages.errors import JointreidError
from jointreid.models.counting import Count
from jointreid.models.families import build_trunk
from jointreid.models.profile import PROFILES, profile, variants

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "factors", "params", "gmacs"),
    [
        (
            "resnet50",
            ("sample", "domain", "camera"),
            25_557_032,
            4.0892,
        ),  # torchvision's count; 25.6M, 4.1B in Table IV
        ("resnet50-dcsd", ("sample",), 16_843_748, 2.2668),  # DDF publishes 16.8M
        ("resnet50-dcsd", ("sample", "domain", "camera"), 18_241_524, 2.2683),  # 18.2M, 2.3B in Table IV
    ],
)
def test_imagenet_counts(name: str, factors: Any, params: int, gmacs: float) -> None:
    counts = profile(name, DcsdConfig(factors=factors))
    assert counts.params == params
    assert round(counts.macs / 1e9, 4) == gmacs
    assert (counts.height, counts.width) == (224, 224)


@pytest.mark.parametrize(
    ("name", "trunk_params", "gmacs"),
    [
        ("bot", 23_508_032, 4.053),
        ("bot-dcsd", 16_192_524, 2.189),
        ("agw", 23_508_032 + 28_687, 4.057),  # AGW's published non-local blocks
        ("agw-dcsd", 16_192_524 + 28_687, 2.192),
        ("bot-dn", 23_508_032 + 2 * (256 + 512 + 1024), 4.053),
        ("bot-snr", 23_508_032 + 708_080, 4.054),
    ],
)
def test_system_counts_leave_the_identity_classifier_out(name: str, trunk_params: int, gmacs: float) -> None:
    counts = profile(name)
    assert counts.parts["BNNeck"] == Count(2 * 2048, 0)
    assert counts.params - counts.parts["BNNeck"].params == trunk_params
    assert round(counts.macs / 1e9, 3) == gmacs
    assert (counts.height, counts.width) == (256, 128)


def test_generated_convolutions_by_width() -> None:
    blocks = profile("resnet50-dcsd").blocks
    assert [(block.width, block.modules, block.params) for block in blocks] == [
        (64, 3, 15_930),
        (128, 4, 56_647),
        (256, 6, 212_577),
        (512, 3, 817_300),
    ]
    assert sum(block.modules * block.params for block in blocks) == 4_001_740
    static = profile("resnet50").blocks
    assert sum(block.modules * block.params for block in static) == 11_317_248
    assert static[0].macs == 3 * 9 * 64 * 64 * 56 * 56


def test_multiply_adds_of_one_block_by_hand() -> None:
    positions, c, hidden, mlp = 56 * 56, 64, 12, 16
    spatial = 9 * c * positions + 9 * c  # the 1x1 convolution, and its weights on the context
    channel = c * hidden + hidden * 9 * c
    factors = 2 * (c * mlp + mlp * c) + 5 * c + 32 * c
    operator = 9 * c * positions
    assert profile("resnet50-dcsd").blocks[0].macs == 3 * (spatial + channel + factors + operator)


@pytest.mark.parametrize(("depthwise", "inputs"), [(False, 64), (True, 1)])
def test_a_static_base_and_a_context_network_by_hand(depthwise: bool, inputs: int) -> None:
    settings, model = DcsdConfig(base="static", context="network"), ModelConfig(depthwise=depthwise)
    found = profile("bot-dcsd", settings, model, (64, 32))
    positions, c, hidden = 16 * 8, 64, 12
    block = found.blocks[0]
    generators = 9 * c + 9 + (c * hidden + hidden) + (9 * c * hidden + 9 * c) + 9 * c
    assert block.params == generators + 32 * c + 9 * inputs * c + c  # the projection, W0 and the gain
    spatial, channel = 9 * c * positions + 9 * c, c * hidden + hidden * 9 * c
    dense = 9 * c * c * positions if inputs > 1 else 0  # a depthwise base takes part in the operator's pass
    assert block.macs == 3 * (spatial + channel + 32 * c + 9 * c * positions + dense)
    plain = profile("bot", model=model, size=(64, 32))
    for part in ("stem", "norm", "BNNeck"):
        assert found.parts[part] == plain.parts[part]
    convs = 9 * (3 * 16 * 32 * 16 + 16 * 32 * 16 * 8 + 32 * 64 * 8 * 4)
    assert found.parts["context network"].macs == convs + 230 * 128 + 2 * 128 * 32
    assert found.parts["domain and camera classifiers"] == Count(32 * 37 + 37, 32 * 37)
    assert found.parts["context projections"].macs == 32 * (3 * 64 + 4 * 128 + 6 * 256 + 3 * 512)


@pytest.mark.parametrize("inject", ["film", "norm"])
def test_controls_are_counted(inject: Any) -> None:
    dcsd, model = DcsdConfig(base="static", context="network", inject=inject), ModelConfig(trunk="resnet50-w16")
    plain, found = (profile(name, dcsd, model, (64, 32)) for name in ("bot", "bot-dcsd"))
    assert found.params > plain.params
    assert found.blocks[0].width == plain.blocks[0].width == 16


def test_settings_of_a_system_are_refused_for_a_trunk() -> None:
    with pytest.raises(JointreidError, match="resnet50 is a trunk"):
        profile("resnet50", model=ModelConfig(width=8))


def test_non_local_blocks_by_hand() -> None:
    positions = {512: 32 * 16, 1024: 16 * 8}  # of a 256 x 128 image, by channels
    blocks = {512: 2, 1024: 3}
    params = sum(n * (3 * (c + 1) + (c + c) + 2 * c) for c, n in blocks.items())  # three in, one out, normalisation
    macs = sum(n * positions[c] * (3 * c + c + 2) for c, n in blocks.items())  # ... and two products of width 1
    assert profile("agw").parts["non-local blocks"] == Count(params, macs)
    assert params == 28_687


def test_snr_modules_by_hand() -> None:
    stages = (256, 512, 1024, 2048)
    params = sum(2 * c + (c * c // 16 + c // 16) + (c // 16 * c + c) for c in stages)
    assert profile("bot-snr").parts["SNR modules"] == Count(params, sum(c * c // 8 for c in stages))


@pytest.mark.parametrize("name", PROFILES)
def test_parts_and_blocks_agree_with_the_totals(name: str) -> None:
    counts = profile(name)
    assert sum(part.params for part in counts.parts.values()) == counts.params
    assert sum(part.macs for part in counts.parts.values()) == counts.macs
    assert "other" not in counts.parts
    generated = [
        "operator",
        "spatial branches",
        "channel branches",
        "channel spreads",
        "domain and camera MLPs",
        "domain and camera classifiers",
    ]
    in_blocks = Count(
        sum(block.modules * block.params for block in counts.blocks), sum(block.macs for block in counts.blocks)
    )
    if name.endswith("-dcsd"):
        assert sum((counts.parts[part] for part in generated), start=Count(0, 0)) == in_blocks
    else:
        assert not set(generated) & set(counts.parts)
        assert in_blocks.macs < counts.parts["static convolutions"].macs


def test_static_network_agrees_with_the_counter_of_pytorch() -> None:
    with torch.device("meta"):
        trunk = build_trunk("resnet50")
        with FlopCounterMode(display=False) as counter:
            trunk(torch.empty(1, 3, 224, 224))
    counts = profile("resnet50")
    assert counter.get_total_flops() == 2 * (counts.macs - counts.parts["fc"].macs)
    assert counts.params - counts.parts["fc"].params == sum(parameter.numel() for parameter in trunk.parameters())


def test_variants() -> None:
    found = {variant.name: variant for variant in variants()}
    assert {name: variant.params for name, variant in found.items()} == {
        "as configured": 18_241_524,
        "sample only (DDF)": 16_843_748,
        "as configured, without classifiers (deployed)": 18_101_220,
        "biases in the MLPs": 18_250_964,
        "biases in the MLPs, without classifiers (deployed)": 18_110_660,
        "biases in the MLPs, fixed channel spread": 18_216_980,
        "biases in the MLPs, channel squeeze 1/4": 18_893_720,
        "biases in the MLPs, MLPs at every position": 18_250_964,
    }
    assert round(found["biases in the MLPs"].macs / 1e9, 3) == 2.268
    assert round(found["biases in the MLPs, MLPs at every position"].macs / 1e9, 3) == 2.588
    assert round(found["biases in the MLPs, channel squeeze 1/4"].macs / 1e9, 3) == 2.269


@pytest.mark.parametrize(
    "told", [{"context_stages": (1, 2)}, {"context_held_out": 0.1, "camera_shrinkage": 5.0}, {"inject": "norm"}]
)
def test_the_variant_of_the_sample_alone_leaves_out_what_needs_a_context(told: dict[str, Any]) -> None:
    shared = DcsdConfig(base="static", context="network")
    alone, alone_of_told = (variants(dcsd)[1] for dcsd in (shared, replace(shared, **told)))
    assert alone_of_told == alone


@pytest.mark.parametrize(
    ("factors", "params"), [(("sample", "domain"), 17_496_164), (("sample", "camera"), 17_598_548)]
)
def test_one_factor_alone_does_not_give_the_printed_size(factors: Any, params: int) -> None:
    assert profile("resnet50-dcsd", DcsdConfig(factors=factors, mlp_bias=True)).params == params


@pytest.mark.parametrize(
    ("domains", "cameras", "millions"),
    [(1, 6, 18.137), (1, 1, 18.118), (1, 8, 18.145), (1, 2, 18.122), (1, 15, 18.171)],
)
def test_heads_of_a_single_data_set(domains: int, cameras: int, millions: float) -> None:
    """As Table IV's, with biases in the MLPs, but for one data set's own classes: 18.1M for four of five."""
    with torch.device("meta"):
        trunk = build_trunk("resnet50", DcsdConfig(mlp_bias=True), domains, cameras)
    params = sum(parameter.numel() for parameter in trunk.parameters()) + 2048 * 1000 + 1000
    assert round(params / 1e6, 3) == millions


def test_sizes_without_the_classifier_of_imagenet_and_without_other_biases() -> None:
    biased = profile("resnet50-dcsd", DcsdConfig(mlp_bias=True))
    fc = biased.parts["fc"].params
    assert fc == 2_049_000
    assert biased.params - fc == 16_201_964
    assert profile("resnet50-dcsd").params - fc == 16_192_524
    assert profile("resnet50-dcsd", DcsdConfig(factors=("sample",))).params - fc == 14_794_748
    # No switch leaves out the biases of the channel branches: m + 9w in each of 3, 4, 6 and 3 modules.
    biases = sum(n * (int(0.2 * w) + 9 * w) for n, w in ((3, 64), (4, 128), (6, 256), (3, 512)))
    assert biased.params - biases == 18_216_232  # 18.2M, as the paper prints


def test_settings_change_the_count() -> None:
    # A kernel of 5x5 has 16 taps more: in the spatial branch (weight, bias), the second channel layer and the spread.
    more = sum(n * 16 * (w + 1 + int(0.2 * w) * w + w + w) for n, w in ((3, 64), (4, 128), (6, 256), (3, 512)))
    assert profile("resnet50-dcsd", DcsdConfig(kernel_size=5)).params == 18_241_524 + more


def test_to_dict_is_json() -> None:
    counts = profile("resnet50-w16-dcsd")
    plain = json.loads(json.dumps(counts.to_dict()))
    assert plain["params"] == counts.params
    assert plain["parts"]["operator"] == {"params": 0, "macs": counts.parts["operator"].macs}
    assert plain["blocks"][0]["width"] == 16


def test_a_trunk_is_not_counted_without_the_context_network_beside_it() -> None:
    with pytest.raises(JointreidError, match=r"profile bot-dcsd --model\.trunk resnet50 instead"):
        profile("resnet50-dcsd", DcsdConfig(base="static", context="network"))


def test_unknown_network() -> None:
    with pytest.raises(JointreidError, match="did you mean resnet50-dcsd"):
        profile("resnet50-dscd")
