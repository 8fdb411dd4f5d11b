"""What a person may choose about the published data sets, in one value that every reader takes."""

from dataclasses import dataclass
from typing import Literal, Self

from jointreid.config import DataConfig

Cuhk03Boxes = Literal["labeled", "detected"]


@dataclass(frozen=True)
class ReaderOptions:
    """Choices that a folder cannot make by itself; each reader looks at its own.

    Attributes:
        acknowledge_withdrawn: read data sets that their owner has withdrawn (DukeMTMC-reID).
        cuhk03: boxes of CUHK03 to read where a folder holds both: drawn by hand, or found by a detector.
        msmt17_trainval: add MSMT17's validation images (`list_val.txt`) to train; they show the same identities.
    """

    acknowledge_withdrawn: bool = False
    cuhk03: Cuhk03Boxes = "labeled"
    msmt17_trainval: bool = False

    @classmethod
    def of(cls, config: DataConfig) -> Self:
        """Return the choices made in a run's settings."""
        return cls(config.acknowledge_withdrawn, config.cuhk03, config.msmt17_trainval)


DEFAULTS = ReaderOptions()
