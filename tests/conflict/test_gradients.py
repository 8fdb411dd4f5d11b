"""Gradients of a linear model, where cosines are known, and of a small network."""

import math

import pytest
import torch
from torch import Tensor, nn

from jointreid.conflict.gradients import ConflictTally, cosine_of, gradients_by_part, select
from jointreid.conflict.layers import part_of, parts_in_order
from jointreid.models.context import FactorLogits
from jointreid.models.reid import ModelOutput


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
    tally.add(batch(d0=[1.0, 0.0], d1=[0.0, 2.0], d2=[-1.0, 0.0]))
    tally.add(batch(d0=[1.0, 0.0], d1=[1.0, 0.0]))
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
