"""The pictures of a ranked-list page: files in a folder beside it, which is replaced as a whole."""

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
# Is in every folder of pictures: only such a folder is replaced.
MARKER = "made-by-jointreid-ranklist.txt"
_NOTICE = "Pictures from data sets: pass them on only as their terms allow. The next page written here replaces them.\n"


def require_replaceable(folder: Path) -> None:
    """Raise JointreidError if something other than pictures of a former page has the name of the folder."""
    if (folder.exists() or folder.is_symlink()) and not (folder / MARKER).is_file():
        raise JointreidError(
            f"--out: {folder} exists and holds no pictures of a ranked-list page; name another place, or move it away"
        )


def write_pictures(folder: Path, domains: Sequence[DomainPage], workers: int, on_batch: OnBatch | None = None) -> None:
    """Write the small images and the maps of all domains.

    Args:
        folder: it replaces a former one.
        domains: the domains.
        workers: threads.
        on_batch: called with ("pictures", written, in all).

    Raises:
        JointreidError: an image is unreadable.
    """
    new, old = (folder.with_name(f".{folder.name}-{kind}") for kind in ("new", "old"))
    remove(new)
    new.mkdir(parents=True)
    tasks = list(_tasks(domains))
    with ThreadPoolExecutor(max(1, workers)) as pool:
        contents = pool.map(lambda task: task[1](), tasks)
        for done, ((name, _), content) in enumerate(zip(tasks, contents, strict=True), start=1):
            (new / name).write_bytes(content)
            if on_batch is not None:
                on_batch("pictures", done, len(tasks))
    (new / MARKER).write_text(_NOTICE, encoding="utf-8")
    replace_folder(folder, new, old)


def _tasks(domains: Iterable[DomainPage]) -> Iterable[tuple[str, Callable[[], bytes]]]:
    for domain in domains:
        for record, index in domain.images.items():
            yield domain.picture(index), lambda record=record: small_jpeg(record, SIZE)  # type: ignore[misc]
        for index, pair in domain.maps.items():
            for name, content in zip(domain.map_pictures(index), (pair.first, pair.second), strict=True):
                yield name, lambda content=content: content  # type: ignore[misc]
