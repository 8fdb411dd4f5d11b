"""Batches as a step sees them: what is drawn for an image does not depend on how many processes share its batch."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from jointreid.config import RunConfig
from jointreid.data.images import ImageStore
from jointreid.data.sampling import make_sampler
from jointreid.training.batches import AugmentedBatches, TrainingBatch, draw_kept_contexts
from jointreid.training.data import load_training_data
from tests.small import small_config


@pytest.fixture(scope="module")
def config(tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    cache = tmp_path_factory.mktemp("batches")
    return small_config("joint", manifest=tiny_manifest, cache=cache, dcsd={"context_dropout": 0.5})


def batches(config: RunConfig, world_size: int, batch_indices: range) -> list[list[TrainingBatch]]:
    """Return the parts of some batches, by rank."""
    data = load_training_data(config).train_set
    store = ImageStore.build([sample.record for sample in data.samples], config.image, Path(config.data.cache), 1)
    parts = [
        AugmentedBatches(store, data, make_sampler(data, config), config, torch.device("cpu"), rank, world_size)
        for rank in range(world_size)
    ]
    return [[part(index) for part in parts] for index in batch_indices]


def kept(parts: list[TrainingBatch]) -> Tensor:
    """Return which images of a batch keep their context, from its parts."""
    found = []
    for part in parts:
        assert part.batch.keeps_context is not None
        assert len(part.batch.keeps_context) == len(part.batch.images)
        found.append(part.batch.keeps_context)
    return torch.cat(found)


def test_processes_draw_the_images_and_dropped_contexts_of_one_process(config: RunConfig) -> None:
    alone, shared = (batches(config, size, range(4)) for size in (1, 2))
    for whole, parts in zip(alone, shared, strict=True):
        assert torch.equal(torch.cat([part.batch.images for part in parts]), whole[0].batch.images)
        assert torch.equal(kept(parts), kept(whole))
    drawn = torch.stack([kept(whole) for whole in alone])
    assert 0.3 < float(drawn.float().mean()) < 0.7
    assert len({tuple(row) for row in drawn.tolist()}) == len(drawn)  # each batch has its own


def test_dropped_contexts_follow_from_seed_and_batch_index_alone(config: RunConfig) -> None:
    torch.manual_seed(1)
    first = kept(batches(config, 1, range(2, 3))[0])
    torch.manual_seed(2)
    assert torch.equal(kept(batches(config, 1, range(2, 3))[0]), first)
    other = batches(config.replace(train={"seed": 1}), 1, range(2, 3))[0]
    assert not torch.equal(kept(other), first)


def test_with_gathered_losses_a_process_draws_for_its_own_images(config: RunConfig) -> None:
    gathered = config.replace(train={"gather": True})
    parts = batches(gathered, 2, range(1))[0]
    assert [len(part.batch.labels) for part in parts] == [24, 24]
    assert torch.equal(kept(parts), kept(batches(config, 1, range(1))[0]))


@pytest.mark.parametrize("share", [0.1, 0.75])
def test_the_share_of_dropped_contexts_is_that_of_the_settings(share: float) -> None:
    config = RunConfig().replace(model={"name": "bot-dcsd"}, dcsd={"context_dropout": share})
    drawn = draw_kept_contexts(config, 10_000, torch.Generator().manual_seed(0))
    assert drawn is not None
    assert drawn.dtype == torch.bool
    assert float((~drawn).float().mean()) == pytest.approx(share, abs=0.02)  # 4 standard deviations


@pytest.mark.parametrize(
    "changes",
    [{"dcsd": {"context_dropout": 0.0}}, {"model": {"name": "bot"}}, {"dcsd": {"factors": ("sample",)}}],
)
def test_nothing_is_drawn_where_no_context_is_dropped(config: RunConfig, changes: dict[str, dict[str, object]]) -> None:
    assert batches(config.replace(**changes), 1, range(1))[0][0].batch.keeps_context is None
