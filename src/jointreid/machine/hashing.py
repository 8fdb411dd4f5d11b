"""SHA-256 checksums, in hex digits, of files, bytes and texts, and names made unique by them."""

import hashlib
import re
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Return the checksum of a file's content.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bytes_sha256(content: bytes) -> str:
    """Return the checksum of bytes."""
    return hashlib.sha256(content).hexdigest()


def text_sha256(*parts: str) -> str:
    """Return the checksum of texts, joined without a separator and encoded as UTF-8.

    >>> text_sha256("a", "b") == text_sha256("ab")
    True
    """
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode())
    return digest.hexdigest()


def name_on_disk(name: str, kept: str = "+-") -> str:
    """Return a name fit for a file or folder; where that cuts or changes it, a hash keeps other names apart.

    Args:
        name: any text.
        kept: signs that stay beside letters, digits and `_`; all others become `_`.

    >>> name_on_disk("north+south"), name_on_disk("a/b")
    ('north+south', 'a_b-c14cddc0')
    """
    safe = re.sub(rf"[^\w{re.escape(kept)}]", "_", name)[:80]
    return safe if safe == name else f"{safe}-{text_sha256(name)[:8]}"
