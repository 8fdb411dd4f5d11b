"""The arithmetic of training on a device: precision, compilation, and how often its numbers are read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from jointreid.config import Compile
from jointreid.machine.device import Precision
from jointreid.messages.errors import JointreidError


@dataclass(frozen=True)
class Arithmetic:
    """Precision and compilation on a device.

    Attributes:
        device: where a step is computed.
        precision: of the network; losses are in fp32.
        compile: `train.compile`.
        one_graph: whether the network has to compile into one graph, as all systems here do.
    """

    device: torch.device
    precision: Precision
    compile: Compile = "auto"
    one_graph: bool = True

    @property
    def compiled(self) -> bool:
        """True if the network is compiled."""
        return self.compile == "always" or (self.compile == "auto" and self.device.type == "cuda")

    @property
    def scaled(self) -> bool:
        """True if losses are scaled before the backward pass, and steps that overflow are skipped."""
        return self.precision == "16-mixed"

    @property
    def fused(self) -> bool:
        """True if Adam is fused. A fused Adam unscales gradients itself, so with a scaler they could not be clipped."""
        return self.device.type in ("cpu", "cuda") and not self.scaled

    @property
    def reads_seldom(self) -> bool:
        """True if losses are read from the device only when they are logged; a scaler reads at each step anyway."""
        return self.device.type == "cuda" and not self.scaled

    def network(self, model: nn.Module) -> Any:
        """Return the model, or a wrapper that compiles it on its first call; batches have static shapes."""
        return torch.compile(model, fullgraph=self.one_graph, dynamic=False) if self.compiled else model

    def render(self) -> str:
        """Return a line for people.

        >>> Arithmetic(torch.device("cpu"), "32-true", "always").render()
        'Arithmetic: 32-true on cpu, torch.compile.'
        """
        return f"Arithmetic: {self.precision} on {self.device.type}{', torch.compile' if self.compiled else ''}."


@contextmanager
def compiling() -> Iterator[None]:
    """Report compiler errors of the block clearly: for the first call of a compiled network.

    Raises:
        JointreidError: it cannot be compiled on this machine, or not as one graph.
    """
    from torch._dynamo.exc import FailOnRecompileLimitHit, TorchDynamoException

    try:
        yield
    except (TorchDynamoException, FailOnRecompileLimitHit) as error:
        cause = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise JointreidError(
            f"torch.compile cannot compile the network here ({cause}); train with --train.compile never"
        ) from error
