import doctest

import pytest

from jointreid.messages import table_formats
from jointreid.messages.table_formats import csv_text, markdown_table, tex


def test_examples_hold() -> None:
    assert doctest.testmod(table_formats) == (0, 2)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("evaluate --data a=b", "evaluate -{}-data a=b"),
        ("a---b", "a-{}-{}-b"),
        ("a-b -1.5", "a-b -1.5"),
        ("–", "--"),
        ("'[sample]'", r"\textquotesingle{}[sample]\textquotesingle{}"),
        ("a < b > c | d", r"a \textless{} b \textgreater{} c \textbar{} d"),
        ('"a"', "''a''"),
        ("50 % of a_b\\", r"50 \% of a\_b\textbackslash{}"),
        ("", ""),
    ],
)
def test_latex_prints_a_text_as_it_is(text: str, expected: str) -> None:
    assert tex(text) == expected


def test_a_name_of_several_lines_is_one_cell_of_markdown() -> None:
    rule, row = markdown_table(["Domain", "mAP"], [["two\r\nlines\n", "9.5"]], "lr")[1:]
    assert (rule, row) == ("| --- | --: |", "| two lines | 9.5 |")


def test_csv_shows_what_is_no_text_as_its_escape() -> None:
    assert csv_text([["source"], ["people\udcff.csv"]]).encode() == b"source\npeople\\udcff.csv\n"
