"""How a device computes the steps of a run: precision, compilation, and how often it is asked for numbers."""

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
    """What is done on a device, and how.

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
        """Whether the network is compiled."""
        return self.compile == "always" or (self.compile == "auto" and self.device.type == "cuda")

    @property
    def scaled(self) -> bool:
        """Whether losses are scaled before they are differentiated, and steps that overflow skipped."""
        return self.precision == "16-mixed"

    @property
    def fused(self) -> bool:
        """Whether Adam is fused. A scaler leaves unscaling to a fused one, and then gradients could not be clipped."""
        return self.device.type in ("cpu", "cuda") and not self.scaled

    @property
    def reads_seldom(self) -> bool:
        """Whether the device is asked for numbers only when they are logged; a scaler asks at each step anyway."""
        return self.device.type == "cuda" and not self.scaled

    def network(self, model: nn.Module) -> Any:
        """Return the model, or what compiles it when it is first called; shapes of batches are static."""
        return torch.compile(model, fullgraph=self.one_graph, dynamic=False) if self.compiled else model

    def render(self) -> str:
        """Return it for people.

        >>> Arithmetic(torch.device("cpu"), "32-true", "always").render()
        'Arithmetic: 32-true on cpu, torch.compile.'
        """
        return f"Arithmetic: {self.precision} on {self.device.type}{', torch.compile' if self.compiled else ''}."


@contextmanager
def compiling() -> Iterator[None]:
    """Call a compiled network for the first time in here.

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
