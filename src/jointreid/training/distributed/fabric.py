"""Lightning Fabric, set up to start the processes of a run and to average their gradients."""

import inspect
import logging
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import distributed, nn

from jointreid.config import TrainConfig
from jointreid.machine.device import Precision
from jointreid.messages.errors import JointreidError
from jointreid.training.distributed.world import ProcessLayout

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from torch._C._distributed_c10d import Store


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


def launch(fabric: "Fabric", layout: ProcessLayout) -> None:
    """Start the processes of a Fabric, or join those that a launcher has started.

    Args:
        fabric: what `make_fabric` returned for `layout`.
        layout: the processes.
    """
    store = restart_store(layout)
    if store is not None:  # Fabric keeps a process group that is there
        on_gpu = fabric.device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(fabric.device)
        rank, device_id = int(os.environ["RANK"]), fabric.device if on_gpu else None
        backend = "nccl" if on_gpu else "gloo"
        distributed.init_process_group(backend, store=store, rank=rank, world_size=layout.size, device_id=device_id)
    fabric.launch()


def restart_store(layout: ProcessLayout, environ: Mapping[str, str] = os.environ) -> "Store | None":
    """Return the store through which processes find each other after a restart by torchrun, or None for the usual one.

    torchrun keeps one store for all restarts. A process may read there the address of a process that was killed, and
    fail or wait for ever (pytorch/pytorch#135712). So each restart gets keys with a prefix. On several machines the
    numbers of restarts may differ, so the usual store is used.
    """
    shared = environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if layout.launcher != "torchrun" or layout.nodes > 1 or layout.size == 1 or layout.restarts == 0 or not shared:
        return None
    # PyTorch documents these names but does not mark them as exported.
    address, size = (environ["MASTER_ADDR"], int(environ["MASTER_PORT"])), layout.size
    store: Store = distributed.TCPStore(*address, size, is_master=False)  # type: ignore[attr-defined]
    prefixed: Store = distributed.PrefixStore(f"restart {layout.restarts}", store)  # type: ignore[attr-defined]
    return prefixed
