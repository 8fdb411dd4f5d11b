"""What stands beside the plain network is the same for all that ask for it."""

import pytest
import torch

from jointreid.config import DcsdConfig, ModelConfig
from jointreid.conflict.layers import part_of
from jointreid.models.beside import beside
from jointreid.models.profile import NUM_CAMERAS, NUM_DOMAINS, profile
from jointreid.models.reid import ReIDModel, build_model

TRUNK = "resnet50-w16"


def model(system: str, dcsd: DcsdConfig | None = None) -> ReIDModel:
    with torch.device("meta"):
        return build_model(system, 4, NUM_DOMAINS, NUM_CAMERAS, TRUNK, dcsd=dcsd)


@pytest.mark.parametrize(
    ("switches", "parts"),
    [
        ({}, {"generators", "context"}),
        ({"context": "block"}, {"generators", "context"}),
        ({"context": "labels", "camera_shrinkage": 5.0}, {"generators", "context"}),
        ({"inject": "film", "context_held_out": 0.1}, {"generators", "context"}),
        ({"inject": "norm"}, {"norms by domain", "context"}),
    ],
)
def test_without_what_stands_beside_it_a_network_is_the_plain_one(switches: dict[str, str], parts: set[str]) -> None:
    dcsd = DcsdConfig(**{"base": "static", "context": "network"} | switches)  # type: ignore[arg-type]
    network = model("bot-dcsd", dcsd)
    names = [name for name in network.state_dict() if beside(name) is not None]
    assert network.generated_names() == names
    assert network.state_dict().keys() - set(names) == model("bot").state_dict().keys()
    assert {part_of(name) for name in names} == parts
    plain, counts = (profile(system, dcsd, ModelConfig(trunk=TRUNK)) for system in ("bot", "bot-dcsd"))
    assert counts.params - plain.params == sum(p.numel() for name, p in network.named_parameters() if beside(name))
    assert "other" not in counts.parts
