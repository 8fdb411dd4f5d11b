"""Filters: conditions on a gallery's columns, from options or a text such as `camera in (3, 7) and source != loan`.

A filter is data, never text that a database runs: it selects rows in memory, and for the index it becomes an
expression whose values are literals. A condition on a missing value is false, also with `!=`, as in SQL.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from jointreid.messages.errors import JointreidError, no_such

if TYPE_CHECKING:
    import pyarrow as pa

Operator = Literal["=", "!=", "<", "<=", ">", ">=", "in", "not in"]
Value = str | datetime | date
Mask = NDArray[np.bool_]

_TEXTS = ("pid", "name", "camera", "domain", "source", "consent", "path")
# What may be filtered by.
FILTER_COLUMNS = (*_TEXTS, "time", "added", "retention")

_TOKEN = re.compile(
    r"""\s*(?:(?P<op><=|>=|!=|<|>|=|\(|\)|,)|'(?P<single>(?:[^']|'')*)'|"(?P<double>(?:[^"]|"")*)"|(?P<word>[^\s'"(),<>=!]+))"""
)
# Parentheses in parentheses; Python's stack takes about 300.
_MAX_DEPTH = 20
_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
# What a comparison is called by Arrow and by LanceDB.
_IN_ARROW: Mapping[str, str] = dict(
    zip(_COMPARISONS, ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"), strict=True)
)
_IN_LANCE: Mapping[str, str] = dict(zip(_COMPARISONS, ("eq", "ne", "lt", "lte", "gt", "gte"), strict=True))


def parse_time(text: str) -> datetime:
    """Return a moment, in UTC, of ISO 8601 or of seconds since 1970; without a zone it is taken as UTC.

    A day may be written without dashes: eight digits that are one are no seconds.

    >>> parse_time("2026-03-01").isoformat(), parse_time("60").isoformat()
    ('2026-03-01T00:00:00+00:00', '1970-01-01T00:01:00+00:00')
    >>> parse_time("20260301").isoformat()
    '2026-03-01T00:00:00+00:00'

    Raises:
        JointreidError: it is neither, or a year alone, which reads like seconds.
    """
    if re.fullmatch(r"(19|20)\d\d", text):
        raise JointreidError(f"{text!r} may be a year or seconds; expected a day such as {text}-01-01, or {text}.0")
    if re.fullmatch(r"(19|20)\d{6}", text):
        with suppress(ValueError):
            return datetime.fromisoformat(text).replace(tzinfo=UTC)
    try:
        return datetime.fromtimestamp(float(text), UTC)
    except (ValueError, OverflowError, OSError):
        pass
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError) as error:  # the first hours of year 1 may lie before it in UTC
        raise JointreidError(f"{text!r} is no time; expected one such as 2026-03-01T14:30 or seconds") from error


def parse_date(text: str) -> date:
    """Return a day of ISO 8601.

    Raises:
        JointreidError: it is none.
    """
    try:
        return datetime.fromisoformat(text).date()
    except ValueError as error:
        raise JointreidError(f"{text!r} is no date; expected one such as 2026-03-01") from error


@dataclass(frozen=True)
class Condition:
    """A comparison of a column with a value, or with several for `in` and `not in`."""

    column: str
    operator: Operator
    values: tuple[Value, ...]

    def mask(self, rows: "pa.Table") -> Mask:
        """Return which rows fulfil it, bool [N]; text columns are dictionary-encoded."""
        parts = [self._of_chunk(chunk) for chunk in rows[self.column].chunks]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=bool)

    def _of_chunk(self, chunk: Any) -> Mask:
        import pyarrow as pa

        if not pa.types.is_dictionary(chunk.type):
            return self._of_values(chunk)
        # The few different values are compared, and the rows look their answer up; the last one is for missing values.
        answers = np.append(self._of_values(chunk.dictionary), False)
        mask: Mask = answers[chunk.indices.fill_null(len(answers) - 1).to_numpy(zero_copy_only=False)]
        return mask

    def _of_values(self, values: Any) -> Mask:
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = pa.array(self.values, type=values.type)
        if self.operator in ("in", "not in"):
            found = pc.is_in(values, value_set=wanted)
            found = pc.and_(pc.invert(found) if self.operator == "not in" else found, pc.is_valid(values))
        else:
            found = getattr(pc, _IN_ARROW[self.operator])(values, wanted[0])
        mask: Mask = found.fill_null(False).to_numpy(zero_copy_only=False)
        return mask

    def expression(self) -> Any:
        """Return it as LanceDB takes it."""
        from lancedb.expr import col, lit

        literals, column = [lit(value) for value in self.values], col(self.column)
        if self.operator == "in":
            return column.isin(literals)
        if self.operator == "not in":
            return reduce(lambda a, b: a & b, [column != literal for literal in literals])
        return getattr(column, _IN_LANCE[self.operator])(literals[0])


@dataclass(frozen=True)
class Combined:
    """Several filters, of which all or any must be fulfilled."""

    how: Literal["and", "or"]
    parts: "tuple[Filter, ...]"

    def mask(self, rows: "pa.Table") -> Mask:
        """Return which rows fulfil it, bool [N]."""
        combine = np.logical_and if self.how == "and" else np.logical_or
        return reduce(combine, [part.mask(rows) for part in self.parts])

    def expression(self) -> Any:
        """Return it as LanceDB takes it."""
        parts = [part.expression() for part in self.parts]
        return reduce((lambda a, b: a & b) if self.how == "and" else (lambda a, b: a | b), parts)


Filter = Condition | Combined


def filter_columns(where: Filter | None) -> set[str]:
    """Return the columns that a filter reads."""
    if where is None:
        return set()
    return {where.column} if isinstance(where, Condition) else set().union(*map(filter_columns, where.parts))


def all_of(filters: Sequence[Filter | None]) -> Filter | None:
    """Return the filter that all of these make together; None for none."""
    given = [part for part in filters if part is not None]
    return given[0] if len(given) == 1 else Combined("and", tuple(given)) if given else None


def condition(column: str, operator: Operator, *values: str) -> Condition:
    """Return a comparison with values that are given as text.

    Raises:
        JointreidError: no such column, an operator that does not fit it, or a value of another kind.
    """
    if column not in FILTER_COLUMNS:
        raise JointreidError(no_such("column to filter by", column, FILTER_COLUMNS))
    read: Callable[[str], Value] = parse_date if column == "retention" else str if column in _TEXTS else parse_time
    if column in _TEXTS and operator in ("<", "<=", ">", ">="):
        raise JointreidError(f"filter: {column} {operator}: {column} is text; compare it with =, != or in (...)")
    try:
        return Condition(column, operator, tuple(read(value) for value in values))
    except JointreidError as error:
        raise JointreidError(f"filter: {column} {operator}: {error}") from error


def parse_filter(text: str) -> Filter:
    """Return the filter that a text describes.

    Comparisons `column op value`, with `=`, `!=`, `<`, `<=`, `>`, `>=`, `in (a, b)` and `not in (a, b)`, are joined by
    `and`, `or` and parentheses. A value with spaces or signs is quoted; a quote inside is doubled.

    >>> parse_filter("camera in (3, 7) and name = 'O''Neill'").parts[1].values
    ("O'Neill",)

    Raises:
        JointreidError: it is none; the message says where and what was expected.
    """
    reader = _Reader(text)
    found = reader.any_of()
    if reader.tokens[reader.at :]:
        raise reader.wrong("and, or, or the end")
    return found


class _Reader:
    """The tokens of a text, each with whether it was quoted, and how far they are read."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth, start = text, 0, 0, 0
        self.tokens: list[tuple[str, bool]] = []
        while text[start:].strip():
            token = _TOKEN.match(text, start)
            if token is None:
                raise JointreidError(f"filter {text!r}: cannot be read from {text[start:].strip()!r} on; quote values")
            quoted = token["single"] is not None or token["double"] is not None
            inner = (token["single"] or "").replace("''", "'") or (token["double"] or "").replace('""', '"')
            self.tokens.append((inner if quoted else token["op"] or token["word"], quoted))
            start = token.end()

    def wrong(self, expected: str) -> JointreidError:
        found = repr(self.tokens[self.at][0]) if self.at < len(self.tokens) else "the end"
        return JointreidError(f"filter {self.text!r}: expected {expected}, found {found}")

    def accept(self, *words: str) -> str:
        """Return the next token, and go past it, if it is one of these words; else an empty text."""
        if self.at < len(self.tokens):
            token, quoted = self.tokens[self.at]
            if not quoted and token.lower() in words:
                self.at += 1
                return token.lower()
        return ""

    def value(self, expected: str) -> str:
        if self.at >= len(self.tokens):
            raise self.wrong(expected)
        token, quoted = self.tokens[self.at]
        if not quoted and token in (*_COMPARISONS, "(", ")", ","):
            raise self.wrong(expected)
        self.at += 1
        return token

    def any_of(self) -> Filter:
        parts = [self.all_of()]
        while self.accept("or"):
            parts.append(self.all_of())
        return parts[0] if len(parts) == 1 else Combined("or", tuple(parts))

    def all_of(self) -> Filter:
        parts = [self.one()]
        while self.accept("and"):
            parts.append(self.one())
        return parts[0] if len(parts) == 1 else Combined("and", tuple(parts))

    def one(self) -> Filter:
        if self.accept("("):
            return self.inner()
        return self.comparison()

    def inner(self) -> Filter:
        """Return what stands in parentheses, the first of which is read."""
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise JointreidError(f"filter: more than {_MAX_DEPTH} parentheses in each other; expected fewer")
        found = self.any_of()
        if not self.accept(")"):
            raise self.wrong(")")
        self.depth -= 1
        return found

    def comparison(self) -> Filter:
        column = self.value(f"a column: {', '.join(FILTER_COLUMNS)}")
        negated = self.accept("not")
        if self.accept("in"):
            if not self.accept("("):
                raise self.wrong("( before the values of `in`")
            values = [self.value("a value")]
            while self.accept(","):
                values.append(self.value("a value"))
            if not self.accept(")"):
                raise self.wrong(", or )")
            return condition(column, "not in" if negated else "in", *values)
        operator = "" if negated else self.accept(*_COMPARISONS)
        if not operator:
            raise self.wrong("in" if negated else "=, !=, <, <=, >, >=, in or not in")
        return condition(column, operator, self.value("a value"))  # type: ignore[arg-type]
