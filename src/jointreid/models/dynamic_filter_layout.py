"""What the kernels of `dynamic_filter` and `filter_norm` on CPUs and GPUs alike ask of shapes and memory."""

from torch import Tensor


def is_channels_last(t: Tensor) -> bool:
    """Return whether a map [B, C, H, W] lies in memory with the channels innermost; False for other tensors."""
    return t.ndim == 4 and t.stride(1) == 1 and not t.is_contiguous()


def repeating_shape(std: Tensor, raw: Tensor, dim: int) -> tuple[int, ...]:
    """Return the shape, taps last, of the part of `std` that repeats along the leading dimensions of `raw`.

    It is 1 in those that repeat, else that of raw. Sums over the repeats are the gradient of that part.

    Args:
        std: broadcasts to raw.
        raw: of any shape.
        dim: of raw, that holds the taps.
    """
    own = (1,) * (raw.ndim - std.ndim) + tuple(std.shape)
    order = [d for d in range(raw.ndim) if d != dim % raw.ndim] + [dim % raw.ndim]
    repeated = next((i for i, d in enumerate(order[:-1]) if own[d] != 1), raw.ndim - 1)
    return (1,) * repeated + tuple(raw.shape[d] for d in order[repeated:])
