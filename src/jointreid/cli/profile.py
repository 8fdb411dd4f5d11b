"""`jointreid profile`."""

from dataclasses import asdict, dataclass

from jointreid.cli.options import Overrides, argument, as_json, overrides
from jointreid.cli.output import print_json
from jointreid.config import RunConfig, all_keys

_SIZE = ("image.height", "image.width")
# Of a system, the settings that its cost depends on, and the size of its images.
_SETTINGS = [
    *(key for key in all_keys() if key.startswith("dcsd.")),
    *(f"model.{name}" for name in ("trunk", "width", "depthwise", "last_stride", "nonlocal_reduction")),
    *_SIZE,
]


@dataclass(frozen=True, kw_only=True)
class ProfileOptions:
    """Options of `jointreid profile`."""

    model: str = argument(
        "MODEL",
        "a trunk (resnet50, resnet50-dcsd, ...: 224x224, with a 1000-way layer) or a system (bot, agw, bot-dcsd, ...: "
        "256x128, last stride 1)",
    )
    settings: Overrides = overrides(_SETTINGS)
    json: bool = as_json("the counts")


def profile(options: ProfileOptions) -> int:
    """Count a model's parameters and multiply-adds."""
    config = RunConfig().replace(**options.settings)
    dcsd, size = config.dcsd, (config.image.height, config.image.width)
    given = {f"{section}.{name}" for section, fields in options.settings.items() for name in fields}
    from jointreid.models.profile import profile, render, render_variants, variants

    counts = profile(options.model, dcsd, config.model, size if given.intersection(_SIZE) else None)
    others = variants(dcsd) if options.model == "resnet50-dcsd" else ()
    if options.json:
        print_json(counts.to_dict() | {"variants": [asdict(variant) for variant in others]})
    else:
        print(render(counts))
        if others:
            print(render_variants(others))
    return 0
