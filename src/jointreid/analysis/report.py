"""One HTML file about several runs: their accuracy, their training, and ranked lists of images."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from jointreid.analysis.html import Html, page, tag
from jointreid.analysis.panels import heads_section, training_section
from jointreid.analysis.pictures import DISTANCE, differences, mark, numbers_shown, render_domain, symbols
from jointreid.analysis.ranklists import LENGTH, load_reported_domains, rank_domains
from jointreid.analysis.reported import ReportedRun, RunGroup, domain_names, open_runs
from jointreid.analysis.tables import accuracy_table, evaluated_alike, merged_sets, merged_table, settings_table
from jointreid.config import RunConfig
from jointreid.data.records import Domain
from jointreid.machine.files import write_atomically
from jointreid.machine.paths import require_writable_file, user_path
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.evaluate import OnBatch

# Queries of each domain: a page holds 8 pictures for each query and run, of about 2 KB each.
MOST_QUERIES = 200

# Each system of `model.name`, in the order of the page.
SYSTEMS = {
    "bot": "BoT applies the same filters to every picture.",
    "bot-dcsd": (
        "BoT-DCSD generates the filters of its 3x3 convolutions for every picture, from the picture itself and its "
        "predicted data set and camera."
    ),
    "agw": "AGW relates each position of a picture to all others, and uses a triplet loss without a margin.",
    "agw-dcsd": "AGW-DCSD is AGW with filters generated for every picture, as in BoT-DCSD.",
    "bot-dn": "BoT-DN normalises the style of each picture after three of its stages.",
    "bot-snr": "BoT-SNR removes the style of each picture after every stage and restores what identifies people.",
}


_JOINT = (
    "The network of the recipe joint keeps BoT's filters and adds generated ones to them. What it knows of a "
    "picture's data set and camera comes from a small network of its own, which light, colour and blur are enough "
    "for."
)


def _system(config: RunConfig) -> str:
    """Return the sentence that describes the network of a run."""
    dcsd = config.dcsd
    is_joint = config.model.name == "bot-dcsd" and dcsd.base == "static" and dcsd.context == "network"
    return _JOINT if is_joint else SYSTEMS[config.model.name]


def write_report(
    groups: Sequence[RunGroup],
    path: str | Path,
    *,
    title: str,
    notes: Sequence[str] = (),
    command: str = "",
    queries: int = 3,
    device: str = "auto",
    skip_unreadable: bool = False,
    sources: Sequence[str] = (),
    cache: str = "",
    on_batch: OnBatch | None = None,
) -> Path:
    """Write a page with several runs side by side; the figures are of the checkpoint `last` on the runs' own data.

    The same runs give the same bytes. It holds pictures from the data sets: share it only as their terms allow.

    Args:
        groups: the runs.
        path: the HTML file to write; it appears whole or not at all.
        title: of the page.
        notes: remarks for readers, such as the limits of the data.
        command: the command that made the runs or the page, shown at the end.
        queries: number of queries of each domain with ranked lists, at most `MOST_QUERIES`; 0 leaves the pictures out,
            and needs no images.
        device: where to compute features: auto, cpu, cuda or mps.
        skip_unreadable: leave out unreadable images, even if the runs' settings do not.
        sources: where data lie that were moved, as `--data` names them.
        cache: folder for decoded images; empty for that of each run.
        on_batch: called with (run and domain, images done, images in all) after each batch of features.

    Returns:
        The path.

    Raises:
        JointreidError: the path cannot be written, as where it is a folder, there are no runs, one is not a run or was
            not evaluated (the message names the command), its data have changed or cannot be read, or `queries` is
            negative or too large.
    """
    if queries < 0:
        raise JointreidError(f"queries is {queries}; expected 0 or more for each domain")
    if queries > MOST_QUERIES:
        raise JointreidError(
            f"queries is {queries}; expected at most {MOST_QUERIES} for each domain, since the page holds the pictures "
            "of all of them and would be too large for a browser; `jointreid ranklist` shows every query of a run"
        )
    path = user_path(path)
    require_writable_file(path, "--out")
    runs = open_runs(groups, cache)
    domains, remarks = load_reported_domains(runs, sources, skip_unreadable=skip_unreadable) if queries else ({}, [])
    lists = _lists(runs, domains, queries, device, on_batch) if queries else Html()
    body = (
        symbols(),
        tag("header", tag("h1", title), *_lead(runs), _notes(notes)),
        tag("main", _results(runs, remarks), training_section(runs), heads_section(runs), lists),
        tag("footer", _settings(runs), tag("p", "Made by ", tag("code", command)) if command else Html()),
    )
    write_atomically(path, page(title, *body))
    return path


def _lead(runs: Sequence[ReportedRun]) -> Iterator[Html]:
    spaces = {run.run.label_space.hash: run.run.label_space for run in runs}
    what = "One model was trained" if len(runs) == 1 else f"{len(runs)} models were trained"
    each = "" if len(runs) == 1 else ", each"
    if len(spaces) == 1:
        (space,) = spaces.values()
        names = ", ".join(domain.name for domain in space.domains)
        sets = f"{space.num_domains} data sets at once" if space.num_domains > 1 else "one data set"
        cameras = sum(len(domain.cameras) for domain in space.domains)
        if space.camera_ids == "global":  # where domains in one place share theirs
            cameras = space.num_cameras
        seen = f"{cameras:,} camera{'s' * (cameras != 1)}"
        data = f" on {sets} ({names}): {space.num_ids:,} people, seen by {seen}."
    else:
        counts = sorted({space.num_domains for space in spaces.values()})
        how_many = f"from {counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
        sets = "one data set" if counts == [1] else f"{how_many} data sets at once"
        data = f" on different data, {sets}; the settings below name them."
    yield tag("p", what + each + data, class_="lead")
    found = {_system(run.run.config) for run in runs}
    systems = [words for words in (*SYSTEMS.values(), _JOINT) if words in found]
    yield tag(
        "p",
        "Each model then has to find people again: given one picture of a person, the query, it sorts all pictures of "
        "a collection, the gallery, by how likely they show the same person. ",
        ""
        if any(_trained_on(run, name) for run in runs for name in run.domains)
        else "None of these people were in the training data. ",
        " ".join(systems),
    )


def _notes(notes: Sequence[str]) -> Html:
    return tag("ul", *(tag("li", note) for note in notes), class_="notes") if notes else Html()


def _results(runs: Sequence[ReportedRun], remarks: Sequence[str]) -> Html:
    return tag(
        "section",
        tag("h2", "How well each model finds people again"),
        tag(
            "p",
            tag("b", "Rank-1"),
            " is the share of queries whose first picture shows the same person. ",
            tag("b", "mAP"),
            " also counts how near the top all other matches are. The best value of both is 100.",
        ),
        accuracy_table(
            runs,
            {"mAP": "mAP", "Rank-1": "rank1"},
            "Percent, checkpoint last. Bold: the best of each group in a column.",
        ),
        *(tag("p", text, class_="soft") for text in (*_remarks(runs), *remarks)),
        tag(
            "details",
            tag("summary", "More metrics: Rank-5, Rank-10, mINP"),
            accuracy_table(
                runs,
                {"Rank-5": "rank5", "Rank-10": "rank10", "mINP": "mINP"},
                "Percent. Rank-5, Rank-10: a match is among the first 5, 10. mINP: how early the last match comes.",
            ),
        ),
        *_merged(runs),
        id="results",
    )


def _merged(runs: Sequence[ReportedRun]) -> Iterator[Html]:
    """Yield the accuracy in merged galleries, where it was evaluated."""
    if not (sets := merged_sets(runs)):
        return
    yield tag("h3", "All collections searched at once")
    yield tag(
        "p",
        "Here each query is also searched in the galleries of all data sets together, where people of other data sets "
        "are wrong answers. If accuracy hardly drops, one collection for all cameras works.",
    )
    for merged in sets:
        yield merged_table(
            runs,
            merged,
            "mAP in percent, with the data set's own gallery and with the galleries of "
            f"{', '.join(sorted(merged))} merged. Overtaken: queries for which a picture of another data set comes "
            "before the first match.",
        )


def _remarks(runs: Sequence[ReportedRun]) -> Iterator[str]:
    """Yield the remarks that a reader needs before comparing numbers."""
    names = domain_names(runs)
    for name in names:
        results = [(run.name, run.domains[name]) for run in runs if name in run.domains]
        if unseen := [of for of, result in results if not result.trained_on]:
            yield f"{name}: not trained on by {'; '.join(unseen)}."
        if seen := max((_trained_on(run, name) for run in runs if name in run.domains), default=0):
            yield f"{name}: {seen:,} queries show people that a model was trained on; they say little about new people."
        for words in {r.protocol.words: None for _, r in results if r.protocol and not r.protocol.comparable}:
            yield f"{name}: {words}; not comparable with the paper's numbers."
        for of, result in results:
            yield from (f"{of}, {name}: {mark}." for mark in result.marks or ())
        yield from _ways(runs, name)
    if unchecked := [run.name for run in runs if any(result.marks is None for result in run.results.domains)]:
        yield (
            f"The data of {'; '.join(unchecked)} were not checked before the evaluation; `jointreid evaluate` checks "
            "them."
        )
    if any(list(run.domains) != names for run in runs):
        yield "The runs were evaluated on different domains, so their means cannot be compared."
    if all(run.results.pretraining == "none" for run in runs):
        yield "All models started from random weights: not comparable with models that start from ImageNet weights."


def _ways(runs: Sequence[ReportedRun], name: str) -> Iterator[str]:
    """Yield how a domain was evaluated, if runs differ in that or do not evaluate it as their own domains."""
    evaluated = [run for run in runs if name in run.domains]
    if not evaluated_alike(evaluated, [name]):
        ways = "; ".join(f"{run.name}: {run.way(name)}" for run in evaluated)
        yield f"{name}: compare neither these numbers nor the means, since the ways of evaluation differ ({ways})."
    elif others := [run for run in evaluated if run.way(name) != (run.results.flip, run.results.rerank)]:
        yield (
            f"{name}: evaluated {others[0].way(name)}, unlike other data sets of "
            f"{'; '.join(run.name for run in others)}; the mean is over both."
        )


def _trained_on(run: ReportedRun, name: str) -> int:
    """Return how many queries of a domain show people that the run was trained on."""
    pids = {pid for domain in run.run.label_space.domains if domain.name == name for pid in domain.pids}
    return sum(query.domain == name and query.pid in pids for query in run.queries)


def _lists(
    runs: Sequence[ReportedRun],
    domains: Mapping[str, Domain],
    queries: int,
    device: str,
    on_batch: OnBatch | None,
) -> Html:
    shown, changed, numbers = [], dict[str, None](), dict[str, None]()
    for domain in rank_domains(runs, queries, domains=domains, device=device, on_batch=on_batch):
        shown.append(render_domain(domain))
        changed |= dict.fromkeys(differences(domain))
        numbers |= dict.fromkeys(numbers_shown(domain))
    warning = (
        f"Different from the evaluation: the first matches of {'; '.join(changed)} have other ranks than in the "
        "results above. The weights or pictures have changed since, or another device computed them; evaluate again."
    )
    return tag(
        "section",
        tag("h2", "The first pictures that each model finds"),
        tag(
            "p",
            f"The first {LENGTH} pictures for a few queries, best first. ",
            mark("right"),
            " in a solid frame shows the same person, ",
            mark("wrong"),
            f" in a dashed frame another person. Below each: person, camera, {' or '.join(numbers) or DISTANCE}.",
        ),
        tag(
            "p",
            "The queries are chosen by a rule, not by hand: in turn the one on which the models' average precision "
            "differs most, the one with the lowest mean and the one with the highest.",
            class_="soft",
        ),
        tag("p", tag("b", warning)) if changed else Html(),
        *shown,
        id="lists",
    )


def _settings(runs: Sequence[ReportedRun]) -> Html:
    table = settings_table(runs, "Data, network and training of the runs, and every setting in which they differ.")
    return tag("section", tag("h2", "Settings and versions"), table, class_="settings", id="settings")
