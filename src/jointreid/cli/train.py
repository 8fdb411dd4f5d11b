"""`jointreid train`: the settings of a recipe, then those of a file, then single ones make a run."""

from collections.abc import Sequence
from dataclasses import dataclass

from jointreid.cli.options import Overrides, overrides
from jointreid.config import SECTIONS, RunConfig, all_keys, setting
from jointreid.custom import is_custom, trust
from jointreid.machine.paths import user_path
from jointreid.recipes import PRESETS, RECIPES, apply_recipe

DEFAULT = "bot-dcsd"
RESUME = ("--resume", "--train.resume")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """Options of `jointreid train`."""

    recipe: str = setting(
        "", f"{', '.join(RECIPES)} (default {DEFAULT}), or your own: my_package.module:function", metavar="NAME"
    )
    preset: str = setting("paper", ", ".join(PRESETS), metavar="NAME")
    config: str = setting("", "settings in YAML, such as the config.yaml of a run", metavar="FILE")
    settings: Overrides = overrides(all_keys())

    @staticmethod
    def spell_out(argv: Sequence[str]) -> list[str]:
        """Return the arguments with `--resume RUN` written as `--resume --out RUN`."""
        full: list[str] = []
        for token in argv:
            if full and full[-1] in RESUME and not token.startswith("--") and token not in ("true", "false"):
                full.append("--out")
            full.append(token)
        return full


def train(options: TrainOptions) -> int:
    """Train one model on several data sets at once."""
    from jointreid.training.distributed.world import report_once

    with report_once():
        config = run_config(options)
    from jointreid.training.train import train

    train(config)
    return 0


def run_config(options: TrainOptions) -> RunConfig:
    """Return the settings that the options ask for: recipe, then `--config`, then single settings.

    With `--resume`, and neither a recipe nor a file, they start from the settings of the run to resume.

    Raises:
        JointreidError: an unknown recipe or preset, a file that is not one of settings, a value out of range.
    """
    from jointreid.run import read_config

    settings = options.settings
    trust_named(settings)
    train = settings.get("train", {})
    saved = user_path(train.get("out", "")) / "config.yaml"
    if train.get("resume") and saved.is_file() and not (options.recipe or options.config):
        base = read_config(saved).replace(train={"max_steps": 0, "minutes": 0.0})  # limits hold for one command
    else:
        base = apply_recipe(options.recipe or DEFAULT, options.preset)
        if options.config:
            base = read_config(options.config, base)
    return base.replace(**settings)


def trust_named(settings: Overrides) -> None:
    """Trust the modules of custom functions that settings of the command line name."""
    for section, values in settings.items():
        for name, value in values.items():
            if SECTIONS[section].__dataclass_fields__[name].metadata["custom"] and is_custom(value):
                trust(value.partition(":")[0])
