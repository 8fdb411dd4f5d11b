"""Rank the queries of a domain against its own gallery, or against the galleries of several domains at once.

Junk is left out everywhere. A distractor stays in the gallery and matches no query, whatever its pid.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from jointreid.config import EvalConfig
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.embeddings import Embeddings, Floats
from jointreid.retrieval.ranking import RankingMetrics, evaluate_distmat, evaluate_ranking
from jointreid.retrieval.rerank import reranked_blocks
from jointreid.retrieval.results import RANKS


def images_of(domain: Domain) -> tuple[ImageRecord, ...]:
    """Return the images that evaluation embeds: query and gallery without junk; each once in leave-one-out.

    Raises:
        JointreidError: a split without images.
    """
    if domain.leave_one_out:
        return without_junk(domain, "gallery")
    return without_junk(domain, "query") + without_junk(domain, "gallery")


def split_rows(domain: Domain, rows: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the rows of the queries and those of the gallery, of rows for the images of `images_of`."""
    if domain.leave_one_out:
        return rows, rows
    own, others = np.split(rows, [len(without_junk(domain, "query"))])
    return own, others


def without_junk(domain: Domain, split: Literal["query", "gallery"]) -> tuple[ImageRecord, ...]:
    """Return the images of a split without junk.

    Raises:
        JointreidError: there are none.
    """
    records: tuple[ImageRecord, ...] = getattr(domain, split)
    if kept := tuple(record for record in records if not record.junk):
        return kept
    where = f"{domain.name} ({domain.source})" if domain.source else domain.name
    raise JointreidError(f"{where}: no images in {split}; evaluation needs a query and a gallery")


def rank_domain(domain: Domain, embeddings: Embeddings, how: EvalConfig, device: torch.device) -> RankingMetrics:
    """Rank a domain's gallery for each of its queries, under its own camera rule.

    Args:
        domain: the domain.
        embeddings: of its `images_of`.
        how: the distance, re-ranking and memory.
        device: where to compute.

    Raises:
        JointreidError: no query has a match; the message names the domain.
    """
    labels = *_number_identities(domain), *split_rows(domain, embeddings.camids)
    features = split_rows(domain, embeddings.features)
    return _rank(domain, *features, *labels, domain.exclude_same_camera, domain.leave_one_out, how, device)


def rank_merged(
    domains: Sequence[Domain], embeddings: Sequence[Embeddings], how: EvalConfig, device: torch.device
) -> list[RankingMetrics]:
    """Rank the galleries of all domains together for the queries of each domain.

    An image of another domain is always a wrong answer. Which images of the query's own domain are ignored, and which
    queries are valid, is as in `rank_domain`.

    Args:
        domains: the domains.
        embeddings: of the `images_of` each, by the same model.
        how: the distance, re-ranking and memory.
        device: where to compute.

    Returns:
        The metrics of each domain.

    Raises:
        JointreidError: no query of a domain has a match, or re-ranking is asked for where queries are the gallery.
    """
    sides = [split_rows(domain, found.features) for domain, found in zip(domains, embeddings, strict=True)]
    gallery = np.concatenate([others for _, others in sides])
    start, metrics = 0, []
    for domain, found, (own, others) in zip(domains, embeddings, sides, strict=True):
        if domain.leave_one_out and how.rerank:
            raise JointreidError(
                f"{domain.name}: a merged gallery cannot be re-ranked where every image asks all others "
                "(leave-one-out); evaluate without re-ranking"
            )
        place = slice(start, start := start + len(others))
        query_pids, own_pids = _number_identities(domain)
        query_camids, own_camids = split_rows(domain, found.camids)
        if domain.leave_one_out and not domain.exclude_same_camera:
            # Each image ignores itself alone: it is the only one of its "camera".
            query_camids = own_camids = np.arange(len(others))
        pids, camids = np.full(len(gallery), _STRANGER), np.zeros(len(gallery), dtype=np.int64)
        pids[place], camids[place] = own_pids, own_camids
        ignores = domain.exclude_same_camera or domain.leave_one_out
        metrics.append(_rank(domain, own, gallery, query_pids, pids, query_camids, camids, ignores, False, how, device))
    return metrics


# The number of an image of another domain; those of a domain's own are others.
_STRANGER = -3


def _rank(
    domain: Domain,
    query: Floats,
    gallery: Floats,
    query_pids: NDArray[np.int64],
    gallery_pids: NDArray[np.int64],
    query_camids: NDArray[np.int64],
    gallery_camids: NDArray[np.int64],
    exclude_same_camera: bool,
    leave_one_out: bool,
    how: EvalConfig,
    device: torch.device,
) -> RankingMetrics:
    labels = query_pids, gallery_pids, query_camids, gallery_camids
    rule = {"exclude_same_camera": exclude_same_camera, "leave_one_out": leave_one_out}
    longest = max(RANKS)
    try:
        if how.rerank:
            blocks = reranked_blocks(query, gallery, how.metric, max_memory=how.max_memory, leave_one_out=leave_one_out)
            return evaluate_distmat(blocks, *labels, **rule, max_rank=longest)
        return evaluate_ranking(
            query,
            gallery,
            *labels,
            **rule,
            metric=how.metric,
            max_rank=longest,
            max_memory=how.max_memory,
            device=device,
        )
    except JointreidError as error:
        raise JointreidError(f"{domain.name}: {error}") from error


def _number_identities(domain: Domain) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return a number for each identity, [Q] and [G]; a distractor's is not that of any image in the other split."""
    gallery = without_junk(domain, "gallery")
    if domain.leave_one_out:  # a distractor is alone with its number
        known: dict[object, int] = {}
        keys = [(record.pid, index if record.distractor else None) for index, record in enumerate(gallery)]
        codes = np.array([known.setdefault(key, len(known)) for key in keys])
        return codes, codes
    query = without_junk(domain, "query")
    numbers = {pid: number for number, pid in enumerate(sorted({record.pid for record in (*query, *gallery)}))}
    distractors = {"query": -1, "gallery": -2}
    query_numbers, gallery_numbers = (
        np.array([distractors[split] if record.distractor else numbers[record.pid] for record in records])
        for split, records in (("query", query), ("gallery", gallery))
    )
    return query_numbers, gallery_numbers
