from pathlib import Path

import pytest

from jointreid.cli.train import TrainOptions
from jointreid.messages.errors import JointreidError
from jointreid.recipes import apply_recipe
from jointreid.run import write_config
from tests.command_lines import read_train_options


def test_short_and_full_names_sources_and_types() -> None:
    line = "--recipe bot --manifest t.csv --data market1501=/d/m,x --out runs/x --optim.lr=1e-3 --eval.flip"
    config = read_train_options([*line.split(), "--schedule.milestones", "[3,4]", "--max-steps", "7"])
    expected = apply_recipe("bot").replace(
        data={"sources": ("t.csv", "market1501=/d/m,x")},
        optim={"lr": 1e-3},
        schedule={"milestones": (3, 4)},
        eval={"flip": True},
        train={"out": "runs/x", "max_steps": 7},
    )
    assert config == expected


def test_sources_with_quotes_and_brackets_arrive_as_they_are() -> None:
    config = read_train_options(["--data", "it's=/a b/[c]", "--manifest", "x: y.csv"])
    assert config.data.sources == ("it's=/a b/[c]", "x: y.csv")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--schedule.epoch 3", "Unknown option: --schedule.epoch. Did you mean --schedule.epochs?"),
        ("--optim.lr fast", 'Invalid value for --optim.lr: unable to convert "fast" into float'),
        ("--model.trunk resnet", "there is no trunk resnet; did you mean resnet50 or resnet101"),
        ("--image.erase_area [0.1]", "of 2 values, each a number"),
        ("--sampler.ids_per_batch 2.5", "Invalid value for --sampler.ids_per_batch: 2.5 is not a whole number"),
        ("--optim.lr", "--optim.lr requires an argument"),
        ("--recipe bott", "no recipe bott; did you mean bot"),
        ("--preset bot", "no preset bot; did you mean bot-repo"),
        ("3", "'3' is one argument too many"),
        ("--devise cpu", "Did you mean --device?"),
        (
            "--data.cache_mode of",
            'Invalid value "of" for --data.cache_mode. Choose from: "disk", "memory", "off". Did you mean "off"?',
        ),
        ("--device gpu", 'Invalid value "gpu" for --device. Choose from: "auto", "cpu", "cuda", "mps".'),
        ("--optim.lr -1e-3", "optim.lr is -0.001; expected a positive number"),
    ],
)
def test_mistakes_are_named(line: str, message: str) -> None:
    with pytest.raises(JointreidError) as caught:
        read_train_options(line.split())
    assert message in str(caught.value)


def test_a_dumped_file_is_taken_back_and_options_come_after_it(tmp_path: Path) -> None:
    saved = apply_recipe("bot").replace(optim={"lr": 0.5}, image={"erase_ratio": (0.5, 2.0)})
    write_config(saved, tmp_path / "run.yaml")
    assert read_train_options(["--config", str(tmp_path / "run.yaml")]) == saved
    assert read_train_options(["--config", str(tmp_path / "run.yaml"), "--optim.lr", "2"]).optim.lr == 2.0


def test_a_config_file_with_an_unknown_key_names_file_and_nearest(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("optim:\n  lrr: 1\n")
    with pytest.raises(JointreidError, match=r"run\.yaml: there is no setting optim\.lrr; did you mean optim\.lr"):
        read_train_options(["--config", str(tmp_path / "run.yaml")])


def test_resume_alone_takes_the_settings_of_the_run(tmp_path: Path) -> None:
    begun = apply_recipe("bot").replace(optim={"lr": 0.5}, train={"out": str(tmp_path), "max_steps": 5})
    write_config(begun, tmp_path / "config.yaml")
    expected = begun.replace(train={"resume": True, "max_steps": 0})
    assert read_train_options(["--resume", "--out", str(tmp_path)]) == expected
    assert read_train_options(["--resume", str(tmp_path)]) == expected


def test_resuming_with_a_recipe_or_a_file_starts_from_these(tmp_path: Path) -> None:
    write_config(apply_recipe("bot").replace(optim={"lr": 0.5}), tmp_path / "config.yaml")
    named = read_train_options(["--recipe", "bot-dcsd", "--resume", str(tmp_path)])
    assert (named.model.name, named.optim.lr) == ("bot-dcsd", 3.5e-4)


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--resume", "r"], ["--resume", "--out", "r"]),
        (["--train.resume", "r"], ["--train.resume", "--out", "r"]),
        (["--resume", "--out", "r"], ["--resume", "--out", "r"]),
        (["--resume", "false", "--out", "r"], ["--resume", "false", "--out", "r"]),
    ],
)
def test_resume_takes_the_run_too(argv: list[str], expected: list[str]) -> None:
    assert TrainOptions.spell_out(argv) == expected


def test_a_switch_may_have_a_value_and_a_value_may_begin_with_a_dash() -> None:
    config = read_train_options(["--eval.flip", "--dcsd.stop_gradient", "false", "--train.label", "-x"])
    assert (config.eval.flip, config.dcsd.stop_gradient, config.train.label) == (True, False, "-x")
    assert read_train_options(["--eval.flip", "false"]).eval.flip is False
    assert read_train_options(["--eval.flip=off"]).eval.flip is False


@pytest.mark.parametrize("written", ["off", "'off'", "false"])
def test_cache_mode_off_is_understood_in_yaml_where_it_is_a_boolean(written: str, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(f"data:\n  cache_mode: {written}\n")
    assert read_train_options(["--config", str(tmp_path / "run.yaml")]).data.cache_mode == "off"
    assert read_train_options(["--data.cache_mode", "off"]).data.cache_mode == "off"


def test_a_function_named_on_the_command_line_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    trusted: list[str] = []
    monkeypatch.setattr("jointreid.cli.train.trust", trusted.append)
    read_train_options(["--model.trunk", "nets:trunk", "--loss.kind", "losses:mine", "--sampler.kind=draws:by_camera"])
    assert trusted == ["nets", "losses", "draws"]
