"""Measure the CPU seconds of a training step of each arm, side by side in one process, on one thread.

    PYTHONPATH=benchmarks:src python -m evidence.costs --rounds 10

Each step is that of the comparison: 64 images, loaded, augmented, forward, loss, backward, Adam. Images are random,
identities as many as each data set has; the CPU time of the process is counted, not the time that passes.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from measure import ratio, rounds, side_by_side, spread
from model import CAMERAS, DOMAINS
from provenance import provenance
from train_step import Training, draw_train_set

from evidence.arms import STARTS, Start, settings
from evidence.counts import count
from evidence.data import DATASETS
from evidence.tasks import SCALES, arms_of
from evidence.training_config import BATCH
from jointreid.data.images import ImageStore
from jointreid.machine.files import write_atomically
from jointreid.machine.memory import kept_memory
from jointreid.models.reid import Classes, assemble

ROOT = Path(__file__).resolve().parents[2]
# Train identities of each data set, which the classifier grows with.
IDENTITIES: Mapping[str, int] = {"people": 1_500, "omniglot": 120, "emoji": 420}


def measure_cell(dataset: str, start: Start, repeats: int) -> list[dict[str, Any]]:
    """Return, for each arm, its counts, its CPU milliseconds in each round, and the quartiles of their ratio to static.

    A round is one step of each arm, after one that warms up.
    """
    classes = Classes(IDENTITIES[dataset], DOMAINS, CAMERAS)
    with tempfile.TemporaryDirectory() as temporary, kept_memory("cpu"):
        train_set = draw_train_set(Path(temporary), classes.ids)
        trainings = {}
        for arm in arms_of(start):
            config = settings(arm, start).replace(image=dict(DATASETS[dataset].image), sampler=BATCH)
            records = [sample.record for sample in train_set.samples]
            store = ImageStore.build(records, config.image, Path(temporary) / "cache", config.train.workers)
            torch.manual_seed(0)
            model = assemble(config.model, config.dcsd, classes)  # random weights cost as much as others
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            trainings[arm] = Training(model, config, train_set, store, "cpu")
        runs = {arm: training.round(1) for arm, training in trainings.items()}
        times = side_by_side(runs, repeats, clock=time.process_time)
    found = []
    for arm, milliseconds in times.items():
        counts = count(arm, start, dataset)
        found.append(
            {
                "dataset": dataset,
                "start": start,
                "arm": arm,
                "params": counts.params,
                "macs": counts.macs,
                "cpu_ms": [round(value, 2) for value in milliseconds],
                "against_static": [round(value, 4) for value in ratio(milliseconds, times["static"])],
            }
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=rounds, default=10, help="steps of each arm to take medians over")
    parser.add_argument("--scale", choices=("cpu", "test"), default="cpu", help="whose data sets")
    parser.add_argument("--json", type=Path, default=ROOT / "results" / "evidence_costs.json")
    options = parser.parse_args()
    torch.set_num_threads(1)  # numba's kernels take as many
    rows: list[dict[str, Any]] = []
    for start in STARTS:
        for dataset in SCALES[options.scale].datasets:
            cell = measure_cell(dataset, start, options.rounds)
            for row in cell:
                print(f"{dataset}, {start}, {row['arm']}: {spread(row['against_static'], 2)} times static", flush=True)
            rows += cell
    report = provenance("jointreid", "torch", "numba") | {"rounds": options.rounds, "threads": 1, "rows": rows}
    write_atomically(options.json, json.dumps(report, indent=1) + "\n")
    print(f"wrote {options.json}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
