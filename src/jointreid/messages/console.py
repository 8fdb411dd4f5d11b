"""Printing a line for people."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def say(console: "Console", text: str) -> None:
    """Print a text unchanged: no colours for numbers, no markup (a path may hold brackets), no line breaks added."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)
