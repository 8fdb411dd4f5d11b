"""Weights to start from: files with the names and shapes of the published ones, drawn at random."""

import argparse
import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from jointreid.config import DcsdConfig, PretrainSource
from jointreid.messages.errors import JointreidError
from jointreid.models import weight_sources
from jointreid.models.dcsd import DCSD
from jointreid.models.pretrained import check_source, load_pretrained
from jointreid.models.reid import ReIDModel, build_model
from jointreid.models.weight_files import read_weights
from jointreid.models.weight_sources import NONE, SOURCES, label_of

State = dict[str, Tensor]
WIDTH = 16  # of the trunk resnet50-w16; the published files have 64


def norm(name: str, channels: int, counts: bool = True) -> State:
    state = {f"{name}.weight": torch.rand(channels) + 0.5, f"{name}.bias": 0.1 * torch.randn(channels)}
    state |= {f"{name}.running_mean": 0.1 * torch.randn(channels), f"{name}.running_var": torch.rand(channels) + 0.5}
    return state | ({f"{name}.num_batches_tracked": torch.tensor(7)} if counts else {})


def resnet50(conv2: Callable[[str, int], State], width: int = WIDTH, classes: int = 10, counts: bool = True) -> State:
    """A ResNet-50 as torchvision and timm name it."""

    def filters(*shape: int) -> Tensor:
        return torch.randn(*shape) * math.sqrt(2 / math.prod(shape[1:]))

    state = {"conv1.weight": filters(width, 3, 7, 7), **norm("bn1", width, counts)}
    channels = width
    for stage, depth in enumerate((3, 4, 6, 3)):
        inner = width * 2**stage
        for index in range(depth):
            block = f"layer{stage + 1}.{index}"
            state[f"{block}.conv1.weight"] = filters(inner, channels, 1, 1)
            state |= norm(f"{block}.bn1", inner, counts) | conv2(f"{block}.conv2", inner)
            state |= norm(f"{block}.bn2", inner, counts)
            state[f"{block}.conv3.weight"] = filters(4 * inner, inner, 1, 1)
            state |= norm(f"{block}.bn3", 4 * inner, counts)
            if index == 0:
                state[f"{block}.downsample.0.weight"] = filters(4 * inner, channels, 1, 1)
                state |= norm(f"{block}.downsample.1", 4 * inner, counts)
            channels = 4 * inner
    return state | {"fc.weight": torch.randn(classes, channels), "fc.bias": torch.randn(classes)}


def static_conv2(name: str, channels: int) -> State:
    return {f"{name}.weight": 0.01 * torch.randn(channels, channels, 3, 3)}


def ddf_conv2(name: str, channels: int) -> State:
    """A DDFPack of ddfnet: convolutions of 1x1 around the names of an nn.Sequential."""
    hidden = int(0.2 * channels)
    return {
        f"{name}.spatial_branch.0.weight": torch.randn(9, channels, 1, 1),
        f"{name}.spatial_branch.0.bias": torch.randn(9),
        f"{name}.channel_branch.1.weight": torch.randn(hidden, channels, 1, 1),
        f"{name}.channel_branch.1.bias": torch.randn(hidden),
        f"{name}.channel_branch.3.weight": torch.randn(9 * channels, hidden, 1, 1),
        f"{name}.channel_branch.3.bias": torch.randn(9 * channels),
        f"{name}.channel_branch.4.std": torch.randn(9 * channels),
    }


def make(system: str, trunk: str = "resnet50-w16", **dcsd: Any) -> ReIDModel:
    return build_model(system, 3, 5, 32, trunk, dcsd=DcsdConfig(**dcsd))


def blank(system: str, trunk: str) -> ReIDModel:
    """A model of zeros, made faster than a random one."""
    with torch.device("meta"):
        model = make(system, trunk)
    model.to_empty(device="cpu")
    for tensor in model.state_dict().values():
        tensor.zero_()
    return model


def save(state: State, path: Path) -> str:
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return str(path)


def snapshot(model: nn.Module) -> State:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.slow
def test_ddfs_resnet50_loads_whole(tmp_path: Path) -> None:
    state = resnet50(ddf_conv2, 64, 1000)
    checkpoint = {
        "epoch": 119,
        "arch": "ddf_mul_resnet50",
        "args": argparse.Namespace(model="ddf_mul_resnet50", lr=0.4),
        "state_dict": {f"module.{name}": tensor for name, tensor in state.items()},
    }
    path = tmp_path / "model_best.pth.tar"
    torch.save(checkpoint, path)
    model = blank("bot-dcsd", "resnet50")
    loaded = load_pretrained(model, "ddf_imagenet", str(path))
    assert loaded.parameters == 14_794_748
    assert loaded.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert loaded.label == f"DDF-R50 ImageNet (79.1%), sha256 {loaded.sha256}"
    conv2 = model.trunk.get_submodule("layer3.4.conv2")
    assert isinstance(conv2, DCSD)
    theirs = "layer3.4.conv2.channel_branch"
    assert torch.equal(conv2.channel_branch.fc1.weight, state[f"{theirs}.1.weight"][:, :, 0, 0])
    assert torch.equal(conv2.channel_branch.fc2.weight, state[f"{theirs}.3.weight"].flatten(1))
    assert torch.equal(conv2.channel_branch.fc2.bias, state[f"{theirs}.3.bias"])
    std = conv2.channel_branch.norm.std
    assert isinstance(std, Tensor)
    assert torch.equal(std, state[f"{theirs}.4.std"].view(256, 9))
    assert torch.equal(conv2.spatial_branch.conv.weight, state["layer3.4.conv2.spatial_branch.0.weight"])
    assert torch.equal(model.trunk.state_dict()["layer3.4.bn3.weight"], state["layer3.4.bn3.weight"])
    rest = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("trunk.")}
    assert not any(tensor.any() for tensor in rest.values())


@pytest.mark.slow
def test_a_context_of_zeros_keeps_the_function_of_the_sample_bit_by_bit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    file = save(resnet50(ddf_conv2), tmp_path / "ddf.pth")
    model, sample_only = make("bot-dcsd"), make("bot-dcsd", factors=("sample",))
    load_pretrained(model, "ddf_imagenet", file)
    load_pretrained(sample_only, "ddf_imagenet", file)
    images = torch.randn(2, 3, 64, 32)
    with torch.no_grad():
        features = model.eval().trunk(images).feature_map
        assert torch.equal(features, sample_only.eval().trunk(images).feature_map)
    assert features.isfinite().all()
    assert features.std() > 0


@pytest.mark.slow
def test_the_context_starts_at_random_if_the_setting_says_so(tmp_path: Path) -> None:
    file = save(resnet50(ddf_conv2), tmp_path / "ddf.pth")
    model = make("bot-dcsd")
    before = snapshot(model)
    load_pretrained(model, "ddf_imagenet", file, zero_context=False)
    context = [name for name in before if ".domain." in name or ".camera." in name]
    assert context
    assert all(torch.equal(before[name], model.state_dict()[name]) for name in context)


def test_tensors_that_do_not_fit_are_listed_and_nothing_changes(tmp_path: Path) -> None:
    state = resnet50(ddf_conv2)
    for name in [name for name in state if name.startswith("layer2.1.conv2") or name.endswith("conv3.weight")][:12]:
        del state[name]
    state |= {"extra.weight": torch.ones(1), "layer1.0.conv2.weight": torch.ones(1)}
    state["layer4.2.conv2.channel_branch.4.std"] = torch.ones(128, 9)
    state["bn1.running_var"] = torch.full((16,), float("nan"))
    model = make("bot-dcsd")
    before = snapshot(model)
    with pytest.raises(JointreidError) as caught:
        load_pretrained(model, "ddf_imagenet", save(state, tmp_path / "ddf.pth"))
    message = str(caught.value)
    assert "in 16 places: " in message
    assert message.count(" is missing") == 10
    assert "layer1.0.conv3.weight is missing" in message
    assert "and 6 more" in message
    assert same(before, snapshot(model))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"fc2.weight": torch.ones(3)}, "fc2.weight is left over"),
        ({"layer1.0.bn1.weight": torch.ones(4)}, r"layer1\.0\.bn1\.weight is \(4,\), expected \(16,\)"),
        ({"layer1.0.bn1.weight": torch.full((16,), torch.inf)}, r"layer1\.0\.bn1\.weight is not finite"),
    ],
)
def test_a_tensor_that_does_not_fit_is_named(change: State, expected: str, tmp_path: Path) -> None:
    model = make("bot")
    before = snapshot(model)
    with pytest.raises(JointreidError, match=f"in 1 places: {expected}"):
        load_pretrained(model, "tv_in1k", save(resnet50(static_conv2) | change, tmp_path / "tv.safetensors"))
    assert same(before, snapshot(model))


@pytest.mark.slow
@pytest.mark.parametrize("system", ["bot", "agw", "bot-dn", "bot-snr"])
def test_torchvisions_weights_fill_every_baseline_except_its_additions(system: str, tmp_path: Path) -> None:
    state = resnet50(static_conv2, counts=False)  # as saved before batches were counted
    model = make(system)
    before = snapshot(model.trunk)
    loaded = load_pretrained(model, "tv_in1k", save(state, tmp_path / "resnet50.pth"))
    after = model.trunk.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in state.items() if not name.startswith("fc."))
    own = [name for name in after if name not in state]
    assert all(torch.equal(before[name], after[name]) for name in own)
    assert (system == "bot") == all(name.endswith("num_batches_tracked") for name in own)
    # Its checksum is not that of torchvision's file.
    assert loaded.label == f"said to be torchvision R50 ImageNet V1 (76.1%), sha256 {loaded.sha256}"


@pytest.mark.slow
def test_a_partial_start_leaves_generated_filters_random_and_resets_the_norms_after_them(tmp_path: Path) -> None:
    state = resnet50(static_conv2, 64, 1000)
    file = save(state, tmp_path / "resnet50.safetensors")
    model = blank("bot-dcsd", "resnet50")
    for name, module in model.trunk.named_modules():
        if name.endswith("bn2"):
            nn.init.constant_(module.get_parameter("weight"), 5)
    before = snapshot(model.trunk)
    loaded = load_pretrained(model, "r50_partial", file)
    after = model.trunk.state_dict()
    # All but the 3x3s are 12,190,784 parameters; of these the bn2 start anew.
    bn2 = sum(2 * depth * width for depth, width in zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True))
    assert loaded.parameters == 12_190_784 - bn2
    assert loaded.label.startswith("partial R50 init — NOT comparable, sha256 ")
    for name, tensor in after.items():
        if ".conv2." in name:
            assert torch.equal(tensor, before[name]), name
        elif ".bn2." in name:
            expected = 1.0 if name.endswith(("weight", "var")) else 0.0
            assert tensor.eq(expected).all(), name
        else:
            assert torch.equal(tensor, state[name]), name


def test_reading_a_pickle_never_executes_it(tmp_path: Path) -> None:
    trace = tmp_path / "executed"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(trace),)

    torch.save({"state_dict": {"conv1.weight": Trap()}}, tmp_path / "trap.pth")
    with pytest.raises(JointreidError, match=r"alone \(it asks for posix\.mkdir\)\. Nothing in it was executed"):
        read_weights(tmp_path / "trap.pth")
    assert not trace.exists()


def test_files_of_other_kinds_are_refused(tmp_path: Path) -> None:
    for name, content in (("cut.safetensors", b"\x40\0\0"), ("empty.pth", b""), ("text.pth.tar", b"hello")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(JointreidError, match=f"{name}: not readable as weights alone"):
            read_weights(tmp_path / name)
    torch.save([torch.ones(1)], tmp_path / "list.pth")
    with pytest.raises(JointreidError, match="expected tensors by name"):
        read_weights(tmp_path / "list.pth")
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(JointreidError, match=r"expected a \.safetensors, \.pth or \.pth\.tar file"):
        read_weights(tmp_path / "model.onnx")


def test_torchvisions_file_is_downloaded_only_if_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    file = save(resnet50(static_conv2), tmp_path / "model.safetensors")
    asked = []

    def download(repository: str, name: str) -> str:
        asked.append((repository, name))
        return file

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    load_pretrained(make("bot"), "tv_in1k", file)
    assert not asked
    assert load_pretrained(make("bot"), "tv_in1k").file == Path(file)
    assert asked == [("timm/resnet50.tv_in1k", "model.safetensors")]

    def offline(repository: str, name: str) -> str:
        raise OSError("no route to host\nand more")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", offline)
    with pytest.raises(
        JointreidError,
        match=r"\(no route to host\)\. Without a connection get resnet50-0676ba61\.pth.* --model\.pretrain_file",
    ):
        load_pretrained(make("bot"), "tv_in1k")


def test_a_file_with_a_known_checksum_is_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = save(resnet50(static_conv2), tmp_path / "resnet50.pth")
    sha256 = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    monkeypatch.setitem(SOURCES, "tv_in1k", replace(SOURCES["tv_in1k"], sha256=sha256[:8]))
    expected = f"torchvision R50 ImageNet V1 (76.1%), sha256 {sha256}"
    assert load_pretrained(make("bot"), "tv_in1k", file).label == expected
    # The stronger start of a control, of which no checksum is known.
    stronger = load_pretrained(make("bot"), "a1_in1k", file).label
    assert stronger == f"said to be timm R50 ImageNet a1, not the paper's start, sha256 {sha256}"


def test_torchvisions_second_weights_are_not_mistaken_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = save(resnet50(static_conv2), tmp_path / "resnet50.pth")
    start = hashlib.sha256(Path(file).read_bytes()).hexdigest()[:8]
    monkeypatch.setitem(weight_sources.OTHER_RECIPES, start, "torchvision's V2 (80.9%)")
    with pytest.raises(JointreidError, match=r"is torchvision's V2 \(80\.9%\), of another recipe"):
        load_pretrained(make("bot"), "tv_in1k", file)


@pytest.mark.parametrize(
    ("source", "system", "trunk", "expected"),
    [
        (
            "ddf_imagenet",
            "bot",
            "resnet50",
            "generated convolutions in resnet50; .* fitting are tv_in1k, a1_in1k, r50_imagenet and none",
        ),
        (
            "tv_in1k",
            "bot-dcsd",
            "resnet50",
            "has generated convolutions in resnet50, and fitting are ddf_imagenet, dcsd_imagenet, r50_partial and "
            "none. With --dcsd.base static",
        ),
        ("ddf_imagenet", "agw-dcsd", "resnet50-w16", "in resnet50-w16, and fitting are dcsd_imagenet and none"),
        ("r50_partial", "bot", "resnet101", "fitting are r50_imagenet and none"),
        ("imagenet", "bot", "resnet50", "there is no source of weights imagenet; did you mean .*r50_imagenet"),
        ("ddf_imagenet", "bot-dcsd", "resnet50", "needs a file. Get the checkpoint of ddf_mul_resnet50"),
    ],
)
def test_weights_that_do_not_suit_a_system_are_refused_and_those_that_do_named(
    source: str, system: str, trunk: str, expected: str
) -> None:
    with pytest.raises(JointreidError, match=expected):
        check_source(source, "", system=system, trunk=trunk)


def test_a_model_is_never_filled_with_weights_of_other_convolutions(tmp_path: Path) -> None:
    file = save(resnet50(static_conv2), tmp_path / "tv.pth")
    with pytest.raises(JointreidError, match="fitting are ddf_imagenet, dcsd_imagenet, r50_partial and none"):
        load_pretrained(make("bot-dcsd"), "tv_in1k", file)


def test_a_file_must_be_there_and_belong_to_a_source(tmp_path: Path) -> None:
    check_source("none", "", system="bot", trunk="resnet50")
    check_source("tv_in1k", "", system="bot", trunk="resnet50")
    with pytest.raises(JointreidError, match="is none; say which weights it holds"):
        check_source("none", "x.pth", system="bot", trunk="resnet50")
    with pytest.raises(JointreidError, match=r"there is no file .*x\.pth\. Get resnet50-0676ba61"):
        check_source("tv_in1k", str(tmp_path / "x.pth"), system="bot", trunk="resnet50")


def test_kernels_that_are_sums_are_not_started_from_products(tmp_path: Path) -> None:
    file = save(resnet50(ddf_conv2), tmp_path / "ddf.pth")
    with pytest.raises(JointreidError, match=r"dcsd\.combine must be mul"):
        load_pretrained(make("bot-dcsd", combine="add"), "ddf_imagenet", file)


FACTS = {"top1": 0.7634, "epochs": 120, "classes": 1000, "train_images": 1_281_167, "val_images": 50_000}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, "own ImageNet, top-1 = 76.3%, 120 epochs, sha256 "),
        (
            {"classes": 3, "train_images": 1234},
            "own pre-training on 1,234 images of 3 classes, top-1 = 76.3% — NOT comparable, sha256 ",
        ),
    ],
)
def test_custom_weights_are_labelled_by_their_training_data(
    facts: dict[str, int], expected: str, tmp_path: Path
) -> None:
    file = Path(save(make("bot").trunk.state_dict(), tmp_path / "model.safetensors"))
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    (tmp_path / "model.json").write_text(json.dumps({**FACTS, **facts, "sha256": sha256}))
    assert load_pretrained(make("bot"), "r50_imagenet", str(tmp_path)).label == expected + sha256


def test_custom_weights_need_the_json_that_describes_them(tmp_path: Path) -> None:
    model = make("bot")
    file = save(model.trunk.state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(JointreidError, match=r"model\.json: cannot be read .* that `jointreid pretrain` writes"):
        load_pretrained(model, "r50_imagenet", file)
    (tmp_path / "model.json").write_text(json.dumps({**FACTS, "sha256": "0"}))
    with pytest.raises(JointreidError, match="describes another file"):
        load_pretrained(model, "r50_imagenet", file)


def test_every_source_is_a_setting_and_has_a_name_for_results() -> None:
    assert get_args(PretrainSource) == (NONE, *SOURCES)
    assert label_of(NONE) == "none"
    assert label_of("r50_partial") == "partial R50 init — NOT comparable"
