"""The process that changes the index of a gallery; its temporary files lie inside the gallery's folder.

While Lance builds an index it writes 8-bit codes of all features into the system's temporary folder. A process that is
killed leaves them there, where no purge looks. Only TMPDIR names another folder, and a process with threads cannot
change that safely, so a process of its own does this work. It ends with the one that started it.
"""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import cast

from jointreid.gallery.columns import TABLE
from jointreid.gallery.index import IndexWork, change_index
from jointreid.machine.files import remove
from jointreid.machine.locks import lock_files, locked

_TEMPORARY, _LOCK = "index.tmp", "index.lock"
# What may be in the gallery's folder.
INDEX_FILES = (_TEMPORARY, *(path.name for path in lock_files(Path(_LOCK))))


def change_index_apart(uri: str, folder: Path, work: IndexWork) -> None:
    """Change the index of a table in another process, and remove its temporary files.

    Args:
        uri: of the gallery.
        folder: of its locks and temporary files on this machine.
        work: what to do. The caller holds the lock of writers.

    Raises:
        RuntimeError: it failed; the message is LanceDB's.
    """
    try:
        with start(uri, folder, work) as process:
            try:
                assert process.stderr is not None
                told = process.stderr.read().split("\n")
            except BaseException:
                process.kill()
                process.wait()
                raise
    finally:
        remove(folder / _TEMPORARY)
    if process.returncode:
        reason = next((line for line in reversed(told) if line.strip()), f"it ended with code {process.returncode}")
        raise RuntimeError(f"the index cannot be changed: {reason}")


def start(uri: str, folder: Path, work: IndexWork) -> subprocess.Popen[str]:
    """Start the process for `change_index_apart`; it ends early when its standard input is closed."""
    end_builds(folder)
    temporary = folder / _TEMPORARY
    temporary.mkdir()
    names = {name: str(temporary) for name in ("TMPDIR", "TEMP", "TMP")}
    path = os.pathsep.join(entry for entry in sys.path if entry)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "jointreid.gallery.index_process", uri, str(folder), work],
        env=os.environ | names | {"PYTHONPATH": path},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )


def end_builds(folder: Path) -> None:
    """Remove what a killed build left, once its process has ended; the caller holds the lock of writers."""
    if (folder / _TEMPORARY).exists():
        with locked(folder / _LOCK):
            remove(folder / _TEMPORARY)


def main(arguments: Sequence[str]) -> int:
    """Change the index, in a process of its own; return the exit code."""
    uri, folder, work = arguments
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with locked(Path(folder) / _LOCK):
        if not (Path(folder) / _TEMPORARY).is_dir():  # another process ends what killed ones left
            return 1
        try:
            import lancedb

            change_index(lancedb.connect(uri).open_table(TABLE), cast(IndexWork, work))
        except Exception as error:
            print(f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0], file=sys.stderr)
            return 1
    return 0


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
