"""The model card of a published run: data and their terms, protocol, metrics, thresholds, limits."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from jointreid.data.run_images import load_images
from jointreid.data.sources import load_domains
from jointreid.messages.errors import JointreidError
from jointreid.messages.table_formats import markdown_table
from jointreid.retrieval.result_files import load_results
from jointreid.retrieval.results import DomainResult
from jointreid.run import Run, find_data
from jointreid.verification.calibration import Calibration
from jointreid.verification.verdicts import in_percent

if TYPE_CHECKING:
    from jointreid.models.reid import ReIDModel

_USE = """## Use

```python
from jointreid.hub.transfer import from_pretrained

embed = from_pretrained("OWNER/NAME")
features = embed(["anna.jpg", "ben.jpg"])  # float32 [2, D], of length 1
print("cosine similarity", features[0] @ features[1])
```

`jointreid hub fetch OWNER/NAME --out runs/NAME` makes a run directory of it, for `evaluate`, `extract`, `export` and
`train --init`.
"""

_LIMITS = """## Intended use and limits

For research on re-identification, with images that you are allowed to use. Features that recognise people may be
biometric data in the sense of privacy law.

- It compares looks, often clothes: one person in two coats is not alike, and two people in one uniform are.
- The figures hold for images like those of the data sets above. Evaluate it on yours before you rely on it.
- No figure here says how accuracy differs between groups of people.
- An answer is no proof of identity and should not decide about anybody by itself.

The weights are without classifiers, and no name of a person is part of them. The people whose images trained it were
not anonymised by that: whether a model was trained on images of somebody can sometimes be found out.
"""


def model_card(
    run: Run,
    checkpoint: str,
    state: dict[str, Any],
    model: "ReIDModel",
    fingerprint: str,
    thresholds: Calibration | None,
    licence: str,
) -> str:
    """Return the card as Markdown, with the header that the hub reads.

    Args:
        run: the run.
        checkpoint: last or best.
        state: its step, epoch and start.
        model: the model, pruned.
        fingerprint: of the model.
        thresholds: its thresholds, if any.
        licence: of the weights, by its name on the hub.
    """
    config = run.config
    image = config.image
    parameters = sum(tensor.numel() for tensor in model.parameters()) - model.classifier.weight.numel()
    start = state["pretraining"] or "not recorded"
    header = [
        *("---", f"license: {licence}", "library_name: jointreid", "pipeline_tag: image-feature-extraction"),
        *("tags:", "- person-re-identification", "- image-retrieval", "---"),
    ]
    facts = [
        ("network", f"`{config.model.name}` on `{config.model.trunk}`, {parameters:,} parameters"),
        ("feature", f"{model.bnneck.num_features} numbers, compared by {config.eval.metric} distance"),
        ("images", f"RGB, {image.height} x {image.width} pixels (height x width), resized by {image.interpolation}"),
        ("normalised by", f"mean {image.mean}, standard deviation {image.std}"),
        ("trained for", f"{state['step']:,} steps, {state['epoch']:.1f} epochs; checkpoint `{checkpoint}`"),
        ("started from", start),
        ("fingerprint", f"`{fingerprint}`"),
    ]
    parts = [
        "\n".join(header),
        "# Person re-identification, trained on " + _names([d.name for d in run.label_space.domains]),
        "\n".join(markdown_table(["", ""], facts, "ll")),
        _USE.rstrip(),
        "\n".join(_data(run)),
        "\n".join(_metrics(run, checkpoint)),
        "\n".join(_thresholds(thresholds)),
        _LIMITS.rstrip(),
    ]
    return "\n\n".join(parts) + "\n"


def _names(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _data(run: Run) -> Iterator[str]:
    """Yield the section about the data: how much of each data set, and the terms of its owner."""
    counts = Counter(image.domain for image in load_images(run.path, ("train",)))
    terms = _terms(run)
    yield "## Data"
    yield ""
    rows = [
        (
            domain.name,
            f"{len(domain.pids):,}",
            str(len(domain.cameras)),
            f"{counts[domain.name]:,}" if counts[domain.name] else "not recorded",
            terms.get(domain.name, "").strip() or "not recorded: ask the owner of the data",
        )
        for domain in run.label_space.domains
    ]
    yield from markdown_table(["data set", "identities", "cameras", "train images", "terms"], rows, "lrrrl")
    yield ""
    yield "The terms of the data may also bind what was trained on them."


def _terms(run: Run) -> dict[str, str]:
    """Return the terms of the run's data sets, as far as they are still where they were."""
    try:
        return {domain.name: domain.terms for domain in load_domains(find_data(run).config.data)}
    except JointreidError:
        return {}


def _metrics(run: Run, checkpoint: str) -> Iterator[str]:
    """Yield the section about accuracy, with the protocol of each data set."""
    yield "## Accuracy"
    yield ""
    try:
        results = load_results(run.path, checkpoint)[0]
    except JointreidError:
        results = None
    step = run.step(checkpoint)
    # Weights may be saved later than they were evaluated.
    same = [r for r in results.domains if not r.conditions or r.conditions.step in (step, None)] if results else []
    if not same:
        yield "Not evaluated."
        return
    heads = ["data set", "Rank-1", "mAP", "mINP", "queries", "gallery", "protocol"]
    yield from markdown_table(heads, map(_accuracy, same), "lrrrrrl")


def _accuracy(found: DomainResult) -> list[str]:
    """Return the row of a data set in the table of accuracy."""
    rules = ["the same camera left out" if found.exclude_same_camera else "all cameras"]
    rules += [found.protocol.words] if found.protocol else []
    rules += [] if found.trained_on else ["not trained on"]
    rules += list(found.marks or ())
    if found.conditions and found.conditions.flip:
        rules.append("with mirrored images")
    if found.conditions and found.conditions.rerank:
        rules.append("re-ranked")
    rates = (f"{rate:.1%}" for rate in (found.cmc[1], found.mAP, found.mINP))
    return [found.domain, *rates, f"{found.num_valid_queries:,}", f"{found.num_gallery:,}", "; ".join(rules)]


def _thresholds(found: Calibration | None) -> Iterator[str]:
    """Yield the section about thresholds."""
    yield "## The same person or not"
    yield ""
    if found is None:
        yield "No thresholds were calibrated: no similarity is known from on which two images show the same person."
        return
    pairs = f"{in_percent(found.fmr)} of pairs of two people"
    yield f"Thresholds for false matches in {pairs}, with 95 % intervals over identities:"
    yield ""
    rows = [
        (
            entry.domain or "two data sets",
            entry.pairs,
            f"{entry.same.value:.3f} ({entry.same.low:.3f} to {entry.same.high:.3f})",
            f"{entry.realised:.2g}",
        )
        for entry in found.pairs
    ]
    yield from markdown_table(["data set", "pairs", "the same from", "realised on other people"], rows, "llrr")
