"""The parts of a network, named by what they do, and the features after each of them.

Parts: the stem, the stages, the generators of kernels, the norms by domain of a control, the context that tells both
where an image comes from, and the head. Letters: B images of a batch, N images in all, C channels, H x W positions.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from jointreid.conflict.material import OnProgress, StudiedRun
from jointreid.data.records import ImageRecord
from jointreid.models.beside import Beside, beside
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.embeddings import Embeddings
from jointreid.retrieval.evaluate import embed, origins_of

STEM, GENERATORS, NORMS, CONTEXT, HEAD = "stem", "generators", "norms by domain", "context", "head"
EMBEDDING = "embedding"
_LAST = (GENERATORS, NORMS, CONTEXT, HEAD)
_BESIDE: Mapping[Beside, str] = {"generators": GENERATORS, "entry": GENERATORS, "norm": NORMS, "context": CONTEXT}
_FACTORS = {"domain", "camera"}  # names of their heads
_STEM = {"conv1", "bn1", "relu", "maxpool", "conv_stem", "stem"}
_END = {"conv_head", "bn2"}
# Lists of stages, each of which is a module by itself.
_STAGES = {"blocks", "stages"}


def part_of(name: str) -> str:
    """Return the part of the network that a module or parameter of a `ReIDModel` belongs to, by its full name.

    >>> [part_of(name) for name in ("trunk.conv1.weight", "trunk.layer3.0.conv1.weight", "classifier.weight")]
    ['stem', 'stage 3', 'head']
    >>> [part_of(f"trunk.layer1.0.conv2.{name}") for name in ("channel_branch.fc1.bias", "camera.fc2.weight", "weight")]
    ['generators', 'context', 'stage 1']
    """
    if part := beside(name):
        return _BESIDE[part]
    words = name.split(".")
    if words[0] != "trunk" or len(words) == 1:
        return HEAD
    top = words[1]
    if top in _STAGES and len(words) > 2:
        return f"stage {int(words[2]) + 1}"
    if top == "snr" and len(words) > 2:
        return f"stage {int(words[2]) + 1}"
    if top.startswith("layer") and top[5:].isdigit():
        return f"stage {top[5:]}"
    if top in _STEM:
        return STEM
    return "last 1x1" if top in _END else top


def parts_in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Return the parts of modules or parameters, from input to output, and what is in no one place at the end."""
    found = dict.fromkeys(map(part_of, names))
    return (*(part for part in found if part not in _LAST), *(part for part in _LAST if part in found))


def context_heads(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the modules that predict a domain or camera vector with its logits, and their names, from input on."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in _FACTORS and hasattr(module, "classifier")
    ]


class LayerFeatures(NamedTuple):
    """Features of N images.

    Attributes:
        embeddings: with the posteriors of the heads.
        layers: layer -> float32 [N, dimensions], from input to output. Of a map, the mean and the standard deviation
            of each channel over all positions; of the context, the vectors of the last block; the last layer is
            `bn_embedding`.
    """

    embeddings: Embeddings
    layers: dict[str, NDArray[np.float32]]


def collect_layers(
    studied: StudiedRun,
    model: ReIDModel,
    records: Sequence[ImageRecord],
    what: str,
    on_progress: OnProgress | None,
    *,
    told: bool = True,
) -> LayerFeatures:
    """Return the features of images after each part of a network, as evaluation computes them.

    Args:
        studied: the run.
        model: its model, on its device.
        records: the images.
        what: the name that `on_progress` is called with.
        on_progress: called with (what, images done, images in all) after each batch.
        told: see `embed_images`.
    """
    with _collecting(model) as parts:
        embeddings = embed_images(studied, model, records, what, on_progress, told=told)
    layers = {part: np.concatenate(values) for part, values in parts.items()}
    order = [*parts_in_order([f"trunk.{name}" for name, _ in model.trunk.named_modules() if name]), CONTEXT]
    order += [EMBEDDING]
    return LayerFeatures(embeddings, {part: layers[part] for part in dict.fromkeys(order) if part in layers})


def embed_images(
    studied: StudiedRun,
    model: ReIDModel,
    records: Sequence[ImageRecord],
    what: str,
    on_progress: OnProgress | None,
    *,
    told: bool = True,
) -> Embeddings:
    """Return the embeddings of images, without their mirror images; see `collect_layers`.

    A model that is told where an image comes from (`dcsd.context labels`) is told it of the chosen images of the run,
    and of all others that it is unknown; without `told` of all images.
    """
    config = studied.run.config.replace(eval={"flip": False})
    origins = None
    if model.needs_origins:
        origins = _origins(studied, model, records) if told else np.full((len(records), 2), -1, dtype=np.int64)
    return embed(model, records, config, studied.device, what, on_progress, origins)


def _origins(studied: StudiedRun, model: ReIDModel, records: Sequence[ImageRecord]) -> NDArray[np.int64]:
    """Return the domain id and the global camera id of images, [N, 2], as `origins_of`; -1 where they are unknown."""
    known: dict[int, NDArray[np.int64]] = {}  # by the record itself: two data sets may hold one file
    for domain in studied.domains:
        own = [*(sample.record for sample in domain.train), *domain.test]
        rows = origins_of(model, own, domain.name, studied.run.label_space)
        assert rows is not None
        known |= zip(map(id, own), rows, strict=True)
    unknown = np.full(2, -1, dtype=np.int64)
    return np.array([known.get(id(record), unknown) for record in records], dtype=np.int64).reshape(-1, 2)


@contextmanager
def _collecting(model: ReIDModel) -> Iterator[dict[str, list[NDArray[np.float32]]]]:
    """Yield, for each part, a list that collects its features of each batch in this context."""
    parts: dict[str, list[NDArray[np.float32]]] = {}
    latest: dict[str, Tensor] = {}
    vectors: dict[str, Tensor] = {}

    def keep_map(part: str, output: Any) -> None:
        first = output[0] if isinstance(output, tuple) and output else output
        if isinstance(first, Tensor) and first.ndim == 4:
            latest[part] = first

    def keep_vector(name: str, output: Any) -> None:
        vectors[name.rpartition(".")[2]] = output[0]  # those of the last block stay

    def finish(_module: object, _inputs: object, output: Any) -> None:
        found = {part: _moments(x) for part, x in latest.items()}
        if vectors:
            found[CONTEXT] = torch.cat(list(vectors.values()), dim=1)
        found[EMBEDDING] = output.bn_embedding
        for part, values in found.items():
            parts.setdefault(part, []).append(values.float().cpu().numpy())
        latest.clear()
        vectors.clear()

    with ExitStack() as stack:
        heads = dict(context_heads(model))
        for name, module in model.named_modules():
            part = part_of(name)
            if name.startswith("trunk.") and part not in _LAST:
                hook = module.register_forward_hook(lambda _m, _i, output, part=part: keep_map(part, output))
                stack.callback(hook.remove)
            elif name in heads:
                hook = module.register_forward_hook(lambda _m, _i, output, name=name: keep_vector(name, output))
                stack.callback(hook.remove)
        stack.callback(model.register_forward_hook(finish).remove)
        yield parts


def _moments(x: Tensor) -> Tensor:
    """Return mean and standard deviation over positions: [B, C, H, W] -> [B, 2 C]."""
    values = x.float()
    return torch.cat([values.mean((2, 3)), values.flatten(2).std(2, correction=0)], dim=1)
