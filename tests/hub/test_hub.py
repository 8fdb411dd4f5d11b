"""Publishing a run and fetching it: no people in it, all of its tensors, the same features. No network is used."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import HfApi
from safetensors.torch import load_file, save_file

from jointreid import Embedder
from jointreid.cli import main
from jointreid.hub.package import CARD, FACTS, FILES, read_package, write_package
from jointreid.hub.transfer import from_pretrained
from jointreid.machine.run_files import WEIGHTS
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.result_files import save_results
from jointreid.retrieval.results import Conditions, DomainResult, QueryResult, Results
from jointreid.run import open_run
from jointreid.training.checkpoint import save_checkpoint
from jointreid.training.optim import generator_lr
from tests.extraction.small_runs import draw, untrained_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return untrained_run(
        tmp_path_factory.mktemp("hub") / "run",
        data={"sources": ("shop=/home/anna/photos",)},
        train={"init": "/home/x"},
        optim={"generator_lr": 0},
    )


@pytest.fixture(scope="module")
def package(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_package(run, tmp_path_factory.mktemp("package") / "p", licence="apache-2.0")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub of folders: what huggingface_hub sends and downloads lies below OWNER/NAME there."""
    root = tmp_path / "hub"

    def create_repo(self: HfApi, repo_id: str, *, private: bool, exist_ok: bool) -> None:
        assert exist_ok
        (root / repo_id).mkdir(parents=True, exist_ok=True)
        (root / repo_id / ".private").write_text(str(private))

    def upload_folder(self: HfApi, *, repo_id: str, folder_path: str, delete_patterns: list[str], **_: Any) -> str:
        for name in delete_patterns:
            (root / repo_id / name).unlink(missing_ok=True)
        shutil.copytree(folder_path, root / repo_id, dirs_exist_ok=True)
        return f"hub/{repo_id}/commit/1"

    def snapshot_download(repo_id: str, *, allow_patterns: list[str], **_: Any) -> str:
        if not (root / repo_id).is_dir():
            raise OSError(f"Repository Not Found: {repo_id}\nlong advice")
        target = tmp_path / "cache" / repo_id
        for name in allow_patterns:
            if (root / repo_id / name).is_file():
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy(root / repo_id / name, target)
        target.mkdir(parents=True, exist_ok=True)
        return str(target)

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    return root


def test_a_published_run_computes_the_same_features(
    run: Path, hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = [record.path for record in draw(tmp_path / "images", 3)]
    expected = Embedder.load(run, device="cpu")
    assert main(["hub", "push", str(run), "anna/shop"]) == 0
    assert capsys.readouterr().out == "Published hub/anna/shop/commit/1\n"
    assert (hub / "anna/shop/.private").read_text() == "True"
    embed = from_pretrained("anna/shop", device="cpu")
    assert embed.fingerprint == expected.fingerprint
    np.testing.assert_array_equal(embed(images), expected(images))
    assert main(["hub", "fetch", "anna/shop", "--out", str(tmp_path / "fetched")]) == 0
    assert "trained on d, e" in capsys.readouterr().out
    fetched = open_run(tmp_path / "fetched")
    assert Embedder.load(fetched, device="cpu").fingerprint == expected.fingerprint
    assert [(d.name, d.cameras) for d in fetched.label_space.domains] == [("d", (0, 5, 10)), ("e", (7,))]
    assert generator_lr(fetched.config) == generator_lr(open_run(run).config) == 6
    assert main(["hub", "fetch", "anna/shop", "--out", str(tmp_path / "fetched")]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_nobody_and_no_place_is_published(run: Path, package: Path) -> None:
    assert {path.name for path in package.iterdir()} == set(FILES) - {"calibration.json"}
    own = open_run(run).model()
    heads = {name for name in own.head_names() if "domain_norm" not in name}
    published = load_file(package / WEIGHTS)
    assert heads
    assert not heads & set(published)
    assert set(published) == set(own.state_dict()) - heads
    for path in package.iterdir():
        content = path.read_bytes()
        for secret in (b"/home", b"p0", b"p1", str(run).encode()):
            assert path.name == WEIGHTS or secret not in content, (path.name, secret)
    assert "pids" not in (package / FACTS).read_text()


def test_the_card_says_what_is_known_and_what_is_not(package: Path) -> None:
    card = (package / CARD).read_text()
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: jointreid\n")
    assert "# Person re-identification, trained on d and e" in card
    assert "| d | 3 | 3 | not recorded | not recorded: ask the owner of the data |" in card
    assert "Not evaluated." in card
    assert "No thresholds were calibrated" in card
    assert "## Intended use and limits" in card
    assert json.loads((package / FACTS).read_text())["fingerprint"] in card


@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_the_card_has_the_figures_of_its_weights_alone(run: Path, tmp_path: Path, checkpoint: str) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "run"))
    conditions = Conditions("2026-01-31T12:00:00Z", checkpoint, 200, False, False)
    cmc = {1: 0.5, 5: 0.75, 10: 1.0}
    found = DomainResult("d", 0.4, 0.3, cmc, 4, 4, 9, True, True, marks=("left | right",), conditions=conditions)
    results = Results("bot", checkpoint, "0", (found,), "bn_embedding", "cosine", False, 32, 16, "none", 1.0, {}, False)
    save_results(results, [QueryResult("d", "0.jpg", "p0", 0, True, 0.4, 0.3, 1)], copy)
    row = r"| d | 50.0% | 40.0% | 30.0% | 4 | 9 | the same camera left out; left \| right |"
    for step, said in ((200, row), (300, "Not evaluated.")):
        state = {"step": step, "labels": open_run(copy).label_space.hash}
        save_checkpoint(copy, checkpoint, open_run(copy).model(), state)
        package = write_package(copy, tmp_path / str(step), checkpoint, licence="mit")
        assert said in (package / CARD).read_text()


def changed(package: Path, to: Path, change: Any) -> Path:
    """Return a copy of a package with other weights, whose checksum is right."""
    from jointreid.machine.hashing import file_sha256

    shutil.copytree(package, to)
    tensors = load_file(to / WEIGHTS)
    change(tensors)
    save_file(tensors, to / WEIGHTS)
    facts = json.loads((to / FACTS).read_text())
    (to / FACTS).write_text(json.dumps(facts | {"sha256": file_sha256(to / WEIGHTS)}))
    return to


def double(tensors: dict[str, torch.Tensor]) -> None:
    tensors["bnneck.weight"] *= 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda tensors: tensors.pop("bnneck.running_mean"), "bnneck.running_mean is missing"),
        (lambda tensors: tensors.update(extra=torch.ones(1)), "extra is left over"),
        (lambda tensors: tensors.update({"bnneck.bias": torch.ones(3)}), r"bnneck.bias is \(3,\), expected \(512,\)"),
        (double, "computes other features than the published one"),
    ],
)
def test_a_model_that_is_not_whole_is_refused(change: Any, reason: str, package: Path, tmp_path: Path) -> None:
    folder = changed(package, tmp_path / "changed", change)
    with pytest.raises(JointreidError, match=reason):
        read_package(folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_damage_and_other_formats_are_refused(package: Path, hub: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(package, damaged)
    content = bytearray((damaged / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (damaged / WEIGHTS).write_bytes(content)
    with pytest.raises(JointreidError, match=r"is damaged \(SHA-256"):
        read_package(damaged, tmp_path / "run")
    (damaged / WEIGHTS).rename(damaged / "pytorch_model.bin")
    with pytest.raises(JointreidError, match=r"holds no model.safetensors .*pytorch_model.bin.*a pickle, are not read"):
        read_package(damaged, tmp_path / "run")
    (hub / "other" / "model").mkdir(parents=True)
    (hub / "other" / "model" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(JointreidError, match=r"other/model: holds no jointreid.json"):
        from_pretrained("other/model")
    with pytest.raises(JointreidError, match=r"cannot fetch no/body: Repository Not Found: no/body\. For a private"):
        from_pretrained("no/body")


def test_a_folder_shows_what_would_be_published(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "look"
    assert main(["hub", "push", str(run), "anna/shop", "--folder", str(out)]) == 0
    assert "nothing was published" in capsys.readouterr().out
    assert main(["hub", "push", str(run), "anna/shop", "--folder", str(out)]) == 2
