from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from jointreid.config import RunConfig
from jointreid.data.joint import join
from jointreid.data.records import Domain, ImageRecord
from jointreid.machine.reading import read_json
from jointreid.messages.errors import JointreidError
from jointreid.recipes import apply_recipe
from jointreid.run import load_weights, model_for, open_run, read_config, write_config
from jointreid.training.checkpoint import save_checkpoint


def label_space(pids: str) -> object:
    records = tuple(ImageRecord(Path(f"{pid}.png"), pid, 0) for pid in pids)
    return join([Domain("d", train=records)]).label_space


def test_settings_survive_yaml_and_start_from_a_base(tmp_path: Path) -> None:
    config = apply_recipe("bot", "bot-repo").replace(data={"sources": ("a=b c", "d'e")})
    write_config(config, tmp_path / "c.yaml")
    assert read_config(tmp_path / "c.yaml") == config
    (tmp_path / "part.yaml").write_text("optim: {lr: 0.5}\n")
    assert read_config(tmp_path / "part.yaml", config) == config.replace(optim={"lr": 0.5})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "expected sections of settings"),
        ("optim: 3\n", "expected sections of settings"),
        ("optim: {lr: [}\n", "cannot read settings"),
        ("optim: {lr: fast}\n", r"optim\.lr is 'fast'; expected a number"),
        ("eval: {flip: 'yes'}\n", r"eval\.flip is 'yes'; expected true or false"),
        ("optimm: {lr: 1}\n", "did you mean optim"),
        ("a: !!python/object/apply:os.system ['true']\n", "cannot read settings"),
    ],
)
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(JointreidError, match=message) as caught:
        read_config(tmp_path / "c.yaml")
    assert "c.yaml" in str(caught.value)


def test_json_that_is_missing_or_no_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match="cannot be read: it is not there"):
        read_json(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(JointreidError, match="expected a JSON object, found list"):
        read_json(tmp_path / "list.json")


def test_open_run_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match="does not exist"):
        open_run(tmp_path / "none")
    write_config(RunConfig(), tmp_path / "config.yaml")
    with pytest.raises(JointreidError, match=r"labels\.json"):
        open_run(tmp_path)


@pytest.mark.slow
def test_weights_are_loaded_whole_or_without_heads_or_not_at_all(tmp_path: Path) -> None:
    config = RunConfig().replace(model={"trunk": "resnet50-w16", "name": "bot-dcsd"})
    three, four = (model_for(config, label_space(pids)) for pids in ("abc", "abcd"))  # type: ignore[arg-type]
    save_file(three.state_dict(), tmp_path / "three.safetensors")
    before = {name: tensor.clone() for name, tensor in four.state_dict().items()}
    with pytest.raises(JointreidError, match=r"classifier\.weight is \(3, 512\), expected \(4, 512\)"):
        load_weights(four, tmp_path / "three.safetensors")
    assert all(torch.equal(tensor, before[name]) for name, tensor in four.state_dict().items())
    load_weights(four, tmp_path / "three.safetensors", heads=False)
    heads = set(four.head_names())
    for name, tensor in four.state_dict().items():
        assert torch.equal(tensor, before[name] if name in heads else three.state_dict()[name]), name


def test_a_model_and_its_state_are_of_one_save_while_training_saves_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = RunConfig().replace(model={"trunk": "resnet50-w16", "name": "bot"})
    labels = join([Domain("d", train=tuple(ImageRecord(Path(f"{pid}.png"), pid, 0) for pid in "abc"))]).label_space
    write_config(config, tmp_path / "config.yaml")
    labels.save(tmp_path / "labels.json")
    model = model_for(config, labels)

    def save(step: int) -> None:
        with torch.no_grad():
            model.bnneck.weight.fill_(step)
        save_checkpoint(tmp_path, "last", model, {"step": step, "labels": labels.hash})

    def load_and_save(*arguments: Any, **options: Any) -> None:
        load_weights(*arguments, **options)
        if left:
            save(left.pop())

    monkeypatch.setattr("jointreid.run.load_weights", load_and_save)
    save(1)
    left = [3, 2]
    loaded, state = open_run(tmp_path).loaded()
    assert state["step"] == 3
    assert float(loaded.bnneck.weight.detach().mean()) == 3
    left = list(range(9))
    with pytest.raises(JointreidError, match="saves 'last' faster than it can be read"):
        open_run(tmp_path).loaded()
