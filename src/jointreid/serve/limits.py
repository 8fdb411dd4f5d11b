"""Limits on how often a client asks, and on how much memory all requests take."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv6Address, ip_address

# Clients that are remembered; the longest silent are forgotten.
_CLIENTS = 10_000


class RateLimit:
    """A token bucket for each client: `rate` requests at once, refilled over a minute.

    Args:
        rate: requests a minute; 0 for any number.
        clock: seconds.
    """

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def wait(self, client: str) -> float:
        """Count a request; return 0 if it is allowed, else the seconds until the next one is."""
        if not self._rate:
            return 0.0
        name, now = network_of(client), self._clock()
        left, since = self._left.pop(name, (float(self._rate), now))
        left = min(float(self._rate), left + (now - since) * self._rate / 60)
        allowed = left >= 1
        self._left[name] = (left - 1 if allowed else left, now)
        if len(self._left) > _CLIENTS:
            del self._left[next(iter(self._left))]
        return 0.0 if allowed else (1 - left) * 60 / self._rate


def network_of(client: str) -> str:
    """Return what stands for a client: its address, or its IPv6 network, within which it has many addresses."""
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return client
    return str(int(address) >> 64) if isinstance(address, IPv6Address) else client


class MemoryFull(Exception):
    """All requests together would take more memory than allowed."""


class RequestMemory:
    """The bytes of all requests that are being received or answered.

    Args:
        most: bytes allowed.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0

    @contextmanager
    def request(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that counts further bytes of a request; all are given back at its end.

        Raises:
            MemoryFull: by that function, if too many are in use.
        """
        own = 0

        def count(size: int) -> None:
            nonlocal own
            if self.used + size > self.most:
                raise MemoryFull
            own += size
            self.used += size

        try:
            yield count
        finally:
            self.used -= own
