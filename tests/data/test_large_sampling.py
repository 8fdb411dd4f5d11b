"""The compiled draw against numpy, and batches of large data, which are found without those before them."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from jointreid.config import EpochLength, RunConfig
from jointreid.data.joint import join
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.sampling import make_sampler
from jointreid.data.sampling_numba import draw_identities
from jointreid.data.union_pk import UnionPK
from jointreid.messages.errors import JointreidError
from tests.data.sampled_labels import LABELS, K, P


def drawn_by_numpy(counts: NDArray[np.int64], p: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """The draw as numpy makes it, with a list of the identities that have groups left."""
    next_group, end = np.cumsum(counts) - counts, np.cumsum(counts)
    waiting, drawn = np.arange(len(counts)), []
    while len(waiting) >= p:
        chosen = rng.choice(waiting, p, replace=False)
        drawn.append(next_group[chosen])
        next_group[chosen] += 1
        waiting = waiting[next_group[waiting] < end[waiting]]
    return np.stack(drawn)


@given(
    counts=st.lists(st.integers(1, 9), min_size=1, max_size=60),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32),
    before=st.integers(0, 3),
)
def test_the_draw_is_that_of_numpy(counts: list[int], share: float, seed: int, before: int) -> None:
    p = max(1, round(share * len(counts)))
    rngs = [np.random.default_rng([seed, 3]) for _ in range(2)]
    for rng in rngs:
        rng.random(5)
        rng.integers(7, size=before)  # an odd number of them leaves half a word
    array = np.array(counts)
    assert draw_identities(array, p, rngs[0]).tolist() == drawn_by_numpy(array, p, rngs[1]).tolist()


@pytest.mark.parametrize("p", [206, 207, 400])  # numpy changes its method at a fiftieth of more than 10,000
def test_the_draw_of_large_batches_is_that_of_numpy(p: int) -> None:
    counts = np.random.default_rng(1).integers(1, 3, 10_320)
    ours, theirs = (
        draw_identities(counts, p, np.random.default_rng(p)),
        drawn_by_numpy(counts, p, np.random.default_rng(p)),
    )
    assert np.array_equal(ours, theirs)


LARGE = np.random.default_rng(3).permutation(np.repeat(np.arange(25_100), 10))


def test_passes_of_large_data_have_one_length_and_are_found_without_those_before() -> None:
    sampler = UnionPK(LARGE, seed=4)
    assert sampler.fingerprint() == {**UnionPK(LARGE, seed=4, version=1).fingerprint(), "version": 2}
    length = len(sampler.batches_of(0))
    assert sampler.place_of(10**9) == divmod(10**9, length)
    lengths = {len(UnionPK(LARGE, seed=seed, version=1).batches_of(0)) for seed in range(3)}
    assert all(0 <= other - length <= 3 for other in lengths)
    batches = sampler.batches_of(70)
    assert batches.shape == (length, 64)
    assert len(np.unique(batches)) == batches.size  # ten images each: none is padded, none comes twice
    identities = np.sort(LARGE[batches].reshape(length, 16, 4)[..., 0], axis=1)
    assert (identities[:, 1:] > identities[:, :-1]).all()
    assert np.array_equal(UnionPK(LARGE, seed=4).batch_at(70 * length + 5), batches[5])
    # Which identities a pass leaves out does not depend on their labels.
    left_out = np.setdiff1d(np.arange(25_100), identities)
    assert len(left_out) < 16


def test_a_run_on_large_data_resumes_with_the_version_that_it_was_started_with() -> None:
    records = tuple(ImageRecord(Path(f"{i}"), str(i % 500), 0) for i in range(2_000))
    train_set = join([Domain("a", records)])
    config = RunConfig()
    train_set.__dict__["labels"] = LARGE  # as if it had so many images
    assert make_sampler(train_set, config).fingerprint()["version"] == 2
    old = UnionPK(LARGE, version=1).fingerprint()
    resumed = make_sampler(train_set, config, {**old, "batch_index": 7})
    assert resumed.fingerprint() == old
    resumed.require_same({**old, "batch_index": 7})
    again = make_sampler(train_set, config, {**old, "version": 2})
    assert again.fingerprint()["version"] == 2
    with pytest.raises(JointreidError, match="has the keys"):
        again.require_same(old)


@pytest.mark.parametrize("epoch_length", ["images", "pass"])
def test_any_batch_of_a_million_images_is_there_at_once(epoch_length: EpochLength) -> None:
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(100_000), 10))
    UnionPK(LABELS, P, K).batch_at(0)  # compiles
    times = []
    for index in (0, 60 * 15_625, 120 * 15_625 + 1):
        since = time.process_time()
        UnionPK(labels, epoch_length=epoch_length).batch_at(index)
        times.append(time.process_time() - since)
    assert sorted(times)[1] < 3  # a second alone on this machine, see benchmarks
