import torch
from torch import nn

from jointreid.training.forecast import Forecast, duration, forecast


def test_a_forecast_counts_by_hand_and_leaves_the_model_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(5, 3, bias=False), nn.BatchNorm1d(3), nn.Sigmoid())
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x = torch.randn(4, 5)
    random_state = torch.get_rng_state()
    cost = forecast(model, lambda: model(x).sum(), accumulate=2)
    assert cost.weight_bytes == 4 * 4 * (15 + 3 + 3)
    # kept for the backward pass: x, the input and the two statistics of the normalisation, the sigmoid's output
    assert cost.activation_bytes >= 4 * (20 + 12 + 3 + 3 + 12)
    assert cost.activation_bytes <= 4 * (20 + 12 + 3 + 3 + 12) + 4 * 9
    assert cost.step_seconds > 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(torch.get_rng_state(), random_state)


def test_too_little_memory_names_what_to_lower() -> None:
    text = Forecast(2**30, 2**31, 0.5, available_bytes=2**30).render(7200)
    assert "3.00 GiB" in text
    assert "60 min" in text
    assert "--sampler.ids_per_batch" in text
    assert "lower" not in Forecast(2**30, 2**31, 0.5, available_bytes=2**33).render(10)


def test_durations_read_well() -> None:
    assert [duration(seconds) for seconds in (3, 89, 300, 12000)] == ["3 s", "89 s", "5 min", "3 h 20 min"]
