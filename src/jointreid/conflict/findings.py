"""The findings of a study in three sentences."""

from collections.abc import Iterator

import numpy as np

from jointreid.analysis.heat_map import signed
from jointreid.conflict.candidates import Candidates
from jointreid.conflict.charts import number, share
from jointreid.conflict.context import PREDICTED, SHUFFLED, ZEROED
from jointreid.conflict.gradients import SHARED, PartConflict
from jointreid.conflict.layers import CONTEXT, EMBEDDING, HEAD
from jointreid.conflict.study import ConflictStudy

# A change of mean mAP that is worth a word.
_NOTABLE = 0.01
# A mean cosine below which gradients count as opposed, with a minus sign.
_OPPOSED = 0.05
NOT_COMPARED = (
    "No two data sets have two people each with two images or more among the chosen train images, so their gradients "
    "could not be compared."
)
# Share of images that resemble another person from which on the model says little about labels.
_WEAK = 0.2


def findings(study: ConflictStudy) -> list[str]:
    """Return three sentences: of gradients, of features and context, of the data."""
    return [_gradients(study), _features(study), " ".join(_data(study))]


def worst_part(study: ConflictStudy) -> PartConflict | None:
    """Return the part whose gradients are most opposed, of those that all data sets share for one task.

    The heads and the context tell data sets apart, so that gradients of two of them oppose each other there anyway.
    """
    if study.gradients is None:
        return None
    left_out = (SHARED, HEAD, CONTEXT)
    shared = [part for part in study.gradients.parts if part.part not in left_out and np.isfinite(part.between)]
    return min(shared, key=lambda part: part.between, default=None)


def _gradients(study: ConflictStudy) -> str:
    part = worst_part(study)
    if study.gradients is None:
        return "This run has a single data set, so no gradients of data sets can oppose each other."
    if part is None:
        return NOT_COMPARED
    whole = study.gradients.parts[-1]
    kind = "nearly unrelated"
    if whole.between < -_OPPOSED:
        kind = "opposite"
    elif whole.between > max(_OPPOSED, whole.within / 2):
        kind = "similar"
    where = part.part if part.part.startswith("stage") else f"the {part.part}"
    return (
        f"At the end of training the data sets pull the network in {kind} directions: over all weights but those of "
        f"head and context the gradients of two data sets have a mean cosine of {number(whole.between)} (two batches "
        f"of one data set: {number(whole.within)}) and point against each other in {share(whole.opposing_between)} of "
        f"the cases, where unrelated ones would in half; they agree least in {where} (cosine {number(part.between)}, "
        f"opposed in {share(part.opposing_between)})."
    )


def _features(study: ConflictStudy) -> str:
    last = next((probe for probe in study.probes if probe.layer == EMBEDDING), None)
    known = ""
    if last and last.domain:
        camera = (
            f", and the camera within its data set in {share(last.camera.linear)} ({_than(last.camera.chance)})"
            if last.camera
            else ""
        )
        known = (
            f"From the final features a linear classifier tells the data set of {share(last.domain.linear)} of new "
            f"people's images ({_than(last.domain.chance)}){camera}"
        )
    elif last and last.camera:
        known = (
            f"From the final features a linear classifier tells the camera of {share(last.camera.linear)} of new "
            f"people's images ({_than(last.camera.chance)})"
        )
    text = _context(study)
    return f"{known}; {text}." if known else f"{text[0].upper()}{text[1:]}."


def _than(chance: float) -> str:
    return f"chance {share(chance)}"


def _context(study: ConflictStudy) -> str:
    own, shuffled, zeroed = (study.context.mean(arm) for arm in (PREDICTED, SHUFFLED, ZEROED))
    if own is None or shuffled is None or zeroed is None:
        why = study.context.why_none
        return f"{why[0].lower()}{why[1:].rstrip('.')}" if why else "no other context was compared"
    values = (
        f"among the images looked at the mean mAP is {100 * own:.1f} with its own context, {100 * shuffled:.1f} with "
        f"that of another image and {100 * zeroed:.1f} without"
    )
    lost = study.context.lost
    assert lost is not None  # where both means are known
    interval = f"95 % interval of the loss with another image's: {signed(lost.low)} to {signed(lost.high)}"
    if lost.low > 0 and lost.value > _NOTABLE:
        return f"the model uses its context: {values} ({interval})"
    if lost.high < _NOTABLE:
        return f"the model hardly uses its context: {values} ({interval})"
    return f"these images do not tell whether the model uses its context: {values} ({interval})"


def _data(study: ConflictStudy) -> Iterator[str]:
    cells = [
        (float(pairs.error[a, b]), int(pairs.queries[a, b]), name, pairs.cameras[a], pairs.cameras[b])
        for name, pairs in study.cameras.items()
        for a, b in zip(*np.nonzero(pairs.queries >= 5), strict=True)
        if a != b  # where a match from the query's own camera counts, too
    ]
    words = []
    if cells:
        error, queries, name, a, b = max(cells)
        words.append(
            f"the hardest change of camera is from {a} to {b} of {name}, where {share(error)} of {queries} queries "
            "find somebody else first"
        )
    found = study.candidates
    if found:
        words.append(_labels(found, sum(train + test for train, test in study.images.values())))
    text = "; ".join(words) or "there are no test images to say more about the data"
    yield f"In the data, {text}." if words else f"{text[0].upper()}{text[1:]}."


def _labels(found: Candidates, images: int) -> str:
    if found.resembling > _WEAK * images:
        return (
            f"{found.resembling:,} of {images:,} images resemble another person of the same data set more than the own "
            "one, so this model errs too often to say which labels are wrong"
        )
    resembling = _count(found.resembling, "image resembles", "images resemble")
    alike = _count(found.alike, "pair of identities is", "pairs of identities are")
    return (
        f"{resembling} another person of the same data set more than the own one, and {alike} alike enough to be one "
        "person: candidates for a look, not facts"
    )


def _count(count: int, one: str, many: str) -> str:
    return f"{f'{count:,}' if count else 'no'} {one if count == 1 else many}"
