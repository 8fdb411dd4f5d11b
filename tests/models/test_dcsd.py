"""DCSD against a literal computation with the map Z in memory, and the paths its gradients may take."""

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jointreid.config import DcsdConfig
from jointreid.messages.errors import JointreidError
from jointreid.models.dcsd import DCSD, FilterNorm
from jointreid.models.dynamic_filter import dynamic_filter, dynamic_filter_sum
from jointreid.models.pooling import global_average_pool

C, NUM_DOMAINS, NUM_CAMERAS = 16, 3, 5


def make(seed: int = 0, *, stride: int = 1, dilation: int = 1, **switches: Any) -> DCSD:
    torch.manual_seed(seed)
    return DCSD(C, NUM_DOMAINS, NUM_CAMERAS, DcsdConfig(**switches), stride=stride, dilation=dilation)


def images(seed: int = 1, batch: int = 2, height: int = 5, width: int = 7) -> Tensor:
    return torch.randn(batch, C, height, width, generator=torch.Generator().manual_seed(seed))


def literal_forward(dcsd: DCSD, x: Tensor, kernel_size: int, branches: tuple[str, ...]) -> Tensor:
    """Fig. 4 with Z materialised, a loop over samples and channels, and the window cut out by unfold."""

    def combine(position: Tensor, channel: Tensor) -> Tensor:
        return position * channel if dcsd.config.combine == "mul" else position + channel

    def norm(raw: Tensor, std: Tensor | float) -> Tensor:  # taps last
        centred = raw - raw.mean(-1, keepdim=True)
        return centred / ((centred**2).sum(-1, keepdim=True) / (raw.shape[-1] - 1)).sqrt() * std

    taps = kernel_size**2
    g = x.mean((2, 3))
    z = x.clone()
    for mlp in (dcsd.domain, dcsd.camera):
        assert mlp is not None
        vector = functional.relu(g @ mlp.fc1.weight.T) @ mlp.fc2.weight.T
        z = z + vector[:, :, None, None]
    z_channel = z if "channel" in branches else x
    z_spatial = z if "spatial" in branches else x
    channel_branch, conv = dcsd.channel_branch, dcsd.spatial_branch.conv
    assert isinstance(channel_branch.norm, FilterNorm)
    hidden = functional.relu(channel_branch.fc1(z_channel.mean((2, 3))))
    channel = norm(channel_branch.fc2(hidden).reshape(len(x), C, taps), channel_branch.norm.std)
    spatial = functional.conv2d(z_spatial, conv.weight, conv.bias, stride=dcsd.stride)
    spatial = norm(spatial.permute(0, 2, 3, 1), 2**0.5 / kernel_size)  # B H' W' KK
    padding = dcsd.dilation * (kernel_size - 1) // 2
    y = torch.zeros(len(x), C, *spatial.shape[1:3], dtype=x.dtype)
    for b in range(len(x)):
        for c in range(C):
            window = functional.unfold(x[b : b + 1, c : c + 1], kernel_size, dcsd.dilation, padding, dcsd.stride)
            kernels = combine(spatial[b].reshape(-1, taps), channel[b, c])
            y[b, c] = (window[0].T * kernels).sum(1).reshape(spatial.shape[1:3])
    return y


@pytest.mark.parametrize(
    ("context_to", "branches"),
    [("both", ("channel", "spatial")), ("channel", ("channel",)), ("spatial", ("spatial",))],
)
@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(3, 1, 1), (3, 2, 1), (3, 1, 2), (5, 2, 1), (7, 1, 1)])
def test_forward_equals_fig_4_with_z_in_memory(
    context_to: Any, branches: tuple[str, ...], kernel_size: int, stride: int, dilation: int
) -> None:
    dcsd = make(kernel_size=kernel_size, stride=stride, dilation=dilation, context_to=context_to).double()
    x = images().double()
    y, _ = dcsd(x)
    assert y.shape == (2, C, -(-5 // stride), -(-7 // stride))
    torch.testing.assert_close(y, literal_forward(dcsd, x, kernel_size, branches), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(3, 1, 1), (3, 2, 2), (5, 1, 1), (7, 2, 1)])
def test_forward_with_the_sum_of_the_two_kernels(kernel_size: int, stride: int, dilation: int) -> None:
    dcsd = make(kernel_size=kernel_size, stride=stride, dilation=dilation, combine="add").double()
    x = images().double()
    expected = literal_forward(dcsd, x, kernel_size, ("channel", "spatial"))
    torch.testing.assert_close(dcsd(x)[0], expected, rtol=1e-9, atol=1e-9)


def test_sum_and_product_of_the_kernels_share_every_weight_and_differ() -> None:
    product, added = make(), make(combine="add")
    assert all(torch.equal(tensor, added.state_dict()[name]) for name, tensor in product.state_dict().items())
    assert (product(images())[0] - added(images())[0]).abs().mean() > 0.1


@pytest.mark.parametrize(
    ("operator", "kernel_size", "stride"),
    [(dynamic_filter_sum, 3, 2), (dynamic_filter_sum, 5, 1), (dynamic_filter, 7, 1), (dynamic_filter, 7, 2)],
)
def test_operators_have_the_gradients_of_finite_differences(operator: Any, kernel_size: int, stride: int) -> None:
    def leaf(*shape: int) -> Tensor:
        generator = torch.Generator().manual_seed(len(shape))
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    taps = kernel_size**2
    inputs = leaf(1, 2, 5, 4), leaf(1, taps, -(-5 // stride), -(-4 // stride)), leaf(1, 2, taps)
    assert torch.autograd.gradcheck(lambda *tensors: operator(*tensors, stride), inputs, fast_mode=True)


def test_pooled_z_is_the_sum_of_pooled_x_and_the_vectors() -> None:
    dcsd = make().double()
    x = images().double()
    pooled = global_average_pool(x)
    context, _ = dcsd.predict_context(pooled)
    assert context is not None
    assert dcsd.domain is not None
    assert dcsd.camera is not None
    domain, camera = dcsd.domain(pooled)[0], dcsd.camera(pooled)[0]
    torch.testing.assert_close(context, domain + camera, rtol=0, atol=0)
    z = x + context[:, :, None, None]
    torch.testing.assert_close(z.mean((2, 3)), pooled + domain + camera, rtol=1e-12, atol=1e-12)


def generated_kernels(dcsd: DCSD, x: Tensor) -> tuple[Tensor, Tensor]:
    seen: dict[str, Tensor] = {}
    hooks = [
        branch.register_forward_hook(lambda _module, _inputs, output, name=name: seen.update({name: output}))
        for name, branch in (("channel", dcsd.channel_branch), ("spatial", dcsd.spatial_branch))
    ]
    dcsd(x)
    for hook in hooks:
        hook.remove()
    return seen["channel"], seen["spatial"]


def test_context_to_channel_and_both_differ_only_in_the_spatial_kernels() -> None:
    channel_both, spatial_both = generated_kernels(make(context_to="both"), images())
    channel_one, spatial_one = generated_kernels(make(context_to="channel"), images())
    assert torch.equal(channel_both, channel_one)
    assert not torch.allclose(spatial_both, spatial_one, atol=1e-3)


def test_context_shifts_all_spatial_kernels_of_a_sample_before_normalising() -> None:
    branch = make().spatial_branch
    x, context = images(), torch.randn(2, C, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = branch.norm(branch.conv(x + context[:, :, None, None]))
        torch.testing.assert_close(branch(x, context), expected, rtol=1e-4, atol=1e-5)


GENERATOR = ("channel_branch", "spatial_branch")
MLP = ("domain.fc", "camera.fc")
CLASSIFIER = ("domain.classifier", "camera.classifier")


def gradients(dcsd: DCSD, x: Tensor, loss: str) -> dict[str, Tensor | None]:
    """Gradients of the task (any function of y) or of the two cross-entropies, by parameter, and of x."""
    x = x.clone().requires_grad_()
    y, logits = dcsd(x)
    if loss == "task":
        torch.autograd.backward(y.square().mean())
    else:
        ids = torch.arange(len(x)) % NUM_DOMAINS
        torch.autograd.backward([functional.cross_entropy(head, ids) for head in logits])
    return {"x": x.grad} | {name: parameter.grad for name, parameter in dcsd.named_parameters()}


def reached(gradients: dict[str, Tensor | None], prefixes: tuple[str, ...]) -> set[bool]:
    """True if a gradient that is not all zero reached the parameters with these prefixes."""
    chosen = [gradient for name, gradient in gradients.items() if name.startswith(prefixes)]
    assert chosen
    return {gradient is not None and bool(gradient.abs().sum() > 0) for gradient in chosen}


def test_stop_gradient_keeps_the_task_from_the_factors_and_the_factors_from_the_generators() -> None:
    task = gradients(make(), images(), "task")
    assert all(task[name] is None for name in task if name.startswith(MLP + CLASSIFIER))
    assert reached(task, (*GENERATOR, "x")) == {True}
    factors = gradients(make(), images(), "factors")
    assert all(factors[name] is None for name in factors if name.startswith(GENERATOR))
    assert reached(factors, (*MLP, *CLASSIFIER, "x")) == {True}


def test_without_stop_gradient_the_task_trains_the_mlps_and_the_forward_is_the_same() -> None:
    cut, open_ = make(), make(stop_gradient=False)
    assert torch.equal(cut(images())[0], open_(images())[0])
    task = gradients(open_, images(), "task")
    assert reached(task, MLP) == {True}
    assert all(task[name] is None for name in task if name.startswith(CLASSIFIER))


def test_detach_context_input_keeps_the_factor_losses_out_of_x() -> None:
    factors = gradients(make(detach_context_input=True), images(), "factors")
    assert factors["x"] is None
    assert reached(factors, (*MLP, *CLASSIFIER)) == {True}


def test_zero_second_layers_give_the_sample_only_network() -> None:
    full, sample_only = make(), make(seed=7, factors=("sample",))
    for mlp in (full.domain, full.camera):
        assert mlp is not None
        nn.init.zeros_(mlp.fc2.weight)
    sample_only.load_state_dict({name: full.state_dict()[name] for name in sample_only.state_dict()})
    y, logits = sample_only(images())
    assert torch.equal(full(images())[0], y)
    assert logits == (None, None)


@pytest.mark.parametrize(("factor", "absent"), [("domain", "camera"), ("camera", "domain")])
def test_a_factor_left_out_has_neither_mlp_nor_head(factor: Any, absent: str) -> None:
    dcsd = make(factors=("sample", factor))
    _, logits = dcsd(images())
    assert getattr(logits, absent) is None
    assert getattr(logits, factor).shape == (2, NUM_DOMAINS if factor == "domain" else NUM_CAMERAS)
    assert not any(name.startswith(absent) for name in dcsd.state_dict())


@pytest.mark.parametrize(("num_domains", "num_cameras"), [(1, 5), (3, 1), (1, 1), (3, 5)])
def test_a_head_with_one_class_is_dropped_only_if_asked_to(num_domains: int, num_cameras: int) -> None:
    kept = DCSD(C, num_domains, num_cameras)
    assert None not in (kept.domain, kept.camera)
    dropped = DCSD(C, num_domains, num_cameras, DcsdConfig(degenerate_heads="drop"))
    assert (dropped.domain is None, dropped.camera is None) == (num_domains == 1, num_cameras == 1)
    y, logits = dropped(images())
    assert y.shape == images().shape
    assert (logits.domain is None, logits.camera is None) == (num_domains == 1, num_cameras == 1)


@pytest.mark.parametrize("mlp_bias", [False, True])
def test_zero_last_starts_without_a_context_and_learns_one(mlp_bias: bool) -> None:
    dcsd, sample_only = make(context_init="zero_last", mlp_bias=mlp_bias), make(seed=7, factors=("sample",))
    sample_only.load_state_dict({name: dcsd.state_dict()[name] for name in sample_only.state_dict()})
    assert torch.equal(dcsd(images())[0], sample_only(images())[0])
    learning = gradients(dcsd, images(), "factors")
    assert reached(learning, ("domain.classifier.bias", "camera.classifier.bias")) == {True}
    assert reached(learning, ("domain.fc2", "camera.fc2")) == {True}


@pytest.mark.parametrize("context_init", ["auto", "default"])
def test_the_context_starts_at_random_otherwise(context_init: Any) -> None:
    default = nn.Linear(C // 4, C, bias=False)
    bound = default.weight.abs().max().item()
    domain = make(context_init=context_init).domain
    assert domain is not None
    assert 0.5 * bound < domain.fc2.weight.abs().max().item() < 2 * bound
    zeroed = make(context_init=context_init)
    zeroed.zero_context()
    assert torch.equal(zeroed(images())[0], make(context_init="zero_last")(images())[0])


def test_evaluation_needs_no_labels_and_samples_are_independent() -> None:
    dcsd = make().eval()
    assert list(inspect.signature(dcsd.forward).parameters) == ["x", "context"]
    x = images(batch=3)
    together, alone = dcsd(x)[0], torch.cat([dcsd(x[i : i + 1])[0] for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_pruned_heads_leave_the_output_and_drop_the_logits() -> None:
    dcsd = make()
    y, _ = dcsd(images())
    dcsd.prune_heads()
    pruned, logits = dcsd(images())
    assert torch.equal(pruned, y)
    assert logits == (None, None)
    assert not any("classifier" in name for name in dcsd.state_dict())


def test_state_dict_has_the_keys_of_the_docstring() -> None:
    dcsd = DCSD(64, 5, 32, DcsdConfig(mlp_bias=True))
    expected = {
        "spatial_branch.conv.weight": (9, 64, 1, 1),
        "spatial_branch.conv.bias": (9,),
        "channel_branch.fc1.weight": (12, 64),
        "channel_branch.fc1.bias": (12,),
        "channel_branch.fc2.weight": (576, 12),
        "channel_branch.fc2.bias": (576,),
        "channel_branch.norm.std": (64, 9),
    }
    for factor, classes in (("domain", 5), ("camera", 32)):
        expected |= {
            f"{factor}.fc1.weight": (16, 64),
            f"{factor}.fc1.bias": (16,),
            f"{factor}.fc2.weight": (64, 16),
            f"{factor}.fc2.bias": (64,),
            f"{factor}.classifier.weight": (classes, 64),
            f"{factor}.classifier.bias": (classes,),
        }
    assert {name: tuple(tensor.shape) for name, tensor in dcsd.state_dict().items()} == expected
    assert "channel_branch.norm.std" not in DCSD(64, 5, 32, DcsdConfig(learnable_std=False)).state_dict()


@pytest.mark.parametrize(("channels", "of_factors", "of_branch"), [(20, 5, 4), (8, 2, 1), (3, 1, 1)])
def test_hidden_layers_have_a_share_of_the_channels_and_at_least_one(
    channels: int, of_factors: int, of_branch: int
) -> None:
    dcsd = DCSD(channels, NUM_DOMAINS, NUM_CAMERAS, DcsdConfig())
    assert dcsd.domain is not None
    assert dcsd.domain.fc1.out_features == of_factors
    assert dcsd.channel_branch.fc1.out_features == of_branch


def test_initial_spread_of_the_generators() -> None:
    torch.manual_seed(0)
    dcsd = DCSD(512, 1, 1)
    sigma = 2**0.5 / 3
    std = dcsd.channel_branch.norm.std
    assert isinstance(std, nn.Parameter)
    assert std.std().item() == pytest.approx(sigma, rel=0.05)
    assert abs(std.mean().item()) < 0.03  # both signs
    assert dcsd.spatial_branch.norm.std == pytest.approx(sigma)
    for weight in (dcsd.channel_branch.fc1.weight, dcsd.channel_branch.fc2.weight, dcsd.spatial_branch.conv.weight):
        assert weight.std().item() == pytest.approx((2 / weight.shape[0]) ** 0.5, rel=0.05)
    y, _ = dcsd(torch.randn(2, 512, 16, 8))
    assert 0.4 < y.square().mean().sqrt().item() < 0.8  # 8/9 * 2/9 * 9 taps: about 0.6 of the input


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_filter_norm_works_in_fp32(dtype: torch.dtype) -> None:
    norm = FilterNorm(1, 3)
    kernels = norm(torch.randn(2, 9, 4, 3, generator=torch.Generator().manual_seed(0)).to(dtype))
    assert kernels.dtype == torch.float32
    torch.testing.assert_close(kernels.mean(1), torch.zeros(2, 4, 3), rtol=0, atol=1e-6)
    torch.testing.assert_close((kernels**2).sum(1), torch.full((2, 4, 3), 8 * 2 / 9), rtol=1e-5, atol=0)


def test_autocast_trains_with_finite_gradients() -> None:
    dcsd = make(stop_gradient=False)
    x = images(height=8, width=6).requires_grad_()
    exact, _ = dcsd(x)
    with torch.autocast("cpu", torch.bfloat16):
        y, logits = dcsd(x.bfloat16())
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), exact, rtol=0.1, atol=0.15)  # bf16 has 8 bits; kernels are of the order of 1
    torch.autograd.backward([y.float().square().mean(), *(head.float().logsumexp(1).sum() for head in logits)])
    assert x.grad is not None
    for gradient in (x.grad, *(parameter.grad for parameter in dcsd.parameters())):
        assert gradient is not None
        assert torch.isfinite(gradient).all()


def test_kernels_are_generated_in_fp32_under_autocast() -> None:
    dcsd = make()
    x = images(height=8, width=6).bfloat16()
    seen: list[Tensor] = []
    for module in (dcsd.channel_branch.fc1, dcsd.channel_branch.fc2, dcsd.spatial_branch.conv):
        module.register_forward_hook(lambda _m, _i, output: seen.append(output))
    with torch.autocast("cpu", torch.bfloat16):
        dcsd(x)
    assert [output.dtype for output in seen] == [torch.float32] * 3
    torch.compiler.reset()
    graph = torch.compile(dcsd, fullgraph=True, backend="eager")
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(graph(x)[0], dcsd(x)[0])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((0, 2, 2), "channels is 0; expected 1 or more"),
        ((C, 0, 2), "num_domains is 0; expected 1 or more"),
        ((C, 2, -1), "num_cameras is -1; expected 1 or more"),
    ],
)
def test_refuses_a_size_below_one(sizes: tuple[int, int, int], message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        DCSD(*sizes)


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"kernel_size": 1}, r"dcsd\.kernel_size is 1; expected an odd number >= 3"),
        ({"kernel_size": 4}, r"dcsd\.kernel_size is 4; expected an odd number >= 3"),
        ({"factors": ("domain",)}, "expected sample, and at most domain and camera"),
        ({"factors": ("sample", "domian")}, "each one of sample, domain, camera"),
        ({"context_to": "chanel"}, r"dcsd\.context_to is 'chanel'; expected one of both, channel, spatial"),
        ({"eps": 1e-40}, r"dcsd\.eps is 1e-40; expected 1\.18e-38 or more"),
        ({"combine": "mull"}, r"dcsd\.combine is 'mull'; expected one of mul, add"),
        ({"degenerate_heads": "dropped"}, "expected one of keep, drop"),
        ({"context_init": "zero"}, "expected one of auto, default, zero_last"),
    ],
)
def test_refuses_settings_that_would_give_another_network(switches: dict[str, Any], message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        make(**switches)


def test_compiles_in_one_graph() -> None:
    dcsd = make().eval()
    x = images()
    compiled = torch.compile(dcsd, fullgraph=True, backend="eager")
    y, logits = compiled(x)
    assert torch.equal(y, dcsd(x)[0])
    assert torch.equal(logits.camera, dcsd(x)[1].camera)
