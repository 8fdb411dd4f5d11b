"""The page about the conflict in one run, for people who have not read the paper."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from jointreid.analysis.html import Html, page, tag
from jointreid.conflict.data_sections import camera_section, candidate_section, cross_section
from jointreid.conflict.findings import findings
from jointreid.conflict.sections import (
    context_section,
    gradient_section,
    kernel_section,
    loss_section,
    probe_section,
    soft,
    words_of,
)
from jointreid.conflict.study import ConflictStudy


def render_page(study: ConflictStudy, *, terms: Mapping[str, str], command: str = "", pictures: bool = True) -> str:
    """Return the page.

    Args:
        study: all figures.
        terms: domain -> terms of use of its pictures.
        command: the command that makes the page again.
        pictures: whether it holds pictures of people.
    """
    names, run = list(study.images), Path(study.run).resolve().name  # `.` has no name of its own
    title = f"Conflict between data sets: {run}"
    trained = f" after {study.step:,} steps" if study.step else ""
    about = (
        f"{run}: {study.system}, trained on {words_of(names)}{trained}. Looked at: "
        + "; ".join(f"{name}, {train} train and {test} test images" for name, (train, test) in study.images.items())
        + "."
    )
    private = (
        "This page holds pictures from the data sets and fetches nothing: it stays on this computer. Pass it on only "
        "as the data's terms allow."
    )
    body = (
        tag(
            "header",
            tag("h1", title),
            tag("ol", *(tag("li", sentence) for sentence in findings(study)), class_="findings"),
            soft(about),
            *([soft(private)] if pictures else []),
            *(soft(text) for text in _terms(terms) if pictures),
        ),
        tag(
            "main",
            gradient_section(study),
            loss_section(study),
            probe_section(study),
            context_section(study),
            kernel_section(study),
            camera_section(study),
            cross_section(study, pictures=pictures),
            candidate_section(study, pictures=pictures),
        ),
        tag("footer", tag("p", "Made by ", tag("code", command)) if command else Html()),
    )
    return page(title, *body)


def _terms(terms: Mapping[str, str]) -> Iterator[str]:
    for text in dict.fromkeys(filter(None, terms.values())):
        names = words_of([name for name, own in terms.items() if own == text])
        yield f"Terms of use of the pictures of {names}: {text}"
