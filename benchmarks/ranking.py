"""Time of ranking beside the matrix product that it needs, and time and memory of re-ranking.

    python benchmarks/ranking.py --size small msmt17-1000 --rerank 93820 64 --json results/ranking_cpu.json
    python benchmarks/ranking.py --size msmt17 --rounds 1
    python benchmarks/ranking.py --device cuda --size msmt17-1000 --json results/ranking_gpu.json

Features of made-up people, 2048-d, with as many images as a data set has; all candidates take turns in every round.
The product alone is numpy's (or PyTorch's on a GPU) in float32, into memory that is allocated before. The ranking part
starts from one float32 distance matrix, for ours and for torchreid's Cython alike. Peers run in their own environment
(`benchmarks/peers.py`); where that cannot be made, the reason is printed.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch
from measure import Targets, memory_above, ratio, rounds, side_by_side, spread
from numpy.typing import NDArray
from peers import Peer, install, save
from provenance import provenance

from jointreid.retrieval.ranking import RankingMetrics, evaluate_distmat, evaluate_ranking
from jointreid.retrieval.rerank import reranked_blocks

SIZES = {  # queries, gallery images, images a person
    "small": (200, 5000, 20),
    "market": (3368, 15_913, 21),
    "msmt17-1000": (1000, 82_161, 27),
    "msmt17": (11_659, 82_161, 27),
}
DIMS = 2048
# Peers that sort every row for all of the gallery: minutes a round at the larger sizes.
SLOW = {"open-metric-learning": ("small",), "pytorch-metric-learning": ("small",)}


class Case(NamedTuple):
    """Features and labels, as `evaluate_ranking` takes them."""

    query: NDArray[np.float32]
    gallery: NDArray[np.float32]
    query_pids: NDArray[np.int64]
    gallery_pids: NDArray[np.int64]
    query_camids: NDArray[np.int64]
    gallery_camids: NDArray[np.int64]


def make_people(num_query: int, num_gallery: int, images: int, dims: int = DIMS) -> Case:
    """Return features and labels of people that a good model tells apart most of the time."""
    draw = np.random.default_rng(0)
    people = max(1, num_gallery // images)
    pids = draw.integers(0, people, num_query), draw.integers(0, people, num_gallery)
    cameras = draw.integers(0, 15, num_query), draw.integers(0, 15, num_gallery)
    looks = draw.standard_normal((people, 64), dtype=np.float32) @ draw.standard_normal((64, dims), dtype=np.float32)
    features = []
    for persons in pids:
        rows = draw.standard_normal((persons.size, dims), dtype=np.float32)
        rows *= 25
        for start in range(0, persons.size, 1000):
            rows[start : start + 1000] += looks[persons[start : start + 1000]]
        features.append(rows)
    return Case(features[0], features[1], *pids, *cameras)


def slow_reference(distmat: NDArray[np.float32], case: Case, count: int) -> tuple[float, float]:
    """Return mAP and Rank-1 of the first queries, by sorting each row."""
    precisions, firsts = [], []
    for i in range(count):
        order = np.argsort(distmat[i], kind="stable")
        same = case.gallery_pids[order] == case.query_pids[i]
        right = same[~(same & (case.gallery_camids[order] == case.query_camids[i]))]
        if right.any():
            ranks = np.flatnonzero(right) + 1
            precisions.append(float(np.mean(np.arange(1, ranks.size + 1) / ranks)))
            firsts.append(ranks[0] == 1)
    return float(np.mean(precisions)), float(np.mean(firsts))


def check(distmat: NDArray[np.float32], case: Case, found: RankingMetrics) -> None:
    """Compare the figures with those of sorted rows, and ranking by features with ranking by their distances."""
    count = min(100, len(distmat))
    some = case._replace(query_pids=case.query_pids[:count], query_camids=case.query_camids[:count])
    mean, first = slow_reference(distmat, case, count)
    ours = evaluate_distmat(distmat[:count], *some[2:])
    assert abs(ours.mAP - mean) < 1e-9, f"mAP {ours.mAP} from a distance matrix; the reference has {mean}"
    assert abs(ours.cmc[0] - first) < 1e-9
    whole = evaluate_distmat(distmat, *case[2:])
    assert abs(found.mAP - whole.mAP) < 1e-4, f"mAP {found.mAP} from features, {whole.mAP} from their distances"


def on_cpu(case: Case, size: str, num_rounds: int, targets: Targets) -> dict[str, Any]:
    unit = [part / np.linalg.norm(part, axis=1, keepdims=True) for part in case[:2]]
    distmat = np.empty((len(case.query), len(case.gallery)), dtype=np.float32)

    def product() -> NDArray[np.float32]:
        return np.matmul(unit[0], unit[1].T, out=distmat)

    def total() -> RankingMetrics:
        return evaluate_ranking(*case)

    product()
    distmat *= -1
    given = distmat.copy() if size != "msmt17" else distmat
    with memory_above() as above:
        found = total()
    check(given, case, found)
    figures: dict[str, float] = {"mAP": found.mAP, "rank1": float(found.cmc[0])}
    candidates: dict[str, Callable[[], object]] = {"product": product, "total": total}
    if size != "msmt17":
        candidates["ranking"] = lambda: evaluate_distmat(given, *case[2:])
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        times, peers = beside_peers(candidates, case, given, size, num_rounds, Path(temporary), stack, found)
    for name, values in times.items():
        figures[f"{name}, ms"] = median(values)
    share = ratio(times["total"], times["product"])
    print(f"total / product alone: {spread(share, 2)}")
    targets.add(f"{size}: total / matrix product alone", share[1], 1.25, at_most=True)
    if "torchreid (Cython)" in times:
        faster = ratio(times["torchreid (Cython)"], times["ranking"])
        targets.add(f"{size}: ranking part, times faster than torchreid's Cython", faster[1], 10)
    for name in SLOW:
        if name in times:
            figures[f"total, times faster than {name}"] = ratio(times[name], times["total"])[1]
    targets.add(f"{size}: GB above the features", above[0] / 1e9, 2, at_most=True)
    return {"figures": figures, "peers": peers, "times": times}


def beside_peers(
    candidates: dict[str, Callable[[], object]],
    case: Case,
    distmat: NDArray[np.float32],
    size: str,
    num_rounds: int,
    folder: Path,
    stack: ExitStack,
    found: RankingMetrics,
) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Return the milliseconds of our candidates and the peers, and each peer's version or why it is missing."""
    names = [] if size == "msmt17" else ["torchreid (Cython)", *(name for name, at in SLOW.items() if size in at)]
    reasons: dict[str, str] = {}
    if names and (failed := install()):
        print(f"no peers: {failed}")
        reasons, names = dict.fromkeys(names, failed), []
    if names:
        save(folder, case._asdict() | {"distmat": distmat})
    clocks: dict[str, list[float]] = {}
    for name in names:
        peer = stack.enter_context(Peer(name, folder))
        try:
            first = peer()
        except RuntimeError as error:
            reasons[name] = f"failed: {error}"
            print(f"{name} {reasons[name]}")
            continue
        reasons[name] = f"version {first['version']}, mAP {first['mAP']:.6f}"
        print(f"{name}: {reasons[name]}; ours {found.mAP:.6f}")
        if name != "pytorch-metric-learning":  # it has no rule for cameras
            assert abs(first["mAP"] - found.mAP) < 1e-4, f"mAP is {first['mAP']} by {name}, {found.mAP} by ours"
        clocks[name] = []
        candidates[name] = lambda peer=peer, clock=clocks[name]: clock.append(peer()["ms"])  # type: ignore[misc]
    times = side_by_side(candidates, num_rounds)
    return times | {name: clock[-num_rounds:] for name, clock in clocks.items()}, reasons


def on_gpu(case: Case, size: str, num_rounds: int, targets: Targets) -> dict[str, Any]:
    query, gallery = (torch.as_tensor(part, device="cuda") for part in case[:2])
    unit = [torch.nn.functional.normalize(part) for part in (query, gallery)]
    out = torch.empty((len(query), len(gallery)), device="cuda")

    def product() -> torch.Tensor:
        return torch.matmul(unit[0], unit[1].T, out=out)

    def total() -> RankingMetrics:
        return evaluate_ranking(query, gallery, *case[2:])

    found = total()
    check((-product()).cpu().numpy(), case, found)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    total()
    above = torch.cuda.max_memory_allocated() - before
    times = side_by_side({"product": product, "total": total}, num_rounds, "cuda", warm_up=2)
    share = ratio(times["total"], times["product"])
    print(f"total / product alone: {spread(share, 2)}")
    targets.add(f"{size}: total / matrix product alone", share[1], 1.25, at_most=True)
    targets.add(f"{size}: GB above the features", above / 1e9, 2, at_most=True)
    figures = {"mAP": found.mAP} | {f"{name}, ms": median(values) for name, values in times.items()}
    return {"figures": figures, "peers": {}, "times": times}


def rerank(targets: Targets, images: int, dims: int) -> dict[str, float]:
    """Return the time and memory of re-ranking; fewer dimensions leave the sets as large, and make a run short."""
    case = make_people(images // 8, images - images // 8, 27, dims)
    with memory_above() as above:
        start = time.perf_counter()
        found = evaluate_distmat(reranked_blocks(case.query, case.gallery), *case[2:])
        seconds = time.perf_counter() - start
    plain = evaluate_ranking(*case)
    what = f"re-ranking {images:,} images, {dims}-d"
    print(f"{what}: {seconds:.0f} s, mAP {plain.mAP:.4f} -> {found.mAP:.4f}")
    more = 4 * images * (DIMS - dims)  # the copy of features that is wider at full width
    targets.add(f"{what}: GB above the features, at {DIMS}-d by calculation", (above[0] + more) / 1e9, 8, at_most=True)
    return {f"{what}: seconds": seconds, f"{what}: GB above the features": above[0] / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)")
    parser.add_argument(
        "--size", nargs="+", choices=tuple(SIZES), default=["market"], help="like which data sets (default: market)"
    )
    parser.add_argument("--rounds", type=rounds, default=7, help="rounds to take medians over (default: 7)")
    parser.add_argument("--rerank", type=int, nargs=2, metavar=("N", "D"), help="also re-rank N images of D dimensions")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the results to this file")
    args = parser.parse_args()
    targets = Targets()
    small = make_people(50, 500, 9, 64)
    evaluate_ranking(*small)  # compiles
    list(reranked_blocks(*small[:2]))
    figures: dict[str, float] = {"rounds": args.rounds}
    rows = {}
    for size in args.size:
        report = (on_gpu if args.device == "cuda" else on_cpu)(make_people(*SIZES[size]), size, args.rounds, targets)
        figures |= {f"{size}: {what}": value for what, value in report.pop("figures").items()}
        rows[size] = report
    if args.rerank:
        figures |= rerank(targets, *args.rerank)
    if args.json:
        head = provenance("torch", "numpy", "numba", "scipy") | {"device": args.device, "size": args.size}
        head |= {"threads": torch.get_num_threads(), "targets": targets.lines}
        args.json.write_text(json.dumps(head | {"figures": figures, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
