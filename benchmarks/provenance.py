"""Facts that a reader needs to repeat a measurement: command, commit, machine and versions."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path


def machine() -> str:
    """Return how many cores of which kind there are."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{len(names)} x {names[0]}" if names else platform.machine()


def gpu() -> dict[str, str]:
    """Return the name of the GPU that PyTorch sees, if one is seen and PyTorch was loaded at all."""
    torch = sys.modules.get("torch")
    return {"gpu": torch.cuda.get_device_name()} if torch is not None and torch.cuda.is_available() else {}


def provenance(*packages: str) -> dict[str, str]:
    """Return the command, the commit, the machine and its load, and the versions of packages."""
    git = subprocess.run(["git", "rev-parse", "--verify", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "command": " ".join(["python", *sys.argv]),
        "commit": git.stdout.strip() or "unknown",
        "machine": machine(),
        "load": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
        **gpu(),
        **{package: version(package) for package in packages},
    }
