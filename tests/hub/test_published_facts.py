"""The card and the files of a run that was evaluated and calibrated on data with terms: all facts, and nobody."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jointreid.cli import main
from jointreid.data.label_space import LabelSpace
from jointreid.data.records import ImageRecord
from jointreid.data.run_images import run_images, save_images
from jointreid.hub.package import CARD, FILES, THRESHOLDS, write_package
from jointreid.retrieval.result_files import load_results
from jointreid.verification.calibration import read_calibration
from tests.extraction.small_runs import draw, untrained_run

pytestmark = pytest.mark.slow

PEOPLE = 8
# Nobody of these may be in a published file, and nothing that says where the data lie.
TRAINED, TESTED, FOLDER = "anna-trained", "ben-tested", "secret-street"
TERMS = {"d": "For research | at the\nuniversity only.", "e": "CC BY 4.0"}


def data(folder: Path) -> Path:
    """Write a table of two data sets with test people and terms."""
    lines = ["domain,split,path,pid,camid"]
    for seed, domain in enumerate(TERMS):
        for i, record in enumerate(draw(folder / domain, 3 * PEOPLE, seed=seed)):
            split = "query" if i % 3 == 0 else "gallery"
            lines.append(f"{domain},{split},{domain}/{record.path.name},{TESTED}-{i // 3},{i % 3 % 2}")
    (folder / "m.csv").write_text("\n".join(lines))
    (folder / "m.domains.json").write_text(json.dumps({name: {"terms": terms} for name, terms in TERMS.items()}))
    return folder / "m.csv"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with results, thresholds, its train images, and data with terms."""
    folder = tmp_path_factory.mktemp("facts")
    (folder / FOLDER).mkdir()
    sources = (str(data(folder / FOLDER)),)
    run = untrained_run(folder / "run", data={"sources": sources, "cache": str(folder / "c")})
    labels = run / "labels.json"
    space = LabelSpace.load(labels)
    domains = (replace(found, pids=tuple(f"{TRAINED}-{pid}" for pid in found.pids)) for found in space.domains)
    replace(space, domains=tuple(domains)).save(labels)
    records = [ImageRecord(Path(f"/{FOLDER}/{TRAINED}/{i}.png"), f"{TRAINED}-p{i}", 0) for i in range(3)]
    contents = {record.path: f"{i:032x}" for i, record in enumerate(records)}
    save_images(run_images("d", "train", records, contents), run)
    assert main(["evaluate", str(run), "--device", "cpu"]) == 0
    assert main(["calibrate", str(run), "--fmr", "0.45", "--fnmr", "0.5", "--fpir", "0.9", "--device", "cpu"]) == 0
    return run


@pytest.fixture(scope="module")
def package(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(run, tmp_path_factory.mktemp("package") / "p", licence="mit")


def test_the_card_has_data_terms_protocol_metrics_and_thresholds(run: Path, package: Path) -> None:
    card = (package / CARD).read_text()
    assert "| d | 3 | 3 | 3 | For research \\| at the university only. |" in card
    assert "| e | 3 | 1 | not recorded | CC BY 4.0 |" in card
    assert "Not evaluated." not in card
    results = load_results(run)[0].domains
    assert [found.domain for found in results] == ["d", "e"]
    for found in results:
        figures = (
            f"| {found.domain} | {found.cmc[1]:.1%} | {found.mAP:.1%} | {found.mINP:.1%} | {PEOPLE} | {2 * PEOPLE} |"
        )
        assert f"{figures} the same camera left out" in card
    calibration = read_calibration(run)
    assert "Thresholds for false matches in 45 % of pairs of two people" in card
    assert len(calibration.pairs) == 5  # of each data set any two cameras and different ones, and of two data sets
    for entry in calibration.pairs:
        same = entry.same
        row = f"| {entry.pairs} | {same.value:.3f} ({same.low:.3f} to {same.high:.3f}) | {entry.realised:.2g} |"
        assert f"| {entry.domain or 'two data sets'} {row}" in card
    assert json.loads((package / THRESHOLDS).read_text()) == json.loads((run / THRESHOLDS).read_text())


def test_nobody_is_in_any_file(run: Path, package: Path) -> None:
    written = [path for path in run.rglob("*") if path.is_file()]
    for secret in (TRAINED, TESTED, FOLDER):  # what is searched for would be found
        assert any(secret.encode() in path.read_bytes() for path in written), secret
    published = [path for path in package.rglob("*") if path.is_file()]
    assert {path.name for path in published} == set(FILES)
    for path in published:
        for secret in (TRAINED, TESTED, FOLDER, str(run.parent), ".png"):
            assert secret.encode() not in path.read_bytes(), (path.name, secret)
