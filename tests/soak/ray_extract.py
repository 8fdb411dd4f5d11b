"""`jointreid extract --engine ray` on this machine: the file of the local engine, also when workers are killed.

Once more with the address of a cluster that was started before, and once with an image that kills whoever reads it.

    python -m tests.soak.ray_extract [--out DIR] [--images N]

Ray needs up to 30 seconds to start, in which nothing else should run beside it. About five minutes on two cores.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from tests.extraction.small_runs import draw, untrained_run

ENVIRON = {**os.environ, "OMP_NUM_THREADS": "1"}
# As docs/extract.md has it for the nodes of a cluster of one's own.
CLUSTER = {
    "RAY_AUTH_MODE": "token",  # the runs before have made one
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_register_timeout_seconds": "600",
    "RAY_maximum_startup_concurrency": "2",
}
ADDRESS = "127.0.0.1:6399"
# What Python runs first: a worker of Ray that opens the image is killed, as by a lack of memory.
POISON = """
import os, signal, sys
def kill(event, details):
    if event == "open" and str(details[0]).endswith("/{image}") and "default_worker" in sys.argv[0]:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(kill)
"""
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
    on_cluster(given.out, run)
    poisoned = kill_at_an_image(given.out, run)
    expected = (given.out / "local.parquet").read_bytes()
    failed = [name for name in ("ray", "killed", "cluster") if (given.out / f"{name}.parquet").read_bytes() != expected]
    rows = pq.ParquetFile(given.out / "killed.parquet").read(columns=["row", "path"])
    unique = len(set(rows["path"].to_pylist()))
    print(f"{len(victims)} workers killed; {rows.num_rows} rows, {unique} paths of {given.images} images")
    ordered = rows["row"].to_pylist() == list(range(given.images))
    print(f"an image that kills its worker: {poisoned}")
    first = (given.images // 2) // PART_ROWS * PART_ROWS
    named = f"rows {first} to {first + PART_ROWS - 1} (" in poisoned
    if failed or not victims or not ordered or unique != given.images or not named:
        print(f"FAILED: files that differ from the local one: {failed}; workers killed: {victims}; ordered: {ordered}")
        return 1
    print("the files of both engines are equal")
    return 0


def on_cluster(folder: Path, run: Path) -> None:
    """Extract with the address of a cluster that runs already."""
    ray = str(Path(sys.executable).with_name("ray"))
    node = ["start", "--head", "--port", ADDRESS.partition(":")[2], "--num-cpus", "2", "--include-dashboard", "false"]
    with tempfile.TemporaryDirectory(prefix="ray-") as session:  # a short path, for sockets
        subprocess.run([ray, *node, "--temp-dir", session], env=ENVIRON | CLUSTER, check=True, stdout=sys.stderr)
        try:
            job = extract(folder, run, "ray", "cluster", "--address", ADDRESS, environ=CLUSTER)
            assert job.wait() == 0, "the ray engine failed on a cluster"
        finally:
            stop_nodes(session)


def stop_nodes(session: str) -> None:
    """End the processes of the cluster whose session lies in a folder, and no other."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if session.encode() in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)
            except OSError:
                continue


def kill_at_an_image(folder: Path, run: Path) -> str:
    """Extract while the image in the middle kills each worker that opens it; return what the command says."""
    images = sorted((folder / "images").iterdir())
    (folder / "poison").mkdir()
    (folder / "poison" / "sitecustomize.py").write_text(POISON.format(image=images[len(images) // 2].name))
    path = os.pathsep.join([str((folder / "poison").resolve()), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    job = extract(folder, run, "ray", "poisoned", environ={"PYTHONPATH": path}, stderr=subprocess.PIPE)
    told = job.communicate()[1].decode().strip()
    return f"exit code {job.returncode}: {told[told.find('jointreid: ') :]}"


def extract(
    folder: Path,
    run: Path,
    engine: str,
    name: str = "",
    *options: str,
    environ: Mapping[str, str] | None = None,
    stderr: int | None = None,
) -> "subprocess.Popen[bytes]":
    """Start an extraction with small parts, in a process of its own."""
    program = (
        f"from jointreid.extraction import parts; parts.PART_ROWS = {PART_ROWS}; "
        "from jointreid.cli import console; console()"
    )
    out = folder / f"{name or engine}.parquet"
    words = ["extract", str(run), "--images", str(folder / "images"), "--out", str(out), "--engine", engine]
    words += ["--device", "cpu", "--workers", "1", *options]
    return subprocess.Popen([sys.executable, "-c", program, *words], env={**ENVIRON, **(environ or {})}, stderr=stderr)


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
