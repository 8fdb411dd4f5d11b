"""The command `data prepare`: convert raw releases that no reader accepts into folders that one does."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jointreid.data.readers.cuhk03 import TERMS as CUHK03_TERMS
from jointreid.data.readers.cuhk_sysu import TERMS as CUHK_SYSU_TERMS
from jointreid.machine.paths import require_writable, user_path
from jointreid.messages.commands import options, source_word
from jointreid.messages.errors import JointreidError, no_such
from jointreid.messages.progress import OnProgress
from jointreid.prepare import cuhk03, cuhk_sysu
from jointreid.prepare.conversion import Conversion, PreparedSplits
from jointreid.prepare.writing import carry_out


class _Release(NamedTuple):
    """A data set that needs a conversion: the function that finds its release, and its owner's terms of use."""

    find: Callable[[Path], Conversion]
    terms: str


RELEASES: Mapping[str, _Release] = {
    "cuhk03": _Release(cuhk03.find_release, CUHK03_TERMS),
    "cuhk_sysu": _Release(cuhk_sysu.find_release, CUHK_SYSU_TERMS),
}
_NEED_NO_CONVERSION = ("market1501", "dukemtmc", "msmt17")


@dataclass(frozen=True)
class Prepared:
    """A data set that is ready for its reader.

    Attributes:
        name: the data set.
        target: the folder it was written to.
        already: whether all of it was there before.
        parts: counts of the splits; CUHK03 has one set for each kind of boxes.
        notes: remarks for the user: counts that differ from the complete release, files that were missing.
        terms: the owner's terms of use.
        arguments: options for a command that uses it, such as `("--data", "cuhk03=DST")`.
    """

    name: str
    target: Path
    already: bool
    parts: tuple[PreparedSplits, ...]
    notes: tuple[str, ...]
    terms: str
    arguments: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "target": str(self.target)}


def prepare(name: str, source: str | Path, target: str | Path, *, on_progress: OnProgress | None = None) -> Prepared:
    """Convert a raw release into a folder that the reader of the data set accepts.

    After an interruption at any point, the same call resumes and ends with the same files. Until it has finished, no
    reader finds a complete data set in `target`.

    Args:
        name: the data set, `cuhk03` or `cuhk_sysu`.
        source: the folder that contains the release, or a folder above it.
        target: a folder that is new, empty, or contains the work of an earlier call.
        on_progress: called with (images done, images in all).

    Returns:
        The folder, the counts of its splits, and how to use it.

    Raises:
        JointreidError: the data set needs no conversion, or is unknown; the release is not at `source`, or a file of
            it is damaged; `target` contains other files, was prepared from other sources, or cannot be written.
    """
    source, target = user_path(source), user_path(target)
    require_writable(target, "")
    release = _release(name, str(source))
    if not source.is_dir():
        raise JointreidError(f"{source}: there is no such folder; give the folder that contains the release of {name}")
    conversion = release.find(source)
    parts, already = carry_out(conversion, target, on_progress)
    differences = [difference for part in parts for difference in part.differences]
    return Prepared(
        name,
        target,
        already,
        parts,
        notes=tuple(note for note in (conversion.note, *differences) if note),
        terms=release.terms,
        arguments=("--data", source_word(name, target), *conversion.options),
    )


def terms_of(name: str) -> str:
    """Return the owner's terms of use, to show before a data set is prepared.

    Raises:
        JointreidError: the data set needs no conversion, or is unknown.
    """
    return _release(name, "PATH").terms


def render(prepared: Prepared) -> str:
    """Return the summary for people."""
    lines = [f"{prepared.name}: {'already prepared' if prepared.already else 'prepared'} in {prepared.target}"]
    for part in prepared.parts:
        lines += [f"  {part.name}, {split}: {found}" for split, found in part.found.items()]
    lines += [f"note: {note}" for note in prepared.notes]
    return "\n".join([*lines, f"use it with {options(*prepared.arguments)}"])


def _release(name: str, path: str) -> _Release:
    if name in _NEED_NO_CONVERSION:
        raise JointreidError(
            f"{name} needs no conversion; use it directly, with {options('--data', source_word(name, path))}"
        )
    if name not in RELEASES:
        raise JointreidError(no_such("data set to prepare", name, (*RELEASES, *_NEED_NO_CONVERSION)))
    return RELEASES[name]
