"""The context: what the generators of all blocks are told about where each image comes from.

In the paper every block predicts its own domain and camera vectors from its map. Here one small network of its own
predicts them, from what light, colour, blur and style are made of: means and standard deviations over positions. Only
domain and camera labels train it, so it asks nothing of the trunk, which has to forget where an image comes from.

Letters: B images of a batch, H x W positions, V numbers of a vector.
"""

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from jointreid.config import DcsdConfig, Factor
from jointreid.models.context_trust import ContextTrust
from jointreid.models.initial import init_for_relu
from jointreid.models.pooling import mean_and_deviation

VECTOR = 32  # V
HIDDEN = 128
CHANNELS = (16, 32, 64)


class FactorLogits(NamedTuple):
    """Predictions about where each image comes from; None without such a head.

    Attributes:
        domain: [B, num_domains], or None.
        camera: [B, num_cameras], over the global camera ids of Fig. 3, or None.
    """

    domain: Tensor | None
    camera: Tensor | None


class Origins(NamedTuple):
    """The true domain and camera of each image, for `dcsd.context labels`; -1 for one that training has not seen.

    Attributes:
        domain_ids: int64 [B].
        global_camids: int64 [B].
    """

    domain_ids: Tensor
    global_camids: Tensor


class Context(NamedTuple):
    """What all blocks are told; None in each place tells nothing.

    Attributes:
        vector: [B, V], of a context network; None lets every block predict its own vectors.
        kept: bool [B], for blocks that predict their own vectors: False for an image whose vectors are to be zero.
        posterior: [B, domains], how likely each domain is, with `dcsd.inject norm`; None tells nothing.
    """

    vector: Tensor | None = None
    kept: Tensor | None = None
    posterior: Tensor | None = None


class PredictedContext(NamedTuple):
    """Vectors of a batch, as they enter the generators, and the logits that train them.

    Attributes:
        domain: [B, V]; None without this factor.
        camera: [B, V]; None without this factor.
        logits: of the two classifiers.
        posterior: [B, num_domains], how likely each domain is; None without `dcsd.inject norm`.
    """

    domain: Tensor | None
    camera: Tensor | None
    logits: FactorLogits
    posterior: Tensor | None = None

    @property
    def vector(self) -> Tensor:
        """The sum of the vectors [B, V]."""
        vectors = [vector for vector in (self.domain, self.camera) if vector is not None]
        return sum(vectors[1:], start=vectors[0])

    def trusted(self, trust: Tensor) -> "PredictedContext":
        """Return it with less in it: its vectors times a number, its posterior mixed with one that knows nothing.

        Args:
            trust: how far the domain and the camera are trusted, [2], in [0, 1].
        """
        domain, camera = (
            None if vector is None else vector * part.to(vector.dtype)
            for vector, part in zip((self.domain, self.camera), trust, strict=True)
        )
        posterior = self.posterior
        if posterior is not None:
            posterior = torch.lerp(torch.full_like(posterior, 1 / posterior.shape[1]), posterior, trust[0])
        return PredictedContext(domain, camera, self.logits, posterior)

    def told(self, kept: Tensor | None = None) -> Context:
        """Return what all blocks are told: nothing of the images that do not keep their context.

        Args:
            kept: bool [B]; False sets the vector to 0 and makes all domains equally likely. None keeps all.
        """
        if kept is None:
            return Context(self.vector, posterior=self.posterior)
        posterior = self.posterior
        if posterior is not None:
            posterior = torch.where(kept[:, None], posterior, 1 / posterior.shape[1])
        return Context(zero_where_dropped(self.vector, kept), posterior=posterior)


def at_most_one_long(domain: Tensor | None, camera: Tensor | None) -> tuple[Tensor | None, Tensor | None]:
    """Return the vectors [B, V] of domain and camera, both shortened so that their sum has a length of 1 at most.

    What shrinks them afterwards, such as `ContextTrust`, then shrinks the sum as far.
    """
    vectors = [vector.float() for vector in (domain, camera) if vector is not None]
    if not vectors:
        return domain, camera
    share = 1 / sum(vectors[1:], start=vectors[0]).norm(dim=1, keepdim=True).clamp_min(1)
    short = (None if vector is None else (vector.float() * share).to(vector.dtype) for vector in (domain, camera))
    return next(short), next(short)


def zero_where_dropped(vectors: Tensor, kept: Tensor) -> Tensor:
    """Return vectors [B, any], 0 for images that do not keep theirs (kept, bool [B])."""
    return vectors * kept[:, None].to(vectors.dtype)


def used_factors(config: DcsdConfig, num_domains: int, num_cameras: int) -> tuple[Factor, ...]:
    """Return domain and camera, as far as the settings and the number of classes leave them."""
    classes: dict[Factor, int] = {"domain": num_domains, "camera": num_cameras}
    drop = config.degenerate_heads == "drop"
    return tuple(name for name, n in classes.items() if name in config.factors and not (drop and n == 1))


class VectorHead(nn.Module):
    """A vector of an image's domain, or of its camera, and the classifier that gives it its meaning in training."""

    classifier: nn.Linear | None

    def __init__(self, num_classes: int, config: DcsdConfig) -> None:
        super().__init__()
        self.fc = nn.Linear(HIDDEN, VECTOR)
        self.classifier = nn.Linear(VECTOR, num_classes, bias=config.cls_bias)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor | None]:
        """Map [B, 128] to the vector [B, V] and its logits [B, num_classes] (None once pruned)."""
        vector = self.fc(hidden)
        return vector, None if self.classifier is None else self.classifier(vector)


class CameraShrinkage(nn.Module):
    """Shrink the vectors of cameras with few train images, so that little more than their domain's vector is left.

    A camera of n train images keeps n / (n + k) of its vector, k being `dcsd.camera_shrinkage`: with 48 images of a
    camera and k = 48 a half. An image gets the mean of these shares, weighted by how likely each camera is.

    Args:
        num_cameras: of the training set, over all domains.
        images: k.

    Attributes:
        kept: the share that each camera keeps, [num_cameras]; 1 until `set_counts`. Saved with the weights.
    """

    kept: Tensor

    def __init__(self, num_cameras: int, images: float) -> None:
        super().__init__()
        self.images = images
        self.register_buffer("kept", torch.ones(num_cameras))

    def set_counts(self, counts: Tensor) -> None:
        """Take the number of train images of each camera, [num_cameras]."""
        self.kept.copy_(counts / (counts + self.images))

    def forward(self, vector: Tensor, posterior: Tensor) -> Tensor:
        """Map camera vectors [B, V] and how likely each camera is [B, num_cameras] to the shrunken vectors."""
        share = (posterior * self.kept).sum(1)  # autocast would compute a matrix product in half precision
        return vector * share[:, None].to(vector.dtype)


class ContextNetwork(nn.Module):
    """Predict an image's domain and camera from the image itself, as two vectors (`dcsd.context network`).

    Three 3x3 convolutions of stride 2 with ReLU; mean and standard deviation of the input and of each map, batch
    normalisation, and a hidden layer.

    Args:
        num_domains: classes of the domain head.
        num_cameras: classes of the camera head.
        config: the factors, whether the vectors go on without their gradient (`stop_gradient`), and what of them.

    Attributes:
        shrinkage: shrinks the camera vectors; None without `dcsd.camera_shrinkage`.
        trust: shrinks both by what it knows; None without `dcsd.context_held_out`.
    """

    domain: VectorHead | None
    camera: VectorHead | None

    def __init__(self, num_domains: int, num_cameras: int, config: DcsdConfig) -> None:
        super().__init__()
        self.stop_gradient = config.stop_gradient
        channels = (3, *CHANNELS)
        pairs = zip(channels, CHANNELS, strict=False)
        self.convs = nn.ModuleList(nn.Conv2d(before, after, 3, 2, padding=1) for before, after in pairs)
        for conv in self.convs:
            init_for_relu(cast(nn.Conv2d, conv).weight)
            nn.init.zeros_(cast(Tensor, conv.bias))
        statistics = 2 * sum(channels)
        self.norm = nn.BatchNorm1d(statistics)
        self.hidden = nn.Linear(statistics, HIDDEN)
        factors = used_factors(config, num_domains, num_cameras)
        self.domain = VectorHead(num_domains, config) if "domain" in factors else None
        self.camera = VectorHead(num_cameras, config) if "camera" in factors else None
        self.shrinkage = CameraShrinkage(num_cameras, config.camera_shrinkage) if config.camera_shrinkage else None
        self.trust = ContextTrust(config.context_held_out) if config.context_held_out else None
        self.names_domains = config.inject == "norm"
        self.limits_length = config.inject == "film"

    def forward(self, images: Tensor) -> PredictedContext:
        """Map normalised images [B, 3, H, W] to their vectors and logits."""
        x, statistics = images, [mean_and_deviation(images)]
        for conv in self.convs:
            x = functional.relu(conv(x))
            statistics.append(mean_and_deviation(x))
        hidden = functional.relu(self.hidden(self.norm(torch.cat(statistics, dim=1))))  # B 128
        domain, domain_logits = (None, None) if self.domain is None else self.domain(hidden)
        camera, camera_logits = (None, None) if self.camera is None else self.camera(hidden)
        if self.stop_gradient:
            domain, camera = (None if vector is None else vector.detach() for vector in (domain, camera))
        if self.limits_length:
            domain, camera = at_most_one_long(domain, camera)
        if self.shrinkage is not None and camera is not None and camera_logits is not None:
            camera = self.shrinkage(camera, camera_logits.detach().float().softmax(1))
        posterior = None
        if self.names_domains and domain_logits is not None:
            posterior = domain_logits.detach().float().softmax(1)
        predicted = PredictedContext(domain, camera, FactorLogits(domain_logits, camera_logits), posterior)
        return predicted if self.trust is None else predicted.trusted(self.trust())

    def prune_heads(self) -> None:
        """Drop the classifiers, for deployment: the vectors stay the same and the logits become None.

        One whose prediction the blocks or the shrinkage are told stays.
        """
        if self.domain is not None and not self.names_domains:
            self.domain.classifier = None
        if self.camera is not None and self.shrinkage is None:
            self.camera.classifier = None


class LabelContext(nn.Module):
    """Learn a vector of every domain and every camera (`dcsd.context labels`): what perfect knowledge would bring.

    A control: it needs the labels of test images too. The task trains the vectors; there is nothing to predict.

    Args:
        num_domains: of the training set.
        num_cameras: of the training set, over all domains.
        config: the factors, and what of them.

    Attributes:
        shrinkage: shrinks the camera vectors; None without `dcsd.camera_shrinkage`.
    """

    domain: nn.Embedding | None
    camera: nn.Embedding | None

    def __init__(self, num_domains: int, num_cameras: int, config: DcsdConfig) -> None:
        super().__init__()
        factors = used_factors(config, num_domains, num_cameras)
        self.domain = nn.Embedding(num_domains, VECTOR) if "domain" in factors else None
        self.camera = nn.Embedding(num_cameras, VECTOR) if "camera" in factors else None
        self.shrinkage = CameraShrinkage(num_cameras, config.camera_shrinkage) if config.camera_shrinkage else None
        self.num_domains = num_domains if config.inject == "norm" else 0
        self.limits_length = config.inject == "film"
        self.requires_grad_(config.inject != "norm")  # which is told the domain itself, not its vector

    def forward(self, origins: Origins) -> PredictedContext:
        """Map labels to vectors, 0 for a label of -1; there are no logits."""
        domain, camera = (
            None if table is None else table(ids.clamp(min=0)) * (ids >= 0)[:, None]
            for table, ids in zip((self.domain, self.camera), origins, strict=True)
        )
        if self.limits_length:
            domain, camera = at_most_one_long(domain, camera)
        if self.shrinkage is not None and camera is not None:
            camera = camera * self.shrinkage.kept[origins.global_camids.clamp(min=0)][:, None]
        posterior = _one_hot(origins.domain_ids, self.num_domains) if self.num_domains else None
        return PredictedContext(domain, camera, FactorLogits(None, None), posterior)


def _one_hot(domain_ids: Tensor, num_domains: int) -> Tensor:
    """Return how likely each domain is, [B, num_domains]: 0 and 1, and all alike for a domain of -1."""
    known = functional.one_hot(domain_ids.clamp(min=0), num_domains).float()
    return torch.where((domain_ids >= 0)[:, None], known, 1 / num_domains)


def context_module(config: DcsdConfig, num_domains: int, num_cameras: int) -> ContextNetwork | LabelContext | None:
    """Return what gives all blocks their context; None where every block predicts its own, or no factor needs one."""
    if not used_factors(config, num_domains, num_cameras):
        return None
    if config.context == "network":
        return ContextNetwork(num_domains, num_cameras, config)
    return LabelContext(num_domains, num_cameras, config) if config.context == "labels" else None
