"""Losses that are read seldom: all are logged, and no weight changes from the first one that is not finite on."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from jointreid.config import RunConfig
from jointreid.data.records import ImageRecord
from jointreid.losses import HeadAccuracy
from jointreid.messages.errors import JointreidError
from jointreid.training.optim import build_optimizer
from jointreid.training.watch import SKIPPED_IN_A_ROW, Watch, Window


class Two(NamedTuple):
    near: Tensor
    far: Tensor
    total: Tensor
    absent: None = None  # a term that this model is not trained by: not to be noted


NO_HEADS = HeadAccuracy(torch.zeros(0), torch.zeros(0))
RECORDS = [ImageRecord(Path(f"{index}.jpg"), str(index), 0) for index in range(8)]


def terms(near: float, far: float) -> Two:
    return Two(torch.tensor(near), torch.tensor(far), torch.tensor(near + far))


def watch(at_once: bool, window: Window | None = None) -> Watch:
    return Watch(torch.device("cpu"), at_once, {} if window is None else window, RECORDS.__getitem__)


@pytest.mark.parametrize("at_once", [True, False])
def test_the_window_holds_each_value_by_name(at_once: bool) -> None:
    window: Window = {"near": [7.0]}
    watched = watch(at_once, window)
    watched.note(1, terms(1.0, 2.0), HeadAccuracy(torch.tensor([0.5, 1.0]), torch.zeros(0)), np.array([0, 1]))
    watched.note(2, terms(3.0, 4.0), HeadAccuracy(torch.tensor([0.5, 0.0]), torch.tensor([1.0])), np.array([2, 3]))
    assert len(window["near"]) == (3 if at_once else 1)
    watched.read()
    assert window == {
        "near": [7.0, 1.0, 3.0],
        "far": [2.0, 4.0],
        "total": [3.0, 7.0],
        "domain_accuracy": [0.75, 0.25],
        "camera_accuracy": [1.0],
    }
    assert {type(value) for values in window.values() for value in values} == {float}
    assert watched.take_means()["near"] == pytest.approx(11 / 3)
    assert not window


@pytest.mark.parametrize("at_once", [True, False])
def test_the_loss_of_a_domain_is_the_mean_over_its_images_of_all_batches(at_once: bool) -> None:
    watched = Watch(torch.device("cpu"), at_once, {}, RECORDS.__getitem__, domains=("a", "b", "never"))
    watched.note(1, terms(1.0, 1.0), NO_HEADS, np.array([0, 1, 2]), torch.tensor([[6.0, 1.0, 0.0], [2.0, 1.0, 0.0]]))
    watched.note(2, terms(1.0, 1.0), NO_HEADS, np.array([3]), torch.tensor([[3.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    watched.read()
    means = watched.take_means()
    assert means.keys() == {"near", "far", "total", "identity_by_domain"}
    assert means["identity_by_domain"] == pytest.approx({"a": 3.0, "b": 1.0})


def test_values_that_wait_to_be_read_keep_no_graph_of_the_network() -> None:
    watched = watch(at_once=False)
    loss = torch.ones((), requires_grad=True).exp()
    watched.note(1, Two(loss * 2, loss * 3, loss * 5), NO_HEADS, np.array([0]))
    assert [noted.values.requires_grad for noted in watched._unread] == [False]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_read_seldom_nothing_changes_from_the_bad_step_on_and_it_is_named(device: str) -> None:
    torch.manual_seed(0)
    model = nn.Linear(3, 2).to(device)
    optimizer = build_optimizer(model, RunConfig().replace(optim={"lr": 0.1}))
    watched = Watch(torch.device(device), False, {}, RECORDS.__getitem__)
    optimizer.found_inf = watched.found_inf  # type: ignore[attr-defined]
    kept: dict[str, Tensor] = {}
    for step in range(1, 5):
        x = torch.randn(4, 3, device=device) * (float("nan") if step == 3 else 1.0)
        far = model(x).square().mean()
        near = torch.ones((), device=device)
        watched.note(step, Two(near, far, near + far), NO_HEADS, np.array([2 * step - 2, 2 * step - 1]))
        (near + far).backward()
        optimizer.step()
        optimizer.zero_grad()
        if step == 2:
            kept = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    assert all(torch.equal(tensor, kept[name]) for name, tensor in model.state_dict().items())
    assert all(slots["step"] == 2 for slots in optimizer.state.values())
    with pytest.raises(JointreidError, match=r"step 3: the loss term far is not finite.*first 4\.jpg.*identities 4, 5"):
        watched.read()


def test_read_at_once_it_stops_before_the_backward_pass() -> None:
    watched = watch(at_once=True)
    watched.note(1, terms(1.0, 1.0), NO_HEADS, np.array([0]))
    with pytest.raises(JointreidError, match="step 2: the loss term near and far is not finite"):
        watched.note(2, terms(float("inf"), float("-inf")), NO_HEADS, np.array([1]))


def spoil(model: nn.Module, value: float) -> None:
    """Give the weight gradients of which one is not finite, the bias finite ones."""
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    assert isinstance(model.weight, nn.Parameter)
    assert model.weight.grad is not None
    model.weight.grad[0, 1] = value


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_gradient_that_is_not_finite_is_named(value: float) -> None:
    model, watched = nn.Linear(3, 2), watch(at_once=True)
    spoil(model, 3e38)
    watched.note_gradients(1, model)
    spoil(model, value)
    with pytest.raises(JointreidError, match="step 2: the loss is finite, but the gradients of weight are not"):
        watched.note_gradients(2, model)


@pytest.mark.parametrize(
    ("far", "message"),
    [(1.0, "step 2: the loss is finite, but the gradients are not;"), (np.nan, "step 2: the loss term")],
)
def test_read_seldom_the_first_thing_that_is_not_finite_is_told(far: float, message: str) -> None:
    model, window = nn.Linear(3, 2), Window()
    watched = watch(at_once=False, window=window)
    for step in range(1, 5):
        watched.note(step, terms(1.0, far if step == 2 else 1.0), NO_HEADS, np.array([step]))
        spoil(model, np.nan if step >= 2 else 1.0)
        watched.note_gradients(step, model)
        assert bool(watched.found_inf) == (step >= 2)
    with pytest.raises(JointreidError, match=message):
        watched.read()
    assert len(window["near"]) == (2 if far == 1.0 else 1)  # the losses until then are reported


def test_a_scaler_may_skip_some_steps_but_not_for_ever() -> None:
    model = nn.Linear(3, 2)
    watched = Watch(torch.device("cpu"), True, {}, RECORDS.__getitem__, scaled=True)
    for number in range(2 * SKIPPED_IN_A_ROW):
        spoil(model, 1.0 if number == SKIPPED_IN_A_ROW else np.inf)
        watched.note_gradients(number + 1, model)
    spoil(model, np.inf)
    watched.note_gradients(65, model)
    with pytest.raises(JointreidError, match=r"step 66: the gradients of weight overflow float16.* 33 steps in a row"):
        watched.note_gradients(66, model)
