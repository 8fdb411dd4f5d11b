"""Speed of `dynamic_filter`, without a base and on one, beside the dense 3x3 convolution that it replaces.

    python benchmarks/operators.py --json results/operators_cpu.json
    python benchmarks/operators.py --device cuda --json results/operators_gpu.json

Shapes are those of the 3x3 layers of a ResNet-50 on 256x128 images, channels-last: on a CPU in float32 on one thread
and 16 images, on a GPU in bfloat16 and 64. `copy` is the time to copy the input once: no operator that reads x and
writes y of that size can be much faster. `bytes` is the time that reading and writing every operand once takes at the
speed of that copy, without those of the base, which are a few thousandths. The targets hold for both. On the CPU an
operator without a base runs the loops of one on a base of zeros; freed memory is kept, as in training, for both sides.
On a GPU each round replays a recording of the kernels on 16 sets of operands in turn, more than its caches hold, and
does not count the time in which Python starts them.
"""

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from measure import Targets, memory_above, ratio, rounds, side_by_side, spread
from provenance import provenance
from torch import Tensor

from jointreid.machine.memory import kept_memory
from jointreid.models.dynamic_filter import dynamic_filter, dynamic_filter_reference

SHAPES = ((64, 64, 32), (128, 32, 16), (256, 16, 8), (512, 16, 8))  # channels, height, width
STRIDES = (1, 2)
OF_IMAGES = ("x", "spatial", "channel", "grad")  # operands with a row for each image
WITHOUT_BASE = ("x", "spatial", "channel")
ON_BASE = (*WITHOUT_BASE, "base", "gain")
SETS = {"cpu": 1, "cuda": 16}  # operands to go through in a round


@dataclass(frozen=True)
class Timing:
    """Medians in milliseconds for one shape; quartiles over the rounds of how many times faster than dense it was.

    `base_...` is the operator on a base: `base_forward` and `base_train` are quartiles of how many times longer than
    without it took, `base_forward_faster` and `base_train_faster` of how many times faster than dense it was.
    """

    channels: int
    height: int
    width: int
    stride: int
    forward_ms: float
    dense_forward_ms: float
    train_ms: float
    dense_train_ms: float
    copy_ms: float
    forward_bytes_ms: float
    backward_bytes_ms: float
    forward_faster: list[float]
    train_faster: list[float]
    base_forward_ms: float
    base_train_ms: float
    base_forward: list[float]
    base_train: list[float]
    base_forward_faster: list[float]
    base_train_faster: list[float]

    @property
    def backward_ms(self) -> float:
        """Time of the backward pass: the difference of two medians."""
        return self.train_ms - self.forward_ms

    @property
    def base_backward_ms(self) -> float:
        """Time of the backward pass on a base."""
        return self.base_train_ms - self.base_forward_ms

    @property
    def row(self) -> str:
        """The line under `HEADER`."""
        return (
            f"{f'{self.channels} x {self.height}x{self.width} /{self.stride}':>16}"
            f"{spread(self.forward_faster):>20}{spread(self.train_faster):>20}"
            f"{self.forward_ms:10.3f}{self.dense_forward_ms:10.3f}{self.train_ms:10.3f}{self.dense_train_ms:10.3f}"
            f"{self.copy_ms:9.3f}{self.forward_ms / self.copy_ms:8.1f}x"
            f"{self.forward_ms / self.forward_bytes_ms:8.1f}x{self.backward_ms / self.backward_bytes_ms:8.1f}x"
            f"{spread(self.base_forward, 2):>20}{spread(self.base_train, 2):>20}"
        )


HEADER = (
    f"{'C x HxW /stride':>16}{'fwd faster':>20}{'fwd+bwd faster':>20}{'fwd':>10}{'dense':>10}"
    f"{'fwd+bwd':>10}{'dense':>10}{'copy':>9}{'fwd/copy':>9}{'fwd/bytes':>9}{'bwd/bytes':>9}"
    f"{'fwd base/without':>20}{'fwd+bwd':>20}"
)


def operands(batch: int, shape: tuple[int, int, int], stride: int, device: str) -> dict[str, Tensor]:
    """Return x, spatial, channel, base, gain, weight and grad of random numbers; x and maps channels-last."""
    channels, height, width = shape
    rows, cols = -(-height // stride), -(-width // stride)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    sizes = {
        "x": (batch, channels, height, width),
        "spatial": (batch, 9, rows, cols),
        "channel": (batch, channels, 9),
        "base": (channels, 9),
        "gain": (channels,),
        "weight": (channels, channels, 3, 3),
        "grad": (batch, channels, rows, cols),
    }
    made = {}
    for name, size in sizes.items():
        # FilterNorm gives float32 under autocast too, and parameters are float32.
        kind = dtype if name in ("x", "weight", "grad") else torch.float32
        t = torch.randn(size, device=device, dtype=kind)
        made[name] = (t.to(memory_format=torch.channels_last) if t.ndim == 4 else t).requires_grad_(name != "grad")
    return made


def check(given: dict[str, Tensor], stride: int) -> None:
    """Stop if the operator and its reference differ, forward or backward, without a base or on one."""
    for names in (WITHOUT_BASE, ON_BASE):
        inputs = tuple(given[name] for name in names)
        arguments: dict[str, Any] = {name: given[name] for name in names}
        found, expected = (
            (y := operator(**arguments, stride=stride), *torch.autograd.grad(y, inputs, given["grad"]))
            for operator in (dynamic_filter, dynamic_filter_reference)
        )
        tolerance = 1e-5 if given["x"].dtype == torch.float32 else 2e-2
        for one, other in zip(found, expected, strict=True):
            error = (one.float() - other.float()).abs().max() / other.float().abs().max()
            assert error < tolerance, f"differs from the reference by {error:.1e} of its largest value"


def recorded(run: Callable[[], object]) -> Callable[[], None]:
    """Return a function that replays the kernels of `run` as a CUDA graph, without the time of the host."""
    beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            run()  # compiles and tunes, which cannot be recorded
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        run()
    return graph.replay


def measure(batch: int, shape: tuple[int, int, int], stride: int, device: str, repeats: int) -> Timing:
    sets = [operands(batch, shape, stride, device) for _ in range(SETS[device])]
    given = sets[0]
    if device == "cuda":
        check(given, stride)  # the whole batch: kernels are tuned for the first that they get
    else:
        check({name: t[:2] if name in OF_IMAGES else t for name, t in given.items()}, stride)
    x, spatial, channel, grad = (given[name] for name in ("x", "spatial", "channel", "grad"))

    def ours(of: dict[str, Tensor]) -> Tensor:
        return dynamic_filter(of["x"], of["spatial"], of["channel"], stride)

    def on_base(of: dict[str, Tensor]) -> Tensor:
        return dynamic_filter(of["x"], of["spatial"], of["channel"], stride, base=of["base"], gain=of["gain"])

    def dense(of: dict[str, Tensor]) -> Tensor:
        return F.conv2d(of["x"], of["weight"], stride=stride, padding=1)

    def train_ours(of: dict[str, Tensor]) -> object:
        return torch.autograd.grad(ours(of), [of[name] for name in WITHOUT_BASE], of["grad"])

    def train_on_base(of: dict[str, Tensor]) -> object:
        return torch.autograd.grad(on_base(of), [of[name] for name in ON_BASE], of["grad"])

    def train_dense(of: dict[str, Tensor]) -> object:
        return torch.autograd.grad(dense(of), (of["x"], of["weight"]), of["grad"])

    copies = [torch.empty_like(x, requires_grad=False) for _ in sets]
    runs: dict[str, Callable[[], object]] = {
        "forward_ms": torch.no_grad()(lambda: [ours(of) for of in sets]),
        "dense_forward_ms": torch.no_grad()(lambda: [dense(of) for of in sets]),
        "base_forward_ms": torch.no_grad()(lambda: [on_base(of) for of in sets]),
        "train_ms": lambda: [train_ours(of) for of in sets],
        "dense_train_ms": lambda: [train_dense(of) for of in sets],
        "base_train_ms": lambda: [train_on_base(of) for of in sets],
        "copy_ms": lambda: [to.copy_(of["x"].detach()) for to, of in zip(copies, sets, strict=True)],
    }
    if device == "cuda":
        runs = {name: recorded(run) for name, run in runs.items()}
    times = side_by_side(runs, repeats, device, warm_up=3)
    times = {name: [value / len(sets) for value in values] for name, values in times.items()}
    medians = {name: median(values) for name, values in times.items()}

    def size(*tensors: Tensor) -> int:
        return sum(t.numel() * t.element_size() for t in tensors)

    per_byte = medians["copy_ms"] / (2 * size(x))
    forward = size(x, spatial, channel, grad)  # grad is as large as y
    return Timing(
        *shape,
        stride,
        forward_ms=medians["forward_ms"],
        dense_forward_ms=medians["dense_forward_ms"],
        train_ms=medians["train_ms"],
        dense_train_ms=medians["dense_train_ms"],
        copy_ms=medians["copy_ms"],
        forward_bytes_ms=per_byte * forward,
        backward_bytes_ms=per_byte * (forward + size(x, spatial, channel)),
        forward_faster=ratio(times["dense_forward_ms"], times["forward_ms"]),
        train_faster=ratio(times["dense_train_ms"], times["train_ms"]),
        base_forward_ms=medians["base_forward_ms"],
        base_train_ms=medians["base_train_ms"],
        base_forward=ratio(times["base_forward_ms"], times["forward_ms"]),
        base_train=ratio(times["base_train_ms"], times["train_ms"]),
        base_forward_faster=ratio(times["dense_forward_ms"], times["base_forward_ms"]),
        base_train_faster=ratio(times["dense_train_ms"], times["base_train_ms"]),
    )


def peak_beside_output(batch: int, names: tuple[str, ...]) -> float:
    """Return by how much a forward pass raises the process's memory, in outputs, at the largest shape (Linux)."""
    whole: dict[str, Any] = {name: t.detach() for name, t in operands(batch, SHAPES[0], 1, "cpu").items()}
    whole = {name: whole[name] for name in names}
    dynamic_filter(**{name: t[:1] if name in OF_IMAGES else t for name, t in whole.items()})
    with memory_above() as above:
        y = dynamic_filter(**whole)
    return above[0] / (y.numel() * y.element_size())


def geometric_mean(values: list[float]) -> float:
    """Return the mean of ratios."""
    return math.exp(sum(map(math.log, values)) / len(values))


def compare_with_targets(timings: list[Timing], device: str, batch: int) -> Targets:
    targets = Targets()
    for name, key in (("forward", "base_forward"), ("forward+backward", "base_train")):
        longer = geometric_mean([getattr(t, key)[1] for t in timings])
        targets.add(f"{name} on a base / without, geometric mean", longer, 1.05, at_most=True)
    for begin, where, names in (("", "", WITHOUT_BASE), ("base_", ", on a base", ON_BASE)):
        if device == "cuda":
            compare_with_bytes(timings, targets, begin, where)
        else:
            compare_with_dense(timings, targets, begin, where)
            targets.add(f"peak memory / output{where}", peak_beside_output(batch, names), 1.5, at_most=True)
    return targets


def compare_with_bytes(timings: list[Timing], targets: Targets, begin: str, where: str) -> None:
    """Check the targets on a GPU, of the times whose names begin so, and say where."""
    for t in timings:
        for part, wanted in (("forward", 1.5), ("backward", 2)):
            over = getattr(t, f"{begin}{part}_ms") / getattr(t, f"{part}_bytes_ms")
            targets.add(f"{t.channels} /{t.stride} {part} / bytes{where}", over, wanted, at_most=True)


def compare_with_dense(timings: list[Timing], targets: Targets, begin: str, where: str) -> None:
    """Check the targets on a CPU, of the times whose names begin so, and say where."""
    forward, train = ([getattr(t, f"{begin}{part}_faster")[1] for t in timings] for part in ("forward", "train"))
    targets.add(f"slowest forward, times faster than dense{where}", min(forward), 3)
    targets.add(f"slowest forward+backward, times faster{where}", min(train), 4)
    targets.add(f"forward, geometric mean{where}", geometric_mean(forward), 8)
    targets.add(f"forward+backward, geometric mean{where}", geometric_mean(train), 8)
    for wide, bound in ((True, 3), (False, 5)):
        of_width = [getattr(t, f"{begin}forward_ms") / t.copy_ms for t in timings if (t.channels >= 128) == wide]
        targets.add(f"forward / copy, C {'>= 128' if wide else '= 64'}{where}", max(of_width), bound, at_most=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--batch", type=int, help="images (default: 16 on a CPU, 64 on a GPU)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch and of the kernels (default: 1)")
    parser.add_argument("--repeats", type=rounds, default=15, help="rounds to take medians over (default: 15)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the results to this file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    batch = args.batch or (16 if args.device == "cpu" else 64)

    print(f"batch {batch}, {args.device}, {args.threads} thread(s); medians in ms, ratios as median (quartiles)")
    print(HEADER)
    timings = []
    with kept_memory(args.device):
        for shape in SHAPES:
            for stride in STRIDES:
                timings.append(measure(batch, shape, stride, args.device, args.repeats))
                print(timings[-1].row, flush=True)
    targets = compare_with_targets(timings, args.device, batch)
    if args.json:
        packages = ["torch", "numba", *(["triton"] if args.device == "cuda" else [])]
        report = provenance(*packages) | {"device": args.device, "threads": args.threads, "batch": batch}
        rows = {"targets": targets.lines, "rows": [asdict(t) for t in timings]}
        args.json.write_text(json.dumps(report | rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
