"""The systems and runs of this package as networks of timm."""

from pathlib import Path
from typing import Any

import pytest
import timm
import torch

import jointreid.timm
from jointreid.messages.errors import JointreidError
from jointreid.models.reid import SYSTEMS
from jointreid.run import open_run
from tests.extraction.small_runs import untrained_run


def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 16, generator=torch.Generator().manual_seed(0))


def test_all_systems_are_registered() -> None:
    names = {f"jointreid_{name.replace('-', '_')}" for name in SYSTEMS} | {"jointreid_run"}
    assert set(timm.list_models("jointreid_*")) == names
    assert names < set(jointreid.timm.__all__)


def test_a_system_has_the_methods_of_timm() -> None:
    network: Any = timm.create_model("jointreid_bot_dcsd", num_classes=5, trunk="resnet50-w16").eval()
    with torch.no_grad():
        assert network(images()).shape == (2, 5)
        feature_map = network.forward_features(images())
        assert feature_map.shape[:2] == (2, network.num_features)
        torch.testing.assert_close(network.forward_head(feature_map), network(images()))
        network.reset_classifier(0)
        features = network(images())
    assert features.shape == (2, network.num_features)
    torch.testing.assert_close(network.forward_head(feature_map, pre_logits=True), features)
    assert network.pretrained_cfg["input_size"] == (3, 256, 128)
    with pytest.raises(JointreidError, match="no weights come with it"):
        timm.create_model("jointreid_bot", pretrained=True)
    with pytest.raises(JointreidError, match="pooling of this network"):
        network.reset_classifier(3, "max")


def test_a_run_gives_its_features(tmp_path: Path) -> None:
    run = untrained_run(tmp_path / "run")
    network: Any = timm.create_model("jointreid_run", run=str(run), num_classes=0)
    with torch.no_grad():
        assert torch.equal(network(images()), open_run(run).model()(images()).bn_embedding)
    assert network.default_cfg["input_size"] == (3, 32, 16)
    with pytest.raises(JointreidError, match="no option trunk"):
        timm.create_model("jointreid_run", run=str(run), trunk="resnet50")
