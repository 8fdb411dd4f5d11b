"""The values of each step, read from the device seldom, and the stop at a loss or gradient that is not finite."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jointreid.data.records import ImageRecord
from jointreid.losses import HeadAccuracy, Terms, trained_terms
from jointreid.messages.errors import JointreidError, SharedError
from jointreid.messages.listing import first_few

Window = dict[str, list[float]]

# A gradient scaler starts at 2^16, may grow, and halves with each step that it skips: after as many in a row, gradients
# overflow float16 whatever the scale.
SKIPPED_IN_A_ROW = 32

# Names in the window: the sum of the identity loss over the images of a domain, and their number.
_LOSS_OF, _IMAGES_OF = "identity of ", "images of "


class _Noted(NamedTuple):
    """One batch: its step, counted from 1, its images, and its values with their names, [number of values]."""

    step: int
    indices: NDArray[np.int64]
    names: tuple[str, ...]
    terms: int
    """Number of terms of the loss, which come first; the others are accuracies."""
    values: Tensor


class Watch:
    """The values of each batch by name, of which `window` holds those since the last logged step.

    Reading numbers from a GPU waits for all of its work, and then the GPU waits for the host. So there `at_once` is
    false, and the values stay on the device until `read`. From the first loss or gradient that is not finite on,
    `found_inf` is 1, and a fused Adam that has it as its `found_inf` changes nothing: the weights stay as they were
    before that step, although the host does not know yet. Call `read` before weights are saved or used otherwise.

    Args:
        device: where the losses are computed.
        at_once: read each batch's values when they are noted.
        window: values read before, which new ones are added to.
        record_of: index of an image -> its record, for messages.
        scaled: whether a gradient scaler skips the steps whose gradients overflow.
        mean: values of a process's part of a batch -> values of the whole batch.
        domains: names of the domains whose identity losses are noted.
    """

    def __init__(
        self,
        device: torch.device,
        at_once: bool,
        window: Window,
        record_of: Callable[[int], ImageRecord],
        scaled: bool = False,
        mean: Callable[[Tensor], Tensor] = lambda values: values,
        domains: Sequence[str] = (),
    ) -> None:
        self.window, self.found_inf = window, torch.zeros((), device=device)
        self._at_once, self._record_of, self._scaled, self._mean = at_once, record_of, scaled, mean
        self._of_domains = tuple(prefix + domain for prefix in (_LOSS_OF, _IMAGES_OF) for domain in domains)
        self._unread: list[_Noted] = []
        self._largest: list[tuple[int, Tensor]] = []
        self._skipped = 0

    def note(
        self,
        step: int,
        terms: Terms,
        accuracy: HeadAccuracy,
        indices: NDArray[np.int64],
        by_domain: Tensor | None = None,
    ) -> None:
        """Collect the values of a batch, before its backward pass.

        Args:
            step: counted from 1.
            terms: of its loss.
            accuracy: of its domain and camera heads.
            indices: its images, [B].
            by_domain: the identity loss of each domain's images and their number, [2, domains].

        Raises:
            JointreidError: as `read`, if values are read at once.
        """
        named = {name: term.detach().float() for name, term in trained_terms(terms).items()}
        count = len(named)
        if len(accuracy.domain):
            named["domain_accuracy"] = accuracy.mean_domain
        if len(accuracy.camera):
            named["camera_accuracy"] = accuracy.mean_camera
        values, names = torch.stack(list(named.values())), tuple(named)
        if by_domain is not None:
            values, names = torch.cat([values, by_domain.flatten()]), names + self._of_domains
        values = self._mean(values)
        self._unread.append(_Noted(step, indices, names, count, values))
        if self._at_once:
            self.read()
        else:
            self.found_inf.masked_fill_(~torch.isfinite(values[list(named).index("total")]), 1.0)

    def note_gradients(self, step: int, model: nn.Module) -> None:
        """Check the gradients of a step, before they are clipped and used.

        Args:
            step: counted from 1.
            model: its parameters have them.

        Raises:
            JointreidError: as `read`, if values are read at once. With a scaler, only after many skipped steps.
        """
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        if not self._at_once:
            largest = nn.utils.get_total_norm(gradients, torch.inf)  # NaN if one is
            self._largest.append((step, largest))
            self.found_inf.masked_fill_(~torch.isfinite(largest), 1.0)
            return
        # On CPUs the 2-norm takes a sixth of the time of the largest value, asked where it overflows, beyond 1e19.
        orders = (2.0, torch.inf)
        finite = any(bool(torch.isfinite(nn.utils.get_total_norm(gradients, order))) for order in orders)
        self._skipped = 0 if finite else self._skipped + 1
        if self._skipped > (SKIPPED_IN_A_ROW if self._scaled else 0):
            bad = [
                name for name, x in model.named_parameters() if x.grad is not None and not bool(x.grad.isfinite().all())
            ]
            raise self._gradients_not_finite(step, bad)

    def read(self) -> None:
        """Move all collected values from the device into the window, in one transfer.

        Raises:
            JointreidError: a loss or a gradient was not finite. No weight was changed by its step, or after it.
        """
        noted, self._unread = self._unread, []
        largest, self._largest = self._largest, []
        if not noted:
            return
        values = torch.cat([batch.values for batch in noted] + [x[None] for _, x in largest]).tolist()
        found = values[len(values) - len(largest) :]
        bad_steps = [step for (step, _), value in zip(largest, found, strict=True) if not np.isfinite(value)]
        for batch in noted:
            mine, values = values[: len(batch.names)], values[len(batch.names) :]
            named = dict(zip(batch.names, mine, strict=True))
            if bad_steps and bad_steps[0] < batch.step:
                break
            if not np.isfinite(named["total"]):
                raise self._not_finite(batch, named)
            for name, value in named.items():
                self.window.setdefault(name, []).append(value)
        if bad_steps:
            raise self._gradients_not_finite(bad_steps[0], [])

    def take_means(self) -> dict[str, Any]:
        """Return the mean of each value in the window, and empty it.

        `identity_by_domain` holds the mean identity loss of the images of each domain that was among them.
        """
        means: dict[str, Any] = {name: sum(values) / len(values) for name, values in self.window.items()}
        self.window.clear()
        losses = {name: means.pop(name) for name in list(means) if name.startswith(_LOSS_OF)}
        images = {name: means.pop(name) for name in list(means) if name.startswith(_IMAGES_OF)}
        of_domain = {
            name.removeprefix(_LOSS_OF): loss / count
            for (name, loss), count in zip(losses.items(), images.values(), strict=True)
            if count
        }
        return means | ({"identity_by_domain": of_domain} if of_domain else {})

    def _not_finite(self, batch: _Noted, named: dict[str, float]) -> JointreidError:
        terms: Sequence[str] = batch.names[: batch.terms]
        bad = [name for name in terms if name != "total" and not np.isfinite(named[name])]
        records = [self._record_of(index) for index in batch.indices]
        return SharedError(
            f"step {batch.step}: the loss term {' and '.join(bad) or 'total'} is not finite; stopped before the step, "
            f"so no weight was changed by it. The batch holds {len(records)} images, the first {records[0].path}, of "
            f"the identities {first_few(sorted({record.pid for record in records}), 6)}. "
            "Lower --optim.lr, set --optim.clip_norm 5, or train in --train.precision 32-true"
        )

    def _gradients_not_finite(self, step: int, names: Sequence[str]) -> JointreidError:
        of = f" of {first_few(names, 3)}" if names else ""
        if self._scaled:
            return SharedError(
                f"step {step}: the gradients{of} overflow float16 whatever the scale of the loss: {self._skipped} "
                "steps in a row were skipped, which changed no weight. Train in --train.precision bf16-mixed or 32-true"
            )
        return SharedError(
            f"step {step}: the loss is finite, but the gradients{of} are not; stopped before the step, so no weight "
            "was changed by it. Lower --optim.lr, or train in --train.precision 32-true"
        )
