"""The tables of a report: metrics, a row for each run with the best in bold; settings, a column for each run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

from jointreid.analysis.html import Html, header, join, table, tag
from jointreid.analysis.reported import ReportedRun, domain_names
from jointreid.config import all_keys, config_difference, to_dict
from jointreid.messages.tables import NO_VALUE
from jointreid.retrieval.results import percent

Metrics = Sequence[float | None]

# Settings that the table leaves out: where a run was written, and those that its facts show already.
NOT_SHOWN = {
    "train.out", "train.label", "train.resume", "train.init", "train.seed", "data.cache", "data.cache_mode",
    "model.name", "model.trunk", "image.height", "image.width", "sampler.ids_per_batch", "sampler.images_per_id",
    "schedule.epochs", "optim.lr",
}  # fmt: skip


@dataclass(frozen=True)
class ReportColumn:
    """One column of a table, or several under one title.

    Attributes:
        title: above them.
        names: one for each column.
        values: returns a run's values in [0, 1], one for each column, None where there is none.
        foot: below them.
        compared: returns whether the values of some runs can be compared, so that the best is emphasised.
    """

    title: str
    names: Sequence[str]
    values: Callable[[ReportedRun], Metrics]
    foot: str = ""
    compared: Callable[[Sequence[ReportedRun]], bool] = lambda runs: False


def accuracy_table(runs: Sequence[ReportedRun], metrics: dict[str, str], caption: str) -> Html:
    """Return some metrics on every domain, and their means.

    Args:
        runs: the rows.
        metrics: heading -> metric: mAP, mINP, or rank1, rank5, rank10.
        caption: what the table shows.
    """
    names = domain_names(runs)
    columns = [
        ReportColumn(
            name,
            list(metrics),
            _metrics_on(name, list(metrics.values())),
            _valid_queries(runs, name),
            partial(evaluated_alike, names=[name]),
        )
        for name in names
    ]
    mean = ReportColumn(
        "mean",
        list(metrics),
        lambda run: [run.results.mean[metric] for metric in metrics.values()],
        compared=lambda group: all(list(run.domains) == names for run in runs) and evaluated_alike(group, names),
    )
    return metrics_table(runs, [*columns, mean], caption, "queries with a match")


def evaluated_alike(runs: Sequence[ReportedRun], names: Sequence[str]) -> bool:
    """Return whether each of some domains was evaluated in one way by the runs that have it."""
    return all(len({run.way(name) for run in runs if name in run.domains}) <= 1 for name in names)


def head_table(runs: Sequence[ReportedRun], caption: str) -> Html:
    """Return how often the heads predict an image's domain and camera, for each domain, and chance."""

    def on(name: str) -> Callable[[ReportedRun], Metrics]:
        def values(run: ReportedRun) -> Metrics:
            found = run.domains.get(name)
            return (found.domain_accuracy, found.camera_accuracy) if found else (None, None)

        return values

    columns = [ReportColumn(name, ("domain", "camera"), on(name)) for name in domain_names(runs)]
    chance = ReportColumn("chance", ("domain", "camera"), chances)
    return metrics_table(runs, [*columns, chance], caption)


def merged_sets(runs: Sequence[ReportedRun]) -> tuple[frozenset[str], ...]:
    """Return the sets of data sets whose galleries were merged in an evaluation; results of two do not compare."""
    merged = (result.merged for run in runs for result in run.results.domains)
    return tuple(dict.fromkeys(frozenset(found.domains) for found in merged if found))


def merged_table(runs: Sequence[ReportedRun], merged: frozenset[str], caption: str) -> Html:
    """Return mAP with each data set's own gallery and with the galleries of several merged, and overtaken queries.

    Args:
        runs: the runs.
        merged: the data sets whose galleries are merged; results of other galleries are left out.
        caption: what the table shows.
    """

    def on(name: str) -> Callable[[ReportedRun], Metrics]:
        def values(run: ReportedRun) -> Metrics:
            found = run.domains.get(name)
            if found is None or found.merged is None or frozenset(found.merged.domains) != merged:
                return None, None, None
            return found.mAP, found.merged.mAP, found.merged.overtaken

        return values

    with_merged = [run for run in runs if any(on(name)(run)[0] is not None for name in run.domains)]
    names = [name for name in domain_names(with_merged) if any(on(name)(run)[0] is not None for run in with_merged)]
    columns = [ReportColumn(name, ("own", "merged", "overtaken"), on(name)) for name in names]
    return metrics_table(with_merged, columns, caption)


def chances(run: ReportedRun) -> tuple[float, float]:
    """Return how often guessing gives an image's domain and camera."""
    space = run.run.label_space
    return 1 / space.num_domains, 1 / space.num_cameras


def metrics_table(runs: Sequence[ReportedRun], columns: Sequence[ReportColumn], caption: str, foot: str = "") -> Html:
    """Return metrics in percent, one row for each run.

    Args:
        runs: the rows, those of a group below its label.
        columns: the columns.
        caption: what the table shows.
        foot: the name of the last row, which shows each column's `foot`; without a name there is no such row.
    """
    head = join(
        tag(
            "tr", tag("td"), *(header(c.title, scope="colgroup", colspan=len(c.names), class_="first") for c in columns)
        ),
        tag("tr", header("Run"), *(header(n, class_=_first(i)) for c in columns for i, n in enumerate(c.names))),
    )
    width = 1 + sum(len(column.names) for column in columns)
    bodies = []
    for _, members in groupby(runs, key=lambda run: run.group):
        group = list(members)
        label = group[0].group_label
        title = tag("tr", tag("th", label, scope="rowgroup", colspan=width), class_="group")
        bodies.append(tag("tbody", title if label else Html(), *_rows(group, columns)))
    if foot:
        cells = [tag("td", c.foot, colspan=len(c.names), class_="first") for c in columns]
        bodies.append(tag("tfoot", tag("tr", tag("th", foot, scope="row"), *cells)))
    return table(head, *bodies, caption=caption)


def settings_table(runs: Sequence[ReportedRun], caption: str) -> Html:
    """Return facts and settings, one column for each run; a value that all share is printed once."""
    head = tag("tr", header("Setting"), *(header(tag("b", run.key, class_="badge"), " ", run.label) for run in runs))
    facts = [_facts(run) for run in runs]
    rows = [(name, [fact[name] for fact in facts]) for name in facts[0]] + list(_differing(runs))
    body = [tag("tr", tag("th", name, scope="row"), *_cells(values)) for name, values in rows]
    return table(head, tag("tbody", *body), caption=caption)


def _metrics_on(name: str, metrics: Sequence[str]) -> Callable[[ReportedRun], Metrics]:
    def values(run: ReportedRun) -> Metrics:
        found = run.domains.get(name)
        if found is None:
            return [None] * len(metrics)
        known = {"mAP": found.mAP, "mINP": found.mINP, **{f"rank{rank}": share for rank, share in found.cmc.items()}}
        return [known[metric] for metric in metrics]

    return values


def _valid_queries(runs: Sequence[ReportedRun], name: str) -> str:
    """Return a domain's number of valid queries, or all the numbers where runs differ."""
    found = {run.domains[name].num_valid_queries for run in runs if name in run.domains}
    return " or ".join(f"{count:,}" for count in sorted(found))


def _rows(runs: Sequence[ReportedRun], columns: Sequence[ReportColumn]) -> Iterator[Html]:
    shown = [[[_percent(value) for value in column.values(run)] for column in columns] for run in runs]
    compared = [column.compared(runs) for column in columns]
    for run, of_run in zip(runs, shown, strict=True):
        system = tag("span", run.system.removeprefix(f"{run.label}, "), class_="soft")
        name = tag("b", run.key, class_="badge"), " ", run.label, " ", system
        cells = []
        for position, texts_of_column in enumerate(of_run):
            for index, text in enumerate(texts_of_column):
                others = [float(texts[position][index]) for texts in shown if texts[position][index] != NO_VALUE]
                # Values that look equal as printed are equal to a reader: all of them are best.
                best = compared[position] and len(others) > 1 and text != NO_VALUE and float(text) == max(others)
                cells.append(tag("td", tag("b", text) if best else text, class_=_first(index)))
        yield tag("tr", tag("th", *name, scope="row"), *cells)


def _percent(value: float | None) -> str:
    return NO_VALUE if value is None else percent(value)


def _first(index: int) -> str | None:
    """Return the class of the first of several columns."""
    return None if index else "first"


def _facts(run: ReportedRun) -> dict[str, str]:
    config, results, state = run.run.config, run.results, run.state
    flip = "averaged with the mirrored image's" if results.flip else "without mirroring"
    return {
        "run directory": str(run.run.path),
        "network": run.system,
        "initial weights": "random" if results.pretraining == "none" else results.pretraining,
        "trained on": ", ".join(domain.name for domain in run.run.label_space.domains),
        "trained for": f"{state['epoch']:.4g} of {config.schedule.epochs} epochs, {state['step']:,} steps",
        "batch": f"{config.sampler.ids_per_batch} people, {config.sampler.images_per_id} images of each",
        "image": f"{results.height} x {results.width} pixels",
        "learning rate": f"{config.optim.lr:g}",
        "seed": str(config.train.seed),
        "compared by": f"{results.metric} distance of {results.feature}, {flip}{', re-ranked' * results.rerank}",
        "hash of the settings": results.config,
        "versions": ", ".join(f"{name} {version}" for name, version in results.versions.items()),
    }


def _differing(runs: Sequence[ReportedRun]) -> Iterator[tuple[str, list[str]]]:
    """Yield the settings in which any run differs from the first, with all values."""
    first, *others = runs
    keys = {key for run in others for key in config_difference(first.run.config, run.run.config)} - NOT_SHOWN
    plain: list[dict[str, dict[str, Any]]] = [to_dict(run.run.config) for run in runs]
    for key in (key for key in all_keys() if key in keys):
        section, _, name = key.partition(".")
        yield key, [_plain(values[section][name]) for values in plain]


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _cells(values: Sequence[str]) -> list[Html]:
    if len(set(values)) == 1:
        return [tag("td", values[0], colspan=len(values))]
    return [tag("td", value) for value in values]
