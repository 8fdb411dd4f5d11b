"""Inference of what the levels of a tree and the parts of its file names mean.

A level of folders is known by its names (`cam3`, `2024-05-01`, `entrance`, `p07`), or by which of its names recur:
a person seen by several cameras has a folder of one name in each, so few folders with many recurring names inside are
cameras, and many folders with few are people. What these do not decide is left undecided: all readings are returned.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from jointreid.ingest.images import PathParts
from jointreid.ingest.meaning import CAMERA_NAMES, Role, role_of

_NAME_CAMERA_PART = re.compile(rf"(?:c|{CAMERA_NAMES})\d{{1,9}}(?:s\d+)?", re.IGNORECASE)
# Folders of other things than cameras, beside which the same people stand again: masks, poses, faces.
_KINDS = re.compile(
    r"(mask|seg|segmentation|parsing|pose|skeleton|keypoint|silhouette|depth|flow|label|annotation|face|crop|image|img)s?",
    re.IGNORECASE,
)
_PERSON_LABELS = {"id", "pid", "person", "ID", "PID", "Person"}
_YEAR, _MONTH = re.compile(r"20\d\d"), re.compile(r"0[1-9]|1[0-2]")
# How many times as many folders one level needs, to be taken for people and the other for cameras or days.
_CLEARLY_MORE = 2
# So few people are hardly a data set; folders of the same numbers are then as likely cameras.
_FEW_FOLDERS = 3
_FIELD_OF: dict[Role, str] = {
    "split": "{split}",
    "camera": "{camera}",
    "place": "{camera}",
    "sequence": "{sequence}",
    "person": "{pid}",
}


class Reading(NamedTuple):
    """One way to read a tree: the pattern, and what speaks for it."""

    pattern: str
    why: str


class _Tree(NamedTuple):
    """Paths of images, and for each level that all of them have its role and the names of its folders."""

    images: Sequence[PathParts]
    roles: Sequence[Role]
    names: Sequence[frozenset[str]]
    deeper: bool

    def pattern(self, fields: Sequence[str], name: str = "{frame}") -> str:
        levels = [field or "*" for field in fields]
        return "/".join([*levels, *(["**"] if self.deeper else []), name])

    def fields(self, **chosen: str) -> list[str]:
        """Return the field of each level by its role, or as chosen by `level0="{pid}"`."""
        return [chosen.get(f"level{number}", _FIELD_OF.get(role, "*")) for number, role in enumerate(self.roles)]


def infer(images: Sequence[PathParts]) -> list[Reading]:
    """Return the readings of a tree that its names and their recurrence leave possible: none, one or several.

    Args:
        images: paths below the folder, or below the folder of their split.
    """
    tree = _tree(images)
    people = [number for number, role in enumerate(tree.roles) if role == "person"]
    free = [number for number, role in enumerate(tree.roles) if role == ""]
    cameras = [number for number, role in enumerate(tree.roles) if role == "camera"]
    places = [number for number, role in enumerate(tree.roles) if role == "place"]
    if len(cameras) == len(places) == 1 and len(people or free) == 1 and not (people and free):
        # Cameras are counted anew in each place.
        fields = tree.fields(**{f"level{(people or free)[0]}": "{pid}"})
        return [Reading(tree.pattern(fields), f"cameras are {_some(tree, cameras[0])} of {_some(tree, places[0])}")]
    if len(cameras) > 1 or len(people) > 1 or (cameras and places):
        return _one_each(tree, people or free or cameras)
    if len(people) == 1:
        why = f"folders such as {_some(tree, people[0])} are named after people"
        below = [number for number in cameras or places if number > people[0]]
        # P1, P2, ... may be pairs of cameras, with the people in the file names (CUHK02).
        named = _recurring_names(tree, below[0], people[0]) if below else []
        return [Reading(tree.pattern(tree.fields()), why), *named]
    if len(free) == 1:
        return _one_level(tree, free[0], bool(cameras or places))
    if len(free) == 2 and not (cameras or places):
        return _two_levels(tree, *free)
    if free:
        return _one_each(tree, free)
    named = _people_in_names(tree, cameras or places)
    if cameras and (joined := _camera_in_folder(tree, cameras[0])):
        return [joined, *named] if _words_recur(tree) else [joined]
    return [*named, *_person_after_camera(tree, cameras)]


def _tree(images: Sequence[PathParts]) -> _Tree:
    depth = min((len(names) - 1 for names in images), default=0)
    names = [frozenset(image[level] for image in images) for level in range(depth)]
    roles = [role_of(values) for values in names]
    for level, (above, below) in enumerate(pairwise(names)):
        if all(map(_YEAR.fullmatch, above)) and all(map(_MONTH.fullmatch, below)):
            roles[level : level + 2] = ["sequence", "sequence"]
    if roles.count("") == 0 and roles.count("person") == 0 and "sequence" in roles and "camera" not in roles:
        # Subjects are called s1, s2, ... as often as sequences are.
        roles = [
            "" if role == "sequence" and all(re.fullmatch(r"[st]\d+", name, re.I) for name in values) else role
            for role, values in zip(roles, names, strict=True)
        ]
    return _Tree(images, roles, names, any(len(image) - 1 > depth for image in images))


def _some(tree: _Tree, level: int) -> str:
    return ", ".join(sorted(tree.names[level])[:2])


def _one_each(tree: _Tree, levels: Iterable[int]) -> list[Reading]:
    """Return a reading for each of some levels as that of people, to choose from."""
    plain = {"person": "*", "camera": "{camera}"}
    readings = []
    for level in levels:
        fields = [field if field != "{pid}" else "*" for field in tree.fields()]
        fields[level] = "{pid}"
        while fields.count("{camera}") > 1:
            fields[fields.index("{camera}")] = plain["person"]
        while fields.count("{sequence}") > 1:
            fields[fields.index("{sequence}")] = "*"
        readings.append(Reading(tree.pattern(fields), f"folders such as {_some(tree, level)} may be people"))
    return readings


def _one_level(tree: _Tree, level: int, camera_known: bool) -> list[Reading]:
    """Return the readings where one level of folders may be people: it is, unless the file names name them."""
    chosen = Reading(
        tree.pattern(_once(tree.fields(**{f"level{level}": "{pid}"}))),
        f"folders such as {_some(tree, level)} are taken for people",
    )
    if not camera_known and (joined := _camera_in_folder(tree, level)):
        return [joined]
    named = [*_recurring_names(tree, level), *_views_in_folders(tree, level)]
    if camera_known:
        # A folder for each pair of cameras, with the people in the file names (CUHK02).
        camera = next(number for number, role in enumerate(tree.roles) if role in ("camera", "place"))
        named = _recurring_names(tree, camera, level) if camera > level else []
    return [chosen, *named]


def _camera_in_folder(tree: _Tree, level: int) -> Reading | None:
    """Return the reading of folders such as `cam1_anna`, one for each person and camera, if these are such."""
    for separator in "_- ":
        parts = [name.split(separator, 1) for name in sorted(tree.names[level])]
        ends = [name.rsplit(separator, 1) for name in sorted(tree.names[level])]
        for pairs, camera in ((parts, 0), (ends, 1)):
            if not all(len(pair) == 2 and _NAME_CAMERA_PART.fullmatch(pair[camera]) for pair in pairs):
                continue
            people, cameras = ({pair[place] for pair in pairs} for place in (1 - camera, camera))
            if len(cameras) > 1 and len(people) < len(pairs) and role_of(people) != "place":
                fields = ["{camera}", "{pid}"] if camera == 0 else ["{pid}", "{camera}"]
                why = f"folders such as {_some(tree, level)} are named after a person and a camera"
                return Reading(tree.pattern(tree.fields(**{f"level{level}": separator.join(fields)})), why)
    return None


def _person_after_camera(tree: _Tree, cameras: Sequence[int]) -> list[Reading]:
    """Return the reading of folders such as `cam1_anna` and `cam2_bob` whose words may be people, unless files are."""
    if len(cameras) != 1 or _words_recur(tree):
        return []
    for separator in "_- ":
        pairs = [name.split(separator, 1) for name in sorted(tree.names[cameras[0]])]
        if all(len(pair) == 2 and _NAME_CAMERA_PART.fullmatch(pair[0]) for pair in pairs):
            if role_of({words for _, words in pairs}) == "place":
                return []
            fields = tree.fields(**{f"level{cameras[0]}": f"{{camera}}{separator}{{pid}}"})
            return [
                Reading(tree.pattern(fields), f"folders such as {_some(tree, cameras[0])} may be named after people")
            ]
    return []


def _words_recur(tree: _Tree) -> bool:
    """Return whether the first part of the file names that varies has words that recur, as names of people do."""
    _, parts = _parts(tree.images)
    columns = [set(column) for column in zip(*parts, strict=False)]
    first = next((column for column in columns if len(column) > 1), set())
    return len(first) < len(parts) and any(not value.isdecimal() for value in first)


def _views_in_folders(tree: _Tree, level: int) -> list[Reading]:
    """Return the reading of folders such as `anna_front` and `anna_side` if each has all of the views."""
    for separator in "_- ":
        pairs = [name.rsplit(separator, 1) for name in sorted(tree.names[level])]
        if all(len(pair) == 2 for pair in pairs):
            people, views = ({pair[place] for pair in pairs} for place in (0, 1))
            if len(people) > 1 and len(views) > 1 and len(people) * len(views) == len(pairs):
                fields = tree.fields(**{f"level{level}": f"{{pid}}{separator}{{sequence}}"})
                why = f"each of {len(people):,} names stands with each of {', '.join(sorted(views)[:2])}"
                return [Reading(tree.pattern(_once(fields)), why)]
    return []


def _once(fields: list[str]) -> list[str]:
    """Keep the first level of each field; a field may stand once in a pattern."""
    return [field if field == "*" or field not in fields[:number] else "*" for number, field in enumerate(fields)]


def _two_levels(tree: _Tree, upper: int, lower: int) -> list[Reading]:
    """Return the readings of two levels whose names tell nothing, by how often the lower one's names recur."""
    as_upper = tree.pattern(_once(tree.fields(**{f"level{upper}": "{pid}", f"level{lower}": "{sequence}"})))
    as_lower = tree.pattern(_once(tree.fields(**{f"level{upper}": "{camera}", f"level{lower}": "{pid}"})))
    grouped = tree.pattern(_once(tree.fields(**{f"level{upper}": "*", f"level{lower}": "{pid}"})))
    by_camera = tree.pattern(_once(tree.fields(**{f"level{upper}": "{pid}", f"level{lower}": "{camera}"})))
    above: dict[str, set[str]] = defaultdict(set)
    for names in tree.images:
        above[names[lower]].add(names[upper])
    if all(below.startswith(folder) for below, folders in above.items() for folder in folders):
        return [Reading(as_upper, "the inner folders repeat the outer ones' names")]
    recurring = sum(len(folders) > 1 for folders in above.values())
    outer, inner = len(tree.names[upper]), len(tree.names[lower])
    same = f"{recurring:,} of {inner:,} inner folders are in several of the {outer:,} outer ones"
    if inner == 1:
        return [Reading(as_upper, "the inner folders have one name")]
    if outer == 1:
        return [Reading(grouped, "the outer folders have one name")]
    if 2 * recurring >= inner:
        if any(_KINDS.fullmatch(name) for name in tree.names[upper]):
            return [Reading(as_lower, same), Reading(grouped, "folders are named after kinds of images")]
        if inner >= _CLEARLY_MORE * outer:
            return [Reading(as_lower, same)]
        if outer >= _CLEARLY_MORE * inner:
            return [Reading(as_upper, same)]
        return [Reading(as_lower, same), Reading(by_camera, same), Reading(as_upper, same)]
    return [Reading(as_upper, same), Reading(grouped, same)]


# People in file names


def _parts(images: Iterable[PathParts]) -> tuple[str, list[list[str]]]:
    """Return what separates the parts of the file names, and these parts; one part each if nothing does."""
    stems = [names[-1].rpartition(".")[0] for names in images]
    for separator in "_-":
        if all(separator in stem for stem in stems):
            return separator, [stem.split(separator) for stem in stems]
    return "_", [[stem] for stem in stems]


def _name_pattern(separator: str, fields: Sequence[str], longest: int) -> str:
    """Return the pattern of a name whose first parts have these fields."""
    rest = ["{frame}"] if longest > len(fields) else []
    return separator.join([*fields, *rest])


def _people_in_names(tree: _Tree, cameras: Sequence[int]) -> list[Reading]:
    """Return the readings where no level of folders is people: their names then begin the file names."""
    separator, parts = _parts(tree.images)
    shortest, longest = min(map(len, parts)), max(map(len, parts))
    values = [Counter(part[number] for part in parts) for number in range(shortest)]
    camera_part = next((n for n, seen in enumerate(values) if all(map(_NAME_CAMERA_PART.fullmatch, seen))), None)
    varying = [number for number, seen in enumerate(values) if len(seen) > 1]
    labelled = [number for number in varying if _is_person_part(values, number)]
    fields = tree.fields()

    def reading(pid: int, why: str) -> Reading:
        last = pid if camera_part is None or cameras else max(pid, camera_part)
        head = ["*" if number in varying else next(iter(values[number])) for number in range(last + 1)]
        head[pid] = "{pid}"
        if camera_part is not None and not cameras:
            head[camera_part] = "{camera}"
        return Reading(tree.pattern(fields, _name_pattern(separator, head, longest)), why)

    if len(labelled) == 1 and (cameras or camera_part is not None):
        return [reading(labelled[0], f"part {labelled[0] + 1} of the names is called after people")]
    if camera_part is not None and not cameras:
        candidates = [n for n in varying if n < camera_part] or [n for n in varying if camera_part < n < shortest - 1]
        return [reading(number, f"part {number + 1} of the names may be the person") for number in candidates]
    if not cameras:
        return []
    pid = varying[0] if varying else 0
    above: dict[str, set[str]] = defaultdict(set)
    for names, part in zip(tree.images, parts, strict=True):
        above[part[pid]].add(names[cameras[0]])
    recurring = sum(len(folders) > 1 for folders in above.values())
    why = f"{recurring:,} of {len(above):,} file names begin alike in several of the folders"
    if len(tree.names[cameras[0]]) > 1 and 2 * recurring >= len(above):
        counters = shortest == longest == 1 and all(part[0].isdecimal() for part in parts)
        if not counters:
            return [reading(pid, why)]
        return [reading(pid, why), _folders_are_people(tree, cameras[0])]
    return [reading(pid, why), _folders_are_people(tree, cameras[0])]


def _is_person_part(values: Sequence[Counter[str]], number: int) -> bool:
    """Return whether a part of the names is labelled as a person: `p07`, or a number after a part `id`."""
    before = set(values[number - 1]) if number else set()
    return role_of(set(values[number])) == "person" or (len(before) == 1 and before <= _PERSON_LABELS)


def _folders_are_people(tree: _Tree, level: int) -> Reading:
    fields = [field if number != level else "{pid}" for number, field in enumerate(tree.fields())]
    return Reading(tree.pattern(fields), f"folders such as {_some(tree, level)} may be people who are called so")


def _numbered_alike(tree: _Tree, level: int) -> list[Reading]:
    """Return the reading of two or three folders as cameras if they hold the same numbers: people, or only frames."""
    inside: dict[str, set[str]] = defaultdict(set)
    for names in tree.images:
        inside[names[level]].add(names[-1])
    same, *others = inside.values()
    few = 2 <= len(inside) <= _FEW_FOLDERS and len(same) > _CLEARLY_MORE * len(inside)
    if not few or any(names != same for names in others):
        return []
    fields = tree.fields(**{f"level{level}": "{camera}"})
    why = f"each of the {len(inside)} folders has the same {len(same):,} numbers"
    return [Reading(tree.pattern(fields, "{pid}"), why)]


def _recurring_names(tree: _Tree, level: int, outer: int | None = None) -> list[Reading]:
    """Return the reading of folders as cameras if the file names in them begin with more, recurring names than that.

    Args:
        tree: the images.
        level: the folders that may be cameras.
        outer: a level above them that would then mean nothing.
    """
    separator, parts = _parts(tree.images)
    shortest, longest = min(map(len, parts)), max(map(len, parts))
    words = all(not part[0].isdecimal() for part in parts)
    if shortest < 2 and not words:
        return _numbered_alike(tree, level) if outer is None else []
    first = next((n for n in range(shortest) if len({part[n] for part in parts}) > 1), None)
    if first is None or (all(part[first].isdecimal() for part in parts) and first == shortest - 1):
        return []  # a number at the end counts images
    above: dict[str, set[str]] = defaultdict(set)
    for names, part in zip(tree.images, parts, strict=True):
        above[part[first]].add(names[level])
    folders = len(tree.names[level if outer is None else outer])
    recurring = sum(len(seen) > 1 for seen in above.values())
    more = _CLEARLY_MORE if not words else 1
    if folders < 2 or len(above) <= more * folders or 2 * recurring < len(above):
        return []
    head = [next(iter({part[n] for part in parts})) for n in range(first)] + ["{pid}"]
    fields = tree.fields(**{f"level{level}": "{camera}"} | ({} if outer is None else {f"level{outer}": "*"}))
    why = f"{recurring:,} of {len(above):,} file names begin alike in several of the folders"
    return [Reading(tree.pattern(fields, _name_pattern(separator, head, longest)), why)]
