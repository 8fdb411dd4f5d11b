"""The tables, built from the results of finished runs."""

from collections.abc import Sequence
from pathlib import Path

from jointreid.data.records import SPLITS
from jointreid.messages.errors import JointreidError, no_such
from jointreid.paper import facts
from jointreid.paper.accuracy import build_accuracy_table
from jointreid.paper.compared import (
    NO_DATA,
    NOT_RUN_WITHDRAWN,
    ComparedColumn,
    ComparedNumber,
    ComparedRow,
    ComparedTable,
)
from jointreid.paper.datasets import GridDataset, is_withdrawn, paper_name
from jointreid.paper.facts import TABLES
from jointreid.paper.footnotes import footnote_texts, footnotes_of, withdrawn_note
from jointreid.paper.grid import CONTROLS, SLOTS
from jointreid.paper.store import GridSetup, RunRecord, load_records, load_setup


def build_tables(out: Path, names: Sequence[str] = TABLES) -> tuple[ComparedTable, ...]:
    """Return tables of the results in a grid's folder.

    Args:
        out: the folder that `run_grid` writes; it may still be running.
        names: which tables: some of I to VI, and "controls".

    Raises:
        JointreidError: no such table, no grid in the folder, or a file in it is damaged.
    """
    for name in names:
        if name not in (*TABLES, CONTROLS):
            raise JointreidError(no_such("table", name, [*TABLES, CONTROLS]))
    setup, records = load_setup(out), load_records(out)
    return tuple(build_table(name, setup, records) for name in names)


def build_table(name: str, setup: GridSetup, records: Sequence[RunRecord]) -> ComparedTable:
    """Return one table."""
    if name == "I":
        return _counts_table(setup)
    if name == "IV":
        return _sizes_table(setup)
    return build_accuracy_table(name, setup, records)


def _warning_above_counts(setup: GridSetup) -> str:
    """Return the first line of a table that needs no training."""
    return (
        f"Scale {setup.scale}: accuracy at this scale means nothing; the counts below are exact."
        if setup.warning
        else ""
    )


# Table I


_SPLIT_TITLES = {"train": "Training set", "query": "Query", "gallery": "Gallery"}
_COUNT_TITLES = {"ids": "ID#", "images": "Image#", "cameras": "Camera#"}


def _counts_table(setup: GridSetup) -> ComparedTable:
    by_slot = {dataset.slot: dataset for dataset in setup.datasets}
    keys = [(split, what) for split in SPLITS for what in facts.COUNTED]
    rows = []
    for slot in SLOTS:
        dataset = by_slot.get(slot)
        numbers = tuple(_count(slot, dataset, split, what) for split, what in keys)
        rows.append(ComparedRow((dataset.heading if dataset else paper_name(slot),), numbers))
    about = [f"{h.name}: {h.protocol.words}" for h in setup.datasets if h.protocol]
    others = ", ".join(h.name for h in setup.datasets if not h.is_from_paper)
    substituted = f"Used in place of the paper's data sets: {others}. Their differences say nothing."
    differing = [f"{h.name}: {line}" for h in setup.datasets if h.protocol for line in h.protocol.differences]
    return ComparedTable(
        name="I",
        title=facts.TITLES["I"],
        warning=_warning_above_counts(setup),
        heads=("Data set",),
        columns=tuple(ComparedColumn(_SPLIT_TITLES[split], _COUNT_TITLES[what]) for split, what in keys),
        rows=tuple(rows),
        notes=(
            *([substituted] if others else []),
            *about,
            *differing,
            *(note.text for note in footnotes_of("I")),
            *withdrawn_note(by_slot),
        ),
    )


def _count(slot: str, dataset: GridDataset | None, split: str, what: str) -> ComparedNumber:
    paper = facts.TABLE_I[slot][split, what]
    remarks = footnote_texts("I", slot, split, what)
    if dataset is None:
        status = NOT_RUN_WITHDRAWN if is_withdrawn(slot) else NO_DATA
        return ComparedNumber(paper, decimals=0, status=status, remarks=remarks)
    behind = {
        "test_data": dataset.name,
        "protocol": dataset.protocol.name if dataset.protocol else "",
        "variant": dataset.variant,
    }
    return ComparedNumber(paper, (dataset.counts[split][what],), decimals=0, remarks=remarks, behind=behind)


# Table IV


def _sizes_table(setup: GridSetup) -> ComparedTable:
    from jointreid.models.profile import profile, render, render_variants, variants

    rows, details = [], []
    for name, (title, params, macs) in facts.TABLE_IV.items():
        counts = profile(name)
        behind = {"model": name, "parameters": counts.params, "multiply_adds": counts.macs}
        numbers = (
            ComparedNumber(params, (counts.params / 1e6,), behind=behind),
            ComparedNumber(macs, (counts.macs / 1e9,), behind=behind),
        )
        rows.append(ComparedRow((title,), numbers))
        details.append(render(counts))
    details.append(render_variants(variants()))
    return ComparedTable(
        name="IV",
        title=facts.TITLES["IV"],
        warning=_warning_above_counts(setup),
        heads=("Model",),
        columns=(ComparedColumn("", "Params (M)"), ComparedColumn("", "FLOPs (B)")),
        rows=tuple(rows),
        notes=tuple(note.text for note in footnotes_of("IV")),
        details="\n\n".join(details),
    )
