"""The networks that are compared, as changes to one `RunConfig`, and the reason for each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from jointreid.config import RunConfig
from jointreid.recipes import apply_recipe
from jointreid.training.optim import GENERATOR_LR_FROM_SCRATCH, GENERATOR_LR_FROM_WEIGHTS

Start = Literal["random", "imagenet", "random-full", "imagenet-full"]
# Of the small networks, which two CPU cores can train, and of those of full width, which need a GPU.
STARTS: tuple[Start, ...] = ("random", "imagenet")
FULL: tuple[Start, ...] = ("random-full", "imagenet-full")

Sections = Mapping[str, Mapping[str, Any]]

# Every arm with a static kernel and a generated one: no weight decay on the generators, as in the recipe `joint`.
_STATIC: dict[str, Any] = {"base": "static", "decay_generators": False}
# MobileNetV2 has up to 960 channels: with this the generated part adds a third to its multiply-adds, not a half.
GENERATORS: Mapping[Start, Mapping[str, Any]] = {"imagenet": {"squeeze": 0.1, "hidden_floor": 16}}
# As training chooses it where the settings leave it open.
GENERATOR_LR: Mapping[Start, float] = {
    "random": GENERATOR_LR_FROM_SCRATCH,
    "imagenet": GENERATOR_LR_FROM_WEIGHTS,
    "random-full": GENERATOR_LR_FROM_SCRATCH,
    "imagenet-full": GENERATOR_LR_FROM_WEIGHTS,
}

# One trunk for all arms of a start; with ImageNet weights its width cannot be changed. The weights of `imagenet-full`
# are a file that the command names.
TRUNKS: Mapping[Start, Mapping[str, Any]] = {
    "random": {"trunk": "resnet50", "width": 22, "depthwise": True},
    "imagenet": {"trunk": "mobilenetv2_100", "pretrain": "mobilenetv2_100"},
    "random-full": {"trunk": "resnet50"},
    "imagenet-full": {"trunk": "resnet50"},
}
START_WORDS: Mapping[Start, str] = {
    "random": "random weights, ResNet-50 with depthwise 3x3s, width 22 of 64",
    "imagenet": "MobileNetV2 trained on ImageNet",
    "random-full": "random weights, ResNet-50",
    "imagenet-full": "ResNet-50 trained on ImageNet",
}


_ANYWHERE: Mapping[Start, Sections] = {start: {} for start in (*STARTS, *FULL)}
# At six times that, scale and shift spoilt MobileNetV2's features within 20 steps: 4 mAP after 486.
_AT_THE_LR_OF_THE_TRUNK: Sections = {"optim": {"generator_lr": 1.0}}


@dataclass(frozen=True)
class Arm:
    """A network of the comparison.

    Attributes:
        words: what it is, in running text.
        why: the reason to train it.
        recipe: that it starts from.
        changes: to the settings of the recipe.
        starts: where it can be trained, with further changes that each needs.
        control: whether it may not be recommended: it sees labels, or is a rival of the kernel.
        datasets: that it makes sense for; empty: all.
    """

    words: str
    why: str
    recipe: str
    changes: Sections
    starts: Mapping[Start, Sections]
    control: bool = False
    datasets: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Its name in tables, where a control is marked with *."""
        return self.words + "*" * self.control


def _arm(
    words: str, why: str, recipe: str = "bot-dcsd", *, starts: Mapping[Start, Sections] = _ANYWHERE,
    control: bool = False, datasets: tuple[str, ...] = (), **changes: Any,
) -> Arm:  # fmt: skip
    return Arm(words, why, recipe, changes, starts, control, datasets)


# In the order of their trainings: those that say most come first.
ARMS: Mapping[str, Arm] = {
    "static": _arm("static", "the plain network", "bot"),
    "context": _arm("static + context network", "domain and camera predicted by a network of its own", "joint"),
    "static-wide": _arm(
        "static, wider", "at least the multiply-adds of the context network", "bot",
        starts={"random": {"model": {"width": 24}}, "random-full": {"model": {"width": 66}}},
    ),
    "s": _arm("static + S", "generated from the sample alone", dcsd={**_STATIC, "factors": ("sample",)}),
    "blocks": _arm(
        "static + S + D + C, detached heads in the blocks",
        "domain and camera predicted where the paper does, without a gradient into the trunk",
        dcsd={**_STATIC, "detach_context_input": True},
    ),
    "labels": _arm(
        "static + true labels", "the ceiling: domain and camera are told", "joint", dcsd={"context": "labels"},
        control=True,
    ),
    "static-dense": _arm(
        "static, dense 3x3s", "BoT as it is, at about the same multiply-adds", "bot",
        starts={"random": {"model": {"width": 17, "depthwise": False}}},
    ),
    "paper": _arm(
        "DCSD as printed", "the paper's network at equal width",
        starts={"random": {"model": {"depthwise": False}}, "random-full": {}},
    ),
    "paper-wide": _arm(
        "DCSD as printed, wider", "the paper's network at the multiply-adds of the context network",
        starts={"random": {"model": {"depthwise": False, "width": 23}}, "random-full": {"model": {"width": 88}}},
    ),
    "film": _arm(
        "static + FiLM on the context", "the same knowledge as scale and shift", "joint", dcsd={"inject": "film"},
        control=True,
        starts={**_ANYWHERE, "imagenet": _AT_THE_LR_OF_THE_TRUNK, "imagenet-full": _AT_THE_LR_OF_THE_TRUNK},
    ),
    "norm": _arm(
        "static, batch normalisation by domain", "the same knowledge as statistics", "joint", dcsd={"inject": "norm"},
        control=True,
    ),
}  # fmt: skip


def _remedy(words: str, why: str, **changes: Any) -> Arm:
    """Return the recommended network with one change."""
    return _arm(words, why, "joint", **changes)


# Trained where the recommended network misses its goal: each changes one thing of it.
REMEDIES: Mapping[str, Arm] = {
    "dropout": _remedy(
        "context dropout 0.2", "a fifth of the train images without context: the rest cannot rely on it",
        dcsd={"context_dropout": 0.2},
    ),
    "shrinkage": _remedy(
        "camera shrinkage 50", "of a camera with 50 train images half the vector is left: no kernel for few images",
        dcsd={"camera_shrinkage": 50.0},
    ),
    "held-out": _remedy(
        "context trusted by what it knows", "what it cannot tell of people it did not learn from changes no kernel",
        dcsd={"context_held_out": 0.1},
    ),
    "masked": _remedy(
        "masked identity head", "identities compete within their domain: nothing is gained by telling the domain",
        loss={"id_head": "masked"},
    ),
    "shared": _remedy(
        "cameras that the domains share", "a studio is one camera in all domains: a vector has seven times the images",
        datasets=("emoji",), data={"camera_ids": "local"},
    ),
    "late": _remedy(
        "context in the last two stages", "the first stages are the same for all domains",
        starts={
            "random": {"dcsd": {"context_stages": (3, 4)}}, "imagenet": {"dcsd": {"context_stages": (6, 7)}},
            "random-full": {"dcsd": {"context_stages": (3, 4)}}, "imagenet-full": {"dcsd": {"context_stages": (3, 4)}},
        },
    ),
    "hidden": _remedy(
        "generators of twice the hidden width", "more kernels to choose from",
        starts={
            "random": {"dcsd": {"squeeze": 0.4}}, "imagenet": {"dcsd": {"squeeze": 0.2, "hidden_floor": 32}},
            "random-full": {"dcsd": {"squeeze": 0.4}}, "imagenet-full": {"dcsd": {"squeeze": 0.4}},
        },
    ),
}  # fmt: skip
NETWORKS: Mapping[str, Arm] = {**ARMS, **REMEDIES}


def remedies_of(dataset: str) -> tuple[str, ...]:
    """Return the remedies that make sense for a data set."""
    return tuple(name for name, arm in REMEDIES.items() if not arm.datasets or dataset in arm.datasets)


def short_start(start: Start) -> str:
    """Return in a few words where a training starts from, as in a cell of a table."""
    return START_WORDS[start].partition(",")[0]


def settings(arm: str, start: Start) -> RunConfig:
    """Return the settings of an arm from a start, without data, size of images, schedule and learning rate."""
    chosen = NETWORKS[arm]
    config = apply_recipe(chosen.recipe).replace(model=TRUNKS[start], **chosen.changes)
    config = config.replace(optim={"generator_lr": GENERATOR_LR[start]}, dcsd=GENERATORS.get(start, {}))
    return config.replace(**chosen.starts[start])


def predicts_context(arm: str, start: Start) -> bool:
    """Return whether a network has vectors of domain or camera that can be exchanged for others."""
    config = settings(arm, start)
    has_vectors = "dcsd" in config.model.name and config.dcsd.context != "labels" and config.dcsd.inject != "norm"
    return has_vectors and bool({"domain", "camera"} & set(config.dcsd.factors))
