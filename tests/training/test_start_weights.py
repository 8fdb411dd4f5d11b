"""What a run may start from another run with."""

from pathlib import Path

import pytest

from jointreid.config import RunConfig
from jointreid.data.joint import join
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.run import write_config
from jointreid.training.start_weights import check_start_weights


@pytest.mark.parametrize(
    ("system", "context", "before", "now", "refused"),
    [
        ("bot-dcsd", "network", 0.0, 0.1, True),
        ("bot-dcsd", "network", 0.1, 0.2, True),
        ("bot-dcsd", "network", 0.1, 0.1, False),
        ("bot-dcsd", "network", 0.2, 0.0, False),
        ("bot", "network", 0.0, 0.1, False),  # a plain network has learnt no context
        ("bot-dcsd", "block", 0.0, 0.1, False),
    ],
)
def test_people_whom_the_context_network_has_learnt_from_cannot_measure_it(
    tmp_path: Path, system: str, context: str, before: float, now: float, refused: bool
) -> None:
    dcsd = {"base": "static", "context": context, "context_held_out": before}
    write_config(RunConfig().replace(model={"name": system}, dcsd=dcsd), tmp_path / "config.yaml")
    join([Domain("d", train=(ImageRecord(Path("a.png"), "a", 0),))]).label_space.save(tmp_path / "labels.json")
    config = RunConfig().replace(
        model={"name": "bot-dcsd"},
        dcsd={"base": "static", "context": "network", "context_held_out": now},
        train={"init": str(tmp_path)},
    )
    if not refused:
        check_start_weights(config)
        return
    with pytest.raises(JointreidError, match=rf"context_held_out is {now}, but the run .* held out {before:g}: its"):
        check_start_weights(config)
