"""Both versions of `.mat` files against the values they were written from.

What is written here follows MATLAB's own layout, of which `write_v73` is a second account: cells and the fields of
struct arrays are references into `#refs#`, text is uint16, dimensions are in reverse, and an empty array is its size.
"""

import itertools
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io as scipy_io

from jointreid.messages.errors import JointreidError
from jointreid.prepare.matlab import read_mat


class Cell(list[Any]):
    """A cell array, n x 1; one of two dimensions is an array of objects."""


class Structs(list[dict[str, Any]]):
    """A struct array, 1 x n; with one element it is a plain struct."""


EMPTY = np.zeros((0, 0))
_numbers = itertools.count()


def write_v5(path: Path, variables: Mapping[str, Any]) -> None:
    scipy_io.savemat(path, {name: _to_v5(value) for name, value in variables.items()}, do_compression=True)


def _to_v5(value: Any) -> Any:
    if isinstance(value, Cell):
        cells = np.empty((len(value), 1), object)
        for row, element in enumerate(value):
            cells[row, 0] = _to_v5(element)
        return cells
    if isinstance(value, Structs):
        structs = np.empty((1, len(value)), [(name, object) for name in (value[0] if value else ("x",))])
        for column, fields in enumerate(value):
            for name, field in fields.items():
                structs[name][0, column] = _to_v5(field)
        return structs
    return value


def write_v73(path: Path, variables: Mapping[str, Any]) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("#refs#")
        for name, value in variables.items():
            _write_v73(file, file, name, value)


def _write_v73(file: Any, group: Any, name: str, value: Any) -> Any:
    """Write a value under a name, and return a reference to it."""
    if isinstance(value, Structs) and len(value) == 1:
        item = group.create_group(name)
        for field, content in value[0].items():
            _write_v73(file, item, field, content)
        kind = "struct"
    elif isinstance(value, Structs) and value:
        item = group.create_group(name)
        for field in value[0]:
            item[field] = _references(file, [fields[field] for fields in value], (len(value), 1))
        kind = "struct"
    elif isinstance(value, Cell) and value:
        item = group.create_dataset(name, data=_references(file, value, (1, len(value))))
        kind = "cell"
    elif isinstance(value, np.ndarray) and value.dtype == object:
        item = group.create_dataset(name, data=_references(file, value.T.ravel().tolist(), value.T.shape))
        kind = "cell"
    elif isinstance(value, str) and value:
        item = group.create_dataset(name, data=np.frombuffer(value.encode("utf-16-le"), "<u2").reshape(-1, 1))
        item.attrs["MATLAB_int_decode"] = 2
        kind = "char"
    elif isinstance(value, np.ndarray) and value.size:
        item = group.create_dataset(name, data=value.T)
        kind = {"float64": "double", "float32": "single", "bool": "logical"}.get(value.dtype.name, value.dtype.name)
    else:
        item = group.create_dataset(name, data=np.zeros(2, np.uint64))
        item.attrs["MATLAB_empty"] = np.uint8(1)
        kind = {"Cell": "cell", "Structs": "struct", "str": "char"}.get(type(value).__name__, "double")
    item.attrs["MATLAB_class"] = np.bytes_(kind)
    return item.ref


def _references(file: Any, values: list[Any], shape: tuple[int, ...]) -> Any:
    refs = file["#refs#"]
    references = np.empty(len(values), h5py.ref_dtype)
    for row, value in enumerate(values):
        references[row] = _write_v73(file, refs, f"r{next(_numbers)}", value)
    return references.reshape(shape)


Writer = Callable[[Path, Mapping[str, Any]], None]
both_versions = pytest.mark.parametrize("write", [write_v5, write_v73])


@both_versions
def test_both_versions_become_the_same_values(tmp_path: Path, write: Writer) -> None:
    scenes = Structs(
        {"name": f"s{n}.jpg", "box": np.array([[n, 2.5, 300, 4]]), "ok": np.array([[n > 1]])} for n in (1, 2, 3)
    )
    written = {
        "people": Cell(
            [Structs([{"id": "p1", "scene": scenes}]), Structs([{"id": "p2", "scene": Structs(scenes[:1])}])]
        ),
        "index": np.array([[7], [300]], np.uint16),
        "matrix": np.array([[1, 2, 3], [4, 5, 6]], np.uint8),
        "one": np.array([[5.0]]),
        "nothing": EMPTY,
        "no_cells": Cell(),
        "no_text": "",
        "text": "größer",
    }
    write(tmp_path / "a.mat", written)
    mat = read_mat(tmp_path / "a.mat")
    first, second = mat["people"].each()
    assert (first["id"].text(), second["id"].text()) == ("p1", "p2")
    assert [scene["name"].text() for scene in first["scene"].each()] == ["s1.jpg", "s2.jpg", "s3.jpg"]
    assert [scene["box"].numbers() for scene in first["scene"].each()] == [[n, 2.5, 300, 4] for n in (1, 2, 3)]
    assert [scene["ok"].integers() for scene in first["scene"].each()] == [[0], [1], [1]]
    assert [scene["name"].text() for scene in second["scene"].each()] == ["s1.jpg"]
    assert mat["index"].integers() == [7, 300]
    assert mat["matrix"].integers() == [1, 4, 2, 5, 3, 6]  # column by column
    assert mat["one"].integers() == [5]
    assert (len(mat["nothing"]), len(mat["no_cells"]), mat["no_text"].text()) == (0, 0, "")
    assert list(mat["no_cells"].each()) == []
    assert mat["text"].text() == "größer"


@both_versions
@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda mat: mat["people"], r"a\.mat: there is no variable people; did you mean person"),
        (
            lambda mat: list(mat["person"].each())[1]["nam"],
            r"a\.mat: person\(2\): there is no field nam; did you mean name",
        ),
        (lambda mat: mat["person"]["name"], r"a\.mat: person: has 2 elements; expected one"),
        (lambda mat: mat["number"]["name"], r"a\.mat: number: expected a struct with the field name"),
        (lambda mat: mat["number"].text(), r"a\.mat: number: expected text"),
        (lambda mat: list(mat["number"].each()), r"a\.mat: number: expected a cell or struct array"),
        (lambda mat: mat["number"].integers(), r"a\.mat: number: contains 2\.5; expected whole numbers"),
        (lambda mat: mat["infinite"].numbers(), r"a\.mat: infinite: expected finite numbers"),
        (lambda mat: mat["person"].numbers(), r"a\.mat: person: expected finite numbers"),
    ],
)
def test_a_value_of_another_kind_is_named(
    tmp_path: Path, write: Writer, ask: Callable[[Any], object], message: str
) -> None:
    person = Structs([{"name": "a"}, {"name": "b"}])
    write(tmp_path / "a.mat", {"person": person, "number": np.array([[2.5]]), "infinite": np.array([[np.inf]])})
    with pytest.raises(JointreidError, match=message):
        ask(read_mat(tmp_path / "a.mat"))


@both_versions
def test_damage_is_an_error_that_names_the_file(tmp_path: Path, write: Writer) -> None:
    path = tmp_path / "a.mat"
    write(path, {"x": Cell(["text"] * 50), "y": np.arange(400.0).reshape(1, -1)})
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"not a .mat file at all, but long enough to hold a header" * 4, b""):
        path.write_bytes(damaged)
        with pytest.raises(JointreidError, match=r"a\.mat: cannot be read as a \.mat file: .+; download it again"):
            read_mat(path)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match=r"b\.mat: cannot be read as a \.mat file: No such file"):
        read_mat(tmp_path / "b.mat")


def test_text_of_several_rows_is_refused_in_both_versions(tmp_path: Path) -> None:
    scipy_io.savemat(tmp_path / "v5.mat", {"names": np.array(["ab", "cd"])})
    with h5py.File(tmp_path / "v73.mat", "w") as file:
        file["names"] = np.full((2, 2), 97, np.uint16)
        file["names"].attrs["MATLAB_class"] = np.bytes_("char")
    for name in ("v5.mat", "v73.mat"):
        with pytest.raises(JointreidError, match="text of several rows is not supported"):
            read_mat(tmp_path / name)


def test_what_refers_to_itself_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w") as file:
        cell = file.create_dataset("x", (1, 2), h5py.ref_dtype)
        cell[0, 0] = cell[0, 1] = cell.ref
    with pytest.raises(JointreidError, match="/x refers to itself"):
        read_mat(tmp_path / "a.mat")


def test_what_is_referred_to_often_is_read_once(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.mat", "w") as file:
        file["x0"] = np.ones((1, 1))
        for depth in range(1, 60):  # 2^59 values, if each were read as often as it is referred to
            cell = file.create_dataset(f"x{depth}", (1, 2), h5py.ref_dtype)
            cell[0, 0] = cell[0, 1] = file[f"x{depth - 1}"].ref
    assert len(read_mat(tmp_path / "a.mat")["x59"]) == 2


def test_nothing_is_read_from_other_files(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = np.ones((1, 3))
    (tmp_path / "raw.bin").write_bytes(bytes(24))
    with h5py.File(tmp_path / "link.mat", "w") as file:
        file["x"] = h5py.ExternalLink("other.h5", "secret")
    with h5py.File(tmp_path / "virtual.mat", "w") as file:
        layout = h5py.VirtualLayout((1, 3), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "secret", (1, 3))
        file.create_virtual_dataset("x", layout)
    with h5py.File(tmp_path / "external.mat", "w") as file:
        file.create_dataset("x", (1, 3), "f8", external=[(str(tmp_path / "raw.bin"), 0, 24)])
    for name, message in {"link": "is a link", "virtual": "in another file", "external": "in another file"}.items():
        with pytest.raises(JointreidError, match=message):
            read_mat(tmp_path / f"{name}.mat")


def test_a_missing_library_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(
        JointreidError, match=r"read with h5py, which is missing; install it with pip install 'jointreid\[paper\]'"
    ):
        read_mat(tmp_path / "a.mat")
