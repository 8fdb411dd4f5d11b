import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from jointreid.messages.errors import JointreidError
from jointreid.training.arithmetic import Arithmetic, compiling

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("arithmetic", "compiled", "fused", "reads_seldom"),
    [
        (Arithmetic(CPU, "32-true"), False, True, False),
        (Arithmetic(CPU, "bf16-mixed", "always"), True, True, False),
        (Arithmetic(CUDA, "bf16-mixed"), True, True, True),
        (Arithmetic(CUDA, "32-true", "never"), False, True, True),
        (Arithmetic(CUDA, "16-mixed"), True, False, False),
        (Arithmetic(torch.device("mps"), "32-true"), False, False, False),
    ],
)
def test_what_each_device_does(arithmetic: Arithmetic, compiled: bool, fused: bool, reads_seldom: bool) -> None:
    assert (arithmetic.compiled, arithmetic.fused, arithmetic.reads_seldom) == (compiled, fused, reads_seldom)


def test_a_network_that_cannot_be_compiled_is_refused_plainly() -> None:
    with pytest.raises(JointreidError, match=r"here \(a graph break\); train with --train\.compile never"), compiling():
        raise TorchDynamoException("\n a graph break\nand how it came about")
