import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jointreid.training.log import TrainingLog


def text_console() -> Console:
    return Console(file=io.StringIO(), width=200)


def test_a_line_each_for_programs_people_and_plots(tmp_path: Path) -> None:
    console = text_console()
    with TrainingLog(tmp_path, total_steps=10, start_step=0, console=console) as log:
        log.advance(2)
        log.write("train", 2, 1, {"total": 1.5, "nested": {"a": 2, "text": "x"}})
        log.print_step(2, 1, {"total": 1.5, "lr": 0.01}, images_per_second=64.0)
    line = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert line == {"kind": "train", "step": 2, "epoch": 1, "total": 1.5, "nested": {"a": 2, "text": "x"}}
    assert console.file.getvalue() == "epoch 1  step 2/10  total 1.500  lr 1.00e-02  64 images/s\n"  # type: ignore[attr-defined]
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"train/total", "train/nested/a", "train/images_per_second"}
    assert [(event.step, event.value) for event in events.Scalars("train/nested/a")] == [(2, 2.0)]


@pytest.mark.parametrize("terminal", [False, True])
def test_the_time_waiting_for_data_is_printed(tmp_path: Path, terminal: bool) -> None:
    console = Console(file=io.StringIO(), width=200, force_terminal=terminal)
    with TrainingLog(tmp_path, total_steps=10, start_step=0, console=console) as log:
        log.print_step(2, 1, {"total": 1.5, "lr": 0.01}, images_per_second=64.0, waiting=0.256)
    assert "26% of the time waiting for data" in console.file.getvalue()  # type: ignore[attr-defined]


def test_lines_of_work_that_is_done_again_are_dropped(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"kind": "train", "step": step}) for step in (1, 2, 3)]
    metrics.write_text("\n".join([*lines, '{"kind": "train", "st']))  # as a kill in mid-write leaves it
    with TrainingLog(tmp_path, total_steps=10, start_step=2, console=text_console()):
        pass
    assert metrics.read_text() == "\n".join(lines[:2]) + "\n"
    with TrainingLog(tmp_path, total_steps=10, start_step=5, console=text_console()):
        pass
    assert metrics.read_text() == "\n".join(lines[:2]) + "\n"


def test_lines_are_counted_and_cut_by_their_number(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    with TrainingLog(tmp_path, total_steps=10, start_step=0, console=text_console()) as log:
        for kind in ("train", "epoch", "evaluation"):
            log.write(kind, 2, 1, {})
        log.sync()
        assert log.lines == 3
    before = metrics.read_text().splitlines()
    # Saved after step 2 was logged, killed after it was evaluated: both lines are of step 2.
    with TrainingLog(tmp_path, total_steps=10, start_step=2, console=text_console(), start_lines=1) as log:
        assert log.lines == 1
    assert metrics.read_text().splitlines() == before[:1]
    console = text_console()
    with TrainingLog(tmp_path, total_steps=10, start_step=2, console=console, start_lines=3):
        pass
    assert "2 lines about finished steps are missing" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_log_that_is_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    run = tmp_path / "run"
    run.mkdir()
    (run / "metrics.jsonl").symlink_to(tmp_path / "mine.txt")
    with TrainingLog(run, total_steps=1, start_step=0, console=text_console()) as log:
        log.write("train", 1, 1, {})
    assert (tmp_path / "mine.txt").read_text() == "mine"
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 1


def test_markup_in_names_is_printed_as_it_is(tmp_path: Path) -> None:
    console = text_console()
    with TrainingLog(tmp_path, total_steps=1, start_step=0, console=console) as log:
        log.say("[bold]data[/bold]/a[0].png")
    assert console.file.getvalue() == "[bold]data[/bold]/a[0].png\n"  # type: ignore[attr-defined]
