"""Plans of shots: counts as asked, every query with a match, and what a limit keeps."""

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jointreid.messages.errors import JointreidError
from jointreid.synthetic.presets import PRESETS, DomainSpec, SplitSize
from jointreid.synthetic.shots import STRANGER, Shot, choose_shots

TINY = PRESETS["tiny"]
PLAZA, STREETS, COLLEGE = TINY[:3]
Plan = Mapping[str, tuple[Shot, ...]]


@cache
def planned(preset: str, limit: int = 0, seed: int = 0) -> Plan:
    return choose_shots(PRESETS[preset], seed, limit)


def total(shots: Plan) -> int:
    return sum(len(taken) for taken in shots.values())


def of_split(shots: Sequence[Shot], split: str) -> list[Shot]:
    return [shot for shot in shots if shot.split == split]


def without_match(spec: DomainSpec, shots: Sequence[Shot]) -> list[Shot]:
    """The queries for which the gallery holds no image that counts."""
    held = defaultdict(set)
    for shot in of_split(shots, "gallery"):
        held[shot.pid].add(shot.camid)
    own = spec.exclude_same_camera
    return [shot for shot in of_split(shots, "query") if not held[shot.pid] - ({shot.camid} if own else set())]


def check(spec: DomainSpec, shots: Sequence[Shot]) -> None:
    """Check the properties of every choice without a limit."""
    train, query, gallery = (of_split(shots, split) for split in ("train", "query", "gallery"))
    assert len(train) == spec.train.images
    assert len(query) == spec.query.images
    assert len(gallery) == spec.gallery.images + spec.others.images + spec.strangers
    assert len({shot.pid for shot in train}) == spec.train.ids
    asked = {shot.pid for shot in query}
    assert len(asked) == spec.query.ids
    known = [shot for shot in gallery if shot.pid in asked]
    assert (len({shot.pid for shot in known}), len(known)) == (spec.gallery.ids, spec.gallery.images)
    strangers = [shot for shot in shots if shot.pid == STRANGER]
    assert len(strangers) == spec.strangers
    assert {shot.split for shot in strangers} <= {"gallery"}
    others = {shot.pid for shot in gallery} - asked - {STRANGER}
    assert len(others) == spec.others.ids
    assert not {shot.pid for shot in train} & {shot.pid for shot in (*query, *gallery)}
    assert {shot.camid for shot in shots} <= set(range(spec.cameras))
    assert not without_match(spec, shots)
    if spec.exclude_same_camera:
        assert max(Counter((shot.pid, shot.camid) for shot in query).values()) == 1
    assert len({shot.number for shot in shots}) == len({shot.path for shot in shots}) == len(shots)


# Whole


@pytest.mark.slow
@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_has_exactly_its_counts(preset: str) -> None:
    shots = planned(preset)
    assert list(shots) == [spec.name for spec in PRESETS[preset]]
    for spec in PRESETS[preset]:
        check(spec, shots[spec.name])
        for split in ("train", "gallery"):
            assert {shot.camid for shot in of_split(shots[spec.name], split)} == set(range(spec.cameras))


def test_table1_takes_as_many_shots_as_the_paper_has_images() -> None:
    assert total(planned("table1")) == 219_513


def test_identities_are_seen_by_several_cameras_and_unequally_often() -> None:
    for spec in PRESETS["table1"]:
        train = of_split(planned("table1")[spec.name], "train")
        images = Counter(shot.pid for shot in train)
        assert min(images.values()) >= 4
        assert max(images.values()) > 1.5 * min(images.values())
        seen_by = {pid: {shot.camid for shot in train if shot.pid == pid} for pid in list(images)[:50]}
        assert min(len(cameras) for cameras in seen_by.values()) == min(2, spec.cameras)


def test_a_seed_gives_the_same_shots_and_another_seed_others() -> None:
    assert choose_shots(TINY, 0) == choose_shots(TINY, 0)
    assert all(
        one != other for one, other in zip(choose_shots(TINY, 0).values(), choose_shots(TINY, 1).values(), strict=True)
    )


def test_a_domain_does_not_depend_on_those_after_it() -> None:
    assert choose_shots(TINY[:1], 0)["plaza"] == choose_shots(TINY, 0)["plaza"]


def test_names_are_those_of_market_1501() -> None:
    assert Shot("train", 2, 0, 451).path == "bounding_box_train/0002_c1s1_000451_00.jpg"
    assert Shot("gallery", STRANGER, 14, 7).path == "bounding_box_test/0000_c15s1_000007_00.jpg"
    assert Shot("query", 12_345, 5, 1_234_567).path == "query/12345_c6s1_1234567_00.jpg"


@st.composite
def specs(draw: st.DrawFn) -> DomainSpec:
    """A spec whose numbers agree."""
    exclude = draw(st.booleans())
    cameras = draw(st.integers(2 if exclude else 1, 6))
    train, test, others = (draw(st.integers(low, 9)) for low in (1, 1, 0))
    least = 2 if exclude else 1
    return replace(
        PLAZA,
        train=SplitSize(train, train + draw(st.integers(0, 40))),
        query=SplitSize(test, draw(st.integers(test, test * cameras if exclude else 40))),
        gallery=SplitSize(test, test * least + draw(st.integers(0, 40))),
        others=SplitSize(others, others + draw(st.integers(0, 9)) if others else 0),
        strangers=draw(st.integers(0, 5)),
        cameras=cameras,
        exclude_same_camera=exclude,
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(spec=specs(), seed=st.integers(0, 5))
def test_consistent_numbers_are_met_exactly(spec: DomainSpec, seed: int) -> None:
    check(spec, choose_shots([spec], seed)[spec.name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "../elsewhere"}, "a domain is named '../elsewhere'; expected letters"),
        ({"name": ""}, "a domain is named ''"),
        ({"name": ".hidden"}, "a domain is named '.hidden'"),
        ({"train": SplitSize(0, 0)}, "plaza: expected one identity or more in each split, one camera and one view"),
        ({"query": SplitSize(0, 0), "gallery": SplitSize(0, 0)}, "plaza: expected one identity or more"),
        ({"cameras": 0, "exclude_same_camera": False}, "plaza: expected one identity or more"),
        ({"views": 0}, "one camera and one view"),
        ({"strangers": -1}, "plaza: strangers or others are below 0"),
        ({"others": SplitSize(0, 3)}, "others have images but no identities"),
        ({"others": SplitSize(4, 3)}, "plaza, others: fewer than 4 images for its identities"),
        ({"train": SplitSize(12, 11)}, "plaza, train: fewer than 12 images"),
        ({"gallery": SplitSize(12, 23)}, "plaza, gallery: fewer than 24 images"),
        ({"gallery": SplitSize(11, 36)}, "plaza: query and gallery hold different numbers of identities"),
        ({"cameras": 1}, "plaza: one camera, whose matches do not count, gives no query a match"),
        ({"query": SplitSize(12, 37)}, "plaza: more than one query for each identity and camera"),
    ],
)
def test_inconsistent_numbers_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(JointreidError, match=re.escape(message)):
        choose_shots([replace(PLAZA, **changes)], 0)


@pytest.mark.parametrize("domains", [(), (PLAZA, COLLEGE, PLAZA)])
def test_domains_need_different_names(domains: tuple[DomainSpec, ...]) -> None:
    with pytest.raises(JointreidError, match="expected one or more, each with a different name"):
        choose_shots(domains, 0)


# Limited


def smallest_limit(specs: Sequence[DomainSpec], seed: int) -> int:
    """The number that the refusal of a limit of 1 names."""
    with pytest.raises(JointreidError, match=f"the limit of 1 images is too small: .* {len(specs)} domains") as caught:
        choose_shots(specs, seed, 1)
    found = re.search(r"need (\d+); give at least that", str(caught.value))
    assert found
    return int(found[1])


def check_limited(specs: Sequence[DomainSpec], whole: Plan, kept: Plan, limit: int) -> None:
    """Check the properties of every choice with a limit."""
    assert total(kept) <= limit
    for spec in specs:
        shots, taken = whole[spec.name], kept[spec.name]
        assert set(taken) <= set(shots)
        people = {shot.pid for shot in taken} - {STRANGER}
        assert [shot for shot in shots if shot.pid in people] == [shot for shot in taken if shot.pid in people]
        assert len({shot.pid for shot in of_split(taken, "train")}) >= min(2, spec.train.ids)
        assert len({shot.pid for shot in of_split(taken, "query")}) >= min(2, spec.query.ids)
        for splits in ({"train"}, {"query", "gallery"}):
            seen, seen_at_all = (
                {shot.camid for shot in held if shot.split in splits and shot.pid != STRANGER}
                for held in (taken, of_asked_people(shots))
            )
            assert seen >= seen_at_all
        assert not without_match(spec, taken)


def of_asked_people(shots: Sequence[Shot]) -> list[Shot]:
    """Those of people to train on and to search for."""
    people = {shot.pid for shot in shots if shot.split != "gallery"}
    return [shot for shot in shots if shot.pid in people]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "limit"),
    [
        ("tiny", 90),
        ("tiny", 359),
        ("demo", 300),
        ("start", 400),
        ("table1", 200),
        ("table1", 2_000),
        ("table1", 50_000),
    ],
)
def test_a_limit_keeps_whole_people_all_cameras_and_every_match(preset: str, limit: int) -> None:
    check_limited(PRESETS[preset], planned(preset), planned(preset, limit), limit)


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "limit"), [("demo", 1_000), ("table1", 2_000), ("table1", 20_000)])
def test_domains_and_splits_keep_their_shares(preset: str, limit: int) -> None:
    whole, kept = planned(preset), planned(preset, limit)
    share = limit / total(whole)
    for name, shots in whole.items():
        for splits in ({"train"}, {"query", "gallery"}):
            before, after = (
                [shot for shot in of_asked_people(held) if shot.split in splits] for held in (shots, kept[name])
            )
            # No person that is left out would have fitted: less than the images of the one with the fewest is missing.
            left_out = Counter(shot.pid for shot in set(before) - set(after))
            assert 0 <= share * len(before) - len(after) < min(left_out.values())
        strangers = share * sum(shot.pid == STRANGER for shot in shots)
        assert sum(shot.pid == STRANGER for shot in kept[name]) == pytest.approx(strangers, abs=1)
        assert len(kept[name]) / total(kept) == pytest.approx(len(shots) / total(whole), rel=0.15)


@pytest.mark.parametrize("preset", ["tiny", "demo", "start"])
def test_a_limit_that_is_too_small_names_one_that_is_not(preset: str) -> None:
    needed = smallest_limit(PRESETS[preset], seed=0)
    kept = choose_shots(PRESETS[preset], 0, needed)
    assert total(kept) == needed
    check_limited(PRESETS[preset], planned(preset), kept, needed)
    with pytest.raises(JointreidError, match=f"the limit of {needed - 1} images is too small: .* need {needed};"):
        choose_shots(PRESETS[preset], 0, needed - 1)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(drawn=st.lists(specs(), min_size=1, max_size=3), seed=st.integers(0, 5), data=st.data())
def test_every_limit_from_the_smallest_on_can_be_kept(drawn: list[DomainSpec], seed: int, data: st.DataObject) -> None:
    named = [replace(spec, name=f"place{number}") for number, spec in enumerate(drawn)]
    whole = choose_shots(named, seed)
    images = total(whole)
    needed = smallest_limit(named, seed)
    limit = data.draw(st.integers(needed, max(needed, images)))
    kept = choose_shots(named, seed, limit)
    if limit < images:
        check_limited(named, whole, kept, limit)
    else:
        assert kept == whole


@pytest.mark.parametrize("over", [0, 1, 10**9])
def test_a_limit_of_all_or_more_keeps_everything(over: int) -> None:
    assert choose_shots(TINY, 0, total(choose_shots(TINY, 0)) + over) == choose_shots(TINY, 0)
