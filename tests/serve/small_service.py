"""A server of a small untrained model and a gallery of images of noise, asked without a network."""

import asyncio
import base64
import io
import json
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
from PIL import Image

from jointreid.cli import main
from jointreid.serve.app import guarded_app
from jointreid.serve.server import open_service
from jointreid.serve.settings import ServeSettings
from tests.extraction.small_runs import draw, untrained_run

URL = "http://127.0.0.1:8000"
PEOPLE = 6  # with 2 images each, p0 to p5

Result = TypeVar("Result")


def made(folder: Path) -> Path:
    """Write a run, 12 images and a gallery of them in `shop`, and return the folder."""
    untrained_run(folder / "run")
    records = draw(folder / "images", 2 * PEOPLE)
    lines = ["path,pid,camid,domain,time,name"]
    for index, one in enumerate(records):
        time = f"2026-03-{1 + index:02}T10:00:00"
        lines.append(f"{one.path.name},{one.pid},{one.camid},shop,{time},Person {one.pid}")
    (folder / "images" / "people.csv").write_text("\n".join(lines))
    features = str(folder / "e.parquet")
    images = str(folder / "images" / "people.csv")
    assert main(["extract", str(folder / "run"), "--images", images, "--out", features, "--device", "cpu"]) == 0
    assert main(["gallery", "add", str(folder / "g"), features, "--thumbnails", "32"]) == 0
    return folder


class Client:
    """Asks the application of a service as a browser or a program would.

    Args:
        folder: from `made`.
        gallery: another one than its own.
        threshold: of the verdicts.
        settings: of the server.
    """

    def __init__(
        self, folder: Path, gallery: Path | None = None, threshold: float | None = None, **settings: Any
    ) -> None:
        self.folder = folder
        self.settings = ServeSettings(**settings)
        where = gallery or folder / "g"
        self.service = open_service(folder / "run", where, self.settings, device="cpu", threshold=threshold)
        self.app: Any = guarded_app(self.service)

    def ask(self, work: Callable[[httpx.AsyncClient], Awaitable[Result]], address: str = "127.0.0.1") -> Result:
        """Return what a coroutine makes of a client of HTTP."""

        async def run() -> Result:
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False, client=(address, 1234))
            async with httpx.AsyncClient(transport=transport, base_url=URL) as client:
                return await work(client)

        return asyncio.run(run())

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Get one path."""
        return self.ask(lambda client: client.get(path, headers=headers))

    def post(self, path: str, plain: object, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Post JSON, of ASCII, which can hold any text."""
        kind = {"Content-Type": "application/json"}
        return self.ask(
            lambda client: client.post(path, content=json.dumps(plain), headers={**kind, **(headers or {})})
        )

    def image(self, index: int) -> str:
        """Return one of the gallery's images in base64."""
        return base64.b64encode((self.folder / "images" / f"{index:02}.png").read_bytes()).decode()


def png(width: int, height: int, seed: int = 0) -> str:
    """Return an image of noise in base64."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels))


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> str:
    """Return an image as a file in base64."""
    sink = io.BytesIO()
    image.save(sink, form, **options)
    return base64.b64encode(sink.getvalue()).decode()
