"""Other libraries that rank galleries, installed from the package registry into a separate environment and run there.

    python benchmarks/peers.py            # makes out/peers/.venv, with uv

torchreid on the registry is without its Cython source, so its Python loop is all that it can run. pyppbox-torchreid is
the same code built with Cython. Each peer runs in a process and with a numpy of its own, and reads arrays from files.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
VENV = Path(os.environ.get("PEERS_VENV", ROOT / "out" / "peers" / ".venv"))
PACKAGES = (
    "numpy<2",
    f"torch=={version('torch').partition('+')[0]}",
    "open-metric-learning",
    "omegaconf",
    "pytorch-metric-learning",
    "faiss-cpu",
)
WITHOUT_DEPENDENCIES = ("pyppbox-torchreid",)


def install() -> str:
    """Make the environment if it is missing; return why that failed, or an empty text."""
    if (VENV / "bin" / "python").exists():
        return ""
    uv = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    like_pip = ["sh", str(ROOT / ".ci" / "like-pip"), "python3", uv]  # finds packages where pip does
    into = ["pip", "install", "--quiet", "--python", str(VENV / "bin" / "python")]
    for command in (
        [uv, "venv", "--quiet", "--python", sys.executable, str(VENV)],
        [*like_pip, *into, *PACKAGES],
        [*like_pip, *into, "--no-deps", *WITHOUT_DEPENDENCIES],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as error:
            return str(error)
        if done.returncode:
            shutil.rmtree(VENV, ignore_errors=True)
            return done.stderr.strip()[-500:]
    return ""


class Peer:
    """A process that runs a peer on given arrays; each call measures once."""

    def __init__(self, name: str, folder: Path) -> None:
        command = [str(VENV / "bin" / "python"), "-W", "ignore", str(Path(__file__).with_name("peers_worker.py"))]
        self.process = subprocess.Popen(
            [*command, name, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
        )

    def __call__(self) -> dict[str, Any]:
        """Measure once: `ms`, `mAP`, `rank1`, and `version`.

        Raises:
            RuntimeError: the peer failed; the message is the end of its output.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            assert self.process.stderr is not None
            raise RuntimeError(self.process.stderr.read().strip()[-500:])
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, kind: type | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()


def save(folder: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays where `Peer` reads them."""
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


if __name__ == "__main__":
    if failed := install():
        sys.exit(f"the peers could not be installed: {failed}")
    print(f"The peers are in {VENV}")
