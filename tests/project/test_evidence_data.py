"""The images of the trainings that are compared: who is in train, who is in test, and who is left out."""

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from jointreid.config import RunConfig
from jointreid.data.camera_settings import with_train_cameras
from jointreid.data.records import Domain
from jointreid.data.sources import load_domains

ROOT = Path(__file__).parents[2]
TUNING_IDS = 4


@pytest.fixture
def settings_of(tiny_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], RunConfig]:
    """The settings that the comparison trains a stage with, on a few synthetic people."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import evidence.data
    import evidence.training_config
    from evidence.tasks import SCALES, Task

    folder = tmp_path / "data" / "people"
    shutil.copytree(tiny_manifest.parent, folder)
    few = replace(evidence.data.DATASETS["people"], tuning_ids=TUNING_IDS)
    monkeypatch.setitem(evidence.data.DATASETS, "people", few)
    assert evidence.data.manifest("people", tmp_path, "random") == folder / "manifest.csv"

    def settings(stage: Any, domain: str = "") -> RunConfig:
        task = Task("people", "random", stage, "static", 0.002, domain=domain)
        return evidence.training_config.config(task, tmp_path, SCALES["cpu"])

    return settings


def domains_of(config: RunConfig) -> dict[str, Domain]:
    return {domain.name: domain for domain in load_domains(config.data)}


def pids(records: Any) -> set[str]:
    return {record.pid for record in records}


def trained_images(config: RunConfig) -> set[tuple[str, str, int]]:
    """Return domain, name of the file and camera of each train image, as training takes them."""
    domains = (with_train_cameras(domain, config.data) for domain in load_domains(config.data))
    return {(domain.name, record.path.name, record.camid) for domain in domains for record in domain.train}


def test_a_tuning_sees_train_identities_alone(settings_of: Callable[..., RunConfig]) -> None:
    whole, tuning = domains_of(settings_of("short")), domains_of(settings_of("tune"))
    assert tuning.keys() == whole.keys()
    for name, domain in tuning.items():
        before = whole[name]
        tested = pids(domain.query) | pids(domain.gallery)
        assert len(pids(domain.query)) == TUNING_IDS
        assert tested | pids(domain.train) == pids(before.train)
        assert not tested & pids(domain.train)
        assert not tested & (pids(before.query) | pids(before.gallery))


def test_a_solo_training_is_of_one_domain(settings_of: Callable[..., RunConfig]) -> None:
    whole, solo = domains_of(settings_of("short")), domains_of(settings_of("solo", "gate"))
    assert list(solo) == ["gate"]
    for split in ("train", "query", "gallery"):
        of_both = [[record.path.name for record in getattr(found["gate"], split)] for found in (whole, solo)]
        assert of_both[0] == of_both[1]


def test_the_closed_domain_and_the_closed_camera_are_not_in_train(settings_of: Callable[..., RunConfig]) -> None:
    from evidence.data import DATASETS

    closed_domain, closed_camera = DATASETS["people"].closed_domain, DATASETS["people"].closed_camera
    everything, left = (trained_images(settings_of(stage)) for stage in ("short", "closed"))
    missing = {image for image in everything if image[0] == closed_domain or (image[0], image[2]) == closed_camera}
    assert {image[0] for image in missing} == {closed_domain, closed_camera[0]}
    assert left == everything - missing
    # The queries of the closed camera stay: they show what the network does with it.
    test = domains_of(settings_of("closed"))[closed_camera[0]]
    assert closed_camera[1] in {record.camid for record in test.query}


@pytest.mark.parametrize("name", ["omniglot", "emoji"])
def test_the_lists_of_identities_are_those_of_the_pictures(name: str) -> None:
    table = ROOT.parent / "shared" / "data" / name / "manifest.csv"
    if not table.is_file():
        pytest.skip(f"the pictures are not at {table.parent}")
    listed = (ROOT / "benchmarks" / "evidence" / "identities" / f"{name}.csv").read_text().splitlines()
    rows = csv.DictReader(table.read_text().splitlines())
    found = {(row["domain"], "train" if row["split"] == "train" else "test", row["pid"]) for row in rows}
    assert listed == ["domain,split,pid", *(",".join(row) for row in sorted(found))]
