"""Evaluated runs among run directories and below folders."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from jointreid.analysis.evaluated_run import EvaluatedRun, open_evaluated
from jointreid.analysis.same_tests import comparable_runs
from jointreid.machine.paths import user_path
from jointreid.messages.commands import command
from jointreid.messages.errors import JointreidError


def find_runs(paths: Sequence[str | Path]) -> tuple[tuple[EvaluatedRun, ...], tuple[str, ...]]:
    """Open the evaluated runs that can be compared, among run directories and below folders.

    Args:
        paths: run directories, and folders that hold some at any depth.

    Returns:
        The runs, sorted by directory within each folder; and a remark for each directory in a folder that was left
        out because it is no run, is damaged, holds no results, or was evaluated on other test data than the others.

    Raises:
        JointreidError: a path does not exist, a run that was named is damaged or was not evaluated (the message names
            the command), two that were named cannot be compared, or there are no evaluated runs at all.
    """
    runs: dict[Path, EvaluatedRun] = {}
    remarks, named = [], set()
    for given in paths:
        path = user_path(given)
        if path.is_dir() and not (path / "config.yaml").is_file():
            for folder in _run_folders(path):
                try:
                    runs.setdefault(folder.resolve(), open_evaluated(folder))
                except JointreidError as error:
                    remarks.append(f"left out {folder}: {error}")
        else:
            named.add(runs.setdefault(path.resolve(), open_evaluated(path)).path)
    if not runs:
        where = ", ".join(map(str, paths)) or "nothing"
        why = f" ({'; '.join(remarks)})" if remarks else f"; train one with `{command('train', '--out', Path('RUN'))}`"
        raise JointreidError(f"no evaluated run was found in {where}{why}")
    kept, differing = comparable_runs(list(runs.values()), named)
    return kept, (*remarks, *differing)


def _run_folders(folder: Path) -> Iterable[Path]:
    """Yield the folders with settings below a folder, sorted; what a run holds is not searched."""
    for where, names, files in os.walk(folder):
        if "config.yaml" in files:
            names.clear()
            yield Path(where)
        names.sort()
