"""Tables built from made-up runs: ours, paper and difference; what is missing and what is not comparable says so."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from jointreid.data.protocols import ProtocolMatch
from jointreid.messages.errors import JointreidError
from jointreid.models.weight_sources import SOURCES, label_of
from jointreid.paper.compared import ComparedNumber, ComparedTable
from jointreid.paper.datasets import GridDataset, datasets_of_paper
from jointreid.paper.facts import STARTS
from jointreid.paper.store import GridSetup, RunRecord, save_setup
from jointreid.paper.tables import build_table, build_tables
from jointreid.retrieval.results import DomainResult, Results
from tests.paper.saved_runs import save_run

FIVE = datasets_of_paper()
FOUR = tuple(dataset for dataset in FIVE if dataset.slot != "dukemtmc")
NAMES = tuple(dataset.name for dataset in FIVE)


def setup(datasets: Sequence[GridDataset] = FIVE, warning: str = "") -> GridSetup:
    return GridSetup("full", "paper", tuple(datasets), warning)


def record(
    model: str,
    trained_on: str,
    accuracy: dict[str, tuple[float, float]],
    *,
    domains: tuple[str, ...] = NAMES,
    seed: int = 0,
    pretraining: str = "torchvision R50 ImageNet V1 (76.1%), sha256 0676ba61",
    changed: dict[str, str] | None = None,
) -> RunRecord:
    """Return a run with Rank-1 and mAP on test sets, in percent."""
    found = tuple(
        DomainResult(name, mean_ap / 100, 0.1, {1: rank1 / 100, 5: 1.0, 10: 1.0}, 100, 99, 900, True, True)
        for name, (rank1, mean_ap) in accuracy.items()
    )
    results = Results(model, "last", "ab", found, "bn_embedding", "cosine", False, 256, 128, pretraining, 1.0, {})
    hashes = dict.fromkeys(accuracy, "00ff")
    trained = domains if trained_on == "joint" else (trained_on,)
    return RunRecord(model, trained_on, trained, seed, "paper", changed or {}, "c0ffee", 24_240, hashes, {}, results)


# Without doubts of its own, so that those of another run are not said once for all.
RECORD_OF_ANOTHER = record("agw", "joint", {"market1501": (50, 40)})


def figure(table: ComparedTable, row: str, column: str, metric: str = "mAP") -> ComparedNumber:
    (found,) = [entry for entry in table.rows if " ".join(entry.names) == row]
    slot = [(c.group, c.name) for c in table.columns].index((column, metric))
    return found.numbers[slot]


def test_a_cell_is_ours_paper_and_difference() -> None:
    table = build_table("II", setup(), [record("bot-dcsd", "joint", {"market1501": (95.04, 88.25)})])
    cell = figure(table, "BoT-DCSD (Joint Training)", "Market1501")
    assert (cell.mean, cell.paper, cell.difference) == (88.2, 89.5, -1.3)
    assert figure(table, "BoT-DCSD (Joint Training)", "Market1501", "Rank-1").mean == 95.0
    assert cell.deviation is None
    assert cell.doubts == ()
    assert figure(table, "BoT-DCSD (Joint Training)", "Duke").status == "not run"
    assert figure(table, "HA-CNN [23]", "CUHK03(L)").status == "quoted"
    assert figure(table, "HA-CNN [23]", "CUHK03(L)").paper == 41.0


def test_rows_of_single_training_read_each_column_from_another_run() -> None:
    runs = [record("bot", name, {name: (50, 10 + i), "msmt17": (1, 2)}) for i, name in enumerate(NAMES)]
    table = build_table("II", setup(), runs)
    assert figure(table, "BoT [34]", "Market1501").ours == pytest.approx((10,))
    assert figure(table, "BoT [34]", "CUHK03(L)").ours == pytest.approx((13,))
    across = build_table("III", setup(), runs)
    assert figure(across, "BoT (Baseline) [34] CUHK03(L)", "MSMT17").mean == 2.0
    assert figure(across, "BoT (Baseline) [34] CUHK03(L)", "Duke").status == "not run"
    assert figure(across, "BoT (Baseline) [34] Joint Training", "Duke").status == "not run"


def test_seeds_give_a_mean_and_a_standard_deviation_and_gains_are_paired() -> None:
    runs = [
        *(record("bot", "joint", {"cuhk03": (0, value)}, seed=seed) for seed, value in [(0, 60), (1, 64), (7, 0)]),
        *(record("bot-dcsd", "joint", {"cuhk03": (0, value)}, seed=seed) for seed, value in [(1, 75), (0, 70)]),
    ]
    table = build_table("II", setup(), runs)
    joint = figure(table, "BoT-DCSD (Joint Training)", "CUHK03(L)")
    assert joint.mean == 72.5
    assert joint.deviation == pytest.approx(3.5355, abs=1e-4)
    assert joint.behind["seeds"] == [0, 1]
    rows = [row for row in table.rows if row.names[0] == "Joint Training Gain"]
    gain = rows[0].numbers[1]
    assert gain.ours == pytest.approx((10, 11))
    assert (gain.mean, gain.paper, gain.difference, gain.signed) == (10.5, 12.3, -1.8, True)
    assert rows[1].numbers[1].status == "not run"


def test_the_gain_is_split_into_what_s_gives_and_what_domain_and_camera_add() -> None:
    values = {"bot": 60.0, "bot-dcsd-s": 66.0, "bot-dcsd": 67.5}
    runs = [record(model, "joint", {"dukemtmc": (0, value)}) for model, value in values.items()]
    table = build_table("V", setup(), runs)
    from_s, from_context = (figure(table, row, "Duke") for row in ("Gain from S", "Gain from D + C"))
    assert (from_s.mean, from_s.paper, from_s.difference) == (6.0, 4.3, 1.7)
    assert (from_context.mean, from_context.paper, from_context.difference) == (1.5, 0.4, 1.1)
    assert figure(table, "Gain from S", "MSMT17").status == "not run"
    assert figure(table, "Gain from S", "MSMT17").paper == 9.3


def test_without_duke_its_columns_are_withdrawn_and_joint_figures_not_comparable() -> None:
    names = tuple(dataset.name for dataset in FOUR)
    runs = [
        record("bot", "joint", {"cuhk03": (50, 40)}, domains=names),
        record("bot", "joint", {"cuhk03": (99, 99)}),  # on five: another run, not of this setup
        record("bot", "cuhk03", {"cuhk03": (50, 41)}),
    ]
    table = build_table("II", setup(FOUR), runs)
    assert figure(table, "BoT [34]", "Duke").status == "withdrawn, not run"
    joint = figure(table, "BoT (Joint Training)", "CUHK03(L)")
    assert joint.mean == 40.0
    assert joint.doubts == (
        "Joint training on 4 data sets (market1501, cuhk_sysu, cuhk03, msmt17), not on the paper's five: "
        "not comparable.",
    )
    assert figure(table, "BoT [34]", "CUHK03(L)").doubts == ()
    assert any("withdrawn by its owner in 2019" in note for note in table.notes)
    assert figure(build_table("III", setup(FOUR), runs), "BoT-DN [36] Duke", "MSMT17").status == "withdrawn, not run"
    counts = build_table("I", setup(FOUR), [])
    assert {cell.status for cell in counts.rows[2].numbers} == {"withdrawn, not run"}


def test_absent_data_sets_say_so() -> None:
    table = build_table("II", setup(FIVE[:1]), [])
    assert figure(table, "BoT [34]", "Market1501").status == "not run"
    assert figure(table, "BoT [34]", "MSMT17").status == "no data"
    assert figure(table, "BoT (Joint Training)", "Market1501").status == "no data"


def test_own_data_sets_are_headed_with_the_place_they_take_and_doubted() -> None:
    own = replace(FIVE[0], name="depot")
    table = build_table(
        "III", setup([own, FIVE[3]]), [record("bot", "cuhk03", {"depot": (50, 40), "cuhk03": (60, 50)})]
    )
    cell = figure(table, "BoT (Baseline) [34] CUHK03(L)", "depot (in place of Market-1501)")
    assert cell.doubts == ("depot is used in place of Market-1501; the paper's number is for the latter.",)
    assert figure(table, "BoT (Baseline) [34] CUHK03(L)", "CUHK03(L)").doubts == ()
    trained = replace(record("bot", "market1501", {"cuhk03": (50, 40)}), domains=("depot",))
    table = build_table("III", setup([own, FIVE[3]]), [trained])
    assert any("Trained on depot, not on Market-1501" in note for note in table.notes)


def test_another_protocol_start_or_settings_are_told() -> None:
    detected = replace(FIVE[3], protocol=ProtocolMatch("x", False, "CUHK03, detected boxes (the paper: labeled)"))
    datasets = [*FIVE[:3], detected, FIVE[4]]
    runs = [
        record("bot", "joint", {"market1501": (50, 40), "cuhk03": (5, 4)}, pretraining="none"),
        record("bot", "msmt17", {"msmt17": (50, 40)}, changed={"schedule.epochs": "60"}),
    ]
    table = build_table("II", setup(datasets), runs)
    joint = figure(table, "BoT (Joint Training)", "Market1501")
    assert joint.doubts == (
        "CUHK03, detected boxes (the paper: labeled): not comparable.",
        "Trained from scratch, where the paper starts from ImageNet weights: not comparable.",
    )
    assert figure(table, "BoT [34]", "MSMT17").doubts == ("Settings that differ from the recipe: schedule.epochs 60.",)
    assert "All our numbers" not in "".join(table.notes)
    said = record("bot", "msmt17", {"msmt17": (50, 40)}, pretraining="said to be torchvision's, sha256 01")
    (doubt,) = figure(build_table("II", setup(), [runs[0], said]), "BoT [34]", "MSMT17").doubts
    assert "no checksum of such a file is known" in doubt
    partial = record("bot-dcsd", "msmt17", {"msmt17": (50, 40)}, pretraining="partial R50 init — NOT comparable")
    cell = figure(build_table("II", setup(), [*runs, partial]), "BoT-DCSD", "MSMT17")
    assert cell.doubts == ("Trained from partial R50 init — NOT comparable.",)
    own = record("bot-dcsd", "msmt17", {"msmt17": (50, 40)}, pretraining="runs/mine")
    cell = figure(build_table("II", setup(), [*runs, own]), "BoT-DCSD", "MSMT17")
    assert cell.doubts == ("Trained from runs/mine, whose own initial weights are not known: not comparable.",)
    stronger = record("bot", "msmt17", {"msmt17": (50, 40)}, pretraining=f"{label_of('a1_in1k')}, sha256 02")
    cell = figure(build_table("II", setup(), [*runs, stronger]), "BoT [34]", "MSMT17")
    assert any("not the paper's start, sha256 02: not the paper's initial weights" in doubt for doubt in cell.doubts)
    repository = replace(record("bot", "msmt17", {"msmt17": (50, 40)}), preset="bot-repo")
    cell = figure(build_table("II", setup(), [runs[0], repository]), "BoT [34]", "MSMT17")
    assert cell.doubts == ("Preset bot-repo, whose learning rate differs from the paper's.",)
    alone = build_table("II", setup(datasets), runs[:1])
    assert figure(alone, "BoT (Joint Training)", "Market1501").doubts == ()  # said once, of all figures
    assert alone.notes[1].startswith("All our numbers: Trained from scratch")


@pytest.mark.parametrize("source", SOURCES)
def test_only_the_papers_own_starts_leave_no_doubt(source: str) -> None:
    """Whatever weights there are to start from: the two that the paper's networks can have had, and no others."""
    started = record("bot", "msmt17", {"msmt17": (50, 40)}, pretraining=f"{label_of(source)}, sha256 0676ba61")
    table = build_table("II", setup(), [started, RECORD_OF_ANOTHER])
    doubted = figure(table, "BoT [34]", "MSMT17").doubts
    assert (doubted == ()) == (source in ("tv_in1k", "ddf_imagenet"))
    assert label_of(source).startswith(STARTS) == (source in ("tv_in1k", "ddf_imagenet"))


def test_a_warning_takes_the_place_of_doubts() -> None:
    runs = [record("bot", "joint", {"cuhk03": (50, 40)}, pretraining="none")]
    table = build_table("V", setup(warning="means nothing"), runs)
    assert table.warning == "means nothing"
    assert figure(table, "BoT (JT)", "CUHK03(L)").doubts == ()
    assert figure(table, "BoT (JT)", "CUHK03(L)").difference == -25.7


def test_a_figure_carries_what_stands_behind_it() -> None:
    runs = [record("bot-dcsd", "cuhk03", {"cuhk03": (50, 40)}, seed=seed) for seed in (1, 2)]
    behind = figure(build_table("II", setup(), runs), "BoT-DCSD", "CUHK03(L)").behind
    assert behind == {
        "model": "bot-dcsd",
        "recipe": "bot-dcsd",
        "trained_on": "cuhk03",
        "trained_on_data": ["cuhk03"],
        "test_data": "cuhk03",
        "seeds": [1, 2],
        "steps": 24_240,
        "preset": "paper",
        "other_settings": {},
        "pretraining": "torchvision R50 ImageNet V1 (76.1%), sha256 0676ba61",
        "commit": "c0ffee",
        "protocol": "",
        "variant": "",
        "valid_queries": 99,
        "feature_hashes": ["00ff", "00ff"],
    }


def test_the_papers_slips_mark_the_numbers_they_are_about() -> None:
    table = build_table("III", setup(), [])
    (remark,) = figure(table, "BoT-DCSD (Ours) Market1501", "CUHK-SYSU").remarks
    assert "76.7 / 87.8" in remark
    assert figure(table, "BoT-DCSD (Ours) Market1501", "MSMT17").remarks == ()
    two = build_table("II", setup(), [])
    assert "58.2 in Table II and 59.5" in figure(two, "BoT-DCSD", "MSMT17").remarks[0]
    assert "32,621" in figure(two, "TransReID (DeiT-S/16) [33]", "MSMT17").remarks[0]


def test_controls_have_rows_that_the_paper_lacks() -> None:
    table = build_table("controls", setup(), [record("bot-dcsd-s", "cuhk03", {"cuhk03": (50, 40)})])
    cell = figure(table, "BoT-DCSD, S", "CUHK03(L)")
    assert (cell.mean, cell.paper, cell.difference) == (40.0, None, None)


def test_table_i_is_measured_beside_expected_counts() -> None:
    table = build_table("I", setup(), [])
    msmt17 = table.rows[4].numbers
    assert [cell.difference for cell in msmt17] == [0, 0, 0, 0, 2, 0, 0, 0, 0]
    assert "11,659" in msmt17[4].remarks[0]
    assert [row.names[0] for row in table.rows] == ["Market1501", "CUHK-SYSU", "Duke", "CUHK03(L)", "MSMT17"]
    assert not any("Not the paper's" in note for note in table.notes)
    own = build_table("I", setup([replace(FIVE[0], name="depot"), *FIVE[1:]]), [])
    assert own.notes[0].startswith("Used in place of the paper's data sets: depot.")


@pytest.mark.slow
def test_table_iv_counts_the_networks_themselves() -> None:
    table = build_table("IV", setup(), [])
    assert [[cell.difference for cell in row.numbers] for row in table.rows] == [[0, 0], [0, 0]]
    assert table.rows[1].numbers[0].behind["parameters"] == 18_241_524
    assert "18,250,964" in table.details


def test_tables_are_read_from_a_folder(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match="no table 7"):
        build_tables(tmp_path, ["7"])
    with pytest.raises(JointreidError, match="holds no grid"):
        build_tables(tmp_path, ["V"])
    save_setup(setup(), tmp_path)
    save_run(record("bot", "joint", {"cuhk03": (50, 40)}), tmp_path / "runs" / "bot-joint-s0")
    five, six = build_tables(tmp_path, ["V", "VI"])
    assert figure(five, "BoT (JT)", "CUHK03(L)").mean == 40.0
    assert {cell.status for row in six.rows for cell in row.numbers} == {"not run"}


@pytest.mark.slow
def test_counts_are_not_called_meaningless_with_the_rates_of_a_small_scale() -> None:
    tiny = replace(setup(), scale="tiny", warning="The numbers below mean nothing.")
    expected = "Scale tiny: accuracy at this scale means nothing; the counts below are exact."
    assert [build_table(name, tiny, []).warning for name in ("I", "IV")] == [expected, expected]
    assert build_table("II", tiny, []).warning == tiny.warning
    assert build_table("I", setup(), []).warning == ""
