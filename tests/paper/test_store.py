"""Files of the grid: what is written comes back, what is damaged says so, other data are not mixed in."""

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import jointreid
from jointreid.data.protocols import ProtocolMatch
from jointreid.messages.errors import JointreidError
from jointreid.paper.datasets import datasets_of_paper
from jointreid.paper.store import (
    GridSetup,
    RunRecord,
    joint_runs,
    load_record,
    load_records,
    load_setup,
    merge,
    package_commit,
    save_record,
    save_setup,
)
from jointreid.paper.tables import build_tables
from jointreid.retrieval.result_files import save_results
from jointreid.retrieval.results import DomainResult, Results
from tests.paper.saved_runs import save_run

PROTOCOL = ProtocolMatch("market1501", False, "part of Market-1501", ("train: 1 (the paper: 2)",))
SETUP = GridSetup("full", "paper", (replace(datasets_of_paper()[0], protocol=PROTOCOL), *datasets_of_paper()[1:]))


def results(*domains: str, mean_ap: float = 0.5) -> Results:
    found = (DomainResult(d, mean_ap, 0.25, {1: 0.75, 5: 0.875, 10: 1.0}, 10, 9, 90, True, True) for d in domains)
    return Results("bot", "last", "0123abcd", tuple(found), "bn_embedding", "cosine", False, 256, 128, "none", 1.5, {})


RECORD = RunRecord(
    model="bot",
    trained_on="joint",
    domains=("market1501", "cuhk03"),
    seed=3,
    preset="paper",
    changed={"schedule.epochs": "60"},
    commit="0123456789ab",
    step=30,
    feature_hashes={"market1501": "00ff", "cuhk03": "11ee"},
    files={},
    results=results("market1501", "cuhk03"),
)


def test_setup_and_records_come_back(tmp_path: Path) -> None:
    save_setup(SETUP, tmp_path)
    assert load_setup(tmp_path) == SETUP
    assert load_records(tmp_path) == ()
    saved = save_run(RECORD, tmp_path / "runs" / "bot-joint-s3")
    assert load_records(tmp_path) == (saved,)
    assert "mAP" not in (tmp_path / "runs" / "bot-joint-s3" / "evaluations.json").read_text()  # in one file only
    found = RECORD.on("cuhk03")
    assert found is not None
    assert found.num_valid_queries == 9
    assert RECORD.on("msmt17") is None


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"model": "bot"}', '{"scale": 1, "holdings": 3}'])
def test_damaged_files_are_named_with_what_to_do(tmp_path: Path, damage: str) -> None:
    with pytest.raises(JointreidError, match=r"holds no grid\.json; `jointreid paper run --out \S+`, with"):
        load_setup(tmp_path)
    (tmp_path / "grid.json").write_text(damage)
    with pytest.raises(JointreidError, match=r"grid\.json"):
        load_setup(tmp_path)
    run = tmp_path / "runs" / "bot-joint-s3"
    save_run(RECORD, run)
    (run / "evaluations.json").write_text(damage)
    with pytest.raises(JointreidError, match=r"bot-joint-s3/evaluations\.json"):
        load_records(tmp_path)


def test_a_record_of_another_form_is_damaged(tmp_path: Path) -> None:
    save_run(RECORD, tmp_path)
    plain = json.loads((tmp_path / "evaluations.json").read_text())
    for wrong in (
        {**plain, "results": {"domains": 3}},
        {**plain, "files": {}},
        {**plain, "files": {"../results.json": ""}},
        {k: v for k, v in plain.items() if k != "feature_hashes"},
    ):
        (tmp_path / "evaluations.json").write_text(json.dumps(wrong))
        with pytest.raises(JointreidError, match=r"is damaged .* run `jointreid paper run` again"):
            load_record(tmp_path)


def test_results_of_a_later_evaluation_are_not_taken_for_those_of_the_grid(tmp_path: Path) -> None:
    save_run(RECORD, tmp_path)
    save_results(replace(RECORD.results, seconds=9.0), (), tmp_path)  # the same evaluation again
    assert load_record(tmp_path).results.seconds == 9.0
    save_results(replace(results("market1501", "cuhk03", mean_ap=0.6), flip=True), (), tmp_path)
    with pytest.raises(JointreidError, match=r"results\.json holds results of a later evaluation.*`jointreid paper"):
        load_record(tmp_path)
    (tmp_path / "results.json").unlink()
    with pytest.raises(JointreidError, match=r"evaluations\.json is damaged .*results\.json"):
        load_record(tmp_path)


def test_a_grid_of_the_first_version_opens(tmp_path: Path) -> None:
    grid = Path(__file__).parents[1] / "fixtures" / "grid_v1"
    setup, records = load_setup(grid), load_records(grid)
    assert [(dataset.slot, dataset.name) for dataset in setup.datasets][:2] == [
        ("market1501", "college"),
        ("cuhk_sysu", "gate"),
    ]
    assert [(record.model, record.trained_on, record.step) for record in records] == [
        ("bot", "market1501", 30),
        ("bot", "dukemtmc", 30),
    ]
    for record in records:
        assert record.results.domains == (record.on(record.domains[0]),)
        assert not record.files
    save_record(records[0], tmp_path)  # as when it is evaluated on more test sets
    assert load_record(tmp_path) == records[0]
    (table,) = build_tables(grid, ["III"])
    ours = [number.mean for row in table.rows for number in row.numbers if number.ours]
    assert ours == [0.0, 12.6, 16.7, 32.9]


def test_a_folder_keeps_one_scale_one_preset_and_one_data_set_for_each_slot(tmp_path: Path) -> None:
    save_setup(SETUP, tmp_path)
    with pytest.raises(JointreidError, match="holds runs of scale full, now tiny"):
        save_setup(replace(SETUP, scale="tiny"), tmp_path)
    with pytest.raises(JointreidError, match="holds runs of preset paper, now fastreid"):
        save_setup(replace(SETUP, preset="fastreid"), tmp_path)
    other = replace(SETUP.datasets[0], name="depot")
    with pytest.raises(JointreidError, match="market1501 is used in place of market1501, now it would be depot"):
        save_setup(replace(SETUP, datasets=(other,)), tmp_path)
    assert load_setup(tmp_path) == SETUP
    fewer = replace(SETUP, datasets=SETUP.datasets[:1])
    save_setup(fewer, tmp_path)
    assert load_setup(tmp_path) == fewer


def test_results_of_several_evaluations_become_one() -> None:
    merged = merge([results("a", "b"), results("b", "c", mean_ap=0.75)])
    assert [(result.domain, result.mAP) for result in merged.domains] == [("a", 0.5), ("b", 0.75), ("c", 0.75)]
    assert merged.seconds == 3.0


def test_the_commit_is_that_of_the_checkout_else_the_version(tmp_path: Path) -> None:
    assert package_commit(tmp_path) == f"version {jointreid.__version__}"
    (tmp_path / ".git").mkdir()  # not one that git can read
    assert package_commit(tmp_path) == f"version {jointreid.__version__}"
    if shutil.which("git"):
        shutil.rmtree(tmp_path / ".git")
        git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run([*git, "init", "-q"], check=True)
        (tmp_path / "a.py").touch()
        subprocess.run([*git, "add", "."], check=True)
        subprocess.run([*git, "commit", "-q", "-m", "first"], check=True)
        commit = package_commit(tmp_path)
        assert len(commit) == 12
        (tmp_path / "a.py").write_text("1")
        assert package_commit(tmp_path) == f"{commit}+changes"


def test_the_runs_of_the_figure_are_found_in_a_grid(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match=r"holds no grid\.json"):
        joint_runs(tmp_path, ("bot",))
    save_setup(SETUP, tmp_path)
    for model, trained_on, seed in (
        ("bot", "joint", 0),
        ("bot", "joint", 1),
        ("agw", "joint", 1),
        ("agw", "cuhk03", 0),
    ):
        record = replace(RECORD, model=model, trained_on=trained_on, seed=seed)
        save_run(record, tmp_path / "runs" / f"{model}-{trained_on}-s{seed}")
    found = joint_runs(tmp_path, ("agw", "bot"))
    assert [path.name for path in found] == ["agw-joint-s1", "bot-joint-s1"]
    with pytest.raises(JointreidError, match="lacks a finished joint training of agw and bot-dn"):
        joint_runs(tmp_path, ("agw", "bot-dn"))
