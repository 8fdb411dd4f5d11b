"""Two images of a person, or of two: their similarity, and the verdict on it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointreid.data.table_files import read_csv
from jointreid.data.table_row import path_below
from jointreid.extraction.embedder import Embedder, unit_length
from jointreid.extraction.predictions import Prediction
from jointreid.machine.paths import user_path
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few
from jointreid.run import Run, open_run
from jointreid.verification.calibration import Calibration, Uncalibrated, read_calibration
from jointreid.verification.verdicts import Decision

_COLUMNS = ("a", "b", "domain_a", "domain_b", "across_cameras")


@dataclass(frozen=True)
class ImagePair:
    """Two images to compare.

    Attributes:
        a: path of the one.
        b: path of the other.
        domain_a: the data set that the one belongs to; empty to ask the network.
        domain_b: that of the other.
        across_cameras: they are known to be of two cameras.
    """

    a: str
    b: str
    domain_a: str = ""
    domain_b: str = ""
    across_cameras: bool = False


@dataclass(frozen=True)
class ComparedPair:
    """Two images with their similarity.

    Attributes:
        pair: the images.
        similarity: cosine of their features, -1 to 1.
        domains: the data set of each, as known or predicted; None if neither.
        probabilities: of the predictions; None of what is known.
        decision: the verdict; None without a calibration.
    """

    pair: ImagePair
    similarity: float
    domains: tuple[str | None, str | None]
    probabilities: tuple[float | None, float | None]
    decision: Decision | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        plain: dict[str, Any] = {
            "a": self.pair.a,
            "b": self.pair.b,
            "domains": list(self.domains),
            "probabilities": list(self.probabilities),
            "across_cameras": self.pair.across_cameras,
            "similarity": self.similarity,
            "verdict": None,
        }
        return plain | (self.decision.to_dict() if self.decision else {})


@dataclass(frozen=True)
class Comparison:
    """Compared pairs.

    Attributes:
        pairs: in the order that they were given in.
        uncalibrated: why there are no verdicts, and how to get them; empty where there are.
    """

    pairs: tuple[ComparedPair, ...]
    uncalibrated: str

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values for JSON."""
        return {"pairs": [pair.to_dict() for pair in self.pairs], "uncalibrated": self.uncalibrated or None}


def match(
    run: Run | str | Path, pairs: Sequence[ImagePair], checkpoint: str = "last", device: str = "auto"
) -> Comparison:
    """Compare pairs of images; each image is embedded once.

    Args:
        run: a run, or its directory.
        pairs: the images.
        checkpoint: last or best.
        device: auto, cpu, cuda or mps.

    Raises:
        JointreidError: not a run, an unreadable image, a data set without thresholds, or a damaged calibration.
    """
    run = run if isinstance(run, Run) else open_run(run)
    calibration, why = find_calibration(run.path, checkpoint)
    embedder = Embedder.load(run, checkpoint, device, flip=calibration is not None and calibration.flip)
    if calibration is not None:
        try:
            calibration.require_current(embedder.fingerprint, run.path)
            _require_domains(calibration, pairs)
        except Uncalibrated as error:
            calibration, why = None, str(error)
    paths = list(dict.fromkeys(path for pair in pairs for path in (pair.a, pair.b)))
    described = embedder.describe([user_path(path) for path in paths])
    features, seen = unit_length(described.features), embedder.predict(described)
    row = {path: i for i, path in enumerate(paths)}
    compared = []
    for pair in pairs:
        similarity = min(1.0, max(-1.0, float(features[row[pair.a]] @ features[row[pair.b]])))
        (domain_a, share_a), (domain_b, share_b) = (
            _domain(pair.domain_a, seen[row[pair.a]]),
            _domain(pair.domain_b, seen[row[pair.b]]),
        )
        decision = None
        if calibration is not None:
            decision = calibration.decide(similarity, (domain_a, domain_b), across_cameras=pair.across_cameras)
        compared.append(ComparedPair(pair, similarity, (domain_a, domain_b), (share_a, share_b), decision))
    return Comparison(tuple(compared), why)


def find_calibration(run: Path, checkpoint: str) -> tuple[Calibration | None, str]:
    """Return the calibration in a run directory, whatever its weights are now; or None, and why there is none."""
    try:
        return read_calibration(run, checkpoint), ""
    except Uncalibrated as error:
        return None, str(error)


def read_pairs(path: Path) -> list[ImagePair]:
    """Read a table of pairs: columns `a` and `b`, and optionally `domain_a`, `domain_b` and `across_cameras` (1 or 0).

    Paths are relative to the table's folder and stay below it, so that a table from somebody else reaches no other
    files.

    Raises:
        JointreidError: no CSV, an unknown or missing column, a row that lacks something, or a path that leads
            elsewhere.
    """
    if path.suffix.lower() != ".csv":
        raise JointreidError(f"{path}: expected a .csv file with the columns a and b")
    if not path.is_file():
        raise JointreidError(f"{path} does not exist; expected a .csv file with the columns a and b")
    number, columns, rows = read_csv(path, path.read_bytes())
    if missing := {"a", "b"} - set(columns):
        raise JointreidError(f"{path}, row {number}: no column {first_few(sorted(missing))}; found {','.join(columns)}")
    if strange := [name for name in columns if name not in _COLUMNS]:
        raise JointreidError(
            f"{path}, row {number}: column {strange[0]!r} is unknown; expected some of {','.join(_COLUMNS)}"
        )
    pairs = []
    for number, cells in rows:
        row = dict(zip(columns, cells, strict=False))
        flag = row.get("across_cameras", "")
        if not row.get("a") or not row.get("b") or flag not in ("", "0", "1"):
            raise JointreidError(
                f"{path}, row {number}: expected a path in a and in b, and 0 or 1 in across_cameras; found {row}"
            )
        a, b = (_below(path, number, name, row[name]) for name in ("a", "b"))
        pairs.append(ImagePair(a, b, row.get("domain_a", ""), row.get("domain_b", ""), flag == "1"))
    if not pairs:
        raise JointreidError(f"{path}: holds no pairs; expected one a row")
    return pairs


def _below(table: Path, number: int, column: str, cell: str) -> str:
    """Return the path of an image of a table's row."""
    below = path_below(str(table.parent.absolute()), cell)
    if below is None:
        raise JointreidError(
            f"{table}, row {number}, column {column}: {cell!r} does not stay below the table's folder "
            f"{table.parent.absolute()}; move the table to a folder above all images"
        )
    return str(table.parent / below)


def render(found: Comparison) -> str:
    """Return one pair as sentences; several as a list, the bounds below it."""
    if len(found.pairs) == 1:
        return "\n".join([_headline(found.pairs[0]), *_reasons(found)])
    lines = [
        f"{pair.decision.verdict if pair.decision else 'no verdict':<10} {pair.similarity:6.3f}  "
        f"{pair.pair.a}  {pair.pair.b}"
        for pair in found.pairs
    ]
    verdicts = [pair.decision.verdict for pair in found.pairs if pair.decision]
    if verdicts:
        counts = (f"{verdicts.count(word):,} {word}" for word in ("same", "different", "unsure"))
        lines.append(f"{len(found.pairs):,} pairs: {', '.join(counts)}")
    return "\n".join([*lines, *_reasons(found)])


def _headline(pair: ComparedPair) -> str:
    seen = []
    for name, domain, share in zip("ab", pair.domains, pair.probabilities, strict=True):
        if domain is not None:
            seen.append(f"{name}: {domain}" + ("" if share is None else f", probability {share:.2f}"))
    verdict = f"{pair.decision.verdict}: " if pair.decision else ""
    return f"{verdict}similarity {pair.similarity:.3f}" + (f" (data set of {'; of '.join(seen)})" if seen else "")


def _reasons(found: Comparison) -> list[str]:
    if found.uncalibrated:
        return [f"no verdict: {found.uncalibrated}"]
    return list(dict.fromkeys(pair.decision.bounds.render() for pair in found.pairs if pair.decision))


def _domain(known: str, seen: Prediction) -> tuple[str | None, float | None]:
    """Return the data set of an image, and its probability where it is a prediction."""
    if known:
        return known, None
    return (seen.likely_domain, seen.domain_probability) if seen.likely_domain else (None, None)


def _require_domains(calibration: Calibration, pairs: Sequence[ImagePair]) -> None:
    """Refuse a data set that was named and has no thresholds."""
    named = {name for pair in pairs for name in (pair.domain_a, pair.domain_b) if name}
    if strange := sorted(named - set(calibration.domains)):
        raise JointreidError(
            f"no thresholds were made for data set {strange[0]}; there are some for {', '.join(calibration.domains)}"
        )
