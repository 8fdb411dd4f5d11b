"""What an exported file takes: the contract prepares it, and refuses what the graph would misread."""

import json
from typing import Any, get_args

import numpy as np
import pytest

from jointreid.config import ImageConfig, InputKind
from jointreid.data.augment import normalise
from jointreid.export.contract import INPUTS, Contract, contract_of, contract_text
from jointreid.messages.errors import JointreidError


def contract(kind: InputKind, **more: Any) -> Contract:
    return contract_of(ImageConfig(height=32, width=16), file="m.onnx", kind=kind, dims=8, fingerprint="f" * 64, **more)


def pixels() -> Any:
    return np.random.default_rng(0).integers(0, 256, (2, 32, 16, 3), dtype=np.uint8)


def test_every_kind_of_input_is_described() -> None:
    assert set(INPUTS) == set(get_args(InputKind))


@pytest.mark.parametrize("kind", INPUTS)
def test_what_is_prepared_is_accepted(kind: InputKind) -> None:
    made = contract(kind).prepare(pixels())
    contract(kind).require_input(made)
    assert made.shape == ((2, 32, 16, 3) if kind == "uint8" else (2, 3, 32, 16))
    assert made.flags.c_contiguous


def test_normalised_images_are_those_of_training() -> None:
    import torch

    image = ImageConfig()
    expected = normalise(torch.from_numpy(pixels()).permute(0, 3, 1, 2), image.mean, image.std)
    np.testing.assert_allclose(contract("imagenet").prepare(pixels()), expected.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("unit", "imagenet", "look normalised, and this graph normalises itself"),
        ("raw255", "imagenet", "look normalised, and this graph normalises itself"),
        ("unit", "raw255", r"values up to 255; this graph takes floats from 0 to 1"),
        ("raw255", "unit", r"look like pixels / 255"),
        ("imagenet", "unit", "these images are not normalised"),
        ("imagenet", "raw255", "these images are not normalised"),
        ("uint8", "unit", r"images are float32 \[2, 3, 32, 16\]; expected uint8 \[batch, 32, 16, 3\], RGB"),
        ("unit", "uint8", r"images are uint8 \[2, 32, 16, 3\]; expected float32 \[batch, 3, 32, 16\]"),
    ],
)
def test_images_for_another_kind_are_refused(kind: InputKind, given: InputKind, message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        contract(kind).require_input(contract(given).prepare(pixels()))


@pytest.mark.parametrize(("kind", "level"), [("imagenet", 130), ("imagenet", 255), ("raw255", 1), ("raw255", 0)])
def test_an_image_of_one_grey_is_no_mistake(kind: InputKind, level: int) -> None:
    contract(kind).require_input(contract(kind).prepare(np.full((1, 32, 16, 3), level, np.uint8)))


def test_where_normalising_changes_nothing_pixels_from_0_to_1_are_taken() -> None:
    image = ImageConfig(height=32, width=16, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    made = contract_of(image, file="m.onnx", kind="imagenet", dims=8, fingerprint="f" * 64)
    made.require_input(made.prepare(pixels()))


def test_a_contract_survives_its_file() -> None:
    written = contract("unit", model={"system": "bot"}, accuracy={"d": {"exported": 0.5, "fp32": 0.5}}, sha256="0")
    assert Contract.from_dict(json.loads(contract_text(written)), "m.json") == written


@pytest.mark.parametrize(
    "damage",
    [
        lambda plain: plain.update(format="other"),
        lambda plain: plain.update(version=99),
        lambda plain: plain.pop("input"),
    ],
)
def test_another_file_is_no_contract(damage: Any) -> None:
    plain = json.loads(contract_text(contract("unit")))
    damage(plain)
    with pytest.raises(JointreidError, match=r"m\.json: not the contract of an exported model"):
        Contract.from_dict(plain, "m.json")
