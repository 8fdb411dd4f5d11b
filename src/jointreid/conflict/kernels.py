"""How much of each kernel is generated, and how much of that depends on the image.

Letters: N images, C channels, KK taps of a kernel, P positions.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from jointreid.conflict.layers import embed_images
from jointreid.conflict.material import OnProgress, StudiedRun
from jointreid.data.records import ImageRecord
from jointreid.models.dcsd import DCSD
from jointreid.models.reid import ReIDModel

# Images are few: a mean over them hardly changes with more.
IMAGES = 64


@dataclass(frozen=True)
class GeneratedKernel:
    """The kernels of one block.

    Attributes:
        block: its name.
        generated: root mean square over taps, channels, positions and images of the generated part.
        base: root mean square over taps and channels of the part that is the same for all images; 0 without.
        share: the generated part of the sum of both, in [0, 1].
        varies: of the channel kernels, the root mean square distance from their mean over images, relative to their
            root mean square; near 0 the generated part hardly depends on the image.
    """

    block: str
    generated: float
    base: float
    share: float
    varies: float


class _Moments:
    """Sums of the kernels of one block over images."""

    def __init__(self) -> None:
        self.channel: Tensor | None = None
        self.sum = torch.zeros(())
        self.squares = torch.zeros(())
        self.products = 0.0
        self.images = 0

    def add(self, channel: Tensor, spatial: Tensor, gain: Tensor, combine: str) -> None:
        """Add a batch: channel kernels [B, C, KK], spatial kernels [B, KK, P], gain [C] or [1].

        Each tap of a channel at a position combines one number of either, so the mean square over both is that of a
        product, or of a sum, of two numbers that vary apart.
        """
        own = channel * gain[:, None]
        squares = own.square().mean(1), spatial.square().mean(2)  # B KK each: over channels, over positions
        if combine == "mul":
            together = squares[0] * squares[1]
        else:
            cross = (own * gain[:, None]).mean(1) * spatial.mean(2)
            together = squares[0] + squares[1] * gain.square().mean() + 2 * cross
        self.products += float(together.mean(1).sum())
        self.sum = self.sum + channel.sum(0)
        self.squares = self.squares + channel.square().sum(0)
        self.images += len(channel)

    @property
    def generated(self) -> float:
        """Root mean square of the generated kernels."""
        return float((self.products / self.images) ** 0.5)

    @property
    def varies(self) -> float:
        """Spread of the channel kernels over images, see `GeneratedKernel.varies`."""
        mean, square = self.sum / self.images, self.squares / self.images
        total = float(square.mean())
        spread = float((square - mean.square()).clamp(min=0).mean())
        return (spread / total) ** 0.5 if total else 0.0


def study_kernels(
    studied: StudiedRun, model: ReIDModel, on_progress: OnProgress | None = None
) -> tuple[GeneratedKernel, ...]:
    """Return the kernels of each block that generates some, from input to output; none for other systems.

    Args:
        studied: the run.
        model: its model, on its device.
        on_progress: called with (what, images done, images in all) after each batch.
    """
    blocks = [(name, module) for name, module in model.named_modules() if isinstance(module, DCSD)]
    records = _some_of_each(studied)
    if not blocks or not records:
        return ()
    with _collecting(blocks) as moments:
        embed_images(studied, model, records, "kernels", on_progress)
    return tuple(
        _kernel(name.removeprefix("trunk."), own, module) for own, (name, module) in zip(moments, blocks, strict=True)
    )


def _kernel(block: str, moments: _Moments, module: DCSD) -> GeneratedKernel:
    base, generated = base_size(module), moments.generated
    share = generated / (generated + base) if generated + base else 0.0
    return GeneratedKernel(block, generated, base, share, moments.varies)


def base_size(module: DCSD) -> float:
    """Return the root mean square over taps and channels of a static base; 0 without.

    Of a dense base, the squares of a tap are added over the input channels, as those of a generated kernel are one.
    """
    weight = getattr(module, "weight", None)
    return float(weight.detach().square().sum(1).mean().sqrt()) if isinstance(weight, Tensor) else 0.0


def gain_of(module: DCSD) -> Tensor:
    """Return the factor on the generated kernels, [C], or [1] where there is none."""
    effective = getattr(module, "effective_gain", None)
    gain = effective() if callable(effective) else None
    return torch.ones(1) if gain is None else gain.detach().float().cpu()


def _some_of_each(studied: StudiedRun) -> list[ImageRecord]:
    each = max(1, IMAGES // len(studied.domains))
    images = ([*domain.test] or [sample.record for sample in domain.train] for domain in studied.domains)
    return [record for own in images for record in own[:: max(1, len(own) // each)][:each]]


@contextmanager
def _collecting(blocks: Sequence[tuple[str, nn.Module]]) -> Iterator[list[_Moments]]:
    """Yield the moments of each block's kernels, which batches in this context add to."""
    moments = [_Moments() for _ in blocks]

    def take_channel(own: _Moments, output: Tensor) -> None:
        own.channel = output.detach().float().cpu()

    def take_spatial(own: _Moments, module: DCSD, output: Tensor) -> None:
        assert own.channel is not None  # the channel branch comes first
        spatial = output.detach().flatten(2).float().cpu()
        own.add(own.channel, spatial, gain_of(module), module.config.combine)

    with ExitStack() as stack:
        for own, (_, module) in zip(moments, blocks, strict=True):
            assert isinstance(module, DCSD)
            channel = module.channel_branch.register_forward_hook(
                lambda _m, _i, output, own=own: take_channel(own, output)
            )
            spatial = module.spatial_branch.register_forward_hook(
                lambda _m, _i, output, own=own, module=module: take_spatial(own, module, output)
            )
            stack.callback(channel.remove)
            stack.callback(spatial.remove)
        yield moments
