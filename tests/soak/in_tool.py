"""The part of `tests.soak.tools` that runs inside another tool's environment: no jointreid, no PyTorch of ours.

    python in_tool.py TOOL FILE.onnx SCENES.npz OUT.json

SCENES.npz holds for each scene NAME `NAME.frames`, RGB [T, H, W, 3], `NAME.boxes` [T, P, 4], left, top, right, bottom,
and `NAME.seen` [T, P], which of them are in sight. The features that the tool computed of the first frame, and the
track of each box in each frame, go to OUT.json.
"""

import importlib
import json
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np


def in_sight(frames: Any, boxes: Any, seen: Any) -> Iterator[tuple[Any, Any, list[int]]]:
    """Yield each frame with the boxes in sight, and which of all boxes they are."""
    for frame, people, there in zip(frames, boxes, seen, strict=True):
        numbers = [int(number) for number in np.flatnonzero(there)]
        yield frame, people[numbers], numbers


def boxmot(file: str, frames: Any, boxes: Any, seen: Any) -> dict[str, Any]:
    """Compute features by BoxMOT's own runtime, and track with its BoT-SORT."""
    from pathlib import Path

    reid = importlib.import_module("boxmot.reid.core.runtime").ReID(Path(file), device="cpu")
    features = reid(np.ascontiguousarray(frames[0][:, :, ::-1]), boxes=boxes[0])
    tracker = importlib.import_module("boxmot").BotSort(reid_weights=Path(file), device="cpu", half=False)
    tracks = []
    for frame, people, numbers in in_sight(frames, boxes, seen):
        detections = np.hstack([people, np.full((len(people), 1), 0.9), np.zeros((len(people), 1))]).astype(np.float32)
        rows = np.asarray(tracker.update(detections, np.ascontiguousarray(frame[:, :, ::-1])))
        tracks.append({numbers[int(row[7])]: int(row[4]) for row in rows})
    return {"features": features.tolist(), "tracks": tracks}


def ultralytics(file: str, frames: Any, boxes: Any, seen: Any) -> dict[str, Any]:
    """Compute features by Ultralytics' encoder, and track with its BoT-SORT and the settings beside the file."""
    yaml, simple = importlib.import_module("yaml"), importlib.import_module("types").SimpleNamespace
    results = importlib.import_module("ultralytics.engine.results")
    encoder = importlib.import_module("ultralytics.trackers.utils.reid").ReID(file, device="cpu")
    bgr = [np.ascontiguousarray(frame[:, :, ::-1]) for frame in frames]
    centres = np.stack([(boxes[..., 0] + boxes[..., 2]) / 2, (boxes[..., 1] + boxes[..., 3]) / 2], axis=-1)
    # The encoder cuts 2 % more of each side and 10 pixels: boxes whose cut is the person, so that nothing is resized.
    sides = (boxes[..., 2:] - boxes[..., :2] - 10) / 1.02
    inner = np.concatenate([centres + 0.3, sides], axis=-1).astype(np.float32)
    features = [np.asarray(feature).tolist() for feature in encoder(bgr[0], inner[0])]
    with open(file.replace(".onnx", ".botsort.yaml"), encoding="utf-8") as settings:
        tracker = importlib.import_module("ultralytics.trackers.bot_sort").BOTSORT(simple(**yaml.safe_load(settings)))
    tracks = []
    for frame, people, numbers in in_sight(bgr, boxes, seen):
        data = np.hstack([people, np.full((len(people), 1), 0.9), np.zeros((len(people), 1))]).astype(np.float32)
        rows = tracker.update(results.Boxes(data, frame.shape[:2]), frame)
        tracks.append({numbers[int(row[7])]: int(row[4]) for row in rows})
    return {"features": features, "tracks": tracks}


def _embedder(file: str) -> Callable[[Any, Any], Any]:
    """Return a function (frame, boxes) -> features, as docs/tools.md has it."""
    session = importlib.import_module("onnxruntime").InferenceSession(file)
    contract = json.loads(session.get_modelmeta().custom_metadata_map["jointreid"])
    image = importlib.import_module("PIL.Image")
    size = contract["resize"]["width"], contract["resize"]["height"]

    def embed(frame: Any, people: Any) -> Any:
        cuts = [image.fromarray(frame[top:bottom, left:right]) for left, top, right, bottom in people.astype(int)]
        pixels = np.stack([np.asarray(cut.resize(size, image.Resampling.BICUBIC)) for cut in cuts])
        return session.run(["features"], {"images": pixels})[0]

    return embed


def deep_sort_realtime(file: str, frames: Any, boxes: Any, seen: Any) -> dict[str, Any]:
    """Track with features given to DeepSort."""
    embed = _embedder(file)
    tracker = importlib.import_module("deep_sort_realtime.deepsort_tracker").DeepSort(embedder=None, n_init=1)
    tracks = []
    for frame, people, numbers in in_sight(frames, boxes, seen):
        detections = [([*box[:2], *(box[2:] - box[:2])], 0.9, "person") for box in people]
        made = tracker.update_tracks(detections, embeds=embed(frame, people), others=numbers)
        tracks.append({int(track.others): int(track.track_id) for track in made if track.others is not None})
    return {"features": embed(frames[0], boxes[0]).tolist(), "tracks": tracks}


def norfair(file: str, frames: Any, boxes: Any, seen: Any) -> dict[str, Any]:
    """Track by appearance alone: the distance of two detections is that of their features."""
    embed, library = _embedder(file), importlib.import_module("norfair")

    def distance(detection: Any, tracked: Any) -> float:
        return float(1 - detection.embedding @ tracked.last_detection.embedding)

    tracker = library.Tracker(distance_function=distance, distance_threshold=0.5, initialization_delay=0)
    tracks = []
    for frame, people, numbers in in_sight(frames, boxes, seen):
        detections = [
            library.Detection(points=box.reshape(2, 2), embedding=feature, data=person)
            for person, box, feature in zip(numbers, people, embed(frame, people), strict=True)
        ]
        tracks.append({int(t.last_detection.data): int(t.global_id) for t in tracker.update(detections=detections)})
    return {"features": embed(frames[0], boxes[0]).tolist(), "tracks": tracks}


TOOLS = {
    "boxmot": boxmot,
    "ultralytics": ultralytics,
    "deep-sort-realtime": deep_sort_realtime,
    "norfair": norfair,
}


def main(tool: str, file: str, scenes: str, out: str) -> None:
    """Run one tool on every scene."""
    arrays = np.load(scenes)
    found: dict[str, Any] = {"version": version(tool), "scenes": {}}
    for name in [key.removesuffix(".frames") for key in arrays if key.endswith(".frames")]:
        scene = (arrays[f"{name}.{part}"] for part in ("frames", "boxes", "seen"))
        found["scenes"][name] = TOOLS[tool](file, *scene)
    with open(out, "w", encoding="utf-8") as target:
        json.dump(found, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
