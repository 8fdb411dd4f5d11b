"""Whatever stands in a name, a table or a list: it is read, or refused with an error for people.

Every case is drawn from a seed, and there is a number of them, not a time; a failure shows what the case was.
"""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from jointreid.config import DataConfig
from jointreid.data import readers
from jointreid.data.joint import join
from jointreid.data.label_space import LabelSpace
from jointreid.data.manifest import read_manifest, side_file
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.sources import load_domains
from jointreid.ingest import ingest
from jointreid.messages.errors import JointreidError

pytestmark = pytest.mark.slow

# What parsers trip over, besides single letters.
PIECES = [
    *("", "0", "-1", "00", "9" * 60, "1e999", "1_0", "-0", "0x1", "nan", "inf", "true", "null", "١", "²", "½"),
    *("_", "__", "_c", "c0", "_c1", "s1", ".", "..", "/", "//", "../", "\\", ".jpg", ".PNG", "a" * 300),
    *(" ", "\n", "\r", "\0", "\ufeff", "\u2028", "🙂", "e\u0301"),
    *('"', "'", ",", ";", "=", "#", "%s", "%(a)s", "[", "{", "}"),
]


def mutated_text(text: str, rng: random.Random) -> str:
    """Replace, add or cut out, once to four times."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randint(0, len(text))
        end = min(len(text), start + rng.choice((0, 0, 1, 1, 2, 7)))
        letter = chr(rng.randrange(rng.choice((128, 0xD800))))
        text = text[:start] + (rng.choice(PIECES) if rng.random() < 0.7 else letter) + text[end:]
    return text


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change single bytes, and sometimes cut, double or drop a part."""
    changed = bytearray(data)
    for _ in range(rng.randint(0, 5)):
        changed[rng.randrange(len(changed))] = rng.choice((0, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    whole = bytes(changed)
    start, end = sorted(rng.randrange(len(whole) + 1) for _ in range(2))
    return rng.choice((whole, whole[:end], whole + whole[start:end], whole[:start] + whole[end:]))


def reads(case: object, read: Callable[..., object], *arguments: Any, **options: Any) -> bool:
    """Return whether something is read; if not, the error must be one for people."""
    try:
        read(*arguments, **options)
    except JointreidError:
        return False
    except Exception as error:
        raise AssertionError(f"{type(error).__name__} from {case!r:.500}: {error}") from error
    return True


# Names that readers take labels from

_MARKET = ("bounding_box_train", "query", "bounding_box_test")
_SYSU = ("cuhksysu4reid/train", "cuhksysu4reid/query", "cuhksysu4reid/gallery")
NAMES = {
    "market1501": (_MARKET, "0002_c1s1_000451_03.jpg"),
    "dukemtmc": (_MARKET, "0005_c2_f0046985.jpg"),
    "cuhk03": (_MARKET, "0001_c1_1.png"),
    "cuhk_sysu": (_SYSU, "00123_s456_0000789_0.jpg"),
    "msmt17": (_MARKET, "0781_c11_0015.jpg"),
    "mine": (_MARKET, "7_c1.png"),
}


def test_every_reader_is_here() -> None:
    assert NAMES.keys() - {"mine"} == readers.READERS.keys()


def file_names(example: str, rng: random.Random, count: int) -> Iterator[str]:
    """Yield changed names that a folder can hold, some of bytes that are no text."""
    for _ in range(count):
        name = mutated_text(example, rng).replace("/", "").replace("\0", "")
        if rng.random() < 0.1:
            name = os.fsdecode(os.fsencode(name) + b"\xff" + os.fsencode(example[-4:]))
        if name not in ("", ".", "..", example) and len(os.fsencode(name)) < 256:
            yield name


@pytest.mark.parametrize("reader", NAMES)
def test_names_are_read_or_refused(reader: str, tmp_path: Path) -> None:
    folders, example = NAMES[reader]
    for folder in folders:
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / example).touch()
    data = DataConfig(sources=(f"{reader}={tmp_path}",), acknowledge_withdrawn=True)
    rng, read = random.Random(reader), 0
    for name in file_names(example, rng, 400):
        path = tmp_path / rng.choice(folders) / name
        path.touch()
        read += reads(name, load_domains, data)
        path.unlink()
    assert read > 10


def test_lists_are_read_or_refused(tmp_path: Path) -> None:
    for folder in ("train", "test"):
        (tmp_path / folder / "0000").mkdir(parents=True)
        (tmp_path / folder / "0000/0000_000_01_a.jpg").touch()
    line = "0000/0000_000_01_a.jpg 0\n"
    for split in ("train", "query", "gallery"):
        (tmp_path / f"list_{split}.txt").write_text(line)
    rng, read = random.Random(1), 0
    for number in range(1200):
        content = mutated_text(line * 2, rng).encode() if number % 2 else mutated_bytes(line.encode(), rng)
        (tmp_path / "list_train.txt").write_bytes(content)
        read += reads(content, load_domains, DataConfig(sources=(f"msmt17={tmp_path}",)))
    assert read > 10


def test_splits_in_json_are_read_or_refused(tmp_path: Path) -> None:
    (tmp_path / "images_labeled").mkdir()
    (tmp_path / "images_labeled/1_001_1_01.png").touch()
    entry = [["x/1_001_1_01.png", 1, 0]]
    content = json.dumps([{"train": entry, "query": entry, "gallery": entry}])
    rng, read = random.Random(2), 0
    for _ in range(1500):
        text = mutated_text(content, rng)
        (tmp_path / "splits_new_labeled.json").write_text(text)
        read += reads(text, load_domains, DataConfig(sources=(f"cuhk03={tmp_path}",)))
    assert read > 10


# Folders to ingest

FOLDERS = {
    "market": ["0002_c1s1_000451_03.jpg", "0002_c2s1_000451_03.jpg", "0003_c1s1_000451_03.jpg"],
    "imagefolder": ["ann/cam1/0002_c3_17.jpg", "ann/cam2/0002_c4_17.jpg", "bob/cam1/0002_c3_17.jpg"],
    "auto": ["train/ann/1.jpg", "test/bob/1.jpg", "test/bob/2.jpg"],
}


def make_tree(root: Path, names: Sequence[str]) -> None:
    """Make empty files of these names as far as a disk can hold them."""
    for name in names:
        parts = [part for part in name.replace("\0", "").split("/") if part not in ("", ".", "..")]
        path = root.joinpath(*parts)
        if any(len(os.fsencode(part)) > 255 for part in parts) or any(above.is_file() for above in path.parents):
            continue
        if parts and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


@pytest.mark.parametrize("layout", FOLDERS)
def test_folders_are_described_or_refused(layout: str, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "table.csv"
    rng, described = random.Random(layout), 0
    for _ in range(200):
        names = FOLDERS[layout] + [mutated_text(rng.choice(FOLDERS[layout]), rng) for _ in range(3)]
        make_tree(source, names)
        if reads(names, ingest, source, out, layout=layout, test_share=rng.choice((0.0, 0.5))):
            assert reads(names, read_manifest, out), names
            described += 1
        else:
            assert list(tmp_path.iterdir()) == [source]
        shutil.rmtree(source)
        out.unlink(missing_ok=True)
        side_file(out).unlink(missing_ok=True)
    assert described > 10


def test_tracks_are_described_or_refused(tmp_path: Path) -> None:
    sequence, out = tmp_path / "source/one", tmp_path / "table.csv"
    for folder in ("gt", "img1"):
        (sequence / folder).mkdir(parents=True)
    for frame in range(1, 4):
        Image.new("RGB", (64, 48)).save(sequence / f"img1/00000{frame}.jpg")
    boxes = "".join(f"{frame},{track},{9 * track},2,20,40,1,1,0.9\n" for frame in (1, 2, 3) for track in (1, 2, 3))
    info = "[Sequence]\nname=one\nimDir=img1\nframeRate=30\nimWidth=64\nimHeight=48\nimExt=.jpg\n"
    rng, described = random.Random(3), 0
    for number in range(500):
        texts = (mutated_text(boxes, rng), info) if number % 2 else (boxes, mutated_text(info, rng))
        (sequence / "gt/gt.txt").write_bytes(texts[0].encode())
        (sequence / "seqinfo.ini").write_bytes(texts[1].encode())
        if reads(texts, ingest, tmp_path / "source", out, every=1, overwrite=True):
            assert reads(texts, read_manifest, out), texts
            described += 1
    assert described > 10


# Manifests

TABLE = """domain,split,path,pid,camid,x,y,w,h,timestamp,junk,distractor
a,train,t.jpg,0007,0,1,2,3,4,12.5,,
a,query,"q,1.jpg",x y,1,,,,,,0,
a,gallery,g.jpg,x y,2,,,,,,,1
b,train,u.jpg,8,door,0,0,9,9,-3,false,
"""
SIDE = {"a": {"exclude_same_camera": False, "cameras": 4, "terms": "ask"}, "b": {"cameras": ["door", "hall"]}}


@pytest.mark.parametrize("name", ["table.csv", "table.parquet", "table.domains.json"])
def test_any_bytes_are_refused(name: str, tmp_path: Path) -> None:
    table = tmp_path / ("table.csv" if name.endswith("json") else name)
    table.write_text(TABLE)
    rng = random.Random(name)
    for _ in range(300):
        content = rng.randbytes(rng.choice((0, 1, 2, 8, 99, 999)))
        (tmp_path / name).write_bytes(content)
        assert not reads(content, read_manifest, table), content


def test_changed_tables_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    rng, read = random.Random(4), 0
    for number in range(2500):
        content = mutated_text(TABLE, rng).encode() if number % 3 else mutated_bytes(TABLE.encode(), rng)
        path.write_bytes(content)
        read += reads(content, read_manifest, path, "one_camera")
    assert read > 100


def test_changed_side_files_are_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    content = json.dumps(SIDE)
    rng, read = random.Random(5), 0
    for _ in range(2000):
        text = mutated_text(content, rng)
        side_file(path).write_text(text)
        read += reads(text, read_manifest, path)
    assert read > 10


def test_changed_parquet_is_read_or_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    header, *rows = (line.split(",") for line in TABLE.replace('"q,1.jpg"', "q.jpg").splitlines())
    columns = dict(zip(header, map(list, zip(*rows, strict=True)), strict=True))
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="none")
    content = path.read_bytes()
    rng, read = random.Random(6), 0
    for _ in range(600):
        changed = mutated_bytes(content, rng)
        path.write_bytes(changed)
        read += reads(changed.hex(), read_manifest, path)
    assert read > 10


def test_changed_label_spaces_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    train = tuple(ImageRecord(Path(f"{pid}.jpg"), str(pid), pid % 3) for pid in range(4))
    space = join([Domain("a", train), Domain("b", train)]).label_space
    space.save(path)
    content, rng = path.read_text(), random.Random(7)
    for _ in range(1000):
        text = mutated_text(content, rng)
        path.write_text(text)
        assert not reads(text, LabelSpace.load, path) or LabelSpace.load(path) == space, text
