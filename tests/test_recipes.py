import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from jointreid.config import RunConfig, SystemName, config_difference
from jointreid.messages.errors import JointreidError
from jointreid.recipes import PRESETS, RECIPES, apply_recipe


def test_bot_dcsd_is_bot_with_another_model() -> None:
    a, b = apply_recipe("bot"), apply_recipe("bot-dcsd")
    assert b.replace(model={"name": "bot"}, train={"label": "bot"}) == a


# A recipe, the one it is a variant of, and all that differs.
VARIANTS: list[tuple[str, str, dict[str, Any]]] = [
    ("agw", "bot", {"model.name": "agw", "loss.triplet": "wrt"}),
    ("bot-dcsd", "bot", {"model.name": "bot-dcsd"}),
    ("agw-dcsd", "agw", {"model.name": "agw-dcsd"}),
    ("agw-dcsd", "bot-dcsd", {"model.name": "agw-dcsd", "loss.triplet": "wrt"}),
    ("bot-dn", "bot", {"model.name": "bot-dn"}),
    ("bot-snr", "bot", {"model.name": "bot-snr"}),
    ("bot-dcsd-s", "bot-dcsd", {"dcsd.factors": ["sample"]}),
    ("bot-dcsd-sd", "bot-dcsd", {"dcsd.factors": ["sample", "domain"]}),
    ("bot-dcsd-sc", "bot-dcsd", {"dcsd.factors": ["sample", "camera"]}),
    ("bot-dcsd-no-sg", "bot-dcsd", {"dcsd.stop_gradient": False}),
    ("agw-dcsd-no-sg", "agw-dcsd", {"dcsd.stop_gradient": False}),
    (
        "joint",
        "bot-dcsd",
        {
            "dcsd.base": "static",
            "dcsd.context": "network",
            "dcsd.decay_generators": False,
            "optim.generator_lr": 0.0,  # chosen by the start, see test_optim
        },
    ),
]


@pytest.mark.parametrize(("name", "base", "changed"), VARIANTS)
@pytest.mark.parametrize("preset", PRESETS)
def test_a_variant_changes_only_what_it_says(name: str, base: str, changed: dict[str, Any], preset: str) -> None:
    found = config_difference(apply_recipe(base, preset), apply_recipe(name, preset))
    assert {key: new for key, (_, new) in found.items()} == changed | {"train.label": name}


def test_every_recipe_and_every_system_is_covered() -> None:
    assert {name for name, _, _ in VARIANTS} | {"bot"} == RECIPES.keys()
    assert {apply_recipe(name).model.name for name in RECIPES} == set(get_args(SystemName))


@pytest.mark.parametrize(
    ("name", "market1501", "msmt17"),
    [
        ("bot", 84.6, 49.5),
        ("agw", 86.2, 52.6),
        ("bot-dcsd", 89.5, 61.5),
        ("agw-dcsd", 89.3, 62.9),
        ("bot-dn", 81.8, 49.2),
        ("bot-snr", 84.9, 51.3),
        ("bot-dcsd-s", 88.2, 58.8),
        ("bot-dcsd-sd", 88.5, 59.6),
        ("bot-dcsd-sc", 89.1, 61.2),
        ("bot-dcsd-no-sg", 88.9, 61.0),
        ("agw-dcsd-no-sg", 88.9, 61.4),
    ],
)
def test_a_recipe_says_what_the_paper_reached(name: str, market1501: float, msmt17: float) -> None:
    words = RECIPES[name].__doc__ or ""
    assert f"mAP {market1501} on Market-1501, {msmt17} on MSMT17" in words


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
    assert config.image.erase_ratio_law == "uniform"
    assert {apply_recipe("bot", preset).image.erase_ratio_law for preset in ("paper", "fastreid")} == {"log_uniform"}


def test_the_agw_repository_is_the_bot_repository_with_two_choices_more() -> None:
    found = config_difference(apply_recipe("agw", "bot-repo"), apply_recipe("agw", "agw-repo"))
    expected = {"model.gem_learnable": True, "loss.wrt_numerics": "published"}
    assert {key: new for key, (_, new) in found.items()} == expected
    assert not apply_recipe("agw").model.gem_learnable  # fast-reid, whose power of pooling is fixed


def test_a_custom_recipe_is_found_by_module_and_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
