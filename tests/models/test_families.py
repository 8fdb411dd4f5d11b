"""MobileNetV2, EfficientNet-Lite0 and ConvNeXt-T against timm's networks, and with generated convolutions."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jointreid.config import DcsdConfig
from jointreid.messages.errors import JointreidError
from jointreid.models.agw import NonLocal
from jointreid.models.convnext import ConvNeXt, ConvNeXtShape
from jointreid.models.dcsd import DCSD
from jointreid.models.families import DEPTHWISE, build_trunk
from jointreid.models.mobilenet import MobileNet, MobileStage
from jointreid.models.profile import profile
from jointreid.models.reid import build_model
from jointreid.models.resnet import Additions
from jointreid.models.trunk import SpatialConvFactory, Trunk, dcsd_conv, static_conv

OUT_CHANNELS = {"mobilenetv2_100": 1280, "efficientnet_lite0": 1280, "convnext_tiny": 768}
CLASSIFIERS = {"mobilenetv2_100": "classifier.", "efficientnet_lite0": "classifier.", "convnext_tiny": "head."}
# Side of every depthwise convolution, from input to output.
SIDES = {
    "mobilenetv2_100": [3] * 17,
    "efficientnet_lite0": [3, 3, 3, 5, 5, 3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 3],
    "convnext_tiny": [7] * 18,
}

# Trunks of the same blocks that are built and run at once; every kind of block and side is in them.
SMALL: dict[str, Callable[..., Trunk]] = {
    "mobilenet": partial(
        MobileNet, (MobileStage(1, 8, 1, expansion=1), MobileStage(2, 8, 2, 2), MobileStage(2, 12, 2, 2, kernel_size=5))
    ),
    "convnext": partial(ConvNeXt, ConvNeXtShape((1, 1, 1, 1), (20, 24, 28, 32))),
}
DYNAMIC = dcsd_conv(DcsdConfig(), 3, 4)


def randomise(network: nn.Module) -> None:
    """Give every normalisation and layer scale its own numbers, so that none of them is hidden or multiplies by 1."""
    generator = torch.Generator().manual_seed(0)
    for name, tensor in network.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.1, generator=generator)
        elif name.endswith(("running_var", "gamma")) or tensor.dim() == 1:
            tensor.uniform_(0.5, 1.0, generator=generator)


def images(height: int, width: int, count: int = 2) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def kernel_sides(trunk: nn.Module) -> Sequence[int]:
    modules = [module for name, module in trunk.named_modules() if name.endswith("conv_dw")]
    return [
        module.config.kernel_size if isinstance(module, DCSD) else module.kernel_size[0]
        for module in modules
        if isinstance(module, DCSD | nn.Conv2d)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", DEPTHWISE)
def test_timm_weights_load_whole_and_give_equal_features(name: str) -> None:
    import timm

    theirs: Any = timm.create_model(name, pretrained=False)
    randomise(theirs)
    ours = build_trunk(name)
    missing, left_over = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert missing == []
    assert left_over
    assert all(key.startswith(CLASSIFIERS[name]) for key in left_over)
    for height, width in ((64, 64), (65, 49), (97, 131)):
        with torch.no_grad():
            expected = theirs.eval().forward_features(images(height, width))
            features, factor_logits, restitutions = ours.eval()(images(height, width))
        assert factor_logits == restitutions == ()
        assert expected.std() > 0.1
        torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5 * expected.std().item())


@pytest.mark.slow
@pytest.mark.parametrize("name", DEPTHWISE)
def test_gradients_are_those_of_timm(name: str) -> None:
    import timm

    theirs: Any = timm.create_model(name, pretrained=False)
    randomise(theirs)
    ours = build_trunk(name)
    ours.load_state_dict(theirs.state_dict(), strict=False)
    x = images(64, 33)
    theirs.eval().forward_features(x).square().mean().backward()
    ours.eval()(x).feature_map.square().mean().backward()
    expected = dict(theirs.named_parameters())
    for key, parameter in ours.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0, key
        scale = expected[key].grad.abs().max().item()
        torch.testing.assert_close(parameter.grad, expected[key].grad, rtol=1e-4, atol=1e-5 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("name", DEPTHWISE)
def test_every_depthwise_convolution_is_generated_in_its_size(name: str) -> None:
    with torch.device("meta"):
        static, trunk = build_trunk(name), build_trunk(name, DcsdConfig(), 5, 32)
        features, factor_logits, _ = trunk(torch.empty(2, 3, 64, 32))
    assert kernel_sides(static) == kernel_sides(trunk) == SIDES[name]
    assert all(isinstance(module, DCSD) for key, module in trunk.named_modules() if key.endswith("conv_dw"))
    assert len(factor_logits) == len(SIDES[name])
    assert features.shape == (2, OUT_CHANNELS[name], 2, 1)
    assert trunk.out_channels == OUT_CHANNELS[name]
    assert {logits.domain.shape for logits in factor_logits if logits.domain is not None} == {(2, 5)}
    assert {logits.camera.shape for logits in factor_logits if logits.camera is not None} == {(2, 32)}


@pytest.mark.parametrize("spatial", [static_conv, DYNAMIC], ids=["static", "dcsd"])
@pytest.mark.parametrize("name", SMALL)
def test_last_stride_doubles_the_map(name: str, spatial: SpatialConvFactory) -> None:
    make = SMALL[name]
    sizes = [tuple(make(spatial, stride).eval()(images(64, 32)).feature_map.shape[2:]) for stride in (2, 1)]
    (height, width), doubled = sizes
    assert doubled == (2 * height, 2 * width)
    with pytest.raises(JointreidError, match="last_stride is 3; expected 1 or 2"):
        make(spatial, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "last_stride", "expected"),
    [(name, *case) for name in DEPTHWISE for case in ((2, (8, 4)), (1, (16, 8)))],
)
def test_a_person_image_gives_the_map_of_a_resnet(name: str, last_stride: int, expected: tuple[int, int]) -> None:
    with torch.device("meta"):
        trunk = build_trunk(name, last_stride=last_stride)
        assert trunk(torch.empty(1, 3, 256, 128)).feature_map.shape[2:] == expected


@pytest.mark.parametrize("spatial", [static_conv, DYNAMIC], ids=["static", "dcsd"])
@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_parameter(name: str, spatial: SpatialConvFactory) -> None:
    torch.manual_seed(0)
    trunk = SMALL[name](spatial, 1)
    randomise(trunk)
    features, factor_logits, _ = trunk.train()(images(33, 49, 4))
    loss = features.square().mean()
    for logits in factor_logits:
        loss = loss + sum(each.logsumexp(1).mean() for each in logits if each is not None)
    loss.backward()
    for key, parameter in trunk.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().max() > 0, key


@pytest.mark.slow
@pytest.mark.parametrize("spatial", [static_conv, DYNAMIC], ids=["static", "dcsd"])
@pytest.mark.parametrize("name", SMALL)
def test_a_trunk_compiles_as_one_graph(name: str, spatial: SpatialConvFactory) -> None:
    torch.manual_seed(0)
    trunk = SMALL[name](spatial, 1).eval()
    randomise(trunk)
    compiled = torch.compile(trunk, fullgraph=True, backend="aot_eager")
    x = images(32, 32)
    torch.testing.assert_close(compiled(x).feature_map, trunk(x).feature_map)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "params", "gmacs"),
    [
        # Published: 3.5 M and 0.30 G; 4.7 M and 0.41 G, which counts additions of biases too; 28.6 M and 4.5 G.
        ("mobilenetv2_100", 3_504_872, 0.301),
        ("efficientnet_lite0", 4_652_008, 0.385),
        ("convnext_tiny", 28_589_128 - 2 * 768, 4.456),  # timm's, without the norm of its head
    ],
)
def test_imagenet_counts(name: str, params: int, gmacs: float) -> None:
    counts = profile(name)
    assert counts.params == params
    assert round(counts.macs / 1e9, 3) == gmacs
    assert "other" not in counts.parts
    assert sum(block.modules for block in counts.blocks) == len(SIDES[name])
    generated = profile(f"{name}-dcsd")
    assert "other" not in generated.parts
    key = [(block.width, block.kernel_size, block.modules) for block in counts.blocks]
    assert key == [(block.width, block.kernel_size, block.modules) for block in generated.blocks]


def test_multiply_adds_of_depthwise_convolutions_by_hand() -> None:
    first = profile("convnext_tiny").blocks[0]
    assert (first.width, first.kernel_size, first.modules) == (96, 7, 3)
    assert first.macs == 3 * 49 * 96 * 56 * 56
    assert first.params == 50 * 96
    assert profile("convnext_tiny").parts["fully connected layers"].macs == sum(
        depth * 2 * 4 * channels**2 * side**2
        for depth, channels, side in ((3, 96, 56), (3, 192, 28), (9, 384, 14), (3, 768, 7))
    )


def test_a_dcsd_starts_a_block_with_a_shortcut_as_its_shortcut() -> None:
    static, generated = SMALL["mobilenet"](static_conv), SMALL["mobilenet"](DYNAMIC)
    for stage, number, is_zero in ((1, 0, False), (1, 1, True), (2, 1, True)):
        name = f"blocks.{stage}.{number}.bn3.weight"
        assert static.state_dict()[name].all()
        assert bool(generated.state_dict()[name].any()) == (not is_zero)


def test_kernel_size_of_the_settings_is_for_3x3s() -> None:
    trunk = SMALL["mobilenet"](dcsd_conv(DcsdConfig(kernel_size=7), 1, 1))
    assert kernel_sides(trunk) == [7, 7, 7, 5, 5]


@pytest.mark.parametrize("system", ["agw", "agw-dcsd", "bot-dn", "bot-snr"])
def test_systems_that_need_a_resnet_are_refused(system: str) -> None:
    with pytest.raises(
        JointreidError, match="trunk mobilenetv2_100: this system adds blocks at places that only a ResNet has; use"
    ):
        build_model(system, 3, trunk="mobilenetv2_100")


def test_additions_are_refused_before_a_custom_trunk_is_called() -> None:
    with pytest.raises(JointreidError, match="use a custom trunk with bot or bot-dcsd, and put what else"):
        build_trunk("nowhere:small", additions=Additions(non_local=NonLocal))


def test_images_without_a_position_of_the_last_map_are_refused() -> None:
    trunk = SMALL["convnext"](static_conv)
    with pytest.raises(JointreidError, match=r"images are \(64, 31\); expected at least 32 pixels .* image\.width"):
        trunk(images(64, 31))
    assert SMALL["convnext"](static_conv, 1)(images(16, 16)).feature_map.shape[2:] == (1, 1)
