"""The data sets that a run is evaluated on, after the gate: checked, also against the images it was trained on."""

import sys
from collections import Counter, defaultdict
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
from jointreid.data.run_images import RunImage, load_images
from jointreid.data.sources import load_domains
from jointreid.data.trained import Contents, TrainedImages
from jointreid.machine.paths import cache_folder
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.located import (
    LocatedData,
    locate_data,
    locate_evaluated,
    require_test_images,
    test_images,
)
from jointreid.run import Run, find_data


@dataclass(frozen=True)
class EvaluationData:
    """Data sets to evaluate a run on.

    Attributes:
        config: the run's settings, with the places of today.
        domains: checked, without train images and without skipped ones.
        protocols: domain -> its evaluation protocol, found before images were skipped.
        marks: domain -> the remarks that its results carry.
        sources: domain -> what `--data` names to read it, of those that are not the run's own.
        images: the test images by content, for the run to remember.
    """

    config: RunConfig
    domains: tuple[Domain, ...]
    protocols: Mapping[str, ProtocolMatch | None]
    marks: Mapping[str, tuple[str, ...]]
    sources: Mapping[str, str]
    images: tuple[RunImage, ...]


def load_evaluation_data(
    run: Run, data: DataConfig | None = None, *, skip_unreadable: bool = False, cache: str = ""
) -> EvaluationData:
    """Read and check the data sets to evaluate a run on; warnings are printed on stderr.

    Args:
        run: the run.
        data: the data sets, and how to read them; if it names none, those of the run that have a test split.
        skip_unreadable: leave out unreadable images, even if the run's settings do not.
        cache: folder for decoded images; empty for that of the run.

    Raises:
        JointreidError: the data cannot be read, the check found errors, or a domain of the run has other test images.
    """
    return _checked(run, locate_data(run, data, cache), skip_unreadable)


def load_evaluated_data(
    run: Run, evaluated: Mapping[str, str], given: Sequence[str] = (), *, skip_unreadable: bool = False
) -> EvaluationData:
    """Read and check the data sets that a run was evaluated on, as far as they are found.

    Args:
        run: the run.
        evaluated: domain -> what `--data` names to read it; empty for one of the run's own.
        given: where some of them lie now, as `--data` names them.
        skip_unreadable: leave out unreadable images, even if the run's settings do not.

    Raises:
        JointreidError: see `load_evaluation_data`; none of the domains may have other test images.
    """
    located = locate_evaluated(run, evaluated, given)
    if not located.read:
        return EvaluationData(located.config, (), {}, {}, {}, ())
    return _checked(run, located, skip_unreadable)


def _checked(run: Run, located: LocatedData, skip_unreadable: bool) -> EvaluationData:
    domains = [replace(domain, train=()) for domain in located.read]
    if not domains:
        raise JointreidError("no data set has a query and a gallery; evaluation needs one")
    config = located.config
    skip = skip_unreadable or config.data.skip_unreadable
    trained = trained_images(replace(run, config=config))
    if trained is None:
        print(
            f"warning: {run.path} does not remember its train images, and its data sets are not where they were: "
            "whether they are among the images to evaluate on could not be checked",
            file=sys.stderr,
        )
    result, checked = require_ready(
        domains,
        replace(config.data, skip_unreadable=skip),
        config.train.workers,
        "evaluate",
        trained=trained,
        trained_pids={domain.name: domain.pids for domain in run.label_space.domains},
    )
    print_warnings(result)
    images = test_images(checked, config)
    require_test_images(run.path, checked, images, located.names, moved=located.moved)
    protocols = {domain.name: identify(domain) for domain in located.read}
    marks = {**result.marks}
    for name, mark in _known_tests(run, images).items():
        print(f"warning: {name}: {mark}: it is no new data set to the run", file=sys.stderr)
        marks[name] = (*marks.get(name, ()), mark)
    return EvaluationData(config, checked, protocols, marks, located.sources, images)


def _known_tests(run: Run, images: Sequence[RunImage]) -> dict[str, str]:
    """Return domain -> a remark, of domains whose test images are mostly those of one that the run was trained on."""
    trained = {domain.name for domain in run.label_space.domains}
    known = {
        (image.content, image.box): image.domain
        for image in load_images(run.path)
        if image.domain in trained and image.split in ("query", "gallery")
    }
    tests: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for image in images:
        if image.domain not in trained and not image.ignored:
            tests[image.domain].add((image.content, image.box))
    marks = {}
    for name, keys in tests.items():
        shared = Counter(known[key] for key in keys if key in known)
        for of, count in shared.most_common(1):
            if 2 * count > len(keys):
                marks[name] = f"{count} of {len(keys)} test images are those of {of}, which the run was trained on"
    return marks


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
        config = find_data(run).config
        domains = _trained_domains(config)
        return _look_up([(domain.name, record) for domain in domains for record in domain.train], config)
    except JointreidError:
        return None


def _look_up(records: Sequence[tuple[str, ImageRecord]], config: RunConfig) -> TrainedImages:
    """Return train images told by content, from records that are each given with their domain.

    Raises:
        JointreidError: the cache cannot be written, or an image was readable and is no longer.
    """
    cache, threads = cache_folder(config.data.cache), config.train.workers
    scan = scan_images((record.path for _, record in records), cache, threads)
    return TrainedImages.of(records, Contents(content_hashes(scan.sizes, cache, threads, scan.stamps), scan.looks))


def _trained_domains(config: RunConfig) -> tuple[Domain, ...]:
    domains = load_domains(config.data)
    if config.data.val_ids:
        return tuple(hold_out(domain, config.data.val_ids, config.train.seed)[0] for domain in domains)
    return domains
