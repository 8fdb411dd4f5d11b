"""Contributions of positions against the similarity that evaluation computes."""

import doctest
from typing import Literal

import numpy as np
import pytest
import torch

from jointreid.analysis import contributions
from jointreid.analysis.contributions import pair_contributions, position_features
from jointreid.analysis.overlays import ADDS, TAKES, overlay
from jointreid.config import ImageConfig
from jointreid.messages.errors import JointreidError
from jointreid.models.agw import GeM
from jointreid.models.pooling import global_average_pool
from jointreid.models.reid import ReIDModel, build_model
from jointreid.retrieval.extract import forward

IMAGE = ImageConfig(height=32, width=16)
CPU = torch.device("cpu")


def model_with_statistics(name: Literal["bot", "agw", "bot-dcsd"]) -> ReIDModel:
    """Return a network with random weights whose BNNeck has a scale, a shift, a mean and a variance."""
    torch.manual_seed(0)
    model = build_model(name, 4, 2, 3, "resnet50-w16").eval()
    for values in (model.bnneck.weight, model.bnneck.bias, model.bnneck.running_mean, model.bnneck.running_var):
        assert values is not None
        values.data.uniform_(0.2, 1.5)
    return model


def test_the_example_holds() -> None:
    assert doctest.testmod(contributions) == (0, 4)


@pytest.mark.parametrize("name", ["bot", "agw", pytest.param("bot-dcsd", marks=pytest.mark.slow)])
@pytest.mark.parametrize("flip", [False, True])
def test_contributions_of_both_images_sum_to_the_similarity_of_the_evaluated_features(
    name: Literal["bot", "agw", "bot-dcsd"], flip: bool
) -> None:
    model = model_with_statistics(name)
    images = torch.randint(0, 256, (2, 3, 32, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    parts = position_features(model, images, IMAGE, flip=flip, device=CPU)
    with torch.inference_mode():
        features = forward(model, images, IMAGE, flip, CPU).features.astype(np.float64)
    assert parts.sum(axis=(2, 3)) == pytest.approx(features, rel=1e-4, abs=1e-5)
    found = pair_contributions(parts[0], parts[1])
    a, b = features
    similarity = a @ b / np.sqrt((a @ a) * (b @ b))
    assert found.similarity == pytest.approx(similarity, abs=1e-5)
    assert found.first.shape == found.second.shape == (2, 1)
    assert found.first.sum() == pytest.approx(found.similarity, abs=1e-12)
    assert found.second.sum() == pytest.approx(found.similarity, abs=1e-12)


def test_only_positions_that_share_a_channel_contribute() -> None:
    first, second = np.zeros((2, 2, 2, 3))
    first[0, 0, 1] = first[1, 1, 2] = 2.0  # channel 0 at one position, channel 1 at another
    second[0, 1, 0] = 5.0
    found = pair_contributions(first, second)
    assert found.similarity == pytest.approx(2 * 5 / (np.sqrt(8) * 5))
    assert np.argwhere(found.first).tolist() == [[0, 1]]
    assert np.argwhere(found.second).tolist() == [[1, 0]]
    assert found.strongest == pytest.approx(found.similarity)


@pytest.mark.parametrize("power", [1.0, 3.0, 6.5])
def test_parts_of_gem_sum_to_the_pooled_value_and_are_those_of_the_average_at_power_1(power: float) -> None:
    x = torch.rand(2, 5, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    x[0, 0, 0, 0] = 0
    pool = GeM(power)
    parts = contributions.pooled_parts(pool, x)
    assert torch.allclose(parts.sum(dim=(2, 3)), pool(x), rtol=1e-12)
    average = contributions.pooled_parts(global_average_pool, x)
    assert torch.allclose(average.sum(dim=(2, 3)), x.mean(dim=(2, 3)))
    assert torch.allclose(parts, average, atol=1e-6) == (power == 1.0)


def test_another_pooling_and_a_feature_of_zeros_are_refused() -> None:
    model = model_with_statistics("bot")
    model.pool = torch.nn.Flatten()
    with pytest.raises(JointreidError, match="only the average and GeM can be split over positions"):
        position_features(model, torch.zeros(1, 3, 32, 16, dtype=torch.uint8), IMAGE, device=CPU)
    with pytest.raises(JointreidError, match="is all zeros, so its similarity is undefined"):
        pair_contributions(np.zeros((2, 1, 1)), np.ones((2, 1, 1)))


def test_what_adds_is_orange_what_takes_is_blue_and_the_rest_grey() -> None:
    pixels = np.full((40, 20, 3), 100, dtype=np.uint8)
    values = np.zeros((4, 2))
    values[0], values[3] = 1.0, -1.0
    shown = overlay(pixels, values, 1.0).astype(int)
    assert np.abs(shown[0, 0] - (0.72 * np.array(ADDS) + 0.28 * 115)).max() < 12
    assert np.abs(shown[-1, -1] - (0.72 * np.array(TAKES) + 0.28 * 115)).max() < 12
    assert np.ptp(overlay(pixels, np.zeros((4, 2)), 1.0)) == 0
