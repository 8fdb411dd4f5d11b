"""Properties for any data: tables are read back, numbers are ranks, batches resume, rankings do not depend on order.

New cases are drawn only when a test changes, so that a test that fails here fails everywhere.
"""

import csv
import io
import json
import tempfile
from collections import defaultdict
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from jointreid.data.joint import join
from jointreid.data.label_space import LabelSpace
from jointreid.data.manifest import read_manifest, write_manifest
from jointreid.data.protocols import canonical_order
from jointreid.data.records import MAX_CAMID, SPLITS, Domain, ImageRecord
from jointreid.data.table_row import camera_name
from jointreid.data.union_pk import UnionPK
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.ranking import RankingMetrics, evaluate_distmat, evaluate_ranking

pytestmark = pytest.mark.slow

bounded = settings(max_examples=100, derandomize=True, deadline=None)

# A folder that tables are about; nothing is opened in it.
ROOT = Path("/data/set")
# Texts as people write them: no control characters, no space at an end, nothing that is not Unicode.
TAME = st.text(st.characters(categories=("L", "N", "P", "S")), min_size=1, max_size=6)
# And any texts at all.
WILD = st.text(max_size=6)


# Manifests


def is_file_name(text: str) -> bool:
    return text not in ("", ".", "..") and "/" not in text and "\0" not in text


@st.composite
def domains(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> list[Domain]:
    """One to three domains of distinct images, with everything that a table can say of them."""
    names = draw(st.lists(texts.filter(bool), min_size=1, max_size=3, unique=True))
    found = []
    for name in names:
        files = draw(st.lists(texts.filter(is_file_name), min_size=1, max_size=5, unique=True))
        splits: dict[str, list[ImageRecord]] = {split: [] for split in SPLITS}
        for file in files:
            split = draw(st.sampled_from(SPLITS))
            flag = "" if split == "train" else draw(st.sampled_from(("", "junk", "distractor")))
            record = ImageRecord(
                ROOT / file,
                draw(texts.filter(bool)),
                draw(st.integers(0, 3) | st.integers(0, MAX_CAMID)),
                box=draw(st.none() | st.tuples(*[st.integers(0, 9)] * 2, *[st.integers(1, 9)] * 2)),
                timestamp=draw(st.none() | st.floats(allow_nan=False, allow_infinity=False)),
                junk=flag == "junk",
                distractor=flag == "distractor",
            )
            splits[split].append(record)
        cameras = {record.camid for records in splits.values() for record in records}
        if draw(st.booleans()):
            cameras |= draw(st.sets(st.integers(0, 9), max_size=3))
        train, query, gallery = (tuple(records) for records in splits.values())
        rule, terms = draw(st.booleans()), draw(texts)
        found.append(Domain(name, train, query, gallery, rule, tuple(cameras), terms))
    return found


def written_and_read(given: list[Domain]) -> dict[str, Domain]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        try:
            write_manifest(given, path, root=ROOT)
        except JointreidError:
            assert list(Path(folder).iterdir()) == []
            raise
        return read_manifest(path)


@bounded
@given(domains(TAME))
def test_a_table_is_read_back_as_it_was_written(given: list[Domain]) -> None:
    try:
        found = written_and_read(given)
    except JointreidError as error:
        assume("is no id" not in str(error))  # `nan` and `-1` are letters and numbers too
        raise
    assert found == {domain.name: domain for domain in given}


@bounded
@given(domains(WILD))
@example([Domain("a", train=(ImageRecord(ROOT / "x", "-1", 0),))])
@example([Domain("a", train=(ImageRecord(ROOT / "x ", "1", 0),))])
@example([Domain(" a", train=(ImageRecord(ROOT / "x", "1", 0),))])
@example([Domain("a", train=(ImageRecord(ROOT / "x", "1\0", 0),))])
@example([Domain("a", train=(ImageRecord(ROOT / "x", "\udcff", 0),))])
@example([Domain("a", train=(ImageRecord(ROOT / "x", "1", 0), ImageRecord(ROOT / "x", "2", 0)))])
def test_what_no_table_can_hold_is_refused_and_nothing_else_is_written(given: list[Domain]) -> None:
    try:
        found = written_and_read(given)
    except JointreidError:
        return
    assert found == {domain.name: domain for domain in given}


@bounded
@given(domains(TAME), st.randoms(use_true_random=False))
def test_the_order_of_domains_and_rows_does_not_matter(given: list[Domain], random: Random) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder) / "a.csv", Path(folder) / "b.csv"
        try:
            write_manifest(given, first, root=ROOT)
        except JointreidError:
            assume(False)
        header, *rows = first.read_text().splitlines(keepends=True)
        random.shuffle(rows)
        second.write_text("".join([header, *rows]))
        side = first.with_name("a.domains.json")
        policies = list(json.loads(side.read_text()).items())
        random.shuffle(policies)
        second.with_name("b.domains.json").write_text(json.dumps(dict(policies)))
        assert read_manifest(first) == read_manifest(second)


def cells(*usual: str) -> st.SearchStrategy[str]:
    """Mostly the usual, now and then anything: a table of many cells is then read about as often as it is refused."""
    anything = WILD | st.sampled_from(["", "1.5", "-1", "nan", "True", "0.0", "9" * 12, "١", "½", " 1"])
    return st.integers(0, 19).flatmap(lambda number: anything if number == 0 else st.sampled_from(usual))


ROWS = st.tuples(cells("a", "b"), cells(*SPLITS), cells("1", "01", "1.0", "x"), cells("0", "1", "01", "1.0"))


@bounded
@given(st.lists(ROWS, min_size=1, max_size=6), st.sampled_from(["", "door"]))
def test_any_cells_are_refused_or_make_sound_domains(rows: list[tuple[str, str, str, str]], camera: str) -> None:
    rows = [(*row[:3], camera or row[3]) for row in rows]
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(("domain", "split", "path", "pid", "camid"))
    writer.writerows((name, split, f"{row}.jpg", pid, camid) for row, (name, split, pid, camid) in enumerate(rows))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(text.getvalue().encode(errors="surrogatepass"))
        try:
            found = read_manifest(path, "one_camera")
        except JointreidError as error:
            if not str(error).startswith(str(path)):
                raise
            return
    records = {record.path.name: (domain, record) for domain in found.values() for record in domain}
    assert len(records) == len(rows) == sum(len(list(domain)) for domain in found.values())
    camids = defaultdict(set)
    for row, (name, split, pid, camera) in enumerate(rows):
        domain, record = records[f"{row}.jpg"]
        assert (domain.name, record.pid) == (name, pid)
        assert record in getattr(domain, split)
        assert record.camid in domain.cameras
        camids[name, camera_name(camera)].add(record.camid)
    assert all(len(each) == 1 for each in camids.values())
    assert len({(name, *each) for (name, _), each in camids.items()}) == len(camids)


# The label space


@st.composite
def train_domains(draw: st.DrawFn) -> list[Domain]:
    """Domains with identities and cameras that others have too, and cameras that train does not show."""
    found = []
    for name in draw(st.lists(st.sampled_from(["msmt17", "a", "b", "market1501"]), min_size=1, unique=True)):
        people = draw(st.lists(st.tuples(st.sampled_from("123 é"), st.integers(0, 5)), min_size=1, max_size=6))
        train = [ImageRecord(Path(name) / f"{i}.jpg", pid, camid) for i, (pid, camid) in enumerate(people)]
        cameras = {camid for _, camid in people} | draw(st.sets(st.integers(0, 9), max_size=2))
        found.append(Domain(name, tuple(train), cameras=tuple(cameras)))
    return found


def shuffled(given: list[Domain], random: Random) -> list[Domain]:
    mixed = [
        Domain(each.name, tuple(random.sample(each.train, len(each.train))), cameras=each.cameras) for each in given
    ]
    random.shuffle(mixed)
    return mixed


@bounded
@given(train_domains(), st.sampled_from(("global", "local")), st.randoms(use_true_random=False))
def test_labels_are_ranks_behind_offsets(given: list[Domain], camera_ids: Any, random: Random) -> None:
    given = list(canonical_order(given))
    joint = join(given, camera_ids)
    space = joint.label_space
    assert sorted(set(joint.labels.tolist())) == list(range(space.num_ids))
    assert (joint.labels < space.num_ids).all()
    assert (joint.global_camids < space.num_cameras).all()
    assert [each.label_offset for each in space.domains] == offsets([len(each.train_pids) for each in given])
    classes = {
        (name, camid): space.global_camid(name, camid) for name, cameras in cameras_of(given) for camid in cameras
    }
    if camera_ids == "global":
        assert list(classes.values()) == list(range(space.num_cameras))
    else:
        assert set(classes.values()) == set(range(space.num_cameras))
    who = {(sample.domain_id, sample.record.pid): sample.label for sample in joint.samples}
    assert len(set(who.values())) == len(who) == space.num_ids
    for sample in joint.samples:
        assert sample.global_camid == classes[given[sample.domain_id].name, sample.record.camid]
    again = join(canonical_order(shuffled(given, random)), camera_ids)
    assert again == joint
    assert again.label_space.hash == space.hash
    assert LabelSpace.from_dict(json.loads(json.dumps(space.to_dict()))) == space


def offsets(sizes: list[int]) -> list[int]:
    return list(accumulate(sizes, initial=0))[:-1]


def cameras_of(given: list[Domain]) -> list[tuple[str, tuple[int, ...]]]:
    return [(each.name, each.cameras) for each in given]


# Batches


@bounded
@given(train_domains(), st.integers(1, 3), st.integers(0, 2**32), st.lists(st.integers(0, 30), min_size=1, max_size=6))
def test_a_batch_depends_on_its_index_alone(given: list[Domain], size: int, seed: int, indices: list[int]) -> None:
    joint = join(given)
    assume(size <= joint.label_space.num_ids)
    sampler = UnionPK(joint.labels, size, 2, seed)
    assert len(sampler) == max(1, len(joint) // (2 * size))
    for index in indices:
        batch = sampler.batch_at(index)
        assert batch.shape == (2 * size,)
        assert set(batch.tolist()) <= set(range(len(joint)))
        identities = joint.labels[batch].reshape(size, 2)
        assert (identities[:, 0] == identities[:, 1]).all()
        assert len(set(identities[:, 0].tolist())) == size
        resumed = UnionPK(joint.labels, size, 2, seed, "pass")
        resumed.require_same(json.loads(json.dumps(sampler.fingerprint())))
        assert resumed.batch_at(index).tolist() == batch.tolist()


@bounded
@given(train_domains(), st.integers(1, 3), st.integers(0, 2**32))
def test_the_first_pass_is_about_as_long_as_an_epoch_by_passes(given: list[Domain], size: int, seed: int) -> None:
    joint = join(given)
    assume(size <= joint.label_space.num_ids)
    sampler = UnionPK(joint.labels, size, 2, seed, "pass")
    groups = np.maximum(np.bincount(joint.labels) // 2, 1)
    # A pass takes no more groups than there are, and ends only when fewer than P identities have any left.
    most = int(groups.sum()) // size
    least = -(-int(np.sort(groups)[: len(groups) - size + 1].sum()) // size)
    assert least <= len(sampler) <= most


# Ranking


PER_QUERY = ("valid_queries", "average_precision", "inverse_negative_penalty", "first_match_rank", "cmc")


def assert_same(first: RankingMetrics, second: RankingMetrics) -> None:
    for name in PER_QUERY:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


@st.composite
def rankings(draw: st.DrawFn) -> tuple[Any, ...]:
    """Distances without ties [Q, G], the labels of queries and gallery, and an order of the gallery."""
    num_query, num_gallery = draw(st.integers(1, 6)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    distances = rng.permuted(np.tile(np.arange(num_gallery, dtype=float), (num_query, 1)), axis=1)
    pids, camids = (
        [rng.integers(0, high, count) for count in (num_query, num_gallery)] for high in (draw(st.integers(1, 4)), 3)
    )
    pids[0][0], camids[0][0] = pids[1][0], camids[1][0] + 1  # one query at least has a match
    return distances, (pids[0], pids[1], camids[0], camids[1]), rng.permutation(num_gallery)


def brute_force(distances: Any, who: tuple[Any, ...]) -> dict[str, list[Any]]:
    """Walk down each sorted row."""
    found: dict[str, list[Any]] = {name: [] for name in PER_QUERY[:4]}
    query_pids, gallery_pids, query_camids, gallery_camids = (part.tolist() for part in who)
    for i, row in enumerate(distances.tolist()):
        rank, ranks = 0, []
        for j in sorted(range(len(row)), key=row.__getitem__):
            match = gallery_pids[j] == query_pids[i]
            if match and gallery_camids[j] == query_camids[i]:
                continue
            rank += 1
            if match:
                ranks.append(rank)
        if ranks:
            precision = sum(k / r for k, r in enumerate(ranks, start=1)) / len(ranks)
            for name, value in zip(PER_QUERY, (i, precision, len(ranks) / ranks[-1], ranks[0]), strict=False):
                found[name].append(value)
    return found


@bounded
@given(rankings())
def test_a_ranking_is_that_of_brute_force_in_any_order_of_the_gallery(case: tuple[Any, ...]) -> None:
    distances, who, order = case
    metrics = evaluate_distmat(distances, *who)
    for name, expected in brute_force(distances, who).items():
        np.testing.assert_allclose(getattr(metrics, name), expected, rtol=1e-12, err_msg=name)
    query_pids, gallery_pids, query_camids, gallery_camids = who
    moved = evaluate_distmat(distances[:, order], query_pids, gallery_pids[order], query_camids, gallery_camids[order])
    assert_same(moved, metrics)


@bounded
@given(rankings(), st.lists(st.integers(0, 6), max_size=4), st.integers(1, 4096))
def test_chunks_and_memory_change_no_ranking(case: tuple[Any, ...], cuts: list[int], memory: int) -> None:
    distances, who, _ = case
    blocks = [block for block in np.split(distances, sorted(min(cut, len(distances)) for cut in cuts)) if len(block)]
    assert_same(evaluate_distmat(iter(blocks), *who), evaluate_distmat(distances, *who))
    rng = np.random.default_rng(len(distances))
    query, gallery = (rng.standard_normal((count, 5)) for count in distances.shape)
    assert_same(evaluate_ranking(query, gallery, *who, max_memory=memory), evaluate_ranking(query, gallery, *who))
