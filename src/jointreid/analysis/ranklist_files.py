"""The pictures of a ranked-list page: files below a folder beside it, under a name that follows from their contents.

So a page never shows the pictures of another one under its own captions: new pictures lie beside the former ones until
the new page is written, and only then the former ones are removed.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jointreid.analysis.pictures import small_jpeg
from jointreid.analysis.ranklist_data import DomainPage
from jointreid.machine.files import remove, replace_folder
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.evaluate import OnBatch

# Width and height at most, twice what the page shows.
SIZE = (96, 192)
# Is in every folder of pictures: only the contents of such a folder are replaced.
MARKER = "made-by-jointreid-ranklist.txt"
_NOTICE = "Pictures from data sets: pass them on only as their terms allow. The next page written here replaces them.\n"

# The name of a picture, and what makes its content.
_Task = tuple[str, Callable[[], bytes]]


def require_replaceable(folder: Path) -> None:
    """Raise JointreidError if something other than pictures of a former page has the name of the folder."""
    if (folder.exists() or folder.is_symlink()) and not (folder / MARKER).is_file():
        raise JointreidError(
            f"--out: {folder} exists and holds no pictures of a ranked-list page; name another place, or move it away"
        )


def write_pictures(folder: Path, domains: Sequence[DomainPage], workers: int, on_batch: OnBatch | None = None) -> Path:
    """Write the small images and the maps of all domains, beside those of a former page.

    Args:
        folder: for the pictures of this page and of former ones.
        domains: the domains.
        workers: threads.
        on_batch: called with ("pictures", written, in all).

    Returns:
        The folder of these pictures, in `folder`.

    Raises:
        JointreidError: an image is unreadable, or meanwhile `folder` has become something else.
    """
    require_replaceable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text(_NOTICE, encoding="utf-8")
    new, old = folder / ".new", folder / ".old"
    remove(new)
    new.mkdir()
    try:
        chosen = folder / _write(new, list(_tasks(domains)), workers, on_batch)
        replace_folder(chosen, new, old)
    finally:
        remove(new)
    return chosen


def remove_former(folder: Path, kept: Path) -> None:
    """Remove what else lies in a folder of pictures than the marker and the pictures of the page that is there now."""
    for entry in list(folder.iterdir()):
        if entry.name not in (MARKER, kept.name):
            remove(entry)


def _write(folder: Path, tasks: Sequence[_Task], workers: int, on_batch: OnBatch | None) -> str:
    """Write pictures, and return a name that follows from their contents."""
    digest = hashlib.sha256()
    with ThreadPoolExecutor(max(1, workers)) as pool:
        contents = pool.map(lambda task: task[1](), tasks)
        for done, ((name, _), content) in enumerate(zip(tasks, contents, strict=True), start=1):
            (folder / name).write_bytes(content)
            digest.update(b"%d %s %s" % (len(content), name.encode(), content))
            if on_batch is not None:
                on_batch("pictures", done, len(tasks))
    return digest.hexdigest()[:12]


def _tasks(domains: Iterable[DomainPage]) -> Iterable[_Task]:
    for domain in domains:
        for record, index in domain.images.items():
            yield domain.picture(index), lambda record=record: small_jpeg(record, SIZE)  # type: ignore[misc]
        for index, pair in domain.maps.items():
            for name, content in zip(domain.map_pictures(index), (pair.first, pair.second), strict=True):
                yield name, lambda content=content: content  # type: ignore[misc]
