"""Printing for people: on consoles that lack characters, that are closed, or whose disk is full."""

import codecs
import os
import sys
import unicodedata
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from jointreid.messages.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console

# Signs that are printed in words of ASCII where the console has no better.
_PLAIN = {
    "—": "-",
    "–": "-",
    "−": "-",
    "…": "...",
    "±": "+/-",
    "×": "x",
    "·": "-",
    "•": "*",
    "→": "->",
    "←": "<-",
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "µ": "u",
    "°": " degrees",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "✓": "ok",
    "✗": "x",
}
_HANDLER = "jointreid.plain"


def say(console: "Console", text: str) -> None:
    """Print a text unchanged: no colours for numbers, no markup (a path may hold brackets), no line breaks added.

    Raises:
        OutputError: it cannot be written.
    """
    if console.width < 1:  # COLUMNS=0: rich prints nothing
        console.width = 80
    try:
        console.print(printable(text, console.encoding), highlight=False, markup=False, soft_wrap=True)
    except SystemExit as error:  # of rich, where the reader is gone
        raise OutputError("the output cannot be written: its reader is gone") from error
    except OSError as error:
        raise OutputError(f"the output cannot be written: {error.strerror or error}") from error


def print_error(text: str) -> None:
    """Print a line for people on stderr, if there is one and it can be written."""
    if sys.stderr is not None:
        with suppress(OSError, ValueError):
            print(text, file=sys.stderr, flush=True)


def printable(text: str, encoding: str) -> str:
    """Return a text with other characters in place of those that an encoding lacks.

    >>> printable("0.7 ± 0.1 …", "ascii"), printable("Café 東", "cp1252"), printable("Café", "ascii")
    ('0.7 +/- 0.1 ...', 'Café \\\\u6771', 'Caf\\\\xe9')
    """
    try:
        return text.encode(encoding, _HANDLER).decode(encoding)
    except LookupError:
        return text


def open_streams() -> None:
    """Make stdout and stderr take every character, and replace one that is closed by one that drops what it is given.

    A stream that was closed by the shell (`>&-`) is None in Python, and its number would go to the next file opened.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_HANDLER)


def failed_stream(error: OSError) -> str:
    """Return which of stdout and stderr raised an error, in words; an empty text if neither did.

    A stream keeps what it could not write, so writing it again fails again. What is left is dropped then.
    """
    if error.filename is not None:
        return ""
    for stream, name in ((sys.stdout, "standard output"), (sys.stderr, "standard error")):
        try:
            stream.write("\n")  # an unbuffered one kept nothing
            stream.flush()
        except OSError:
            _drop(stream)
            return name
        except ValueError:  # closed
            continue
    return ""


def _drop(stream: TextIO) -> None:
    """Point a stream at nothing, so that Python does not complain about the rest of its buffer at the end."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _in_plain_characters(error: UnicodeError) -> tuple[str, int]:
    """Return what is printed in place of characters that an encoding lacks, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(_in_ascii(sign) for sign in lost), error.end


def _in_ascii(sign: str) -> str:
    """Return a character in ASCII: a line of a box as + - |, other signs in words, letters as Python's escapes.

    Letters are escaped rather than simplified, because they may be those of a file's name.
    """
    if sign in _PLAIN:
        return _PLAIN[sign]
    kind = unicodedata.name(sign, "")
    if kind.startswith("BOX DRAWINGS"):
        upright, level = "VERTICAL" in kind, "HORIZONTAL" in kind
        return "+" if upright == level else "|" if upright else "-"
    if kind.startswith(("BLOCK", "FULL BLOCK", "BRAILLE")):
        return "#"
    return sign.encode("ascii", "backslashreplace").decode("ascii")


codecs.register_error(_HANDLER, _in_plain_characters)
