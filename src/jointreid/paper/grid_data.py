"""The data sets that the runs of a grid share, read and checked once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from rich.console import Console

from jointreid.data.gate import require_ready
from jointreid.data.joint import join
from jointreid.data.records import Domain
from jointreid.machine.device import pick_device
from jointreid.messages.console import say
from jointreid.paper.datasets import GridDataset, is_withdrawn, load_datasets, require_paper_counts
from jointreid.paper.request import Request
from jointreid.paper.store import GridSetup, save_setup
from jointreid.training.data import TrainingData


@dataclass
class GridData:
    """The data sets that the runs of a request share, read and checked.

    Attributes:
        request: what to run.
        datasets: the data sets, in Table I's order.
        domains: slot -> domain.
        device: where to compute.
        marks: domain -> the remarks that its results carry.
    """

    request: Request
    datasets: tuple[GridDataset, ...]
    domains: dict[str, Domain]
    device: torch.device
    marks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    _joined: dict[tuple[str, ...], TrainingData] = field(default_factory=dict)

    def training_data(self, slots: tuple[str, ...]) -> TrainingData:
        """Return the union of data sets to train on, without a test split: runs are evaluated after training."""
        if slots not in self._joined:
            joined = join((self.domains[slot] for slot in slots), self.request.base.data.camera_ids)
            self._joined[slots] = TrainingData(joined, test=(), val=(), protocols={}, summary="")
        return self._joined[slots]


def load_grid_data(request: Request, console: Console) -> GridData:
    """Read and check the data sets, and write `grid.json`.

    Raises:
        JointreidError: they cannot be read, cannot be trained and evaluated on, or are not those of Table I.
    """
    device = pick_device(request.base.train.device)
    datasets, domains = load_datasets(request.base.data, request.datasets)
    if not request.allow_counts:
        require_paper_counts(datasets)
    for dataset in datasets:
        if is_withdrawn(dataset.name):
            say(console, f"{dataset.name}: {domains[dataset.slot].terms}")
    say(console, "Checking the data; the first time every image is decoded.")
    result, checked = require_ready(tuple(domains.values()), request.base.data, request.base.train.workers)
    for problem in result.problems:
        say(console, f"{problem.level}: {problem.message}")
    save_setup(GridSetup(request.scale.name, request.preset, datasets, request.scale.warning), request.out)
    return GridData(request, datasets, dict(zip(domains, checked, strict=True)), device, result.marks)
