"""What the steps compute beside gradients, read from the device seldom, and the stop at a loss that is not finite."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from jointreid.data.records import ImageRecord
from jointreid.errors import JointreidError
from jointreid.losses import HeadAccuracy, Terms

Window = dict[str, list[float]]


class _Noted(NamedTuple):
    """One batch: its step, counted from 1, its images, and its values with their names, [number of values]."""

    step: int
    indices: NDArray[np.int64]
    names: tuple[str, ...]
    terms: int
    """How many of them, the first ones, are terms of the loss; the others are accuracies."""
    values: Tensor


class Watch:
    """The values of each batch by name, of which `window` holds those since the last logged step.

    Reading a GPU's numbers waits for all the work it was given, and then it waits for the host. So there `at_once` is
    false, and the values stay on the device until `read`. From the first loss that is not finite on `spoilt` is 1,
    which a fused Adam that has it as its `found_inf` takes as word to change nothing: the weights stay as they were
    before that step, although nobody has looked yet. Call `read` before weights are saved or used otherwise.

    Args:
        device: where the losses are computed.
        at_once: read each batch's values when they are noted.
        window: what was read before, if anything; added to.
        record_of: index of an image -> its record, for messages.
    """

    def __init__(
        self, device: torch.device, at_once: bool, window: Window, record_of: Callable[[int], ImageRecord]
    ) -> None:
        self.window, self.spoilt = window, torch.zeros((), device=device)
        self._at_once, self._record_of = at_once, record_of
        self._unread: list[_Noted] = []

    def note(self, step: int, terms: Terms, accuracy: HeadAccuracy, indices: NDArray[np.int64]) -> None:
        """Take in what a batch gave, before its backward pass.

        Args:
            step: counted from 1.
            terms: of its loss.
            accuracy: of its domain and camera heads.
            indices: its images, [B].

        Raises:
            JointreidError: as `read`, if values are read at once.
        """
        named = {name: term.detach().float() for name, term in terms._asdict().items()}
        count = len(named)
        if len(accuracy.domain):
            named["domain_accuracy"] = accuracy.mean_domain
        if len(accuracy.camera):
            named["camera_accuracy"] = accuracy.mean_camera
        self._unread.append(_Noted(step, indices, tuple(named), count, torch.stack(list(named.values()))))
        if self._at_once:
            self.read()
        else:
            self.spoilt.masked_fill_(~torch.isfinite(terms.total.detach()), 1.0)

    def read(self) -> None:
        """Move all values that were noted into the window, in one transfer.

        Raises:
            JointreidError: a loss was not finite. No weight was changed by its step, or after it.
        """
        noted, self._unread = self._unread, []
        if not noted:
            return
        values = torch.cat([batch.values for batch in noted]).tolist()
        for batch in noted:
            mine, values = values[: len(batch.names)], values[len(batch.names) :]
            named = dict(zip(batch.names, mine, strict=True))
            if not np.isfinite(named["total"]):
                raise self._not_finite(batch, named)
            for name, value in named.items():
                self.window.setdefault(name, []).append(value)

    def take_means(self) -> dict[str, float]:
        """Return the mean of each value in the window, and empty it."""
        means = {name: sum(values) / len(values) for name, values in self.window.items()}
        self.window.clear()
        return means

    def _not_finite(self, batch: _Noted, named: dict[str, float]) -> JointreidError:
        terms: Sequence[str] = batch.names[: batch.terms]
        bad = [name for name in terms if name != "total" and not np.isfinite(named[name])]
        records = [self._record_of(index) for index in batch.indices]
        return JointreidError(
            f"step {batch.step}: the loss term {' and '.join(bad) or 'total'} is not finite; stopped before the step, "
            f"so no weight was changed by it. The batch holds {len(records)} images, the first {records[0].path}, of "
            f"the identities {', '.join(sorted({record.pid for record in records})[:6])}. "
            "Lower --optim.lr, set --optim.clip_norm 5, or train in --train.precision 32-true"
        )
