"""Samplers that decide how often each domain appears, or which domains share a batch."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from jointreid.config import RunConfig
from jointreid.data.batch_shares import check_batches
from jointreid.data.even_pk import DomainSharesPK, round_at_random, share_out
from jointreid.data.groups import draw_groups
from jointreid.data.joint import join
from jointreid.data.pk_sampler import PKSampler
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.sampling import batches_per_epoch, make_sampler, pk_sampler
from jointreid.messages.errors import JointreidError
from jointreid.paper.grid import iterations

KINDS = ("id_uniform", "domain_balanced", "domain_temperature", "domain_weighted", "grouped_domains")
NAMES = ["a", "b"]
# Two identities of 24 images and six of 4: with K = 2 twelve groups each and two each, 24 and 12 in all.
SIZES, OF_DOMAIN = np.array([24, 24, 4, 4, 4, 4, 4, 4]), np.array([0, 0, 1, 1, 1, 1, 1, 1])
LABELS = np.repeat(np.arange(8), SIZES)
Indices = NDArray[np.int64]


def settings(kind: str, p: int = 3, k: int = 2, seed: int = 0, epoch: str = "images", **more: Any) -> RunConfig:
    if kind == "domain_weighted":
        more = {"domain_weights": ["a=1", "b=3"], **more}
    sampler = {"kind": kind, "ids_per_batch": p, "images_per_id": k, **more}
    return RunConfig().replace(sampler=sampler, train={"seed": seed}, schedule={"epoch_length": epoch})


def sampler_of(kind: str, **changes: Any) -> PKSampler:
    return pk_sampler(LABELS, OF_DOMAIN[LABELS], NAMES, settings(kind, **changes))


def domain(name: str, ids: int, images: int) -> Domain:
    records = [ImageRecord(Path(f"{name}{pid}-{n}"), f"{pid}", 0) for pid in range(ids) for n in range(images)]
    return Domain(name, tuple(records))


def identities(sampler: PKSampler, number: int, labels: Indices = LABELS) -> Indices:
    """The identity of each group of a pass, [batches, P]; each batch has P different ones, with K images each."""
    batches = labels[sampler.batches_of(number)].reshape(-1, sampler.ids_per_batch, sampler.images_per_id)
    assert (batches == batches[..., :1]).all()
    distinct = np.sort(batches[..., 0], axis=1)
    assert (distinct[:, 1:] > distinct[:, :-1]).all()
    found: Indices = batches[..., 0]
    return found


def test_id_uniform_shows_each_identity_once_and_leaves_others_out_in_each_pass() -> None:
    sampler, seen = sampler_of("id_uniform"), Counter[int]()
    for number in range(200):
        found = identities(sampler, number)
        assert found.shape == (2, 3)  # of eight identities
        assert len(np.unique(found)) == 6
        seen.update(found.ravel().tolist())
    assert all(125 <= seen[pid] <= 175 for pid in range(8))  # 150 expected, deviation 6
    used = Counter(image for number in range(200) for image in sampler.batches_of(number).ravel().tolist())
    assert all(used[image] > 0 for image in range(len(LABELS)))


def test_domain_balanced_gives_each_domain_as_many_places() -> None:
    sampler = sampler_of("domain_balanced")
    for number in range(3):
        found = identities(sampler, number)
        assert found.shape == (12, 3)  # 36 groups in all
        assert np.bincount(found.ravel()).tolist() == [9, 9, 3, 3, 3, 3, 3, 3]
        times = Counter(sampler.batches_of(number).ravel().tolist())
        assert {times[image] for image in range(48, 72)} == {1, 2}  # 6 places for 4 images: each at least once
        assert max(times[image] for image in range(48)) == 1


@pytest.mark.parametrize(
    ("kind", "more", "expected"),
    [
        ("domain_temperature", {"temperature": 1}, [12, 12, 2, 2, 2, 2, 2, 2]),  # in proportion to the groups
        ("domain_temperature", {"temperature": 1e9}, [9, 9, 3, 3, 3, 3, 3, 3]),  # all alike
        ("domain_temperature", {"temperature": 2}, [10.54, 10.54, *[2.485] * 6]),  # 36 shared as 24**0.5 : 12**0.5
        ("domain_weighted", {}, [4.5, 4.5, *[4.5] * 6]),  # 9 : 27
        ("domain_weighted", {"domain_weights": ["b=1", "a=10"]}, [12, 12, *[2] * 6]),  # a is in each batch twice
    ],
)
def test_shares_of_domains_are_met_in_each_pass_and_exactly_on_average(
    kind: str, more: dict[str, Any], expected: list[float]
) -> None:
    sampler, counts = sampler_of(kind, **more), np.zeros(8)
    for number in range(300):
        found = identities(sampler, number)
        assert found.shape == (12, 3)
        used = np.bincount(found.ravel(), minlength=8)
        assert (np.abs(used - expected) < 2).all()  # the domain is rounded, and then its identities
        of_domain = np.bincount(OF_DOMAIN, weights=used)
        assert (np.abs(of_domain - np.bincount(OF_DOMAIN, weights=np.array(expected))) < 1).all()
        counts += used
    assert counts / 300 == pytest.approx(expected, abs=0.15)


def test_domains_with_shares_are_spread_evenly_over_the_pass() -> None:
    labels = np.repeat(np.arange(60), 20)
    sampler = pk_sampler(labels, (labels >= 50).astype(int), NAMES, settings("domain_balanced", p=8, k=4))
    found = identities(sampler, 2, labels) >= 50
    assert len(found) == 37
    assert set(found.sum(1).tolist()) <= {3, 4, 5}
    cumulated = np.cumsum(found.sum(1)) - 4 * np.arange(1, 38)
    assert np.ptp(cumulated) <= 2


@pytest.mark.parametrize(("domains_per_batch", "expected"), [(1, {(2,), (4,)}), (2, {(1, 1)})])
def test_grouped_domains_has_few_domains_in_a_batch(domains_per_batch: int, expected: set[tuple[int, ...]]) -> None:
    # Two domains of four identities, of three and of one group each.
    labels = np.repeat(np.arange(8), [6] * 4 + [2] * 4)
    domains, seen = (labels >= 4).astype(int), Counter[int]()
    config = settings("grouped_domains", p=4, domains_per_batch=domains_per_batch, epoch="pass")
    sampler = pk_sampler(labels, domains, NAMES, config)
    # Pieces of four: three and one. Pieces of two, for two domains a batch: six and two, of which two fit beside two.
    assert len(sampler) == {1: 4, 2: 2}[domains_per_batch]
    for number in range(40):
        found = identities(sampler, number, labels) // 4
        assert len(found) == len(sampler)
        assert (np.diff(found, axis=1) != 0).sum(1).max() <= domains_per_batch - 1  # one domain after the other
        in_each = [len(np.unique(batch)) for batch in found]
        assert in_each == [domains_per_batch] * len(found)
        seen.update(found.ravel().tolist())
    assert seen == {1: {0: 480, 1: 160}, 2: {0: 160, 1: 160}}[domains_per_batch]


def test_each_of_two_processes_gets_one_domain_of_a_grouped_batch() -> None:
    labels = np.repeat(np.arange(32), 8)
    sampler = pk_sampler(labels, labels // 8, list("abcd"), settings("grouped_domains", p=8, k=4))
    for index in range(30):
        halves = labels[sampler.batch_at(index)].reshape(2, 16) // 8
        assert (halves == halves[:, :1]).all()
        assert halves[0, 0] != halves[1, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_any_batch_is_the_same_after_a_resume_and_in_each_process(kind: str) -> None:
    changes: dict[str, Any] = {"p": 2, "seed": 5}
    whole = [sampler.batch_at(index).tolist() for sampler in [sampler_of(kind, **changes)] for index in range(60)]
    resumed = sampler_of(kind, **changes)
    resumed.require_same({**sampler_of(kind, **changes).fingerprint(), "batch_index": 37})
    assert [resumed.batch_at(index).tolist() for index in (37, 59, 3, 38, 0)] == [
        whole[index] for index in (37, 59, 3, 38, 0)
    ]
    assert [sampler_of(kind, p=2, seed=6).batch_at(index).tolist() for index in range(60)] != whole
    passes = [sampler_of(kind, **changes).batches_of(number).tolist() for number in range(2)]
    assert passes[0] != passes[1]
    assert [*passes[0], *passes[1]][:60] == whole[: len(passes[0]) + len(passes[1])]


@given(
    sizes=st.lists(st.integers(1, 20), min_size=6, max_size=12),
    kind=st.sampled_from(KINDS),
    p=st.integers(1, 3),
    k=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_any_sizes_give_whole_batches_and_the_length_that_is_told(
    sizes: list[int], kind: str, p: int, k: int, seed: int
) -> None:
    p, k = 2 * p, max(2, k)
    labels, of_domain = np.repeat(np.arange(len(sizes)), sizes), np.arange(len(sizes)) % 2
    p = min(p, 2 * (len(sizes) // 2))
    sampler = pk_sampler(labels, of_domain[labels], NAMES, settings(kind, p, k, seed, "pass"))
    found = identities(sampler, 1, labels)
    assert len(found) == len(sampler) == batches_per_epoch(sizes, p, k, "pass", kind, of_domain)  # type: ignore[arg-type]
    if kind == "grouped_domains":
        assert (np.sort(of_domain[found], axis=1) == [0] * (p // 2) + [1] * (p // 2)).all()


def test_images_come_again_only_after_all_groups_of_their_identity() -> None:
    labels = np.array([0, 1, 0, 1, 0, 2, 0, 1, 0])  # five, three and one image
    groups = draw_groups(labels, np.array([5, 0, 2]), 2, np.random.default_rng(0))
    assert labels[groups].tolist() == [[0, 0]] * 5 + [[2, 2]] * 2
    for shuffle in (groups[:2], groups[2:4]):
        assert len(np.unique(shuffle)) == 4
    assert groups[5:].tolist() == [[5, 5]] * 2


def rare_domain(version: int) -> DomainSharesPK:
    """Return a sampler of a domain that has nine tenths of the batches, and one of 200 identities with the rest."""
    of_domain = np.repeat([0, 1], [20, 200])
    labels = np.repeat(np.arange(220), 4)
    return DomainSharesPK(labels, of_domain[labels], [9, 1], 8, 4, version=version)


def test_any_two_identities_of_a_rarely_shown_domain_come_in_one_pass_now_and_then() -> None:
    together = {}
    for version in (1, 2):
        met = np.zeros((220, 220), dtype=bool)
        sampler = rare_domain(version)
        for number in range(300):
            labels = np.unique(sampler.batches_of(number) // 4)
            met[np.ix_(labels, labels)] = True
        rare = met[20:, 20:]
        together[version] = rare[~np.eye(200, dtype=bool)].mean()
        assert np.diagonal(rare).all()
    assert together[1] < 0.5
    assert together[2] > 0.9


def test_a_run_of_the_earlier_order_resumes_with_it() -> None:
    weighted = settings("domain_balanced")
    now = pk_sampler(LABELS, OF_DOMAIN[LABELS], NAMES, weighted)
    assert now.fingerprint()["version"] == 2
    saved = {key: value for key, value in now.fingerprint().items() if key != "version"}
    before = pk_sampler(LABELS, OF_DOMAIN[LABELS], NAMES, weighted, saved)
    before.require_same(saved)
    assert before.batches_of(0).tolist() != now.batches_of(0).tolist()
    pk_sampler(LABELS, OF_DOMAIN[LABELS], NAMES, weighted, now.fingerprint()).require_same(now.fingerprint())


def test_shares_and_their_rounding() -> None:
    assert share_out(10, [1, 1, 8], [9, 1, 5]).tolist() == [4, 1, 5]
    drawn = np.array([round_at_random(np.array([0.5, 1.25, 2.25]), np.random.default_rng(n)) for n in range(400)])
    assert (drawn.sum(1) == 4).all()
    assert drawn.mean(0) == pytest.approx([0.5, 1.25, 2.25], abs=0.08)
    assert all(round_at_random(np.full(7, 3 / 7), np.random.default_rng(n)).sum() == 3 for n in range(50))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "domain_weighted", "domain_weights": ["a=0"]}, "'a=0'; expected NAME=WEIGHT with a positive weight"),
        ({"kind": "domain_weighted", "domain_weights": ["a"]}, "expected NAME=WEIGHT"),
        ({"kind": "domain_weighted", "domain_weights": ["a=1", "a=2"]}, "each data set once"),
        ({"temperature": 0.5}, r"sampler\.temperature is 0\.5; expected a number of 1 or more"),
        ({"domains_per_batch": 0}, r"sampler\.domains_per_batch is 0"),
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        RunConfig().replace(sampler=change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"domain_weights": ["a=1"]}, r"domain_weights is given, but sampler\.kind union_pk does not use it; choose"),
        ({"kind": "domain_weighted", "domain_weights": ["a=1", "bb=1"]}, "no domain bb"),
        ({"kind": "domain_weighted"}, r"no weight for a, b; .* --sampler\.domain_weights \"\[a=1, b=1\]\""),
        (
            {"kind": "domain_weighted", "domain_weights": ["a=1"]},
            r"has no weight for b; .* --sampler\.domain_weights \"\[a=1, b=1\]\"",
        ),
        ({"kind": "grouped_domains", "ids_per_batch": 5}, "5 identities a batch are no multiple of 2 domains a batch"),
        ({"kind": "grouped_domains", "ids_per_batch": 8}, "a has 2 train identities, but .* takes 4 of one data set"),
    ],
)
def test_what_only_the_data_can_refuse_is_an_error_of_their_check(change: dict[str, Any], message: str) -> None:
    domains = [domain("a", 2, 4), domain("b", 6, 4)]
    config = RunConfig().replace(sampler=change)
    problems, composition = check_batches(domains, config)
    assert composition is None
    assert [problem.level for problem in problems][-1] == "error"
    with pytest.raises(JointreidError, match=message) as refusal:
        make_sampler(join(domains), config.replace(sampler={"ids_per_batch": min(8, config.sampler.ids_per_batch)}))
    assert problems[-1].message == str(refusal.value)


@pytest.mark.parametrize("kind", KINDS)
def test_the_check_shows_how_a_pass_is_composed_and_the_forecast_counts_its_batches(kind: str) -> None:
    domains = [domain("a", 32, 40), domain("b", 32, 8)]
    config = settings(kind, p=4, k=4, epoch="pass")
    problems, composition = check_batches(domains, config)
    assert problems == []
    assert composition is not None
    assert composition.uneven == []
    a, b = (sum(composition.fifths[name]) for name in NAMES)
    # Of 24 batches of 16 images, 12 of either domain; of 96; and of 32 with two domains each.
    expected = {
        "id_uniform": (128, 128),
        "domain_balanced": (768, 768),
        "domain_temperature": (1061, 475),
        "domain_weighted": (384, 1152),
        "grouped_domains": (256, 256),
    }
    assert (a, b) == pytest.approx(expected[kind], abs=5)
    sampler = make_sampler(join(domains), config)
    assert (a + b) // 16 == len(sampler)
    assert iterations([40] * 32 + [8] * 32, config, [0] * 32 + [1] * 32) == 120 * len(sampler)
