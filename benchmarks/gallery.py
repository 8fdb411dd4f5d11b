"""A gallery at full size: time to build it, time of a search and recall, with and without filters.

    python benchmarks/gallery.py --images 1000000 --json results/gallery_cpu.json
    python benchmarks/gallery.py --images 50000 --index-from 20000

Features of made-up people, 512-d, 20 images each, who look like many others: each is of one of a few hundred kinds.
Filters leave a camera (1 % of the images), a week (2 %), a domain (a little less than 10 %, the most that are compared
one by one of a million), two domains (20 %), three domains (30 %) and nine domains (90 %). Recall is the share of the
10 nearest images, and of the 10 nearest people, that a product with all features finds. The time of a search is that
of `Gallery.search` in one process, for 10 people with 3 images each, after `Gallery.warm_up` and searches with the same
filter; how long these first ones take is told apart.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from measure import Targets
from numpy.typing import NDArray
from provenance import provenance

from jointreid.gallery import index
from jointreid.gallery.filters import Filter, condition, parse_filter
from jointreid.gallery.gallery import Gallery
from jointreid.gallery.mirror import Mirror
from jointreid.gallery.rows import BATCH, FeatureModel, FeatureRows, Floats
from jointreid.gallery.search import rows_by_index, similarities

DIMS = 512
IMAGES = 20  # of a person
KINDS = 300
CAMERAS, DOMAINS, DAYS = 100, 10, 350
START = datetime(2026, 1, 1, tzinfo=UTC)

FILTERS: dict[str, Filter | None] = {
    "no filter": None,
    "nine domains (90 %)": parse_filter("domain in (d0, d1, d2, d3, d4, d5, d6, d7, d8)"),
    "three domains (30 %)": condition("domain", "in", "d0", "d4", "d7"),
    "two domains but two cameras (20 %)": parse_filter("domain in (d0, d4) and camera not in (c1, c2)"),
    "a domain but two cameras (10 %)": parse_filter("domain = d4 and camera not in (c1, c2)"),
    "a week (2 %)": parse_filter("time >= 2026-02-02 and time < 2026-02-09"),
    "a camera (1 %)": condition("camera", "=", "c17"),
}


class People:
    """Features that are drawn again each time they are asked for, so that they need no memory."""

    def __init__(self, images: int) -> None:
        self.images = images
        draw = np.random.default_rng(0)
        self.kinds = draw.standard_normal((KINDS, DIMS), dtype=np.float32)
        self.people = -(-images // IMAGES)
        self.kind_of = draw.integers(0, KINDS, self.people)

    def of(self, rows: NDArray[np.int64], seed: int) -> Floats:
        """Return features of the people of rows, with noise of a seed: [n, DIMS]."""
        draw, person = np.random.default_rng(seed), rows % self.people
        looks = np.empty((len(rows), DIMS), dtype=np.float32)
        for at, who in enumerate(person.tolist()):
            looks[at] = np.random.default_rng((1, who)).standard_normal(DIMS, dtype=np.float32)
        noise = draw.standard_normal((len(rows), DIMS), dtype=np.float32)
        found: Floats = self.kinds[self.kind_of[person]] + 0.7 * looks + 0.7 * noise
        return found

    def batches(self) -> Iterator[Floats]:
        """Yield the features of all images in order, in parts [n, DIMS]."""
        for start in range(0, self.images, BATCH):
            yield self.of(np.arange(start, min(start + BATCH, self.images)), start)

    def rows(self) -> FeatureRows:
        """Return them as rows of a gallery, their columns drawn by chance."""
        draw, count = np.random.default_rng(2), self.images
        columns: dict[str, Any] = {
            "pid": [f"p{row % self.people}" for row in range(count)],
            "camera": [f"c{number}" for number in draw.integers(0, CAMERAS, count).tolist()],
            "domain": [f"d{row % self.people % DOMAINS}" for row in range(count)],
            "time": [START + timedelta(minutes=minute) for minute in draw.integers(0, DAYS * 1440, count).tolist()],
        }
        paths = [f"{row:07}.jpg" for row in range(count)]
        empty = np.zeros((count, 1), dtype=np.float32)
        rows = FeatureRows.of(empty, paths, FeatureModel("made up"), columns=columns)
        return FeatureRows(rows.metadata, DIMS, rows.model, "", self.batches)


def search_all(
    gallery: Gallery, queries: Floats, where: Filter | None
) -> tuple[float, list[float], list[list[str]], bool]:
    """Return the milliseconds of the first search and of each later one, the pids found, and whether all were compared.

    The first with a filter reads the indexes of its columns and finds the rows that it leaves, which are remembered.
    """
    times, found, exact = [], [], True
    first = 1e3 * seconds_of(lambda: gallery.search(queries[0], where=where))
    for query in queries[:5]:
        gallery.search(query, where=where)
    for query in queries:
        start = time.perf_counter()
        result = gallery.search(query, where=where)
        times.append(1e3 * (time.perf_counter() - start))
        found.append([str(person.pid) for person in result.people])
        exact = exact and result.exact
    return first, times, found, exact


def recall(mirror: Mirror, gallery: Gallery, queries: Floats, where: Filter | None, found: list[list[str]]) -> Any:
    """Return the recall of the 10 nearest images, by the index where it is used, and of the 10 nearest people."""
    chosen = None if where is None else np.flatnonzero(where.mask(mirror.rows))
    table, pids = gallery._store.table(), mirror.rows["pid"].to_pylist()
    by_index = len(mirror.row_ids) >= index.EXACT_BELOW if chosen is None else len(chosen) >= index.EXACT_FILTERED
    images = people = 0.0
    for query, answer in zip(queries, found, strict=True):
        unit = query / np.linalg.norm(query)
        scores = similarities(mirror.features, unit)
        everything = np.arange(len(scores)) if chosen is None else chosen
        scores = scores[everything]
        best = everything[np.argsort(-scores, kind="stable")[:2000]]
        nearest = list(dict.fromkeys(pids[row] for row in best.tolist()))[:10]
        people += len(set(nearest) & set(answer)) / len(nearest)
        if by_index:
            rows = rows_by_index(mirror, table, unit, where, chosen, 10)[0]
            images += len(set(rows.tolist()) & set(best[:10].tolist())) / 10
    return {"images": images / len(queries) if by_index else 1.0, "people": people / len(queries)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000, help="images in the gallery (default: 50,000)")
    parser.add_argument("--queries", type=int, default=200, help="queries for each filter (default: 200)")
    parser.add_argument(
        "--index-from", type=int, help="images from which on an index is used, after a filter half (default: as in use)"
    )
    parser.add_argument("--folder", type=Path, help="where to make the gallery (default: a temporary folder)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the results to this file")
    args = parser.parse_args()
    if args.index_from:
        index.EXACT_BELOW, index.EXACT_FILTERED = args.index_from, args.index_from // 2
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        measure(args, Path(folder) / "g")


def seconds_of(do: Callable[[], object]) -> float:
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def measure(args: argparse.Namespace, folder: Path) -> None:
    people, targets, figures = People(args.images), Targets(), {}
    rows, gallery = [people.rows()], Gallery.open(folder)
    figures["add and index, s"] = seconds = seconds_of(lambda: gallery.add(rows.pop()))
    print(f"{args.images:,} images added and indexed in {seconds:.0f} s: {gallery.info()['index']}", flush=True)
    draw = np.random.default_rng(3)
    queries = people.of(draw.integers(0, args.images, args.queries), seed=args.images + 1)
    mirror = gallery._current()
    figures["first search after opening, s"] = seconds_of(lambda: Gallery.open(folder).search(queries[0]))
    gallery = Gallery.open(folder)
    figures["warm-up after opening, s"] = seconds_of(gallery.warm_up)
    for name, where in FILTERS.items():
        first, times, found, exact = search_all(gallery, queries, where)
        share = recall(mirror, gallery, queries[:100], where, found[:100])
        p50, p99 = map(float, np.percentile(times, (50, 99)))
        print(
            f"{name}: {'exact' if exact else 'index'}, first {first:.0f} ms, p50 {p50:.1f} ms, p99 {p99:.1f} ms, "
            f"recall@10 {share}",
            flush=True,
        )
        figures |= {
            f"{name}: first, ms": first,
            f"{name}: p50, ms": p50,
            f"{name}: p99, ms": p99,
            f"{name}: exact": float(exact),
        }
        figures |= {f"{name}: recall@10 of {what}": value for what, value in share.items()}
        targets.add(f"{name}: p99, ms", p99, 50, at_most=True)
        targets.add(f"{name}: recall@10 of images", share["images"], 0.99)
        targets.add(f"{name}: recall@10 of people", share["people"], 0.99)
    targets.add("minutes to add and index", figures["add and index, s"] / 60, 30, at_most=True)
    figures["GB on disk"] = gallery.info()["bytes"] / 1e9
    # The index is built by another process.
    for name, who in (("", resource.RUSAGE_SELF), (", of the build", resource.RUSAGE_CHILDREN)):
        figures[f"GB of memory at most{name}"] = resource.getrusage(who).ru_maxrss * 1024 / 1e9
    print({name: round(value, 3) for name, value in figures.items()})
    if args.json:
        head = provenance("lancedb", "pyarrow", "numpy") | {
            "images": args.images,
            "dims": DIMS,
            "cores": os.cpu_count(),
        }
        plain = {"targets": targets.lines, "figures": {name: round(float(value), 4) for name, value in figures.items()}}
        args.json.write_text(json.dumps(head | plain, indent=2) + "\n")


if __name__ == "__main__":
    main()
