"""`jointreid matrix`."""

from dataclasses import dataclass
from typing import Literal

from jointreid.cli.options import argument
from jointreid.config import setting


@dataclass(frozen=True, kw_only=True)
class MatrixOptions:
    """Options of `jointreid matrix`."""

    runs: tuple[str, ...] = argument("RUN", "run directories, evaluated, or folders that hold some")
    format: Literal["md", "csv", "json", "latex"] = setting("md", "Markdown, CSV, JSON or LaTeX")


def matrix(options: MatrixOptions) -> int:
    """Print what networks trained on each data set alone and jointly reach on each, like the paper's Table III."""
    from jointreid.analysis.matrix import build_matrix
    from jointreid.analysis.matrix_formats import FORMATS

    print(FORMATS[options.format](build_matrix(options.runs)), end="")
    return 0
