"""Several processes as people start them: by --devices and by torchrun, one of them killed, and torchrun's restart.

    python -m tests.soak.ranks [--out DIR] [--processes N]

Every job is a run of its own on synthetic people; those that were broken must end with the very weights of those that
were not. About four minutes on two cores.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from jointreid.synthetic import synthesise
from tests.small import SMALL_OPTIONS

STEPS = 12
SETTINGS = (
    *("--recipe", "bot-dcsd", *SMALL_OPTIONS, "--sampler.ids_per_batch", "8", "--schedule.epochs", "2"),
    *("--max-steps", str(STEPS), "--train.save_every", "1", "--train.log_every", "1", "--train.eval_every", "0"),
)
ENVIRON = {**os.environ, "OMP_NUM_THREADS": "1"}


def main() -> int:
    """Run every job; 0 if all ended as they should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/soak/ranks"))
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    shutil.rmtree(given.out, ignore_errors=True)
    manifest = synthesise(given.out / "data", "tiny", height=32)
    size = given.processes

    def train(name: str) -> list[str]:
        data = ["--manifest", str(manifest), "--data.cache", str(given.out / "cache"), "--out", str(given.out / name)]
        return ["-m", "jointreid", "train", *SETTINGS, *data]

    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(size)]
    failed = [
        expect("torchrun ends well", job([*torchrun, *train("whole")]), given.out / "whole", None),
        expect(
            "--devices ends well and equally",
            job([sys.executable, *train("devices"), "--devices", str(size)]),
            given.out / "devices",
            given.out / "whole",
        ),
        expect(
            "a killed process ends a job of --devices",
            job([sys.executable, *train("killed"), "--devices", str(size)], kill=given.out / "killed"),
            given.out / "killed",
            None,
            message="is gone",
        ),
        expect(
            "torchrun restarts a job whose process is killed, and it ends equally",
            job([*torchrun, "--max-restarts", "1", *train("restarted")], kill=given.out / "restarted"),
            given.out / "restarted",
            given.out / "whole",
        ),
    ]
    print(f"{len(failed)} jobs of {size} processes, {sum(failed)} ended otherwise than they should")
    return 1 if any(failed) else 0


def job(command: Sequence[str], kill: Path | None = None) -> tuple[int, str, float]:
    """Run a command for five minutes at most; return its exit code, what it printed, and its seconds.

    With `kill`, a run directory, its last process is killed once the run has saved three times.
    """
    since = time.monotonic()
    log = Path(f"/tmp/soak-ranks-{os.getpid()}.log")
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out, env=ENVIRON) as process:
        if kill is not None:
            while process.poll() is None and steps_of(kill) < 3:
                time.sleep(0.05)
            os.kill(max(trainers(process.pid)), signal.SIGKILL)
        try:
            process.wait(300)
        except subprocess.TimeoutExpired:
            for pid in (*trainers(process.pid), process.pid):
                os.kill(pid, signal.SIGKILL)
    printed = log.read_text()
    log.unlink()
    return process.returncode, printed, time.monotonic() - since


def trainers(parent: int) -> list[int]:
    """Return the processes that a process has started, and those that they have."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent and fields[0] not in "ZX":
            pid = int(stat.parent.name)
            found += [pid, *trainers(pid)]
    return found


def steps_of(run: Path) -> int:
    """Return how many steps a run has logged."""
    log = run / "metrics.jsonl"
    return log.read_text().count('"kind": "train"') if log.is_file() else 0


def expect(what: str, ended: tuple[int, str, float], run: Path, equal_to: Path | None, message: str = "") -> bool:
    """Print how a job ended; return whether it should have ended otherwise."""
    code, printed, seconds = ended
    wrong = []
    if (code == 0) == bool(message):
        wrong.append(f"exit code {code}")
    if message and printed.count(message) != 1:
        wrong.append(f"{printed.count(message)} messages with {message!r}")
    if equal_to is not None:
        mine, other = (path / "last" / "model.safetensors" for path in (run, equal_to))
        if not mine.is_file() or mine.read_bytes() != other.read_bytes():
            wrong.append(f"other weights than {equal_to}")
    print(f"{'FAILED' if wrong else 'ok    '} {what} ({seconds:.0f} s){': ' if wrong else ''}{', '.join(wrong)}")
    if wrong:
        print("\n".join(f"    {line}" for line in printed.splitlines()[-40:]))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
