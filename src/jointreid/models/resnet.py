"""ResNets, each block of which has one 3x3.

Modules have timm's names (conv1, bn1, layer1.0.conv1, ..., layer1.0.downsample.0).

Letters: B images, H x W positions of a map, C channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from jointreid.messages.errors import JointreidError, no_such
from jointreid.models.context import Context, FactorLogits
from jointreid.models.norms import SNR
from jointreid.models.trunk import SpatialConvFactory, Trunk, TrunkOutput, conv, filter_map, require_stride

StemPool = Literal["pad", "ceil", "2x2"]

EXPANSION = 4  # output channels of a bottleneck, relative to its 3x3


@dataclass(frozen=True)
class ResNetShape:
    """Depth and width of a ResNet.

    Attributes:
        depths: blocks in each of the four stages.
        width: channels of the stem and of the first stage's 3x3; they double with every stage.
        non_local: in AGW, a non-local block follows each of this many last blocks of a stage.
    """

    depths: tuple[int, int, int, int]
    width: int = 64
    non_local: tuple[int, int, int, int] = (0, 2, 3, 0)


# resnet50-w16 has all blocks of ResNet-50, so that names such as layer3.5 or layer4.2 exist in it too.
RESNETS = {
    "resnet50": ResNetShape((3, 4, 6, 3)),
    "resnet101": ResNetShape((3, 4, 23, 3), non_local=(0, 2, 9, 0)),  # as in fast-reid
    "resnet50-w16": ResNetShape((3, 4, 6, 3), width=16),
}


@dataclass(frozen=True)
class Additions:
    """Modules that a system adds to a ResNet, as functions of a stage's output channels; None adds nothing.

    Attributes:
        sum_norm: normalises the sum with the shortcut, before its ReLU, in the last block of layer1, layer2 and
            layer3 (DualNorm).
        non_local: follows the blocks that `ResNetShape.non_local` counts (AGW).
        snr: follows every stage, and returns the vectors that its loss compares (SNR).
    """

    sum_norm: Callable[[int], nn.Module] | None = None
    non_local: Callable[[int], nn.Module] | None = None
    snr: Callable[[int], SNR] | None = None


PLAIN = Additions()


class Bottleneck(nn.Module):
    """1x1 - 3x3 - 1x1 with a shortcut; the 3x3 holds the stride.

    Args:
        in_channels: of the block's input.
        width: channels of the 3x3.
        stride: of the 3x3.
        conv3x3: makes it.
        sum_norm: normalises the sum with the shortcut before its ReLU; by default nothing does.
        non_local: follows the block; by default nothing does.
    """

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: int,
        conv3x3: SpatialConvFactory,
        sum_norm: nn.Module | None = None,
        non_local: nn.Module | None = None,
    ) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        self.conv1 = conv(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        # Each block starts as its shortcut, as in timm. Without this, random weights do not learn: sixteen generated
        # convolutions in a row are each a product of two functions of their input.
        nn.init.zeros_(self.bn3.weight)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))
            if stride != 1 or in_channels != out_channels
            else nn.Identity()
        )
        self.sum_norm = sum_norm or nn.Identity()
        self.non_local = non_local or nn.Identity()

    def forward(self, x: Tensor, context: Context | None = None) -> tuple[Tensor, FactorLogits | None]:
        """Map [B, in_channels, H, W] to [B, 4 width, H', W'] and the factor logits; None for a static 3x3."""
        y = self.relu(self.bn1(self.conv1(x)))
        y, logits = filter_map(self.conv2, y, context)
        y = self.relu(self.bn2(y))
        y = self.bn3(self.conv3(y))
        y = self.relu(self.sum_norm(y + self.downsample(x)))
        return self.non_local(y), logits


class ResNet(Trunk):
    """A ResNet without its classifier.

    Args:
        shape: depths and width.
        conv3x3: makes the 3x3 of every block.
        last_stride: stride of the last stage; 1 keeps a 16x8 map of a 256x128 image, 2 is the ImageNet network.
        stem_relu: put a ReLU after the stem's batch normalisation.
        stem_pool: the max pooling after it: 3x3, "pad"ded by 1 on every side (timm, torchvision) or, with "ceil",
            unpadded, with a partial last window (fast-reid); or "2x2" (TransReID). On an even map each halves it.
        additions: modules that a system adds.

    Attributes:
        out_channels: channels of the feature map.

    Raises:
        JointreidError: a stride other than 1 or 2, or an unknown pooling.
    """

    def __init__(
        self,
        shape: ResNetShape,
        conv3x3: SpatialConvFactory,
        *,
        last_stride: int = 2,
        stem_relu: bool = True,
        stem_pool: StemPool = "pad",
        additions: Additions = PLAIN,
    ) -> None:
        super().__init__()
        require_stride(last_stride)
        if stem_pool not in get_args(StemPool):
            raise JointreidError(no_such("stem_pool", stem_pool, get_args(StemPool)))
        widths = [shape.width * 2**stage for stage in range(4)]
        self.out_channels = EXPANSION * widths[-1]
        self.conv1 = conv(3, shape.width, 7, 2)
        self.bn1 = nn.BatchNorm2d(shape.width)
        self.relu = nn.ReLU(inplace=True) if stem_relu else nn.Identity()
        self.maxpool = _stem_pool(stem_pool)
        self.layer1 = _stage(0, shape, conv3x3, 1, additions)
        self.layer2 = _stage(1, shape, conv3x3, 2, additions)
        self.layer3 = _stage(2, shape, conv3x3, 2, additions)
        self.layer4 = _stage(3, shape, conv3x3, last_stride, additions)
        self.snr = nn.ModuleList(additions.snr(EXPANSION * width) for width in widths) if additions.snr else None

    def all_stages(self) -> tuple[nn.Sequential, ...]:
        """Return the four stages."""
        return self.layer1, self.layer2, self.layer3, self.layer4

    def forward(self, images: Tensor, context: Context | None = None) -> TrunkOutput:
        """Map images [B, 3, H, W] to a feature map, factor logits and restitutions."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        factor_logits, restitutions = [], []
        for number, stage in enumerate(self.all_stages()):
            for block in stage:
                x, logits = block(x, context)
                if logits is not None:
                    factor_logits.append(logits)
            if self.snr is not None:
                x, restitution = self.snr[number](x)
                if restitution is not None:
                    restitutions.append(restitution)
        return TrunkOutput(x, tuple(factor_logits), tuple(restitutions))


def _stem_pool(kind: StemPool) -> nn.MaxPool2d:
    if kind == "2x2":
        return nn.MaxPool2d(2, 2)
    return nn.MaxPool2d(3, 2, padding=1) if kind == "pad" else nn.MaxPool2d(3, 2, ceil_mode=True)


def _stage(
    number: int, shape: ResNetShape, conv3x3: SpatialConvFactory, stride: int, additions: Additions
) -> nn.Sequential:
    """Return stage `number`, counted from 0; its first block holds the stride."""
    width, depth = shape.width * 2**number, shape.depths[number]
    out_channels = EXPANSION * width
    in_channels = shape.width if number == 0 else out_channels // 2  # of the stem, or of the stage before
    blocks = []
    for index in range(depth):
        sum_norm = additions.sum_norm if number < 3 and index == depth - 1 else None
        non_local = additions.non_local if index >= depth - shape.non_local[number] else None
        added = [make(out_channels) if make else None for make in (sum_norm, non_local)]
        blocks.append(Bottleneck(in_channels, width, stride, conv3x3, *added))
        in_channels, stride = out_channels, 1
    return nn.Sequential(*blocks)
