"""What stands before the application: host, origin, token, rate and size of a request, and headers of every answer.

A page of another site that is open in the same browser must not reach the server. It cannot read answers, since none
allows it (no CORS); its requests carry an `Origin`, or `Sec-Fetch-Site`, that is not ours; and a name that it lets
point to 127.0.0.1 (DNS rebinding) is not among our hosts.
"""

import asyncio
import hmac
import json
import math
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from jointreid.serve.limits import MemoryFull, RateLimit, RequestMemory
from jointreid.serve.settings import ServeSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

API = "/api/"

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class Refused(Exception):
    """A request that is not let through.

    Args:
        status: of the answer.
        why: for its reader.
        headers: further ones.
    """

    def __init__(self, status: int, why: str, **headers: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Guard:
    """An ASGI application in front of another.

    Args:
        app: gets the requests that are let through, with their whole body at once.
        settings: who is let through.
    """

    def __init__(self, app: Application, settings: ServeSettings) -> None:
        self.app = app
        self.settings = settings
        self.rate = RateLimit(settings.rate)
        self.memory = RequestMemory(settings.memory)
        self.names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in settings.hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass it on."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self.app(scope, receive, send)
        else:
            await self._answer(scope, receive, _with_headers(send))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
            with self.memory.request() as count:
                try:
                    body = await asyncio.wait_for(
                        self._body(_headers(scope), receive, count), self.settings.body_seconds
                    )
                except MemoryFull:
                    raise Refused(503, "too many large requests at once; try again", retry_after="2") from None
                except TimeoutError:
                    raise Refused(408, f"the request took more than {self.settings.body_seconds:g} s") from None
                if body is not None:
                    await self.app(scope, _replayed(body, receive), send)
        except Refused as refused:
            await _refuse(refused, send)

    def _check(self, scope: Scope) -> None:
        """Refuse what must not reach the application.

        Raises:
            Refused: with the reason.
        """
        headers = _headers(scope)
        host = headers.get("host", "")
        if not self._is_own(host, scope):
            raise Refused(421, "this name is not one of the server's; start it with --allow-host NAME to allow it")
        wait = self.rate.wait((scope.get("client") or ("",))[0])
        if wait:
            raise Refused(429, "too many requests from this address", retry_after=str(math.ceil(wait)))
        if not scope["path"].startswith(API):
            return
        origin = headers.get("origin")
        if origin is not None and _place_of(origin) != host.lower():
            raise Refused(403, "a page of another site must not use this server")
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise Refused(403, "a page of another site must not use this server")
        if self.settings.token and not _is_token(headers.get("authorization", ""), self.settings.token):
            raise Refused(401, "the token is missing or wrong", www_authenticate="Bearer")

    def _is_own(self, host: str, scope: Scope) -> bool:
        """Return whether a Host header names this server; any address that the request came in at is its own."""
        try:
            name = (urlsplit(f"//{host}").hostname or "").rstrip(".")
        except ValueError:
            return False
        if name in self.names:
            return True
        try:
            own = ip_address((scope.get("server") or ("",))[0].partition("%")[0])
            return ip_address(name) == own
        except ValueError:
            return False

    async def _body(self, headers: dict[str, str], receive: Receive, count: Callable[[int], None]) -> bytes | None:
        """Return the whole body of a request; None if the client has left."""
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self.settings.max_body:
            raise Refused(413, self._too_large())
        parts, total = [], 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            total += len(part)
            if total > self.settings.max_body:
                raise Refused(413, self._too_large())
            count(len(part))
            parts.append(part)
            if not message.get("more_body", False):
                return b"".join(parts)

    def _too_large(self) -> str:
        return f"the image has more than {self.settings.max_bytes:,} bytes; send a smaller one"


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}


def _place_of(origin: str) -> str:
    """Return host and port of an Origin header; empty if it is none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_token(authorization: str, token: str) -> bool:
    """Return whether a header brings the token; takes as long for each wrong one."""
    scheme, _, given = authorization.partition(" ")
    return hmac.compare_digest(given.strip().encode(), token.encode()) and scheme.lower() == "bearer"


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives a body once, and then what the client does."""
    left = [body]

    async def replay() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return replay


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            kept = [pair for pair in message.get("headers", []) if pair[0].decode("latin-1").lower() not in HEADERS]
            own = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
            message = {**message, "headers": [*kept, *own]}
        await send(message)

    return sending


async def _refuse(refused: Refused, send: Send) -> None:
    body = json.dumps({"detail": refused.why}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers}
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})
