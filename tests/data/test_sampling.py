"""Batches of a few images: what each holds, how they follow from the seed, and how long an epoch is."""

import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from jointreid.config import RunConfig
from jointreid.data.joint import join
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.sampling import batches_per_epoch, make_sampler
from jointreid.data.union_pk import UnionPK
from jointreid.messages.errors import JointreidError
from jointreid.recipes import apply_recipe
from tests.data.sampled_labels import LABELS, SIZES, K, P


def batches(sampler: UnionPK, count: int) -> list[list[int]]:
    """The first batches of a sampler."""
    return [sampler.batch_at(index).tolist() for index in range(count)]


def cycle(labels: NDArray[np.int64], seed: int, number: int, p: int = P, k: int = K) -> list[list[int]]:
    """The batches of a cycle; where it ends follows from counting groups down, as the definition says."""
    sampler = UnionPK(labels, p, k, seed)
    step = 0
    for n in range(number + 1):
        left = {pid: max(size // k, 1) for pid, size in Counter(labels.tolist()).items()}
        found = []
        while len(left) >= p:
            batch = sampler.batch_at(step).tolist()
            found.append(batch)
            step += 1
            for pid in {int(labels[i]) for i in batch}:
                left[pid] -= 1
                if not left[pid]:
                    del left[pid]
        if n == number:
            return found
    raise AssertionError


def check_batch(labels: NDArray[np.int64], batch: list[int], p: int, k: int) -> None:
    """P different identities, grouped, with K images each; no image twice unless the identity has too few."""
    groups = [batch[i : i + k] for i in range(0, len(batch), k)]
    pids = [{int(labels[i]) for i in group} for group in groups]
    assert len(groups) == p
    assert all(len(pid) == 1 for pid in pids)
    assert len(set.union(*pids)) == p
    for (pid,), group in zip(pids, groups, strict=True):
        assert len(group) == k
        if int((labels == pid).sum()) >= k:
            assert len(set(group)) == k


def test_every_batch_has_p_identities_with_k_images() -> None:
    for batch in batches(UnionPK(LABELS, P, K), 200):
        check_batch(LABELS, batch, P, K)


def test_the_default_batch_is_16_times_4() -> None:
    labels = np.repeat(np.arange(20), 9)
    for batch in batches(UnionPK(labels), 30):
        check_batch(labels, batch, 16, 4)


def test_a_seed_draws_the_batches_that_it_always_drew() -> None:
    """A run that an earlier version began must be resumed with the batches that it would have seen."""
    sampler = UnionPK(np.array([0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 3, 3, 3]), 2, 2, seed=7)
    assert batches(sampler, 4) == [[6, 3, 8, 7], [4, 5, 12, 11], [0, 2, 10, 13], [1, 2, 11, 10]]


@pytest.mark.parametrize("number", [0, 1, 5])
def test_a_cycle_shows_no_image_twice(number: int) -> None:
    found = cycle(LABELS, 0, number)
    seen = Counter(i for batch in found for i in batch)
    for pid, size in SIZES.items():
        times = [seen[i] for i, label in enumerate(LABELS.tolist()) if label == pid]
        if size >= K:
            assert max(times) <= 1
            assert sum(times) <= size // K * K
        else:
            assert sum(times) in (0, K)  # one padded group


def test_a_cycle_of_equal_identities_shows_every_image_once() -> None:
    labels = np.repeat(np.arange(P), 2 * K)
    found = cycle(labels, 3, 2)
    assert sorted(i for batch in found for i in batch) == list(range(len(labels)))


def test_small_identities_are_padded_from_all_their_images() -> None:
    labels = np.array([0, 1, 1])
    groups = [group for batch in batches(UnionPK(labels, 2, 4), 200) for group in (batch[:4], batch[4:])]
    ones = [group for group in groups if group[0] != 0]
    assert len(ones) == 200
    # Four draws with replacement out of two: all alike with probability 1/8.
    assert 10 <= sum(len(set(group)) == 1 for group in ones) <= 40
    assert 330 <= sum(group.count(1) for group in ones) <= 470


def test_the_images_of_an_identity_are_shuffled_before_they_are_cut() -> None:
    labels = np.repeat(np.arange(2), 5)
    groups = [batch[i : i + 2] for seed in range(400) for batch in cycle(labels, seed, 0, 2, 2) for i in (0, 2)]
    assert len(groups) == 400 * 2 * 2
    together = Counter(tuple(sorted(group)) for group in groups)
    assert len(together) == 2 * 10
    assert all(50 <= count <= 112 for count in together.values())  # 80 expected, deviation 8
    used = Counter(i for group in groups for i in group)
    assert all(280 <= used[i] <= 360 for i in range(10))  # 4 of 5 each cycle: 320 expected, deviation 8


def test_every_identity_is_equally_likely_at_first() -> None:
    labels = np.repeat(np.arange(10), 4)
    seen = Counter(int(labels[i]) for seed in range(500) for i in UnionPK(labels, 2, 4, seed).batch_at(0)[::4])
    assert all(65 <= seen[pid] <= 135 for pid in range(10))  # 100 expected, deviation 9


def test_the_seed_decides_the_order() -> None:
    first = batches(UnionPK(LABELS, P, K, seed=1), 40)
    assert batches(UnionPK(LABELS, P, K, seed=1), 40) == first
    assert batches(UnionPK(LABELS, P, K, seed=2), 40) != first
    # Neighbouring seeds and cycles do not share their draws.
    assert cycle(LABELS, 0, 1) != cycle(LABELS, 1, 0)


def test_cycles_differ() -> None:
    assert cycle(LABELS, 0, 0) != cycle(LABELS, 0, 1)


@pytest.mark.parametrize(("images", "expected"), [(24, 2), (35, 2), (36, 3), (8, 1)])
def test_the_length_of_an_epoch_by_images_is_exact(images: int, expected: int) -> None:
    assert len(UnionPK(np.arange(images) % P, P, K)) == expected


def test_batches_run_on_over_the_ends_of_passes() -> None:
    passes = [batch for number in range(5) for batch in cycle(LABELS, 0, number, p=2)]
    assert batches(UnionPK(LABELS, 2, K), len(passes)) == passes
    lengths = {len(cycle(LABELS, 0, number, p=2)) for number in range(3)}
    assert lengths != {len(UnionPK(LABELS, 2, K))}


def repository_pass(images: list[int], p: int, k: int, seed: int) -> int:
    """Batches of one pass of the sampler of the BoT and AGW repositories, counted group by group."""
    rng = np.random.default_rng(seed)
    left = {pid: max(count, k) // k for pid, count in enumerate(images)}
    found = 0
    while len(left) >= p:
        for pid in rng.permutation(sorted(left))[:p].tolist():
            left[pid] -= 1
            if not left[pid]:
                del left[pid]
        found += 1
    return found


# Images of each identity: as many as the data sets have, spread by a gamma distribution or evenly.
def spread(ids: int, images: int, evenly: bool) -> list[int]:
    if evenly:
        return [images // ids + (i < images % ids) for i in range(ids)]
    shares = np.random.default_rng(ids).gamma(2.0, size=ids)
    return [max(2, int(count)) for count in np.round(shares / shares.sum() * images)]


@pytest.mark.parametrize(
    ("ids", "images", "evenly", "longer"),
    [
        (767, 7_368, True, 1.21),  # CUHK03, nearly all of 9 or 10 images: two groups each, 95 batches instead of 115
        (942, 4_374, True, 1.17),  # CUHK-SYSU
        (751, 12_936, False, 1.10),  # Market-1501
        (1_041, 30_248, False, 1.06),  # MSMT17
    ],
)
def test_an_epoch_by_passes_is_a_pass_of_the_repositories_sampler(
    ids: int, images: int, evenly: bool, longer: float
) -> None:
    counts = spread(ids, images, evenly)
    theirs = [repository_pass(counts, 16, 4, seed) for seed in range(3)]
    ours = batches_per_epoch(counts, 16, 4, "pass")
    assert abs(ours - np.mean(theirs)) <= 1.5
    assert batches_per_epoch(counts, 16, 4) / ours == pytest.approx(longer, abs=0.02)
    # What the peer's sampler calls its length counts groups that its pass leaves over.
    assert ours <= sum(max(count, 4) // 4 * 4 for count in counts) // 64


def test_an_epoch_by_passes_is_the_same_for_every_seed_and_draws_the_same_batches() -> None:
    samplers = [UnionPK(LABELS, 2, K, seed, "pass") for seed in range(4)]
    assert {len(sampler) for sampler in samplers} == {batches_per_epoch(list(SIZES.values()), 2, K, "pass")}
    lengths = [len(cycle(LABELS, seed, number, p=2)) for seed in range(4) for number in range(5)]
    assert min(lengths) <= len(samplers[0]) <= max(lengths)
    assert batches(samplers[3], 20) == batches(UnionPK(LABELS, 2, K, 3), 20)


def test_the_presets_of_the_repositories_take_their_epochs() -> None:
    records = tuple(ImageRecord(Path(f"{i}"), str(i % 16), 0) for i in range(16 * 7))
    train_set = join([Domain("a", records), Domain("b", records)])
    lengths = {
        preset: len(make_sampler(train_set, apply_recipe("bot", preset)))
        for preset in ("paper", "fastreid", "bot-repo", "agw-repo")
    }
    # 32 identities with one group of four each, of seven images: two batches, where floor(224 / 64) is 3.
    assert lengths == {"paper": 3, "fastreid": 3, "bot-repo": 2, "agw-repo": 2}


def test_batch_at_does_not_depend_on_what_was_asked_before() -> None:
    sampler, steps = UnionPK(LABELS, P, K), [50, 3, 51, 0, 17, 3]
    fresh = [UnionPK(LABELS, P, K).batch_at(step).tolist() for step in steps]
    assert [sampler.batch_at(step).tolist() for step in steps] == fresh


@pytest.mark.parametrize("start", [0, 1, 2, 3, 7, 29])
def test_resuming_anywhere_equals_never_stopping(start: int) -> None:
    whole = batches(UnionPK(LABELS, P, K, seed=5), 40)
    resumed = UnionPK(LABELS, P, K, seed=5)
    resumed.require_same(UnionPK(LABELS, P, K, seed=5).fingerprint())
    assert [resumed.batch_at(index).tolist() for index in range(start, 40)] == whole[start:]


@pytest.mark.parametrize("position", ["batch_index", "step"])  # as checkpoints of today and of before have it
def test_the_position_in_a_saved_state_does_not_matter(position: str) -> None:
    sampler = UnionPK(LABELS, P, K)
    sampler.require_same({**sampler.fingerprint(), position: 7})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed -1; expected an integer"),
        ({"seed": 0.0}, "seed 0.0; expected an integer"),
        ({"num_images": True}, "num_images True; expected an integer"),
        ({"seed": 4}, "saved with seed 4, now it is 0"),
        ({"num_images": 4}, "saved with num_images 4"),
        ({"images_per_id": K + 1}, "saved with images_per_id 4, now it is 3"),
        ({"ids_per_batch": P - 1}, "saved with ids_per_batch 3, now it is 4"),
        ({"cycle": 4}, "has the keys"),
    ],
)
def test_a_state_of_other_batches_is_refused(change: dict[str, Any], message: str) -> None:
    sampler = UnionPK(LABELS, P, K)
    with pytest.raises(JointreidError, match=message):
        sampler.require_same({**sampler.fingerprint(), **change})
    lacking = dict(list(sampler.fingerprint().items())[1:])
    with pytest.raises(JointreidError, match="has the keys"):
        sampler.require_same(lacking)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ids_per_batch": 8}, r"has 7 identities, but a batch needs 8 .* --sampler\.ids_per_batch"),
        ({"seed": -1}, "seed is -1"),
        ({"images_per_id": 0}, "4 identities x 0 images"),
    ],
)
def test_arguments_out_of_range_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        UnionPK(LABELS, **{"ids_per_batch": P, "images_per_id": K, **arguments})


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=12),
    p=st.integers(1, 6),
    k=st.integers(1, 5),
    seed=st.integers(0, 2**32),
    shuffle=st.randoms(use_true_random=False),
)
def test_any_label_multiset(sizes: list[int], p: int, k: int, seed: int, shuffle: Any) -> None:
    listed = [pid for pid, size in enumerate(sizes) for _ in range(size)]
    shuffle.shuffle(listed)
    labels = np.array(listed)
    if len(sizes) < p:
        with pytest.raises(JointreidError, match="identities"):
            UnionPK(labels, p, k, seed)
        return
    sampler = UnionPK(labels, p, k, seed)
    assert len(sampler) == max(1, len(labels) // (p * k))
    found = cycle(labels, seed, 1, p, k)
    assert found
    for batch in found:
        check_batch(labels, batch, p, k)
    seen = Counter(i for batch in found for i in batch)
    assert all(seen[i] <= 1 for i, pid in enumerate(listed) if sizes[pid] >= k)


def test_a_batch_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        UnionPK(LABELS, P, K).batch_at(0)[0] = 1


class TwoBatches:
    """A custom sampler that gives the batches it is made with, and claims a length."""

    def __init__(self, length: int, *batches: Any) -> None:
        self._length, self._batches = length, batches

    def __len__(self) -> int:
        return self._length

    def batch_at(self, index: int) -> Any:
        return self._batches[index]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([0, -1], "batch 1 holds -1 to 0; expected indices of the 3 train images, from 0"),
        ([0, 3], "batch 1 holds 0 to 3; expected indices"),
        ([], r"batch 1 is float64 \(0,\); expected 1 or more integers"),
        ([[0, 1]], r"batch 1 is int64 \(1, 2\)"),
        ([0.5], r"batch 1 is float64 \(1,\)"),
    ],
)
def test_the_batches_of_a_custom_sampler_are_checked(monkeypatch: pytest.MonkeyPatch, wrong: Any, message: str) -> None:
    train_set = join([Domain("a", tuple(ImageRecord(Path(f"{i}"), "p", 0) for i in range(3)))])
    custom = TwoBatches(0, [2, 0], wrong)
    monkeypatch.setattr("jointreid.data.custom_batches.custom_function", lambda key, kind: lambda *_: custom)
    sampler = make_sampler(train_set, RunConfig().replace(sampler={"kind": "mine:sampler"}))
    assert len(sampler) == 1  # an epoch has one batch at least
    assert sampler.batch_at(0).tolist() == [2, 0]
    assert sampler.batch_at(0).dtype == np.int64
    with pytest.raises(JointreidError, match=message):
        sampler.batch_at(1)


def test_the_batches_of_a_seed_are_what_they_were() -> None:
    # SHA-256 of the first 60 batches of these labels as of the first release.
    stream = np.concatenate([UnionPK(LABELS, P, K, seed=11).batch_at(index) for index in range(60)])
    assert hashlib.sha256(stream.astype("<i8").tobytes()).hexdigest()[:16] == "c8311bb885947edf"


def test_two_threads_get_the_batches_they_ask_for() -> None:
    expected = [UnionPK(LABELS, P, K).batch_at(index).tolist() for index in range(40)]
    sampler = UnionPK(LABELS, P, K)
    indices = np.random.default_rng(0).integers(40, size=400).tolist()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda index: sampler.batch_at(index).tolist(), indices))
    assert found == [expected[index] for index in indices]
