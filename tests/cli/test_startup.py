"""Commands that start without torch, and their start-up times.

Each test is one fresh interpreter, in which torch cannot be imported. Time is the processor time of that process; as
modules that are read for the first time, or other work on the same core, increase it, a slow start is tried once more.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

SLOW = ("torch", "torchvision", "timm", "lightning_fabric")


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process in which importing any of SLOW fails."""
    folder = tmp_path_factory.mktemp("without_torch")
    for name in SLOW:
        (folder / f"{name}.py").write_text(f"raise AssertionError('{name} was imported')")
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}


def run_in_time(environment: dict[str, str], *arguments: str) -> str:
    """Return what a command printed that takes less than two seconds, at the second try if need be."""
    printed, taken = run(environment, "-m", "jointreid", *arguments)
    if taken >= 2:
        printed, taken = run(environment, "-m", "jointreid", *arguments)
    assert taken < 2
    return printed


def run(environment: dict[str, str], *arguments: str) -> tuple[str, float]:
    """Return what a fresh interpreter printed and the seconds of processor time that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.slow
def test_the_package_imports_in_under_half_a_second_and_torch_comes_with_its_names(
    without_torch: dict[str, str],
) -> None:
    code = """
import time
started = time.process_time()
import jointreid
seconds = time.process_time() - started
jointreid.__version__, jointreid.RunConfig()
assert set(jointreid.__all__) <= set(dir(jointreid))
try:
    jointreid.train
except AssertionError as error:
    print(seconds, error)
"""
    seconds, refused = run(without_torch, "-c", code)[0].split(maxsplit=1)
    assert float(seconds) < 0.5
    assert "was imported" in refused


@pytest.mark.slow
def test_help_starts_in_under_two_seconds(without_torch: dict[str, str]) -> None:
    assert "Usage: jointreid" in run_in_time(without_torch, "--help")


@pytest.mark.slow
def test_data_check_runs_in_under_two_seconds(
    without_torch: dict[str, str], tiny_manifest: Path, tmp_path: Path
) -> None:
    arguments = ["data", "check", "--json", "--manifest", str(tiny_manifest), "--cache", str(tmp_path)]
    assert json.loads(run_in_time(without_torch, *arguments))


@pytest.mark.parametrize(
    "arguments", [["--help"], ["data", "--help"], ["train", "--help-all"], ["data", "ingest", "-h"]]
)
def test_help_loads_neither_numpy_nor_pyarrow(arguments: list[str], without_torch: dict[str, str]) -> None:
    code = (
        "import sys; from jointreid.cli import main; "
        f"main({arguments}); print(sorted({{'numpy', 'pyarrow', 'PIL', 'yaml'}} & set(sys.modules)))"
    )
    assert run(without_torch, "-c", code)[0].splitlines()[-1] == "[]"
