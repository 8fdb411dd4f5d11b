"""Where images and tables lie: files of this machine, or an object store by its URI (`s3://bucket/folder`).

Object stores are read by pyarrow's file systems (s3, gs, abfss, hdfs, file), which take credentials from the
environment, as the tools of each store do.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jointreid.data.decode import SUFFIXES, Box, decode_boxes, read_boxes
from jointreid.extraction.image_input import Pixels
from jointreid.machine.paths import is_uri, without_password
from jointreid.messages.errors import JointreidError


def parent_of(uri: str) -> str:
    """Return the folder of an object; options of the store, after `?`, stay.

    >>> parent_of("s3://bucket/shop/manifest.csv?region=eu-west-1")
    's3://bucket/shop?region=eu-west-1'
    """
    path, mark, options = uri.partition("?")
    return path.rstrip("/").rpartition("/")[0] + mark + options


def object_below(folder: str, path: str) -> str:
    """Return the URI of an object below a folder, whatever is in its name: there may be no options in it.

    >>> object_below("s3://bucket/shop/?region=eu-west-1", "images/1.jpg")
    's3://bucket/shop/images/1.jpg?region=eu-west-1'
    >>> object_below("s3://bucket/shop", "camera 1/50%.jpg?region=eu-west-1")
    's3://bucket/shop/camera%201/50%25.jpg%3Fregion%3Deu-west-1'
    """
    root, mark, options = folder.partition("?")
    return f"{root.rstrip('/')}/{quote(path)}{mark}{options}"


def suffix_of(location: str) -> str:
    """Return how the name of a file or an object ends, in small letters.

    >>> suffix_of("s3://bucket/manifest.CSV?region=eu-west-1")
    '.csv'
    """
    return os.path.splitext(location.partition("?")[0] if is_uri(location) else location)[1].lower()


def read_bytes(location: str) -> bytes:
    """Return the content of a file or an object.

    Raises:
        JointreidError: it is not there or cannot be read.
    """
    try:
        if not is_uri(location):
            return Path(location).read_bytes()
        system, path = file_system(location)
        with system.open_input_file(path) as stream:
            content: bytes = stream.read()
            return content
    except FileNotFoundError as error:
        raise JointreidError(f"{location}: no such {'object' if is_uri(location) else 'file'}") from error
    except OSError as error:
        raise JointreidError(f"{location}: cannot be read: {error.strerror or error}") from error


def read_image_boxes(location: str, boxes: Sequence[Box | None]) -> list[Pixels]:
    """Return the RGB pixels of boxes of an image, None for all of it, in a file or an object store.

    Returns:
        uint8 [H, W, 3] for each box.

    Raises:
        JointreidError: see `jointreid.data.decode.read_boxes`.
    """
    if is_uri(location):
        return decode_boxes(read_bytes(location), location, boxes)
    return read_boxes(Path(location), boxes)


def list_images(folder: str) -> list[str]:
    """Return the paths below a folder, with `/`, of all files that end as images do, sorted.

    Hidden files and folders are left out.

    Raises:
        JointreidError: the folder cannot be listed.
    """
    if not is_uri(folder):
        root = Path(folder)
        found = [path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in SUFFIXES]
        return sorted(
            path.as_posix()
            for path in found
            if not any(part.startswith(".") for part in path.parts) and (root / path).is_file()
        )
    import pyarrow.fs

    system, root_path = file_system(folder)
    try:
        entries = system.get_file_info(pyarrow.fs.FileSelector(root_path, recursive=True))
    except OSError as error:
        raise JointreidError(f"{folder}: cannot be listed: {error.strerror or error}") from error
    names = [entry.path[len(root_path.rstrip("/")) + 1 :] for entry in entries if entry.is_file]
    return sorted(
        name
        for name in names
        if name.lower().endswith(SUFFIXES) and not any(part.startswith(".") for part in name.split("/"))
    )


def file_system(uri: str) -> tuple[Any, str]:
    """Return pyarrow's file system of a URI, and the path in it.

    Raises:
        JointreidError: the URI holds a password, pyarrow knows no such store, or it cannot be reached.
    """
    import pyarrow
    import pyarrow.fs

    if (shown := without_password(uri)) != uri:
        raise JointreidError(
            f"{shown}: holds a password, which the file of features would keep; give it in the environment, such as "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        )
    try:
        system, path = pyarrow.fs.FileSystem.from_uri(uri)
    except (OSError, pyarrow.ArrowException) as error:
        raise JointreidError(f"{uri}: cannot be opened: {error}; expected a URI such as s3://bucket/folder") from error
    return system, path
