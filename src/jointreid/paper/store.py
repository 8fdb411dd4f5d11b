"""Files of a grid: `grid.json` for the whole, `evaluations.json` in each run directory.

Metrics are in [0, 1]. Nothing here needs torch.
"""

import hashlib
import json
import subprocess
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jointreid.machine.files import write_atomically
from jointreid.machine.reading import read_json
from jointreid.messages.commands import command
from jointreid.messages.errors import JointreidError
from jointreid.paper.datasets import GridDataset
from jointreid.paper.facts import JOINT
from jointreid.retrieval.result_files import read_results
from jointreid.retrieval.results import DomainResult, Results

SETUP_FILE = "grid.json"
RECORD_FILE = "evaluations.json"
_CHECKOUT = Path(__file__).resolve().parents[3]  # where there is one: above src/jointreid/paper


@dataclass(frozen=True)
class GridSetup:
    """Settings that the runs of a folder share.

    Attributes:
        scale: the name of their size.
        preset: the settings that recipes started from.
        datasets: the data sets, in Table I's order.
        warning: the first line of every table, where its numbers mean nothing.
    """

    scale: str
    preset: str
    datasets: tuple[GridDataset, ...]
    warning: str = ""


@dataclass(frozen=True)
class RunRecord:
    """A finished training and its results.

    The results are in the run's `results.json` (those of earlier versions on other data sets than the run's own in
    `results-NAMES.json`); `evaluations.json` holds the rest, and which of these files belong to the grid.

    Attributes:
        model: the model's name in the grid.
        trained_on: a slot of Table I, or "joint".
        domains: names of the data sets that it was trained on.
        seed: of weights, batches and random changes.
        preset: the settings that its recipe started from.
        changed: settings in which it differs from its recipe.
        commit: of the package that evaluated it, or its version.
        step: steps it was trained for.
        feature_hashes: domain -> SHA-256 of its features, float32 [N, D], query images first.
        files: name of a result file -> `metrics_digest` of the results that the grid wrote into it.
        results: one result for each test set, from all of these files.
        embedded: results that `evaluations.json` holds itself, as earlier versions wrote it.
    """

    model: str
    trained_on: str
    domains: tuple[str, ...]
    seed: int
    preset: str
    changed: Mapping[str, str]
    commit: str
    step: int
    feature_hashes: Mapping[str, str]
    files: Mapping[str, str]
    results: Results
    embedded: Results | None = None

    def on(self, domain: str) -> DomainResult | None:
        """Return the result on a data set, or None."""
        return next((result for result in self.results.domains if result.domain == domain), None)


def save_setup(setup: GridSetup, out: Path) -> None:
    """Write the shared settings of a grid; those of an earlier call are replaced.

    Raises:
        JointreidError: the folder holds runs of another scale or preset, or has other data in one of the slots.
    """
    if (out / SETUP_FILE).is_file():
        before = load_setup(out)
        for what in ("scale", "preset"):
            if getattr(before, what) != getattr(setup, what):
                raise JointreidError(
                    f"{out} holds runs of {what} {getattr(before, what)}, now {getattr(setup, what)}; "
                    "choose another --out"
                )
        names = {dataset.slot: dataset.name for dataset in before.datasets}
        for dataset in setup.datasets:
            if names.get(dataset.slot, dataset.name) != dataset.name:
                raise JointreidError(
                    f"{out}: {names[dataset.slot]} is used in place of {dataset.slot}, now it would be {dataset.name}; "
                    "choose another --out"
                )
    plain: dict[str, Any] = {"scale": setup.scale, "preset": setup.preset, "warning": setup.warning}
    plain |= {"holdings": [dataset.to_dict() for dataset in setup.datasets]}
    write_atomically(out / SETUP_FILE, json.dumps(plain, indent=1) + "\n")


def load_setup(out: Path) -> GridSetup:
    """Read what `save_setup` wrote.

    Raises:
        JointreidError: there is none, or it is damaged.
    """
    path = out / SETUP_FILE
    if not path.is_file():
        raise JointreidError(
            f"{out} holds no {SETUP_FILE}; `{command('paper', 'run', '--out', out)}`, with your data sets, writes it"
        )
    plain = read_json(path)
    try:
        datasets = tuple(GridDataset.from_dict(entry) for entry in plain.pop("holdings"))
        return GridSetup(datasets=datasets, **plain)
    except (KeyError, TypeError, ValueError) as error:
        raise JointreidError(f"{path} is damaged ({error!r}); run `jointreid paper run` again") from error


def save_record(record: RunRecord, run: Path) -> None:
    """Write a record into its run directory, whole or not at all; its result files are there already."""
    stored = {field.name: getattr(record, field.name) for field in fields(record)}
    del stored["results"], stored["embedded"]
    if record.embedded:
        stored["results"] = record.embedded.to_dict()
    write_atomically(run / RECORD_FILE, json.dumps(stored, indent=1, allow_nan=False) + "\n")


def load_record(run: Path) -> RunRecord:
    """Read what `save_record` wrote, and the result files that it names.

    Raises:
        JointreidError: there is none, it is damaged, or a result file is missing or holds other results by now.
    """
    path = run / RECORD_FILE
    plain = read_json(path)
    try:
        embedded = Results.from_dict(plain.pop("results")) if "results" in plain else None
        files = dict(plain.pop("files", {}))
        domains = tuple(plain.pop("domains"))
        of_record = {*plain["feature_hashes"], *(result.domain for result in (embedded.domains if embedded else ()))}
        found = [_read_results(run, name, digest, of_record, domains) for name, digest in files.items()]
        results = merge([*([embedded] if embedded else []), *found])
        return RunRecord(domains=domains, files=files, results=results, embedded=embedded, **plain)
    except (JointreidError, AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise JointreidError(f"{path} is damaged ({error}); run `jointreid paper run` again") from error


def _read_results(run: Path, name: str, digest: str, of_record: Set[str], trained_on: Sequence[str]) -> Results:
    """Read what the grid wrote into one result file of a run: other domains may have been added since.

    `jointreid evaluate` may have replaced it, with mirrored images for example: the tables must not print such results.
    """
    results = read_results(run / name, run)
    parts = (results, only(results, of_record), only(results, trained_on))  # the last as earlier versions wrote it
    for part in parts:
        if part.domains and metrics_digest(part) == digest:
            return part
    raise JointreidError(f"{run / name} holds results of a later evaluation")


def only(results: Results, domains: Collection[str]) -> Results:
    """Return the results on some domains."""
    return replace(results, domains=tuple(result for result in results.domains if result.domain in domains))


def metrics_digest(results: Results) -> str:
    """Return the SHA-256 of the metrics of all domains, which the same evaluation gives again."""
    domains = json.loads(json.dumps([asdict(result) for result in results.domains]))
    for entry, result in zip(domains, results.domains, strict=True):
        entry["skipped_queries"] = result.skipped_queries
        del entry["conditions"], entry["marks"]  # when it was evaluated, and what the check of the data said
    return hashlib.sha256(json.dumps(domains, sort_keys=True).encode()).hexdigest()


def load_records(out: Path) -> tuple[RunRecord, ...]:
    """Return the records of all finished runs of a folder.

    Raises:
        JointreidError: one is damaged.
    """
    return tuple(load_record(path.parent) for path in sorted((out / "runs").glob(f"*/{RECORD_FILE}")))


def joint_runs(out: Path, models: Sequence[str]) -> tuple[Path, ...]:
    """Return the directories of a grid's finished joint runs of these models, of the first seed that all of them have.

    Raises:
        JointreidError: there is no grid, or a seed for which all are finished.
    """
    setup = load_setup(out)
    found: dict[int, dict[str, Path]] = {}
    for path in sorted((out / "runs").glob(f"*/{RECORD_FILE}")):
        record = load_record(path.parent)
        if record.trained_on == JOINT:
            found.setdefault(record.seed, {})[record.model] = path.parent
    for _, runs in sorted(found.items()):
        if all(model in runs for model in models):
            return tuple(runs[model] for model in models)
    raise JointreidError(
        f"{out} lacks a finished joint training of {' and '.join(models)}; "
        f"`{_grid_command(setup, out, models)}` makes them"
    )


def _grid_command(setup: GridSetup, out: Path, models: Sequence[str]) -> str:
    """Return the command that trains more models of a grid."""
    words: list[str | Path] = ["paper", "run", "--out", out, "--models", ",".join(models)]
    words += [word for dataset in setup.datasets for word in ("--data", dataset.source)]
    words += ["--scale", setup.scale] if setup.scale != "full" else []
    words += ["--preset", setup.preset] if setup.preset != "paper" else []
    as_published = all(dataset.protocol is None or dataset.protocol.comparable for dataset in setup.datasets)
    return command(*words, *(() if as_published else ("--allow-counts",)))


def package_commit(root: Path = _CHECKOUT) -> str:
    """Return the commit of the checkout that this package runs from, marked if changed, else the version."""
    if (root / ".git").exists():
        command = ["git", "-C", str(root), "describe", "--always", "--dirty=+changes", "--abbrev=12", "--exclude=*"]
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
        except (OSError, subprocess.SubprocessError):  # no git here, or not a repository it reads
            pass
    return f"version {version('jointreid')}"


def merge(parts: Sequence[Results]) -> Results:
    """Return results of one run on several test sets as one; of two on the same set, the later stays."""
    domains = {result.domain: result for results in parts for result in results.domains}
    seconds = round(sum(results.seconds for results in parts), 1)
    return replace(parts[-1], domains=tuple(domains.values()), seconds=seconds)
