"""Controls for the generated kernel: other ways in which the same context can change a block (`dcsd.inject`).

Each is the static convolution of the plain network, with its names and initial weights, and something cheaper than a
kernel behind it. If one of them gains as much as a kernel, the knowledge matters and not the kernel.

Letters: B images, C channels, H' x W' output positions, D domains, V numbers of a vector.
"""

from typing import Any

import torch
from torch import Tensor, nn

from jointreid.models.context import VECTOR, Context
from jointreid.models.initial import init_for_relu


class ContextConv(nn.Conv2d):
    """The static convolution of a block, whose output a context changes; a subclass says how.

    Args:
        channels: C, of input and output.
        stride: of the output grid.
        kernel_size: its side.
        dilation: distance between neighbouring taps.
        groups: 1 if it is dense, C if it is depthwise.
        bias: whether it has one.
    """

    def __init__(
        self,
        channels: int,
        stride: int,
        kernel_size: int = 3,
        *,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = False,
    ) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(channels, channels, kernel_size, stride, padding, dilation, groups, bias)
        init_for_relu(self.weight, groups)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def filtered(self, x: Tensor) -> Tensor:
        """Map [B, C, H, W] to [B, C, H', W'] as the plain network does."""
        y: Tensor = self._conv_forward(x, self.weight, self.bias)
        return y

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """Map [B, C, H, W] and what all blocks are told to [B, C, H', W']."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")


class FilmConv(ContextConv):
    """Scale and shift of the output map by a linear layer from the context (FiLM, Perez et al. 2018).

    y = (1 + s) conv(x) + t, with s and t [B, C] from one layer without a bias that starts at 0: the network starts as
    the plain one, and is the plain one where the context is 0. The vector has a length of 1 at most (see
    `jointreid.models.context.at_most_one_long`), as FilterNorm takes the size out of a generated kernel: it grows while
    its classifiers train, and s and t would grow with it.

    Args:
        channels, stride, kernel_size: see `ContextConv`.
        told: whether there is a context; without one it is the plain convolution.
        static: dilation, groups and bias, see `ContextConv`.
    """

    def __init__(self, channels: int, stride: int, kernel_size: int = 3, *, told: bool = True, **static: Any) -> None:
        super().__init__(channels, stride, kernel_size, **static)
        self.projection: nn.Linear | None = None
        if told:
            self.projection = nn.Linear(VECTOR, 2 * channels, bias=False)
            nn.init.zeros_(self.projection.weight)

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """Map [B, C, H, W] and what all blocks are told to [B, C, H', W']."""
        y = self.filtered(x)
        if self.projection is None or context is None or context.vector is None:
            return y
        scale, shift = self.projection(context.vector.float()).float()[:, :, None, None].chunk(2, dim=1)
        film: Tensor = y.float() * (1 + scale) + shift  # 1 + a small number is 1 in bf16
        return film.to(y.dtype)


class DomainNorm(nn.Module):
    """Batch normalisation with statistics, scale and shift of each domain, mixed by how likely each domain is.

    With p [B, D] the domain posterior of each image, the statistics of domain d in training are those of the batch,
    each image counting p[b, d]; the running ones follow them with a momentum of 0.1, less if all p[b, d] together are
    below one image. The output for image b is the sum over d of p[b, d] (g_d (y - m_d) / sqrt(v_d + eps) + h_d), with
    batch statistics in training and running ones in evaluation. For a p of 0 and 1 each domain has its own batch
    normalisation (Chang et al. 2019). The batch normalisation of the trunk follows it.

    Args:
        channels: C.
        num_domains: D.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int, num_domains: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(num_domains, channels))
        self.bias = nn.Parameter(torch.zeros(num_domains, channels))
        self.register_buffer("running_mean", torch.zeros(num_domains, channels))
        self.register_buffer("running_var", torch.ones(num_domains, channels))

    def forward(self, y: Tensor, posterior: Tensor | None = None) -> Tensor:
        """Normalise [B, C, H', W'] by the domain posterior [B, D]; without one all domains are equally likely."""
        domains = len(self.weight)
        if posterior is None:
            posterior = torch.full((len(y), domains), 1 / domains, device=y.device)
        if self.training:
            mean, var = self._batch_statistics(y.float(), posterior)
        else:
            mean, var = self.running_mean, self.running_var
        scale = self.weight * (var + self.eps).rsqrt()  # D C
        shift = self.bias - mean * scale
        mixed = torch.stack([_mixed(posterior, scale), _mixed(posterior, shift)])  # 2 B C
        scale, shift = mixed.float()[..., None, None]  # B C 1 1
        normalised: Tensor = y.float() * scale + shift
        return normalised.to(y.dtype)

    def _batch_statistics(self, y: Tensor, posterior: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance of each domain in the batch, [D, C] each, and let the running ones follow."""
        images = posterior.sum(0)  # D
        shares = (posterior / images.clamp(min=1e-12)).T  # D B
        own_mean = y.mean((2, 3))  # B C
        mean = _mixed(shares, own_mean)
        between = (own_mean[None] - mean[:, None]).square()  # D B C
        var = _mixed(shares, y.var((2, 3), correction=0)) + (shares[:, :, None] * between).sum(1)
        with torch.no_grad():
            momentum = self.momentum * images.clamp(max=1)[:, None]
            values = (images * y[0, 0].numel()).clamp(min=2)[:, None]
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(var * values / (values - 1), momentum)  # unbiased, as in any batch normalisation
        return mean, var


def _mixed(shares: Tensor, rows: Tensor) -> Tensor:
    """Return the product of [N, M] and [M, C], in fp32 under autocast too, as sums of any batch normalisation are."""
    return (shares[:, :, None] * rows).sum(1)


class DomainNormConv(ContextConv):
    """Batch normalisation of the output map per predicted domain, see `DomainNorm`.

    Args:
        channels, stride, kernel_size: see `ContextConv`.
        num_domains: D.
        static: dilation, groups and bias, see `ContextConv`.
    """

    def __init__(self, channels: int, stride: int, kernel_size: int = 3, *, num_domains: int, **static: Any) -> None:
        super().__init__(channels, stride, kernel_size, **static)
        self.domain_norm: DomainNorm | None = DomainNorm(channels, num_domains)

    def forward(self, x: Tensor, context: Context | None = None) -> Tensor:
        """Map [B, C, H, W] and what all blocks are told to [B, C, H', W']."""
        y = self.filtered(x)
        if self.domain_norm is None:
            return y
        normalised: Tensor = self.domain_norm(y, None if context is None else context.posterior)
        return normalised
