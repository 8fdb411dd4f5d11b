"""On a GPU: two processes with SyncBatchNorm compute what one does with the whole batch."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, distributed, nn
from torch.multiprocessing.spawn import spawn

from jointreid.models import ReIDModel, build_model

pytestmark = pytest.mark.gpu


def network() -> ReIDModel:
    torch.manual_seed(0)
    return build_model("bot-dcsd", 4, 2, 3, trunk="resnet50-w16").cuda().train()


def batch() -> Tensor:
    return torch.randn(8, 3, 64, 32, generator=torch.Generator().manual_seed(1)).cuda()


def measured(model: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return the embeddings of images, and the gradients of a mean over them."""
    embedding = model(images).bn_embedding
    (embedding * torch.linspace(-1, 2, embedding.shape[1], device="cuda")).pow(2).mean().backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {"embedding": embedding.detach(), **gradients}


def half(rank: int, folder: Path) -> None:
    """Do what one of two processes does with its half, and add up over both as DDP does."""
    # gloo, because NCCL does not let two processes share a GPU
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    model: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network())  # type: ignore[no-untyped-call]
    found = measured(model, batch().chunk(2)[rank])
    parts = [torch.empty_like(found["embedding"]) for _ in range(2)]
    distributed.all_gather(parts, found["embedding"])
    for name, value in found.items():
        if name != "embedding":
            distributed.all_reduce(value)
            value /= 2
    if rank == 0:
        whole = {**found, "embedding": torch.cat(parts)}
        save_file({name: value.cpu().contiguous() for name, value in whole.items()}, folder / "found.safetensors")
    distributed.destroy_process_group()


def test_two_halves_are_the_whole_batch(tmp_path: Path) -> None:
    spawn(half, (tmp_path,), nprocs=2)  # type: ignore[no-untyped-call]
    found = load_file(tmp_path / "found.safetensors")
    expected = measured(network(), batch())
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value.cpu(), rtol=1e-3, atol=1e-4 * max(1.0, float(value.abs().max())))
