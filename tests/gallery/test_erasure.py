"""Erasure: after a purge no byte of a vector, thumbnail or name is in any file of the gallery."""

import io
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jointreid.cli import main
from jointreid.gallery.filters import parse_filter
from jointreid.gallery.gallery import Gallery
from jointreid.gallery.rows import FeatureModel, FeatureRows, Floats
from jointreid.gallery.thumbnails import with_thumbnails
from jointreid.messages.errors import JointreidError
from tests.gallery.feature_files import FINGERPRINT, index_small_galleries, person_features

MODEL = FeatureModel(FINGERPRINT)
IMAGES = 4
PEOPLE = ["Grzegorz-Brzęczyszczykiewicz", "Wilhelmina-Featherstone", "Bartholomew-Quigley", "Anastasia-Petrovna"]
SECRET = 1  # who is erased


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A noisy image for each of the people's photos, so that no two thumbnails share bytes."""
    folder = tmp_path / "images"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for row in range(len(PEOPLE) * IMAGES):
        pixels = draw.integers(0, 256, (64, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{PEOPLE[row // IMAGES]}-{row}.png")
    return folder


def rows_of(images: Path, person: int) -> FeatureRows:
    """Return the rows of one person, with thumbnails."""
    rows = range(IMAGES * person, IMAGES * (person + 1))
    name = PEOPLE[person]
    return with_thumbnails(
        FeatureRows.of(
            features()[list(rows)],
            [str(images / f"{name}-{row}.png") for row in rows],
            MODEL,
            columns={
                "pid": [name] * IMAGES,
                "name": [f"Mx {name}"] * IMAGES,
                "camera": [str(row % 2) for row in rows],
                "retention": [f"20{26 + person}-01-01"] * IMAGES,
            },
        ),
        32,
    )


def features() -> Floats:
    return person_features(len(PEOPLE), IMAGES)


def traces(images: Path, person: int) -> list[bytes]:
    """Return bytes that must not be anywhere once a person is erased: names, and parts of vectors and thumbnails."""
    name = PEOPLE[person]
    own = features()[IMAGES * person : IMAGES * (person + 1)]
    unit = own / np.linalg.norm(own, axis=1, keepdims=True)
    found = [name.encode(), name.encode("utf-16-le"), name.encode("utf-16-be"), name.upper().encode()]
    for vectors in (own, unit):
        # A quarter of a vector is a trace of it too: files may cut it or interleave columns.
        found += [row[at : at + 4].tobytes() for row in vectors for at in range(0, own.shape[1], 4)]
        found += [row.astype(np.float16)[:8].tobytes() for row in vectors]
        found += [row.astype(np.float64)[:4].tobytes() for row in vectors]
    jpegs = [content for content in rows_of(images, person).metadata["thumbnail"].to_pylist() if content]
    assert len(jpegs) == IMAGES
    for content in jpegs:
        begin = content.index(b"\xff\xda") + 14  # what comes before is the same in many
        found += [content[at : at + 16] for at in range(begin, len(content) - 16, 48)]
    return found


def found_in(folder: Path, needles: list[bytes]) -> dict[str, list[bytes]]:
    """Return the files below a folder that hold some of the needles, with three of these; names of files count too."""
    found = {}
    for path in sorted(folder.rglob("*")):
        content = str(path.relative_to(folder)).encode() + (path.read_bytes() if path.is_file() else b"")
        if count := [needle for needle in needles if needle in content][:3]:
            found[str(path.relative_to(folder))] = count
    return found


@pytest.fixture
def filled(tmp_path: Path, images: Path) -> Gallery:
    """A gallery of all people, added in three versions."""
    gallery = Gallery.open(tmp_path / "g")
    for person in range(len(PEOPLE)):
        gallery.add(rows_of(images, person))
    gallery.search(features()[0])  # builds the mirror
    return gallery


def die(*_: object) -> None:
    """Stands for a step before which the process is killed."""
    raise KeyboardInterrupt


def require_whole(gallery: Gallery, images: Path, gone: set[int]) -> None:
    """Require that the others are found as before, and nobody who is gone."""
    left = [person for person in range(len(PEOPLE)) if person not in gone]
    for person in left:
        found = gallery.search(features()[IMAGES * person], images=IMAGES, top=9)
        assert found.people[0].pid == PEOPLE[person]
        assert found.people[0].similarity == pytest.approx(1, abs=1e-5)
        assert {one.pid for one in found.people} == {PEOPLE[other] for other in left}
        keys = [hit.key for hit in found.people[0].hits]
        assert len(gallery.thumbnails(keys)) == IMAGES
        assert found_in(Path(gallery.uri), [PEOPLE[person].encode()])
    for person in gone:
        assert not found_in(Path(gallery.uri), traces(images, person))


def test_the_search_for_traces_finds_all_kinds(filled: Gallery, images: Path) -> None:
    """The vector and the mirror in float32, the name, and the thumbnail: each is there before a purge."""
    needles = traces(images, SECRET)
    found = found_in(Path(filled.uri), needles)
    assert any(name.startswith("people.lance/data") for name in found)
    assert any(name.startswith("mirror/features") for name in found)
    assert any(name.startswith("mirror/rows") for name in found)
    data = b"".join(path.read_bytes() for path in Path(filled.uri).rglob("*.lance") if path.is_file())
    jpeg = rows_of(images, SECRET).metadata["thumbnail"][0].as_py()
    assert jpeg[-300:-276] in data
    assert Image.open(io.BytesIO(jpeg)).size == (16, 32)


def test_a_purge_leaves_nothing(filled: Gallery, images: Path) -> None:
    removed = filled.remove(pid=PEOPLE[SECRET], purge=True)
    assert (removed.images, removed.people, removed.purged) == (IMAGES, (PEOPLE[SECRET],), True)
    assert not found_in(Path(filled.uri), traces(images, SECRET))
    require_whole(filled, images, {SECRET})


@pytest.mark.slow
def test_a_purge_reaches_the_index(filled: Gallery, images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are found in indexes; the 8-bit codes of features are not, so no index of before may be left."""
    index_small_galleries(monkeypatch, 4, 4)
    filled.compact()
    indices = Path(filled.uri) / "people.lance" / "_indices"
    before = {path.name for path in indices.iterdir()}
    name = PEOPLE[SECRET].encode()
    assert any(path.startswith("people.lance/_indices") for path in found_in(Path(filled.uri), [name]))
    assert not filled.search(features()[0]).exact
    filled.remove(pid=PEOPLE[SECRET], purge=True)
    assert filled.info()["index"]["indexed"] == 12
    after = {path.name for path in indices.iterdir()}
    assert len(before) == len(after) == 10  # four bitmaps, five trees, and the one over features
    assert not before & after
    require_whole(filled, images, {SECRET})


def test_what_was_removed_before_without_purge_goes_with_the_next(filled: Gallery, images: Path) -> None:
    needles = traces(images, SECRET)
    filled.remove(pid=PEOPLE[SECRET])
    assert found_in(Path(filled.uri) / "people.lance", needles)
    filled.remove(pid=PEOPLE[0], purge=True)
    require_whole(filled, images, {0, SECRET})


def test_compact_erases_what_was_removed(filled: Gallery, images: Path) -> None:
    filled.remove(where=parse_filter(f"name = 'Mx {PEOPLE[SECRET]}'"))
    filled.compact()
    require_whole(filled, images, {SECRET})


def test_expired_images_go(filled: Gallery, images: Path) -> None:
    """Expiry erases, also without `purge`; where nobody is due, the table is not written anew."""
    generation = filled.facts().generation
    nothing = filled.remove(expired=date(2026, 1, 1))
    assert (nothing.images, nothing.purged, filled.facts().generation) == (0, True, generation)
    assert nothing.render().endswith("\nnothing of those removed before is left in the gallery's files")
    dry = filled.remove(expired=date(2027, 6, 1), dry_run=True)
    assert (dry.images, dry.purged) == (2 * IMAGES, False)
    removed = filled.remove(expired=date(2027, 6, 1))
    assert (removed.people, removed.purged) == (tuple(sorted(PEOPLE[:2])), True)
    require_whole(filled, images, {0, 1})


def test_expiry_erases_who_was_removed_before_without_purge(filled: Gallery, images: Path) -> None:
    """They are no rows any more whose date could pass; the table is written anew for them, and only once."""
    kept = filled.remove(pid=PEOPLE[SECRET])
    assert not kept.purged
    filled.remove(pid=PEOPLE[2])
    filled.add(rows_of(images, 2))
    dry = filled.remove(expired=date(2026, 1, 1), dry_run=True)
    assert (dry.images, dry.purged) == (0, False)
    assert found_in(Path(filled.uri), traces(images, SECRET))
    again = Gallery.open(filled.uri)
    removed = again.remove(expired=date(2026, 1, 1))
    assert (removed.images, removed.purged) == (0, True)
    require_whole(again, images, {SECRET})
    generation = again.facts().generation
    again.remove(expired=date(2026, 1, 1))
    assert again.facts().generation == generation


def test_expiry_erases_what_an_interrupted_erasure_did_not(
    filled: Gallery, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was interrupted before the table was written anew: LanceDB's clean-up then keeps a few removed rows."""
    row = IMAGES * SECRET
    path = images / f"{PEOPLE[SECRET]}-{row}.png"
    vector = (features() / np.linalg.norm(features(), axis=1, keepdims=True))[row]
    needles = [vector[at : at + 4].tobytes() for at in range(0, vector.size, 4)]
    filled.compact()
    assert filled.remove(where=parse_filter(f"path = '{path}'")).images == 1
    with monkeypatch.context() as patch:
        patch.setattr(type(filled._store), "_connected", die)
        with pytest.raises(KeyboardInterrupt):
            filled.compact()
    Gallery.open(filled.uri).search(features()[0])  # ends the clean-up
    assert found_in(Path(filled.uri), needles)
    filled.remove(expired=date(2026, 1, 1))
    assert not found_in(Path(filled.uri), needles)
    assert filled.select().num_rows == len(PEOPLE) * IMAGES - 1


@pytest.mark.slow
def test_the_last_person_goes_too(filled: Gallery, images: Path) -> None:
    for person in range(len(PEOPLE)):
        filled.remove(pid=PEOPLE[person], purge=True)
        assert not found_in(Path(filled.uri), traces(images, person))
    assert filled.search(features()[0]).people == ()
    filled.add(rows_of(images, 2))
    require_whole(filled, images, {0, 1, 3})


def test_a_purge_reaches_what_a_broken_addition_left(tmp_path: Path, images: Path) -> None:
    """A file that no version refers to, as a process leaves it that is killed while it adds."""
    gallery = Gallery.open(tmp_path / "g")
    gallery.add(rows_of(images, 0))
    other = Gallery.open(tmp_path / "other")
    other.add(rows_of(images, SECRET))
    (left,) = (tmp_path / "other" / "people.lance" / "data").iterdir()
    left.rename(tmp_path / "g" / "people.lance" / "data" / left.name)
    assert found_in(tmp_path / "g", traces(images, SECRET))
    assert gallery.remove(pid=PEOPLE[SECRET], purge=True).images == 0
    assert not found_in(tmp_path / "g", traces(images, SECRET))


def test_an_interrupted_purge_is_ended_by_whoever_comes_next(
    filled: Gallery, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(type(filled._store), "_remove_leftovers", die)
        with pytest.raises(KeyboardInterrupt):
            filled.remove(pid=PEOPLE[SECRET], purge=True)
    assert found_in(Path(filled.uri), traces(images, SECRET))
    again = Gallery.open(filled.uri)
    again.search(features()[0])
    require_whole(again, images, {SECRET})
    assert not list(Path(filled.uri).glob("erasing*"))


def test_whom_to_remove_must_be_clear(tmp_path: Path) -> None:
    gallery = Gallery.open(tmp_path / "g")
    columns: dict[str, Sequence[object]] = {"pid": ["1", "1", "2", "2"], "domain": ["a", "b", None, "b"]}
    gallery.add(FeatureRows.of(person_features(4, 1), ["a", "b", "c", "d"], MODEL, columns=columns))
    with pytest.raises(JointreidError, match=r"several domains \(b, no domain\).*--domain \(--domain \"\" for those"):
        gallery.remove(pid="2")
    for given in ([], ["--domain", "b"], ["--domain", ""]):
        assert main(["gallery", "remove", gallery.uri, "--pid", "2", "--dry-run", *given]) == (0 if given else 2)
    with pytest.raises(JointreidError, match=r"pid 1 is in several domains \(a, b\).*say in which.*--domain"):
        gallery.remove(pid="1", purge=True)
    with pytest.raises(JointreidError, match=r"pid 1 is in several domains \(a, b\)"):
        gallery.remove(pid="1", where=parse_filter("path = a"), dry_run=True)
    assert gallery.remove(pid="1", where=parse_filter("domain = a"), dry_run=True).images == 1
    for domain in (None, ""):
        with pytest.raises(JointreidError, match="nothing says whom to remove; give a pid, a filter or a retention"):
            gallery.remove(domain=domain, purge=True)
    for pid, images in (("1", 0), ("2", 1)):
        assert gallery.remove(pid=pid, domain="", dry_run=True).images == images  # those without a domain
    assert gallery.remove(pid="1", domain="a", dry_run=True).images == 1
    assert gallery.select().num_rows == 4
    assert gallery.remove(pid="1", domain="a", purge=True).images == 1
    assert gallery.select()["path"].to_pylist() == ["b", "c", "d"]  # a row without a domain stays
