"""The context network, and how one context reaches every block."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend
from torch.nn import functional

from jointreid.config import DcsdConfig, RunConfig
from jointreid.data.images import Batch
from jointreid.losses import head_accuracy, reid_loss
from jointreid.messages.errors import JointreidError
from jointreid.models.context import VECTOR, Context, ContextNetwork, LabelContext, Origins, PredictedContext
from jointreid.models.dcsd import DCSD
from jointreid.models.reid import ReIDModel, build_model
from jointreid.models.trunk import Trunk, TrunkOutput, filter_map

NUM_IDS, NUM_DOMAINS, NUM_CAMERAS = 4, 3, 5


class Small(Trunk):
    """Two blocks of one spatial convolution each; the first is dense in the plain network, the second depthwise."""

    def __init__(self, spatial: Any, last_stride: int) -> None:
        super().__init__()
        self.out_channels = 12
        self.grow = nn.ModuleList([nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 1)])
        self.filter = nn.ModuleList([spatial(8, 2), spatial(12, last_stride, groups=12, bias=True)])

    def forward(self, images: Tensor, context: Context | None = None) -> TrunkOutput:
        x, found = images, []
        for grow, spatial in zip(self.grow, self.filter, strict=True):
            x, logits = filter_map(spatial, grow(x), context)
            found += [] if logits is None else [logits]
            x = functional.relu(x)
        return TrunkOutput(x, tuple(found), ())


class WithoutContext(Small):
    """A trunk that was written before there was a context."""

    def forward(self, images: Tensor) -> TrunkOutput:  # type: ignore[override]
        return super().forward(images)


def model(system: str = "bot-dcsd", trunk: str = "Small", **switches: Any) -> ReIDModel:
    torch.manual_seed(0)
    dcsd = DcsdConfig(**{"base": "static", "context": "network"} | switches)
    return build_model(system, NUM_IDS, NUM_DOMAINS, NUM_CAMERAS, f"{__name__}:{trunk}", dcsd=dcsd)


def images(batch: int = 4) -> Tensor:
    return torch.randn(batch, 3, 16, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def _trusted() -> None:
    from jointreid.custom import trust

    trust(__name__)


def open_gains(found: ReIDModel) -> ReIDModel:
    """Let the generated kernels count."""
    for name, parameter in found.named_parameters():
        if name.endswith("gain"):
            nn.init.constant_(parameter, 0.5)
    return found


def reached(found: ReIDModel, loss: Tensor) -> set[str]:
    found.zero_grad()
    torch.autograd.backward(loss)
    return {name for name, p in found.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}


def embeddings(found: ReIDModel, origins: Origins | None = None) -> Tensor:
    found.eval()
    with torch.no_grad():
        embedding: Tensor = found(images(), origins).embedding
    return embedding


def keep_images_apart(found: ReIDModel) -> ReIDModel:
    """Let a model train, but its layers not, so that no statistics of the batch mix the images."""
    found.eval()
    found.training = True
    return found


def without_context(found: ReIDModel, origins: Origins | None = None) -> Tensor:
    """Return the embeddings of images all of which lose their context."""
    none = torch.zeros(len(images()), dtype=torch.bool)
    with torch.no_grad():
        embedding: Tensor = keep_images_apart(found)(images(), origins, none).embedding
    found.eval()
    return embedding


def with_context(found: ReIDModel, predicted: PredictedContext, origins: Origins | None = None) -> Tensor:
    """Return the embeddings of images that are told this context instead of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(found), "predict_context", lambda *_: predicted)
        return embeddings(found, origins)


def reordered(predicted: PredictedContext, order: list[int]) -> PredictedContext:
    """Return the context in which image i is told that of image order[i]."""
    domain, camera, posterior = (
        None if part is None else part[order] for part in (predicted.domain, predicted.camera, predicted.posterior)
    )
    return PredictedContext(domain, camera, predicted.logits, posterior)


def test_statistics_of_input_and_maps_enter_the_hidden_layer() -> None:
    network = ContextNetwork(NUM_DOMAINS, NUM_CAMERAS, DcsdConfig(context="network")).eval()
    x, maps = images(), [images()]
    for conv in network.convs:
        maps.append(functional.relu(conv(maps[-1])))
    assert [tuple(x.shape[1:]) for x in maps] == [(3, 16, 8), (16, 8, 4), (32, 4, 2), (64, 2, 1)]
    means = [torch.stack([x.mean((2, 3)), x.var((2, 3), correction=0).add(1e-5).sqrt()]) for x in maps]
    statistics = torch.cat([part for pair in means for part in pair], dim=1)
    assert statistics.shape == (4, 230)
    hidden = functional.relu(network.hidden(network.norm(statistics)))
    predicted = network(x)
    assert network.domain is not None
    assert network.camera is not None
    assert network.domain.classifier is not None
    vectors = network.domain.fc(hidden), network.camera.fc(hidden)
    torch.testing.assert_close(predicted.vector, vectors[0] + vectors[1])
    assert predicted.vector.shape == (4, VECTOR)
    torch.testing.assert_close(predicted.logits.domain, network.domain.classifier(vectors[0]))
    assert predicted.logits.camera.shape == (4, NUM_CAMERAS)


def test_identity_losses_do_not_reach_the_network_and_its_losses_do_not_reach_the_trunk() -> None:
    found = open_gains(model())
    output = found(images())
    (logits,) = output.factor_logits
    task = reached(found, output.id_logits.square().mean() + output.embedding.square().mean())
    assert not any(name.startswith("context.") for name in task)
    assert {"trunk.filter.0.projection.weight", "trunk.filter.0.gain", "trunk.filter.1.weight"} <= task
    output = found(images())
    (logits,) = output.factor_logits
    assert logits.domain is not None
    assert logits.camera is not None
    factors = reached(found, logits.domain.square().mean() + logits.camera.square().mean())
    assert factors == {name for name, _ in found.named_parameters() if name.startswith("context.")}


def test_losses_and_head_accuracy_see_one_entry() -> None:
    found = model()
    output = found(images())
    labels = torch.tensor([0, 0, 1, 1])
    batch = Batch(images(), labels, labels, labels)
    terms = reid_loss(output, batch, RunConfig().loss)
    assert terms.domain is not None
    assert terms.camera is not None
    assert len(head_accuracy(output.factor_logits, labels, labels).domain) == 1


def test_before_the_first_step_the_features_are_those_of_the_plain_network() -> None:
    plain, found = model("bot"), model()
    own = found.state_dict()
    assert plain.state_dict().keys() <= own.keys()
    found.load_state_dict(own | plain.state_dict())
    # Not bit for bit on every machine: one pass sums the taps of the depthwise layer and of the generated kernels.
    torch.testing.assert_close(embeddings(found), embeddings(plain), rtol=1e-5, atol=1e-6)


def test_the_gain_lets_the_context_into_the_features() -> None:
    found = open_gains(model())
    own = embeddings(found)
    with torch.no_grad():
        predicted = found.predict_context(images())
    assert predicted is not None
    assert torch.equal(with_context(found, predicted), own)
    zeroed = without_context(found)
    for changed in (zeroed, with_context(found, reordered(predicted, [1, 2, 3, 0]))):
        assert not torch.allclose(own, changed)
    zeros = torch.zeros(4, VECTOR)
    torch.testing.assert_close(with_context(found, PredictedContext(zeros, None, predicted.logits)), zeroed)


@pytest.mark.parametrize("context", ["block", "block-stats"])
def test_contexts_of_blocks_are_zeroed_too(context: str) -> None:
    found = open_gains(model(context=context))
    zeroed = without_context(found)
    assert not torch.allclose(zeroed, embeddings(found))
    found.trunk.zero_context()
    torch.testing.assert_close(embeddings(found), zeroed)


def test_zero_context_of_the_trunk_closes_the_projections() -> None:
    found = open_gains(model())
    zeroed = without_context(found)
    found.trunk.zero_context()
    torch.testing.assert_close(embeddings(found), zeroed)


@pytest.mark.parametrize("context", ["block", "network"])
def test_the_contexts_to_keep_can_be_given_and_count_in_training_only(context: str) -> None:
    found = keep_images_apart(open_gains(model(context=context)))
    keeps = torch.tensor([True, False, False, True])
    with torch.no_grad():
        mixed, none, every = (
            found(images(), keeps_context=kept).embedding
            for kept in (keeps, torch.zeros_like(keeps), torch.ones_like(keeps))
        )
        torch.testing.assert_close(mixed, torch.where(keeps[:, None], every, none))
        assert not torch.allclose(every, none)
        assert torch.equal(found(images()).embedding, every)
        found.eval()
        assert torch.equal(found(images(), keeps_context=keeps).embedding, found(images()).embedding)


def test_pruning_drops_the_classifiers_and_keeps_the_features() -> None:
    found = open_gains(model())
    before = embeddings(found)
    assert [name for name in found.head_names() if name.startswith("context.")] == [
        f"context.{factor}.classifier.{kind}" for factor in ("domain", "camera") for kind in ("weight", "bias")
    ]
    found.prune_heads()
    assert not any("context" in name and "classifier" in name for name in found.state_dict())
    assert torch.equal(embeddings(found), before)
    assert found(images()).factor_logits == ((None, None),)


def test_the_sample_alone_needs_no_network() -> None:
    found = model(factors=("sample",))
    assert found.context is None
    assert not any("projection" in name for name in found.state_dict())


def test_one_factor_has_one_vector() -> None:
    found = model(factors=("sample", "camera"))
    assert isinstance(found.context, ContextNetwork)
    assert found.context.domain is None
    (logits,) = found(images()).factor_logits
    assert logits.domain is None
    assert logits.camera is not None


def test_true_labels_are_embedded_and_unseen_ones_are_zero() -> None:
    found = open_gains(model(context="labels"))
    assert isinstance(found.context, LabelContext)
    assert found.needs_origins
    assert not model().needs_origins
    ids = torch.tensor([0, 1, 2, 2])
    known = embeddings(found, origins=Origins(ids, ids))
    assert not torch.allclose(known, embeddings(found))
    unseen = torch.full((4,), -1)
    torch.testing.assert_close(embeddings(found, origins=Origins(unseen, unseen)), embeddings(found))
    output = found(images(), Origins(ids, ids))
    assert output.factor_logits == ((None, None),)
    assert "context.camera.weight" in reached(found, output.embedding.square().mean())


def test_a_custom_trunk_without_a_context_is_refused_only_where_one_is_needed() -> None:
    assert embeddings(model(trunk="WithoutContext", context="block")).shape == (4, 12)
    assert embeddings(model("bot", trunk="WithoutContext")).shape == (4, 12)
    for switches in ({"context": "network"}, {"context": "block", "context_dropout": 0.1}):
        with pytest.raises(JointreidError, match="its forward takes images alone"):
            model(trunk="WithoutContext", **switches)


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"base": "none", "gain_relative": True}, "dcsd.gain_relative true needs a gain"),
        ({"generated_start": "zeros", "gain_relative": True}, "dcsd.gain_relative true needs a gain"),
        ({"base": "none", "generated_start": "zeros"}, "dcsd.generated_start zeros needs dcsd.base static"),
        ({"combine": "add", "generated_start": "zeros"}, "dcsd.generated_start zeros needs dcsd.combine mul"),
        ({"kernel_size": 5}, "dcsd.kernel_size is 5; expected 3 with dcsd.base static"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(switches: dict[str, Any], message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        model(**switches)


@pytest.mark.parametrize("groups", [1, 8])
def test_the_kernel_is_the_static_one_plus_gain_times_the_generated_one(groups: int) -> None:
    torch.manual_seed(0)
    settings = {"context": "network", "factors": ("sample",)}
    found = DCSD(8, 1, 1, DcsdConfig(base="static", **settings), stride=2, groups=groups, bias=True)  # type: ignore[arg-type]
    alone = DCSD(8, 1, 1, DcsdConfig(**settings), stride=2)  # type: ignore[arg-type]
    alone.load_state_dict({name: found.state_dict()[name] for name in alone.state_dict()})
    assert found.gain is not None
    assert found.weight is not None
    assert found.bias is not None
    nn.init.normal_(found.gain)
    nn.init.normal_(found.bias)
    x = torch.randn(2, 8, 7, 6)
    static = functional.conv2d(x, found.weight, found.bias, 2, 1, groups=groups)
    expected = static + found.gain[:, None, None] * alone(x)[0]
    torch.testing.assert_close(found(x)[0], expected)


def test_a_relative_gain_is_a_share_of_the_size_of_the_static_kernel() -> None:
    def gain(groups: int) -> Tensor:
        found = DCSD(8, 1, 1, DcsdConfig(base="static", gain_relative=True), groups=groups)
        assert found.gain is not None
        assert found.weight is not None
        nn.init.constant_(found.gain, 0.5)
        nn.init.constant_(found.weight, 0.25)
        effective = found.effective_gain()
        assert effective is not None
        torch.autograd.backward(effective.sum())
        assert found.weight.grad is None
        return effective

    torch.testing.assert_close(gain(8), torch.full((8,), 0.5 * 0.25))
    torch.testing.assert_close(gain(1), torch.full((8,), 0.5 * 0.25 * 8**0.5))


def test_zeros_start_without_filter_norm_and_still_learn() -> None:
    found = DCSD(8, 1, 1, DcsdConfig(base="static", generated_start="zeros", hidden_floor=16), groups=8)
    x = torch.randn(2, 8, 5, 4)
    assert found.gain is None
    assert found.weight is not None
    y, _ = found(x)
    torch.testing.assert_close(y, functional.conv2d(x, found.weight, padding=1, groups=8))
    torch.autograd.backward(y.square().mean())
    gradient = found.channel_branch.fc2.weight.grad
    assert gradient is not None
    assert bool(gradient.any())


@pytest.mark.slow
@pytest.mark.parametrize("context", ["network", "labels"])
def test_a_step_compiles_as_one_graph(context: str) -> None:
    found = open_gains(model(context=context, gain_relative=True)).train()
    graphs = CompileCounterWithBackend("aot_eager")
    compiled: Any = torch.compile(found, fullgraph=True, dynamic=False, backend=graphs)
    ids = torch.tensor([0, 1, 2, 2])
    told = Origins(ids, ids) if found.needs_origins else None
    keeps = torch.tensor([True, False, True, False])

    def step(network: Any) -> Tensor:
        found.zero_grad(set_to_none=True)
        embedding: Tensor = network(images(), told, keeps).embedding
        torch.autograd.backward(embedding.square().mean())
        return embedding

    ours = step(compiled)
    assert graphs.frame_count == 1
    torch.testing.assert_close(ours, step(found))
