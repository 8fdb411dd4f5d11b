"""Tables II, III, V and VI: rates of models on test sets, what stands behind each, and why it may not be comparable."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from jointreid.data.protocols import TABLE_I
from jointreid.paper import facts
from jointreid.paper.facts import JOINT, SOLO, Measure, Row
from jointreid.paper.figures import NO_DATA, NOT_RUN, NOT_RUN_WITHDRAWN, QUOTED, Column, Figure, Table, TableRow
from jointreid.paper.footnotes import footnote_texts, footnotes_of, withdrawn_note
from jointreid.paper.grid import PLACES, SAME_RECIPE, rows_of
from jointreid.paper.holdings import Holding, heading, is_withdrawn
from jointreid.paper.store import RunRecord, Setup


def rates_table(name: str, setup: Setup, records: Sequence[RunRecord]) -> Table:
    """Return a table of rates.

    Args:
        name: II, III, V, VI or "controls".
        setup: what the runs have in common.
        records: what was found, of any runs; those on other data sets than the setup's are left out.
    """
    return _RatesTable(name, setup, records).build()


class _RatesTable:
    """A table of rates in the making."""

    def __init__(self, name: str, setup: Setup, records: Sequence[RunRecord]) -> None:
        self.name, self.setup = name, setup
        self.rows = rows_of(name)
        self.measures = facts.MEASURES.get(name, ("rank1", "mAP"))
        self.held = {holding.place: holding for holding in setup.holdings}
        self.tests = tuple(facts.TESTS)
        self.records = {
            key: [
                record for record in records if (record.model, record.trained_on) == key and self._is_of_these(record)
            ]
            for key in {(record.model, record.trained_on) for record in records}
        }

    def build(self) -> Table:
        sources = self.name == "III"
        rows = tuple(
            TableRow(
                (row.label, *([self._source(row.trained_on)] if sources else [])),
                tuple(self._figure(row, test, measure) for test in self.tests for measure in self.measures),
            )
            for row in self.rows
        )
        rows, shared = _lift_doubts(rows)
        notes = [*(note.text for note in footnotes_of(self.name)), *withdrawn_note(self.held)]
        return Table(
            name=self.name,
            title=facts.TITLES.get(self.name, "Controls that the paper lacks"),
            warning=self.setup.warning,
            heads=("Method", "Source") if sources else ("Method",),
            columns=tuple(
                Column(self._heading(test), facts.MEASURE_NAMES[measure], self._about(test))
                for test in self.tests
                for measure in self.measures
            ),
            rows=rows,
            notes=(*(f"Ours, everywhere: {doubt}" for doubt in shared), *notes),
        )

    def _is_of_these(self, record: RunRecord) -> bool:
        """Return whether a run was trained on the data sets of the setup; on fewer or others it is another run."""
        places = PLACES if record.trained_on == JOINT else (record.trained_on,)
        return set(record.domains) == {self.held[place].name for place in places if place in self.held}

    def _heading(self, place: str) -> str:
        return self.held[place].heading if place in self.held else heading(place)

    def _source(self, trained_on: str) -> str:
        return "Joint Training" if trained_on == JOINT else self._heading(trained_on)

    def _about(self, test: str) -> str:
        if test not in self.held:
            return ""
        holding = self.held[test]
        on_test = (record.on(holding.name) for records in self.records.values() for record in records)
        queries = sorted({result.num_valid_queries for result in on_test if result is not None})
        words = [holding.protocol.words if holding.protocol else "not one of the paper's data sets"]
        return "; ".join([*words, *([f"{_or(queries)} valid queries"] if queries else [])])

    def _figure(self, row: Row, test: str, measure: Measure) -> Figure:
        remarks = footnote_texts(self.name, row.recipe, row.trained_on, test)
        if not row.recipe:
            quoted = footnote_texts(self.name, row.label, "", test)
            return Figure(row.rates.get((test, measure)), status=QUOTED, remarks=quoted)
        trained_on = test if row.trained_on == SOLO else row.trained_on
        if row.minus:
            return self._gain(row, trained_on, test, measure)
        paper = row.rates.get((test, measure))
        if status := self._why_none(row.recipe, trained_on, test):
            return Figure(paper, status=status, remarks=remarks)
        found = self._found(row.recipe, trained_on, test)
        ours = tuple(100 * _rate(record, self.held[test].name, measure) for record in found)
        doubts = self._doubts(found, trained_on, test)
        return Figure(paper, ours, remarks=remarks, doubts=doubts, behind=self._behind(found, trained_on, test))

    def _gain(self, row: Row, trained_on: str, test: str, measure: Measure) -> Figure:
        """Return a row of differences, seed by seed where a seed has both sides."""
        paper = row.rates.get((test, measure))
        if paper is None:
            more, less = (
                facts.printed(self.name, recipe, row.trained_on, test, measure) for recipe in (row.recipe, row.minus)
            )
            paper = None if more is None or less is None else round(more - less, 1)
        statuses = [self._why_none(recipe, trained_on, test) for recipe in (row.recipe, row.minus)]
        sides = [{r.seed: r for r in self._found(recipe, trained_on, test)} for recipe in (row.recipe, row.minus)]
        seeds = [seed for seed in sides[0] if seed in sides[1]]
        if any(statuses) or not seeds:
            return Figure(paper, signed=True, status=next(filter(None, statuses), NOT_RUN))
        name = self.held[test].name
        ours = tuple(100 * (_rate(sides[0][s], name, measure) - _rate(sides[1][s], name, measure)) for s in seeds)
        found = [side[seed] for side in sides for seed in seeds]
        behind = {**self._behind(found, trained_on, test), "model": f"{row.recipe} - {row.minus}", "seeds": seeds}
        return Figure(paper, ours, signed=True, doubts=self._doubts(found, trained_on, test), behind=behind)

    def _found(self, model: str, trained_on: str, test: str) -> list[RunRecord]:
        if test not in self.held:
            return []
        of_cell = [r for r in self.records.get((model, trained_on), []) if r.on(self.held[test].name) is not None]
        return sorted(of_cell, key=lambda record: record.seed)

    def _why_none(self, model: str, trained_on: str, test: str) -> str:
        """Return why there is no figure of ours, or nothing."""
        needed = {test} if trained_on == JOINT else {test, trained_on}
        if absent := [place for place in PLACES if place in needed and place not in self.held]:
            return NOT_RUN_WITHDRAWN if any(map(is_withdrawn, absent)) else NO_DATA
        if trained_on == JOINT and len(self.held) < 2:
            return NO_DATA
        return "" if self._found(model, trained_on, test) else NOT_RUN

    def _doubts(self, records: Sequence[RunRecord], trained_on: str, test: str) -> tuple[str, ...]:
        """Return why figures cannot stand beside the paper's; none where a warning says so of all of them."""
        if self.setup.warning:
            return ()
        trained = [
            self.held[place] for place in (PLACES if trained_on == JOINT else [trained_on]) if place in self.held
        ]
        return tuple(dict.fromkeys(_doubts(records, trained_on, trained, self.held[test])))

    def _behind(self, records: Sequence[RunRecord], trained_on: str, test: str) -> dict[str, Any]:
        holding = self.held[test]
        results = [record.on(holding.name) for record in records]
        return {
            "model": _single(record.model for record in records),
            "recipe": _single(SAME_RECIPE.get(record.model, record.model) for record in records),
            "trained_on": trained_on,
            "trained_on_data": _single(list(record.domains) for record in records),
            "test_data": holding.name,
            "seeds": [record.seed for record in records],
            "steps": _single(record.step for record in records),
            "preset": _single(record.preset for record in records),
            "other_settings": _single(dict(record.changed) for record in records),
            "pretraining": _single(record.results.pretraining for record in records),
            "commit": _single(record.commit for record in records),
            "protocol": holding.protocol.name if holding.protocol else "",
            "variant": holding.variant,
            "valid_queries": _single(result.num_valid_queries for result in results if result),
            "feature_hashes": [record.feature_hashes.get(holding.name, "") for record in records],
        }


def _doubts(records: Sequence[RunRecord], trained_on: str, trained: Sequence[Holding], test: Holding) -> Iterator[str]:
    if not test.is_papers:
        yield f"{test.name} stands in the place of {TABLE_I[test.place].title}; the paper's figure is of the latter."
    if trained_on == JOINT and (len(trained) < len(PLACES) or not all(holding.is_papers for holding in trained)):
        names = ", ".join(holding.name for holding in trained)
        yield f"Joint training on {len(trained)} data sets ({names}), not on the paper's five: not comparable."
    elif not all(holding.is_papers for holding in trained):
        yield f"Trained on {trained[0].name}, not on {TABLE_I[trained[0].place].title}: not comparable."
    for holding in {holding.place: holding for holding in [*trained, test]}.values():
        if holding.protocol is not None and not holding.protocol.comparable:
            yield f"{holding.protocol.words}: not comparable."
    for start in dict.fromkeys(record.results.pretraining for record in records):
        if doubt := _doubt_of_start(start):
            yield doubt
    for record in records:
        if record.preset != "paper":
            yield f"Preset {record.preset}, whose learning rate is another than the paper's."
        if record.changed:
            settings = ", ".join(f"{key} {value}" for key, value in record.changed.items())
            yield f"Other settings than those of the recipe: {settings}."


def _doubt_of_start(start: str) -> str:
    """Return why figures of runs that began with these weights cannot stand beside the paper's, or nothing."""
    if start == "none":
        return "Trained from scratch, where the paper starts from ImageNet weights: not comparable."
    if start.startswith("said to be"):
        return f"Trained from a file {start}; its checksum is not known here, so that is not verified."
    if "NOT comparable" in start:
        return f"Trained from {start}."
    if "sha256" not in start:  # a run or a file of one's own, not a source of ImageNet weights
        return f"Trained from {start}, whose own start is not known here: not comparable."
    if not start.startswith(facts.STARTS):
        return f"Trained from {start}: other weights than the paper's, so not comparable."
    return ""


def _rate(record: RunRecord, domain: str, measure: Measure) -> float:
    result = record.on(domain)
    assert result is not None
    return result.mAP if measure == "mAP" else result.cmc[1]


def _lift_doubts(rows: tuple[TableRow, ...]) -> tuple[tuple[TableRow, ...], tuple[str, ...]]:
    """Return the rows without the doubts that all figures of ours have, and these."""
    doubts = [figure.doubts for row in rows for figure in row.figures if figure.ours]
    shared = tuple(doubt for doubt in (doubts[0] if doubts else ()) if all(doubt in others for others in doubts))
    return tuple(
        replace(
            row,
            figures=tuple(
                replace(figure, doubts=tuple(doubt for doubt in figure.doubts if doubt not in shared))
                for figure in row.figures
            ),
        )
        for row in rows
    ), shared


def _single(values: Any) -> Any:
    """Return the one value that all have, or the list of different ones."""
    different: list[Any] = []
    for value in values:
        if value not in different:
            different.append(value)
    return different[0] if len(different) == 1 else different


def _or(numbers: Sequence[int]) -> str:
    return " or ".join(f"{number:,}" for number in numbers)
