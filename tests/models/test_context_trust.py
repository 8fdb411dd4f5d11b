"""A context is trusted as far as it is right about identities that it has not learnt from."""

from typing import Any

import numpy as np
import pytest
import torch

from jointreid.config import DcsdConfig
from jointreid.messages.errors import JointreidError
from jointreid.models.context import Context, ContextNetwork, FactorLogits, PredictedContext
from jointreid.models.context_trust import ContextTrust
from jointreid.training.distributed.processes import Processes
from tests.models.test_controls import model

HELD_OUT = DcsdConfig(context="network", context_held_out=0.25)


def answers(right: list[bool]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return labels 0 or 1 of two classes, and logits that are right where asked."""
    ids = torch.arange(len(right)) % 2
    said = torch.where(torch.tensor(right), ids, 1 - ids)
    return ids, torch.nn.functional.one_hot(said, 2).float()


def trusting(share: float, held_out: list[int], num_ids: int = 12) -> ContextTrust:
    """Return one that holds out these identities."""
    trust = ContextTrust(share)
    trust.hold_out(np.isin(np.arange(num_ids), held_out))
    return trust


@pytest.mark.parametrize(
    ("right", "factor"), [(4, 1.0), (3, 0.5), (2, 0.0), (1, 0.0)]
)  # of four answers: twice the share of the right ones, less 1
def test_the_factor_is_how_much_more_often_an_answer_is_right_than_wrong(right: int, factor: float) -> None:
    trust = trusting(0.5, [1, 3, 5])
    assert trust().tolist() == [0, 0]
    labels = torch.tensor([1, 1, 3, 3, 0, 2])  # the last two are not held out, and wrong
    ids, logits = answers([True] * right + [False] * (6 - right))
    for _ in range(3):
        trust.learn((logits, None), labels, ids, ids)
    torch.testing.assert_close(trust(), torch.tensor([factor, 0]))


def test_the_factor_forgets_slowly() -> None:
    trust, labels = trusting(0.5, [1, 3, 5]), torch.tensor([1, 3])
    ids, right = answers([True, True])
    for _ in range(500):
        trust.learn((1 - right, right), labels, ids, ids)
    for _ in range(100):
        trust.learn((right, right), labels, ids, ids)
    share = 1 - 0.99**100  # of the running mean, from the last hundred
    torch.testing.assert_close(trust(), torch.tensor([2 * share - 1, 1]), atol=0.01, rtol=0)
    trust.forget()
    assert trust().tolist() == [0, 0]


def test_a_head_with_one_class_is_not_trusted_as_it_cannot_be_wrong() -> None:
    trust, labels = trusting(0.5, [1, 3, 5]), torch.tensor([1, 3])
    ids, logits = answers([True, True])
    trust.learn((torch.zeros(2, 1), logits), labels, torch.zeros_like(ids), ids)
    assert trust().tolist() == [0, 1]


def test_the_mean_of_several_processes_is_that_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, logits = answers([True, True, True, False])
    labels = torch.tensor([1, 0, 3, 5])  # of three that are held out one is wrong
    one, *two = (trusting(0.5, [1, 3, 5]) for _ in range(3))
    one.learn((logits, logits), labels, ids, ids)
    for trust, part in zip(two, (slice(0, 2), slice(2, 4)), strict=True):
        trust.learn((logits[part], logits[part]), labels[part], ids[part], ids[part])
    processes = Processes.__new__(Processes)
    processes.world_size = 2
    means = torch.stack([torch.cat([trust.running_right, trust.running_seen]) for trust in two]).mean(0)
    monkeypatch.setattr(processes, "mean", lambda values: means, raising=False)
    processes.average_running(two[0])
    torch.testing.assert_close(one(), torch.full((2,), 1 / 3))
    torch.testing.assert_close(two[0](), one())


def test_held_out_identities_teach_the_context_network_nothing() -> None:
    torch.manual_seed(0)
    network = ContextNetwork(3, 5, HELD_OUT)
    assert network.trust is not None
    network.trust.hold_out(np.isin(np.arange(12), [3, 7]))
    predicted = network(torch.randn(6, 3, 16, 8))
    labels = torch.tensor([3, 3, 7, 0, 1, 2])  # the first three
    ids = torch.zeros(6, dtype=torch.int64)
    logits = FactorLogits(*network.trust.learn(predicted.logits, labels, ids, ids))
    assert logits.domain is not None
    assert torch.equal(logits.domain, predicted.logits.domain)
    (gradient,) = torch.autograd.grad(logits.domain.square().sum(), predicted.logits.domain)
    assert gradient.abs().sum(1).bool().tolist() == [False] * 3 + [True] * 3


def test_a_context_that_knows_nothing_is_a_context_of_zeros() -> None:
    images = torch.randn(4, 3, 16, 8, generator=torch.Generator().manual_seed(1))
    network = ContextNetwork(3, 5, DcsdConfig(context="network", context_held_out=0.25)).eval()
    assert network.trust is not None
    assert network(images).vector.abs().max() == 0
    plain = ContextNetwork(3, 5, DcsdConfig(context="network")).eval()
    plain.load_state_dict({k: v for k, v in network.state_dict().items() if not k.startswith("trust.")})
    network.trust.running_seen.fill_(4)
    network.trust.running_right.copy_(torch.tensor([4.0, 3.0]))
    known, trusted = plain(images), network(images)
    torch.testing.assert_close(trusted.domain, known.domain)
    torch.testing.assert_close(trusted.camera, known.camera / 2)


def test_a_posterior_that_is_not_trusted_makes_all_domains_equally_likely() -> None:
    predicted = PredictedContext(torch.ones(1, 2), None, FactorLogits(None, None), torch.tensor([[0.7, 0.3, 0.0, 0.0]]))
    halved = predicted.trusted(torch.tensor([0.5, 0.0]))
    torch.testing.assert_close(
        halved.told(), Context(torch.full((1, 2), 0.5), None, torch.tensor([[0.475, 0.275, 0.125, 0.125]]))
    )


@pytest.mark.parametrize("changed", [{"context": "labels"}, {"context": "block"}, {"factors": ("sample",)}])
def test_what_predicts_no_context_cannot_be_measured(changed: dict[str, Any]) -> None:
    with pytest.raises(JointreidError, match=r"dcsd.context_held_out needs dcsd.context network"):
        model("kernel", context_held_out=0.1, **changed)


def test_a_share_that_holds_out_nobody_is_refused() -> None:
    with pytest.raises(
        JointreidError, match=r"is 0\.1, of 9 train identities: none is held out, since no data set has two"
    ):
        trusting(0.1, [], 9)


def test_nothing_is_learnt_before_it_is_said_who_is_held_out() -> None:
    ids, logits = answers([True])
    with pytest.raises(
        JointreidError, match=r"is 0\.1, but nothing says which identities are held out; call .*hold_out"
    ):
        ContextTrust(0.1).learn((logits, None), ids, ids, ids)


def test_people_whom_the_task_teaches_are_not_held_out() -> None:
    with pytest.raises(JointreidError, match=r"dcsd.context_held_out needs dcsd.stop_gradient true"):
        model("kernel", context_held_out=0.1, stop_gradient=False)


def test_which_identities_are_held_out_is_not_saved() -> None:
    assert set(trusting(0.5, [1]).state_dict()) == {"running_right", "running_seen"}


def test_a_compiled_network_can_go_backward_after_it_learnt() -> None:
    """What is in place would spoil what the compiled network kept for its backward pass."""
    torch.manual_seed(0)
    network = model("norm", context_held_out=0.25).train()
    trust = network.context_trust
    assert trust is not None
    trust.hold_out(np.ones(network.classifier.out_features, dtype=np.bool_))
    compiled = torch.compile(network, backend="aot_eager_decomp_partition")
    output = compiled(torch.randn(4, 3, 32, 16))
    labels = torch.zeros(4, dtype=torch.int64)
    trust.learn(output.factor_logits[0], labels, labels, labels)
    output.bn_embedding.square().sum().backward()


@pytest.mark.parametrize("share", [-0.1, 0.6])
def test_a_share_out_of_range_is_refused(share: float) -> None:
    with pytest.raises(JointreidError, match=r"dcsd.context_held_out.* a share in \[0, 0.5\]"):
        DcsdConfig(context_held_out=share)
