"""Results of an evaluation: as records, and as a table for people; `result_files` saves and loads them.

Nothing here needs torch. Rates are in [0, 1]; only what is printed is in percent.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from jointreid.data.protocols import LEAVE_ONE_OUT, ProtocolMatch
from jointreid.machine.run_files import FORMAT_VERSION
from jointreid.messages.errors import JointreidError
from jointreid.messages.tables import text_table

RANKS = (1, 5, 10)


@dataclass(frozen=True)
class Conditions:
    """When and how a domain was evaluated: the domains of a run may be evaluated one by one.

    Attributes:
        date: in UTC, such as 2026-01-31T12:00:00Z; empty where an earlier version evaluated.
        checkpoint: last or best.
        step: the steps that its weights were trained for, if known.
        flip: whether features were averaged with those of the mirrored images.
        rerank: whether answers were re-ranked.
        source: what `--data` names to read the domain, if it is not the run's own.
    """

    date: str
    checkpoint: str
    step: int | None
    flip: bool
    rerank: bool
    source: str = ""


@dataclass(frozen=True)
class MergedResult:
    """The accuracy on one data set whose queries are searched in the galleries of several data sets at once.

    Images of other data sets are wrong answers; the valid queries are those of the data set's own gallery.

    Attributes:
        domains: the data sets whose galleries are merged, its own among them.
        num_gallery: gallery images of all of them, without junk.
        mAP: mean average precision.
        mINP: mean inverse negative penalty.
        cmc: rank -> share of the valid queries with a match among that many first answers, for `RANKS`.
        overtaken: share of the valid queries for which an image of another data set comes before the first match. None
            where distances are re-ranked: there a larger gallery also changes the order of a data set's own images.
    """

    domains: tuple[str, ...]
    num_gallery: int
    mAP: float
    mINP: float
    cmc: Mapping[int, float]
    overtaken: float | None


@dataclass(frozen=True)
class UnseenCamera:
    """The accuracy on the queries of a camera that the model was not trained with, though it was on the domain.

    They are searched in the whole gallery, like all others.

    Attributes:
        camid: the camera.
        num_valid_queries: its queries that the gallery holds a match for.
        rank1: share of these with a match as first answer.
        mAP: mean average precision over these.
        mINP: mean inverse negative penalty over these.
    """

    camid: int
    num_valid_queries: int
    rank1: float
    mAP: float
    mINP: float


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
        conditions: when and how it was evaluated; None in results that are not saved yet.
        merged: the accuracy with the galleries of several data sets; None if that was not asked for.
        unseen_cameras: the accuracy on each camera of the domain that the model was not trained with.
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
    conditions: Conditions | None = None
    merged: MergedResult | None = None
    unseen_cameras: tuple[UnseenCamera, ...] = ()

    @property
    def is_marked(self) -> bool:
        """True if a reader must look at the notes before comparing the figures."""
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

    def dated(self, step: int | None, sources: Mapping[str, str] | None = None) -> "Results":
        """Return the results with the conditions of now on each domain.

        Args:
            step: the steps that the weights were trained for, if known.
            sources: domain -> what `--data` names to read it, of domains that are not the run's own.
        """
        date = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        sources = sources or {}
        domains = tuple(
            replace(
                result,
                conditions=Conditions(
                    date, self.checkpoint, step, self.flip, self.rerank, sources.get(result.domain, "")
                ),
            )
            for result in self.domains
        )
        return replace(self, domains=domains)

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


def render(results: Results) -> str:
    """Return the results for people: a table in percent with a row of means, and notes below it."""
    rows: list[list[str]] = [
        ["Domain", "Rank-1", "Rank-5", "Rank-10", "mAP", "mINP", "Queries valid/all", "Camera rule"]
    ]
    for result in results.domains:
        queries = f"{result.num_valid_queries:,}/{result.num_query:,}"
        rule = "same camera ignored" if result.exclude_same_camera else "every match counts"
        if result.protocol and result.protocol.name == LEAVE_ONE_OUT:
            rule = f"leave-one-out, {rule}"
        rows.append([result.domain + _mark(result), *map(percent, _metrics(result).values()), queries, rule])
    rows.append(["mean", *map(percent, results.mean.values()), "", ""])
    how = ", re-ranked" if results.rerank else ""
    title = f"{results.run}, checkpoint {results.checkpoint}{how}, in percent"
    return "\n".join((title, text_table(rows, "lrrrrrrl"), *_notes(results), *_merged_table(results)))


def _merged_table(results: Results) -> Iterator[str]:
    """Yield how accuracy drops when the galleries of several data sets are merged, if that was evaluated."""
    found = [(result, result.merged) for result in results.domains if result.merged]
    for names in dict.fromkeys(merged.domains for _, merged in found):  # they may have been evaluated one by one
        rows = [["Domain", "Rank-1", "merged", "drop", "mAP", "merged", "drop", "Overtaken", "Gallery images"]]
        for result, merged in found:
            if merged.domains == names:
                pairs = ((result.cmc[1], merged.cmc[1]), (result.mAP, merged.mAP))
                cells = [text for own, other in pairs for text in (percent(own), percent(other), percent(own - other))]
                overtaken = "" if merged.overtaken is None else percent(merged.overtaken)
                counts = f"{result.num_gallery:,} -> {merged.num_gallery:,}"
                rows.append([result.domain, *cells, overtaken, counts])
        yield ""
        yield f"each query searched in the merged gallery of {', '.join(names)}, in percent"
        yield text_table(rows, "lrrrrrrrr")
    if found:
        yield (
            "people of other data sets are wrong answers. Overtaken: queries for which an image of another data set "
            "comes before the first match"
        )


def percent(value: float) -> str:
    """Return a metric or a difference in percent with one decimal, as the paper prints it; 0 has no sign.

    >>> percent(0.4567), percent(-0.0001)
    ('45.7', '0.0')
    """
    return f"{100 * value:z.1f}"


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
    for result in results.domains:
        for camera in result.unseen_cameras:
            yield (
                f"{result.domain}: not trained with camera {camera.camid}, whose {camera.num_valid_queries:,} queries "
                f"have Rank-1 {percent(camera.rank1)}, mAP {percent(camera.mAP)}, mINP {percent(camera.mINP)}"
            )
    if unseen := [result.domain for result in results.domains if not result.trained_on]:
        yield f"not trained on: {', '.join(unseen)}"
    if results.pretraining == "none":
        yield "trained from scratch: not comparable with models that start from ImageNet weights"
    else:
        yield f"started from {results.pretraining}"


def _metrics(result: DomainResult) -> dict[str, float]:
    return {**{f"rank{rank}": result.cmc[rank] for rank in RANKS}, "mAP": result.mAP, "mINP": result.mINP}


def _domain_result(entry: Mapping[str, Any]) -> DomainResult:
    earlier = {"marks": None, "conditions": None, "merged": None, "unseen_cameras": ()}  # not written by all versions
    entry = {**earlier, **entry}
    values = {field.name: entry[field.name] for field in fields(DomainResult)}
    values["marks"] = None if entry["marks"] is None else tuple(map(str, entry["marks"]))
    values["cmc"] = {int(rank): rate for rank, rate in entry["cmc"].items()}
    values["protocol"] = ProtocolMatch.from_dict(entry["protocol"])
    values["conditions"] = Conditions(**values["conditions"]) if values["conditions"] else None
    values["unseen_cameras"] = tuple(UnseenCamera(**camera) for camera in entry["unseen_cameras"])
    if merged := entry["merged"]:
        cmc = {int(rank): rate for rank, rate in merged["cmc"].items()}
        values["merged"] = MergedResult(**{**merged, "domains": tuple(merged["domains"]), "cmc": cmc})
    return DomainResult(**values)
