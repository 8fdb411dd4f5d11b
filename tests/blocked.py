"""Imports every module, then trains, evaluates and resumes, where no module or call of Unix alone is there.

    python -m tests.blocked MANIFEST OUT

prints the exit code of each command.
"""

import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

MODULES = {"fcntl", "resource", "termios", "pwd", "grp", "pty", "tty", "syslog", "readline"}
CALLS = (
    *("fork", "forkpty", "sysconf", "sysconf_names", "killpg", "getpgid", "setsid", "posix_fadvise", "mkfifo"),
    *("sched_getaffinity", "getuid", "geteuid", "getloadavg"),
)


class Blocked(MetaPathFinder):
    """Refuses the modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname in MODULES:
            raise ImportError(f"{fullname} is not there")
        return None


def block() -> None:
    sys.meta_path.insert(0, Blocked())
    for name in MODULES:
        sys.modules.pop(name, None)
    for name in CALLS:
        if hasattr(os, name):
            delattr(os, name)


if __name__ == "__main__":
    block()
    import jointreid

    for module in pkgutil.walk_packages(jointreid.__path__, "jointreid."):
        if not module.name.endswith("__main__") and "triton" not in module.name:
            importlib.import_module(module.name)
    from jointreid.cli import main
    from tests.small import SMALL_OPTIONS

    manifest, out = sys.argv[1:]
    options = ("--data.cache", f"{out}/cache", "--sampler.ids_per_batch", "6", "--train.eval_every", "0")
    train = ["train", "--manifest", manifest, "--out", f"{out}/run", *SMALL_OPTIONS, *options, "--max-steps", "1"]
    resume = ["train", "--resume", f"{out}/run", "--max-steps", "2"]  # --max-steps holds for one command alone
    codes = [main(argv) for argv in (train, ["evaluate", f"{out}/run"], resume)]
    print("exit codes", *codes)
