"""The commands about a gallery of known people: add, search, remove, info, compact."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

from jointreid.cli.options import argument, as_json, device
from jointreid.cli.output import print_json
from jointreid.config import setting
from jointreid.messages.errors import JointreidError

if TYPE_CHECKING:
    from jointreid.gallery.answers import SearchResult
    from jointreid.gallery.filters import Filter
    from jointreid.gallery.gallery import Gallery
    from jointreid.gallery.rows import Floats

# Every similarity is above it.
_NO_THRESHOLD = -2.0


@dataclass(frozen=True, kw_only=True)
class AddOptions:
    """Options of `jointreid gallery add`."""

    gallery: str = argument("GALLERY", "a folder, or s3://..., gs://..., az://...; the first addition makes it")
    files: tuple[str, ...] = argument("FEATURES", "what `jointreid extract` wrote; each file is added whole or not")
    column: tuple[str, ...] = setting(
        (), "a column of the gallery and the file's column that holds it; repeat for more", metavar="NAME=COLUMN"
    )
    set: tuple[str, ...] = setting(
        (),
        "a value for all rows, of pid, name, camera, time, domain, source, consent or retention; repeat for more",
        metavar="NAME=VALUE",
    )
    thumbnails: int = setting(0, "keep a small image of each box, this high; 0 keeps none", metavar="PIXELS")
    json: bool = as_json("the counts")


def add(options: AddOptions) -> int:
    """Add features with what is known of their images; images that are there already stay as they are."""
    from jointreid.gallery.gallery import Gallery
    from jointreid.gallery.rows import FeatureRows
    from jointreid.gallery.thumbnails import with_thumbnails

    gallery = Gallery.open(options.gallery)
    columns, values = _pairs("--column", options.column), _pairs("--set", options.set)
    counts = []
    for file in options.files:
        rows = FeatureRows.read(file, columns=columns, values=values)
        if options.thumbnails:
            rows = with_thumbnails(rows, options.thumbnails)
        added = gallery.add(rows)
        counts.append({"file": file, **vars(added)})
        if not options.json:
            repeated = f", {added.repeated:,} rows repeat an image" if added.repeated else ""
            print(f"{file}: {added.new:,} images added, {added.present:,} were there already{repeated}")
    if options.json:
        print_json(counts)
    return 0


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Options of `jointreid gallery search`."""

    gallery: str = argument("GALLERY", "the gallery")
    query: str = argument("QUERY", "an image, or a .parquet file of features, see --row")
    row: int = setting(0, "of a file of features, the row to search for, from 0", metavar="N")
    box: str = setting("", "of an image, the part that shows the person, in pixels", metavar="X,Y,W,H")
    run: str = setting("", "the run that embeds the image, if it lies elsewhere now", metavar="RUN")
    device: str = device()
    top: int = setting(10, "people to list", metavar="N")
    images: int = setting(3, "images to list of each", metavar="N")
    threshold: float = setting(
        _NO_THRESHOLD, "similarity from which on it is the same person (default: as `calibrate` found)", metavar="X"
    )
    gallery_size: int = setting(
        0, "different people that the verdicts are made for, if more than are compared now", metavar="PEOPLE"
    )
    query_domain: str = setting("", "data set of the query (default: as the network predicts)", metavar="NAME")
    pid: tuple[str, ...] = setting((), "only images of this person; repeat for more", metavar="PID")
    camera: tuple[str, ...] = setting((), "only images of this camera; repeat for more", metavar="CAMERA")
    domain: tuple[str, ...] = setting((), "only images of this domain; repeat for more", metavar="DOMAIN")
    since: str = setting("", "only images taken then or later, such as 2026-03-01T14:30 (UTC)", metavar="TIME")
    until: str = setting("", "only images taken before", metavar="TIME")
    where: str = setting("", "a filter, such as \"camera in (3, 7) and source != 'loan'\"", metavar="FILTER")
    json: bool = as_json("the answer")


def search(options: SearchOptions) -> int:
    """List the nearest people to an image, or say that nobody is close."""
    from jointreid.gallery.filters import all_of, condition, parse_filter
    from jointreid.gallery.gallery import Gallery

    parts: list[Filter | None] = [
        condition(name, "in", *values)
        for name, values in (("pid", options.pid), ("camera", options.camera), ("domain", options.domain))
        if values
    ]
    parts += [condition("time", ">=", options.since) if options.since else None]
    parts += [condition("time", "<", options.until) if options.until else None]
    parts += [parse_filter(options.where) if options.where else None]
    gallery = Gallery.open(options.gallery)
    feature, seen = _query_feature(gallery, options)
    threshold = None if options.threshold == _NO_THRESHOLD else options.threshold
    found = gallery.search(feature, top=options.top, images=options.images, where=all_of(parts), threshold=threshold)
    uncalibrated = ""
    if threshold is None:
        found, uncalibrated = _judged(gallery, found, options, seen)
    if options.json:
        print_json(found.to_dict() | {"uncalibrated": uncalibrated or None})
    else:
        print(found.render())
        print(uncalibrated, end="\n" if uncalibrated else "")
    return 0


def _judged(
    gallery: "Gallery", found: "SearchResult", options: SearchOptions, seen: str | None
) -> "tuple[SearchResult, str]":
    """Return the answer with calibrated verdicts; or as it is, and why there are none."""
    from jointreid.verification.calibration import Calibration, Uncalibrated

    model = gallery.facts().model
    run = options.run or model.run
    if not run:
        return found, "no verdicts: the gallery does not say which run made its features; name it with --run"
    try:
        calibration = Calibration.load(run, model.checkpoint, model.fingerprint)
    except Uncalibrated as error:
        return found, f"no verdicts: {error}"
    if options.query_domain and options.query_domain not in calibration.domains:
        known = ", ".join(calibration.domains)
        raise JointreidError(f"no thresholds were made for data set {options.query_domain}; there are some for {known}")
    size = max(found.searched_people, options.gallery_size, 1)
    return found.judged(calibration.search_bounds(size, [options.query_domain or seen])), ""


@dataclass(frozen=True, kw_only=True)
class RemoveOptions:
    """Options of `jointreid gallery remove`."""

    gallery: str = argument("GALLERY", "the gallery")
    pid: tuple[str, ...] = setting((), "a person; repeat for more", metavar="PID")
    domain: str | None = setting(
        None, 'of the people, where a pid is in several domains; "" for those without one', metavar="DOMAIN"
    )
    where: str = setting("", "images by a filter, such as \"source = 'loan'\"", metavar="FILTER")
    expire: bool = setting(False, "images whose retention date is before today; always as with --purge")
    purge: bool = setting(False, "leave no byte of them in the gallery's files; writes the whole table anew")
    dry_run: bool = setting(False, "list what would be removed, and remove nothing")
    json: bool = as_json("what was removed")


def remove(options: RemoveOptions) -> int:
    """Remove people or images; with --purge for good."""
    from jointreid.gallery.filters import parse_filter
    from jointreid.gallery.gallery import Gallery

    gallery = Gallery.open(options.gallery)
    removed = gallery.remove(
        pid=options.pid,
        domain=options.domain,
        where=parse_filter(options.where) if options.where else None,
        expired=date.today() if options.expire else None,
        purge=options.purge,
        dry_run=options.dry_run,
    )
    print_json(removed.to_dict()) if options.json else print(removed.render())
    return 0


@dataclass(frozen=True, kw_only=True)
class InfoOptions:
    """Options of `jointreid gallery info`."""

    gallery: str = argument("GALLERY", "the gallery")
    json: bool = as_json("it")


def info(options: InfoOptions) -> int:
    """Print how many images and people there are, of which model, and the files that were added."""
    from jointreid.gallery.gallery import Gallery
    from jointreid.gallery.overview import render

    plain = Gallery.open(options.gallery).info()
    print_json(plain) if options.json else print(render(plain))
    return 0


@dataclass(frozen=True, kw_only=True)
class CompactOptions:
    """Options of `jointreid gallery compact`."""

    gallery: str = argument("GALLERY", "the gallery")


def compact(options: CompactOptions) -> int:
    """Write the gallery anew, without what was removed before, and build its index if it is large."""
    from jointreid.gallery.gallery import Gallery

    gallery = Gallery.open(options.gallery)
    before = gallery.info()["bytes"]
    gallery.compact()
    after = gallery.info()
    print(
        f"{gallery.uri}: {after['images']:,} images, {before / 1e6:,.1f} MB before, {after['bytes'] / 1e6:,.1f} MB now"
    )
    return 0


def _query_feature(gallery: "Gallery", options: SearchOptions) -> "tuple[Floats, str | None]":
    """Return the feature to search for, made by the gallery's model, and the data set that the model sees in it."""
    model = gallery.facts().model
    if options.query.lower().endswith(".parquet"):
        from jointreid.gallery.rows import read_domain, read_feature

        feature, fingerprint = read_feature(options.query, options.row)
        gallery.require_model(fingerprint, options.query)
        return feature, read_domain(options.query, options.row)
    run = options.run or model.run
    if not run:
        raise JointreidError(f"{gallery.uri}: does not say which run made its features; name it with --run")
    from jointreid.extraction.embedder import Embedder

    try:
        embedder = Embedder.load(run, model.checkpoint, options.device, flip=model.flip)
    except JointreidError as error:
        if options.run:
            raise
        raise JointreidError(f"{error}; if the run was moved, say where it is with --run") from error
    gallery.require_model(embedder.fingerprint, run)
    from jointreid.extraction.embedder import unit_length
    from jointreid.extraction.image_input import cut_boxes, rgb_pixels

    pixels = rgb_pixels(options.query, options.query, "rgb")
    described = embedder.describe(cut_boxes(pixels, [_box(options.box)]) if options.box else [pixels])
    return unit_length(described.features)[0], embedder.predict(described)[0].likely_domain


def _box(text: str) -> list[float]:
    try:
        x, y, w, h = map(float, text.split(","))
    except ValueError as error:
        raise JointreidError(f"--box {text}: expected four numbers, X,Y,W,H, in pixels") from error
    return [x, y, w, h]


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise JointreidError(f"{option} {text}: expected NAME=...")
        pairs[name] = value
    return pairs
