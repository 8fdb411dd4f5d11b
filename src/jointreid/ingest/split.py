"""Division of a folder's images into train, query and gallery.

A random choice orders names by the hash of the seed and the name. It depends on neither the order of the files nor the
place of the folder, and a new identity changes the split of at most one other.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from jointreid.data.records import ImageRecord
from jointreid.ingest.images import Omissions, PersonImage
from jointreid.machine.hashing import text_sha256
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

# Of a track: the query, one image in between that is left out, and one match.
_LEAST_OF_TRACK = 3
# Identities that a split leaves in train: with one, nothing could be told apart.
_LEFT_IN_TRAIN = 2
# Identities tested on where there are enough: a gallery of one identity answers every query rightly.
_LEAST_TESTED = 2


class MatchRule(NamedTuple):
    """The rule that decides which gallery images match a query.

    Attributes:
        exclude_same_camera: whether matches from the query's own camera are ignored.
        tracks: whether the images of an identity are frames of one track.
    """

    exclude_same_camera: bool
    tracks: bool = False


class IngestSplits(NamedTuple):
    """The images of each split, and remarks for the user on how they were chosen."""

    train: Sequence[ImageRecord]
    query: Sequence[ImageRecord]
    gallery: Sequence[ImageRecord]
    notes: Sequence[str] = ()


def draw_splits(
    images: Iterable[PersonImage], rule: MatchRule, test_share: float, seed: int, omissions: Omissions
) -> IngestSplits:
    """Divide identities at random into train and test, and the test images into query and gallery.

    Only identities that keep a match can be tested on; the others go to train. Distractors go to the gallery.

    Args:
        images: the images; their `split` is ignored.
        rule: which gallery images match a query.
        test_share: share of the identities to test on, 0 to 1; between these, two or more are trained on, and two
            or more tested on unless there are three in all.
        seed: of the random choices.
        omissions: counts what is left out.

    Raises:
        JointreidError: test identities are wanted but no identity can be a query, or there are fewer than three.
    """
    people, distractors = _by_pid(images)
    fit = [pid for pid in people if _can_be_query(people[pid], rule)]
    asked = wanted = int(test_share * len(people) + 0.5)
    if 0 < test_share < 1:
        _require_two(people)
        wanted = min(max(wanted, _LEAST_TESTED), max(1, len(people) - _LEFT_IN_TRAIN))
    if wanted and not fit:
        raise JointreidError(_no_query(people, rule))
    if 0 < test_share < 1 and len(people) - wanted < _LEFT_IN_TRAIN:
        raise JointreidError(
            f"a split into train and test needs three identities, two of them to train on; there are {len(people)}: "
            f"{', '.join(people)}. Add images of other people, or pass --test-share 0 to train on all of them"
        )
    tested = sorted(fit, key=lambda pid: _draw(seed, pid))[:wanted]
    notes = []
    if len(fit) < len(people):
        notes.append(f"{len(people) - len(fit)} of {len(people)} identities {_why_unfit(rule)}: they go to train")
    if wanted < asked:
        notes.append(f"{wanted} identities to test on instead of {asked}: two are left to train on")
    if len(tested) < wanted:
        notes.append(f"{len(tested)} identities to test on instead of {wanted}: no other keeps a match")
    if len(tested) == 1 and not distractors:
        notes.append(
            f"the gallery shows one identity, {tested[0]}: any model gets 100, and `jointreid evaluate` refuses it; "
            "add images of other people, or pass --test-share 0 to train on all of them"
        )
    query, gallery = _draw_queries({pid: people[pid] for pid in sorted(tested)}, rule, seed, omissions)
    if tested:
        gallery += [image.record for image in distractors]
    else:
        omissions.add("distractors, because there is no gallery", count=len(distractors))
    train = [image.record for pid in sorted(people.keys() - set(tested)) for image in people[pid]]
    return IngestSplits(train, query, gallery, notes)


def _require_two(people: Collection[str]) -> None:
    if len(people) < 2:
        raise JointreidError(
            f"a split into train and test needs three identities; there is {', '.join(people) or 'none'}. Expected a "
            "folder or track for each person; if this one contains the folders of people, give it instead"
        )


def keep_splits(images: Iterable[PersonImage], rule: MatchRule, seed: int, omissions: Omissions) -> IngestSplits:
    """Keep the splits of the folder; draw queries from the images of "test", and leave out queries without a match.

    Raises:
        JointreidError: there are test images, but no query has a match.
    """
    parts: dict[str, list[PersonImage]] = defaultdict(list)
    for image in images:
        parts[image.split].append(image)
    people, distractors = _by_pid(parts["test"])
    query, gallery = _draw_queries(people, rule, seed, omissions)
    if people and not query:
        raise JointreidError(_no_query(people, rule))
    gallery += [image.record for image in (*distractors, *parts["gallery"])]
    query += _keep_matched(parts["query"], gallery, rule, omissions)
    notes = []
    tested = {record.pid for record in (*query, *gallery) if not record.distractor}
    if shared := sorted(tested & {image.record.pid for image in parts["train"]}):
        notes.append(
            f"{len(shared)} identities are in train and in query or gallery ({first_few(shared)}): results would "
            "be for people the model has seen; pass --split draw for a split by identity"
        )
    return IngestSplits(_records(parts["train"]), query, gallery, notes)


def _by_pid(images: Iterable[PersonImage]) -> tuple[dict[str, list[PersonImage]], list[PersonImage]]:
    """Return the images of each identity, ordered by their keys, and the distractors."""
    people: dict[str, list[PersonImage]] = defaultdict(list)
    distractors: list[PersonImage] = []
    for image in sorted(images, key=lambda image: image.key):
        (distractors if image.record.distractor else people[image.record.pid]).append(image)
    return dict(sorted(people.items())), distractors


def _draw(seed: int, name: str) -> bytes:
    return bytes.fromhex(text_sha256(f"{seed} {name}"))


# Queries


def _can_be_query(images: Sequence[PersonImage], rule: MatchRule) -> bool:
    if rule.tracks:
        return len(images) >= _LEAST_OF_TRACK
    if any(image.side for image in images):
        return {"query", "gallery"} <= {image.side for image in images}
    return len({image.record.camid for image in images} if rule.exclude_same_camera else images) >= 2


def _why_unfit(rule: MatchRule) -> str:
    if rule.tracks:
        return f"have fewer than {_LEAST_OF_TRACK} boxes"
    return "were seen by one camera" if rule.exclude_same_camera else "have one image"


def _draw_queries(
    people: Mapping[str, Sequence[PersonImage]], rule: MatchRule, seed: int, omissions: Omissions
) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """Return query and gallery; identities that cannot be a query go to the gallery only."""
    query: list[ImageRecord] = []
    gallery: list[ImageRecord] = []
    for pid, images in people.items():
        taken: list[PersonImage] = []
        rest = list(images)
        if rule.tracks and _can_be_query(images, rule):
            taken, rest = _divide_track(pid, images, seed)
            omissions.add("boxes too close to their query in the track", count=len(images) - len(taken) - len(rest))
        elif _can_be_query(images, rule) and any(image.side for image in images):
            taken = [image for image in images if image.side == "query"]
            rest = [image for image in images if image.side != "query"]
        elif _can_be_query(images, rule):
            taken = _one_per_camera(images, rule, seed)
            rest = [image for image in images if image not in taken]
        query += _records(taken)
        gallery += _records(rest)
    return query, gallery


def _divide_track(pid: str, images: Sequence[PersonImage], seed: int) -> tuple[list[PersonImage], list[PersonImage]]:
    """Return the first or last image of a track as query, and the half of the track farthest from it."""
    ordered = sorted(images, key=lambda image: image.frame, reverse=_draw(seed, pid)[0] % 2 == 1)
    return ordered[:1], ordered[max(_LEAST_OF_TRACK - 1, (len(ordered) + 1) // 2) :]


def _one_per_camera(images: Sequence[PersonImage], rule: MatchRule, seed: int) -> list[PersonImage]:
    """Draw one query per camera, or a single one without the camera rule, such that each keeps a match in the rest."""
    drawn = sorted(images, key=lambda image: _draw(seed, image.key))
    if not rule.exclude_same_camera:
        return drawn[:1]
    left = Counter(image.record.camid for image in images)
    taken: dict[int, PersonImage] = {}
    # Cameras with most images first: a query from them leaves most matches for the others.
    for camid in sorted(left, key=lambda camid: (-left[camid], camid)):
        others = {other for other, count in left.items() if count - (other == camid) > 0}
        if all(others - {own} for own in (camid, *taken)):
            taken[camid] = next(image for image in drawn if image.record.camid == camid)
            left[camid] -= 1
    return list(taken.values())


def _keep_matched(
    query: Sequence[PersonImage], gallery: Iterable[ImageRecord], rule: MatchRule, omissions: Omissions
) -> list[ImageRecord]:
    seen: dict[str, set[int]] = defaultdict(set)
    for record in gallery:
        if not record.distractor:
            seen[record.pid].add(record.camid)
    matched = []
    for image in query:
        own = {image.record.camid} if rule.exclude_same_camera else set()
        if seen[image.record.pid] - own:
            matched.append(image.record)
        else:
            omissions.add("queries without a match in the gallery", image.key)
    if query and not matched:
        absent = sum(not seen[image.record.pid] for image in query)
        raise JointreidError(
            f"none of the {len(query)} queries has a match: for {absent} the gallery has no image of the identity, for "
            f"{len(query) - absent} only images from the query's own camera, which the camera rule ignores; pass "
            "--split draw for new queries, or --camera none if matches from the same camera are meant to count"
        )
    return matched


def _no_query(people: Mapping[str, Sequence[PersonImage]], rule: MatchRule) -> str:
    """Return the message that no identity can be a query: the reason, and what to do."""
    if rule.tracks:
        return (
            f"none of the {len(people)} tracks keeps {_LEAST_OF_TRACK} boxes, so no query would have a match elsewhere "
            "in its track; lower --every, --min-height or --min-visibility"
        )
    if not rule.exclude_same_camera:
        return (
            f"each of the {len(people)} identities has one image, so no query would have a match; add images, or pass "
            "--test-share 0 to use them for training only"
        )
    single = sum(len(images) == 1 for images in people.values())
    return (
        f"none of the {len(people)} identities was seen by two cameras ({single} have one image), so no query would "
        "have a match under the camera rule; add images from other cameras, or pass --camera none if matches from the "
        "same camera are meant to count"
    )


def _records(images: Iterable[PersonImage]) -> list[ImageRecord]:
    return [image.record for image in images]
