"""Smaller ONNX files: half precision, and 8-bit 1x1 convolutions calibrated on train images."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointreid.config import RunConfig
from jointreid.data.records import ImageRecord
from jointreid.export.contract import Contract
from jointreid.export.proof import read_pixels
from jointreid.machine.extras import library
from jointreid.messages.errors import JointreidError

# Norms and what divides by them: their eps is no number of half precision, nor is the square of a large feature.
IN_FP32 = ("ReduceL2", "Max", "Min", "Clip", "Div", "ReduceMean", "Pow", "Sqrt", "LayerNormalization")
CALIBRATION = 128
_BATCH = 8


def in_half_precision(model: Any) -> Any:
    """Return an ONNX model that computes in fp16, norms in fp32; input and output stay as they are."""
    halve = library("onnxruntime.transformers.float16", "half precision is made", extra="export")
    onnx = library("onnx", "half precision is made", extra="export")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # What the input head computes on, up to 255, has too few digits in half precision.
    head = _head(model)
    made = halve.convert_float_to_float16(
        copy,
        keep_io_types=True,
        op_block_list=[*halve.DEFAULT_OP_BLOCK_LIST, *IN_FP32],
        node_block_list=head,
    )
    _join_casts(made, onnx)
    return made


def in_8_bit(model: Any, contract: Contract, train: Sequence[ImageRecord], config: RunConfig) -> Any:
    """Return an ONNX model whose 1x1 convolutions compute in 8 bit, between QuantizeLinear and DequantizeLinear.

    Those that generate kernels stay in fp32: FilterNorm divides by their spread, which 8 bit would round.

    Args:
        model: in fp32.
        contract: of its input.
        train: images whose activations set the ranges.
        config: the run's settings.

    Raises:
        JointreidError: the model has no 1x1 convolutions, or there are no train images.
    """
    if not train:
        raise JointreidError(
            "8 bit needs train images, whose activations set the ranges; the data sets of --data, or without it those "
            "of the run, have none"
        )
    tools = library("onnxruntime.quantization", "8-bit files are made", extra="export")
    onnx = library("onnx", "8-bit files are made", extra="export")
    names = pointwise_convolutions(model)
    if not names:
        raise JointreidError("the model has no 1x1 convolutions to compute in 8 bit; use --precision fp16")

    class Reader(tools.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            self.batches = calibration_batches(contract, train, config)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch}

    with tempfile.TemporaryDirectory(prefix="jointreid-") as folder, _quiet():
        source, target = Path(folder) / "fp32.onnx", Path(folder) / "int8.onnx"
        onnx.save(model, source)
        tools.quantize_static(
            source,
            target,
            Reader(),
            quant_format=tools.QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            nodes_to_quantize=names,
            per_channel=True,
            activation_type=tools.QuantType.QUInt8,
            weight_type=tools.QuantType.QInt8,
            calibrate_method=tools.CalibrationMethod.MinMax,
            extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )
        return onnx.load(target)


def pointwise_convolutions(model: Any) -> list[str]:
    """Return the names of the 1x1 convolutions of the trunk's own layers: not of those that generate kernels."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return [
        node.name
        for node in model.graph.node
        if node.op_type == "Conv" and node.input[1].endswith(".weight") and shapes[node.input[1]][2:] == (1, 1)
    ]


def calibration_batches(contract: Contract, train: Sequence[ImageRecord], config: RunConfig) -> Iterator[NDArray[Any]]:
    """Yield batches of train images, the same ones every time, as the graph takes them."""
    chosen = np.random.default_rng(0).permutation(len(train))[:CALIBRATION]
    for start in range(0, len(chosen), _BATCH):
        records = [train[place] for place in chosen[start : start + _BATCH]]
        yield contract.prepare(read_pixels(records, config))


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out the advice to optimise the graph first, which it is."""
    logger, before = logging.getLogger(), logging.getLogger().level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _join_casts(model: Any, onnx: Any) -> None:
    """Pass a number in fp32 from one norm to the next: through fp16 between them, an eps would become 0."""
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    casts = {
        node.output[0]: (node.input[0], next(field.i for field in node.attribute if field.name == "to"))
        for node in model.graph.node
        if node.op_type == "Cast"
    }
    shorter = {
        name: casts[source][0]
        for name, (source, to) in casts.items()
        if to == single and source in casts and casts[source][1] == half
    }
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = shorter.get(name, name)
    results = {value.name for value in model.graph.output}
    while True:
        used = {name for node in model.graph.node for name in node.input} | results
        unused = [node for node in model.graph.node if node.op_type == "Cast" and node.output[0] not in used]
        if not unused:
            return
        for node in unused:
            model.graph.node.remove(node)


def _head(model: Any) -> list[str]:
    """Return the names of the nodes of the input head: those that compute on the images and constants alone."""
    constants = {tensor.name for tensor in model.graph.initializer}
    of_images, names = {"images"}, []
    for node in model.graph.node:
        if (
            node.op_type in ("Transpose", "Cast", "Mul", "Add", "Sub", "Div")
            and set(node.input) - constants <= of_images
        ):
            of_images.update(node.output)
            names.append(node.name)
    return names
