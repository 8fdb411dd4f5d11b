"""The memory and time that a run will take, measured on one batch before the first step."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jointreid.data.images import Batch
from jointreid.machine.system import available_memory
from jointreid.training.arithmetic import compiling
from jointreid.training.randomness import random_state, set_random_state
from jointreid.training.step import TrainingStep

# Timed passes beside the last one, at most.
MAX_WARM_UPS = 3
# Two passes take the same time if they differ by at most this share.
SAME_TIME = 0.2


@dataclass(frozen=True)
class Forecast:
    """Memory and time of training.

    Attributes:
        weight_bytes: weights, gradients and the two moments of Adam.
        activation_bytes: what the forward pass keeps for the backward pass of one batch.
        step_seconds: forward and backward passes of one step; evaluation is not included, nor Adam, a few percent.
        available_bytes: free memory of the device, or None where it cannot be told.
    """

    weight_bytes: int
    activation_bytes: int
    step_seconds: float
    available_bytes: int | None

    @property
    def total_bytes(self) -> int:
        """Memory that a step needs at its peak, without what the framework itself takes."""
        return self.weight_bytes + self.activation_bytes

    def render(self, steps: int) -> str:
        """Return the forecast for `steps` steps as a sentence or two for people."""
        gib = 2**30
        text = (
            f"Forecast: {self.total_bytes / gib:.2f} GiB of memory ({self.weight_bytes / gib:.2f} for weights and "
            f"optimiser, {self.activation_bytes / gib:.2f} for one batch), {self.step_seconds:.2f} s a step, "
            f"{duration(steps * self.step_seconds)} for {steps:,} steps without evaluation."
        )
        if self.available_bytes is not None and self.total_bytes > self.available_bytes:
            text += (
                f" Only {self.available_bytes / gib:.2f} GiB are free: lower --sampler.ids_per_batch (and raise "
                "--train.accumulate to see as many images a step), or the image size."
            )
        return text


def forecast(step: TrainingStep, batch: Batch) -> Forecast:
    """Measure what a step of training costs; weights, gradients, buffers and random state are afterwards as before.

    Args:
        step: of training.
        batch: this process's part of a batch.

    Raises:
        JointreidError: the network cannot be compiled here.
    """
    step.model.train()
    with compiling():
        return measure(
            step.model,
            lambda: step.forward(batch).terms.total,
            step.backward,
            accumulate=step.accumulate,
            agree=step.processes.broadcast,
        )


def measure(
    model: nn.Module,
    loss: Callable[[], Tensor],
    backward: Callable[[Tensor], None] = Tensor.backward,
    *,
    accumulate: int = 1,
    agree: Callable[[float], float] = lambda seconds: seconds,
) -> Forecast:
    """Measure a forward and backward pass that is warm: kernels are compiled, memory is allocated.

    The first pass counts activations. Further ones are timed until two in a row take about the same time, four at
    most, and the last of them counts: whatever compiles or loads on first use is not part of it.

    Args:
        model: the model that `loss` trains.
        loss: returns the loss of one batch, a scalar to differentiate.
        backward: differentiates it, as training will.
        accumulate: batches a step.
        agree: seconds of this process -> seconds that all processes go by, so that all take as many passes.
    """
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    device = next(model.parameters()).device
    drawn = random_state()
    activations = _activation_bytes(loss, backward, device)
    seconds = _warm_seconds(lambda: agree(_seconds(loss, backward, device)))
    model.zero_grad(set_to_none=True)
    set_random_state(drawn)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            buffer.copy_(buffers[name])
    weights = sum(parameter.nbytes for parameter in model.parameters())
    return Forecast(4 * weights, activations, accumulate * seconds, _available(device))


def _warm_seconds(time_pass: Callable[[], float]) -> float:
    """Return the time of the first pass that agrees with the one before it, or of the last that is tried."""
    before = time_pass()
    for _ in range(MAX_WARM_UPS):
        seconds = time_pass()
        if abs(seconds - before) <= SAME_TIME * max(seconds, before):
            break
        before = seconds
    return seconds


def _seconds(loss: Callable[[], Tensor], backward: Callable[[Tensor], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    backward(loss())
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def duration(seconds: float) -> str:
    """Return a length of time for people: `42 s`, `7 min`, `3 h 20 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _activation_bytes(loss: Callable[[], Tensor], backward: Callable[[Tensor], None], device: torch.device) -> int:
    """Return the bytes that one forward pass keeps for its backward pass; runs both."""
    if device.type == "cuda":
        backward(loss())  # compiles, and allocates what the libraries need for themselves
        before = torch.cuda.memory_allocated(device)
        value = loss()
        kept = torch.cuda.memory_allocated(device) - before
        backward(value)
        return int(kept)
    storages: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        value = loss()
    backward(value)
    return sum(storages.values())


def _available(device: torch.device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory() if device.type == "cpu" else None
