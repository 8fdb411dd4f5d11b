"""SHA-256 checksums, in hex digits, of files, bytes and texts, and names made unique by them."""

import hashlib
import re
import unicodedata
from pathlib import Path

# Names that Windows keeps for devices, with any suffix.
_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{device}{number}" for device in ("COM", "LPT") for number in range(10))}


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

    It is at most 89 bytes long and is also one on Windows: not a device such as `CON`, and with no dot at its end.

    Args:
        name: any text.
        kept: signs that stay beside letters, digits and `_`; all others become `_`.

    >>> name_on_disk("north+south"), name_on_disk("a/b")
    ('north+south', 'a_b-c14cddc0')
    """
    safe = re.sub(rf"[^\w{re.escape(kept)}]", "_", name).encode(errors="replace")[:80].decode(errors="ignore")
    if safe.endswith(".") or safe.partition(".")[0].upper() in _DEVICES:
        safe = safe.replace(".", "_")
    elif safe and safe == name:
        return safe
    return f"{safe}-{hashlib.sha256(name.encode(errors='surrogatepass')).hexdigest()[:8]}"


def apart_from_others(path: Path) -> Path:
    """Return a path that is not another's, where a file system takes `Shop` and `shop` for one name (macOS, Windows).

    If a file or folder of such another name is there, a hash is added.
    """
    if not path.exists():
        return path
    names = {unicodedata.normalize("NFC", other.name) for other in path.parent.iterdir()}
    if unicodedata.normalize("NFC", path.name) in names:
        return path
    return path.with_name(f"{path.stem}-{text_sha256(path.name)[:8]}{path.suffix}")
