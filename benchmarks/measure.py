"""Timing candidates side by side: they take turns inside every round, so that a busy machine slows them alike."""

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles

import torch

from jointreid.machine.memory import kept_memory

Run = Callable[[], object]
Milliseconds = dict[str, list[float]]


def side_by_side(
    candidates: Mapping[str, Run],
    repeats: int,
    device: str = "cpu",
    warm_up: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> Milliseconds:
    """Return the milliseconds of each candidate in each round, after rounds that warm up.

    Each round has an order of its own, for a candidate takes longer after one that filled the caches with other numbers
    or made the processor slow down: up to twice as long for a short one.

    Results stay alive until the next round, as they do in a network, and are freed off the clock, which tells seconds.
    """
    samples: Milliseconds = {name: [] for name in candidates}
    alive: dict[str, object] = {}
    order, shuffled = list(candidates.items()), random.Random(0)
    for _ in range(repeats + warm_up):
        shuffled.shuffle(order)
        for name, run in order:
            start = clock()
            result = run()
            if device == "cuda":
                torch.cuda.synchronize()
            samples[name].append(1e3 * (clock() - start))
            alive[name] = result
    return {name: times[warm_up:] for name, times in samples.items()}


def rounds(text: str) -> int:
    """Read the number of rounds from the command line: 1 or more.

    Raises:
        ValueError: it is not such a number, which argparse reports.
    """
    count = int(text)
    if count < 1:
        raise ValueError
    return count


def ratio(of: list[float], to: list[float]) -> list[float]:
    """Return the quartiles of `of / to` within each round, in which both saw the same machine.

    After a single round all three are its ratio.
    """
    ratios = [a / b for a, b in zip(of, to, strict=True)]
    return quantiles(ratios, n=4) if len(ratios) > 1 else 3 * ratios


def spread(quartiles: list[float], digits: int = 1) -> str:
    """Write quartiles as `median (first to third)`."""
    first, middle, third = quartiles
    return f"{middle:.{digits}f} ({first:.{digits}f}-{third:.{digits}f})"


@contextmanager
def memory_above() -> Iterator[list[float]]:
    """Yield a list whose one number is set at the end: the largest rise of resident memory in bytes (Linux)."""
    with kept_memory("cpu"):
        pass  # returns free memory to the system: a run that reused it would not be seen
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from what is resident now
    before, risen = _status("VmRSS"), [0.0]
    yield risen
    risen[0] = _status("VmHWM") - before


def _status(key: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(key))


class Targets:
    """The targets of a benchmark, each printed with the measured ratio and PASS or MISSED."""

    def __init__(self) -> None:
        self.lines: list[dict[str, object]] = []

    def add(self, what: str, measured: float, wanted: float, *, at_most: bool = False) -> None:
        """Compare a measured ratio with its target, and print both."""
        passed = measured <= wanted if at_most else measured >= wanted
        sign = "<=" if at_most else ">="
        self.lines.append({"target": f"{what} {sign} {wanted:g}", "measured": round(measured, 3), "passed": passed})
        print(f"{'PASS  ' if passed else 'MISSED'} {what}: {measured:.2f} (wanted {sign} {wanted:g})", flush=True)
