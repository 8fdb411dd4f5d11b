import io

from rich.console import Console

from jointreid.messages.progress import progress_bar


def test_progress_bar_moves_a_bar_on_a_terminal_only() -> None:
    for terminal in (False, True):
        console = Console(file=io.StringIO(), width=100, force_terminal=terminal)
        with progress_bar(console, "decoding") as on_progress:
            on_progress(3, 7)
        assert ("3/7" in console.file.getvalue()) is terminal  # type: ignore[attr-defined]
