"""CUHK-SYSU as re-identification data: people cropped from its scenes by the annotated boxes; 942 are for training.

A scene shows several people. Train holds the identities of `Train.mat` with 4 boxes or more; query the one box of each
test person in `TestG50.mat`; gallery those gallery entries that show the person, without distractors.
"""

import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from jointreid.data.decode import FORMATS, MAX_PIXELS, to_rgb
from jointreid.data.protocols import TABLE_I
from jointreid.data.readers.cuhk_sysu import KNOWN_PARENTS, MIN_IMAGES
from jointreid.data.records import SPLITS
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few
from jointreid.prepare.conversion import Conversion, ConversionOutput, PreparedSplits, count
from jointreid.prepare.matlab import MatValue, read_mat

FOLDER = "cuhksysu4reid"
KNOWN_FOLDERS = (*KNOWN_PARENTS, "dataset", "CUHK-SYSU/dataset")
QUALITY = 95
_SCENES = "Image/SSM"
_ANNOTATIONS = ("annotation/test/train_test/Train.mat", "annotation/test/train_test/TestG50.mat")
_RULE = (
    f"train: every box of Train.mat of the identities with {MIN_IMAGES} boxes or more; query: the Query box of "
    "each person in TestG50.mat; gallery: its Gallery entries with a box. A box [x, y, w, h], cut to whole numbers, is "
    "the pixels from (x, y) to (x + w, y + h), counted from 0, EXIF orientation left aside, and black outside the "
    "scene. Names are <identity>_<scene>_<number of the box in its split, dropped identities counted>_<hard>.jpg, of "
    f"JPEG quality {QUALITY}"
)

_PERSON = re.compile(r"p(\d+)")
_SCENE = re.compile(r"s\d+\.jpg")


class _PersonBox(NamedTuple):
    """A person in a scene: `x, y, width, height` in pixels of the scene; `place` is its position in the annotation."""

    path: str
    scene: str
    pid: int
    place: MatValue
    x: int
    y: int
    width: int
    height: int


def find_release(source: Path) -> Conversion:
    """Find the release: `Image/SSM` and the annotations, in `source` or in a folder that it usually unpacks to.

    Raises:
        JointreidError: it is missing, or found twice.
    """
    roots = [source / folder for folder in (".", *KNOWN_FOLDERS) if not _missing(source / folder)]
    if len({root.resolve() for root in roots}) > 1:
        raise JointreidError(
            f"{source}: contains CUHK-SYSU more than once: {', '.join(map(str, roots))}; give one of them"
        )
    if not roots:
        partly = [root for root in (source / folder for folder in (".", *KNOWN_FOLDERS)) if len(_missing(root)) < 3]
        detail = f"{partly[0]} lacks {' and '.join(_missing(partly[0]))}; " if partly else ""
        raise JointreidError(
            f"{source}: no CUHK-SYSU here: {detail}expected {_SCENES}, {' and '.join(_ANNOTATIONS)} in it or in its "
            f"{', '.join(KNOWN_FOLDERS)}"
        )
    return Conversion(
        name="cuhk_sysu",
        sources={name: roots[0] / name for name in _ANNOTATIONS},
        entries=(FOLDER,),
        index=f"{FOLDER}/prepared.json",
        rule=_RULE,
        list_output=partial(_list_output, roots[0]),
        format=2,  # 1: boxes that leave their scene were clipped, not padded
    )


def _list_output(root: Path) -> ConversionOutput:
    train, test = (read_mat(root / name) for name in _ANNOTATIONS)
    splits = {"train": _train_boxes(train["Train"]), **_test_boxes(test["TestG50"])}
    _refuse_shared(splits)
    kept = Counter(box.pid for box in splits["train"])
    splits["train"] = [box for box in splits["train"] if kept[box.pid] >= MIN_IMAGES]
    boxes = {box.path: box for split in SPLITS for box in splits[split]}
    scenes = {box.scene for box in boxes.values()}
    if lost := sorted(scenes - set(os.listdir(root / _SCENES))):
        raise JointreidError(
            f"{root / _SCENES}: lacks {len(lost)} of the {len(scenes)} scenes needed ({first_few(lost)}); is "
            "the release completely unpacked?"
        )
    expected = {split: getattr(TABLE_I["cuhk_sysu"], split) for split in SPLITS}
    found = {split: count(box.pid for box in splits[split]) for split in SPLITS}
    return ConversionOutput(
        folders=tuple(f"{FOLDER}/{split}" for split in SPLITS),
        images=tuple(boxes),
        texts={},
        parts=(PreparedSplits("cuhk_sysu", found, expected),),
        encode=lambda wanted: _crops(root / _SCENES, [boxes[path] for path in wanted]),
    )


# Annotations


def _train_boxes(people: MatValue) -> list[_PersonBox]:
    """Return every box of every person in `Train`, numbered person by person."""
    scenes: dict[int, list[MatValue]] = {}
    for person in people.each():
        scenes.setdefault(_pid(person), []).extend(person["scene"].each())
    numbered = enumerate((pid, scene) for pid, of_person in scenes.items() for scene in of_person)
    return [_box("train", number, pid, scene) for number, (pid, scene) in numbered]


def _test_boxes(people: MatValue) -> dict[str, list[_PersonBox]]:
    """Return the query box of each person in `TestG50`, and the gallery boxes of the same person."""
    query: list[_PersonBox] = []
    gallery: list[_PersonBox] = []
    for person in people.each():
        pid = _pid(person["Query"])
        query.append(_box("query", len(query), pid, person["Query"]))
        for scene in person["Gallery"].each():
            if len(scene["idlocate"]):  # most scenes of a gallery do not show the person
                gallery.append(_box("gallery", len(gallery), pid, scene))
    return {"query": query, "gallery": gallery}


def _box(split: str, number: int, pid: int, scene: MatValue) -> _PersonBox:
    name, hard = scene["imname"].text(), scene["ishard"].integers()
    if not _SCENE.fullmatch(name):
        raise scene["imname"].error(f"is {name!r}; expected a name like s15535.jpg")
    if hard not in ([0], [1]):
        raise scene["ishard"].error(f"is {hard}; expected 0 or 1")
    box = [int(number) for number in scene["idlocate"].numbers()]
    if len(box) != 4 or min(box[2:]) < 1:
        raise scene["idlocate"].error(
            f"is {box} (p{pid} in {name}); expected x, y, width, height in pixels, the last two 1 or more"
        )
    path = f"{FOLDER}/{split}/{pid:05d}_{name.removesuffix('.jpg')}_{number:07d}_{hard[0]}.jpg"
    return _PersonBox(path, name, pid, scene, *box)


def _pid(person: MatValue) -> int:
    name = person["idname"].text()
    match = _PERSON.fullmatch(name)
    if match is None:
        raise person["idname"].error(f"is {name!r}; expected a name like p123")
    return int(match[1])


def _refuse_shared(splits: dict[str, list[_PersonBox]]) -> None:
    """Raise if a person has two queries, or is in train and in query."""
    train = {box.pid for box in splits["train"]}
    seen: set[int] = set()
    for box in splits["query"]:
        if box.pid in train | seen:
            also = "also a person of Train.mat" if box.pid in train else "in Query twice"
            raise box.place.error(f"p{box.pid} is {also}; do the annotations belong to one release?")
        seen.add(box.pid)


# Images


def _crops(scenes: Path, boxes: Sequence[_PersonBox]) -> Iterator[tuple[str, bytes]]:
    """Yield each box's path and JPEG; a scene is decoded once for all of its boxes."""
    for name, group in groupby(sorted(boxes, key=lambda box: box.scene), key=lambda box: box.scene):
        scene = _open_scene(scenes / name)
        for box in group:
            right, bottom = box.x + box.width, box.y + box.height
            if box.x >= scene.width or box.y >= scene.height or right <= 0 or bottom <= 0:
                raise box.place["idlocate"].error(
                    f"is {box[-4:]} (p{box.pid}), outside {scenes / name} of {scene.width} x {scene.height} pixels"
                )
            if box.width * box.height > MAX_PIXELS:
                raise box.place["idlocate"].error(f"is {box[-4:]} (p{box.pid}), more than {MAX_PIXELS} pixels")
            buffer = io.BytesIO()
            scene.crop((box.x, box.y, right, bottom)).save(buffer, "JPEG", quality=QUALITY)  # black outside the scene
            yield box.path, buffer.getvalue()


def _open_scene(path: Path) -> Image.Image:
    """Return a scene as stored in the file: the boxes were annotated without applying the EXIF orientation."""
    try:
        with Image.open(path, formats=FORMATS) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise JointreidError(f"{opened.width} x {opened.height} pixels are more than {MAX_PIXELS}; shrink it")
            return Image.fromarray(to_rgb(opened))
    except JointreidError as error:
        raise JointreidError(f"{path}: {error}") from error
    except Exception as error:
        # For damaged bytes Pillow's decoders raise nearly anything.
        raise JointreidError(f"{path}: {error}; unpack the release again") from error


def _missing(root: Path) -> list[str]:
    scenes = [] if (root / _SCENES).is_dir() else [_SCENES]
    return scenes + [name for name in _ANNOTATIONS if not (root / name).is_file()]
