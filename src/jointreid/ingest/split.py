"""Which identities to train on and which to test on, and which of their images to search for.

A draw orders names by the hash of the seed and the name, so that it depends on neither the order of the files nor where
the folder lies, and a new identity moves no other, but at the border of the two shares.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jointreid.data.records import ImageRecord
from jointreid.ingest.found import Shot, Tally
from jointreid.machine.hashing import text_sha256
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few

# Of a track, the image searched for, one between that is left out, and one to be found.
_LEAST_OF_TRACK = 3


class Rule(NamedTuple):
    """What makes a match.

    Attributes:
        exclude_same_camera: whether a match from the query's own camera is ignored.
        tracks: whether an identity's images are frames of one track.
    """

    exclude_same_camera: bool
    tracks: bool = False


class Splits(NamedTuple):
    """The images of each split, and what a person should know of how they came about."""

    train: Sequence[ImageRecord]
    query: Sequence[ImageRecord]
    gallery: Sequence[ImageRecord]
    notes: Sequence[str] = ()


def draw_splits(shots: Iterable[Shot], rule: Rule, test_share: float, seed: int, tally: Tally) -> Splits:
    """Part identities at random into train and test, and the test's images into query and gallery.

    Only identities that keep a match can be tested on; the others are trained on. Distractors go to the gallery.

    Args:
        shots: the images; where they stand now is not looked at.
        rule: what makes a match.
        test_share: the share of the identities to test on, 0 to 1; in between, one at least stays on each side.
        seed: another one draws other identities and images.
        tally: counts what is left out.

    Raises:
        JointreidError: test identities are asked for and no identity can be a query, or there is only one identity.
    """
    people, distractors = _by_pid(shots)
    fit = [pid for pid in people if _can_be_query(people[pid], rule)]
    wanted = int(test_share * len(people) + 0.5)
    if 0 < test_share < 1:
        if len(people) < 2:
            raise JointreidError(
                f"a split into train and test needs two identities; there is {', '.join(people) or 'none'}. Expected a "
                "folder or track for each person; if the one is a folder that holds people's folders, give that"
            )
        wanted = min(max(wanted, 1), len(people) - 1)
    if wanted and not fit:
        raise JointreidError(_no_query(people, rule))
    tested = sorted(fit, key=lambda pid: _draw(seed, pid))[:wanted]
    notes = []
    if len(fit) < len(people):
        notes.append(f"{len(people) - len(fit)} of {len(people)} identities {_why_unfit(rule)}: they are in train")
    if len(tested) < wanted:
        notes.append(f"{len(tested)} identities to test on, not {wanted}: no other keeps a match")
    query, gallery = _draw_queries({pid: people[pid] for pid in sorted(tested)}, rule, seed, tally)
    if tested:
        gallery += [shot.record for shot in distractors]
    else:
        tally.add("distractors, for there is no gallery", count=len(distractors))
    train = [shot.record for pid in sorted(people.keys() - set(tested)) for shot in people[pid]]
    return Splits(train, query, gallery, notes)


def keep_splits(shots: Iterable[Shot], rule: Rule, seed: int, tally: Tally) -> Splits:
    """Take the splits as they are; draw queries from the images of "test", and leave queries without a match out.

    Raises:
        JointreidError: there are images to test with, but no query has a match.
    """
    parts: dict[str, list[Shot]] = defaultdict(list)
    for shot in shots:
        parts[shot.split].append(shot)
    people, distractors = _by_pid(parts["test"])
    query, gallery = _draw_queries(people, rule, seed, tally)
    if people and not query:
        raise JointreidError(_no_query(people, rule))
    gallery += [shot.record for shot in (*distractors, *parts["gallery"])]
    query += _keep_matched(parts["query"], gallery, rule, tally)
    notes = []
    tested = {record.pid for record in (*query, *gallery) if not record.distractor}
    if shared := sorted(tested & {shot.record.pid for shot in parts["train"]}):
        notes.append(
            f"{len(shared)} identities stand in train and in query or gallery ({first_few(shared)}): figures would be "
            "of people the model has seen; pass --split draw for a split by identity"
        )
    return Splits(_records(parts["train"]), query, gallery, notes)


def _by_pid(shots: Iterable[Shot]) -> tuple[dict[str, list[Shot]], list[Shot]]:
    """Return the images of each identity, all in an order of their own, and the distractors."""
    people: dict[str, list[Shot]] = defaultdict(list)
    distractors: list[Shot] = []
    for shot in sorted(shots, key=lambda shot: shot.key):
        (distractors if shot.record.distractor else people[shot.record.pid]).append(shot)
    return dict(sorted(people.items())), distractors


def _draw(seed: int, name: str) -> bytes:
    return bytes.fromhex(text_sha256(f"{seed} {name}"))


# Queries


def _can_be_query(shots: Sequence[Shot], rule: Rule) -> bool:
    if rule.tracks:
        return len(shots) >= _LEAST_OF_TRACK
    return len({shot.record.camid for shot in shots} if rule.exclude_same_camera else shots) >= 2


def _why_unfit(rule: Rule) -> str:
    if rule.tracks:
        return f"have fewer than {_LEAST_OF_TRACK} boxes"
    return "were seen by one camera" if rule.exclude_same_camera else "have one image"


def _draw_queries(
    people: Mapping[str, Sequence[Shot]], rule: Rule, seed: int, tally: Tally
) -> tuple[list[ImageRecord], list[ImageRecord]]:
    """Return query and gallery; identities that cannot be a query are in the gallery only."""
    query: list[ImageRecord] = []
    gallery: list[ImageRecord] = []
    for pid, shots in people.items():
        taken: list[Shot] = []
        rest = list(shots)
        if rule.tracks and _can_be_query(shots, rule):
            taken, rest = _part_track(pid, shots, seed)
            tally.add("boxes too near to their query in the track", count=len(shots) - len(taken) - len(rest))
        elif _can_be_query(shots, rule):
            taken = _one_per_camera(shots, rule, seed)
            rest = [shot for shot in shots if shot not in taken]
        query += _records(taken)
        gallery += _records(rest)
    return query, gallery


def _part_track(pid: str, shots: Sequence[Shot], seed: int) -> tuple[list[Shot], list[Shot]]:
    """Return the first or last image of a track, and the half farthest from it, which holds no neighbour of it."""
    ordered = sorted(shots, key=lambda shot: shot.frame, reverse=_draw(seed, pid)[0] % 2 == 1)
    return ordered[:1], ordered[max(_LEAST_OF_TRACK - 1, (len(ordered) + 1) // 2) :]


def _one_per_camera(shots: Sequence[Shot], rule: Rule, seed: int) -> list[Shot]:
    """Draw one image a camera, or one of all without the camera rule, as far as each keeps a match among the rest."""
    drawn = sorted(shots, key=lambda shot: _draw(seed, shot.key))
    if not rule.exclude_same_camera:
        return drawn[:1]
    left = Counter(shot.record.camid for shot in shots)
    taken: dict[int, Shot] = {}
    # Those with most images first: taking one of them costs the others' queries least.
    for camid in sorted(left, key=lambda camid: (-left[camid], camid)):
        others = {other for other, count in left.items() if count - (other == camid) > 0}
        if all(others - {own} for own in (camid, *taken)):
            taken[camid] = next(shot for shot in drawn if shot.record.camid == camid)
            left[camid] -= 1
    return list(taken.values())


def _keep_matched(query: Sequence[Shot], gallery: Iterable[ImageRecord], rule: Rule, tally: Tally) -> list[ImageRecord]:
    seen: dict[str, set[int]] = defaultdict(set)
    for record in gallery:
        if not record.distractor:
            seen[record.pid].add(record.camid)
    matched = []
    for shot in query:
        own = {shot.record.camid} if rule.exclude_same_camera else set()
        if seen[shot.record.pid] - own:
            matched.append(shot.record)
        else:
            tally.add("queries without a match in the gallery", shot.key)
    if query and not matched:
        absent = sum(not seen[shot.record.pid] for shot in query)
        raise JointreidError(
            f"none of the {len(query)} queries has a match: of {absent} the gallery holds no image of the identity, of "
            f"{len(query) - absent} only some from the query's own camera, which the camera rule ignores; pass "
            "--split draw for new queries, or --camera none if matches from the same camera are meant to count"
        )
    return matched


def _no_query(people: Mapping[str, Sequence[Shot]], rule: Rule) -> str:
    """Return why no identity can be a query, and what to do."""
    if rule.tracks:
        return (
            f"none of the {len(people)} tracks keeps {_LEAST_OF_TRACK} boxes, so no query would have a match elsewhere "
            "in its track; lower --every, --min-height or --min-visibility"
        )
    if not rule.exclude_same_camera:
        return (
            f"each of the {len(people)} identities has one image, so no query would have a match; add images, or, to "
            "only train on them, pass --test-share 0"
        )
    single = sum(len(shots) == 1 for shots in people.values())
    return (
        f"none of the {len(people)} identities was seen by two cameras ({single} have one image), so no query would "
        "have a match under the camera rule; add images from other cameras, or pass --camera none if matches from the "
        "same camera are meant to count"
    )


def _records(shots: Iterable[Shot]) -> list[ImageRecord]:
    return [shot.record for shot in shots]
