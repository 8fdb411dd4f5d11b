"""Two hosts with names, addresses and a network of their own, as namespaces of this machine, train one model.

    python -m tests.soak.hosts [--out DIR]

For root only. It makes two network namespaces and a cable between them, with addresses that nothing else sees, starts
torchrun in each, and removes both at the end, however that comes. Seven minutes at most.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from jointreid.synthetic import synthesise
from tests.soak.ranks import SETTINGS, expect

HOSTS = (f"jointreid{os.getpid()}a", f"jointreid{os.getpid()}b")
ADDRESSES = ("10.213.77.1", "10.213.77.2")
MINUTES = 6


def main() -> int:
    """Train on two hosts and by two processes of one; 0 if both end with the same weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("out/soak/hosts"))
    out = parser.parse_args().out
    if os.geteuid() != 0 or not shutil.which("ip"):
        print("needs root and the command ip (iproute2)")
        return 1
    shutil.rmtree(out, ignore_errors=True)
    manifest = synthesise(out / "data", "tiny", height=32)
    common = ["--manifest", str(manifest), "--data.cache", str(out / "cache")]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node"]
    train = ["-m", "jointreid", "train", *SETTINGS, *common, "--out"]
    environ = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole = subprocess.run(
        [*torchrun, "2", "--standalone", *train, str(out / "one")],
        env=environ,
        capture_output=True,
        timeout=60 * MINUTES,
    )
    print(f"one host: exit code {whole.returncode}")
    try:
        connect()
        since = time.monotonic()
        environ |= {"GLOO_SOCKET_IFNAME": "cable"}
        meet = ["--nnodes", "2", "--master-addr", ADDRESSES[0], "--master-port", "29511", "--node-rank"]
        jobs = [
            subprocess.Popen(
                [*within(host), *torchrun, "1", *meet, str(number), *train, str(out / "two")],
                env=environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for number, host in enumerate(HOSTS)
        ]
        try:
            printed = [job.communicate(timeout=60 * MINUTES)[0] for job in jobs]
        finally:
            for job in jobs:
                job.kill()
        code = max(abs(job.returncode) for job in jobs)
        ended = code, "\n".join(printed), time.monotonic() - since
        return int(expect("two hosts end as one with two processes does", ended, out / "two", out / "one"))
    finally:
        for host in HOSTS:  # with them goes the cable
            subprocess.run(["ip", "netns", "del", host], capture_output=True)


def connect() -> None:
    """Make the hosts and the cable."""
    for host in HOSTS:
        run("ip", "netns", "add", host)
    run("ip", "link", "add", "cable", "netns", HOSTS[0], "type", "veth", "peer", "name", "cable", "netns", HOSTS[1])
    for host, address in zip(HOSTS, ADDRESSES, strict=True):
        run("ip", "-n", host, "address", "add", f"{address}/30", "dev", "cable")
        run("ip", "-n", host, "link", "set", "cable", "up")
        run("ip", "-n", host, "link", "set", "lo", "up")


def within(host: str) -> list[str]:
    """Return the start of a command that runs on a host, under its name."""
    name = f'echo {host} > /proc/sys/kernel/hostname; exec "$@"'
    return ["ip", "netns", "exec", host, "unshare", "--uts", "sh", "-c", name, "sh"]


def run(*command: str) -> None:
    """Run a command of the system, which has to succeed."""
    subprocess.run(command, check=True)


if __name__ == "__main__":
    sys.exit(main())
