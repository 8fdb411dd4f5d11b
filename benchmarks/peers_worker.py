"""The process in the peers' environment: for each line on standard input one measurement, printed as JSON."""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

Metrics = tuple[float, float]  # mAP, Rank-1


def read(folder: Path, *names: str) -> list[Any]:
    return [np.load(folder / f"{name}.npy") for name in names]


def torchreid_cython(folder: Path) -> Callable[[], Metrics]:
    import torch

    if not torch.cuda.is_available():  # torchvision's compiled part may be for CUDA; its models are not needed
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    from pyppbox_torchreid.metrics.rank import (  # type: ignore[import-not-found,unused-ignore]
        IS_CYTHON_AVAI,
        evaluate_rank,
    )

    assert IS_CYTHON_AVAI, "its Cython part is missing"
    distmat, *who = read(folder, "distmat", "query_pids", "gallery_pids", "query_camids", "gallery_camids")

    def run() -> Metrics:
        cmc, mean = evaluate_rank(distmat, *who, max_rank=50)
        return float(mean), float(cmc[0])

    return run


def open_metric_learning(folder: Path) -> Callable[[], Metrics]:
    import torch
    from oml.functional.knn import batched_knn  # type: ignore[import-not-found,unused-ignore]
    from oml.functional.metrics import calc_retrieval_metrics  # type: ignore[import-not-found,unused-ignore]

    query, gallery = read(folder, "query", "gallery")
    names = ("query_pids", "gallery_pids", "query_camids", "gallery_camids")
    query_pids, gallery_pids, query_camids, gallery_camids = read(folder, *names)
    features = torch.nn.functional.normalize(torch.from_numpy(np.concatenate([query, gallery])))
    pids = np.concatenate([query_pids, gallery_pids])
    sequences = pids * 1000 + np.concatenate([query_camids, gallery_camids])  # those of the query's are left out
    places = torch.arange(len(query)), torch.arange(len(query), len(features))

    def run() -> Metrics:
        _, found, right = batched_knn(
            features,
            *places,
            top_n=len(gallery),
            labels_gt=torch.from_numpy(pids),
            sequence_ids=torch.from_numpy(sequences),
        )
        measured = calc_retrieval_metrics(
            found, right, cmc_top_k=(1,), precision_top_k=(), map_top_k=(len(gallery),), verbose=False
        )
        return float(measured["map"][len(gallery)]), float(measured["cmc"][1])

    return run


def pytorch_metric_learning(folder: Path) -> Callable[[], Metrics]:
    import torch
    from pytorch_metric_learning.utils.accuracy_calculator import (  # type: ignore[import-not-found,unused-ignore]
        AccuracyCalculator,
    )

    arrays = read(folder, "query", "query_pids", "gallery", "gallery_pids")
    query, query_pids, gallery, gallery_pids = map(torch.from_numpy, arrays)
    query, gallery = (torch.nn.functional.normalize(part) for part in (query, gallery))
    calculator = AccuracyCalculator(include=("mean_average_precision", "precision_at_1"), device=torch.device("cpu"))

    def run() -> Metrics:
        measured = calculator.get_accuracy(query, query_pids, gallery, gallery_pids)
        return float(measured["mean_average_precision"]), float(measured["precision_at_1"])

    return run


PEERS = {
    "torchreid (Cython)": (torchreid_cython, "pyppbox-torchreid"),
    "open-metric-learning": (open_metric_learning, "open-metric-learning"),
    "pytorch-metric-learning": (pytorch_metric_learning, "pytorch-metric-learning"),
}

if __name__ == "__main__":
    make, package = PEERS[sys.argv[1]]
    run = make(Path(sys.argv[2]))
    for _ in sys.stdin:
        start = time.perf_counter()
        mean, rank1 = run()
        answer = {"ms": 1e3 * (time.perf_counter() - start), "mAP": mean, "rank1": rank1, "version": version(package)}
        print(json.dumps(answer), flush=True)
