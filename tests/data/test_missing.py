"""Hints about files that are not there."""

from pathlib import Path

import pytest

from jointreid.data.decode import read_image
from jointreid.messages.errors import JointreidError


@pytest.mark.parametrize(
    ("name", "there", "hint"),
    [
        ("a\\b.jpg", "", "no such file; it holds backslashes: separate folders by / in the table"),
        ("C:\\shop\\1.jpg", "", "a Windows drive"),
        ("https://example.org/1.jpg", "", "looks like a URL: download"),
        ("file:///data/1.jpg", "", "looks like a URL"),
        ("~/1.jpg", "", "~ is not expanded"),
        ("*.jpg", "", "patterns are not expanded"),
        ("Jose\u0301.jpg", "Jos\u00e9.jpg", "in the Unicode form NFC: write the name in the same form"),
        ("Jos\u00e9.jpg", "Jose\u0301.jpg", "in the Unicode form NFD"),
        ("Jos\u00e9/1.jpg", "Jose\u0301/1.jpg", "in the Unicode form NFD"),
        ("A.JPG", "a.jpg", "with other capitals"),
    ],
)
def test_a_file_that_is_not_there_says_why(tmp_path: Path, name: str, there: str, hint: str) -> None:
    if there:
        (tmp_path / there).parent.mkdir(exist_ok=True)
        (tmp_path / there).touch()
    with pytest.raises(JointreidError) as raised:
        read_image(tmp_path / name)
    assert hint in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_ordinary_name_has_no_hint(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match=r"no such file$"):
        read_image(tmp_path / "1.jpg")
