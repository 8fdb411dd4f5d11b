"""All settings of a run: frozen dataclasses, one for each section, one documented field a line.

The command line, the dumped `config.yaml` and `jointreid.train` all speak of these fields as `section.field`.
`setting` gives a field its default and its one line of help, with the unit.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_type_hints

from jointreid.custom import require_known_or_custom
from jointreid.machine.device import Device, Precision
from jointreid.machine.hashing import text_sha256
from jointreid.machine.paths import FORMER_CACHE
from jointreid.messages.errors import JointreidError, no_such
from jointreid.messages.typed import conform, expected

# Values that settings may have. Where the code has a table of them, tests/project/test_vocabularies.py compares it.
MissingCamid = Literal["refuse", "one_camera"]
Cuhk03Boxes = Literal["labeled", "detected"]
CameraIds = Literal["global", "local"]
CacheMode = Literal["disk", "memory", "off"]
Interpolation = Literal["bicubic", "bilinear"]
SystemName = Literal["bot", "agw", "bot-dcsd", "agw-dcsd", "bot-dn", "bot-snr"]
TrunkName = Literal["resnet50", "resnet101", "resnet50-w16", "mobilenetv2_100", "efficientnet_lite0", "convnext_tiny"]
PretrainSource = Literal[
    "none",
    "tv_in1k",
    "a1_in1k",
    "ddf_imagenet",
    "dcsd_imagenet",
    "r50_imagenet",
    "r50_partial",
    "mobilenetv2_100",
    "mobilenetv2_100.ra_in1k",
    "efficientnet_lite0",
    "efficientnet_lite0.ra_in1k",
    "convnext_tiny.fb_in1k",
]
StemPoolChoice = Literal["auto", "pad", "ceil", "2x2"]
Factor = Literal["sample", "domain", "camera"]
Base = Literal["none", "static"]
ContextSource = Literal["block", "block-stats", "network", "labels"]
TripletNumerics = Literal["stable", "published"]
Inject = Literal["kernel", "film", "norm"]
ContextLabels = Literal["correct", "shuffled"]
Mining = Literal["any", "within", "across"]
IdHead = Literal["softmax", "per_domain", "masked"]
Compile = Literal["auto", "always", "never"]
Metric = Literal["cosine", "euclidean"]
SamplerKind = Literal[
    "union_pk",
    "interleaved",
    "id_uniform",
    "domain_balanced",
    "domain_temperature",
    "domain_weighted",
    "grouped_domains",
]

# The same for the options of `jointreid data ingest`; they stand here so that help needs nothing of that room.
Layout = Literal[
    "auto", "market", "imagefolder", "mot", "viper", "sysu-mm01", "regdb", "veri-776", "vehicleid", "prid2011",
    "ilids-vid", "mars", "cuhk01", "grid", "3dpes", "ltcc", "prcc", "celeb-reid", "personx", "randperson",
]  # fmt: skip
# How a test split is asked: its queries ask its gallery, or every image asks all others.
EvaluationProtocol = Literal["query_gallery", "leave_one_out"]
CameraChoice = Literal["auto", "name", "folder", "none"]
SplitChoice = Literal["auto", "draw"]
EpochLength = Literal["images", "pass"]
# The same for `jointreid weights convert`.
PeerName = Literal["fastreid", "bot", "agw", "transreid", "torchreid"]
PoolChoice = Literal["auto", "mean", "gem"]
# The same for `jointreid export`.
FileFormat = Literal["onnx", "pt2"]
GraphPrecision = Literal["fp32", "fp16", "int8"]
InputKind = Literal["uint8", "raw255", "unit", "imagenet"]
InputChoice = Literal["auto", "uint8", "raw255", "unit", "imagenet"]
ToolName = Literal["boxmot", "ultralytics", "deepstream", "deep-sort-realtime", "norfair"]
ToolChoice = Literal["any", "boxmot", "ultralytics", "deepstream", "deep-sort-realtime", "norfair"]

# One field a line reads better than the formatter's three.
# fmt: off


def setting(default: Any, help: str, *, metavar: str = "", short: str = "", custom: bool = False) -> Any:
    """Return a dataclass field with its default and its line of help.

    Args:
        default: its default; `dataclasses.MISSING` if it must be given.
        help: one line, with the unit.
        metavar: the word for its value in the help of a command; by default one that tells the type.
        short: a setting's short name on the command line, beside `--section.field`.
        custom: whether it may name a function of the user's, `my_package.module:function`.
    """
    return field(default=default, metadata={"help": help, "metavar": metavar, "short": short, "custom": custom})


def _require(condition: bool, key: str, value: object, expected: str) -> None:
    if not condition:
        raise JointreidError(f"{key} is {value!r}; expected {expected}")


def _weighted_name(text: str) -> str:
    """Return the name in NAME=WEIGHT, once the weight is known to be one."""
    name, _, weight = text.rpartition("=")
    try:
        is_weight = 0 < float(weight) < math.inf
    except ValueError:
        is_weight = False
    _require(bool(name) and is_weight, "sampler.domain_weights", text, "NAME=WEIGHT with a positive weight")
    return name


def conform_fields(config: Any, prefix: str) -> None:
    """Give each field of a frozen dataclass a value of its type: a list becomes a tuple, a whole number a float.

    Args:
        config: the dataclass, which calls this first in its `__post_init__`.
        prefix: put before a field's name in messages, such as "data.".

    Raises:
        JointreidError: a value is of another type, or not among the names that the field may have.
    """
    for name, kind in get_type_hints(type(config)).items():
        value = getattr(config, name)
        try:
            object.__setattr__(config, name, conform(kind, value))
        except TypeError:
            raise JointreidError(f"{prefix}{name} is {value!r}; {expected(kind, value)}") from None


@dataclass(frozen=True)
class DataConfig:
    """The data sets, and how they are read."""

    sources: tuple[str, ...] = setting((), "data sets, each NAME=PATH (a folder as published, or a manifest), or the PATH of a manifest for all of its domains; repeat for more", metavar="NAME=PATH")
    val_ids: int = setting(0, "identities of each domain held out of train to choose the checkpoint `best` on; 0 for none")
    missing_camid: MissingCamid = setting("refuse", "a manifest without camid: refuse it, or treat each such domain as one camera and exclude no match", short="--missing-camid")
    acknowledge_withdrawn: bool = setting(False, "read data sets that their owner has withdrawn (DukeMTMC-reID)", short="--acknowledge-withdrawn")
    cuhk03: Cuhk03Boxes = setting("labeled", "boxes of CUHK03: labeled by hand (as in the paper), or detected", short="--cuhk03")
    msmt17_trainval: bool = setting(False, "train on MSMT17's list_val too; the paper trains on list_train only", short="--msmt17-trainval")
    camera_ids: CameraIds = setting("global", "camera classes: global, one for each camera of each data set (Fig. 3), or local, shared by the data sets")
    places: tuple[str, ...] = setting((), "data sets whose cameras stand in one place, each NAME=PLACE: equal camera numbers of two data sets with the same PLACE are one camera", metavar="[NAME=PLACE,...]")
    leave_out_cameras: tuple[str, ...] = setting((), "cameras whose train images are left out, each NAME:CAMID, so that evaluation shows the accuracy on a camera that the model has not seen", metavar="[NAME:CAMID,...]")
    skip_unreadable: bool = setting(False, "leave unreadable images out, with a list of them, instead of stopping", short="--skip-unreadable")
    cache: str = setting("", "folder for decoded images and results of the data check; may be deleted at any time; empty: JOINTREID_CACHE, or the user's cache folder", metavar="DIR", short="--cache")
    cache_mode: CacheMode = setting("disk", "where decoded images are kept, at height x width x 3 bytes each: disk (a file in data.cache, shared by runs and processes), memory (RAM, again in each process), or off (decoded anew for each batch)")

    def __post_init__(self) -> None:
        conform_fields(self, "data.")
        _require(self.val_ids >= 0, "data.val_ids", self.val_ids, "0 or more identities")
        named = [text.partition("=")[::2] for text in self.places]
        _require(all(name and place for name, place in named), "data.places", self.places, "NAME=PLACE for each")
        _require(len({name for name, _ in named}) == len(named), "data.places", self.places, "each data set once")
        for text in self.leave_out_cameras:
            name, _, camid = text.rpartition(":")
            _require(bool(name) and camid.isascii() and camid.isdigit(), "data.leave_out_cameras", text, "NAME:CAMID, such as market1501:3")


@dataclass(frozen=True)
class ImageConfig:
    """Size and augmentation of images; the defaults are those of fast-reid."""

    height: int = setting(256, "height in pixels after resizing")
    width: int = setting(128, "width in pixels after resizing")
    interpolation: Interpolation = setting("bicubic", "interpolation when resizing")
    flip: float = setting(0.5, "probability of a horizontal flip; 0 where left and right differ in meaning")
    pad: int = setting(10, "pixels added on each side before a random crop back to size")
    pad_mode: Literal["zeros", "edge"] = setting("zeros", "value of these pixels: zeros, or edge, that of the nearest pixel (for pale backgrounds)")
    erase: float = setting(0.5, "probability of erasing one rectangle")
    erase_area: tuple[float, float] = setting((0.02, 0.33), "smallest and largest area of the rectangle, as a share of the image")
    erase_ratio: tuple[float, float] = setting((0.3, 3.3), "smallest and largest height/width of the rectangle")
    erase_ratio_law: Literal["log_uniform", "uniform"] = setting("log_uniform", "how that height/width is drawn: its logarithm uniformly, as often tall as wide (torchvision, fast-reid), or itself (the BoT and AGW repositories: tall ones more often)")
    erase_fill: Literal["mean", "normalised"] = setting("mean", "value of the rectangle: mean (image.mean, which is 0 after normalising), or normalised (the numbers of image.mean put in after normalising, as the BoT repository does)")
    mean: tuple[float, float, float] = setting((0.485, 0.456, 0.406), "mean of the R, G and B intensities in [0, 1], subtracted")
    std: tuple[float, float, float] = setting((0.229, 0.224, 0.225), "standard deviation of the R, G and B intensities in [0, 1], divided by")

    def __post_init__(self) -> None:
        conform_fields(self, "image.")
        _require(min(self.height, self.width) >= 16, "image.height and image.width", (self.height, self.width), "at least 16 pixels each")
        for name in ("flip", "erase"):
            _require(0 <= getattr(self, name) <= 1, f"image.{name}", getattr(self, name), "a probability in [0, 1]")
        _require(self.pad >= 0, "image.pad", self.pad, "0 or more pixels")
        _require(0 < self.erase_area[0] <= self.erase_area[1] < 1, "image.erase_area", self.erase_area, "0 < smallest <= largest < 1")
        _require(0 < self.erase_ratio[0] <= self.erase_ratio[1], "image.erase_ratio", self.erase_ratio, "0 < smallest <= largest")
        _require(min(self.std) > 0, "image.std", self.std, "positive numbers")


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
        _require(self.width >= 0, "model.width", self.width, "1 or more channels, or 0 for the width of the trunk's name")
        if self.pretrain not in get_args(PretrainSource) and not self.pretrain.endswith(".safetensors"):
            named = no_such("source of weights", self.pretrain, get_args(PretrainSource))
            raise JointreidError(f"model.pretrain: {named} (a file is given as FILE.safetensors)")
        for name in ("classifier_std", "gem_p"):
            _require(0 < getattr(self, name) < math.inf, f"model.{name}", getattr(self, name), "a positive number")
        _require(self.nonlocal_reduction >= 0, "model.nonlocal_reduction", self.nonlocal_reduction, "0 or more")


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
    context_init: Literal["auto", "default", "zero_last"] = setting("auto", "initial last layer of the domain and camera MLPs, or with context network the layer by which its vectors enter a block: default (random), zero_last (0, so that the filters start from the sample alone), or auto (with base none 0 if the loaded weights were trained without these layers, else random)")
    base: Base = setting("none", "kernel that is independent of the image, beside the generated one: none (the paper), or static (W0 + gain x generated; W0 is the convolution that the plain network has there, and starts from its weights)")
    gain_relative: bool = setting(False, "base static: the gain of a channel is relative to the size of its W0, the root of the mean square of its taps")
    generated_start: Literal["gain", "zeros"] = setting("gain", "base static: how the generated kernel starts from nothing: gain (a learnt gain per channel, 0 at the start, under FilterNorm), or zeros (no gain and no FilterNorm, and 0 in the last layer of the channel branch)")
    context: ContextSource = setting("block", "source of the domain and camera vectors: block (MLPs in every block, from the mean of its map: the paper), block-stats (the same, from mean and standard deviation), network (one context network that sees the image), or labels (the true domain and camera, also at test: a control, not a method)")
    inject: Inject = setting("kernel", "what one context for all blocks changes in each of them: kernel (a generated kernel is added to the static one), film (a control: scale and shift of the static convolution's output by a linear layer from the context), or norm (a control: batch normalisation per domain of that output, mixed by the predicted domain). The controls generate no kernel, so settings of the generated kernel do not matter to them")
    context_stages: tuple[int, ...] = setting((), "stages of the trunk whose blocks get domain and camera, counted from 1; empty for all. [1,2,3] keeps them from the last stage of a ResNet")
    camera_shrinkage: float = setting(0.0, "one context for all blocks: a camera vector is multiplied by n / (n + this), n being the train images of the camera, so that of a rare one little more is left than its domain's vector; 0 never shrinks")
    context_dropout: float = setting(0.0, "share of training images whose domain and camera vectors are set to 0 in every block, so that the network learns to do without")
    hidden_floor: int = setting(0, "hidden width of the channel branch at least, whatever squeeze says; 0 for no floor")
    decay_generators: bool = setting(True, "weight decay on the generators too: both branches, the layer by which a context enters them, and the gain")

    def __post_init__(self) -> None:
        conform_fields(self, "dcsd.")
        _require(self.kernel_size % 2 == 1 and self.kernel_size >= 3, "dcsd.kernel_size", self.kernel_size, "an odd number >= 3 (FilterNorm has no spread over one tap)")
        _require(0 < self.squeeze <= 1, "dcsd.squeeze", self.squeeze, "a share in (0, 1]")
        _require(self.mlp_reduction >= 1, "dcsd.mlp_reduction", self.mlp_reduction, "1 or more")
        _require("sample" in self.factors and len(set(self.factors)) == len(self.factors), "dcsd.factors", self.factors, "sample, and at most domain and camera, each once")
        _require(self.eps > 0, "dcsd.eps", self.eps, "a positive number")
        _require(0 <= self.context_dropout < 1, "dcsd.context_dropout", self.context_dropout, "a share in [0, 1)")
        _require(len(set(self.context_stages)) == len(self.context_stages) and all(n >= 1 for n in self.context_stages), "dcsd.context_stages", self.context_stages, "numbers of stages from 1, each once")
        _require(0 <= self.camera_shrinkage < math.inf, "dcsd.camera_shrinkage", self.camera_shrinkage, "0 or more images")
        _require(self.hidden_floor >= 0, "dcsd.hidden_floor", self.hidden_floor, "0 or more")

    @property
    def needs_context(self) -> bool:
        """Whether the model passes a context to every block: one context for all of them, or which images go without."""
        return self.factors != ("sample",) and (self.context in ("network", "labels") or self.context_dropout > 0)


@dataclass(frozen=True)
class LossConfig:
    """The loss: the terms of Eq. 5 and their weights."""

    kind: str = setting("paper", "paper (Eq. 5, with the terms below), or a custom one, my_package.module:function", custom=True)
    triplet: Literal["batch_hard", "wrt"] = setting("batch_hard", "triplet term: batch_hard (BoT, Eq. 3), or wrt (AGW's weighted regularised triplet, without a margin)")
    wrt_numerics: TripletNumerics = setting("stable", "softmax weights of wrt: stable, or as in the published code, which loses the negatives when all are far away")
    mining: Mining = setting("any", "negatives of the triplet term: any identity, within the anchor's data set, or across, of other data sets; an anchor that has none in its batch is left out of the mean")
    margin: float = setting(0.3, "margin of batch_hard, in distance of embeddings")
    context_labels: ContextLabels = setting("correct", "labels that train domain and camera: correct, or shuffled (a control: those of another image of the batch, so that nothing can be learnt of them)")
    id_head: IdHead = setting("softmax", "identity term: softmax over the identities of all data sets, masked (over those of the image's own data set), or per_domain (the same, with a mean for each data set, which count alike)")
    id_smoothing: float = setting(0.1, "label smoothing of the identity term")
    aux_smoothing: float = setting(0.0, "label smoothing of the domain and camera terms")
    w_triplet: float = setting(1.0, "weight of the triplet term (Eq. 3)")
    w_id: float = setting(1.0, "weight of the identity term (Eq. 4)")
    w_domain: float = setting(1.0, "weight of the domain term, the mean over blocks")
    w_camera: float = setting(1.0, "weight of the camera term, the mean over blocks")
    snr: bool = setting(True, "bot-snr: add the dual causality loss of its modules")
    w_snr: tuple[float, float, float, float] = setting((0.1, 0.1, 0.5, 0.5), "weights of the dual causality loss after each of the four stages")

    def __post_init__(self) -> None:
        conform_fields(self, "loss.")
        require_known_or_custom("loss.kind", "loss", self.kind, ("paper",))
        for name in ("id_smoothing", "aux_smoothing"):
            _require(0 <= getattr(self, name) < 1, f"loss.{name}", getattr(self, name), "a share in [0, 1)")
        for name in ("margin", "w_triplet", "w_id", "w_domain", "w_camera"):
            _require(getattr(self, name) >= 0, f"loss.{name}", getattr(self, name), "0 or more")
        _require(min(self.w_snr) >= 0, "loss.w_snr", self.w_snr, "weights of 0 or more")


@dataclass(frozen=True)
class SamplerConfig:
    """Images that share a batch."""

    kind: str = setting("union_pk", "union_pk (P x K over all data sets as if they were one), interleaved (the same, with each data set and identity spread evenly over a pass); as interleaved, id_uniform (each identity equally often), domain_balanced (each data set equally often), domain_temperature (between the two, see temperature), domain_weighted (see domain_weights); grouped_domains (batches of few data sets, see domains_per_batch); or a custom one, my_package.module:function", custom=True)
    ids_per_batch: int = setting(16, "identities in a batch (P)")
    images_per_id: int = setting(4, "images of each identity in a batch (K)")
    temperature: float = setting(2.0, "domain_temperature: data sets appear in proportion to their size to the power of 1 / this; 1 for their size, large for all alike")
    domain_weights: tuple[str, ...] = setting((), "domain_weighted: how often each data set appears, NAME=WEIGHT for each; only ratios matter", metavar="[NAME=WEIGHT,...]")
    domains_per_batch: int = setting(2, "grouped_domains: data sets in a batch; 1 for batches of one")

    def __post_init__(self) -> None:
        conform_fields(self, "sampler.")
        require_known_or_custom("sampler.kind", "sampler", self.kind, get_args(SamplerKind))
        _require(self.ids_per_batch >= 2, "sampler.ids_per_batch", self.ids_per_batch, "at least 2: a triplet needs a negative")
        _require(self.images_per_id >= 2, "sampler.images_per_id", self.images_per_id, "at least 2: a triplet needs a positive")
        _require(1 <= self.temperature < math.inf, "sampler.temperature", self.temperature, "a number of 1 or more")
        _require(self.domains_per_batch >= 1, "sampler.domains_per_batch", self.domains_per_batch, "1 or more")
        names = [_weighted_name(text) for text in self.domain_weights]
        _require(len(set(names)) == len(names), "sampler.domain_weights", self.domain_weights, "each data set once")

    @property
    def batch_size(self) -> int:
        """Images in a batch."""
        return self.ids_per_batch * self.images_per_id


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate over time."""

    kind: Literal["paper", "fastreid", "bot-repo"] = setting("paper", "paper: decay after the milestones as printed; fastreid: milestones count from the end of warm-up; bot-repo: lr changes between epochs only")
    epochs: int = setting(120, "epochs to train; epoch_length says how long one is")
    epoch_length: EpochLength = setting("images", "batches of an epoch: images, floor(train images / batch), as in fast-reid; pass, as many as one pass of the sampler has, as in the BoT and AGW repositories (3-7 % fewer on most data sets, 16 % on CUHK03). A custom sampler has its own length")
    milestones: tuple[int, ...] = setting((40, 90), "epochs after which lr is multiplied by gamma")
    gamma: float = setting(0.1, "factor at each milestone")
    warmup_epochs: int = setting(10, "epochs of linear warm-up; 0 for none")
    warmup_max_iters: int = setting(2000, "steps of warm-up at most")
    warmup_factor: float = setting(0.1, "share of lr that warm-up starts from")

    def __post_init__(self) -> None:
        conform_fields(self, "schedule.")
        _require(self.epochs >= 1, "schedule.epochs", self.epochs, "1 or more")
        _require(list(self.milestones) == sorted(set(self.milestones)) and all(m >= 1 for m in self.milestones), "schedule.milestones", self.milestones, "rising epochs >= 1")
        _require(0 < self.gamma <= 1, "schedule.gamma", self.gamma, "a factor in (0, 1]")
        _require(self.warmup_epochs >= 0 and self.warmup_max_iters >= 0, "schedule.warmup_*", (self.warmup_epochs, self.warmup_max_iters), "0 or more")
        _require(0 < self.warmup_factor <= 1, "schedule.warmup_factor", self.warmup_factor, "a share in (0, 1]")


@dataclass(frozen=True)
class OptimConfig:
    """Adam, as in BoT."""

    lr: float = setting(3.5e-4, "learning rate after warm-up")
    weight_decay: float = setting(5e-4, "L2 penalty on every parameter, added to the gradient")
    bias_lr_factor: float = setting(1.0, "learning rate of biases, as a multiple of lr")
    clip_norm: float = setting(0.0, "largest gradient norm; 0 never clips")
    generator_lr: float = setting(1.0, "learning rate of what generates kernels (both branches, the gain, the domain and camera MLPs or the context network), as a multiple of lr")

    def __post_init__(self) -> None:
        conform_fields(self, "optim.")
        _require(self.lr > 0 and math.isfinite(self.lr), "optim.lr", self.lr, "a positive number")
        for name in ("weight_decay", "bias_lr_factor", "clip_norm", "generator_lr"):
            _require(getattr(self, name) >= 0, f"optim.{name}", getattr(self, name), "0 or more")


@dataclass(frozen=True)
class TrainConfig:
    """Training: where, how long and in which arithmetic."""

    out: str = setting("", "run directory; empty: runs/<label>-<hash8>", metavar="DIR", short="--out")
    label: str = setting("", "name of the run in tables; empty: the name of the recipe")
    seed: int = setting(0, "seed of weights, batches and augmentation")
    device: Device = setting("auto", "device; auto takes cuda, then mps, then cpu", short="--device")
    precision: Literal["auto", Precision] = setting("auto", "precision of the network (losses are in fp32); auto: bf16-mixed on GPUs that have it, else 32-true", short="--precision")
    compile: Compile = setting("auto", "torch.compile the network, which takes a minute or more before the first step; auto: on CUDA only")
    accumulate: int = setting(1, "batches whose gradients are averaged for one step")
    ema: float = setting(0.0, "decay per step of a moving average of the weights, which is what evaluation uses; 0 for none")
    eval_every: int = setting(10, "epochs between evaluations on every domain; 0 for the end only")
    save_every: int = setting(200, "steps between saves of the checkpoint `last`; it is also saved at the end, with 0 only there")
    log_every: int = setting(20, "steps between lines of metrics.jsonl")
    log_domains: bool = setting(True, "log the identity loss of each data set too, for the report of `conflict`")
    max_steps: int = setting(0, "stop at this step, with the schedule unchanged; 0 for no limit", short="--max-steps")
    minutes: float = setting(0.0, "stop after this many minutes and save; 0 for no limit", short="--minutes")
    resume: bool = setting(False, "resume the run in train.out, or the one that --resume RUN names", short="--resume")
    init: str = setting("", "run directory or .safetensors file with the weights to start from; heads start anew", metavar="RUN", short="--init")
    init_classes: bool = setting(False, "init names a run: identities, domains and cameras that it knows keep the rows of its classifiers; the other rows start anew")
    deterministic: bool = setting(False, "refuse operations whose results differ from run to run", short="--deterministic")
    workers: int = setting(2, "threads that decode images")
    devices: int = setting(1, "processes on each machine, each with its own GPU, or a share of the CPU cores; torchrun and SLURM set it themselves", short="--devices")
    nodes: int = setting(1, "machines; start several by torchrun or SLURM, or on each by hand with MASTER_ADDR, MASTER_PORT and NODE_RANK", short="--nodes")
    batch: Literal["global", "per_process"] = setting("global", "several processes: global, they share the P identities of a batch, or per_process, each has P identities and lr is multiplied by the number of processes")
    gather: bool = setting(False, "several processes: compute the loss, and so its triplets, on the outputs of all processes instead of on each part of the batch")
    sync_bn: bool = setting(False, "several GPUs: batch normalisation with the statistics of the whole batch instead of each part")

    def __post_init__(self) -> None:
        conform_fields(self, "train.")
        _require(self.accumulate >= 1, "train.accumulate", self.accumulate, "1 or more batches")
        _require(0 <= self.ema < 1, "train.ema", self.ema, "a decay in [0, 1)")
        for name in ("eval_every", "save_every", "max_steps", "minutes"):
            _require(getattr(self, name) >= 0, f"train.{name}", getattr(self, name), "0 or more")
        for name in ("log_every", "workers", "devices", "nodes"):
            _require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "1 or more")


@dataclass(frozen=True)
class EvalConfig:
    """Evaluation of a model."""

    batch_size: int = setting(64, "images in a forward pass")
    metric: Metric = setting("cosine", "distance between embeddings")
    flip: bool = setting(False, "average the embeddings of an image and its mirror image; off in the paper")
    rerank: bool = setting(False, "re-rank by k-reciprocal neighbours (k1 20, k2 6, lambda 0.3); off in the paper")
    max_memory: int = setting(2**30, "bytes of memory for one block of distances")

    def __post_init__(self) -> None:
        conform_fields(self, "eval.")
        _require(self.batch_size >= 1, "eval.batch_size", self.batch_size, "1 or more")
        _require(self.max_memory >= 2**20, "eval.max_memory", self.max_memory, "at least 1 MiB")


@dataclass(frozen=True)
class RunConfig:
    """All settings of a run, in sections."""

    data: DataConfig = field(default_factory=DataConfig)
    image: ImageConfig = field(default_factory=ImageConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    dcsd: DcsdConfig = field(default_factory=DcsdConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        told = self.model.name.endswith("-dcsd") and self.dcsd.context == "labels"
        _require(not told or self.loss.context_labels == "correct", "loss.context_labels", self.loss.context_labels, "correct with dcsd.context labels, which predicts neither domain nor camera")

    def replace(self, **sections: Mapping[str, Any]) -> "RunConfig":
        """Return a copy with the named fields changed: `config.replace(optim={"lr": 1e-3})`.

        Raises:
            JointreidError: a section or field does not exist (the message names the nearest), or a value is of another
                type or out of range.
        """
        changed: dict[str, Any] = {}
        for name, fields in sections.items():
            if name not in SECTIONS:
                raise JointreidError(no_such("section", name, SECTIONS))
            for key in fields:
                if f"{name}.{key}" not in all_keys():
                    raise JointreidError(no_such("setting", f"{name}.{key}", all_keys()))
            changed[name] = dataclasses.replace(getattr(self, name), **fields)
        return dataclasses.replace(self, **changed)


SECTIONS: dict[str, Any] = {f.name: f.default_factory for f in dataclasses.fields(RunConfig)}


# Settings that runs and hashes of format version 1 may lack: left at its default, such a setting changes no hash.
ADDED_LATER = (
    ("image", "erase_ratio_law"),
    ("schedule", "epoch_length"),
    ("model", "width"),
    ("model", "depthwise"),
    ("model", "stem_pool"),
    ("train", "log_domains"),
    ("loss", "mining"),
    ("loss", "id_head"),
    ("loss", "context_labels"),
    ("dcsd", "inject"),
    ("dcsd", "context_stages"),
    ("dcsd", "camera_shrinkage"),
    ("data", "places"),
    ("data", "leave_out_cameras"),
    ("sampler", "temperature"),
    ("sampler", "domain_weights"),
    ("sampler", "domains_per_batch"),
    ("dcsd", "base"),
    ("dcsd", "gain_relative"),
    ("dcsd", "generated_start"),
    ("dcsd", "context"),
    ("dcsd", "context_dropout"),
    ("dcsd", "hidden_floor"),
    ("dcsd", "decay_generators"),
    ("optim", "generator_lr"),
    ("train", "init_classes"),
)


def all_keys() -> list[str]:
    """Return all keys, `section.field`, in order."""
    return [f"{name}.{f.name}" for name, section in SECTIONS.items() for f in dataclasses.fields(section)]


def to_dict(config: RunConfig) -> dict[str, dict[str, Any]]:
    """Return the settings as plain dicts, lists and numbers, for YAML and JSON."""
    plain: dict[str, dict[str, Any]] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def from_dict(plain: Mapping[str, Mapping[str, Any]], base: RunConfig | None = None) -> RunConfig:
    """Return the settings that `to_dict` wrote; fields that are missing are taken from `base`, or are the defaults.

    Raises:
        JointreidError: an unknown key, or a value of another type or out of range.
    """
    return (base or RunConfig()).replace(**plain)


def config_difference(a: RunConfig, b: RunConfig) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, as `{"section.field": (value in a, value in b)}`."""
    values_a, values_b = ({f"{s}.{k}": v for s, fields in to_dict(c).items() for k, v in fields.items()} for c in (a, b))
    return {key: (values_a[key], values_b[key]) for key in values_a if values_a[key] != values_b[key]}


def config_hash(config: RunConfig) -> str:
    """Return eight hex digits that depend on what is computed, not on where it is written or computed."""
    plain = to_dict(config)
    for name in ("out", "label", "resume", "workers", "device", "compile"):
        del plain["train"][name]
    processes = plain["train"].pop("devices") * plain["train"].pop("nodes")
    if processes == 1:  # these are about several processes
        for name in ("batch", "gather", "sync_bn"):
            del plain["train"][name]
    else:
        plain["train"]["processes"] = processes
    del plain["data"]["cache_mode"]
    plain["data"]["cache"] = plain["data"]["cache"] or FORMER_CACHE  # the default when hashes began
    defaults = to_dict(RunConfig())
    for section, name in ADDED_LATER:
        if plain[section][name] == defaults[section][name]:
            del plain[section][name]
    return text_sha256(json.dumps(plain, sort_keys=True))[:8]
