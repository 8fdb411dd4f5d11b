"""Controls for the generated kernel on the same context, stages without it, and rare cameras."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from jointreid.config import DcsdConfig, LossConfig, RunConfig
from jointreid.custom import trust
from jointreid.data.images import Batch
from jointreid.losses import factor_cross_entropy, reid_loss
from jointreid.messages.errors import JointreidError
from jointreid.models.context import (
    VECTOR,
    CameraShrinkage,
    Context,
    ContextNetwork,
    LabelContext,
    Origins,
    at_most_one_long,
    context_module,
)
from jointreid.models.controls import DomainNorm, DomainNormConv, FilmConv
from jointreid.models.dcsd import DCSD
from jointreid.models.reid import ReIDModel, build_model
from jointreid.run import load_weights
from tests.models import test_context
from tests.models.test_context import embeddings, reordered, with_context, without_context

IDS, DOMAINS, CAMERAS = 4, 3, 5


def model(inject: str, system: str = "bot-dcsd", trunk: str = "", **switches: Any) -> ReIDModel:
    trust(test_context.__name__)
    torch.manual_seed(0)
    dcsd = DcsdConfig(**{"base": "static", "context": "network", "inject": inject} | switches)
    return build_model(system, IDS, DOMAINS, CAMERAS, trunk or f"{test_context.__name__}:Small", dcsd=dcsd)


def images() -> Tensor:
    return torch.randn(4, 3, 16, 8, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("inject", ["kernel", "film", "norm"])
def test_every_form_starts_from_the_weights_of_the_plain_network(inject: str, tmp_path: Path) -> None:
    plain, other = model("kernel", "bot"), model(inject)
    for parameter in plain.parameters():
        nn.init.normal_(parameter)
    save_file(plain.state_dict(), tmp_path / "plain.safetensors")
    load_weights(other, tmp_path / "plain.safetensors", heads=False)
    found = other.state_dict()
    assert all(torch.equal(found[name], value) for name, value in plain.trunk.state_dict(prefix="trunk.").items())


@pytest.mark.parametrize("switches", [{"context_held_out": 0.25}, {"camera_shrinkage": 5.0}])
def test_what_measures_a_context_can_be_turned_on_and_off_for_a_trained_network(
    switches: dict[str, Any], tmp_path: Path
) -> None:
    without, having = model("kernel"), model("kernel", **switches)
    for first, second in ((without, having), (having, without)):
        save_file(first.state_dict(), tmp_path / "first.safetensors")
        nn.init.zeros_(second.trunk.state_dict()["filter.0.weight"])
        load_weights(second, tmp_path / "first.safetensors", heads=False)
        assert torch.equal(second.trunk.state_dict()["filter.0.weight"], first.trunk.state_dict()["filter.0.weight"])


def test_shrinkage_of_what_a_normalisation_is_not_told_is_refused() -> None:
    with pytest.raises(JointreidError, match=r"dcsd.camera_shrinkage changes nothing with dcsd.inject norm"):
        model("norm", camera_shrinkage=5.0)


def test_film_scales_and_shifts_the_output_of_the_static_convolution() -> None:
    conv = FilmConv(6, 2, groups=6, bias=True)
    x, vector = torch.randn(2, 6, 7, 5), torch.randn(2, VECTOR)
    static = functional.conv2d(x, conv.weight, conv.bias, 2, 1, groups=6)
    assert torch.equal(conv(x, Context(vector)), static)  # at the start
    assert conv.projection is not None
    nn.init.normal_(conv.projection.weight)
    scale, shift = (vector @ conv.projection.weight.T).chunk(2, dim=1)
    expected = static * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
    torch.testing.assert_close(conv(x, Context(vector)), expected)
    assert torch.equal(conv(x, Context(torch.zeros(2, VECTOR))), static)
    assert torch.equal(conv(x), static)


@pytest.mark.parametrize("context", ["network", "labels"])
def test_film_is_told_a_vector_of_length_1_at_most_and_less_where_less_is_known(context: str) -> None:
    config = DcsdConfig(base="static", context=context, inject="film")  # type: ignore[arg-type]
    found, given = context_module(config, 3, 5), Origins(torch.tensor([0, 1, 2]), torch.tensor([0, 2, 4]))
    assert found is not None
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            parameter.mul_(50 if "classifier" not in name and (".fc." in name or context == "labels") else 1)
    predicted = found(images()[:3] if context == "network" else given)
    torch.testing.assert_close(predicted.vector.norm(dim=1), torch.ones(3))
    trusted = predicted.trusted(torch.tensor([0.0, 0.2]))
    torch.testing.assert_close(trusted.vector, 0.2 * predicted.camera)
    domain, camera = torch.tensor([[0.3, 0.0], [3.0, 0.0]]), torch.tensor([[0.0, 0.4], [0.0, 4.0]])
    shortened = at_most_one_long(domain, camera)
    torch.testing.assert_close(shortened[0], torch.tensor([[0.3, 0.0], [0.6, 0.0]]))
    torch.testing.assert_close(shortened[1], torch.tensor([[0.0, 0.4], [0.0, 0.8]]))
    assert at_most_one_long(None, None) == (None, None)


def test_a_sure_posterior_gives_each_domain_its_own_batch_normalisation() -> None:
    norm, parts = DomainNorm(4, 2), [nn.BatchNorm2d(4), nn.BatchNorm2d(4)]
    with torch.no_grad():
        for domain, part in enumerate(parts):
            part.weight.copy_(norm.weight[domain].normal_())
            part.bias.copy_(norm.bias[domain].normal_())
    for step in range(3):
        y = torch.randn(5, 4, 3, 2, generator=torch.Generator().manual_seed(step)) * 3 + 1
        posterior = torch.tensor([[1.0, 0], [0, 1], [1, 0], [0, 1], [1, 0]])
        found = norm(y, posterior)
        torch.testing.assert_close(found[::2], parts[0](y[::2]))
        torch.testing.assert_close(found[1::2], parts[1](y[1::2]))
    for domain, part in enumerate(parts):
        assert part.running_mean is not None
        assert part.running_var is not None
        torch.testing.assert_close(norm.running_mean[domain], part.running_mean)
        torch.testing.assert_close(norm.running_var[domain], part.running_var)
    norm.eval()
    y = torch.randn(1, 4, 3, 2)
    halves = [norm(y, functional.one_hot(torch.tensor([d]), 2).float()) for d in range(2)]
    torch.testing.assert_close(norm(y, torch.tensor([[0.25, 0.75]])), 0.25 * halves[0] + 0.75 * halves[1])
    torch.testing.assert_close(norm(y), (halves[0] + halves[1]) / 2)


def test_a_domain_that_is_not_in_the_batch_keeps_its_statistics() -> None:
    norm = DomainNorm(4, 2)
    y = torch.randn(3, 4, 3, 2) + 5
    found = norm(y, torch.tensor([[1.0, 0.0]] * 3))
    assert torch.isfinite(found).all()
    assert norm.running_mean[1].tolist() == [0] * 4
    assert (norm.running_mean[0] > 0.2).all()
    torch.autograd.backward(found.square().mean())
    assert norm.weight.grad is not None
    assert torch.isfinite(norm.weight.grad).all()


@pytest.mark.parametrize("inject", ["film", "norm"])
def test_controls_hold_the_weights_of_the_plain_network_under_its_names(inject: str) -> None:
    plain, found = model("kernel", "bot"), model(inject)
    own = found.state_dict()
    assert plain.state_dict().keys() <= own.keys()
    assert not any("branch" in name or name.endswith("gain") for name in own)
    found.load_state_dict(own | plain.state_dict())
    if inject == "film":
        assert torch.equal(embeddings(found), embeddings(plain))


@pytest.mark.parametrize("inject", ["film", "norm"])
@pytest.mark.parametrize("context", ["network", "labels"])
def test_the_context_changes_the_features_through_the_control(inject: str, context: str) -> None:
    found = model(inject, context=context)
    for name, parameter in found.named_parameters():
        if "projection" in name or "domain_norm" in name:
            nn.init.normal_(parameter)
    ids = torch.tensor([0, 1, 2, 2])
    origins = Origins(ids, ids) if context == "labels" else None
    if isinstance(found.context, ContextNetwork):
        assert found.context.domain is not None
        assert found.context.domain.classifier is not None
        nn.init.normal_(found.context.domain.classifier.weight, std=5)
    own = embeddings(found, origins)
    with torch.no_grad():
        predicted = found.predict_context(images(), origins)
    assert predicted is not None
    assert torch.equal(with_context(found, predicted, origins), own)
    assert not torch.allclose(with_context(found, reordered(predicted, [1, 2, 3, 0]), origins), own)
    zeroed = without_context(found, origins)
    assert not torch.allclose(zeroed, own)
    if context == "labels":
        unknown = torch.full((4,), -1)
        torch.testing.assert_close(embeddings(found, Origins(unknown, unknown)), zeroed)


@pytest.mark.parametrize(("inject", "reached"), [("film", "projection.weight"), ("norm", "domain_norm.weight")])
def test_every_parameter_learns_and_the_task_does_not_reach_the_context(inject: str, reached: str) -> None:
    found = model(inject).train()
    output = found(images())
    torch.autograd.backward(output.id_logits.square().mean() + output.embedding.square().mean())
    with_gradient = {name for name, p in found.named_parameters() if p.grad is not None}
    assert not any(name.startswith("context.") for name in with_gradient)
    assert {f"trunk.filter.{n}.{reached}" for n in (0, 1)} <= with_gradient
    logits = found(images()).factor_logits[0]
    assert logits.domain is not None
    assert logits.camera is not None
    torch.autograd.backward(logits.domain.square().mean() + logits.camera.square().mean())
    trained = {name for name, p in found.named_parameters() if p.requires_grad}
    assert {name for name, p in found.named_parameters() if p.grad is not None} == trained  # several processes need it


def test_the_vectors_of_labels_do_not_wait_for_a_gradient_where_only_the_domain_is_told() -> None:
    found = model("norm", context="labels")
    assert [name for name, p in found.named_parameters() if name.startswith("context.") and p.requires_grad] == []


@pytest.mark.parametrize("inject", ["norm", "kernel"])
def test_pruning_keeps_what_the_blocks_are_told(inject: str) -> None:
    found = model(inject, camera_shrinkage=0.0 if inject == "norm" else 10.0)
    found.set_camera_images(torch.tensor([1, 10, 100, 5, 7]))
    before = embeddings(found)
    found.prune_heads()
    assert torch.equal(embeddings(found), before)


@pytest.mark.parametrize(
    ("inject", "switches", "message"),
    [
        ("film", {"factors": ("sample",)}, "dcsd.inject film needs the factor domain or camera"),
        ("film", {"base": "none"}, "dcsd.inject film needs dcsd.base static and dcsd.context network or labels"),
        ("norm", {"context": "block"}, "dcsd.inject norm needs dcsd.base static and dcsd.context network or labels"),
        ("norm", {"factors": ("sample", "camera")}, "dcsd.inject norm needs the factor domain"),
        ("kernel", {"context": "block", "camera_shrinkage": 5}, "dcsd.camera_shrinkage needs dcsd.context network"),
        ("kernel", {"factors": ("sample", "domain"), "camera_shrinkage": 5}, "and the factor camera"),
        ("kernel", {"detach_context_input": True}, "dcsd.detach_context_input needs dcsd.context block or block-stats"),
        ("kernel", {"factors": ("sample",), "context_dropout": 0.1}, "dcsd.context_dropout needs the factor domain or"),
        ("kernel", {"factors": ("sample",), "context_stages": (1,)}, "dcsd.context_stages needs the factor domain or"),
        ("norm", {"stop_gradient": False}, "dcsd.stop_gradient false changes nothing with dcsd.inject norm"),
        ("kernel", {"context": "labels", "stop_gradient": False}, "false changes nothing with dcsd.context labels"),
        ("kernel", {"context_stages": (1,)}, "Small does not tell its stages"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(inject: str, switches: dict[str, Any], message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        model(inject, **switches)


@pytest.mark.parametrize(
    ("trunk", "last"), [("resnet50-w16", "trunk.layer4."), ("efficientnet_lite0", "trunk.blocks.6.")]
)
@pytest.mark.parametrize("inject", ["kernel", "film", "norm"])
def test_stages_that_are_left_out_are_told_nothing(trunk: str, last: str, inject: str) -> None:
    stages = (1, 2, 3) if trunk == "resnet50-w16" else (1, 2, 3, 4, 5, 6)
    told = {"kernel": "projection", "film": "projection", "norm": "domain_norm"}[inject]
    found = model(inject, trunk=trunk, context_stages=stages)
    names = [name for name in found.state_dict() if f".{told}." in name]
    assert names
    assert not any(name.startswith(last) for name in names)
    everywhere = [name for name in model(inject, trunk=trunk).state_dict() if f".{told}." in name]
    assert [name for name in everywhere if not name.startswith(last)] == names
    assert found(torch.randn(2, 3, 32, 32)).embedding.shape[0] == 2
    with pytest.raises(JointreidError, match="context_stages names stage 8, but this trunk has"):
        model(inject, trunk=trunk, context_stages=(8,))


def test_blocks_of_left_out_stages_have_no_heads_of_their_own() -> None:
    found = model("kernel", trunk="resnet50-w16", context="block", context_stages=(4,))
    heads = [name for name, module in found.named_modules() if isinstance(module, DCSD) and module.domain is not None]
    assert {name.split(".")[1] for name in heads} == {"layer4"}
    logits = [logits for logits in found(torch.randn(2, 3, 32, 32)).factor_logits if logits.domain is not None]
    assert len(logits) == 3


def test_rare_cameras_keep_little_of_their_vector() -> None:
    shrinkage = CameraShrinkage(3, 48)
    shrinkage.set_counts(torch.tensor([48, 0, 432]))
    assert shrinkage.kept.tolist() == pytest.approx([0.5, 0.0, 0.9])
    posterior = torch.tensor([[1.0, 0, 0], [0, 0.5, 0.5], [0, 1, 0]])
    shares = shrinkage(torch.ones(3, VECTOR), posterior)[:, 0]
    assert shares.tolist() == pytest.approx([0.5, 0.45, 0.0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(shrinkage(torch.ones(3, VECTOR), posterior)[:, 0], shares)


@pytest.mark.parametrize("context", ["network", "labels"])
def test_a_camera_without_images_is_told_as_its_domain(context: str) -> None:
    found, plain = model("kernel", context=context, camera_shrinkage=10.0), model("kernel", context=context)
    assert "context.shrinkage.kept" in found.head_names()
    ids = torch.tensor([0, 1, 2, 2])
    origins = Origins(ids, ids)
    before = found.predict_context(images(), origins), plain.predict_context(images(), origins)
    assert before[0] is not None
    assert before[1] is not None
    torch.testing.assert_close(before[0].vector, before[1].vector)  # until the counts are known
    found.set_camera_images(torch.zeros(CAMERAS))
    after = found.predict_context(images(), origins)
    assert after is not None
    assert after.domain is not None
    torch.testing.assert_close(after.vector, after.domain)
    assert isinstance(found.context, ContextNetwork | LabelContext)


def test_shuffled_labels_train_the_heads_with_random_ones() -> None:
    output = model("kernel").train()(images())
    labels, ids = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 2, 1])
    batch = Batch(images(), labels, ids + 2, ids)
    config = LossConfig(context_labels="shuffled")
    terms = reid_loss(output, batch, config, torch.Generator().manual_seed(3))
    drawn, heads = torch.Generator().manual_seed(3), output.factor_logits[0]
    assert heads.domain is not None
    assert heads.camera is not None
    domains, cameras = (torch.randint(head.shape[1], (4,), generator=drawn) for head in (heads.domain, heads.camera))
    expected = factor_cross_entropy(output.factor_logits, domains, cameras)
    assert (terms.domain, terms.camera) == expected
    correct = reid_loss(output, batch, LossConfig())
    assert correct.domain != terms.domain
    assert (correct.triplet, correct.identity) == (terms.triplet, terms.identity)
    assert DomainNormConv(4, 1, num_domains=2).domain_norm is not None


@pytest.mark.parametrize(
    ("inject", "switches"),
    [("film", {"camera_shrinkage": 9.0}), ("norm", {})],
)
def test_controls_compile_into_one_graph(inject: str, switches: dict[str, Any]) -> None:
    torch.compiler.reset()
    found = model(inject, **switches).train()
    ids = torch.tensor([0, 1, 2, 2])
    graph = torch.compile(found, fullgraph=True, backend="eager")
    output = graph(images(), Origins(ids, ids))
    expected = model(inject, **switches).train()(images(), Origins(ids, ids))
    torch.testing.assert_close(output.embedding, expected.embedding)


@pytest.mark.parametrize("inject", ["film", "norm"])
def test_controls_keep_to_half_precision_maps_with_statistics_in_fp32(inject: str) -> None:
    found = model(inject).train()
    with torch.autocast("cpu", torch.bfloat16):
        output = found(images())
    torch.autograd.backward(output.embedding.float().square().mean())
    for name, buffer in found.named_buffers():
        if "domain_norm" in name:
            assert buffer.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in found.parameters() if p.grad is not None)


def test_a_small_scale_is_not_lost_in_half_precision() -> None:
    conv, x, vector = FilmConv(6, 1, groups=6), torch.randn(2, 6, 7, 5), torch.full((2, VECTOR), VECTOR**-0.5)
    assert conv.projection is not None
    told = Context(vector)
    nn.init.constant_(conv.projection.weight, 0.003 / VECTOR**0.5)
    with torch.autocast("cpu", torch.bfloat16):
        plain, scaled = conv.filtered(x), conv(x, told)
    assert scaled.dtype == torch.bfloat16
    exact = plain.float() * 1.003 + 0.003
    assert (scaled.float() - exact).abs().mean() < 0.75 * (plain.float() - exact).abs().mean()


def test_labels_that_are_told_are_not_shuffled() -> None:
    shuffled = RunConfig().replace(model={"name": "bot-dcsd"}, loss={"context_labels": "shuffled"})
    with pytest.raises(JointreidError, match=r"is 'shuffled'; expected correct with dcsd.context labels"):
        shuffled.replace(dcsd={"context": "labels"})
    with pytest.raises(JointreidError, match=r"is 'shuffled'; expected correct with dcsd.factors sample"):
        shuffled.replace(dcsd={"factors": ("sample",)})


def test_a_context_that_is_measured_is_not_compared_with_shuffled_labels() -> None:
    measured = RunConfig().replace(model={"name": "bot-dcsd"}, dcsd={"context": "network", "context_held_out": 0.1})
    with pytest.raises(JointreidError, match=r"is 'shuffled'; expected correct with dcsd.context_held_out"):
        measured.replace(loss={"context_labels": "shuffled"})
