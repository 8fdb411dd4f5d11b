"""A gallery against a slow search, what re-adding and other models do, and several writers at once."""

import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from jointreid.gallery import index, search
from jointreid.gallery.changes import Added
from jointreid.gallery.filters import condition, parse_filter
from jointreid.gallery.gallery import Gallery
from jointreid.gallery.rows import FeatureModel, FeatureRows, Floats
from jointreid.gallery.search import similarities
from jointreid.messages.errors import JointreidError
from tests.gallery.feature_files import (
    DIMS,
    FINGERPRINT,
    index_small_galleries,
    people_file,
    person_features,
    write_features,
)

MODEL = FeatureModel(FINGERPRINT)


def slow_search(features: Floats, pids: list[str], query: Floats, left: list[int]) -> dict[str, float]:
    """Return pid -> similarity of the nearest image, of the images that are left, the nearest person first."""
    best: dict[str, float] = {}
    for row in left:
        product = float(np.dot(features[row], query))
        cosine = product / float(np.linalg.norm(features[row]) * np.linalg.norm(query))
        best[pids[row]] = max(best.get(pids[row], -2.0), cosine)
    return dict(sorted(best.items(), key=lambda item: -item[1]))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Gallery:
    """A gallery of 30 people with 4 images each, by camera 0 to 3."""
    folder = tmp_path_factory.mktemp("people")
    gallery = Gallery.open(folder / "g")
    assert gallery.add(people_file(folder / "e.parquet", people=30)) == Added(120, 0, 0)
    return gallery


PIDS = [f"person-{row // 4}" for row in range(120)]


@pytest.fixture
def indexed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Index galleries from 70 images on, and use the index where a filter leaves 50."""
    index_small_galleries(monkeypatch, 70, 50)


@pytest.mark.parametrize("cameras", [(), ("1",), ("0", "3"), ("1", "9")])
def test_search_finds_what_a_slow_search_finds(people: Gallery, cameras: tuple[str, ...]) -> None:
    features = person_features(30, 4)
    where = condition("camera", "in", *cameras) if cameras else None
    left = [row for row in range(120) if not cameras or str(row % 4) in cameras]
    for query in person_features(5, 1, seed=7):
        found = people.search(query, top=6, images=2, where=where)
        expected = slow_search(features, PIDS, query, left)
        assert [person.pid for person in found.people] == list(expected)[:6]
        assert np.allclose([person.similarity for person in found.people], list(expected.values())[:6], atol=1e-6)
        assert (found.searched, found.total, found.exact) == (len(left), 120, True)
        assert found.searched_people == len({PIDS[row] for row in left})
        for person in found.people:
            theirs = [row for row in left if PIDS[row] == person.pid]
            scores = sorted((slow_search(features, PIDS, query, [row])[PIDS[row]] for row in theirs), reverse=True)
            assert np.allclose([hit.similarity for hit in person.hits], scores[:2], atol=1e-6)
            assert {hit.path for hit in person.hits} <= {f"/data/{row}.jpg" for row in theirs}


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_many_chosen_rows_are_compared_by_threads(share: float) -> None:
    draw = np.random.default_rng(0)
    features, query = draw.standard_normal((30_000, 8), dtype=np.float32), draw.standard_normal(8, dtype=np.float32)
    chosen = np.sort(draw.choice(30_000, round(share * 30_000), replace=False))
    found = similarities(features, query, chosen)
    assert np.allclose(found, [row @ query for row in features[chosen]], atol=1e-5)


def test_nobody_is_the_answer_below_the_threshold(people: Gallery) -> None:
    known, unknown = person_features(30, 4)[5], person_features(1, 1, seed=99)[0]
    assert [person.pid for person in people.search(known, threshold=0.8).close] == ["person-1"]
    found = people.search(unknown, threshold=0.95)
    assert found.nobody
    assert found.people
    assert "nobody: the nearest has similarity 0." in found.render()
    assert "different" in found.render()
    assert not people.search(unknown).nobody
    nothing = people.search(known, where=parse_filter("camera = 9"), threshold=0.5)
    assert nothing.nobody
    assert not nothing.people
    assert "no image is left to compare with" in nothing.render()


@pytest.mark.slow
def test_the_index_finds_what_a_whole_comparison_finds(tmp_path: Path, indexed: None) -> None:
    gallery = Gallery.open(tmp_path / "g")
    gallery.add(people_file(tmp_path / "e.parquet", people=30))
    assert gallery.info()["index"] == {"kind": "IVF_HNSW_SQ", "indexed": 120, "unindexed": 0}
    gallery.add(FeatureRows.of(person_features(2, 1, seed=5), ["a", "b"], MODEL, columns={"pid": ["a", "b"]}))
    features = np.concatenate([person_features(30, 4), person_features(2, 1, seed=5)])
    pids = [*PIDS, "a", "b"]
    for query in person_features(5, 1, seed=7):
        # All rows; more than half of them, which are filtered afterwards; fewer, which the index filters itself.
        for cameras in (None, (0, 1, 3), (0, 3)):
            where = None if cameras is None else parse_filter(f"camera in {cameras}")
            left = list(range(122)) if cameras is None else [row for row in range(120) if row % 4 in cameras]
            found = gallery.search(query, top=4, where=where)
            assert not found.exact
            expected = slow_search(features, pids, query, left)
            assert np.allclose([one.similarity for one in found.people], list(expected.values())[:4], atol=1e-5)
        assert gallery.search(query, where=parse_filter("camera = 1")).exact


@pytest.mark.slow
def test_as_many_people_are_found_as_asked_for_where_the_index_gives_images_of_few(
    tmp_path: Path, indexed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Gallery.open(tmp_path / "g")
    gallery.add(people_file(tmp_path / "e.parquet", people=3, images=40))
    monkeypatch.setattr(search, "_MOST_FROM_INDEX", 32)  # all of one person
    found = gallery.search(person_features(1, 1)[0], top=9)
    assert [person.pid for person in found.people] == ["person-0", *(person.pid for person in found.people[1:])]
    assert len(found.people) == 3
    assert found.exact


@pytest.mark.slow
def test_warming_up_reads_the_index_and_changes_no_answer(
    tmp_path: Path, indexed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lancedb.table import LanceTable

    read: list[str] = []
    monkeypatch.setattr(LanceTable, "prewarm_index", lambda self, name: read.append(name))
    gallery, query = Gallery.open(tmp_path / "g"), person_features(1, 1)[0]
    with pytest.raises(JointreidError, match="is no gallery"):
        gallery.warm_up()
    for people, expected in ((1, []), (30, ["feature_idx"])):  # without an index, and with one
        gallery.add(people_file(tmp_path / f"{people}.parquet", people=people))
        cold, opened = Gallery.open(tmp_path / "g").search(query), Gallery.open(tmp_path / "g")
        opened.warm_up()
        assert opened.search(query) == cold
        assert read == expected


@pytest.mark.slow
def test_many_new_rows_are_taken_into_the_index(tmp_path: Path, indexed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_UNINDEXED", 5)
    gallery = Gallery.open(tmp_path / "g")
    gallery.add(people_file(tmp_path / "e.parquet", people=10))
    assert gallery.info()["index"] is None
    gallery.add(people_file(tmp_path / "more.parquet", people=20))
    assert gallery.info()["index"] == {"kind": "IVF_HNSW_SQ", "indexed": 80, "unindexed": 0}
    gallery.search(person_features(1, 1)[0])
    gallery.add(people_file(tmp_path / "most.parquet", people=30))
    assert gallery.info()["index"] == {"kind": "IVF_HNSW_SQ", "indexed": 120, "unindexed": 0}
    for row in (5, 60, 119):
        found = gallery.search(person_features(30, 4)[row], where=parse_filter("camera in (0, 1, 2, 3)"))
        assert not found.exact
        assert found.people[0].hits[0].path == f"/data/{row}.jpg"


def test_an_image_is_added_once(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "g")
    file = people_file(tmp_path / "e.parquet")
    assert gallery.add(file) == Added(24, 0, 0)
    assert gallery.add(file) == Added(0, 24, 0)
    more = people_file(tmp_path / "more.parquet", people=7)
    assert gallery.add(more) == Added(4, 24, 0)
    boxes = FeatureRows.of(person_features(2, 1), ["/data/0.jpg"] * 2, MODEL, columns={name: [1, 2] for name in "xywh"})
    assert gallery.add(boxes) == Added(2, 0, 0)
    assert gallery.select().num_rows == 30
    twice = FeatureRows.of(person_features(2, 1), ["c", "c"], MODEL, columns={"pid": ["1", "1"]})
    assert gallery.add(twice) == Added(1, 0, 1)
    two = FeatureRows.of(person_features(2, 1), ["d", "d"], MODEL, columns={"pid": ["1", "2"]})
    with pytest.raises(JointreidError, match=r"row 1 \(d\): is listed with pid 2, and in an earlier row with 1"):
        gallery.add(two)


def test_features_of_another_model_are_refused(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "g")
    gallery.add(people_file(tmp_path / "e.parquet"))
    other = write_features(tmp_path / "o.parquet", person_features(2, 1), info={"fingerprint": "cd" * 32})
    with pytest.raises(JointreidError, match=r"made by another model .cdcdcdcdcdcd. than the features in"):
        gallery.add(other)
    with pytest.raises(JointreidError, match="has 3 numbers; expected 16 finite numbers that are not all 0"):
        gallery.search(np.ones(3, dtype=np.float32))
    with pytest.raises(JointreidError, match="expected 16 finite numbers that are not all 0"):
        gallery.search(np.zeros(DIMS, dtype=np.float32))
    with pytest.raises(JointreidError, match="is no gallery; `jointreid gallery add` makes one"):
        Gallery.open(tmp_path / "none").search(np.ones(DIMS, dtype=np.float32))


def test_a_first_addition_that_fails_binds_the_gallery_to_no_model(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "g")
    wrong = write_features(tmp_path / "wrong.parquet", np.full((1, DIMS), np.nan, np.float32))
    with pytest.raises(JointreidError, match="finite"):
        gallery.add(wrong)
    other = write_features(tmp_path / "o.parquet", person_features(2, 1), info={"fingerprint": "cd" * 32})
    assert gallery.add(other) == Added(2, 0, 0)
    assert gallery.facts().model.fingerprint == "cd" * 32


def test_a_feature_of_another_model_than_the_gallery_that_is_there_now_is_refused(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "g")
    gallery.add(people_file(tmp_path / "e.parquet"))
    query = person_features(1, 1)[0]
    assert gallery.search(query, fingerprint=FINGERPRINT).total == 24
    shutil.rmtree(tmp_path / "g")
    other = write_features(tmp_path / "o.parquet", person_features(2, 1), info={"fingerprint": "cd" * 32})
    Gallery.open(tmp_path / "g").add(other)
    with pytest.raises(JointreidError, match="the feature to search for: made by another model"):
        gallery.search(query, fingerprint=FINGERPRINT)


def test_a_password_in_a_uri_is_refused_and_not_shown() -> None:
    with pytest.raises(JointreidError, match=r"^s3://\.\.\.@bucket/g: holds a password") as refused:
        Gallery.open("s3://me:secret@bucket/g")
    assert "secret" not in str(refused.value)


def test_nothing_is_made_where_there_is_no_gallery(tmp_path: Path) -> None:
    none = Gallery.open(tmp_path / "none")
    for ask in (none.info, none.compact, none.select, lambda: none.remove(pid="1", purge=True)):
        with pytest.raises(JointreidError, match="is no gallery; `jointreid gallery add` makes one"):
            ask()
    assert not (tmp_path / "none").exists()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    with pytest.raises(JointreidError, match=r"holds other files than a gallery's \(config.yaml\); name a new folder"):
        Gallery.open(tmp_path / "run").add(people_file(tmp_path / "e.parquet"))
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]


def test_a_batch_with_a_wrong_feature_adds_nothing(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "g")
    gallery.add(people_file(tmp_path / "e.parquet"))
    features = person_features(10_000, 1)
    features[9_999] = np.nan
    wrong = FeatureRows.of(features, [f"w{row}" for row in range(10_000)], MODEL)
    with pytest.raises(JointreidError, match=r"row 9999 \(w9999\): the feature is 0 or not finite"):
        gallery.add(wrong)
    assert gallery.select().num_rows == 24
    assert gallery.search(person_features(1, 1)[0]).total == 24


@pytest.mark.slow
def test_several_writers_and_readers_at_once(tmp_path: Path) -> None:
    """Each thread opens the gallery for itself, as processes do; all add one file in common."""
    common = people_file(tmp_path / "common.parquet")
    errors: list[BaseException] = []

    def add(number: int) -> None:
        try:
            gallery = Gallery.open(tmp_path / "g")
            gallery.add(common)
            paths = [f"{number}-{row}" for row in range(5)]
            gallery.add(FeatureRows.of(person_features(5, 1, seed=number), paths, MODEL))
            assert gallery.search(person_features(1, 1)[0]).total >= 29
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    gallery = Gallery.open(tmp_path / "g")
    assert gallery.select().num_rows == 24 + 4 * 5
    assert len(set(gallery.select()["key"].to_pylist())) == 44


@pytest.mark.slow
def test_a_gallery_that_is_open_sees_what_others_change(tmp_path: Path) -> None:
    reader, writer = Gallery.open(tmp_path / "g"), Gallery.open(tmp_path / "g")
    writer.add(people_file(tmp_path / "e.parquet"))
    query = person_features(6, 4)[9]
    assert reader.search(query).people[0].pid == "person-2"
    writer.remove(pid="person-2", purge=True)
    found = reader.search(query, top=9)
    assert found.total == 20
    assert "person-2" not in {person.pid for person in found.people}
    writer.add(tmp_path / "e.parquet")
    assert reader.search(query).people[0].pid == "person-2"
    writer.remove(pid="person-2")
    assert "person-2" not in {person.pid for person in reader.search(query, top=9).people}
    assert np.allclose(
        reader.search(query).people[0].similarity, Gallery.open(reader.uri).search(query).people[0].similarity
    )


@pytest.mark.slow
def test_searches_go_on_while_others_purge_and_add(tmp_path: Path, indexed: None) -> None:
    """A reader with the index, beside a writer that rewrites the table again and again."""
    writer, file = Gallery.open(tmp_path / "g"), people_file(tmp_path / "e.parquet", people=30)
    writer.add(file)
    stop, errors, searches = threading.Event(), [], []

    def search() -> None:
        reader = Gallery.open(tmp_path / "g")
        while not stop.is_set():
            try:
                found = reader.search(person_features(30, 4)[5], top=3)
                assert found.people[0].pid == "person-1"
                searches.append(found.total)
            except BaseException as error:
                errors.append(error)
                return

    thread = threading.Thread(target=search)
    thread.start()
    for round_ in range(4):
        writer.remove(pid=f"person-{5 + round_}", purge=True)
        writer.add(file)
    stop.set()
    thread.join()
    assert not errors
    assert len(searches) > 3
    assert set(searches) <= {116, 120}


def test_an_object_store_keeps_locks_and_the_matrix_in_the_cache_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder given as a URI stands for an object store: nothing beside the table is written to it."""
    monkeypatch.setenv("JOINTREID_CACHE", str(tmp_path / "cache"))
    (tmp_path / "store").mkdir()
    uri = (tmp_path / "store").as_uri()
    gallery = Gallery.open(uri)
    assert not gallery.exists()
    gallery.add(people_file(tmp_path / "e.parquet"))
    assert gallery.search(person_features(6, 4)[9]).people[0].pid == "person-2"
    assert [path.name for path in (tmp_path / "store").iterdir()] == ["people.lance"]
    assert {path.name for path in (tmp_path / "cache").rglob("*")} >= {"mirror", "write.lock", "state.json"}
    gallery.remove(pid="person-2", purge=True)
    for folder in ("store", "cache"):
        files = [path for path in (tmp_path / folder).rglob("*") if path.is_file()]
        assert files
        assert not [path for path in files if b"person-2" in path.read_bytes()]
