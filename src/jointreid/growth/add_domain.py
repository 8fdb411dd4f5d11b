"""Grow a trained model by data sets: before, training, after, and the difference on every data set."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from jointreid.analysis.compare import compare
from jointreid.config import DataConfig, RunConfig, keep_domains
from jointreid.data.batch_shares import check_batches
from jointreid.data.moved import resolve_paths
from jointreid.data.sources import load_by_source, load_domains
from jointreid.growth.result import Growth, accuracy_changes
from jointreid.machine.paths import require_writable, user_path
from jointreid.messages.commands import command
from jointreid.messages.console import say
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.evaluate import evaluate_run
from jointreid.retrieval.result_files import load_results
from jointreid.run import Run, find_data, open_run
from jointreid.training.distributed.world import is_main_process, report_once
from jointreid.training.optim import generator_lr
from jointreid.training.start_weights import check_start_weights
from jointreid.training.train import train

# Of the run's own learning rate. A trained network needs smaller steps than a new one; the factor was not tuned.
LR_FACTOR = 0.3


def add_domain(
    run: str | Path,
    sources: Sequence[str],
    out: str | Path,
    *,
    replay: bool = True,
    lr_factor: float = LR_FACTOR,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    console: Console | None = None,
) -> Growth | None:
    """Train a run further with new data sets, evaluate it on the known and the new ones, and compare.

    The trained network, and the rows of its classifiers for the classes that stay, are where training starts; rows for
    the new identities, domains and cameras start at random. All settings but the learning rate are those of the run,
    its length and its limit of steps too. The earlier run stays as it is, but for its results, which also hold the new
    data sets afterwards.

    Args:
        run: the directory of the trained run.
        sources: the new data sets, as in `data.sources`.
        out: the directory of the grown run; must be new.
        replay: train on the known data sets too; without them a network forgets most of what it knew.
        lr_factor: the learning rate, as a multiple of the run's.
        settings: further changes to the run's settings, by section.
        console: where to print; standard output by default.

    Returns:
        What was gained and lost; None in all processes but the main one.

    Raises:
        JointreidError: not a run with a checkpoint, no new data set, one that the run was trained on already, another
            way of evaluating than the run's, or data that are not ready, all before the first step.
    """
    console = console or Console()
    with report_once():
        before = open_run(run)
        path = user_path(out)
        require_writable(path, "--out")
        if (path / "config.yaml").is_file():
            raise JointreidError(
                f"--out: {path} holds a run already; resume it with `{command('train', '--resume', path)}` and then "
                f"see `{command('compare', before.path, path)}`, or choose another folder"
            )
        before.checkpoint()
        config, added = _settings(before, sources, path, replay, lr_factor, settings or {})
    if is_main_process():
        _evaluate_before(before, config, sources, console)
        say(console, _length_in_words(config, before))
    grown = train(config, console)
    if not is_main_process():
        return None
    of_run = _testable(find_data(before).config.data)
    if of_run.sources and not replay:
        say(console, "Evaluating on the data sets that were known before.")
        evaluate_run(grown.path, of_run)
    known = tuple(domain.name for domain in before.label_space.domains)
    comparison, changes = compare(before.path, grown.path), accuracy_changes(before.path, grown.path)
    return Growth(grown, known, added, replay, comparison, changes)


def _settings(
    before: Run,
    sources: Sequence[str],
    path: Path,
    replay: bool,
    lr_factor: float,
    changes: Mapping[str, Mapping[str, Any]],
) -> tuple[RunConfig, tuple[str, ...]]:
    """Return the settings of the grown run and the names of the new domains."""
    if not sources:
        raise JointreidError("no new data sets; name them with --manifest FILE or --data NAME=PATH")
    if replay and before.label_space.is_published:
        raise JointreidError(
            f"{before.path} was fetched from a hub, without its data sets, so they cannot be trained on again; add "
            "--replay=false to train on the new ones alone"
        )
    base = find_data(before).config
    of_run = base.data.sources
    base = base.replace(
        # The run's own factor as a number: one that 0 chose would follow train.init, and change.
        optim={"lr": before.config.optim.lr * lr_factor, "generator_lr": generator_lr(before.config)},
        train={"out": str(path), "resume": False, "init": str(before.path), "init_classes": True, "label": ""},
        model={"pretrain": "none", "pretrain_file": ""},
    )
    known = {domain.name for domain in before.label_space.domains}
    if not replay:
        base = keep_domains(base, lambda name: name not in known)
    config = base.replace(**changes)
    _require_same_evaluation(base, config)
    new = load_domains(resolve_paths(config.replace(data={"sources": tuple(sources)})).data)
    names = tuple(domain.name for domain in new)
    if twice := [name for name in names if name in known]:
        raise JointreidError(
            f"{before.path} was trained on a data set called {twice[0]} already; give the new one another name with "
            "--data NAME=PATH, or in its manifest"
        )
    config = resolve_paths(config.replace(data={"sources": (*(of_run if replay else ()), *sources)}))
    check_start_weights(config)
    problems, _ = check_batches(load_domains(config.data), config)
    if errors := [problem.message for problem in problems if problem.level == "error"]:
        raise JointreidError(f"the data sets do not fit the settings: {'; '.join(errors)}")
    return config, names


def _require_same_evaluation(before: RunConfig, config: RunConfig) -> None:
    """Refuse settings with which the grown run would be evaluated in another way than the run before."""
    for name in ("metric", "flip", "rerank"):
        own, asked = (getattr(settings.eval, name) for settings in (before, config))
        if asked != own:
            raise JointreidError(
                f"eval.{name} is {asked}; expected {own}, as in the run before, since the two are compared. Leave it "
                "out here, and evaluate both in the other way afterwards"
            )


def _length_in_words(config: RunConfig, before: Run) -> str:
    """Return a line about the length of the training, which is that of the run unless it was given."""
    limits = [f"{config.schedule.epochs} epochs (schedule.epochs)"]
    if config.train.max_steps:
        limits.append(f"at most {config.train.max_steps:,} steps (train.max_steps)")
    if config.train.minutes:
        limits.append(f"at most {config.train.minutes:g} minutes (train.minutes)")
    return f"Training from {before.path} for {', '.join(limits)}, lr {config.optim.lr:.2e} (optim.lr)."


def _evaluate_before(before: Run, config: RunConfig, sources: Sequence[str], console: Console) -> None:
    """Evaluate the run as it is on its own data sets, if it was not, and on the new ones; those with a test split.

    Earlier results count if they are of the same weights, evaluated as the grown run will be.

    Raises:
        JointreidError: neither its data sets nor the new ones have a test split, so nothing could be compared.
    """
    of_run = _testable(find_data(before).config.data)
    new = _testable(config.replace(data={"sources": tuple(sources)}).data)
    if not of_run.sources and not new.sources:
        raise JointreidError(
            "no data set has a query and a gallery, so there is nothing to compare; train without a comparison with "
            f"`{command('train', '--train.init', before.path, '--train.init_classes')}`"
        )
    own = load_domains(of_run) if of_run.sources else ()
    if not _evaluated_alike(before).issuperset(domain.name for domain in own if domain.query and domain.gallery):
        say(console, f"Evaluating {before.path} on its own data sets.")
        evaluate_run(before.path)
    if new.sources:
        say(console, f"Evaluating {before.path} on the new data sets, which it has not seen.")
        evaluate_run(before.path, new)


def _evaluated_alike(before: Run) -> set[str]:
    """Return the domains that the last weights of a run were evaluated on as its settings say."""
    try:
        results, _ = load_results(before.path)
    except JointreidError:
        return set()
    settings, step = before.config.eval, before.step()
    if results.metric != settings.metric:
        return set()
    return {
        result.domain
        for result in results.domains
        if (told := result.conditions) and (told.step, told.flip, told.rerank) == (step, settings.flip, settings.rerank)
    }


def _testable(data: DataConfig) -> DataConfig:
    """Return the settings with those sources alone that hold a data set with query and gallery."""
    found = [
        source
        for source, domains in load_by_source(data).items()
        if any(domain.query and domain.gallery for domain in domains)
    ]
    return replace(data, sources=tuple(found))
