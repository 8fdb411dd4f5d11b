"""A model rewritten for export: the same features from fewer and plainer operations, and nothing of this package.

Everything that is known before an image comes is computed here, once and in float64: batch normalisation goes into the
convolution before it, the mean of spatial kernels goes into the layer that makes them, both MLPs of a block become one,
and the layer that makes the context's vector goes into the layers that read it.

Letters: B images, C channels, H x W positions, L = H'*W' output positions, K kernel side, T = K*K taps, h hidden width.
"""

import copy
import math
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from jointreid.export.flat import edge_mask, flat_filter
from jointreid.models.context import Context, FactorLogits
from jointreid.models.dcsd import DCSD, FilterNorm
from jointreid.models.pooling import mean_and_deviation
from jointreid.models.reid import ReIDModel

# Divides the kernels of neighbours across an edge: beside any other kernel nothing is left of them in float32.
FAR = 1e30


class Affine(NamedTuple):
    """What follows a convolution: times `scale` [C], plus `shift` [C], both float64."""

    scale: Tensor
    shift: Tensor

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> "Affine":
        """Return what a batch normalisation computes in evaluation mode."""
        mean, variance = (cast(Tensor, values).double() for values in (norm.running_mean, norm.running_var))
        scale = norm.weight.detach().double() / (variance + norm.eps).sqrt()
        return cls(scale, norm.bias.detach().double() - mean * scale)


class PortableDCSD(DCSD):
    """A DCSD in plain tensor operations, for maps of one size, without its classifiers.

    FilterNorm is c / (|c| + eps sqrt(T - 1)) sqrt(T - 1) std with c = raw - mean(raw). Optimisers of graphs drop an eps
    that is added, and a group of zeros becomes NaN. Here channels have the eps of a LayerNorm, and for positions the
    divisor is at least eps sqrt(T - 1): zeros stay zeros, and other groups differ by less than eps / (standard
    deviation).

    Args:
        dcsd: the module to rewrite.
        size: H, W of its input.
        after: what follows the module.
    """

    hidden_weight: Tensor | None
    hidden_bias: Tensor | None
    fc1_weight: Tensor
    fc1_bias: Tensor
    fc2_weight: Tensor
    fc2_bias: Tensor
    spatial_weight: Tensor
    spatial_bias: Tensor
    spatial_context: Tensor | None
    channel_scale: Tensor
    spatial_scale: Tensor | None
    limit: Tensor
    inside: Tensor
    base: Tensor | None
    shift: Tensor

    def __init__(self, dcsd: DCSD, size: tuple[int, int], after: Affine | None = None) -> None:
        nn.Module.__init__(self)
        self.config, self.stride, self.dilation, self.size = dcsd.config, dcsd.stride, dcsd.dilation, size
        self.kernel_size = math.isqrt(dcsd.spatial_branch.conv.out_channels)
        self.channels = dcsd.spatial_branch.conv.in_channels
        self.out_size = (size[0] - 1) // dcsd.stride + 1, (size[1] - 1) // dcsd.stride + 1
        ones = torch.ones(self.channels, dtype=torch.float64)
        after = after or Affine(ones, ones * 0)
        reads = self._add_context(dcsd)
        self._add_channel_branch(dcsd, reads if self.config.context_to != "spatial" else None)
        self._add_spatial_branch(dcsd, reads if self.config.context_to != "channel" else None)
        self._add_output(dcsd, after)

    def _keep(self, name: str, values: Tensor | None, *shape: int) -> None:
        """Register values computed in float64 as float32, in a shape."""
        kept = None if values is None else values.detach().to(torch.float32).reshape(shape).contiguous()
        self.register_buffer(name, kept)

    def _add_context(self, dcsd: DCSD) -> tuple[Tensor, Tensor] | None:
        """Add the hidden layer of both MLPs; return the layer that makes the vector from it, [C, h] and [C].

        With a context network h are the numbers of its vector, which come with every call. None without a context.
        """
        predictors = [predictor for predictor in (dcsd.domain, dcsd.camera) if predictor is not None]
        none = torch.zeros(self.channels, dtype=torch.float64)
        self.shares_context = dcsd.projection is not None
        self._keep("hidden_weight", None)
        self._keep("hidden_bias", None)
        if dcsd.projection is not None:
            return dcsd.projection.weight.double(), none
        if not predictors:
            return None
        first, second = [mlp.fc1 for mlp in predictors], [mlp.fc2 for mlp in predictors]
        weight = torch.cat([layer.weight for layer in first])
        self._keep("hidden_weight", weight, *weight.shape, 1, 1)
        if first[0].bias is not None:
            self._keep("hidden_bias", torch.cat([layer.bias for layer in first]), -1)
        columns = torch.cat([layer.weight.double() for layer in second], dim=1)
        return columns, sum((layer.bias.double() for layer in second if layer.bias is not None), start=none)

    def _add_channel_branch(self, dcsd: DCSD, reads: tuple[Tensor, Tensor] | None) -> None:
        branch = dcsd.channel_branch
        weight, bias = branch.fc1.weight.double(), branch.fc1.bias.double()
        if reads is not None:  # fc1(pooled + columns hidden + b) = [fc1, fc1 columns] [pooled, hidden] + fc1 b
            weight, bias = torch.cat([weight, weight @ reads[0]], dim=1), bias + weight @ reads[1]
        self.channel_reads_context = reads is not None
        self._keep("fc1_weight", weight, *weight.shape, 1, 1)
        self._keep("fc1_bias", bias, -1)
        self._keep("fc2_weight", branch.fc2.weight, *branch.fc2.weight.shape, 1, 1)
        self._keep("fc2_bias", branch.fc2.bias, -1)

    def _add_spatial_branch(self, dcsd: DCSD, reads: tuple[Tensor, Tensor] | None) -> None:
        conv = dcsd.spatial_branch.conv
        weight, bias = conv.weight.flatten(1).double(), cast(Tensor, conv.bias).double()
        if isinstance(dcsd.spatial_branch.norm, FilterNorm):
            weight, bias = _centred(weight, 0), _centred(bias, 0)
        if reads is not None:
            bias = bias + weight @ reads[1]
        self._keep("spatial_weight", weight, *weight.shape, 1, 1)
        self._keep("spatial_bias", bias, -1)
        self._keep("spatial_context", None)
        if reads is not None:
            self._keep("spatial_context", weight @ reads[0], weight.shape[0], -1, 1, 1)

    def _add_output(self, dcsd: DCSD, after: Affine) -> None:
        """Add the constants of the norms, the static kernels, and what the generated ones are multiplied by."""
        taps = self.kernel_size**2
        inside = edge_mask(self.kernel_size, self.stride, self.dilation, *self.size)
        ones = torch.ones(self.channels, taps, dtype=torch.float64)
        # LayerNorm gives values a spread of 1 over T, not over T - 1; the other kernels are divided by their length.
        channel, spatial = (
            norm.std * factor * ones if isinstance(norm, FilterNorm) else ones
            for norm, factor in (
                (dcsd.channel_branch.norm, math.sqrt((taps - 1) / taps)),
                (dcsd.spatial_branch.norm, math.sqrt(taps - 1)),
            )
        )
        self.normed = isinstance(dcsd.channel_branch.norm, FilterNorm)
        self._keep("limit", torch.where(inside, self.config.eps * math.sqrt(taps - 1), FAR), *inside.shape)
        self._keep("inside", inside, *inside.shape)
        gain = dcsd.effective_gain()
        scale = (after.scale if gain is None else after.scale * gain.double())[:, None]
        product = self.config.combine == "mul"
        self._keep("channel_scale", channel * (spatial if product else 1) * scale, 1, -1, 1, taps)
        self._keep("spatial_scale", None if product else spatial * scale, 1, -1, 1, taps)
        self._keep("shift", after.shift, 1, -1, 1, 1)
        self.groups = dcsd.groups
        self._keep("base", None)
        if dcsd.weight is not None:
            self._keep("base", dcsd.weight.double() * after.scale[:, None, None, None], *dcsd.weight.shape)
            shift = after.shift if dcsd.bias is None else after.shift + dcsd.bias.double() * after.scale
            self._keep("shift", shift, -1)

    def forward(self, x: Tensor, context: Context | None = None) -> tuple[Tensor, FactorLogits]:
        """Filter X [B, C, H, W] as the module that this one was made from does."""
        pooled = x.mean(dim=(2, 3), keepdim=True)  # B C 1 1
        hidden = self._hidden(x, pooled, context)  # B h 1 1
        channel = self._channel_kernels(pooled, hidden)  # B C 1 T
        spatial = self._spatial_kernels(x, hidden)  # B 1 T L
        if self.spatial_scale is None:
            y = self._filtered(x, spatial, channel)
        else:
            y = self._filtered(x, spatial, self.spatial_scale) + self._filtered(
                x, self.inside.flatten(2)[:, None], channel
            )
        y = y if self.base is not None else y + self.shift
        return self._added_to_base(x, y.view(-1, self.channels, *self.out_size)), FactorLogits(None, None)

    def _added_to_base(self, x: Tensor, generated: Tensor) -> Tensor:
        if self.base is None:
            return generated
        padding = self.dilation * (self.kernel_size // 2)
        static = functional.conv2d(x, self.base, self.shift, self.stride, padding, self.dilation, self.groups)
        return static + generated

    def _hidden(self, x: Tensor, pooled: Tensor, context: Context | None) -> Tensor | None:
        if self.shares_context:
            vector = None if context is None else context.vector
            return None if vector is None else vector[:, :, None, None]
        if self.hidden_weight is None:
            return None
        statistics = mean_and_deviation(x)[:, :, None, None] if self.config.context == "block-stats" else pooled
        return functional.relu(functional.conv2d(statistics, self.hidden_weight, self.hidden_bias))

    def _channel_kernels(self, pooled: Tensor, hidden: Tensor | None) -> Tensor:
        weight, z = self.fc1_weight, pooled
        if self.channel_reads_context and hidden is not None:
            z = torch.cat([pooled, hidden], dim=1)
        elif self.channel_reads_context:
            weight = weight[:, : self.channels]
        raw = functional.relu(functional.conv2d(z, weight, self.fc1_bias))
        raw = functional.conv2d(raw, self.fc2_weight, self.fc2_bias).view(-1, self.channels, 1, self.kernel_size**2)
        if self.normed:
            raw = functional.layer_norm(raw, raw.shape[3:], eps=self.config.eps**2)
        return raw * self.channel_scale

    def _spatial_kernels(self, x: Tensor, hidden: Tensor | None) -> Tensor:
        raw = functional.conv2d(x, self.spatial_weight, self.spatial_bias, self.stride)
        if self.spatial_context is not None and hidden is not None:
            raw = raw + functional.conv2d(hidden, self.spatial_context)
        if self.normed:
            raw = raw / torch.maximum(torch.linalg.vector_norm(raw, dim=1, keepdim=True), self.limit)
        else:
            raw = raw * self.inside
        return raw.view(-1, 1, self.kernel_size**2, self.out_size[0] * self.out_size[1])

    def _filtered(self, x: Tensor, spatial: Tensor, channel: Tensor) -> Tensor:
        return flat_filter(x, spatial, channel, self.kernel_size, self.stride, self.dilation)


def _centred(values: Tensor, dim: int) -> Tensor:
    return values - values.mean(dim, keepdim=True)


def portable(model: ReIDModel, height: int, width: int, *, fuse: bool = True) -> ReIDModel:
    """Return a copy of a model in evaluation mode for images of one size, rewritten.

    Its classifiers are left out, but for those whose prediction the blocks are told.

    Args:
        model: the model, on the CPU.
        height: of its images.
        width: of its images.
        fuse: let convolutions take over the batch normalisation that follows them; not for a custom trunk, where
            something else may read between the two.
    """
    model = copy.deepcopy(model).eval()
    model.prune_heads()
    model.classifier = nn.Identity()  # type: ignore[assignment]
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False  # in place, a tracer restores the shape before and after a view, a node each time
    sizes, followers = _trace(model, height, width)
    for name, size in sizes.items():
        norm = followers.get(name) if fuse else None
        dcsd = cast(DCSD, model.get_submodule(name))
        _replace(model, name, PortableDCSD(dcsd, size, Affine.of(norm[1]) if norm else None))
        if norm:
            _replace(model, norm[0], nn.Identity())
    for name, (norm_name, batch_norm) in followers.items() if fuse else ():
        if name not in sizes:
            conv = cast(nn.Conv2d, model.get_submodule(name))
            _replace(model, name, torch.nn.utils.fuse_conv_bn_eval(conv, batch_norm))
            _replace(model, norm_name, nn.Identity())
    return model.requires_grad_(False)


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def _trace(
    model: nn.Module, height: int, width: int
) -> tuple[dict[str, tuple[int, int]], dict[str, tuple[str, nn.BatchNorm2d]]]:
    """Return the size of the maps that each DCSD gets, and the batch normalisation that follows a convolution."""
    sizes: dict[str, tuple[int, int]] = {}
    followers: dict[str, tuple[str, nn.BatchNorm2d]] = {}
    made: dict[int, str] = {}
    alive: list[Tensor] = []  # so that no two outputs share an id
    handles = []

    def watch(name: str, module: nn.Module) -> None:
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if isinstance(module, nn.BatchNorm2d):
                if id(inputs[0]) in made:
                    followers[made[id(inputs[0])]] = name, module
                return
            output = output[0] if isinstance(module, DCSD) else output
            if isinstance(module, DCSD):
                sizes[name] = inputs[0].shape[2], inputs[0].shape[3]
            made[id(output)] = name
            alive.append(output)

        handles.append(module.register_forward_hook(hook))

    for name, module in model.named_modules():
        # Not a subclass of Conv2d, such as the controls of `dcsd.inject`: it does more than the convolution.
        if type(module) is nn.Conv2d or isinstance(module, nn.BatchNorm2d | DCSD):
            watch(name, module)
    with torch.inference_mode():
        model(torch.zeros(1, 3, height, width))
    for handle in handles:
        handle.remove()
    return sizes, followers
