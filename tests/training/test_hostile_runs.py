"""A run directory that is damaged or made to do harm gives one clear error, and nothing is changed by it."""

import hashlib
import json
import os
import pickle
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from jointreid import custom
from jointreid.cli import main
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.result_files import load_results
from jointreid.run import open_run
from jointreid.training.checkpoint import newest_checkpoint, save_checkpoint
from tests.full_disk import largest_file
from tests.small_run import FIXTURE, copy_of_fixture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of this version with everything in it, beside its data."""
    with pytest.MonkeyPatch.context() as patch:
        place = copy_of_fixture(tmp_path_factory.mktemp("hostile") / "place", patch)
        assert main(["train", "--resume", "run", "--max-steps", "4"]) == 0
        assert (place / "run" / "last" / "manifest.json").is_file()
        return place


@pytest.fixture
def run(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, as the current folder's `run`."""
    shutil.copytree(made, tmp_path / "place")
    monkeypatch.chdir(tmp_path / "place")
    monkeypatch.syspath_prepend(str(FIXTURE))
    monkeypatch.setattr(custom, "_trusted", {"tiny_trunk"})
    return tmp_path / "place" / "run"


def snapshot(folder: Path) -> dict[str, str]:
    """The content of a folder: the hash of a file, the target of a link, the size of a very large file."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink():
            found[str(path)] = str(path.readlink())
        elif path.is_file():
            giant = path.stat().st_size > 2**30
            found[str(path)] = str(path.stat().st_mtime_ns) if giant else hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def use(path: Path) -> None:
    """Open a run for evaluation, then to resume it, then its results."""
    run = open_run(path)
    run.model("last")
    newest_checkpoint(run, print)
    run.model("best")
    load_results(path)


def reseal(folder: Path) -> None:
    """Write checksums that fit the files of a folder, as an attacker would."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        for path in folder.iterdir()
        if path.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps({"format_version": 2, "files": files}))


def flip(path: Path, at: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def written(path: Path, text: str) -> None:
    path.write_text(text)
    reseal(path.parent)


def edit_json(path: Path, **changed: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))


def edit_tensors(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)
    reseal(path.parent)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("executed",)


def a_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Bomb()))
    reseal(path.parent)


def a_zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(50 * 2**20))
    reseal(path.parent)


def an_oversized_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    reseal(path.parent)


def a_header_beyond_the_file(path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    reseal(path.parent)


def a_sparse_giant(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(2**40)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_link_out(path: Path) -> None:
    outside = Path("outside") / path.name
    outside.parent.mkdir(exist_ok=True)
    shutil.move(path, outside)
    path.symlink_to(outside.resolve())


def of_another_run(path: Path) -> None:
    edit_tensors(path, lambda tensors: tensors.update({"classifier.weight": torch.zeros(9, 16)}))


def of_halves(path: Path) -> None:
    edit_tensors(path, lambda tensors: tensors.update({key: value.half() for key, value in tensors.items()}))


def with_one_left_over(path: Path) -> None:
    edit_tensors(path, lambda tensors: tensors.update({"extra": torch.zeros(1)}))


LAST, BEST = Path("run/last"), Path("run/best")
DEEP = "[" * 100_000

# What is done -> the words that the error has.
HARM: dict[str, tuple[Callable[[], Any], str]] = {
    "weights cut off": (lambda: cut(LAST / "model.safetensors"), "not a readable safetensors file"),
    "weights with a flipped bit": (lambda: flip(LAST / "model.safetensors", 0.9), r"damaged: its content .*SHA-256"),
    "header with a flipped bit": (lambda: flip(LAST / "model.safetensors", 0.001), "model.safetensors"),
    "optimiser cut off": (lambda: cut(LAST / "training.safetensors"), "not a readable safetensors file"),
    "optimiser with a flipped bit": (lambda: flip(LAST / "training.safetensors", 0.9), r"SHA-256"),
    "progress with a flipped bit": (lambda: flip(LAST / "state.json"), r"state\.json is damaged"),
    "progress empty": (lambda: (LAST / "state.json").write_text(""), "it holds 0 bytes"),
    "manifest with a flipped bit": (lambda: flip(LAST / "manifest.json"), r"manifest\.json|damaged"),
    "manifest of lists": (lambda: (LAST / "manifest.json").write_text("[]"), "expected a JSON object, found list"),
    "manifest removed": (lambda: (LAST / "manifest.json").unlink(), r"manifest\.json is missing"),
    "manifest that names paths outside": (
        lambda: edit_json(LAST / "manifest.json", files={"../../people.csv": {"bytes": 1, "sha256": ""}}),
        r"does not list",
    ),
    "manifest of a newer version": (lambda: edit_json(LAST / "manifest.json", format_version=3), "newer jointreid"),
    "weights missing": (lambda: (LAST / "model.safetensors").unlink(), "has no checkpoint 'last'"),
    "best with a flipped bit": (lambda: flip(BEST / "model.safetensors", 0.9), r"best/model\.safetensors is damaged"),
    "weights that are a pickle": (lambda: a_pickle(LAST / "model.safetensors"), "Nothing in it was loaded or executed"),
    "optimiser that is a pickle": (lambda: a_pickle(LAST / "training.safetensors"), "loaded or executed"),
    "weights that are a zip bomb": (lambda: a_zip_bomb(LAST / "model.safetensors"), "not a readable safetensors file"),
    "header of four exbibytes": (lambda: an_oversized_header(LAST / "model.safetensors"), "not a readable safetensors"),
    "tensor beyond the file": (lambda: a_header_beyond_the_file(LAST / "model.safetensors"), "not a readable"),
    "weights of a tebibyte": (lambda: a_sparse_giant(LAST / "model.safetensors"), "not a readable safetensors file"),
    "progress of a tebibyte": (lambda: a_sparse_giant(LAST / "state.json"), "damaged: it holds 1,099,511,627,776"),
    "weights that are a pipe": (lambda: a_pipe(LAST / "model.safetensors"), "has no checkpoint 'last'"),
    "settings that are a pipe": (lambda: a_pipe(Path("run/config.yaml")), "is not a run directory"),
    "labels that are a pipe": (lambda: a_pipe(Path("run/labels.json")), "no regular file"),
    "weights that lead out": (lambda: a_link_out(LAST / "model.safetensors"), "is a link to .* outside run"),
    "progress that leads out": (lambda: a_link_out(LAST / "state.json"), "is a link to .* outside run"),
    "checkpoint that leads out": (lambda: a_link_out(LAST), "is a link to .* outside run"),
    "settings that lead out": (lambda: a_link_out(Path("run/config.yaml")), "is a link to .* outside run"),
    "labels that lead out": (lambda: a_link_out(Path("run/labels.json")), "is a link to .* outside run"),
    "results that lead out": (lambda: a_link_out(Path("run/results.json")), "is a link to .* outside run"),
    "weights of another shape": (
        lambda: of_another_run(LAST / "model.safetensors"),
        r"is \(9, 16\), expected \(8, 16\)",
    ),
    "weights of another type": (lambda: of_halves(LAST / "model.safetensors"), "is of type F16, expected F32"),
    "weights with one too many": (lambda: with_one_left_over(LAST / "model.safetensors"), "extra is left over"),
    "checkpoint of other people": (
        lambda: written(LAST / "state.json", json.dumps({"format_version": 2, "step": 4, "labels": "0" * 64})),
        "saved with other identities or cameras",
    ),
    "labels changed": (lambda: flip(Path("run/labels.json"), 0.4), r"labels\.json"),
    "labels nested deep": (lambda: Path("run/labels.json").write_text(DEEP), "nested too deeply"),
    "progress nested deep": (lambda: written(LAST / "state.json", DEEP), "nested too deeply"),
    "number of a million digits": (
        lambda: written(LAST / "state.json", '{"step": ' + "9" * 10**6 + "}"),
        "cannot be read as JSON",
    ),
    "manifest of a tebibyte": (lambda: a_sparse_giant(LAST / "manifest.json"), "expected at most 65,536"),
    "settings of a tebibyte": (lambda: a_sparse_giant(Path("run/config.yaml")), "expected at most 65,536"),
    "settings that run code": (
        lambda: Path("run/config.yaml").write_text("a: !!python/object/apply:os.mkdir ['executed']\n"),
        "cannot read settings",
    ),
    "settings nested deep": (lambda: Path("run/config.yaml").write_text("a: " + "[" * 20_000), "nested too deeply"),
    "settings that grow without end": (
        lambda: Path("run/config.yaml").write_text(
            "a: &a [x, x]\n" + "".join(f"{y}: &{y} [*{x}, *{x}]\n" for x, y in pairwise("abcdefghijkl"))
        ),
        r"refers from one place to another \(\*a\)",
    ),
    "settings with numbers for names": (lambda: Path("run/config.yaml").write_text("1: {2: 3}\n"), "expected sections"),
    "settings of a newer version": (
        lambda: Path("run/config.yaml").write_text("format_version: 9\n"),
        "format version is 9, this jointreid reads 1 to 2; a newer",
    ),
    "code that nobody trusted": (
        lambda: Path("run/config.yaml").write_text(
            Path("run/config.yaml").read_text().replace("tiny_trunk:tiny", "os:mkdir")
        ),
        "code that does not come with this package",
    ),
    "results cut off": (lambda: cut(Path("run/results.json")), "its results are damaged"),
    "answers cut off": (lambda: cut(Path("run/queries.parquet")), "its results are damaged"),
}


@pytest.mark.parametrize("name", HARM)
def test_a_harmful_file_is_refused_in_one_paragraph_and_changes_nothing(run: Path, name: str) -> None:
    harm, words = HARM[name]
    harm()
    before = snapshot(Path.cwd())
    with pytest.raises(JointreidError, match=words) as caught:
        use(Path("run"))
    assert len(str(caught.value)) < 1000
    assert snapshot(Path.cwd()) == before
    assert not Path("executed").exists()


@pytest.mark.parametrize("name", ["optimiser with a flipped bit", "weights that lead out", "weights of another shape"])
def test_resuming_it_is_refused_too(run: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    HARM[name][0]()
    assert_going_on_is_refused(run, capsys)


def test_a_log_folder_that_leads_out_is_not_written_to(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a_link_out(Path("run/tensorboard"))
    assert_going_on_is_refused(run, capsys)


def assert_going_on_is_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(Path("outside") if Path("outside").exists() else run) | snapshot(run)
    capsys.readouterr()
    assert main(["train", "--resume", "run"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("jointreid: ")
    assert "Traceback" not in printed
    assert snapshot(Path("outside") if Path("outside").exists() else run) | snapshot(run) == before


def test_a_damaged_last_is_passed_over_for_the_one_before_and_says_so(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(LAST, "run/last.old")
    flip(LAST / "model.safetensors", 0.9)
    with pytest.raises(JointreidError, match=r"run/last\.old may hold another checkpoint: --resume tries it"):
        open_run("run").model()
    assert main(["train", "--resume", "run", "--max-steps", "5"]) == 0
    printed = capsys.readouterr().out
    assert "run/last/model.safetensors is damaged" in printed
    assert "Resuming from run/last.old instead, saved at step 4." in printed
    assert open_run("run").state()["step"] == 5
    assert not Path("run/last.old").exists()


def test_other_images_are_refused(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two images of a person change places: the labels are the same, and every batch would be another."""
    rows = Path("people.csv").read_text().splitlines()
    first, second = (row.split(",") for row in rows[1:3])
    first[5:], second[5:] = second[5:], first[5:]
    Path("people.csv").write_text("\n".join([rows[0], ",".join(first), ",".join(second), *rows[3:]]) + "\n")
    assert main(["train", "--resume", "run", "--manifest", "people.csv"]) == 2
    assert "the train images have other names or another order" in capsys.readouterr().err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 192 KiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=192k", "tmpfs", str(disk)]
    if not shutil.which("mount") or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("needs leave to mount a tmpfs")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def saved_tensors(size: int) -> torch.nn.Module:
    torch.manual_seed(size)
    return torch.nn.Linear(size, 64)


def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    save_checkpoint(small_disk, "last", saved_tensors(64), {"step": 1})
    before = snapshot(small_disk)
    with pytest.raises(JointreidError, match=r"cannot save a checkpoint: No space left .* is unchanged.*--resume"):
        save_checkpoint(small_disk, "last", saved_tensors(1024), {"step": 2})
    assert snapshot(small_disk) == before
    save_checkpoint(small_disk, "last", saved_tensors(32), {"step": 3})
    assert json.loads((small_disk / "last" / "state.json").read_text())["step"] == 3


def test_a_limit_on_the_size_of_files_loses_nothing(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, "last", saved_tensors(64), {"step": 1})
    before = snapshot(tmp_path)
    with largest_file(10_000), pytest.raises(JointreidError, match=r"File too large.* is unchanged"):
        save_checkpoint(tmp_path, "last", saved_tensors(64), {"step": 2})
    assert snapshot(tmp_path) == before


def test_a_disk_that_stores_other_bytes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, "last", saved_tensors(64), {"step": 1})
    before = snapshot(tmp_path)
    write = os.write

    def write_zeros(handle: int, data: bytes) -> int:
        return write(handle, bytes(len(data)) if len(data) > 5000 else data)

    monkeypatch.setattr(os, "write", write_zeros)
    with pytest.raises(JointreidError, match=r"SHA-256.* is unchanged"):
        save_checkpoint(tmp_path, "last", saved_tensors(64), {"step": 2})
    assert snapshot(tmp_path) == before
