"""Generated filters against DCSD written out in numpy, and the two measures against scikit-learn."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.metrics import silhouette_score
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor, nn

from jointreid.analysis.filters import choose_images, collect_filters, compute_separation, require_dcsd
from jointreid.config import RunConfig
from jointreid.custom import trust
from jointreid.data.augment import normalise
from jointreid.data.joint import join
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.models.context import FactorLogits
from jointreid.models.dcsd import DCSD
from jointreid.run import Run, model_for, open_run, write_config
from jointreid.training.checkpoint import save_checkpoint
from tests.models import test_context

pytestmark = pytest.mark.slow

BLOCKS = {0: "layer1.0", 12: "layer3.5", 15: "layer4.2"}


def draw(folder: Path, count: int, seed: int = 0) -> list[ImageRecord]:
    """Write images of noise, each domain brighter or darker than another."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(seed)
    records = []
    for i in range(count):
        pixels = generator.integers(0, 100 + 50 * (seed % 3), (32, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        records.append(ImageRecord(folder / f"{i}.png", f"{i // 2}", i % 2))
    return records


def make_run(path: Path, domains: Sequence[Domain], spoil: Any = None, **sections: Any) -> Run:
    """Make a run directory of a small network with random weights, whose blocks are more than their shortcuts."""
    settings: dict[str, Any] = {
        "model": {"name": "bot-dcsd", "trunk": "resnet50-w16"},
        "image": {"height": 32, "width": 16},
        "eval": {"batch_size": 2},
        "data": {"cache": str(path / "cache")},
    }
    config = RunConfig().replace(**{name: settings.get(name, {}) | sections.get(name, {}) for name in settings})
    config = config.replace(**{name: fields for name, fields in sections.items() if name not in settings})
    space = join(domains).label_space
    write_config(config, path / "config.yaml")
    space.save(path / "labels.json")
    torch.manual_seed(0)
    model = model_for(config, space)
    for name, parameter in model.named_parameters():
        if name.endswith("bn3.weight"):
            nn.init.constant_(parameter, 0.5)
    if spoil is not None:
        spoil(model)
    save_checkpoint(path, "last", model, {"step": 1234})
    return open_run(path)


def two_domains(records: Sequence[ImageRecord]) -> list[Domain]:
    return [Domain(name, train=tuple(records)) for name in ("a", "b")]


# Filters


def generate(state: dict[str, NDArray[np.float32]], prefix: str, x: NDArray[np.float32], context: bool) -> NDArray[Any]:
    """Write the channel branch out for one image X [C, H, W]: 9 C numbers."""
    weight = {name.removeprefix(prefix): value.astype(float) for name, value in state.items()}
    g = x.astype(float).mean(axis=(1, 2))
    z = g.copy()
    for factor in ("domain", "camera") if context else ():
        z += weight[f"{factor}.fc2.weight"] @ np.maximum(weight[f"{factor}.fc1.weight"] @ g, 0)
    hidden = np.maximum(weight["channel_branch.fc1.weight"] @ z + weight["channel_branch.fc1.bias"], 0)
    raw = weight["channel_branch.fc2.weight"] @ hidden + weight["channel_branch.fc2.bias"]
    kernels = []
    for channel in range(len(x)):
        taps = raw[9 * channel : 9 * channel + 9]
        deviation = np.sqrt(((taps - taps.mean()) ** 2).sum() / 8)
        kernels.append((taps - taps.mean()) / (deviation + 1e-10) * weight["channel_branch.norm.std"][channel])
    return np.concatenate(kernels)


@pytest.mark.parametrize(
    ("name", "context_to", "ablated"),
    [
        ("bot-dcsd", "both", False),
        ("bot-dcsd", "both", True),
        ("agw-dcsd", "channel", False),
        ("bot-dcsd", "spatial", False),
    ],
)
def test_filters_are_those_of_dcsd_written_out_for_one_image(
    name: str, context_to: str, ablated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = draw(tmp_path / "images", 3)
    settings = {"name": name, "trunk": "resnet50-w16"}
    # With flip, evaluation would also show the mirrored image; these filters are of the image as it is.
    run = make_run(
        tmp_path / "run", two_domains(records), model=settings, dcsd={"context_to": context_to}, eval={"flip": True}
    )
    found = collect_filters(run, records, ablate_context=ablated, device="cpu")
    assert [(block.number, block.block, block.values.shape) for block in found] == [
        (0, "layer1.0", (3, 9 * 16)),
        (12, "layer3.5", (3, 9 * 64)),
        (15, "layer4.2", (3, 9 * 128)),
    ]
    model = run.model()
    inputs: dict[str, NDArray[np.float32]] = {}
    if ablated:
        monkeypatch.setattr(DCSD, "predict_context", lambda _self, _pooled: (None, FactorLogits(None, None)))
    for number, place in BLOCKS.items():

        def keep(_module: nn.Module, args: tuple[Tensor], number: int = number) -> None:
            inputs[str(number)] = args[0][0].numpy()

        model.trunk.get_submodule(f"{place}.conv2").register_forward_pre_hook(keep)
    pixels = torch.from_numpy(np.array(Image.open(records[1].path))).permute(2, 0, 1)[None]
    with torch.no_grad():
        model(normalise(pixels, run.config.image.mean, run.config.image.std))
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    for block in found:
        prefix = f"trunk.{block.block}.conv2."
        expected = generate(
            {key: value for key, value in state.items() if key.startswith(prefix)},
            prefix,
            inputs[str(block.number)],
            context=not ablated and context_to != "spatial",
        )
        assert block.values[1] == pytest.approx(expected, rel=1e-3, abs=1e-4)
        assert np.abs(block.values[0] - block.values[1]).max() > 1e-3  # another image, another filter


def test_without_its_context_a_run_generates_other_filters_and_keeps_its_weights(tmp_path: Path) -> None:
    records = draw(tmp_path / "images", 2)
    run = make_run(tmp_path / "run", two_domains(records))
    whole = collect_filters(run, records, device="cpu")
    ablated = collect_filters(run, records, ablate_context=True, device="cpu")
    again = collect_filters(run, records, device="cpu")
    for before, without, after in zip(whole, ablated, again, strict=True):
        assert np.abs(before.values - without.values).max() > 1e-3
        assert np.array_equal(before.values, after.values)


def test_the_context_of_a_network_can_be_removed_too(tmp_path: Path) -> None:
    records = draw(tmp_path / "images", 2)
    settings = {"base": "static", "context": "network", "hidden_floor": 16}
    run = make_run(tmp_path / "run", two_domains(records), dcsd=settings)
    whole, without = (collect_filters(run, records, ablate_context=ablated, device="cpu") for ablated in (False, True))
    for before, after in zip(whole, without, strict=True):
        assert np.abs(before.values - after.values).max() > 1e-3


@pytest.mark.parametrize(
    ("dcsd", "message"),
    [
        ({"inject": "film"}, "bot-dcsd with dcsd.inject film generates no filters"),
        ({"context": "labels"}, "its filters are generated from the true domain and camera"),
    ],
)
def test_controls_are_refused_by_name(dcsd: dict[str, str], message: str, tmp_path: Path) -> None:
    config = RunConfig().replace(model={"name": "bot-dcsd"}, dcsd={"base": "static", "context": "network", **dcsd})
    label_space = join(two_domains([ImageRecord(Path("1"), "1", 0)])).label_space
    with pytest.raises(JointreidError, match=message):
        require_dcsd(Run(tmp_path / "mine", config, label_space))


def test_a_run_of_the_sample_alone_has_no_context_to_remove(tmp_path: Path) -> None:
    records = draw(tmp_path / "images", 2)
    run = make_run(tmp_path / "run", two_domains(records), dcsd={"factors": ("sample",)})
    with pytest.raises(JointreidError, match="from the sample alone; there is no domain or camera to remove"):
        collect_filters(run, records, ablate_context=True, device="cpu")


def test_a_trunk_without_the_blocks_that_are_shown_is_refused(tmp_path: Path) -> None:
    trust(test_context.__name__)
    records = draw(tmp_path / "images", 2)
    model = {"trunk": f"{test_context.__name__}:Small"}
    run = make_run(tmp_path / "run", two_domains(records), model=model)
    with pytest.raises(JointreidError, match=r":Small has 2 DCSDs.* 0, 12, 15, .*expected a trunk with 16 or more"):
        collect_filters(run, records, device="cpu")


@pytest.mark.parametrize("name", ["bot", "agw", "bot-dn", "bot-snr"])
def test_a_run_without_dcsd_is_refused_by_name(name: str, tmp_path: Path) -> None:
    config = RunConfig().replace(model={"name": name})
    run = Run(tmp_path / "mine", config, join(two_domains([ImageRecord(Path("1"), "1", 0)])).label_space)
    with pytest.raises(JointreidError, match=f"mine: {name} generates no filters; expected a run of bot-dcsd"):
        collect_filters(run, [])
    require_dcsd(replace(run, config=config.replace(model={"name": "agw-dcsd"})))


# The choice of images


def domain(name: str, ids: int, images: int = 2) -> Domain:
    records = [ImageRecord(Path(f"{name}/{pid}_{i}"), str(pid), i) for pid in range(ids) for i in range(images)]
    return Domain(name, gallery=tuple(records))


def test_every_domain_has_as_many_images_chosen_as_the_smallest() -> None:
    chosen = choose_images([domain("z", 20), domain("a", 4), domain("m", 9)], 200)
    assert chosen.domains == ("z", "a", "m")
    assert chosen.per_domain == 8
    assert [record.path.parent.name for record in chosen.records] == ["z"] * 8 + ["a"] * 8 + ["m"] * 8
    assert chosen.domain_ids.tolist() == [0] * 8 + [1] * 8 + [2] * 8
    assert len(set(chosen.records)) == 24


def test_no_identity_has_a_second_image_before_all_have_one() -> None:
    for count, turns in ((20, {1}), (30, {1, 2}), (60, {3})):
        chosen = choose_images([domain("a", 20, 4), domain("b", 20, 4)], count)
        for records in chosen.images.values():
            pids = [record.pid for record in records]
            assert {pids.count(pid) for pid in set(pids)} == turns


def test_the_choice_follows_the_seed_and_not_the_other_domains() -> None:
    a, b, c = (domain(name, 40) for name in "abc")
    chosen = choose_images([a, b], 10)
    assert choose_images([a, b], 10) == chosen
    assert choose_images([c, a], 10).images["a"] == chosen.images["a"]
    assert choose_images([a, b], 10, seed=1).images["a"] != chosen.images["a"]
    names = [[record.path.name for record in records] for records in chosen.images.values()]
    assert names[0] != names[1]


def test_junk_distractors_and_repeated_images_are_not_chosen() -> None:
    good = tuple(ImageRecord(Path(f"g{i}"), str(i), 0) for i in range(6))
    bad = (ImageRecord(Path("j"), "7", 0, junk=True), ImageRecord(Path("d"), "8", 0, distractor=True))
    mixed = Domain("a", query=good[:2], gallery=good + bad)
    chosen = choose_images([mixed, domain("b", 20)], 20)
    assert sorted(record.path.name for record in chosen.images["a"]) == [f"g{i}" for i in range(6)]


def test_train_and_test_do_not_mix() -> None:
    both = [Domain(name, domain(name, 9).gallery, domain("q" + name, 9).gallery) for name in "ab"]
    train, test = choose_images(both, 6, "train"), choose_images(both, 6, "test")
    assert {record.path.parent.name for record in train.records} == {"a", "b"}
    assert {record.path.parent.name for record in test.records} == {"qa", "qb"}


@pytest.mark.parametrize(
    ("ids", "per_domain", "split", "message"),
    [
        ((9,), 6, "test", "two or more domains; found d0"),
        ((), 6, "test", "two or more domains; found none"),
        ((9, 2), 6, "test", "d1: 4 images to choose from in test; expected 6 or more"),
        ((9, 9), 6, "train", "d0: 0 images to choose from in train; expected 6 or more"),
        ((9, 9), 5, "test", "5 images of each domain asked for; expected 6 or more"),
        ((9, 9), 6, "tests", "there is no split tests; did you mean test"),
    ],
)
def test_what_cannot_be_compared_is_refused(ids: tuple[int, ...], per_domain: int, split: Any, message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        choose_images([domain(f"d{i}", count) for i, count in enumerate(ids)], per_domain, split)


# The measures


@pytest.mark.parametrize(("domains", "each", "dimensions"), [(2, 6, 1), (3, 11, 4), (5, 12, 700)])
@pytest.mark.parametrize("apart", [0.0, 0.7, 5.0])
@pytest.mark.parametrize("block", [7, 512])
def test_accuracies_are_those_of_scikit_learn(
    domains: int, each: int, dimensions: int, apart: float, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jointreid.analysis.filters.BLOCK", block)
    generator = np.random.default_rng(domains)
    labels = generator.permutation(np.repeat(np.arange(domains), each))
    centres = apart * generator.normal(size=(domains, dimensions))
    values = (100 + centres[labels] + generator.normal(size=(len(labels), dimensions))).astype(np.float32)
    found = compute_separation(values, labels)
    exact = values.astype(float)
    assert found.silhouette == pytest.approx(silhouette_score(exact, labels), abs=1e-9)
    neighbours = KNeighborsClassifier(5, algorithm="brute")
    told = cross_val_predict(neighbours, exact, labels, cv=LeaveOneOut())
    assert found.accuracy == pytest.approx((told == labels).mean())
    deviation = np.sqrt(((exact - exact.mean(0)) ** 2).sum(1).mean())
    assert found.spread == pytest.approx(deviation / np.sqrt((exact**2).sum(1).mean()))


def test_accuracies_of_domains_of_unequal_size_are_those_of_scikit_learn() -> None:
    labels = np.repeat([0, 1, 2], [6, 9, 20])
    values = np.random.default_rng(0).normal(size=(35, 3)) + labels[:, None]
    assert compute_separation(values, labels).silhouette == pytest.approx(silhouette_score(values, labels))


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_filters_that_do_not_depend_on_the_image_have_accuracy_by_chance(value: float) -> None:
    found = compute_separation(np.full((18, 5), value, np.float32), np.repeat([0, 1, 2], 6))
    assert list(found) == pytest.approx([0, 1 / 3, 0], abs=1e-12)
