"""The learning rate as a pure function of the step, the optimiser, and the moving average of the weights."""

from collections.abc import Iterable, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn

from jointreid.config import RunConfig, ScheduleConfig
from jointreid.models.beside import beside
from jointreid.models.weight_sources import NONE

# A number nearer to 0 is none: fp32 holds seven digits, so beside any other number of a sum it is lost.
VANISHED = 1e-20
# Steps from one look for such numbers to the next.
CLEAR_EVERY = 50


def lr_factor(schedule: ScheduleConfig, step: int, steps_per_epoch: int) -> float:
    """Return the factor on the base learning rate for a step.

    `paper`: linear warm-up over `warmup_epochs`, at most `warmup_max_iters` steps, then a decay once each milestone's
    epochs are completed, as the paper prints it. `fastreid`: warm-up over `warmup_max_iters` steps; the epochs that
    end before its last step, ceil(warm-up / steps_per_epoch) - 1 of them, do not count towards the milestones.
    `bot-repo`: the factor changes between epochs only, and the milestones are the first epochs, counted from 1, at the
    lower learning rate.

    Args:
        schedule: the settings.
        step: steps already taken, from 0.
        steps_per_epoch: steps in an epoch.

    Returns:
        A factor in (0, 1].
    """
    if schedule.kind == "bot-repo":
        epoch = step // steps_per_epoch + 1
        if epoch < schedule.warmup_epochs:
            return _warm(schedule.warmup_factor, epoch / schedule.warmup_epochs)
        return schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
    warmup = schedule.warmup_max_iters
    if schedule.kind == "paper":
        warmup = min(warmup, schedule.warmup_epochs * steps_per_epoch)
    if step < warmup:
        return _warm(schedule.warmup_factor, step / warmup)
    completed = step // steps_per_epoch
    if schedule.kind == "fastreid":
        completed -= max(0, -(-warmup // steps_per_epoch) - 1)
    return schedule.gamma ** sum(completed >= milestone for milestone in schedule.milestones)


def _warm(start: float, progress: float) -> float:
    return start + (1 - start) * progress


def render_lrs(by_epoch: Sequence[float]) -> str:
    """Return learning rates at the start of each epoch for people, equal ones grouped.

    >>> render_lrs([1e-4, 2e-4, 2e-4, 2e-5])
    '1: 1.00e-04, 2-3: 2.00e-04, 4: 2.00e-05'
    """
    texts = [f"{lr:.2e}" for lr in by_epoch]
    parts = []
    for text, group in groupby(enumerate(texts, start=1), key=lambda item: item[1]):
        epochs = [epoch for epoch, _ in group]
        parts.append(f"{epochs[0]}{f'-{epochs[-1]}' if len(epochs) > 1 else ''}: {text}")
    return ", ".join(parts)


# From ImageNet weights and one lr for all, the gain hardly leaves 0; from random weights all parts learn alike.
GENERATOR_LR_FROM_WEIGHTS, GENERATOR_LR_FROM_SCRATCH = 6.0, 1.0


def generator_lr(config: RunConfig) -> float:
    """Return the factor on the learning rate of what generates kernels: `optim.generator_lr`, or where it is 0 its own.

    That is 6 where the trunk starts from weights, of `model.pretrain` or `train.init`, and 1 where it starts at random.
    """
    if config.optim.generator_lr:
        return config.optim.generator_lr
    has_weights = config.model.pretrain != NONE or bool(config.train.init)
    return GENERATOR_LR_FROM_WEIGHTS if has_weights else GENERATOR_LR_FROM_SCRATCH


def render_generator_lr(config: RunConfig) -> str:
    """Return a line for people about the learning rate of what generates kernels."""
    reason = ""
    if not config.optim.generator_lr:
        started = "random weights" if generator_lr(config) == GENERATOR_LR_FROM_SCRATCH else "trained weights"
        reason = f": 0 chooses it, and the trunk starts from {started}"
    return f"Learning rate of what generates kernels: {generator_lr(config):g} times that (optim.generator_lr{reason})"


def build_optimizer(model: nn.Module, config: RunConfig, *, fused: bool = True) -> torch.optim.Adam:
    """Return Adam over the trainable parameters, in groups of equal settings: weights, biases, generators, context.

    The weight decay is added to the gradient (coupled), on every parameter, batch normalisation included, as in BoT.
    Each group carries `lr_scale`, the factor between its learning rate and the scheduled one. Generators and context
    are groups of their own only where their settings differ, so that older checkpoints fit. With
    `dcsd.decay_generators false` both branches, the gain and the projections have no weight decay.

    Args:
        model: on its device.
        config: the settings of the run.
        fused: update each tensor in one pass instead of a dozen; possible on CPUs and CUDA devices.
    """
    optim, of_generators = config.optim, generator_lr(config)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {(1.0, optim.weight_decay): []}
    biases: dict[tuple[float, float], list[nn.Parameter]] = {(optim.bias_lr_factor, optim.weight_decay): []}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        part, is_bias = beside(name), name.endswith("bias")
        generates = part in ("generators", "entry")
        scale = optim.bias_lr_factor if is_bias else 1.0
        if generates or part == "context":  # not a norm by domain, which learns as that of the trunk behind it does
            scale *= of_generators
        decay = optim.weight_decay if config.dcsd.decay_generators or not generates else 0.0
        (biases if is_bias else groups).setdefault((scale, decay), []).append(parameter)
    settings = [
        {"params": parameters, "lr_scale": scale, "weight_decay": decay}
        for kind in (groups, biases)
        for (scale, decay), parameters in kind.items()
    ]
    return torch.optim.Adam(settings, lr=optim.lr, fused=fused)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group, by its `lr_scale`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


class WeightAverage:
    """An exponential moving average of a model's parameters and buffers.

    `average <- decay * average + (1 - decay) * weights` after each step; integers such as batch counts are copied.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Update the average with the weights after a step."""
        for name, tensor in model.state_dict().items():
            average = self.tensors[name]
            if average.is_floating_point():
                average.lerp_(tensor, 1 - self.decay)
            else:
                average.copy_(tensor)


@torch.no_grad()
def clear_vanished(tensors: Iterable[Tensor]) -> None:
    """Set the numbers of tensors that are nearer to 0 than `VANISHED` to 0, in place.

    Weight decay shrinks the weights of a channel that is never active until fp32 holds them with fewer digits only, and
    CPUs compute with such numbers several times more slowly. They change no sum that any other number takes part in.

    Args:
        tensors: weights, and what the optimiser remembers of them; integers and single numbers stay as they are.
    """
    for tensor in tensors:
        if tensor.ndim and tensor.is_floating_point():
            tensor.masked_fill_(tensor.abs() < VANISHED, 0)
