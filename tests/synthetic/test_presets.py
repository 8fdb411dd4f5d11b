"""The domains people are drawn for: one preset is as large as the paper's data sets, the others are parts of it."""

from dataclasses import fields

import pytest

from jointreid.data.protocols import TABLE_I
from jointreid.synthetic.presets import PRESETS, TABLE1, Recipe

STANDS_FOR = {
    "plaza": "market1501",
    "streets": "cuhk_sysu",
    "college": "dukemtmc",
    "gate": "cuhk03",
    "station": "msmt17",
}


def test_table1_has_its_domains_in_the_papers_order() -> None:
    assert PRESETS["table1"] == TABLE1
    assert [STANDS_FOR[recipe.name] for recipe in TABLE1] == list(TABLE_I)


@pytest.mark.parametrize("recipe", TABLE1, ids=lambda recipe: recipe.name)
def test_table1_has_the_papers_counts(recipe: Recipe) -> None:
    paper = TABLE_I[STANDS_FOR[recipe.name]]
    assert (recipe.train.ids, recipe.train.images) == (paper.train.ids, paper.train.images)
    assert (recipe.query.ids, recipe.query.images) == (paper.query.ids, paper.query.images)
    strangers = 1 if recipe.strangers else 0  # all under one pid, as the paper counts them
    assert recipe.gallery.ids + recipe.others.ids + strangers == paper.gallery.ids
    assert recipe.gallery.images + recipe.others.images + recipe.strangers == paper.gallery.images
    assert (recipe.cameras, recipe.exclude_same_camera) == (paper.cameras, paper.exclude_same_camera)


def test_table1_is_as_large_as_the_paper_says() -> None:
    images = [part.images for recipe in TABLE1 for part in (recipe.train, recipe.query, recipe.gallery, recipe.others)]
    assert sum(images) + sum(recipe.strangers for recipe in TABLE1) == 219_513
    assert sum(recipe.train.ids for recipe in TABLE1) == 4_203


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_part_of_table1(preset: str) -> None:
    whole = {recipe.name: recipe for recipe in TABLE1}
    names = [recipe.name for recipe in PRESETS[preset]]
    assert len(set(names)) == len(names) >= 2
    for recipe in PRESETS[preset]:
        large = whole[recipe.name]
        assert (recipe.fashion, recipe.world) == (large.fashion, large.world)
        assert recipe.exclude_same_camera == large.exclude_same_camera
        assert recipe.cameras <= large.cameras
        assert recipe.views <= large.views
        for split in ("train", "query", "gallery"):
            assert getattr(recipe, split).ids <= getattr(large, split).ids
            assert getattr(recipe, split).images <= getattr(large, split).images


def test_domains_differ_in_fashion_and_world() -> None:
    assert len({recipe.fashion for recipe in TABLE1}) == len({recipe.world for recipe in TABLE1}) == len(TABLE1)


def test_tiny_is_drawn_in_seconds_and_has_both_rules_of_evaluation() -> None:
    assert sum(part.images for recipe in PRESETS["tiny"] for part in (recipe.train, recipe.query, recipe.gallery)) < 800
    assert {recipe.exclude_same_camera for recipe in PRESETS["tiny"]} == {True, False}


def test_every_property_of_a_recipe_is_told_of() -> None:
    described = (Recipe.__doc__ or "").split("Attributes:")[1]
    assert all(f"\n        {field.name}: " in described for field in fields(Recipe))
