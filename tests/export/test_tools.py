"""What other tools read beside an exported file."""

import json
from pathlib import Path
from typing import get_args

import pytest
import yaml

from jointreid.config import ImageConfig, InputChoice, InputKind, ToolChoice, ToolName
from jointreid.export.contract import INPUTS, contract_of
from jointreid.export.run import export_run
from jointreid.export.tools import TOOLS, require_fitting, write_companions
from jointreid.messages.errors import JointreidError


def companions(tool: ToolName, folder: Path) -> list[Path]:
    image = ImageConfig(height=64, width=32)
    contract = contract_of(
        image, file="m.onnx", kind=TOOLS[tool].kind, dims=16, fingerprint="f", model={"system": "bot"}
    )
    return write_companions(tool, folder / "m.onnx", contract)


def test_the_words_of_the_options_are_those_of_the_tables() -> None:
    assert get_args(ToolChoice) == ("any", *get_args(ToolName))
    assert get_args(InputChoice) == ("auto", *get_args(InputKind))
    assert set(TOOLS) == set(get_args(ToolName))
    assert set(INPUTS) == set(get_args(InputKind))


def test_boxmot_is_told_the_size_under_the_name_that_it_reads(tmp_path: Path) -> None:
    (path,) = companions("boxmot", tmp_path)
    assert path.name == "m.onnx.metadata.json"
    plain = json.loads(path.read_text())
    assert plain["img_size"] == plain["model_kwargs"]["img_size"] == [64, 32]
    assert plain["preprocess"] == "resize"


def test_ultralytics_gets_a_tracker_with_this_file(tmp_path: Path) -> None:
    (path,) = companions("ultralytics", tmp_path)
    settings = yaml.safe_load(path.read_text())
    assert settings["with_reid"] is True
    assert Path(settings["model"]) == (tmp_path / "m.onnx").resolve()


def test_deepstream_leaves_pixels_as_they_are(tmp_path: Path) -> None:
    (path,) = companions("deepstream", tmp_path)
    section = yaml.safe_load(path.read_text())["ReID"]
    assert TOOLS["deepstream"].kind == "raw255"
    assert (section["netScaleFactor"], section["offsets"], section["colorFormat"]) == (1.0, [0, 0, 0], 0)
    assert (section["reidFeatureSize"], section["inferDims"]) == (16, [3, 64, 32])


@pytest.mark.parametrize("tool", ["deep-sort-realtime", "norfair"])
def test_others_read_nothing_beside_it(tool: ToolName, tmp_path: Path) -> None:
    assert companions(tool, tmp_path) == []


def test_boxmot_and_other_means_do_not_fit() -> None:
    require_fitting("boxmot", ImageConfig())
    with pytest.raises(
        JointreidError, match=r"boxmot normalises images by ImageNet's mean .* this run by \(0\.5, 0\.5"
    ):
        require_fitting("boxmot", ImageConfig(mean=(0.5, 0.5, 0.5)))
    require_fitting("ultralytics", ImageConfig(mean=(0.5, 0.5, 0.5)))


def test_an_input_that_the_tool_does_not_give_is_refused() -> None:
    with pytest.raises(JointreidError, match="boxmot gives images as imagenet, not as unit; leave out --input"):
        export_run("nowhere", tool="boxmot", kind="unit")
    with pytest.raises(JointreidError, match="--for norfair needs --format onnx"):
        export_run("nowhere", tool="norfair", file_format="pt2")
    with pytest.raises(JointreidError, match="--precision int8 is for --format onnx"):
        export_run("nowhere", precision="int8", file_format="pt2")
