"""The section that explains the page: its words, the networks and the data sets."""

from collections.abc import Iterable, Iterator

from evidence.arms import ARMS, GENERATORS, START_WORDS, short_start
from evidence.data import DATASETS, people_domains
from evidence.figures import paragraph
from evidence.tasks import Scale
from jointreid.messages.tables import text_table
from jointreid.synthetic.presets import TABLE1

_WORDS = (
    "Arm: one network of the comparison. Width: the channels of the first stage, of which ResNet-50 has 64.",
    "mAP: for each test query the gallery of its domain is sorted by similarity; the average precision of the query is "
    "high if the images of its identity come first. The mean over the queries of a domain is its mAP, the mean over "
    "the domains that of a network.",
    "static: the convolutions of the trunk as they are, the same for every image. The others add a generated part, "
    "made anew for each image, to each kernel: S makes it from the sample, that is the feature map itself, D and C "
    "from a vector of the predicted domain and one of the predicted camera. D + C is what these two add to S.",
    "Context network: a small network of its own on the input image that predicts domain and camera, once for all "
    "blocks. Detached heads in the blocks: each block predicts them itself from its own feature map, as in the paper, "
    "but their losses do not reach the trunk; those of DCSD as printed do. Labels are used in training alone, except "
    "by the true labels, a ceiling.",
    "DCSD as printed has no static kernel. Its generated kernels replace the spatial convolutions, so it has no place "
    "for those of MobileNetV2 and cannot start from its weights: it is compared from random weights alone.",
)
# What identities and cameras are, and where the pictures come from.
_PICTURES = {
    "omniglot": (
        "Handwritten characters of github.com/brendenlake/omniglot (MIT licence). An identity is a character, a camera "
        "the person who wrote it, 20 in each domain, which is a pair of alphabets. Queries are the drawings of the "
        "writers 0, 5, 10 and 15, counted from 0. `benchmarks/evidence/identities/omniglot.csv` names the characters."
    ),
    "emoji": (
        "Icons of eleven npm packages @iconify-json/NAME, each under its own licence, drawn at 72x72 pixels. An "
        "identity is an emoji, a camera the studio that drew it; the cameras of each domain are counted apart, so "
        "there are 77 of about 48 train images. A domain is a group of Unicode. Each "
        "test image is a query and in the gallery. `benchmarks/evidence/identities/emoji.csv` names the emoji."
    ),
}


def legend(scale: Scale) -> Iterator[str]:
    """Yield the section."""
    yield "## Words"
    yield ""
    for words in (*_WORDS, _networks(scale)):
        yield paragraph(words)
        yield ""
    rows = []
    for arm in ARMS.values():
        starts = [short_start(start) for start in scale.starts if start in arm.starts]
        if starts:
            rows.append([arm.name, arm.why, "; ".join(starts)])
    yield text_table([["arm", "why it is trained", "from"], *rows], "lll")
    yield ""
    for dataset in scale.datasets:
        words = f"{DATASETS[dataset].words}."
        yield paragraph(words[0].upper() + words[1:], people_words() if dataset == "people" else _PICTURES[dataset])
        yield ""


def _networks(scale: Scale) -> str:
    """Return which trunks are trained, and where their generators are not those of the recipe."""
    trunks = "; ".join(START_WORDS[start] for start in scale.starts)
    words = f"Networks: {trunks}."
    for start, settings in GENERATORS.items():
        if start in scale.starts:
            options = " ".join(f"--dcsd.{name} {value}" for name, value in settings.items())
            words += (
                f" With {START_WORDS[start]} the recommended network is `--recipe joint {options}`: generators of "
                "about half the parameters."
            )
    return words


def people_words() -> str:
    """Return what the synthetic people have of the paper's Table I."""
    people = people_domains()
    shares = [
        _share("train identities", [(a.train.ids, b.train.ids) for a, b in zip(people, TABLE1, strict=True)]),
        _share("train images", [(a.train.images, b.train.images) for a, b in zip(people, TABLE1, strict=True)]),
        _share("test identities", [(a.query.ids, b.query.ids) for a, b in zip(people, TABLE1, strict=True)]),
    ]
    views = max(spec.views for spec in people)
    return (
        f"Their domains and cameras are those of the paper's Table I; each domain has {shares[0]}, {shares[1]} and "
        f"{shares[2]} of Table I's. Their galleries hold no strangers and nobody without a query; the domain "
        f"with one camera id shows {views} places, where `table1` has {max(spec.views for spec in TABLE1)}."
    )


def _share(words: str, pairs: Iterable[tuple[int, int]]) -> str:
    """Write how many of a thing each domain has, and the lowest and highest share of Table I's."""
    pairs = list(pairs)
    (number,) = {here for here, _ in pairs}
    shares = [100 * here / printed for here, printed in pairs]
    return f"{number:,} {words} ({min(shares):.0f} to {max(shares):.0f} %)"
