"""A table of images becomes rows, or an error that names the file, the row and the column."""

import gzip
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from jointreid.data.records import ImageRecord
from jointreid.data.table import read_rows
from jointreid.data.table_columns import parse_right_rows
from jointreid.data.table_files import read_table
from jointreid.data.table_row import (
    TableRow,
    camera_name,
    is_no_id,
    parse_row,
    path_below,
    stated_root,
    table_root,
)
from jointreid.messages.errors import JointreidError

HEADER = "domain,split,path,pid,camid\n"
GOOD = HEADER + "a,train,t.png,1,0\na,query,q.png,2,0\na,gallery,g.png,2,1\n"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "table.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def rows(folder: Path, text: str | bytes) -> list[TableRow]:
    return read_rows(write(folder, text))


def test_rows_in_the_order_of_the_table(tmp_path: Path) -> None:
    assert rows(tmp_path, HEADER + "b,train,z/2.png,007,3\na,query,q.png,x y,lobby\na,query,r.png,7,\n") == [
        TableRow(2, "b", "train", "3", ImageRecord(tmp_path / "z/2.png", "007", 0)),
        TableRow(3, "a", "query", "lobby", ImageRecord(tmp_path / "q.png", "x y", 0)),
        TableRow(4, "a", "query", "", ImageRecord(tmp_path / "r.png", "7", 0)),
    ]
    (row,) = rows(tmp_path, "pid,path,split,domain\n1,t.png,train,a\n")
    assert row == TableRow(2, "a", "train", "", ImageRecord(tmp_path / "t.png", "1", 0))


@pytest.mark.parametrize(
    ("cell", "name"), [("03", "3"), ("3.0", "3"), ("10.", "10"), ("", ""), ("c3", "c3"), ("1234567890", "1234567890")]
)
def test_names_of_cameras(cell: str, name: str) -> None:
    assert camera_name(cell) == name


def test_optional_columns(tmp_path: Path) -> None:
    text = (
        "domain,split,path,pid,camid,x,y,w,h,timestamp,junk,distractor,note\n"
        "a,gallery,f.png,1,0,0,12.0,5,6,12.5,0,false,hi\n"
        "a,gallery,f.png,1,0,7,8,5,6,,TRUE,,\n"
        "a,gallery,f.png,2,0,,,,,-3,,1,\n"
    )
    path = tmp_path / "f.png"
    assert [row.record for row in rows(tmp_path, text)] == [
        ImageRecord(path, "1", 0, box=(0, 12, 5, 6), timestamp=12.5),
        ImageRecord(path, "1", 0, box=(7, 8, 5, 6), junk=True),
        ImageRecord(path, "2", 0, timestamp=-3.0, distractor=True),
    ]


def test_one_image_may_stand_in_two_splits_and_domains(tmp_path: Path) -> None:
    text = HEADER + "a,query,t.png,1,0\na,gallery,t.png,1,0\nb,query,t.png,1,0\n"
    assert [row.record for row in rows(tmp_path, text)] == [ImageRecord(tmp_path / "t.png", "1", 0)] * 3


def test_columns_of_other_names_are_ignored(tmp_path: Path) -> None:
    text = GOOD.replace("camid", "camid,id,camid2, note").replace("png,1,0", "png,1,0,9,9, x")
    text = text.replace("png,2,0", "png,2,0,,, x").replace("png,2,1", "png,2,1,,, x")
    assert rows(tmp_path, text) == rows(tmp_path, GOOD)


def test_bom_windows_line_ends_and_blank_lines(tmp_path: Path) -> None:
    expected = [row._replace(number=number) for row, number in zip(rows(tmp_path, GOOD), (2, 5, 6), strict=True)]
    spread = GOOD.replace("\n", "\r\n").replace("a,query", "\r\n,,,,\r\na,query")
    assert rows(tmp_path, b"\xef\xbb\xbf" + spread.encode()) == expected


@pytest.mark.parametrize("end", ["\r", "\r\r\n", "\n\r"])
def test_carriage_returns_end_rows(tmp_path: Path, end: str) -> None:
    found = rows(tmp_path, GOOD.replace("\n", end))
    assert [row._replace(number=0) for row in found] == [row._replace(number=0) for row in rows(tmp_path, GOOD)]


def test_numbers_of_rows_count_lines_even_after_quoted_line_ends(tmp_path: Path) -> None:
    text = 'domain,split,path,pid,camid,note\na,train,t.png,1,0,"two\nlines"\n\na,train,u.png,,0,\n'
    with pytest.raises(JointreidError, match=r"table\.csv, row 5, column pid: empty"):
        rows(tmp_path, text)


# Each table with what the message must say. Row 1 is the header.
FAULTY: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "empty file": ("", ("is empty", "domain,split,path,pid,camid")),
    "only blank lines": ("\n\n", ("is empty",)),
    "only a header": (HEADER, ("holds no images",)),
    "no header": ("a,train,t.png,1,0\n", ("row 1", "no header", "domain,split,path,pid,camid")),
    "semicolons": (GOOD.replace(",", ";"), ("row 1", "separated by ';': save it with commas")),
    "semicolons and quotes": (GOOD.replace(",", '";"'), ("row 1", "separated by ';': save it with commas")),
    "tabs": (GOOD.replace(",", "\t"), ("row 1", r"separated by '\t': save it with commas")),
    "bars": (GOOD.replace(",", "|"), ("row 1", "separated by '|': save it with commas")),
    "missing column": ("domain,split,path,camid\na,train,t.png,0\n", ("row 1", "no column pid", "found domain,")),
    "two missing columns": ("domain,path,camid\na,t.png,0\n", ("row 1", "no column split, pid")),
    "column twice": ("domain,split,path,pid,camid,pid\na,train,t.png,1,0,1\n", ("row 1", "'pid'", "twice")),
    "misspelt column": (GOOD.replace("camid", "cam_id"), ("row 1", "'cam_id'", "did you mean camid?")),
    "column in capitals": (GOOD.replace("pid", "PID"), ("row 1", "'PID'", "did you mean pid?")),
    "misspelt optional column": (GOOD.replace("camid", "camid,distractors"), ("did you mean distractor?",)),
    "some box columns": ("domain,split,path,pid,camid,x,y,w\na,train,t.png,1,0,0,0,5\n", ("row 1", "x,y,w,h")),
    "too few cells": (GOOD + "a,train,u.png,1\n", ("row 5", "4 cells", "5 columns")),
    "too many cells": (GOOD + "a,train,u.png,1,0,9\n", ("row 5", "6 cells", "5 columns")),
    "open quote": (GOOD + 'a,train,"u.png,1,0\n', ("row 5", "not CSV", "quotes")),
    "not UTF-8": (GOOD.encode() + b"a,train,caf\xe9.png,1,0\n", ("row 5", "0xe9", "not UTF-8")),
    "columns all in capitals": (GOOD.replace(HEADER, HEADER.upper()), ("row 1", "are DOMAIN,SPLIT", "small letters")),
    "gzip": (gzip.compress(GOOD.encode()), ("compressed by gzip; unpack it",)),
    "a spreadsheet": (b"PK\x03\x04" + bytes(30), ("a spreadsheet or a zip archive; save",)),
    "Parquet called .csv": (b"PAR1" + bytes(30), ("is no text but Parquet; call it .parquet",)),
    "UTF-16": (GOOD.encode("utf-16"), ("row 1", "not UTF-8")),
    "empty domain": (GOOD + ",train,u.png,1,0\n", ("row 5", "column domain", "empty")),
    "reserved domain": (GOOD + "mean,train,u.png,1,0\n", ("row 5", "column domain", "'mean'", "another name")),
    "empty path": (GOOD + "a,train,,1,0\n", ("row 5", "column path", "empty")),
    "empty pid": (GOOD + "a,train,u.png,,0\n", ("row 5", "column pid", "empty")),
    "empty split": (GOOD + "a,,u.png,1,0\n", ("row 5", "column split", "empty")),
    "unknown split": (GOOD + "a,test,u.png,1,0\n", ("row 5", "column split", "'test'", "train, query, gallery")),
    "negative pid": (GOOD + "a,gallery,u.png,-1,0\n", ("row 5", "column pid", "'-1'", "junk")),
    "NaN pid": (GOOD + "a,train,u.png,NaN,0\n", ("row 5", "column pid", "'NaN'")),
    "negative camid": (GOOD + "a,train,u.png,1,-1\n", ("row 5", "column camid", "'-1'")),
    "NaN camid": (GOOD + "a,train,u.png,1,nan\n", ("row 5", "column camid", "'nan'")),
    "spaces around a pid": (GOOD + "a,train,u.png, 1,0\n", ("row 5", "column pid", "' 1'", "spaces")),
    "duplicate row": (GOOD + "a,train,./t.png,9,1\n", ("row 5", "column path", "repeats row 2")),
    "path above the table": (GOOD + "a,train,../u.png,1,0\n", ("row 5", "column path", "'../u.png'", "move the table")),
    "path above, hidden": (GOOD + "a,train,x/../../u.png,1,0\n", ("row 5", "column path", "move the table")),
    "path elsewhere": (GOOD + "a,train,/etc/u.png,1,0\n", ("row 5", "column path", "'/etc/u.png'", "move the table")),
    "path to the folder": (GOOD + "a,train,.,1,0\n", ("row 5", "column path", "'.'")),
    "path with a NUL": (GOOD + "a,train,u\0.png,1,0\n", ("row 5", "column path")),
    "sibling folder": (GOOD + "a,train,../table.csv-images/u.png,1,0\n", ("row 5", "column path", "move the table")),
}


@pytest.mark.parametrize("name", FAULTY)
def test_faulty_tables_name_file_row_and_column(tmp_path: Path, name: str) -> None:
    text, words = FAULTY[name]
    path = write(tmp_path, text)
    with pytest.raises(JointreidError) as caught:
        read_rows(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert [word for word in words if word not in message] == []


# One row below a header with every column; each cell named in turn is replaced.
@pytest.mark.parametrize(
    ("column", "cell", "words"),
    [
        ("x", "-1", ">= 0"),
        ("y", "nan", "finite"),
        ("y", "inf", "finite"),
        ("w", "0", ">= 1"),
        ("h", "1.5", "whole pixels"),
        ("h", "", "finite number"),
        ("x", "left", "finite number"),
        ("timestamp", "noon", "finite number"),
        ("timestamp", "nan", "finite number"),
        ("junk", "maybe", "0, 1, true or false"),
        ("distractor", "2", "0, 1, true or false"),
    ],
)
def test_faulty_optional_cells(tmp_path: Path, column: str, cell: str, words: str) -> None:
    cells = dict.fromkeys(("domain", "split", "path", "pid", "camid", "x", "y", "w", "h"), "1")
    cells |= {"split": "gallery", "timestamp": "", "junk": "", "distractor": "", column: cell}
    text = ",".join(cells) + "\n" + ",".join(cells.values()) + "\n"
    with pytest.raises(JointreidError, match=rf"table\.csv, row 2, column {column}: .*{words}"):
        read_rows(write(tmp_path, text))


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ("train,1,", "column junk: set in train"),
        ("train,,1", "column distractor: set in train"),
        ("query,1,1", "both junk and distractor"),
    ],
)
def test_junk_and_distractors_where_they_make_no_sense(tmp_path: Path, cells: str, words: str) -> None:
    split, flags = cells.split(",", 1)
    text = f"domain,split,path,pid,camid,junk,distractor\na,{split},t.png,1,0,{flags}\n"
    with pytest.raises(JointreidError, match=f"row 2, .*{words}"):
        read_rows(write(tmp_path, text))


def test_many_faulty_rows_are_counted_and_the_first_ten_listed(tmp_path: Path) -> None:
    text = "".join(f"a,train,{number}.png,-1,0\n" for number in range(13)) + "a,train,good.png,1,0\n"
    path = write(tmp_path, HEADER + text)
    with pytest.raises(JointreidError) as caught:
        read_rows(path)
    *lines, count = str(caught.value).splitlines()
    assert [line.startswith(f"{path}, row {row}, column pid") for row, line in enumerate(lines, 2)] == [True] * 10
    assert count == "13 rows are wrong; these are the first 10"


def test_parquet_reads_as_the_same_table_in_csv(tmp_path: Path) -> None:
    # Inside a folder that looks like a partition, whose name must not become a column.
    folder = tmp_path / "domain=b"
    folder.mkdir()
    columns = {
        "domain": ["a", "a", "a"],
        "split": ["train", "query", "gallery"],
        "path": ["t.png", "q.png", "g.png"],
        "pid": [7, 8, 8],
        "camid": [0, 0, 1],
        "x": [None, 1.0, None],
        "y": [None, 2.0, None],
        "w": [None, 3.0, None],
        "h": [None, 4.0, None],
        "junk": [False, True, None],
        "embedding": [[0.5], [0.5], [0.5]],
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "table.parquet")
    text = "domain,split,path,pid,camid,x,y,w,h,junk\na,train,t.png,7,0,,,,,\na,query,q.png,8,0,1,2,3,4,1\n"
    text += "a,gallery,g.png,8,1,,,,,\n"
    found = read_rows(folder / "table.parquet")
    assert [row.number for row in found] == [1, 2, 3]
    assert [row._replace(number=row.number + 1) for row in found] == rows(folder, text)
    assert found[1].record == ImageRecord(folder / "q.png", "8", 0, box=(1, 2, 3, 4), junk=True)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"pid": ["1", None]}, "row 2, column pid: empty"),
        ({"pid": [1, -1]}, "row 2, column pid: '-1'"),
        ({"pid": [1.5, float("nan")]}, "row 2, column pid: empty"),
        ({"path": [b"t", b"u"]}, "column path: holds bytes"),
        ({"cam_id": [0, 1], "camid": None}, "schema, column 'cam_id': unknown; did you mean camid?"),
    ],
)
def test_faulty_parquet(tmp_path: Path, columns: dict[str, list[object] | None], words: str) -> None:
    table = {"domain": ["a"] * 2, "split": ["train"] * 2, "path": ["t", "u"], "pid": [1, 2], "camid": [0, 1]} | columns
    path = tmp_path / "table.parquet"
    pyarrow.parquet.write_table(pyarrow.table({key: cells for key, cells in table.items() if cells}), path)
    with pytest.raises(JointreidError, match=words):
        read_rows(path)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text(GOOD)
    (tmp_path / "folder.csv").mkdir()
    for name, words in {
        "text.parquet": "cannot be read as Parquet",
        "folder.csv": "Is a directory",
        "absent.csv": "No such file",
        "absent.parquet": "No such file",
        "table.xlsx": "a manifest is a .csv or .parquet file; save the spreadsheet as CSV",
        "table.csv.gz": "a manifest is a .csv or .parquet file; unpack it first",
        "table.tsv": "a manifest is a .csv or .parquet file; write tabs as commas",
    }.items():
        with pytest.raises(JointreidError, match=words) as caught:
            read_rows(tmp_path / name)
        assert name in str(caught.value)


def test_paths_of_a_domain_with_a_root_are_below_it_and_nowhere_else(tmp_path: Path) -> None:
    root = Path("/far/away")
    text = HEADER + f"a,train,x/t.png,1,0\na,train,{root}/u.png,1,0\nb,train,t.png,1,0\n"
    path = write(tmp_path, text)
    assert [row.record.path for row in read_rows(path, {"a": root})] == [
        root / "x/t.png",
        root / "u.png",
        tmp_path / "t.png",
    ]
    for cell in ("../u.png", "/etc/u.png", str(tmp_path / "t.png"), "../away-too/u.png"):
        path = write(tmp_path, HEADER + f"a,train,{cell},1,0\n")
        with pytest.raises(JointreidError, match=rf"row 2, column path: '{cell}' does not stay below {root}, the root"):
            read_rows(path, {"a": root})
    # A root reaches for its own domain only.
    path = write(tmp_path, HEADER + f"a,train,t.png,1,0\nb,train,{root}/u.png,1,0\n")
    with pytest.raises(JointreidError, match=r"row 3, column path: .* the table's folder .* as \"root\""):
        read_rows(path, {"a": root, "c": root})


def test_the_root_of_the_disk_may_be_a_root(tmp_path: Path) -> None:
    (row,) = read_rows(write(tmp_path, HEADER + "a,train,data/t.png,1,0\n"), {"a": Path("/")})
    assert row.record.path == Path("/data/t.png")


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("t.png", "t.png"),
        ("a/../t.png", "t.png"),
        ("/d/e/t.png", "t.png"),
        ("../e/t.png", "t.png"),
        ("/d/e", None),
        ("/d/et.png", None),
        ("../t.png", None),
        ("", None),
        ("t\0.png", None),
    ],
)
def test_what_stays_below_a_folder(path: str, below: str | None) -> None:
    assert path_below("/d/e", path) == below


@pytest.mark.parametrize(
    ("cell", "no_id"),
    [("", True), (" a", True), ("-1", True), ("NaN", True), ("0", False), ("a b", False), ("-a", False)],
)
def test_what_is_no_identity(cell: str, no_id: bool) -> None:
    assert is_no_id(cell) == no_id


def test_absolute_paths_below_the_table_are_allowed(tmp_path: Path) -> None:
    (row,) = rows(tmp_path, f"{HEADER}a,train,{tmp_path}/x/../t.png,1,0\n")
    assert row.record.path == tmp_path / "t.png"


def test_rows_read_at_once_are_those_read_one_by_one(tmp_path: Path) -> None:
    # Whatever is wrong with one row, the others are read alike both ways; of right tables every row is.
    text = (
        "domain,split,path,pid,camid,x,y,w,h,timestamp,junk,distractor,note\n"
        "a,gallery,f.png,1,03,0,12.0,5,6,12.5,0,false,hi\n"
        "a,gallery,x/../f.png,1,3.0,7,8,5,6,,TRUE,,\n"
        "b,test,./f.png,2,c,,,,,-3,,1,\n"
        "b,query,d/f.png,2,,,,,,,,,\n"
    )
    table, own = read_table(write(tmp_path, text)), table_root(tmp_path)
    roots = {"b": stated_root(Path("/far"))}
    found = parse_right_rows(table, own, roots, ["b"])
    cells = [dict(zip(table.columns, row, strict=True)) for _, row in table.rows]
    cells[2]["split"] = "gallery"
    single = [parse_row(n, row, roots.get(row["domain"], own)) for n, row in enumerate(cells, 2)]
    assert found == single
    assert [vars(row.record) for row in found or ()] == [vars(row.record) for row in single]
    assert parse_right_rows(table, own, roots, []) is None
    for path, (right, wrong) in {"split": ("a,gallery,f", "a,train,../f"), "flag": ("0,false", "1,true")}.items():
        faulty = read_table(write(tmp_path, text.replace(right, wrong)))
        assert parse_right_rows(faulty, own, roots, ["b"]) is None, path
