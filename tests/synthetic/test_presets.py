"""The domains people are drawn for: one preset is as large as the paper's data sets, others are parts of it."""

from dataclasses import fields

import pytest

from jointreid.data.protocols import TABLE_I
from jointreid.synthetic.presets import PRESETS, TABLE1, DomainSpec

STANDS_FOR = {
    "plaza": "market1501",
    "streets": "cuhk_sysu",
    "college": "dukemtmc",
    "gate": "cuhk03",
    "station": "msmt17",
}


def test_table1_has_its_domains_in_the_papers_order() -> None:
    assert PRESETS["table1"] == TABLE1
    assert [STANDS_FOR[spec.name] for spec in TABLE1] == list(TABLE_I)


@pytest.mark.parametrize("spec", TABLE1, ids=lambda spec: spec.name)
def test_table1_has_the_papers_counts(spec: DomainSpec) -> None:
    paper = TABLE_I[STANDS_FOR[spec.name]]
    assert (spec.train.ids, spec.train.images) == (paper.train.ids, paper.train.images)
    assert (spec.query.ids, spec.query.images) == (paper.query.ids, paper.query.images)
    strangers = 1 if spec.strangers else 0  # all under one pid, as the paper counts them
    assert spec.gallery.ids + spec.others.ids + strangers == paper.gallery.ids
    assert spec.gallery.images + spec.others.images + spec.strangers == paper.gallery.images
    assert (spec.cameras, spec.exclude_same_camera) == (paper.cameras, paper.exclude_same_camera)


def test_table1_is_as_large_as_the_paper_says() -> None:
    images = [part.images for spec in TABLE1 for part in (spec.train, spec.query, spec.gallery, spec.others)]
    assert sum(images) + sum(spec.strangers for spec in TABLE1) == 219_513
    assert sum(spec.train.ids for spec in TABLE1) == 4_203


@pytest.mark.parametrize("preset", sorted(set(PRESETS) - {"shop"}))
def test_every_preset_of_several_domains_is_a_part_of_table1(preset: str) -> None:
    whole = {spec.name: spec for spec in TABLE1}
    names = [spec.name for spec in PRESETS[preset]]
    assert len(set(names)) == len(names) >= 2
    for spec in PRESETS[preset]:
        large = whole[spec.name]
        assert (spec.fashion, spec.camera_ranges) == (large.fashion, large.camera_ranges)
        assert spec.exclude_same_camera == large.exclude_same_camera
        assert spec.cameras <= large.cameras
        assert spec.views <= large.views
        for split in ("train", "query", "gallery"):
            assert getattr(spec, split).ids <= getattr(large, split).ids
            assert getattr(spec, split).images <= getattr(large, split).images


def test_the_shop_has_five_cameras_and_people_whom_it_does_not_know() -> None:
    (shop,) = PRESETS["shop"]
    assert (shop.cameras, shop.train.ids + shop.query.ids, shop.strangers) == (5, 120, 10)
    assert shop.camera_ranges not in {spec.camera_ranges for spec in TABLE1}  # cameras that no other preset has


def test_domains_differ_in_fashion_and_cameras() -> None:
    assert len({spec.fashion for spec in TABLE1}) == len({spec.camera_ranges for spec in TABLE1}) == len(TABLE1)


def test_tiny_is_drawn_in_seconds_and_has_both_rules_of_evaluation() -> None:
    assert sum(part.images for spec in PRESETS["tiny"] for part in (spec.train, spec.query, spec.gallery)) < 800
    assert {spec.exclude_same_camera for spec in PRESETS["tiny"]} == {True, False}


def test_every_field_of_a_domain_spec_is_documented() -> None:
    described = (DomainSpec.__doc__ or "").split("Attributes:")[1]
    assert all(f"\n        {field.name}: " in described for field in fields(DomainSpec))
