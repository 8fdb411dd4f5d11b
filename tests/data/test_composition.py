"""What passes are composed of: counts by domain, camera and fifth, and the interleaved order that makes them even."""

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jointreid.config import RunConfig
from jointreid.data.composition import PassComposition, compose_pass, realised_histogram, render_composition
from jointreid.data.even_pk import InterleavedPK
from jointreid.data.interleaving import interleaved_batches
from jointreid.data.joint import JointTrainSet, join
from jointreid.data.pk_sampler import PKSampler
from jointreid.data.protocols import TABLE_I
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.sampling import batches_per_epoch, make_sampler
from jointreid.data.union_pk import UnionPK


def test_the_histogram_counts_what_the_batches_held() -> None:
    def domain(name: str, cameras: list[int]) -> Domain:
        return Domain(name, tuple(ImageRecord(Path(f"{name}{i}"), "p", camid) for i, camid in enumerate(cameras)))

    train_set = join([domain("a", [0, 0, 5]), domain("b", [2]), domain("c", [1])])
    histogram = realised_histogram(train_set, [[0, 1, 2], [2, 2, 3]])
    assert histogram.domains == {"a": 5, "b": 1, "c": 0}
    assert histogram.cameras == [2, 3, 1, 0]
    assert all(type(count) is int for count in (*histogram.domains.values(), *histogram.cameras))


@cache
def table_i() -> JointTrainSet:
    """The train splits of Table I, the images of each data set spread over its identities by a gamma distribution."""
    domains = []
    for name, protocol in TABLE_I.items():
        ids, images = protocol.train.ids, protocol.train.images
        shares = np.random.default_rng(ids).gamma(2.0, size=ids)
        counts = np.maximum(2, np.round(shares / shares.sum() * images)).astype(int)
        records = [
            ImageRecord(Path(f"{name}/{pid}/{n}"), str(pid), 0)
            for pid, count in enumerate(counts)
            for n in range(count)
        ]
        domains.append(Domain(name, tuple(records)))
    return join(domains)


def sampler_of(kind: str, seed: int = 0) -> PKSampler:
    sampler = make_sampler(table_i(), RunConfig().replace(sampler={"kind": kind}, train={"seed": seed}))
    assert isinstance(sampler, PKSampler)
    return sampler


def compose(kind: str, seed: int = 0) -> PassComposition:
    composition = compose_pass(sampler_of(kind, seed), table_i().domain_ids, list(TABLE_I))
    assert composition is not None
    return composition


def test_with_the_sizes_of_table_i_the_papers_sampler_is_uneven_and_it_is_said() -> None:
    composition = compose("union_pk")
    assert sum(map(sum, composition.fifths.values())) == sampler_of("union_pk").batches_of(0).size
    first, *_, last = composition.fifths["cuhk_sysu"]
    assert first > 20 * last
    assert "cuhk_sysu" in composition.uneven
    *table, advice = render_composition(composition).splitlines()
    assert len(table) == 1 + len(TABLE_I)
    assert table[0].split()[-5:] == ["1/5", "2/5", "3/5", "4/5", "5/5"]
    assert f"{first:,}" in next(line for line in table if line.startswith("cuhk_sysu"))
    assert advice.startswith("uneven: ")
    assert "--sampler.kind interleaved" in advice


@pytest.mark.parametrize("seed", [0, 1])
def test_interleaved_spreads_every_domain_of_table_i_evenly(seed: int) -> None:
    composition = compose("interleaved", seed)
    for counts in composition.fifths.values():
        assert max(counts) - min(counts) <= 64  # one batch
    assert composition.uneven == []
    assert "interleaved" not in render_composition(composition)


def test_interleaved_spreads_every_identity_evenly() -> None:
    batches = sampler_of("interleaved").batches_of(0)
    labels = table_i().labels[batches[:, ::4]]
    place = np.repeat(np.arange(len(batches)) * 5 // len(batches), 16)
    counts = np.zeros((labels.max() + 1, 5), dtype=int)
    np.add.at(counts, (labels.ravel(), place), 1)
    total = counts.sum(axis=1)
    assert np.ptp(counts[total >= 5], axis=1).max() <= 3
    assert np.ptp(counts[total >= 5], axis=1).mean() < 1.6
    # At random it would be about 0.9 times the root of the number of groups, and more.
    many = total >= 15
    assert many.sum() > 50
    assert np.ptp(counts[many], axis=1).mean() < 2.2


def test_an_interleaved_pass_has_each_image_once_and_different_identities_in_a_batch() -> None:
    sampler = sampler_of("interleaved")
    union = sampler_of("union_pk")
    labels = table_i().labels
    images = np.bincount(labels)
    batches = sampler.batches_of(3)
    assert abs(len(batches) - len(union.batches_of(3))) <= len(batches) * 0.05
    identities = labels[batches].reshape(len(batches), 16, 4)
    assert (identities == identities[..., :1]).all()
    distinct = np.sort(identities[..., 0], axis=1)
    assert (distinct[:, 1:] > distinct[:, :-1]).all()
    seen = Counter(batches.ravel().tolist())
    assert max(count for image, count in seen.items() if images[labels[image]] >= 4) == 1
    used, groups = np.bincount(identities[..., 0].ravel(), minlength=len(images)), np.maximum(images // 4, 1)
    assert (used <= groups).all()
    assert (groups - used).sum() < 16


def test_interleaved_pairs_other_identities_in_each_pass_and_leaves_out_others() -> None:
    sampler = InterleavedPK(np.repeat(np.arange(10), 4), np.arange(40) // 20, 3, 4)
    pairs: Counter[tuple[int, int]] = Counter()
    left_out: Counter[int] = Counter()
    for number in range(600):
        batches = sampler.batches_of(number)[:, ::4] // 4
        for batch in np.sort(batches, axis=1).tolist():
            pairs.update((a, b) for a in batch for b in batch if a < b)
        left_out.update(set(range(10)) - set(batches.ravel().tolist()))
    assert len(pairs) == 45
    assert all(35 <= left_out[pid] <= 85 for pid in range(10))  # 60 expected, deviation 7
    first = Counter(int(pid) for number in range(600) for pid in sampler.batches_of(number)[0, ::4] // 4)
    assert all(130 <= first[pid] <= 230 for pid in range(10))  # 180 expected, deviation 11


@given(
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    p=st.integers(1, 6),
    k=st.integers(1, 5),
    seed=st.integers(0, 2**32),
)
def test_interleaved_takes_any_sizes(sizes: list[int], p: int, k: int, seed: int) -> None:
    p = min(p, len(sizes))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    sampler = InterleavedPK(labels, labels % 3, p, k, seed, "pass")
    groups = np.maximum(np.array(sizes) // k, 1)
    length = interleaved_batches(groups, p)
    assert len(sampler) == length == batches_per_epoch(sizes, p, k, "pass", "interleaved")
    assert np.minimum(groups, length).sum() >= p * length
    assert np.minimum(groups, length + 1).sum() < p * (length + 1)
    batches = sampler.batches_of(1)
    assert batches.shape == (length, p * k)
    identities = labels[batches].reshape(length, p, k)
    assert (identities == identities[..., :1]).all()
    distinct = np.sort(identities[..., 0], axis=1)
    assert (distinct[:, 1:] > distinct[:, :-1]).all()
    assert (np.bincount(identities[..., 0].ravel(), minlength=len(sizes)) <= groups).all()
    seen = Counter(batches.ravel().tolist())
    assert all(seen[i] <= 1 for i, pid in enumerate(labels.tolist()) if sizes[pid] >= k)
    # Any batch of any pass, whatever was asked before.
    assert sampler.batch_at(length + length // 2).tolist() == batches[length // 2].tolist()


def test_what_has_no_parts_to_compare_has_no_composition() -> None:
    labels, domains = np.repeat(np.arange(40), 20), np.repeat([0, 1], 400)
    assert compose_pass(UnionPK(labels, 16, 4), domains, ["a", "b"]) is not None
    assert compose_pass(UnionPK(labels, 16, 4), np.zeros(800, dtype=int), ["a"]) is None
    assert compose_pass(UnionPK(labels, 40, 5), domains, ["a", "b"]) is None  # four batches
