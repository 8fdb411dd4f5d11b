"""Train what is left, one after the other, and keep a record of each.

python -m evidence.run --scale cpu --minutes 60
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from provenance import provenance

from evidence.arms import START_WORDS
from evidence.records import RecordStore, precisions
from evidence.tasks import SCALES, Scale, Task, config, tasks
from jointreid.config import config_hash
from jointreid.retrieval.result_files import load_results
from jointreid.retrieval.results import Results
from jointreid.training.train import train

ROOT = Path(__file__).resolve().parents[2]


def train_task(task: Task, out: Path, scale: Scale, store: RecordStore, command: str) -> dict[str, Any]:
    """Train, or resume a training that was interrupted, and return its record, which names the command."""
    settings = config(task, out, scale)
    path = Path(settings.train.out)
    if (path / "config.yaml").is_file():
        settings = settings.replace(train={"resume": True})
    wall, cpu = time.monotonic(), time.process_time()
    run = train(settings)
    record: dict[str, Any] = {
        "task": task.identity,
        "start": START_WORDS[task.start],
        "config": config_hash(settings.replace(data={"sources": ()}, train={"out": "", "resume": False})),
        "steps": run.state()["step"],
        "seconds": round(time.monotonic() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
        "provenance": provenance("jointreid", "torch") | {"command": command},
    }
    results, queries = load_results(run.path)
    if task.stage == "tune":
        return record | summary(results)
    store.save_queries(task.dataset, queries)
    return record | summary(results) | {"ap": precisions(queries)}


def summary(results: Results) -> dict[str, Any]:
    """Return mAP, Rank-1 and the accuracy of the heads on each domain, and the mean mAP."""
    domains: Mapping[str, Any] = {
        result.domain: {
            "mAP": round(result.mAP, 5),
            "rank1": round(result.cmc[1], 5),
            "domain_accuracy": result.domain_accuracy,
            "camera_accuracy": result.camera_accuracy,
        }
        for result in results.domains
    }
    return {"domains": domains, "mean": round(results.mean["mAP"], 5)}


def next_task(scale: Scale, store: RecordStore, only: str) -> Task | None:
    """Return the first training without a record, of those whose name begins with `only`."""
    return next((t for t in tasks(scale, store) if t.name.startswith(only) and store(t.name) is None), None)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "evidence")
    parser.add_argument("--records", type=Path, help="folder of the records; by default results/evidence")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no training after this time")
    parser.add_argument("--only", default="", help="trainings whose name begins so, such as people_random")
    options = parser.parse_args()
    scale, command = SCALES[options.scale], f"bash benchmarks/evidence/run.sh --scale {options.scale}"
    folder = options.records or (ROOT / "results" / "evidence" if options.scale == "cpu" else options.out / "records")
    folder.mkdir(parents=True, exist_ok=True)
    store, stop_at = RecordStore(folder), time.monotonic() + 60 * options.minutes
    while time.monotonic() < stop_at and (task := next_task(scale, store, options.only)):
        print(f"=== {task.name} (load {os.getloadavg()[0]:.1f})", flush=True)
        store.save(task, train_task(task, options.out, scale, store, command))
        if task.stage in ("tune", "solo"):
            shutil.rmtree(options.out / "runs" / task.name)
    left = next_task(scale, store, options.only)
    print("nothing is left to train" if left is None else f"next: {left.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
