import csv
import json
from io import StringIO
from pathlib import Path

import pytest

from jointreid.analysis.matrix import build_matrix
from jointreid.analysis.matrix_formats import as_csv, latex, markdown
from jointreid.cli import main
from tests.analysis.made_runs import made_run

MARKDOWN = """\
Rows: what a network was trained on. Columns: what it was evaluated on, in percent, the mean over seeds. Bold: the \
best of a column.

| Network | Start | Trained on | Seeds | a Rank-1 | a mAP | b_1 Rank-1 | b_1 mAP | mean Rank-1 | mean mAP | \
mean of others Rank-1 | mean of others mAP |
| --- | --- | --- | --- | --: | --: | --: | --: | --: | --: | --: | --: |
| bot | random weights | a | 2 | 30.0±7.1 | 60.0±14.1 | 10.0 (1 of 2) | 20.0 (1 of 2) | 17.5 (1 of 2) | \
35.0 (1 of 2) | **10.0** (1 of 2) | **20.0** (1 of 2) |
| bot | random weights | b_1 | 1 | – | – | 25.0 | 50.0 | – | – | – | – |
| bot | random weights | all jointly | 1 | 27.5 | 55.0 | 22.5 | 45.0 | 25.0 | 50.0 | – | – |
| bot-dcsd, S + D + C | random weights | a | 1 | 27.5 | 55.0 | 7.5 | 15.0 | 17.5 | 35.0 | 7.5 | 15.0 |
| bot-dcsd, S + D + C | random weights | all jointly | 1 | \
**35.0** | **70.0** | **25.0** | **50.0** | **30.0** | **60.0** | – | – |

- mean of others: over the data sets that the row was not trained on; bold among rows of the same training set.
- (1 of 3): the mean over so many seeds of the row, since the runs of the others were not evaluated there.
- bot-dcsd, S + D + C: no run was trained on b_1 alone
- 1 of 10 pairs of network and test set were not evaluated, such as bot, trained on b_1, on a: \
`jointreid evaluate {folder}/c --data a=/data/people.csv`
"""


def made_runs(folder: Path) -> Path:
    """Runs with numbers made by hand: two seeds alone on a, of which one was evaluated on the other data set."""
    source = ["/data/people.csv"]
    made_run(folder / "a", "bot", ["a"], {"a": 0.5, "b_1": 0.2}, sources=["a=/data/people.csv"])
    made_run(folder / "b", "bot", ["a"], {"a": 0.7}, seed=1)
    made_run(folder / "c", "bot", ["b_1"], {"b_1": 0.5})
    made_run(folder / "d", "bot", ["a", "b_1"], {"a": 0.55, "b_1": 0.45}, sources=source)
    made_run(folder / "e", "bot-dcsd", ["a"], {"a": 0.55, "b_1": 0.15})
    made_run(folder / "f", "bot-dcsd", ["a", "b_1"], {"a": 0.7, "b_1": 0.5}, sources=source)
    return folder


def test_the_matrix_as_markdown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    expected = MARKDOWN.replace("{folder}", str(made_runs(tmp_path)))
    # 25.0 = 25.0: numbers that are equal as printed are all best.
    expected = expected.replace("| b_1 | 1 | – | – | 25.0 | 50.0 |", "| b_1 | 1 | – | – | **25.0** | **50.0** |")
    assert main(["matrix", str(tmp_path)]) == 0
    assert capsys.readouterr().out == expected
    assert markdown(build_matrix([tmp_path])) == expected


def test_the_matrix_as_latex(tmp_path: Path) -> None:
    lines = latex(build_matrix([made_runs(tmp_path)])).splitlines()
    groups = " & ".join(rf"\multicolumn{{2}}{{c}}{{{name}}}" for name in ("a", r"b\_1", "mean", "mean of others"))
    assert rf" &  &  &  & {groups} \\" in lines
    assert (
        r"bot & random weights & a & 2 & 30.0$\pm$7.1 & 60.0$\pm$14.1 & 10.0 (1 of 2) & 20.0 (1 of 2) & "
        r"17.5 (1 of 2) & 35.0 (1 of 2) & \textbf{10.0} (1 of 2) & \textbf{20.0} (1 of 2) \\" in lines
    )
    assert lines[4] == r"\begin{tabular}{llllrrrrrrrr}"
    assert not any("`" in line for line in lines)


def test_the_matrix_as_csv_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    matrix = build_matrix([made_runs(tmp_path)])
    rows = list(csv.DictReader(StringIO(as_csv(matrix))))
    (found,) = [
        r
        for r in rows
        if (r["network"], r["trained_on"]) == ("bot", "a") and r["evaluated_on"] == "a" and r["metric"] == "mAP"
    ]
    assert float(found["value"]) == pytest.approx(0.6)
    assert (found["seeds"], found["is_best"]) == ("2", "false")
    assert main(["matrix", str(tmp_path), "--format", "json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["tests"] == ["a", "b_1"]
    assert plain["rows"][0]["tests"]["a"]["mAP"]["by_seed"] == [0.5, 0.7]
    assert plain["rows"][4]["tests"]["mean"]["mAP"] == {
        "mean": 0.6,
        "deviation": None,
        "by_seed": [0.6],
        "is_best": True,
    }


def test_a_single_run_is_a_matrix_of_one_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_run(tmp_path / "joint", "bot", ["a", "b"], {"a": 0.5, "b": 0.25})
    assert main(["matrix", str(run), "--format", "md"]) == 0
    text = capsys.readouterr().out
    assert "| bot | random weights | all jointly | 1 | 25.0 | 50.0 | 12.5 | 25.0 | 18.8 | 37.5 |" in text
    assert "- bot: no run was trained on a, b alone" in text


def test_every_row_names_its_start(tmp_path: Path) -> None:
    made_run(tmp_path / "bot", "bot", ["a", "b"], {"a": 0.5, "b": 0.25}, pretraining="tv_in1k, sha256 0123")
    made_run(tmp_path / "dcsd", "bot-dcsd", ["a", "b"], {"a": 0.5, "b": 0.25})
    matrix = build_matrix([tmp_path])
    assert "| tv_in1k | all jointly | 1 |" in markdown(matrix)
    assert "| random weights | all jointly | 1 |" in markdown(matrix)
    assert [row["start"] for row in matrix.to_dict()["rows"]] == ["tv_in1k, sha256 0123", "none"]
    rows = list(csv.DictReader(StringIO(as_csv(matrix))))
    assert {(row["network"].partition(",")[0], row["start"]) for row in rows} == {
        ("bot", "tv_in1k, sha256 0123"),
        ("bot-dcsd", "none"),
    }


def test_runs_without_a_data_set_name_it(tmp_path: Path) -> None:
    for name, left in (("all", ""), ("no-a", "a"), ("no-b", "b")):
        names = [n for n in "abc" if n != left]
        made_run(tmp_path / name, "bot", names, dict.fromkeys("abc", 0.5))
    assert [row.source for row in build_matrix([tmp_path]).rows] == ["all but b", "all but a", "all jointly"]
