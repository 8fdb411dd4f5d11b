"""Tables of text for a terminal."""

from collections.abc import Sequence

# What a cell shows where there is no value.
NO_VALUE = "–"


def text_table(rows: Sequence[Sequence[str]], align: str, *, bars: bool = True) -> str:
    """Return rows as lines of text, each column as wide as its longest cell.

    Args:
        rows: the heading, then the rows; each has a cell for every column.
        align: a letter for each column: `l` sets it left, `r` right.
        bars: set `|` between the cells and a rule below the heading, as Markdown does; otherwise two spaces.

    >>> print(text_table([["Domain", "mAP"], ["plaza", "9.5"]], "lr"))
    | Domain | mAP |
    |--------|-----|
    | plaza  | 9.5 |
    """
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(*rows, strict=True)]
    padded = []
    for row in rows:
        gaps = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        padded.append([gap + cell if to == "r" else cell + gap for gap, cell, to in zip(gaps, row, align, strict=True)])
    if not bars:
        return "\n".join("  ".join(row) for row in padded)
    heading, *lines = (f"| {' | '.join(row)} |" for row in padded)
    return "\n".join([heading, f"|{'|'.join('-' * (width + 2) for width in widths)}|", *lines])
