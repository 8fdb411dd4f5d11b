"""Generated kernels whose taps are all equal, which FilterNorm divides by a spread of 0, in ONNX files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from jointreid.export.graph import network_of, onnx_model, trace
from jointreid.export.precision import in_half_precision
from jointreid.export.runtime import open_session
from jointreid.models.dcsd import DCSD
from jointreid.run import open_run
from tests.small_run import copy_of_fixture

pytest.importorskip("onnx", reason="onnx is not installed")
pytestmark = pytest.mark.slow

# Of nine such taps the mean is exact, so that PyTorch's operator returns zeros too, and no rounding noise over its eps.
TAP = 0.25


def test_the_file_computes_the_features_of_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It adds its folder to the paths of modules, which the end of this test would take away for all others.
    pytest.importorskip("onnxruntime.transformers.float16")
    copy_of_fixture(tmp_path / "place", monkeypatch)
    run = open_run("run")
    model = run.model().eval()
    modules = [module for module in model.modules() if isinstance(module, DCSD)]
    assert modules
    for module in modules:
        for layer in (module.channel_branch.fc2, module.spatial_branch.conv):
            nn.init.zeros_(layer.weight)
            nn.init.constant_(layer.bias, TAP)  # type: ignore[arg-type]
    size = run.config.image.height, run.config.image.width, 3
    noise = np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8)
    images = np.concatenate([noise, np.stack([np.full(size, value, np.uint8) for value in (0, 127, 255)])])
    network = network_of(model, "uint8", run.config.image)
    assert network.scale is not None
    assert network.shift is not None
    with torch.inference_mode():
        normalised = torch.from_numpy(images).permute(0, 3, 1, 2) * network.scale + network.shift
        expected = nn.functional.normalize(model(normalised).bn_embedding).numpy()
    graph = onnx_model(trace(network, run.config.image))
    for made, tolerance in ((graph, 2e-6), (in_half_precision(graph), 5e-3)):
        found = open_session(made.SerializeToString(), "constant.onnx", 1).run(["features"], {"images": images})[0]
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, expected, atol=tolerance)
