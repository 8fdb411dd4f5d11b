"""The data sets of the comparison: manifests in one folder, and smaller manifests made from them.

A copy is needed because a manifest names images below its own folder. The synthetic people have the cameras of the
paper's Table I and a share of its identities.
"""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from evidence.arms import FULL, Start
from jointreid.config import DataConfig
from jointreid.data.holdout import hold_out
from jointreid.data.manifest import write_manifest
from jointreid.data.records import Domain
from jointreid.data.sources import load_domains
from jointreid.synthetic import synthesise
from jointreid.synthetic.presets import TABLE1, DomainSpec, SplitSize

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"


@dataclass(frozen=True)
class EvidenceData:
    """A data set of the comparison.

    Attributes:
        words: its description in tables.
        domains: names.
        image: settings of the images, for small networks.
        tuning_ids: train identities of each domain that a learning rate is chosen on.
        epochs: of a tuning, a short and a long training.
        closed_domain: left out of train for one training of each arm.
        closed_camera: domain and camid, of another domain, left out of the same training.
    """

    words: str
    domains: tuple[str, ...]
    image: Mapping[str, Any]
    tuning_ids: int
    epochs: tuple[int, int, int]
    closed_domain: str
    closed_camera: tuple[str, int]


DATASETS: Mapping[str, EvidenceData] = {
    "people": EvidenceData(
        f"synthetic people: {len(TABLE1)} domains, {sum(spec.cameras for spec in TABLE1)} cameras",
        tuple(spec.name for spec in TABLE1),
        {"height": 64, "width": 32, "pad": 4},
        40,
        (3, 5, 10),
        "college",
        ("plaza", 2),
    ),
    "omniglot": EvidenceData(
        "Omniglot: 4 domains, 20 writers",
        ("east_asian", "european", "historic", "indic"),
        {"height": 48, "width": 48, "pad": 4, "pad_mode": "edge", "flip": 0.0},
        5,
        (14, 25, 50),
        "historic",
        ("indic", 0),
    ),
    "emoji": EvidenceData(
        "emoji: 7 domains, 11 studios",
        ("food", "nature", "objects", "people", "smileys", "symbols", "travel"),
        {"height": 48, "width": 48, "pad": 4, "pad_mode": "edge"},
        15,
        (9, 16, 32),
        "travel",
        ("food", 9),
    ),
}


def people_domains() -> tuple[DomainSpec, ...]:
    """Return the domains of the synthetic people: those of Table I, smaller."""
    return tuple(
        replace(
            spec,
            train=SplitSize(300, 2_400),
            query=SplitSize(100, 100 if spec.cameras == 1 else 200),
            gallery=SplitSize(100, 400),
            strangers=0,
            others=SplitSize(0, 0),
            views=min(spec.views, 8),
        )
        for spec in TABLE1
    )


def image_of(name: str, start: Start) -> dict[str, Any]:
    """Return the settings of the images of a data set: twice the side where the network has its full width."""
    image = dict(DATASETS[name].image)
    return image | {side: 2 * image[side] for side in ("height", "width", "pad")} if start in FULL else image


@cache
def manifest(name: str, out: Path, start: Start) -> Path:
    """Return the manifest of a data set below `out`; draws or copies it if it is not there."""
    is_drawn_large = name == "people" and start in FULL
    folder = out / "data" / (f"{name}-large" if is_drawn_large else name)
    path = folder / "manifest.csv"
    if not path.is_file():
        if name == "people":
            synthesise(folder, people_domains(), seed=7, height=image_of(name, start)["height"])
        else:
            shutil.copytree(SHARED / name, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(path.name))
            shutil.copy(SHARED / name / path.name, path)  # last: then the copy is complete
    return path


def _domains(source: Path) -> tuple[Domain, ...]:
    return load_domains(DataConfig(sources=(str(source),)))


def _part(source: Path, name: str, change: Callable[[Domain], Domain | None]) -> Path:
    """Return a manifest beside another, written if it is not there.

    It holds each domain as `change` returns it, without those for which that is None.
    """
    path = source.with_name(f"{name}.csv")
    if not path.is_file():  # another process may be reading it
        write_manifest([part for domain in _domains(source) if (part := change(domain)) is not None], path)
    return path


def tuning(source: Path, ids: int) -> Path:
    """Return a manifest of train identities alone, to choose learning rates on: `ids` of each domain as test split."""

    def change(domain: Domain) -> Domain:
        rest, held = hold_out(domain, ids, seed=0)
        return replace(rest, query=held.query, gallery=held.gallery)

    return _part(source, "tuning", change)


def solo(source: Path, name: str) -> Path:
    """Return a manifest of one domain."""
    return _part(source, f"solo-{name}", lambda domain: domain if domain.name == name else None)


def without_domain(source: Path, name: str) -> Path:
    """Return a manifest of the other domains."""
    return _part(source, f"without-{name}", lambda domain: None if domain.name == name else domain)
