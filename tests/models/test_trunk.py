"""The trunk against timm's ResNet-50, its sizes by hand, and where its dynamic convolutions stand."""

from typing import Any

import pytest
import torch
from torch import nn

from jointreid.config import DcsdConfig
from jointreid.messages.errors import JointreidError
from jointreid.models.agw import NonLocal
from jointreid.models.dcsd import DCSD
from jointreid.models.families import build_trunk
from jointreid.models.norms import SNR, InstanceNorm
from jointreid.models.resnet import RESNETS, Additions, Bottleneck, ResNet, ResNetShape
from jointreid.models.trunk import SpatialConvFactory, dcsd_conv, static_conv


def randomise_normalisation(model: nn.Module) -> None:
    """Give every batch normalisation its own numbers; timm starts the last of a block at 0, which hides the block."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            for shift in (module.running_mean, module.bias.data):
                shift.normal_(0, 0.1, generator=generator)
            for scale in (module.running_var, module.weight.data):
                scale.uniform_(0.5, 1.0, generator=generator)


@pytest.mark.slow
def test_timm_weights_load_whole_and_give_equal_features() -> None:
    import timm

    theirs: Any = timm.create_model("resnet50", pretrained=False)
    randomise_normalisation(theirs)
    ours = build_trunk("resnet50")
    missing, left_over = ours.load_state_dict(theirs.state_dict(), strict=False)
    assert missing == []
    assert left_over == ["fc.weight", "fc.bias"]
    x = torch.randn(2, 3, 65, 49, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs.eval().forward_features(x)
        features, factor_logits, restitutions = ours.eval()(x)
    assert factor_logits == restitutions == ()
    assert expected.std() > 0.1
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5 * expected.std().item())


@pytest.mark.parametrize("conv3x3", [static_conv, dcsd_conv(DcsdConfig(), 5, 32)], ids=["static", "dcsd"])
@pytest.mark.parametrize(
    ("height", "width", "last_stride", "expected"),
    [
        (224, 224, 2, (7, 7)),
        (256, 128, 1, (16, 8)),
        (256, 128, 2, (8, 4)),
        (225, 129, 2, (8, 5)),
        (225, 129, 1, (15, 9)),
    ],
)
def test_map_sizes_are_those_of_resnet50(
    conv3x3: SpatialConvFactory, height: int, width: int, last_stride: int, expected: tuple[int, int]
) -> None:
    with torch.device("meta"):  # one block a stage: the others keep the size
        trunk = ResNet(ResNetShape((1, 1, 1, 1), 16), conv3x3, last_stride=last_stride)
        features = trunk(torch.empty(2, 3, height, width)).feature_map
    assert features.shape == (2, 512, *expected)


def test_odd_size_on_real_numbers() -> None:
    trunk = build_trunk("resnet50-w16", DcsdConfig(), 5, 32).eval()
    with torch.no_grad():
        features, factor_logits, _ = trunk(torch.randn(1, 3, 225, 129))
    assert features.shape == (1, 512, 8, 5)
    assert torch.isfinite(features).all()
    assert len(factor_logits) == 16


def test_padded_and_ceiled_pooling_agree_on_even_maps_only() -> None:
    def size(stem_pool: Any, height: int) -> int:
        with torch.device("meta"):
            trunk = ResNet(ResNetShape((1, 1, 1, 1), 4), static_conv, stem_pool=stem_pool)
            return int(trunk.maxpool(torch.empty(1, 4, height, 8)).shape[2])

    assert size("pad", 128) == size("ceil", 128) == 64
    assert (size("pad", 113), size("ceil", 113)) == (57, 56)


def test_stem_relu_changes_only_the_relu_after_the_stem() -> None:
    torch.manual_seed(0)
    trunk = ResNet(ResNetShape((1, 1, 1, 1), 4), static_conv, stem_relu=False).eval()
    x = torch.randn(1, 3, 32, 32)
    seen = []
    trunk.maxpool.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0].min().item()))
    trunk(x)
    trunk.relu = nn.ReLU()
    trunk(x)
    assert seen[0] < 0
    assert seen[1] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("name", "blocks"), [("resnet50", 16), ("resnet101", 33), ("resnet50-w16", 16)])
def test_every_3x3_is_generated_and_the_rest_is_static(name: str, blocks: int) -> None:
    with torch.device("meta"):
        trunk = build_trunk(name, DcsdConfig(), 5, 32)
        features, factor_logits, _ = trunk(torch.empty(2, 3, 64, 32))
    bottlenecks = [module for module in trunk.modules() if isinstance(module, Bottleneck)]
    assert len(bottlenecks) == len(factor_logits) == blocks
    assert all(isinstance(block.conv2, DCSD) for block in bottlenecks)
    assert features.shape[1] == trunk.out_channels == 32 * RESNETS[name].width
    assert {logits.domain.shape for logits in factor_logits if logits.domain is not None} == {(2, 5)}
    assert {logits.camera.shape for logits in factor_logits if logits.camera is not None} == {(2, 32)}
    kernels = [module.kernel_size for module in trunk.modules() if isinstance(module, nn.Conv2d)]
    assert kernels.count((7, 7)) == 1
    assert (3, 3) not in kernels


def test_factor_logits_come_in_the_order_of_the_blocks() -> None:
    trunk = build_trunk("resnet50-w16", DcsdConfig(), 2, 2).eval()
    blocks = [module for module in trunk.modules() if isinstance(module, DCSD)]
    for index, block in enumerate(blocks):
        assert block.domain is not None
        assert block.domain.classifier is not None
        nn.init.zeros_(block.domain.classifier.weight)
        nn.init.constant_(block.domain.classifier.bias, index)
    factor_logits = trunk(torch.randn(1, 3, 32, 32)).factor_logits
    assert [logits.domain[0, 0].item() for logits in factor_logits] == list(range(16))


@pytest.mark.slow
def test_the_3x3_of_the_first_block_has_the_stride() -> None:
    def strides(last_stride: int) -> list[int]:
        with torch.device("meta"):
            trunk = build_trunk("resnet50", DcsdConfig(), last_stride=last_stride)
        return [module.stride for module in trunk.modules() if isinstance(module, DCSD)]

    assert [index for index, stride in enumerate(strides(2)) if stride == 2] == [3, 7, 13]
    assert [index for index, stride in enumerate(strides(1)) if stride == 2] == [3, 7]


ALL = Additions(sum_norm=InstanceNorm, non_local=NonLocal, snr=SNR)


def places(trunk: nn.Module, kind: type[NonLocal] | type[InstanceNorm]) -> dict[str, int]:
    """Where modules of a kind stand, and for how many channels."""
    found = {name: module for name, module in trunk.named_modules() if isinstance(module, kind)}
    norms = {name: module.norm if isinstance(module, NonLocal) else module for name, module in found.items()}
    return {name: norm.num_features for name, norm in norms.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "layer3"), [("resnet50", (3, 4, 5)), ("resnet50-w16", (3, 4, 5)), ("resnet101", range(14, 23))]
)
def test_non_local_blocks_follow_the_last_blocks_of_two_stages(name: str, layer3: Any) -> None:
    with torch.device("meta"):
        trunk = build_trunk(name, additions=Additions(non_local=NonLocal))
    width = RESNETS[name].width
    expected = {f"layer2.{index}.non_local": 8 * width for index in (2, 3)}
    assert places(trunk, NonLocal) == expected | {f"layer3.{index}.non_local": 16 * width for index in layer3}


@pytest.mark.slow
def test_dual_norm_is_in_the_last_block_of_three_stages_and_snr_after_all_four() -> None:
    with torch.device("meta"):
        trunk = build_trunk("resnet50", additions=Additions(sum_norm=InstanceNorm))
        snr = build_trunk("resnet50", additions=Additions(snr=SNR))
    expected = {"layer1.2.sum_norm": 256, "layer2.3.sum_norm": 512, "layer3.5.sum_norm": 1024}
    assert places(trunk, InstanceNorm) == expected
    channels = {f"snr.{stage}.norm": 256 * 2**stage for stage in range(4)}
    assert places(snr, InstanceNorm) == channels


def test_additions_add_parameters_and_change_no_other() -> None:
    torch.manual_seed(0)
    plain = ResNet(ResNetShape((1, 1, 1, 1), 4), static_conv).state_dict()
    added = ResNet(ResNetShape((1, 1, 1, 1), 4), static_conv, additions=ALL).state_dict()
    others = {name for name in added if not any(part in name for part in ("sum_norm", "non_local", "snr"))}
    assert others == plain.keys()


def test_dual_norm_normalises_the_sum_with_the_shortcut_before_the_relu() -> None:
    torch.manual_seed(0)
    norm = InstanceNorm(8)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    block = Bottleneck(8, 2, 1, static_conv, norm).double().eval()
    randomise_normalisation(block)
    x = torch.randn(2, 8, 6, 5, generator=torch.Generator().manual_seed(1)).double()
    total = x + block.bn3(block.conv3(block.bn2(block.conv2(block.bn1(block.conv1(x)).relu())).relu()))
    flat = total.flatten(2)
    normal = (flat - flat.mean(2, keepdim=True)) / (flat.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
    expected = normal * norm.weight[:, None] + norm.bias[:, None]
    torch.testing.assert_close(block(x)[0].flatten(2), expected.clamp(min=0))


def test_stages_are_chained_through_their_snr_modules() -> None:
    torch.manual_seed(0)
    trunk = ResNet(ResNetShape((1, 1, 1, 1), 4), static_conv, additions=Additions(snr=SNR)).train()
    x = torch.randn(2, 3, 64, 64)
    features, _, restitutions = trunk(x)
    assert [tuple(r.useful.shape) for r in restitutions] == [(2, 16), (2, 32), (2, 64), (2, 128)]
    torch.testing.assert_close(features.mean((2, 3)), restitutions[-1].useful, rtol=1e-4, atol=1e-5)
    assert trunk.snr is not None
    y = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(x))))
    for stage, snr in zip((trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4), trunk.snr, strict=True):
        y = snr(stage[0](y)[0])[0]
    assert torch.equal(features, y)
    assert trunk.eval()(x).restitutions == ()


def test_zero_context_starts_every_dcsd_from_the_sample_alone() -> None:
    torch.manual_seed(0)
    shape, x = ResNetShape((1, 1, 1, 1), 4), torch.randn(2, 3, 32, 32)
    full = ResNet(shape, dcsd_conv(DcsdConfig(), 2, 3)).eval()
    randomise_normalisation(full)
    alone = ResNet(shape, dcsd_conv(DcsdConfig(factors=("sample",)), 2, 3)).eval()
    alone.load_state_dict({name: full.state_dict()[name] for name in alone.state_dict()})
    assert not torch.equal(full(x).feature_map, alone(x).feature_map)
    full.zero_context()
    assert torch.equal(full(x).feature_map, alone(x).feature_map)


def test_width_and_depthwise_change_a_resnet() -> None:
    with torch.device("meta"):
        plain, narrow = build_trunk("resnet50"), build_trunk("resnet50", width=16)
        named, depthwise = build_trunk("resnet50-w16"), build_trunk("resnet50-w16", depthwise=True)
    assert narrow.out_channels == 512
    shapes = [{name: p.shape for name, p in trunk.named_parameters()} for trunk in (narrow, named, depthwise, plain)]
    assert shapes[0] == shapes[1]
    assert shapes[0].keys() == shapes[2].keys() == shapes[3].keys()
    changed = {name: shape for name, shape in shapes[2].items() if shape != shapes[1][name]}
    assert len(changed) == 16
    assert all(name.endswith("conv2.weight") and shape[1:] == (1, 3, 3) for name, shape in changed.items())


def test_initial_weights() -> None:
    torch.manual_seed(0)
    trunk = build_trunk("resnet50-w16")
    for name, module in trunk.named_modules():
        if isinstance(module, nn.BatchNorm2d):  # the last of a block starts at zero: the block is its shortcut
            start = torch.zeros_like if name.endswith("bn3") else torch.ones_like
            assert torch.equal(module.weight, start(module.weight))
            assert torch.equal(module.bias, torch.zeros_like(module.bias))
    for name in ("conv1", "layer4.2.conv2", "layer3.0.downsample.0"):
        layer = trunk.get_submodule(name)
        assert isinstance(layer, nn.Conv2d)
        fan_out = layer.out_channels * layer.kernel_size[0] ** 2
        assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.05)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet5", {}, "there is no trunk resnet5; did you mean resnet50"),
        ("resnet50", {"last_stride": 3}, "last_stride is 3; expected 1 or 2"),
        ("resnet50", {"stem_pool": "pade"}, "did you mean pad"),
        ("mobilenetv2_100", {"width": 8}, "model.width and model.depthwise are settings of ResNets"),
        ("convnext_tiny", {"depthwise": True}, "model.width and model.depthwise are settings of ResNets"),
    ],
)
def test_refuses_unknown_names_and_settings(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        build_trunk(name, **options)
