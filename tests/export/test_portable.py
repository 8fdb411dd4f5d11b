"""A model rewritten for export computes the same features, in every form of its network."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from jointreid.config import DcsdConfig
from jointreid.export.portable import PortableDCSD, portable
from jointreid.models.controls import DomainNorm, FilmConv
from jointreid.models.dcsd import DCSD
from jointreid.models.reid import ReIDModel, build_model

pytestmark = pytest.mark.slow

SIZE = 64, 32
# Few weights in the generators, which take seconds to draw in wide trunks.
NARROW: Mapping[str, Any] = {"squeeze": 0.01, "mlp_reduction": 64}


def trained_looking(model: ReIDModel) -> ReIDModel:
    """Give all norms statistics and weights of their own, and every gain a value, as training does."""
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_var.uniform_(0.5, 1.5, generator=generator)  # type: ignore[union-attr]
            module.weight.data.uniform_(0.1, 0.4, generator=generator)  # no more, or the maps grow without end
            for values in (module.bias, module.running_mean):
                values.data.normal_(0, 0.1, generator=generator)  # type: ignore[union-attr]
        if isinstance(module, FilmConv) and module.projection is not None:
            nn.init.normal_(module.projection.weight, 0, 0.5, generator=generator)
        if isinstance(module, DomainNorm):
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.weight.data.uniform_(0.5, 1.5, generator=generator)
            for values in (module.bias.data, module.running_mean):
                values.normal_(0, 0.3, generator=generator)
        if isinstance(module, DCSD):
            if module.gain is not None:
                module.gain.data.normal_(0, 0.3, generator=generator)
            if module.config.generated_start == "zeros":
                nn.init.normal_(module.channel_branch.fc2.weight, 0, 0.001, generator=generator)
    return model.eval()


def features(model: ReIDModel, images: Tensor) -> Tensor:
    with torch.inference_mode():
        found: Tensor = model(images).bn_embedding
    return found


@pytest.mark.parametrize(
    ("system", "trunk", "settings"),
    [
        ("bot-dcsd", "resnet50-w16", {}),
        ("bot-dcsd", "resnet50-w16", {"combine": "add"}),
        ("bot-dcsd", "resnet50-w16", {"context_to": "channel", "mlp_bias": True}),
        ("bot-dcsd", "resnet50-w16", {"context_to": "spatial", "learnable_std": False}),
        ("bot-dcsd", "resnet50-w16", {"factors": ("sample",)}),
        ("bot-dcsd", "resnet50-w16", {"kernel_size": 5, "factors": ("sample", "camera")}),
        ("bot-dcsd", "resnet50-w16", {"base": "static", "context": "network"}),
        ("bot-dcsd", "resnet50-w16", {"base": "static", "context": "network", "generated_start": "zeros"}),
        ("bot-dcsd", "resnet50-w16", {"base": "static", "context": "block-stats", "gain_relative": True}),
        ("bot-dcsd", "resnet50-w16", {"context": "network", "context_to": "spatial"}),
        ("bot-dcsd", "resnet50-w16", {"base": "static", "context": "network", "inject": "film"}),
        ("bot-dcsd", "resnet50-w16", {"base": "static", "context": "network", "inject": "norm"}),
        ("agw-dcsd", "resnet50-w16", {"base": "static", "combine": "add"}),
        ("bot", "resnet50-w16", {}),
        ("agw", "resnet50-w16", {}),
        ("bot-dn", "resnet50-w16", {}),
        ("bot-snr", "resnet50-w16", {}),
        pytest.param("bot-dcsd", "mobilenetv2_100", {"base": "static", **NARROW}, marks=pytest.mark.slow),
        pytest.param("bot-dcsd", "efficientnet_lite0", NARROW, marks=pytest.mark.slow),
        pytest.param("bot-dcsd", "convnext_tiny", NARROW, marks=pytest.mark.slow),
    ],
    ids=lambda value: "-".join(map(str, value.values())) if isinstance(value, dict) else value,
)
def test_features_stay_the_same(system: str, trunk: str, settings: Mapping[str, Any]) -> None:
    torch.manual_seed(0)
    model = trained_looking(build_model(system, 10, 3, 5, trunk=trunk, dcsd=DcsdConfig(**settings), last_stride=1))
    images = torch.randn(3, 3, *SIZE)
    expected = features(model, images)
    rewritten = portable(model, *SIZE)
    found = features(rewritten, images)
    assert torch.isfinite(expected).all()
    assert (found - expected).abs().max() <= 2e-5 * expected.abs().max()
    kept = [
        name for name, _ in rewritten.named_modules() if name.endswith("classifier") and _parameters(rewritten, name)
    ]
    # The blocks are told what it predicts.
    assert kept == (["context.domain.classifier"] if settings.get("inject") == "norm" else [])
    kinds = [type(module) for module in rewritten.modules()]
    assert DCSD not in kinds
    if system in ("bot", "bot-dcsd", "bot-dn") and trunk.startswith("resnet") and "inject" not in settings:
        assert nn.BatchNorm2d not in kinds  # all went into the convolutions before them


def _parameters(model: nn.Module, name: str) -> bool:
    return any(True for _ in model.get_submodule(name).parameters())


def test_the_model_itself_is_left_as_it_is() -> None:
    model = build_model("bot-dcsd", 4, 2, 3, trunk="resnet50-w16")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    portable(model, *SIZE)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_constant_group_gives_zero_and_no_nan(stride: int) -> None:
    # FilterNorm divides such a group by its spread of 0. PyTorch's operator returns its rounding noise over eps.
    dcsd = DCSD(4, 2, 3, stride=stride).eval()
    for layer in (dcsd.channel_branch.fc2, dcsd.spatial_branch.conv):
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, 0.3)  # type: ignore[arg-type]
    rewritten = PortableDCSD(dcsd, (6, 4)).eval()
    y, _ = rewritten(torch.randn(2, 4, 6, 4))
    assert torch.equal(y, torch.zeros_like(y))


def test_a_group_of_zeros_gives_zero_as_the_operator_does() -> None:
    dcsd = DCSD(4, 2, 3).eval()
    for layer in (dcsd.channel_branch.fc2, dcsd.spatial_branch.conv):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    x = torch.randn(2, 4, 6, 4)
    expected, found = dcsd(x)[0], PortableDCSD(dcsd, (6, 4))(x)[0]
    assert torch.equal(expected, torch.zeros_like(x))
    assert torch.equal(found, expected)


@pytest.mark.parametrize("value", [0.0, 1.0, -2.1])
def test_blank_images_give_the_same_features(value: float) -> None:
    torch.manual_seed(0)
    model = trained_looking(build_model("bot-dcsd", 4, 2, 3, trunk="resnet50-w16"))
    images = torch.full((2, 3, *SIZE), value)
    expected, found = features(model, images), features(portable(model, *SIZE), images)
    assert torch.isfinite(found).all()
    assert nn.functional.cosine_similarity(expected, found).min() >= 0.9999
