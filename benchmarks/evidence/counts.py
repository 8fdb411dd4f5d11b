"""Parameters and multiply-adds of each arm, counted from the network itself."""

from functools import cache

from evidence.arms import Start, settings
from evidence.data import image_of
from jointreid.models.profile import Profile, profile


def count(arm: str, start: Start, dataset: str) -> Profile:
    """Return the cost of a network at the image size of a data set, with heads for 5 domains and 32 cameras.

    The identity classifier, which is not needed after training, is left out.
    """
    image = image_of(dataset, start)
    return _count(arm, start, (image["height"], image["width"]))


@cache
def _count(arm: str, start: Start, size: tuple[int, int]) -> Profile:
    config = settings(arm, start)
    return profile(config.model.name, config.dcsd, config.model, size)
