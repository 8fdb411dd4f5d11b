"""Growth of the cost with batch, image size, gallery and identities, as one plot each.

python benchmarks/growth.py --json results/growth_cpu.json --png docs/images/growth.png
"""

import argparse
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import matplotlib
import numpy as np
import torch
from measure import rounds, side_by_side
from model import make, training_step
from provenance import provenance

from jointreid.machine.memory import kept_memory
from jointreid.models import build_model
from jointreid.retrieval.ranking import evaluate_ranking

matplotlib.use("Agg")
from matplotlib import pyplot

Points = dict[str, list[float]]
COLOURS = {"bot": "#e69f00", "bot-dcsd": "#0072b2", "ranking": "#009e73"}


def random_images(batch: int, height: int, width: int) -> torch.Tensor:
    return torch.randn(batch, 3, height, width).to(memory_format=torch.channels_last)


def by_images(sizes: list[tuple[int, int, int]], repeats: int) -> Points:
    """Return the milliseconds of a training step for each (batch, height, width)."""
    models = {name: make(name, "cpu") for name in ("bot", "bot-dcsd")}
    found: Points = {name: [] for name in models}
    for size in sizes:
        images = random_images(*size)
        runs: dict[str, Callable[[], object]] = {n: training_step(m, images, "cpu") for n, m in models.items()}
        for name, times in side_by_side(runs, repeats).items():
            found[name].append(median(times))
    return found


def by_identities(counts: list[int], repeats: int) -> Points:
    found: Points = {"bot": [], "bot-dcsd": []}
    images = random_images(16, 128, 64)
    for count in counts:
        runs: dict[str, Callable[[], object]] = {}
        for name in found:
            model = build_model(name, count, 5, 32)
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            runs[name] = training_step(model, images, "cpu")
        for name, times in side_by_side(runs, repeats).items():
            found[name].append(median(times))
    return found


def by_gallery(sizes: list[int], queries: int, repeats: int) -> Points:
    draw = np.random.default_rng(0)
    found: Points = {"ranking": []}
    for size in sizes:
        gallery = draw.standard_normal((size, 2048), dtype=np.float32)
        pids, cameras = draw.integers(0, size // 20, size), draw.integers(0, 6, size)
        chosen = draw.choice(size, queries, replace=False)
        query = gallery[chosen] + draw.standard_normal((queries, 2048), dtype=np.float32)
        rank = partial(evaluate_ranking, query, gallery, pids[chosen], pids, cameras[chosen] + 6, cameras)
        found["ranking"].append(median(side_by_side({"ranking": rank}, repeats)["ranking"]))
    return found


def draw(panels: list[tuple[str, str, list[float], Points]], png: Path) -> None:
    figure, grid = pyplot.subplots(2, 2, figsize=(10, 7), dpi=110, layout="constrained")
    for axes, (title, label, xs, points) in zip(grid.flat, panels, strict=True):
        for name, ys in points.items():
            axes.plot(xs, ys, "o-", label=name, color=COLOURS[name])
        axes.set(title=title, xlabel=label, ylabel="milliseconds", ylim=(0, None), xlim=(0, None))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(png, metadata={"Software": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=rounds, default=3, help="rounds to take medians over (default: 3)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the results to this file")
    parser.add_argument("--png", type=Path, default=Path("out/growth.png"), metavar="OUT", help="the plots")
    args = parser.parse_args()
    batches, scales = [4, 8, 16, 32, 64], [1, 2, 3, 4]
    identities, galleries = [1000, 4000, 16_000, 64_000], [5000, 10_000, 20_000, 40_000]
    with kept_memory("cpu"):
        panels: list[tuple[str, str, list[float], Points]] = [
            (
                "A training step, by batch (128x64 pixels)",
                "images",
                [float(b) for b in batches],
                by_images([(b, 128, 64) for b in batches], args.repeats),
            ),
            (
                "A training step, by image size (batch 16)",
                "pixels, height x width",
                [float(s * 64 * s * 32) for s in scales],
                by_images([(16, s * 64, s * 32) for s in scales], args.repeats),
            ),
            (
                "A training step, by identities (batch 16, 128x64)",
                "identities",
                [float(n) for n in identities],
                by_identities(identities, args.repeats),
            ),
            (
                "Ranking 500 queries (2048-d), by gallery",
                "gallery images",
                [float(n) for n in galleries],
                by_gallery(galleries, 500, args.repeats),
            ),
        ]
    args.png.parent.mkdir(parents=True, exist_ok=True)
    draw(panels, args.png)
    for title, _, xs, points in panels:
        print(title)
        for name, ys in points.items():
            print(f"  {name}: " + ", ".join(f"{x:,.0f}: {y:.0f} ms" for x, y in zip(xs, ys, strict=True)))
    if args.json:
        rows = [{"title": title, "x": xs, "label": label, "ms": points} for title, label, xs, points in panels]
        report = provenance("torch", "numba") | {"threads": torch.get_num_threads(), "rows": rows}
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
