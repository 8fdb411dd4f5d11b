"""`jointreid pretrain`."""

from dataclasses import MISSING, dataclass, fields

from jointreid.cli.options import argument, device
from jointreid.config import setting
from jointreid.machine.device import Device
from jointreid.training.pretrain.config import PretrainConfig


@dataclass(frozen=True, kw_only=True)
class PretrainOptions(PretrainConfig):
    """Options of `jointreid pretrain`: what is trained and how, then where."""

    images: str = argument("IMAGEFOLDER", "a folder with train/CLASS/* and val/CLASS/*")
    out: str = setting(MISSING, "where the weights go", metavar="DIR")
    device: Device = device()
    devices: int = setting(1, "devices on each machine, a process each")
    nodes: int = setting(1, "machines; more than one needs torchrun")
    workers: int = setting(8, "processes per device that decode images")
    resume: bool = setting(False, "resume after the last whole epoch in DIR")


def pretrain(options: PretrainOptions) -> int:
    """Train a trunk on classes of images, such as ImageNet's, for runs to start from."""
    from jointreid.training.pretrain.loop import pretrain

    pretrain(
        options.images,
        options.out,
        PretrainConfig(**{field.name: getattr(options, field.name) for field in fields(PretrainConfig)}),
        device=options.device,
        devices=options.devices,
        nodes=options.nodes,
        workers=options.workers,
        resume=options.resume,
    )
    return 0
