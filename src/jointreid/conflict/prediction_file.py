"""What is predicted of images, as a table in a file and as words."""

import csv
import io
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jointreid.conflict.predict import PredictedOrigins
from jointreid.extraction.predictions import camera_names, domain_names
from jointreid.machine.files import replacing, write_atomically
from jointreid.messages.errors import JointreidError

SUFFIXES = (".csv", ".parquet", ".json")
_SHOWN = 10


def rows_of(found: PredictedOrigins) -> list[dict[str, Any]]:
    """Return a row for each image, with the probability of each domain."""
    domains, cameras = domain_names(found.labels), camera_names(found.labels)
    suggested = {entry.index: entry.suggested for entry in found.suggestions}
    rows = []
    for index, path in enumerate(found.table.values("path") or ()):
        own, camera = found.domain[index], found.camera[index]
        row = {
            "path": path,
            **{name: (found.table.values(name) or [])[index] for name in _stated_columns(found)},
            "predicted_domain": domains[int(own.argmax())],
            "domain_probability": float(own.max()),
            "predicted_camera": cameras[int(camera.argmax())],
            "camera_probability": float(camera.max()),
            "distance": float(found.scores[index]),
            "alarm": bool(found.alarms[index]),
            "suggested_camid": suggested.get(index),
        }
        rows.append(row | {f"p({name})": float(value) for name, value in zip(domains, own, strict=True)})
    return rows


def write_predictions(found: PredictedOrigins, path: Path) -> None:
    """Write the rows as `.csv` or `.parquet`; as `.json` with what was measured and all camera probabilities.

    Raises:
        JointreidError: another kind of file.
    """
    rows, suffix = rows_of(found), path.suffix.lower()
    if suffix == ".json":
        write_atomically(path, json.dumps(to_dict(found), indent=1, allow_nan=False) + "\n")
    elif suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        with replacing(path) as temporary:
            pq.write_table(pa.Table.from_pylist(rows), temporary)
    elif suffix == ".csv":
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(path, text.getvalue())
    else:
        require_suffix(path)


def require_suffix(path: Path) -> None:
    """Refuse a file of another kind than `SUFFIXES`."""
    if path.suffix.lower() not in SUFFIXES:
        raise JointreidError(f"--out is {path}; expected a file that ends in {', '.join(SUFFIXES)}")


def to_dict(found: PredictedOrigins) -> dict[str, Any]:
    """Return everything as plain values, for JSON."""
    domains, cameras, alarm = domain_names(found.labels), camera_names(found.labels), found.alarm
    images = [
        row | {"cameras": dict(zip(cameras, map(float, camera), strict=True))}
        for row, camera in zip(rows_of(found), found.camera, strict=True)
    ]
    return {
        "how": list(found.how),
        "alarm": {
            "layer": alarm.layer,
            "auroc": dict(alarm.aurocs),
            "asked_rate": alarm.asked_rate,
            "least_rate": alarm.least_rate,
            "expected_rate": found.expected_alarms,
            "realised_rate": _finite(alarm.realised_rate),
            "false_alarms": {domains[k]: {"images": n, "share": s} for k, (n, s) in alarm.false_alarms.items()},
            "thresholds": {domains[k]: value for k, value in alarm.thresholds.items()},
            "pooled": [domains[k] for k in alarm.pooled],
            "alarms": int(found.alarms.sum()),
            "drift_p": found.drift_p,
        },
        "cameras": {
            "compared": found.compared,
            "margin": found.margin,
            "suggestions": [vars(entry) for entry in found.suggestions],
            "false_suggestions": {"images": found.false_suggestions[0], "share": _finite(found.false_suggestions[1])},
        },
        "images": images,
    }


def render(found: PredictedOrigins) -> str:
    """Return what is found, in lines for people."""
    return "\n".join(_lines(found))


def _lines(found: PredictedOrigins) -> Iterator[str]:
    domains, alarm, count = domain_names(found.labels), found.alarm, len(found.table)
    yield from (f"{how[0].upper()}{how[1:]}." for how in found.how)
    best = found.domain.argmax(1).tolist()
    shares = {name: best.count(index) / count for index, name in enumerate(domains) if index in best}
    yield f"{count:,} images: " + ", ".join(f"{name} {share:.0%}" for name, share in shares.items()) + "."
    told = "; ".join(f"{domains[k]} {s:.1%} of {n}" for k, (n, s) in alarm.false_alarms.items())
    auroc = f", AUROC {alarm.aurocs[alarm.layer]:.3f} for a data set left out" if alarm.aurocs else ""
    measured = f"{alarm.realised_rate:.1%} ({told})" if told else "not measured, there are too few"
    yield (
        f"Alarm, by distance after {alarm.layer}{auroc}: set for {alarm.asked_rate:.1%} false alarms; on images of the "
        f"run that set no threshold {measured}."
    )
    if alarm.least_rate > alarm.asked_rate:
        yield (
            f"The {round(1 / alarm.least_rate) - 1:,} images that set its threshold are too few for that rate: take "
            f"{alarm.least_rate:.1%} for it, or raise --own-images."
        )
    if alarm.pooled:
        yield (
            f"Too few images are nearest to {', '.join(domains[k] for k in alarm.pooled)} to set a threshold there: "
            "images there are judged by that of all data sets together."
        )
    alarms, p = int(found.alarms.sum()), found.drift_p
    explains = f"chance explains, which is about {found.expected_alarms:.1%}"
    verdict = "not more than" if p >= 0.01 else f"drift, or images of another place: more than (p = {p:.2g})"
    yield f"{alarms:,} of {count:,} images ({alarms / count:.1%}) raise the alarm: {verdict} {explains}."
    yield from _camera_lines(found)


def _camera_lines(found: PredictedOrigins) -> Iterator[str]:
    if found.named:
        yield (
            f"{', '.join(found.named)}: the table names a camera, and a run keeps numbers of cameras alone; these "
            "cameras were not compared."
        )
    if not found.compared:
        yield "No camera was compared: that needs the columns domain (or --domain) and camid, of cameras of the run."
        return
    images, share = found.false_suggestions
    measured = f" On {images} test images of the run it would suggest another for {share:.1%}." if images else ""
    yield (
        f"Stated cameras: {len(found.suggestions):,} of {found.compared:,} contradict the predicted camera by "
        f"{found.margin} or more.{measured}"
    )
    paths = found.table.values("path") or []
    for entry in found.suggestions[:_SHOWN]:
        yield (
            f"  {paths[entry.index]}: {entry.domain} camera {entry.stated} ({entry.stated_probability:.0%}), probably "
            f"{entry.suggested} ({entry.suggested_probability:.0%})"
        )
    if len(found.suggestions) > _SHOWN:
        yield f"  and {len(found.suggestions) - _SHOWN:,} more; --out FILE lists all."


def _stated_columns(found: PredictedOrigins) -> list[str]:
    return [name for name in ("domain", "camid") if found.table.values(name) is not None]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
