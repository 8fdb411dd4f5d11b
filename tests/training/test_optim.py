import pytest
import torch
from torch import nn

from jointreid.config import DcsdConfig, RunConfig, ScheduleConfig
from jointreid.models.reid import ReIDModel, build_model
from jointreid.training.optim import (
    WeightAverage,
    build_optimizer,
    clear_vanished,
    generator_lr,
    lr_factor,
    render_generator_lr,
    render_lrs,
    set_lr,
)

# floor(training images / 64) of each data set, in the paper's numbers.
STEPS = {"market1501": 202, "dukemtmc": 258, "cuhk03": 115, "msmt17": 472, "cuhk_sysu": 68, "joint": 1116}


def first_lower_epoch(schedule: ScheduleConfig, steps: int) -> list[int]:
    """The epochs, counted from 1, that are the first at a lower learning rate."""
    after = [lr_factor(schedule, epoch * steps, steps) for epoch in range(schedule.epochs)]
    return [epoch + 1 for epoch in range(1, schedule.epochs) if after[epoch] < 0.5 * after[epoch - 1]]


def test_paper_decays_after_40_and_90_completed_epochs() -> None:
    for steps in STEPS.values():
        assert first_lower_epoch(ScheduleConfig(), steps) == [41, 91]


def test_paper_warms_up_for_ten_epochs_or_two_thousand_steps() -> None:
    for steps, length in ((68, 680), (202, 2000), (1116, 2000)):
        assert lr_factor(ScheduleConfig(), 0, steps) == pytest.approx(0.1)
        assert lr_factor(ScheduleConfig(), length // 2, steps) == pytest.approx(0.55)
        assert lr_factor(ScheduleConfig(), length - 1, steps) < 1
        assert lr_factor(ScheduleConfig(), length, steps) == 1


@pytest.mark.parametrize(
    ("name", "epochs"),
    [
        ("market1501", [50, 100]),
        ("dukemtmc", [48, 98]),
        ("cuhk03", [58, 108]),
        ("msmt17", [45, 95]),
        ("cuhk_sysu", [70, 120]),
        ("joint", [42, 92]),
    ],
)
def test_fastreid_counts_milestones_from_the_end_of_warm_up(name: str, epochs: list[int]) -> None:
    assert first_lower_epoch(ScheduleConfig(kind="fastreid"), STEPS[name]) == epochs


@pytest.mark.parametrize(
    ("steps", "exempt"), [(100, 19), (200, 9), (1000, 1), (2000, 0), (199, 10), (201, 9), (1999, 1), (2001, 0)]
)
def test_fastreid_exempts_the_epochs_that_end_before_the_last_step_of_warm_up(steps: int, exempt: int) -> None:
    # fast-reid's rule, step by step: its scheduler counts an epoch whose end finds warm-up done.
    counted = lowered = 0
    for epoch in range(1, 121):
        last_step = epoch * steps - 1
        counted += last_step >= 2000 - 1
        lowered = lowered or (epoch + 1) * (counted == 40)
    assert 120 - counted == exempt
    assert first_lower_epoch(ScheduleConfig(kind="fastreid"), steps)[0] == lowered == 41 + exempt


def test_bot_repo_rates_are_those_of_its_scheduler() -> None:
    schedule = ScheduleConfig(kind="bot-repo", milestones=(40, 70), warmup_factor=0.01)
    lrs = {e: 3.5e-4 * lr_factor(schedule, (e - 1) * 7 + 3, 7) for e in (1, 2, 9, 10, 39, 40, 69, 70)}
    expected = [3.815e-5, 7.280e-5, 3.1535e-4, 3.5e-4, 3.5e-4, 3.5e-5, 3.5e-5, 3.5e-6]
    assert list(lrs.values()) == pytest.approx(expected, rel=1e-3)


def test_rates_are_told_epoch_by_epoch() -> None:
    schedule = ScheduleConfig(epochs=100, warmup_epochs=2)
    by_epoch = [3.5e-4 * lr_factor(schedule, 10 * epoch, 10) for epoch in range(schedule.epochs)]
    assert render_lrs(by_epoch) == "1: 3.50e-05, 2: 1.93e-04, 3-40: 3.50e-04, 41-90: 3.50e-05, 91-100: 3.50e-06"


def test_without_warm_up_the_first_learning_rate_is_whole() -> None:
    assert lr_factor(ScheduleConfig(warmup_epochs=0), 0, 5) == 1
    assert lr_factor(ScheduleConfig(kind="fastreid", warmup_max_iters=0), 0, 5) == 1
    assert lr_factor(ScheduleConfig(kind="bot-repo", warmup_epochs=0), 0, 5) == 1


def test_without_warm_up_fastreid_exempts_no_epoch() -> None:
    assert first_lower_epoch(ScheduleConfig(kind="fastreid", warmup_max_iters=0), 5) == [41, 91]


def test_optimizer_scales_the_rate_of_biases_and_leaves_frozen_ones_out() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    model[1].bias.requires_grad_(False)
    optimizer = build_optimizer(model, RunConfig().replace(optim={"bias_lr_factor": 2.0}))
    set_lr(optimizer, 0.5)
    weights, biases = optimizer.param_groups
    assert [group["lr"] for group in (weights, biases)] == [0.5, 1.0]
    assert [len(group["params"]) for group in (weights, biases)] == [2, 1]
    assert weights["weight_decay"] == 5e-4


def test_weight_average_is_the_written_recurrence() -> None:
    model = nn.BatchNorm1d(2)
    average = WeightAverage(model, 0.75)
    with torch.no_grad():
        model.weight.fill_(5.0)
    model(torch.randn(4, 2))
    average.update(model)
    assert average.tensors["weight"].tolist() == [2.0, 2.0]
    assert average.tensors["num_batches_tracked"].item() == 1
    assert model.weight.tolist() == [5.0, 5.0]


def joint_model(**switches: object) -> ReIDModel:
    with torch.device("meta"):
        dcsd = DcsdConfig(**{"base": "static", "context": "network"} | switches)  # type: ignore[arg-type]
        return build_model("bot-dcsd", 4, 2, 3, "resnet50-w16", dcsd=dcsd)


def settings_of(model: nn.Module, config: RunConfig) -> dict[str, tuple[float, float]]:
    """The factor on lr and the weight decay of each parameter that is trained."""
    optimizer = build_optimizer(model, config, fused=False)
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (group["lr_scale"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def test_generators_and_context_have_their_own_lr_and_generators_no_decay() -> None:
    model = joint_model()
    optim = {"generator_lr": 6.0, "bias_lr_factor": 2.0, "weight_decay": 0.5}
    found = settings_of(model, RunConfig().replace(optim=optim, dcsd={"decay_generators": False}))
    assert found.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    block = "trunk.layer1.0.conv2"
    for name in ("channel_branch.fc1.weight", "channel_branch.norm.std", "spatial_branch.conv.weight", "gain"):
        assert found[f"{block}.{name}"] == (6.0, 0.0)
    assert found[f"{block}.projection.weight"] == (6.0, 0.0)
    assert found[f"{block}.channel_branch.fc2.bias"] == (12.0, 0.0)
    assert found["context.convs.0.weight"] == found["context.camera.classifier.weight"] == (6.0, 0.5)
    assert found["context.hidden.bias"] == (12.0, 0.5)
    for name in (f"{block}.weight", "trunk.layer1.0.conv1.weight", "classifier.weight", "bnneck.weight"):
        assert found[name] == (1.0, 0.5)
    assert found["trunk.bn1.bias"] == (2.0, 0.5)


def test_domain_and_camera_mlps_of_the_blocks_learn_as_fast_as_the_generators() -> None:
    found = settings_of(joint_model(context="block"), RunConfig().replace(optim={"generator_lr": 6.0}))
    assert found["trunk.layer1.0.conv2.domain.fc1.weight"] == (6.0, 5e-4)


def test_norms_by_domain_learn_as_those_of_the_trunk() -> None:
    found = settings_of(joint_model(inject="norm"), RunConfig().replace(optim={"generator_lr": 6.0}))
    assert found["trunk.layer1.0.conv2.domain_norm.weight"] == found["trunk.layer1.0.bn2.weight"] == (1.0, 5e-4)
    assert found["context.convs.0.weight"] == (6.0, 5e-4)


def test_by_default_there_are_the_two_groups_of_older_checkpoints() -> None:
    model = joint_model()
    optimizer = build_optimizer(model, RunConfig(), fused=False)
    trained = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    expected = [[p for n, p in trained if n.endswith("bias") == biases] for biases in (False, True)]
    assert [group["params"] for group in optimizer.param_groups] == expected
    config = RunConfig().replace(optim={"generator_lr": 6.0}, dcsd={"decay_generators": False})
    assert len(build_optimizer(build_model("bot", 4), config).param_groups) == 2


@pytest.mark.parametrize(
    ("given", "start", "factor", "why"),
    [
        (0, {}, 1, ": 0 chooses it, and the trunk starts from random weights)"),
        (0, {"model": {"pretrain": "tv_in1k"}}, 6, ": 0 chooses it, and the trunk starts from trained weights)"),
        (0, {"train": {"init": "runs/other"}}, 6, ": 0 chooses it, and the trunk starts from trained weights)"),
        (2.5, {"model": {"pretrain": "tv_in1k"}}, 2.5, "(optim.generator_lr)"),
        (1, {}, 1, "(optim.generator_lr)"),
    ],
)
def test_the_lr_of_generators_follows_the_start_where_none_is_given(
    given: float, start: dict[str, dict[str, str]], factor: float, why: str
) -> None:
    config = RunConfig().replace(optim={"generator_lr": given}, **start)
    assert generator_lr(config) == factor
    assert settings_of(joint_model(), config)["context.convs.0.weight"][0] == factor
    said = render_generator_lr(config)
    assert f"{factor:g} times that" in said
    assert said.endswith(why)


def test_numbers_that_change_no_sum_are_cleared_and_others_stay() -> None:
    weights = torch.tensor([1e-19, -1e-21, 1e-40, 0.5, -1e-19])
    count, single, names = torch.tensor([0, 3]), torch.tensor(1e-30), torch.zeros(2)
    clear_vanished([weights, count, single, names])
    assert weights.tolist() == torch.tensor([1e-19, 0.0, 0.0, 0.5, -1e-19]).tolist()
    assert count.tolist() == [0, 3]
    assert single.item() == pytest.approx(1e-30)
