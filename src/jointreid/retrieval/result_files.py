"""Results in a run directory: one file, `results.json`, for all domains that its checkpoint `last` was evaluated on.

`queries.parquet` holds a row for each query of each. The checkpoint `best` has `results.best.json` and
`queries.best.parquet`. Earlier versions wrote `results-NAMES.json` for data sets that were not the run's own; these are
read as part of `results.json`.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path

from jointreid.machine.files import replacing, write_atomically
from jointreid.machine.reading import read_json, require_inside
from jointreid.machine.run_files import require_version
from jointreid.messages.commands import command
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.results import Conditions, DomainResult, QueryResult, Results

RESULTS, QUERIES = "results{}.json", "queries{}.parquet"


def save_results(results: Results, queries: Sequence[QueryResult], run: Path) -> Path:
    """Add results to those of a run, in `results.json` and `queries.parquet`, each written whole or not at all.

    A domain that was evaluated before is replaced. The others stay, but for those of weights of another step: they are
    dropped, with a line on stderr.

    Args:
        results: what was found, with conditions (see `Results.dated`) where the step of the weights is known.
        queries: one entry a query.
        run: the run directory.

    Returns:
        The JSON file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    suffix = _suffix(results.checkpoint)
    try:
        before, known = _load(run, suffix)
    except JointreidError:  # damaged or of another version: what is written now takes its place
        before, known = None, ()
    merged = _add(before, results, run) if before else results
    new = {result.domain for result in results.domains}
    kept = {result.domain for result in merged.domains} - new
    rows = [*(query for query in known if query.domain in kept), *queries]
    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(QueryResult)}
    with replacing(run / QUERIES.format(suffix)) as temporary:
        pq.write_table(pa.table(columns), temporary)
    path = run / RESULTS.format(suffix)
    write_atomically(path, json.dumps(merged.to_dict(), indent=1, allow_nan=False) + "\n")
    return path


def load_results(run: Path, checkpoint: str = "last") -> tuple[Results, tuple[QueryResult, ...]]:
    """Return the results of a run on all domains that a checkpoint of it was evaluated on.

    Args:
        run: the run directory.
        checkpoint: last or best.

    Raises:
        JointreidError: nothing was yet, or a file is damaged; the message names the command to run.
    """
    suffix = _suffix(checkpoint)
    results, queries = run / RESULTS.format(suffix), run / QUERIES.format(suffix)
    options = () if checkpoint == "last" else ("--checkpoint", checkpoint)
    remedy = f"run `{command('evaluate', run, *options)}`"
    if missing := [path.name for path in (results, queries) if not path.is_file()]:
        raise JointreidError(f"{run} holds no {' and no '.join(missing)}; {remedy}")
    try:
        return _load(run, suffix)
    except JointreidError as error:
        raise JointreidError(f"{run}: its results are damaged ({error}); {remedy}") from error


def read_results(path: Path, run: Path) -> Results:
    """Read one JSON file of results in a run directory.

    Raises:
        JointreidError: it is missing, outside the run directory, of a newer version, or damaged.
    """
    require_inside(path, run)
    plain = read_json(path)
    require_version(plain.get("format_version", 1), path)
    return Results.from_dict(plain)


def _suffix(checkpoint: str) -> str:
    return "" if checkpoint == "last" else f".{checkpoint}"


def _add(before: Results, results: Results, run: Path) -> Results:
    """Return earlier and new results as one, in the earlier order, with the settings of the run's own domains."""
    steps = {result.conditions.step for result in results.domains if result.conditions} - {None}
    new = {result.domain: result for result in results.domains}
    whole: dict[str, DomainResult] = {}
    outdated = []
    for result in before.domains:
        known = result.conditions or Conditions("", before.checkpoint, None, before.flip, before.rerank)
        if result.domain not in new and known.step is not None and steps and known.step not in steps:
            outdated.append(f"{result.domain} (step {known.step:,})")
        else:
            whole[result.domain] = new.get(result.domain, replace(result, conditions=known))
    if outdated:
        print(
            f"{run}: dropped the earlier results on {', '.join(outdated)}: the weights are those of another step now; "
            "evaluate again with --data to have them",
            file=sys.stderr,
        )
    is_own = not any(result.trained_on for result in whole.values()) or any(r.trained_on for r in results.domains)
    return replace(results if is_own else before, domains=tuple((whole | new).values()))


def _load(run: Path, suffix: str) -> tuple[Results, tuple[QueryResult, ...]]:
    """Return the results of a checkpoint, with those that earlier versions kept apart.

    Raises:
        JointreidError: a file is missing or damaged.
    """
    results, queries = _load_pair(run, suffix)
    for other in _kept_apart(run, suffix):
        found, rows = _load_pair(run, other)
        of_file = Conditions("", found.checkpoint, None, found.flip, found.rerank)
        known = {result.domain for result in results.domains}
        added = [r if r.conditions else replace(r, conditions=of_file) for r in found.domains if r.domain not in known]
        names = {result.domain for result in added}
        results = replace(results, domains=(*results.domains, *added))
        queries = (*queries, *(row for row in rows if row.domain in names))
    return results, queries


def _kept_apart(run: Path, suffix: str) -> Iterator[str]:
    """Yield what stands between `results` and `.json` in files of earlier versions, for the same checkpoint."""
    for path in sorted(run.glob("results-*.json")):
        middle = path.name.removeprefix("results").removesuffix(".json")
        if middle.endswith(".best") == (suffix == ".best") and (run / QUERIES.format(middle)).is_file():
            yield middle


def _load_pair(run: Path, middle: str) -> tuple[Results, tuple[QueryResult, ...]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    results, queries = run / RESULTS.format(middle), run / QUERIES.format(middle)
    try:
        require_inside(queries, run)
        rows = pq.ParquetFile(queries).read().to_pylist()
        return read_results(results, run), tuple(QueryResult(**row) for row in rows)
    except (OSError, TypeError, pa.ArrowException) as error:
        raise JointreidError(str(error)) from error
