"""Consoles that lack characters, that are closed, or whose disk is full."""

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from rich.console import Console
from rich.table import Table

from jointreid.cli import COMMANDS, main
from jointreid.messages.console import open_streams, print_error, printable, say
from jointreid.messages.errors import OutputError

TEXT = "Café ≥ 0.7 ± 0.1 — “x” … → │─┼ 東京 🙂 \udcff"


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "cp437", "shift_jis", "utf-8", "utf-16"])
def test_every_text_can_be_printed_on_every_console(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    open_streams()
    print(TEXT)
    say(Console(), TEXT)
    sys.stdout.flush()
    lines = written.getvalue().decode(encoding).splitlines()
    assert len(lines) == 2
    assert lines[0] == lines[1] == printable(TEXT, encoding)
    if encoding == "ascii":
        assert lines[0] == 'Caf\\xe9 >= 0.7 +/- 0.1 - "x" ... -> |-+ \\u6771\\u4eac \\U0001f642 \\udcff'
    if encoding == "utf-8":
        assert lines[0] == TEXT.replace("\udcff", "\\udcff")


def test_say_needs_no_stream_that_was_opened_for_it() -> None:
    """In Python, stdout is the caller's: text is changed, not the stream."""
    file = io.TextIOWrapper(io.BytesIO(), "ascii", errors="strict")
    say(Console(file=file), TEXT)
    assert file.errors == "strict"


def test_a_table_is_drawn_in_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "ascii"))
    open_streams()
    table = Table("Domain", "mAP")
    table.add_row("Café", "9.5")
    Console(width=40).print(table)
    sys.stdout.flush()
    assert "Caf\\xe9" in written.getvalue().decode("ascii")


@contextmanager
def full_stdout() -> Iterator[None]:
    """Put stdout on a full disk."""
    with pytest.MonkeyPatch.context() as patch, open("/dev/full", "w") as stream:
        patch.setattr(sys, "stdout", stream)
        yield


needs_dev_full = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@needs_dev_full
@pytest.mark.parametrize("argv", [["--help"], ["--version"], *([*name.split(), "--help"] for name in COMMANDS)])
def test_a_full_output_device_is_one_line_and_no_success(argv: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with full_stdout():
        assert main(argv) == 2
    assert capfd.readouterr().err == "jointreid: standard output cannot be written: No space left on device\n"


@needs_dev_full
def test_so_is_one_under_json(capfd: pytest.CaptureFixture[str]) -> None:
    with full_stdout():
        assert main(["profile", "resnet50", "--json"]) == 2
    assert capfd.readouterr().err == "jointreid: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("buffered", [True, False])
def test_a_reader_that_is_gone_ends_it_quietly(
    buffered: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    raw = os.fdopen(writer, "wb", 0)
    stream = io.TextIOWrapper(io.BufferedWriter(raw) if buffered else raw, "utf-8", write_through=not buffered)
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["train", "--help"]) == 0
    stream.close()
    assert capfd.readouterr().err == ""


def test_closed_streams_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    assert main(["--help"]) == 0
    assert main(["train", "--nonsense"]) == 2
    print_error("dropped")
    for name in ("stdout", "stderr"):
        getattr(sys, name).close()


@needs_dev_full
def test_a_full_stderr_changes_no_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    with open("/dev/full", "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        assert main(["train", "--nonsense"]) == 2
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def test_long_work_whose_output_cannot_be_written_says_so() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="its reader is gone"):
        say(Console(file=Gone()), "text")
    with pytest.raises(OutputError, match="cannot be written: No space left on device"):
        say(Console(file=Full()), "text")


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [{"COLUMNS": text} for text in ("0", "1", "-5", "ten", "")] + [{"TERM": "dumb"}, {"NO_COLOR": "1"}, {"TERM": ""}],
)
def test_widths_and_terminals_change_no_result(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert main(["train", "--help"]) == 0
    say(Console(), "one line that is longer than a narrow terminal")
    printed = capsys.readouterr().out
    assert "one line that is longer than a narrow terminal" in printed
    assert "\x1b" not in printed
    assert main(["profile", "resnet50", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)
