"""Grow a trained model by data sets: before, training, after, and the difference on every data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from jointreid.analysis.compare import Comparison, compare
from jointreid.config import RunConfig
from jointreid.data.moved import resolve_paths
from jointreid.data.sources import load_domains
from jointreid.machine.paths import require_writable, user_path
from jointreid.messages.commands import command
from jointreid.messages.console import say
from jointreid.messages.errors import JointreidError
from jointreid.messages.tables import text_table
from jointreid.retrieval.evaluate import evaluate_run
from jointreid.retrieval.result_files import load_results
from jointreid.run import Run, find_data, open_run
from jointreid.training.train import train

# Of the run's own learning rate. A trained network needs smaller steps than a new one; the factor was not tuned.
LR_FACTOR = 0.3


@dataclass(frozen=True)
class Growth:
    """What a model gained and lost when it was trained further with new data sets.

    Attributes:
        run: the grown run.
        known: the domains that the run before was trained on.
        added: the new domains.
        replayed: whether the known domains were trained on again, beside the new ones.
        comparison: the run before (A) and the grown one (B), on every domain.
    """

    run: Run
    known: tuple[str, ...]
    added: tuple[str, ...]
    replayed: bool
    comparison: Comparison

    def to_dict(self) -> dict[str, Any]:
        """Return the growth as plain dicts, lists and strings, for JSON."""
        return {
            "run": str(self.run.path),
            "known": self.known,
            "added": self.added,
            "replayed": self.replayed,
            "comparison": self.comparison.to_dict(),
        }


def add_domain(
    run: str | Path,
    sources: Sequence[str],
    out: str | Path,
    *,
    replay: bool = True,
    lr_factor: float = LR_FACTOR,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    console: Console | None = None,
) -> Growth:
    """Train a run further with new data sets, evaluate it on the known and the new ones, and compare.

    The trained network, and the rows of its classifiers for the classes that stay, are where training starts; rows for
    the new identities, domains and cameras start at random. The earlier run stays as it is, but for its results, which
    also hold the new data sets afterwards.

    Args:
        run: the directory of the trained run.
        sources: the new data sets, as in `data.sources`.
        out: the directory of the grown run; must be new.
        replay: train on the known data sets too; without them a network forgets most of what it knew.
        lr_factor: the learning rate, as a multiple of the run's.
        settings: further changes to the run's settings, by section.
        console: where to print; standard output by default.

    Raises:
        JointreidError: not a run with a checkpoint, no new data set, one that the run was trained on already, or data
            that are not ready, all before the first step.
    """
    console = console or Console()
    before = open_run(run)
    path = user_path(out)
    require_writable(path, "--out")
    if (path / "config.yaml").is_file():
        raise JointreidError(
            f"--out: {path} holds a run already; resume it with `{command('train', '--resume', path)}`, or choose "
            "another folder"
        )
    before.checkpoint()
    config, added = _settings(before, sources, path, replay, lr_factor, settings or {})
    _evaluate_before(before, config, sources, console)
    grown = train(config, console)
    if not replay:
        say(console, "Evaluating on the data sets that were known before.")
        evaluate_run(grown.path, find_data(before).config.data)
    known = tuple(domain.name for domain in before.label_space.domains)
    return Growth(grown, known, added, replay, compare(before.path, grown.path))


def render(growth: Growth) -> str:
    """Return the growth for people: mAP and Rank-1 before and after, in percent, and what was forgotten."""
    head = ["Domain", "", "mAP before", "after", "change", "95% interval", "Rank-1 before", "after"]
    rows = []
    lost = []
    for domain in growth.comparison.domains:
        if domain.mAP is None or domain.rank1 is None:
            continue
        is_known = domain.domain in growth.known
        change = domain.mAP
        rows.append(
            [
                domain.domain,
                "known" if is_known else "new",
                *(f"{100 * value:.1f}" for value in (change.a, change.b)),
                f"{100 * change.difference:+.1f}",
                f"{100 * change.low:+.1f} to {100 * change.high:+.1f}",
                *(f"{100 * value:.1f}" for value in (domain.rank1.a, domain.rank1.b)),
            ]
        )
        if is_known and change.high < 0:
            lost.append(f"{domain.domain} ({100 * change.difference:+.1f} mAP)")
    verdict = (
        f"Forgotten: {', '.join(lost)}."
        if lost
        else "Nothing was forgotten: no known data set lost more than the choice of queries explains."
    )
    return "\n".join([text_table([head, *rows], "llrrrrrr"), verdict])


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
    base = find_data(before).config
    own = base.data.sources
    base = base.replace(
        optim={"lr": before.config.optim.lr * lr_factor},
        train={"out": str(path), "resume": False, "init": str(before.path), "init_classes": True, "label": ""},
        model={"pretrain": "none", "pretrain_file": ""},
    )
    config = base.replace(**changes)
    new = config.replace(data={"sources": tuple(sources)})
    names = tuple(domain.name for domain in load_domains(resolve_paths(new).data))
    known = {domain.name for domain in before.label_space.domains}
    if twice := [name for name in names if name in known]:
        raise JointreidError(
            f"{before.path} was trained on a data set called {twice[0]} already; give the new one another name with "
            "--data NAME=PATH, or in its manifest"
        )
    kept = own if replay else ()
    return config.replace(data={"sources": (*kept, *sources)}), names


def _evaluate_before(before: Run, config: RunConfig, sources: Sequence[str], console: Console) -> None:
    """Evaluate the run as it is on its own data sets, if it was not, and on the new ones."""
    try:
        known = {result.domain for result in load_results(before.path)[0].domains}
    except JointreidError:
        known = set()
    if not {domain.name for domain in before.label_space.domains} <= known:
        say(console, f"Evaluating {before.path} on its own data sets.")
        evaluate_run(before.path)
    say(console, f"Evaluating {before.path} on the new data sets, which it has not seen.")
    evaluate_run(before.path, config.replace(data={"sources": tuple(sources)}).data)
