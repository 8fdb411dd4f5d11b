"""Check data before the first step, for faults that would stop a run or make its results mean less."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from jointreid.config import RunConfig
from jointreid.data.batch_shares import check_batches
from jointreid.data.copies import (
    find_mislabelled_copies,
    find_seen_identities,
    find_seen_images,
    find_test_copies,
    find_twin_tests,
)
from jointreid.data.decode import Scan, box_outside, scan_images
from jointreid.data.findings import (
    CheckResult,
    DomainSummary,
    Finding,
    Level,
    Problem,
    Purpose,
    Unreadable,
    summarise_splits,
)
from jointreid.data.matches import (
    find_easy_tests,
    find_repeated_queries,
    find_skipped_queries,
    find_sure_tests,
    find_unmatched_queries,
)
from jointreid.data.overlaps import (
    find_leaks,
    find_mangled_names,
    find_repeats,
    find_shared_images,
    find_twin_domains,
    find_twin_pids,
)
from jointreid.data.protocols import WITHDRAWN, ProtocolMatch, count_split, identify
from jointreid.data.records import SPLITS, Domain, ImageRecord
from jointreid.data.remembered import content_hashes
from jointreid.data.trained import Contents, TrainedImages
from jointreid.machine.collection import collection
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few


@collection(on=False)
def check(
    domains: Sequence[Domain],
    *,
    cache_dir: Path | None,
    skip_unreadable: bool = False,
    threads: int = 2,
    purpose: Purpose = "both",
    trained: TrainedImages | None = None,
    trained_pids: Mapping[str, Collection[str]] | None = None,
    training: RunConfig | None = None,
) -> tuple[CheckResult, tuple[Domain, ...]]:
    """Look for all that would stop training or evaluation, before either begins.

    Every image is decoded once; with `cache_dir` a second check takes milliseconds.

    Args:
        domains: the data sets to check.
        cache_dir: folder that remembers which images decode; None remembers nothing.
        skip_unreadable: leave out images that do not decode and list them; else they are errors.
        threads: images decoded at a time.
        purpose: use of the data. Training needs a train split in every domain; evaluation alone a query and a
            gallery in every domain; both, a train split in every domain and a query and a gallery in one or more;
            showing images, nothing.
        trained: the images that the run to be evaluated was trained on.
        trained_pids: domain -> the identities that it was trained on.
        training: the settings of the training that the data are for; batches are checked with them.

    Returns:
        The result, and the domains: as given, or with `skip_unreadable` without the images that do not decode.

    Raises:
        JointreidError: no domains, a cache that cannot be written, or an image that was readable and is no longer.
    """
    if not domains:
        raise JointreidError("there are no domains to check")
    scan = scan_images((record.path for domain in domains for record in domain), cache_dir, threads)
    protocols = {domain.name: identify(domain) for domain in domains}
    problems: list[Problem] = []
    unreadable: list[Unreadable] = []
    checked = []
    for domain in domains:
        causes = _find_unreadable(domain, scan)
        unreadable += [Unreadable(domain.name, path, cause) for (path, _), cause in causes.items()]
        problems += _report_unreadable(domain, causes, skip_unreadable)
        checked.append(_without(domain, causes) if causes and skip_unreadable else domain)
    contents = Contents(content_hashes(scan.sizes, cache_dir, threads, scan.stamps), scan.looks)
    problems += [*_find_empty_splits(checked, purpose), *find_twin_domains(checked), *find_shared_images(checked)]
    problems += _find_copies(checked, contents, trained)
    for domain in checked:
        problems += find_seen_identities(domain, trained_pids or {})
        problems += [Problem(found[0], domain.name, *found[1:]) for find in _CHECKS[purpose] for found in find(domain)]
        problems += _report_other_protocol(domain.name, protocols[domain.name])
    composition = None
    if training is not None:
        batch_problems, composition = check_batches(checked, training)
        problems += batch_problems
    result = CheckResult(
        purpose,
        domains={domain.name: _summarise(domain, protocols[domain.name]) for domain in checked},
        problems=tuple(sorted(problems, key=lambda problem: problem.level)),
        unreadable=tuple(unreadable),
        decoded=len(scan.sizes) - scan.from_cache,
        from_cache=scan.from_cache,
        composition=composition,
    )
    return result, tuple(checked)


def _find_copies(domains: Sequence[Domain], contents: Contents, trained: TrainedImages | None) -> Iterator[Problem]:
    train = [(domain.name, record) for domain in domains for record in domain.train]
    here, known = TrainedImages.of(train, contents), {record.key for _, record in train}
    yield from find_mislabelled_copies(domains, contents)
    yield from find_twin_tests(domains, contents)
    for domain in domains:
        yield from find_seen_images(domain, here, contents, known=known)
        yield from find_test_copies(domain, contents)
        if trained is not None:
            yield from find_seen_images(domain, trained, contents, of_run=True)


def _summarise(domain: Domain, protocol: ProtocolMatch | None) -> DomainSummary:
    return DomainSummary(
        domain.source,
        domain.variant,
        len(domain.cameras),
        domain.exclude_same_camera,
        protocol,
        summarise_splits(domain),
        images=sum(1 for _ in domain),
        left_out=domain.omissions,
    )


def _report_other_protocol(name: str, protocol: ProtocolMatch | None) -> Iterator[Problem]:
    if protocol and not protocol.comparable:
        yield Problem("warning", name, f"{name}: {protocol.words}; figures are not comparable with the paper's")


# Unreadable images


def _find_unreadable(domain: Domain, scan: Scan) -> dict[tuple[str, tuple[int, ...]], str]:
    """Return the key of each image that cannot be read, and why."""
    return {record.key: cause for record in domain if (cause := _why_unreadable(record, scan))}


def _why_unreadable(record: ImageRecord, scan: Scan) -> str:
    if record.path in scan.unreadable:
        return scan.unreadable[record.path]
    return box_outside(record.box, *scan.sizes[record.path]) if record.box else ""


def _report_unreadable(
    domain: Domain, causes: Mapping[tuple[str, tuple[int, ...]], str], skip: bool
) -> Iterator[Problem]:
    if causes:
        files = first_few([f"{path}: {cause}" for (path, _), cause in sorted(causes.items())], sep="; ")
        fix = "skipped" if skip else "restore them, or leave them out with --skip-unreadable"
        level: Level = "warning" if skip else "error"
        what = f"{len(causes)} images cannot be read"
        mark = "unreadable images were left out" if skip and _is_tested(domain, causes) else ""
        yield Problem(level, domain.name, f"{domain.name}: {what} ({files}); {fix}", mark)


def _is_tested(domain: Domain, causes: Mapping[tuple[str, tuple[int, ...]], str]) -> bool:
    return any(record.key in causes for record in (*domain.query, *domain.gallery))


def _without(domain: Domain, causes: Mapping[tuple[str, tuple[int, ...]], str]) -> Domain:
    def keep(records: Sequence[ImageRecord]) -> tuple[ImageRecord, ...]:
        return tuple(record for record in records if record.key not in causes)

    return replace(domain, train=keep(domain.train), query=keep(domain.query), gallery=keep(domain.gallery))


# Splits


def _find_empty_splits(domains: Iterable[Domain], purpose: Purpose) -> Iterator[Problem]:
    testable = 0
    for domain in domains if purpose != "show" else ():
        empty = [split for split in SPLITS if not count_split(getattr(domain, split)).images]
        testable += "query" not in empty and "gallery" not in empty
        where = f"{domain.name} ({domain.source})" if domain.source else domain.name
        if purpose != "evaluate" and "train" in empty:
            yield Problem("error", domain.name, f"{where}: no images in train; add some or leave the domain out")
        lacking = [split for split in ("query", "gallery") if split in empty]
        if purpose == "train" or not lacking:
            continue
        if purpose == "both" and len(lacking) == 2:
            yield Problem("warning", domain.name, f"{where}: no query and gallery; trained on, but not evaluated")
        else:
            yield Problem("error", domain.name, f"{where}: no images in {' and '.join(lacking)}; evaluation needs both")
    if purpose == "both" and not testable:
        yield Problem("error", "", "no domain has a query and a gallery; evaluation needs one")


# Checks of one domain


def _find_thin_identities(domain: Domain) -> Iterator[Finding]:
    counts = Counter(record.pid for record in domain.train)
    if len(counts) == 1:
        yield (
            "warning",
            f"{domain.name}: train holds one identity, {next(iter(counts))}: within the domain nothing can be told "
            "apart; add identities",
        )
    if single := sorted(pid for pid, count in counts.items() if count == 1):
        yield (
            "warning",
            f"{domain.name}: {len(single)} of {len(counts)} train identities have one image ({first_few(single)}); "
            "batches are filled by repeating it",
        )


def _find_thin_cameras(domain: Domain) -> Iterator[Finding]:
    pids: dict[int, set[str]] = defaultdict(set)
    for record in domain.train:
        pids[record.camid].add(record.pid)
    thin = sorted(camid for camid, seen in pids.items() if len(seen) == 1)
    if thin and len(domain.train_pids) > 1:
        yield (
            "warning",
            f"{domain.name}: {len(thin)} of {len(pids)} cameras in train hold one identity "
            f"({first_few([f'camid {camid}' for camid in thin])}); such a camera tells who it shows: check the camids",
        )


def _find_omissions(domain: Domain) -> Iterator[Finding]:
    """Files that a reader left out although the data set has no rule for it: somebody may miss them."""
    for omission in domain.omissions:
        if not omission.by_rule:
            yield (
                "warning",
                f"{domain.name}: left out: {omission}; to use them, rename or move them, or describe the folder in a "
                "manifest",
            )


def _find_withdrawn(domain: Domain) -> Iterator[Finding]:
    if domain.name in WITHDRAWN:
        yield "warning", f"{domain.name}: {domain.terms}"


_ALWAYS = (find_leaks, find_repeats, find_twin_pids, find_mangled_names, _find_withdrawn, _find_omissions)
_TRAINING = (_find_thin_identities, _find_thin_cameras)
_CHECKS: Mapping[Purpose, tuple[Callable[[Domain], Iterator[Finding]], ...]] = {
    "train": (*_TRAINING, *_ALWAYS),
    "evaluate": (find_skipped_queries, find_repeated_queries, find_sure_tests, *_ALWAYS),
    "both": (find_unmatched_queries, find_repeated_queries, find_easy_tests, *_TRAINING, *_ALWAYS),
    "show": _ALWAYS,
}
