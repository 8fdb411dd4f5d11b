import io

from rich.console import Console

from jointreid.messages.progress import counting


def test_counting_moves_a_bar_on_a_terminal_only() -> None:
    for terminal in (False, True):
        console = Console(file=io.StringIO(), width=100, force_terminal=terminal)
        with counting(console, "decoding") as progress:
            progress(3, 7)
        assert ("3/7" in console.file.getvalue()) is terminal  # type: ignore[attr-defined]
