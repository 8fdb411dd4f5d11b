"""The GPU kernels of both operators: that they compile for GPUs that are not here, and on a GPU what they compute.

On a GPU at the sizes of a ResNet-50 on 256x128 images, tuned; `test_dynamic_filter_triton.py` asks more of small maps.
"""

import itertools
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from jointreid.models import build_model
from jointreid.models.dynamic_filter import (
    dynamic_filter,
    dynamic_filter_backward_reference,
    dynamic_filter_reference,
    filter_norm,
    filter_norm_backward_reference,
    filter_norm_reference,
)
from tests.models.test_dynamic_filter import Inputs, each, leaves

# Compiling without a GPU: Triton's interpreter accepts what its compiler may not

POINTERS = {"x", "grad", "y", "grad_x", "spatial", "channel", "grad_spatial", "grad_channel"}
POINTERS |= {"base", "gain", "grad_base"}
POINTERS |= {"raw", "std", "out", "grad_raw", "grad_std"}


@pytest.mark.slow
@pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.parametrize("precision", ["bf16", "fp64"])
@pytest.mark.parametrize(
    ("name", "based"),
    [
        *itertools.product(("forward", "backward_x", "backward_filters"), (False, True)),
        ("_forward", False),
        ("_backward", False),
    ],
)
def test_compiles_for_an_h100(
    name: str, based: bool, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from jointreid.models import dynamic_filter_triton_kernels, filter_norm_triton

    kernel: Any = getattr(filter_norm_triton if name.startswith("_") else dynamic_filter_triton_kernels, name)
    if not isinstance(kernel, triton.JITFunction):
        pytest.skip("Triton was loaded as an interpreter")
    compiled_in: dict[str, Any] = {
        "K": 1,
        "STRIDE": 2,
        "DILATION": 1,
        "ROWS": 2,
        "BLOCK_H": 4,
        "BLOCK_W": 8,
        "BLOCK_C": 16,
        "T": 9,
    }
    compiled_in |= {"SUM": tl.float64 if precision == "fp64" else tl.float32, "EPS": 1e-10, "SHARED": True}
    compiled_in |= {"BLOCK_G": 8, "BLOCK_T": 16}
    compiled_in |= {} if based else dict.fromkeys(("base", "gain", "grad_base"))
    # A step of gradients of the kernel for x has the name of a pointer elsewhere.
    steps = {"grad_channel"} if name == "backward_x" else set()
    kinds = {
        argument: "constexpr" if argument in compiled_in else f"*{precision}" if argument in POINTERS - steps else "i32"
        for argument in kernel.arg_names
    }
    constants = {argument: compiled_in[argument] for argument, kind in kinds.items() if kind == "constexpr"}
    binary = triton.compile(ASTSource(kernel, kinds, constants), target=GPUTarget("cuda", 90, 32))
    assert len(binary.asm["cubin"]) > 1000


def test_every_map_has_a_tile_that_fits() -> None:
    pytest.importorskip("triton")
    from jointreid.models import dynamic_filter_triton as kernels

    for channels_last, channels, kernel_size in itertools.product((False, True), (1, 16, 48, 512), (1, 3, 5)):
        fitting = kernels._fitting(kernels._tiles(channels_last), {"channels": channels}, K=kernel_size, STRIDE=1)
        assert fitting


# On a GPU

SHAPES = ((64, 64, 32), (128, 32, 16), (256, 16, 8), (512, 16, 8), (64, 57, 29))  # channels, height, width
LAST = torch.channels_last


def make_inputs(
    shape: tuple[int, int, int],
    stride: int = 1,
    dtype: torch.dtype = torch.bfloat16,
    layout: torch.memory_format = LAST,
    kernel_size: int = 3,
    batch: int = 8,
) -> tuple[Tensor, Inputs]:
    """A gradient for the output, and x, spatial, channel; the filters in float32, as FilterNorm gives them."""
    channels, height, width = shape
    rows, cols, taps = -(-height // stride), -(-width // stride), kernel_size**2
    torch.manual_seed(0)

    def draw(*size: int, dtype: torch.dtype = dtype) -> Tensor:
        t = torch.randn(size, device="cuda", dtype=dtype)
        return t.contiguous(memory_format=layout) if t.ndim == 4 else t

    kind = torch.promote_types(dtype, torch.float32)
    x, grad = draw(batch, channels, height, width), draw(batch, channels, rows, cols)
    return grad, (x, draw(batch, taps, rows, cols, dtype=kind), draw(batch, channels, taps, dtype=kind))


def run(grad: Tensor, inputs: Inputs, stride: int = 1, dilation: int = 1) -> tuple[Tensor, ...]:
    """The output and the three gradients."""
    given = leaves(inputs)
    y = dynamic_filter(*given, stride, dilation)
    return y.detach(), *torch.autograd.grad(y, given, grad)


def assert_near(got: Tensor, expected: Tensor) -> None:
    """Within the rounding of the result's type, and of sums of thousands of terms as large as the largest result."""
    unit = {torch.bfloat16: 2**-8, torch.float16: 2**-11, torch.float32: 2**-22, torch.float64: 2**-50}[got.dtype]
    largest = 1e-12 if got.dtype == torch.float64 else 1e-5
    torch.testing.assert_close(got.double(), expected, rtol=unit, atol=largest * float(expected.abs().max()))


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("shape", "stride", "dtype", "layout"),
    [
        *((shape, 1, torch.bfloat16, LAST) for shape in SHAPES),
        *((shape, 2, torch.bfloat16, LAST) for shape in SHAPES[:2]),
        (SHAPES[0], 1, torch.float16, LAST),
        (SHAPES[0], 1, torch.float32, torch.contiguous_format),
        (SHAPES[-1], 2, torch.bfloat16, torch.contiguous_format),
    ],
)
def test_equals_reference_at_the_sizes_of_a_resnet(
    shape: tuple[int, int, int], stride: int, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    grad, inputs = make_inputs(shape, stride, dtype, layout)
    exact = each(Tensor.double, inputs)
    expected = (
        dynamic_filter_reference(*exact, stride),
        *dynamic_filter_backward_reference(grad.double(), *exact, stride, 1),
    )
    for got, wanted in zip(run(grad, inputs, stride), expected, strict=True):
        assert_near(got, wanted)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("kernel_size", "stride", "dilation", "dtype"),
    [(5, 1, 1, torch.bfloat16), (5, 2, 2, torch.float32), (3, 1, 2, torch.float64), (3, 3, 1, torch.float32)],
)
def test_equals_reference_for_windows_of_other_sizes(
    kernel_size: int, stride: int, dilation: int, dtype: torch.dtype
) -> None:
    grad, inputs = make_inputs((48, 23, 13), stride, dtype, LAST, kernel_size, batch=2)
    exact = each(Tensor.double, inputs)
    expected = (
        dynamic_filter_reference(*exact, stride, dilation),
        *dynamic_filter_backward_reference(grad.double(), *exact, stride, dilation),
    )
    for got, wanted in zip(run(grad, inputs, stride, dilation), expected, strict=True):
        assert_near(got, wanted)


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("kernel_size", "stride", "dtype", "layout"),
    [
        *((3, stride, dtype, LAST) for stride in (1, 2) for dtype in (torch.bfloat16, torch.float32)),
        (5, 1, torch.bfloat16, LAST),
        (7, 2, torch.float64, torch.contiguous_format),
    ],
)
def test_base_equals_reference(kernel_size: int, stride: int, dtype: torch.dtype, layout: torch.memory_format) -> None:
    grad, inputs = make_inputs((48, 23, 13), stride, dtype, layout, kernel_size, batch=4)
    base, gain = torch.randn(48, kernel_size**2, device="cuda"), torch.randn(48, device="cuda")
    given = [t.detach().requires_grad_() for t in (*inputs, base, gain)]
    y = dynamic_filter(given[0], given[1], given[2], stride, base=given[3], gain=given[4])
    exact = [t.detach().double() for t in given]
    x, spatial, channel, base, gain = exact
    expected = dynamic_filter_reference(x, spatial, channel, stride, base=base, gain=gain)
    gradients = dynamic_filter_backward_reference(grad.double(), x, spatial, channel, stride, 1, base, gain)
    for got, wanted in zip((y.detach(), *torch.autograd.grad(y, given, grad)), (expected, *gradients), strict=True):
        assert_near(got, wanted)


@pytest.mark.gpu
def test_every_tile_gives_the_same_bits_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from jointreid.models import dynamic_filter_triton as kernels

    grad, inputs = make_inputs((64, 32, 16))
    first = run(grad, inputs)
    assert all(torch.equal(one, other) for one, other in zip(run(grad, inputs), first, strict=True))
    for tile in kernels._fitting(kernels._tiles(channels_last=True), {"channels": 64}, K=3):
        monkeypatch.setattr(kernels, "_tiles", lambda channels_last, tile=tile: [tile])
        kernels._tuned.cache_clear()
        assert all(torch.equal(one, other) for one, other in zip(run(grad, inputs), first, strict=True))
    kernels._tuned.cache_clear()


@pytest.mark.gpu
def test_keeps_no_large_intermediate() -> None:
    grad, inputs = make_inputs(SHAPES[0], batch=64)
    run(grad, inputs)  # tunes, which takes memory of its own
    given = leaves(inputs)
    of_x = given[0].numel() * given[0].element_size()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    y = dynamic_filter(*given)
    assert torch.cuda.max_memory_allocated() - before < 1.1 * of_x  # y is as large as x
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    gradients = torch.autograd.grad(y, given, grad)
    results = sum(t.numel() * t.element_size() for t in gradients)
    assert torch.cuda.max_memory_allocated() - before < results + 0.5 * of_x


@pytest.mark.gpu
def test_maps_with_more_elements_than_32_bits_can_index() -> None:
    if torch.cuda.mem_get_info()[0] < 30 * 2**30:
        pytest.skip("needs 30 GB of free GPU memory")
    batch, shape = 1040, (64, 256, 128)  # 2.2e9 numbers
    grad, inputs = make_inputs(shape, batch=batch)
    results = run(grad, inputs)
    alone = run(grad[-1:], each(lambda t: t[-1:], inputs))
    assert all(torch.equal(of_all[-1:], of_last) for of_all, of_last in zip(results, alone, strict=True))


@pytest.mark.gpu
@pytest.mark.parametrize("layout", [torch.contiguous_format, LAST])
def test_norm_equals_reference(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    spatial = torch.randn(64, 9, 64, 32, device="cuda").contiguous(memory_format=layout)
    channel = torch.randn(64, 512, 9, device="cuda")
    for raw, dim, std in (
        (spatial, 1, torch.tensor(0.5, device="cuda")),
        (spatial.bfloat16(), 1, torch.tensor(0.5, device="cuda")),
        (channel, -1, torch.randn(512, 9, device="cuda")),
    ):
        given, wanted = raw.clone().requires_grad_(), std.clone().requires_grad_()
        normed = filter_norm(given, dim, wanted)
        assert normed.stride() == raw.stride()
        assert_near(normed.detach(), filter_norm_reference(raw.double(), dim, std.double()))
        grad = torch.randn_like(normed)
        expected = filter_norm_backward_reference(grad.double(), raw.double(), dim, std.double(), 1e-10)
        for got, gradient in zip(torch.autograd.grad(normed, (given, wanted), grad), expected, strict=True):
            assert_near(got, gradient)


@pytest.mark.gpu
def test_operators_pass_the_checks_of_pytorch() -> None:
    _, inputs = make_inputs((16, 9, 7), 2, torch.float32, batch=2)
    torch.library.opcheck(torch.ops.jointreid.dynamic_filter.default, (*leaves(inputs), 2, 1))
    raw, std = torch.randn(2, 3, 9, device="cuda", requires_grad=True), torch.rand(3, 9, device="cuda")
    torch.library.opcheck(torch.ops.jointreid.filter_norm.default, (raw, -1, std.requires_grad_(), 1e-10))


@pytest.mark.gpu
def test_the_whole_network_compiles_into_one_graph() -> None:
    """ResNet50-DCSD in a step of training and in evaluation, in bfloat16, beside the same network uncompiled."""
    torch.manual_seed(0)
    model: Any = build_model("bot-dcsd", 100, 5, 32)
    model = model.to("cuda", memory_format=LAST)
    images = torch.randn(16, 3, 256, 128, device="cuda").contiguous(memory_format=LAST)
    compiled: Any = torch.compile(model, fullgraph=True, dynamic=False)

    def step(network: Any) -> tuple[Tensor, Tensor]:
        model.train()
        model.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            output = network(images)
        loss = functional.cross_entropy(output.id_logits.float(), torch.arange(16, device="cuda"))
        for logits in output.factor_logits:
            loss = loss + logits.domain.float().square().mean() + logits.camera.float().square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    def evaluate(network: Any) -> Tensor:
        model.eval()
        with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
            embedding: Tensor = network(images).bn_embedding
        return embedding.float()

    (loss, gradient), (expected, expected_gradient) = step(compiled), step(model)
    torch.testing.assert_close(loss, expected, rtol=0.02, atol=0)
    assert functional.cosine_similarity(gradient, expected_gradient, dim=0) > 0.95
    assert functional.cosine_similarity(evaluate(compiled), evaluate(model)).min() > 0.98
