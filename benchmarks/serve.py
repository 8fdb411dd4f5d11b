"""Twenty clients of `jointreid serve` at once: failures, and the time of an answer, over real connections.

    python benchmarks/serve.py --json results/serve_cpu.json

A server runs in a process of its own, on 127.0.0.1, with a small untrained model (ResNet-50 of a quarter of the width,
64 x 32 pixels) and a gallery of 2,000 images of noise. Each client has a connection of its own, and sends a JPEG of
640 x 480 pixels with a box again and again; a third of the requests filter by camera. The time is that of a whole
request: sending, decoding, the model, the search, thumbnails. All requests wait for one model, so the time of an answer
grows with the number of clients; what must not happen is a failure.
"""

import argparse
import asyncio
import base64
import io
import json
import multiprocessing
import os
import signal
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import torch
from measure import Targets
from PIL import Image
from provenance import provenance
from safetensors.torch import save_file

from jointreid.data.joint import join
from jointreid.data.records import Domain, ImageRecord
from jointreid.extraction.embedder import Embedder
from jointreid.gallery.gallery import Gallery
from jointreid.gallery.rows import FeatureModel, FeatureRows
from jointreid.gallery.thumbnails import thumbnail
from jointreid.recipes import apply_recipe
from jointreid.run import model_for, write_config
from jointreid.serve.server import listen, open_service, serve
from jointreid.serve.settings import ServeSettings

IMAGES, PEOPLE, CAMERAS = 2_000, 200, 8
# The benchmark ends after so long, whatever has been answered.
SECONDS = 120


def make_run(folder: Path) -> Path:
    """Write a run directory with random weights."""
    records = [ImageRecord(folder / f"{i}.png", f"p{i // 2}", i % 3) for i in range(6)]
    labels = join([Domain("d", train=tuple(records))]).label_space
    config = apply_recipe("bot-dcsd").replace(
        model={"trunk": "resnet50-w16"}, image={"height": 64, "width": 32, "pad": 2}
    )
    write_config(config, folder / "config.yaml")
    labels.save(folder / "labels.json")
    torch.manual_seed(0)
    (folder / "last").mkdir()
    save_file(model_for(config, labels).state_dict(), folder / "last" / "model.safetensors")
    return folder


def make_gallery(run: Path, folder: Path) -> None:
    """Fill a gallery with random features and small images."""
    embedder = Embedder.load(run, device="cpu")
    draw = np.random.default_rng(0)
    features = draw.standard_normal((IMAGES, embedder.dims), dtype=np.float32)
    columns = {"pid": [str(i % PEOPLE) for i in range(IMAGES)], "camera": [str(i % CAMERAS) for i in range(IMAGES)]}
    rows = FeatureRows.of(
        features, [f"{i}.jpg" for i in range(IMAGES)], FeatureModel(embedder.fingerprint), columns=columns
    )
    small = [thumbnail(noise(draw, 96, 48), 96) for _ in range(20)]
    Gallery.open(folder).add(rows.with_thumbnails([small[i % 20] for i in range(IMAGES)]))


def noise(draw: np.random.Generator, height: int, width: int) -> "np.typing.NDArray[np.uint8]":
    """Return smooth noise, which a JPEG keeps as small as a photograph."""
    coarse = draw.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def run_server(run: Path, gallery: Path, ready: Connection) -> None:
    """Serve until a signal; tell the address once."""
    torch.set_num_threads(1)
    settings = ServeSettings(rate=0, max_connections=128)
    service = open_service(run, gallery, settings, device="cpu", threshold=0.5)
    serve(service, listen("127.0.0.1", 0, ""), ready.send)


async def client(url: str, number: int, requests: int, until: float) -> tuple[list[float], list[str]]:
    """Send requests one after the other, and return their seconds and what failed."""
    draw = np.random.default_rng(number)
    sink = io.BytesIO()
    Image.fromarray(noise(draw, 480, 640)).save(sink, "JPEG")
    image = base64.b64encode(sink.getvalue()).decode()
    seconds: list[float] = []
    failures: list[str] = []
    async with httpx.AsyncClient(base_url=url, timeout=60) as asking:
        for index in range(requests):
            if time.monotonic() > until:
                failures.append("out of time")
                break
            box = [int(draw.integers(0, 500)), int(draw.integers(0, 300)), 80, 160]
            filters = {"camera": [str(index % CAMERAS)]} if index % 3 == 0 else {}
            start = time.perf_counter()
            try:
                answer = await asking.post("/api/search", json={"image": image, "boxes": [box], **filters})
                if answer.status_code != 200 or len(answer.json()["answers"][0]["people"]) != 10:
                    failures.append(f"{answer.status_code} {answer.text[:100]}")
            except httpx.HTTPError as error:
                failures.append(f"{type(error).__name__} {error}")
            seconds.append(time.perf_counter() - start)
    return seconds, failures


async def crowd(url: str, clients: int, requests: int) -> tuple[list[float], list[str], float]:
    """Return the seconds of all requests, all failures, and the seconds that they took together."""
    await client(url, 0, 2, time.monotonic() + SECONDS)  # the first search opens the gallery
    start = time.perf_counter()
    until = time.monotonic() + SECONDS
    found = await asyncio.gather(*(client(url, number, requests, until) for number in range(clients)))
    whole = time.perf_counter() - start
    return [one for of, _ in found for one in of], [one for _, of in found for one in of], whole


def measure(clients: int, requests: int) -> dict[str, Any]:
    """Return the figures of one server and its clients."""
    with tempfile.TemporaryDirectory() as folder:
        run, gallery = Path(folder) / "run", Path(folder) / "gallery"
        run.mkdir()
        make_run(run)
        make_gallery(run, gallery)
        context = multiprocessing.get_context("spawn")
        mine, theirs = context.Pipe()
        server = context.Process(target=run_server, args=(run, gallery, theirs))
        server.start()
        try:
            if not mine.poll(120):
                raise SystemExit("the server did not start within 120 s")
            seconds, failures, whole = asyncio.run(crowd(mine.recv(), clients, requests))
        finally:
            if server.pid:
                os.kill(server.pid, signal.SIGTERM)
            server.join(30)
            stopped = server.exitcode
            server.kill()
    p50, p95, p99 = (1000 * float(np.quantile(seconds, share)) for share in (0.5, 0.95, 0.99))
    return {
        "clients": clients,
        "requests": len(seconds),
        "failures": len(failures),
        "causes": sorted(set(failures))[:5],
        "p50_ms": round(p50, 1),
        "p95_ms": round(p95, 1),
        "p99_ms": round(p99, 1),
        "requests_per_second": round(len(seconds) / whole, 1),
        "exit_code_after_sigterm": stopped,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=20, help="at most 100")
    parser.add_argument("--requests", type=int, default=20, help="of each client, at most 1,000")
    parser.add_argument("--json", type=Path, help="write the figures here")
    options = parser.parse_args()
    found = measure(min(options.clients, 100), min(options.requests, 1_000))
    print(
        f"{found['clients']} clients, {found['requests']} requests, {found['failures']} failures; "
        f"p50 {found['p50_ms']} ms, p95 {found['p95_ms']} ms, p99 {found['p99_ms']} ms, "
        f"{found['requests_per_second']} requests/s; exit code {found['exit_code_after_sigterm']} after SIGTERM"
    )
    targets = Targets()
    targets.add("requests that failed", found["failures"], 0, at_most=True)
    targets.add("exit code after SIGTERM", found["exit_code_after_sigterm"], 0, at_most=True)
    figures = {
        "clients at once": found["clients"],
        "requests": found["requests"],
        "requests a second": found["requests_per_second"],
        **{f"an answer, {name}, ms": found[f"{name}_ms"] for name in ("p50", "p95", "p99")},
    }
    if options.json:
        head = provenance("torch", "fastapi", "uvicorn") | {"threads": 1}
        plain = {**head, "targets": targets.lines, "figures": figures, "causes": found["causes"]}
        options.json.write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
    if found["failures"] or found["exit_code_after_sigterm"] != 0:
        raise SystemExit(f"failed: {found['causes']}")


if __name__ == "__main__":
    main()
