"""Options that would have no effect are refused, and folders that may not be read are named."""

from pathlib import Path

import pytest

from jointreid.cli import main
from jointreid.machine.reading import is_file, require_regular
from jointreid.messages.errors import JointreidError
from jointreid.run import open_run


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("demo --make-weights --scale test --out o", "leave out --scale"),
        ("extract --join s --out f.parquet --flip --batch-size 3", "leave out --flip, --batch-size"),
        ("hub push r me/m --folder d --public", "--folder publishes nothing; leave out --public and --revision"),
        ("data check --manifest m.csv --train.seed -1", "train.seed is -1; expected 0 or more"),
    ],
)
def test_options_without_an_effect_are_refused(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("report r --out {}", "--out"),
        ("conflict r --html {}", "--html"),
        ("gain r --html {}", "--html"),
        ("gain r --csv {}", "--csv"),
        ("why r a.jpg b.jpg --out {}", "--out"),
        ("predict r --images i --out {}", "--out"),
    ],
)
def test_a_folder_in_place_of_a_file_is_refused_before_the_work(
    line: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "out.csv"
    folder.mkdir()
    assert main(line.format(folder).split()) == 2
    assert f"{folder}: is a folder; name a file, in it or elsewhere, with {option}" in capsys.readouterr().err


def test_a_path_that_cannot_be_looked_at_is_named() -> None:
    path = Path("a" * 300)
    for look in (is_file, require_regular, open_run):
        with pytest.raises(JointreidError, match=r"a{300}.*: cannot be read: File name too long"):
            look(path)
