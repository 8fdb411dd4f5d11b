"""Exported files in other people's tools, each in an environment of its own: the tool's features are ours.

    python -m tests.soak.tools RUN [--tools boxmot,norfair] [--envs DIR]

RUN is a trained run with test images. Each tool is installed by name into its own environment below DIR (once), gets
the file that `jointreid export --for TOOL` writes, and computes features and tracks by its own code on frames into
which test images are pasted at the model's size, so that no tool's way to resize takes part. Exits with 0 if every
tool's features are ours to 1e-4 and every person keeps one track.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointreid.config import ToolName
from jointreid.data.records import ImageRecord
from jointreid.export.proof import read_pixels
from jointreid.export.run import export_run
from jointreid.extraction.embedder import Embedder
from jointreid.retrieval.run_data import load_evaluation_data
from jointreid.run import open_run

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-4
PEOPLE, FRAMES = 3, 12
# What is installed for each tool: its own release, and the runtime that it expects.
PACKAGES: dict[ToolName, tuple[str, ...]] = {
    "boxmot": ("boxmot==25.0.0", "onnxruntime==1.24.3"),
    "ultralytics": ("ultralytics==8.4.190", "onnxruntime", "onnx", "lap"),
    "deep-sort-realtime": ("deep-sort-realtime==1.3.2", "onnxruntime", "pillow", "setuptools<81"),
    "norfair": ("norfair==2.3.0", "onnxruntime", "pillow"),
}


def environment(tool: ToolName, folder: Path) -> Path:
    """Return the Python of a tool's environment, made if missing."""
    place = folder / tool
    python = place / "bin" / "python"
    done = place / "installed"
    if done.is_file() and done.read_text() == " ".join(PACKAGES[tool]):
        return python
    uv = os.environ.get("UV", "uv")
    subprocess.run([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(place)], check=True)
    install = [uv, "pip", "install", "--quiet", "--python", str(python), *PACKAGES[tool]]
    subprocess.run(["sh", str(ROOT / ".ci" / "like-pip"), "python3", *install], check=True)
    done.write_text(" ".join(PACKAGES[tool]))
    return python


def scene(people: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Return frames [T, H, W, 3] in which people walk to the right, and their boxes [T, P, 4]."""
    height, width = people.shape[1:3]
    frames = np.full((FRAMES, height + 80, PEOPLE * (width + 60) + 2 * FRAMES + 80, 3), 96, np.uint8)
    boxes = np.zeros((FRAMES, PEOPLE, 4), np.float32)
    for time in range(FRAMES):
        for person, pixels in enumerate(people):
            left, top = 40 + person * (width + 60) + 2 * time, 40
            frames[time, top : top + height, left : left + width] = pixels
            boxes[time, person] = left, top, left + width, top + height
    return frames, boxes


def images_of_people(run: Path) -> NDArray[np.uint8]:
    """Return an image of each of a few people, at the model's size."""
    found = load_evaluation_data(open_run(run))
    records: dict[str, ImageRecord] = {}
    for domain in found.domains:
        for record in domain.query:
            records.setdefault(f"{domain.name}/{record.pid}", record)
    return read_pixels(list(records.values())[:: max(1, len(records) // PEOPLE)][:PEOPLE], found.config)


def judge(found: dict[str, Any], expected: NDArray[np.float32]) -> tuple[float, bool]:
    """Return the largest difference of a feature, and whether each person had one track and no two shared one."""
    features = np.asarray(found["features"], np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    tracks = [{by[str(person)] for by in found["tracks"] if str(person) in by} for person in range(PEOPLE)]
    steady = all(len(ids) == 1 for ids in tracks) and len(set.union(*tracks)) == PEOPLE
    return float(np.abs(features - expected).max()), steady


def main(argv: list[str]) -> int:
    """Prove each tool; return 0 if all pass."""
    parser = argparse.ArgumentParser(prog="tests.soak.tools")
    parser.add_argument("run", type=Path)
    parser.add_argument("--tools", default=",".join(PACKAGES))
    parser.add_argument("--envs", type=Path, default=ROOT / "out" / "tools" / "envs")
    options = parser.parse_args(argv)
    work = options.envs.parent
    people = images_of_people(options.run)
    frames, boxes = scene(people)
    expected = Embedder.load(options.run, device="cpu")(list(people))
    work.mkdir(parents=True, exist_ok=True)
    np.savez(work / "frames.npz", frames=frames, boxes=boxes)
    failed = []
    for tool in options.tools.split(","):
        python = environment(tool, options.envs)
        file = export_run(options.run, work / tool, tool=tool).path
        out = work / f"{tool}.json"
        worker = [str(python), str(Path(__file__).with_name("in_tool.py"))]
        # No package of ours, and no installation by the tool itself.
        variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"YOLO_AUTOINSTALL": "false"}
        ran = subprocess.run([*worker, tool, str(file), str(work / "frames.npz"), str(out)], env=variables)
        if ran.returncode:
            failed.append(tool)
            continue
        found = json.loads(out.read_text())
        largest, steady = judge(found, expected)
        print(f"{tool} {found['version']}: features differ by {largest:.1e} at most, tracks steady: {steady}")
        failed += [tool] * (largest > TOLERANCE or not steady)
    print(f"failed: {', '.join(failed)}" if failed else "all tools compute our features")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
