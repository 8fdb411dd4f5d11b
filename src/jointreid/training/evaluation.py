"""Measuring the network of a run in the middle of its training."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jointreid.config import RunConfig
from jointreid.data.records import Domain
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.evaluate import evaluate_domains
from jointreid.retrieval.results import QueryResult, Results
from jointreid.training.data import TrainingData
from jointreid.training.optim import WeightAverage


class Evaluation:
    """Measures the weights as they are when it is asked, their moving average where there is one.

    Args:
        config: the run's settings.
        data: what the run is measured on.
        model: the network in training, on its device.
        average: the moving average of its weights.
        pretraining: what training started from, for the results.
    """

    def __init__(
        self,
        config: RunConfig,
        data: TrainingData,
        model: ReIDModel,
        average: WeightAverage | None,
        pretraining: str,
    ) -> None:
        self._config, self._data, self._model = config, data, model
        self._average, self._pretraining = average, pretraining

    def on_test(self) -> tuple[Results, tuple[QueryResult, ...]]:
        """Measure on every domain with a query and a gallery."""
        return self._on(self._data.test)

    def on_held_out(self) -> Results:
        """Measure on the identities that were held out of train."""
        return self._on(self._data.val)[0]

    def _on(self, domains: Sequence[Domain]) -> tuple[Results, tuple[QueryResult, ...]]:
        with self._evaluated() as model:
            return evaluate_domains(
                model,
                domains,
                self._config,
                self._data.train_set.label_space,
                device=next(model.parameters()).device,
                protocols=self._data.protocols if domains is self._data.test else None,
                pretraining=self._pretraining,
            )

    @contextmanager
    def _evaluated(self) -> Iterator[ReIDModel]:
        """Give the network with the weights to measure, in evaluation mode."""
        model = self._model
        if self._average:
            model = copy.deepcopy(model)
            model.load_state_dict(self._average.tensors)
        model.eval()
        yield model
        self._model.train()
