"""The looks of people: body, hair, clothes and bags, drawn from the fashion of a domain."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from jointreid.messages.errors import JointreidError
from jointreid.synthetic.raster import LOGOS

Colour = tuple[float, float, float]
Random = np.random.Generator

# Colours as a screen shows them, in [0, 1]; skin from light to dark.
SKINS: tuple[Colour, ...] = (
    (0.96, 0.82, 0.73),
    (0.92, 0.74, 0.62),
    (0.84, 0.64, 0.50),
    (0.73, 0.52, 0.38),
    (0.55, 0.37, 0.26),
    (0.40, 0.27, 0.20),
)
HAIRS: tuple[Colour, ...] = (
    (0.07, 0.06, 0.06),
    (0.16, 0.11, 0.08),
    (0.28, 0.18, 0.11),
    (0.45, 0.30, 0.16),
    (0.72, 0.56, 0.33),
    (0.55, 0.55, 0.55),
)
_SHOES: tuple[Colour, ...] = (
    (0.08, 0.08, 0.09),
    (0.9, 0.9, 0.88),
    (0.35, 0.22, 0.14),
    (0.55, 0.14, 0.16),
    (0.2, 0.25, 0.4),
)
_BAGS: tuple[Colour, ...] = ((0.1, 0.1, 0.12), (0.45, 0.3, 0.18), (0.75, 0.2, 0.2), (0.2, 0.3, 0.5), (0.85, 0.82, 0.75))


@dataclass(frozen=True)
class Fashion:
    """The looks of people of a domain: each entry is a share in [0, 1] or a list with the weight of each choice.

    Attributes:
        palette: colours of clothes, frequent ones first.
        uppers: weights of tank, tshirt, shirt, hoodie, jacket, coat.
        lowers: weights of trousers, jeans, shorts, skirt, dress.
        patterned: share of upper garments that are not plain.
        logos: share of plain upper garments with a logo, on the chest or on the back.
        bags: weights of none, backpack, shoulder, handbag.
        hats: weights of none, cap, beanie, hood (of those who wear one).
        scarves: share of people with a scarf.
        skins: weights of `SKINS`.
        hairs: weights of `HAIRS`.
        long_hair: share with long hair.
        contrast: variation in lightness of clothes of one colour, in [0, 1].

    Raises:
        JointreidError: there are no colours, or a list of weights does not match its choices.
    """

    palette: tuple[Colour, ...]
    uppers: tuple[float, ...]
    lowers: tuple[float, ...]
    patterned: float
    logos: float
    bags: tuple[float, ...]
    hats: tuple[float, ...]
    scarves: float
    skins: tuple[float, ...]
    hairs: tuple[float, ...]
    long_hair: float
    contrast: float = 0.25

    def __post_init__(self) -> None:
        if not self.palette:
            raise JointreidError("a fashion needs a colour in its palette")
        for name, choices in _CHOICES.items():
            weights: tuple[float, ...] = getattr(self, name)
            if len(weights) != choices or min(weights) < 0 or sum(weights) <= 0:
                raise JointreidError(
                    f"a fashion's {name} are {weights}; expected {choices} weights, none below 0 and not all 0"
                )


UPPERS = ("tank", "tshirt", "shirt", "hoodie", "jacket", "coat")
LOWERS = ("trousers", "jeans", "shorts", "skirt", "dress")
BAGS = ("none", "backpack", "shoulder", "handbag")
HATS = ("none", "cap", "beanie", "hood")
_CHOICES = {  # of each list of weights in a fashion
    "uppers": len(UPPERS),
    "lowers": len(LOWERS),
    "bags": len(BAGS),
    "hats": len(HATS),
    "skins": len(SKINS),
    "hairs": len(HAIRS),
}
_WORN = ("hoops", "pinstripes", "checks", "dots", "band", "yoke", "sides", "diagonal", "flowers")


class Cloth(NamedTuple):
    """The material of a garment.

    Attributes:
        base: its colour.
        second: the colour of its pattern.
        third: the colour of its logo, or of the pattern's third part.
        pattern: one of `PATTERNS`.
        period: the pattern's size, in metres along the cloth or as a share of it.
        logo: one of `LOGOS`.
        on_back: whether the logo is on the back, not on the chest.
    """

    base: Colour
    second: Colour = (0.0, 0.0, 0.0)
    third: Colour = (0.0, 0.0, 0.0)
    pattern: str = "plain"
    period: float = 0.1
    logo: str = "none"
    on_back: bool = False


class Look(NamedTuple):
    """One identity: everything that is the same for all cameras.

    Attributes:
        stature: height in metres.
        build: breadth, 1 is usual.
        hips: breadth of the hips to that of the shoulders, 1 is usual.
        skin: its colour.
        hair: its colour.
        hair_style: short, bald, bob, long, ponytail or bun.
        beard: whether the chin is covered.
        hat: one of `HATS`.
        hat_colour: its colour.
        upper: one of `UPPERS`.
        upper_cloth: its material; `second` of an open jacket is the shirt below.
        sleeve_cloth: material of its sleeves.
        hem: distance below the waist at which it ends, in shares of the stature.
        lower: one of `LOWERS`.
        lower_cloth: its material.
        lower_end: height of its lower end, in shares of the stature.
        flare: how loosely it hangs, 0 is close to the leg.
        shoes: their colour.
        boots: whether they reach up the calf.
        socks: their colour; None if not visible.
        bag: one of `BAGS`.
        bag_colour: its colour.
        bag_side: 1 on the left, -1 on the right.
        scarf: its colour; None without.
        gait: 1 is a usual length of step.
        seed: of other differences, such as folds.
    """

    stature: float
    build: float
    hips: float
    skin: Colour
    hair: Colour
    hair_style: str
    beard: bool
    hat: str
    hat_colour: Colour
    upper: str
    upper_cloth: Cloth
    sleeve_cloth: Cloth
    hem: float
    lower: str
    lower_cloth: Cloth
    lower_end: float
    flare: float
    shoes: Colour
    boots: bool
    socks: Colour | None
    bag: str
    bag_colour: Colour
    bag_side: int
    scarf: Colour | None
    gait: float
    seed: float


def draw_look(random: Random, fashion: Fashion) -> Look:
    """Draw a person of a domain."""
    longhaired = random.random() < fashion.long_hair
    skin = SKINS[_pick(random, fashion.skins)]
    upper, lower = UPPERS[_pick(random, fashion.uppers)], LOWERS[_pick(random, fashion.lowers)]
    if lower in ("skirt", "dress") and not longhaired:
        lower = "trousers"
    cloth = _draw_upper(random, fashion, upper)
    if lower == "dress" and cloth.pattern == "open":
        cloth = cloth._replace(pattern="plain")
    lower_cloth, lower_end, flare = _draw_lower(random, fashion, lower, cloth)
    if lower == "dress":
        upper = "tank" if random.random() < 0.4 else "tshirt"
    bare = lower in ("shorts", "skirt", "dress") and lower_end > 0.2
    shoes = _SHOES[_pick(random, (5, 4, 2, 1, 1))]
    styles = ("bob", "long", "long", "ponytail", "bun") if longhaired else ("short", "short", "short", "short", "bald")
    return Look(
        stature=float(random.normal(1.66 if longhaired else 1.76, 0.07)),
        build=float(np.clip(random.normal(0.97 if longhaired else 1.05, 0.1), 0.8, 1.35)),
        hips=float(np.clip(random.normal(1.06 if longhaired else 0.95, 0.05), 0.85, 1.2)),
        skin=skin,
        hair=HAIRS[_pick(random, fashion.hairs)],
        hair_style=str(random.choice(styles)),
        beard=not longhaired and random.random() < 0.18,
        hat=HATS[_pick(random, fashion.hats)],
        hat_colour=_dye(random, fashion),
        upper=upper,
        upper_cloth=cloth,
        sleeve_cloth=_draw_sleeve(random, fashion, cloth),
        hem=_draw_hem(random, upper),
        lower=lower,
        lower_cloth=lower_cloth,
        lower_end=lower_end,
        flare=flare,
        shoes=shoes,
        boots=random.random() < 0.25 and not bare and flare < 0.5 and sum(shoes) < 1,
        socks=(0.9, 0.9, 0.9) if bare and random.random() < 0.5 else None,
        bag=BAGS[_pick(random, fashion.bags)],
        bag_colour=_BAGS[_pick(random, (5, 2, 1, 2, 1))],
        bag_side=1 if random.random() < 0.5 else -1,
        scarf=_dye(random, fashion) if random.random() < fashion.scarves else None,
        gait=float(random.uniform(0.75, 1.2)),
        seed=float(random.uniform(0, 50)),
    )


def _draw_upper(random: Random, fashion: Fashion, upper: str) -> Cloth:
    base, second, third = (_dye(random, fashion) for _ in range(3))
    if upper in ("jacket", "coat") and random.random() < 0.5:
        return Cloth(base, second, third, "open", float(random.uniform(0.25, 0.5)))
    if random.random() < fashion.patterned:
        pattern = str(random.choice(_WORN))
        low, high = {
            "hoops": (0.05, 0.14),
            "pinstripes": (0.05, 0.1),
            "checks": (0.08, 0.16),
            "dots": (0.07, 0.12),
            "band": (0.12, 0.25),
            "yoke": (0.22, 0.55),
            "sides": (0.35, 0.6),
            "diagonal": (0.1, 0.2),
            "flowers": (0.05, 0.1),
        }[pattern]
        return Cloth(base, _unlike(base, second), third, pattern, float(random.uniform(low, high)))
    if random.random() < fashion.logos:
        logo = str(random.choice(LOGOS[1:]))
        return Cloth(base, base, _unlike(base, third), logo=logo, on_back=random.random() < 0.4)
    return Cloth(base)


def _draw_sleeve(random: Random, fashion: Fashion, upper: Cloth) -> Cloth:
    if upper.pattern in ("hoops", "pinstripes", "checks", "dots", "flowers"):
        return upper._replace(logo="none")
    if random.random() < 0.15:
        return Cloth(_dye(random, fashion))
    return Cloth(upper.base)


def _draw_hem(random: Random, upper: str) -> float:
    low, high = {
        "tank": (0.07, 0.1),
        "tshirt": (0.07, 0.12),
        "shirt": (0.06, 0.13),
        "hoodie": (0.08, 0.12),
        "jacket": (0.06, 0.14),
        "coat": (0.2, 0.34),
    }[upper]
    return float(random.uniform(low, high))


def _draw_lower(random: Random, fashion: Fashion, lower: str, upper: Cloth) -> tuple[Cloth, float, float]:
    """Return the material of the lower garment, the height of its end, and how loosely it hangs."""
    colour, second = _dye(random, fashion), _dye(random, fashion)
    if lower == "jeans":
        blue = float(random.uniform(0.0, 1.0))
        base = (0.12 + 0.22 * blue, 0.16 + 0.28 * blue, 0.28 + 0.32 * blue)
        worn = (base[0] + 0.14, base[1] + 0.14, base[2] + 0.13)
        faded = random.random() < 0.35
        return Cloth(base, worn, pattern="faded" if faded else "plain"), 0.045, float(random.uniform(0.0, 0.5))
    if lower == "trousers":
        dark = tuple(0.55 * channel + 0.03 for channel in colour) if random.random() < 0.6 else colour
        sides = random.random() < 0.12
        cloth = Cloth(
            (dark[0], dark[1], dark[2]), _unlike(colour, second), pattern="sides" if sides else "plain", period=0.3
        )
        return cloth, 0.04, float(random.uniform(0.0, 1.0))
    if lower == "shorts":
        checked = random.random() < 0.2
        cloth = Cloth(colour, second, second, "checks" if checked else "plain", 0.09)
        return cloth, float(random.uniform(0.27, 0.36)), float(random.uniform(0.4, 1.2))
    if lower == "dress":
        hemmed = upper.pattern == "plain" and random.random() < 0.3
        cloth = upper._replace(second=_unlike(upper.base, second), pattern="hem", period=0.2) if hemmed else upper
        return cloth._replace(logo="none"), float(random.uniform(0.14, 0.36)), float(random.uniform(0.4, 1.3))
    pattern = str(random.choice(("plain", "plain", "plain", "hem", "checks", "flowers", "hoops")))
    cloth = Cloth(colour, _unlike(colour, second), second, pattern, 0.25 if pattern == "hem" else 0.08)
    return cloth, float(random.uniform(0.12, 0.38)), float(random.uniform(0.3, 1.4))


def _dye(random: Random, fashion: Fashion) -> Colour:
    """Draw a colour of the palette, its first ones more often, a little lighter or darker."""
    weights = 1 / (1 + 0.35 * np.arange(len(fashion.palette)))
    base = fashion.palette[_pick(random, tuple(weights))]
    light = float(random.uniform(1 - fashion.contrast, 1 + fashion.contrast))
    return (min(1.0, base[0] * light), min(1.0, base[1] * light), min(1.0, base[2] * light))


def _unlike(colour: Colour, other: Colour) -> Colour:
    """Return `other`, or white or black if the two colours are too similar."""
    if sum(abs(a - b) for a, b in zip(colour, other, strict=True)) > 0.45:
        return other
    return (0.92, 0.92, 0.9) if sum(colour) < 1.5 else (0.08, 0.08, 0.1)


def _pick(random: Random, weights: tuple[float, ...]) -> int:
    shares = np.cumsum(weights)
    return int(np.searchsorted(shares, random.random() * shares[-1], side="right"))
