"""Where images and tables lie: files of this machine, or an object store by its URI (`s3://bucket/folder`).

Object stores are read by pyarrow's file systems (s3, gs, abfss, hdfs, file), which take credentials from the
environment, as the tools of each store do.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jointreid.data.decode import SUFFIXES, Box, decode_boxes, read_boxes
from jointreid.extraction.image_input import Pixels
from jointreid.messages.errors import JointreidError


def is_uri(text: str) -> bool:
    """Return whether a text names an object store rather than a path."""
    scheme, separator, _ = text.partition("://")
    return bool(separator) and scheme.isalnum()


def parent_of(uri: str) -> str:
    """Return the folder of an object.

    >>> parent_of("s3://bucket/shop/manifest.csv")
    's3://bucket/shop'
    """
    return uri.rstrip("/").rpartition("/")[0]


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
        JointreidError: pyarrow knows no such store, or it cannot be reached.
    """
    import pyarrow
    import pyarrow.fs

    try:
        system, path = pyarrow.fs.FileSystem.from_uri(uri)
    except (OSError, pyarrow.ArrowException) as error:
        raise JointreidError(f"{uri}: cannot be opened: {error}; expected a URI such as s3://bucket/folder") from error
    return system, path
