"""The tables, built from what runs left."""

from collections.abc import Sequence
from pathlib import Path

from jointreid.data.records import SPLITS
from jointreid.messages.errors import JointreidError, no_such
from jointreid.paper import facts
from jointreid.paper.facts import TABLES
from jointreid.paper.figures import NO_DATA, NOT_RUN_WITHDRAWN, Column, Figure, Table, TableRow
from jointreid.paper.footnotes import footnote_texts, footnotes_of, withdrawn_note
from jointreid.paper.grid import CONTROLS, PLACES
from jointreid.paper.holdings import Holding, heading, is_withdrawn
from jointreid.paper.rates import rates_table
from jointreid.paper.store import RunRecord, Setup, load_records, load_setup


def build_tables(out: Path, names: Sequence[str] = TABLES) -> tuple[Table, ...]:
    """Return tables of what a folder's runs found.

    Args:
        out: the folder that `run_grid` filled, or is still filling.
        names: which tables: some of I to VI, and "controls".

    Raises:
        JointreidError: no such table, no grid in the folder, or a file in it is damaged.
    """
    for name in names:
        if name not in (*TABLES, CONTROLS):
            raise JointreidError(no_such("table", name, [*TABLES, CONTROLS]))
    setup, records = load_setup(out), load_records(out)
    return tuple(build_table(name, setup, records) for name in names)


def build_table(name: str, setup: Setup, records: Sequence[RunRecord]) -> Table:
    """Return one table."""
    if name == "I":
        return _counts_table(setup)
    if name == "IV":
        return _sizes_table(setup)
    return rates_table(name, setup, records)


def _of_counts(setup: Setup) -> str:
    """Return the first line of a table that no training has a part in."""
    return (
        f"Scale {setup.scale}: rates of this scale mean nothing; the counts below are exact." if setup.warning else ""
    )


# Table I


_SPLIT_TITLES = {"train": "Training set", "query": "Query", "gallery": "Gallery"}
_COUNT_TITLES = {"ids": "ID#", "images": "Image#", "cameras": "Camera#"}


def _counts_table(setup: Setup) -> Table:
    held = {holding.place: holding for holding in setup.holdings}
    keys = [(split, what) for split in SPLITS for what in facts.COUNTED]
    rows = []
    for place in PLACES:
        holding = held.get(place)
        figures = tuple(_count(place, holding, split, what) for split, what in keys)
        rows.append(TableRow((holding.heading if holding else heading(place),), figures))
    about = [f"{h.name}: {h.protocol.words}" for h in setup.holdings if h.protocol]
    others = ", ".join(h.name for h in setup.holdings if not h.is_papers)
    own = f"Not the paper's data sets, but in their places: {others}. Differences of theirs say nothing."
    differing = [f"{h.name}: {line}" for h in setup.holdings if h.protocol for line in h.protocol.differences]
    return Table(
        name="I",
        title=facts.TITLES["I"],
        warning=_of_counts(setup),
        heads=("Data set",),
        columns=tuple(Column(_SPLIT_TITLES[split], _COUNT_TITLES[what]) for split, what in keys),
        rows=tuple(rows),
        notes=(
            *([own] if others else []),
            *about,
            *differing,
            *(note.text for note in footnotes_of("I")),
            *withdrawn_note(held),
        ),
    )


def _count(place: str, holding: Holding | None, split: str, what: str) -> Figure:
    paper = facts.TABLE_I[place][split, what]
    remarks = footnote_texts("I", place, split, what)
    if holding is None:
        status = NOT_RUN_WITHDRAWN if is_withdrawn(place) else NO_DATA
        return Figure(paper, decimals=0, status=status, remarks=remarks)
    behind = {
        "test_data": holding.name,
        "protocol": holding.protocol.name if holding.protocol else "",
        "variant": holding.variant,
    }
    return Figure(paper, (holding.counts[split][what],), decimals=0, remarks=remarks, behind=behind)


# Table IV


def _sizes_table(setup: Setup) -> Table:
    from jointreid.models.profile import profile, render, render_variants, variants

    rows, details = [], []
    for name, (title, params, macs) in facts.TABLE_IV.items():
        counts = profile(name)
        behind = {"model": name, "parameters": counts.params, "multiply_adds": counts.macs}
        figures = (
            Figure(params, (counts.params / 1e6,), behind=behind),
            Figure(macs, (counts.macs / 1e9,), behind=behind),
        )
        rows.append(TableRow((title,), figures))
        details.append(render(counts))
    details.append(render_variants(variants()))
    return Table(
        name="IV",
        title=facts.TITLES["IV"],
        warning=_of_counts(setup),
        heads=("Model",),
        columns=(Column("", "Params (M)"), Column("", "FLOPs (B)")),
        rows=tuple(rows),
        notes=tuple(note.text for note in footnotes_of("IV")),
        details="\n\n".join(details),
    )
