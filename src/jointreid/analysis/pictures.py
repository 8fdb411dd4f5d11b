"""Ranked lists as HTML: small pictures with a frame whose shape and colour mark right and wrong."""

import base64
import io
from collections.abc import Callable, Iterator
from functools import cache

from PIL import Image

from jointreid.analysis.html import Html, join, tag
from jointreid.analysis.ranklists import DomainLists, QueryLists, RankedImage, RankedList, config_as_evaluated
from jointreid.data.decode import read_image
from jointreid.data.records import Domain, ImageRecord
from jointreid.retrieval.results import percent

# Pixels at most; a picture is shown no wider.
SIZE = (64, 128)
QUALITY = 82
# What the number below an answer is.
SIMILARITY, DISTANCE, RERANKED = "similarity (cosine, 1 at most)", "distance", "re-ranked distance"

# Image -> its thumbnail.
Thumbnails = Callable[[ImageRecord], str]


def render_domain(shown: DomainLists) -> Html:
    """Return a domain's ranked lists."""
    domain = shown.domain
    thumbnails = cache(thumbnail)  # the lists of several runs hold the same images
    rule = (
        "Pictures of the same person from the same camera as the query are left out."
        if domain.exclude_same_camera
        else "Pictures from every camera count, also from the query's."
    )
    if domain.leave_one_out:
        rule = f"Every picture asks all others of the test split. {rule}"
    return tag(
        "section",
        tag("h3", domain.name),
        tag("p", rule, class_="soft"),
        tag("p", f"Terms of use of these pictures: {domain.terms}", class_="soft") if domain.terms else Html(),
        *(_query(query, domain, thumbnails) for query in shown.queries),
        Html() if shown.queries else tag("p", "No query has a match in the evaluation of every run, so none is shown."),
    )


def symbols(*, junk: bool = False) -> Html:
    """Return the marks of right, wrong and, if asked for, junk, for `use` elsewhere on the page."""
    right = tag("symbol", tag("path", d="M3.5 8.5l3 3 6-7"), id="right", viewBox="0 0 16 16")
    wrong = tag("symbol", tag("path", d="M4.5 4.5l7 7m0-7l-7 7"), id="wrong", viewBox="0 0 16 16")
    ignored = tag("symbol", tag("path", d="M4 8h8"), id="junk", viewBox="0 0 16 16") if junk else Html()
    return tag("svg", right, wrong, ignored, class_="symbols", aria_hidden="true")


def mark(kind: str) -> Html:
    """Return the mark of `right`, `wrong` or `junk`."""
    return tag("svg", tag("use", href=f"#{kind}"), class_=f"mark {kind}", aria_hidden="true")


def thumbnail(record: ImageRecord) -> str:
    """Return an image as a `data:` address that holds a small JPEG.

    Raises:
        JointreidError: the image is unreadable.
    """
    return data_address(small_jpeg(record))


def small_jpeg(record: ImageRecord, size: tuple[int, int] = SIZE) -> bytes:
    """Return an image as a JPEG file of its own shape that fits in `size`, width and height.

    Raises:
        JointreidError: the image is unreadable.
    """
    image = Image.fromarray(read_image(record))
    image.thumbnail(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()


def data_address(jpeg: bytes) -> str:
    """Return the `data:` address of a JPEG file."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode()}"


def differences(shown: DomainLists) -> Iterator[str]:
    """Yield the names of the runs whose lists differ from their evaluation."""
    lists = [ranked for query in shown.queries for ranked in query.lists]
    yield from dict.fromkeys(ranked.run.name for ranked in lists if not ranked.as_evaluated)


def numbers_shown(shown: DomainLists) -> Iterator[str]:
    """Yield what the numbers below the answers of a domain are, each kind once."""
    lists = [ranked for query in shown.queries for ranked in query.lists]
    yield from dict.fromkeys(_number_of(ranked, shown.domain) for ranked in lists)


def _number_of(ranked: RankedList, domain: Domain) -> str:
    how = config_as_evaluated(ranked.run, domain).eval
    if how.rerank:  # these distances are in [0, 1] under any metric
        return RERANKED
    return SIMILARITY if how.metric == "cosine" else DISTANCE


def _query(shown: QueryLists, domain: Domain, thumbnails: Thumbnails) -> Html:
    record = shown.record
    who = f"person {record.pid}, camera {record.camid}"
    matches = "1 match" if shown.num_matches == 1 else f"{shown.num_matches:,} matches"
    facts = tag("b", "Query"), _pid(record), f"camera {record.camid}", f"{matches} in the gallery"
    asked = tag(
        "figure",
        tag("img", src=thumbnails(record), alt=f"query: {who}", width=SIZE[0], height=SIZE[1]),
        tag("figcaption", *(part for fact in facts for part in (fact, tag("br")))),
        class_="asked",
    )
    return tag(
        "article",
        tag("h4", shown.why),
        asked,
        tag("div", *(_ranked(ranked, domain, thumbnails) for ranked in shown.lists), class_="lists"),
        class_="query",
    )


def _ranked(ranked: RankedList, domain: Domain, thumbnails: Thumbnails) -> Html:
    result, run, number = ranked.result, ranked.run, _number_of(ranked, domain)
    rank, precision = result.first_match_rank, percent(result.average_precision or 0.0)
    found = f"first match at rank {rank:,}, average precision {precision}%{', re-ranked' * (number == RERANKED)}"
    pictures = (_picture(image, rank, number, thumbnails) for rank, image in enumerate(ranked.images, start=1))
    return tag(
        "div",
        tag("p", tag("b", run.key, class_="badge"), " ", tag("b", run.name), tag("br"), tag("span", found)),
        tag("ol", *pictures),
        class_="ranked",
    )


def _picture(image: RankedImage, rank: int, number: str, thumbnails: Thumbnails) -> Html:
    record, kind = image.record, "right" if image.right else "wrong"
    who = "distractor" if record.distractor else f"person {record.pid}"
    alone = f"{-image.distance:.3f}" if number == SIMILARITY else f"{image.distance:.4g}"
    picture = tag(
        "img",
        src=thumbnails(record),
        alt=f"rank {rank}, {kind}: {who}, camera {record.camid}",
        width=SIZE[0],
        height=SIZE[1],
        loading="lazy",
    )
    facts = join(_pid(record), tag("br"), f"cam {record.camid}", tag("br"), alone)
    return tag("li", tag("span", picture, mark(kind), class_="frame"), tag("small", facts), class_=kind)


def _pid(record: ImageRecord) -> Html:
    """Return an identity, or "distractor"; a long name is cut on the page and shown in full on hovering."""
    name = "distractor" if record.distractor else record.pid
    return tag("span", name, class_="pid", title=name)
