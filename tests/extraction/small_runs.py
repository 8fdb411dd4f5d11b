"""Run directories with random weights, and images of noise, for the tests of extraction and of what builds on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from jointreid.data.joint import join
from jointreid.data.records import Domain, ImageRecord
from jointreid.run import model_for, write_config
from tests.small import small_config


def draw(folder: Path, count: int, size: tuple[int, int] = (23, 37), seed: int = 3) -> list[ImageRecord]:
    """Write images of noise, (width, height) as in `size`, all different, and return their records."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (count, size[1], size[0], 3), dtype=np.uint8)
    records = []
    for i in range(count):
        Image.fromarray(pixels[i]).save(folder / f"{i:02}.png")
        records.append(ImageRecord(folder / f"{i:02}.png", f"p{i // 2}", 5 * (i % 3)))
    return records


def untrained_run(
    folder: Path, recipe: str = "bot-dcsd", seed: int = 0, batch_size: int = 2, **changes: Mapping[str, Any]
) -> Path:
    """Write a run directory of two domains, `d` with cameras 0, 5, 10 and `e` with camera 7, and return it."""
    records = [ImageRecord(folder / f"{i}.png", f"p{i // 2}", 5 * (i % 3)) for i in range(6)]
    others = [ImageRecord(folder / f"e{i}.png", f"p{i}", 7) for i in range(3)]
    space = join([Domain("d", train=tuple(records)), Domain("e", train=tuple(others))]).label_space
    config = small_config(recipe).replace(eval={"batch_size": batch_size}, **changes)
    write_config(config, folder / "config.yaml")
    space.save(folder / "labels.json")
    torch.manual_seed(seed)
    (folder / "last").mkdir()
    model = model_for(config, space)
    for name, tensor in model.state_dict().items():
        if name.endswith("running_var"):  # else no two images differ much
            tensor.copy_(torch.rand_like(tensor) + 0.1)
    save_file(model.state_dict(), folder / "last" / "model.safetensors")
    return folder
