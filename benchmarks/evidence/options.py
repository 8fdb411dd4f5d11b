"""Options that training and the tables share."""

import argparse
from dataclasses import replace
from pathlib import Path

from evidence.arms import FULL
from evidence.tasks import SCALES, Scale

ROOT = Path(__file__).resolve().parents[2]
# The records of docs/evidence.md.
PUBLISHED = (ROOT / "results" / "evidence").resolve()


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the size of the comparison and the places of its files."""
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "evidence")
    parser.add_argument("--records", type=Path, help="folder of the records; by default results/evidence")
    parser.add_argument(
        "--weights",
        type=Path,
        help="scale gpu: FILE.safetensors, a ResNet-50 trained on ImageNet to start from, too",
    )


def chosen_scale(options: argparse.Namespace) -> Scale:
    """Return the size of the comparison; with `--weights` it starts from that file, too."""
    scale = SCALES[options.scale]
    if options.weights is None:
        return scale
    if options.scale != "gpu":
        raise SystemExit("--weights is for --scale gpu alone: the other networks start from MobileNetV2")
    return replace(scale, starts=FULL, weights=options.weights.resolve())


def records_folder(options: argparse.Namespace) -> Path:
    """Return the folder of the records: part of the project where the size is that of the published page."""
    default = PUBLISHED if options.scale == "cpu" else options.out / "records"
    return Path(options.records or default)
