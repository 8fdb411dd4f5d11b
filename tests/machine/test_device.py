import pytest
import torch

from jointreid.machine.device import pick_device, pick_precision
from jointreid.messages.errors import JointreidError


def pretend(monkeypatch: pytest.MonkeyPatch, *, cuda: bool, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_auto_takes_cuda_then_mps_then_cpu(
    monkeypatch: pytest.MonkeyPatch, cuda: bool, mps: bool, expected: str
) -> None:
    pretend(monkeypatch, cuda=cuda, mps=mps)
    assert pick_device("auto") == torch.device(expected)


def test_a_named_device_is_taken_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=True, mps=True)
    assert [pick_device(name).type for name in ("cpu", "cuda", "mps")] == ["cpu", "cuda", "mps"]
    pretend(monkeypatch, cuda=False, mps=False)
    expected = "device cuda requested, but this PyTorch sees no CUDA device; use --device cpu"
    with pytest.raises(JointreidError, match=f"^{expected}$"):
        pick_device("cuda")
    with pytest.raises(JointreidError, match="sees no MPS device"):
        pick_device("mps")


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(JointreidError, match="there is no device cude; did you mean cuda"):
        pick_device("cude")


def test_half_precision_with_a_scaler_needs_a_gpu() -> None:
    assert pick_precision("bf16-mixed", torch.device("cpu")) == "bf16-mixed"
    assert pick_precision("16-mixed", torch.device("cuda")) == "16-mixed"
    with pytest.raises(JointreidError, match="16-mixed needs a GPU; on a CPU take bf16-mixed or 32-true"):
        pick_precision("16-mixed", torch.device("cpu"))
