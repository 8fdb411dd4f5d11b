import sys
from pathlib import Path

import pytest

from jointreid.config import RunConfig
from jointreid.errors import JointreidError
from jointreid.recipes import apply_recipe


def test_bot_dcsd_is_bot_with_another_model() -> None:
    a, b = apply_recipe("bot"), apply_recipe("bot-dcsd")
    assert b.replace(model={"name": "bot"}, train={"label": "bot"}) == a


def test_the_default_preset_is_the_papers_numbers() -> None:
    config = apply_recipe("bot")
    assert (config.schedule.epochs, config.schedule.milestones) == (120, (40, 90))
    assert (config.sampler.ids_per_batch, config.sampler.images_per_id) == (16, 4)
    assert (config.optim.lr, config.optim.weight_decay, config.loss.margin) == (3.5e-4, 5e-4, 0.3)
    assert (config.image.height, config.image.width) == (256, 128)


def test_the_bot_repository_differs_where_it_does() -> None:
    config = apply_recipe("bot", "bot-repo")
    assert config.schedule.milestones == (40, 70)
    assert not config.model.stem_relu
    assert config.image.erase_area == (0.02, 0.4)


def test_a_recipe_of_ones_own_is_found_by_module_and_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_for_test.py").write_text(
        "from jointreid.recipes import bot\n"
        "def small(config):\n    return bot(config).replace(model={'trunk': 'resnet50-w16'})\n"
        "def broken(config):\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    config = apply_recipe("mine_for_test:small")
    assert isinstance(config, RunConfig)
    assert config.model.trunk == "resnet50-w16"
    assert config.train.label == "mine_for_test:small"
    with pytest.raises(JointreidError, match="returned int"):
        apply_recipe("mine_for_test:broken")
    with pytest.raises(JointreidError, match="has no function none"):
        apply_recipe("mine_for_test:none")
    with pytest.raises(JointreidError, match="cannot import nowhere_at_all"):
        apply_recipe("nowhere_at_all:f")
