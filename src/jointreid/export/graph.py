"""A model -> one graph with a dynamic batch: PyTorch's program, and ONNX made from it.

Letters: B images, H x W pixels, D numbers of a feature.
"""

import io
import warnings
from collections import Counter
from typing import Any

import torch
from torch import Tensor, nn

from jointreid.config import ImageConfig, InputKind
from jointreid.export.contract import INPUTS
from jointreid.export.portable import portable
from jointreid.machine.extras import library
from jointreid.messages.errors import JointreidError
from jointreid.models.reid import ReIDModel

# Supported by every runtime of the last years, TensorRT 8.6 among them.
OPSET = 18
BATCH = "batch"
# Features shorter than this, such as none at all, are not stretched to length 1.
SHORTEST = 1e-12


class ExportedNetwork(nn.Module):
    """A portable model between an input head and L2 normalisation.

    Args:
        model: what `portable` returned.
        kind: what images are when they enter.
        image: their normalisation.
    """

    scale: Tensor | None
    shift: Tensor | None

    def __init__(self, model: ReIDModel, kind: InputKind, image: ImageConfig) -> None:
        super().__init__()
        self.model = model
        self.kind = kind
        self.of_pixels = INPUTS[kind].layout == "NHWC"
        mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in (image.mean, image.std))
        scale = 1 / std if kind == "unit" else 1 / (255 * std)
        normalises = INPUTS[kind].normalised_by == "graph"
        self.register_buffer("scale", scale.float() if normalises else None)
        self.register_buffer("shift", (-mean / std).float() if normalises else None)

    def forward(self, images: Tensor) -> Tensor:
        """Map images, of the shape and range of the head, to features [B, D] of length 1."""
        if self.of_pixels:
            images = images.permute(0, 3, 1, 2).to(torch.float32)
        if self.scale is not None and self.shift is not None:
            images = images * self.scale + self.shift
        features: Tensor = self.model(images).bn_embedding
        lengths: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True).clamp_min(SHORTEST)
        return features / lengths


def network_of(model: ReIDModel, kind: InputKind, image: ImageConfig, *, fuse: bool = True) -> ExportedNetwork:
    """Return the network to export, on the CPU and in evaluation mode; `model` stays as it is, see `portable`."""
    return ExportedNetwork(portable(model, image.height, image.width, fuse=fuse), kind, image).eval()


def trace(network: ExportedNetwork, image: ImageConfig) -> torch.export.ExportedProgram:
    """Return the network as PyTorch's program, of PyTorch's own operators alone.

    Raises:
        JointreidError: a custom trunk does something that cannot be traced, or calls an operator of this package
            outside a DCSD.
    """
    shape = [2, image.height, image.width, 3] if network.of_pixels else [2, 3, image.height, image.width]
    example = torch.zeros(shape, dtype=torch.uint8 if network.of_pixels else torch.float32)
    batch = torch.export.Dim(BATCH, min=1)
    try:
        with torch.no_grad(), _quiet():
            program = torch.export.export(network, (example,), dynamic_shapes={"images": {0: batch}}, strict=False)
    except Exception as error:  # whatever the trunk's code raises under tracing
        raise JointreidError(f"the model cannot be traced for export: {_first_line(error)}") from error
    foreign = sorted({str(node.target) for node in program.graph.nodes if "jointreid" in str(node.target)})
    if foreign:
        raise JointreidError(
            f"the model calls {', '.join(foreign)} outside a DCSD, which no other runtime has; put a "
            "jointreid.models.dcsd.DCSD there"
        )
    return program


def program_bytes(program: torch.export.ExportedProgram) -> bytes:
    """Return a program as `torch.export.save` writes it."""
    content = io.BytesIO()
    with _quiet():
        torch.export.save(program, content)
    return content.getvalue()


def onnx_model(program: torch.export.ExportedProgram) -> Any:
    """Return a program as an `onnx.ModelProto` of standard operators, with the input `images` and output `features`.

    Raises:
        JointreidError: a package of the extra `export` is missing.
    """
    for name in ("onnx", "onnxscript"):
        library(name, "ONNX files are written", extra="export")
    with _quiet():
        made = torch.onnx.export(
            program, dynamo=True, opset_version=OPSET, input_names=["images"], output_names=["features"], verbose=False
        )
    if made is None:
        raise JointreidError("PyTorch returned no ONNX program; another release of torch may")
    return _tidy(made.model_proto)


def _tidy(model: Any) -> Any:
    """Name the batch, and leave out where each node comes from: paths and code of this machine."""
    graph = model.graph
    dynamic = {dim.dim_param for value in graph.input for dim in value.type.tensor_type.shape.dim if dim.dim_param}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param in dynamic:
                dim.dim_param = BATCH
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    model.producer_name = "jointreid"
    _join_sums(graph)
    domains = {node.domain for node in graph.node} - {"", "ai.onnx"}
    if domains or model.functions:
        raise JointreidError(f"the graph has operators that are not ONNX's own: {', '.join(sorted(domains))}")
    return model


def _join_sums(graph: Any) -> None:
    """Make one sum of additions that follow each other: each would read and write a whole map."""
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    terms: dict[str, list[str]] = {}  # a sum that one other node reads -> what it adds
    for node in [node for node in graph.node if node.op_type == "Add"]:
        added = [name for given in node.input for name in terms.pop(given, [given])]
        if uses[node.output[0]] == 1:
            terms[node.output[0]] = added
        if len(added) > 2:
            node.op_type = "Sum"
            del node.input[:]
            node.input.extend(added)
    read = {name for node in graph.node for name in node.input} | {value.name for value in graph.output}
    for node in [node for node in graph.node if node.op_type in ("Add", "Sum") and node.output[0] not in read]:
        graph.node.remove(node)


class _quiet(warnings.catch_warnings):
    """Leave out warnings of PyTorch about itself."""

    def __enter__(self) -> Any:
        entered = super().__enter__()
        warnings.simplefilter("ignore")
        return entered


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
