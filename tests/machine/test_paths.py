"""Paths that people give, the cache folder where none is given, and folders that cannot be written."""

import os
from pathlib import Path

import pytest

from jointreid.machine import paths
from jointreid.machine.paths import cache_folder, require_writable, user_path
from jointreid.messages.errors import JointreidError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and an empty working folder, with nothing in the environment about caches."""
    (home := tmp_path / "home").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(home))
    for name in ("JOINTREID_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    paths._default_cache.cache_clear()
    return home


def test_a_tilde_is_the_home_folder(home: Path) -> None:
    assert user_path("~/x") == home / "x"
    assert user_path("~") == home
    assert user_path("./~/x") == Path("~/x")
    assert user_path("a~b") == Path("a~b")


def test_a_tilde_without_a_home_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os.path, "expanduser", str)  # as for a user id without a home folder
        with pytest.raises(JointreidError, match=r"~/x: this user has no home folder; write the whole path"):
            user_path("~/x")
    with pytest.raises(JointreidError, match="there is no user nobody-of-that-name"):
        user_path("~nobody-of-that-name/x")
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("s3://bucket/e.parquet", "s3://bucket/e.parquet"),
        ("gs://user:secret@bucket/x", "gs://...@bucket/x"),
        ("file:///data/x", "file:///data/x"),
        (Path("s3://bucket/x"), "s3:/bucket/x"),
        (Path("gs://user:secret@bucket/x@y"), "gs:/...@bucket/x@y"),
    ],
)
def test_a_uri_is_no_path(home: Path, given: str | Path, named: str) -> None:
    with pytest.raises(JointreidError) as refused:
        user_path(given)
    assert str(refused.value).startswith(f"{named}: expected a path on this machine; only galleries, and --images")


def test_a_folder_with_a_colon_is_a_path(home: Path) -> None:
    Path("s3:").mkdir()
    for path in (Path("s3:/x"), "s3:/x", "a/b://c", "./s3://x", "a:b"):
        assert user_path(path) == Path(path)


def test_the_default_is_the_users_cache_folder_and_can_be_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder("") == home / ".cache" / "jointreid"
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "xdg"))
    assert cache_folder("") == home / "xdg" / "jointreid"
    monkeypatch.setenv("JOINTREID_CACHE", "~/mine")
    assert cache_folder("") == home / "mine"
    assert cache_folder("elsewhere") == Path("elsewhere")
    assert cache_folder("~/given") == home / "given"
    assert cache_folder("out/cache") == Path("out/cache")  # as runs of earlier versions say


@pytest.mark.parametrize("former", ["", "out/cache"])
def test_without_a_folder_that_can_be_written_one_line_says_so(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], former: str
) -> None:
    (home / "file").touch()
    monkeypatch.setenv("JOINTREID_CACHE", str(home / "file" / "cache"))
    if former:
        Path("out").touch()
    assert cache_folder(former) is None
    assert cache_folder(former) is None
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "Not a directory" in printed
    assert "--cache DIR or JOINTREID_CACHE" in printed


def test_without_a_home_folder_nothing_is_made(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: str(path))
    assert cache_folder("") is None
    assert "there is no home folder" in capsys.readouterr().err
    assert list(Path().iterdir()) == []


def test_what_cannot_be_written_is_refused_before_the_work_and_nothing_is_made(home: Path) -> None:
    require_writable(Path("new/folder/page.html"), "--out")
    assert list(Path().iterdir()) == []
    Path("file").touch()
    with pytest.raises(
        JointreidError, match=r"file/page\.html: cannot be written: .*file is a file; choose another place with --out"
    ):
        require_writable(Path("file/page.html"), "--out")
    with pytest.raises(JointreidError, match="cannot be written: its name is not valid Unicode"):
        require_writable(Path("r\udcff"), "--out")
    assert {path.name for path in Path().iterdir()} == {"file"}
