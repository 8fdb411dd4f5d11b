"""Run directories with settings, labels and results alone, for comparisons of many runs."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jointreid.config import RunConfig, config_difference
from jointreid.data.joint import join
from jointreid.data.records import Domain, ImageRecord
from jointreid.recipes import apply_recipe
from jointreid.retrieval.result_files import save_results
from jointreid.retrieval.results import Conditions, DomainResult, QueryResult, Results


def made_run(
    path: Path,
    recipe: str,
    trained_on: Sequence[str],
    metrics: Mapping[str, float | Sequence[float]],
    *,
    seed: int = 0,
    step: int = 100,
    pretraining: str = "none",
    rerank: bool = False,
    sources: Sequence[str] = (),
    **sections: Mapping[str, Any],
) -> Path:
    """Write a run directory.

    Args:
        path: the directory.
        recipe: such as `bot-dcsd`.
        trained_on: the data sets it was trained on.
        metrics: data set that it was evaluated on -> average precision of its queries, each of another person; one
            number stands for four queries. Rank-1 is half of the mAP.
        seed: of the training.
        step: the steps it was trained for.
        pretraining: what it started from.
        rerank: whether its answers were re-ranked.
        sources: `data.sources`.
        sections: further changes to the settings.
    """
    config = apply_recipe(recipe).replace(train={"seed": seed}, data={"sources": tuple(sources)}).replace(**sections)
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.yaml").write_text(json.dumps(_changed(config)))  # the others are the defaults
    space = join([Domain(name, train=(ImageRecord(Path("1"), "1", 0),)) for name in trained_on]).label_space
    space.save(path / "labels.json")
    domains, queries = [], []
    for name, given in metrics.items():
        values = [given] * 4 if isinstance(given, float) else list(given)
        mean = sum(values) / len(values)
        cmc = {1: mean / 2, 5: mean, 10: mean}
        conditions = Conditions("2026-01-31T12:00:00Z", "last", step, False, rerank)
        trained = name in trained_on
        count = len(values)
        domains.append(
            DomainResult(name, mean, mean, cmc, count, count, 9, True, trained, marks=(), conditions=conditions)
        )
        queries += [QueryResult(name, f"{i}.jpg", f"p{i}", 0, True, value, value, 1) for i, value in enumerate(values)]
    size = config.image.height, config.image.width
    results = Results(
        recipe, "last", "0", tuple(domains), "bn_embedding", "cosine", False, *size, pretraining, 1.0, {}, rerank
    )
    save_results(results, queries, path)
    return path


def _changed(config: RunConfig) -> dict[str, dict[str, Any]]:
    """The settings that are not the defaults, in sections; JSON is YAML too."""
    sections: dict[str, dict[str, Any]] = {}
    for key, (_, value) in config_difference(RunConfig(), config).items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    return sections
