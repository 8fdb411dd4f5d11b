"""Time of a whole step of training, from images to changed weights, and the share of it that waits for data.

    python benchmarks/train_step.py --json results/train_step_cpu.json
    python benchmarks/train_step.py --device cuda --json results/train_step_gpu.json

Every part is that of `jointreid train` at its defaults: a batch of P x K images loaded ahead from the decoded images
and augmented, forward, the terms of Eq. 5 and the logged values, backward, Adam. BoT-DCSD is compared with BoT
(ResNet-50) and with a ceiling, the same network with its sixteen generated convolutions replaced by the identity, on
256x128 images, with as many identities, domains and cameras as the paper's joint training set. On a GPU in bfloat16
under torch.compile, the losses read once at the end of a round of several steps.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import numpy as np
import torch
from measure import Targets, ratio, rounds, side_by_side, spread
from model import CAMERAS, DOMAINS, IDS, make
from PIL import Image
from provenance import provenance
from torch import Tensor

from jointreid.config import RunConfig
from jointreid.data.images import Batch, ImageStore
from jointreid.data.joint import JointTrainSet, join
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.sampling import make_sampler
from jointreid.losses import reid_loss
from jointreid.machine.device import pick_precision
from jointreid.machine.memory import kept_memory
from jointreid.models import ReIDModel
from jointreid.training.arithmetic import Arithmetic
from jointreid.training.batches import AugmentedBatches
from jointreid.training.distributed.processes import single_process
from jointreid.training.step import TrainingStep

NAMES = ("bot", "bot-dcsd", "ceiling")
FILES = 256  # different images; the identities share them
WANTED = {"cpu": (1.25, 0.85), "cuda": (1.4, 0.85)}  # times as fast as ResNet-50, share of the ceiling
MOST_WAITING = 0.05  # of a step


def draw_train_set(folder: Path, ids: int = IDS) -> JointTrainSet:
    """Write a few images, shared by the domains and cameras of the paper's joint training set, and as many people."""
    random = np.random.default_rng(0)
    paths = []
    for index in range(FILES):
        small = Image.fromarray(random.integers(0, 256, (16, 8, 3), dtype=np.uint8))
        paths.append(folder / f"{index}.jpg")
        small.resize((64, 128), Image.Resampling.BICUBIC).save(paths[-1], quality=90)
    cameras = [CAMERAS // DOMAINS + (domain < CAMERAS % DOMAINS) for domain in range(DOMAINS)]
    records: list[list[ImageRecord]] = [[] for _ in range(DOMAINS)]
    for index in range(4 * ids):
        pid, domain = index // 4, index // 4 % DOMAINS
        camera = (index % 4 + pid // DOMAINS) % cameras[domain]
        records[domain].append(ImageRecord(paths[index % FILES], str(pid), camera))
    return join([Domain(f"d{number}", tuple(of_domain)) for number, of_domain in enumerate(records)])


class Training:
    """A network in training with its batches, which count the seconds that it waited for them."""

    def __init__(
        self, model: ReIDModel, config: RunConfig, train_set: JointTrainSet, store: ImageStore, device: str
    ) -> None:
        self.model, self.config, where = model, config, torch.device(device)
        precision = pick_precision("auto", where)
        self.step = TrainingStep(
            self.model, reid_loss, config, single_process(where, precision), Arithmetic(where, precision)
        )
        self.batches = AugmentedBatches(store, train_set, make_sampler(train_set, config), config, where)
        self.watch = self.step.make_watch(lambda index: train_set.samples[index].record)
        self.steps = 0

    def take_step(self) -> None:
        """Take a step, as `jointreid train` does."""
        self.step(self.steps, self.config.optim.lr, [self.batches(self.steps)], self.watch)
        self.steps += 1

    def round(self, steps: int) -> Callable[[], dict[str, float]]:
        """Return a function that takes some steps and reads their losses."""

        def run() -> dict[str, float]:
            for _ in range(steps):
                self.take_step()
            self.watch.read()
            return self.watch.take_means()

        return run


def check(training: Training) -> None:
    """Stop if the loss of a step differs from that of the plain network in float32, or the step changes nothing."""
    model = training.model
    batch: Batch = training.batches(training.steps).batch
    before: Tensor = model.classifier.weight.detach().clone()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.no_grad():
        expected = float(reid_loss(model.train()(batch.images), batch, training.config.loss, None).total)
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    found = training.round(1)()["total"]
    tolerance = 1e-4 if training.step.arithmetic.device.type == "cpu" else 2e-2
    assert abs(found - expected) < tolerance * abs(expected), f"the loss is {found}, not {expected}"
    assert not torch.equal(before, model.classifier.weight), "the step changed nothing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--ids", type=int, help="identities a batch, 4 images each (default: 4 on a CPU, 16 on a GPU)")
    parser.add_argument("--repeats", type=rounds, default=9, help="rounds to take medians over (default: 9)")
    parser.add_argument("--steps", type=int, help="steps a round (default: 1 on a CPU, 10 on a GPU)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the results to this file")
    args = parser.parse_args()
    ids, steps = (args.ids or 4, args.steps or 1) if args.device == "cpu" else (args.ids or 16, args.steps or 10)
    config = RunConfig().replace(sampler={"ids_per_batch": ids})
    with tempfile.TemporaryDirectory() as temporary, kept_memory(args.device), ExitStack() as ahead:
        train_set = draw_train_set(Path(temporary))
        records = [sample.record for sample in train_set.samples]
        store = ImageStore.build(records, config.image, Path(temporary) / "cache", config.train.workers)
        trainings = {name: Training(make(name, args.device), config, train_set, store, args.device) for name in NAMES}
        runs = {name: training.round(steps) for name, training in trainings.items()}
        for name, training in trainings.items():
            check(training)
            ahead.enter_context(training.batches)
            runs[name]()  # starts to load ahead
            training.batches.waited = 0.0
        times = side_by_side(runs, args.repeats, args.device, warm_up=0)
        waiting = {name: trainings[name].batches.waited / (sum(times[name]) / 1e3) for name in NAMES}

    batch, precision = config.sampler.batch_size, pick_precision("auto", torch.device(args.device))
    speed = {name: 1e3 * batch * steps / median(values) for name, values in times.items()}
    faster = {name: ratio(times["bot"], times[name]) for name in NAMES[1:]}
    share = ratio(times["ceiling"], times["bot-dcsd"])
    print(f"batch {batch}, {steps} step(s) a round, {args.device}, {precision}: times as many images/s as ResNet-50,")
    print(f"  median (quartiles): BoT-DCSD {spread(faster['bot-dcsd'], 2)}, ceiling {spread(faster['ceiling'], 2)}")
    print("  images/s: " + ", ".join(f"{name} {value:.1f}" for name, value in speed.items()))
    print("  waiting for data: " + ", ".join(f"{name} {value:.1%}" for name, value in waiting.items()))
    targets = Targets()
    wanted, of_ceiling = WANTED[args.device]
    targets.add("images/s / ResNet-50's", faster["bot-dcsd"][1], wanted)
    targets.add("share of the ceiling", share[1], of_ceiling)
    targets.add("share of a step waiting for data", waiting["bot-dcsd"], MOST_WAITING, at_most=True)
    if args.json:
        report = provenance("torch", "numba") | {"device": args.device, "threads": torch.get_num_threads()}
        report |= {"batch": batch, "steps": steps, "precision": precision, "targets": targets.lines}
        report |= {"figures": {f"images/s, {name}": value for name, value in speed.items()}}
        report |= {"rows": {"ms": times, "faster": faster, "share_of_ceiling": share, "waiting": waiting}}
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
