from dataclasses import replace
from pathlib import Path

import pytest

from jointreid.data.holdout import held_out_identities, hold_out
from jointreid.data.label_space import DomainLabels, LabelSpace
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError


def image(pid: str, camid: int, number: int) -> ImageRecord:
    return ImageRecord(Path(f"{pid}_{camid}_{number}.png"), pid, camid)


def domain(exclude_same_camera: bool = True) -> Domain:
    train = [image(f"p{i}", camid, number) for i in range(6) for camid in (0, 3) for number in range(2)]
    train += [image("alone", 0, number) for number in range(3)] + [image("once", 3, 0)]
    return Domain("d", train=tuple(train), exclude_same_camera=exclude_same_camera)


def test_held_out_identities_leave_train_and_every_query_has_a_match_from_another_camera() -> None:
    rest, val = hold_out(domain(), 2, seed=0)
    held = {record.pid for record in val.query}
    assert len(held) == 2
    assert held.isdisjoint(rest.train_pids)
    assert len(rest.train) + 2 * 4 == len(domain().train)
    assert rest.cameras == val.cameras == (0, 3)
    for query in val.query:
        assert any(found.pid == query.pid and found.camid != query.camid for found in val.gallery)
    assert len(val.query) == 4
    assert len(val.gallery) == 8
    assert all(query.path.stem.endswith("_0") for query in val.query)  # the first image of each camera


def test_without_the_camera_rule_a_query_is_not_in_its_gallery() -> None:
    more = replace(domain(exclude_same_camera=False), train=(*domain().train, image("once more", 3, 0)))
    _, val = hold_out(more, 7, seed=0)
    assert "alone" in {record.pid for record in val.query}
    assert {record.path for record in val.query}.isdisjoint(record.path for record in val.gallery)
    assert all(any(found.pid == query.pid for found in val.gallery) for query in val.query)


def test_the_choice_follows_the_seed() -> None:
    assert hold_out(domain(), 3, seed=1) == hold_out(domain(), 3, seed=1)
    assert len({hold_out(domain(), 1, seed=seed)[1].query for seed in range(20)}) > 3


def test_too_many_are_refused_with_the_number_that_fits() -> None:
    with pytest.raises(JointreidError, match=r"only 6 are seen by two cameras.*choose at most 6"):
        hold_out(domain(), 7, seed=0)


@pytest.mark.parametrize(("people", "most"), [(1, 0), (2, 0), (3, 1), (5, 3)])
def test_two_identities_are_left_in_train(people: int, most: int) -> None:
    few = Domain("d", train=tuple(r for r in domain().train if r.pid in {f"p{i}" for i in range(people)}))
    with pytest.raises(JointreidError, match=f"at least two must be left to train on; choose at most {most}"):
        hold_out(few, most + 1, seed=0)
    if most:
        assert len(hold_out(few, most, seed=0)[0].train_pids) == 2


def labels_of(**counts: int) -> LabelSpace:
    """Return the labels of domains with so many identities each."""
    domains, offset = [], 0
    for place, (name, count) in enumerate(sorted(counts.items())):
        pids = sorted(f"{name}{number}" for number in range(count))
        domains.append(DomainLabels(name, tuple(pids), (0,), offset, place))
        offset += count
    return LabelSpace(tuple(domains))


def held_out_names(share: float, **counts: int) -> set[str]:
    labels = labels_of(**counts)
    names = [pid for known in labels.domains for pid in known.pids]
    return {name for name, held in zip(names, held_out_identities(labels, share).tolist(), strict=True) if held}


def test_every_domain_holds_out_its_share() -> None:
    held = held_out_identities(labels_of(a=20, b=40, c=3, d=1), 0.1)
    assert [held[:20].sum(), held[20:60].sum(), held[60:63].sum(), held[63:].sum()] == [2, 4, 1, 0]
    assert held_out_identities(labels_of(a=2, b=1), 0.9).sum() == 1
    assert not held_out_identities(labels_of(a=20), 0).any()


def test_further_domains_and_a_higher_share_hold_out_the_same_identities() -> None:
    few = held_out_names(0.1, mall=30, shop=50)
    assert few == {name for name in held_out_names(0.1, dock=42, mall=30, shop=50) if not name.startswith("dock")}
    assert few < held_out_names(0.25, mall=30, shop=50)
