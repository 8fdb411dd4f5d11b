"""Loading one batch ahead of its use."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Generic, TypeVar

Choice = TypeVar("Choice")
Loaded = TypeVar("Loaded")


class Ahead(Generic[Choice, Loaded]):
    """Loader by number that loads the next one in a thread while the last one is used.

    The result depends on the number alone, whatever the order of the calls; a number other than the next takes as long
    as without the thread. Loading ahead takes place only inside a `with`, whose end waits for the thread.

    Args:
        choose: number -> what to load; called in the thread that asks, so it may keep state.
        load: loads it. An error is raised when its number is asked for, and dropped if it never is.
    """

    def __init__(self, choose: Callable[[int], Choice], load: Callable[[Choice], Loaded]) -> None:
        self._choose, self._load = choose, load
        self._pool: ThreadPoolExecutor | None = None
        self._next: tuple[int, Future[Loaded]] | None = None

    def __enter__(self) -> "Ahead[Choice, Loaded]":
        self._pool = ThreadPoolExecutor(1, "load-ahead")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pool, self._pool, self._next = self._pool, None, None
        if pool is not None:
            pool.shutdown(cancel_futures=True)

    def __call__(self, number: int) -> Loaded:
        """Return what belongs to a number, and begin to load the next."""
        if self._next is not None and self._next[0] == number:
            loaded = self._next[1].result()
        else:
            loaded = self._load(self._choose(number))
        self._next = None
        if self._pool is not None:
            with suppress(Exception):  # it is raised again if that number is asked for
                self._next = number + 1, self._pool.submit(self._load, self._choose(number + 1))
        return loaded
