"""Tables as files, from hand-made ones."""

import csv
import json
from io import StringIO
from pathlib import Path

import pytest

from jointreid.paper.compared import ComparedColumn, ComparedNumber, ComparedRow, ComparedTable
from jointreid.paper.render import as_csv, as_json, cell, latex, markdown, write_tables

BEHIND = {"seeds": [0, 1], "steps": 30, "preset": "paper", "pretraining": "none", "commit": "c0ffee"}
TABLE = ComparedTable(
    name="V",
    title="What is 100% tested",
    warning="",
    heads=("Method",),
    columns=(ComparedColumn("Duke & co", "mAP", "its protocol; 9 valid queries"), ComparedColumn("MSMT17", "mAP")),
    rows=(
        ComparedRow(
            ("S_1",),
            (
                ComparedNumber(50.0, (40.0, 42.0), remarks=("A slip.",), behind=BEHIND),
                ComparedNumber(None, status="quoted"),
            ),
        ),
        ComparedRow(
            ("a|b",),
            (ComparedNumber(60.0, status="not run"), ComparedNumber(1.5, (1.5,), doubts=("Short.",), behind=BEHIND)),
        ),
        ComparedRow(
            ("Gain",), (ComparedNumber(10.0, (12.0,), signed=True), ComparedNumber(-0.04, (0.0,), signed=True))
        ),
    ),
    notes=("A note.",),
    details="parts\n1 2",
)


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (ComparedNumber(89.5, (88.25,)), "88.2 / 89.5 / -1.3"),
        (ComparedNumber(78.0, (77.0, 79.0, 78.0)), "78.0±1.0 / 78.0 / 0.0"),
        (ComparedNumber(12.3, (10.0,), signed=True), "+10.0 / +12.3 / -2.3"),
        (ComparedNumber(15_913, (15_912,), decimals=0), "15,912 / 15,913 / -1"),
        (ComparedNumber(50.2, status="no data"), "no data / 50.2 / –"),
        (ComparedNumber(50.2, status="quoted"), "– / 50.2 / –"),
        (ComparedNumber(None, status="quoted"), "–"),
        (ComparedNumber(None, (40.0,)), "40.0 / – / –"),
        (ComparedNumber(0.1, (0.06, -0.06)), "0.0±0.1 / 0.1 / -0.1"),
    ],
)
def test_a_cell_shows_ours_paper_and_difference(figure: ComparedNumber, text: str) -> None:
    assert cell(figure) == text


def test_a_reader_who_subtracts_finds_the_same() -> None:
    figure = ComparedNumber(79.4, (78.449,))
    assert (figure.mean, figure.difference) == (78.4, -1.0)


def test_markdown_has_the_table_its_footnotes_and_what_stands_behind() -> None:
    text = markdown(TABLE)
    assert text.startswith(
        "## Table V. What is 100% tested\n\nEach cell: ours / paper / difference.\n\n| Method | Duke"
    )
    assert "| S_1 | 41.0±1.4 / 50.0 / -9.0 [a] | – |" in text
    assert "| a\\|b | not run / 60.0 / – | 1.5 / 1.5 / 0.0 [b] |" in text
    assert "- [a] A slip.\n- [b] Short.\n" in text
    assert "- All rows: seed 0, 1; preset paper; from random weights; 30 steps; commit c0ffee\n" in text
    assert "- Duke & co: its protocol; 9 valid queries\n- A note.\n" in text
    assert text.endswith("```\nparts\n1 2\n```\n")


def test_a_warning_is_the_first_line_of_every_file(tmp_path: Path) -> None:
    table = ComparedTable("VI", "t", "Scale tiny: means nothing.", ("Method",), (ComparedColumn("", "mAP"),), ())
    paths = write_tables([table], tmp_path / "tables")
    assert {path.name for path in paths} == {
        "tables.md", "table-VI.md", "table-VI.csv", "table-VI.json", "table-VI.tex",
    }  # fmt: skip
    for path in paths:
        lines = path.read_text(encoding="utf-8").splitlines()
        assert "Scale tiny: means nothing." in (lines[1] if path.suffix == ".json" else lines[0]), path
    assert sorted(path.name for path in (tmp_path / "tables").iterdir()) == sorted(path.name for path in paths)


def test_csv_has_one_line_a_number_with_all_that_is_known() -> None:
    rows = list(csv.DictReader(StringIO(as_csv(TABLE))))
    assert len(rows) == 6
    first = rows[0]
    assert (first["row"], first["column"], first["ours"], first["paper"]) == ("S_1", "Duke & co", "41.0", "50.0")
    assert float(first["deviation"]) == pytest.approx(2**0.5)
    assert (first["seeds"], first["commit"], first["remarks"]) == ("0 1", "c0ffee", "A slip.")
    assert (rows[1]["ours"], rows[1]["paper"], rows[1]["difference"]) == ("", "", "")
    assert rows[2]["status"] == "not run"


def test_json_has_the_values_of_each_seed() -> None:
    plain = json.loads(as_json(TABLE))
    assert plain["figures"][0]["ours_by_seed"] == [40.0, 42.0]
    assert plain["figures"][0]["behind"] == BEHIND
    assert plain["figures"][1]["ours"] is None
    assert plain["columns"][0]["about"] == "its protocol; 9 valid queries"


def test_latex_is_escaped_and_has_as_many_cells_a_row() -> None:
    text = latex(TABLE)
    assert "Table V. What is 100\\% tested" in text
    assert "\\multicolumn{1}{c}{Duke \\& co}" in text
    assert "S\\_1 & 41.0$\\pm$1.4 / 50.0 / $-$9.0$^{a}$ & " in text
    body = text.split("\\hline\n")[2].splitlines()
    assert [line.count(" & ") for line in body] == [2, 2, 2]
    assert "\\par\\footnotesize a: A slip." in text
    assert text.count("{") == text.count("}")
    assert "\\resizebox{\\textwidth}{!}{%\n\\begin{tabular}{lrr}" in text  # ten triples are wider than a page


def test_rows_of_different_runs_are_named() -> None:
    other = {**BEHIND, "steps": 60, "pretraining": ["none", "own"]}
    rows = (
        ComparedRow(("A",), (ComparedNumber(1, (1.0,), behind=BEHIND),)),
        ComparedRow(("B",), (ComparedNumber(1, (1.0,), behind=other),)),
    )
    text = markdown(ComparedTable("V", "t", "", ("Method",), (ComparedColumn("", "mAP"),), rows))
    assert "- A: seed 0, 1; preset paper; from random weights; 30 steps; commit c0ffee\n" in text
    assert "- B: seed 0, 1; preset paper; from random weights, own; 60 steps; commit c0ffee\n" in text
