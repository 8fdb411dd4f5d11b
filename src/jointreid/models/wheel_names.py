"""Names of the tensors in weights that packages ship, as timm names them, and what else has to be converted.

A function here takes the tensors of one published file and returns them by timm's names. An unknown name is an error,
so that nothing is left out silently.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from jointreid.messages.errors import JointreidError
from jointreid.models.mobilenet import MOBILENETS

# Layers of a block with and without an expansion, in the two files and in timm.
_MOBILENETV2 = {
    True: {"0": "conv_dw", "1": "bn1", "3": "conv_pw", "4": "bn2"},
    False: {"0": "conv_pw", "1": "bn1", "3": "conv_dw", "4": "bn2", "6": "conv_pwl", "7": "bn3"},
}
_LITE = {
    True: {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"},
    False: {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    },
}
_MOBILENETV2_ENDS = {
    "features.0.0": "conv_stem",
    "features.0.1": "bn1",
    "features.18.0": "conv_head",
    "features.18.1": "bn2",
}
_LITE_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}

_TF_EPS, _EPS = 1e-3, 1e-5  # of batch normalisation, in TensorFlow's networks and in ours
# Mean and standard deviation by which images are normalised, in EfficientNet-Lite's training and by default here.
_LITE_MEAN, _LITE_STD = 0.5, 0.5
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def mobilenetv2(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return MobileNetV2's tensors by timm's names; `features.N` is block N - 1, counted over all stages.

    Raises:
        JointreidError: a name is unknown.
    """
    return _renamed(tensors, "mobilenetv2_100", r"features\.(\d+)\.conv\.(\d)", 1, _MOBILENETV2, _MOBILENETV2_ENDS)


def efficientnet_lite0(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return EfficientNet-Lite0's tensors by timm's names, for our batch normalisation and our images.

    The file holds the weights of TensorFlow, whose batch normalisation adds 1e-3 to the variance (ours 1e-5) and whose
    images are normalised by 0.5. Both are moved into the weights, which is exact in evaluation except at the padded
    border of the first convolution. TensorFlow pads a strided convolution at one side only, ours at both: the features
    are similar to those of the original network, not equal.

    Raises:
        JointreidError: a name is unknown.
    """
    named = _renamed(tensors, "efficientnet_lite0", r"_blocks\.(\d+)\.(_\w+)", 0, _LITE, _LITE_ENDS)
    for name in named:
        if name.endswith("running_var"):
            named[name] = named[name] + (_TF_EPS - _EPS)
    # (image - 0.5) / 0.5 = scale * ((image - mean) / std) + shift
    scale = torch.tensor(_STD) / _LITE_STD
    shift = (torch.tensor(_MEAN) - _LITE_MEAN) / _LITE_STD
    stem = named["conv_stem.weight"]
    added = (stem.double() * shift.double()[:, None, None]).sum((1, 2, 3))  # in float64: the same on every machine
    named["bn1.running_mean"] = (named["bn1.running_mean"].double() - added).float()
    named["conv_stem.weight"] = stem * scale[:, None, None]
    return named


def _renamed(
    tensors: Mapping[str, Tensor],
    trunk: str,
    block_pattern: str,
    first: int,
    layers: Mapping[bool, Mapping[str, str]],
    ends: Mapping[str, str],
) -> dict[str, Tensor]:
    """Return the tensors by timm's names; `first` is the number of the first block in the file."""
    places = [
        (f"blocks.{number}.{index}", stage.expansion == 1)
        for number, stage in enumerate(MOBILENETS[trunk])
        for index in range(stage.blocks)
    ]
    named = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        if layer in ends:
            new = ends[layer]
        else:
            match = re.fullmatch(block_pattern, layer)
            number = int(match[1]) - first if match else -1
            place, plain = places[number] if 0 <= number < len(places) else ("", False)
            if not match or not place or match[2] not in layers[plain]:
                raise JointreidError(f"the weights hold {name}, which {trunk} has not")
            new = f"{place}.{layers[plain][match[2]]}"
        named[f"{new}.{kind}"] = tensor
    return named
