"""`ReIDMetric`: exact mAP, mINP and CMC as a `torchmetrics.Metric`, collected batch by batch and over processes.

    from jointreid.retrieval.torchmetric import ReIDMetric

    metric = ReIDMetric()
    for images, pids, camids, is_query in loader:
        metric.update(embed(images), pids, camids, is_query)
    metric.compute()        # {"mAP": tensor(0.81), "mINP": ..., "rank1": ..., "rank5": ..., "rank10": ...}

torchmetrics is an extra of this package (`hub`), and is loaded when the name is first used.
"""

from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from jointreid.config import Metric
from jointreid.machine.extras import library
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.ranking import evaluate_ranking

if TYPE_CHECKING:
    ReIDMetric: Any

RANKS = (1, 5, 10)


def __getattr__(name: str) -> Any:
    """Make the class when it is first asked for (PEP 562)."""
    if name == "ReIDMetric":
        return _metric_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


@cache
def _metric_class() -> Any:
    """Return the class; it is made here so that importing this module needs no torchmetrics."""
    base: Any = library("torchmetrics", "ReIDMetric works", "hub").Metric

    class ReIDMetric(base):  # type: ignore[misc]
        """Exact metrics of retrieval, equal to those of `jointreid.retrieval.ranking`.

        The state is all features and labels that were given, so memory grows with the images. Equal distances are
        ranked by the order of the images, which with several processes is that of the processes.

        Args:
            exclude_same_camera: leave out gallery images of the query's identity and camera.
            metric: cosine or euclidean.
            leave_one_out: every image asks all others; `is_query` is then not given.
            max_memory: bytes for one block of distances.
            kwargs: of `torchmetrics.Metric`.
        """

        is_differentiable = False
        higher_is_better = True
        full_state_update = False

        def __init__(
            self,
            exclude_same_camera: bool = True,
            metric: Metric = "cosine",
            leave_one_out: bool = False,
            max_memory: int = 2**30,
            **kwargs: Any,
        ) -> None:
            super().__init__(**kwargs)
            self.exclude_same_camera, self.metric = exclude_same_camera, metric
            self.leave_one_out, self.max_memory = leave_one_out, max_memory
            for name in ("features", "pids", "camids", "is_query"):
                self.add_state(name, default=[], dist_reduce_fx="cat")

        def update(self, features: Tensor, pids: Tensor, camids: Tensor, is_query: Tensor | None = None) -> None:
            """Take a batch.

            Args:
                features: float [B, D].
                pids: int [B].
                camids: int [B].
                is_query: bool [B], queries against gallery images; None with `leave_one_out`.

            Raises:
                JointreidError: `is_query` is missing or too much, or the sizes differ.
            """
            if (is_query is None) != self.leave_one_out:
                wanted = "is not given with leave_one_out" if self.leave_one_out else "says which images are queries"
                raise JointreidError(f"ReIDMetric.update: is_query {wanted}")
            asks = torch.ones_like(pids, dtype=torch.bool) if is_query is None else is_query.bool()
            if features.ndim != 2 or {len(features)} != {len(pids), len(camids), len(asks)}:
                sizes = [list(tensor.shape) for tensor in (features, pids, camids, asks)]
                raise JointreidError(f"ReIDMetric.update: features, pids, camids and is_query are {sizes}")
            self.features.append(features.detach())
            self.pids.append(pids)
            self.camids.append(camids)
            self.is_query.append(asks)

        def compute(self) -> dict[str, Tensor]:
            """Return mAP, mINP, rank1, rank5, rank10 (float64 in [0, 1]) and the number of valid queries.

            Raises:
                JointreidError: no query, no gallery image, or no query with a match.
            """
            if not len(self.features):
                raise JointreidError("ReIDMetric.compute: there was no image yet; call update first")
            features, pids, camids, asks = (
                torch.cat(state) if isinstance(state, list) else state
                for state in (self.features, self.pids, self.camids, self.is_query)
            )
            parts = [tensor.cpu() for tensor in (features.float(), pids, camids)]
            asks = asks.cpu()
            held = asks if self.leave_one_out else ~asks
            (query, query_pids, query_camids), (gallery, gallery_pids, gallery_camids) = (
                [tensor[chosen] for tensor in parts] for chosen in (asks, held)
            )
            found = evaluate_ranking(
                query.numpy(),
                gallery.numpy(),
                query_pids.numpy(),
                gallery_pids.numpy(),
                query_camids.numpy(),
                gallery_camids.numpy(),
                exclude_same_camera=self.exclude_same_camera,
                metric=self.metric,
                max_memory=self.max_memory,
                leave_one_out=self.leave_one_out,
            )
            values = {"mAP": found.mAP, "mINP": found.mINP, **{f"rank{k}": float(found.cmc[k - 1]) for k in RANKS}}
            exact = {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}
            return {**exact, "num_valid_queries": torch.tensor(found.num_valid_queries)}

    # So that it can be pickled and copied: it is found under this name.
    ReIDMetric.__qualname__ = "ReIDMetric"
    return ReIDMetric
