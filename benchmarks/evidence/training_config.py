"""The settings of each training, and the check that records were made with those of today's plan."""

from collections.abc import Mapping
from pathlib import Path

from evidence.arms import FULL, NETWORKS, settings
from evidence.data import DATASETS, image_of, manifest, solo, tuning, without_domain
from evidence.records import RecordStore
from evidence.tasks import CPU_FACTOR, Scale, Task
from jointreid.config import RunConfig, config_hash
from jointreid.messages.errors import JointreidError

# 64 images a step.
BATCH: Mapping[str, int] = {"ids_per_batch": 16, "images_per_id": 4}


def config(task: Task, out: Path, scale: Scale) -> RunConfig:
    """Return the settings of a training below `out`; its manifest is made if it is not there."""
    data = DATASETS[task.dataset]
    whole = manifest(task.dataset, out, task.start)
    images = {
        "tune": lambda: tuning(whole, data.tuning_ids),
        "solo": lambda: solo(whole, task.domain),
        "closed": lambda: without_domain(whole, data.closed_domain),
    }
    source = images.get(task.stage, lambda: whole)()
    places = {"sources": (str(source),), "cache": str(out / "cache")}
    config = planned(task, scale).replace(data=places, train={"out": str(out / "runs" / task.name)})
    return config.replace(model={"pretrain": str(scale.weights)}) if task.start == "imagenet-full" else config


def planned(task: Task, scale: Scale) -> RunConfig:
    """Return the settings of a training without the places of its files."""
    data = DATASETS[task.dataset]
    epochs = max(1, epochs_of(task) // scale.shrink)
    left_out = ("{}:{}".format(*data.closed_camera),) if task.stage == "closed" else ()
    # The name of a file says enough: a record is for any machine.
    weights = {"model": {"pretrain": scale.weights.name}} if task.start == "imagenet-full" else {}
    return settings(task.arm, task.start).replace(
        **weights,
        data={"leave_out_cameras": left_out},
        image=image_of(task.dataset, task.start),
        sampler=BATCH,
        schedule={
            "epochs": epochs, "milestones": milestones_of(epochs), "warmup_epochs": 1, "warmup_max_iters": 100,
        },
        optim={"lr": task.lr},
        train={
            "label": task.arm, "seed": task.seed, "eval_every": 0, "max_steps": scale.max_steps,
            "device": "auto" if task.start in FULL else "cpu", "compile": "never",
        },
    )  # fmt: skip


def milestones_of(epochs: int) -> tuple[int, ...]:
    """Return the epochs after which the learning rate falls, in a training of so many."""
    return tuple(sorted({max(1, round(0.65 * epochs)), max(1, round(0.86 * epochs))}))


def planned_hash(task: Task, scale: Scale) -> str:
    """Return the hash of the settings that a record names; no place of a file is in it."""
    return config_hash(planned(task, scale))


def epochs_of(task: Task) -> int:
    """Return the epochs of a training at full scale."""
    tune, short, long = DATASETS[task.dataset].epochs
    matched = round(CPU_FACTOR.get(task.start, 1.0) * short)
    of_stage = {"tune": tune, "matched": matched, "long": long, "longest": 2 * long}
    return of_stage.get(task.stage, short)


def check_records(store: RecordStore, scale: Scale) -> None:
    """Refuse records of other trainings than those of the plan: they cannot be compared.

    Raises:
        JointreidError: a record was made with other settings.
    """
    for record in store:
        task = Task(**record["task"])
        if task.arm not in NETWORKS or record["config"] != planned_hash(task, scale):
            raise JointreidError(
                f"{store.folder / task.name}.json: this training had other settings than the comparison has now (their "
                f"hash is {record['config']}). Move this record away, and its run directory, to train it again, or use "
                f"the version of the project that made it ({record['provenance']['commit'][:8]})."
            )
