"""All that a run trains with, built before the first step in each of its processes."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from rich.console import Console

from jointreid.config import RunConfig
from jointreid.custom import is_custom
from jointreid.data.batch_shares import fit_identities, step_config
from jointreid.data.images import ImageStore
from jointreid.data.sampling import Sampler, make_sampler
from jointreid.losses import loss_function
from jointreid.machine.device import Precision
from jointreid.machine.paths import cache_folder
from jointreid.messages.progress import progress_bar
from jointreid.models.reid import ReIDModel
from jointreid.models.weight_sources import NONE
from jointreid.run import Run, hold_out_identities, model_for
from jointreid.training.arithmetic import Arithmetic
from jointreid.training.batches import AugmentedBatches
from jointreid.training.checkpoint import SavedCheckpoint
from jointreid.training.data import TrainingData, images_hash
from jointreid.training.distributed.processes import Processes
from jointreid.training.optim import lr_factor
from jointreid.training.randomness import seed_all
from jointreid.training.start_weights import load_start_weights
from jointreid.training.step import TrainingStep


@dataclass(frozen=True)
class TrainingSetup:
    """All that the loop works with.

    Attributes:
        run: directory, settings as `config.yaml` has them, and labels.
        step_config: the settings of one step over all processes; with `train.batch per_process` they have a larger
            batch and learning rate than `run.config`.
        data: images to train and evaluate on.
        processes: the processes of the run.
        sampler: batch index -> indices of images.
        batches: batch index -> batch, on the device.
        step: takes a training step; holds the model, the optimiser and the average.
        steps_per_epoch: each of `train.accumulate` batches.
        pretraining: name of the weights that training started from.
    """

    run: Run
    step_config: RunConfig
    data: TrainingData
    processes: Processes
    sampler: Sampler
    batches: AugmentedBatches
    step: TrainingStep
    steps_per_epoch: int
    pretraining: str

    @cached_property
    def images_hash(self) -> str:
        """Hash of the train images in their order, see `jointreid.training.data.images_hash`."""
        return images_hash(self.data.train_set)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.step_config.schedule.epochs * self.steps_per_epoch

    def lr(self, step: int) -> float:
        """Return the learning rate of the step after `step` steps."""
        config = self.step_config
        return config.optim.lr * lr_factor(config.schedule, step, self.steps_per_epoch)


def set_up(
    config: RunConfig,
    path: Path,
    data: TrainingData,
    processes: Processes,
    precision: Precision,
    checkpoint: SavedCheckpoint | None,
    console: Console,
) -> TrainingSetup:
    """Decode the images and build the network, the optimiser and the batches.

    Args:
        config: the settings as the user gave them.
        path: the run directory, locked by the main process.
        data: checked and joined.
        processes: the processes of the run.
        precision: the arithmetic.
        checkpoint: of a resumed run, on the main process. Its weights are loaded later, by `restore`.
        console: where to print.

    Raises:
        JointreidError: images cannot be read, the settings do not fit them, or the weights to start from do not fit.
    """
    run = Run(path, config, data.train_set.label_space)
    config = fit_identities(step_config(config), run.label_space.num_ids, run.label_space.num_domains)
    device = processes.fabric.device
    saved = processes.broadcast(checkpoint.state.get("sampler") if checkpoint else None)
    sampler = make_sampler(data.train_set, config, saved)
    loss = loss_function(config.loss.kind)
    store = _decode(config, data, processes, console)
    batches = AugmentedBatches(store, data.train_set, sampler, config, device, processes.rank, processes.world_size)
    seed_all(config.train.seed)
    torch.use_deterministic_algorithms(config.train.deterministic)
    model, pretraining = _build_model(run, config, processes, checkpoint, console)
    cameras = torch.tensor(data.train_set.global_camids)
    model.set_camera_images(torch.bincount(cameras, minlength=run.label_space.num_cameras))
    hold_out_identities(model, config, run.label_space)
    # A custom trunk may not fit into one graph, nor do the messages of SyncBatchNorm in the middle of a forward pass.
    one_graph = not is_custom(config.model.trunk) and not config.train.sync_bn
    arithmetic = Arithmetic(device, precision, config.train.compile, one_graph)
    return TrainingSetup(
        run=run,
        step_config=config,
        data=data,
        processes=processes,
        sampler=sampler,
        batches=batches,
        step=TrainingStep(model, loss, config, processes, arithmetic, _logged_domains(run)),
        steps_per_epoch=max(1, len(sampler) // config.train.accumulate),
        pretraining=pretraining,
    )


def _logged_domains(run: Run) -> tuple[str, ...]:
    """Return the domains whose losses are logged; none where there is one, whose loss is that of the run."""
    names = tuple(domain.name for domain in run.label_space.domains)
    return names if run.config.train.log_domains and len(names) > 1 else ()


def _decode(config: RunConfig, data: TrainingData, processes: Processes, console: Console) -> ImageStore:
    """Return the train images, each decoded and resized once on each machine."""
    with progress_bar(console, "decoding") as on_progress:
        return processes.local_main_first(
            lambda: ImageStore.build(
                [sample.record for sample in data.train_set.samples],
                config.image,
                cache_folder(config.data.cache),
                config.train.workers,
                config.data.cache_mode,
                on_progress,
            )
        )


def _build_model(
    run: Run, config: RunConfig, processes: Processes, checkpoint: SavedCheckpoint | None, console: Console
) -> tuple[ReIDModel, str]:
    """Return the network, the same in all processes, and the name of the weights that training started from."""
    model, pretraining = model_for(config, run.label_space), ""
    with processes.error_barrier():
        if processes.is_main and checkpoint:
            pretraining = str(checkpoint.state.get("pretraining", "")) or config.train.init or NONE
        elif processes.is_main:
            pretraining = load_start_weights(model, config, run.label_space, console)
    pretraining = processes.broadcast(pretraining)
    processes.broadcast_weights(model)
    if config.train.sync_bn and processes.world_size > 1:
        model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model, pretraining
