"""Specifications of the synthetic domains: clothes, cameras and numbers of images."""

from dataclasses import dataclass, replace

from jointreid.synthetic.cameras import CameraRanges
from jointreid.synthetic.looks import Colour, Fashion


@dataclass(frozen=True)
class SplitSize:
    """Size of a split.

    Attributes:
        ids: number of identities.
        images: number of their images.
    """

    ids: int
    images: int


@dataclass(frozen=True)
class DomainSpec:
    """Specification of one synthetic domain.

    Attributes:
        name: of the domain.
        train: its train split.
        query: its query split, of identities that are also in the gallery.
        gallery: its gallery, without strangers and passers-by.
        strangers: number of gallery images of people who match nobody, each seen once, all with pid 0000.
        others: identities in the gallery that have no query.
        cameras: number of cameras.
        views: places and lights per camera id; more than one for data sets that do not distinguish their cameras.
        exclude_same_camera: whether matches from the query's own camera are ignored in evaluation.
        fashion: how people look.
        camera_ranges: how cameras see them.
    """

    name: str
    train: SplitSize
    query: SplitSize
    gallery: SplitSize
    cameras: int
    fashion: Fashion
    camera_ranges: CameraRanges
    strangers: int = 0
    others: SplitSize = SplitSize(0, 0)
    views: int = 1
    exclude_same_camera: bool = True


_BLACK, _WHITE, _GREY, _NAVY = (0.1, 0.1, 0.11), (0.88, 0.88, 0.86), (0.5, 0.5, 0.52), (0.16, 0.2, 0.36)
_RED, _BLUE, _GREEN, _YELLOW = (0.7, 0.16, 0.17), (0.3, 0.45, 0.72), (0.22, 0.45, 0.3), (0.86, 0.74, 0.3)
_PINK, _BROWN, _BEIGE, _PURPLE = (0.86, 0.56, 0.64), (0.4, 0.28, 0.2), (0.76, 0.68, 0.54), (0.42, 0.28, 0.52)
_ORANGE, _TEAL, _WINE, _OLIVE = (0.87, 0.48, 0.2), (0.25, 0.5, 0.52), (0.4, 0.12, 0.2), (0.4, 0.4, 0.24)

SUMMER: tuple[Colour, ...] = (_WHITE, _BLACK, _GREY, _BLUE, _PINK, _RED, _NAVY, _YELLOW, _GREEN)
WINTER: tuple[Colour, ...] = (_BLACK, _NAVY, _GREY, _WINE, _OLIVE, _BROWN, _WHITE)
MIXED: tuple[Colour, ...] = (_BLACK, _GREY, _WHITE, _NAVY, _BEIGE, _RED, _TEAL, _PURPLE, _ORANGE)
BRIGHT: tuple[Colour, ...] = (_WHITE, _BLUE, _RED, _BLACK, _ORANGE, _GREEN, _PURPLE, _YELLOW)

_PLAZA = Fashion(
    SUMMER, (2, 7, 3, 0.5, 0.5, 0), (2, 3, 4, 2, 1.5), 0.45, 0.55, (4, 3, 2, 2), (9, 1.5, 0, 0), 0.0,
    (4, 4, 2, 0.5, 0.2, 0.1), (6, 4, 1, 0.3, 0.2, 0.3), 0.45,
)  # fmt: skip
_COLLEGE = Fashion(
    WINTER, (0, 0.5, 1.5, 3, 4, 3), (4, 5, 0.3, 0.6, 0.2), 0.3, 0.5, (3, 5, 1.5, 0.7), (6, 1, 2, 1.5), 0.2,
    (3, 3, 2, 1, 1, 1), (2, 3, 3, 1.5, 1.5, 0.5), 0.4,
)  # fmt: skip
_GATE = Fashion(
    MIXED, (1, 5, 4, 1, 1.5, 0.2), (5, 5, 1, 0.7, 0.5), 0.25, 0.35, (4, 4, 2, 1), (9, 1, 0.2, 0.5), 0.03,
    (3, 5, 2, 0.5, 0.2, 0.1), (7, 4, 1, 0.2, 0.2, 0.3), 0.45, contrast=0.15,
)  # fmt: skip
_STREETS = Fashion(
    BRIGHT, (1, 3, 4, 1, 3, 2), (4, 3, 1, 2, 1.5), 0.45, 0.45, (4, 1, 3, 3), (8, 1, 0.7, 0.5), 0.1,
    (3, 3, 2, 1, 0.7, 0.5), (4, 3, 2, 1, 1, 0.6), 0.5,
)  # fmt: skip
_STATION = Fashion(
    (*MIXED[:4], *SUMMER[4:7], *WINTER[3:5]), (0.7, 3, 3, 2, 3, 1.5), (4, 4, 1, 1, 0.7), 0.35, 0.5, (3, 4, 2, 2),
    (8, 1, 1, 0.7), 0.08, (3, 4, 2, 1, 0.5, 0.3), (5, 4, 2, 0.7, 0.7, 0.5), 0.45,
)  # fmt: skip

_OUTDOORS = CameraRanges(
    places=("plaza", "street", "park"), elevation=(0.08, 0.3), spread=0.45, sun=(0.45, 1.0), sky=(0.3, 0.55), cast=0.16,
    exposure=(0.75, 1.2), saturation=(0.65, 1.05), gamma=(0.85, 1.2), haze=(0.0, 0.1), blur=(0.2, 0.7),
    noise=(0.008, 0.022), resolution=(0.65, 1.0), quality=(75, 92), jitter=0.02, occluded=0.08, crowded=0.12,
)  # fmt: skip
_COLD = replace(
    _OUTDOORS, places=("winter", "street", "court"), elevation=(0.15, 0.5), sun=(0.1, 0.6), sky=(0.4, 0.65), cast=0.14,
    saturation=(0.45, 0.85), haze=(0.02, 0.16), blur=(0.3, 0.9), resolution=(0.5, 0.9), occluded=0.14, crowded=0.16,
)  # fmt: skip
_DOORWAY = replace(
    _OUTDOORS, places=("corridor", "court"), elevation=(0.1, 0.4), sun=(0.1, 0.5), sky=(0.5, 0.8), cast=0.2,
    spread=0.9, exposure=(0.7, 1.3), gamma=(0.8, 1.2), haze=(0.0, 0.15), blur=(0.3, 0.8), noise=(0.01, 0.03),
    resolution=(0.5, 0.85), jitter=0.03, occluded=0.2, crowded=0.25,
)  # fmt: skip
_ANYWHERE = replace(
    _OUTDOORS, places=("street", "plaza", "corridor", "park", "station"), elevation=(0.0, 0.2), cast=0.22,
    exposure=(0.62, 1.35), saturation=(0.4, 1.1), gamma=(0.75, 1.35), haze=(0.0, 0.2), blur=(0.1, 0.8),
    quality=(70, 95), occluded=0.1, crowded=0.25,
)  # fmt: skip
_INDOORS = replace(
    _DOORWAY, places=("corridor", "station"), elevation=(0.2, 0.5), exposure=(0.75, 1.2), haze=(0.0, 0.05),
    resolution=(0.6, 0.9), occluded=0.1, crowded=0.15,
)  # fmt: skip
_MANY = replace(
    _OUTDOORS, places=("station", "corridor", "street", "court", "plaza"), elevation=(0.05, 0.55), cast=0.24,
    sun=(0.1, 1.0), sky=(0.25, 0.7), exposure=(0.65, 1.3), saturation=(0.4, 1.1), gamma=(0.8, 1.35), haze=(0.0, 0.16),
    blur=(0.2, 1.0), noise=(0.008, 0.04), resolution=(0.45, 1.0), quality=(60, 92), occluded=0.14, crowded=0.2,
)  # fmt: skip

# Identities, images and cameras of the paper's Table I, in its order, under names of their own: these are not those
# data sets.
TABLE1 = (
    DomainSpec(
        "plaza", SplitSize(751, 12_936), SplitSize(750, 3_368), SplitSize(750, 13_115), 6, _PLAZA, _OUTDOORS,
        strangers=2_798,
    ),
    DomainSpec(
        "streets", SplitSize(942, 4_374), SplitSize(2_900, 2_900), SplitSize(2_900, 5_447), 1, _STREETS, _ANYWHERE,
        views=40, exclude_same_camera=False,
    ),
    DomainSpec(
        "college", SplitSize(702, 16_522), SplitSize(702, 2_228), SplitSize(702, 15_913), 8, _COLLEGE, _COLD,
        others=SplitSize(408, 1_748),
    ),
    DomainSpec("gate", SplitSize(767, 7_368), SplitSize(700, 1_400), SplitSize(700, 5_328), 2, _GATE, _DOORWAY),
    DomainSpec(
        "station", SplitSize(1_041, 30_248), SplitSize(3_060, 11_659), SplitSize(3_060, 82_161), 15, _STATION, _MANY
    ),
)  # fmt: skip


def _small(spec: DomainSpec, train: SplitSize, query: SplitSize, gallery: SplitSize, cameras: int) -> DomainSpec:
    return replace(
        spec, train=train, query=query, gallery=gallery, cameras=cameras, strangers=0, others=SplitSize(0, 0),
        views=min(spec.views, 8),
    )  # fmt: skip


_PLAZA_T, _STREETS_T, _COLLEGE_T, _GATE_T, _STATION_T = TABLE1
PRESETS: dict[str, tuple[DomainSpec, ...]] = {
    "tiny": (
        _small(_PLAZA_T, SplitSize(16, 80), SplitSize(12, 24), SplitSize(12, 36), 3),
        _small(_STREETS_T, SplitSize(16, 64), SplitSize(12, 12), SplitSize(12, 36), 1),
        _small(_COLLEGE_T, SplitSize(16, 80), SplitSize(12, 24), SplitSize(12, 36), 3),
        _small(_GATE_T, SplitSize(16, 80), SplitSize(12, 24), SplitSize(12, 36), 2),
        _small(_STATION_T, SplitSize(16, 80), SplitSize(12, 24), SplitSize(12, 36), 4),
    ),
    "demo": (
        _small(_PLAZA_T, SplitSize(60, 480), SplitSize(40, 80), SplitSize(40, 160), 4),
        _small(_STREETS_T, SplitSize(60, 300), SplitSize(40, 40), SplitSize(40, 120), 1),
        _small(_COLLEGE_T, SplitSize(60, 480), SplitSize(40, 80), SplitSize(40, 160), 4),
        _small(_STATION_T, SplitSize(60, 480), SplitSize(40, 80), SplitSize(40, 160), 6),
    ),
    # 120 people before five cameras, and 10 who pass by once: docs/tutorial.md makes folders of them.
    "shop": (
        DomainSpec(
            "shop", SplitSize(80, 640), SplitSize(40, 80), SplitSize(40, 240), 5, _STATION, _INDOORS, strangers=10
        ),
    ),
    "table1": TABLE1,
    "start": tuple(
        _small(
            spec,
            SplitSize(300, 2_400),
            SplitSize(40, 40 if spec.cameras == 1 else 80),
            SplitSize(40, 160),
            spec.cameras,
        )
        for spec in TABLE1
    ),
}
