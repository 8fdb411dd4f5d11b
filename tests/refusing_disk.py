"""A file system that cannot do some of the steps that make files safe, for tests."""

import errno
import fcntl
import mmap
import os
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest

from jointreid.machine import refusals

# Step -> the errors with which real file systems refuse it.
STEPS: dict[str, tuple[int, ...]] = {
    "open folder": (errno.EACCES, errno.EISDIR, errno.EINVAL, errno.EPERM),
    "sync folder": (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS, errno.EACCES),
    "sync file": (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS),
    "create": (errno.EINVAL, errno.ENOTSUP),
    "replace": (errno.EEXIST, errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS),
    "rename folder": (errno.EXDEV, errno.EPERM, errno.ENOSYS, errno.ENOTSUP),
    "map": (errno.ENODEV, errno.EINVAL, errno.ENOSYS),
    "lock": (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL),
    "free space": (errno.ENOSYS, errno.EACCES),
    "attributes": (errno.EPERM, errno.ENOSYS, errno.ENOTSUP),
}


def refuse(patch: pytest.MonkeyPatch, folder: Path, step: str, number: int) -> None:
    """Refuse a step with an error, for files and folders below `folder`, and forget what was told before."""
    patch.setattr(refusals, "_told", set())
    folder = folder.resolve()

    def is_there(path: Any) -> bool:
        return Path(os.path.realpath(os.fspath(path))).is_relative_to(folder)

    def is_open_there(handle: int) -> bool:
        return is_there(f"/proc/self/fd/{handle}")

    def wrap(module: Any, name: str, refused: Any) -> None:
        original = getattr(module, name)

        def call(*arguments: Any, **options: Any) -> Any:
            if refused(*arguments, **options):
                raise OSError(number, os.strerror(number), os.fspath(folder))
            return original(*arguments, **options)

        patch.setattr(module, name, call)

    if step == "open folder":
        wrap(os, "open", lambda path, flags, *_, **__: os.path.isdir(path) and is_there(path))
    elif step in ("sync folder", "sync file"):
        is_kind = stat.S_ISDIR if step == "sync folder" else stat.S_ISREG
        wrap(os, "fsync", lambda handle: is_open_there(handle) and is_kind(os.fstat(handle).st_mode))
    elif step == "create":
        wrap(
            os, "open", lambda path, flags, *_, **__: flags & os.O_EXCL and not os.path.exists(path) and is_there(path)
        )
    elif step == "replace":
        for name in ("replace", "rename"):
            wrap(os, name, lambda _, target: os.path.isfile(target) and is_there(target))
    elif step == "rename folder":
        wrap(os, "rename", lambda source, _: os.path.isdir(source) and is_there(source))
    elif step == "map":
        wrap(mmap, "mmap", lambda handle, *_, **__: is_open_there(handle))
    elif step == "lock":
        wrap(fcntl, "flock", lambda handle, _: is_open_there(handle))
    elif step == "free space":
        wrap(shutil, "disk_usage", is_there)
    elif step == "attributes":
        for name in ("chmod", "utime", "link", "symlink", "chown"):
            wrap(os, name, lambda path, *_, **__: is_there(path))
    else:
        raise ValueError(step)
