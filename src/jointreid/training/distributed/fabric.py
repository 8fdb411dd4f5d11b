"""Lightning Fabric, set up to start the processes of a run and to average their gradients."""

import inspect
import logging
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from jointreid.config import TrainConfig
from jointreid.machine.device import Precision
from jointreid.messages.errors import JointreidError
from jointreid.training.distributed.world import ProcessLayout

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def make_fabric(
    config: TrainConfig,
    layout: ProcessLayout,
    device: torch.device,
    precision: Precision = "32-true",
    *,
    find_unused: bool = False,
) -> "Fabric":
    """Return the Fabric that starts the processes and averages their gradients.

    Args:
        config: settings of training.
        layout: the processes.
        device: the kind of device.
        precision: the arithmetic.
        find_unused: whether a step may leave out parts of the network.

    Raises:
        JointreidError: fewer devices than processes, or settings that this kind of device does not support.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    logging.getLogger("lightning_fabric.utilities").setLevel(logging.WARNING)
    # PyTorch warns about 1x1 kernels in channels_last, whose strides are ambiguous; copying them costs next to nothing.
    warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
    if layout.size == 1:
        return Fabric(accelerator=device.type, devices=1, precision=precision, plugins=LightningEnvironment())
    if device.type == "mps":
        raise JointreidError("several processes cannot share an MPS device; leave out --devices, or use --device cpu")
    if device.type == "cuda" and layout.devices > torch.cuda.device_count():
        raise JointreidError(
            f"{layout.devices} processes on this machine need a GPU each, but it has {torch.cuda.device_count()}; "
            "start fewer (--devices)"
        )
    if config.sync_bn and device.type == "cpu":
        raise JointreidError(
            "train.sync_bn needs GPUs: PyTorch has no synchronised batch normalisation for CPUs; leave it out"
        )
    environments = {"torchrun": TorchElasticEnvironment, "slurm": SLURMEnvironment, "self": LightningEnvironment}
    # Statistics of batch normalisation are averaged after each step, so DDP need not broadcast those of rank 0.
    known = inspect.signature(nn.parallel.DistributedDataParallel.__init__).parameters
    broadcast = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"  # newer, older
    settings: dict[str, Any] = {broadcast: False, "find_unused_parameters": find_unused}
    return Fabric(
        accelerator=device.type,
        devices=layout.devices,
        num_nodes=layout.nodes,
        precision=precision,
        strategy=DDPStrategy(**settings),
        plugins=environments[layout.launcher](),
    )
