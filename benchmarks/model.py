"""Speed of the whole network beside the ResNet-50 whose 3x3s it replaces.

    python benchmarks/model.py --json results/model_cpu.json
    python benchmarks/model.py --device cuda --json results/model_gpu.json

BoT-DCSD beside BoT (ResNet-50) on 256x128 images, channels-last, the same mode and one run: inference, and a training
step without the optimiser (forward, cross-entropies of identities, domains and cameras, backward). On a CPU in float32
with freed memory kept, as `jointreid train` does, for both; on a GPU in bfloat16 autocast under torch.compile. The
ceiling is the same network with its sixteen generated convolutions replaced by the identity: no operator is faster.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from measure import Targets, memory_above, ratio, rounds, side_by_side, spread
from provenance import provenance
from torch import Tensor, nn
from torch.nn import functional

from jointreid.machine.memory import kept_memory
from jointreid.models import ReIDModel, build_model
from jointreid.models.dcsd import DCSD

IDS, DOMAINS, CAMERAS = 4101, 5, 32  # the paper's joint training set
NAMES = ("bot", "bot-dcsd", "ceiling")
WANTED = {  # times as many images a second as ResNet-50, and share of the ceiling
    "cpu": {"inference": (1.25, 0.85), "training step": (1.25, 0.85)},
    "cuda": {"inference": (1.3, 0.85), "training step": (1.4, 0.85)},
}


class Skip(nn.Module):
    """A generated convolution that costs nothing."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to every `stride`-th position."""
        return x[:, :, :: self.stride, :: self.stride]


def make(name: str, device: str) -> ReIDModel:
    torch.manual_seed(0)
    model = build_model("bot" if name == "bot" else "bot-dcsd", IDS, DOMAINS, CAMERAS)
    if name == "ceiling":
        for module in list(model.modules()):
            if isinstance(conv2 := getattr(module, "conv2", None), DCSD):
                module.conv2 = Skip(conv2.stride)
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


def inference(model: ReIDModel, images: Tensor, device: str) -> Callable[[], Tensor]:
    def run() -> Tensor:
        model.eval()
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            features: Tensor = model(images).bn_embedding
            return features

    return run


def training_step(model: ReIDModel, images: Tensor, device: str) -> Callable[[], Tensor]:
    index = torch.arange(len(images), device=device)

    def run() -> Tensor:
        model.train()
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            output = model(images)
        loss = functional.cross_entropy(output.id_logits.float(), index % IDS)
        for logits in output.factor_logits:
            if logits.domain is not None and logits.camera is not None:
                loss = loss + functional.cross_entropy(logits.domain.float(), index % DOMAINS)
                loss = loss + functional.cross_entropy(logits.camera.float(), index % CAMERAS)
        loss.backward()  # type: ignore[no-untyped-call]
        for parameter in model.parameters():
            parameter.grad = None
        return loss.detach()

    return run


def peak(run: Callable[[], Tensor], device: str) -> float:
    """Return the bytes that a step needs beyond what is allocated before it."""
    run()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return float(torch.cuda.max_memory_allocated() - before)
    with memory_above() as above:
        run()
    return above[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to compute (default: cpu)")
    parser.add_argument("--batch", type=int, help="images (default: 16 on a CPU, 64 on a GPU)")
    parser.add_argument("--repeats", type=rounds, default=11, help="rounds to take medians over (default: 11)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the results to this file")
    args = parser.parse_args()
    batch = args.batch or (16 if args.device == "cpu" else 64)
    images = torch.randn(batch, 3, 256, 128, device=args.device).to(memory_format=torch.channels_last)
    models = {name: make(name, args.device) for name in NAMES}
    peaks = {name: peak(training_step(models[name], images, args.device), args.device) for name in NAMES[:2]}
    if args.device == "cuda":
        for model in models.values():
            model.compile(fullgraph=True)

    targets, rows = Targets(), {}
    for mode, make_run in (("inference", inference), ("training step", training_step)):
        with kept_memory(args.device):
            runs = {name: make_run(model, images, args.device) for name, model in models.items()}
            times = side_by_side(runs, args.repeats, args.device, warm_up=3)
        speed = {name: 1e3 * batch / median(values) for name, values in times.items()}
        faster = {name: ratio(times["bot"], times[name]) for name in NAMES[1:]}
        share = ratio(times["ceiling"], times["bot-dcsd"])
        print(f"{mode}, batch {batch}, {args.device}: times as many images/s as ResNet-50, median (quartiles):")
        print(f"  BoT-DCSD {spread(faster['bot-dcsd'], 2)}, ceiling {spread(faster['ceiling'], 2)}")
        print("  images/s: " + ", ".join(f"{name} {value:.1f}" for name, value in speed.items()))
        wanted, of_ceiling = WANTED[args.device][mode]
        targets.add(f"{mode} / ResNet-50", faster["bot-dcsd"][1], wanted)
        targets.add(f"{mode}, share of the ceiling", share[1], of_ceiling)
        rows[mode] = {"images_per_second": speed, "faster": faster, "share_of_ceiling": share}
    targets.add("peak memory of a training step / ResNet-50's", peaks["bot-dcsd"] / peaks["bot"], 1.05, at_most=True)
    if args.json:
        packages = ["torch", "numba", *(["triton"] if args.device == "cuda" else [])]
        report = provenance(*packages) | {"device": args.device, "threads": torch.get_num_threads()}
        report |= {"batch": batch, "peak_bytes": peaks, "targets": targets.lines, "rows": rows}
        args.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
