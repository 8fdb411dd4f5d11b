"""`jointreid add-domain`."""

from dataclasses import dataclass

from jointreid.cli.options import Overrides, argument, as_json, overrides
from jointreid.cli.output import print_json
from jointreid.cli.train import trust_named
from jointreid.config import all_keys, setting
from jointreid.messages.errors import JointreidError

# Given by the command itself.
_TAKEN = ("train.out", "train.resume", "train.init", "train.init_classes")


@dataclass(frozen=True, kw_only=True)
class AddDomainOptions:
    """Options of `jointreid add-domain`."""

    run: str = argument("RUN", "the trained run to grow; it stays as it is")
    out: str = setting("", "directory of the grown run", metavar="DIR")
    replay: bool = setting(True, "train on the run's own data sets too; --replay false trains on the new ones alone")
    lr_factor: float = setting(0.3, "learning rate, as a multiple of the run's; --optim.lr gives it itself")
    settings: Overrides = overrides(key for key in all_keys() if key not in _TAKEN)
    json: bool = as_json("what was gained and forgotten")


def add_domain(options: AddDomainOptions) -> int:
    """Train a finished run further with new data sets, and say what it forgets of those it knew."""
    if not options.out:
        raise JointreidError("--out is missing: name the directory of the grown run")
    if not options.lr_factor > 0:
        raise JointreidError(f"--lr-factor is {options.lr_factor}; expected a positive number")
    settings = {section: dict(values) for section, values in options.settings.items()}
    sources = settings.get("data", {}).pop("sources", ())
    trust_named(settings)
    from rich.console import Console

    from jointreid.growth.add_domain import add_domain
    from jointreid.growth.result import render

    growth = add_domain(
        options.run,
        sources,
        options.out,
        replay=options.replay,
        lr_factor=options.lr_factor,
        settings=settings,
        console=Console(stderr=True) if options.json else None,
    )
    if growth is None:  # of several processes, the main one prints
        return 0
    print_json(growth.to_dict()) if options.json else print(render(growth))
    return 0
