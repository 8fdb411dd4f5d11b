"""ResNet trunks built from a 3x3 factory: static convolutions, or a DCSD in the place of each.

Modules carry timm's names (conv1, bn1, layer1.0.conv1, ..., layer1.0.downsample.0), so that its weights load as they
are. The factor logits of every block come back as values: nothing is kept in the modules between calls.

Letters: B images, H x W positions of a map, C channels.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal, get_args

from torch import Tensor, nn

from jointreid.config import DcsdConfig
from jointreid.errors import JointreidError, no_such
from jointreid.models.dcsd import DCSD, FactorLogits

# (channels, stride) -> a module that maps [B, channels, H, W] to [B, channels, ceil(H / stride), ceil(W / stride)];
# a DCSD also returns its factor logits.
Conv3x3Factory = Callable[[int, int], nn.Module]
StemPool = Literal["pad", "ceil"]

EXPANSION = 4  # output channels of a bottleneck, relative to its 3x3


@dataclass(frozen=True)
class TrunkShape:
    """How deep and wide a ResNet is.

    Attributes:
        depths: blocks in each of the four stages.
        width: channels of the stem and of the first stage's 3x3; they double with every stage.
    """

    depths: tuple[int, int, int, int]
    width: int = 64


# The narrow one has every block of ResNet-50, so that layer3.5 or layer4.2 exist in it too.
TRUNKS = {
    "resnet50": TrunkShape((3, 4, 6, 3)),
    "resnet101": TrunkShape((3, 4, 23, 3)),
    "resnet50-w16": TrunkShape((3, 4, 6, 3), width=16),
}


def conv(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Conv2d:
    """Return a padded convolution without bias, initialised for the ReLU that follows (He et al., by fan-out)."""
    layer = nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


def static_conv3x3(channels: int, stride: int) -> nn.Module:
    """Return the 3x3 of a plain ResNet."""
    return conv(channels, channels, 3, stride)


def dcsd_conv3x3(config: DcsdConfig, num_domains: int, num_cameras: int) -> Conv3x3Factory:
    """Return what makes a DCSD of these settings in the place of a 3x3."""

    def make(channels: int, stride: int) -> nn.Module:
        return DCSD(channels, num_domains, num_cameras, stride=stride, **asdict(config))

    return make


class Bottleneck(nn.Module):
    """1x1 - 3x3 - 1x1 with a shortcut; the 3x3 holds the stride."""

    def __init__(self, in_channels: int, width: int, stride: int, conv3x3: Conv3x3Factory) -> None:
        super().__init__()
        out_channels = EXPANSION * width
        self.conv1 = conv(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = conv3x3(width, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = conv(width, out_channels, 1)
        self.bn3 = nn.BatchNorm2d(out_channels)
        # Each block starts as its shortcut, as timm does. It decides whether random weights learn: sixteen generated
        # convolutions in a row, each a product of two functions of its input, otherwise do not begin to.
        nn.init.zeros_(self.bn3.weight)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = (
            nn.Sequential(conv(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))
            if stride != 1 or in_channels != out_channels
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> tuple[Tensor, FactorLogits | None]:
        """Map [B, in_channels, H, W] to [B, 4 width, H', W'] and the factor logits; None for a static 3x3."""
        y = self.relu(self.bn1(self.conv1(x)))
        y, logits = self.conv2(y) if isinstance(self.conv2, DCSD) else (self.conv2(y), None)
        y = self.relu(self.bn2(y))
        y = self.bn3(self.conv3(y))
        return self.relu(y + self.downsample(x)), logits


class ResNet(nn.Module):
    """A ResNet without its classifier.

    Args:
        shape: depths and width.
        conv3x3: makes the 3x3 of every block.
        last_stride: stride of the last stage; 1 keeps a 16x8 map of a 256x128 image, 2 is the ImageNet network.
        stem_relu: whether a ReLU follows the stem's batch normalisation.
        stem_pool: the 3x3 max pooling after it: "pad" by 1 on every side (timm, torchvision), or "ceil", unpadded,
            with a partial last window (fast-reid). On an even map both halve it, one position apart.

    Attributes:
        out_channels: channels of the feature map.

    Raises:
        JointreidError: a stride other than 1 or 2, or an unknown pooling.
    """

    def __init__(
        self,
        shape: TrunkShape,
        conv3x3: Conv3x3Factory,
        *,
        last_stride: int = 2,
        stem_relu: bool = True,
        stem_pool: StemPool = "pad",
    ) -> None:
        super().__init__()
        if last_stride not in (1, 2):
            raise JointreidError(f"last_stride is {last_stride}; expected 1 or 2")
        if stem_pool not in get_args(StemPool):
            raise JointreidError(no_such("stem_pool", stem_pool, get_args(StemPool)))
        widths = [shape.width * 2**stage for stage in range(4)]
        self.out_channels = EXPANSION * widths[-1]
        self.conv1 = conv(3, shape.width, 7, 2)
        self.bn1 = nn.BatchNorm2d(shape.width)
        self.relu = nn.ReLU(inplace=True) if stem_relu else nn.Identity()
        self.maxpool = nn.MaxPool2d(3, 2, padding=1) if stem_pool == "pad" else nn.MaxPool2d(3, 2, ceil_mode=True)
        self.layer1 = _stage(shape.width, widths[0], shape.depths[0], 1, conv3x3)
        self.layer2 = _stage(EXPANSION * widths[0], widths[1], shape.depths[1], 2, conv3x3)
        self.layer3 = _stage(EXPANSION * widths[1], widths[2], shape.depths[2], 2, conv3x3)
        self.layer4 = _stage(EXPANSION * widths[2], widths[3], shape.depths[3], last_stride, conv3x3)

    def forward(self, images: Tensor) -> tuple[Tensor, tuple[FactorLogits, ...]]:
        """Map images [B, 3, H, W] to a feature map [B, C, H/32, W/32] and the factor logits of every DCSD in order.

        The map is twice as high and wide with `last_stride` 1. Without a DCSD there are no logits.
        """
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        factor_logits = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in stage:
                x, logits = block(x)
                if logits is not None:
                    factor_logits.append(logits)
        return x, tuple(factor_logits)

    def prune_heads(self) -> None:
        """Drop the domain and camera classifiers, for deployment; the feature map stays the same."""
        for module in self.modules():
            if isinstance(module, DCSD):
                module.prune_heads()


def _stage(in_channels: int, width: int, depth: int, stride: int, conv3x3: Conv3x3Factory) -> nn.Sequential:
    first = Bottleneck(in_channels, width, stride, conv3x3)
    rest = (Bottleneck(EXPANSION * width, width, 1, conv3x3) for _ in range(depth - 1))
    return nn.Sequential(first, *rest)


def build_trunk(
    name: str,
    dcsd: DcsdConfig | None = None,
    num_domains: int = 1,
    num_cameras: int = 1,
    *,
    last_stride: int = 2,
    stem_relu: bool = True,
    stem_pool: StemPool = "pad",
) -> ResNet:
    """Return a trunk with random weights.

    Args:
        name: a key of `TRUNKS`.
        dcsd: put a DCSD of these settings in the place of every 3x3; None keeps them static.
        num_domains: classes of each DCSD's domain head.
        num_cameras: classes of each DCSD's camera head.
        last_stride: see `ResNet`.
        stem_relu: see `ResNet`.
        stem_pool: see `ResNet`.

    Raises:
        JointreidError: an unknown name (the message gives the nearest) or a setting out of range.
    """
    if name not in TRUNKS:
        raise JointreidError(no_such("trunk", name, TRUNKS))
    conv3x3 = static_conv3x3 if dcsd is None else dcsd_conv3x3(dcsd, num_domains, num_cameras)
    return ResNet(TRUNKS[name], conv3x3, last_stride=last_stride, stem_relu=stem_relu, stem_pool=stem_pool)
