"""How fast is `dynamic_filter` on the CPU beside the dense 3x3 convolution that it replaces?

    python benchmarks/dynamic_filter_cpu.py --threads 1 --json results/dynamic_filter_cpu.json

Shapes are those of the 3x3 layers of a ResNet-50 on 256x128 images. Both run channels-last in float32; the candidates
take turns inside every repeat, so a busy machine slows them alike. `copy` is the time to copy the input once: no
operator that reads x and writes y of that size can be much faster.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median, quantiles

import torch
import torch.nn.functional as F
from provenance import provenance
from torch import Tensor

from jointreid.models.dynamic_filter import dynamic_filter

SHAPES = ((64, 64, 32), (128, 32, 16), (256, 16, 8), (512, 16, 8))  # channels, height, width
STRIDES = (1, 2)


@dataclass(frozen=True)
class Timing:
    """Medians in milliseconds for one shape; quartiles over the rounds of how many times faster than dense it was."""

    channels: int
    height: int
    width: int
    stride: int
    forward_ms: float
    dense_forward_ms: float
    train_ms: float
    dense_train_ms: float
    copy_ms: float
    forward_faster: list[float]
    train_faster: list[float]

    @property
    def row(self) -> str:
        """The line under `HEADER`."""
        return (
            f"{f'{self.channels} x {self.height}x{self.width} /{self.stride}':>16}"
            f"{self.forward_ms:10.2f}{self.dense_forward_ms:10.2f}{spread(self.forward_faster):>20}"
            f"{self.train_ms:12.2f}{self.dense_train_ms:10.2f}{spread(self.train_faster):>20}"
            f"{self.copy_ms:10.2f}{self.forward_ms / self.copy_ms:8.1f}x"
        )


HEADER = (
    f"{'C x HxW /stride':>16}{'forward':>10}{'dense':>10}{'times faster':>20}"
    f"{'fwd+bwd':>12}{'dense':>10}{'times faster':>20}{'copy':>10}{'fwd/copy':>9}"
)


def spread(quartiles: list[float]) -> str:
    """Write quartiles as `median (first to third)`."""
    first, middle, third = quartiles
    return f"{middle:.1f} ({first:.1f}-{third:.1f})"


def faster(baseline: list[float], times: list[float]) -> list[float]:
    """Quartiles of the ratio within each round, in which both saw the same machine."""
    return quantiles((slow / fast for slow, fast in zip(baseline, times, strict=True)), n=4)


def side_by_side(candidates: dict[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Milliseconds of each candidate in each round; a round before them warms up.

    Results stay alive until the next round, as they do in a network, and are freed off the clock: handing pages back
    to the system and fetching them anew costs more than the operator.
    """
    samples: dict[str, list[float]] = {name: [] for name in candidates}
    alive: dict[str, object] = {}
    for _ in range(repeats + 1):
        for name, run in candidates.items():
            start = time.perf_counter()
            result = run()
            samples[name].append(1e3 * (time.perf_counter() - start))
            alive[name] = result
    return {name: times[1:] for name, times in samples.items()}


def measure(batch: int, channels: int, height: int, width: int, stride: int, repeats: int) -> Timing:
    def leaf(*shape: int) -> Tensor:
        t = torch.randn(shape)
        return (t.to(memory_format=torch.channels_last) if t.ndim == 4 else t).requires_grad_()

    rows, cols = -(-height // stride), -(-width // stride)
    x, spatial, channel = leaf(batch, channels, height, width), leaf(batch, 9, rows, cols), leaf(batch, channels, 9)
    weight = leaf(channels, channels, 3, 3)
    grad = leaf(batch, channels, rows, cols).detach()
    copy = torch.empty_like(x, requires_grad=False)

    def ours() -> Tensor:
        return dynamic_filter(x, spatial, channel, stride)

    def dense() -> Tensor:
        return F.conv2d(x, weight, stride=stride, padding=1)

    def without_grad(run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        return torch.no_grad()(run)

    ms = side_by_side(
        {
            "forward_ms": without_grad(ours),
            "dense_forward_ms": without_grad(dense),
            "train_ms": lambda: torch.autograd.grad(ours(), (x, spatial, channel), grad),
            "dense_train_ms": lambda: torch.autograd.grad(dense(), (x, weight), grad),
            "copy_ms": lambda: copy.copy_(x.detach()),
        },
        repeats,
    )
    return Timing(
        channels,
        height,
        width,
        stride,
        **{name: median(times) for name, times in ms.items()},
        forward_faster=faster(ms["dense_forward_ms"], ms["forward_ms"]),
        train_faster=faster(ms["dense_train_ms"], ms["train_ms"]),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=16, help="images (default: 16)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch and of the kernels (default: 1)")
    parser.add_argument("--repeats", type=int, default=15, help="rounds to take medians over (default: 15)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the results to this file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    print(f"batch {args.batch}, float32, channels-last, {args.threads} thread(s); medians in ms, ratios with quartiles")
    print(HEADER)
    timings = []
    for shape in SHAPES:
        for stride in STRIDES:
            timings.append(measure(args.batch, *shape, stride, args.repeats))
            print(timings[-1].row, flush=True)
    if args.json:
        report = (
            provenance("torch", "numba")
            | {"threads": torch.get_num_threads()}
            | {"batch": args.batch, "rows": [asdict(t) for t in timings]}
        )
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
