"""`jointreid serve`."""

import os
from dataclasses import dataclass

from jointreid.cli.options import argument, device
from jointreid.config import setting
from jointreid.machine.device import Device
from jointreid.machine.run_files import CheckpointName
from jointreid.messages.errors import JointreidError

# Every similarity is above it.
_NO_THRESHOLD = -2.0


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """Options of `jointreid serve`."""

    run: str = argument("RUN", "a run directory, of the model that made the gallery's features")
    gallery: str = setting("", "the gallery; the first addition makes it", metavar="GALLERY")
    host: str = setting("127.0.0.1", "address to listen at; others than this machine's own need a token")
    port: int = setting(8000, "port to listen at; 0 for any that is free")
    token: str = setting(
        "", "what clients must bring; auto makes one (default: the environment variable JOINTREID_TOKEN)"
    )
    allow_host: tuple[str, ...] = setting((), "a further name of this server; repeat for more", metavar="NAME")
    read_only: bool = setting(False, "nobody may add or erase")
    threshold: float = setting(
        _NO_THRESHOLD, "similarity from which on it is the same person (default: as `calibrate` found)", metavar="X"
    )
    max_bytes: int = setting(20_000_000, "bytes of an image")
    max_pixels: int = setting(25_000_000, "pixels of an image")
    rate: int = setting(600, "requests a minute from one address; 0 for any number")
    max_connections: int = setting(64, "connections from one address at once")
    checkpoint: CheckpointName = setting("last", "which weights, for a new gallery")
    device: Device = device()


def serve(options: ServeOptions) -> int:
    """Serve a gallery as a page and as JSON: who is in an image, add people, erase people."""
    from jointreid.serve import server
    from jointreid.serve.settings import RANDOM_TOKEN, ServeSettings, chosen_token

    if not options.gallery:
        raise JointreidError("--gallery is missing; give the folder of a gallery, or a new one")
    if options.threshold != _NO_THRESHOLD and not -1 <= options.threshold <= 1:
        raise JointreidError(f"--threshold is {options.threshold}; expected a similarity, -1 to 1")
    asked_token = options.token or os.environ.get("JOINTREID_TOKEN", "")
    settings = ServeSettings(
        token=chosen_token(asked_token),
        hosts=options.allow_host,
        max_bytes=options.max_bytes,
        max_pixels=options.max_pixels,
        rate=options.rate,
        max_connections=options.max_connections,
        read_only=options.read_only,
    )
    with server.listen(options.host, options.port, settings.token) as listening:
        service = server.open_service(
            options.run,
            options.gallery,
            settings,
            device=options.device,
            checkpoint=options.checkpoint,
            threshold=None if options.threshold == _NO_THRESHOLD else options.threshold,
        )
        if asked_token == RANDOM_TOKEN:
            print(f"token: {settings.token}")
        server.serve(service, listening, lambda url: print(f"{url} (Ctrl-C stops it)", flush=True))
    print("stopped")
    return 0
