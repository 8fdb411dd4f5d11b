"""The metric for torchmetrics: the values of the exact ranking, batch by batch, copied, pickled and over processes."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from jointreid.messages.errors import JointreidError
from jointreid.retrieval.ranking import evaluate_ranking
from jointreid.retrieval.torchmetric import ReIDMetric


def people(count: int = 40) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return features, pids, camids and whether each image is a query."""
    draws = torch.Generator().manual_seed(0)
    pids = torch.randint(0, 6, (count,), generator=draws)
    features = torch.randn(6, 8, generator=draws)[pids] + torch.randn(count, 8, generator=draws)
    return features, pids, torch.randint(0, 3, (count,), generator=draws), torch.rand(count, generator=draws) < 0.3


def expected(metric: Any = "cosine") -> Any:
    features, pids, camids, asks = people()
    parts = [part.numpy() for tensor in (features, pids, camids) for part in (tensor[asks], tensor[~asks])]
    return evaluate_ranking(*parts, metric=metric)


def test_batches_give_the_values_of_the_ranking() -> None:
    for kind in ("cosine", "euclidean"):
        metric = ReIDMetric(metric=kind)
        for part in zip(*(torch.split(tensor, 7) for tensor in people()), strict=True):
            metric.update(*part)
        found, ranking = metric.compute(), expected(kind)
        assert found["mAP"].item() == ranking.mAP
        assert found["mINP"].item() == ranking.mINP
        assert [found[f"rank{k}"].item() for k in (1, 5, 10)] == [ranking.cmc[k - 1] for k in (1, 5, 10)]
        assert found["num_valid_queries"].item() == ranking.num_valid_queries
        metric.reset()
        assert not metric.features


def test_states_of_processes_are_joined() -> None:
    """As torchmetrics does it where there are processes: each state is gathered, and joined by its reduction."""
    halves = [[tensor[part] for tensor in people()] for part in (slice(0, 20), slice(20, 40))]
    of_the_other = iter(halves[1])
    metric = ReIDMetric(
        distributed_available_fn=lambda: True, dist_sync_fn=lambda tensor, group: [tensor, next(of_the_other)]
    )
    metric.update(*halves[0])
    assert metric.compute()["mAP"].item() == expected().mAP
    assert len(metric.features[0]) == 20


def test_it_is_copied_and_pickled() -> None:
    metric = ReIDMetric(leave_one_out=True)
    features, pids, camids, _ = people()
    metric.update(features, pids, camids)
    value = metric.compute()["mAP"]
    for other in (copy.deepcopy(metric), pickle.loads(pickle.dumps(metric))):
        assert other.compute()["mAP"] == value


def test_sizes_that_differ_are_refused() -> None:
    features, pids, camids, asks = people()
    with pytest.raises(JointreidError, match="says which images are queries"):
        ReIDMetric().update(features, pids, camids)
    with pytest.raises(JointreidError, match="is not given with leave_one_out"):
        ReIDMetric(leave_one_out=True).update(features, pids, camids, asks)
    with pytest.raises(JointreidError, match=r"are \[\[40, 8\], \[39\]"):
        ReIDMetric().update(features, pids[1:], camids, asks)
