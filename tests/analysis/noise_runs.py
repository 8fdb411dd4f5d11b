"""Runs with random weights, evaluated on pictures of noise, and their features and rule computed in another way."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from jointreid.analysis.reported import ReportedRun
from jointreid.config import Metric
from jointreid.data.augment import normalise
from jointreid.data.decode import read_image
from jointreid.data.joint import join
from jointreid.data.manifest import read_manifest, write_manifest
from jointreid.data.records import Domain, ImageRecord
from jointreid.retrieval.evaluate import evaluate_run
from jointreid.run import model_for, write_config
from jointreid.training.checkpoint import save_checkpoint
from tests.small import small_config

NASTY = 'a<b>&"c"'


def make_noise_runs(folder: Path, recipes: Sequence[str] = ("bot", "bot-dcsd")) -> list[Path]:
    """Make a run of each recipe with random weights, evaluated on two domains of noise; names are no fit for HTML.

    The first takes cosine; the second Euclidean distances and mirrored images.
    """
    generator = np.random.default_rng(2)

    def shot(pid: str, camid: int, *, junk: bool = False, distractor: bool = False) -> ImageRecord:
        path = folder / f"{len(list(folder.glob('*.png'))):03}.png"
        Image.fromarray(generator.integers(0, 256, (32, 16, 3)).astype(np.uint8)).save(path)
        return ImageRecord(path, pid, camid, junk=junk, distractor=distractor)

    pids = ["<i>1", "2&", '"3"', "4"]
    crowd = [shot(pid, camid) for pid in pids for camid in (0, 1, 2)]
    nasty = Domain(
        NASTY,
        train=tuple(shot(f"t{i}", i % 3) for i in range(4)),
        query=(*(shot(pid, 0) for pid in pids), shot("5", 1), shot("4", 1, junk=True)),
        gallery=(*crowd, shot("4", 0, distractor=True), shot("<i>1", 2, junk=True), shot("5", 1)),
    )
    one_camera = Domain(
        "one",
        train=(shot("t", 0), shot("u", 0)),
        query=(shot("a", 0), shot("b", 0)),
        gallery=tuple(shot(pid, 0) for pid in "aabcd"),
        exclude_same_camera=False,
        terms="For <research> only",
    )
    manifest = folder / "m.csv"
    write_manifest([nasty, one_camera], manifest)
    space = join(tuple(read_manifest(manifest).values())).label_space
    paths = []
    for seed, name in enumerate(recipes):
        metric = "euclidean" if seed else "cosine"
        config = small_config(name, manifest=manifest, cache=folder / "cache", eval={"metric": metric})
        path = folder / name
        write_config(config, path / "config.yaml")
        space.save(path / "labels.json")
        torch.manual_seed(seed)
        save_checkpoint(path, "last", model_for(config, space), {"step": 0, "epoch": 0.0})
        evaluate_run(path, device="cpu", flip=bool(seed))
        paths.append(path)
    return paths


def features_of(run: ReportedRun, records: Sequence[ImageRecord]) -> NDArray[np.float64]:
    """Return the features of images, all in one batch as evaluation computes so few."""
    image = run.run.config.image
    pixels = torch.from_numpy(np.stack([read_image(record) for record in records])).permute(0, 3, 1, 2)
    views = [normalise(pixels, image.mean, image.std)]
    views += [views[0].flip(-1)] if run.results.flip else []
    model = run.run.model()
    with torch.inference_mode():
        outputs = [model(view.contiguous(memory_format=torch.channels_last)).bn_embedding for view in views]
    return torch.stack(outputs).mean(0).double().numpy()


def is_ignored(domain: Domain, query: ImageRecord, record: ImageRecord) -> bool:
    same = record.pid == query.pid and not record.distractor
    return domain.exclude_same_camera and same and record.camid == query.camid


def distance(a: NDArray[np.float64], b: NDArray[np.float64], metric: Metric) -> float:
    if metric == "euclidean":
        return float(sum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
    dot = sum(x * y for x, y in zip(a, b, strict=True))
    return float(-dot / (math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))))
