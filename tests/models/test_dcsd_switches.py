"""Every switch of DCSD changes what it says and nothing else: weights, kernels, output, logits, paths of gradients.

A module with the switch is compared with the default one after it has been given the weights that both have.
"""

import ast
import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from jointreid.config import DcsdConfig
from jointreid.models import trunk
from jointreid.models.dcsd import DCSD

C, NUM_DOMAINS, NUM_CAMERAS = 16, 3, 5
CONTEXT = "domain. camera."
GENERATORS = "channel_branch. spatial_branch."


class Case(NamedTuple):
    """A value of a switch and all that it may change.

    Attributes:
        name: of the switch, a field of `DcsdConfig`.
        value: another than the default.
        weights: the beginnings of the names of weights that come, go, or have another shape.
        changes: which of channel kernels, spatial kernels, output and logits are others, weights being equal.
        task: what the gradient of the task reaches, as beginnings of names; by default the generators and X.
        factors: what that of the two cross-entropies reaches; by default both MLPs, both classifiers and X.
    """

    name: str
    value: Any
    weights: str = ""
    changes: str = ""
    task: str = f"{GENERATORS} x"
    factors: str = f"{CONTEXT} x"


CASES = [
    Case("kernel_size", 5, "channel_branch.fc2 channel_branch.norm spatial_branch.conv", "channel spatial output"),
    Case("squeeze", 0.5, "channel_branch.fc1 channel_branch.fc2.weight", "channel output"),
    Case("mlp_reduction", 2, "domain.fc camera.fc", "channel spatial output logits"),
    Case("mlp_bias", True, "domain.fc1.bias domain.fc2.bias camera.fc1.bias camera.fc2.bias",
         "channel spatial output logits"),
    Case("cls_bias", False, "domain.classifier.bias camera.classifier.bias", "logits"),
    Case("factors", ("sample",), CONTEXT, "channel spatial output logits", factors=""),
    Case("factors", ("sample", "domain"), "camera.", "channel spatial output logits", factors="domain. x"),
    Case("factors", ("sample", "camera"), "domain.", "channel spatial output logits", factors="camera. x"),
    Case("context_to", "channel", changes="spatial output"),
    Case("context_to", "spatial", changes="channel output"),
    Case("stop_gradient", False, task=f"{GENERATORS} domain.fc camera.fc x"),
    Case("detach_context_input", True, factors=CONTEXT),
    Case("learnable_std", False, "channel_branch.norm.std", "channel output"),
    Case("eps", 1.0, changes="channel spatial output"),
    Case("combine", "add", changes="output"),
    Case("base", "static", "weight gain", "output", task="x weight gain"),  # the gain starts at 0
    Case("context", "block-stats", "domain.fc1 camera.fc1", "channel spatial output logits"),
    Case("context", "network", f"{CONTEXT} projection", "channel spatial output logits", factors=""),
    Case("context", "labels", f"{CONTEXT} projection", "channel spatial output logits", factors=""),
    Case("hidden_floor", 8, "channel_branch.fc1 channel_branch.fc2.weight", "channel output"),
    Case("generated_start", "zeros", "channel_branch.norm", "channel spatial output",
         task="channel_branch. spatial_branch. x"),  # without a base the factory refuses it
]  # fmt: skip

# The switches that change nothing of a single module with given weights, and the test that sees what they do change.
ELSEWHERE = {
    "context_init": "tests/models/test_dcsd_switches.py::"
    "test_context_init_changes_only_the_initial_last_layers_of_the_mlps",
    "degenerate_heads": "tests/models/test_dcsd_switches.py::test_dropping_a_head_equals_leaving_its_factor_out",
    "gain_relative": "tests/models/test_context.py::test_a_relative_gain_is_a_share_of_the_size_of_the_static_kernel",
    "context_dropout": "tests/training/test_batches.py::test_the_share_of_dropped_contexts_is_that_of_the_settings",
    "context_held_out": "tests/models/test_context_trust.py::test_a_context_that_knows_nothing_is_a_context_of_zeros",
    "context_stages": "tests/models/test_controls.py::test_stages_that_are_left_out_are_told_nothing",
    "camera_shrinkage": "tests/models/test_controls.py::test_a_camera_without_images_is_told_as_its_domain",
    "inject": "tests/models/test_controls.py::test_the_context_changes_the_features_through_the_control",
    "decay_generators": "tests/training/test_optim.py::"
    "test_generators_and_context_have_their_own_lr_and_generators_no_decay",
}


def make(**switches: Any) -> DCSD:
    torch.manual_seed(0)
    return DCSD(C, NUM_DOMAINS, NUM_CAMERAS, DcsdConfig(**switches)).double()


def images() -> Tensor:
    return torch.randn(2, C, 5, 7, generator=torch.Generator().manual_seed(1)).double()


def share_weights(dcsd: DCSD, default: DCSD) -> None:
    """Give a module the weights of the default one that it has too, in the same shape."""
    own = dcsd.state_dict()
    shared = {k: v for k, v in default.state_dict().items() if k in own and own[k].shape == v.shape}
    dcsd.load_state_dict(own | shared)


def seen(dcsd: DCSD) -> dict[str, Any]:
    """Return what a module makes of the images."""
    found: dict[str, Any] = {}
    handles = [
        branch.register_forward_hook(lambda _module, _inputs, output, name=name: found.update({name: output}))
        for name, branch in (("channel", dcsd.channel_branch), ("spatial", dcsd.spatial_branch))
    ]
    found["output"], found["logits"] = dcsd(images())
    for handle in handles:
        handle.remove()
    return found


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    return a is None and b is None if a is None or b is None else all(map(same, a, b))


def reached(dcsd: DCSD, loss: str) -> set[str]:
    """Return the names of the weights, and x, that a loss has a gradient for."""
    dcsd.zero_grad()
    x = images().requires_grad_()
    y, logits = dcsd(x)
    if loss == "task":
        total = y.square().mean()
    else:
        ids = torch.arange(len(x))
        terms = [functional.cross_entropy(head, ids) for head in logits if head is not None]
        if not terms:
            return set()
        total = torch.stack(terms).sum()
    torch.autograd.backward(total)
    gradients = {"x": x.grad} | {name: parameter.grad for name, parameter in dcsd.named_parameters()}
    return {name for name, gradient in gradients.items() if gradient is not None and bool(gradient.abs().sum() > 0)}


def named(names: set[str], beginnings: str) -> set[str]:
    return {name for name in names if name.startswith(tuple(beginnings.split()))} if beginnings else set()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.value}")
def test_a_switch_changes_only_its_part_of_the_module(case: Case) -> None:
    default, switched = make(), make(**{case.name: case.value})
    before, after = ({name: tensor.shape for name, tensor in m.state_dict().items()} for m in (default, switched))
    differing = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    assert differing == named(before.keys() | after.keys(), case.weights)

    share_weights(switched, default)
    made, made_by_default = seen(switched), seen(default)
    assert {name for name in made if not same(made[name], made_by_default[name])} == set(case.changes.split())

    weights = {"x", *after}
    assert reached(switched, "task") == named(weights, case.task)
    assert reached(switched, "factors") == named(weights, case.factors)


def test_every_case_changes_something() -> None:
    for case in CASES:
        assert case != Case(case.name, case.value), case.name


def test_no_function_takes_the_switches_one_by_one() -> None:
    """A switch is declared in `DcsdConfig` and acts in models/dcsd.py: nothing between hands on single ones."""
    switches = {field.name for field in dataclasses.fields(DcsdConfig)}
    taken = [
        switches & {arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)}
        for path in Path(trunk.__file__).parent.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]
    assert len(taken) > 100
    assert [names for names in taken if len(names) > 1] == [{"kernel_size", "eps"}]  # of FilterNorm, a layer


def test_every_switch_is_tried() -> None:
    tried = {case.name for case in CASES}
    assert not tried & ELSEWHERE.keys()
    assert tried | ELSEWHERE.keys() == {field.name for field in dataclasses.fields(DcsdConfig)}


@pytest.mark.parametrize("switch", ELSEWHERE)
def test_what_another_test_tries_is_there(switch: str) -> None:
    file, _, name = ELSEWHERE[switch].partition("::")
    text = (Path(__file__).parents[2] / file).read_text(encoding="utf-8")
    (found,) = [node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef) and node.name == name]
    source = ast.get_source_segment(text, found) or ""
    assert switch in source


@pytest.mark.parametrize("classes", [(1, NUM_CAMERAS), (NUM_DOMAINS, 1), (1, 1)])
def test_dropping_a_head_equals_leaving_its_factor_out(classes: tuple[int, int]) -> None:
    factors = ("sample", *(name for name, count in zip(("domain", "camera"), classes, strict=True) if count > 1))
    dropped = DCSD(C, *classes, DcsdConfig(degenerate_heads="drop")).double()
    without = DCSD(C, *classes, DcsdConfig(factors=factors)).double()  # type: ignore[arg-type]
    without.load_state_dict(dropped.state_dict())
    assert same(tuple(seen(dropped).values()), tuple(seen(without).values()))


def test_context_init_changes_only_the_initial_last_layers_of_the_mlps() -> None:
    default, zeroed = make(), make(context_init="zero_last")
    for name, tensor in zeroed.state_dict().items():
        if name in ("domain.fc2.weight", "camera.fc2.weight"):
            assert not tensor.any()
            nn.init.zeros_(default.get_parameter(name))
        else:
            assert torch.equal(tensor, default.state_dict()[name]), name
    assert same(tuple(seen(default).values()), tuple(seen(zeroed).values()))
