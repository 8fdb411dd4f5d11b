"""Privacy: nothing asks for a connection, and nothing that is written about a run shows its images."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from jointreid.cli import main
from jointreid.data.decode import read_image
from jointreid.run import open_run
from tests.small import SMALL_OPTIONS

pytestmark = pytest.mark.slow

# How files of these formats begin: long enough not to occur in weights by chance.
_IMAGES = {"JPEG": b"\xff\xd8\xff\xe0\x00\x10JFIF", "PNG": b"\x89PNG\r\n\x1a\n", "WebP": b"WEBPVP8", "GIF": b"GIF89a"}


def _refuse(*arguments: Any, **named: Any) -> NoReturn:
    raise AssertionError(f"a connection was asked for: {arguments}")


@pytest.fixture(scope="module")
def cut_off() -> Iterator[None]:
    """Refuse every connection and every question for an address."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "sendto"):
            patch.setattr(socket.socket, name, _refuse)
        for name in ("getaddrinfo", "gethostbyname", "create_connection"):
            patch.setattr(socket, name, _refuse)
        yield


@pytest.fixture(scope="module")
def run(cut_off: None, tiny_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was trained and measured by the commands a person gives."""
    folder = tmp_path_factory.mktemp("private")
    settings = "--recipe bot --sampler.ids_per_batch 4 --sampler.images_per_id 2 --max-steps 2 --train.log_every 1"
    data = ["--manifest", str(tiny_manifest), "--data.cache", str(folder / "cache")]
    assert main(["train", *data, *SMALL_OPTIONS, *settings.split(), "--out", str(folder / "run")]) == 0
    assert main(["evaluate", str(folder / "run"), "--device", "cpu"]) == 0
    return folder / "run"


def test_a_connection_that_is_asked_for_is_noticed(cut_off: None) -> None:
    with pytest.raises(AssertionError, match="a connection was asked for"), socket.socket() as plain:
        plain.connect(("127.0.0.1", 9))


def test_nothing_that_a_run_writes_holds_an_image(run: Path, tiny_manifest: Path) -> None:
    files = [path for path in run.rglob("*") if path.is_file()]
    assert {"metrics.jsonl", "results.json", "queries.parquet", "model.safetensors"} <= {path.name for path in files}
    shown = [read_image(path).tobytes()[:48] for path in sorted(tiny_manifest.parent.rglob("*.jpg"))[:50]]
    for path in files:
        content = path.read_bytes()
        found = [name for name, start in _IMAGES.items() if start in content]
        assert not found, f"{path} holds a {found[0]}"
        assert not any(pixels in content for pixels in shown), f"{path} holds pixels of the data"


def test_tensorboard_is_given_numbers_only(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    kinds = {kind: tags for kind, tags in events.Tags().items() if tags}
    assert kinds.keys() == {"scalars"}


def test_a_report_shows_images_and_says_so(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = run.parent / "report.html"
    assert main(["report", str(run), "--out", str(page), "--queries", "1", "--device", "cpu"]) == 0
    assert "It holds images from the data sets: pass it on as their terms allow" in capsys.readouterr().out
    assert "data:image/" in page.read_text(encoding="utf-8")
    assert open_run(run).path == run  # which the report has left as it was
