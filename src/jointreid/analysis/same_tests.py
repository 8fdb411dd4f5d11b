"""Which runs were evaluated on the same test data in the same way, so that their results can be compared."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from jointreid.analysis.evaluated_run import EvaluatedRun
from jointreid.messages.commands import command
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.results import DomainResult


def comparable_runs(
    runs: Sequence[EvaluatedRun], named: Collection[Path]
) -> tuple[tuple[EvaluatedRun, ...], tuple[str, ...]]:
    """Return the runs that were evaluated alike on every data set that they share, and remarks on the others.

    Test images are compared by content, identity and camera where both runs remember them, and else by the names of
    the queries and the number of gallery images. Of several groups of runs, the one with the most named runs is taken,
    and of these the largest.

    Args:
        runs: the runs, at least one.
        named: directories of runs that a person named one by one; the others were found in folders.

    Raises:
        JointreidError: two runs that were named differ; the message names the data set, the runs and what differs.
    """
    groups: list[list[EvaluatedRun]] = []
    for run in runs:
        fitting = next((group for group in groups if not _clash(run, group)), None)
        if fitting is None:
            groups.append(fitting := [])
        fitting.append(run)
    taken = max(groups, key=lambda group: (sum(run.path in named for run in group), len(group)))
    left = {run.path: _clash(run, taken) for run in runs if run not in taken}
    for path, clash in left.items():
        if path in named:
            raise JointreidError(
                f"{clash}. Name only runs that were evaluated alike, or evaluate one again: "
                f"`{command('evaluate', path)}`"
            )
    return tuple(taken), tuple(f"left out {path}: {clash}" for path, clash in left.items())


def _clash(run: EvaluatedRun, group: Sequence[EvaluatedRun]) -> str:
    """Return why a run cannot be compared with those of a group, which can be compared; empty if it can."""
    for name in run.domains:
        other = next((known for known in group if name in known.domains), None)
        if other is not None and (difference := _difference(name, other, run)):
            return f"{name}: {other.path} and {run.path} cannot be compared: {difference}"
    return ""


def _difference(name: str, a: EvaluatedRun, b: EvaluatedRun) -> str:
    """Return what differs between the evaluations of two runs on a domain; empty if nothing does."""
    of_a, of_b = a.domains[name], b.domains[name]
    for split in ("query", "gallery"):
        hashes = {run.test_hashes.get((name, split)) for run in (a, b)} - {None}
        if len(hashes) > 1:
            images_a, images_b = (run.test_images()[name, split] for run in (a, b))
            only_a, only_b = (images_a - images_b).total(), (images_b - images_a).total()
            return (
                f"their test data differ, {only_a:,} {split} images are only in the first and {only_b:,} only in the "
                "second"
            )
    for words, counts in (
        ("queries", (of_a.num_query, of_b.num_query)),
        ("gallery images", (of_a.num_gallery, of_b.num_gallery)),
    ):
        if counts[0] != counts[1]:
            return f"their test data differ, {counts[0]:,} {words} in the first and {counts[1]:,} in the second"
    if of_a.exclude_same_camera != of_b.exclude_same_camera:
        return "one ignores images of the query's own camera, the other does not"
    names_a, names_b = a.valid_queries[name].keys(), b.valid_queries[name].keys()
    if names_a != names_b:
        if all((name, split) in run.test_hashes for run in (a, b) for split in ("query", "gallery")):
            return (
                "their test images are the same, but have other names below the folder of the data, such as "
                f"{min(names_a ^ names_b)} in one of them; evaluate both on the same --data"
            )
        return (
            f"their test data differ, {len(names_a - names_b):,} queries are only in the first and "
            f"{len(names_b - names_a):,} only in the second"
        )
    ways_a, ways_b = _way(a, of_a), _way(b, of_b)
    different = [f"{key} {value} and {ways_b[key]}" for key, value in ways_a.items() if value != ways_b[key]]
    return f"they were evaluated in different ways, {', '.join(different)}" if different else ""


def _way(run: EvaluatedRun, result: DomainResult) -> Mapping[str, object]:
    """Return how a domain was evaluated, as far as results depend on it."""
    told = result.conditions or run.results
    return {name: getattr(told, name) for name in ("flip", "rerank")} | {
        "metric": run.results.metric,
        "feature": run.results.feature,
    }
