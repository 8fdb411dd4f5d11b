"""The table of what the recommended network gains in each domain over the best plain network."""

from collections.abc import Iterator

from evidence.arms import ARMS, Start
from evidence.compared import gain, records_of
from evidence.data import DATASETS
from evidence.figures import paragraph, with_interval
from evidence.levels import level
from evidence.outcome import rival
from evidence.records import RecordStore
from jointreid.messages.tables import text_table
from jointreid.retrieval.results import percent


def domain_table(store: RecordStore, dataset: str, start: Start) -> Iterator[str]:
    """Yield the section for the longest trainings with equal seeds, or nothing if there are none."""
    domains = DATASETS[dataset].domains
    for stage in ("long", "short"):
        plain, other = rival(store, dataset, start, stage, domains), records_of(store, dataset, start, stage, "context")
        if plain and other:
            break
    else:
        return
    of_all, each = gain(plain, other, store, domains)
    words = ARMS[plain[0]["task"]["arm"]].words
    yield "### Gain in each domain"
    yield ""
    yield paragraph(
        f"The recommended network against the best plain one of the {stage} trainings, {words}; seeds: {len(other)}."
    )
    yield ""
    rows = [
        [name, percent(level(plain, [name])), percent(level(other, [name])), with_interval(each[name])]
        for name in domains
    ]
    rows.append(["mean", percent(level(plain, domains)), percent(level(other, domains)), with_interval(of_all)])
    yield text_table([["domain", words, "with context", "gain"], *rows], "lrrr")
    yield ""
