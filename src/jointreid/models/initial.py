"""Initial weights of layers that a ReLU follows."""

import math

from torch import Tensor, nn


def init_for_relu(weight: Tensor, groups: int = 1) -> None:
    """Draw the weights of a layer from N(0, 2 / fan_out), which keeps the size of gradients through a ReLU (He et al.).

    Args:
        weight: [out, in, ...] of a linear layer, or [out, in / groups, K, K] of a convolution; changed in place.
        groups: of the convolution; fan_out is out / groups * K * K, so that of a depthwise one is K * K.
    """
    fan_out = weight.shape[0] // groups * weight[0, 0].numel()
    nn.init.normal_(weight, 0, nn.init.calculate_gain("relu") / math.sqrt(fan_out))
