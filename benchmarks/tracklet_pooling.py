"""Retrieval of tracklets, pooled by quality, by the plain mean and by their best image, on synthetic people.

python benchmarks/tracklet_pooling.py out/demo/bot-dcsd --data out/demo/data/manifest.csv --json \
    results/tracklet_pooling.json --png docs/images/tracklet.png

Each tracklet is six frames of one person in one camera, drawn from the test images. With a chance of 0.6 a frame is
spoilt: blurred, or another person, with a box of their own, stands in front. A tracklet searches those of all other
cameras of its domain.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from provenance import provenance

from jointreid.data.manifest import read_manifest
from jointreid.data.records import Domain, ImageRecord
from jointreid.extraction.feature_columns import QUALITY
from jointreid.extraction.feature_file import FeatureFile
from jointreid.extraction.work import extract_features
from jointreid.retrieval.ranking import evaluate_ranking

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.patches import Rectangle

FRAMES, SPOILT = 6, 0.6
HEIGHT, WIDTH = 128, 64
Groups = dict[tuple[str, int], list[ImageRecord]]


def draw_frame(
    person: Path, other: Path, rng: np.random.Generator
) -> tuple[Image.Image, list[tuple[int, int, int, int]]]:
    """Return a frame and the boxes in it, that of the person first."""
    frame = Image.new("RGB", (2 * WIDTH, HEIGHT + 16), (128, 128, 128))
    image = Image.open(person).convert("RGB").resize((WIDTH, HEIGHT))
    left = int(rng.integers(0, WIDTH))
    spoilt, how = rng.random() < SPOILT, rng.random()
    if spoilt and how < 0.5:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(2, 6))))
    frame.paste(image, (left, 0))
    boxes = [(left, 0, WIDTH, HEIGHT)]
    if spoilt and how >= 0.5:
        aside = int(np.clip(left + rng.integers(-WIDTH // 2, WIDTH // 2), 0, WIDTH))
        frame.paste(Image.open(other).convert("RGB").resize((WIDTH, HEIGHT)), (aside, 16))
        boxes.append((aside, 16, WIDTH, HEIGHT))
    return frame, boxes


def draw_tracklets(domain: Domain, folder: Path, rng: np.random.Generator) -> list[str]:
    """Draw the frames of a domain's tracklets; return the rows of their table."""
    groups: Groups = defaultdict(list)
    for record in (*domain.query, *domain.gallery):
        if not (record.junk or record.distractor):
            groups[record.pid, record.camid].append(record)
    everyone = [record for records in groups.values() for record in records]
    rows = []
    for (pid, camid), records in sorted(groups.items()):
        for number in range(FRAMES):
            others = [record for record in everyone if record.pid != pid]
            other = others[int(rng.integers(len(others)))]
            frame, boxes = draw_frame(records[number % len(records)].path, other.path, rng)
            name = f"{domain.name}-{pid}-{camid}-{number}.png"
            frame.save(folder / name)
            for at, box in enumerate(boxes):
                whose = (pid, f"{pid}") if at == 0 else (other.pid, f"passing-{name}")
                rows.append(f"{name},{domain.name},{whose[0]},{camid},{whose[1]},{','.join(map(str, box))}")
    return rows


def compare(table: Any, features: NDArray[np.float32]) -> dict[str, dict[str, float]]:
    """Return the mAP of each domain for each way to pool."""
    columns = {name: np.array(table[name].to_pylist()) for name in ("domain", "pid", "camid", "tracklet", QUALITY)}
    found: dict[str, dict[str, float]] = {}
    for domain in sorted(set(columns["domain"])):
        inside = (columns["domain"] == domain) & (np.char.find(columns["tracklet"], "passing") < 0)
        keys = sorted(set(zip(columns["pid"][inside], columns["camid"][inside], strict=True)))
        pooled: dict[str, list[NDArray[np.float32]]] = defaultdict(list)
        for pid, camid in keys:
            rows = np.flatnonzero(inside & (columns["pid"] == pid) & (columns["camid"] == camid))
            quality = columns[QUALITY][rows]
            pooled["quality"].append(quality @ features[rows])
            pooled["plain mean"].append(features[rows].mean(0))
            pooled["best image"].append(features[rows[quality.argmax()]])
            pooled["first image"].append(features[rows[0]])
        pids, camids = (np.array([key[i] for key in keys]) for i in (0, 1))
        numbers = np.unique(pids, return_inverse=True)[1]
        found[domain] = {
            way: round(evaluate_ranking(np.stack(rows), np.stack(rows), numbers, numbers, camids, camids).mAP, 4)
            for way, rows in pooled.items()
        }
    return found


def picture(table: Any, folder: Path, path: Path) -> None:
    """Draw the tracklet whose qualities differ the most, each image with its share of the feature."""
    groups: dict[tuple[str, str, int], list[int]] = defaultdict(list)
    for row, key in enumerate(zip(*(table[name].to_pylist() for name in ("domain", "tracklet", "camid")), strict=True)):
        groups[key].append(row)
    quality = np.array(table[QUALITY].to_pylist())
    overlap = np.array(table["overlap"].to_pylist())
    ranked = [rows for rows in groups.values() if len(rows) == FRAMES and 0 < (overlap[rows] > 0.3).sum() < 3]
    rows = max(ranked, key=lambda rows: float(np.std(quality[rows] / quality[rows].sum())))
    figure, axes = pyplot.subplots(1, FRAMES, figsize=(9, 2.9))
    for axis, row in zip(axes, rows, strict=True):
        frame = Image.open(folder / table["path"][row].as_py())
        x, y, w, h = (table[name][row].as_py() for name in "xywh")
        axis.imshow(frame)
        axis.add_patch(Rectangle((x, y), w - 1, h - 1, fill=False, edgecolor="#0072b2", linewidth=2))
        axis.set_title(f"{quality[row] / quality[rows].sum():.0%}")
        axis.set_xlabel(f"sharpness {table['sharpness'][row].as_py():.0f}\noverlap {overlap[row]:.2f}", fontsize=8)
        axis.set_xticks([])
        axis.set_yticks([])
    figure.tight_layout()
    figure.savefig(path, dpi=90, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("out/tracklet_pooling"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--png", type=Path)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    domains = [domain for domain in read_manifest(given.data).values() if domain.exclude_same_camera]
    rows = [row for domain in domains for row in draw_tracklets(domain, given.out, rng)]
    table_file = given.out / "table.csv"
    table_file.write_text("\n".join(("path,domain,pid,camid,tracklet,x,y,w,h", *rows)) + "\n")
    done = extract_features(given.run, table_file, given.out / "features.parquet", pool_tracklets=False)
    opened = FeatureFile.open(done.path)
    table = opened.table()
    found = compare(table, opened.features())
    for domain, ways in found.items():
        print(domain, {way: f"{value:.1%}" for way, value in ways.items()})
    if given.png:
        picture(table, given.out, given.png)
    if given.json:
        given.json.write_text(
            json.dumps({**provenance("jointreid", "torch", "pillow", "numpy"), "mAP": found}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
