"""Figure 5: the filters that two runs generate for images of every domain, as pictures and in numbers.

The left column shows filters generated from the sample alone, the right one those from sample, domain and camera; the
rows are the DCSDs number 0, 12 and 15. The points are placed by t-SNE, whose clusters prove little, so the figure also
gives two numbers computed from the filters themselves. Distances are Euclidean in both: FilterNorm, where there is one,
has already removed each kernel's mean and scale, and the effect of a kernel on an image is linear in the kernel.
Letters: N images.
"""

import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointreid.analysis.filters import (
    NEIGHBOURS,
    BlockFilters,
    ChosenImages,
    Separation,
    Split,
    choose_images,
    collect_filters,
    compute_separation,
    require_dcsd,
)
from jointreid.analysis.scatter import MAKING
from jointreid.config import RunConfig, config_difference, config_hash
from jointreid.data.gate import require_ready
from jointreid.data.holdout import hold_out
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.sources import load_domains
from jointreid.machine.extras import library
from jointreid.machine.hashing import file_sha256
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.evaluate import OnBatch
from jointreid.retrieval.run_data import print_warnings
from jointreid.run import Run, find_data, open_run

PERPLEXITY = 30.0
TSNE = {"metric": "euclidean", "neighbors": "exact", "initialization": "pca", "negative_gradient_method": "bh"}
# Settings that only name a run.
NAMES = ("train.out", "train.label")
PACKAGES = ("jointreid", "torch", "numpy", "openTSNE", "scikit-learn", "matplotlib")


@dataclass(frozen=True)
class FilterPanel:
    """The filters of one DCSD in one column.

    Attributes:
        number: of the DCSD, counted from 0 at the input.
        block: the block it belongs to, such as `layer3.5`.
        dimensions: numbers in a filter: the kernels of all channels.
        separation: of the domains, computed from the filters themselves.
        points: [N, 2], positions of the filters by t-SNE.
    """

    number: int
    block: str
    dimensions: int
    separation: Separation
    points: NDArray[np.float64]


@dataclass(frozen=True)
class FilterColumn:
    """One column: the filters of one run.

    Attributes:
        heading: the factors that they are generated from, in short.
        run: the run directory.
        factors: the factors that the run generates filters from.
        context_to: the branches that see domain and camera; the filters shown are of the channel branch.
        ablate_context: whether the vectors Domain and Camera were set to 0.
        filter_norm: whether the filters have gone through FilterNorm; not with `dcsd.generated_start zeros`.
        config: the hash of the run's settings.
        labels: the hash of its label space.
        weights: SHA-256 of the checkpoint's `model.safetensors`.
        step: steps the run was trained for.
        panels: one for each DCSD, from input to output.
    """

    heading: str
    run: str
    factors: tuple[str, ...]
    context_to: str
    ablate_context: bool
    filter_norm: bool
    config: str
    labels: str
    weights: str
    step: int
    panels: tuple[FilterPanel, ...]


@dataclass(frozen=True)
class Figure5:
    """All images and numbers of the figure.

    Attributes:
        chosen: the images.
        asked: requested images of each domain.
        columns: left and right.
        settings: `section.field` -> (left, right), of the runs' settings that differ.
        perplexity: of t-SNE.
        versions: of the packages that made it.
        warning: its first line where its numbers mean nothing.
    """

    chosen: ChosenImages
    asked: int
    columns: tuple[FilterColumn, FilterColumn]
    settings: dict[str, tuple[Any, Any]]
    perplexity: float
    versions: dict[str, str]
    warning: str = ""

    @property
    def chance(self) -> float:
        """The accuracy of neighbours chosen at random."""
        return 1 / len(self.chosen.domains)

    def to_dict(self) -> dict[str, Any]:
        """Return the figure as plain dicts, lists and numbers, for JSON."""
        return {
            "warning": self.warning,
            "figure": "Fig. 5",
            "tensor": "channel filters, after FilterNorm where filter_norm is true, all channels in one vector",
            "images": {name: [_name(record) for record in of] for name, of in self.chosen.images.items()},
            "split": self.chosen.split,
            "per_domain": self.chosen.per_domain,
            "per_domain_asked": self.asked,
            "seed": self.chosen.seed,
            "metric": "euclidean",
            "neighbours": NEIGHBOURS,
            "chance": self.chance,
            "tsne": {"perplexity": self.perplexity, **TSNE, "n_jobs": 1},
            "columns": [_plain(column) for column in self.columns],
            "settings_that_differ": self.settings,
            "versions": self.versions,
        }


def figure5(
    run_s: str | Path | None,
    run_sdc: str | Path,
    *,
    per_domain: int = 200,
    split: Split = "test",
    seed: int = 0,
    device: str = "auto",
    sources: Sequence[str] = (),
    cache: str = "",
    warning: str = "",
    skip_unreadable: bool = False,
    on_batch: OnBatch | None = None,
) -> Figure5:
    """Make the figure of two runs (checkpoint `last`) on the data sets of the second.

    Args:
        run_s: a run whose filters are generated from the sample alone; None uses `run_sdc` with the vectors Domain
            and Camera set to 0, which shows what they add to the same network.
        run_sdc: a run whose filters also depend on domain or camera, trained on the same domains.
        per_domain: images of each domain; where one has fewer, that many of each.
        split: which to take them from: test (query and gallery) or train.
        seed: of the choice of images and of t-SNE.
        device: where to compute the filters: auto, cpu, cuda or mps.
        sources: where the data of the runs lie now, if they were moved, as `--data` names them.
        cache: folder for decoded images; empty for that of each run.
        warning: a first line for readers, such as that the runs are too short to mean anything.
        skip_unreadable: leave out unreadable images, even if the run's settings do not.
        on_batch: called with (what, how many done, how many in all).

    Raises:
        JointreidError: not a run, a run without DCSD or of other factors or domains than expected, fewer than two
            domains or too few images of one, data that cannot be read, or openTSNE or matplotlib are missing.
    """
    for package in ("openTSNE", "matplotlib"):  # before the work, not after it
        library(package, MAKING)
    right = open_run(run_sdc)
    left = right if run_s is None else open_run(run_s)
    _check_runs(left, right, ablated=run_s is None)
    left, right = find_data(left, sources, cache), find_data(right, sources, cache)
    chosen = choose_images(_load_domains(right, split, skip_unreadable), per_domain, split, seed)
    perplexity = min(PERPLEXITY, (len(chosen.records) - 1) / 3)  # openTSNE looks at three times as many neighbours
    columns = []
    for run, ablated in ((left, run_s is None), (right, False)):
        heading = _heading(run.config, ablated)
        filters = collect_filters(
            run,
            chosen.records,
            ablate_context=ablated,
            device=device,
            on_batch=on_batch and partial(on_batch, heading),
        )
        panels = []
        for done, block in enumerate(filters, start=1):
            panels.append(_panel(block, chosen, perplexity))
            if on_batch is not None:
                on_batch(f"{heading}: t-SNE", done, len(filters))
        columns.append(_column(run, heading, ablated, panels))
    return Figure5(
        chosen=chosen,
        asked=per_domain,
        columns=(columns[0], columns[1]),
        settings={k: v for k, v in config_difference(left.config, right.config).items() if k not in NAMES},
        perplexity=perplexity,
        versions={"python": platform.python_version()} | {package: version(package) for package in PACKAGES},
        warning=warning,
    )


def _check_runs(left: Run, right: Run, *, ablated: bool) -> None:
    for run in (left, right):
        require_dcsd(run)
    for run, alone in ((right, False),) if ablated else ((left, True), (right, False)):
        factors = run.config.dcsd.factors
        if (len(factors) == 1) != alone:
            expected = "the sample alone" if alone else "the sample and its domain or camera"
            raise JointreidError(
                f"{run.path}: its filters are generated from {', '.join(factors)}; expected {expected}. "
                "Give the run with the sample alone first"
            )
    names = [sorted(domain.name for domain in run.label_space.domains) for run in (left, right)]
    if names[0] != names[1]:
        raise JointreidError(
            f"{left.path} was trained on {', '.join(names[0])} and {right.path} on {', '.join(names[1])}; "
            "expected two runs on the same domains"
        )


def _load_domains(run: Run, split: Split, skip_unreadable: bool) -> tuple[Domain, ...]:
    """Return a split of a run's domains, checked, as it was trained on them: without held-out identities."""
    config = run.config
    domains = load_domains(config.data)
    if config.data.val_ids:
        domains = tuple(hold_out(domain, config.data.val_ids, config.train.seed)[0] for domain in domains)
    data = replace(config.data, skip_unreadable=skip_unreadable or config.data.skip_unreadable)
    unused: dict[str, Any] = {"query": (), "gallery": ()} if split == "train" else {"train": ()}
    shown = tuple(replace(domain, **unused) for domain in domains)
    result, checked = require_ready(shown, data, config.train.workers, "show")
    print_warnings(result)
    return checked


def _heading(config: RunConfig, ablated: bool) -> str:
    factors = [factor for factor in ("sample", "domain", "camera") if factor in config.dcsd.factors]
    initials = [factor[0].upper() for factor in factors]
    if ablated:
        return f"{'+'.join(initials)} with {' and '.join(initials[1:])} set to 0"
    return f"{'+'.join(initials)}: {', '.join(factors)}" if len(factors) > 1 else "S: sample alone"


def _panel(block: BlockFilters, chosen: ChosenImages, perplexity: float) -> FilterPanel:
    separation = compute_separation(block.values, chosen.domain_ids)
    points = _embed(block.values, perplexity, chosen.seed)
    return FilterPanel(block.number, block.block, block.values.shape[1], separation, points)


def _embed(values: NDArray[np.float32], perplexity: float, seed: int) -> NDArray[np.float64]:
    """Place filters [N, dimensions] in the plane, [N, 2], by t-SNE, on one thread so that they come out the same."""
    if not np.ptp(values, axis=0).any():  # one filter for all images, as where no ReLU of the generator is active
        return np.zeros((len(values), 2))
    tsne = library("openTSNE", MAKING).TSNE(perplexity=perplexity, random_state=seed, n_jobs=1, **TSNE)
    with library("threadpoolctl", MAKING).threadpool_limits(1):  # the principal components that t-SNE starts from
        return np.array(tsne.fit(values.astype(np.float64)))


def _column(run: Run, heading: str, ablated: bool, panels: Sequence[FilterPanel]) -> FilterColumn:
    weights = file_sha256(run.checkpoint() / "model.safetensors")
    return FilterColumn(
        heading=heading,
        run=str(run.path),
        factors=run.config.dcsd.factors,
        context_to=run.config.dcsd.context_to,
        ablate_context=ablated,
        filter_norm=run.config.dcsd.generated_start == "gain",
        config=config_hash(run.config),
        labels=run.label_space.hash,
        weights=weights,
        step=int(run.state()["step"]),
        panels=tuple(panels),
    )


def _plain(column: FilterColumn) -> dict[str, Any]:
    plain = {**vars(column), "factors": list(column.factors)}
    del plain["panels"]
    return plain | {
        "cells": [
            {**vars(panel), "separation": panel.separation._asdict(), "points": np.round(panel.points, 4).tolist()}
            for panel in column.panels
        ]
    }


def _name(record: ImageRecord) -> str:
    return str(record.path) if record.box is None else f"{record.path} {record.box}"
