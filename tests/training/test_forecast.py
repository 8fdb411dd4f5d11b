"""The forecast: its counts against counting by hand, and the time of a step that is warm."""

import time
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from jointreid.training.forecast import Forecast, duration, measure


def test_a_forecast_counts_by_hand_and_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(5, 3, bias=False), nn.BatchNorm1d(3), nn.Sigmoid())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x = torch.randn(4, 5)
    random_state = torch.get_rng_state()
    cost = measure(model, lambda: model(x).sum(), accumulate=2)
    assert cost.weight_bytes == 4 * 4 * (15 + 3 + 3)
    # kept for the backward pass: x, the input and the two statistics of the normalisation, the sigmoid's output
    assert cost.activation_bytes >= 4 * (20 + 12 + 3 + 3 + 12)
    assert cost.activation_bytes <= 4 * (20 + 12 + 3 + 3 + 12) + 4 * 9
    assert cost.step_seconds > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


def passes_that_take(
    seconds: list[float], monkeypatch: pytest.MonkeyPatch
) -> tuple[nn.Module, Callable[[], Tensor], list[int]]:
    """Return a model, its loss, of which each call moves the clock on by the next of some seconds, and its calls."""
    clock, calls = [0.0], list[int]()
    model = nn.Linear(1, 1)

    def loss() -> Tensor:
        clock[0] += seconds[min(len(calls), len(seconds) - 1)]
        calls.append(1)
        result: Tensor = model(torch.ones(1, 1)).sum()
        return result

    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    return model, loss, calls


@pytest.mark.parametrize(
    ("seconds", "passes"),
    [
        ([60.0, 0.6], 3),  # the first pass compiles
        ([60.0, 30.0, 0.6], 4),  # so does the second, where a kernel is needed anew
        ([60.0, 30.0, 2.0, 0.6], 5),
        ([0.6], 3),
    ],
)
def test_a_slow_first_call_does_not_count(seconds: list[float], passes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, loss, calls = passes_that_take(seconds, monkeypatch)
    assert measure(model, loss).step_seconds == pytest.approx(0.6)
    assert len(calls) == passes


def test_times_that_never_agree_end_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loss, calls = passes_that_take([64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0], monkeypatch)
    assert measure(model, loss).step_seconds == pytest.approx(4.0)
    assert len(calls) == 5


def test_all_processes_go_by_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    model, loss, calls = passes_that_take([64.0, 32.0, 16.0, 8.0], monkeypatch)
    assert measure(model, loss, agree=lambda seconds: 5.0).step_seconds == 5.0
    assert len(calls) == 3


def test_too_little_memory_names_what_to_lower() -> None:
    text = Forecast(2**30, 2**31, 0.5, available_bytes=2**30).render(7200)
    assert "3.00 GiB" in text
    assert "60 min" in text
    assert "--sampler.ids_per_batch" in text
    assert "lower" not in Forecast(2**30, 2**31, 0.5, available_bytes=2**33).render(10)


def test_durations_read_well() -> None:
    assert [duration(seconds) for seconds in (3, 89, 300, 12000)] == ["3 s", "89 s", "5 min", "3 h 20 min"]
