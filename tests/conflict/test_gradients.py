"""Gradients of a linear model, where cosines are known, and of a small network."""

import math
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from jointreid.config import LossConfig, RunConfig
from jointreid.conflict import layers
from jointreid.conflict.gradients import (
    ConflictTally,
    _domain_losses,
    _draw_batches,
    _people,
    _seeded,
    cosine_of,
    gradients_by_part,
    select,
)
from jointreid.conflict.layers import _origins, embed_images, part_of, parts_in_order
from jointreid.conflict.material import StudiedDomain
from jointreid.data.images import Batch
from jointreid.data.joint import JointSample
from jointreid.data.label_space import DomainLabels, LabelSpace
from jointreid.data.records import ImageRecord
from jointreid.losses import LossTerms, reid_loss
from jointreid.losses.triplets import batch_hard_triplet
from jointreid.models.context import FactorLogits
from jointreid.models.reid import ModelOutput
from tests.models.test_controls import model


def test_the_gradient_of_a_linear_model_is_its_input() -> None:
    weight, other = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))
    parameters = {"stem": [weight], "head": [other]}
    losses = [(weight * torch.tensor(x)).sum() for x in ([1.0, 0.0], [1.0, 1.0], [-1.0, 0.0])]
    gradients = [gradients_by_part(loss, parameters) for loss in losses]
    assert gradients[1]["stem"].tolist() == [1.0, 1.0]
    assert gradients[1]["head"].tolist() == [0.0, 0.0, 0.0]
    stem = [found["stem"] for found in gradients]
    assert cosine_of(stem[0], stem[1]) == pytest.approx(math.sqrt(0.5))
    assert cosine_of(stem[0], stem[2]) == pytest.approx(-1.0)
    assert math.isnan(cosine_of(gradients[0]["head"], gradients[1]["head"]))


def test_several_parameters_of_a_part_are_one_vector_in_their_order() -> None:
    a, b, c = (nn.Parameter(torch.ones(n)) for n in (2, 1, 2))
    loss = (a * torch.tensor([1.0, 2.0])).sum() + 3 * b.sum() + (c * torch.tensor([4.0, 5.0])).sum()
    found = gradients_by_part(loss, {"x": [a, b], "y": [c]})
    assert {part: values.tolist() for part, values in found.items()} == {"x": [1.0, 2.0, 3.0], "y": [4.0, 5.0]}


def test_the_tally_averages_over_batches_and_compares_a_domain_with_its_batch_before() -> None:
    def batch(**vectors: list[float]) -> dict[int, dict[str, Tensor]]:
        return {int(name[1:]): {"stem": torch.tensor(values)} for name, values in vectors.items()}

    tally = ConflictTally({"stem": 2}, 3)
    first, second = ({domain: frozenset({domain + 10 * n}) for domain in range(3)} for n in (0, 1))
    tally.add(batch(d0=[1.0, 0.0], d1=[0.0, 2.0], d2=[-1.0, 0.0]), first)
    tally.add(batch(d0=[1.0, 0.0], d1=[1.0, 0.0]), second)
    (part,) = tally.parts()
    assert part.cosine[0, 1] == pytest.approx(0.5)  # 0 and 1
    assert part.cosine[0, 2] == part.cosine[2, 0] == pytest.approx(-1.0)  # in one batch only
    assert part.cosine[0, 0] == pytest.approx(1.0)
    assert part.cosine[1, 1] == pytest.approx(0.0)
    assert math.isnan(part.cosine[2, 2])  # was in one batch
    assert part.opposing[0, 1] == 0.0
    assert part.opposing[0, 2] == 1.0
    assert part.between == pytest.approx((0.5 - 1 + 0) / 3)
    assert part.within == pytest.approx(0.5)
    assert part.opposing_between == pytest.approx(1 / 3)


def test_two_batches_that_show_one_person_are_not_compared() -> None:
    tally = ConflictTally({"stem": 1}, 1)
    for people in ({1, 2}, {2, 3}, {4, 5}):
        tally.add({0: {"stem": torch.ones(1)}}, {0: frozenset(people)})
    (part,) = tally.parts()
    assert part.within == 1.0
    tally = ConflictTally({"stem": 1}, 1)
    for people in ({1, 2}, {2, 3}):
        tally.add({0: {"stem": torch.ones(1)}}, {0: frozenset(people)})
    assert math.isnan(tally.parts()[0].within)


@pytest.mark.parametrize("people", [(13, 9), (16, 2), (8, 1)])
def test_batches_that_follow_each_other_show_other_people(people: tuple[int, ...]) -> None:
    record = ImageRecord(Path("i.jpg"), "a", 0)
    samples, label = [], 0
    for domain, count in enumerate(people):
        for _ in range(count):
            samples += [JointSample(record, label, 0, domain)] * 3
            label += 1
    studied: Any = SimpleNamespace(train_samples=samples, domains=people, seed=0)
    batches = [_people(samples, indices) for indices in _draw_batches(studied, 8, 4, 300)]
    assert len(batches) == 9
    for before, after in pairwise(batches):
        assert not before[0] & after[0]
        assert len(after[0]) == people[0] // 2
        assert len(after.get(1, ())) == (people[1] if people[1] == 2 else 0 if people[1] == 1 else 4)


def test_rows_are_selected_in_nested_outputs() -> None:
    rows = torch.tensor([2, 0])
    x = torch.arange(3.0)[:, None]
    output = ModelOutput(x, x + 1, x + 2, (FactorLogits(x, None), FactorLogits(None, x + 3)))
    chosen = select(output, rows)
    assert type(chosen) is ModelOutput
    assert chosen.embedding.flatten().tolist() == [2.0, 0.0]
    assert type(chosen.factor_logits[0]) is FactorLogits
    assert chosen.factor_logits[0].camera is None
    camera = chosen.factor_logits[1].camera
    assert camera is not None
    assert camera.flatten().tolist() == [5.0, 3.0]


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("trunk.conv1.weight", "stem"),
        ("trunk.layer4.2.bn3.bias", "stage 4"),
        ("trunk.layer1.0.conv2.channel_branch.fc1.weight", "generators"),
        ("trunk.layer1.0.conv2.spatial_branch.conv.weight", "generators"),
        ("trunk.layer1.0.conv2.projection.weight", "generators"),
        ("trunk.layer1.0.conv2.domain_norm.weight", "norms by domain"),
        ("trunk.layer1.0.conv2.weight", "stage 1"),
        ("trunk.layer1.0.conv2.domain.fc1.weight", "context"),
        ("trunk.layer1.0.conv2.camera.classifier.bias", "context"),
        ("context.convs.0.weight", "context"),
        ("trunk.blocks.2.0.conv_dw.weight", "stage 3"),
        ("trunk.stages.0.blocks.1.gamma", "stage 1"),
        ("trunk.conv_head.weight", "last 1x1"),
        ("trunk.snr.1.norm.weight", "stage 2"),
        ("trunk.grow.0.weight", "grow"),
        ("bnneck.weight", "head"),
        ("classifier.weight", "head"),
    ],
)
def test_every_parameter_belongs_to_a_part(name: str, part: str) -> None:
    assert part_of(name) == part


def test_parts_come_from_input_to_output_with_the_shared_ones_last() -> None:
    names = ["context.a", "trunk.conv1.weight", "trunk.layer1.0.x", "classifier.weight", "trunk.layer1.0.gain"]
    assert parts_in_order(names) == ("stem", "stage 1", "generators", "context", "head")
    assert parts_in_order([]) == ()


class Fixed(nn.Module):
    """Maps an image of 2 numbers to them as embedding and to 4 logits; draws from the shared generator meanwhile."""

    needs_origins = False
    context_trust = None

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(8.0).reshape(2, 4) / 8)

    def forward(self, images: Tensor, origins: None = None, keeps_context: Tensor | None = None) -> ModelOutput:
        self.kept, self.drawn = keeps_context, torch.rand(3, device=images.device)
        x = images.flatten(1)
        return ModelOutput(x, x, x @ self.weight, ())


def batch_of_two_domains() -> Batch:
    """Return 4 images of each of 4 identities, the first two of one domain."""
    images = torch.randn(16, 2, 1, 1, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(4).repeat_interleave(4)
    id_domains = torch.tensor([0, 0, 1, 1])
    return Batch(images, labels, torch.zeros(16).long(), id_domains[labels], id_domains)


def test_held_out_people_give_the_context_network_no_gradient_as_in_training() -> None:
    network = model("kernel", context_held_out=0.25).train()
    assert network.context_trust is not None
    network.context_trust.hold_out(np.array([True, True, False, False]))
    batch = batch_of_two_domains()
    batch = batch._replace(images=torch.randn(16, 3, 16, 8, generator=torch.Generator().manual_seed(0)))
    found = _domain_losses(network, batch, reid_loss, LossConfig(), seed=0)
    parts = {"context": list(network.context.parameters())}  # type: ignore[union-attr]
    sizes = [gradients_by_part(found[domain].total, parts)["context"].norm().item() for domain in (0, 1)]
    assert sizes[0] == 0
    assert sizes[1] > 0


def test_a_model_that_is_told_origins_is_told_those_of_the_chosen_images_alone() -> None:
    labels = LabelSpace((DomainLabels("east", ("a",), (1, 4), 0, 0), DomainLabels("west", ("b",), (0,), 1, 2)))
    one, two, three, other = (ImageRecord(Path("i.jpg"), "a", camid) for camid in (4, 1, 9, 4))
    sample = JointSample(one, 0, 0, 1)
    east = StudiedDomain("east", (sample,), (two,), True, "")
    west = StudiedDomain("west", (), (three,), True, "")
    studied: Any = SimpleNamespace(run=SimpleNamespace(label_space=labels), domains=(east, west))
    told: Any = SimpleNamespace(needs_origins=True)
    assert _origins(studied, told, [three, one, other, two]).tolist() == [[1, -1], [0, 1], [-1, -1], [0, 0]]


def test_images_to_predict_the_origin_of_are_told_nothing_those_of_the_run_neither(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(layers, "embed", lambda *arguments: given.append(arguments[-1]))
    studied: Any = SimpleNamespace(run=SimpleNamespace(config=RunConfig()), device="cpu")
    record: Any = ImageRecord(Path("i.jpg"), "a", 4)
    embed_images(studied, SimpleNamespace(needs_origins=True), [record], "images", None, told=False)  # type: ignore[arg-type]
    assert given[0].tolist() == [[-1, -1]]


@pytest.mark.parametrize("head", ["softmax", "masked"])
def test_the_loss_of_a_domain_is_that_of_its_images_whatever_the_head_and_the_mining(head: str) -> None:
    batch = batch_of_two_domains()
    images, labels, id_domains = batch.images, batch.labels, torch.tensor([0, 0, 1, 1])
    config = LossConfig(id_head=head, mining="across", id_smoothing=0.0)  # type: ignore[arg-type]
    network = Fixed()
    found = _domain_losses(network, batch, reid_loss, config, seed=0)  # type: ignore[arg-type]
    logits = network(images).id_logits[8:]
    if head == "masked":
        logits = logits.masked_fill(id_domains != 1, -torch.inf)
    expected = nn.functional.cross_entropy(logits, labels[8:])
    assert isinstance(found[1], LossTerms)
    assert found[1].identity.item() == pytest.approx(expected.item())
    triplet = batch_hard_triplet(images.flatten(1)[8:], labels[8:], config.margin)
    assert found[1].triplet.item() == pytest.approx(triplet.item())
    assert sorted(found) == [0, 1]


def test_the_network_is_told_the_dropped_contexts_and_draws_by_the_seed_alone() -> None:
    keeps = torch.arange(16) % 3 > 0
    drawn = []
    for seed in (0, 0, 1):
        network, before = Fixed(), torch.get_rng_state()
        batch = batch_of_two_domains()._replace(keeps_context=keeps)
        _domain_losses(network, batch, reid_loss, LossConfig(), seed)  # type: ignore[arg-type]
        assert network.kept is keeps
        assert torch.equal(torch.get_rng_state(), before)
        torch.rand(1)
        drawn.append(network.drawn)
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


@pytest.mark.gpu
def test_the_generator_of_a_gpu_is_seeded_and_left_as_it_was() -> None:
    device, drawn = torch.device("cuda"), []
    torch.rand(1, device=device)
    for kind in (device, torch.device("cpu")):
        before = torch.cuda.get_rng_state()
        with _seeded(3, kind):
            drawn.append(torch.rand(2))
            if kind == device:
                torch.rand(5, device=device)
        assert torch.equal(torch.cuda.get_rng_state(), before)
    assert torch.equal(*drawn)
