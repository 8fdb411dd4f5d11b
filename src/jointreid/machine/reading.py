"""Reading files that may be damaged or untrusted: limited in size, never executed, one clear error.

The error names the file; nothing from a file with an error is used.
"""

import json
import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jointreid.machine.refusals import is_refusal, tell
from jointreid.messages.errors import JointreidError

if TYPE_CHECKING:
    from torch import Tensor

# Far above what is written: a hundred thousand identities fill some MiB of labels.json.
MAX_JSON, MAX_YAML, MAX_YAML_DEPTH = 256 * 2**20, 2**16, 10

_FLOATS = {"F64", "F32", "F16", "BF16"}


class TensorFacts(NamedTuple):
    """Type (in the words of safetensors, such as F32) and shape of a tensor, from the header of a file."""

    dtype: str
    shape: tuple[int, ...]


def read_text(path: Path, limit: int) -> str:
    """Read a text in UTF-8 of at most `limit` bytes.

    Raises:
        JointreidError: it is missing, no regular file, larger or not UTF-8.
    """
    require_regular(path)
    try:
        if (size := path.stat().st_size) > limit:
            raise JointreidError(f"{path}: holds {size:,} bytes, expected at most {limit:,}; nothing of it was read")
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise JointreidError(f"{path}: cannot be read as text: {error}") from error


def read_json(path: Path, limit: int = MAX_JSON) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        JointreidError: it is missing or not a JSON object.
    """
    text = read_text(path, limit)
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise JointreidError(f"{path}: cannot be read as JSON: {_brief(error)}") from error
    if not isinstance(plain, dict):
        raise JointreidError(f"{path}: expected a JSON object, found {type(plain).__name__}")
    return plain


def read_yaml(path: Path) -> object:
    """Read YAML of plain values. Aliases are refused: a few lines of them can expand beyond any memory.

    Raises:
        JointreidError: it is missing, not YAML, nested too deeply, or contains an alias or a value that is not plain.
    """
    import yaml

    text = read_text(path, MAX_YAML)
    try:
        depth = 0
        for event in yaml.parse(text, Loader=yaml.SafeLoader):  # as it is read: depth alone takes the parser minutes
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_YAML_DEPTH:
                raise JointreidError(f"{path}: cannot read settings: they are nested too deeply")
            if isinstance(event, yaml.AliasEvent):
                raise JointreidError(f"{path}: refers from one place to another (*{event.anchor}); write it out")
        return yaml.safe_load(text)
    except JointreidError:
        raise
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise JointreidError(f"{path}: cannot read settings: {_brief(error)}") from error


def read_facts(path: Path) -> dict[str, TensorFacts]:
    """Return type and shape of each tensor of a safetensors file, by name, without reading the tensors.

    Raises:
        JointreidError: it is missing, cut off, or another kind of file.
    """
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load

    require_regular(path)
    try:
        if not can_map(path):
            return facts_of(load(path.read_bytes()))
        with safe_open(path, "pt") as opened:
            slices = {name: opened.get_slice(name) for name in opened.keys()}  # noqa: SIM118 - it is no dict
            return {name: TensorFacts(part.get_dtype(), tuple(part.get_shape())) for name, part in slices.items()}
    except (OSError, SafetensorError) as error:
        raise _no_tensors(path, error) from error


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """Read a safetensors file; nothing in it can be executed.

    Raises:
        JointreidError: it is missing, cut off, or another kind of file.
    """
    from safetensors import SafetensorError

    require_regular(path)
    try:
        return load_tensors(path)
    except (OSError, SafetensorError) as error:
        raise _no_tensors(path, error) from error


def load_tensors(path: Path) -> "dict[str, Tensor]":
    """Load a safetensors file, mapped into memory where the file system can do that.

    Raises:
        OSError: it cannot be read.
        SafetensorError: it is cut off, or another kind of file.
    """
    from safetensors.torch import load, load_file

    return load_file(path) if can_map(path) else load(path.read_bytes())


def load_metadata(path: Path) -> dict[str, str]:
    """Return the texts in the header of a safetensors file, which its writer put there.

    Raises:
        OSError: it cannot be read.
        ValueError: it is another kind of file.
        KeyError: it has none.
    """
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > MAX_JSON:
            raise ValueError(f"{path}: its header says that it is {size:,} bytes long")
        metadata: dict[str, str] = json.loads(file.read(size))["__metadata__"]
    return metadata


def can_map(path: Path) -> bool:
    """Return whether a file can be mapped into memory; some file systems refuse it.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        try:
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ).close()
        except ValueError:  # an empty file
            return True
        except OSError as error:
            if not is_refusal("map", error):
                raise
            tell("map", path)
            return False
    return True


def misfits(found: dict[str, TensorFacts], expected: dict[str, TensorFacts], *, any_float: bool = False) -> list[str]:
    """Return a line for each tensor that is missing, left over, or of another shape or type.

    Args:
        found: the tensors of a file.
        expected: the tensors that it should contain.
        any_float: whether floats of another width are accepted.
    """
    wrong = [f"{name} is missing" for name in expected if name not in found]
    wrong += [f"{name} is left over" for name in found if name not in expected]
    for name in expected.keys() & found.keys():
        is_, should = found[name], expected[name]
        if is_.shape != should.shape:
            wrong.append(f"{name} is {is_.shape}, expected {should.shape}")
        elif is_.dtype != should.dtype and not (any_float and {is_.dtype, should.dtype} <= _FLOATS):
            wrong.append(f"{name} is of type {is_.dtype}, expected {should.dtype}")
    return wrong


def facts_of(tensors: "dict[str, Tensor]") -> dict[str, TensorFacts]:
    """Return type and shape of each tensor, as in a safetensors file."""
    return {name: TensorFacts(dtype_name(tensor), tuple(tensor.shape)) for name, tensor in tensors.items()}


def dtype_name(tensor: "Tensor") -> str:
    """Return a tensor's type in the words of safetensors.

    >>> import torch
    >>> dtype_name(torch.zeros(1)), dtype_name(torch.zeros(1, dtype=torch.int64))
    ('F32', 'I64')
    """
    words = str(tensor.dtype).removeprefix("torch.")
    for long, short in (("bfloat", "BF"), ("float", "F"), ("uint", "U"), ("int", "I")):
        words = words.replace(long, short) if words.startswith(long) else words
    return words.upper()


def require_regular(path: Path) -> None:
    """Refuse a path that is missing, a folder, or a pipe or device, which could block for ever.

    Raises:
        JointreidError: see above.
    """
    if not is_file(path):
        what = "is no regular file" if path.exists() else "is not there"
        raise JointreidError(f"{path}: cannot be read: it {what}")


def is_file(path: Path) -> bool:
    """Return whether a path is a file.

    Raises:
        JointreidError: it cannot be told, because a folder above may not be read or the name is too long.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise JointreidError(f"{path}: cannot be read: {error.strerror or error}") from error


def require_inside(path: Path, folder: Path) -> None:
    """Refuse a path that leads out of a folder through a link.

    Raises:
        JointreidError: it does; the message names the target.
    """
    if not (real := path.resolve()).is_relative_to(folder.resolve()):
        raise JointreidError(f"{path}: is a link to {real}, outside {folder}; nothing there was read or changed")


def _no_tensors(path: Path, error: Exception) -> JointreidError:
    return JointreidError(
        f"{path}: not a readable safetensors file ({error}). Nothing in it was loaded or executed; "
        "restore the file from a copy, or train again"
    )


def _brief(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else f"{error!s:.300}"
