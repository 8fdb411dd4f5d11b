"""One training step: forward, Eq. 5 and backward for each of its batches, then Adam.

The loop, the forecast, `jointreid paper plan` and `benchmarks/train_step.py` all take this one.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from jointreid.config import RunConfig
from jointreid.data.images import Batch
from jointreid.data.records import ImageRecord
from jointreid.losses import HeadAccuracy, LossFunction, Terms, head_accuracy, identity_by_domain
from jointreid.models.context import FactorLogits, Origins
from jointreid.models.reid import ModelOutput, ReIDModel
from jointreid.training.arithmetic import Arithmetic
from jointreid.training.batches import TrainingBatch
from jointreid.training.distributed.processes import Processes
from jointreid.training.optim import CLEAR_EVERY, WeightAverage, build_optimizer, clear_vanished, set_lr
from jointreid.training.watch import Watch, Window


class BatchValues(NamedTuple):
    """The values of a batch, for the log.

    Attributes:
        terms: of the loss.
        accuracy: of the domain and camera heads.
        by_domain: of `identity_by_domain`; None where the losses of the domains are not logged.
    """

    terms: Terms
    accuracy: HeadAccuracy
    by_domain: Tensor | None


def without_held_out(model: ReIDModel, output: ModelOutput, batch: Batch) -> ModelOutput:
    """Measure what the context network knows of held-out identities, and return an output that teaches it none of them.

    Without `dcsd.context_held_out` the output stays as it is.

    Args:
        model: whose `context_trust` counts.
        output: of a batch.
        batch: its labels.
    """
    trust = model.context_trust
    if trust is None:
        return output
    (logits,) = output.factor_logits
    kept = trust.learn(logits, batch.labels, batch.domain_ids, batch.global_camids)
    return output._replace(factor_logits=(FactorLogits(*kept),))


class TrainingStep:
    """A model together with all that changes its weights.

    Args:
        model: moved to the device of `processes`.
        loss: of a batch, Eq. 5 or a custom one.
        config: settings of one step over all processes, see `step_config`.
        processes: share each batch and average their gradients.
        arithmetic: how the device computes.
        domains: names of the domains whose identity losses are logged; none by default.

    Attributes:
        model: the weights.
        network: the same weights, compiled and synchronised between processes: images [B, 3, H, W] -> `ModelOutput`.
        optimizer: Adam over the weights, wrapped by Fabric.
        average: the moving average of the weights, or None.
        accumulate: batches in a step.
    """

    def __init__(
        self,
        model: ReIDModel,
        loss: LossFunction,
        config: RunConfig,
        processes: Processes,
        arithmetic: Arithmetic,
        domains: Sequence[str] = (),
    ) -> None:
        self.model, self.processes, self.arithmetic = model, processes, arithmetic
        self.accumulate = config.train.accumulate
        self._loss, self._config, self._domains = loss, config, tuple(domains)
        self._fabric: Any = processes.fabric
        # With several processes the network is compiled, not the wrapper that exchanges its gradients.
        self.network, self.optimizer = self._fabric.setup(
            arithmetic.network(model),
            build_optimizer(model, config, fused=arithmetic.fused),
            _reapply_compile=processes.world_size == 1,
        )
        self.average = WeightAverage(model, config.train.ema) if config.train.ema else None

    def __call__(self, step: int, lr: float, batches: Iterable[TrainingBatch], watch: Watch) -> None:
        """Take a step.

        Args:
            step: steps taken before this one.
            lr: learning rate of this step.
            batches: `accumulate` of them, this process's part of each; the mean of their losses is minimised.
            watch: collects the values of the losses, and stops at one that is not finite.

        Raises:
            JointreidError: a loss or a gradient is not finite; the weights are those before this step.
        """
        set_lr(self.optimizer, lr)
        self.processes.seed_step(self._config.train.seed, step)
        for number, (batch, indices, generator) in enumerate(batches, start=1):
            with self._fabric.no_backward_sync(self.network, enabled=number < self.accumulate):
                values = self.forward(batch, generator)
                watch.note(step + 1, values.terms, values.accuracy, indices, values.by_domain)
                self.backward(values.terms.total)
        watch.note_gradients(step + 1, self.model)
        self._update()
        if self.arithmetic.device.type == "cpu" and (step + 1) % CLEAR_EVERY == 0:
            remembered = (x for own in self.optimizer.optimizer.state.values() for x in own.values())
            averaged = self.average.tensors.values() if self.average else ()
            clear_vanished([*self.model.parameters(), *averaged, *filter(torch.is_tensor, remembered)])

    def forward(self, batch: Batch, generator: torch.Generator | None = None) -> BatchValues:
        """Return the terms of the loss of a batch, and what else is logged of it.

        Args:
            batch: this process's part, on the device.
            generator: draws the pairs of SNR's loss; PyTorch's shared one by default.
        """
        output = self.network(batch.images, self._origins(batch), batch.keeps_context)
        output = self.processes.outputs_for_loss(output, gather=self._config.train.gather)
        output = without_held_out(self.model, output, batch)
        terms = self._loss(output, batch, self._config.loss, generator)
        accuracy = head_accuracy(output.factor_logits, batch.domain_ids, batch.global_camids)
        by_domain = None
        if self._domains:
            by_domain = identity_by_domain(output, batch, len(self._domains), self._config.loss.id_head)
        return BatchValues(terms, accuracy, by_domain)

    def _origins(self, batch: Batch) -> Origins | None:
        """Return the labels that a model is told of this process's images; None by default."""
        if not self.model.needs_origins:
            return None
        size = len(batch.images)
        first = self.processes.rank * size if self._config.train.gather else 0  # the labels are then of all images
        return Origins(batch.domain_ids[first : first + size], batch.global_camids[first : first + size])

    def context_trust(self) -> dict[str, float]:
        """Return how far the domain and the camera that the context network predicts are trusted, for the log."""
        trust = self.model.context_trust
        return {} if trust is None else dict(zip(("domain_trust", "camera_trust"), trust().tolist(), strict=True))

    def backward(self, loss: Tensor) -> None:
        """Add a batch's share to the gradients of the step."""
        self._fabric.backward(loss / self.accumulate)

    def make_watch(self, record_of: Callable[[int], ImageRecord], window: Window | None = None) -> Watch:
        """Return a `Watch` for these steps; on a GPU it also keeps a loss that is not finite from the weights.

        Args:
            record_of: index of an image -> its record, for messages.
            window: values since the last logged step, of a resumed run.
        """
        arithmetic = self.arithmetic
        watch = Watch(
            arithmetic.device,
            not arithmetic.reads_seldom,
            {} if window is None else window,
            record_of,
            arithmetic.scaled,
            self.processes.mean,
            self._domains,
        )
        if arithmetic.reads_seldom:
            self.optimizer.optimizer.found_inf = watch.found_inf
        return watch

    def _update(self) -> None:
        """Change the weights by the gradients, which are then cleared."""
        if norm := self._config.optim.clip_norm:
            self._fabric.clip_gradients(self.network, self.optimizer, max_norm=norm, error_if_nonfinite=False)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.processes.average_running(self.model)
        if self.average:
            self.average.update(self.model)
