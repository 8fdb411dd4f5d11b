"""Evaluation in the middle of training: all processes share the images, the main process ranks."""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from jointreid.config import RunConfig
from jointreid.data.records import Domain, ImageRecord
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.domain_ranking import images_of
from jointreid.retrieval.embeddings import Embeddings
from jointreid.retrieval.evaluate import embed, evaluate_domains, origins_of
from jointreid.retrieval.results import QueryResult, Results
from jointreid.training.distributed.processes import Processes
from jointreid.training.setup import TrainingSetup


class Evaluation:
    """Evaluates the current weights, or their moving average where there is one.

    Args:
        setup: of the run; every process has the same weights.
        on_batch: called between batches where there is one process; an error that it raises ends the evaluation.
    """

    def __init__(self, setup: TrainingSetup, on_batch: Callable[..., None]) -> None:
        self._setup, self._on_batch = setup, on_batch

    def on_test(self) -> tuple[Results, tuple[QueryResult, ...]] | None:
        """Evaluate on every domain with a query and a gallery; None in all but the main process."""
        return self._on(self._setup.data.test)

    def on_held_out(self) -> Results | None:
        """Evaluate on the identities that were held out of train; None in all but the main process."""
        evaluated = self._on(self._setup.data.val)
        return None if evaluated is None else evaluated[0]

    def _on(self, domains: Sequence[Domain]) -> tuple[Results, tuple[QueryResult, ...]] | None:
        setup, processes, config = self._setup, self._setup.processes, self._setup.run.config
        with self._evaluated_model() as model, processes.error_barrier():

            def embed_all(images: Sequence[ImageRecord], name: str) -> Embeddings:
                origins = origins_of(model, images, name, setup.run.label_space)
                on_batch = self._on_batch if processes.is_main else None
                return embed_distributed(model, images, config, name, processes, on_batch, origins)

            if not processes.is_main:
                for domain in domains:
                    embed_all(images_of(domain), domain.name)
                return None
            return evaluate_domains(
                model,
                domains,
                config,
                setup.run.label_space,
                device=next(model.parameters()).device,
                protocols=setup.data.protocols if domains is setup.data.test else None,
                marks=setup.data.marks,
                pretraining=setup.pretraining,
                embed_with=embed_all,
            )

    @contextmanager
    def _evaluated_model(self) -> Iterator[ReIDModel]:
        """Yield the network with the weights to evaluate, in evaluation mode."""
        model, average = self._setup.step.model, self._setup.step.average
        if average:
            model = copy.deepcopy(model)
            model.load_state_dict(average.tensors)
        model.eval()
        try:
            yield model
        finally:
            self._setup.step.model.train()


def embed_distributed(
    model: ReIDModel,
    records: Sequence[ImageRecord],
    config: RunConfig,
    name: str,
    processes: Processes,
    on_batch: Callable[..., None] | None = None,
    origins: NDArray[np.int64] | None = None,
) -> Embeddings:
    """Return the embeddings of images in the main process, equal to the last bit to those of a single process.

    Rank r takes the batches r, r + world_size, r + 2 world_size, ..., each the same images as in one process. To be
    called within an `error_barrier`. The other processes get meaningless numbers.

    Args:
        model: in evaluation mode, with the same weights in every process.
        records: the images.
        config: settings of the run.
        name: of the data set.
        processes: the processes.
        on_batch: called between batches where there is one process.
        origins: of the images, see `origins_of`.
    """
    device = next(model.parameters()).device
    if processes.world_size == 1:
        return embed(model, records, config, device, name, on_batch, origins)
    owners = np.arange(len(records)) // config.eval.batch_size % processes.world_size
    mine = np.flatnonzero(owners == processes.rank)
    # A process without a batch embeds one image all the same, to know the shapes.
    some = mine if len(mine) else np.zeros(1, np.int64)
    own = None if origins is None else origins[some]
    part = embed(model, [records[index] for index in some.tolist()], config, device, name, None, own)
    processes.exchange_errors()

    def gather(rows: NDArray[np.float32]) -> NDArray[np.float32]:
        gathered = np.empty((len(records), *rows.shape[1:]), rows.dtype)
        for rank, rows_of_rank in enumerate(processes.gather_rows(rows[: len(mine)], int(np.bincount(owners).max()))):
            places = np.flatnonzero(owners == rank)
            gathered[places] = rows_of_rank[: len(places)]
        return gathered

    features = gather(part.features)
    domain, camera = (None if p is None else gather(p) for p in (part.domain_posterior, part.camera_posterior))
    return Embeddings.of(records, features, domain, camera)
