"""A tree of folders as the inference of its meaning sees it: its levels, their roles and the readings made of them."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from jointreid.ingest.images import PathParts
from jointreid.ingest.meaning import CAMERA_NAMES, Role, role_of

# A part of a name that is a camera, as in Market-1501 also with a sequence: `c3s1`.
NAME_CAMERA_PART = re.compile(rf"(?:c|{CAMERA_NAMES})\d{{1,9}}(?:s\d+)?", re.IGNORECASE)
_YEAR, _MONTH = re.compile(r"20\d\d"), re.compile(r"0[1-9]|1[0-2]")
# How many times as many folders one level needs, to be taken for people and the other for cameras or days.
CLEARLY_MORE = 2
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


class FolderTree(NamedTuple):
    """Images below a folder, by the levels of folders that all of them have.

    Attributes:
        images: their paths.
        roles: of each level, what the names of its folders say that it is.
        names: of each level, the names of its folders.
        deeper: whether some images lie in further folders below these levels.
    """

    images: Sequence[PathParts]
    roles: Sequence[Role]
    names: Sequence[frozenset[str]]
    deeper: bool

    def pattern(self, fields: Sequence[str], name: str = "{frame}") -> str:
        """Return the pattern of the paths, given the field of each level and the pattern of the file names."""
        levels = [field or "*" for field in fields]
        return "/".join([*levels, *(["**"] if self.deeper else []), name])

    def fields(self, **chosen: str) -> list[str]:
        """Return the field of each level by its role, or as chosen by `level0="{pid}"`."""
        return [chosen.get(f"level{number}", _FIELD_OF.get(role, "*")) for number, role in enumerate(self.roles)]


def read_tree(images: Sequence[PathParts]) -> FolderTree:
    """Return the tree of some images, with what the names of each level say that it is."""
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
    return FolderTree(images, roles, names, any(len(image) - 1 > depth for image in images))


def examples_of(tree: FolderTree, level: int) -> str:
    """Return two names of a level, for messages."""
    return ", ".join(sorted(tree.names[level])[:2])


def once(fields: list[str]) -> list[str]:
    """Keep the first level of each field; a field may stand once in a pattern."""
    return [field if field == "*" or field not in fields[:number] else "*" for number, field in enumerate(fields)]
