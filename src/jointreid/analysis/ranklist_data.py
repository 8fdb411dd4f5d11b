"""What the script of a ranked-list page reads, as JSON: images, queries and answers as numbers and short lists."""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

from jointreid.analysis.every_query import ListedQuery
from jointreid.analysis.explained_pairs import ExplainedPair
from jointreid.data.records import Domain, ImageRecord
from jointreid.retrieval.queries import image_name


@dataclass
class DomainPage:
    """The ranked lists of a domain, as a page shows them.

    Attributes:
        domain: the domain.
        number: its index on the page.
        queries: every query.
        maps: query index -> what makes it and its first wrong answer alike.
    """

    domain: Domain
    number: int
    queries: Sequence[ListedQuery]
    maps: dict[int, ExplainedPair] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.images: dict[ImageRecord, int] = {}
        for query in self.queries:
            for record in (query.record, *(answer.record for answer in query.answers)):
                self.images.setdefault(record, len(self.images))

    def picture(self, index: int) -> str:
        """Return the file name of an image."""
        return f"{self.number}-{index}.jpg"

    def map_pictures(self, query: int) -> tuple[str, str]:
        """Return the file names of the maps of a query and of its first wrong answer."""
        return f"{self.number}-map-{query}-query.jpg", f"{self.number}-map-{query}-answer.jpg"

    def failures(self) -> Iterator[tuple[int, ImageRecord, ImageRecord]]:
        """Yield index, query and first answer of every query whose first answer is wrong."""
        for index, query in enumerate(self.queries):
            if query.first_wrong is not None:
                yield index, query.record, query.first_wrong.record

    def to_dict(self) -> dict[str, Any]:
        """Return it for the script: each image once, answers as [image, distance, kind]."""
        images = [
            [self.picture(index), "" if r.distractor else r.pid, r.camid, image_name(r, self.domain.source)]
            for r, index in self.images.items()
        ]
        return {
            "name": self.domain.name,
            "images": images,
            "queries": [self._query(index, query) for index, query in enumerate(self.queries)],
        }

    def _query(self, index: int, query: ListedQuery) -> dict[str, Any]:
        precision = query.result.average_precision
        plain: dict[str, Any] = {
            "image": self.images[query.record],
            "ap": None if precision is None else round(precision, 5),
            "first": query.result.first_match_rank,
            "matches": query.num_matches,
            "answers": [[self.images[a.record], float(f"{a.distance:.6g}"), a.kind] for a in query.answers],
        }
        if index in self.maps:
            similarity = round(self.maps[index].contributions.similarity, 4)
            plain["maps"] = [*self.map_pictures(index), similarity]
        return plain


def as_script_data(domains: Sequence[DomainPage], **facts: Any) -> str:
    """Return the domains and further facts as JSON that can stand in a `script` element: it holds no `<`."""
    plain = {**facts, "domains": [domain.to_dict() for domain in domains]}
    return json.dumps(plain, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")


def pictures_folder(page: Path) -> Path:
    """Return the folder beside a page that holds its pictures, and those of no other page.

    >>> [pictures_folder(Path(name)).name for name in ("index.html", "a.html", "a.htm", "a.htm.html")]
    ['pictures', 'a-pictures', 'a.htm-pictures', 'a.htm.html-pictures']
    """
    if page.name == "index.html":
        return page.with_name("pictures")
    # Without its ending only if that is plain: else `a.html` and `a.htm`, or `a.htm.html`, would have the same folder.
    plain = page.suffix == ".html" and not is_page(page.with_suffix(""))
    return page.with_name(f"{page.stem if plain else page.name}-pictures")


def is_page(path: Path) -> bool:
    """Return whether a path ends as a page does, rather than as a folder for one."""
    return path.suffix.lower() in (".html", ".htm")


def address(folder: Path, page: Path) -> str:
    """Return the address of a folder below a page's own, as the page names it, whatever signs and bytes it holds.

    >>> address(Path("x/50% #2-pictures/ab12"), Path("x/50% #2.html"))
    './50%25%20%232-pictures/ab12'
    """
    # `./`: a name such as `x:y` would be an address of a kind `x`.
    return "./" + "/".join(quote_from_bytes(os.fsencode(part)) for part in folder.relative_to(page.parent).parts)
