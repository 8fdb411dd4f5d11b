"""Measuring the network of a run in the middle of its training; several processes share the images, the first ranks."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from jointreid.config import RunConfig
from jointreid.data.records import Domain, ImageRecord
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.evaluate import embed, evaluate_domains, images_of
from jointreid.retrieval.extract import Embeddings
from jointreid.retrieval.results import QueryResult, Results
from jointreid.training.data import TrainingData
from jointreid.training.distributed.processes import Processes
from jointreid.training.optim import WeightAverage


class Evaluation:
    """Measures the weights as they are when it is asked, their moving average where there is one.

    Args:
        config: the run's settings.
        data: what the run is measured on.
        model: the network in training, on its device.
        average: the moving average of its weights.
        pretraining: what training started from, for the results.
        processes: the processes; each has the same weights.
        on_batch: called between batches where there is one process; what it raises ends the evaluation.
    """

    def __init__(
        self,
        config: RunConfig,
        data: TrainingData,
        model: ReIDModel,
        average: WeightAverage | None,
        pretraining: str,
        processes: Processes,
        on_batch: Callable[..., None],
    ) -> None:
        self._config, self._data, self._model, self._processes = config, data, model, processes
        self._average, self._pretraining, self._on_batch = average, pretraining, on_batch

    def on_test(self) -> tuple[Results, tuple[QueryResult, ...]] | None:
        """Measure on every domain with a query and a gallery. Only the first process gets results, also below."""
        return self._on(self._data.test)

    def on_held_out(self) -> Results | None:
        """Measure on the identities that were held out of train."""
        found = self._on(self._data.val)
        return None if found is None else found[0]

    def _on(self, domains: Sequence[Domain]) -> tuple[Results, tuple[QueryResult, ...]] | None:
        processes = self._processes
        with self._evaluated() as model, processes.error_barrier():
            if not processes.is_main:
                for domain in domains:
                    embed_distributed(model, images_of(domain), self._config, domain.name, processes)
                return None
            return evaluate_domains(
                model,
                domains,
                self._config,
                self._data.train_set.label_space,
                device=next(model.parameters()).device,
                protocols=self._data.protocols if domains is self._data.test else None,
                pretraining=self._pretraining,
                embed_with=lambda images, name: embed_distributed(
                    model, images, self._config, name, processes, self._on_batch
                ),
            )

    @contextmanager
    def _evaluated(self) -> Iterator[ReIDModel]:
        """Give the network with the weights to measure, in evaluation mode."""
        model = self._model
        if self._average:
            model = copy.deepcopy(model)
            model.load_state_dict(self._average.tensors)
        model.eval()
        try:
            yield model
        finally:
            self._model.train()


def embed_distributed(
    model: ReIDModel,
    records: Sequence[ImageRecord],
    config: RunConfig,
    name: str,
    processes: Processes,
    on_batch: Callable[..., None] | None = None,
) -> Embeddings:
    """Return the features of images in the first process, to the last bit those that it would find alone.

    Process r takes the batches r, r + world, r + 2 world, ..., each the same images as in one process. To be called
    within a `error_barrier`. The other processes get numbers without meaning.

    Args:
        model: in evaluation mode, with the same weights in every process.
        records: the images.
        config: settings of the run.
        name: of the data set.
        processes: the processes.
        on_batch: called between batches where there is one process.
    """
    device = next(model.parameters()).device
    if processes.world_size == 1:
        return embed(model, records, config, device, name, on_batch)
    owners = np.arange(len(records)) // config.eval.batch_size % processes.world_size
    mine = [records[index] for index in np.flatnonzero(owners == processes.rank).tolist()]
    # One without a batch computes an image all the same, to know the shapes.
    part = embed(model, mine or records[:1], config, device, name, None)
    processes.exchange_errors()

    def whole(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        found = np.empty((len(records), *rows.shape[1:]), rows.dtype)
        for rank, rows_of_rank in enumerate(processes.gather_rows(rows[: len(mine)], int(np.bincount(owners).max()))):
            places = np.flatnonzero(owners == rank)
            found[places] = rows_of_rank[: len(places)]
        return found

    features = whole(part.features)
    domain, camera = (None if p is None else whole(p) for p in (part.domain_posterior, part.camera_posterior))
    return Embeddings.of(records, features, domain, camera)
