"""Latency of exported networks on the CPU: bot-dcsd and recipe joint beside bot, all ResNet-50 at 256 x 128.

    python benchmarks/export.py --json results/export_cpu.json
    python benchmarks/export.py --batch 1 --repeats 5

All graphs are made with random weights and take turns in every round, in onnxruntime. Making them is timed in CPU
seconds, from the built model to the ONNX file, and nodes are counted; latency is that of one thread unless told
otherwise.
"""

import argparse
import json
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import Targets, ratio, rounds, side_by_side, spread
from provenance import provenance

from jointreid.config import ImageConfig
from jointreid.export.graph import network_of, onnx_model, trace
from jointreid.export.runtime import open_session
from jointreid.models.reid import build_model
from jointreid.recipes import apply_recipe

RECIPES = ("bot", "bot-dcsd", "joint")
FASTER = {1: 1.3, 8: 1.4}  # than bot, by images at a time
NODES, SECONDS = 700, 30


def exported(recipe: str) -> tuple[bytes, int, float]:
    """Return the ONNX file of a recipe on ResNet-50, its nodes, and the CPU seconds to make it."""
    image, config = ImageConfig(), apply_recipe(recipe)
    torch.manual_seed(0)
    model = build_model(config.model.name, 751, 5, 32, trunk="resnet50", last_stride=1, dcsd=config.dcsd).eval()
    began = time.process_time()
    graph = onnx_model(trace(network_of(model, "uint8", image), image))
    return graph.SerializeToString(), len(graph.graph.node), time.process_time() - began


def figures_of(times: Mapping[str, Any], batch: int) -> dict[str, float]:
    """Return the median milliseconds of an image, and the speed of recipe joint, which has no target."""
    found = {f"ms an image, {name}, batch {batch}": float(np.median(taken)) / batch for name, taken in times.items()}
    return {**found, f"speed of joint over bot, batch {batch}": ratio(times["bot"], times["joint"])[1]}


def main() -> None:
    """Export, time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8], help="images at a time")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=rounds, default=20, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    targets, sessions = Targets(), {}
    report: dict[str, Any] = {"threads": options.threads, "repeats": options.repeats, "exports": {}, "figures": {}}
    for recipe in RECIPES:
        content, nodes, seconds = exported(recipe)
        sessions[recipe] = open_session(content, recipe, options.threads)
        report["exports"][recipe] = {"nodes": nodes, "cpu_seconds": round(seconds, 1), "megabytes": len(content) / 1e6}
        print(f"{recipe}: {nodes} nodes in {seconds:.1f} s of CPU time, {len(content) / 1e6:.1f} MB", flush=True)
    targets.add("nodes of bot-dcsd", report["exports"]["bot-dcsd"]["nodes"], NODES, at_most=True)
    targets.add("CPU seconds to export bot-dcsd", report["exports"]["bot-dcsd"]["cpu_seconds"], SECONDS, at_most=True)
    for batch in options.batch:
        images = np.random.default_rng(0).integers(0, 256, (batch, 256, 128, 3), dtype=np.uint8)
        runs = {name: partial(session.run, ["features"], {"images": images}) for name, session in sessions.items()}
        times = side_by_side(runs, options.repeats, warm_up=2)
        report["figures"] |= figures_of(times, batch)
        faster = {name: ratio(times["bot"], times[name]) for name in RECIPES[1:]}
        for name, found in faster.items():
            print(f"batch {batch}: bot / {name} in each round {spread(found, 2)}", flush=True)
        if batch in FASTER:
            targets.add(f"speed of bot-dcsd over bot, batch {batch}", faster["bot-dcsd"][1], FASTER[batch])
    if options.json:
        facts = provenance("torch", "onnx", "onnxscript", "onnxruntime")
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({**facts, **report, "targets": targets.lines}, indent=2) + "\n")


if __name__ == "__main__":
    main()
