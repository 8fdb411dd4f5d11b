"""The processes that train one model, and how they exchange errors, weights and values.

A step is the same as in one process: the same batch, cut into equal parts by whole identities, and the mean of the
gradients. Two things differ: the statistics of batch normalisation are those of a process's part unless `train.sync_bn`
is set, and triplets are formed within that part unless `train.gather` is set.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jointreid.config import TrainConfig
from jointreid.machine.device import Precision
from jointreid.messages.errors import JointreidError, ReportedElsewhere, SharedError
from jointreid.training.distributed.fabric import make_fabric
from jointreid.training.distributed.peers import Peer, is_connection_error, lost_process_error
from jointreid.training.distributed.world import ProcessLayout
from jointreid.training.randomness import seed_all

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")

# A process may wait long for another one that decodes images or ranks a large gallery, but not for ever.
TIMEOUT = timedelta(days=1)


class Processes:
    """The processes of a run, seen from one of them. With a single process all methods return at once.

    Args:
        fabric: connects them; already launched.

    Attributes:
        rank: the number of this process, from 0.
        world_size: how many there are.
        is_main: whether it is rank 0, which prints and writes.
    """

    def __init__(self, fabric: "Fabric") -> None:
        self.fabric = fabric
        self.rank, self.world_size, self.is_main = fabric.global_rank, fabric.world_size, fabric.is_global_zero
        self._group: Any = None
        if self.world_size > 1:
            self._group = torch.distributed.new_group(backend="gloo", timeout=TIMEOUT)
        self._peers = self._all(Peer.here())

    # Errors, and work in turn

    def exchange_errors(self, error: Exception | None = None) -> None:
        """Wait for the other processes, and stop all if one of them has an error.

        Raises:
            Exception: the error of this process, if no process of lower rank has one.
            ReportedElsewhere: another process has one and reports it.
        """
        errors = self._all("" if error is None else str(error) or repr(error))
        failed = [rank for rank, text in enumerate(errors) if text]
        if not failed:
            return
        if error is not None and failed[0] == self.rank:
            raise error
        raise ReportedElsewhere(f"process {failed[0]}: {errors[failed[0]]}")

    @contextmanager
    def error_barrier(self) -> Iterator[None]:
        """Run a block, then stop all processes if any of them failed in it.

        `exchange_errors` may be called inside the block, so that nobody waits in vain for a process that failed;
        another `error_barrier` may not.
        """
        try:
            yield
        except Exception as error:
            if not isinstance(error, ReportedElsewhere) and not is_connection_error(error):
                self.exchange_errors(error)
            raise
        self.exchange_errors()

    def require_same(self, what: str, value: str) -> None:
        """Stop all processes if they differ in a value: they would wait for each other, or train on different data.

        Args:
            what: name of the value for the message, in the plural.
            value: of this process, short.

        Raises:
            SharedError: another process has another value.
        """
        values = self._all(value)
        for rank, other in enumerate(values):
            if other != values[0]:
                raise SharedError(
                    f"{what} differ between process 0 and process {rank}: start all with the same options and data"
                )

    def local_main_first(self, work: Callable[[], T]) -> T:
        """Do work in the first process of each machine, then in the others, which find its files on the disk."""
        results: list[T] = []
        for turn in (True, False) if self.world_size > 1 else (True,):
            with self.error_barrier():
                if (self.fabric.local_rank == 0) == turn:
                    results.append(work())
        return results[0]

    def broadcast(self, value: T) -> T:
        """Return the main process's value, tensors on the CPU; with a single process the value itself."""
        if self.world_size == 1:
            return value
        values = [_on_cpu(value) if self.is_main else None]
        torch.distributed.broadcast_object_list(values, src=0, group=self._group)
        return cast(T, values[0])

    def any(self, flag: bool) -> bool:
        """Say whether any of the processes has a flag set; all must call this."""
        if self.world_size == 1:
            return flag
        flags = torch.tensor([int(flag)])
        torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX, group=self._group)
        return bool(flags.item())

    def broadcast_weights(self, model: nn.Module) -> None:
        """Give every process the main one's parameters and buffers."""
        if self.world_size > 1:
            model.load_state_dict(self.broadcast(model.state_dict()))

    def broadcast_state(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, average: dict[str, Tensor] | None
    ) -> None:
        """Give every process the main one's weights, optimiser state and moving average, if there is one."""
        if self.world_size == 1:
            return
        self.broadcast_weights(model)
        state = self.broadcast(optimizer.state_dict())
        if not self.is_main:  # the memory layout of rank 0 is right already
            optimizer.load_state_dict(state)
        for parameter, slots in optimizer.state.items():
            for key, value in slots.items():
                if value.shape == parameter.shape:
                    slots[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        if average is not None:
            for name, tensor in self.broadcast(average).items():
                average[name].copy_(tensor)

    # Steps

    def outputs_for_loss(self, output: T, *, gather: bool) -> T:
        """Return the outputs of a network for this process's images, or for those of all processes by rank.

        With several processes every output gets a gradient, even if it is zero: DDP waits for the gradients of all. The
        gradient of gathered outputs is multiplied by the number of processes, because DDP then averages the gradients:
        their mean is the gradient of the loss.

        Args:
            output: float tensors [b, ...] in (named) tuples.
            gather: whether those of all processes are concatenated.
        """
        if self.world_size == 1:
            return output
        tensors = list(_tensors(output))
        joined = torch.cat([tensor.flatten(1).float() for tensor in tensors], dim=1)  # [b, all numbers of an image]
        if gather:
            parts = list(cast(Tensor, self.fabric.all_gather(joined.detach())).unbind())
            if joined.requires_grad:
                joined.register_hook(lambda gradient: gradient * self.world_size)  # type: ignore[no-untyped-call]
            parts[self.rank] = joined
            joined = torch.cat(parts)
        split = torch.split(joined, [tensor[0].numel() for tensor in tensors], dim=1)
        shapes = [(-1, *tensor.shape[1:]) for tensor in tensors]
        chunks = iter(chunk.reshape(shape) for chunk, shape in zip(split, shapes, strict=True))
        return cast(T, _rebuilt(output, chunks))

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean of a tensor over the processes, the same in each; NaN if one has NaN."""
        if self.world_size == 1:
            return values
        return cast(Tensor, self.fabric.all_reduce(values.detach().clone(), reduce_op="mean"))

    @torch.no_grad()
    def average_running(self, model: nn.Module) -> None:
        """Set running statistics, such as those of batch normalisation, to their mean over the processes."""
        running = [b for name, b in model.named_buffers() if name.rpartition(".")[2].startswith("running_")]
        if self.world_size == 1 or not running:
            return
        means = self.mean(torch.cat([buffer.flatten() for buffer in running]))
        for buffer, mean in zip(running, torch.split(means, [buffer.numel() for buffer in running]), strict=True):
            buffer.copy_(mean.view_as(buffer))

    def seed_step(self, *numbers: int) -> None:
        """Seed the shared random generators for a step, differently in each process; not with a single process.

        Custom code draws from them. Seeded for each step, their state need not be saved for every process.
        """
        if self.world_size > 1:
            entropy = np.random.SeedSequence([*numbers, self.rank])
            seed_all(int(entropy.generate_state(1, np.uint64)[0] >> 1))

    # Evaluation

    def gather_rows(self, rows: NDArray[np.float32], longest: int) -> list[NDArray[np.float32]]:
        """Return the rows of every process, by rank, in the main process; nothing in the others.

        Args:
            rows: [n, D], of any n up to `longest`.
            longest: the same on every process.
        """
        padded = np.zeros((longest, *rows.shape[1:]), rows.dtype)
        padded[: len(rows)] = rows
        mine = torch.from_numpy(padded)
        all_rows = [torch.empty_like(mine) for _ in range(self.world_size)] if self.is_main else None
        torch.distributed.gather(mine, all_rows, group=self._group)
        return [part.numpy() for part in all_rows or ()]

    # Lost processes

    @contextmanager
    def report_lost(self, run: Path, advice: str) -> Iterator[None]:
        """Report errors inside the block once on each machine: also which process is gone, and how to resume.

        Args:
            run: the run directory.
            advice: how to resume.

        Raises:
            JointreidError: a process is gone; or an error of this process, with its rank.
            ReportedElsewhere: another process on this machine reports it.
        """
        try:
            yield
        except JointreidError as error:
            if self.is_main or isinstance(error, ReportedElsewhere):
                raise
            if isinstance(error, SharedError):
                raise ReportedElsewhere(str(error)) from error
            raise JointreidError(f"process {self.rank} of {self.world_size}: {error}") from error
        except RuntimeError as error:
            if self.world_size == 1 or not is_connection_error(error):
                raise
            raise lost_process_error(self._peers, self.rank, run, advice) from error

    def _all(self, value: T) -> list[T]:
        """Return the values of all processes, by rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(values, value, group=self._group)
        return values


def single_process(device: torch.device, precision: Precision = "32-true") -> Processes:
    """Return this process alone, as the timing of a training step needs it."""
    return Processes(make_fabric(TrainConfig(), ProcessLayout(1, 1, "self"), device, precision))


def _tensors(output: Any) -> Iterator[Tensor]:
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, tuple):
        for part in output:
            yield from _tensors(part)


def _rebuilt(output: Any, tensors: Iterator[Tensor]) -> Any:
    """Return the same nested tuples with other tensors."""
    if isinstance(output, Tensor):
        return next(tensors)
    if isinstance(output, tuple):
        parts = [_rebuilt(part, tensors) for part in output]
        return type(output)(*parts) if hasattr(output, "_fields") else tuple(parts)
    return output


def _on_cpu(value: Any) -> Any:
    from lightning_utilities.core.apply_func import apply_to_collection

    return apply_to_collection(value, Tensor, lambda tensor: tensor.detach().cpu())
