"""DCSD, the Domain-Camera-Sample Dynamic convolution of Fig. 4.

A depthwise K x K convolution whose kernel at channel c and position p is the product of two generated kernels, one
per channel and one per position. Both are generated from Z = X + Domain + Camera, where Domain and Camera are vectors
that two MLPs predict from X itself: the MLPs need labels in training, the kernels need none. With a static base the
product is added to the kernel of an ordinary convolution, and with a context network the vectors come from it.

Letters: B images, C channels, H x W input and H' x W' output positions, K kernel side, KK its K*K taps.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from jointreid.config import DcsdConfig, Factor
from jointreid.messages.errors import JointreidError
from jointreid.models.context import VECTOR, Context, FactorLogits, used_factors, zero_where_dropped
from jointreid.models.dynamic_filter import dynamic_filter, dynamic_filter_sum, filter_norm
from jointreid.models.initial import init_for_relu
from jointreid.models.pooling import global_average_pool, mean_and_deviation


class FilterNorm(nn.Module):
    """Give every generated kernel zero mean and a given standard deviation over its KK taps.

    The standard deviation is sqrt(2) / K, the gain of a ReLU over K; or it is learnt per channel and tap, starting from
    N(0, 2 / K^2), of both signs, so that the channels differ from the start.

    Args:
        dim: the dimension of the taps.
        kernel_size: K.
        channels: C to learn `std` [C, KK]; None for the fixed value.
        eps: added to the standard deviation.
    """

    std: nn.Parameter | float

    def __init__(self, dim: int, kernel_size: int, channels: int | None = None, eps: float = 1e-10) -> None:
        super().__init__()
        self.dim = dim
        self.eps = eps
        spread = nn.init.calculate_gain("relu") / kernel_size
        if channels is None:
            self.std = spread
        else:
            self.std = nn.Parameter(torch.empty(channels, kernel_size**2).normal_(0, spread))

    def forward(self, raw: Tensor) -> Tensor:
        """Normalise raw kernels, [B, C, KK] or [B, KK, H', W'], to the same shape, in fp32 under autocast too."""
        return filter_norm(raw, self.dim, self.std, self.eps)


class FactorPredictor(nn.Module):
    """One MLP of Fig. 4: predict an image's domain, or its camera, as a vector that can be added to its features.

    The classifier gives the vector its meaning in training; nothing reads it afterwards.
    """

    classifier: nn.Linear | None

    def __init__(self, channels: int, num_classes: int, config: DcsdConfig) -> None:
        super().__init__()
        hidden = max(1, channels // config.mlp_reduction)
        statistics = 2 if config.context == "block-stats" else 1
        self.fc1 = nn.Linear(statistics * channels, hidden, bias=config.mlp_bias)
        self.fc2 = nn.Linear(hidden, channels, bias=config.mlp_bias)
        self.classifier = nn.Linear(channels, num_classes, bias=config.cls_bias)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map pooled features [B, C] to the vector [B, C] and its logits [B, num_classes] (None once pruned).

        With `dcsd.context block-stats` the features are means and standard deviations [B, 2 C].
        """
        vector = self.fc2(functional.relu(self.fc1(pooled)))
        logits = None if self.classifier is None else self.classifier(vector)
        return vector, logits


class ChannelBranch(nn.Module):
    """Generate one kernel per image and channel from the pooled features, through two fully connected layers."""

    def __init__(self, channels: int, config: DcsdConfig) -> None:
        super().__init__()
        hidden = max(1, config.hidden_floor, int(config.squeeze * channels))
        self.kernels = (channels, config.kernel_size**2)
        self.fc1 = nn.Linear(channels, hidden)
        self.fc2 = nn.Linear(hidden, channels * config.kernel_size**2)
        self.norm: FilterNorm | nn.Identity = nn.Identity()
        if config.generated_start == "gain":
            self.norm = FilterNorm(2, config.kernel_size, channels if config.learnable_std else None, config.eps)
        for layer in (self.fc1, self.fc2):  # as 1x1 convolutions, which they are in DDF, start in the trunk
            init_for_relu(layer.weight)
        if config.generated_start == "zeros":
            nn.init.zeros_(self.fc2.weight)
            nn.init.zeros_(self.fc2.bias)

    def forward(self, pooled: Tensor, context: Tensor | None) -> Tensor:
        """Map GAP(X) and the context, both [B, C], to kernels [B, C, KK]."""
        z = pooled if context is None else pooled + _like(context, pooled)  # = GAP(Z), without a map Z
        raw = self.fc2(functional.relu(self.fc1(z)))  # B C*KK; tap t of channel c at c*KK + t
        return cast(Tensor, self.norm(raw.unflatten(1, self.kernels)))


class SpatialBranch(nn.Module):
    """Generate one kernel per image and output position, through a 1x1 convolution with the stride."""

    def __init__(self, channels: int, config: DcsdConfig, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, config.kernel_size**2, 1, stride)
        self.norm: FilterNorm | nn.Identity = nn.Identity()
        if config.generated_start == "gain":
            self.norm = FilterNorm(1, config.kernel_size, eps=config.eps)
            init_for_relu(self.conv.weight)
        else:  # of about the size that FilterNorm would give the kernels
            spread = nn.init.calculate_gain("relu") / config.kernel_size
            nn.init.normal_(self.conv.weight, 0, spread / math.sqrt(channels))

    def forward(self, x: Tensor, context: Tensor | None) -> Tensor:
        """Map X [B, C, H, W] and the context [B, C] to kernels [B, KK, H', W']."""
        weight = self.conv.weight
        raw = self.conv(_like(x, weight))
        if context is not None:  # conv(Z) = conv(X) + W context: KK numbers per image instead of a second map
            raw = raw + functional.linear(_like(context, weight), weight.flatten(1))[:, :, None, None]
        return cast(Tensor, self.norm(raw))


def generated_in_fp32(x: Tensor) -> AbstractContextManager[None]:
    """Return a context in which autocast lets kernels for the map x be generated in fp32, as DDF does.

    FilterNorm divides by the spread of a few taps, which rounding to half precision would change.
    """
    if x.device.type == "meta" or not torch.is_autocast_enabled(x.device.type):
        return nullcontext()
    return torch.autocast(x.device.type, enabled=False)


def _like(x: Tensor, other: Tensor) -> Tensor:
    return x if x.dtype == other.dtype else x.to(other.dtype)


COMBINE = {"mul": dynamic_filter, "add": dynamic_filter_sum}


class DCSD(nn.Module):
    """A K x K depthwise convolution generated from the sample, its domain and its camera (section III-A, Eq. 2).

    With `factors=("sample",)` it is DDF, the decoupled dynamic filter that it extends. With `base="static"` the kernel
    of channel c at position p is W0[c] + gain[c] * spatial[p] * channel[c], where W0 is the convolution of the plain
    network. A W0 that is not depthwise is applied beside the generated kernels, and both outputs are added.

    Its state_dict, beside the names in DDF's, where layers are numbered and the two fully connected layers are 1x1
    convolutions; m = max(1, hidden_floor, int(squeeze * C)), h = max(1, C // mlp_reduction):

        spatial_branch.conv.weight, .bias         [KK, C, 1, 1], [KK]       DDF: spatial_branch.0
        channel_branch.fc1.weight, .bias          [m, C], [m]               DDF: channel_branch.1
        channel_branch.fc2.weight, .bias          [C*KK, m], [C*KK]         DDF: channel_branch.3
        channel_branch.norm.std                   [C, KK]                   DDF: channel_branch.4.std
        domain.fc1.weight, domain.fc2.weight      [h, C], [C, h]            and .bias with mlp_bias
        domain.classifier.weight, .bias           [num_domains, C], [num_domains]
        camera.*                                  as domain.*, with num_cameras

    There is no std without learnable_std, nor with generated_start="zeros"; domain.fc1.weight is [h, 2 C] with
    context="block-stats"; domain.* and camera.* go with their factors, and classifier.bias with cls_bias.

    With a static base also those of the plain convolution, under its names, and with a context network the layer by
    which its vectors enter, in the place of domain.* and camera.*:

        weight, bias                              [C, C / groups, K, K], [C] where the plain one has a bias
        gain                                      [C]                       not with generated_start="zeros"
        projection.weight                         [C, 32]

    Args:
        channels: C, of input and output.
        num_domains: classes of the domain head.
        num_cameras: classes of the camera head.
        config: the switches; `DcsdConfig` says what each does.
        stride: of the output grid; H' = ceil(H / stride).
        dilation: distance between neighbouring taps, in positions.
        groups: of the plain convolution, with a static base: 1 if it is dense, C if it is depthwise.
        bias: whether it has a bias; without a base there is none.

    Raises:
        JointreidError: fewer than one channel, domain or camera.
    """

    domain: FactorPredictor | None
    camera: FactorPredictor | None
    projection: nn.Linear | None
    weight: nn.Parameter | None
    bias: nn.Parameter | None
    gain: nn.Parameter | None

    def __init__(
        self,
        channels: int,
        num_domains: int,
        num_cameras: int,
        config: DcsdConfig = DcsdConfig(),
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        super().__init__()
        for name, size in (("channels", channels), ("num_domains", num_domains), ("num_cameras", num_cameras)):
            if size < 1:
                raise JointreidError(f"{name} is {size}; expected 1 or more")
        self.config = config
        self.stride = stride
        self.dilation = dilation
        self.groups = groups
        self._add_base(channels, bias)
        self.channel_branch = ChannelBranch(channels, config)
        self.spatial_branch = SpatialBranch(channels, config, stride)
        factors = used_factors(config, num_domains, num_cameras)
        shared = config.context in ("network", "labels")
        self.projection = nn.Linear(VECTOR, channels, bias=False) if shared and factors else None

        def predictor(factor: Factor, num_classes: int) -> FactorPredictor | None:
            return FactorPredictor(channels, num_classes, config) if factor in factors and not shared else None

        self.domain = predictor("domain", num_domains)
        self.camera = predictor("camera", num_cameras)
        # "auto" starts at random too, until weights trained without domains and cameras are loaded: `load_pretrained`
        # then calls `zero_context`.
        if config.context_init == "zero_last":
            self.zero_context()

    def _add_base(self, channels: int, bias: bool) -> None:
        """Make W0, drawn as in the plain network, and the gain."""
        size = self.config.kernel_size
        self.weight = self.bias = self.gain = None
        if self.config.base == "none":
            return
        self.weight = nn.Parameter(torch.empty(channels, channels // self.groups, size, size))
        init_for_relu(self.weight, self.groups)
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None
        if self.config.generated_start == "gain":
            self.gain = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, context: Context | None = None) -> tuple[Tensor, FactorLogits]:
        """Filter X [B, C, H, W] with its own kernels: ([B, C, H', W'], the logits of the heads).

        Args:
            x: the map.
            context: of all blocks; by default X's own, and with a context network none.
        """
        pooled = global_average_pool(x)  # B C
        vector, logits = self.context_of(x, pooled, context or Context())  # B C: Domain + Camera
        with generated_in_fp32(x):
            channel = self.channel_branch(pooled, vector if self.config.context_to != "spatial" else None)  # B C KK
            spatial = self.spatial_branch(x, vector if self.config.context_to != "channel" else None)  # B KK H' W'
        return self._filter(x, spatial, channel), logits  # B C H' W'

    def _filter(self, x: Tensor, spatial: Tensor, channel: Tensor) -> Tensor:
        """Filter [B, C, H, W] with generated kernels on the base, if there is one, to [B, C, H', W']."""
        operator, weight, gain = COMBINE[self.config.combine], self.weight, self.effective_gain()
        if weight is None:
            return operator(x, spatial, channel, self.stride, self.dilation)
        gain = torch.ones_like(weight[:, 0, 0, 0]) if gain is None else gain
        if weight.shape[1] == 1:  # depthwise: both kernels in one pass
            base = weight.flatten(1)
            y = operator(x, spatial, channel, self.stride, self.dilation, base=base, gain=gain)
            return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]
        padding = self.dilation * (self.config.kernel_size // 2)
        y = functional.conv2d(x, weight, self.bias, self.stride, padding, self.dilation, self.groups)
        generated = operator(x, spatial, channel, self.stride, self.dilation)
        return y + generated * gain.to(generated.dtype)[:, None, None]

    def effective_gain(self) -> Tensor | None:
        """Return the factor on the generated kernels [C]; None for 1.

        With `gain_relative` it is the gain times the size of W0, which the gradient does not reach: the root of the
        mean over taps of the sum of squares over the input channels.
        """
        if self.gain is None or self.weight is None or not self.config.gain_relative:
            return self.gain
        size = self.weight.detach().square().sum(1).mean((1, 2)).sqrt()
        return self.gain * size

    def context_of(self, x: Tensor, pooled: Tensor, context: Context) -> tuple[Tensor | None, FactorLogits]:
        """Return the vectors that enter the generators [B, C], None for none, and the logits of the heads.

        Args:
            x: the map [B, C, H, W].
            pooled: GAP(X) [B, C].
            context: of all blocks.
        """
        if self.projection is not None:
            vector = None if context.vector is None else self.projection(context.vector)
            return vector, FactorLogits(None, None)
        statistics = mean_and_deviation(x) if self.config.context == "block-stats" else pooled
        own, logits = self.predict_context(statistics)
        return own if own is None or context.kept is None else zero_where_dropped(own, context.kept), logits

    def predict_context(self, statistics: Tensor) -> tuple[Tensor | None, FactorLogits]:
        """Map GAP(X) [B, C] to Domain + Camera [B, C], None without either factor, and to the logits of the heads.

        With `dcsd.context block-stats`, means and standard deviations [B, 2 C].
        """
        source = statistics.detach() if self.config.detach_context_input else statistics
        domain, domain_logits = (None, None) if self.domain is None else self.domain(source)
        camera, camera_logits = (None, None) if self.camera is None else self.camera(source)
        logits = FactorLogits(domain_logits, camera_logits)
        vectors = [vector for vector in (domain, camera) if vector is not None]
        if not vectors:
            return None, logits
        context = sum(vectors[1:], start=vectors[0])
        return context.detach() if self.config.stop_gradient else context, logits

    def zero_context(self) -> None:
        """Zero the layer by which a context enters: the kernels are those of the sample alone, until it learns."""
        if self.projection is not None:
            nn.init.zeros_(self.projection.weight)
        for predictor in (self.domain, self.camera):
            if predictor is not None:
                for parameter in predictor.fc2.parameters():
                    nn.init.zeros_(parameter)

    def prune_heads(self) -> None:
        """Drop the two classifiers, for deployment: the output stays the same and the logits become None."""
        for predictor in (self.domain, self.camera):
            if predictor is not None:
                predictor.classifier = None
