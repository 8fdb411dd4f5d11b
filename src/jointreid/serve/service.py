"""Searches, additions and erasures, from requests to answers; knows nothing of HTTP.

A mistake in what a client sent is a `ClientMistake`, whose message it gets. Messages of other errors may name paths of
this machine, and are not for clients.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointreid.extraction.embedder import Embedder, unit_length
from jointreid.extraction.image_input import cut_boxes
from jointreid.extraction.predictions import Prediction
from jointreid.gallery.answers import Person
from jointreid.gallery.columns import image_key
from jointreid.gallery.filters import Condition, Filter, all_of, condition, filter_columns, parse_filter
from jointreid.gallery.gallery import Gallery
from jointreid.gallery.rows import FeatureModel, FeatureRows
from jointreid.gallery.thumbnails import thumbnail
from jointreid.messages.errors import JointreidError
from jointreid.serve import schema
from jointreid.serve.contents import contents
from jointreid.serve.judge import Judge
from jointreid.serve.pictures import decoded, upright_pixels
from jointreid.serve.settings import ServeSettings
from jointreid.verification.verdicts import Verdict

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Box = tuple[int, int, int, int]  # left, top, width, height in pixels

_THUMBNAIL_HEIGHT = 128
_NOT_REACHED = "not touched: the images themselves, files of features, backups and copies"


class ClientMistake(JointreidError):
    """A mistake in a request; the message has no paths of this machine."""


@dataclass(frozen=True)
class Described:
    """Boxes of one image, as the model sees them.

    Attributes:
        width: of the upright image, in pixels.
        height: of it.
        digest: SHA-256 of the file, in hex.
        boxes: as they were cut, (x, y, width, height); None for all of the image.
        features: float32 [N, D] of length 1, one row for each.
        seen: domain and camera that the model sees in each.
        small: a JPEG of each, if asked for.
    """

    width: int
    height: int
    digest: str
    boxes: tuple[Box | None, ...]
    features: Floats
    seen: tuple[Prediction, ...]
    small: tuple[bytes | None, ...]


@dataclass(frozen=True, eq=False)
class Service:
    """A gallery with the model that made its features.

    Attributes:
        embedder: the model; used by one thread at a time.
        gallery: the gallery; used by many.
        model: what new features are said to be made by.
        judge: gives the verdicts.
        settings: the limits.
    """

    embedder: Embedder
    gallery: Gallery
    model: FeatureModel
    judge: Judge
    settings: ServeSettings

    def describe(self, image: str, boxes: Sequence[Sequence[float]], *, small: bool = False) -> Described:
        """Return what the model sees in the boxes of an image, or in all of it; not by two threads at once.

        Args:
            image: the file in base64.
            boxes: left, top, width, height of each person.
            small: also make a small JPEG of each.

        Raises:
            ClientMistake: the image is none or too large, or a box shows none of it.
        """
        with _told_to_client():
            if len(boxes) > self.settings.max_boxes:
                raise ClientMistake(f"{len(boxes)} boxes; expected at most {self.settings.max_boxes}")
            content = decoded(image, self.settings.max_bytes)
            pixels = upright_pixels(content, self.settings.max_pixels)
            height, width = pixels.shape[:2]
            places: list[Box | None] = [_inside(box, width, height) for box in boxes]
            places = places or [None]
            cuts = [pixels if place is None else cut_boxes(pixels, [place])[0] for place in places]
        found = self.embedder.describe(list(cuts))
        return Described(
            width,
            height,
            hashlib.sha256(content).hexdigest(),
            tuple(places),
            unit_length(found.features),
            tuple(self.embedder.predict(found)),
            tuple(thumbnail(cut, _THUMBNAIL_HEIGHT) if small else None for cut in cuts),
        )

    def search(self, described: Described, asked: schema.SearchRequest) -> schema.SearchAnswer:
        """Return the nearest people to each box.

        Raises:
            ClientMistake: a filter cannot be read.
        """
        with _told_to_client():
            where = _filter_of(asked)
        if not self.gallery.exists():
            raise ClientMistake("the gallery is empty; add somebody first")
        answers, total = [], 0
        for box, feature, seen in zip(described.boxes, described.features, described.seen, strict=True):
            model = self.model.fingerprint
            found = self.gallery.search(feature, top=asked.top, images=asked.images, where=where, fingerprint=model)
            total = found.total
            judgement = self.judge.judge(seen.likely_domain, found.searched_people)
            keys = [hit.key for person in found.people for hit in person.hits]
            small = self.gallery.thumbnails(keys) if asked.thumbnails and keys else {}
            people = [_person(one, judgement.verdict(one.similarity), small) for one in found.people]
            answers.append(
                schema.BoxAnswer(
                    box=None if box is None else list(box),
                    seen=schema.SeenAnswer(**seen._asdict()),
                    nobody=all(person.verdict == "different" for person in people),
                    people=people,
                    searched=found.searched,
                    searched_people=found.searched_people,
                    exact=found.exact,
                    same_from=judgement.same,
                    different_below=judgement.different,
                    note=judgement.note,
                )
            )
        return schema.SearchAnswer(width=described.width, height=described.height, total=total, answers=answers)

    def add(self, described: Described, asked: schema.AddRequest) -> schema.AddAnswer:
        """Add the person in the first box.

        Raises:
            ClientMistake: a time or a date cannot be read.
        """
        path, box = f"sent/{described.digest}", described.boxes[0]
        names = ("pid", "name", "camera", "time", "domain", "source", "consent", "retention")
        columns: dict[str, list[Any]] = {name: [getattr(asked, name)] for name in names if getattr(asked, name)}
        if box is not None:
            columns |= {name: [value] for name, value in zip("xywh", box, strict=True)}
        with _told_to_client():
            rows = FeatureRows.of(described.features[:1], [path], self.model, origin="", columns=columns)
        added = self.gallery.add(rows.with_thumbnails(described.small[:1]))
        return schema.AddAnswer(key=image_key(path, box or (None,)), added=added.new == 1)

    def erase(self, asked: schema.EraseRequest) -> schema.EraseAnswer:
        """Remove a person, or images, for good.

        Raises:
            ClientMistake: the request names nobody, or both a person and images.
        """
        if (asked.pid is None) == (not asked.keys):
            raise ClientMistake("give either a pid or keys of images")
        if not self.gallery.exists():
            raise ClientMistake("the gallery is empty")
        if asked.pid is None:
            chosen = Condition("key", "in", tuple(asked.keys))
            removed = self.gallery.remove(where=chosen, purge=True, dry_run=asked.dry_run)
        else:  # without a domain, only images that have none
            removed = self.gallery.remove(pid=asked.pid, domain=asked.domain or "", purge=True, dry_run=asked.dry_run)
        return schema.EraseAnswer(
            images=removed.images,
            people=list(removed.people),
            erased=removed.purged,
            files=len(removed.files),
            note=_NOT_REACHED,
        )

    def info(self) -> schema.InfoAnswer:
        """Return what is in the gallery, and the limits."""
        limits = schema.LimitsAnswer(
            bytes=self.settings.max_bytes,
            pixels=self.settings.max_pixels,
            boxes=self.settings.max_boxes,
            requests_per_minute=self.settings.rate,
        )
        return schema.InfoAnswer(
            version=version("jointreid"),
            model=self.embedder.fingerprint[:12],
            read_only=self.settings.read_only,
            limits=limits,
            **contents(self.gallery),
        )


@contextmanager
def _told_to_client() -> Iterator[None]:
    """Turn an error about what the client sent into one whose message it gets."""
    try:
        yield
    except ClientMistake:
        raise
    except JointreidError as error:
        raise ClientMistake(str(error)) from error


def _inside(box: Sequence[float], width: int, height: int) -> Box:
    """Return a box in whole pixels, cut at the edges of the image."""
    x, y, w, h = box
    # Cut first and rounded then: the sum of two large numbers may be infinite.
    left, right = (round(min(max(value, 0), width)) for value in (x, x + w))
    top, bottom = (round(min(max(value, 0), height)) for value in (y, y + h))
    if left >= right or top >= bottom:
        raise ClientMistake(f"the box {list(box)} shows no pixel of the image of {width} x {height} pixels")
    return left, top, right - left, bottom - top


def _filter_of(asked: schema.SearchRequest) -> Filter | None:
    parts: list[Filter | None] = [
        condition(name, "in", *values)
        for name, values in (("pid", asked.pid), ("camera", asked.camera), ("domain", asked.domain))
        if values
    ]
    parts += [condition("time", ">=", asked.since) if asked.since else None]
    parts += [condition("time", "<", asked.until) if asked.until else None]
    if asked.where:
        parts.append(parse_filter(asked.where))
        if "path" in filter_columns(parts[-1]):
            raise ClientMistake("filter: path: where images lie on the server is not for clients")
    return all_of(parts)


def _person(person: Person, verdict: Verdict | None, small: dict[str, bytes]) -> schema.PersonAnswer:
    images = [
        schema.ImageAnswer(
            key=hit.key,
            similarity=hit.similarity,
            box=None if hit.box is None else list(hit.box),
            camera=hit.camera,
            time=hit.time.isoformat() if hit.time else None,
            domain=hit.domain,
            source=hit.source,
            thumbnail=base64.b64encode(small[hit.key]).decode() if hit.key in small else None,
        )
        for hit in person.hits
    ]
    return schema.PersonAnswer(
        pid=person.pid,
        name=person.name,
        domain=person.domain,
        similarity=person.similarity,
        verdict=verdict,
        images=images,
    )
