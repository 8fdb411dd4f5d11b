"""Lists that come with published data sets and say who is in which split."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jointreid.ingest.images import stays_below
from jointreid.machine.hashing import text_sha256
from jointreid.messages.errors import JointreidError

# The smaller test lists of VehicleID are parts of the largest of these three, which its authors evaluate on.
_VEHICLE_TESTS = ("test_list_2400.txt", "test_list_1600.txt", "test_list_800.txt")


class SplitLists(NamedTuple):
    """Contents of a data set's lists.

    Attributes:
        splits: an image or identity, as the layout names it -> train, test, query or gallery.
        pids: image -> identity, where only the list says it.
        notes: remarks on which lists were read.
    """

    splits: Mapping[str, str] = {}
    pids: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()


def _text(root: Path, name: str) -> str | None:
    """Return the text of a list, or None if it is not there."""
    file = root / name
    if not file.is_file():
        return None
    if not stays_below(root, file):
        raise JointreidError(f"{file}: is a link that leads out of {root}, which is not followed; put the file there")
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise JointreidError(f"{file}: cannot be read as text: {error}") from error


def sysu_mm01(root: Path) -> SplitLists:
    """Read `exp/{train,val,test}_id.txt`: identities separated by commas; train and val are trained on."""
    splits: dict[str, str] = {}
    for name, split in (("train", "train"), ("val", "train"), ("test", "test")):
        text = _text(root, f"exp/{name}_id.txt")
        for number in re.findall(r"\d+", text or ""):
            splits[f"{int(number):04d}"] = split
    if not splits:
        return SplitLists(notes=("exp/train_id.txt, val_id.txt and test_id.txt are not there: identities are drawn",))
    return SplitLists(splits, notes=("train is train_id.txt and val_id.txt; every gallery image of test is searched",))


def regdb(root: Path) -> SplitLists:
    """Read `idx/{train,test}_{visible,thermal}_1.txt`, the first of ten trials: a path and a label on each line.

    The labels count train and test from 0 each, so the identity is taken from the folder.
    """
    splits: dict[str, str] = {}
    roles = {"train": ("train", "train"), "test": ("query", "gallery")}
    for part, both in roles.items():
        for modality, split in zip(("visible", "thermal"), both, strict=True):
            text = _text(root, f"idx/{part}_{modality}_1.txt")
            for line in (text or "").splitlines():
                if words := line.split():
                    splits[words[0].replace("\\", "/").lower()] = split
    if not splits:
        return SplitLists(notes=("idx/ with the lists of trial 1 is not there: identities are drawn",))
    return SplitLists(splits, notes=("trial 1 of the ten: visible images are queries, thermal ones the gallery",))


def vehicleid(root: Path) -> SplitLists:
    """Read `train_test_split/train_list.txt` and the largest test list: the image's number and the vehicle's."""
    train = _text(root, "train_test_split/train_list.txt")
    tests = [name for name in _VEHICLE_TESTS if (root / "train_test_split" / name).is_file()]
    if train is None or not tests:
        raise JointreidError(
            f"{root}: VehicleID without train_test_split/train_list.txt and {' or '.join(reversed(_VEHICLE_TESTS))}; "
            "only these lists say which vehicle an image shows: put them there"
        )
    splits: dict[str, str] = {}
    pids: dict[str, str] = {}
    for split, name, text in (
        ("train", "train_list.txt", train),
        ("test", tests[0], _text(root, f"train_test_split/{tests[0]}") or ""),
    ):
        for number, line in enumerate(text.splitlines(), start=1):
            words = line.split()
            if len(words) == 2:
                splits[words[0]], pids[words[0]] = split, words[1]
            elif words:
                where = root / "train_test_split" / name
                raise JointreidError(f"{where}, row {number}: {line[:80]!r}; expected an image and a vehicle")
    gallery: dict[str, str] = {}
    for image in sorted((image for image, split in splits.items() if split == "test"), key=text_sha256):
        gallery.setdefault(pids[image], image)
    for image, split in splits.items():
        if split == "test":
            splits[image] = "gallery" if gallery[pids[image]] == image else "query"
    return SplitLists(
        splits, pids, (f"test is {tests[0]}; one image of each vehicle, drawn, is the gallery, the others are queries",)
    )


def mars(root: Path) -> SplitLists:
    """Read `info/test_name.txt`, `tracks_test_info.mat` and `query_IDX.mat`: which tracks of the test are queries.

    A row of the tracks is first image, last image, identity and camera, counted from 1.
    """
    names = (_text(root, "info/test_name.txt") or "").split()
    tracks = _matrix(root, "info/tracks_test_info.mat", "track_test_info")
    queries = _matrix(root, "info/query_IDX.mat", "query_IDX")
    if not names or tracks is None or queries is None:
        return SplitLists(notes=("info/ is not there: queries are drawn, not those of query_IDX.mat",))
    splits: dict[str, str] = {}
    numbers = tracks[:, :2] if tracks.ndim == 2 and tracks.shape[1] >= 2 else None
    if numbers is None or not ((numbers[:, 0] >= 1) & (numbers[:, 0] <= numbers[:, 1])).all():
        raise JointreidError(
            f"{root / 'info/tracks_test_info.mat'}: track_test_info is {tracks.shape}; expected a row for each track, "
            "with its first and last image, counted from 1"
        )
    if numbers.max(initial=0) > len(names):
        raise JointreidError(
            f"{root / 'info/tracks_test_info.mat'}: a track ends at image {int(numbers.max())}, and test_name.txt "
            f"lists {len(names)}; the two belong to different releases"
        )
    chosen = {int(number) - 1 for number in queries.ravel()}
    for row, (first, last) in enumerate(numbers.astype(int).tolist()):
        for name in names[first - 1 : last]:
            splits[name] = "query" if row in chosen else "gallery"
    return SplitLists(splits, notes=("queries are the tracks of query_IDX.mat; every image of a track is one query",))


def _matrix(root: Path, path: str, name: str) -> Any:
    from scipy.io import loadmat

    file = root / path
    if not file.is_file():
        return None
    if not stays_below(root, file):
        raise JointreidError(f"{file}: is a link that leads out of {root}, which is not followed; put the file there")
    try:
        return loadmat(str(file))[name]
    except Exception as error:  # for damaged bytes scipy raises nearly anything
        raise JointreidError(f"{file}: cannot be read as a MATLAB file with {name}: {error}") from error
