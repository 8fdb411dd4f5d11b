"""`jointreid conflict` on the small run of version 1: figures, page and what is said without."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from jointreid.cli import main
from jointreid.conflict.domain_losses import domain_losses
from jointreid.conflict.material import choose_identities
from jointreid.data.records import ImageRecord
from tests.small_run import copy_of_fixture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    patch = pytest.MonkeyPatch()
    place = copy_of_fixture(tmp_path_factory.mktemp("conflict") / "v1", patch)
    yield place
    patch.undo()


def test_identities_are_chosen_whole_with_their_cameras_in_turn() -> None:
    records = [
        *(ImageRecord(Path(f"many-{i}.jpg"), "many", i % 3) for i in range(30)),
        *(ImageRecord(Path(f"few-{i}.jpg"), "few", i) for i in range(2)),
        ImageRecord(Path("alone.jpg"), "alone", 0),
    ]
    chosen = [records[index] for index in choose_identities(records, 100, seed=0)]
    assert [r.pid for r in chosen].count("few") == 2
    assert "alone" not in {r.pid for r in chosen}
    many = [r.camid for r in chosen if r.pid == "many"]
    assert len(many) == 8
    assert sorted(many.count(camera) for camera in range(3)) == [2, 3, 3]
    of_six = [ImageRecord(Path(f"{i}-{k}.jpg"), f"p{i}", k) for i in range(6) for k in range(3)]
    assert len({of_six[index].pid for index in choose_identities(of_six, 1, seed=0)}) == 4
    assert len({of_six[index].pid for index in choose_identities(of_six, 13, seed=0)}) == 5


def test_all_figures_and_the_page(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Path("run/metrics.jsonl")
    with log.open("a") as file:
        for step in (4, 8):
            line = {"kind": "train", "step": step, "epoch": 1, "identity_by_domain": {"east": 2.0, "west": step / 4}}
            file.write(json.dumps(line) + "\n")
    assert domain_losses(Path("run")) == {"east": [(4.0, 2.0), (8.0, 2.0)], "west": [(4.0, 1.0), (8.0, 2.0)]}
    assert main(["conflict", "run", "--images", "12", "--device", "cpu", "--html", "page.html", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["images"]) == ["east", "west"]
    parts = {part["part"]: part for part in found["gradients"]["parts"]}
    shared, own = "all but head and context", {"context", "head"}
    assert {"grow", "filter", "norm", "generators", shared, *own} >= parts.keys()
    whole = parts[shared]
    assert whole["parameters"] == sum(part["parameters"] for name, part in parts.items() if name not in (shared, *own))
    assert -1 <= whole["between"] <= 1
    assert found["gradients"]["images_per_domain"].keys() == {"east", "west"}
    lost = found["context"]["lost"]
    assert lost["value"] == pytest.approx(found["context"]["mean"]["predicted"] - found["context"]["mean"]["shuffled"])
    assert lost["low"] <= lost["value"] <= lost["high"]
    assert set(found["gradients"]["losses"]["east"]) >= {"triplet", "identity", "domain", "camera", "total"}
    assert found["context"]["mean_ap"].keys() == {"predicted", "true", "shuffled", "zeroed"}
    assert [kernel["share"] for kernel in found["kernels"]] == [1.0, 1.0]
    assert "embedding" in [probe["layer"] for probe in found["probes"]]
    page = Path("page.html").read_text()
    assert "data:image/jpeg;base64," in page
    assert "it stays on this computer" in page
    for heading in ("Does the model use its context?", "Who pays", "Labels to look at", "Between which cameras"):
        assert heading in page


def test_without_pictures_and_without_a_page(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--images", "8", "--device", "cpu"]
    assert main(["conflict", "run", *options, "--html", "bare.html", "--pictures=false"]) == 0
    printed = capsys.readouterr().out
    assert "mean mAP is" in printed
    assert "It holds no images from the data sets, but names of files and people." in printed
    assert "data:image" not in Path("bare.html").read_text().partition("<style>")[0]
    assert main(["conflict", "run", "--images", "3"]) == 2
    assert "expected 8 or more of each data set" in capsys.readouterr().err
