"""Folders and tables of images, here and in an object store."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jointreid.extraction import image_table
from jointreid.extraction.image_table import ImageTable, read_images
from jointreid.extraction.storage import object_below, read_image_boxes
from jointreid.messages.errors import JointreidError
from tests.extraction.small_runs import draw


def write(folder: Path, text: str, name: str = "table.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return folder / name


def cells(table: ImageTable) -> dict[str, Any]:
    found: dict[str, Any] = table.columns.to_pydict()
    return found


def test_a_path_is_enough_and_other_columns_are_carried_over_with_their_types(tmp_path: Path) -> None:
    assert cells(read_images(write(tmp_path, "path\na.jpg\n"))) == {"path": ["a.jpg"]}
    text = "path,pid,camid,timestamp,score,junk,note,feature,row\na.jpg,007,3,1.5,0.5,true,x,9,9\nb.jpg,,,,,,,,\n"
    assert cells(read_images(write(tmp_path, text))) == {
        "path": ["a.jpg", "b.jpg"],
        "pid": ["007", None],
        "camid": [3, None],
        "timestamp": [1.5, None],
        "score": [0.5, None],
        "junk": [1.0, None],
        "note": ["x", None],
    }
    named = read_images(write(tmp_path, "path,camid\na.jpg,door\nb.jpg,2\n"))
    assert cells(named)["camid"] == ["door", "2"]


def test_a_parquet_table_keeps_its_types(tmp_path: Path) -> None:
    table = pa.table({
        "path": ["a.jpg", "b.jpg"], "pid": [7, 8], "x": [1, None], "y": [2, None], "w": [3, None], "h": [4, None],
        "count": pa.array([5, 6], pa.int16()), "feature": [1.0, 2.0],
    })  # fmt: skip
    pq.write_table(table, tmp_path / "t.parquet")
    found = read_images(tmp_path / "t.parquet")
    assert found.boxes == [(1, 2, 3, 4), None]
    assert cells(found)["pid"] == ["7", "8"]
    assert found.columns.schema.field("count").type == pa.int16()
    assert "feature" not in found.columns.column_names


def test_whole_numbers_with_gaps_are_no_fractions(tmp_path: Path) -> None:
    columns = {"path": ["a.png", "b.png"], "pid": [12.0, float("nan")], "tracklet": pa.array([3.0, None])}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    table = read_images(tmp_path / "t.parquet")
    assert (table.values("pid"), table.values("tracklet")) == (["12", None], ["3", None])


def test_paths_are_below_the_table_a_root_or_that_of_their_domain(tmp_path: Path) -> None:
    path = write(tmp_path / "t", f"path,domain\na.jpg,d\n{tmp_path}/t/b.jpg,d\nc.jpg,e\n")
    write(tmp_path / "t", f'{{"e": {{"root": "{tmp_path}/e"}}}}', "table.domains.json")
    found = read_images(path)
    assert found.files == [f"{tmp_path}/t/a.jpg", f"{tmp_path}/t/b.jpg", f"{tmp_path}/e/c.jpg"]
    assert found.roots == {"": f"{tmp_path}/t", "e": f"{tmp_path}/e"}
    assert read_images(write(tmp_path / "t", "path\na.jpg\n"), str(tmp_path / "r")).files == [f"{tmp_path}/r/a.jpg"]


def test_names_of_files_that_are_not_unicode_are_told(tmp_path: Path) -> None:
    draw(tmp_path, 1)
    (tmp_path / "grün.png").touch()
    assert len(read_images(tmp_path)) == 2
    for name in (b"\xff.png", b"\xfe.png"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    with pytest.raises(
        JointreidError, match=r"'\\udcfe\.png', and 1 more: not valid Unicode; rename the file or folder"
    ):
        read_images(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pid\na\n", "no column path; found pid"),
        ("path\n", "holds no images"),
        ("", "is empty"),
        ("path,pid\na.jpg\n", "row 2: 1 cells; the header names 2 columns"),
        ("path,path\na,b\n", "a column is named twice"),
        ("path,x\na.jpg,1\n", "only some of the box columns x,y,w,h"),
        ("path,x,y,w,h\na.jpg,1,1,0,4\n", "row 2, column w: '0'; expected whole pixels >= 1"),
        ("path,pid\n,a\n", "row 2, column path: empty"),
        ("path\n../a.jpg\n", "row 2, column path: '../a.jpg' does not stay below .*--root"),
        ("path\n/etc/a.jpg\n", "does not stay below"),
        ("path,timestamp\na.jpg,noon\n", "column timestamp: could not convert string to float: 'noon'"),
    ],
)
def test_a_wrong_table_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        read_images(write(tmp_path, text))


def test_many_wrong_rows_are_counted(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match="12 rows are wrong; these are the first 10") as caught:
        read_images(write(tmp_path, "path\n" + "../a.jpg\n" * 12))
    assert str(caught.value).count("column path") == 10


def test_the_digest_tells_other_images_orders_and_columns(tmp_path: Path) -> None:
    texts = ("path\na.jpg\nb.jpg\n", "path\nb.jpg\na.jpg\n", "path\na.jpg\n", "path,pid\na.jpg,1\nb.jpg,2\n")
    digests = {read_images(write(tmp_path, text)).digest for text in texts}
    assert len(digests) == 4
    assert read_images(write(tmp_path / "other", texts[0])).digest in digests


# Object stores, of which pyarrow also counts file://


def test_a_folder_and_a_table_in_an_object_store_are_read_as_files_are(tmp_path: Path) -> None:
    records = draw(tmp_path / "shop" / "images", 3)
    (tmp_path / "shop" / ".hidden").mkdir()
    (tmp_path / "shop" / ".hidden" / "x.png").touch()
    (tmp_path / "shop" / "notes.txt").touch()
    store = f"file://{tmp_path}/shop"
    here, there = read_images(tmp_path / "shop"), read_images(store)
    assert cells(there) == cells(here)
    assert there.files == [f"{store}/images/{record.path.name}" for record in records]
    assert there.digest == here.digest
    write(tmp_path / "shop", "path,x,y,w,h\nimages/01.png,1,2,3,4\nimages/02.png,,,,\n")
    table = read_images(f"{store}/table.csv")
    assert table.files == [f"{store}/images/01.png", f"{store}/images/02.png"]
    assert table.roots == {"": store}
    local = read_images(tmp_path / "shop" / "table.csv")
    for index in (0, 1):
        cuts = [read_image_boxes(one.files[index], [one.boxes[index]])[0] for one in (table, local)]
        assert np.array_equal(cuts[0], cuts[1])
    with_root = read_images(tmp_path / "shop" / "table.csv", store)
    assert with_root.files == table.files


def test_names_in_an_object_store_are_taken_as_they_are(tmp_path: Path) -> None:
    names = ["camera 1/50%.png", "a#1.png", "b?region=x.png", "%2e%2e.png"]
    source = draw(tmp_path, 1)[0].path
    for name in names:
        path = tmp_path / "shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
    store = f"file://{tmp_path}/shop"
    listed = read_images(store)
    assert sorted(listed.columns["path"].to_pylist()) == sorted(names)
    assert len([read_image_boxes(file, [None])[0] for file in listed.files]) == 4
    shutil.copyfile(source, tmp_path / "secret.png")
    write(tmp_path / "shop", "path\n%2e%2e/secret.png\n01.png?endpoint_override=elsewhere\n")
    for file in read_images(f"{store}/table.csv").files:
        with pytest.raises(JointreidError, match="no such object"):
            read_image_boxes(file, [None])


def test_options_of_a_store_stay_behind_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = b"path\nimages/1.jpg\n"
    monkeypatch.setattr(image_table, "read_bytes", lambda location: table)
    found = read_images("s3://bucket/shop/list.csv?region=eu-west-1&scheme=http")
    assert found.files == ["s3://bucket/shop/images/1.jpg?region=eu-west-1&scheme=http"]
    info_root = found.roots[""]
    assert object_below(info_root, "images/1.jpg") == found.files[0]


def test_what_is_not_in_an_object_store_is_told(tmp_path: Path) -> None:
    store = f"file://{tmp_path}"
    with pytest.raises(JointreidError, match=r"none\.csv: no such object"):
        read_images(f"{store}/none.csv")
    with pytest.raises(JointreidError, match=r"none\.png: no such object"):
        read_image_boxes(f"{store}/none.png", [None])
    with pytest.raises(JointreidError, match="nowhere: cannot be listed"):
        read_images(f"{store}/nowhere")
    with pytest.raises(JointreidError, match=r"cannot be opened.*expected a URI such as s3://"):
        read_images("gopher://hole/images")
    with pytest.raises(JointreidError, match=r"^s3://\.\.\.@bucket/images: holds a password.*environment") as caught:
        read_images("s3://me:secret@bucket/images")
    assert "secret" not in str(caught.value)
    (tmp_path / "empty.png").touch()
    with pytest.raises(JointreidError, match=r"empty\.png: the file is empty"):
        read_image_boxes(f"{store}/empty.png", [None])
    write(tmp_path, "path\n../a.png\n")
    with pytest.raises(JointreidError, match="expected a path below file://"):
        read_images(f"{store}/table.csv")
