"""Connections that say nothing, or say it too slowly, on a real socket."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from jointreid.serve.connections import limited_protocol
from jointreid.serve.limits import network_of
from jointreid.serve.settings import ServeSettings

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SECONDS = 0.4


async def answering(scope: Any, receive: Any, send: Any) -> None:
    """Answer 200 to all, to /slow after twice the time that headers may take."""
    if scope["path"] == "/slow":
        await asyncio.sleep(2 * SECONDS)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextmanager
def serving(**limits: Any) -> Iterator[tuple[str, int]]:
    import uvicorn

    protocol = limited_protocol(ServeSettings(header_seconds=SECONDS, **limits))
    server = uvicorn.Server(uvicorn.Config(answering, http=protocol, ws="none", lifespan="off", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield listening.getsockname()
        finally:
            server.should_exit = True
            thread.join(10)
            assert not thread.is_alive()


def connected(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, timeout=10)


def received(connection: socket.socket) -> bytes:
    """Return the next bytes; none if the server has closed the connection."""
    try:
        return connection.recv(4096)
    except ConnectionError:
        return b""


def answered(connection: socket.socket, request: bytes = b"") -> bool:
    """Send a request and return whether its whole answer comes."""
    answer = b""
    try:
        connection.sendall(request)
        while not answer.endswith(b"ok"):
            part = connection.recv(4096)
            if not part:
                return False
            answer += part
    except ConnectionError:
        return False
    return answer.startswith(b"HTTP/1.1 200")


def trickle(connection: socket.socket) -> None:
    """Send a byte now and then, of headers that never end."""
    for byte in REQUEST[:-2] * 9:
        connection.sendall(bytes([byte]))
        time.sleep(SECONDS / 20)


def test_silent_and_slow_connections_are_closed_and_answers_are_waited_for() -> None:
    with serving() as address, ExitStack() as stack:
        silent, slow, kept, waiting = (stack.enter_context(connected(address)) for _ in range(4))
        waiting.sendall(REQUEST.replace(b"/ ", b"/slow "))
        assert answered(kept, REQUEST)
        kept.sendall(REQUEST[:20])  # the second request never ends
        began = time.monotonic()
        with pytest.raises(OSError, match=r"reset|[Bb]roken pipe"):
            trickle(slow)
        assert time.monotonic() - began < 10 * SECONDS
        assert received(silent) == b""
        assert received(kept) == b""
        assert answered(waiting)


def test_one_address_holds_a_bounded_number_of_connections() -> None:
    with serving(max_connections=3) as address, ExitStack() as stack:
        held = [stack.enter_context(connected(address)) for _ in range(3)]
        assert answered(held[0], REQUEST)
        assert received(stack.enter_context(connected(address))) == b""
        for one in held:
            one.close()
        for _ in range(50):  # until the server has noticed
            if answered(stack.enter_context(connected(address)), REQUEST):
                return
            time.sleep(0.02)
        pytest.fail("closed connections are still counted")


def test_addresses_of_one_ipv6_network_count_together() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::2") != network_of("2001:db9::1")
    assert network_of("10.0.0.1") != network_of("10.0.0.2")
