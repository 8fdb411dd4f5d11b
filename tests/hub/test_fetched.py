"""What can be done with a run that was fetched, without people and classifiers, and what is refused with the reason."""

import base64
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from jointreid.cli import main
from jointreid.data.label_space import NOT_PUBLISHED
from jointreid.hub.package import read_package, write_package
from jointreid.run import open_run
from jointreid.serve import schema
from jointreid.serve.server import open_service
from jointreid.serve.settings import ServeSettings
from tests.extraction.small_runs import untrained_run
from tests.verification.test_command import RATES, manifest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a fetched run, `fetched`, and of a table of 16 test people, `m.csv`."""
    folder = tmp_path_factory.mktemp("fetched")
    read_package(write_package(untrained_run(folder / "run"), folder / "package"), folder / "fetched")
    manifest(folder, {"d": 8, "e": 8}, pids=100)
    return folder


@pytest.fixture(autouse=True)
def _there(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def test_it_has_no_heads() -> None:
    run = open_run("fetched")
    assert run.label_space.is_published
    assert not open_run("run").label_space.is_published
    assert not any("classifier" in name for name in run.model().state_dict() if not name.startswith("classifier."))
    assert {pid for domain in run.label_space.domains for pid in domain.pids} == {NOT_PUBLISHED}


def test_it_is_evaluated_and_calibrated_on_your_data(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--manifest", "m.csv", "--device", "cpu", "--cache", "cache"]
    assert main(["evaluate", "fetched", *options]) == 0
    printed = capsys.readouterr()
    assert "| mean " in printed.out
    assert "heads predict" not in printed.out
    assert "could not be checked" in printed.out + printed.err
    assert main(["calibrate", "fetched", *options, *RATES]) == 0
    assert main(["match", "fetched", "d/00.png", "e/05.png", "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert "the data set is unknown, so the strictest of all counts" in printed.out
    assert main(["evaluate", "fetched"]) == 2
    assert "no data sets given" in capsys.readouterr().err


def test_it_extracts_and_serves_and_says_nothing_of_the_origin_of_an_image(place: Path) -> None:
    assert main(["extract", "fetched", "--images", "m.csv", "--out", "f.parquet", "--device", "cpu"]) == 0
    columns = pq.read_table("f.parquet").to_pydict()
    assert {value for name in columns if name.startswith("predicted_") for value in columns[name]} == {None}
    assert main(["gallery", "add", "g", "f.parquet"]) == 0
    service = open_service("fetched", "g", ServeSettings(), device="cpu", threshold=0.5)
    image = base64.b64encode((place / "d" / "00.png").read_bytes()).decode()
    described = service.describe(image, [])
    (answer,) = service.search(described, schema.SearchRequest(image=image)).answers
    assert set(answer.seen.model_dump().values()) == {None}
    assert answer.people[0].similarity == pytest.approx(1, abs=1e-5)


def test_what_needs_its_people_or_its_classifiers_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["predict", "fetched", "--images", "m.csv"], ["conflict", "fetched", "--data", "m.csv"]):
        assert main(words) == 2
        assert "fetched was fetched from a hub" in capsys.readouterr().err
    assert main(["add-domain", "fetched", "--manifest", "m.csv", "--out", "grown"]) == 2
    assert "add --replay=false to train on the new ones alone" in capsys.readouterr().err
    assert main(["train", "--resume", "fetched"]) == 2
    assert "fetched was fetched from a hub, without the state of its training" in capsys.readouterr().err
