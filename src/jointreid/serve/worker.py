"""One thread that computes, so that many clients do not decode and run the model at once."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class Busy(Exception):
    """So many requests are waiting that a further one is refused."""


class Worker:
    """A thread that does one thing after the other.

    Args:
        max_queue: requests that may wait or run.
    """

    def __init__(self, max_queue: int) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="model")
        self._max_queue = max_queue
        self.waiting = 0

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return what a function returns in the thread.

        Raises:
            Busy: too many are waiting; nothing was done.
        """
        if self.waiting >= self._max_queue:
            raise Busy
        self.waiting += 1
        try:
            return await asyncio.wrap_future(self._pool.submit(work))
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """Wait for the work that runs, and drop what waits."""
        self._pool.shutdown(wait=True, cancel_futures=True)
