"""Inference of people from the parts of file names, below folders that may be cameras."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from jointreid.ingest.images import PathParts
from jointreid.ingest.meaning import role_of
from jointreid.ingest.tree import CLEARLY_MORE, NAME_CAMERA_PART, FolderTree, Reading, examples_of

_PERSON_LABELS = {"id", "pid", "person", "ID", "PID", "Person"}
# So few people are hardly a data set; folders of the same numbers are then as likely cameras.
_FEW_FOLDERS = 3


def people_in_names(tree: FolderTree, cameras: Sequence[int]) -> list[Reading]:
    """Return the readings where no level of folders is people: their names then begin the file names."""
    separator, parts = _parts(tree.images)
    shortest, longest = min(map(len, parts)), max(map(len, parts))
    values = [Counter(part[number] for part in parts) for number in range(shortest)]
    camera_part = next((n for n, seen in enumerate(values) if all(map(NAME_CAMERA_PART.fullmatch, seen))), None)
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


def recurring_names(tree: FolderTree, level: int, outer: int | None = None) -> list[Reading]:
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
    more = CLEARLY_MORE if not words else 1
    if folders < 2 or len(above) <= more * folders or 2 * recurring < len(above):
        return []
    head = [next(iter({part[n] for part in parts})) for n in range(first)] + ["{pid}"]
    fields = tree.fields(**{f"level{level}": "{camera}"} | ({} if outer is None else {f"level{outer}": "*"}))
    why = f"{recurring:,} of {len(above):,} file names begin alike in several of the folders"
    return [Reading(tree.pattern(fields, _name_pattern(separator, head, longest)), why)]


def words_recur(tree: FolderTree) -> bool:
    """Return whether the first part of the file names that varies has words that recur, as names of people do."""
    _, parts = _parts(tree.images)
    columns = [set(column) for column in zip(*parts, strict=False)]
    first = next((column for column in columns if len(column) > 1), set())
    return len(first) < len(parts) and any(not value.isdecimal() for value in first)


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


def _is_person_part(values: Sequence[Counter[str]], number: int) -> bool:
    """Return whether a part of the names is labelled as a person: `p07`, or a number after a part `id`."""
    before = set(values[number - 1]) if number else set()
    return role_of(set(values[number])) == "person" or (len(before) == 1 and before <= _PERSON_LABELS)


def _folders_are_people(tree: FolderTree, level: int) -> Reading:
    fields = [field if number != level else "{pid}" for number, field in enumerate(tree.fields())]
    return Reading(tree.pattern(fields), f"folders such as {examples_of(tree, level)} may be people who are called so")


def _numbered_alike(tree: FolderTree, level: int) -> list[Reading]:
    """Return the reading of two or three folders as cameras if they hold the same numbers: people, or only frames."""
    inside: dict[str, set[str]] = defaultdict(set)
    for names in tree.images:
        inside[names[level]].add(names[-1])
    same, *others = inside.values()
    few = 2 <= len(inside) <= _FEW_FOLDERS and len(same) > CLEARLY_MORE * len(inside)
    if not few or any(names != same for names in others):
        return []
    fields = tree.fields(**{f"level{level}": "{camera}"})
    why = f"each of the {len(inside)} folders has the same {len(same):,} numbers"
    return [Reading(tree.pattern(fields, "{pid}"), why)]
