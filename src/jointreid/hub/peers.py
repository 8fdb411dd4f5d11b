"""How other projects name and build the ResNets of their re-identification models.

A name of a tensor becomes ours, or is left out for a reason that is told, or is refused: nothing is dropped silently.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple, get_args

from jointreid.config import Interpolation, Metric, PeerName, StemPoolChoice
from jointreid.messages.errors import JointreidError, no_such


@dataclass(frozen=True)
class Peer:
    """A project whose checkpoints can be converted.

    Attributes:
        title: its name in messages.
        trunk: how the names of its trunk begin.
        neck: the name of its BNNeck, as an expression; none of a project without BNNeck.
        classifier: the name of its classifier's weight, as an expression.
        power: the name of the learnt power of its pooling.
        stem_relu: whether a ReLU follows the stem's batch normalisation.
        stem_pool: the pooling after it.
        last_stride: of its recipes; no tensor tells it.
        interpolation: with which its evaluation resizes images.
        metric: by which its evaluation compares features.
        gem_p: power of the pooling where there are non-local blocks and no learnt power; 1 for the mean.
        under: keys of its checkpoints below which the tensors are.
    """

    title: str
    trunk: str
    neck: str
    classifier: str
    power: str
    stem_relu: bool
    stem_pool: StemPoolChoice
    last_stride: int = 1
    interpolation: Interpolation = "bilinear"
    metric: Metric = "cosine"
    gem_p: float = 1.0
    under: tuple[str, ...] = ("state_dict", "model")


PEERS: dict[PeerName, Peer] = {
    "fastreid": Peer(
        "fast-reid",
        "backbone.",
        r"heads\.(bottleneck\.0|bnneck)",
        r"heads\.(weight|classifier\.weight|cls_layer\.weight)",
        "heads.pool_layer.p",
        stem_relu=True,
        stem_pool="ceil",
        interpolation="bicubic",
        gem_p=3.0,
    ),
    "bot": Peer(
        "the BoT repository", "base.", "bottleneck", r"classifier\.weight", "", stem_relu=False, stem_pool="pad"
    ),
    "agw": Peer(
        "the AGW repository",
        "base.",
        "bottleneck",
        r"classifier\.weight",
        "global_pool.p",
        stem_relu=False,
        stem_pool="pad",
    ),
    "transreid": Peer(
        "TransReID's ResNet", "base.", "bottleneck", r"classifier\.weight", "", stem_relu=False, stem_pool="2x2"
    ),
    "torchreid": Peer(
        "torchreid",
        "",
        "",
        r"classifier\.weight",
        "",
        stem_relu=True,
        stem_pool="pad",
        last_stride=2,
        metric="euclidean",
    ),
}

# What makes a network another one than ours, by names of tensors; the first that is found is told.
_FOREIGN = (
    (r"cls_token|patch_embed|\.attn\.", "a vision transformer; only ResNets can be converted"),
    (r"(^|\.)conv2\.\d+\.(conv1|conv2[a-d])\.", "an OSNet; only ResNets can be converted"),
    (r"(\.|^)(IN|BN)\.(weight|bias|running_\w+)$", "instance normalisation in its blocks (IBN), which ours lack"),
    (r"(^|\.)(se|se_module|layer0)\.", "squeeze-and-excitation blocks (SE), which ours lack"),
    (r"^heads\.bottleneck\.1\.", "a layer that reduces the embedding before BNNeck (HEADS.EMBEDDING_DIM)"),
    (r"^fc\.\d+\.", "a further embedding layer after pooling (such as resnet50_fc512)"),
    (r"^fc_fusion\.", "features of two stages (resnet50mid)"),
    (r"^(b\d+|b\d+_head|b\d+_pool|bottleneck_\d|classifier_\d)\.", "several branches, each with its own features"),
)

_TRUNK = re.compile(r"(conv1|bn1|layer\d\.\d+\.(conv[123]|bn[123]|downsample\.[01]))\.\w+")
_NON_LOCAL = re.compile(r"NL_(\d)\.(\d+)\.(theta|phi|g|W\.0|W\.1)\.(\w+)")
_NON_LOCAL_PARTS = {"W.0": "out", "W.1": "norm"}
_BATCH_NORM = r"\.(weight|bias|running_mean|running_var|num_batches_tracked)"


class Blocks(NamedTuple):
    """Numbers of blocks in each of the four stages, and of non-local blocks after them."""

    depths: tuple[int, ...]
    non_local: tuple[int, ...]


def find_peer(name: str) -> Peer:
    """Return a project by its name.

    Raises:
        JointreidError: an unknown name; the message gives the nearest.
    """
    for known, peer in PEERS.items():
        if known == name:
            return peer
    raise JointreidError(no_such("project", name, get_args(PeerName)))


def foreign_part(names: Iterable[str]) -> str:
    """Return what makes a network another one than ours, with the tensor that shows it; empty if nothing is found."""
    there = list(names)
    for pattern, reason in _FOREIGN:
        if shown := [name for name in there if re.search(pattern, name)]:
            return f"{reason} ({shown[0]})"
    return ""


def count_blocks(names: Iterable[str], peer: Peer) -> Blocks:
    """Return how many blocks the tensors of a network name."""
    depths, non_local = [0] * 4, [0] * 4
    for name in names:
        rest = name.removeprefix(peer.trunk)
        for pattern, counts in ((r"layer([1-4])\.(\d+)\.", depths), (r"NL_([1-4])\.(\d+)\.", non_local)):
            if name.startswith(peer.trunk) and (found := re.match(pattern, rest)):
                stage = int(found[1]) - 1
                counts[stage] = max(counts[stage], int(found[2]) + 1)
    return Blocks(tuple(depths), tuple(non_local))


def our_name(name: str, peer: Peer, blocks: Blocks) -> str:
    """Return a tensor's name in `ReIDModel`; empty where ours has no such tensor."""
    rest = name.removeprefix(peer.trunk)
    if name.startswith(peer.trunk):
        if _TRUNK.fullmatch(rest):
            return f"trunk.{rest}"
        if found := _NON_LOCAL.fullmatch(rest):
            stage = int(found[1]) - 1
            block = blocks.depths[stage] - blocks.non_local[stage] + int(found[2])
            part = _NON_LOCAL_PARTS.get(found[3], found[3])
            return f"trunk.layer{found[1]}.{block}.non_local.{part}.{found[4]}"
    if peer.neck and (found := re.fullmatch(f"(?:{peer.neck}){_BATCH_NORM}", name)):
        return f"bnneck.{found[found.lastindex or 0]}"
    if re.fullmatch(peer.classifier, name):
        return "classifier.weight"
    return "pool.p" if name == peer.power else ""


def left_out(name: str) -> str:
    """Return why a tensor is not needed; empty if it is unknown."""
    if name in ("pixel_mean", "pixel_std"):
        return "is in the settings image.mean and image.std"
    if name == "classifier.bias":
        return "our classifier has no bias; features do not depend on it"
    return ""
