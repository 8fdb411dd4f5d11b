"""HTML from values: all text is escaped, so no name in the data can become markup.

A page is one file: it fetches nothing, and its policy forbids the browser to fetch anything. A page with a script is
allowed that script alone, and pictures beside the page.
"""

import base64
import hashlib
from html import escape
from importlib.resources import files

# Elements without content and end tag.
VOID = {"br", "img", "input", "meta"}
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
    start = "".join(f' {key}="{_escape(str(value))}"' for key, value in given.items())
    return Html(f"<{name}{start}>" if name in VOID else f"<{name}{start}>{join(*content)}</{name}>")


def join(*content: str) -> Html:
    """Return contents one after the other, texts escaped."""
    return Html("".join(part if isinstance(part, Html) else _escape(part) for part in content))


def _escape(text: str) -> str:
    """Escape a text, with `?` for what no UTF-8 holds: bytes of a file's name that are none."""
    return escape(text.encode(errors="replace").decode())


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


def page(title: str, *content: Html, style: str = "", script: str = "") -> str:
    """Return a whole page, with the style sheet within.

    Args:
        title: of the page.
        content: of the page.
        style: name of a further style sheet of this package.
        script: name of a script of this package. It runs at the end of the page, which may then show pictures that lie
            beside it.
    """
    program = _resource(script) if script else ""
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name_="viewport", content_="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content_=_policy(program)),
        tag("meta", name_="generator", content_="jointreid"),
        tag("title", title),
        tag("style", Html(_resource("report.css") + (_resource(style) if style else ""))),
    )
    end = tag("script", Html(program)) if program else Html()
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', *content, end), lang='en')}\n"


def _policy(program: str) -> str:
    if not program:
        return POLICY
    digest = base64.b64encode(hashlib.sha256(program.encode()).digest()).decode()
    # `file:` for browsers in which a file is not of the same origin as its neighbours.
    return POLICY.replace("img-src data:", "img-src 'self' file: data:") + f"; script-src 'sha256-{digest}'"


def _resource(name: str) -> str:
    return files("jointreid.analysis").joinpath(name).read_text(encoding="utf-8")
