"""Open the model and the gallery, listen, and stop without dropping answers."""

import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jointreid.machine.extras import library
from jointreid.machine.paths import absolute, user_path
from jointreid.messages.errors import JointreidError
from jointreid.serve.settings import ServeSettings, require_token

# After a signal, answers that are being made have so long.
_SECONDS_TO_STOP = 15
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def open_service(
    run: str | Path,
    gallery: str | Path,
    settings: ServeSettings,
    *,
    device: str = "auto",
    checkpoint: str = "last",
    threshold: float | None = None,
) -> Any:
    """Return the `Service` of a run and a gallery, which need not exist yet.

    Args:
        run: the run whose model embeds what is sent.
        gallery: a folder or an object store.
        settings: the limits.
        device: auto, cpu, cuda or mps.
        checkpoint: last or best, for a new gallery; one that exists names its own.
        threshold: similarity from which on it is the same person; None for the run's calibration, if it has one.

    Raises:
        JointreidError: no such run, or the gallery holds features of another model.
    """
    from jointreid.extraction.embedder import Embedder
    from jointreid.gallery.gallery import Gallery
    from jointreid.gallery.rows import FeatureModel
    from jointreid.serve.judge import Judge
    from jointreid.serve.service import Service
    from jointreid.serve.thresholds import CurrentCalibration

    opened = Gallery.open(gallery)
    exists = opened.exists()
    facts = opened.facts().model if exists else None
    checkpoint, flip = (facts.checkpoint, facts.flip) if facts else (checkpoint, False)
    embedder = Embedder.load(run, checkpoint, device, flip=flip)
    if exists:
        opened.require_model(embedder.fingerprint, str(run))
        opened.warm_up()
    model = FeatureModel(embedder.fingerprint, absolute(user_path(run)), checkpoint, embedder.evaluation.flip)
    current = CurrentCalibration(run, checkpoint, embedder.fingerprint) if threshold is None else None
    return Service(embedder, opened, model, Judge(threshold, current), settings)


def listen(host: str, port: int, token: str) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: a name or an address.
        port: 0 for any that is free.
        token: of the server; empty for none.

    Raises:
        JointreidError: there is no such address, other machines reach it and there is no token, or it is in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, OverflowError) as error:
        raise JointreidError(f"--host {host}: no such address; expected one of this machine") from error
    require_token(str(address[0]), token)
    try:
        return socket.create_server((str(address[0]), port), family=family, backlog=256)
    except OSError as error:
        raise JointreidError(
            f"{host}, port {port}: cannot listen there: {error.strerror or error}; name another --port, or 0 for any"
        ) from error


def url_of(listening: socket.socket) -> str:
    """Return the address for a browser."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serving(service: Any) -> Any:
    """Return the server, which answers on the sockets that its `run` is given.

    Args:
        service: from `open_service`.

    Raises:
        JointreidError: uvicorn or FastAPI is missing.
    """
    uvicorn = library("uvicorn", "a gallery is served", "serve")
    from jointreid.serve.app import guarded_app
    from jointreid.serve.connections import limited_protocol

    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    config = uvicorn.Config(
        guarded_app(service),
        http=limited_protocol(service.settings),
        ws="none",
        log_config=None,
        access_log=False,  # a request's address and time are personal data too
        proxy_headers=False,  # a client could name any address as its own
        server_header=False,
        lifespan="on",
        timeout_keep_alive=5,
        timeout_graceful_shutdown=_SECONDS_TO_STOP,
        limit_concurrency=512,
    )
    return uvicorn.Server(config)


def serve(service: Any, listening: socket.socket, on_ready: Callable[[str], None]) -> None:
    """Answer requests until SIGINT or SIGTERM; then finish those that have begun.

    Args:
        service: from `open_service`.
        listening: from `listen`.
        on_ready: called with the address; from now on requests wait until they are answered.

    Raises:
        JointreidError: uvicorn or FastAPI is missing.
    """
    server = serving(service)
    on_ready(url_of(listening))
    with listening, _own_signals():
        server.run(sockets=[listening])


@contextmanager
def _own_signals() -> Iterator[None]:
    """Let a signal that uvicorn has answered, and raises again at its end, do nothing more."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
