"""The main job in a minute: draw small data sets, train BoT-DCSD on all of them at once, say how good it is on each."""

import shutil
from pathlib import Path

from rich.console import Console

from jointreid.data.drawn import draw_dataset
from jointreid.recipes import apply_recipe
from jointreid.run import Run, open_run
from jointreid.training.train import train

LABEL = "demo"


def demo(out: Path, minutes: float = 1.0, console: Console | None = None) -> Run:
    """Draw data under `out`, train on it and evaluate; an earlier demo in the same place is replaced.

    Args:
        out: folder to write: `data/` and the run `bot-dcsd/`.
        minutes: how long to train at most.
        console: where to print; standard output by default.
    """
    console = console or Console()
    run = out / "bot-dcsd"
    if (run / "config.yaml").is_file() and open_run(run).config.train.label == LABEL:
        shutil.rmtree(run)
    manifest = draw_dataset(out / "data")
    console.print(f"Drew three small data sets into {manifest.parent}; training on all of them.", highlight=False)
    config = apply_recipe("bot-dcsd").replace(
        data={"sources": (str(manifest),), "cache": str(out / "cache")},
        image={"height": 64, "width": 32, "pad": 4},
        model={"trunk": "resnet50-w16"},
        sampler={"ids_per_batch": 8, "images_per_id": 4},
        schedule={"epochs": 12, "milestones": (8, 11), "warmup_epochs": 1},
        optim={"lr": 1e-3},
        train={"out": str(run), "label": LABEL, "minutes": minutes, "eval_every": 0},
    )
    return train(config, console)
