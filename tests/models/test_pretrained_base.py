"""Weights of plain networks go into a static base, and the network then gives the plain one's features."""

import platform
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from jointreid.messages.errors import JointreidError
from jointreid.models.pretrained import check_source, load_pretrained
from jointreid.models.reid import ReIDModel
from tests.models.test_pretrained import make, resnet50, save, snapshot, static_conv2


def features(model: ReIDModel) -> Tensor:
    model.eval()
    with torch.no_grad():
        embedding: Tensor = model(torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))).embedding
    return embedding


@pytest.mark.slow
@pytest.mark.parametrize("context", ["block", "network"])
@pytest.mark.parametrize("system", ["bot", "agw"])
def test_weights_of_a_plain_resnet_go_into_a_static_base_and_give_equal_features(
    tmp_path: Path, system: str, context: str
) -> None:
    torch.manual_seed(0)
    file = save(resnet50(static_conv2, 64, 10), tmp_path / "tv.pth")
    based = make(f"{system}-dcsd", "resnet50", base="static", context=context)
    plain = make(system, "resnet50")
    generators = {name: tensor for name, tensor in snapshot(based).items() if "branch" in name or "projection" in name}
    loaded = [load_pretrained(model, "a1_in1k", file) for model in (based, plain)]
    assert loaded[0].parameters == loaded[1].parameters
    # AGW's additions, which are not in the file, were drawn apart.
    based.load_state_dict(based.state_dict() | plain.state_dict())
    assert torch.equal(features(based), features(plain))
    after = based.state_dict()
    assert generators
    assert all(torch.equal(after[name], tensor) for name, tensor in generators.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trunk", "source"),
    [
        ("mobilenetv2_100", "mobilenetv2_100.ra_in1k"),
        ("efficientnet_lite0", "efficientnet_lite0.ra_in1k"),
        ("convnext_tiny", "convnext_tiny.fb_in1k"),
    ],
)
def test_timms_weights_go_into_a_static_base_and_give_equal_features(tmp_path: Path, trunk: str, source: str) -> None:
    """Bit for bit on x86, where PyTorch's depthwise convolution adds its taps in the operator's order."""
    import timm

    torch.manual_seed(0)
    network = timm.create_model(trunk)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 1.5)
            nn.init.normal_(module.get_buffer("running_mean"), std=0.1)
    for name, parameter in network.named_parameters():
        if name.endswith("gamma"):  # ConvNeXt's layer scales, which start so small that the 7x7s hardly count
            nn.init.constant_(parameter, 0.5)
        if name.endswith("conv_dw.bias"):
            nn.init.normal_(parameter)
    file = save(network.state_dict(), tmp_path / "timm.pth")
    check_source(source, file, system="bot-dcsd", trunk=trunk, base="static")
    with pytest.raises(JointreidError, match=r"With --dcsd.base static generated kernels are added"):
        check_source(source, file, system="bot-dcsd", trunk=trunk)
    plain, based = make("bot", trunk), make("bot-dcsd", trunk, base="static", context="network")
    for model in (plain, based):
        load_pretrained(model, source, file)
    shared = plain.trunk.state_dict()
    assert all(torch.equal(tensor, based.trunk.state_dict()[name]) for name, tensor in shared.items())
    found, expected = features(based), features(plain)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    if platform.machine() == "x86_64":
        assert torch.equal(found, expected)


def test_weights_of_generated_kernels_are_not_for_a_static_base() -> None:
    for source in ("ddf_imagenet", "dcsd_imagenet", "r50_partial"):
        with pytest.raises(JointreidError, match="this model has static convolutions"):
            check_source(source, "", system="bot-dcsd", trunk="resnet50", base="static")
