"""Graphs of the controls of `dcsd.inject`, on a trunk of two convolutions."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jointreid import custom
from jointreid.config import DcsdConfig, ImageConfig, Inject
from jointreid.export.graph import network_of, onnx_model, trace
from jointreid.models.context import Context
from jointreid.models.reid import build_model
from jointreid.models.trunk import Trunk, TrunkOutput, filter_map
from tests.export.test_portable import features, trained_looking

pytest.importorskip("onnx", reason="onnx is not installed")
IMAGE = ImageConfig(height=16, width=16)


class Tiny(Trunk):
    """A 1x1, a spatial convolution of the system, and the batch normalisation after it."""

    def __init__(self, spatial: Any, last_stride: int) -> None:
        super().__init__()
        self.out_channels = 8
        self.grow = nn.Conv2d(3, 8, 1)
        self.filter = spatial(8, 2, groups=8)
        self.bn = nn.BatchNorm2d(8)

    def forward(self, images: Tensor, context: Context | None = None) -> TrunkOutput:
        x, _ = filter_map(self.filter, functional.relu(self.grow(images)), context)
        return TrunkOutput(functional.relu(self.bn(x)), (), ())


@pytest.mark.slow
@pytest.mark.parametrize("inject", ["kernel", "film", "norm"])
def test_the_graph_computes_the_features_of_the_model(inject: Inject, monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    monkeypatch.setattr(custom, "_trusted", {__name__})
    torch.manual_seed(0)
    settings = DcsdConfig(base="static", context="network", inject=inject)
    model = trained_looking(build_model("bot-dcsd", 4, 3, 5, trunk=f"{__name__}:Tiny", dcsd=settings))
    images = 2 * torch.randn(5, 3, 16, 16)
    expected = functional.normalize(features(model, images)).numpy()
    assert abs(expected[0] - expected[1]).max() > 1e-2
    graph = onnx_model(trace(network_of(model, "imagenet", IMAGE), IMAGE))
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"images": images.numpy()})
    assert abs(found - expected).max() < 1e-5
