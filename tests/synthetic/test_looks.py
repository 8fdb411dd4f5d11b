"""Who people are to see: drawn from a seed, within what a domain wears, and no two alike."""

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from jointreid.messages.errors import JointreidError
from jointreid.synthetic.looks import BAGS, HATS, LOWERS, UPPERS, Cloth, Colour, Fashion, Look, draw_look
from jointreid.synthetic.presets import TABLE1
from jointreid.synthetic.raster import LOGOS, PATTERNS

FASHION = TABLE1[0].fashion
PEOPLE = 400


def people(fashion: Fashion, seed: int = 0, count: int = PEOPLE) -> list[Look]:
    random = np.random.default_rng(seed)
    return [draw_look(random, fashion) for _ in range(count)]


def distance(one: Colour, other: Colour) -> float:
    return sum(abs(a - b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("spec", TABLE1, ids=lambda spec: spec.name)
def test_everything_drawn_is_something_that_can_be_painted(spec: Any) -> None:
    for look in people(spec.fashion):
        assert look.upper in UPPERS
        assert look.lower in LOWERS
        assert look.bag in BAGS
        assert look.hat in HATS
        assert look.hair_style in ("short", "bald", "bob", "long", "ponytail", "bun")
        assert look.bag_side in (-1, 1)
        assert 1.3 < look.stature < 2.2
        assert 0 < look.lower_end < 0.5
        cloths = (look.upper_cloth, look.sleeve_cloth, look.lower_cloth)
        assert {cloth.pattern for cloth in cloths} <= set(PATTERNS)
        assert {cloth.logo for cloth in cloths} <= set(LOGOS)
        assert min(cloth.period for cloth in cloths) > 0
        colours = [look.skin, look.hair, look.shoes, look.bag_colour, look.hat_colour]
        colours += [colour for colour in (look.socks, look.scarf) if colour is not None]
        colours += [colour for cloth in cloths for colour in (cloth.base, cloth.second, cloth.third)]
        assert 0 <= np.min(colours) <= np.max(colours) <= 1


@pytest.mark.slow
def test_a_seed_draws_the_same_people_and_another_seed_others() -> None:
    assert people(FASHION) == people(FASHION)
    assert not set(people(FASHION)) & set(people(FASHION, seed=1))
    assert len(set(people(FASHION))) == PEOPLE


def test_weights_are_kept() -> None:
    fashion = replace(FASHION, bags=(1, 2, 0, 1), hats=(3, 0, 1, 0), scarves=0.25, uppers=(0, 0, 1, 0, 0, 3))
    drawn = people(fashion)

    def share(name: str) -> dict[str, float]:
        return {value: count / PEOPLE for value, count in Counter(getattr(look, name) for look in drawn).items()}

    # Four standard deviations of a share of 400.
    assert share("bag") == pytest.approx({"none": 0.25, "backpack": 0.5, "handbag": 0.25}, abs=0.1)
    assert share("hat") == pytest.approx({"none": 0.75, "beanie": 0.25}, abs=0.09)
    assert sum(look.scarf is not None for look in drawn) / PEOPLE == pytest.approx(0.25, abs=0.09)
    uppers = Counter(look.upper for look in drawn if look.lower != "dress")
    assert uppers["coat"] / sum(uppers.values()) == pytest.approx(0.75, abs=0.09)
    assert set(uppers) == {"shirt", "coat"}


@pytest.mark.parametrize(
    ("patterned", "logos", "expected"), [(0.0, 0.0, "plain"), (0.0, 1.0, "logo"), (1.0, 1.0, "pattern")]
)
def test_cloth_is_plain_or_has_a_logo_or_a_pattern(patterned: float, logos: float, expected: str) -> None:
    fashion = replace(FASHION, patterned=patterned, logos=logos, uppers=(1, 1, 1, 1, 0, 0))
    cloths = [look.upper_cloth for look in people(fashion)]
    kinds = {"pattern" if cloth.pattern != "plain" else "plain" if cloth.logo == "none" else "logo" for cloth in cloths}
    assert kinds == {expected}
    if expected == "logo":
        assert {cloth.logo for cloth in cloths} == set(LOGOS) - {"none"}
        assert sum(cloth.on_back for cloth in cloths) / PEOPLE == pytest.approx(0.4, abs=0.1)
    if expected == "pattern":
        assert len({cloth.pattern for cloth in cloths}) == 9


def test_patterns_and_logos_can_be_told_from_the_cloth() -> None:
    fashion = replace(FASHION, palette=((0.5, 0.5, 0.5), (0.52, 0.5, 0.5)), uppers=(1, 1, 1, 1, 0, 0), contrast=0.0)
    for look in people(fashion):
        cloth = look.upper_cloth
        if cloth.pattern != "plain":
            assert distance(cloth.base, cloth.second) > 0.45
        elif cloth.logo != "none":
            assert distance(cloth.base, cloth.third) > 0.45


def test_clothes_keep_to_the_palette_but_for_lightness() -> None:
    fashion = replace(FASHION, palette=((0.4, 0.2, 0.1),), contrast=0.2, uppers=(0, 1, 0, 0, 0, 0))
    for look in people(fashion):
        red, green, blue = look.upper_cloth.base
        assert 0.32 <= red <= 0.48
        assert (green, blue) == pytest.approx((red / 2, red / 4))


@pytest.mark.slow
def test_what_goes_together() -> None:
    looks = [look for spec in TABLE1 for look in people(spec.fashion)]
    assert {look.upper for look in looks if look.lower == "dress"} == {"tank", "tshirt"}
    assert all(look.lower_cloth.base == look.upper_cloth.base for look in looks if look.lower == "dress")
    assert not any(look.beard for look in looks if look.hair_style in ("bob", "long", "ponytail", "bun"))
    assert not any(look.socks for look in looks if look.lower in ("trousers", "jeans"))
    assert not any(look.boots and look.socks for look in looks)
    assert all(look.sleeve_cloth.logo == "none" for look in looks)


def test_a_cloth_is_plain_unless_it_says_so() -> None:
    cloth = Cloth((1.0, 1.0, 1.0))
    assert (cloth.pattern, cloth.logo, cloth.on_back) == ("plain", "none", False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"palette": ()}, "a colour in its palette"),
        ({"bags": (1, 1, 1)}, r"a fashion's bags are \(1, 1, 1\); expected 4 weights"),
        ({"uppers": (1,) * 7}, "expected 6 weights"),
        ({"hats": (1, -1, 1, 1)}, "none below 0"),
        ({"skins": (0,) * 6}, "not all 0"),
    ],
)
def test_a_fashion_that_cannot_be_drawn_from_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        replace(FASHION, **changes)
