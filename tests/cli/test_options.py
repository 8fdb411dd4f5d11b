from pathlib import Path

import pytest

from jointreid.config import RunConfig
from jointreid.messages.errors import JointreidError
from jointreid.options import SHORT, read_options, settings_help, spell_out
from jointreid.recipes import apply_recipe
from jointreid.run import write_config


def test_short_and_full_names_sources_and_types() -> None:
    line = "--recipe bot --manifest t.csv --data market1501=/d/m,x --out runs/x --optim.lr=1e-3 --eval.flip"
    config = read_options([*line.split(), "--schedule.milestones", "[3,4]", "--max-steps", "7"])
    expected = apply_recipe("bot").replace(
        data={"sources": ("t.csv", "market1501=/d/m,x")},
        optim={"lr": 1e-3},
        schedule={"milestones": (3, 4)},
        eval={"flip": True},
        train={"out": "runs/x", "max_steps": 7},
    )
    assert config == expected


def test_sources_with_quotes_and_brackets_arrive_as_they_are() -> None:
    config = read_options(["--data", "it's=/a b/[c]", "--manifest", "x: y.csv"])
    assert config.data.sources == ("it's=/a b/[c]", "x: y.csv")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--schedule.epoch 3", "no option --schedule.epoch; did you mean --schedule.epochs"),
        ("--optim.lr fast", "--optim.lr is 'fast'; expected a number"),
        ("--model.trunk resnet", "there is no trunk resnet; did you mean resnet50 or resnet101"),
        ("--image.erase_area [0.1]", "of 2 values, each a number"),
        ("--sampler.ids_per_batch 2.5", "expected a whole number"),
        ("--optim.lr", "--optim.lr needs a value"),
        ("--recipe bott", "no recipe bott; did you mean bot"),
        ("--preset bot", "no preset bot; did you mean bot-repo"),
        ("3", "'3' stands alone"),
        ("--devise cpu", "did you mean --device"),
    ],
)
def test_mistakes_are_named(line: str, message: str) -> None:
    with pytest.raises(JointreidError) as caught:
        read_options(line.split())
    assert message in str(caught.value)


def test_a_dumped_file_is_taken_back_and_options_come_after_it(tmp_path: Path) -> None:
    saved = apply_recipe("bot").replace(optim={"lr": 0.5}, image={"erase_ratio": (0.5, 2.0)})
    write_config(saved, tmp_path / "run.yaml")
    assert read_options(["--config", str(tmp_path / "run.yaml")]) == saved
    assert read_options(["--config", str(tmp_path / "run.yaml"), "--optim.lr", "2"]).optim.lr == 2.0


def test_a_config_file_with_an_unknown_key_names_file_and_nearest(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("optim:\n  lrr: 1\n")
    with pytest.raises(JointreidError, match=r"run\.yaml: there is no setting optim\.lrr; did you mean optim\.lr"):
        read_options(["--config", str(tmp_path / "run.yaml")])


def test_resume_alone_takes_the_settings_of_the_run(tmp_path: Path) -> None:
    begun = apply_recipe("bot").replace(optim={"lr": 0.5}, train={"out": str(tmp_path), "max_steps": 5})
    write_config(begun, tmp_path / "config.yaml")
    expected = begun.replace(train={"resume": True, "max_steps": 0})
    assert read_options(["--resume", "--out", str(tmp_path)]) == expected
    assert read_options(["--resume", str(tmp_path)]) == expected


def test_spelling_out_keeps_values_that_follow() -> None:
    assert spell_out(["--eval.flip", "--optim.lr", "-1"]) == ["--eval.flip=true", "--optim.lr=-1"]
    assert spell_out(["--eval.flip", "false"]) == ["--eval.flip=false"]


def test_help_shows_short_names_or_every_setting() -> None:
    assert all(short in settings_help(full=False) for short in SHORT)
    full = settings_help(full=True)
    assert "--schedule.milestones" in full
    assert str(RunConfig().schedule.milestones) in full
