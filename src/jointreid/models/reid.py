"""The network from images to embeddings, trunk -> pool -> BNNeck -> classifier, and the systems made of it.

Letters: B images, D numbers of an embedding.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from jointreid.config import DcsdConfig, ModelConfig, SystemName
from jointreid.messages.errors import JointreidError, no_such
from jointreid.models.agw import GeM, NonLocal
from jointreid.models.context import (
    Context,
    ContextNetwork,
    FactorLogits,
    LabelContext,
    Origins,
    PredictedContext,
    context_module,
)
from jointreid.models.context_trust import ContextTrust
from jointreid.models.controls import ContextConv
from jointreid.models.dcsd import DCSD
from jointreid.models.families import build_trunk
from jointreid.models.norms import SNR, InstanceNorm, Restitution
from jointreid.models.pooling import global_average_pool
from jointreid.models.resnet import PLAIN, Additions, StemPool
from jointreid.models.trunk import Trunk, TrunkOutput


class ModelOutput(NamedTuple):
    """Output of a model, for the losses and the retrieval; nothing in it depends on a label.

    (With `dcsd.context labels`, a control, the embeddings depend on the domain and camera that were given.)

    Attributes:
        embedding: [B, D], fp32, before BNNeck: the triplet's feature.
        bn_embedding: [B, D], fp32, after BNNeck: the feature to search with, by cosine.
        id_logits: [B, num_ids].
        factor_logits: one per DCSD, from input to output; those of a context network alone; empty without either.
        restitutions: one per SNR module, from input to output; empty without, and in evaluation.
    """

    embedding: Tensor
    bn_embedding: Tensor
    id_logits: Tensor
    factor_logits: tuple[FactorLogits, ...]
    restitutions: tuple[Restitution, ...] = ()


class ReIDModel(nn.Module):
    """A trunk with the BNNeck head of BoT.

    Args:
        trunk: images -> `TrunkOutput`.
        num_ids: identities of the training set.
        classifier_std: standard deviation of the classifier's initial weights.
        pool: feature map [B, D, H, W] -> embedding [B, D].
        context: gives all DCSDs of the trunk one context; None where each predicts its own.
    """

    def __init__(
        self,
        trunk: Trunk,
        num_ids: int,
        classifier_std: float = 0.01,
        pool: Callable[[Tensor], Tensor] = global_average_pool,
        context: ContextNetwork | LabelContext | None = None,
    ) -> None:
        super().__init__()
        self.trunk = trunk
        self.context = context
        self.pool = pool
        self.bnneck = nn.BatchNorm1d(trunk.out_channels)
        self.bnneck.bias.requires_grad_(False)  # stays 0: the classifier's hyperplanes then pass through the origin
        self.classifier = nn.Linear(trunk.out_channels, num_ids, bias=False)
        nn.init.normal_(self.classifier.weight, std=classifier_std)

    def forward(
        self, images: Tensor, origins: Origins | None = None, keeps_context: Tensor | None = None
    ) -> ModelOutput:
        """Map normalised images [B, 3, H, W] to embeddings and logits.

        Args:
            images: the images.
            origins: where they come from; only a model with `needs_origins` reads it, and takes none for unknown.
            keeps_context: bool [B], False for an image whose context is to be zero; None for none. Evaluation mode
                ignores it.
        """
        predicted = self.predict_context(images, origins)
        feature_map, factor_logits, restitutions = self._run_trunk(images, predicted, keeps_context)
        if predicted is not None:
            factor_logits = (predicted.logits,)
        embedding = self.pool(feature_map)  # B D
        bn_embedding = self.bnneck(embedding)  # B D
        id_logits = self.classifier(bn_embedding)  # B num_ids
        return ModelOutput(embedding, bn_embedding, id_logits, factor_logits, restitutions)

    def feature_map(self, images: Tensor, origins: Origins | None = None) -> Tensor:
        """Return the map that `pool` makes the embedding of, [B, D, H/16, W/16] with last stride 1; see `forward`."""
        return self._run_trunk(images, self.predict_context(images, origins))[0]

    def _run_trunk(
        self, images: Tensor, predicted: PredictedContext | None, keeps_context: Tensor | None = None
    ) -> TrunkOutput:
        context = self._context_of(predicted, keeps_context)
        # A custom trunk without a context takes the images alone.
        output: TrunkOutput = self.trunk(images) if context is None else self.trunk(images, context)
        return output

    @property
    def needs_origins(self) -> bool:
        """Whether the true domain and camera of each image are an input: `dcsd.context labels`."""
        return isinstance(self.context, LabelContext)

    def predict_context(self, images: Tensor, origins: Origins | None = None) -> PredictedContext | None:
        """Return the domain and camera vectors of images; None where every block predicts its own, or none does.

        Args:
            images: normalised, [B, 3, H, W].
            origins: see `forward`.
        """
        if isinstance(self.context, LabelContext):
            unknown = torch.full((len(images),), -1, device=images.device)
            return self.context(origins or Origins(unknown, unknown))  # type: ignore[no-any-return]
        return None if self.context is None else self.context(images)

    def _context_of(self, predicted: PredictedContext | None, keeps_context: Tensor | None) -> Context | None:
        """Return what the blocks are told: the context of the images that keep theirs; None for nothing."""
        kept = keeps_context if self.training else None
        if predicted is not None:
            return predicted.told(kept)
        return None if kept is None else Context(kept=kept)

    def set_camera_images(self, counts: Tensor) -> None:
        """Take the number of train images of each camera, [num_cameras], which `dcsd.camera_shrinkage` asks for."""
        if self.context is not None and self.context.shrinkage is not None:
            self.context.shrinkage.set_counts(counts)

    @property
    def context_trust(self) -> ContextTrust | None:
        """What measures how much the context network knows; None without `dcsd.context_held_out`."""
        return self.context.trust if isinstance(self.context, ContextNetwork) else None

    def head_names(self) -> list[str]:
        """Return the names in `state_dict` whose shape depends on the training set: all classifiers.

        Also what is kept for each domain or camera by `dcsd.inject norm`, `dcsd.camera_shrinkage` and `dcsd.context
        labels`.
        """
        told = ("context.domain", "context.camera") if self.needs_origins else ()
        ends = ("classifier", "domain_norm", "shrinkage", *told)
        return [name for name in self.state_dict() if name.rpartition(".")[0].endswith(ends)]

    def generated_names(self) -> list[str]:
        """Return the names in `state_dict` of what stands beside the plain network with a static base.

        These are the generators with their gain, or what another `dcsd.inject` has in their place, and the context
        network; none without such a base.
        """
        blocks = [
            name
            for name, module in self.named_modules()
            if isinstance(module, ContextConv) or (isinstance(module, DCSD) and module.config.base == "static")
        ]
        plain = {f"{block}.{name}" for block in blocks for name in ("weight", "bias")}
        begin = (*(f"{block}." for block in blocks), "context.")
        return [name for name in self.state_dict() if blocks and name.startswith(begin) and name not in plain]

    def prune_heads(self) -> None:
        """Drop the domain and camera classifiers, for deployment; embeddings stay the same."""
        self.trunk.prune_heads()
        if isinstance(self.context, ContextNetwork):
            self.context.prune_heads()


class Classes(NamedTuple):
    """Numbers of identities, domains and cameras in a training set."""

    ids: int
    domains: int
    cameras: int


def bot(classes: Classes, model: ModelConfig, dcsd: DcsdConfig) -> ReIDModel:
    """BoT: static 3x3 convolutions; the settings of DCSD have no effect."""
    return _assemble(classes, model, None)


def agw(classes: Classes, model: ModelConfig, dcsd: DcsdConfig) -> ReIDModel:
    """AGW: BoT with non-local blocks in the trunk and pooling by a generalised mean."""
    return _assemble_agw(classes, model, None)


def bot_dcsd(classes: Classes, model: ModelConfig, dcsd: DcsdConfig) -> ReIDModel:
    """BoT with a DCSD in the place of every spatial convolution."""
    return _assemble(classes, model, dcsd)


def agw_dcsd(classes: Classes, model: ModelConfig, dcsd: DcsdConfig) -> ReIDModel:
    """AGW with a DCSD in the place of every 3x3."""
    return _assemble_agw(classes, model, dcsd)


def bot_dn(classes: Classes, model: ModelConfig, dcsd: DcsdConfig) -> ReIDModel:
    """BoT with DualNorm: instance normalisation at the end of three stages; the second norm is BNNeck."""
    return _assemble(classes, model, None, Additions(sum_norm=InstanceNorm))


def bot_snr(classes: Classes, model: ModelConfig, dcsd: DcsdConfig) -> ReIDModel:
    """BoT with a Style Normalisation and Restitution module after every stage."""
    return _assemble(classes, model, None, Additions(snr=SNR))


SYSTEMS: dict[SystemName, Callable[[Classes, ModelConfig, DcsdConfig], ReIDModel]] = {
    "bot": bot,
    "agw": agw,
    "bot-dcsd": bot_dcsd,
    "agw-dcsd": agw_dcsd,
    "bot-dn": bot_dn,
    "bot-snr": bot_snr,
}

# Options of `build_model`: the settings of a model, without its name and trunk, which are arguments, and without the
# weights to start from, which are loaded afterwards.
OPTIONS = [
    *(f.name for f in fields(ModelConfig) if f.name not in ("name", "trunk", "pretrain", "pretrain_file")),
    "dcsd",
]


def build_model(
    name: str, num_ids: int, num_domains: int = 1, num_cameras: int = 1, trunk: str = "resnet50", **options: Any
) -> ReIDModel:
    """Return a system with random weights.

    Args:
        name: a key of `SYSTEMS`.
        num_ids: identities of the training set.
        num_domains: domains of the training set.
        num_cameras: global cameras of the training set.
        trunk: a key of `jointreid.models.families.TRUNKS`, or a custom one, see `build_trunk`.
        options: fields of `ModelConfig` such as `last_stride`, and `dcsd`, a `DcsdConfig` or None for the defaults. A
            system takes options that it does not use, such as `dcsd` for BoT.

    Raises:
        JointreidError: an unknown name or option (the message gives the nearest), or a value out of range.
    """
    if name not in SYSTEMS:
        raise JointreidError(no_such("system", name, SYSTEMS))
    for option in options:
        if option not in OPTIONS:
            raise JointreidError(no_such("model option", option, OPTIONS))
    dcsd = options.pop("dcsd", None) or DcsdConfig()
    model = ModelConfig(name=name, trunk=trunk, **options)
    return assemble(model, dcsd, Classes(num_ids, num_domains, num_cameras))


def assemble(model: ModelConfig, dcsd: DcsdConfig, classes: Classes) -> ReIDModel:
    """Return the system of these settings with random weights, and heads for these classes.

    Raises:
        JointreidError: fewer than one identity, domain or camera, or a custom trunk that does not fit the system.
    """
    if classes.ids < 1:
        raise JointreidError(f"num_ids is {classes.ids}; expected 1 or more identities")
    return SYSTEMS[model.name](classes, model, dcsd)


def _stem_pool(model: ModelConfig) -> StemPool:
    """Return the pooling of the stem; `auto` follows the code base that `model.stem_relu` tells.

    fast-reid has the ReLU and pools with a partial last window; the BoT repository has no ReLU and pools with padding,
    as the ImageNet network does.
    """
    if model.stem_pool != "auto":
        return model.stem_pool
    return "ceil" if model.stem_relu else "pad"


def _assemble_agw(classes: Classes, model: ModelConfig, dcsd: DcsdConfig | None) -> ReIDModel:
    additions = Additions(non_local=lambda channels: NonLocal(channels, model.nonlocal_reduction))
    return _assemble(classes, model, dcsd, additions, GeM(model.gem_p, model.gem_learnable))


def _assemble(
    classes: Classes,
    model: ModelConfig,
    dcsd: DcsdConfig | None,
    additions: Additions = PLAIN,
    pool: Callable[[Tensor], Tensor] = global_average_pool,
) -> ReIDModel:
    trunk = build_trunk(
        model.trunk,
        dcsd,
        classes.domains,
        classes.cameras,
        width=model.width,
        depthwise=model.depthwise,
        last_stride=model.last_stride,
        stem_relu=model.stem_relu,
        stem_pool=_stem_pool(model),
        additions=additions,
    )
    context = None if dcsd is None else context_module(dcsd, classes.domains, classes.cameras)
    return ReIDModel(trunk, classes.ids, model.classifier_std, pool, context)
