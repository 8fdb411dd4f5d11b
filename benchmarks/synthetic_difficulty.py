"""Difficulty of the synthetic people: an untrained histogram of colours beside a trained BoT, per domain.

    jointreid demo --out out/demo
    python benchmarks/synthetic_difficulty.py demo=out/demo/scratch/bot --json results/synthetic_difficulty.json

Each RUN is a BoT trained on a preset and evaluated; its data are read again for the histogram. A domain has
the intended difficulty if the histogram reaches an mAP of at most 0.35, and the network at least 0.25 more but below
0.95.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from provenance import provenance

from jointreid.data.records import Domain, ImageRecord
from jointreid.data.sources import load_domains
from jointreid.machine.files import write_atomically
from jointreid.retrieval.ranking import evaluate_ranking
from jointreid.retrieval.result_files import load_results
from jointreid.run import open_run

STRIPES = 8
HIGHEST_HISTOGRAM, LEAST_MARGIN, HIGHEST_BOT = 0.35, 0.25, 0.95


@dataclass(frozen=True)
class DomainDifficulty:
    """The mAP, in [0, 1], of two histograms of colours and of a trained BoT on one domain of a preset."""

    preset: str
    domain: str
    queries: int
    histogram_rgb: float
    histogram_hsv: float
    bot: float
    start: str

    @property
    def as_intended(self) -> bool:
        """True if people of this domain can be found, but not by colour alone."""
        histogram = max(self.histogram_rgb, self.histogram_hsv)
        return histogram <= HIGHEST_HISTOGRAM and histogram + LEAST_MARGIN <= self.bot < HIGHEST_BOT


def stripe_histogram(record: ImageRecord, space: str) -> NDArray[np.float32]:
    """Return the joint histograms of 64 colours in eight stripes from head to foot, their square roots: [512]."""
    with Image.open(record.path) as image:
        pixels = np.asarray(image.convert(space)).astype(np.int64) // 64
    codes = pixels @ (16, 4, 1)
    counts = [np.bincount(stripe.ravel(), minlength=64) / stripe.size for stripe in np.array_split(codes, STRIPES)]
    roots: NDArray[np.float32] = np.sqrt(np.concatenate(counts)).astype(np.float32)
    return roots


def histogram_map(domain: Domain, space: str) -> float:
    """Return the mAP of cosine distances between stripe histograms."""
    query, gallery = domain.query, domain.gallery
    metrics = evaluate_ranking(
        np.stack([stripe_histogram(record, space) for record in query]),
        np.stack([stripe_histogram(record, space) for record in gallery]),
        [record.pid for record in query],
        [record.pid for record in gallery],
        [record.camid for record in query],
        [record.camid for record in gallery],
        exclude_same_camera=domain.exclude_same_camera,
    )
    return metrics.mAP


def evaluate_preset(preset: str, path: Path) -> list[DomainDifficulty]:
    run = open_run(path)
    results, _ = load_results(path)
    found = {result.domain: result for result in results.domains}
    start = "random weights" if results.pretraining == "none" else "the demo's weights"
    return [
        DomainDifficulty(
            preset,
            domain.name,
            found[domain.name].num_valid_queries,
            round(histogram_map(domain, "RGB"), 4),
            round(histogram_map(domain, "HSV"), 4),
            round(found[domain.name].mAP, 4),
            start,
        )
        for domain in load_domains(run.config.data)
        if domain.name in found
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="PRESET=RUN")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = [given.partition("=")[::2] for given in options.runs]
    rows = [row for preset, path in runs for row in evaluate_preset(preset, Path(path))]
    print(f"{'preset':<8} {'domain':<9} {'queries':>7} {'RGB stripes':>11} {'HSV stripes':>11} {'BoT':>6}  start")
    for row in rows:
        figures = f"{row.histogram_rgb:>11.3f} {row.histogram_hsv:>11.3f} {row.bot:>6.3f}"
        mark = "" if row.as_intended else "  NOT AS INTENDED"
        print(f"{row.preset:<8} {row.domain:<9} {row.queries:>7} {figures}  {row.start}{mark}")
    if options.json:
        report = {
            **provenance("jointreid", "torch", "pillow", "numpy"),
            "rows": [asdict(row) | {"as_intended": row.as_intended} for row in rows],
        }
        write_atomically(options.json, json.dumps(report, indent=1) + "\n")
    return 0 if all(row.as_intended for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
