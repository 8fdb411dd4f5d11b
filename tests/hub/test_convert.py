"""Checkpoints of other projects: the same features, every tensor accounted for, and the reason why one is refused."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from jointreid import Embedder
from jointreid.cli import main
from jointreid.config import PeerName
from jointreid.hub.convert import Conversion, convert
from jointreid.hub.peer_run import write_peer_file, write_peer_run
from jointreid.hub.peers import PEERS
from jointreid.machine.extras import declare_torchvision
from jointreid.messages.errors import JointreidError
from jointreid.run import load_weights, model_for, open_run
from tests.extraction.small_runs import draw
from tests.hub.peer_networks import CLASSES, NETWORKS, WIDTH, peer_network

pytestmark = pytest.mark.slow


def saved(network: nn.Module, path: Path, under: str = "", **more: Any) -> Path:
    """Save a network's tensors as a project does: bare, or in a checkpoint with other things."""
    tensors = OrderedDict(network.state_dict())
    torch.save({under: tensors, **more} if under else tensors, path)
    return path


def images(height: int = 66, width: int = 34) -> Tensor:
    """Images of a size at which paddings and strides differ."""
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(1))


def converted(name: str, tmp_path: Path, **options: Any) -> Conversion:
    path = saved(peer_network(name), tmp_path / "model.pth")
    return convert(path, NETWORKS[name][0], **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NETWORKS)
def test_features_are_those_of_the_project(name: str, tmp_path: Path) -> None:
    network, done = peer_network(name), converted(name, tmp_path)
    model = model_for(done.config, done.label_space)
    model.load_state_dict(dict(done.tensors))
    with torch.no_grad():
        expected, found = network(images()), model.eval()(images()).bn_embedding
    assert expected.std() > 0.01
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert set(network.state_dict()) == {*done.taken, *done.dropped}
    assert set(done.tensors) == {*done.taken.values(), *done.added}
    assert done.label_space.num_ids == CLASSES


def test_there_is_a_network_of_each_project() -> None:
    assert {peer for peer, _ in NETWORKS.values()} == set(PEERS) == set(get_args(PeerName))


def test_settings_follow_the_project_and_the_file(tmp_path: Path) -> None:
    config = converted("fastreid, SBS", tmp_path).config
    assert (config.model.name, config.model.width, config.model.stem_pool) == ("agw", WIDTH, "ceil")
    assert (config.model.gem_learnable, config.model.gem_p, config.model.nonlocal_reduction) == (True, 2.5, 0)
    assert config.image.mean == pytest.approx((0.485, 0.456, 0.406))
    assert config.image.std == pytest.approx((0.229, 0.224, 0.225))
    assert config.image.interpolation == "bicubic"
    config = converted("torchreid", tmp_path, settings={"model": {"last_stride": 1}, "image": {"height": 384}}).config
    assert (config.model.name, config.model.last_stride, config.image.height) == ("bot", 1, 384)
    assert (config.eval.metric, config.image.interpolation) == ("euclidean", "bilinear")


def test_a_fixed_power_is_said_by_hand(tmp_path: Path) -> None:
    assert converted("fastreid, BoT", tmp_path, pool="gem").config.model.gem_p == 3
    assert converted("fastreid, AGW", tmp_path, pool="mean").config.model.gem_p == 1
    with pytest.raises(JointreidError, match="learnt power of its pooling"):
        converted("fastreid, SBS", tmp_path, pool="mean")


def test_checkpoints_with_other_things_are_read(tmp_path: Path) -> None:
    network = peer_network("torchreid")
    milestones = torch.optim.lr_scheduler.MultiStepLR(torch.optim.Adam(network.parameters()), [1, 2]).state_dict()
    path = saved(
        nn.DataParallel(network), tmp_path / "model.pth.tar-60", "state_dict", epoch=60, rank1=np.float32(0.9),
        scheduler=milestones,
    )  # fmt: skip
    assert convert(path, "torchreid").taken["layer1.0.conv1.weight"] == "trunk.layer1.0.conv1.weight"
    path = saved(peer_network("fastreid, BoT"), tmp_path / "model_final.pth", "model", iteration=3)
    assert convert(path, "fastreid").dropped["pixel_mean"] == "is in the settings image.mean and image.std"


def without(names: str) -> Any:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if names not in name}


def with_(name: str, *shape: int) -> Any:
    return lambda tensors: tensors | {name: torch.ones(shape)}


@pytest.mark.parametrize(
    ("network", "change", "reason"),
    [
        ("fastreid, BoT", with_("backbone.layer1.0.bn1.IN.weight", 4), r"instance normalisation .*IBN.*bn1\.IN"),
        ("bot", with_("base.layer1.0.se_module.fc1.weight", 4), "squeeze-and-excitation"),
        ("fastreid, BoT", with_("heads.bottleneck.1.weight", 4), r"reduces the embedding .*EMBEDDING_DIM"),
        ("torchreid", with_("fc.0.weight", 4), "further embedding layer"),
        ("transreid", with_("base.cls_token", 1, 1, 4), "vision transformer"),
        ("transreid", with_("bottleneck_1.weight", 4), "several branches"),
        ("torchreid", with_("conv2.0.conv2a.conv1.weight", 4), "OSNet"),
        ("bot", with_("attributes.weight", 4), r"holds 1 tensors that the BoT repository has not .*attributes\.weight"),
        ("bot", without("conv3"), "ResNet-18 or -34"),
        ("bot", without("layer3.5"), "5 blocks in layer3"),
        ("bot", without("layer2.1.bn2.running_mean"), r"trunk\.layer2\.1\.bn2\.running_mean is missing"),
        ("bot", with_("base.layer1.0.bn1.weight", 9), r"bn1\.weight is \(9,\), expected \(8,\)"),
        ("bot", with_("base.layer1.0.conv2.weight", 8, 2, 3, 3), "ResNeXt"),
        ("agw", without("NL_2.1"), r"layer2\.2\.non_local.* is missing"),
        ("torchreid", lambda tensors: {f"base.{name}": tensor for name, tensor in tensors.items()}, "check --from"),
    ],
)
def test_what_is_not_ours_is_refused_with_the_reason(network: str, change: Any, reason: str, tmp_path: Path) -> None:
    torch.save(dict(change(peer_network(network).state_dict())), tmp_path / "model.pth")
    with pytest.raises(JointreidError, match=reason):
        convert(tmp_path / "model.pth", NETWORKS[network][0])  # type: ignore[arg-type]


def test_a_pickled_module_is_refused_and_not_executed(tmp_path: Path) -> None:
    torch.save(peer_network("bot"), tmp_path / "resnet50_model_120.pth")
    with pytest.raises(
        JointreidError, match=r"asks for tests\.hub\.peer_networks\.Baseline\)\. Nothing in it was exec"
    ):
        convert(tmp_path / "resnet50_model_120.pth", "bot")


def test_a_converted_run_embeds_as_the_project_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = saved(peer_network("bot"), tmp_path / "market.pth"), tmp_path / "run"
    arguments = ["weights", "convert", str(path), "--from", "bot", "--out", str(out), "--image.height", "64"]
    assert main([*arguments, "--image.width", "32"]) == 0
    printed = capsys.readouterr().out
    assert "324 tensors taken, 0 left out, 0 added" in printed
    assert f"jointreid train --init {out} --model.width 8 --model.stem_relu False" in printed
    run = open_run(out)
    assert run.state()["pretraining"].startswith("weights of the BoT repository: market.pth, sha256 ")
    assert len(json.loads((out / "conversion.json").read_text())["taken"]) == 324
    records = draw(tmp_path / "images", 2)
    embed = Embedder.load(run, device="cpu")
    pixels = torch.from_numpy(np.stack([np.asarray(_resized(record.path)) for record in records])) / 255
    normalised = (pixels - torch.tensor(run.config.image.mean)) / torch.tensor(run.config.image.std)
    with torch.no_grad():
        expected = nn.functional.normalize(peer_network("bot")(normalised.permute(0, 3, 1, 2).float()))
    np.testing.assert_allclose(embed([record.path for record in records]), expected.numpy(), atol=1e-4)
    assert main([*arguments]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.slow
def test_a_converted_run_is_evaluated_on_your_data(tmp_path: Path, tiny_manifest: Path) -> None:
    done = converted("fastreid, SBS", tmp_path, settings={"image": {"height": 32, "width": 16}})
    run = write_peer_run(done, tmp_path / "run")
    arguments = ["evaluate", str(run), "--data", str(tiny_manifest), "--cache", str(tmp_path / "cache")]
    assert main([*arguments, "--device", "cpu"]) == 0
    results = json.loads((run / "results.json").read_text())
    assert "weights of fast-reid: model.pth" in json.dumps(results)


def _resized(path: Path) -> Any:
    from PIL import Image

    with Image.open(path) as image:
        return image.convert("RGB").resize((32, 64), Image.Resampling.BILINEAR)


def test_a_converted_file_starts_a_model_of_the_same_settings(tmp_path: Path) -> None:
    done = converted("agw", tmp_path)
    path = write_peer_file(done, tmp_path / "out" / "agw.safetensors")
    model = model_for(done.config, done.label_space)
    load_weights(model, path, heads=False)
    assert torch.equal(model.state_dict()["bnneck.running_mean"], done.tensors["bnneck.running_mean"])
    run = open_run(write_peer_run(done, tmp_path / "run"))
    assert run.config == done.config


@pytest.mark.slow
def test_features_are_those_of_the_real_torchreid(tmp_path: Path) -> None:
    declare_torchvision()
    resnet = pytest.importorskip("torchreid.reid.models.resnet")
    torch.manual_seed(0)
    network = resnet.resnet50(CLASSES, pretrained=False).eval()
    done = convert(saved(network, tmp_path / "model.pth.tar-1", "state_dict", epoch=1), "torchreid")
    model = model_for(done.config, done.label_space)
    model.load_state_dict(dict(done.tensors))
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(images()).bn_embedding, network(images()), rtol=1e-4, atol=1e-5)
