"""A page with the ranked list of every query of a run, to look through its failures."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from jointreid.analysis.every_query import list_queries
from jointreid.analysis.explained_pairs import explain_pairs
from jointreid.analysis.html import Html, join, page, tag
from jointreid.analysis.pictures import mark, symbols
from jointreid.analysis.ranklist_data import DomainPage, address, as_script_data, is_page, pictures_folder
from jointreid.analysis.ranklist_files import remove_former, require_replaceable, write_pictures
from jointreid.analysis.ranklists import config_as_evaluated, load_reported_domains
from jointreid.analysis.reported import ReportedRun, RunGroup, open_runs
from jointreid.machine.device import pick_device
from jointreid.machine.files import write_atomically
from jointreid.machine.paths import require_writable_file, user_path
from jointreid.messages.errors import JointreidError, no_such
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.evaluate import OnBatch, origins_of

NOTICE = (
    "This page holds pictures from the data sets, which may show people. Keep it where the data are kept, and pass it "
    "on only as their terms allow."
)


def write_ranklist(
    run: str | Path,
    out: str | Path,
    *,
    domain: str = "",
    length: int = 10,
    maps: bool = False,
    device: str = "auto",
    skip_unreadable: bool = False,
    sources: Sequence[str] = (),
    cache: str = "",
    command: str = "",
    on_batch: OnBatch | None = None,
) -> Path:
    """Write a page with the ranked list of every query, and the pictures in a folder beside it.

    Args:
        run: the run directory, evaluated; its checkpoint `last` is shown.
        out: an HTML file, or a folder for `index.html`.
        domain: the data set; empty for all that the run was evaluated on.
        length: answers of each list, 1 or more.
        maps: show for each query with a wrong first answer where their similarity comes from.
        device: where to compute: auto, cpu, cuda or mps.
        skip_unreadable: leave out unreadable images, even if the run's settings do not.
        sources: where data lie that were moved, as `--data` names them.
        cache: folder for decoded images; empty for that of the run.
        command: the command that makes the page again, shown at its end.
        on_batch: called with (what, done, in all) as the work proceeds.

    Returns:
        The HTML file.

    Raises:
        JointreidError: not an evaluated run, no such domain, data that changed or cannot be read, or `out` would
            replace something else.
    """
    if length < 1:
        raise JointreidError(f"--length is {length}; expected 1 or more answers for each query")
    path = user_path(out)
    path = path if is_page(path) else path / "index.html"
    folder = pictures_folder(path)
    require_replaceable(folder)
    require_writable_file(path, "--out")
    where = pick_device(device)
    shown = _only(open_runs([RunGroup("", [run])], cache)[0], domain)
    domains, remarks = load_reported_domains([shown], sources, skip_unreadable=skip_unreadable)
    model = shown.run.model().to(where)
    pages = []
    for number, found in enumerate(domains.values()):
        queries = tuple(list_queries(shown, model, found, length, device=where, on_batch=on_batch))
        pages.append(DomainPage(found, number, queries))
        if maps:
            _explain(pages[-1], shown, model, where, on_batch)
    # A former page keeps its pictures until this one has replaced it.
    pictures = write_pictures(folder, pages, shown.run.config.train.workers, on_batch)
    write_atomically(path, _render(shown, pages, address(pictures, path), length, remarks, command))
    remove_former(folder, pictures)
    return path


def _only(run: ReportedRun, domain: str) -> ReportedRun:
    """Return the run as if it had been evaluated on one domain alone; as it is for an empty name."""
    if not domain:
        return run
    if domain not in run.domains:
        raise JointreidError(f"--domain: {no_such('evaluated data set', domain, run.domains)}")
    results = tuple(result for result in run.results.domains if result.domain == domain)
    return replace(run, results=replace(run.results, domains=results))


def _explain(
    shown: DomainPage, run: ReportedRun, model: ReIDModel, device: torch.device, on_batch: OnBatch | None
) -> None:
    failures = list(shown.failures())
    pairs = [(query, answer) for _, query, answer in failures]
    records = [record for pair in pairs for record in pair]
    name = shown.domain.name
    origins = origins_of(model, records, name, run.run.label_space) if records else None
    config = config_as_evaluated(run, shown.domain)
    explained = explain_pairs(model, pairs, config, device=device, origins=origins)
    for done, ((index, _, _), pair) in enumerate(zip(failures, explained, strict=True), start=1):
        shown.maps[index] = pair
        if on_batch is not None:
            on_batch(f"maps, {name}", done, len(failures))


def _render(
    run: ReportedRun, pages: Sequence[DomainPage], folder: str, length: int, remarks: Sequence[str], command: str
) -> str:
    reranked = any(config_as_evaluated(run, shown.domain).eval.rerank for shown in pages)
    similarity = run.results.metric == "cosine" and not reranked
    data = as_script_data(pages, length=length, folder=folder, similarity=similarity)
    title = f"Ranked lists of {run.label}"
    number = "similarity (cosine, 1 at most)" if similarity else "re-ranked distance" if reranked else "distance"
    body = (
        symbols(junk=True),
        tag("header", tag("h1", title), *_lead(pages, length), tag("p", NOTICE, class_="privacy")),
        tag(
            "main",
            tag(
                "p",
                mark("right"),
                " in a solid frame shows the query's person, ",
                mark("wrong"),
                " in a dashed frame another one. ",
                mark("junk"),
                " in a dotted frame is junk, which the evaluation does not count: bad detections, and pictures of the "
                f"query's person from the query's camera. Below each: person, camera, {number}.",
                class_="soft",
            ),
            *(tag("p", text, class_="soft") for text in _facts(pages, reranked, remarks)),
            _maps_legend() if any(shown.maps for shown in pages) else Html(),
            _filters(length),
            tag("div", tag("b", id="count", role="status", tabindex=-1), _pager("above"), class_="bar"),
            tag("div", id="queries"),
            tag("div", tag("span"), _pager("below"), class_="bar"),
            tag("noscript", tag("p", "The lists are shown by a script within this page; allow it in your browser.")),
        ),
        tag("footer", tag("p", "Made by ", tag("code", command)) if command else Html()),
        Html(f'<script type="application/json" id="data">{data}</script>'),
    )
    return page(title, *body, style="ranklist.css", script="ranklist.js")


def _lead(pages: Sequence[DomainPage], length: int) -> Iterator[Html]:
    queries = [query for shown in pages for query in shown.queries]
    ranks = [query.result.first_match_rank for query in queries if query.result.first_match_rank is not None]
    names = ", ".join(shown.domain.name for shown in pages)
    wrong, none = sum(rank > 1 for rank in ranks), sum(rank > length for rank in ranks)
    precision = np.mean([q.result.average_precision or 0.0 for q in queries if q.result.valid]) if ranks else 0.0
    yield tag(
        "p",
        f"{len(queries):,} queries of {names}. The first answer is wrong for {wrong:,} of the {len(ranks):,} queries "
        f"that have a match, and {none:,} have no right answer among the first {length}. Mean average precision over "
        f"these queries: {100 * precision:.1f}%.",
        class_="lead",
    )


def _facts(pages: Sequence[DomainPage], reranked: bool, remarks: Sequence[str]) -> Iterator[str]:
    of_terms: dict[str, list[str]] = {}
    for domain in (shown.domain for shown in pages):
        of_terms.setdefault(domain.terms, []).append(domain.name)
    yield from (f"Terms of use of {', '.join(names)}: {terms}" for terms, names in of_terms.items() if terms)
    if every := [shown.domain.name for shown in pages if not shown.domain.exclude_same_camera]:
        yield f"{', '.join(every)}: pictures from every camera count, also from the query's."
    if changed := [shown.domain.name for shown in pages if not all(query.as_evaluated for query in shown.queries)]:
        yield (
            f"{', '.join(changed)}: some first matches have other ranks than in the results of the run. The weights or "
            "pictures have changed since, or another device computed them; evaluate again."
        )
    if reranked:
        yield "The lists are re-ranked, as in the evaluation; junk of the data sets takes no part and is not shown."
    yield from remarks


def _maps_legend() -> Html:
    return tag(
        "p",
        "Below a list whose first answer is wrong: where the similarity of the query and that answer comes from. ",
        tag("span", class_="scale", role="img", aria_label="from blue over grey to orange"),
        " Orange places add to the similarity, blue ones take away from it; over each picture they sum to it.",
        class_="soft",
    )


def _filters(length: int) -> Html:
    shown = {
        "wrong": "first answer wrong",
        "none": f"no right answer among the first {length}",
        "right": "first answer right",
        "unmatched": "no match in the gallery",
        "all": "all queries",
    }
    order = {"ap": "lowest average precision", "near": "nearest first answer", "data": "as in the data"}
    return tag(
        "form",
        _select("domain", "Data set", {"": "all"}),
        _select("show", "Show", shown),
        _select("camera", "Camera of the query", {"": "any"}),
        _select("answer", "Camera of the first answer", {"": "any"}),
        tag("label", "Person", tag("input", type="text", name_="person", autocomplete="off")),
        _select("order", "Order", order),
        tag("label", tag("input", type="checkbox", name_="junk", checked=""), "show junk", class_="switch"),
        id="filters",
        aria_label="Which queries are shown",
    )


def _select(name: str, words: str, options: dict[str, str]) -> Html:
    choices = (tag("option", text, value=value) for value, text in options.items())
    return tag("label", words, tag("select", *choices, name_=name))


def _pager(where: str) -> Html:
    return tag(
        "nav",
        tag("button", "Previous", type="button", class_="back"),
        join(tag("span", class_="place")),
        tag("button", "Next", type="button", class_="on"),
        class_="pager",
        aria_label=f"Pages, {where} the lists",
    )
