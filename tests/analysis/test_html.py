import doctest
import os

import pytest

from jointreid.analysis import html
from jointreid.analysis.html import POLICY, Html, header, join, page, table, tag

NASTY = """<script>alert("x")</script> & 'y'"""


def test_text_and_attributes_are_escaped_and_markup_is_not() -> None:
    found = tag("p", NASTY, tag("b", "1 < 2"), Html("<i>as it is</i>"), title=NASTY)
    assert found == (
        '<p title="&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#x27;y&#x27;">'
        "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#x27;y&#x27;"
        "<b>1 &lt; 2</b><i>as it is</i></p>"
    )
    assert isinstance(found, Html)


def test_names_that_are_not_unicode_can_be_written() -> None:
    name = os.fsdecode(b"\xff\xc3\xa4.png")
    assert page(name, tag("img", alt=name), join(name)).encode().count("?ä.png".encode()) == 3


def test_examples_hold() -> None:
    assert doctest.testmod(html) == (0, 1)


def test_joining_markup_escapes_it_only_once() -> None:
    assert join("a & b", join("c & d")) == "a &amp; b" + "c &amp; d"


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"class_": "a", "stroke_width": 2}, '<g class="a" stroke-width="2"></g>'),
        ({"colspan": 0}, '<g colspan="0"></g>'),
        ({"title": None}, "<g></g>"),
        ({"title": ""}, '<g title=""></g>'),
    ],
)
def test_names_of_attributes(attributes: dict[str, str | int | None], expected: str) -> None:
    assert tag("g", **attributes) == expected


def test_elements_without_content_have_no_end() -> None:
    assert tag("p", tag("br"), tag("img", src="a")) == '<p><br><img src="a"></p>'
    assert tag("td") == "<td></td>"


def test_a_table_has_headers_for_its_cells_and_scrolls_by_keyboard() -> None:
    found = table(
        tag("tr", header("Run"), header("a<b", scope="colgroup", colspan=2)), tag("tbody"), caption="What it shows"
    )
    assert '<th scope="col">Run</th>' in found
    assert '<th scope="colgroup" colspan="2">a&lt;b</th>' in found
    assert "<caption><span>What it shows</span></caption><thead><tr>" in found
    assert found.startswith('<div class="scroll" tabindex="0"')


def test_a_page_is_complete_and_may_load_nothing() -> None:
    found = page("a < b", tag("p", "text"))
    assert found.startswith('<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">')
    assert "<title>a &lt; b</title>" in found
    assert tag("meta", http_equiv="Content-Security-Policy", content_=POLICY) in found
    assert "@media (prefers-color-scheme: dark)" in found
    for fetched in ("http:", "https:", "<script", "<link", "url(", "@import"):
        assert fetched not in found
