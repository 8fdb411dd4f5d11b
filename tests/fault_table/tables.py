"""Faults of a manifest: its bytes, its columns, its cells, and its side file."""

import json
import os
from collections.abc import Callable

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from tests.fault_table.kit import TARGET, CannotBeMade, Fault, Handled, Refused, Sandbox

Damage = Callable[[Sandbox], None]

_ROW = f"shop,train,{TARGET},1,0"


def _row(new: str) -> Damage:
    """Replace the target's row, which is row 2."""
    return lambda sandbox: sandbox.edit(_ROW, new)


def _rows(extra: str) -> Damage:
    """Add rows; the first becomes row 18."""
    return _text(lambda text: text + extra)


def _text(change: Callable[[str], str]) -> Damage:
    return lambda sandbox: sandbox.rewrite(change)


def _bytes(change: Callable[[bytes], bytes]) -> Damage:
    def damage(sandbox: Sandbox) -> None:
        sandbox.table.write_bytes(change(sandbox.table.read_bytes()))

    return damage


def _side(content: object) -> Damage:
    """Write a side file: a text unchanged, anything else as JSON."""
    text = content if isinstance(content, str) else json.dumps(content)

    def damage(sandbox: Sandbox) -> None:
        sandbox.side.write_text(text)

    return damage


def _root_elsewhere(sandbox: Sandbox) -> None:
    """Move the images and name their folder."""
    for domain in ("shop", "yard"):
        (sandbox.data / domain).rename(sandbox.root / domain)
    sandbox.side.write_text(json.dumps({name: {"root": str(sandbox.root)} for name in ("shop", "yard")}))


def _parquet(change: Callable[[dict[str, pyarrow.Array]], None]) -> Callable[[Sandbox], list[str]]:
    """Write the table as Parquet, with other columns."""

    def damage(sandbox: Sandbox) -> list[str]:
        header, *rows = (line.split(",") for line in sandbox.table.read_text().splitlines())
        columns = {name: pyarrow.array(cells) for name, cells in zip(header, zip(*rows, strict=True), strict=True)}
        change(columns)
        path = sandbox.data / "table.parquet"
        pyarrow.parquet.write_table(pyarrow.table(columns), path)
        return ["--manifest", str(path)]

    return damage


def _column(name: str, values: Callable[[pyarrow.Array], pyarrow.Array]) -> Callable[[Sandbox], list[str]]:
    return _parquet(lambda columns: columns.update({name: values(columns[name])}))


def _no_utf8(texts: pyarrow.Array) -> pyarrow.Array:
    """Return texts of one byte that is not UTF-8, as another program may write them."""
    offsets = pyarrow.array(range(len(texts) + 1), pyarrow.int32()).buffers()[1]
    return pyarrow.StringArray.from_buffers(len(texts), offsets, pyarrow.py_buffer(b"\xff" * len(texts)))


def _cut_parquet(sandbox: Sandbox) -> list[str]:
    arguments = _parquet(lambda columns: None)(sandbox)
    path = sandbox.data / "table.parquet"
    path.write_bytes(path.read_bytes()[:-100])
    return arguments


def _named(name: str) -> Callable[[Sandbox], list[str]]:
    """Rename the table."""

    def damage(sandbox: Sandbox) -> list[str]:
        path = sandbox.data / name
        path.parent.mkdir(exist_ok=True)
        text = sandbox.table.read_text()
        sandbox.table.unlink()
        path.write_text(text.replace("shop/", "../shop/").replace("yard/", "../yard/") if "/" in name else text)
        return ["--manifest", str(path)]

    return damage


def _locked(sandbox: Sandbox) -> None:
    sandbox.table.chmod(0)
    if os.access(sandbox.table, os.R_OK):
        raise CannotBeMade("this user may read every file")


def _folder_for_a_table(sandbox: Sandbox) -> None:
    sandbox.table.unlink()
    sandbox.table.mkdir()


def _given(*arguments: str) -> Callable[[Sandbox], list[str]]:
    return lambda sandbox: list(arguments)


BYTES = [
    Fault("bytes that are not UTF-8", _bytes(lambda data: data.replace(b"train-1-0", b"tr\xe9in-1-0", 1)),
          Refused(r"table\.csv, row 2: byte 0xe9 is not UTF-8")),
    Fault("UTF-16, as some spreadsheets save", _bytes(lambda data: data.decode().encode("utf-16")),
          Refused(r"table\.csv, row 1: byte 0xff is not UTF-8")),
    Fault("a byte order mark", _bytes(lambda data: b"\xef\xbb\xbf" + data), Handled()),
    Fault("line ends of Windows", _text(lambda text: text.replace("\n", "\r\n")), Handled()),
    Fault("line ends of the old Macintosh", _text(lambda text: text.replace("\n", "\r")), Handled()),
    Fault("no line end after the last row", _text(str.rstrip), Handled()),
    Fault("empty lines", _text(lambda text: text.replace("\n", "\n\n,,,,\n")), Handled()),
    Fault("semicolons for commas", _text(lambda text: text.replace(",", ";")),
          Refused(r"table\.csv, row 1: no header; .*separated by ';'")),
    Fault("tabs for commas", _text(lambda text: text.replace(",", "\t")), Refused(r"row 1: no header; .*by '\\t'")),
    Fault("zeros at the end, as after a crash", _bytes(lambda data: data[:-30] + bytes(30)),
          Refused(r"table\.csv, row 17")),
    Fault("an open quote", _row(_ROW.replace(TARGET, f'"{TARGET}')), Refused(r"table\.csv, row 2: not CSV.*quotes")),
    Fault("a row cut short", _bytes(lambda data: data[:-6]), Refused(r"table\.csv, row 17, 3 cells; the header")),
    Fault("an empty table", _bytes(lambda data: b""), Refused(r"table\.csv: is empty")),
    Fault("a header and no row", _text(lambda text: text.splitlines()[0]), Refused(r"table\.csv: holds no images")),
    Fault("no header", _text(lambda text: text.partition("\n")[2]), Refused(r"table\.csv, row 1: no header")),
    Fault("a column missing", _text(lambda text: text.replace("split", "note")), Refused(r"row 1: no column split")),
    Fault("a column misspelt", _text(lambda text: text.replace("camid", "cam_id")), Refused(r"did you mean camid\?")),
    Fault("a column twice", _text(lambda text: text.replace("pid,camid", "pid,pid")), Refused(r"'pid': named twice")),
    Fault("one column more in one row", _row(_ROW + ",9"), Refused(r"row 2, 6 cells; the header names 5 columns")),
    Fault("a table inside an archive", _named("people.zip"), Refused(r"people\.zip: a manifest is a \.csv or")),
    Fault("a folder called table.csv", _folder_for_a_table, Refused(r"table\.csv: a folder needs a reader's name")),
    Fault("a table that may not be read", _locked, Refused(r"table\.csv: cannot be read: Permission denied")),
    Fault("a table that is not there", _given("--manifest", "gone.csv"), Refused(r"no file or folder .*gone\.csv")),
    Fault("a name too long for a file", _given("--manifest", "x" * 300 + ".csv"), Refused(r"File name too long")),
    Fault("a user that is not there", _given("--data", "shop=~nobody-there/x"), Refused(r"no (user|file) .*nobody")),
    Fault("a table with an odd name", _named("it's, [odd] {1}: #🙂\n\t.csv"), Handled(trained=True)),
    Fault("no Parquet in a .parquet", _named("table.parquet"), Refused(r"table\.parquet: cannot be read as Parquet")),
    Fault("a Parquet file cut short", _cut_parquet, Refused(r"table\.parquet: cannot be read as Parquet")),
    Fault("Parquet with lists for pids", _column("pid", lambda a: pyarrow.array([[p] for p in a.to_pylist()])),
          Refused(r"table\.parquet, column pid: holds list")),
    Fault("Parquet with truth values for pids", _column("pid", lambda a: pyarrow.compute.equal(a, "1")),
          Refused(r"table\.parquet, column pid: holds bool; expected text or numbers")),
    Fault("Parquet with bytes for paths", _column("path", lambda a: a.cast("binary")),
          Refused(r"table\.parquet, column path: holds bytes")),
    Fault("Parquet with text that is not UTF-8", _column("pid", _no_utf8),
          Refused(r"table\.parquet, column pid: cannot be read: .*utf-8")),
    Fault("Parquet with dates for timestamps", _parquet(lambda columns: columns.update(
          timestamp=pyarrow.array([1_577_836_800_000_000_001] * 16, pyarrow.timestamp("ns")))),
          Refused(r"table\.parquet, column timestamp: (cannot be read|holds)")),
    Fault("Parquet with a pid missing", _column("pid", lambda a: pyarrow.array([None, *a.to_pylist()[1:]])),
          Refused(r"table\.parquet, row 1, column pid: empty")),
    Fault("Parquet with numbers that had gaps once", _column("pid", lambda a: a.cast("float64")), Handled()),
]  # fmt: skip

CELLS = [
    Fault("a row twice", _rows(_ROW + "\n"), Refused(r"row 18, column path: repeats row 2")),
    Fault("an image twice, with two pids", _rows(_ROW.replace(",1,0", ",2,1") + "\n"), Refused(r"row 18.*repeats row")),
    Fault("a pid NaN", _row(_ROW.replace(",1,0", ",nan,0")), Refused(r"row 2, column pid: 'nan' is no id")),
    Fault("a pid below 0", _row(_ROW.replace(",1,0", ",-1,0")), Refused(r"row 2, column pid: '-1' is no id.*junk")),
    Fault("a pid empty", _row(_ROW.replace(",1,0", ",,0")), Refused(r"row 2, column pid: empty")),
    Fault("a space before a pid", _row(_ROW.replace(",1,0", ", 1,0")), Refused(r"row 2, column pid: ' 1' has spaces")),
    Fault("fractions for pids", _text(lambda text: text.replace(",1,", ",1.5,")), Handled()),
    Fault("truth values for pids", _text(lambda text: text.replace(",1,", ",True,")), Handled()),
    Fault("zeros before pids", _text(lambda text: text.replace(",1,", ",0001,").replace(",3,", ",0003,")), Handled()),
    Fault("zeros before some pids of a person", _row(_ROW.replace(",1,0", ",0001,0")),
          Handled(r"shop: 1 identities are written in several ways \(0001 and 1\)", train=(8, 5, 4))),
    Fault("a pid as a spreadsheet makes it", _row(_ROW.replace(",1,0", ",1.0,0")),
          Handled(r"shop: 1 identities are written in several ways \(1 and 1\.0\)", train=(8, 5, 4))),
    Fault("a pid of 5,000 digits", _text(lambda text: text.replace(",1,", f",{'7' * 5000},")),
          Handled(trained=True)),
    Fault("a camid below 0", _row(_ROW.replace(",1,0", ",1,-1")), Refused(r"row 2, column camid: '-1' is no id")),
    Fault("a camid NaN", _row(_ROW.replace(",1,0", ",1,NaN")), Refused(r"row 2, column camid: 'NaN' is no id")),
    Fault("a camid missing", _row(_ROW.replace(",1,0", ",1,")),
          Refused(r"row 2, column camid: empty, as in 1 of the 8 rows of domain shop")),
    Fault("no camids at all", _text(lambda text: text.replace("camid", "note")),
          Refused(r"column camid: no camera ids for shop, yard.*--missing-camid one_camera")),
    Fault("no camids, which is told", _text(lambda text: text.replace("camid", "note")), Handled(train=(8, 4, 2)),
          options=("--missing-camid", "one_camera")),
    Fault("gaps between camids", _text(lambda text: text.replace(",1\n", ",7\n")), Handled()),
    Fault("camids with names", _text(lambda text: text.replace(",0\n", ",door\n")), Handled()),
    Fault("camids with zeros and points", _text(lambda text: text.replace(",0\n", ",00.0\n")), Handled()),
    Fault("a camid of 30 digits", _text(lambda text: text.replace(",0\n", f",{'9' * 30}\n")), Handled()),
    Fault("an unknown split", _row(_ROW.replace("train,", "test,", 1)),
          Refused(r"row 2, column split: 'test'; expected train, query, gallery")),
    Fault("a split empty", _row(_ROW.replace("train,", ",", 1)), Refused(r"row 2, column split: empty")),
    Fault("a path elsewhere", _row(_ROW.replace(TARGET, "/etc/passwd")),
          Refused(r"row 2, column path: '/etc/passwd' does not stay below the table's folder")),
    Fault("a path that climbs out", _row(_ROW.replace(TARGET, "shop/../../x.jpg")),
          Refused(r"row 2, column path: 'shop/\.\./\.\./x\.jpg' does not stay below")),
    Fault("a path that climbs and stays", _row(_ROW.replace(TARGET, f"yard/.././{TARGET}")), Handled()),
    Fault("a path into an archive", _row(_ROW.replace(TARGET, "images.zip/train-1-0.jpg")),
          Refused(r"images\.zip/train-1-0\.jpg: no such file")),
    Fault("a path below an image", _row(_ROW.replace(TARGET, f"{TARGET}/1.jpg")),
          Refused(r"train-1-0\.jpg/1\.jpg: Not a directory")),
    Fault("a path too long for a file", _row(_ROW.replace(TARGET, "x" * 300)), Refused(r"xxx: File name too long")),
    Fault("a path with a zero byte", _row(_ROW.replace("train-1", "train\0-1")), Refused(r"row 2, column path")),
    Fault("a path of the other system", _row(_ROW.replace("/", "\\")), Refused(r"shop\\+train-1-0\.jpg: no such file")),
    Fault("a box below 0", _text(lambda text: f"domain,split,path,pid,camid,x,y,w,h\n{_ROW},-1,0,5,5\n"),
          Refused(r"row 2, column x: '-1'; expected whole pixels >= 0")),
    Fault("a time that is none", _text(lambda text: f"domain,split,path,pid,camid,timestamp\n{_ROW},noon\n"),
          Refused(r"row 2, column timestamp: 'noon'; expected a finite number")),
]  # fmt: skip

_ODD_NAME = "a/../[/b]<i>\x1b[1m'🙂"
SIDE = [
    Fault("a side file that is not JSON", _side("{"), Refused(r"table\.domains\.json: cannot be read as JSON")),
    Fault("a side file of a list", _side([]), Refused(r"table\.domains\.json: expected")),
    Fault("a side file nested without end", _side("[" * 100_000), Refused(r"table\.domains\.json: cannot be read")),
    Fault("a side file that names a domain twice", _side('{"shop": {"terms": "a"}, "shop": {"terms": "b"}}'),
          Refused(r"table\.domains\.json: .*'shop' is there twice")),
    Fault("a side file of another table", _side({"market": {}}), Refused(r"domains\.json: .* no domain market")),
    Fault("an unknown key", _side({"shop": {"camera": 2}}), Refused(r"domains\.json, domain shop: there is no key")),
    Fault("a number for a truth value", _side({"shop": {"exclude_same_camera": 0}}),
          Refused(r"domains\.json, domain shop: exclude_same_camera is 0; expected true or false")),
    Fault("a text for a number", _side({"shop": {"cameras": "2"}}), Refused(r"domain shop: cameras is '2'; expected")),
    Fault("NaN for a number", _side('{"shop": {"cameras": NaN}}'), Refused(r"domain shop: cameras is nan; expected")),
    Fault("more cameras than memory", _side({"shop": {"cameras": 10**12}}),
          Refused(r"domain shop: cameras is 1000000000000; expected how many there are")),
    Fault("fewer cameras than the table has", _side({"shop": {"cameras": 1}}), Refused(r"row 3, column camid: camera")),
    Fault("more cameras than the table has", _side({"shop": {"cameras": 9}}), Handled(train=(8, 4, 11))),
    Fault("a root that is not absolute", _side({"shop": {"root": "../x"}}), Refused(r"domain shop: root is '\.\./x'")),
    Fault("a root that is not there", _side({"shop": {"root": "/nowhere/at all"}}),
          Refused(r"/nowhere/at all/shop/train-1-0\.jpg: no such file")),
    Fault("a root elsewhere", _root_elsewhere, Handled()),
    Fault("a domain with marks in its name", _text(lambda text: text.replace("shop,", f"{_ODD_NAME},")),
          Handled(trained=True)),
    Fault("a domain of two lines", _text(lambda text: text.replace("shop,", '"two\nlines",')), Handled()),
    Fault("a domain called nan", _text(lambda text: text.replace("shop,", "nan,")), Handled()),
    Fault("a space before a domain", _text(lambda text: text.replace("shop,", " shop,")),
          Refused(r"row 2, column domain: ' shop' has spaces around it")),
    Fault("a domain empty", _text(lambda text: text.replace("shop,", ",")), Refused(r"row 2, column domain: empty")),
    Fault("domains that differ in capitals", _text(lambda text: text.replace("yard,", "Shop,")),
          Handled(r"the domains Shop and shop are taken for different ones")),
    Fault("a domain given twice", lambda sandbox: ["--manifest", str(sandbox.table), "--manifest", str(sandbox.table)],
          Refused(r"domain shop is given twice")),
]  # fmt: skip
