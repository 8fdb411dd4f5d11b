"""Speed of the images of a batch, from JPEG files to augmented batches, in images a second of one core.

    python benchmarks/pipeline.py --json results/pipeline_cpu.json
    python benchmarks/pipeline.py --device cuda

Three candidates on one thread. `cached` is the path of `jointreid train` from the second epoch on, and in the first if
an earlier run has decoded the images; `decoded` is the same with `--data.cache_mode off`. The third is the way of
torchreid and fast-reid, which decode each image again in every epoch: Pillow, then torchvision's transforms (v1) image
by image, here in one process without a DataLoader. With a GPU, `cached` is sent there and augmented there, the other
two stay on the host. Freed memory is kept, as in training, for all. The images are artificial: smooth, with some noise,
in two sizes that are common in the field.
"""

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
import torch
from measure import Targets, ratio, rounds, side_by_side, spread
from PIL import Image
from provenance import provenance
from torch import Tensor

from jointreid.config import ImageConfig
from jointreid.data.augment import apply_reference, augment, draw
from jointreid.data.images import ImageStore
from jointreid.data.records import ImageRecord
from jointreid.machine.memory import kept_memory

SIZES = ((128, 64), (300, 120))  # height, width: Market-1501's, and a larger one as detectors cut them
IMAGES, BATCH = 512, 64
WANTED = 0.1  # host time of an image, in that of Pillow and torchvision v1
CONFIG = ImageConfig()


def draw_files(folder: Path, height: int, width: int) -> list[ImageRecord]:
    """Write JPEGs of a size, smooth with some noise, so that they take as many bytes as photographs do."""
    random = np.random.default_rng(0)
    records = []
    for index in range(IMAGES):
        small = Image.fromarray(random.integers(0, 256, (16, 8, 3), dtype=np.uint8))
        smooth = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
        noisy = smooth + random.normal(0, 6, smooth.shape)
        path = folder / f"{height}x{width}-{index}.jpg"
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path, quality=90)
        records.append(ImageRecord(path, str(index), 0))
    return records


def torchvision_v1() -> Any:
    """Return torchvision's transforms, even if its compiled part, which they do not use, is for another PyTorch."""
    try:
        from torchvision import transforms
    except RuntimeError:
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        from torchvision import transforms
    return transforms


def peers(config: ImageConfig) -> Callable[[Path], Tensor]:
    """Return a function that loads an image as torchreid and fast-reid do."""
    transforms, size = torchvision_v1(), (config.height, config.width)
    transform = transforms.Compose(
        [
            transforms.Resize(size, transforms.InterpolationMode.BICUBIC),
            transforms.RandomHorizontalFlip(config.flip),
            transforms.Pad(config.pad),
            transforms.RandomCrop(size),
            transforms.ToTensor(),
            transforms.Normalize(config.mean, config.std),
            transforms.RandomErasing(config.erase, config.erase_area, config.erase_ratio),
        ]
    )

    def load(path: Path) -> Tensor:
        with Image.open(path) as image:
            transformed: Tensor = transform(image.convert("RGB"))
        return transformed

    return load


def build(records: list[ImageRecord], cache: Path, threads: int) -> float:
    """Return the images a second that decoding into an empty cache takes."""
    shutil.rmtree(cache, ignore_errors=True)
    since = time.perf_counter()
    ImageStore.build(records, CONFIG, cache, threads)
    return len(records) / (time.perf_counter() - since)


def check(store: ImageStore, records: list[ImageRecord], device: str) -> None:
    """Stop if pixels differ from Pillow's, augmentation from its reference or, without chance, from torchvision's."""
    some = np.arange(0, IMAGES, IMAGES // 16)
    images = store.take(some)
    for index, found in zip(some, images, strict=True):
        with Image.open(records[index].path) as image:
            resized = image.convert("RGB").resize((CONFIG.width, CONFIG.height), Image.Resampling.BICUBIC)
        assert np.array_equal(found.permute(1, 2, 0).numpy(), np.asarray(resized)), records[index].path
    found = augment(images.to(device), CONFIG, torch.Generator().manual_seed(0)).cpu()
    draws = draw(CONFIG, len(images), torch.Generator().manual_seed(0))
    assert torch.allclose(found, apply_reference(images, draws, CONFIG), rtol=0, atol=1e-6)
    plain = ImageConfig(flip=1.0, pad=0, erase=0.0)
    theirs = torch.stack([peers(plain)(records[index].path) for index in some])
    assert torch.allclose(augment(images.to(device), plain, torch.Generator()).cpu(), theirs, rtol=0, atol=1e-6)


def measure(records: list[ImageRecord], cache: Path, device: str, repeats: int) -> dict[str, list[float]]:
    """Return the milliseconds that a batch takes in each round."""
    stores = {mode: ImageStore.build(records, CONFIG, cache, 1, mode) for mode in ("disk", "off")}
    check(stores["disk"], records, device)
    generator, load = torch.Generator().manual_seed(0), peers(CONFIG)
    order = np.random.default_rng(0)

    def indices() -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return order.integers(0, IMAGES, BATCH)

    def cached() -> Tensor:
        images = stores["disk"].take(indices(), pin=device == "cuda")
        return augment(images.to(device, non_blocking=True), CONFIG, generator)

    def decoded() -> Tensor:
        return augment(stores["off"].take(indices()), CONFIG, generator)

    def torchvision() -> Tensor:
        return torch.stack([load(records[index].path) for index in indices()])

    with kept_memory(device):
        return side_by_side({"cached": cached, "decoded": decoded, "torchvision": torchvision}, repeats, device, 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where batches go (default: cpu)")
    parser.add_argument("--repeats", type=rounds, default=21, help="rounds to take medians over (default: 21)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the results to this file")
    args = parser.parse_args()
    torch.set_num_threads(1)
    targets, rows = Targets(), {}
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for height, width in SIZES:
            name = f"{height}x{width}"
            records = draw_files(Path(temporary), height, width)
            times = measure(records, Path(temporary) / "cache", args.device, args.repeats)
            building = [build(records, Path(temporary) / "again", 1) for _ in range(7)]
            share = ratio(times["cached"], times["torchvision"])
            faster = {key: ratio(times["torchvision"], times[key]) for key in ("cached", "decoded")}
            print(f"{name} JPEGs, batches of {BATCH} at {CONFIG.height}x{CONFIG.width}, {args.device}, one thread:")
            print(
                f"  times as fast as Pillow and torchvision v1, median (quartiles): cached {spread(faster['cached'])}, "
            )
            print(f"  decoded each time {spread(faster['decoded'], 2)}")
            speed = {key: 1e3 * BATCH / median(values) for key, values in times.items()}
            print("  images/s on one core: " + ", ".join(f"{key} {value:,.0f}" for key, value in speed.items()))
            print(f"  building the cache, images/s on one core: {spread(quantiles(building, n=4), 0)}")
            targets.add(f"{name}: host time of an image / Pillow and torchvision v1", share[1], WANTED, at_most=True)
            rows[name] = {"images_per_second": speed, "faster": faster, "building_images_per_second": building}
            figures |= {f"{name}: images/s on one core, {key}": value for key, value in speed.items()}
            figures[f"{name}: images/s on one core, building the cache"] = median(building)
    if args.json:
        report = provenance("torch", "numba", "torchvision", "pillow") | {"device": args.device, "threads": 1}
        report |= {"batch": BATCH, "targets": targets.lines, "figures": figures, "rows": rows}
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
