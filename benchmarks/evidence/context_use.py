"""Proof that a network uses its context: the same test images again, with a context that says nothing or lies."""

from collections.abc import Sequence
from pathlib import Path

import torch

from jointreid.conflict.context import SHUFFLED, ZEROED, features_with_context
from jointreid.conflict.layers import context_heads
from jointreid.data.records import ImageRecord
from jointreid.machine.device import pick_device
from jointreid.models.reid import ReIDModel
from jointreid.retrieval.domain_ranking import images_of
from jointreid.retrieval.embeddings import Embeddings, Floats
from jointreid.retrieval.evaluate import embed, evaluate_domains
from jointreid.retrieval.run_data import EvaluationData, load_evaluation_data
from jointreid.run import Run, open_run

# Names of the contexts, in the order of the tables.
CONTEXTS = (ZEROED, SHUFFLED)


def context_use(path: Path) -> dict[str, dict[str, float]]:
    """Return the mAP of each domain with a context of zeros, and with the contexts of other images.

    Queries, galleries and rules are those of the run's own evaluation, so that its mAPs can be compared.

    Args:
        path: the run directory of a network that predicts its context.
    """
    run = open_run(path)
    device = pick_device(run.config.train.device)
    model, data = run.model().to(device), load_evaluation_data(run)
    heads = context_heads(model)
    records = [record for domain in data.domains for record in images_of(domain)]

    def features(images: Sequence[ImageRecord]) -> Floats:
        return embed(model, images, data.config, device, "test images", None).features

    found = {}
    for context in CONTEXTS:
        rows = features_with_context(context, heads, records, features, seed=0)
        found[context] = _mean_ap(run, model, data, rows, device)
    return found


def _mean_ap(
    run: Run, model: ReIDModel, data: EvaluationData, features: Floats, device: torch.device
) -> dict[str, float]:
    """Return the mAP of each domain, given the features of its images, domain after domain."""
    embeddings, start = {}, 0
    for domain in data.domains:
        images = images_of(domain)
        embeddings[domain.name] = Embeddings.of(images, features[start : start + len(images)], None, None)
        start += len(images)
    results, _ = evaluate_domains(
        model,
        data.domains,
        data.config,
        run.label_space,
        device=device,
        protocols=data.protocols,
        embed_with=lambda _records, name: embeddings[name],
    )
    return {result.domain: round(result.mAP, 5) for result in results.domains}
