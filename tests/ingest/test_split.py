"""Who is trained on, who is tested on and what is searched for: drawn by seed, a match for every query."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jointreid.data.records import ImageRecord
from jointreid.ingest.images import Omissions, PersonImage
from jointreid.ingest.split import IngestSplits, MatchRule, draw_splits, keep_splits
from jointreid.messages.errors import JointreidError

CAMERAS, ANY = MatchRule(exclude_same_camera=True), MatchRule(exclude_same_camera=False)
TRACKS = MatchRule(exclude_same_camera=False, tracks=True)


def person(pid: str, *camids: int, split: str = "", distractor: bool = False) -> list[PersonImage]:
    """One image for each camid, in this order."""
    names = [f"{split}{pid}/{number}.png" for number in range(len(camids))]
    return [
        PersonImage(ImageRecord(Path("/data", name), pid, camid, distractor=distractor), name, split, frame=10 * number)
        for number, (name, camid) in enumerate(zip(names, camids, strict=True))
    ]


def draw(images: list[PersonImage], rule: MatchRule = CAMERAS, share: float = 0.5, seed: int = 0) -> IngestSplits:
    return draw_splits(images, rule, share, seed, Omissions())


def pids(records: Iterable[ImageRecord]) -> set[str]:
    return {record.pid for record in records}


def fits(splits: IngestSplits, rule: MatchRule) -> bool:
    """True if every query has a match in the gallery, found by looking at all pairs."""
    return all(
        any(
            record.pid == query.pid
            and not record.distractor
            and (record.camid != query.camid or not rule.exclude_same_camera)
            for record in splits.gallery
        )
        for query in splits.query
    )


def test_half_of_the_identities_are_tested_with_one_query_per_camera() -> None:
    images = [image for pid in "abcd" for image in person(pid, 0, 0, 1, 1, 1)]
    splits = draw(images)
    assert (len(pids(splits.train)), len(pids(splits.query))) == (2, 2)
    assert pids(splits.train) | pids(splits.query) == set("abcd")
    assert pids(splits.gallery) == pids(splits.query)
    assert Counter((record.pid, record.camid) for record in splits.query) == dict.fromkeys(
        ((pid, camid) for pid in pids(splits.query) for camid in (0, 1)), 1
    )
    assert sorted(record.path for records in splits[:3] for record in records) == sorted(s.record.path for s in images)
    assert splits.notes == []


# Images a camera -> how many queries can be taken so that each keeps a match.
@pytest.mark.parametrize(
    ("camids", "queries"),
    [
        ((0, 1), 1),
        ((0, 0, 1), 1),
        ((0, 0, 1, 1), 2),
        ((0, 1, 2), 2),
        ((0, 0, 1, 1, 2), 3),
        ((0, 0, 1, 2), 2),
        ((0, 1, 2, 3), 3),
    ],
)
def test_a_camera_gives_no_query_if_another_would_lose_its_match(camids: tuple[int, ...], queries: int) -> None:
    splits = draw(person("a", *camids), share=1)
    assert len(splits.query) == queries
    assert fits(splits, CAMERAS)


def test_without_the_camera_rule_an_identity_gives_one_query() -> None:
    splits = draw([*person("a", 0, 0, 0), *person("b", 0, 0)], ANY, share=1)
    assert Counter(record.pid for record in splits.query) == {"a": 1, "b": 1}
    assert len(splits.gallery) == 3


@given(st.randoms(), st.integers(0, 3))
def test_the_order_of_files_and_the_place_of_the_folder_change_nothing(random: Random, seed: int) -> None:
    images = [image for pid in "abcdef" for image in person(pid, 0, 1, 1, 2)]
    moved = [s._replace(record=ImageRecord(Path("/else") / s.key, s.record.pid, s.record.camid)) for s in images]
    random.shuffle(moved)
    one, other = draw(images, seed=seed), draw(moved, seed=seed)
    for first, second in zip(one[:3], other[:3], strict=True):
        assert [r.path.relative_to("/data") for r in first] == [r.path.relative_to("/else") for r in second]


def test_another_seed_draws_other_identities_and_images() -> None:
    images = [image for pid in "abcdefgh" for image in person(pid, 0, 0, 0, 1, 1, 1)]
    assert len({frozenset(pids(draw(images, seed=seed).train)) for seed in range(5)}) > 1
    assert len({frozenset(record.path for record in draw(images, share=1, seed=seed).query) for seed in range(5)}) > 1


def test_a_new_identity_moves_at_most_one_other() -> None:
    images = [image for number in range(40) for image in person(f"p{number}", 0, 1)]
    before, after = pids(draw(images).train), pids(draw([*images, *person("new", 0, 1)]).train)
    assert len((before ^ after) - {"new"}) <= 1


@pytest.mark.parametrize(("share", "tested"), [(0, 0), (0.001, 2), (0.3, 3), (0.5, 5), (0.999, 8), (1, 10)])
def test_the_share_is_kept_and_leaves_two_to_train_on_and_two_to_test_on(share: float, tested: int) -> None:
    splits = draw([image for number in range(10) for image in person(f"p{number}", 0, 1)], share=share)
    assert (len(pids(splits.query)), len(pids(splits.train))) == (tested, 10 - tested)
    lowered = ["8 identities to test on instead of 10: two are left to train on"]
    assert splits.notes == (lowered if share == 0.999 else [])


def test_two_people_cannot_be_split() -> None:
    two = [*person("a", 0, 1), *person("b", 0, 1)]
    with pytest.raises(JointreidError, match="needs three identities, two of them to train on; there are 2: a, b"):
        draw(two)
    assert pids(draw(two, share=0).train) == {"a", "b"}
    assert pids(draw(two, share=1).query) == {"a", "b"}
    assert len(pids(draw([*two, *person("c", 0, 1)]).train)) == 2


def test_identities_that_cannot_be_queries_go_to_train_and_are_counted() -> None:
    splits = draw([*person("a", 0, 1), *person("b", 0, 0, 0), *person("c", 1), *person("d", 1, 1)], share=0.9)
    assert (pids(splits.query), pids(splits.train)) == ({"a"}, {"b", "c", "d"})
    assert splits.notes == [
        "3 of 4 identities were seen by one camera: they go to train",
        "2 identities to test on instead of 4: two are left to train on",
        "1 identities to test on instead of 2: no other keeps a match",
        "the gallery shows one identity, a: any model gets 100, and `jointreid evaluate` refuses it; add images of "
        "other people, or pass --test-share 0 to train on all of them",
    ]
    others = [*person("b", 0), *person("d", 1), *person("0", 1, distractor=True)]
    assert len(draw([*person("a", 0, 1), *others]).notes) == 2


@pytest.mark.parametrize(
    ("images", "rule", "words"),
    [
        (
            [*person("a", 0, 0), *person("b", 1)],
            CAMERAS,
            r"none of the 2 identities was seen by two cameras \(1 have one",
        ),
        ([*person("a", 0), *person("b", 0)], ANY, "each of the 2 identities has one image.*--test-share 0"),
        ([*person("a", 0, 0), *person("b", 1)], TRACKS, "none of the 2 tracks keeps 3 boxes.*lower --every"),
        (person("a", 0, 1), CAMERAS, "needs three identities; there is a. Expected a folder or track"),
        (person("0", 0, 1, distractor=True), CAMERAS, "needs three identities; there is none"),
    ],
)
def test_no_query_is_an_error_that_says_why(images: list[PersonImage], rule: MatchRule, words: str) -> None:
    with pytest.raises(JointreidError, match=words):
        draw(images, rule)


def test_distractors_are_in_the_gallery_if_there_is_one() -> None:
    images = [*person("a", 0, 1), *person("b", 0, 1), *person("c", 0, 1), *person("0", 0, distractor=True)]
    splits = draw(images)
    assert [record.pid for record in splits.gallery if record.distractor] == ["0"]
    omissions = Omissions()
    assert pids(draw_splits(images, CAMERAS, 0, 0, omissions).train) == {"a", "b", "c"}
    assert [str(dropped) for dropped in omissions.listed()] == ["1 distractors, because there is no gallery"]


@pytest.mark.parametrize(("boxes", "gallery"), [(3, 1), (4, 2), (5, 2), (6, 3), (9, 4)])
def test_the_query_of_a_track_is_an_end_and_its_gallery_the_other_half(boxes: int, gallery: int) -> None:
    images = [image for number in range(12) for image in person(f"t{number}", *[0] * boxes)]
    omissions = Omissions()
    splits = draw_splits(images, TRACKS, 1, 0, omissions)
    frames = {image.record.path: image.frame for image in images}
    assert {frames[query.path] for query in splits.query} == {0, 10 * (boxes - 1)}
    for query in splits.query:
        found = sorted(abs(frames[r.path] - frames[query.path]) for r in splits.gallery if r.pid == query.pid)
        assert found == [10 * (boxes - back) for back in range(gallery, 0, -1)]
        assert found[0] >= 20  # never the neighbour
    (dropped,) = omissions.listed()
    assert dropped.count == 12 * (boxes - 1 - gallery)


# IngestSplits that are there


def test_splits_are_kept_and_queries_without_a_match_left_out() -> None:
    images = [
        *person("t", 0, 1, split="train"),
        *person("a", 0, split="query"),
        *person("a", 0, 1, split="gallery"),
        *person("b", 0, split="query"),
        *person("b", 0, split="gallery"),
        *person("c", 0, split="query"),
    ]
    omissions = Omissions()
    splits = keep_splits(images, CAMERAS, 0, omissions)
    assert [record.path.as_posix() for record in splits.query] == ["/data/querya/0.png"]
    assert len(splits.gallery) == 3
    assert [str(dropped) for dropped in omissions.listed()] == [
        "2 queries without a match in the gallery (queryb/0.png, queryc/0.png)"
    ]
    assert len(keep_splits(images, ANY, 0, Omissions()).query) == 2


def test_no_kept_query_with_a_match_is_an_error() -> None:
    images = [*person("a", 0, split="query"), *person("a", 0, split="gallery"), *person("b", 0, split="query")]
    with pytest.raises(
        JointreidError, match=r"none of the 2 queries has a match: for 1 the gallery has no image.*for 1 only"
    ):
        keep_splits(images, CAMERAS, 0, Omissions())


def test_queries_are_drawn_from_a_test_folder_and_the_others_stay_in_the_gallery() -> None:
    images = [
        *person("t", 0, 1, split="train"),
        *person("a", 0, 0, 1, 1, split="test"),
        *person("b", 1, split="test"),
        *person("0", 1, split="test", distractor=True),
    ]
    splits = keep_splits(images, CAMERAS, 0, Omissions())
    assert (pids(splits.train), pids(splits.query), pids(splits.gallery)) == ({"t"}, {"a"}, {"a", "b", "0"})
    assert (len(splits.query), len(splits.gallery)) == (2, 4)
    with pytest.raises(JointreidError, match="none of the 1 identities was seen by two cameras"):
        keep_splits([*person("t", 0, split="train"), *person("b", 1, split="test")], CAMERAS, 0, Omissions())


def test_identities_on_both_sides_of_a_kept_split_are_reported() -> None:
    images = [*person("a", 0, split="train"), *person("a", 0, split="query"), *person("a", 1, split="gallery")]
    (note,) = keep_splits(images, CAMERAS, 0, Omissions()).notes
    assert "1 identities are in train and in query or gallery (a)" in note
    assert "--split draw" in note


# Any tree


@given(
    st.dictionaries(
        st.text("abc", min_size=1, max_size=2), st.lists(st.integers(0, 3), min_size=1, max_size=7), max_size=8
    ),
    st.sampled_from([CAMERAS, ANY, TRACKS]),
    st.floats(0, 1),
    st.integers(0, 9),
)
def test_every_query_has_a_match_and_every_image_one_split(
    people: dict[str, list[int]], rule: MatchRule, share: float, seed: int
) -> None:
    images = [image for pid, camids in people.items() for image in person(pid, *camids)]
    try:
        splits = draw(images, rule, share, seed)
    except JointreidError:
        return
    paths = [record.path for records in splits[:3] for record in records]
    assert len(paths) == len(set(paths))
    assert rule.tracks or len(paths) == len(images)
    assert not pids(splits.train) & (pids(splits.query) | pids(splits.gallery))
    assert fits(splits, rule)
    if 0 < share < 1:
        assert splits.train
        assert splits.query
