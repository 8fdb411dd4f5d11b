"""Tables as Markdown, CSV and LaTeX."""

import csv
from collections.abc import Iterable, Sequence
from io import StringIO

# Signs that LaTeX reads as commands or prints as others, such as `<` as an inverted exclamation mark. A straight `"`
# takes a font encoding that documents must ask for, so it becomes a closing quotation mark.
_TEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "'": r"\textquotesingle{}", '"': "''",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}  # fmt: skip


def markdown_table(heads: Sequence[str], rows: Iterable[Sequence[str]], align: str) -> list[str]:
    """Return the lines of a table in Markdown; bars within cells are escaped, and line ends become spaces.

    Args:
        heads: the heading of each column.
        rows: a cell for every column.
        align: a letter for each column: `l` left, `r` right.

    >>> markdown_table(["Domain", "mAP"], [["a|b", "9.5"]], "lr")
    ['| Domain | mAP |', '| --- | --: |', '| a\\\\|b | 9.5 |']
    """
    rule = ["--:" if to == "r" else "---" for to in align]
    return [_bar(heads), _bar(rule), *map(_bar, rows)]


def csv_text(rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV, the heading first; None is an empty cell.

    What is not text in the name of a file, such as a byte of another encoding, appears as Python's escape.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows(["" if value is None else value for value in row] for row in rows)
    return text.getvalue().encode(errors="backslashreplace").decode()


def latex_table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    align: str,
    *,
    caption: str,
    groups: Sequence[tuple[str, int]] = (),
    notes: Iterable[str] = (),
) -> list[str]:
    """Return the lines of a table in LaTeX, as wide as the page, for a document that loads the package graphicx.

    Args:
        heads: the heading of each column, in TeX; see `tex`.
        rows: a cell for every column, in TeX.
        align: a letter for each column: `l` left, `r` right.
        caption: as text.
        groups: titles above neighbouring columns, as text, each with the number of columns; they cover all columns.
        notes: as text, set below the table.
    """
    spans = [f"\\multicolumn{{{width}}}{{c}}{{{tex(name)}}}" if name or width > 1 else "" for name, width in groups]
    return [
        "\\begin{table*}",
        f"\\caption{{{tex(caption)}}}",
        "\\centering",
        "\\resizebox{\\textwidth}{!}{%",
        f"\\begin{{tabular}}{{{align}}}",
        "\\hline",
        *([" & ".join(spans) + " \\\\"] if any(name for name, _ in groups) else []),
        " & ".join(heads) + " \\\\",
        "\\hline",
        *(" & ".join(row) + " \\\\" for row in rows),
        "\\hline",
        "\\end{tabular}}",
        *(f"\\par\\footnotesize {tex(note)}" for note in notes),
        "\\end{table*}",
    ]


def tex(text: str) -> str:
    """Return a text for LaTeX, in which no sign is a command and none is printed as another, but for `"`.

    A `'` needs LaTeX of 2020 or newer, or the package textcomp.

    >>> tex("cuhk_sysu 78.5±0.7")
    'cuhk\\\\_sysu 78.5$\\\\pm$0.7'
    """
    pairs = zip(text, f"{text[1:]} ", strict=False)
    # Two hyphens would become a dash, as in the name of an option.
    return "".join("-{}" if sign == "-" and after in "-–" else _TEX.get(sign, sign) for sign, after in pairs)


def _bar(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(text.split()).replace("|", "\\|") for text in cells) + " |"
