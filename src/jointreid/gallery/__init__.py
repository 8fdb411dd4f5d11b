"""A gallery of known people on disk: add features, ask who an image shows, erase people.

from jointreid.gallery import Gallery

gallery = Gallery.open("out/g")
gallery.add("out/e.parquet")
found = gallery.search(feature, top=10)   # people, the nearest first
gallery.remove(pid="12", purge=True)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jointreid.gallery.answers import Hit, Person, SearchResult
    from jointreid.gallery.filters import parse_filter
    from jointreid.gallery.gallery import Gallery
    from jointreid.gallery.rows import FeatureRows

__all__ = ["FeatureRows", "Gallery", "Hit", "Person", "SearchResult", "parse_filter"]

_HOMES = {
    "FeatureRows": "rows",
    "Gallery": "gallery",
    "Hit": "answers",
    "Person": "answers",
    "SearchResult": "answers",
    "parse_filter": "filters",
}


def __getattr__(name: str) -> object:
    """Load a name of `__all__` on first use (PEP 562): the command line names this room before it needs it."""
    from importlib import import_module

    if name not in _HOMES:
        raise AttributeError(f"module 'jointreid.gallery' has no attribute {name!r}")
    value: object = getattr(import_module(f"jointreid.gallery.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
