"""Limits on connections: how long one may take to say what it wants, and how many one address may hold.

uvicorn counts open connections, silent ones too, and starts its timer only after an answer. Without these limits a
client with no token could hold all connections by opening them and sending nothing.
"""

import asyncio
from collections import Counter

from jointreid.serve.limits import network_of
from jointreid.serve.settings import ServeSettings


def limited_protocol(settings: ServeSettings) -> type[asyncio.Protocol]:
    """Return uvicorn's HTTP protocol with limits; it is for one server.

    A connection is closed when the headers of a request are not complete `header_seconds` after it was opened or
    after its last answer, however often bytes arrive, and at once when its address has `max_connections` others.

    Args:
        settings: the limits.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    open_of: Counter[str] = Counter()

    class LimitedProtocol(H11Protocol):
        _network = ""
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._network = network_of(self.client[0] if self.client else "")
            open_of[self._network] += 1
            if open_of[self._network] > settings.max_connections:
                transport.abort()
            else:
                self._await_headers()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._answering():
                self._stop_waiting()

        def on_response_complete(self) -> None:
            self._await_headers()
            super().on_response_complete()  # may begin a request that has arrived already
            if self._answering():
                self._stop_waiting()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_waiting()
            open_of[self._network] -= 1
            if not open_of[self._network]:
                del open_of[self._network]
            super().connection_lost(exc)

        def _answering(self) -> bool:
            """Return whether the headers of a request are complete and its answer is not."""
            return self.cycle is not None and not self.cycle.response_complete

        def _await_headers(self) -> None:
            self._stop_waiting()
            # Not `close`, which waits until a client that does not read has read.
            self._deadline = self.loop.call_later(settings.header_seconds, self.transport.abort)

        def _stop_waiting(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

    return LimitedProtocol
