"""The data sets that a run is evaluated on, after the gate: checked, also against the images it was trained on."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from jointreid.config import DataConfig, RunConfig
from jointreid.data.decode import scan_images
from jointreid.data.findings import CheckResult
from jointreid.data.gate import require_ready
from jointreid.data.holdout import hold_out
from jointreid.data.protocols import ProtocolMatch, identify
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.remembered import content_hashes
from jointreid.data.run_images import load_images
from jointreid.data.sources import load_domains
from jointreid.data.trained import Contents, TrainedImages
from jointreid.machine.paths import cache_folder
from jointreid.messages.errors import JointreidError
from jointreid.run import Run


@dataclass(frozen=True)
class EvaluationData:
    """Data sets to evaluate a run on.

    Attributes:
        domains: checked, without train images and without skipped ones.
        protocols: domain -> its evaluation protocol, found before images were skipped.
        marks: domain -> the remarks that its results carry.
    """

    domains: tuple[Domain, ...]
    protocols: Mapping[str, ProtocolMatch | None]
    marks: Mapping[str, tuple[str, ...]]


def load_evaluation_data(run: Run, data: DataConfig | None = None, *, skip_unreadable: bool = False) -> EvaluationData:
    """Read and check the data sets to evaluate a run on; warnings are printed on stderr.

    Args:
        run: the run.
        data: the data sets, and how to read them; None takes those of the run that have a test split.
        skip_unreadable: leave out unreadable images, even if the run's settings do not.

    Raises:
        JointreidError: the data cannot be read, or the check found errors.
    """
    read = load_domains(run.config.data if data is None else data)
    domains = [replace(domain, train=()) for domain in read if data is not None or (domain.query and domain.gallery)]
    if not domains:
        raise JointreidError("no data set has a query and a gallery; evaluation needs one")
    skip = skip_unreadable or run.config.data.skip_unreadable
    trained = trained_images(run)
    if trained is None:
        print(
            f"warning: {run.path} does not remember its train images, and its data sets are not where they were: "
            "whether they are among the images to evaluate on could not be checked",
            file=sys.stderr,
        )
    result, checked = require_ready(
        domains,
        replace(run.config.data, skip_unreadable=skip),
        run.config.train.workers,
        "evaluate",
        trained=trained,
        trained_pids={domain.name: domain.pids for domain in run.label_space.domains},
    )
    print_warnings(result)
    return EvaluationData(checked, {domain.name: identify(domain) for domain in read}, result.marks)


def print_warnings(result: CheckResult) -> None:
    """Print what a check found, and the images that are skipped, on stderr."""
    for problem in result.problems:
        print(f"{problem.level}: {problem.message}", file=sys.stderr)
    for image in result.unreadable:
        print(f"{image.domain}: skipped {image.path}: {image.cause}", file=sys.stderr)


def trained_images(run: Run) -> TrainedImages | None:
    """Return the images that a run was trained on: as it remembers them, else as its data sets hold them now.

    Returns:
        The images; None if the run remembers none and its data sets cannot be read.

    Raises:
        JointreidError: what the run remembers is damaged.
    """
    remembered = TrainedImages.of_run(load_images(run.path))
    if remembered is not None:
        return remembered
    try:
        domains = _trained_domains(run.config)
        return _look_up([(domain.name, record) for domain in domains for record in domain.train], run.config)
    except JointreidError:
        return None


def _look_up(records: Sequence[tuple[str, ImageRecord]], config: RunConfig) -> TrainedImages:
    """Return train images told by content, from records that are each given with their domain.

    Raises:
        JointreidError: the cache cannot be written, or an image was readable and is no longer.
    """
    cache, threads = cache_folder(config.data.cache), config.train.workers
    scan = scan_images((record.path for _, record in records), cache, threads)
    return TrainedImages.of(records, Contents(content_hashes(scan.sizes, cache, threads), scan.looks))


def _trained_domains(config: RunConfig) -> tuple[Domain, ...]:
    domains = load_domains(config.data)
    if config.data.val_ids:
        return tuple(hold_out(domain, config.data.val_ids, config.train.seed)[0] for domain in domains)
    return domains
