"""Commands as messages print them: whoever pastes one into a shell runs what was meant, whatever the names hold.

Every command that is printed is made here: spaces, quotes, signs of the shell and leading dashes are written so that
the shell and the command line give the same words back.
"""

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path

from jointreid.custom import trusted_modules


def command(*words: str | Path) -> str:
    """Return a command of this program for a shell: POSIX quoting, on Windows that of its own programs.

    The modules whose functions this process may run are named too: the command needs the same.

    Args:
        words: the words after `jointreid`; paths as `Path`, so that none is taken for an option, a home folder or
            NAME=PATH.

    >>> command("train", "--resume", Path("my run (2)"))
    "jointreid train --resume 'my run (2)'"
    >>> command("evaluate", Path("-x"))
    'jointreid evaluate ./-x'
    """
    code = [word for module in trusted_modules() for word in ("--code", module)]
    return join_words(["jointreid", *map(_word, words), *code])


def options(*words: str | Path) -> str:
    """Return a part of a command, such as `--init RUN`, for a shell."""
    return join_words([_word(word) for word in words])


def join_words(words: Sequence[str]) -> str:
    """Return words as one line that a shell splits into the same words."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def source_word(name: str, path: str | Path) -> str:
    """Return `NAME=PATH`, or a table's path alone without a name, as the word after `--data`."""
    return f"{name}={_word(Path(path))}" if name else _word(Path(path))


def _word(word: str | Path) -> str:
    """Return a word as the command line reads it back; a path that could mean something else begins with `./`."""
    text = str(word)
    if not isinstance(word, Path) or word.is_absolute():
        return text
    first = text.split("/", 1)[0]
    return f"./{text}" if text[:1] in ("-", "~") or "=" in first or text in ("true", "false") else text
