"""Few identities: what the check says of batches is what the training does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from jointreid.cli import main
from jointreid.config import RunConfig
from jointreid.data.batch_shares import check_batches, fit_identities, step_config
from jointreid.data.joint import join
from jointreid.data.pk_sampler import PKSampler
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.sampling import make_sampler
from jointreid.messages.errors import JointreidError


def domain(name: str, people: int, images: int = 4) -> Domain:
    records = [
        ImageRecord(Path(f"{name}{pid}-{n}.png"), str(pid), n % 2) for pid in range(people) for n in range(images)
    ]
    return Domain(name, tuple(records))


def config(processes: int = 1, **changes: dict[str, Any]) -> RunConfig:
    train = {"devices": processes, **changes.pop("train", {})}
    return RunConfig().replace(train=train, **changes)


BY_DOMAIN: dict[str, dict[str, Any]] = {
    "model": {"name": "bot-dcsd"},
    "dcsd": {"base": "static", "context": "network", "inject": "norm"},
    "train": {"sync_bn": True},
}
# Identities, processes, settings; then the identities of a batch, or what the refusal says.
DECISIONS: dict[str, tuple[int, int, dict[str, dict[str, Any]], int | str]] = {
    "enough": (16, 1, {}, 16),
    "fewer than P": (7, 1, {}, 7),
    "two": (2, 1, {}, 2),
    "one in all": (1, 1, {}, "train holds 1 identity in all, and a triplet needs two different ones"),
    "shared by two": (7, 2, {}, 6),
    "shared by four": (11, 4, {}, 8),
    "one for each process": (7, 4, {}, "too few for a batch that 4 processes share; start at most 3"),
    "one for each process, gathered": (7, 4, {"train": {"gather": True}}, 4),
    "fewer than processes": (3, 4, {"train": {"gather": True}}, "start at most 3"),
    "each process its own batch": (20, 2, {"train": {"batch": "per_process"}}, 20),
    "not shareable": (100, 3, {}, "16 identities a batch cannot be shared evenly by 3 processes"),
    "norm by domain": (16, 1, BY_DOMAIN, 16),
    "norm by domain, shared": (16, 2, BY_DOMAIN, "train.sync_bn does not reach the batch normalisation"),
    "one image each": (5, 1, {}, 5),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_the_check_decides_what_the_training_does(name: str) -> None:
    identities, processes, changes, expected = DECISIONS[name]
    settings = config(processes, **changes)
    first = identities // 3
    domains = [domain("a", first, 1 if name == "one image each" else 4), domain("b", identities - first)]
    problems, composition = check_batches(domains, settings)
    joined = join([one for one in domains if one.train])

    def train() -> PKSampler:
        step = fit_identities(step_config(settings), joined.label_space.num_ids, joined.label_space.num_domains)
        sampler = make_sampler(joined, step)
        assert isinstance(sampler, PKSampler)
        return sampler

    if isinstance(expected, str):
        assert [problem.level for problem in problems] == ["error"]
        assert expected in problems[0].message
        assert composition is None
        with pytest.raises(JointreidError) as raised:
            train()
        assert str(raised.value) == problems[0].message
        return
    sampler = train()
    assert sampler.ids_per_batch == expected
    assert expected % processes == 0
    assert len(sampler.batch_at(0)) == 4 * expected
    lowered = expected < step_config(settings).sampler.ids_per_batch
    assert [problem.level for problem in problems] == ["warning"] * lowered
    if lowered:
        assert f"train holds {identities} identities in all" in problems[0].message
        assert f"batches of {expected} identities are drawn" in problems[0].message
    if composition is not None:
        assert sum(map(sum, composition.fifths.values())) == sampler.batches_of(0).size
    assert (composition is not None) is (first > 0 and len(sampler.batches_of(0)) >= 5)


@pytest.mark.parametrize(
    ("people", "val_ids", "expected"),
    [
        (20, 4, None),
        (20, 19, "choose at most 18"),
        (20, 40, "data.val_ids is 40, but of its 20 train identities only 20 are seen by two cameras"),
        (2, 1, "choose at most 0"),
    ],
)
def test_what_is_held_out_is_counted(people: int, val_ids: int, expected: str | None) -> None:
    settings = config(data={"val_ids": val_ids})
    problems, _ = check_batches([domain("a", people), domain("b", 30)], settings)
    errors = [problem for problem in problems if problem.level == "error"]
    assert [error.domain for error in errors][:1] == ["a"] * bool(expected)
    assert len(errors) == bool(expected) + (val_ids > 28)
    if expected:
        assert expected in errors[0].message
    few, _ = check_batches([domain("a", 12)], config(data={"val_ids": 4}))
    assert "train holds 8 identities in all" in few[0].message


def test_groups_of_few_identities_are_shared_by_the_domains_of_a_batch() -> None:
    grouped = config(sampler={"kind": "grouped_domains"})
    problems, _ = check_batches([domain("a", 7), domain("b", 8)], grouped)
    assert [problem.level for problem in problems] == ["warning"]
    assert "batches of 14 identities are drawn" in problems[0].message


@pytest.mark.parametrize(
    ("domains", "train", "message"),
    [
        (2, {}, "of 2 data sets): add --train.gather"),
        (3, {}, None),
        (2, {"gather": True}, None),
    ],
)
def test_negatives_of_other_domains_need_them_in_the_part_of_a_process(
    domains: int, train: dict[str, Any], message: str | None
) -> None:
    sampler = {"kind": "grouped_domains", "domains_per_batch": 4, "ids_per_batch": 12}
    settings = config(2, train=train, sampler=sampler, loss={"mining": "across"})
    problems, _ = check_batches([domain(name, 30) for name in "abc"[:domains]], settings)
    errors = [problem.message for problem in problems if problem.level == "error"]
    assert len(errors) == bool(message)
    assert not message or message in errors[0]


def test_means_by_domain_need_the_whole_batch() -> None:
    domains = [domain("a", 30), domain("b", 30)]
    problems, _ = check_batches(domains, config(2, loss={"id_head": "per_domain"}))
    assert "a process sees its own part alone: add --train.gather" in problems[0].message
    for settings in (
        config(2, loss={"id_head": "per_domain"}, train={"gather": True}),
        config(2, loss={"id_head": "masked"}),
    ):
        assert check_batches(domains, settings)[0] == []


def test_a_custom_sampler_decides_for_itself() -> None:
    problems, composition = check_batches([domain("a", 1)], config(sampler={"kind": "mine:batches"}))
    assert (problems, composition) == ([], None)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """Five people to train on and two to test on, by two cameras, each image another."""
    rng = np.random.default_rng(0)
    lines = ["domain,split,path,pid,camid"]
    for pid in range(7):
        for n in range(4):
            name = f"{pid}-{n}.png"
            Image.fromarray(rng.integers(0, 255, (16, 8, 3), dtype=np.uint8)).save(tmp_path / name)
            split = "train" if pid < 5 else ("query" if n == 0 else "gallery")
            lines.append(f"shop,{split},{name},{pid},{n % 2}")
    path = tmp_path / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_command_says_what_batches_will_be(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["data", "check", "--manifest", str(manifest), "--cache", str(tmp_path / "cache")]
    assert main(base) == 0
    shown = capsys.readouterr().out
    assert "warning: train holds 5 identities in all" in shown
    assert "batches of 5 identities are drawn" in shown
    assert "images by fifth of a pass" not in shown  # of one data set there is nothing to compare
    assert main([*base, "--sampler.ids_per_batch", "4"]) == 0
    assert "identities in all" not in capsys.readouterr().out
    assert main([*base, "--devices", "3"]) == 1
    assert "cannot be shared evenly by 3 processes" in capsys.readouterr().out
    assert main([*base, "--data.val_ids", "4"]) == 1
    assert "choose at most 3" in capsys.readouterr().out


@pytest.mark.slow
def test_training_on_few_people_runs_after_the_check_says_ready(manifest: Path, tmp_path: Path) -> None:
    from jointreid.training.train import train
    from tests.small import small_config

    settings = small_config(
        "bot", manifest=manifest, cache=tmp_path / "cache", train={"out": str(tmp_path / "run"), "max_steps": 2}
    ).replace(sampler={"ids_per_batch": 16, "images_per_id": 2})
    run = train(settings, Console(quiet=True))
    assert run.state()["step"] == 2
    assert run.state()["sampler"]["ids_per_batch"] == 5
    again = train(settings.replace(train={"resume": True, "max_steps": 3}), Console(quiet=True))
    assert again.state()["step"] == 3


def test_the_check_shows_what_passes_are_composed_of() -> None:
    long, short = domain("long", 30, 64), domain("short", 60, 4)
    problems, composition = check_batches([long, short], config())
    assert problems == []
    assert composition is not None
    assert list(composition.uneven) == ["short"]
    assert check_batches([long, short], config(sampler={"kind": "interleaved"}))[1] != composition
