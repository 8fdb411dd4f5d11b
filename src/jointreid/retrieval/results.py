"""Results of an evaluation: as records, as files in a run directory, and as a table for people.

Nothing here needs torch. Rates are in [0, 1]; only what is printed is in percent.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from jointreid.data.protocols import ProtocolMatch
from jointreid.machine.files import replacing, write_atomically
from jointreid.machine.hashing import name_on_disk
from jointreid.machine.reading import read_json, require_inside
from jointreid.machine.run_files import FORMAT_VERSION, require_version
from jointreid.messages.commands import command
from jointreid.messages.errors import JointreidError
from jointreid.messages.tables import text_table

RANKS = (1, 5, 10)


@dataclass(frozen=True)
class DomainResult:
    """The accuracy of a model on one data set.

    Attributes:
        domain: the domain's name.
        mAP: mean average precision over the valid queries.
        mINP: mean inverse negative penalty over the valid queries.
        cmc: rank -> share of the valid queries with a match among that many first answers, for `RANKS`.
        num_query: query images, without junk.
        num_valid_queries: those that the gallery holds a match for; the others are skipped.
        num_gallery: gallery images, without junk.
        exclude_same_camera: whether a gallery image of the query's own identity and camera is ignored.
        trained_on: whether the model was trained on a domain of this name.
        domain_accuracy: share of the query and gallery images whose domain the model's heads predict; None if it has no
            such heads or was not trained on the domain.
        camera_accuracy: the same for the cameras, over the images of cameras that the model was trained with.
        protocol: which protocol the data were read in, train and images skipped later among them; None for a data set
            that is not the paper's.
        marks: remarks of the check of the data for which the figures mean less, such as that query images are copies
            of train images; None if the data were not checked, as by earlier versions.
    """

    domain: str
    mAP: float
    mINP: float
    cmc: Mapping[int, float]
    num_query: int
    num_valid_queries: int
    num_gallery: int
    exclude_same_camera: bool
    trained_on: bool
    domain_accuracy: float | None = None
    camera_accuracy: float | None = None
    protocol: ProtocolMatch | None = None
    marks: tuple[str, ...] | None = None

    @property
    def is_marked(self) -> bool:
        """Whether a reader must look at the notes before comparing the figures."""
        return bool(self.marks or (self.protocol and not self.protocol.comparable))

    @property
    def skipped_queries(self) -> int:
        """Queries that the gallery holds no match for."""
        return self.num_query - self.num_valid_queries


@dataclass(frozen=True)
class QueryResult:
    """Result of one query; without a match in the gallery its metrics are None.

    Attributes:
        domain: the query's domain.
        path: its image, below the folder that the domain was read from; its box follows, if it has one.
        pid: its identity.
        camid: its camera.
        valid: whether the gallery holds a match.
        average_precision: mean, over the matches, of the precision at each.
        inverse_negative_penalty: number of matches / rank of the last one.
        first_match_rank: counted from 1.
    """

    domain: str
    path: str
    pid: str
    camid: int
    valid: bool
    average_precision: float | None = None
    inverse_negative_penalty: float | None = None
    first_match_rank: int | None = None


@dataclass(frozen=True)
class Results:
    """Results of an evaluation, and the conditions of it.

    Attributes:
        run: the run's label.
        checkpoint: last or best.
        config: the hash of the run's settings.
        domains: one result a domain, at least one.
        feature: which of the model's outputs was compared.
        metric: by which distance.
        flip: whether features were averaged with those of the mirrored images.
        height: of the images, in pixels.
        width: of the images, in pixels.
        pretraining: what training started from.
        seconds: how long the evaluation took.
        versions: of this package and of PyTorch.
        rerank: whether answers were re-ranked by their k-reciprocal neighbours.
    """

    run: str
    checkpoint: str
    config: str
    domains: tuple[DomainResult, ...]
    feature: str
    metric: str
    flip: bool
    height: int
    width: int
    pretraining: str
    seconds: float
    versions: Mapping[str, str]
    rerank: bool = False

    @property
    def mean(self) -> dict[str, float]:
        """The unweighted mean over the domains of rank1, rank5, rank10, mAP and mINP."""
        rows = [_metrics(result) for result in self.domains]
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}

    def to_dict(self) -> dict[str, Any]:
        """Return the results as plain dicts, lists and numbers, for JSON, the mean among them."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        for entry, result in zip(plain["domains"], self.domains, strict=True):
            entry["skipped_queries"] = result.skipped_queries
        return {"format_version": FORMAT_VERSION, **plain, "mean": self.mean}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Results":
        """Return the results that `to_dict` wrote.

        Raises:
            JointreidError: a key is missing (an earlier version may not have written it) or not of its kind.
        """
        try:
            plain = {"rerank": False, **plain}  # which the first version could not
            domains = tuple(_domain_result(entry) for entry in plain["domains"])
            rest = {f.name: plain[f.name] for f in fields(cls) if f.name != "domains"}
        except KeyError as error:
            raise JointreidError(
                f"not the results of an evaluation by this version: they have no {error.args[0]!r}"
            ) from error
        except (TypeError, AttributeError, ValueError) as error:
            raise JointreidError(f"not the results of an evaluation: {error!r}") from error
        return cls(domains=domains, **rest)


def save_results(results: Results, queries: Sequence[QueryResult], run: Path, *, own: bool = True) -> Path:
    """Write `results.json` and `queries.parquet` into a run directory, each whole or not at all.

    What was found on other data sets than the run's own, or with the checkpoint `best`, never takes the place of what
    tables report: it goes to `results-NAMES.json`, `results.best.json` or `results-NAMES.best.json`.

    Args:
        results: what was found.
        queries: one entry a query.
        run: the run directory.
        own: whether the domains are those of the run itself.

    Returns:
        The JSON file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    suffix = "" if own else "-" + name_on_disk("+".join(result.domain for result in results.domains))
    suffix += "" if results.checkpoint == "last" else f".{results.checkpoint}"
    columns = {field.name: [getattr(query, field.name) for query in queries] for field in fields(QueryResult)}
    with replacing(run / f"queries{suffix}.parquet") as temporary:
        pq.write_table(pa.table(columns), temporary)
    path = run / f"results{suffix}.json"
    write_atomically(path, json.dumps(results.to_dict(), indent=1, allow_nan=False) + "\n")
    return path


def read_results(path: Path, run: Path) -> Results:
    """Read a JSON file that `save_results` wrote into a run directory.

    Raises:
        JointreidError: it is missing, outside the run directory, of a newer version, or damaged.
    """
    require_inside(path, run)
    plain = read_json(path)
    require_version(plain.get("format_version", 1), path)
    return Results.from_dict(plain)


def load_results(run: Path) -> tuple[Results, tuple[QueryResult, ...]]:
    """Return the results on the data sets of the run, with the checkpoint `last`.

    Raises:
        JointreidError: nothing was yet, or a file is damaged; the message names the command to run.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    results, queries = run / "results.json", run / "queries.parquet"
    remedy = f"run `{command('evaluate', run)}`"
    if missing := [path.name for path in (results, queries) if not path.is_file()]:
        raise JointreidError(f"{run} holds no {' and no '.join(missing)}; {remedy}")
    try:
        require_inside(queries, run)
        rows = pq.ParquetFile(queries).read().to_pylist()
        return read_results(results, run), tuple(QueryResult(**row) for row in rows)
    except (JointreidError, OSError, TypeError, pa.ArrowException) as error:
        raise JointreidError(f"{run}: its results are damaged ({error}); {remedy}") from error


def render(results: Results) -> str:
    """Return the results for people: a table in percent with a row of means, and notes below it."""
    rows: list[list[str]] = [
        ["Domain", "Rank-1", "Rank-5", "Rank-10", "mAP", "mINP", "Queries valid/all", "Camera rule"]
    ]
    for result in results.domains:
        queries = f"{result.num_valid_queries:,}/{result.num_query:,}"
        rule = "same camera ignored" if result.exclude_same_camera else "every match counts"
        rows.append([result.domain + _mark(result), *map(percent, _metrics(result).values()), queries, rule])
    rows.append(["mean", *map(percent, results.mean.values()), "", ""])
    how = ", re-ranked" if results.rerank else ""
    title = f"{results.run}, checkpoint {results.checkpoint}{how}, in percent"
    return "\n".join((title, text_table(rows, "lrrrrrrl"), *_notes(results)))


def percent(value: float) -> str:
    """Return a metric in percent with one decimal, as the paper prints it."""
    return f"{100 * value:.1f}"


def _mark(result: DomainResult) -> str:
    return " *" if result.is_marked else ""


def _notes(results: Results) -> Iterator[str]:
    for result in results.domains:
        if result.protocol and not result.protocol.comparable:
            yield f"* {result.domain}: {result.protocol.words}; not comparable with the paper's figures"
        yield from (f"* {result.domain}: {mark}" for mark in result.marks or ())
    flip = "averaged with that of the mirrored image" if results.flip else "without mirroring"
    yield f"{results.metric} distance of {results.feature}, {flip}, {results.height}x{results.width} pixels"
    if results.rerank:
        yield "re-ranked by k-reciprocal neighbours: not comparable with figures without, such as the paper's"
    for result in results.domains:
        if result.skipped_queries:
            yield f"{result.domain}: {result.skipped_queries:,} queries have no match in the gallery and were skipped"
        heads = {"domain": result.domain_accuracy, "camera": result.camera_accuracy}
        if told := [f"the {factor} of {rate:.1%}" for factor, rate in heads.items() if rate is not None]:
            yield f"{result.domain}: the model's heads predict {' and '.join(told)} of the images"
    if unseen := [result.domain for result in results.domains if not result.trained_on]:
        yield f"not trained on: {', '.join(unseen)}"
    if results.pretraining == "none":
        yield "trained from scratch: not comparable with models that start from ImageNet weights"
    else:
        yield f"started from {results.pretraining}"


def _metrics(result: DomainResult) -> dict[str, float]:
    return {**{f"rank{rank}": result.cmc[rank] for rank in RANKS}, "mAP": result.mAP, "mINP": result.mINP}


def _domain_result(entry: Mapping[str, Any]) -> DomainResult:
    marks = entry.get("marks")  # which the first version did not have
    values = {field.name: entry[field.name] for field in fields(DomainResult) if field.name != "marks"}
    values["marks"] = None if marks is None else tuple(map(str, marks))
    values["cmc"] = {int(rank): rate for rank, rate in entry["cmc"].items()}
    values["protocol"] = ProtocolMatch.from_dict(entry["protocol"])
    return DomainResult(**values)
