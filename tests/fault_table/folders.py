"""Faults of folders in a layout that a reader knows: names without labels, wrong lists, missing splits."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.fault_table.kit import CannotBeMade, Fault, Handled, Refused, Sandbox, picture, save

Damage = Callable[[Path], object]

# Two identities in train and two in query and gallery, seen by the first two cameras. The readers know more cameras.
_MARKET = {
    "bounding_box_train": ["0001_c1s1_000001_00", "0001_c2s1_000001_00", "0002_c1s1_000001_00", "0002_c2s1_000001_00"],
    "query": ["0003_c1s1_000001_00", "0004_c1s1_000001_00"],
    "bounding_box_test": ["0003_c2s1_000001_00", "0004_c2s1_000001_00"],
}
_MSMT17 = {
    "train": ["0000/0000_000_01_a_0_0", "0000/0000_001_02_a_0_0", "0001/0001_000_01_a_0_0", "0001/0001_001_02_a_0_0"],
    "test": ["0000/0000_000_01_a_0_0", "0001/0001_000_01_a_0_0", "0000/0000_001_02_a_0_0", "0001/0001_001_02_a_0_0"],
}
_CUHK03 = ["1_001_1_01", "1_001_2_01", "1_002_1_01", "1_002_2_01", "1_003_1_01", "1_003_2_01"]
_PART = r"part of {}: "


def _images(root: Path, folders: Mapping[str, Sequence[str]], ending: str = ".jpg") -> None:
    for folder, names in folders.items():
        for name in names:
            path = root / folder / f"{name}{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path, picture(f"{folder}/{name}"))


def _given(reader: str, root: Path) -> list[str]:
    return ["--data", f"{reader}={root}"]


def _market(damage: Damage, name: str = "market1501") -> Callable[[Sandbox], list[str]]:
    def make(sandbox: Sandbox) -> list[str]:
        _images(sandbox.data / "market", _MARKET)
        damage(sandbox.data / "market")
        return _given(name, sandbox.data / "market")

    return make


def _msmt17(damage: Damage) -> Callable[[Sandbox], list[str]]:
    def make(sandbox: Sandbox) -> list[str]:
        root = sandbox.data / "MSMT17_V1"
        _images(root, _MSMT17)
        lists = {"train": _MSMT17["train"], "query": _MSMT17["test"][:2], "gallery": _MSMT17["test"][2:]}
        for split, names in lists.items():
            lines = [f"{name}.jpg {int(name[:4])}" for name in names]
            (root / f"list_{split}.txt").write_text("\n".join(lines) + "\n")
        damage(root)
        return _given("msmt17", root)

    return make


def _cuhk03(damage: Damage) -> Callable[[Sandbox], list[str]]:
    def make(sandbox: Sandbox) -> list[str]:
        root = sandbox.data / "cuhk03"
        _images(root, {"images_labeled": _CUHK03}, ".png")
        _write_json(root, _cuhk03_splits())
        damage(root)
        return _given("cuhk03", root)

    return make


def _cuhk03_splits() -> dict[str, list[list[object]]]:
    """Train on identities 1 and 2, test on 3."""
    entries: list[list[object]] = [[f"/old/{name}.png", int(name[2:5]), int(name[6]) - 1] for name in _CUHK03]
    return {"train": entries[:4], "query": entries[4:5], "gallery": entries[5:]}


def _write_json(root: Path, splits: object) -> None:
    (root / "splits_new_labeled.json").write_text(json.dumps([splits]))


def _entry(*entry: object) -> Damage:
    """Replace the first entry of train."""

    def damage(root: Path) -> None:
        splits = _cuhk03_splits()
        splits["train"][0] = list(entry)
        _write_json(root, splits)

    return damage


def _line(line: str) -> Damage:
    """Replace the first line of list_train.txt."""

    def damage(root: Path) -> None:
        file = root / "list_train.txt"
        file.write_text("\n".join([line, *file.read_text().splitlines()[1:]]))

    return damage


def _also(*names: str) -> Damage:
    """Add images."""

    def damage(root: Path) -> None:
        for name in names:
            save(root / name, picture(name))

    return damage


def _not_text(root: Path) -> None:
    save(Path(os.fsdecode(os.fsencode(root) + b"/query/0003_c1s1_000002_00\xff.jpg")), picture())


def _not_text_and_cut(root: Path) -> None:
    Path(os.fsdecode(os.fsencode(root) + b"/query/0003_c1s1_000002_00\xff.jpg")).write_bytes(b"")


def _clutter(root: Path) -> None:
    for name in ("Thumbs.db", "._0001_c1s1_000001_00.jpg", "notes.txt"):
        (root / "query" / name).write_bytes(b"nothing to see")
    (root / "gt_bbox").mkdir()


def _sysu(sandbox: Sandbox) -> list[str]:
    """Write identities with fewer images than the reader requires."""
    root = sandbox.data / "cuhksysu4reid"
    names = {"train": ["00001_s1_0000001_0"], "query": ["00002_s1_0000002_0"], "gallery": ["00002_s2_0000003_0"]}
    _images(root, names)
    return _given("cuhk_sysu", sandbox.data)


def _file_for_a_folder(root: Path) -> None:
    for path in (root / "query").iterdir():
        path.unlink()
    (root / "query").rmdir()
    (root / "query").write_text("")


def _locked(root: Path) -> None:
    (root / "query").chmod(0)
    if os.access(root / "query", os.R_OK):
        raise CannotBeMade("this user may read every folder")


_TRAIN = (4, 2, 6)

FOLDERS = [
    Fault("a part of a published data set", _market(_clutter), Handled(_PART.format("Market-1501"), train=_TRAIN)),
    Fault("a name without labels", _market(_also("query/IMG_0001.jpg")),
          Refused(r"market/query: 1 files have no labels in their names \(IMG_0001\.jpg\)")),
    Fault("a camera 0, where they count from 1", _market(_also("query/0003_c0s1_000001_00.jpg")),
          Refused(r"market/query: 1 files have no labels .*0003_c0s1")),
    Fault("a camera of 30 digits", _market(_also(f"query/0003_c{'9' * 30}s1_000001_00.jpg")),
          Refused(r"market/query/0003_c9+s1_000001_00\.jpg: camid is 9+8; expected an integer from 0 to")),
    Fault("junk and distractors in every split", _market(_also(*(f"{folder}/{pid}_c3s1_000001_00.jpg"
          for folder in _MARKET for pid in ("-1", "0000")))), Handled(_PART.format("Market-1501"), train=_TRAIN)),
    Fault("a name that is no text", _market(_not_text), Refused(r"1 images have paths that are not valid Unicode")),
    Fault("a cut image whose name is no text", _market(_not_text_and_cut), Refused(r"udcff\.jpg: the file is empty")),
    Fault("a folder called as an image, for a reader", _market(lambda root: (root / "query/0003_c1s1_0_0.jpg").mkdir()),
          Refused(r"query/0003_c1s1_0_0\.jpg: Is a directory")),
    Fault("a split that is a file", _market(_file_for_a_folder), Refused(r"market lacks query")),
    Fault("a split that is not there", _market(lambda root: (root / "query").rename(root / "queries")),
          Refused(r"market lacks query")),
    Fault("a split that may not be looked into", _market(_locked),
          Refused(r"market1501=.*market/query cannot be read: Permission denied")),
    Fault("a data set twice in one folder", _market(lambda root: _images(root / "market1501", _MARKET)),
          Refused(r"holds Market-1501 more than once")),
    Fault("your own folder", _market(_clutter, "mine"), Handled(train=(4, 2, 2))),
    Fault("a reader misspelt", _market(lambda root: (root / "query").rename(root / "queries"), "market"),
          Refused(r"there is no reader market; did you mean market1501")),
    Fault("a data set that was withdrawn", _market(_clutter, "dukemtmc"), Refused(r"withdrawn.*acknowledge")),
    Fault("a list that names an image twice", _msmt17(_line("0000/0000_001_02_a_0_0.jpg 0")),
          Refused(r"msmt17: 1 images are in train more than once \(pid train-0000 camid 1 .*0000_001_02")),
    Fault("a list that names an absent image", _msmt17(_line("0000/0000_009_01_a_0_0.jpg 0")),
          Refused(r"1 images that the lists name are not there \(train/0000/0000_009_01_a_0_0\.jpg\)")),
    Fault("a list that climbs out", _msmt17(_line("../../0000_000_01_a.jpg 0")),
          Refused(r"list_train\.txt, row 1: '\.\./\.\./0000_000_01_a\.jpg' leads out of the data set's folder")),
    Fault("a list with an absolute path", _msmt17(_line("/etc/0000_000_01_a.jpg 0")), Refused(r"row 1: .*leads out")),
    Fault("a list without identities", _msmt17(_line("0000/0000_000_01_a_0_0.jpg")),
          Refused(r"list_train\.txt, row 1: .*expected a path and an identity")),
    Fault("a list with a pid of 5,000 digits", _msmt17(_line(f"0000/0000_000_01_a_0_0.jpg {'1' * 5000}")),
          Refused(r"list_train\.txt, row 1: .*expected a path and an identity")),
    Fault("a list with a camera 16", _msmt17(_line("0000/0000_000_16_a_0_0.jpg 0")),
          Refused(r"list_train\.txt, row 1: .*no camera from 1 to 15")),
    Fault("a list with a folder too long for one", _msmt17(_line(f"{'x' * 300}/0000_000_01_a_0_0.jpg 0")),
          Refused(r"msmt17=.*File name too long")),
    Fault("a list that is not text", _msmt17(lambda root: (root / "list_train.txt").write_bytes(b"\xff\xfe")),
          Refused(r"list_train\.txt: is not text in UTF-8")),
    Fault("a list that is empty", _msmt17(lambda root: (root / "list_train.txt").write_text("")),
          Refused(r"msmt17 \(.*\): no images in train")),
    Fault("a list that is not there", _msmt17(lambda root: (root / "list_query.txt").unlink()),
          Refused(r"lacks list_query\.txt")),
    Fault("splits in JSON nested without end",
          _cuhk03(lambda root: (root / "splits_new_labeled.json").write_text("[" * 100_000)),
          Refused(r"splits_new_labeled\.json: not JSON")),
    Fault("splits in JSON without train", _cuhk03(lambda root: _write_json(root, {"query": [], "gallery": []})),
          Refused(r"splits_new_labeled\.json, train: missing")),
    Fault("splits in JSON with a third view", _cuhk03(_entry("1_001_1_01.png", 1, 2)),
          Refused(r"splits_new_labeled\.json, train\[0\]: .*camid 0 or 1")),
    Fault("splits in JSON with a truth value", _cuhk03(_entry("1_001_1_01.png", True, 0)), Refused(r"train\[0\]: ")),
    Fault("splits in JSON with a fraction", _cuhk03(_entry("1_001_1_01.png", 1.5, 0)), Refused(r"train\[0\]: ")),
    Fault("splits in JSON with a pid below 0", _cuhk03(_entry("1_001_1_01.png", -1, 0)), Refused(r"train\[0\]: ")),
    Fault("splits in JSON with an image twice", _cuhk03(_entry("1_001_2_01.png", 1, 1)),
          Refused(r"cuhk03: 1 images are in train more than once")),
    Fault("splits in JSON with an absent image", _cuhk03(_entry("1_009_1_01.png", 1, 0)),
          Refused(r"images_labeled: 1 images that splits_new_labeled\.json names are not there \(1_009_1_01\.png\)")),
    Fault("people of too few images for CUHK-SYSU", _sysu, Refused(r"cuhk_sysu \(.*\): no images in train")),
]  # fmt: skip
