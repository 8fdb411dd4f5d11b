"""The words that folders and file names are made of: splits, cameras, places, dates, tracks, people, nobody."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Literal, NamedTuple

from jointreid.messages.errors import JointreidError

Role = Literal["split", "camera", "place", "sequence", "person", ""]

# Names of split folders in lower case -> the split. Queries are still to be taken from `test`.
SPLIT_FOLDERS: Mapping[str, str] = {
    **dict.fromkeys(("train", "training", "trainset", "bounding_box_train", "image_train", "bbox_train"), "train"),
    "train_all": "train_all",
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("query", "queries", "image_query", "probe", "probes"), "query"),
    "gallery": "gallery",
    **dict.fromkeys(("test", "testing", "testset", "bounding_box_test", "image_test", "bbox_test"), "test"),
}
# Words for a camera; an accent may be a character of its own, as in names of files on macOS.
CAMERA_NAMES = r"cam|camera|kamera|came\u0301ra|cam\u00e9ra|ca\u0301mara|c\u00e1mara|camara"
_WORDS = rf"(?:{CAMERA_NAMES}|cctv|webcam|ipcam|view)s?"
# A camera of two digits or zeros in front is read whole.
CAMERA_WORD = re.compile(
    rf"(?:c[ _-]?(?P<c>\d{{1,9}})|{_WORDS}[ _.#-]?(?P<number>\d{{1,9}}|(?P<letter>[a-z])))", re.IGNORECASE
)
# A camera and words about it, in either order: `cam1-entrance`, `camera 2 (till)`, `lager_kamera3`, `entrance camera`.
_BETWEEN = r"[ _.,:;()\[\]{}\u2013\u2014-]"
_CAMERA = rf"(?P<word>c|{_WORDS})(?:[ _.#(\[-]{{0,2}}(?P<number>\d{{1,9}}|[a-z](?=[)\]]?(?:{_BETWEEN}|$))))?"
_DESCRIBED_CAMERAS = (
    re.compile(rf"{_CAMERA}{_BETWEEN}+(?P<text>.+)", re.IGNORECASE),
    re.compile(rf"(?P<text>.+?){_BETWEEN}+{_CAMERA}[)\]]?", re.IGNORECASE),
)
_MODALITY = re.compile(r"rgb|ir|nir|thermal|infrared|visible", re.IGNORECASE)
_PLACE = re.compile(
    r"(?:entrance|entry|exit|lobby|door|doorway|gate|hall|hallway|corridor|garage|parking|stairs?|staircase|elevator|"
    r"lift|reception|kitchen|office|yard|street|roof|floor|room|store|shop|north|south|east|west|indoors?|outdoors?|"
    r"inside|outside|platform|station|bridge|aisle|cafe|canteen|counter|checkout|till)s?[ _-]?(?:\d{1,4}|[a-z])?",
    re.IGNORECASE,
)
_SEQUENCE = re.compile(
    r"\d{4}[-_.]\d{1,2}[-_.]\d{1,2}|(?:19|20)\d{6}|\d{1,2}[-_.]\d{1,2}[-_.]\d{2,4}|"
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)day|(?:mon|tue|wed|thu|fri|sat|sun)|"
    r"(?:january|february|march|april|may|june|july|august|september|october|november|december)[ _-]?\d{0,4}|"
    r"morning|noon|afternoon|evening|night|"
    r"(?:seq|sequence|track|tracklet|clip|video|session|day|week|scene|batch|part|set|clothes|clothing|cloth|outfit|"
    r"visit|take|shot|run)s?[ _-]?(?:\d{1,6}|[a-z])?|[st]\d{1,6}",
    re.IGNORECASE,
)
_PERSON = re.compile(r"(?:p|pid|id|person|people|user|subject|identity|pedestrian)[ _-]?\d{1,9}", re.IGNORECASE)
_ROLES: tuple[tuple[Role, re.Pattern[str]], ...] = (
    ("camera", CAMERA_WORD),
    ("camera", _MODALITY),
    ("person", _PERSON),
    ("sequence", _SEQUENCE),
    ("place", _PLACE),
)

# Names that may mean that no known person is shown, in lower case -> what they are taken for unless told otherwise.
NOBODY: Mapping[str, str] = {
    **dict.fromkeys(
        ("nan", "none", "null", "na", "n-a", "unknown", "unknowns", "unidentified", "unk", "undefined", "unlabeled",
         "unlabelled", "noid", "no_id", "nobody", "-1", "00-1", "junk", "other", "others"),
        "junk",
    ),
    **dict.fromkeys(("background", "bg", "distractor", "distractors"), "distractor"),
}  # fmt: skip


class DescribedCamera(NamedTuple):
    """A camera's name that says more than its number.

    Attributes:
        number: digits without zeros in front, or a letter; empty if there is none.
        text: the words about it.
        place: whether these name a place.
    """

    number: str
    text: str
    place: bool


def described_camera(name: str) -> DescribedCamera | None:
    """Return what a name such as `cam1-entrance` says, or None if it is not of this kind.

    The words may be a person's, `cam1_anna`: only other names tell (see `role_of`). Words without a letter and numbers
    of people are no description, and a `c` or a camera without a number is one only beside a place.
    """
    for form in _DESCRIBED_CAMERAS:
        if match := form.fullmatch(name):
            text = match["text"].strip(" _.,:;()[]{}-\u2013\u2014")
            place = _PLACE.fullmatch(text) is not None
            number = (match["number"] or "").lower().lstrip("0") or ("0" if match["number"] else "")
            clear = place or (number and match["word"].lower() != "c")
            if clear and any(map(str.isalpha, text)) and not _PERSON.fullmatch(text):
                return DescribedCamera(number, text, place)
    return None


def _are_cameras(names: Collection[str]) -> bool:
    """Return whether names are cameras, some with words about them or called after places only.

    Unless all these words are places, each number must stand once: `cam1_anna` beside `cam1_bob` is a person's folder.
    """
    described, places = [], 0
    for name in names:
        if camera := None if _is_camera_word(name) else described_camera(name):
            described.append(camera)
        elif _PLACE.fullmatch(name):
            places += 1
        elif not _is_camera_word(name):
            return False
    once = len({camera.number for camera in described}) == len(described)
    return places < len(names) and (once or all(camera.place for camera in described))


def _is_camera_word(name: str) -> bool:
    return bool(CAMERA_WORD.fullmatch(name) or _MODALITY.fullmatch(name))


def role_of(values: Collection[str]) -> Role:
    """Return what the names of a level of folders say that it is, if all of them say the same; else nothing."""
    if values and all(value.lower() in SPLIT_FOLDERS for value in values):
        return "split"
    known = {value for value in values if value.lower() not in NOBODY}
    for role, words in _ROLES:
        if known and all(words.fullmatch(value) for value in known):
            return role
    return "camera" if known and _are_cameras(known) else ""


def number_cameras(names: Iterable[str], *, count_from_zero: bool = False) -> dict[str, int]:
    """Return a camid for each camera's name: the number in it if all have one, otherwise its rank.

    Args:
        names: as folders or file names have them: `cam3`, `c3`, `3`, `camera_a`, `entrance`, `cam1-entrance`.
        count_from_zero: take 1 off each number unless a camera 0 is among them, as for the names of Market-1501.

    Raises:
        JointreidError: two names have one number, such as `cam1` and `cam01`.
    """
    ordered = sorted(set(names))
    numbers: dict[str, int] = {}
    for name in ordered:
        match = CAMERA_WORD.fullmatch(name)
        described = None if match else described_camera(name)
        digits = (match["c"] or match["number"]) if match else described.number if described else name
        again = described is not None and digits.isdecimal() and int(digits) in numbers.values()
        if again or not re.fullmatch(r"\d{1,9}", digits or ""):  # each place may count its cameras anew
            return {name: rank for rank, name in enumerate(ordered)}
        if int(digits) in numbers.values():
            other = next(known for known, number in numbers.items() if number == int(digits))
            raise JointreidError(
                f"cameras {other} and {name} have the same number; if they are one camera, give both one name, else "
                "name one of them otherwise"
            )
        numbers[name] = int(digits)
    less = int(count_from_zero and bool(numbers) and min(numbers.values()) > 0)
    return {name: number - less for name, number in numbers.items()}
