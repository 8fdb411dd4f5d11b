"""Why a file that a table names may not be there, told from its name."""

import re
import unicodedata
from functools import lru_cache
from pathlib import Path

_URL = re.compile(r"\b(?:https?|file|ftp|s3|gs):/")


def missing_hint(path: Path) -> str:
    r"""Return what may be wrong with the path of a file that is not there, with what to do; nothing if unknown.

    >>> missing_hint(Path("/nowhere/a\\b.jpg"))
    '; it holds backslashes: separate folders by / in the table'
    """
    text = str(path)
    if found := _URL.search(text):
        return f"; {text[found.start() :]!r} looks like a URL: download the images and name the files"
    if re.search(r"(^|/)[A-Za-z]:[\\/]", text):
        return "; it holds a Windows drive: write a path relative to the table's folder, separated by /"
    if "\\" in text:
        return "; it holds backslashes: separate folders by / in the table"
    if "/~/" in text or text.startswith("~"):
        return "; ~ is not expanded in a table: write the path from the table's folder"
    if near := _written_otherwise(path):
        return near
    if any(mark in path.name for mark in "*?"):
        return "; patterns are not expanded in a table: name each file in a row of its own"
    return ""


def _written_otherwise(path: Path) -> str:
    """Return which file there is, in the same folder or one of the same name, that the path only looks unlike."""
    here = path
    while not here.parent.exists() and here != here.parent:
        here = here.parent
    try:
        name = _names(here.parent, here.parent.stat().st_mtime_ns).get(_plain(here.name))
    except OSError:
        return ""
    if name is None or name == here.name:
        return ""
    if unicodedata.normalize("NFC", name) == unicodedata.normalize("NFC", here.name):
        form = "NFD" if name == unicodedata.normalize("NFD", name) else "NFC"
        return f"; {here.parent / name} is there, in the Unicode form {form}: write the name in the same form"
    return f"; {here.parent / name} is there, with other capitals: write the name alike"


@lru_cache(maxsize=64)
def _names(folder: Path, changed: int) -> dict[str, str]:
    """Return the names in a folder by their plain form; read once, as long as it was `changed` at the same ns."""
    return {_plain(entry.name): entry.name for entry in folder.iterdir()}


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
