"""Settings of the data: which data sets, how their images are prepared, and which of them share a batch."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from jointreid.config.fields import conform_fields, require, setting
from jointreid.config.names import CacheMode, CameraIds, Cuhk03Boxes, Interpolation, MissingCamid, SamplerKind
from jointreid.custom import require_known_or_custom

# One field a line reads better than the formatter's three.
# fmt: off


@dataclass(frozen=True)
class DataConfig:
    """The data sets, and how they are read."""

    sources: tuple[str, ...] = setting((), "data sets, each NAME=PATH (a folder as published, or a manifest), or the PATH of a manifest for all of its domains; repeat for more", metavar="NAME=PATH")
    val_ids: int = setting(0, "identities of each domain held out of train to choose the checkpoint `best` on; 0 for none")
    missing_camid: MissingCamid = setting("refuse", "a manifest without camid: refuse it, or treat each such domain as one camera and exclude no match", short="--missing-camid")
    acknowledge_withdrawn: bool = setting(False, "read data sets that their owner has withdrawn (DukeMTMC-reID)", short="--acknowledge-withdrawn")
    cuhk03: Cuhk03Boxes = setting("labeled", "boxes of CUHK03: labeled by hand (as in the paper), or detected", short="--cuhk03")
    msmt17_trainval: bool = setting(False, "train on MSMT17's list_val too; the paper trains on list_train only", short="--msmt17-trainval")
    camera_ids: CameraIds = setting("global", "camera classes: global, one for each camera of each data set (Fig. 3), or local, shared by the data sets")
    places: tuple[str, ...] = setting((), "data sets whose cameras stand in one place, each NAME=PLACE: equal camera numbers of two data sets with the same PLACE are one camera", metavar="[NAME=PLACE,...]")
    leave_out_cameras: tuple[str, ...] = setting((), "cameras whose train images are left out, each NAME:CAMID, so that evaluation shows the accuracy on a camera that the model has not seen", metavar="[NAME:CAMID,...]")
    skip_unreadable: bool = setting(False, "leave unreadable images out, with a list of them, instead of stopping", short="--skip-unreadable")
    cache: str = setting("", "folder for decoded images and results of the data check; may be deleted at any time; empty: JOINTREID_CACHE, or the user's cache folder", metavar="DIR", short="--cache")
    cache_mode: CacheMode = setting("disk", "where decoded images are kept, at height x width x 3 bytes each: disk (a file in data.cache, shared by runs and processes), memory (RAM, again in each process), or off (decoded anew for each batch)")

    def __post_init__(self) -> None:
        conform_fields(self, "data.")
        require(self.val_ids >= 0, "data.val_ids", self.val_ids, "0 or more identities")
        named = [text.partition("=")[::2] for text in self.places]
        require(all(name and place for name, place in named), "data.places", self.places, "NAME=PLACE for each")
        require(len({name for name, _ in named}) == len(named), "data.places", self.places, "each data set once")
        for text in self.leave_out_cameras:
            name, _, camid = text.rpartition(":")
            require(bool(name) and camid.isascii() and camid.isdigit(), "data.leave_out_cameras", text, "NAME:CAMID, such as market1501:3")


@dataclass(frozen=True)
class ImageConfig:
    """Size and augmentation of images; the defaults are those of fast-reid."""

    height: int = setting(256, "height in pixels after resizing")
    width: int = setting(128, "width in pixels after resizing")
    interpolation: Interpolation = setting("bicubic", "interpolation when resizing")
    flip: float = setting(0.5, "probability of a horizontal flip; 0 where left and right differ in meaning")
    pad: int = setting(10, "pixels added on each side before a random crop back to size")
    pad_mode: Literal["zeros", "edge"] = setting("zeros", "value of these pixels: zeros, or edge, that of the nearest pixel (for pale backgrounds)")
    erase: float = setting(0.5, "probability of erasing one rectangle")
    erase_area: tuple[float, float] = setting((0.02, 0.33), "smallest and largest area of the rectangle, as a share of the image")
    erase_ratio: tuple[float, float] = setting((0.3, 3.3), "smallest and largest height/width of the rectangle")
    erase_ratio_law: Literal["log_uniform", "uniform"] = setting("log_uniform", "how that height/width is drawn: its logarithm uniformly, as often tall as wide (torchvision, fast-reid), or itself (the BoT and AGW repositories: tall ones more often)")
    erase_fill: Literal["mean", "normalised"] = setting("mean", "value of the rectangle: mean (image.mean, which is 0 after normalising), or normalised (the numbers of image.mean put in after normalising, as the BoT repository does)")
    mean: tuple[float, float, float] = setting((0.485, 0.456, 0.406), "mean of the R, G and B intensities in [0, 1], subtracted")
    std: tuple[float, float, float] = setting((0.229, 0.224, 0.225), "standard deviation of the R, G and B intensities in [0, 1], divided by")

    def __post_init__(self) -> None:
        conform_fields(self, "image.")
        require(min(self.height, self.width) >= 16, "image.height and image.width", (self.height, self.width), "at least 16 pixels each")
        for name in ("flip", "erase"):
            require(0 <= getattr(self, name) <= 1, f"image.{name}", getattr(self, name), "a probability in [0, 1]")
        require(self.pad >= 0, "image.pad", self.pad, "0 or more pixels")
        require(0 < self.erase_area[0] <= self.erase_area[1] < 1, "image.erase_area", self.erase_area, "0 < smallest <= largest < 1")
        require(0 < self.erase_ratio[0] <= self.erase_ratio[1], "image.erase_ratio", self.erase_ratio, "0 < smallest <= largest")
        require(min(self.std) > 0, "image.std", self.std, "positive numbers")


@dataclass(frozen=True)
class SamplerConfig:
    """Images that share a batch."""

    kind: str = setting("union_pk", "union_pk (P x K over all data sets as if they were one), interleaved (the same, with each data set and identity spread evenly over a pass); as interleaved, id_uniform (each identity equally often), domain_balanced (each data set equally often), domain_temperature (between the two, see temperature), domain_weighted (see domain_weights); grouped_domains (batches of few data sets, see domains_per_batch); or a custom one, my_package.module:function", custom=True)
    ids_per_batch: int = setting(16, "identities in a batch (P)")
    images_per_id: int = setting(4, "images of each identity in a batch (K)")
    temperature: float = setting(2.0, "domain_temperature: data sets appear in proportion to their size to the power of 1 / this; 1 for their size, large for all alike")
    domain_weights: tuple[str, ...] = setting((), "domain_weighted: how often each data set appears, NAME=WEIGHT for each; only ratios matter", metavar="[NAME=WEIGHT,...]")
    domains_per_batch: int = setting(2, "grouped_domains: data sets in a batch; 1 for batches of one")

    def __post_init__(self) -> None:
        conform_fields(self, "sampler.")
        require_known_or_custom("sampler.kind", "sampler", self.kind, get_args(SamplerKind))
        require(self.ids_per_batch >= 2, "sampler.ids_per_batch", self.ids_per_batch, "at least 2: a triplet needs a negative")
        require(self.images_per_id >= 2, "sampler.images_per_id", self.images_per_id, "at least 2: a triplet needs a positive")
        require(1 <= self.temperature < math.inf, "sampler.temperature", self.temperature, "a number of 1 or more")
        require(self.domains_per_batch >= 1, "sampler.domains_per_batch", self.domains_per_batch, "1 or more")
        names = [_weighted_name(text) for text in self.domain_weights]
        require(len(set(names)) == len(names), "sampler.domain_weights", self.domain_weights, "each data set once")

    @property
    def batch_size(self) -> int:
        """Images in a batch."""
        return self.ids_per_batch * self.images_per_id


def _weighted_name(text: str) -> str:
    """Return the name in NAME=WEIGHT, once the weight is known to be one."""
    name, _, weight = text.rpartition("=")
    try:
        is_weight = 0 < float(weight) < math.inf
    except ValueError:
        is_weight = False
    require(bool(name) and is_weight, "sampler.domain_weights", text, "NAME=WEIGHT with a positive weight")
    return name
