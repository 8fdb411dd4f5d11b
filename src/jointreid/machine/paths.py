"""Paths that a person gives, and the folders that are chosen where none is given.

`~` is expanded here and nowhere else, and URIs are refused, so no folder of the name `~` or `s3:` is ever made.
"""

import os
import re
import sys
from functools import cache
from pathlib import Path

from jointreid.machine.files import probe
from jointreid.messages.errors import JointreidError

# The environment variable that names the cache folder where no `--cache` does.
CACHE = "JOINTREID_CACHE"
# Earlier versions wrote this default into the settings of their runs.
FORMER_CACHE = "out/cache"

# Two characters at least: `C:` is a drive.
_SCHEME = "[A-Za-z][A-Za-z0-9+.-]+:"


def user_path(text: str | Path) -> Path:
    """Return the path that a person means by a text: `~` is the home folder.

    Raises:
        JointreidError: it is a URI, or begins with `~` where there is no home folder or no user of that name has one.
    """
    _refuse_uri(text)
    path = Path(os.path.expanduser(text))
    if path.parts[:1] and path.parts[0].startswith("~") and not str(text).startswith("./"):
        who = "this user has no home folder" if path.parts[0] == "~" else f"there is no user {path.parts[0][1:]}"
        if path.parts[0] == "~" or not path.exists():
            raise JointreidError(f"{text}: {who}; write the whole path, or ./ before a name that begins with ~")
    return path


def is_uri(text: str) -> bool:
    """Return whether a text names an object store, `scheme://...`, rather than a path.

    >>> is_uri("s3://bucket/shop"), is_uri("a/b://c"), is_uri("C://x")
    (True, False, False)
    """
    return re.match(f"{_SCHEME}//", text) is not None


def without_password(uri: str) -> str:
    """Return a URI for a message, without the name and the password that may stand before its host.

    >>> without_password("s3://me:secret@bucket/shop"), without_password("s3://bucket/a@b.jpg")
    ('s3://...@bucket/shop', 's3://bucket/a@b.jpg')
    """
    return re.sub(f"^({_SCHEME}//?)[^/]*@", r"\1...@", uri)


def _refuse_uri(text: str | Path) -> None:
    """Refuse a URI, also as a `Path`, which makes one slash of two."""
    if isinstance(text, Path):
        scheme = re.match(f"{_SCHEME}/", text.as_posix())
        refused = scheme is not None and not Path(text.parts[0]).exists()
    else:
        refused = is_uri(text)
    if refused:
        raise JointreidError(
            f"{without_password(str(text))}: expected a path on this machine; only galleries, and --images "
            "and --root of `jointreid extract`, may be in an object store"
        )


def is_unicode(path: str | Path) -> bool:
    """Return whether a path is valid Unicode; with bytes that are not, no table or JSON file can hold it."""
    text = str(path)
    return text.isascii() or not re.search("[\ud800-\udfff]", text)


def absolute(text: str | Path) -> str:
    """Return the absolute path that a person means by a text; links stay as they are."""
    return os.path.abspath(user_path(text))


def user_cache_folder() -> Path | None:
    """Return the folder for this user's caches: `$JOINTREID_CACHE`, else where the system keeps caches of `jointreid`.

    None where there is no such place, as for a user without a home folder.
    """
    if given := os.environ.get(CACHE):
        return Path(absolute(given))
    import platformdirs

    try:
        folder = platformdirs.user_cache_path("jointreid", appauthor=False)
    except RuntimeError:  # no home folder
        return None
    return folder if folder.is_absolute() else None


def cache_folder(setting: str) -> Path | None:
    """Return the folder that `data.cache` means; None, after a line on stderr, where nothing can be kept.

    A folder that a person named is returned as it is: an error says later if it cannot be written. The default must
    never stop anything, so without a folder that can be written, images are kept in memory and checked again each time.
    """
    if setting not in ("", FORMER_CACHE):
        return user_path(setting)
    if setting == FORMER_CACHE and not why_unwritable(Path(setting)):
        return Path(setting)
    return _default_cache(user_cache_folder())


@cache  # one line for each process
def _default_cache(folder: Path | None) -> Path | None:
    why = why_unwritable(folder) if folder else "there is no home folder"
    if not why:
        return folder
    where = f"{folder}: {why}" if folder else why
    print(
        f"jointreid: no cache folder ({where}): images are decoded again and kept in memory; --cache DIR or {CACHE} "
        "names another folder",
        file=sys.stderr,
    )
    return None


def why_unwritable(folder: Path) -> str:
    """Return why no file can be written into a folder, which is made if missing; empty if one can."""
    if folder.exists() and not folder.is_dir():
        return f"{folder} is a file"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe(folder)
        return ""
    except OSError as error:
        return error.strerror or str(error)


def require_writable_file(path: Path, option: str) -> None:
    """Refuse, before the work, a file that could not be written after it, as where a folder has its name.

    Args:
        path: the file.
        option: the option that names it, such as `--out`.

    Raises:
        JointreidError: the message names the path, the reason and the option.
    """
    if path.is_dir():
        raise JointreidError(f"{path}: is a folder; name a file, in it or elsewhere, with {option}")
    require_writable(path, option)


def require_writable(path: Path, option: str) -> None:
    """Refuse, before the work, a file or folder that could not be written after it.

    Nothing is made: the nearest folder that exists is asked.

    Args:
        path: what is to be written.
        option: the option that names another place, such as `--out`; empty where there is none.

    Raises:
        JointreidError: the message names the path, the reason and the option.
    """
    why = "" if is_unicode(path) else "its name is not valid Unicode, which the formats of results cannot hold"
    folder = path if path.is_dir() else path.absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if why := why or why_unwritable(folder):
        remedy = f"; choose another place with {option}" if option else ""
        raise JointreidError(f"{path}: cannot be written: {why}{remedy}")
