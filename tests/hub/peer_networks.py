"""Networks with the names, the layers and the order of computation of other projects, written for these tests.

They follow what is public of those projects: their parameter names, and which layers their forward passes have. They
are narrow ResNet-50s, so that a test takes no time.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

WIDTH, CLASSES = 8, 5
DEPTHS = (3, 4, 6, 3)
NON_LOCAL = (0, 2, 3, 0)


class Block(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        after = 4 * width
        self.conv1 = nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, after, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(after)
        self.downsample = None
        if stride > 1 or before != after:
            self.downsample = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        z: Tensor = self.bn3(self.conv3(y)) + (x if self.downsample is None else self.downsample(x))
        return z.relu()


class Relation(nn.Module):
    """A non-local block as AGW and fast-reid have it: all pairs of positions, divided by their number."""

    def __init__(self, channels: int, reduction: int = 0) -> None:
        super().__init__()
        inner = channels // reduction if reduction else 1
        self.g = nn.Conv2d(channels, inner, 1)
        self.W = nn.Sequential(nn.Conv2d(inner, channels, 1), nn.BatchNorm2d(channels))
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Conv2d(channels, inner, 1)

    def forward(self, x: Tensor) -> Tensor:
        g, theta, phi = (layer(x).flatten(2) for layer in (self.g, self.theta, self.phi))
        pairs = torch.einsum("bci,bcj->bij", theta, phi) / theta.shape[2]
        gathered: Tensor = self.W(torch.einsum("bij,bcj->bci", pairs, g).reshape(len(x), -1, *x.shape[2:]))
        return gathered + x


class Trunk(nn.Module):
    def __init__(self, *, relu: bool, pool: nn.Module, last_stride: int, non_local: bool, reduction: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTH)
        self.has_relu, self.maxpool = relu, pool
        channels = WIDTH
        for stage, depth in enumerate(DEPTHS):
            width, stride = WIDTH * 2**stage, (1, 2, 2, last_stride)[stage]
            blocks = []
            for index in range(depth):
                blocks.append(Block(channels, width, stride if index == 0 else 1))
                channels = 4 * width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
            if non_local:
                relations = nn.ModuleList(Relation(channels, reduction) for _ in range(NON_LOCAL[stage]))
                self.add_module(f"NL_{stage + 1}", relations)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x))
        x = self.maxpool(x.relu() if self.has_relu else x)
        for stage, depth in enumerate(DEPTHS):
            blocks: Any = self.get_submodule(f"layer{stage + 1}")
            relations: Any = getattr(self, f"NL_{stage + 1}", ())
            for index, block in enumerate(blocks):
                x = block(x)
                if index >= depth - len(relations):
                    x = relations[index - depth + len(relations)](x)
        return x


class Gem(nn.Module):
    def __init__(self, *, learnt: bool) -> None:
        super().__init__()
        power = torch.full((1,), 2.5 if learnt else 3.0)
        self.p: Tensor = nn.Parameter(power) if learnt else power

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=1e-6).pow(self.p).mean((2, 3), keepdim=True).pow(1 / self.p)


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


class FastReidHeads(nn.Module):
    def __init__(self, pool: nn.Module) -> None:
        super().__init__()
        self.pool_layer = pool
        self.bottleneck = nn.Sequential(nn.BatchNorm2d(32 * WIDTH))
        self.weight = nn.Parameter(torch.randn(CLASSES, 32 * WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.bottleneck(self.pool_layer(x))[..., 0, 0]
        return features


class FastReid(nn.Module):
    def __init__(self, *, non_local: bool = False, pool: nn.Module | None = None, reduction: int = 0) -> None:
        super().__init__()
        stem = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.backbone = Trunk(relu=True, pool=stem, last_stride=1, non_local=non_local, reduction=reduction)
        self.heads = FastReidHeads(pool or Mean())
        self.register_buffer("pixel_mean", torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.heads(self.backbone(images))
        return features


class Baseline(nn.Module):
    """BoT, AGW and TransReID's ResNet: `base`, a pooling, `bottleneck`, `classifier`."""

    def __init__(self, stem: nn.Module, *, non_local: bool = False, gem: bool = False) -> None:
        super().__init__()
        self.base = Trunk(relu=False, pool=stem, last_stride=1, non_local=non_local, reduction=0)
        self.global_pool = Gem(learnt=True) if gem else Mean()
        self.bottleneck = nn.BatchNorm1d(32 * WIDTH)
        self.classifier = nn.Linear(32 * WIDTH, CLASSES, bias=False)

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.bottleneck(self.global_pool(self.base(images))[..., 0, 0])
        return features


class Torchreid(Trunk):
    def __init__(self) -> None:
        super().__init__(relu=True, pool=nn.MaxPool2d(3, 2, 1), last_stride=2, non_local=False, reduction=0)
        self.classifier = nn.Linear(32 * WIDTH, CLASSES)

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images).mean((2, 3))


NETWORKS: Mapping[str, tuple[str, Callable[[], nn.Module]]] = {
    "fastreid, BoT": ("fastreid", FastReid),
    "fastreid, AGW": ("fastreid", lambda: FastReid(non_local=True, pool=Gem(learnt=False))),
    "fastreid, SBS": ("fastreid", lambda: FastReid(non_local=True, pool=Gem(learnt=True))),
    "fastreid, wide non-local": ("fastreid", lambda: FastReid(non_local=True, pool=Gem(learnt=True), reduction=2)),
    "fastreid, GeM alone": ("fastreid", lambda: FastReid(pool=Gem(learnt=True))),
    "bot": ("bot", lambda: Baseline(nn.MaxPool2d(3, 2, 1))),
    "agw": ("agw", lambda: Baseline(nn.MaxPool2d(3, 2, 1), non_local=True, gem=True)),
    "agw, mean": ("agw", lambda: Baseline(nn.MaxPool2d(3, 2, 1), non_local=True)),
    "transreid": ("transreid", lambda: Baseline(nn.MaxPool2d(2, 2))),
    "torchreid": ("torchreid", Torchreid),
}


def peer_network(name: str) -> nn.Module:
    """Return a network of `NETWORKS` in evaluation mode, with random weights of which each matters."""
    torch.manual_seed(0)
    network = NETWORKS[name][1]().eval()
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif key.endswith("running_mean") or (key.endswith("bias") and "bottleneck" not in key):
                tensor.normal_(std=0.1)
            elif "bn" in key and key.endswith("weight"):
                tensor.uniform_(0.5, 1.0)
    return network
