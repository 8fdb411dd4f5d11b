"""ConvNeXt (Liu et al., 2022): blocks of a depthwise 7x7, layer normalisation and two fully connected layers.

Modules have timm's names (stem.0, stages.1.downsample.1, stages.1.blocks.0.conv_dw, ...). timm's head normalises the
pooled features before its classifier; here BNNeck does, so the head is left out.

Letters: B images, H x W positions of a map, C channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from jointreid.messages.errors import JointreidError
from jointreid.models.context import Context, FactorLogits
from jointreid.models.dcsd import DCSD
from jointreid.models.trunk import SpatialConvFactory, Trunk, TrunkOutput, filter_map, require_stride

KERNEL_SIZE = 7
EXPANSION = 4  # hidden width of a block's two layers, relative to its channels
LAYER_SCALE = 1e-6  # of each block's output at the start
EPS = 1e-6


@dataclass(frozen=True)
class ConvNeXtShape:
    """Depth and width.

    Attributes:
        depths: blocks in each of the four stages.
        widths: channels of each stage.
    """

    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]


CONVNEXTS = {"convnext_tiny": ConvNeXtShape((3, 3, 9, 3), (96, 192, 384, 768))}


def _start(layer: nn.Conv2d | nn.Linear | DCSD) -> None:
    """Draw the paper's initial weights; of a DCSD, those of its static base."""
    if layer.weight is not None:
        nn.init.trunc_normal_(layer.weight, std=0.02)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation of the channels at every position of a map."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise [B, C, H, W]."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Mlp(nn.Module):
    """Two fully connected layers with a GELU between them, at every position."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, EXPANSION * channels)
        self.fc2 = nn.Linear(EXPANSION * channels, channels)
        _start(self.fc1)
        _start(self.fc2)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, H, W, C] to the same shape."""
        return self.fc2(functional.gelu(self.fc1(x)))  # type: ignore[no-any-return]


class ConvNeXtBlock(nn.Module):
    """Depthwise 7x7 - layer normalisation - MLP, scaled per channel, with a shortcut.

    Args:
        channels: of input and output.
        spatial: makes the 7x7.
    """

    def __init__(self, channels: int, spatial: SpatialConvFactory) -> None:
        super().__init__()
        self.conv_dw = spatial(channels, 1, KERNEL_SIZE, groups=channels, bias=True)
        if isinstance(self.conv_dw, nn.Conv2d | DCSD):
            _start(self.conv_dw)
        self.norm = nn.LayerNorm(channels, eps=EPS)
        self.mlp = Mlp(channels)
        self.gamma = nn.Parameter(torch.full((channels,), LAYER_SCALE))

    def forward(self, x: Tensor, context: Context | None = None) -> tuple[Tensor, FactorLogits | None]:
        """Map [B, C, H, W] to the same shape and the factor logits; None for a static 7x7."""
        y, logits = filter_map(self.conv_dw, x, context)
        y = self.mlp(self.norm(y.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        return y * self.gamma.reshape(1, -1, 1, 1) + x, logits


class Downsample(nn.Sequential):
    """Layer normalisation and a 2x2 convolution, between stages; with stride 1 it is padded below and at the right."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        conv = nn.Conv2d(in_channels, out_channels, 2, stride)
        super().__init__(ChannelNorm(in_channels), conv)
        self.stride = stride
        _start(conv)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, in_channels, H, W] to [B, out_channels, H // stride, W // stride]."""
        x = self[0](x)
        if self.stride == 1:
            x = functional.pad(x, (0, 1, 0, 1))
        return self[1](x)  # type: ignore[no-any-return]


class ConvNeXtStage(nn.Module):
    """Blocks of one width, after a `Downsample`, which the first stage does not have."""

    def __init__(
        self, in_channels: int, channels: int, depth: int, stride: int, spatial: SpatialConvFactory, *, first: bool
    ) -> None:
        super().__init__()
        self.downsample = nn.Identity() if first else Downsample(in_channels, channels, stride)
        self.blocks = nn.ModuleList(ConvNeXtBlock(channels, spatial) for _ in range(depth))

    def forward(self, x: Tensor, context: Context | None = None) -> tuple[Tensor, list[FactorLogits]]:
        """Map [B, in_channels, H, W] to [B, channels, H', W'] and the factor logits of its DCSDs."""
        x = self.downsample(x)
        factor_logits = []
        for block in self.blocks:
            x, logits = block(x, context)
            if logits is not None:
                factor_logits.append(logits)
        return x, factor_logits


class ConvNeXt(Trunk):
    """A ConvNeXt without its head.

    A map has floor(H / stride) positions, not ceil(H / stride): rows and columns that fill no window are left out.

    Args:
        shape: depth and width.
        spatial: makes the 7x7 of every block.
        last_stride: stride of the last stage; 1 keeps a 16x8 map of a 256x128 image, 2 is the ImageNet network.

    Raises:
        JointreidError: a stride other than 1 or 2.
    """

    def __init__(self, shape: ConvNeXtShape, spatial: SpatialConvFactory, last_stride: int = 2) -> None:
        super().__init__()
        require_stride(last_stride)
        self.smallest = 16 * last_stride
        self.out_channels = shape.widths[-1]
        patches = nn.Conv2d(3, shape.widths[0], 4, 4)
        self.stem = nn.Sequential(patches, ChannelNorm(shape.widths[0]))
        _start(patches)
        stages, in_channels = [], shape.widths[0]
        for number, (channels, depth) in enumerate(zip(shape.widths, shape.depths, strict=True)):
            stride = last_stride if number == 3 else 2
            stages.append(ConvNeXtStage(in_channels, channels, depth, stride, spatial, first=number == 0))
            in_channels = channels
        self.stages = nn.ModuleList(stages)

    def all_stages(self) -> tuple[nn.Module, ...]:
        """Return the four stages."""
        return tuple(self.stages)

    def forward(self, images: Tensor, context: Context | None = None) -> TrunkOutput:
        """Map images [B, 3, H, W] to a feature map and factor logits.

        Raises:
            JointreidError: the images are smaller than one position of the last map.
        """
        if min(images.shape[2:]) < self.smallest:
            raise JointreidError(
                f"ConvNeXt: images are {tuple(images.shape[2:])}; expected at least {self.smallest} pixels each way. "
                "Raise image.height and image.width"
            )
        x = self.stem(images)
        factor_logits: list[FactorLogits] = []
        for stage in self.stages:
            x, of_stage = stage(x, context)
            factor_logits += of_stage
        return TrunkOutput(x, tuple(factor_logits), ())
