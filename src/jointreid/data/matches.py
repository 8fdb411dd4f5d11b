"""Checks of query and gallery: each query has a match, does not find itself, and could be answered wrongly."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from jointreid.data.findings import Finding, Level, list_images
from jointreid.data.protocols import count_split
from jointreid.data.records import Domain, ImageRecord

# A Rank-1 that guessing must not exceed for a figure to say much.
_EASY = 0.5


def find_repeated_queries(domain: Domain) -> Iterator[Finding]:
    """Queries that are in the gallery too, under the same name."""
    if domain.leave_one_out:  # where it is the rule, and the image itself is left out
        return
    gallery = {record.key: record for record in domain.gallery if not record.junk}
    ignored: list[ImageRecord] = []
    counted: list[ImageRecord] = []
    for query in domain.query:
        twin = gallery.get(query.key)
        if twin is not None and not query.junk:
            same = (twin.pid, twin.camid) == (query.pid, query.camid)
            (ignored if domain.exclude_same_camera and same else counted).append(query)
    if counted:
        yield (
            "error",
            f"{domain.name}: {len(counted)} query images are in the gallery too ({list_images(counted)}), where the "
            "camera rule does not ignore them: each finds itself first; remove them from the gallery",
        )
    if ignored:
        yield (
            "warning",
            f"{domain.name}: {len(ignored)} query images are in the gallery too ({list_images(ignored)}); the camera "
            "rule ignores them there",
        )


def find_unmatched_queries(domain: Domain) -> Iterator[Finding]:
    """A query without a match is skipped by every metric; if all are, there is no figure at all."""
    absent, same_camera = _unmatched(domain)
    if domain.leave_one_out:
        yield from _find_singles(domain, [*absent, *same_camera])
        return
    queries = count_split(domain.query).images
    if absent and domain.gallery:
        yield (
            "error",
            f"{domain.name}: {len(absent)} of {queries} queries show an identity that the gallery does not hold "
            f"({list_images(absent)}); add gallery images of these identities, or take the queries out",
        )
    if same_camera:
        yield (
            "error",
            f"{domain.name}: {len(same_camera)} of {queries} queries have matches from their own camera only, which "
            f"the camera rule ignores ({list_images(same_camera)}); correct the camids, add images from other cameras, "
            'or, if such matches are meant to count, set "exclude_same_camera": false beside the manifest',
        )


def find_skipped_queries(domain: Domain) -> Iterator[Finding]:
    """The same for a model that is there: queries without a match are skipped, which is an error if all are."""
    findings = [*find_unmatched_queries(domain)]
    unmatched = sum(len(records) for records in _unmatched(domain))
    level: Level = "warning" if unmatched < count_split(domain.query).images else "error"
    yield from ((level, text) for _, text, *_ in findings)


def find_easy_tests(domain: Domain) -> Iterator[tuple[Level, str, str]]:
    """Test splits on which guessing does well, so that a high figure says little: too few wrong answers."""
    gallery = [record for record in domain.gallery if not record.junk]
    shown = Counter((record.pid, record.camid) for record in gallery if not record.distractor)
    by_pid: Counter[str] = Counter()
    for (pid, _), count in shown.items():
        by_pid[pid] += count
    chances = []
    for query in domain.query:
        ignored = shown[query.pid, query.camid] if domain.exclude_same_camera else int(domain.leave_one_out)
        if not (query.junk or query.distractor) and (matches := by_pid[query.pid] - ignored):
            chances.append(matches / (matches + len(gallery) - by_pid[query.pid]))
    if chances and min(chances) == 1:
        what = "every answer is right, so any model gets 100"
        yield (
            "warning",
            f"{domain.name}: the gallery shows one identity, {gallery[0].pid}: {what}; add gallery images of other "
            "identities",
            what,
        )
    elif chances and (chance := sum(chances) / len(chances)) > _EASY:
        what = f"guessing gets a Rank-1 of {chance:.0%}"
        yield (
            "warning",
            f"{domain.name}: {what}, because most of the gallery are matches; add gallery images of other identities",
            what,
        )


def find_sure_tests(domain: Domain) -> Iterator[Finding]:
    """The same for a model that is there: a test that cannot be failed is not run."""
    for _, text, mark in find_easy_tests(domain):
        yield ("error" if "any model gets 100" in mark else "warning"), text, mark


def _find_singles(domain: Domain, records: list[ImageRecord]) -> Iterator[Finding]:
    singles = [record for record in records if not record.distractor]
    images = [record for record in domain.gallery if not (record.junk or record.distractor)]
    if not singles:
        return
    level: Level = "warning" if len(singles) < len(images) else "error"
    other = "another image, of another camera," if domain.exclude_same_camera else "another image"
    yield (
        level,
        f"{domain.name}: {len(singles)} of {len(images)} test images show an identity without {other} in the test "
        f"split ({list_images(singles)}): in leave-one-out they are gallery images but no queries"
        f"{'; add images' * (level == 'error')}",
    )


def _unmatched(domain: Domain) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """Return the queries whose identity the gallery lacks, and those that only their own camera has seen in it."""
    seen_by: dict[str, set[int]] = defaultdict(set)
    alone: Counter[str] = Counter()
    for record in domain.gallery:
        if not (record.junk or record.distractor):
            seen_by[record.pid].add(record.camid)
            alone[record.pid] += domain.leave_one_out
    absent: list[ImageRecord] = []
    same_camera: list[ImageRecord] = []
    for query in domain.query:
        cameras = set() if query.distractor or alone[query.pid] == 1 else seen_by.get(query.pid, set())
        if query.junk or cameras - ({query.camid} if domain.exclude_same_camera else set()):
            continue
        (same_camera if cameras else absent).append(query)
    return absent, same_camera
