"""What a run trains with: made before the first step, in each of its processes."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from jointreid.config import RunConfig
from jointreid.custom import is_custom
from jointreid.data.images import ImageStore
from jointreid.data.sampling import CustomBatches, UnionPK, make_sampler
from jointreid.losses import LossFunction, loss_function
from jointreid.machine.device import Precision
from jointreid.messages.console import say
from jointreid.messages.progress import progress_bar
from jointreid.models.reid import ReIDModel
from jointreid.run import Run, model_for
from jointreid.training.arithmetic import Arithmetic
from jointreid.training.batches import AugmentedBatches
from jointreid.training.checkpoint import Saved, newest_whole
from jointreid.training.data import TrainingData
from jointreid.training.distributed.processes import Processes
from jointreid.training.distributed.world import settings_of_all
from jointreid.training.optim import WeightAverage, build_optimizer, lr_factor
from jointreid.training.randomness import seed_all
from jointreid.training.start import load_start


@dataclass(frozen=True)
class Parts:
    """What the loop works on.

    Attributes:
        run: its directory, its settings as they were given, and its labels.
        config: the settings of a step over all processes.
        data: what it trains and is measured on.
        processes: the processes.
        sampler: number -> images of a batch.
        batches: number -> batch, on the device.
        steps_per_epoch: each of `train.accumulate` batches.
        loss: of a batch, Eq. 5 or a person's own.
        arithmetic: how the device computes.
        model: the weights.
        network: computes with these weights, and sends their gradients around: a batch's images -> `ModelOutput`.
        optimizer: over the weights, as Fabric wraps it.
        average: the moving average of the weights.
        saved: the checkpoint to go on from; only the first process has it.
        pretraining: what training started from.
    """

    run: Run
    config: RunConfig
    data: TrainingData
    processes: Processes
    sampler: UnionPK | CustomBatches
    batches: AugmentedBatches
    steps_per_epoch: int
    loss: LossFunction
    arithmetic: Arithmetic
    model: ReIDModel
    network: Any
    optimizer: Any
    average: WeightAverage | None
    saved: Saved | None
    pretraining: str

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.config.schedule.epochs * self.steps_per_epoch

    def lr(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        return self.config.optim.lr * lr_factor(self.config.schedule, step, self.steps_per_epoch)


def make_parts(
    config: RunConfig,
    path: Path,
    data: TrainingData,
    processes: Processes,
    precision: Precision,
    console: Console,
) -> Parts:
    """Decode the images, build the network with the weights it starts from, and what changes them.

    Args:
        config: the settings as they were given.
        path: the run directory, held.
        data: checked and joined.
        processes: the processes.
        precision: the arithmetic.
        console: where to print.

    Raises:
        JointreidError: images cannot be read, the settings do not fit them, or the weights to start from do not fit.
    """
    run = Run(path, config, data.train_set.label_space)
    config, device = settings_of_all(config), processes.fabric.device
    sampler = make_sampler(data.train_set, config.sampler, config.train.seed)
    loss = loss_function(config.loss.kind)
    store = _decoded(config, data, processes, console)
    batches = AugmentedBatches(store, data.train_set, sampler, config, device, processes.rank, processes.world_size)
    seed_all(config.train.seed)
    torch.use_deterministic_algorithms(config.train.deterministic)
    model, saved, pretraining = _started(run, config, processes, console)
    # Own code may not fit into one graph, nor does what SyncBatchNorm sends in the middle of a pass.
    one_graph = not is_custom(config.model.trunk) and not config.train.sync_bn
    arithmetic = Arithmetic(device, precision, config.train.compile, one_graph)
    # With several processes the network is compiled, not what sends its gradients around.
    network, optimizer = processes.fabric.setup(
        arithmetic.network(model),
        build_optimizer(model, config.optim, fused=arithmetic.fused),
        _reapply_compile=processes.world_size == 1,
    )
    return Parts(
        run=run,
        config=config,
        data=data,
        processes=processes,
        sampler=sampler,
        batches=batches,
        steps_per_epoch=max(1, len(sampler) // config.train.accumulate),
        loss=loss,
        arithmetic=arithmetic,
        model=model,
        network=network,
        optimizer=optimizer,
        average=WeightAverage(model, config.train.ema) if config.train.ema else None,
        saved=saved,
        pretraining=pretraining,
    )


def _decoded(config: RunConfig, data: TrainingData, processes: Processes, console: Console) -> ImageStore:
    """Return the train images, each decoded and resized once."""
    with progress_bar(console, "decoding") as on_progress:
        return processes.local_main_first(
            lambda: ImageStore.build(
                [sample.record for sample in data.train_set.samples],
                config.image,
                Path(config.data.cache),
                config.train.workers,
                config.data.cache_mode,
                on_progress,
            )
        )


def _started(
    run: Run, config: RunConfig, processes: Processes, console: Console
) -> tuple[ReIDModel, Saved | None, str]:
    """Return the network with the weights of its start, the checkpoint to go on from, and what results call the start.

    A checkpoint's own weights are not loaded yet.
    """
    model = model_for(config, run.label_space)
    saved, started = None, ""
    with processes.error_barrier():
        if processes.is_main:
            if config.train.resume:
                saved = newest_whole(run, partial(say, console))
            started = load_start(model, saved, config, console)
    pretraining = processes.broadcast(started)
    processes.broadcast_weights(model)
    if config.train.sync_bn and processes.world_size > 1:
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, saved, pretraining
