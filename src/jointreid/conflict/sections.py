"""The sections of the page about networks: gradients, losses, features, context and kernels."""

from collections.abc import Mapping, Sequence

import numpy as np

from jointreid.analysis.curves import COLOURS, Curve, line_chart, swatch
from jointreid.analysis.html import Html, tag
from jointreid.analysis.reported import run_key
from jointreid.conflict.charts import bar, heat_table, number, plain_table, share
from jointreid.conflict.context import PREDICTED, SHUFFLED, TRUE, ZEROED
from jointreid.conflict.findings import NOT_COMPARED, worst_part
from jointreid.conflict.layers import CONTEXT, GENERATORS, HEAD
from jointreid.conflict.study import ConflictStudy
from jointreid.messages.tables import NO_VALUE

_ARMS = {
    PREDICTED: "its own, predicted",
    TRUE: "of the true camera",
    SHUFFLED: "of another image",
    ZEROED: "none (zero)",
}


def section(title: str, *content: Html | str, id_: str) -> Html:
    """Return a section; texts become paragraphs."""
    parts = [part if isinstance(part, Html) else tag("p", part) for part in content]
    return tag("section", tag("h2", title), *parts, id=id_)


def soft(text: str) -> Html:
    """Return a paragraph of less weight."""
    return tag("p", text, class_="soft")


def gradient_section(study: ConflictStudy) -> Html:
    """Return the table of the parts, and the matrices of all shared parts and of the part most opposed."""
    title = "Do the data sets pull the network in different directions?"
    found, worst = study.gradients, worst_part(study)
    if found is None:
        return section(title, "One data set has nothing to be in conflict with.", id_="gradients")
    if worst is None:
        return section(title, NOT_COMPARED, id_="gradients")
    rows = [
        (
            part.part,
            [
                f"{part.parameters:,}",
                number(part.between),
                number(part.within),
                bar(part.opposing_between, share(part.opposing_between)),
            ],
        )
        for part in found.parts
    ]
    names = list(study.images)
    matrices = {part.part: part for part in (found.parts[-1], worst)}
    return section(
        title,
        "Each training step moves the weights a little. The gradient of a data set's loss is the direction that would "
        "help this data set most. The cosine compares two directions: 1 means the same, 0 unrelated, and below 0 what "
        "helps one data set hurts the other.",
        plain_table(
            ("Part of the network", "numbers", "two data sets", "one, two batches", "opposed"),
            rows,
            caption="Mean cosine between the gradients of two data sets, between those of one data set in two batches "
            "(what agreement looks like in such small batches), and the share of batches and pairs of data sets that "
            "are opposed; 50% means unrelated.",
        ),
        soft(_parts_in_words([part.part for part in found.parts])),
        tag(
            "div",
            *(
                heat_table(
                    "Cosine",
                    names,
                    names,
                    part.cosine,
                    caption=f"{part.part[0].upper()}{part.part[1:]}: red is opposed. Diagonal: two batches of one.",
                    most=1.0,
                    flip=True,
                )
                for part in matrices.values()
            ),
            class_="grids",
        ),
        soft(
            f"{found.batches} batches with {_images(found.images_per_domain)}, in one forward pass with batch "
            "normalisation as in training, not augmented, with the weights at the end of training. Triplets are within "
            "a data set. Two batches of one data set show different people. Early in training the picture may differ."
        ),
        id_="gradients",
    )


def _images(per_domain: Mapping[str, int]) -> str:
    """Return how many images of each data set a batch has."""
    counts = set(per_domain.values())
    if len(counts) == 1:
        return f"{counts.pop()} train images of each data set"
    return ", ".join(f"{count} train images of {name}" for name, count in per_domain.items())


_PARTS = {
    GENERATORS: "generators: they make filters for each image",
    CONTEXT: "context: it recognises the data set and the camera of an image, and tells the generators",
    HEAD: "head: it names the person, in training only",
}


def _parts_in_words(parts: Sequence[str]) -> str:
    """Return the parts of a network, from images to answers."""
    after = [words for part, words in _PARTS.items() if part in parts]
    return "; ".join(["Stem and stages: the layers from the image to its features, in this order", *after]) + "."


def loss_section(study: ConflictStudy) -> Html:
    """Return the identity loss of each data set over the training, and all terms at its end."""
    content: list[Html | str] = []
    if study.losses:
        lines = [
            Curve(run_key(index), name, points, index, index // COLOURS)
            for index, (name, points) in enumerate(study.losses.items())
        ]
        chart = line_chart("Identity loss", "nats, mean over some steps", lines, x_unit="steps")
        legend = [tag("li", tag("b", line.key, class_="badge"), " ", swatch(line), " ", line.label) for line in lines]
        content += [
            "The identity loss says how far the network is from naming the right person of a training image, 0 being "
            "perfect. A data set whose loss stays above the others' pays for the joint training, or is the hardest.",
            tag("ul", *legend, class_="legend"),
            tag("div", chart, class_="charts"),
        ]
    else:
        content.append("The log of this run has no loss of each data set over time; that needs train.log_domains.")
    if study.gradients and study.gradients.losses:
        losses = study.gradients.losses
        terms = list(dict.fromkeys(term for own in losses.values() for term in own))
        rows = [(name, [number(own.get(term), 3) for term in terms]) for name, own in losses.items()]
        content.append(
            plain_table(
                ("Data set", *terms),
                rows,
                caption="Terms of the loss on train images at the end of training, in the batches of the gradients. "
                "Triplet and identity teach to tell people apart; domain and camera, where the network has them, teach "
                "to recognise the data set and the camera.",
            )
        )
    return section("Who pays: the loss of each data set", *content, id_="losses")


def probe_section(study: ConflictStudy) -> Html:
    """Return what simple classifiers read from the features of each layer."""
    title = "What the features know about where an image comes from"
    if not study.probes:
        return section(title, "There are no test images to read it from.", id_="probes")
    rows = []
    for probe in study.probes:
        cells: list[Html | str] = []
        for result in (probe.domain, probe.camera):
            values = (result.linear, result.neighbours) if result else (None, None)
            cells += [*(bar(value) for value in values), share(result.chance) if result else NO_VALUE]
        rows.append((probe.layer, cells))
    return section(
        title,
        "Identity should survive to the last layer, and what data set or camera took the image should be used on the "
        "way and then forgotten. A classifier that is fitted on some people's images and judged on others' shows what "
        "is left. Near chance means forgotten.",
        plain_table(
            ("Layer", "data set, linear", "neighbours", "chance", "camera, linear", "neighbours", "chance"),
            rows,
            caption="Percent right on people that the classifier was not fitted on, mean over data sets or cameras, "
            "however many images each has. Cameras: within each data set, mean over data sets. Chance: of who knows "
            "nothing.",
        ),
        soft(
            "Of each layer the classifiers get the mean and standard deviation of its channels; of the context, the "
            "vectors that tell the last generators where an image comes from. Images are compared by the embedding. "
            "None of the images were trained on. Linear: logistic regression. Neighbours: the 5 nearest images vote."
        ),
        id_="probes",
    )


def context_section(study: ConflictStudy) -> Html:
    """Return the accuracy with the model's own context, another and none."""
    title = "Does the model use its context?"
    if study.context.why_none:
        return section(title, study.context.why_none, id_="context")
    arms = list(study.context.mean_ap)
    names = list(study.context.mean_ap[PREDICTED])
    rows = [(name, [bar(study.context.mean_ap[arm].get(name)) for arm in arms]) for name in names]
    rows.append(("mean", [bar(study.context.mean(arm)) for arm in arms]))
    return section(
        title,
        "This model makes filters for each image, and they depend on the data set and the camera that it recognises "
        "in the image: its context. Here the images of people that it was not trained on are searched with other "
        "contexts. If another image's context serves as well, the context is not used; if that of the true camera "
        "serves better, it could be predicted better.",
        plain_table(
            ("mAP with the context", *(_ARMS[arm] for arm in arms)),
            rows,
            caption="mAP in percent, over the chosen test images, each of which asks the others of its data set; not "
            "the values of an evaluation, whose gallery is larger.",
        ),
        soft("Of the true camera: the mean vector that the model gives train images of that data set and camera."),
        id_="context",
    )


def kernel_section(study: ConflictStudy) -> Html:
    """Return how much of each kernel is generated."""
    title = "How much of each kernel is generated"
    if not study.kernels:
        return section(title, "This model applies the same kernels to every image.", id_="kernels")
    rows = [
        (
            kernel.block,
            [
                number(kernel.generated, 4),
                number(kernel.base, 4) if kernel.base else "none",
                bar(kernel.share),
                bar(kernel.varies),
            ],
        )
        for kernel in study.kernels
    ]
    whole = np.mean([kernel.share for kernel in study.kernels])
    return section(
        title,
        "All of each kernel is generated: this model has no kernel that is the same for all images."
        if all(kernel.base == 0 for kernel in study.kernels)
        else f"A kernel is the small table of weights that a filter consists of. On average {share(float(whole))} of a "
        "kernel is generated for the image; the rest, its base, is the same for all images.",
        "Where the share is near 0, the block is that of a network without generated filters. Where the generated part "
        "hardly varies with the image, a fixed filter would do.",
        plain_table(
            ("Block", "generated", "base", "share generated, %", "varies with the image, %"),
            rows,
            caption="Generated, base: root mean square of the weights of each part; the share is that of their sum. "
            "Varies: how far the part that is generated for the channels is from its mean over images, relative to "
            "its size. Blocks stand in the order from the image to the features.",
        ),
        id_="kernels",
    )


def words_of(names: Sequence[str]) -> str:
    """Return names as a list in words."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
