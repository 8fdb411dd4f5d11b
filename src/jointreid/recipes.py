"""Recipes: a run is a function of a `RunConfig`, and a variant changes two fields of another.

A custom recipe is any importable function `RunConfig -> RunConfig`, named `my_pkg.mod:fn`.
"""

from collections.abc import Callable

from jointreid.config import RunConfig
from jointreid.custom import custom_function, is_custom, require_known_or_custom, trust
from jointreid.messages.errors import JointreidError, no_such

Recipe = Callable[[RunConfig], RunConfig]


def bot(config: RunConfig) -> RunConfig:
    """BoT: ResNet, BNNeck, smoothed identity loss and batch-hard triplets; the paper's baseline (Tables II and III).

    In the paper, trained on five data sets from ImageNet weights: mAP 84.6 on Market-1501, 49.5 on MSMT17.
    """
    return config.replace(model={"name": "bot"})


def bot_dcsd(config: RunConfig) -> RunConfig:
    """BoT with every 3x3 convolution generated per sample (Section III of the paper).

    In the paper, trained on five data sets from ImageNet weights: mAP 89.5 on Market-1501, 61.5 on MSMT17.
    """
    return bot(config).replace(model={"name": "bot-dcsd"})


def agw(config: RunConfig) -> RunConfig:
    """AGW: BoT with non-local blocks, pooling by a generalised mean and the weighted regularised triplet (Table II).

    In the paper, trained on five data sets from ImageNet weights: mAP 86.2 on Market-1501, 52.6 on MSMT17.
    """
    return bot(config).replace(model={"name": "agw"}, loss={"triplet": "wrt"})


def agw_dcsd(config: RunConfig) -> RunConfig:
    """AGW with every 3x3 convolution generated per sample (Table II).

    In the paper, trained on five data sets from ImageNet weights: mAP 89.3 on Market-1501, 62.9 on MSMT17.
    """
    return agw(config).replace(model={"name": "agw-dcsd"})


def bot_dn(config: RunConfig) -> RunConfig:
    """BoT with DualNorm: each image's style is normalised away in three stages (Table III).

    In the paper, trained on five data sets from ImageNet weights: mAP 81.8 on Market-1501, 49.2 on MSMT17.
    """
    return bot(config).replace(model={"name": "bot-dn"})


def bot_snr(config: RunConfig) -> RunConfig:
    """BoT with SNR: style is normalised away after every stage, and what tells people apart put back (Table III).

    In the paper, trained on five data sets from ImageNet weights: mAP 84.9 on Market-1501, 51.3 on MSMT17.
    """
    return bot(config).replace(model={"name": "bot-snr"})


def bot_dcsd_s(config: RunConfig) -> RunConfig:
    """BoT-DCSD with filters generated from the sample alone, which is DDF (Table V, S).

    In the paper, trained on five data sets from ImageNet weights: mAP 88.2 on Market-1501, 58.8 on MSMT17.
    """
    return bot_dcsd(config).replace(dcsd={"factors": ("sample",)})


def bot_dcsd_sd(config: RunConfig) -> RunConfig:
    """BoT-DCSD with filters generated from the sample and its domain (Table V, S + D).

    In the paper, trained on five data sets from ImageNet weights: mAP 88.5 on Market-1501, 59.6 on MSMT17.
    """
    return bot_dcsd(config).replace(dcsd={"factors": ("sample", "domain")})


def bot_dcsd_sc(config: RunConfig) -> RunConfig:
    """BoT-DCSD with filters generated from the sample and its camera (Table V, S + C).

    In the paper, trained on five data sets from ImageNet weights: mAP 89.1 on Market-1501, 61.2 on MSMT17.
    """
    return bot_dcsd(config).replace(dcsd={"factors": ("sample", "camera")})


def bot_dcsd_no_sg(config: RunConfig) -> RunConfig:
    """BoT-DCSD without the stop-gradient: the task also trains the domain and camera vectors (Table VI).

    In the paper, trained on five data sets from ImageNet weights: mAP 88.9 on Market-1501, 61.0 on MSMT17.
    """
    return bot_dcsd(config).replace(dcsd={"stop_gradient": False})


def agw_dcsd_no_sg(config: RunConfig) -> RunConfig:
    """AGW-DCSD without the stop-gradient (Table VI).

    In the paper, trained on five data sets from ImageNet weights: mAP 88.9 on Market-1501, 61.4 on MSMT17.
    """
    return agw_dcsd(config).replace(dcsd={"stop_gradient": False})


def joint(config: RunConfig) -> RunConfig:
    """Bot-dcsd with a static kernel beside each generated one, and one context network: the form we recommend.

    The trunk can start from the weights of a plain network; the generators then learn six times as fast as it. They
    have no weight decay. Both come from a small trial. In `benchmarks/evidence` (arm `context`) it was ahead of the
    best plain network of as many steps by 10.7 mAP on synthetic people from random weights (1,870 steps, three seeds),
    and by 5.4 from MobileNetV2 with ImageNet weights and smaller generators (`dcsd.squeeze` 0.1, `dcsd.hidden_floor`
    16; two seeds, without a third in which the training of the plain network went wrong), by 3.0 after 3,740 steps. In
    equal CPU time the plain network was 2.9 ahead there. On Omniglot and emoji there was no clear difference: -0.6 and
    -0.4 from random weights (1,850 and 1,856 steps, three seeds), -1.2 and +0.5 from ImageNet (925 and 928 steps, one
    seed).
    """
    return bot_dcsd(config).replace(
        dcsd={"base": "static", "context": "network", "decay_generators": False}, optim={"generator_lr": 0.0}
    )


def paper(config: RunConfig) -> RunConfig:
    """The paper's epochs on fast-reid's architecture and augmentation; the defaults of `RunConfig`."""
    return config.replace(schedule={"kind": "paper"})


def fastreid(config: RunConfig) -> RunConfig:
    """As fast-reid runs it: 2,000 iterations of warm-up, and milestones that count from its end."""
    return config.replace(schedule={"kind": "fastreid"})


def bot_repo(config: RunConfig) -> RunConfig:
    """As the BoT repository runs it: no stem ReLU, bilinear resizing, erasing after normalising, decay at 40 and 70."""
    return config.replace(
        model={"stem_relu": False, "classifier_std": 0.001},
        image={
            "interpolation": "bilinear",
            "erase_area": (0.02, 0.4),
            "erase_ratio": (0.3, 1 / 0.3),
            "erase_ratio_law": "uniform",
            "erase_fill": "normalised",
        },
        schedule={"kind": "bot-repo", "epoch_length": "pass", "milestones": (40, 70), "warmup_factor": 0.01},
    )


def agw_repo(config: RunConfig) -> RunConfig:
    """As the AGW repository runs it: `bot_repo` with learnt pooling and the published arithmetic of the triplet.

    The repository's centre loss, of weight 0.0005, is left out.
    """
    return bot_repo(config).replace(model={"gem_learnable": True}, loss={"wrt_numerics": "published"})


RECIPES: dict[str, Recipe] = {
    "bot": bot,
    "agw": agw,
    "bot-dcsd": bot_dcsd,
    "agw-dcsd": agw_dcsd,
    "bot-dn": bot_dn,
    "bot-snr": bot_snr,
    "bot-dcsd-s": bot_dcsd_s,
    "bot-dcsd-sd": bot_dcsd_sd,
    "bot-dcsd-sc": bot_dcsd_sc,
    "bot-dcsd-no-sg": bot_dcsd_no_sg,
    "agw-dcsd-no-sg": agw_dcsd_no_sg,
    "joint": joint,
}
PRESETS: dict[str, Recipe] = {"paper": paper, "fastreid": fastreid, "bot-repo": bot_repo, "agw-repo": agw_repo}


def find_recipe(name: str) -> Recipe:
    """Return the recipe of that name, or a custom one from `module:function`, whose module is then trusted.

    Raises:
        JointreidError: no such recipe, module or function; the message names the nearest.
    """
    require_known_or_custom("--recipe", "recipe", name, RECIPES)
    if not is_custom(name):
        return RECIPES[name]
    trust(name.partition(":")[0])
    return custom_function("--recipe", name)


def apply_recipe(name: str, preset: str = "paper", base: RunConfig | None = None) -> RunConfig:
    """Return the settings of a recipe on top of a preset.

    Raises:
        JointreidError: an unknown name, or a custom recipe that does not return a `RunConfig`.
    """
    if preset not in PRESETS:
        raise JointreidError(no_such("preset", preset, PRESETS))
    config = find_recipe(name)(PRESETS[preset](base or RunConfig()))
    if not isinstance(config, RunConfig):
        raise JointreidError(
            f"--recipe {name} returned {type(config).__name__}; a recipe takes and returns a jointreid.RunConfig"
        )
    return config if config.train.label else config.replace(train={"label": name})
