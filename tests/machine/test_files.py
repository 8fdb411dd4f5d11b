from pathlib import Path

import pytest

from jointreid.machine.files import replacing, write_atomically
from jointreid.messages.errors import no_such


def test_text_and_bytes_arrive_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new" / "a.txt", "ä")
    write_atomically(tmp_path / "new" / "b.bin", b"\x00")
    assert (tmp_path / "new" / "a.txt").read_bytes() == "ä".encode()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["a.txt", "b.bin"]


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_atomically(target, "old")

    def write_half() -> None:
        with replacing(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        write_half()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_the_nearest_name_is_offered_and_else_all_of_them() -> None:
    assert no_such("setting", "lrr", ["lr", "seed"]) == "there is no setting lrr; did you mean lr?"
    assert no_such("setting", "zzz", ["lr", "seed"]) == "there is no setting zzz; there are lr, seed"
