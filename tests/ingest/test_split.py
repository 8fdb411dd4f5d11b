"""Who is trained on, who is tested on and what is searched for: drawn by seed, a match for every query."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jointreid.data.records import ImageRecord
from jointreid.ingest.found import Shot, Tally
from jointreid.ingest.split import Rule, Splits, draw_splits, keep_splits
from jointreid.messages.errors import JointreidError

CAMERAS, ANY = Rule(exclude_same_camera=True), Rule(exclude_same_camera=False)
TRACKS = Rule(exclude_same_camera=False, tracks=True)


def person(pid: str, *camids: int, split: str = "", distractor: bool = False) -> list[Shot]:
    """One image for each camid, in this order."""
    names = [f"{split}{pid}/{number}.png" for number in range(len(camids))]
    return [
        Shot(ImageRecord(Path("/data", name), pid, camid, distractor=distractor), name, split, frame=10 * number)
        for number, (name, camid) in enumerate(zip(names, camids, strict=True))
    ]


def draw(shots: list[Shot], rule: Rule = CAMERAS, share: float = 0.5, seed: int = 0) -> Splits:
    return draw_splits(shots, rule, share, seed, Tally())


def pids(records: Iterable[ImageRecord]) -> set[str]:
    return {record.pid for record in records}


def fits(splits: Splits, rule: Rule) -> bool:
    """Whether every query has a match in the gallery, told by looking at all pairs."""
    return all(
        any(
            record.pid == query.pid
            and not record.distractor
            and (record.camid != query.camid or not rule.exclude_same_camera)
            for record in splits.gallery
        )
        for query in splits.query
    )


def test_half_of_the_identities_are_tested_with_one_query_a_camera() -> None:
    shots = [shot for pid in "abcd" for shot in person(pid, 0, 0, 1, 1, 1)]
    splits = draw(shots)
    assert (len(pids(splits.train)), len(pids(splits.query))) == (2, 2)
    assert pids(splits.train) | pids(splits.query) == set("abcd")
    assert pids(splits.gallery) == pids(splits.query)
    assert Counter((record.pid, record.camid) for record in splits.query) == dict.fromkeys(
        ((pid, camid) for pid in pids(splits.query) for camid in (0, 1)), 1
    )
    assert sorted(record.path for records in splits[:3] for record in records) == sorted(s.record.path for s in shots)
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
def test_a_camera_gives_no_query_where_that_would_cost_another_its_match(camids: tuple[int, ...], queries: int) -> None:
    splits = draw(person("a", *camids), share=1)
    assert len(splits.query) == queries
    assert fits(splits, CAMERAS)


def test_without_the_camera_rule_an_identity_gives_one_query() -> None:
    splits = draw([*person("a", 0, 0, 0), *person("b", 0, 0)], ANY, share=1)
    assert Counter(record.pid for record in splits.query) == {"a": 1, "b": 1}
    assert len(splits.gallery) == 3


@given(st.randoms(), st.integers(0, 3))
def test_the_order_of_files_and_the_place_of_the_folder_change_nothing(random: Random, seed: int) -> None:
    shots = [shot for pid in "abcdef" for shot in person(pid, 0, 1, 1, 2)]
    moved = [s._replace(record=ImageRecord(Path("/else") / s.key, s.record.pid, s.record.camid)) for s in shots]
    random.shuffle(moved)
    one, other = draw(shots, seed=seed), draw(moved, seed=seed)
    for first, second in zip(one[:3], other[:3], strict=True):
        assert [r.path.relative_to("/data") for r in first] == [r.path.relative_to("/else") for r in second]


def test_another_seed_draws_other_identities_and_images() -> None:
    shots = [shot for pid in "abcdefgh" for shot in person(pid, 0, 0, 0, 1, 1, 1)]
    assert len({frozenset(pids(draw(shots, seed=seed).train)) for seed in range(5)}) > 1
    assert len({frozenset(record.path for record in draw(shots, share=1, seed=seed).query) for seed in range(5)}) > 1


def test_a_new_identity_moves_no_other_but_at_the_border() -> None:
    shots = [shot for number in range(40) for shot in person(f"p{number}", 0, 1)]
    before, after = pids(draw(shots).train), pids(draw([*shots, *person("new", 0, 1)]).train)
    assert len((before ^ after) - {"new"}) <= 1


@pytest.mark.parametrize(("share", "tested"), [(0, 0), (0.001, 1), (0.3, 3), (0.5, 5), (0.999, 9), (1, 10)])
def test_the_share_is_kept_and_leaves_one_identity_on_each_side(share: float, tested: int) -> None:
    splits = draw([shot for number in range(10) for shot in person(f"p{number}", 0, 1)], share=share)
    assert (len(pids(splits.query)), len(pids(splits.train))) == (tested, 10 - tested)


def test_who_cannot_be_searched_for_is_trained_on_and_counted() -> None:
    splits = draw([*person("a", 0, 1), *person("b", 0, 0, 0), *person("c", 1), *person("d", 1, 1)], share=0.9)
    assert (pids(splits.query), pids(splits.train)) == ({"a"}, {"b", "c", "d"})
    assert splits.notes == [
        "3 of 4 identities were seen by one camera: they are in train",
        "1 identities to test on, not 3: no other keeps a match",
    ]


@pytest.mark.parametrize(
    ("shots", "rule", "words"),
    [
        (
            [*person("a", 0, 0), *person("b", 1)],
            CAMERAS,
            r"none of the 2 identities was seen by two cameras \(1 have one",
        ),
        ([*person("a", 0), *person("b", 0)], ANY, "each of the 2 identities has one image.*--test-share 0"),
        ([*person("a", 0, 0), *person("b", 1)], TRACKS, "none of the 2 tracks keeps 3 boxes.*lower --every"),
        (person("a", 0, 1), CAMERAS, "needs two identities; there is a. Expected a folder or track"),
        (person("0", 0, 1, distractor=True), CAMERAS, "needs two identities; there is none"),
    ],
)
def test_no_query_is_an_error_that_says_why(shots: list[Shot], rule: Rule, words: str) -> None:
    with pytest.raises(JointreidError, match=words):
        draw(shots, rule)


def test_distractors_are_in_the_gallery_if_there_is_one() -> None:
    shots = [*person("a", 0, 1), *person("b", 0, 1), *person("0", 0, distractor=True)]
    splits = draw(shots)
    assert [record.pid for record in splits.gallery if record.distractor] == ["0"]
    tally = Tally()
    assert pids(draw_splits(shots, CAMERAS, 0, 0, tally).train) == {"a", "b"}
    assert [str(dropped) for dropped in tally.dropped()] == ["1 distractors, for there is no gallery"]


@pytest.mark.parametrize(("boxes", "gallery"), [(3, 1), (4, 2), (5, 2), (6, 3), (9, 4)])
def test_the_query_of_a_track_is_an_end_and_its_gallery_the_other_half(boxes: int, gallery: int) -> None:
    shots = [shot for number in range(12) for shot in person(f"t{number}", *[0] * boxes)]
    tally = Tally()
    splits = draw_splits(shots, TRACKS, 1, 0, tally)
    frames = {shot.record.path: shot.frame for shot in shots}
    assert {frames[query.path] for query in splits.query} == {0, 10 * (boxes - 1)}
    for query in splits.query:
        found = sorted(abs(frames[r.path] - frames[query.path]) for r in splits.gallery if r.pid == query.pid)
        assert found == [10 * (boxes - back) for back in range(gallery, 0, -1)]
        assert found[0] >= 20  # never the neighbour
    (dropped,) = tally.dropped()
    assert dropped.count == 12 * (boxes - 1 - gallery)


# Splits that are there


def test_splits_are_kept_and_queries_without_a_match_left_out() -> None:
    shots = [
        *person("t", 0, 1, split="train"),
        *person("a", 0, split="query"),
        *person("a", 0, 1, split="gallery"),
        *person("b", 0, split="query"),
        *person("b", 0, split="gallery"),
        *person("c", 0, split="query"),
    ]
    tally = Tally()
    splits = keep_splits(shots, CAMERAS, 0, tally)
    assert [record.path.as_posix() for record in splits.query] == ["/data/querya/0.png"]
    assert len(splits.gallery) == 3
    assert [str(dropped) for dropped in tally.dropped()] == [
        "2 queries without a match in the gallery (queryb/0.png, queryc/0.png)"
    ]
    assert len(keep_splits(shots, ANY, 0, Tally()).query) == 2


def test_no_kept_query_with_a_match_is_an_error() -> None:
    shots = [*person("a", 0, split="query"), *person("a", 0, split="gallery"), *person("b", 0, split="query")]
    with pytest.raises(
        JointreidError, match=r"none of the 2 queries has a match: of 1 the gallery holds no image.*of 1 only"
    ):
        keep_splits(shots, CAMERAS, 0, Tally())


def test_queries_are_drawn_from_a_test_folder_and_the_others_stay_in_the_gallery() -> None:
    shots = [
        *person("t", 0, 1, split="train"),
        *person("a", 0, 0, 1, 1, split="test"),
        *person("b", 1, split="test"),
        *person("0", 1, split="test", distractor=True),
    ]
    splits = keep_splits(shots, CAMERAS, 0, Tally())
    assert (pids(splits.train), pids(splits.query), pids(splits.gallery)) == ({"t"}, {"a"}, {"a", "b", "0"})
    assert (len(splits.query), len(splits.gallery)) == (2, 4)
    with pytest.raises(JointreidError, match="none of the 1 identities was seen by two cameras"):
        keep_splits([*person("t", 0, split="train"), *person("b", 1, split="test")], CAMERAS, 0, Tally())


def test_identities_on_both_sides_of_a_kept_split_are_told() -> None:
    shots = [*person("a", 0, split="train"), *person("a", 0, split="query"), *person("a", 1, split="gallery")]
    (note,) = keep_splits(shots, CAMERAS, 0, Tally()).notes
    assert "1 identities stand in train and in query or gallery (a)" in note
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
def test_whatever_is_drawn_every_query_has_a_match_and_no_image_two_splits(
    people: dict[str, list[int]], rule: Rule, share: float, seed: int
) -> None:
    shots = [shot for pid, camids in people.items() for shot in person(pid, *camids)]
    try:
        splits = draw(shots, rule, share, seed)
    except JointreidError:
        return
    images = [record.path for records in splits[:3] for record in records]
    assert len(images) == len(set(images))
    assert rule.tracks or len(images) == len(shots)
    assert not pids(splits.train) & (pids(splits.query) | pids(splits.gallery))
    assert fits(splits, rule)
    if 0 < share < 1:
        assert splits.train
        assert splits.query
