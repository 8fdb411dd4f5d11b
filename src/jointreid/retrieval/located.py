"""The data sets that a run is evaluated on, its own and others, wherever they lie now; other images are refused."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from jointreid.config import DataConfig, RunConfig
from jointreid.data.manifest import read_manifest
from jointreid.data.moved import is_of_run, resolve_paths
from jointreid.data.protocols import canonical_order
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.remembered import content_hashes
from jointreid.data.run_images import RunImage, load_images, require_same_images, run_images
from jointreid.data.sources import load_by_source, load_domains, split_source
from jointreid.machine.paths import cache_folder
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few
from jointreid.retrieval.result_files import load_results
from jointreid.run import Run, find_data

_SPLITS: tuple[Literal["query", "gallery"], ...] = ("query", "gallery")
_ADVICE = "Results of a run are of the same images: give others another name, as in --data NEWNAME=PATH"


@dataclass(frozen=True)
class LocatedData:
    """Data sets to evaluate a run on, as read.

    Attributes:
        config: the run's settings, with the places of today.
        read: the domains.
        sources: domain -> what `--data` names to read it, of those that are not the run's own.
        names: domains that must have the test images that the run remembers.
        moved: whether data of the run are elsewhere than when it was begun.
    """

    config: RunConfig
    read: tuple[Domain, ...]
    sources: Mapping[str, str]
    names: tuple[str, ...]
    moved: bool


def locate_data(run: Run, data: DataConfig | None = None, cache: str = "") -> LocatedData:
    """Read the data sets to evaluate a run on.

    Args:
        run: the run.
        data: which ones, and how to read them; if it names none, all of the run that have a test split.
        cache: folder for decoded images; empty for that of the run.

    Raises:
        JointreidError: data that are not found or cannot be read.
    """
    names = [domain.name for domain in run.label_space.domains]
    given = data.sources if data else ()
    of_run = [source for source in given if _is_of_run(source, run.config, names)]
    others = tuple(source for source in given if source not in of_run)
    all_of_run = not given or (not others and set(of_run) == set(run.config.data.sources))
    config = run.config.replace(data={"cache": cache or run.config.data.cache})
    read: list[Domain] = []
    sources: dict[str, str] = {}
    if all_of_run:
        config = find_data(run, (), cache).config
        read += [domain for domain in load_domains(config.data) if domain.query and domain.gallery]
    elif of_run:
        by_source = load_by_source(_as_the_run(config.data, data or DataConfig(), of_run))
        loaded = [domain for domains in by_source.values() for domain in domains]
        read += [domain for domain in loaded if domain.query or domain.gallery] or loaded
        for source, domains in by_source.items():
            if (place := _absolute(source)) not in map(_absolute, run.config.data.sources):
                sources |= {domain.name: place for domain in domains if domain.name not in names}
        with suppress(JointreidError):  # the rest of its data is not needed
            config = find_data(run, of_run, cache).config
    if others and data:
        for source, domains in load_by_source(replace(data, sources=others)).items():
            read += domains
            sources |= {domain.name: _absolute(source) for domain in domains}
    if twice := [name for name, count in Counter(domain.name for domain in read).items() if count > 1]:
        raise JointreidError(f"domain {first_few(twice)} is given twice; leave one out, or rename it with NAME=TABLE")
    moved = bool(of_run) or config.data.sources != run.config.data.sources
    return LocatedData(config, canonical_order(read), sources, tuple(names), moved)


def locate_evaluated(run: Run, evaluated: Mapping[str, str], given: Sequence[str] = ()) -> LocatedData:
    """Read the domains that a run was evaluated on, as far as they are found.

    Args:
        run: the run.
        evaluated: domain -> what `--data` names to read it; empty for one of the run's own.
        given: where some of them lie now, as `--data` names them.

    Raises:
        JointreidError: the run's own data are not found or cannot be read.
    """
    names = [domain.name for domain in run.label_space.domains]
    of_run = [source for source in given if _is_of_run(source, run.config, names)]
    config = find_data(run, of_run).config
    read = [domain for domain in load_domains(config.data) if domain.query and domain.gallery]
    wanted = evaluated.keys() - {domain.name for domain in read}
    elsewhere = [source for source in given if source not in of_run]
    renewed = {name for source in elsewhere if (name := split_source(source)[0])}
    before = [
        source for name in sorted(wanted) if (source := evaluated[name]) and split_source(source)[0] not in renewed
    ]
    for source in dict.fromkeys((*elsewhere, *before)):
        needed = source in elsewhere or source in {evaluated[name] for name in wanted}
        if needed and split_source(source)[1].exists():
            there = load_domains(replace(config.data, sources=(source,)))
            read += [domain for domain in there if domain.name in wanted]
            wanted -= {domain.name for domain in there}
    kept = canonical_order(domain for domain in read if domain.name in evaluated)
    return LocatedData(config, kept, {}, tuple(evaluated), config.data.sources != run.config.data.sources)


def test_images(domains: Sequence[Domain], config: RunConfig) -> tuple[RunImage, ...]:
    """Return the test images of domains by content."""
    paths = {record.path for domain in domains for split in _SPLITS for record in getattr(domain, split)}
    contents = content_hashes(paths, cache_folder(config.data.cache), config.train.workers)
    found = ((domain.name, split, getattr(domain, split)) for domain in domains for split in _SPLITS)
    return tuple(image for name, split, records in found for image in run_images(name, split, records, contents))


def require_test_images(
    run: Path, domains: Sequence[Domain], images: Sequence[RunImage], names: Sequence[str], *, moved: bool
) -> None:
    """Refuse other test images than the run remembers under some names.

    Runs of earlier versions remember no images: of theirs, the queries of the last evaluation are compared by name,
    identity and camera where the data were moved.
    """
    here = {domain.name for domain in domains} & set(names)
    known = [image for image in load_images(run) if image.domain in here and image.split in _SPLITS]
    splits = {(image.domain, image.split) for image in known}
    now = [image for image in images if (image.domain, image.split) in splits]
    require_same_images(known, now, run, _ADVICE)
    for domain in domains if moved else ():
        if domain.name in names and (domain.name, "query") not in splits:
            _require_same_queries(run, domain)


def _require_same_queries(run: Path, domain: Domain) -> None:
    try:
        _, queries = load_results(run)
    except JointreidError:
        return
    before = Counter((PurePosixPath(q.path).name, q.pid, q.camid) for q in queries if q.domain == domain.name)
    now = Counter(_names(domain.query))
    if before and before != now:
        changed = sorted(name for name, _, _ in {*(before - now), *(now - before)})
        raise JointreidError(
            f"{run}: the queries of {domain.name} have other names, identities or cameras than those it was evaluated "
            f"on ({first_few(changed)}). {_ADVICE}"
        )


def _names(records: Sequence[ImageRecord]) -> Iterator[tuple[str, str, int]]:
    for record in records:
        if not record.junk:
            yield record.path.name + (f" {record.box}" if record.box else ""), record.pid, record.camid


def _is_of_run(source: str, config: RunConfig, names: Sequence[str]) -> bool:
    """Return whether a source stands for data of a run; a table that is only called alike has none of its domains."""
    if not is_of_run(source, config, names):
        return False
    name, path = split_source(source)
    if name or not path.is_file() or _absolute(source) in map(_absolute, config.data.sources):
        return True
    return not read_manifest(path, "one_camera").keys().isdisjoint(names)


def _absolute(source: str) -> str:
    (absolute,) = resolve_paths(RunConfig().replace(data={"sources": (source,)})).data.sources
    return absolute


def _as_the_run(of_run: DataConfig, given: DataConfig, sources: Sequence[str]) -> DataConfig:
    """Return how a run reads its data, with what was given otherwise than by default."""
    values = {field.name: getattr(given, field.name) for field in fields(DataConfig)}
    changed = {name: value for name, value in values.items() if value != getattr(DataConfig(), name)}
    return replace(of_run, **(changed | {"sources": tuple(sources)}))
