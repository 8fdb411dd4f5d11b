"""The fingerprint changes with what changes features, and with nothing else."""

from pathlib import Path
from typing import Any

import pytest

from jointreid.extraction.embedder import Embedder
from jointreid.extraction.fingerprint import fingerprint
from jointreid.run import open_run
from tests.extraction.small_runs import untrained_run

pytestmark = pytest.mark.slow


def fingerprint_with(run: Path, **changes: Any) -> str:
    """Return the fingerprint of a run's weights under other settings."""
    opened = open_run(run)
    config = opened.config.replace(**changes)
    return fingerprint(opened.model(), config.image, config.eval, config.model, config.dcsd)


def test_two_loads_agree_and_other_weights_differ(run: Path, tmp_path: Path) -> None:
    first = Embedder.load(run, device="cpu").fingerprint
    assert len(first) == 64
    assert Embedder.load(run, device="cpu", batch_size=7).fingerprint == first
    assert Embedder.load(untrained_run(tmp_path / "other", seed=1), device="cpu").fingerprint != first
    assert Embedder.load(run, device="cpu", flip=True).fingerprint != first


@pytest.mark.parametrize(
    "changes",
    [
        {"image": {"height": 64}},
        {"image": {"interpolation": "bilinear"}},
        {"image": {"mean": (0.5, 0.5, 0.5)}},
        {"model": {"last_stride": 2}},
        {"model": {"stem_relu": False}},
        {"dcsd": {"combine": "add"}},
    ],
)
def test_what_changes_features_changes_it(run: Path, changes: Any) -> None:
    assert fingerprint_with(run, **changes) != fingerprint_with(run)


@pytest.mark.parametrize(
    "changes",
    [
        {"image": {"flip": 0.1, "erase": 0.0, "pad": 5}},
        {"model": {"classifier_std": 0.5}},
        {"dcsd": {"stop_gradient": False}},
        {"eval": {"batch_size": 9, "rerank": True}},
        {"train": {"seed": 5}},
    ],
)
def test_what_does_not_change_features_does_not(run: Path, changes: Any) -> None:
    assert fingerprint_with(run, **changes) == fingerprint_with(run)


def test_the_heads_do_not_count(run: Path) -> None:
    opened = open_run(run)
    model, config = opened.model(), opened.config
    model.prune_heads()
    assert fingerprint(model, config.image, config.eval, config.model, config.dcsd) == fingerprint_with(run)


@pytest.mark.parametrize(("shrinkage", "counts"), [(0.0, False), (5.0, True)])
def test_a_head_counts_where_the_features_depend_on_it(tmp_path: Path, shrinkage: float, counts: bool) -> None:
    dcsd = {"base": "static", "context": "network", "camera_shrinkage": shrinkage}
    opened = open_run(untrained_run(tmp_path / "run", dcsd=dcsd))
    model, config = opened.model(), opened.config

    def digest() -> str:
        return fingerprint(model, config.image, config.eval, config.model, config.dcsd)

    before = digest()
    (name,) = (name for name in model.head_names() if "camera" in name and name.endswith("weight"))
    model.get_parameter(name).data += 1
    assert (digest() != before) == counts
    model.classifier.weight.data += 1
    assert (digest() != before) == counts
