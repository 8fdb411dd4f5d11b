"""Patterns that say what each level of folders and each part of a file name means: `{camera}/{pid}/{frame}.jpg`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from jointreid.data.decode import SUFFIXES
from jointreid.messages.errors import JointreidError, no_such

FIELDS = ("split", "camera", "pid", "track", "sequence", "frame", "_")
# What the fields are called where a reading is shown.
_SHOWN = {"split": "SPLIT", "camera": "CAMERA", "pid": "PERSON", "track": "TRACK", "sequence": "SEQUENCE"}
_SHOWN |= {"frame": "IMAGE", "_": "*"}
_TOKEN = re.compile(r"\{(?P<field>[^{}:]*)(?::(?P<width>[^{}]*))?\}|(?P<star>\*+)|(?P<text>[^{}*]+)|(?P<stray>[{}])")


@dataclass(frozen=True)
class Pattern:
    """Meaning of the paths below a folder.

    `{split}`, `{camera}`, `{pid}`, `{track}`, `{sequence}` and `{frame}` stand for one or more characters of one level,
    `{pid:4}` for exactly four; `*` or `{_}` for any, `**` for any number of folders. Everything else stands for itself,
    and capitals do not matter. `{camera}` may stand twice, for a store and the camera in it: both make up its name.
    Where two fields share a name, each takes as little as it can. The ending `.jpg` may be left out; then every ending
    fits.

    Attributes:
        text: the pattern.

    Raises:
        JointreidError: an unknown field, a field twice, no `{pid}`, or two fields with nothing between them.
    """

    text: str

    def __post_init__(self) -> None:
        _ = self.regex

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """The fields in their order, without those that mean nothing."""
        return tuple(match["field"] for match in _TOKEN.finditer(self.text) if match["field"] not in (None, "_"))

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """The regular expression of the whole path."""
        text = self.text.removeprefix("./")
        if not text or text.startswith("/") or ".." in text.split("/"):
            raise self._wrong("expected a path below the folder, such as {camera}/{pid}/{frame}.jpg")
        stem, dot, ending = text.rpartition(".")
        named = f".{ending}".lower() in SUFFIXES
        levels = (stem if named else text.removesuffix(".*")).split("/")
        seen: list[str] = []
        parts = [
            "(?:[^/]+/)*" if level == "**" else self._level(level, seen) + ("/" if number < len(levels) else "")
            for number, level in enumerate(levels, start=1)
        ]
        if levels[-1] == "**":
            parts.append("[^/]+?")
        if "pid" not in seen:
            raise self._wrong("has no {pid}; say where the person's name or number is")
        end = re.escape(dot + ending) if named else r"\.[^./]+"
        return re.compile("".join(parts) + end, re.IGNORECASE)

    def _level(self, level: str, seen: list[str]) -> str:
        if not level:
            raise self._wrong("has an empty level (two slashes in a row, or one at the end)")
        made, adjacent = [], False
        for token in _TOKEN.finditer(level):
            if token["stray"]:
                raise self._wrong(f"has a single {token['stray']}; fields are written {{pid}}")
            if token["text"]:
                made.append(re.escape(token["text"]))
                adjacent = False
                continue
            field, width = token["field"] or "_", token["width"]
            if field not in FIELDS:
                raise self._wrong(no_such("field", field, FIELDS))
            if width is not None and not re.fullmatch(r"[1-9]\d?", width):
                raise self._wrong(f"has the width {width!r} in {token[0]}; expected a number from 1 to 99")
            if field not in ("_", "camera") and field in seen:
                raise self._wrong(f"has {{{field}}} twice; write * where it only repeats")
            if adjacent and width is None:
                raise self._wrong(f"has nothing between {token[0]} and the field before; say a width, as in {{pid:4}}")
            seen.append(field)
            size = "+?" if width is None else f"{{{width}}}"
            name = f"camera{seen.count('camera')}" if field == "camera" else field
            made.append(f"[^/]{size}" if field == "_" else f"(?P<{name}>[^/]{size})")
            adjacent = width is None
        return "".join(made)

    def match(self, path: str) -> Mapping[str, str] | None:
        """Return the text of each field in a path below the folder, or None if it does not fit."""
        found = self.regex.fullmatch(path)
        if found is None:
            return None
        fields = found.groupdict()
        if cameras := [fields.pop(name) for name in sorted(fields) if name.startswith("camera")]:
            fields["camera"] = "/".join(cameras)
        return fields

    @property
    def shown(self) -> str:
        """The pattern in words, `CAMERA/PERSON/IMAGE`."""
        text = _TOKEN.sub(
            lambda token: _SHOWN[token["field"]] if token["field"] in _SHOWN else "*" if token["field"] else token[0],
            self.text,
        )
        stem, _, ending = text.rpartition(".")
        return stem if f".{ending}".lower() in (*SUFFIXES, ".*") else text

    def _wrong(self, fault: str) -> JointreidError:
        return JointreidError(
            f"--pattern {self.text}: {fault}. Fields are {', '.join(f'{{{f}}}' for f in FIELDS[:-1])}"
        )
