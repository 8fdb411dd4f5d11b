"""HTML from values: all text is escaped, so no name in the data can become markup.

A page is one file: it fetches nothing, and its policy forbids the browser to fetch anything.
"""

from html import escape
from importlib.resources import files

# Elements without content and end tag.
VOID = {"br", "img", "meta"}
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

Attribute = str | int | float | None


class Html(str):
    """Markup: text that `tag` leaves as it is."""

    __slots__ = ()


def tag(name: str, *content: str, **attributes: Attribute) -> Html:
    """Return an element.

    Args:
        name: of the element.
        content: texts, which are escaped, and `Html`, which is not.
        attributes: their values are escaped, and those that are None left out. An underscore at a name's end is
            dropped (`class_`), one within becomes a hyphen (`stroke_width`).

    >>> tag("p", "a < b ", tag("b", "&"), class_="x", title=None)
    '<p class="x">a &lt; b <b>&amp;</b></p>'
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value is not None}
    start = "".join(f' {key}="{escape(str(value))}"' for key, value in given.items())
    return Html(f"<{name}{start}>" if name in VOID else f"<{name}{start}>{join(*content)}</{name}>")


def join(*content: str) -> Html:
    """Return contents one after the other, texts escaped."""
    return Html("".join(part if isinstance(part, Html) else escape(part) for part in content))


def header(*content: str, **attributes: Attribute) -> Html:
    """Return the cell that names a column of a table; `scope` and `colspan` say of which columns."""
    return tag("th", *content, **{"scope": "col", **attributes})


def table(head: Html, *bodies: Html, caption: str, class_: str | None = None) -> Html:
    """Return a table that scrolls by itself where it is wider than the page.

    Args:
        head: the rows that name the columns.
        bodies: whole `tbody` and `tfoot` elements.
        caption: what the table shows.
        class_: of the table.
    """
    whole = tag("table", tag("caption", tag("span", caption)), tag("thead", head), *bodies, class_=class_)
    # A focusable element can be scrolled with the keyboard.
    return tag("div", whole, class_="scroll", tabindex=0, role="region", aria_label=caption)


def page(title: str, *content: Html) -> str:
    """Return a whole page, with the style sheet within."""
    style = Html(files("jointreid.analysis").joinpath("report.css").read_text(encoding="utf-8"))
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content_="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content_=POLICY),
        tag("meta", name_="generator", content_="jointreid"),
        tag("title", title),
        tag("style", style),
    )
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', *content), lang='en')}\n"
