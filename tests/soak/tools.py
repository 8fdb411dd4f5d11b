"""Exported files in other people's tools, each in an environment of its own: the tool's features are ours.

    python -m tests.soak.tools RUN [--tools boxmot,norfair] [--envs DIR] [--json FILE]

RUN is a trained run with test images. Each tool is installed by name into its own environment below DIR (once), gets
the file that `jointreid export --for TOOL` writes, and computes features and tracks by its own code on frames into
which test images are pasted at the model's size, so that no tool's way to resize takes part (see
`tests.soak.tool_scenes`). Exits with 0 if every tool's features are ours to 1e-4, every person keeps one track, and
somebody who comes back gets the track of their looks, whichever place is nearer.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from jointreid.config import ToolName
from jointreid.data.records import ImageRecord
from jointreid.export.proof import read_pixels
from jointreid.export.run import export_run
from jointreid.extraction.embedder import Embedder
from jointreid.machine.files import write_atomically
from jointreid.retrieval.run_data import load_evaluation_data
from jointreid.run import open_run
from tests.soak.tool_scenes import PEOPLE, Scene, scenes

ROOT = Path(__file__).parents[2]
TOLERANCE = 1e-4
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


def images_of_people(run: Path) -> NDArray[np.uint8]:
    """Return an image of each of a few people, at the model's size."""
    found = load_evaluation_data(open_run(run))
    records: dict[str, ImageRecord] = {}
    for domain in found.domains:
        for record in domain.query:
            records.setdefault(f"{domain.name}/{record.pid}", record)
    return read_pixels(list(records.values())[:: max(1, len(records) // PEOPLE)][:PEOPLE], found.config)


class ToolResult(NamedTuple):
    """What a tool did with an exported file.

    Attributes:
        tool: its name.
        version: its release.
        largest_difference: of a number of a feature from ours.
        tracks: scene -> whether each person had one track and no two shared one.
    """

    tool: str
    version: str
    largest_difference: float
    tracks: dict[str, bool]

    @property
    def passed(self) -> bool:
        """Whether all is as it should be."""
        return self.largest_difference <= TOLERANCE and all(self.tracks.values())


def judge(tool: str, found: dict[str, Any], shown: dict[str, Scene], expected: NDArray[np.float32]) -> ToolResult:
    """Return the largest difference of a feature, and whether tracks follow the people."""
    features = np.asarray(found["scenes"]["walking"]["features"], np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    tracks = {name: follows(found["scenes"][name]["tracks"], scene) for name, scene in shown.items()}
    return ToolResult(tool, found["version"], float(np.abs(features - expected).max()), tracks)


def follows(tracks: list[dict[str, int]], scene: Scene) -> bool:
    """Return whether each person had one track, in every frame in which they are in sight, and no two shared one.

    Args:
        tracks: for each frame, the track of each box.
        scene: who is in which box.
    """
    ids: dict[int, set[int | None]] = {}
    for by, who in zip(tracks, scene.who, strict=True):
        for box, person in enumerate(who):
            if person >= 0:
                ids.setdefault(int(person), set()).add(by.get(str(box)))
    found = [one for of in ids.values() for one in of]
    return len(found) == len(set(found)) == PEOPLE and None not in found


def run_tool(tool: ToolName, run: Path, envs: Path, work: Path) -> dict[str, Any] | None:
    """Return what a tool computed on the scenes in `work`; None if it failed."""
    python = environment(tool, envs)
    file = export_run(run, work / tool, tool=tool).path
    out = work / f"{tool}.json"
    worker = [str(python), str(Path(__file__).with_name("in_tool.py"))]
    # No package of ours, and no installation by the tool itself.
    variables = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"YOLO_AUTOINSTALL": "false"}
    if subprocess.run([*worker, tool, str(file), str(work / "scenes.npz"), str(out)], env=variables).returncode:
        return None
    found: dict[str, Any] = json.loads(out.read_text())
    return found


def main(argv: list[str]) -> int:
    """Prove each tool; return 0 if all pass."""
    parser = argparse.ArgumentParser(prog="tests.soak.tools")
    parser.add_argument("run", type=Path)
    parser.add_argument("--tools", default=",".join(PACKAGES))
    parser.add_argument("--envs", type=Path, default=ROOT / "out" / "tools" / "envs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(argv)
    work = options.envs.parent
    people = images_of_people(options.run)
    shown = scenes(people)
    expected = Embedder.load(options.run, device="cpu")(list(people))
    alike = [round(float(one @ other), 4) for one, other in itertools.combinations(expected, 2)]
    print(f"the three people are {', '.join(f'{one:.2f}' for one in alike)} alike")
    work.mkdir(parents=True, exist_ok=True)
    arrays = {
        f"{name}.{part}": values
        for name, scene in shown.items()
        for part, values in (("frames", scene.frames), ("boxes", scene.boxes), ("seen", scene.who >= 0))
    }
    np.savez(work / "scenes.npz", **arrays)  # type: ignore[arg-type]
    results, failed = [], []
    for tool in options.tools.split(","):
        found = run_tool(tool, options.run, options.envs, work)
        if found is None:
            failed.append(tool)
            continue
        result = judge(tool, found, shown, expected)
        results.append(result)
        kept = ", ".join(f"{name} {'right' if right else 'WRONG'}" for name, right in result.tracks.items())
        print(f"{tool} {result.version}: features differ by {result.largest_difference:.1e} at most; tracks: {kept}")
        failed += [] if result.passed else [tool]
    if options.json is not None:
        plain = {"run": options.run.name, "similarities": alike, "tools": [one._asdict() for one in results]}
        write_atomically(options.json, json.dumps(plain, indent=1) + "\n")
    print(f"failed: {', '.join(failed)}" if failed else "all tools compute our features and follow the people")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
