"""The sections of the page about the data: cameras, look-alikes of two data sets, and labels to look at."""

from collections.abc import Iterator

from jointreid.analysis.html import Html, tag
from jointreid.conflict.candidates import PersonCandidate
from jointreid.conflict.charts import bar, heat_table, pairs, picture_pair, plain_table
from jointreid.conflict.sections import section, soft
from jointreid.conflict.study import ConflictStudy


def camera_section(study: ConflictStudy) -> Html:
    """Return a matrix of errors for each data set with two cameras or more."""
    title = "Between which cameras does the model fail?"
    if not study.cameras:
        return section(title, "No data set has test images from two cameras.", id_="cameras")
    grids = [
        heat_table(
            "asks \\ in",
            [f"camera {camid}" for camid in found.cameras],
            [str(camid) for camid in found.cameras],
            found.error,
            caption=f"{name}: percent wrong; {int(found.queries.sum()):,} searches.",
            most=1.0,
            percent=True,
        )
        for name, found in study.cameras.items()
    ]
    return section(
        title,
        "Every image from one camera (row) asks the images of another camera (column) for its person. The number is "
        "the share whose nearest image shows somebody else.",
        tag("div", *grids, class_="grids"),
        soft("Few images of each camera are used, so a cell is a rough figure; a larger --images makes it finer."),
        id_="cameras",
    )


def cross_section(study: ConflictStudy, *, pictures: bool) -> Html:
    """Return how often another data set's images come first in a search of all, and the most similar pairs."""
    title = "People of two data sets that the model takes for one"
    found = study.cross
    if found is None:
        return section(title, "That needs test images of two data sets.", id_="cross")
    rows = [
        (name, [bar(found.foreign_first[name]), bar(found.foreign_nearer.get(name))]) for name in found.foreign_first
    ]
    shown = [
        picture_pair(
            pair.a[1],
            pair.b[1],
            f"{pair.a[0]}: {pair.a[1].pid}, camera {pair.a[1].camid}",
            f"{pair.b[0]}: {pair.b[1].pid}, camera {pair.b[1].camid}",
            f"cosine {pair.similarity:.2f}",
        )
        for pair in found.hardest
        if pictures
    ]
    return section(
        title,
        "Here the test images of all data sets are searched at once, as in one collection. A model that filters each "
        "data set in another way must still give features that can be compared.",
        plain_table(
            ("Asking", "another data set's image first", "one nearer than every match"),
            rows,
            caption="Percent of the images of each data set.",
        ),
        *([tag("h3", "Most similar pairs of two data sets"), pairs(*shown)] if shown else []),
        id_="cross",
    )


def candidate_section(study: ConflictStudy, *, pictures: bool) -> Html:
    """Return labels that may be wrong, and identities that may be one person."""
    title = "Labels to look at"
    found = study.candidates
    if found is None:
        return section(title, "There are no images to compare.", id_="labels")
    labels = [
        picture_pair(
            entry.record,
            entry.suggested,
            f"{entry.domain}: labelled {entry.record.pid}",
            f"resembles {entry.suggested.pid}",
            f"cosine {entry.own:.2f} to its own, {entry.other:.2f} to the other",
        )
        for entry in found.labels
        if pictures
    ]
    content: list[Html | str] = [
        "These are candidates by the model's own features, for a person to look at. A model that errs proposes wrong "
        "ones; train images are among them, and those it has learnt to keep apart.",
        tag("h3", f"Images that resemble another person of their data set more {_of(len(labels), found.resembling)}"),
        pairs(*labels) if labels else soft("None." if not found.labels else "Pictures are left out."),
    ]
    kinds = {
        "Two identities of one data set that may be one person": (found.same_domain, found.num_same_domain),
        "People whom two data sets may share": (found.shared, found.num_shared),
    }
    for heading, (entries, number) in kinds.items():
        shown = [_person(entry) for entry in entries if pictures]
        content.append(tag("h3", f"{heading} {_of(len(entries), number)}"))
        content.append(pairs(*shown) if shown else soft("None." if not entries else "; ".join(_named(entries))))
    content.append(
        soft(
            "Score of two identities: the share of all identities whose own images are less similar to each other than "
            "the images of these two are. Shown from 5% on."
        )
    )
    return section(title, *content, id_="labels")


def _of(shown: int, found: int) -> str:
    """Return how many were found, and how many of these are shown if only some are."""
    return f"({shown} of {found:,} shown)" if 0 < shown < found else f"({found:,})"


def _person(entry: PersonCandidate) -> Html:
    return picture_pair(
        entry.a[1],
        entry.b[1],
        f"{entry.a[0]}: {entry.a[1].pid}",
        f"{entry.b[0]}: {entry.b[1].pid}",
        f"score {100 * entry.score:.0f}%, cosine {entry.similarity:.2f}",
    )


def _named(entries: tuple[PersonCandidate, ...]) -> Iterator[str]:
    for entry in entries:
        yield f"{entry.a[0]} {entry.a[1].pid} and {entry.b[0]} {entry.b[1].pid} ({100 * entry.score:.0f}%)"
