"""Checks by content: images of query and gallery that training sees too, and copies inside a test split.

A copy has the bytes of another file, or its look: re-encoded, resized or mirrored (see `data.looks`).
"""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations

from jointreid.data.findings import Level, Problem
from jointreid.data.looks import find_copies_by_look, read_looks
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.trained import ContentKey, Contents, TrainedImage, TrainedImages
from jointreid.messages.listing import first_few

# Above these shares of the queries, or of the gallery, a figure means nothing: an error, below a warning.
_MOST, _NEARLY_ALL = 0.5, 0.9
# Different images may look alike by chance, simple drawings most of all: a single look-alike, or fewer than this share
# of the images, is not reported as a copy. Files of equal bytes always are.
_CHANCE = 0.005
_HOW = {True: "copies", False: "re-encoded, resized or mirrored copies"}


def find_mislabelled_copies(domains: Sequence[Domain], contents: Contents) -> Iterator[Problem]:
    """Train images that are byte for byte others of train with another identity, or of another domain."""
    trained: dict[ContentKey, tuple[str, ImageRecord]] = {}
    for domain in domains:
        copies = []
        for record in domain.train:
            if key := contents.key(record):
                name, first = trained.setdefault(key, (domain.name, record))
                if first.key != record.key and (name, first.pid) != (domain.name, record.pid):
                    copies.append(f"{record.path} of pid {record.pid} is {first.path} of pid {first.pid}")
        if copies:
            yield Problem(
                "warning",
                domain.name,
                f"{domain.name}: {len(copies)} train images are copies of others, with another identity "
                f"({first_few(copies, sep='; ')}): an image teaches two answers; remove the wrong one",
            )


def find_seen_images(
    domain: Domain, trained: TrainedImages, contents: Contents, *, known: Collection[object] = (), of_run: bool = False
) -> Iterator[Problem]:
    """Images of query and gallery that are copies of train images.

    Args:
        domain: the domain to evaluate on.
        trained: the train images.
        contents: of the domain's files.
        known: keys of records that are in train under the same name, which other checks report.
        of_run: whether the train images are those of a run that exists, rather than of one to come.
    """
    test = _test_images(domain)
    rest = [record for record in test if record.key not in known]
    by_content = {image.key: image for image in reversed(trained.images)}
    exact = {
        record.key: by_content[key]
        for record in rest
        if (key := contents.key(record)) is not None and key in by_content
    }
    near = _find_by_look([record for record in rest if record.key not in exact], trained, contents)
    if _is_chance(near, test):
        near = {}
    for found, is_exact in ((exact, True), (near, False)):
        if not found:
            continue
        level, counts = _judge(domain, found, _MOST)
        pids = {record.pid for record in test if record.key in found}
        examples = first_few(
            [f"{record.path} is {found[record.key]}" for record in test if record.key in found], sep="; "
        )
        whose = "train images of the run" if of_run else "train images"
        remedy = "evaluate on images that it was not trained on" if of_run else "remove them from one"
        what = f"{len(found)} images of query or gallery are {_HOW[is_exact]} of {whose}"
        yield Problem(
            level,
            domain.name,
            f"{domain.name}: {what} ({examples}); {counts}, {len(pids)} identities: the model has seen them; {remedy}",
            f"{what} ({counts})",
        )


def find_seen_identities(domain: Domain, trained_pids: Mapping[str, Collection[str]]) -> Iterator[Problem]:
    """Identities of query and gallery that a run was trained on, of a domain of the same name."""
    test = {record.pid for record in _test_images(domain) if not record.distractor}
    if shared := sorted(test & set(trained_pids.get(domain.name, ()))):
        what = f"{len(shared)} of {len(test)} identities have the names of identities that the run was trained on"
        yield Problem(
            "warning",
            domain.name,
            f"{domain.name}: {what} ({first_few(shared)}); if they are the same people, its figures do not tell how it "
            f"does on new ones; if not, give the data set another name, as in --data new=PATH",
            what,
        )


def find_test_copies(domain: Domain, contents: Contents) -> Iterator[Problem]:
    """Gallery images that are copies of a query: trivial matches, or one image with two identities."""
    query = [record for record in domain.query if not record.junk]
    gallery = [record for record in domain.gallery if not record.junk]
    exact = _pairs_by_content(query, gallery, contents)
    near = _pairs_by_look(query, gallery, contents)
    seen: set[tuple[object, object]] = set()
    for pairs, is_exact in ((exact, True), (near, False)):
        matches: dict[object, str] = {}
        wrong: dict[object, str] = {}
        for asked, answer in pairs:
            if asked.key == answer.key or (asked.key, answer.key) in seen or asked.distractor:
                continue
            seen.add((asked.key, answer.key))
            same_pid = asked.pid == answer.pid and not answer.distractor
            if same_pid and domain.exclude_same_camera and asked.camid == answer.camid:
                continue
            (matches if same_pid else wrong).setdefault(asked.key, f"{asked.path} is {answer.path}")
        if not is_exact and _is_chance(matches, query):
            matches = {}
        yield from _report_test_copies(domain, matches, wrong, is_exact)


def find_twin_tests(domains: Sequence[Domain], contents: Contents) -> Iterator[Problem]:
    """Domains whose test images are mostly those of another: they count twice in every mean."""
    tests = {domain.name: _test_images(domain) for domain in domains}
    keys = {name: {contents.key(record) for record in records} - {None} for name, records in tests.items()}
    for first, name in combinations(tests, 2):
        if len(keys[first]) < len(keys[name]):
            first, name = name, first
        shared = len(keys[first] & keys[name])
        if shared > _MOST * len(keys[name]):
            what = f"{shared} of {len(keys[name])} test images are those of {first}"
            yield Problem(
                "warning",
                name,
                f"{name}: {what}: the same images count twice in every mean; leave one of the two out",
                what,
            )


def _is_chance(look_alikes: Collection[object], images: Collection[object]) -> bool:
    """Return whether so few of the images look like another one that it may be by chance."""
    return len(look_alikes) < 2 or len(look_alikes) < _CHANCE * len(images)


def _test_images(domain: Domain) -> list[ImageRecord]:
    """Return the images of query and gallery without junk; one that is in both once."""
    return list({record.key: record for record in (*domain.query, *domain.gallery) if not record.junk}.values())


def _judge(domain: Domain, found: Collection[object], bar: float) -> tuple[Level, str]:
    """Return the level of a finding about test images, and how many queries and gallery images it is about."""
    level: Level = "warning"
    counts = []
    for what, split in (("queries", domain.query), ("gallery images", domain.gallery)):
        keys = [record.key for record in split if not record.junk]
        count = sum(key in found for key in keys)
        level = "error" if count > bar * len(keys) else level
        counts.append(f"{count:,} of {len(keys):,} {what}")
    return level, " and ".join(counts)


def _find_by_look(
    records: Sequence[ImageRecord], trained: TrainedImages, contents: Contents
) -> dict[object, TrainedImage]:
    ours = [record for record in records if contents.look(record)]
    others = [image for image in trained.images if image.look]
    rows, columns = find_copies_by_look(
        read_looks([contents.look(record) for record in ours]), read_looks([image.look for image in others])
    )
    return {ours[row].key: others[column] for row, column in zip(rows.tolist(), columns.tolist(), strict=True)}


def _pairs_by_content(
    query: Sequence[ImageRecord], gallery: Sequence[ImageRecord], contents: Contents
) -> Iterator[tuple[ImageRecord, ImageRecord]]:
    by_content: dict[ContentKey, list[ImageRecord]] = defaultdict(list)
    for record in gallery:
        if key := contents.key(record):
            by_content[key].append(record)
    for record in query:
        if key := contents.key(record):
            yield from ((record, answer) for answer in by_content.get(key, ()))


def _pairs_by_look(
    query: Sequence[ImageRecord], gallery: Sequence[ImageRecord], contents: Contents
) -> Iterator[tuple[ImageRecord, ImageRecord]]:
    ours, others = ([record for record in part if contents.look(record)] for part in (query, gallery))
    rows, columns = find_copies_by_look(*(read_looks([contents.look(r) for r in part]) for part in (ours, others)))
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        yield ours[row], others[column]


def _report_test_copies(
    domain: Domain, matches: Mapping[object, str], wrong: Mapping[object, str], is_exact: bool
) -> Iterator[Problem]:
    queries = sum(not record.junk for record in domain.query)
    if matches:
        bar = _MOST if is_exact else _NEARLY_ALL
        what = f"{len(matches)} of {queries} queries have {_HOW[is_exact]} of themselves among their matches"
        yield Problem(
            "error" if len(matches) > bar * queries else "warning",
            domain.name,
            f"{domain.name}: {what} ({first_few(matches.values(), sep='; ')}): any model finds these; take the copies "
            "out of the gallery",
            what,
        )
    if wrong:
        what = f"{len(wrong)} of {queries} queries have {_HOW[is_exact]} of themselves under another identity"
        yield Problem(
            "warning",
            domain.name,
            f"{domain.name}: {what} ({first_few(wrong.values(), sep='; ')}): no model can tell them apart; correct the "
            "identities",
            what,
        )
