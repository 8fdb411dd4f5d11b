"""`calibrate`, `match` and `gallery search` as people type them, on a run with random weights."""

import json
import re
from pathlib import Path

import pytest

from jointreid.cli import main
from jointreid.config import DataConfig
from jointreid.messages.errors import JointreidError
from jointreid.verification.calibrate import CalibrationRequest, calibrate_run, round_up
from jointreid.verification.calibration import Calibration, read_calibration
from jointreid.verification.match import read_pairs
from tests.extraction.conftest import models_loaded_once as models_loaded_once
from tests.extraction.small_runs import draw, untrained_run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("models_loaded_once")]
RATES = ("--fmr", "0.45", "--fnmr", "0.5", "--fpir", "0.9")


def manifest(folder: Path, domains: dict[str, int], pids: int = 0) -> Path:
    """Write a table of data sets with as many test people as are given, of three images and two cameras each."""
    lines = ["domain,split,path,pid,camid"]
    for seed, (domain, people) in enumerate(domains.items()):
        for i, record in enumerate(draw(folder / domain, 3 * people, seed=seed)):
            split = "query" if i % 3 == 0 else "gallery"
            lines.append(f"{domain},{split},{domain}/{record.path.name},p{pids + i // 3},{i % 3 % 2}")
    (folder / "m.csv").write_text("\n".join(lines))
    return folder / "m.csv"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return manifest(tmp_path_factory.mktemp("data"), {"mall": 8, "shop": 8}, pids=100)


def call(capsys: pytest.CaptureFixture[str], code: int, *argv: str | Path) -> str:
    capsys.readouterr()
    assert main([str(word) for word in argv]) == code
    streams = capsys.readouterr()
    return streams.err if code else streams.out


def test_from_a_run_to_verdicts(run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = data.parent / "mall" / "00.png", data.parent / "shop" / "05.png"
    before = call(capsys, 0, "match", run, one, other, "--device", "cpu")
    assert before.startswith("similarity ")
    assert f"no verdict: {run} has no calibrated threshold" in before
    assert f"run `jointreid calibrate {run}`" in before

    printed = call(capsys, 0, "calibrate", run, "--manifest", data, *RATES, "--cache", tmp_path, "--device", "cpu")
    assert "| mall across cameras |      4 |" in printed
    assert "| two data sets       |      8 |        144 |          0 |" in printed
    assert f"Wrote {run / 'calibration.json'}." in printed
    found = read_calibration(run)
    assert [(entry.domain, entry.calibrated.negatives) for entry in found.pairs if entry.pairs == "any"] == [
        ("mall", 54),
        ("shop", 54),
    ]
    assert "p10" not in (run / "calibration.json").read_text()  # no identity is in it

    after = call(capsys, 0, "match", run, one, one, "--domain", "mall", "--device", "cpu")
    assert after.startswith("same: similarity 1.000 (data set of a: mall; of b: mall)\nsame from ")
    assert "false matches in 45 % of pairs of two people (thresholds of mall)" in after
    table = data.parent / "pairs.csv"
    table.write_text(f"a,b,domain_a,across_cameras\n{one},shop/05.png,mall,1\nshop/05.png,mall/../shop/05.png,shop,0\n")
    pairs = json.loads(call(capsys, 0, "match", run, "--pairs", table, "--json", "--device", "cpu"))
    assert [pair["verdict"] for pair in pairs["pairs"]][1] == "same"
    assert [pair["across_cameras"] for pair in pairs["pairs"]] == [True, False]
    assert pairs["uncalibrated"] is None

    features, gallery = tmp_path / "e.parquet", tmp_path / "g"
    call(capsys, 0, "extract", run, "--images", data, "--out", features, "--device", "cpu")
    call(capsys, 0, "gallery", "add", gallery, features)
    asked = ("--row", "3", "--query-domain", "shop", "--domain", "mall", "--top", "1")
    searched = call(capsys, 0, "gallery", "search", gallery, features, *asked)
    assert "searched 24 of 48 images, 8 people" in searched
    assert "thresholds of shop" in searched
    assert "not calibrated" not in searched
    wrong = call(capsys, 2, "gallery", "search", gallery, features, "--query-domain", "mal")
    assert "no thresholds were made for data set mal; there are some for mall, shop" in wrong


def test_a_resumed_run_needs_another_calibration(data: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = untrained_run(tmp_path / "a"), untrained_run(tmp_path / "b", seed=1)
    sources = DataConfig(sources=(str(data),))
    request = CalibrationRequest(fmr=0.2, fpir=0.9, domains=("mall",))
    made = calibrate_run(first, request, sources, device="cpu", cache=str(tmp_path / "c"))
    assert Calibration.load(first) == made
    assert made.domains == ("mall",)
    weights = Path("last") / "model.safetensors"
    (first / weights).write_bytes((second / weights).read_bytes())
    with pytest.raises(JointreidError, match="the thresholds are of other weights"):
        Calibration.load(first, fingerprint=calibrate_run(second, request, sources, device="cpu").fingerprint)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--fmr", "0.01"), "takes 1,000 pairs of two people or more .* mall: 54 pairs, 0.19; shop: 54 pairs, 0.19"),
        ((*RATES, "--gallery-size", "1000"), "The largest galleries at this rate are mall: 3 people; shop: 3 people"),
        ((*RATES, "--domain", "mal"), "no data set is called mal; those with test people are mall, shop"),
        (("--fmr", "1"), "fmr is 1.0; expected a rate above 0 and below 1"),
    ],
)
def test_what_the_data_do_not_allow_is_refused(
    run: Path, data: Path, words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = call(capsys, 2, "calibrate", run, "--manifest", data, *words, "--device", "cpu")
    assert re.search(message, " ".join(printed.split())), printed


def test_people_who_were_trained_on_are_refused(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = manifest(tmp_path, {"d": 8})  # the run was trained on p0, p1 and p2 of d
    printed = call(capsys, 2, "calibrate", run, "--manifest", table, *RATES, "--device", "cpu")
    assert "p0" in printed


def test_a_wrong_call_of_match_says_what_was_expected(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "1 images are given; expected two" in call(capsys, 2, "match", run, "a.png")
    (tmp_path / "p.csv").write_text("a,c\nx,y\n")
    assert "no column b; found a,c" in call(capsys, 2, "match", run, "--pairs", tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("a,b,across_cameras\nx,y,maybe\n")
    assert "row 2: expected a path in a and in b, and 0 or 1" in call(
        capsys, 2, "match", run, "--pairs", tmp_path / "p.csv"
    )


@pytest.mark.parametrize("cell", ["../x.png", "../../etc/x.png", "a/../../x.png", "/etc/x.png", ""])
def test_paths_of_pairs_stay_below_their_table(tmp_path: Path, cell: str) -> None:
    table = tmp_path / "t" / "p.csv"
    table.parent.mkdir()
    table.write_text(f"a,b\nx.png,y.png\nx.png,{cell}\n")
    expected = (
        "row 3, column b: .* does not stay below the table's folder .*/t; move" if cell else "row 3: expected a path"
    )
    with pytest.raises(JointreidError, match=expected):
        read_pairs(table)
    table.write_text(f"a,b\nx.png,./s/../y.png\n{table.parent}/z.png,x.png\n")
    assert [(pair.a, pair.b) for pair in read_pairs(table)] == [
        (str(table.parent / a), str(table.parent / b)) for a, b in (("x.png", "y.png"), ("z.png", "x.png"))
    ]


def test_rates_are_rounded_up_so_that_they_are_allowed() -> None:
    assert [round_up(rate) for rate in (0.00123, 0.0012, 0.19, 2.0)] == [0.0013, 0.0012, 0.19, 2.0]
