"""Make a fault, check the data, train on them, and return the verdict: refused, handled, skipped or lost."""

import contextlib
import io
import json
import re
import resource
import shutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Literal, NamedTuple
from unittest import mock

import numpy as np

from jointreid.cli import main
from jointreid.config import ImageConfig, RunConfig
from jointreid.data.decode import read_image, resize_image
from jointreid.data.images import ImageStore
from jointreid.data.records import ImageRecord
from jointreid.run import open_run
from jointreid.training.data import TrainingData, load_training_data
from tests.command_lines import read_train_options
from tests.fault_table.kit import CannotBeMade, Fault, Handled, Refused, Sandbox
from tests.small import SMALL_OPTIONS

_BATCHES = ("--sampler.ids_per_batch", "2", "--sampler.images_per_id", "2")
# A step and an evaluation take a tenth of a second.
SETTINGS = (
    *("--recipe", "bot", *SMALL_OPTIONS, "--max-steps", "1"),
    *_BATCHES,
    *("--schedule.epochs", "1", "--schedule.milestones", "[]", "--schedule.warmup_epochs", "0"),
)
# How far JPEG at quality 95 may be from the original: mean over all pixels, in grey levels.
NEAR = 3.0
# A refusal that takes more memory than this, in bytes, has decoded an image that it should not have.
MEMORY = 256 * 2**20
LOADED_BY_TRAINING = ("jointreid.training.train", "lightning_fabric")


class Verdict(NamedTuple):
    """The outcome of a fault: refused and handled are as expected. The detail is the message or the reason."""

    outcome: Literal["refused", "handled", "skipped", "lost"]
    detail: str


class Lost(Exception):
    """The outcome is not the one that the table gives."""


class Answer(NamedTuple):
    """The exit code of a command and what it printed."""

    code: int
    out: str
    err: str


def judge(fault: Fault, root: Path, *, wholly: bool = False) -> Verdict:
    """Make a fault in a new folder, check the data, and load them for training or train on them.

    Args:
        fault: a row of the table.
        root: the folder, which is removed afterwards.
        wholly: train on all that are handled, which takes a second each, and not only on those marked `trained`.
    """
    sandbox = Sandbox(root)
    sandbox.write_sound()
    try:
        sources = fault.damage(sandbox) or ["--manifest", str(sandbox.table)]
    except CannotBeMade as reason:
        return Verdict("skipped", str(reason))
    for module in LOADED_BY_TRAINING:  # so that their memory is not counted as the first fault's
        import_module(module)
    before, hidden, memory = _state(sandbox.data), _hidden(root), _peak_memory()
    try:
        if isinstance(fault.outcome, Refused):
            outcome: Literal["refused", "handled"] = "refused"
            detail = _refusal(fault, fault.outcome, sandbox, [*sources, *fault.options])
            _require(not sandbox.run.exists(), "a run directory was begun")
            _require(_peak_memory() - memory < MEMORY, "it took memory as if it had decoded the image")
        else:
            outcome = "handled"
            detail = _handling(fault, fault.outcome, sandbox, [*sources, *fault.options], wholly)
        _require(fault.late is not None or _state(sandbox.data) == before, "the data were changed")
        _require(_hidden(root) == hidden, f"files were left half-written: {sorted(_hidden(root) - hidden)}")
    except Lost as lost:
        return Verdict("lost", str(lost))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    return Verdict(outcome, detail)


def _refusal(fault: Fault, expected: Refused, sandbox: Sandbox, data: Sequence[str]) -> str:
    check, train = _commands(fault, sandbox, data)
    if expected.by == "check":
        _ask(check, (1, 2), expected.message)
    with _after_the_check(fault, sandbox):
        return _ask(train, (2,), expected.message).err.strip()


def _handling(fault: Fault, expected: Handled, sandbox: Sandbox, data: Sequence[str], wholly: bool) -> str:
    check, train = _commands(fault, sandbox, data)
    report = _ask(check, (0,), expected.finding or "0 errors, 0 warnings").out
    config = read_train_options(train[1:])
    train_set = load_training_data(config).train_set
    space = train_set.label_space
    if wholly or expected.trained:
        json.loads(_ask([*check, "--json"], (0,)).out)
        with _after_the_check(fault, sandbox):
            _ask(train, (0,), "Run directory")
        _require((sandbox.run / "results.json").is_file(), "there are no results")
        _require(open_run(sandbox.run).label_space == space, "the run has other labels")
    found = (len(train_set), space.num_ids, space.num_cameras)
    _require(found == expected.train, f"{found} images, identities and cameras, not {expected.train}")
    records = [sample.record for sample in train_set.samples]
    for cache in (sandbox.root / "fresh", sandbox.cache):
        _require_pixels(records, config.image, cache)
    for name, pixels in expected.pixels.items():
        seen = read_image(next(record for record in records if record.path == sandbox.data / name))
        _require(seen.shape == pixels.shape, f"{name} is {seen.shape}, not {pixels.shape}")
        difference = float(np.abs(seen.astype(int) - pixels).mean())
        _require(difference < NEAR, f"{name} differs by {difference:.1f} grey levels from what it shows")
    found_by_check = re.search(expected.finding, report) if expected.finding else None
    return found_by_check[0] if found_by_check else "nothing to report"


def _require_pixels(records: Sequence[ImageRecord], image: ImageConfig, cache: Path) -> None:
    """Require that a store with this cache, new or used before, returns each image at its index."""
    store = ImageStore.build(records, image, cache, 1)
    batch = store.take(np.arange(len(records))).permute(0, 2, 3, 1).numpy()
    for seen, record in zip(batch, records, strict=True):
        expected = resize_image(read_image(record), image.height, image.width, image.interpolation)
        _require(np.array_equal(seen, expected), f"{record.path} is another image in the store")


def _commands(fault: Fault, sandbox: Sandbox, data: Sequence[str]) -> tuple[list[str], list[str]]:
    check = ["data", "check", *_BATCHES, *data, "--cache", str(sandbox.cache)]
    own = ("--data.cache", str(sandbox.cache), "--out", str(sandbox.run))
    return check, ["train", *SETTINGS, *data, *fault.settings, *own]


def _ask(argv: Sequence[str], codes: tuple[int, ...], pattern: str = "") -> Answer:
    """Run a command in this process. If it raises, the fault is lost."""
    # As in a terminal: bytes that are not text cannot be printed to stdout, but are escaped on stderr.
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    err = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="backslashreplace")
    command = " ".join(argv[:2] if argv[0] == "data" else argv[:1])
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(argv)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        last = traceback.extract_tb(sys.exc_info()[2])[-1]
        raise Lost(f"{command}: {type(error).__name__}: {error!s:.300} ({last.filename}:{last.lineno})") from error
    texts = []
    for stream in (out, err):
        stream.flush()
        stream.seek(0)
        texts.append(stream.read())
    answer = Answer(code, *texts)
    said = (answer.out + answer.err)[-600:]
    _require("Traceback" not in answer.err, f"{command}: a traceback: {said}")
    _require(code in codes, f"{command}: exit code {code}, not {codes}: {said}")
    _require(re.search(pattern, answer.out + answer.err) is not None, f"{command}: nothing like {pattern!r}: {said}")
    return answer


@contextlib.contextmanager
def _after_the_check(fault: Fault, sandbox: Sandbox) -> Iterator[None]:
    """Make a late fault happen after training has checked the data and before it decodes them."""
    if fault.late is None:
        yield
        return
    late = fault.late

    def prepare_then_damage(config: RunConfig) -> TrainingData:
        data = load_training_data(config)
        late(sandbox)
        return data

    with mock.patch("jointreid.training.train.load_training_data", prepare_then_damage):
        yield


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    """Return every file below a folder with its size and modification time."""
    stats = {str(path): path.lstat() for path in folder.rglob("*")}
    return {name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()}


def _hidden(root: Path) -> set[str]:
    """Return the files that are still being written: their names begin with a dot until they are complete."""
    return {str(path.relative_to(root)) for path in root.rglob(".*")}


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise Lost(reason)
