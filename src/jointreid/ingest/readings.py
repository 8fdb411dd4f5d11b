"""Inference of what the levels of a tree and the parts of its file names mean.

A level of folders is known by its names (`cam3`, `2024-05-01`, `entrance`, `p07`), or by which of its names recur:
a person seen by several cameras has a folder of one name in each, so few folders with many recurring names inside are
cameras, and many folders with few are people. What these do not decide is left undecided: all readings are returned.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from jointreid.ingest.images import PathParts
from jointreid.ingest.meaning import role_of
from jointreid.ingest.names import people_in_names, recurring_names, words_recur
from jointreid.ingest.tree import CLEARLY_MORE, NAME_CAMERA_PART, FolderTree, Reading, examples_of, once, read_tree

# Folders of other things than cameras, beside which the same people stand again: masks, poses, faces.
_KINDS = re.compile(
    r"(mask|seg|segmentation|parsing|pose|skeleton|keypoint|silhouette|depth|flow|label|annotation|face|crop|image|img)s?",
    re.IGNORECASE,
)


def infer(images: Sequence[PathParts]) -> list[Reading]:
    """Return the readings of a tree that its names and their recurrence leave possible: none, one or several.

    Args:
        images: paths below the folder, or below the folder of their split.
    """
    tree = read_tree(images)
    people = [number for number, role in enumerate(tree.roles) if role == "person"]
    free = [number for number, role in enumerate(tree.roles) if role == ""]
    cameras = [number for number, role in enumerate(tree.roles) if role == "camera"]
    places = [number for number, role in enumerate(tree.roles) if role == "place"]
    if len(cameras) == len(places) == 1 and len(people or free) == 1 and not (people and free):
        # Cameras are counted anew in each place.
        fields = tree.fields(**{f"level{(people or free)[0]}": "{pid}"})
        return [
            Reading(
                tree.pattern(fields), f"cameras are {examples_of(tree, cameras[0])} of {examples_of(tree, places[0])}"
            )
        ]
    if len(cameras) > 1 or len(people) > 1 or (cameras and places):
        if people or free:
            return _one_each(tree, people or free)
        # Both levels make up a camera's name, if there are two; no folder is called after people.
        return people_in_names(tree, sorted([*cameras, *places])) if len(cameras) + len(places) == 2 else []
    if len(people) == 1:
        why = f"folders such as {examples_of(tree, people[0])} are named after people"
        below = [number for number in cameras or places if number > people[0]]
        # P1, P2, ... may be pairs of cameras, with the people in the file names (CUHK02).
        named = recurring_names(tree, below[0], people[0]) if below else []
        return [Reading(tree.pattern(tree.fields()), why), *named]
    if len(free) == 1:
        return _one_level(tree, free[0], bool(cameras or places))
    if len(free) == 2 and not (cameras or places):
        return _two_levels(tree, *free)
    if free:
        return _one_each(tree, free)
    named = people_in_names(tree, cameras or places)
    if cameras and (joined := _camera_in_folder(tree, cameras[0])):
        return [joined, *named] if words_recur(tree) else [joined]
    return [*named, *_person_beside_camera(tree, cameras)]


def _one_each(tree: FolderTree, levels: Iterable[int]) -> list[Reading]:
    """Return a reading for each of some levels as that of people, to choose from."""
    plain = {"person": "*", "camera": "{camera}"}
    readings = []
    for level in levels:
        fields = [field if field != "{pid}" else "*" for field in tree.fields()]
        fields[level] = "{pid}"
        while fields.count("{camera}") > 2:  # a place or a modality, and the camera in it
            fields[fields.index("{camera}")] = plain["person"]
        while fields.count("{sequence}") > 1:
            fields[fields.index("{sequence}")] = "*"
        readings.append(Reading(tree.pattern(fields), f"folders such as {examples_of(tree, level)} may be people"))
    return readings


def _one_level(tree: FolderTree, level: int, camera_known: bool) -> list[Reading]:
    """Return the readings where one level of folders may be people: it is, unless the file names name them."""
    chosen = Reading(
        tree.pattern(once(tree.fields(**{f"level{level}": "{pid}"}))),
        f"folders such as {examples_of(tree, level)} are taken for people",
    )
    if not camera_known and (joined := _camera_in_folder(tree, level)):
        return [joined]
    named = [*recurring_names(tree, level), *_views_in_folders(tree, level)]
    if camera_known:
        # A folder for each pair of cameras, with the people in the file names (CUHK02).
        camera = next(number for number, role in enumerate(tree.roles) if role in ("camera", "place"))
        named = recurring_names(tree, camera, level) if camera > level else []
    return [chosen, *named]


def _camera_in_folder(tree: FolderTree, level: int) -> Reading | None:
    """Return the reading of folders such as `cam1_anna`, one for each person and camera, if these are such."""
    for separator in "_- ":
        parts = [name.split(separator, 1) for name in sorted(tree.names[level])]
        ends = [name.rsplit(separator, 1) for name in sorted(tree.names[level])]
        for pairs, camera in ((parts, 0), (ends, 1)):
            if not all(len(pair) == 2 and NAME_CAMERA_PART.fullmatch(pair[camera]) for pair in pairs):
                continue
            people, cameras = ({pair[place] for pair in pairs} for place in (1 - camera, camera))
            if len(cameras) > 1 and len(people) < len(pairs) and role_of(people) != "place":
                fields = ["{camera}", "{pid}"] if camera == 0 else ["{pid}", "{camera}"]
                why = f"folders such as {examples_of(tree, level)} are named after a person and a camera"
                return Reading(tree.pattern(tree.fields(**{f"level{level}": separator.join(fields)})), why)
    return None


def _person_beside_camera(tree: FolderTree, cameras: Sequence[int]) -> list[Reading]:
    """Return the reading of folders such as `cam1_anna` and `cam2_bob` whose words may be people, unless files are."""
    if len(cameras) != 1 or words_recur(tree):
        return []
    (level,) = cameras
    for separator in "_- ":
        heads = [name.split(separator, 1) for name in sorted(tree.names[level])]
        ends = [name.rsplit(separator, 1)[::-1] for name in sorted(tree.names[level])]
        for pairs, fields in ((heads, ["{camera}", "{pid}"]), (ends, ["{pid}", "{camera}"])):
            if not all(len(pair) == 2 and NAME_CAMERA_PART.fullmatch(pair[0]) for pair in pairs):
                continue
            if role_of({words for _, words in pairs}) == "place":
                return []
            why = f"folders such as {examples_of(tree, level)} may be named after a person and a camera"
            return [Reading(tree.pattern(tree.fields(**{f"level{level}": separator.join(fields)})), why)]
    return []


def _views_in_folders(tree: FolderTree, level: int) -> list[Reading]:
    """Return the reading of folders such as `anna_front` and `anna_side` if each has all of the views."""
    for separator in "_- ":
        pairs = [name.rsplit(separator, 1) for name in sorted(tree.names[level])]
        if all(len(pair) == 2 for pair in pairs):
            people, views = ({pair[place] for pair in pairs} for place in (0, 1))
            if len(people) > 1 and len(views) > 1 and len(people) * len(views) == len(pairs):
                fields = tree.fields(**{f"level{level}": f"{{pid}}{separator}{{sequence}}"})
                why = f"each of {len(people):,} names stands with each of {', '.join(sorted(views)[:2])}"
                return [Reading(tree.pattern(once(fields)), why)]
    return []


def _two_levels(tree: FolderTree, upper: int, lower: int) -> list[Reading]:
    """Return the readings of two levels whose names tell nothing, by how often the lower one's names recur."""
    as_upper = tree.pattern(once(tree.fields(**{f"level{upper}": "{pid}", f"level{lower}": "{sequence}"})))
    as_lower = tree.pattern(once(tree.fields(**{f"level{upper}": "{camera}", f"level{lower}": "{pid}"})))
    grouped = tree.pattern(once(tree.fields(**{f"level{upper}": "*", f"level{lower}": "{pid}"})))
    by_camera = tree.pattern(once(tree.fields(**{f"level{upper}": "{pid}", f"level{lower}": "{camera}"})))
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
        if inner >= CLEARLY_MORE * outer:
            return [Reading(as_lower, same)]
        if outer >= CLEARLY_MORE * inner:
            return [Reading(as_upper, same)]
        return [Reading(as_lower, same), Reading(by_camera, same), Reading(as_upper, same)]
    return [Reading(as_upper, same), Reading(grouped, same)]
