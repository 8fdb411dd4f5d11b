"""Settings of the network and of its generated convolutions."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from jointreid.config.fields import conform_fields, require, setting
from jointreid.config.names import (
    Base,
    ContextSource,
    Factor,
    Inject,
    PretrainSource,
    StemPoolChoice,
    SystemName,
    TrunkName,
)
from jointreid.custom import require_known_or_custom
from jointreid.messages.errors import JointreidError, no_such

# That of `models.dynamic_filter_checks`, which takes PyTorch to load.
SMALLEST_EPS = 2.0**-126

# One field a line reads better than the formatter's three.
# fmt: off


@dataclass(frozen=True)
class ModelConfig:
    """The network and the weights it starts from."""

    name: SystemName = setting("bot", "system: bot or agw, with -dcsd every spatial convolution generated per sample, alone or on a static base (dcsd.base); bot-dn and bot-snr normalise the style of each image. Choose agw by --recipe agw, which also sets its loss")
    trunk: str = setting("resnet50", "resnet50, resnet101, resnet50-w16 (16 base channels instead of 64, for CPUs); with depthwise convolutions mobilenetv2_100 (3x3), efficientnet_lite0 (3x3 and 5x5), convnext_tiny (7x7), for bot and bot-dcsd; or a custom one, my_package.module:function", custom=True)
    pretrain: str = setting("none", "weights to start from, by name (`jointreid weights list`) or as the file that `jointreid weights fetch` wrote. ResNet-50 with static 3x3s (also -dcsd with dcsd.base static): tv_in1k (torchvision's V1, as the baselines of the paper), a1_in1k (timm's, stronger: a control), r50_imagenet (from `jointreid pretrain`). -dcsd with dcsd.base none: ddf_imagenet (DDF's published file), dcsd_imagenet (from `jointreid pretrain`), r50_partial (tv_in1k without its 3x3s: not comparable). The trunks of those names: mobilenetv2_100 and efficientnet_lite0 (from `jointreid weights fetch`), mobilenetv2_100.ra_in1k, efficientnet_lite0.ra_in1k and convnext_tiny.fb_in1k (timm's). none: random, not comparable", metavar="NAME|FILE")
    pretrain_file: str = setting("", "file of these weights: .safetensors, .pth or .pth.tar; empty downloads tv_in1k, a1_in1k, r50_partial and those of timm, takes what `jointreid weights fetch` wrote from out/weights, and the others need a file")
    width: int = setting(0, "ResNets: channels of the stem and of the first stage's 3x3, which double with every stage; 0 for those of the trunk's name (64, or 16). ImageNet weights fit no other width")
    depthwise: bool = setting(False, "ResNets: every 3x3 is depthwise, as the generated ones of DCSD are; a control of equal cost. ImageNet weights do not fit")
    last_stride: Literal[1, 2] = setting(1, "stride of the last stage; 1 gives a 16x8 map for 256x128 pixels")
    stem_relu: bool = setting(True, "ResNets: ReLU after the first batch normalisation; the BoT repository has none")
    stem_pool: StemPoolChoice = setting("auto", "ResNets: max pooling after it: pad (3x3, padded: torchvision, timm, the BoT repository, torchreid), ceil (3x3, unpadded with a partial last window: fast-reid), 2x2 (TransReID), or auto, which is ceil with stem_relu and pad without")
    classifier_std: float = setting(0.01, "standard deviation of the classifier's initial weights")
    nonlocal_reduction: int = setting(0, "agw: inner width of a non-local block is the channels divided by this; 0 for a width of 1, as in the published code, which meant 2")
    gem_p: float = setting(3.0, "agw: power p of the generalised mean that pools the last map; 1 for the mean")
    gem_learnable: bool = setting(False, "agw: learn p, starting from gem_p")

    def __post_init__(self) -> None:
        conform_fields(self, "model.")
        require_known_or_custom("model.trunk", "trunk", self.trunk, get_args(TrunkName))
        require(self.width >= 0, "model.width", self.width, "1 or more channels, or 0 for the width of the trunk's name")
        if self.pretrain not in get_args(PretrainSource) and not self.pretrain.endswith(".safetensors"):
            named = no_such("source of weights", self.pretrain, get_args(PretrainSource))
            raise JointreidError(f"model.pretrain: {named} (a file is given as FILE.safetensors)")
        for name in ("classifier_std", "gem_p"):
            require(0 < getattr(self, name) < math.inf, f"model.{name}", getattr(self, name), "a positive number")
        require(self.nonlocal_reduction >= 0, "model.nonlocal_reduction", self.nonlocal_reduction, "0 or more")


@dataclass(frozen=True)
class DcsdConfig:
    """The generated convolution (Section III of the paper)."""

    kernel_size: int = setting(3, "side in pixels, odd, of the generated kernels in the place of a 3x3; a larger convolution keeps its side")
    squeeze: float = setting(0.2, "hidden width of the channel branch, as a share of the channels")
    mlp_reduction: int = setting(4, "hidden width of the domain and camera MLPs is the channels divided by this")
    mlp_bias: bool = setting(False, "biases in the domain and camera MLPs; the paper has none, to judge by its 18.2M parameters")
    cls_bias: bool = setting(True, "biases in the domain and camera classifiers")
    factors: tuple[Factor, ...] = setting(("sample", "domain", "camera"), "inputs of the filter generators; sample alone is DDF")
    context_to: Literal["both", "channel", "spatial"] = setting("both", "branches that see the domain and camera vectors")
    stop_gradient: bool = setting(True, "stop the gradient of the task where these vectors enter the generators")
    detach_context_input: bool = setting(False, "context block and block-stats: also stop the gradient of the domain and camera losses before the trunk")
    learnable_std: bool = setting(True, "learn the scale of the channel filters, per channel and tap")
    eps: float = setting(1e-10, "added to the standard deviation in FilterNorm")
    combine: Literal["mul", "add"] = setting("mul", "combine the channel and the spatial filter of a kernel by mul (the paper) or add")
    degenerate_heads: Literal["keep", "drop"] = setting("keep", "a domain or camera head with a single class, as for one data set: keep it, or drop it with its MLP and its loss")
    context_init: Literal["auto", "default", "zero_last"] = setting("auto", "initial last layer of the domain and camera MLPs, or with context network the layer by which its vectors enter a block: default (random), zero_last (0, so that the filters start from the sample alone), or auto (with base none 0 if the loaded weights fill all but these layers, else random)")
    base: Base = setting("none", "kernel that is independent of the image, beside the generated one: none (the paper), or static (W0 + gain x generated; W0 is the convolution that the plain network has there, and starts from its weights)")
    gain_relative: bool = setting(False, "base static: the gain of a channel is relative to the size of its W0, the root of the mean square of its taps")
    generated_start: Literal["gain", "zeros"] = setting("gain", "base static: how the generated kernel starts from nothing: gain (a learnt gain per channel, 0 at the start, under FilterNorm), or zeros (no gain and no FilterNorm, and 0 in the last layer of the channel branch)")
    context: ContextSource = setting("block", "source of the domain and camera vectors: block (MLPs in every block, from the mean of its map: the paper), block-stats (the same, from mean and standard deviation), network (one context network that sees the image), or labels (the true domain and camera, also at test: a control, not a method)")
    inject: Inject = setting("kernel", "what one context for all blocks changes in each of them: kernel (a generated kernel is added to the static one), film (a control: scale and shift of the static convolution's output by a linear layer from the context), or norm (a control: batch normalisation per domain of that output, mixed by the predicted domain). The controls generate no kernel, so settings of the generated kernel do not matter to them")
    context_stages: tuple[int, ...] = setting((), "stages of the trunk whose blocks get domain and camera, counted from 1; empty for all. [1,2,3] keeps them from the last stage of a ResNet")
    camera_shrinkage: float = setting(0.0, "one context for all blocks: a camera vector is multiplied by n / (n + this), n being the train images of the camera, so that of a rare one little more is left than its domain's vector; 0 never shrinks")
    context_held_out: float = setting(0.0, "context network: share of the train identities of every domain that its losses do not see. How often it is right on them is measured while training (a share a, of the domain and of the camera), and each of its two vectors is multiplied by max(0, 2a - 1), so that what it does not know changes no kernel; 0 measures nothing, and the vectors are what they are")
    context_dropout: float = setting(0.0, "share of training images whose domain and camera vectors are set to 0 in every block, so that the network learns to do without")
    hidden_floor: int = setting(0, "hidden width of the channel branch at least, whatever squeeze says; 0 for no floor")
    decay_generators: bool = setting(True, "weight decay on the generators too: both branches, the layer by which a context enters them, and the gain")

    def __post_init__(self) -> None:
        conform_fields(self, "dcsd.")
        require(self.kernel_size % 2 == 1 and self.kernel_size >= 3, "dcsd.kernel_size", self.kernel_size, "an odd number >= 3 (FilterNorm has no spread over one tap)")
        require(0 < self.squeeze <= 1, "dcsd.squeeze", self.squeeze, "a share in (0, 1]")
        require(self.mlp_reduction >= 1, "dcsd.mlp_reduction", self.mlp_reduction, "1 or more")
        require("sample" in self.factors and len(set(self.factors)) == len(self.factors), "dcsd.factors", self.factors, "sample, and at most domain and camera, each once")
        require(self.eps >= SMALLEST_EPS, "dcsd.eps", self.eps, "1.18e-38 or more, so that 1 / eps is finite in 32 bits")
        require(0 <= self.context_dropout < 1, "dcsd.context_dropout", self.context_dropout, "a share in [0, 1)")
        require(0 <= self.context_held_out <= 0.5, "dcsd.context_held_out", self.context_held_out, "a share in [0, 0.5]")
        require(len(set(self.context_stages)) == len(self.context_stages) and all(n >= 1 for n in self.context_stages), "dcsd.context_stages", self.context_stages, "numbers of stages from 1, each once")
        require(0 <= self.camera_shrinkage < math.inf, "dcsd.camera_shrinkage", self.camera_shrinkage, "0 or more images")
        require(self.hidden_floor >= 0, "dcsd.hidden_floor", self.hidden_floor, "0 or more")

    @property
    def needs_context(self) -> bool:
        """Whether the model passes a context to every block: one context for all of them, or which images go without."""
        return self.factors != ("sample",) and (self.context in ("network", "labels") or self.context_dropout > 0)
