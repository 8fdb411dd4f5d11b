"""The part of `tests.soak.tools` that runs inside another tool's environment: no jointreid, no PyTorch of ours.

    python in_tool.py TOOL FILE.onnx FRAMES.npz OUT.json

FRAMES.npz holds `frames`, RGB [T, H, W, 3], and `boxes` [T, P, 4], left, top, right, bottom, person by person. The
features that the tool computed of the first frame, and the track of each person in each frame, go to OUT.json.
"""

import importlib
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np


def boxmot(file: str, frames: Any, boxes: Any) -> dict[str, Any]:
    """Compute features by BoxMOT's own runtime, and track with its BoT-SORT."""
    from pathlib import Path

    reid = importlib.import_module("boxmot.reid.core.runtime").ReID(Path(file), device="cpu")
    features = reid(np.ascontiguousarray(frames[0][:, :, ::-1]), boxes=boxes[0])
    tracker = importlib.import_module("boxmot").BotSort(reid_weights=Path(file), device="cpu", half=False)
    tracks = []
    for frame, people in zip(frames, boxes, strict=True):
        detections = np.hstack([people, np.full((len(people), 1), 0.9), np.zeros((len(people), 1))]).astype(np.float32)
        rows = np.asarray(tracker.update(detections, np.ascontiguousarray(frame[:, :, ::-1])))
        tracks.append({int(row[7]): int(row[4]) for row in rows})
    return {"features": features.tolist(), "tracks": tracks}


def ultralytics(file: str, frames: Any, boxes: Any) -> dict[str, Any]:
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
    for frame, people in zip(bgr, boxes, strict=True):
        data = np.hstack([people, np.full((len(people), 1), 0.9), np.zeros((len(people), 1))]).astype(np.float32)
        rows = tracker.update(results.Boxes(data, frame.shape[:2]), frame)
        tracks.append({int(row[7]): int(row[4]) for row in rows})
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


def deep_sort_realtime(file: str, frames: Any, boxes: Any) -> dict[str, Any]:
    """Track with features given to DeepSort."""
    embed = _embedder(file)
    tracker = importlib.import_module("deep_sort_realtime.deepsort_tracker").DeepSort(embedder=None, n_init=1)
    tracks = []
    for frame, people in zip(frames, boxes, strict=True):
        detections = [([*box[:2], *(box[2:] - box[:2])], 0.9, "person") for box in people]
        made = tracker.update_tracks(detections, embeds=embed(frame, people), others=list(range(len(people))))
        tracks.append({int(track.others): int(track.track_id) for track in made if track.others is not None})
    return {"features": embed(frames[0], boxes[0]).tolist(), "tracks": tracks}


def norfair(file: str, frames: Any, boxes: Any) -> dict[str, Any]:
    """Track by appearance alone: the distance of two detections is that of their features."""
    embed, library = _embedder(file), importlib.import_module("norfair")

    def distance(detection: Any, tracked: Any) -> float:
        return float(1 - detection.embedding @ tracked.last_detection.embedding)

    tracker = library.Tracker(distance_function=distance, distance_threshold=0.5, initialization_delay=0)
    tracks = []
    for frame, people in zip(frames, boxes, strict=True):
        detections = [
            library.Detection(points=box.reshape(2, 2), embedding=feature, data=person)
            for person, (box, feature) in enumerate(zip(people, embed(frame, people), strict=True))
        ]
        tracks.append({int(t.last_detection.data): int(t.global_id) for t in tracker.update(detections=detections)})
    return {"features": embed(frames[0], boxes[0]).tolist(), "tracks": tracks}


TOOLS = {
    "boxmot": boxmot,
    "ultralytics": ultralytics,
    "deep-sort-realtime": deep_sort_realtime,
    "norfair": norfair,
}


def main(tool: str, file: str, frames: str, out: str) -> None:
    """Run one tool."""
    arrays = np.load(frames)
    found = TOOLS[tool](file, arrays["frames"], arrays["boxes"])
    found["version"] = version(tool)
    with open(out, "w", encoding="utf-8") as target:
        json.dump(found, target)


if __name__ == "__main__":
    main(*sys.argv[1:])
