"""A small sound data set, and the definition of a fault: how it damages the data and what must happen then."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

HEIGHT, WIDTH = 24, 12
# The image that most faults of images damage.
TARGET = "shop/train-1-0.jpg"
# Images, identities and cameras in train of the sound data set.
SOUND = (8, 4, 4)

_IMAGES = [
    *[("train", pid, camid) for pid in (1, 2) for camid in (0, 1)],
    *[("query", pid, 0) for pid in (3, 4)],
    *[("gallery", pid, 1) for pid in (3, 4)],
]


@dataclass(frozen=True)
class Sandbox:
    """The folder of one fault: data of two domains, each with 2 cameras, 2 identities in train and 2 to evaluate on.

    Attributes:
        root: the folder that holds the data, the cache and the run.
    """

    root: Path

    @property
    def data(self) -> Path:
        """The folder of the table and the images."""
        return self.root / "data"

    @property
    def table(self) -> Path:
        """The manifest."""
        return self.data / "table.csv"

    @property
    def side(self) -> Path:
        """The manifest's side file, which the sound data set lacks."""
        return self.data / "table.domains.json"

    @property
    def cache(self) -> Path:
        """The cache of the check and of training."""
        return self.root / "cache"

    @property
    def run(self) -> Path:
        """The run directory that training makes."""
        return self.root / "run"

    @property
    def target(self) -> Path:
        """The image that most faults of images damage."""
        return self.data / TARGET

    def rewrite(self, change: Callable[[str], str]) -> None:
        """Change the text of the table."""
        before = self.table.read_bytes().decode()
        after = change(before)
        assert after != before
        self.table.write_bytes(after.encode())

    def edit(self, old: str, new: str) -> None:
        """Replace a text that occurs once in the table."""
        text = self.table.read_bytes().decode()
        assert text.count(old) == 1, f"{old!r} stands in the table {text.count(old)} times"
        self.rewrite(lambda text: text.replace(old, new))

    def rename(self, name: str) -> None:
        """Rename the target, in the table too; the name must need no quotes there."""
        path = self.data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self.target.rename(path)
        self.edit(TARGET, name)

    def write_sound(self) -> None:
        """Write the table and its images."""
        rows = ["domain,split,path,pid,camid"]
        for domain in ("shop", "yard"):
            (self.data / domain).mkdir(parents=True)
            for split, pid, camid in _IMAGES:
                name = f"{domain}/{split}-{pid}-{camid}.jpg"
                save(self.data / name, picture(name))
                rows.append(f"{domain},{split},{name},{pid},{camid}")
        self.table.write_text("\n".join(rows) + "\n")


def picture(name: str = TARGET, height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """Return smooth colours [H, W, 3] that differ by name, and from their mirror image."""
    corners = np.random.default_rng(zlib.crc32(name.encode())).integers(20, 236, (2, 2, 3))
    down, across = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    top = corners[0, 0] * (1 - across) + corners[0, 1] * across
    bottom = corners[1, 0] * (1 - across) + corners[1, 1] * across
    pixels: Pixels = (top * (1 - down) + bottom * down).astype(np.uint8)
    return pixels


def save(path: Path, pixels: Pixels) -> None:
    """Write pixels as JPEG, in which they change by a few grey levels."""
    Image.fromarray(pixels).save(path, "JPEG", quality=95, subsampling=0)


@dataclass(frozen=True)
class Refused:
    """The data must be refused before the first step.

    Attributes:
        message: a pattern that the message must match: the file, and the row or key where there is one.
        by: `check`, which includes training, or `train` for what only training can find.
    """

    message: str
    by: Literal["check", "train"] = "check"


@dataclass(frozen=True)
class Handled:
    """The data must be trained and evaluated on.

    Attributes:
        finding: a pattern that the check's report must match; empty if there is nothing to report.
        train: images, identities and cameras of the joint train set.
        pixels: image -> its pixels as they must be decoded.
        trained: the suite trains on them too, not only `tests/soak/faults.py`: set where a name, a label or a cache
            could be treated differently in a run than in the check.
    """

    finding: str = ""
    train: tuple[int, int, int] = SOUND
    pixels: Mapping[str, Pixels] = field(default_factory=dict)
    trained: bool = False


@dataclass(frozen=True)
class Fault:
    """One way in which data can be bad.

    Attributes:
        name: what is wrong, in words.
        damage: damages the sound data set; may return the arguments that name the data instead of the manifest.
        outcome: what must happen then.
        options: options of both commands.
        settings: options of training only.
        late: damages the data after training has checked them and before it decodes them.
    """

    name: str
    damage: Callable[[Sandbox], Sequence[str] | None]
    outcome: Refused | Handled
    options: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    late: Callable[[Sandbox], None] | None = None


class CannotBeMade(Exception):
    """This machine or user cannot make the fault, such as a file that root may not read."""
