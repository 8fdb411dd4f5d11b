"""Tables II, III, V and VI: accuracy of models on test sets, where each number comes from, why it may not compare."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from jointreid.data.protocols import TABLE_I
from jointreid.paper import facts
from jointreid.paper.compared import (
    NO_DATA,
    NOT_RUN,
    NOT_RUN_WITHDRAWN,
    QUOTED,
    ComparedColumn,
    ComparedNumber,
    ComparedRow,
    ComparedTable,
)
from jointreid.paper.datasets import GridDataset, is_withdrawn, paper_name
from jointreid.paper.facts import JOINT, SOLO, AccuracyMetric, PrintedRow
from jointreid.paper.footnotes import footnote_texts, footnotes_of, withdrawn_note
from jointreid.paper.grid import SAME_RECIPE, SLOTS, rows_of
from jointreid.paper.store import GridSetup, RunRecord


def build_accuracy_table(name: str, setup: GridSetup, records: Sequence[RunRecord]) -> ComparedTable:
    """Return an accuracy table.

    Args:
        name: II, III, V, VI or "controls".
        setup: the settings that the runs share.
        records: of any runs; those on other data sets than the setup's are left out.
    """
    return _AccuracyTableBuilder(name, setup, records).build()


class _AccuracyTableBuilder:
    """Collects the numbers of one accuracy table."""

    def __init__(self, name: str, setup: GridSetup, records: Sequence[RunRecord]) -> None:
        self.name, self.setup = name, setup
        self.rows = rows_of(name)
        self.metrics = facts.METRICS.get(name, ("rank1", "mAP"))
        self.datasets = {dataset.slot: dataset for dataset in setup.datasets}
        self.tests = tuple(facts.TESTS)
        self.records = {
            key: [
                record
                for record in records
                if (record.model, record.trained_on) == key and self._uses_these_datasets(record)
            ]
            for key in {(record.model, record.trained_on) for record in records}
        }

    def build(self) -> ComparedTable:
        sources = self.name == "III"
        rows = tuple(
            ComparedRow(
                (row.label, *([self._source(row.trained_on)] if sources else [])),
                tuple(self._number(row, test, metric) for test in self.tests for metric in self.metrics),
            )
            for row in self.rows
        )
        rows, shared = _lift_doubts(rows)
        notes = [*(note.text for note in footnotes_of(self.name)), *withdrawn_note(self.datasets)]
        return ComparedTable(
            name=self.name,
            title=facts.TITLES.get(self.name, "Controls that the paper lacks"),
            warning=self.setup.warning,
            heads=("Method", "Source") if sources else ("Method",),
            columns=tuple(
                ComparedColumn(self._heading(test), facts.METRIC_NAMES[metric], self._about(test))
                for test in self.tests
                for metric in self.metrics
            ),
            rows=rows,
            notes=(*(f"All our numbers: {doubt}" for doubt in shared), *notes),
        )

    def _uses_these_datasets(self, record: RunRecord) -> bool:
        """Return whether a run was trained on the data sets of the setup; a run on fewer or others is left out."""
        slots = SLOTS if record.trained_on == JOINT else (record.trained_on,)
        return set(record.domains) == {self.datasets[slot].name for slot in slots if slot in self.datasets}

    def _heading(self, slot: str) -> str:
        return self.datasets[slot].heading if slot in self.datasets else paper_name(slot)

    def _source(self, trained_on: str) -> str:
        return "Joint Training" if trained_on == JOINT else self._heading(trained_on)

    def _about(self, test: str) -> str:
        if test not in self.datasets:
            return ""
        dataset = self.datasets[test]
        on_test = (record.on(dataset.name) for records in self.records.values() for record in records)
        queries = sorted({result.num_valid_queries for result in on_test if result is not None})
        words = [dataset.protocol.words if dataset.protocol else "not one of the paper's data sets"]
        return "; ".join([*words, *([f"{_or(queries)} valid queries"] if queries else [])])

    def _number(self, row: PrintedRow, test: str, metric: AccuracyMetric) -> ComparedNumber:
        remarks = footnote_texts(self.name, row.recipe, row.trained_on, test)
        if not row.recipe:
            quoted = footnote_texts(self.name, row.label, "", test)
            return ComparedNumber(row.metrics.get((test, metric)), status=QUOTED, remarks=quoted)
        trained_on = test if row.trained_on == SOLO else row.trained_on
        if row.minus:
            return self._gain(row, trained_on, test, metric)
        paper = row.metrics.get((test, metric))
        if status := self._why_none(row.recipe, trained_on, test):
            return ComparedNumber(paper, status=status, remarks=remarks)
        found = self._found(row.recipe, trained_on, test)
        ours = tuple(100 * _value(record, self.datasets[test].name, metric) for record in found)
        doubts = self._doubts(found, trained_on, test)
        return ComparedNumber(paper, ours, remarks=remarks, doubts=doubts, behind=self._behind(found, trained_on, test))

    def _gain(self, row: PrintedRow, trained_on: str, test: str, metric: AccuracyMetric) -> ComparedNumber:
        """Return a row of differences, seed by seed where a seed has both sides."""
        paper = row.metrics.get((test, metric))
        if paper is None:
            more, less = (
                facts.printed(self.name, recipe, row.trained_on, test, metric) for recipe in (row.recipe, row.minus)
            )
            paper = None if more is None or less is None else round(more - less, 1)
        statuses = [self._why_none(recipe, trained_on, test) for recipe in (row.recipe, row.minus)]
        sides = [{r.seed: r for r in self._found(recipe, trained_on, test)} for recipe in (row.recipe, row.minus)]
        seeds = [seed for seed in sides[0] if seed in sides[1]]
        if any(statuses) or not seeds:
            return ComparedNumber(paper, signed=True, status=next(filter(None, statuses), NOT_RUN))
        name = self.datasets[test].name
        ours = tuple(100 * (_value(sides[0][s], name, metric) - _value(sides[1][s], name, metric)) for s in seeds)
        found = [side[seed] for side in sides for seed in seeds]
        behind = {**self._behind(found, trained_on, test), "model": f"{row.recipe} - {row.minus}", "seeds": seeds}
        return ComparedNumber(paper, ours, signed=True, doubts=self._doubts(found, trained_on, test), behind=behind)

    def _found(self, model: str, trained_on: str, test: str) -> list[RunRecord]:
        if test not in self.datasets:
            return []
        with_result = [
            r for r in self.records.get((model, trained_on), []) if r.on(self.datasets[test].name) is not None
        ]
        return sorted(with_result, key=lambda record: record.seed)

    def _why_none(self, model: str, trained_on: str, test: str) -> str:
        """Return why there is no number of ours, or an empty text."""
        needed = {test} if trained_on == JOINT else {test, trained_on}
        if absent := [slot for slot in SLOTS if slot in needed and slot not in self.datasets]:
            return NOT_RUN_WITHDRAWN if any(map(is_withdrawn, absent)) else NO_DATA
        if trained_on == JOINT and len(self.datasets) < 2:
            return NO_DATA
        return "" if self._found(model, trained_on, test) else NOT_RUN

    def _doubts(self, records: Sequence[RunRecord], trained_on: str, test: str) -> tuple[str, ...]:
        """Return why numbers cannot be compared with the paper's; none where a warning says so of all of them."""
        if self.setup.warning:
            return ()
        trained = [
            self.datasets[slot] for slot in (SLOTS if trained_on == JOINT else [trained_on]) if slot in self.datasets
        ]
        return tuple(dict.fromkeys(_doubts(records, trained_on, trained, self.datasets[test])))

    def _behind(self, records: Sequence[RunRecord], trained_on: str, test: str) -> dict[str, Any]:
        dataset = self.datasets[test]
        results = [record.on(dataset.name) for record in records]
        return {
            "model": _single(record.model for record in records),
            "recipe": _single(SAME_RECIPE.get(record.model, record.model) for record in records),
            "trained_on": trained_on,
            "trained_on_data": _single(list(record.domains) for record in records),
            "test_data": dataset.name,
            "seeds": [record.seed for record in records],
            "steps": _single(record.step for record in records),
            "preset": _single(record.preset for record in records),
            "other_settings": _single(dict(record.changed) for record in records),
            "pretraining": _single(record.results.pretraining for record in records),
            "commit": _single(record.commit for record in records),
            "protocol": dataset.protocol.name if dataset.protocol else "",
            "variant": dataset.variant,
            "valid_queries": _single(result.num_valid_queries for result in results if result),
            "feature_hashes": [record.feature_hashes.get(dataset.name, "") for record in records],
        }


def _doubts(
    records: Sequence[RunRecord], trained_on: str, trained: Sequence[GridDataset], test: GridDataset
) -> Iterator[str]:
    if not test.is_from_paper:
        yield f"{test.name} is used in place of {TABLE_I[test.slot].title}; the paper's number is for the latter."
    if trained_on == JOINT and (len(trained) < len(SLOTS) or not all(dataset.is_from_paper for dataset in trained)):
        names = ", ".join(dataset.name for dataset in trained)
        yield f"Joint training on {len(trained)} data sets ({names}), not on the paper's five: not comparable."
    elif not all(dataset.is_from_paper for dataset in trained):
        yield f"Trained on {trained[0].name}, not on {TABLE_I[trained[0].slot].title}: not comparable."
    for dataset in {dataset.slot: dataset for dataset in [*trained, test]}.values():
        if dataset.protocol is not None and not dataset.protocol.comparable:
            yield f"{dataset.protocol.words}: not comparable."
    for start in dict.fromkeys(record.results.pretraining for record in records):
        if doubt := _doubt_about_weights(start):
            yield doubt
    for record in records:
        if record.preset != "paper":
            yield f"Preset {record.preset}, whose learning rate differs from the paper's."
        if record.changed:
            settings = ", ".join(f"{key} {value}" for key, value in record.changed.items())
            yield f"Settings that differ from the recipe: {settings}."


def _doubt_about_weights(start: str) -> str:
    """Return why numbers of runs from these initial weights cannot be compared with the paper's, or an empty text."""
    if start == "none":
        return "Trained from scratch, where the paper starts from ImageNet weights: not comparable."
    if start.startswith("said to be"):
        return f"Trained from a file {start}; no checksum of such a file is known, so this is not verified."
    if "NOT comparable" in start:
        return f"Trained from {start}."
    if "sha256" not in start:  # a run or another file, not a source of ImageNet weights
        return f"Trained from {start}, whose own initial weights are not known: not comparable."
    if not start.startswith(facts.STARTS):
        return f"Trained from {start}: not the paper's initial weights, so not comparable."
    return ""


def _value(record: RunRecord, domain: str, metric: AccuracyMetric) -> float:
    result = record.on(domain)
    assert result is not None
    return result.mAP if metric == "mAP" else result.cmc[1]


def _lift_doubts(rows: tuple[ComparedRow, ...]) -> tuple[tuple[ComparedRow, ...], tuple[str, ...]]:
    """Return the rows without the doubts that all our numbers have in common, and these doubts."""
    doubts = [number.doubts for row in rows for number in row.numbers if number.ours]
    shared = tuple(doubt for doubt in (doubts[0] if doubts else ()) if all(doubt in others for others in doubts))
    return tuple(
        replace(
            row,
            numbers=tuple(
                replace(number, doubts=tuple(doubt for doubt in number.doubts if doubt not in shared))
                for number in row.numbers
            ),
        )
        for row in rows
    ), shared


def _single(values: Any) -> Any:
    """Return the value that all share, or the list of the different ones."""
    different: list[Any] = []
    for value in values:
        if value not in different:
            different.append(value)
    return different[0] if len(different) == 1 else different


def _or(numbers: Sequence[int]) -> str:
    return " or ".join(f"{number:,}" for number in numbers)
