"""Long lists in a message: the first few items, and how many more there are."""

from collections.abc import Iterable


def first_few(items: Iterable[str], shown: int = 5, *, sep: str = ", ", total: int | None = None) -> str:
    """Join the first few items and say how many more there are.

    Args:
        items: names, or sentences.
        shown: how many to show at most.
        sep: `"; "` for items that hold commas.
        total: number of items where `items` holds only some of them.

    >>> first_few("abc", 2)
    'a, b and 1 more'
    """
    items = list(items)
    more = (len(items) if total is None else total) - len(items[:shown])
    return sep.join(items[:shown]) + (f" and {more:,} more" if more else "")
