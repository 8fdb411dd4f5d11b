"""MobileNetV2 and EfficientNet-Lite: blocks of a 1x1, a depthwise K x K and a 1x1, with ReLU6.

MobileNetV2 (Sandler et al., 2018) has 3x3s only, EfficientNet-Lite0 (Tan and Le, 2019, without squeeze-and-excitation)
5x5s too. Modules have timm's names (conv_stem, bn1, blocks.1.0.conv_pw, ..., conv_head, bn2), and paddings are half a
kernel on every side, as in timm's networks of these names; TensorFlow pads strided convolutions at one side only.

Letters: B images, H x W positions of a map, C channels, K kernel side.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn
from torch.nn import functional

from jointreid.models.context import Context, FactorLogits
from jointreid.models.dcsd import DCSD
from jointreid.models.trunk import SpatialConvFactory, Trunk, TrunkOutput, conv, filter_map, require_stride

STEM_CHANNELS = 32
OUT_CHANNELS = 1280


@dataclass(frozen=True)
class MobileStage:
    """Blocks of one width.

    Attributes:
        blocks: how many.
        channels: of each block's output.
        stride: of the first block's depthwise convolution.
        expansion: channels of a depthwise convolution, relative to the block's input; 1 leaves out the first 1x1.
        kernel_size: K of the depthwise convolutions.
    """

    blocks: int
    channels: int
    stride: int
    expansion: int = 6
    kernel_size: int = 3


MOBILENETS = {
    "mobilenetv2_100": (
        MobileStage(1, 16, 1, expansion=1),
        MobileStage(2, 24, 2),
        MobileStage(3, 32, 2),
        MobileStage(4, 64, 2),
        MobileStage(3, 96, 1),
        MobileStage(3, 160, 2),
        MobileStage(1, 320, 1),
    ),
    "efficientnet_lite0": (
        MobileStage(1, 16, 1, expansion=1),
        MobileStage(2, 24, 2),
        MobileStage(2, 40, 2, kernel_size=5),
        MobileStage(3, 80, 2),
        MobileStage(3, 112, 1, kernel_size=5),
        MobileStage(4, 192, 2, kernel_size=5),
        MobileStage(1, 320, 1),
    ),
}


class DepthwiseSeparable(nn.Module):
    """Depthwise K x K - 1x1, the block of the first stage; its last normalisation has no ReLU6.

    Args:
        in_channels: of the block's input.
        stage: its output channels and K.
        stride: of the depthwise convolution.
        spatial: makes it.
    """

    def __init__(self, in_channels: int, stage: MobileStage, stride: int, spatial: SpatialConvFactory) -> None:
        super().__init__()
        self.conv_dw = spatial(in_channels, stride, stage.kernel_size, groups=in_channels)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.conv_pw = conv(in_channels, stage.channels, 1)
        self.bn2 = nn.BatchNorm2d(stage.channels)

    def forward(self, x: Tensor, context: Context | None = None) -> tuple[Tensor, FactorLogits | None]:
        """Map [B, in_channels, H, W] to [B, channels, H', W'] and the factor logits; None for a static convolution."""
        y, logits = filter_map(self.conv_dw, x, context)
        y = functional.relu6(self.bn1(y))
        return self.bn2(self.conv_pw(y)), logits


class InvertedResidual(nn.Module):
    """1x1 - depthwise K x K - 1x1, with a shortcut where the input has the output's shape.

    Args:
        in_channels: of the block's input.
        stage: its output channels, expansion and K.
        stride: of the depthwise convolution.
        spatial: makes it.
    """

    def __init__(self, in_channels: int, stage: MobileStage, stride: int, spatial: SpatialConvFactory) -> None:
        super().__init__()
        width = stage.expansion * in_channels
        self.conv_pw = conv(in_channels, width, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv_dw = spatial(width, stride, stage.kernel_size, groups=width)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv_pwl = conv(width, stage.channels, 1)
        self.bn3 = nn.BatchNorm2d(stage.channels)
        self.has_shortcut = stride == 1 and in_channels == stage.channels
        if self.has_shortcut and isinstance(self.conv_dw, DCSD) and self.conv_dw.weight is None:
            nn.init.zeros_(self.bn3.weight)  # starts as its shortcut, see `jointreid.models.resnet.Bottleneck`

    def forward(self, x: Tensor, context: Context | None = None) -> tuple[Tensor, FactorLogits | None]:
        """Map [B, in_channels, H, W] to [B, channels, H', W'] and the factor logits; None for a static convolution."""
        y = functional.relu6(self.bn1(self.conv_pw(x)))
        y, logits = filter_map(self.conv_dw, y, context)
        y = functional.relu6(self.bn2(y))
        y = self.bn3(self.conv_pwl(y))
        return y + x if self.has_shortcut else y, logits


class MobileNet(Trunk):
    """A MobileNetV2 or EfficientNet-Lite without its classifier, with the 1x1 to 1280 channels before it.

    Args:
        stages: its blocks.
        spatial: makes the depthwise convolution of every block.
        last_stride: stride of the last stage that has one; 1 keeps a 16x8 map of a 256x128 image, 2 is the ImageNet
            network.

    Raises:
        JointreidError: a stride other than 1 or 2.
    """

    def __init__(self, stages: tuple[MobileStage, ...], spatial: SpatialConvFactory, last_stride: int = 2) -> None:
        super().__init__()
        require_stride(last_stride)
        self.out_channels = OUT_CHANNELS
        self.conv_stem = conv(3, STEM_CHANNELS, 3, 2)
        self.bn1 = nn.BatchNorm2d(STEM_CHANNELS)
        last_strided = max(number for number, stage in enumerate(stages) if stage.stride == 2)
        in_channels, built = STEM_CHANNELS, []
        for number, stage in enumerate(stages):
            block = DepthwiseSeparable if stage.expansion == 1 else InvertedResidual
            stride = last_stride if number == last_strided else stage.stride
            blocks = []
            for index in range(stage.blocks):
                blocks.append(block(in_channels, stage, stride if index == 0 else 1, spatial))
                in_channels = stage.channels
            built.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*built)
        self.conv_head = conv(in_channels, OUT_CHANNELS, 1)
        self.bn2 = nn.BatchNorm2d(OUT_CHANNELS)

    def all_stages(self) -> tuple[nn.Module, ...]:
        """Return the seven stages."""
        return tuple(self.blocks)

    def forward(self, images: Tensor, context: Context | None = None) -> TrunkOutput:
        """Map images [B, 3, H, W] to a feature map and factor logits."""
        x = functional.relu6(self.bn1(self.conv_stem(images)))
        factor_logits = []
        for stage in cast(Iterable[nn.Sequential], self.blocks):
            for block in stage:
                x, logits = block(x, context)
                if logits is not None:
                    factor_logits.append(logits)
        x = functional.relu6(self.bn2(self.conv_head(x)))
        return TrunkOutput(x, tuple(factor_logits), ())
