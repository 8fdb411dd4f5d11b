"""The systems: what a model returns, what it learns, and how it is asked for."""

from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from jointreid.config import DcsdConfig, LossConfig, SystemName
from jointreid.data.images import Batch
from jointreid.demo.weights import committed_weights
from jointreid.losses import reid_loss, trained_terms
from jointreid.messages.errors import JointreidError
from jointreid.models import ModelOutput, ReIDModel, build_model
from jointreid.models.dcsd import DCSD
from jointreid.models.reid import SYSTEMS
from jointreid.run import load_weights

NUM_IDS, NUM_DOMAINS, NUM_CAMERAS = 4, 2, 3


def make(name: str = "bot-dcsd", **options: Any) -> ReIDModel:
    torch.manual_seed(0)
    return build_model(name, NUM_IDS, NUM_DOMAINS, NUM_CAMERAS, trunk="resnet50-w16", **options)


def images(batch: int = 2, height: int = 64, width: int = 32) -> Tensor:
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(1))


def batch_of_eight() -> Batch:
    ids = torch.arange(8)
    return Batch(images(8), labels=ids // 2, global_camids=ids % NUM_CAMERAS, domain_ids=ids % NUM_DOMAINS)


BLOCKS = {"bot": 0, "agw": 0, "bot-dcsd": 16, "agw-dcsd": 16, "bot-dn": 0, "bot-snr": 0}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "blocks"), BLOCKS.items())
def test_output_shapes_and_the_size_of_the_map(name: str, blocks: int) -> None:
    model = make(name).eval()
    maps = []
    model.trunk.register_forward_hook(lambda _module, _inputs, output: maps.append(output[0].shape))
    with torch.no_grad():
        output = model(images(2, 256, 128))
    assert isinstance(output, ModelOutput)
    assert maps == [(2, 512, 16, 8)]
    assert output.embedding.shape == output.bn_embedding.shape == (2, 512)
    assert output.id_logits.shape == (2, NUM_IDS)
    shapes = [tuple(head.shape for head in logits if head is not None) for logits in output.factor_logits]
    assert shapes == [((2, NUM_DOMAINS), (2, NUM_CAMERAS))] * blocks
    assert output.restitutions == ()  # for the loss alone
    assert len(make(name).train()(images()).restitutions) == (4 if name == "bot-snr" else 0)


def test_all_systems_are_tested_here() -> None:
    assert BLOCKS.keys() == SYSTEMS.keys() == set(get_args(SystemName))


def test_embedding_is_the_mean_of_the_map_and_bn_embedding_its_normalisation() -> None:
    model = make("bot").train()
    maps = []
    model.trunk.register_forward_hook(lambda _module, _inputs, output: maps.append(output[0]))
    output = model(images(6))
    torch.testing.assert_close(output.embedding, maps[0].flatten(2).mean(2))
    centred = output.embedding - output.embedding.mean(0)
    expected = centred / (centred.square().mean(0) + 1e-5).sqrt()
    torch.testing.assert_close(output.bn_embedding, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(output.id_logits, output.bn_embedding @ model.classifier.weight.T)


@pytest.mark.parametrize(("options", "p"), [({}, 3.0), ({"gem_p": 2.0}, 2.0), ({"gem_learnable": True}, 3.0)])
def test_agw_pools_by_the_generalised_mean(options: dict[str, Any], p: float) -> None:
    model = make("agw", **options).eval()
    with torch.no_grad():
        expected = model.trunk(images()).feature_map.clamp(min=1e-6).pow(p).mean((2, 3)).pow(1 / p)
        torch.testing.assert_close(model(images()).embedding, expected)
    assert ("pool.p" in model.state_dict()) == ("gem_learnable" in options)


def test_non_local_options_reach_the_trunk() -> None:
    widths = [make("agw", nonlocal_reduction=r).trunk.state_dict()["layer3.5.non_local.g.bias"] for r in (0, 2)]
    assert [len(bias) for bias in widths] == [1, 128]


@pytest.mark.parametrize("name", ["bot", "bot-dcsd"])
def test_the_weights_in_the_package_fit(name: str) -> None:
    model = make(name).eval()
    load_weights(model, committed_weights(name), heads=False)
    embedding = model(images()).bn_embedding
    assert torch.isfinite(embedding).all()
    assert not torch.allclose(embedding, make(name).eval()(images()).bn_embedding)


def test_initial_head() -> None:
    model = build_model("bot", 500, trunk="resnet50-w16", classifier_std=0.02)
    assert "classifier.bias" not in model.state_dict()
    assert model.classifier.weight.std().item() == pytest.approx(0.02, rel=0.02)
    assert torch.equal(model.bnneck.weight, torch.ones(512))
    assert torch.equal(model.bnneck.bias, torch.zeros(512))


@pytest.mark.slow
@pytest.mark.parametrize("autocast", [False, True], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", ["bot", "bot-dcsd", "agw", "bot-dn", "bot-snr"])
def test_every_parameter_gets_a_finite_gradient(name: str, autocast: bool) -> None:
    model = make(name, gem_learnable=True).train()
    batch = batch_of_eight()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        output = model(batch.images)
        terms = reid_loss(output, batch, LossConfig(triplet="wrt" if name == "agw" else "batch_hard"))
    assert output.embedding.dtype == output.bn_embedding.dtype == torch.float32
    heads = {"domain", "camera"} if name.endswith("-dcsd") else set()
    modules = {"snr"} if name == "bot-snr" else set()
    assert trained_terms(terms).keys() == {"triplet", "identity", "total"} | heads | modules
    assert {term.dtype for term in trained_terms(terms).values()} == {torch.float32}
    torch.autograd.backward(terms.total)
    without = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert without == ["bnneck.bias"]
    assert terms.snr is None or terms.snr.item() > 0
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            assert torch.isfinite(parameter.grad).all(), name
    assert not model.bnneck.bias.requires_grad


def test_evaluation_gives_an_image_the_same_embedding_in_any_batch() -> None:
    model = make().eval()
    x = images(3)
    with torch.no_grad():
        together, alone = model(x).bn_embedding, model(x[1:2]).bn_embedding
    torch.testing.assert_close(together[1:2], alone, rtol=1e-3, atol=1e-3)


def test_head_names_are_those_of_parts_that_depend_on_the_training_set() -> None:
    model = make()
    other = build_model("bot-dcsd", 9, 1, 7, trunk="resnet50-w16")
    state, other_state = model.state_dict(), other.state_dict()
    assert model.head_names() == [name for name in state if state[name].shape != other_state[name].shape]
    assert len(model.head_names()) == 1 + 16 * 4
    assert make("bot").head_names() == ["classifier.weight"]


def test_pruned_heads_leave_the_embedding() -> None:
    model = make().eval()
    with torch.no_grad():
        before = model(images())
        model.prune_heads()
        after = model(images())
    assert torch.equal(before.bn_embedding, after.bn_embedding)
    assert after.factor_logits == ((None, None),) * 16
    assert model.head_names() == ["classifier.weight"]


def test_the_stem_follows_the_code_base() -> None:
    fastreid, repository = make("bot").trunk, make("bot", stem_relu=False).trunk
    assert isinstance(fastreid.relu, nn.ReLU)
    assert isinstance(fastreid.maxpool, nn.MaxPool2d)
    assert isinstance(repository.maxpool, nn.MaxPool2d)
    assert (fastreid.maxpool.ceil_mode, fastreid.maxpool.padding) == (True, 0)
    assert isinstance(repository.relu, nn.Identity)
    assert (repository.maxpool.ceil_mode, repository.maxpool.padding) == (False, 1)


def test_the_pooling_of_the_stem_can_be_set_apart_from_its_relu() -> None:
    facts = {}
    for kind in ("pad", "ceil", "2x2"):
        pool = make("bot", stem_pool=kind).trunk.maxpool
        assert isinstance(pool, nn.MaxPool2d)
        facts[kind] = pool.kernel_size, pool.stride, pool.padding, pool.ceil_mode
    assert facts == {"pad": (3, 2, 1, False), "ceil": (3, 2, 0, True), "2x2": (2, 2, 0, False)}
    with pytest.raises(JointreidError, match="stem_pool"):
        make("bot", stem_pool="half")


def test_options_reach_every_generated_convolution() -> None:
    model = make(dcsd=DcsdConfig(factors=("sample", "camera"), stop_gradient=False, mlp_bias=True))
    blocks = [module for module in model.modules() if isinstance(module, DCSD)]
    assert len(blocks) == 16
    for block in blocks:
        assert block.domain is None
        assert block.camera is not None
        assert block.camera.fc1.bias is not None
        assert not block.config.stop_gradient
    with torch.no_grad():
        assert make("bot-dcsd", last_stride=2).eval().trunk(images(1, 128, 64)).feature_map.shape == (1, 512, 4, 2)


def test_settings_of_dcsd_are_ignored_by_a_system_without_dcsd() -> None:
    with_settings, without = make("bot", dcsd=DcsdConfig(squeeze=0.5)), make("bot")
    assert with_settings.state_dict().keys() == without.state_dict().keys()


@pytest.mark.parametrize(
    ("name", "num_ids", "options", "message"),
    [
        ("bot-dscd", 4, {}, "there is no system bot-dscd; did you mean bot-dcsd"),
        ("bot", 4, {"trunk": "resnet52"}, "there is no trunk resnet52; did you mean resnet50"),
        ("bot", 4, {"last_strid": 1}, "there is no model option last_strid; did you mean last_stride"),
        ("bot", 0, {}, "num_ids is 0"),
        ("bot", 4, {"classifier_std": 0}, "classifier_std"),
        ("bot", 4, {"last_stride": 4}, "last_stride is 4"),
        ("bot-dcsd", 4, {"num_domains": 0}, "num_domains is 0"),
        ("agw", 4, {"gem_p": 0.0}, "model.gem_p is 0.0; expected a positive number"),
        ("agw", 4, {"nonlocal_reduction": -1}, "model.nonlocal_reduction is -1"),
    ],
)
def test_refuses_unknown_names_and_options(name: str, num_ids: int, options: dict[str, Any], message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        build_model(name, num_ids, **options)


@pytest.mark.slow
def test_a_step_of_the_whole_network_compiles_into_one_graph_with_its_factor_logits() -> None:
    torch.manual_seed(0)
    model = build_model("bot-dcsd", 4, 2, 3, trunk="resnet50-w16").to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(4, 3, 32, 16).to(memory_format=torch.channels_last)
    graphs = CompileCounterWithBackend("aot_eager")  # traces the backward pass too
    compiled: Any = torch.compile(model, fullgraph=True, dynamic=False, backend=graphs)

    def step(network: Any) -> tuple[Any, list[Tensor | None]]:
        model.zero_grad(set_to_none=True)
        output = network(images)
        heads = [logits.square().mean() for block in output.factor_logits for logits in block]
        (output.id_logits.square().mean() + output.embedding.square().mean() + sum(heads)).backward()
        return output, [parameter.grad for parameter in model.parameters()]

    (found, gradients), (expected, expected_gradients) = [step(compiled) for _ in range(2)][-1], step(model)
    assert graphs.frame_count == 1
    assert len(found.factor_logits) == 16
    torch.testing.assert_close(found.id_logits, expected.id_logits)
    torch.testing.assert_close(list(found.factor_logits), list(expected.factor_logits))
    torch.testing.assert_close(gradients, expected_gradients)
