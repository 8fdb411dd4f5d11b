"""Two images of any kind: how alike they are to a run, and a page that shows which places make them so."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jointreid.analysis.explained_pairs import ExplainedPair, explain_pairs
from jointreid.analysis.html import Html, page, tag
from jointreid.analysis.pictures import data_address, small_jpeg
from jointreid.data.records import ImageRecord
from jointreid.machine.device import pick_device
from jointreid.machine.files import write_atomically
from jointreid.machine.paths import user_path
from jointreid.run import open_run

# Width and height of the pictures at most.
SIZE = (192, 384)


@dataclass(frozen=True, eq=False)
class ExplainedImages:
    """Two images and what makes them alike to a run.

    Attributes:
        run: the run directory.
        first: the first image.
        second: the second image.
        pair: the contributions of their positions.
    """

    run: Path
    first: Path
    second: Path
    pair: ExplainedPair


def explain_images(run: str | Path, first: str | Path, second: str | Path, *, device: str = "auto") -> ExplainedImages:
    """Compute which positions of two images make them alike, to the checkpoint `last` of a run.

    Each image is taken whole, so it should show one person as the training images do.

    Args:
        run: the run directory.
        first: an image file.
        second: another one.
        device: where to compute: auto, cpu, cuda or mps.

    Raises:
        JointreidError: not a run, an image that is missing or unreadable, or no such device.
    """
    where, opened = pick_device(device), open_run(run)
    paths = user_path(first), user_path(second)
    records = ImageRecord(paths[0], "first", 0), ImageRecord(paths[1], "second", 0)
    (found,) = explain_pairs(opened.model().to(where), [records], opened.config, device=where)
    return ExplainedImages(opened.path, *paths, found)


def summary(found: ExplainedImages) -> str:
    """Return the similarity, and how few positions bring half of it, in words."""
    contributions = found.pair.contributions
    words = f"Cosine similarity {contributions.similarity:.3f} (1 at most)"
    if contributions.similarity <= 0:
        return f"{words}: the two images are not alike to this run."
    shares = " and ".join(_half(values) for values in (contributions.first, contributions.second))
    return f"{words}. Half of it comes from {shares} positions of the first and the second image."


def to_dict(found: ExplainedImages) -> dict[str, Any]:
    """Return it as plain dicts, lists and numbers, for JSON; the contributions of each image sum to the similarity."""
    contributions = found.pair.contributions
    images = ((found.first, contributions.first), (found.second, contributions.second))
    return {
        "similarity": contributions.similarity,
        "images": [{"path": str(path), "contributions": values.tolist()} for path, values in images],
    }


def write_why_page(found: ExplainedImages, path: Path, command: str = "") -> None:
    """Write one HTML file that holds both images, without and with the contributions over them."""
    images = ((found.first, found.pair.first), (found.second, found.pair.second))
    title = "Why two pictures are alike"
    body = (
        tag("header", tag("h1", title), tag("p", summary(found), class_="lead")),
        tag(
            "main",
            tag(
                "p",
                tag("span", class_="scale", role="img", aria_label="from blue over grey to orange"),
                " Orange places add to the similarity, blue ones take away from it. Over each picture all places sum "
                "to the similarity, and the strongest of both has full colour. A place sees its surroundings too, so "
                "borders are soft.",
                class_="soft",
            ),
            tag("div", *(_figure(image, overlaid) for image, overlaid in images), class_="why"),
        ),
        tag(
            "footer",
            tag("p", "This page holds the pictures, which may show people: pass it on only as their terms allow."),
            tag("p", "Made by ", tag("code", command)) if command else Html(),
        ),
    )
    write_atomically(path, page(title, *body, style="ranklist.css"))


def _figure(path: Path, overlaid: bytes) -> Html:
    return tag(
        "figure",
        tag("img", src=data_address(small_jpeg(ImageRecord(path, "image", 0), SIZE)), alt=path.name),
        tag("img", src=data_address(overlaid), alt=f"{path.name}: where the similarity comes from"),
        tag("figcaption", path.name),
    )


def _half(contributions: np.typing.NDArray[np.float64]) -> str:
    """Return the fewest positions whose contributions are half of the sum, as "N of ALL"."""
    largest = np.sort(contributions, axis=None)[::-1].cumsum()
    return f"{int(np.argmax(largest >= contributions.sum() / 2)) + 1} of {contributions.size}"
