"""`jointreid extract --engine ray` on this machine: the file of the local engine, also when workers are killed.

    python -m tests.soak.ray_extract [--out DIR] [--images N]

Ray needs up to 30 seconds to start, in which nothing else should run beside it. About three minutes on two cores.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq

from tests.extraction.small_runs import draw, untrained_run

ENVIRON = {**os.environ, "OMP_NUM_THREADS": "1"}
# Rows of a part here: as small as a batch, so that there are many to lose.
PART_ROWS = 8


def main() -> int:
    """Extract by both engines; 0 if the files are equal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/soak/ray"))
    parser.add_argument("--images", type=int, default=400)
    given = parser.parse_args()
    shutil.rmtree(given.out, ignore_errors=True)
    given.out.mkdir(parents=True)
    run = untrained_run(given.out / "run", batch_size=PART_ROWS)
    draw(given.out / "images", given.images, size=(64, 128))
    local = extract(given.out, run, "local")
    assert local.wait() == 0, "the local engine failed"
    whole = extract(given.out, run, "ray")
    assert whole.wait() == 0, "the ray engine failed"
    killed = extract(given.out, run, "ray", name="killed")
    victims = kill_workers(killed, given.out / "killed.parquet.parts", times=3)
    assert killed.wait() == 0, "the ray engine failed after its workers were killed"
    expected = (given.out / "local.parquet").read_bytes()
    failed = [name for name in ("ray", "killed") if (given.out / f"{name}.parquet").read_bytes() != expected]
    rows = pq.ParquetFile(given.out / "killed.parquet").read(columns=["row", "path"])
    unique = len(set(rows["path"].to_pylist()))
    print(f"{len(victims)} workers killed; {rows.num_rows} rows, {unique} paths of {given.images} images")
    ordered = rows["row"].to_pylist() == list(range(given.images))
    if failed or not victims or not ordered or unique != given.images:
        print(f"FAILED: files that differ from the local one: {failed}; workers killed: {victims}; ordered: {ordered}")
        return 1
    print("the files of both engines are equal")
    return 0


def extract(folder: Path, run: Path, engine: str, name: str = "") -> "subprocess.Popen[bytes]":
    """Start an extraction with small parts, in a process of its own."""
    program = (
        f"from jointreid.extraction import parts; parts.PART_ROWS = {PART_ROWS}; "
        "from jointreid.cli import console; console()"
    )
    out = folder / f"{name or engine}.parquet"
    words = ["extract", str(run), "--images", str(folder / "images"), "--out", str(out), "--engine", engine]
    return subprocess.Popen([sys.executable, "-c", program, *words, "--device", "cpu", "--workers", "1"], env=ENVIRON)


def kill_workers(job: "subprocess.Popen[bytes]", parts: Path, times: int) -> list[int]:
    """Kill one worker that holds the model each time that parts have been added; return their process ids."""
    killed: list[int] = []
    before = 0
    while job.poll() is None and len(killed) < times:
        done = len(list(parts.glob("rows-*.parquet")))
        if done > before + 3 and (workers := actors_of(job.pid)):
            os.kill(workers[0], signal.SIGKILL)
            killed.append(workers[0])
            before = done
        time.sleep(0.05)
    return killed


def actors_of(parent: int) -> list[int]:
    """Return the process ids of Ray's workers below a process that compute parts: Ray names them after the actor."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            named = title.startswith("ray::") and ("MapWorker" in title or "PartActor" in title)
            if named and is_below(int(entry.name), parent):
                found.append(int(entry.name))
    return found


def is_below(process: int, ancestor: int) -> bool:
    """Return whether a process descends from another."""
    while process > 1:
        if process == ancestor:
            return True
        try:
            status = Path(f"/proc/{process}/status").read_text()
        except OSError:
            return False
        process = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("PPid:"))
    return False


if __name__ == "__main__":
    sys.exit(main())
