"""The words that folders and file names are made of: splits, cameras, places, dates, tracks, people, nobody."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

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
# A camera of two digits or zeros in front is read whole.
CAMERA_WORD = re.compile(
    r"(?:c[ _-]?(?P<c>\d{1,9})|(?:cam|camera|cctv|kamera|view)s?[ _-]?(?P<number>\d{1,9}|(?P<letter>[a-z])))",
    re.IGNORECASE,
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


def role_of(values: Collection[str]) -> Role:
    """Return what the names of a level of folders say that it is, if all of them say the same; else nothing."""
    if values and all(value.lower() in SPLIT_FOLDERS for value in values):
        return "split"
    known = {value for value in values if value.lower() not in NOBODY}
    for role, words in _ROLES:
        if known and all(words.fullmatch(value) for value in known):
            return role
    return ""


def number_cameras(names: Iterable[str], *, count_from_zero: bool = False) -> dict[str, int]:
    """Return a camid for each camera's name: the number in it if all have one, otherwise its rank.

    Args:
        names: as folders or file names have them: `cam3`, `c3`, `3`, `camera_a`, `entrance`.
        count_from_zero: take 1 off each number unless a camera 0 is among them, as for the names of Market-1501.
    """
    ordered = sorted(set(names))
    numbers: dict[str, int] = {}
    for name in ordered:
        match = CAMERA_WORD.fullmatch(name)
        digits = (match["c"] or match["number"]) if match else name
        if not re.fullmatch(r"\d{1,9}", digits or ""):
            return {name: rank for rank, name in enumerate(ordered)}
        numbers[name] = int(digits)
    less = int(count_from_zero and bool(numbers) and min(numbers.values()) > 0)
    return {name: number - less for name, number in numbers.items()}
