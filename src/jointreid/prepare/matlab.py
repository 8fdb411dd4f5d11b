"""MATLAB's `.mat` files, of version 5 (scipy) and 7.3 (HDF5), as nested Python values that know their position.

Both versions give the same values: text is `str`, numbers are a flat array, a cell array is a list, and a struct array
of any size is a list of dicts. Arrays are flattened column by column, as in MATLAB.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jointreid.machine.extras import library
from jointreid.messages.errors import JointreidError, no_such

READING = ".mat files are read"  # for the message on a missing library
_SEVERAL_ROWS = "text of several rows is not supported"
_BEING_READ = object()


@dataclass(frozen=True)
class MatValue:
    """A value of a `.mat` file.

    Attributes:
        file: the file.
        place: position in the file, in MATLAB's notation: `Train(3).scene(2).imname`; empty for the file itself.
        value: text, a flat array of numbers, a list of values, or a dict of fields.

    Raises:
        JointreidError: from every method, if the value is of another kind than requested; the message names the place.
    """

    file: Path
    place: str
    value: Any

    def __getitem__(self, field: str) -> "MatValue":
        """Return a variable of the file, or a field of a struct."""
        fields = self.one().value
        if not isinstance(fields, dict):
            raise self.error(f"expected a struct with the field {field}")
        if field not in fields:
            raise self.error(no_such("field" if self.place else "variable", field, fields))
        return MatValue(self.file, f"{self.place}.{field}".lstrip("."), fields[field])

    def each(self) -> Iterator["MatValue"]:
        """Yield the elements of a cell or struct array."""
        if len(self) and not isinstance(self.value, list):
            raise self.error("expected a cell or struct array")
        for number, element in enumerate(self.value, 1):
            yield MatValue(self.file, f"{self.place}({number})", element)

    def one(self) -> "MatValue":
        """Return the only element of an array, or the value itself if it is not an array."""
        if not isinstance(self.value, list):
            return self
        if len(self.value) != 1:
            raise self.error(f"has {len(self.value)} elements; expected one")
        return MatValue(self.file, self.place, self.value[0]).one()

    def text(self) -> str:
        """Return text."""
        value = self.one().value
        if not isinstance(value, str):
            raise self.error("expected text")
        return value

    def numbers(self) -> list[float]:
        """Return numbers, all of them finite."""
        value = self.value
        if not isinstance(value, np.ndarray) or not np.isfinite(value).all():
            raise self.error("expected finite numbers")
        return [float(number) for number in value]

    def integers(self) -> list[int]:
        """Return whole numbers."""
        numbers = self.numbers()
        if wrong := [number for number in numbers if not number.is_integer()]:
            raise self.error(f"contains {wrong[0]}; expected whole numbers")
        return [int(number) for number in numbers]

    def __len__(self) -> int:
        return len(self.value)

    def error(self, problem: str) -> JointreidError:
        """Return an error about this value."""
        return JointreidError(f"{self.file}: {self.place}{': ' if self.place else ''}{problem}")


def read_mat(path: Path) -> MatValue:
    """Read all variables of a `.mat` file of either version.

    Raises:
        JointreidError: the file is missing, damaged or not a `.mat` file, contains unsupported values (objects, sparse
            matrices, links to other files), or a library is missing.
    """
    try:
        return MatValue(path, "", _read_hdf5(path) if is_hdf5(path) else _read_v5(path))
    except JointreidError:
        raise
    except Exception as error:
        # For damaged bytes both libraries raise nearly anything: OSError, TypeError, KeyError, zlib.error.
        cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise JointreidError(f"{path}: cannot be read as a .mat file: {cause}; download it again") from error


def is_hdf5(path: Path) -> bool:
    """Return whether a `.mat` file is of version 7.3."""
    return bool(library("h5py", READING).is_hdf5(str(path)))


# Version 5


def _read_v5(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        variables = library("scipy.io", READING).loadmat(file)
    return {name: _from_v5(value) for name, value in variables.items() if not name.startswith("__")}


def _from_v5(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        raise ValueError(f"values of type {type(value).__name__} are not supported")
    flat = value.ravel(order="F")
    if value.dtype.names:
        return [{name: _from_v5(record[name]) for name in value.dtype.names} for record in flat]
    if value.dtype.kind == "O":
        return [_from_v5(element) for element in flat]
    if value.dtype.kind == "U":
        if len(flat) > 1:
            raise ValueError(_SEVERAL_ROWS)
        return str(flat[0]) if len(flat) else ""
    return flat


# Version 7.3


def _read_hdf5(path: Path) -> dict[str, Any]:
    with library("h5py", READING).File(path, "r", locking=False) as file:
        reader = _Hdf5Reader(file)
        return {name: reader.read(member(file, name)) for name in file if not name.startswith("#")}


def member(group: Any, name: str) -> Any:
    """Return a member of an HDF5 group; links, which may lead to other files, are not followed."""
    if not isinstance(group.get(name, getlink=True), library("h5py", READING).HardLink):
        raise ValueError(f"{name} is a link, which MATLAB does not write")
    return group[name]


def holds_references(item: Any) -> bool:
    """Return whether an HDF5 object is an array of references: a cell array, or a field of a struct array."""
    h5py = library("h5py", READING)
    return isinstance(item, h5py.Dataset) and h5py.check_ref_dtype(item.dtype) is h5py.Reference


def is_empty(dataset: Any) -> bool:
    """Return whether a dataset stands for an empty array; it then stores the size of the array instead of values."""
    return bool(dataset.attrs.get("MATLAB_empty", 0))


def content(dataset: Any) -> Any:
    """Return a dataset's array, with its dimensions in reverse order; content in other files is not read."""
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{dataset.name} stores its content in another file, which MATLAB does not do")
    return dataset[()]


class _Hdf5Reader:
    """Reader that reads each object once: references may form circles, or lead to one object a million times."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._seen: dict[int, Any] = {}

    def read(self, item: Any) -> Any:
        address = library("h5py", READING).h5o.get_info(item.id).addr
        if address not in self._seen:
            self._seen[address] = _BEING_READ
            self._seen[address] = self._read(item)
        if self._seen[address] is _BEING_READ:
            raise ValueError(f"{item.name} refers to itself")
        return self._seen[address]

    def _read(self, item: Any) -> Any:
        if not isinstance(item, library("h5py", READING).Dataset):
            return self._struct({name: member(item, name) for name in item})
        kind = _matlab_class(item)
        if is_empty(item):
            return "" if kind == "char" else [] if kind in ("cell", "struct") else np.empty(0)
        # The dimensions are in reverse, so that row by row here is column by column in MATLAB.
        flat = content(item).ravel()
        if holds_references(item):
            return [self.read(self._file[reference]) if reference else np.empty(0) for reference in flat]
        if kind == "char":
            if max(item.shape) != item.size:
                raise ValueError(_SEVERAL_ROWS)
            return flat.astype("<u2").tobytes().decode("utf-16-le")
        if item.dtype.kind not in "biuf":
            raise ValueError(f"values of type {kind or item.dtype} are not supported")
        return flat

    def _struct(self, fields: dict[str, Any]) -> list[dict[str, Any]]:
        """Return a struct, or the elements of a struct array, whose fields are references without a class."""
        if fields and all(holds_references(field) and not _matlab_class(field) for field in fields.values()):
            columns = [self.read(field) for field in fields.values()]
            return [dict(zip(fields, row, strict=True)) for row in zip(*columns, strict=True)]
        return [{name: self.read(field) for name, field in fields.items()}]


def _matlab_class(item: Any) -> str:
    name = item.attrs.get("MATLAB_class", b"")
    return name.decode() if isinstance(name, bytes) else str(name)
