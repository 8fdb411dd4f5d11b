"""Checks for images in two places, and for names that differ only in how they are written."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from jointreid.data.findings import Finding, Problem, list_images
from jointreid.data.records import SPLITS, Domain, ImageRecord
from jointreid.machine.paths import is_unicode
from jointreid.messages.listing import first_few

_CAMERA = re.compile(r"(?:c|cam|camera)?[ _-]?0*([0-9]+)", re.IGNORECASE)
_NUMBER = re.compile(r"0*(\d+?)(?:\.0*)?")


def find_leaks(domain: Domain) -> Iterator[Finding]:
    """Images and identities that are in train and in query or gallery."""
    train = {record.key for record in domain.train}
    if both := [record for record in (*domain.query, *domain.gallery) if record.key in train]:
        yield (
            "error",
            f"{domain.name}: {len(both)} images are in train and in query or gallery ({list_images(both)}); "
            "remove them from one",
        )
    test_pids = {record.pid for record in (*domain.query, *domain.gallery) if not (record.junk or record.distractor)}
    if shared := sorted(test_pids & set(domain.train_pids)):
        yield (
            "warning",
            f"{domain.name}: {len(shared)} identities are in train and in query or gallery ({first_few(shared)}); "
            "the model has seen these people, so its figures do not tell how it does on new ones: split by identity",
            f"{len(shared)} identities are in train too",
        )


def find_repeats(domain: Domain) -> Iterator[Finding]:
    """Images that stand twice in one split."""
    for split in SPLITS:
        records: tuple[ImageRecord, ...] = getattr(domain, split)  # sorted, so equal ones are neighbours
        twice = [record for before, record in pairwise(records) if before.key == record.key]
        if twice:
            yield (
                "error",
                f"{domain.name}: {len(twice)} images are in {split} more than once ({list_images(twice)}); "
                "each counts once: remove the others",
            )


def find_twin_pids(domain: Domain) -> Iterator[Finding]:
    """Identities that are one number or one text, written in two ways: a spreadsheet makes 7 or 7.0 of some 007."""
    if twins := written_alike({record.pid for record in domain}, _plain_pid):
        yield (
            "warning",
            f"{domain.name}: {len(twins)} identities are written in several ways ({first_few(twins, sep='; ')}) and "
            "taken for different people; if two are the same person, write them alike",
        )


def find_mangled_names(domain: Domain) -> Iterator[Finding]:
    """Names that hold bytes which are no text: results could not be written."""
    if not is_unicode(domain.name):
        yield "error", f"{domain.name}: the domain's name is not valid Unicode; give another"
    if mangled := [record for record in domain if not is_unicode(record.path)]:
        names = first_few([ascii(str(record.path)) for record in mangled], sep="; ")
        yield (
            "error",
            f"{domain.name}: {len(mangled)} images have paths that are not valid Unicode ({names}); rename the files "
            "or folders",
        )


def find_shared_images(domains: Sequence[Domain]) -> Iterator[Problem]:
    """Images of one domain's train that another has too."""
    owner: dict[object, str] = {}
    trained: dict[tuple[str, str], list[ImageRecord]] = defaultdict(list)
    tested: dict[tuple[str, str], list[ImageRecord]] = defaultdict(list)
    for domain in domains:
        for record in domain.train:
            if (first := owner.setdefault(record.key, domain.name)) != domain.name:
                trained[first, domain.name].append(record)
    for domain in domains:
        for record in (*domain.query, *domain.gallery):
            if (first := owner.get(record.key, domain.name)) != domain.name:
                tested[first, domain.name].append(record)
    for (first, name), records in trained.items():
        yield Problem(
            "warning",
            name,
            f"{name}: {len(records)} images are in train of {first} too ({list_images(records)}): people of two "
            "domains are taken for different ones, so an image teaches two answers; remove them from one",
        )
    for (first, name), records in tested.items():
        yield Problem(
            "error",
            name,
            f"{name}: {len(records)} images of query or gallery are in train of {first} ({list_images(records)}); "
            "remove them from one",
        )


def find_twin_domains(domains: Sequence[Domain]) -> Iterator[Problem]:
    """Domains whose names differ in capitals only."""
    for names in written_alike({domain.name for domain in domains}, _plain_text):
        yield Problem("warning", "", f"the domains {names} are taken for different ones; if they are one, name it once")


def written_alike(names: Iterable[str], plain: Callable[[str], str]) -> list[str]:
    """Return the groups of names, `7 and 007`, that are the same once made plain."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        groups[plain(name)].append(name)
    return [" and ".join(group) for group in groups.values() if len(group) > 1]


def plain_camera(name: str) -> str:
    """Return the number of cameras called `1`, `c1`, `cam-01` or `Camera 1`, and other names without capitals."""
    number = _CAMERA.fullmatch(name)
    return number[1] if number else _plain_text(name)


def _plain_pid(pid: str) -> str:
    number = _NUMBER.fullmatch(pid)
    return number[1] if number else unicodedata.normalize("NFC", pid)


def _plain_text(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
