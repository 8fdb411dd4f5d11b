"""Classes of the boxes of tracks, by number or name, as MOT16, MOT17 and MOT20 count them."""

import re
from collections.abc import Mapping
from typing import NamedTuple

from jointreid.messages.errors import JointreidError, no_such

UNSET = -1  # the class where none was annotated
# Numbers of MOT16, MOT17 and MOT20.
CLASSES: Mapping[int, str] = {
    1: "pedestrian",
    2: "person on vehicle",
    3: "car",
    4: "bicycle",
    5: "motorbike",
    6: "non motorized vehicle",
    7: "static person",
    8: "distractor",
    9: "occluder",
    10: "occluder on the ground",
    11: "occluder full",
    12: "reflection",
    13: "crowd",
}
_PEDESTRIAN = 1


class ClassChoice(NamedTuple):
    """The classes whose boxes are taken.

    Attributes:
        numbers: the classes.
        words: the same for people.
        unset: whether boxes without a class are taken too.
        notes: remarks on how the numbers were understood.
    """

    numbers: frozenset[int]
    words: str
    unset: bool
    notes: tuple[str, ...] = ()


def choose_classes(text: str, counts: Mapping[int, int]) -> ClassChoice:
    """Return the classes to take.

    Where class 0 occurs and class 1 does not, classes are counted from 0, and names mean a number one lower.

    Args:
        text: numbers or names, separated by commas; "" for pedestrians.
        counts: class -> number of boxes, over all sequences.

    Raises:
        JointreidError: an unknown name, a class that no box has, or classes 0 and 1 both occur, so that it is not
            clear which of them a pedestrian is.
    """
    known = {number: count for number, count in sorted(counts.items()) if number != UNSET}
    zero_based = 0 in known and _PEDESTRIAN not in known
    words = [word.strip() for word in text.split(",") if word.strip()]
    named = any(not word.lstrip("-").isdecimal() for word in words)
    if (named or not words) and 0 in known and _PEDESTRIAN in known:
        raise JointreidError(
            f"the boxes have class 0 ({known[0]:,}) and class 1 ({known[1]:,}), so pedestrians are 1 as in "
            "MOTChallenge or 0 if classes are counted from 0; say which number, as in --class 0 or --class 1"
        )
    chosen = frozenset(_number(word, zero_based) for word in words or ["pedestrian"])
    if words and (lacking := sorted(chosen - known.keys())):
        raise JointreidError(f"--class {text}: no box has class {lacking[0]}; there are {_listed(known, zero_based)}")
    notes = []
    if zero_based and (named or not words):
        notes.append("class 0 occurs and class 1 does not, so classes are counted from 0: pedestrians are class 0")
    if len(known) > 1:
        notes.append(f"classes of the boxes: {_listed(known, zero_based)}; choose others with --class")
    shown = ", ".join(_name(number, zero_based) for number in sorted(chosen))
    return ClassChoice(chosen, shown, unset=not words, notes=tuple(notes))


def _number(word: str, zero_based: bool) -> int:
    if word.isdecimal():
        return int(word)
    plain = {_plain(name): number - zero_based for number, name in CLASSES.items()}
    if _plain(word) not in plain:
        raise JointreidError(f"--class {word}: {no_such('class', word, CLASSES.values())}")
    return plain[_plain(word)]


def _plain(name: str) -> str:
    return re.sub(r"[ _-]+", "", name.lower())


def _name(number: int, zero_based: bool) -> str:
    name = CLASSES.get(number + zero_based)
    return f"{name} ({number})" if name else f"class {number}"


def _listed(known: Mapping[int, int], zero_based: bool) -> str:
    return ", ".join(f"{_name(number, zero_based)}: {count:,} boxes" for number, count in known.items()) or "none"


def fits(kind: int, choice: ClassChoice) -> bool:
    """Return whether a box of a class is taken."""
    return kind in choice.numbers or (kind == UNSET and choice.unset)
