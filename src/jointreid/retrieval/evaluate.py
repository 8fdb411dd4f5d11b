"""Evaluate a model on data sets, those it was trained on or others: records -> features -> ranking -> results."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from jointreid.config import DataConfig, RunConfig, config_hash
from jointreid.data.label_space import LabelSpace
from jointreid.data.protocols import ProtocolMatch, identify
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.run_images import save_images
from jointreid.machine.device import pick_device
from jointreid.machine.paths import cache_folder, require_writable
from jointreid.machine.shortage import short_of_memory
from jointreid.messages.errors import JointreidError
from jointreid.messages.progress import progress_bars
from jointreid.models.reid import ReIDModel
from jointreid.models.weight_sources import label_of
from jointreid.retrieval.domain_ranking import images_of, rank_domain, rank_merged, without_junk
from jointreid.retrieval.embeddings import Embeddings
from jointreid.retrieval.extract import Indices, extract
from jointreid.retrieval.queries import query_results, unseen_cameras
from jointreid.retrieval.ranking import RankingMetrics
from jointreid.retrieval.result_files import save_results
from jointreid.retrieval.results import RANKS, DomainResult, MergedResult, QueryResult, Results
from jointreid.retrieval.run_data import load_evaluation_data
from jointreid.run import open_run, step_in

# Called with (domain, images done, images in all) after each batch.
OnBatch = Callable[[str, int, int], None]
# Called with (images, domain), returns their features, in the same order.
Embed = Callable[[Sequence[ImageRecord], str], Embeddings]


def evaluate_domains(
    model: ReIDModel,
    domains: Sequence[Domain],
    config: RunConfig,
    label_space: LabelSpace,
    *,
    device: torch.device,
    checkpoint: str = "last",
    protocols: Mapping[str, ProtocolMatch | None] | None = None,
    marks: Mapping[str, tuple[str, ...]] | None = None,
    pretraining: str = "",
    on_batch: OnBatch | None = None,
    embed_with: Embed | None = None,
    merged_gallery: bool = False,
) -> tuple[Results, tuple[QueryResult, ...]]:
    """Evaluate a model on each domain by itself: its queries against its gallery, under its own camera rule.

    Junk is left out. A distractor stays in the gallery and matches no query, whatever its pid.

    Args:
        model: a model on `device`.
        domains: data sets with a query and a gallery.
        config: the run's settings, of which `image`, `eval`, `data.cache` and `train.workers` are used.
        label_space: the domain and camera of each class of the model's heads.
        device: where `model` is.
        checkpoint: what the results call the weights.
        protocols: domain -> protocol it was read in, where images were left out since; by default that of `domains`.
        marks: domain -> remarks of the check that its result carries; None if the data were not checked.
        pretraining: weights that training started from, as its state tells; by default those of the settings.
        on_batch: called with (domain, images done, images in all) after each batch.
        embed_with: computes the features instead of `model`, for evaluation by several processes.
        merged_gallery: search the galleries of all domains together for each query too, see `rank_merged`.

    Returns:
        The results, and one entry a query.

    Raises:
        JointreidError: no domains, or one without query images, gallery images or any query that has a match; an
            unreadable image; a feature that is not finite; too little memory; a merged gallery of one domain.
    """
    if not domains:
        raise JointreidError("no data set has a query and a gallery; evaluation needs one")
    if merged_gallery and len(domains) < 2:
        raise JointreidError(
            f"a merged gallery takes two data sets or more, and only {domains[0].name} is evaluated; name others with "
            "--data or --manifest"
        )
    since = time.monotonic()

    def embed_here(records: Sequence[ImageRecord], domain: str) -> Embeddings:
        origins = origins_of(model, records, domain, label_space)
        return embed(model, records, config, device, domain, on_batch, origins)

    results_of, queries, kept = [], [], []
    with short_of_memory(lambda: _memory_advice(config)):
        for domain in domains:
            embeddings = (embed_with or embed_here)(images_of(domain), domain.name)
            ranking = rank_domain(domain, embeddings, config.eval, device)
            results_of.append(_domain_result(domain, embeddings, ranking, label_space))
            own = query_results(domain, without_junk(domain, "query"), ranking)
            queries += own
            if (number := _domain_id(domain.name, label_space)) is not None:
                unseen = unseen_cameras(own, label_space.domains[number])
                results_of[-1] = replace(results_of[-1], unseen_cameras=unseen)
            if merged_gallery:
                kept.append((embeddings, ranking))
        if merged_gallery:
            merged = _merged_results(domains, kept, config, device)
            results_of = [replace(result, merged=found) for result, found in zip(results_of, merged, strict=True)]
    known = {domain.name: identify(domain) for domain in domains} if protocols is None else protocols
    results = Results(
        run=config.train.label or config.model.name,
        checkpoint=checkpoint,
        config=config_hash(config),
        domains=tuple(
            replace(
                result, protocol=known[result.domain], marks=None if marks is None else marks.get(result.domain, ())
            )
            for result in results_of
        ),
        feature="bn_embedding",
        metric=config.eval.metric,
        flip=config.eval.flip,
        height=config.image.height,
        width=config.image.width,
        pretraining=pretraining or config.train.init or label_of(config.model.pretrain),
        seconds=round(time.monotonic() - since, 1),
        versions={package: version(package) for package in ("jointreid", "torch")},
        rerank=config.eval.rerank,
    )
    return results, tuple(queries)


def _memory_advice(config: RunConfig) -> str:
    batch, block = config.eval.batch_size, config.eval.max_memory
    same = "Re-ranked figures may change in their last digits" if config.eval.rerank else "Figures stay the same"
    return (
        f"evaluation needs more memory than there is. Lower --eval.batch_size to {max(1, batch // 4)} (it is {batch}), "
        f"or if the ranking failed, --eval.max_memory to {max(2**20, block // 4)} (it is {block} bytes); for "
        f"`evaluate` they are --batch-size and --max-memory. {same}. A run is resumed by --resume"
    )


def evaluate_run(
    path: str | Path,
    data: DataConfig | None = None,
    checkpoint: str = "last",
    *,
    flip: bool = False,
    rerank: bool = False,
    max_memory: int | None = None,
    batch_size: int | None = None,
    device: str = "auto",
    skip_unreadable: bool = False,
    cache: str = "",
    merged_gallery: bool = False,
) -> Results:
    """Check the data, evaluate a run and write the results into its directory, see `save_results`.

    Args:
        path: the run directory.
        data: the data sets, and how to read them; if it names none, the run's data sets with a test split are
            evaluated. One that has the name of a domain of the run must hold the same test images, wherever they lie.
        checkpoint: last or best.
        flip: average features with those of the mirrored images, even if the run's settings do not.
        rerank: re-rank by k-reciprocal neighbours, even if the run's settings do not.
        max_memory: bytes that ranking may take, instead of those in the run's settings.
        batch_size: images a forward pass, instead of those in the run's settings.
        device: auto, cpu, cuda or mps.
        skip_unreadable: leave out unreadable images, even if the run's settings do not.
        cache: folder for decoded images; empty for that of the run.
        merged_gallery: search the galleries of all these data sets together too.

    Raises:
        JointreidError: not a run, no such checkpoint or device, data that cannot be read, other images under the name
            of a domain of the run, or errors in the check of the data (see `data.preflight`), among them that they are
            mostly images that the run was trained on.
    """
    where = pick_device(device)
    run = open_run(path)
    require_writable(run.path, "")
    model, state = run.loaded(checkpoint)
    found = load_evaluation_data(run, data, skip_unreadable=skip_unreadable, cache=cache)
    asked = {"flip": flip or run.config.eval.flip, "rerank": rerank or run.config.eval.rerank}
    least = {"batch_size": batch_size, "max_memory": max_memory}
    config = found.config.replace(eval=asked | {name: value for name, value in least.items() if value is not None})
    with progress_bars(Console(stderr=True)) as on_batch:
        results, queries = evaluate_domains(
            model.to(where),
            found.domains,
            config,
            run.label_space,
            device=where,
            checkpoint=checkpoint,
            protocols=found.protocols,
            marks=found.marks,
            pretraining=str(state.get("pretraining", "")),
            on_batch=on_batch,
            merged_gallery=merged_gallery,
        )
    results = replace(results, config=config_hash(run.config)).dated(step_in(state), found.sources)
    save_results(results, queries, run.path)
    save_images(found.images, run.path)
    return results


def _domain_result(
    domain: Domain, embeddings: Embeddings, ranking: RankingMetrics, label_space: LabelSpace
) -> DomainResult:
    domain_accuracy, camera_accuracy = _head_accuracies(domain.name, embeddings, label_space)
    return DomainResult(
        domain=domain.name,
        mAP=ranking.mAP,
        mINP=ranking.mINP,
        cmc=_cmc(ranking),
        num_query=len(without_junk(domain, "query")),
        num_valid_queries=ranking.num_valid_queries,
        num_gallery=len(without_junk(domain, "gallery")),
        exclude_same_camera=domain.exclude_same_camera,
        trained_on=_domain_id(domain.name, label_space) is not None,
        domain_accuracy=domain_accuracy,
        camera_accuracy=camera_accuracy,
    )


def _merged_results(
    domains: Sequence[Domain],
    separate: Sequence[tuple[Embeddings, RankingMetrics]],
    config: RunConfig,
    device: torch.device,
) -> list[MergedResult]:
    """Return the accuracy of each domain with the galleries of all, given features and ranking of each by itself."""
    names = tuple(domain.name for domain in domains)
    num_gallery = sum(len(without_junk(domain, "gallery")) for domain in domains)
    rankings = rank_merged(domains, [embeddings for embeddings, _ in separate], config.eval, device)
    return [
        MergedResult(
            domains=names,
            num_gallery=num_gallery,
            mAP=merged.mAP,
            mINP=merged.mINP,
            cmc=_cmc(merged),
            overtaken=None if config.eval.rerank else float((merged.first_match_rank > alone.first_match_rank).mean()),
        )
        for merged, (_, alone) in zip(rankings, separate, strict=True)
    ]


def _cmc(ranking: RankingMetrics) -> dict[int, float]:
    return {rank: float(ranking.cmc[rank - 1]) for rank in RANKS}


def embed(
    model: ReIDModel,
    records: Sequence[ImageRecord],
    config: RunConfig,
    device: torch.device,
    what: str,
    on_batch: OnBatch | None,
    origins: Indices | None = None,
) -> Embeddings:
    """Compute the features of images as a run's settings say.

    Args:
        model: in evaluation mode, on `device`.
        records: the images; in the same order, what was decoded for them before is used again.
        config: the run's settings.
        device: where to compute.
        what: the name that `on_batch` is called with.
        on_batch: called with (what, images done, images in all) after each batch.
        origins: see `origins_of`.

    Raises:
        JointreidError: an unreadable image, a feature that is not finite, or too little memory.
    """
    with short_of_memory(lambda: _memory_advice(config)):
        return extract(
            model,
            records,
            config.image,
            config.eval,
            device=device,
            cache_dir=cache_folder(config.data.cache),
            workers=config.train.workers,
            cache_mode=config.data.cache_mode,
            on_batch=on_batch and (lambda done, total: on_batch(what, done, total)),
            origins=origins,
        )


def origins_of(
    model: ReIDModel, records: Sequence[ImageRecord], domain: str, label_space: LabelSpace
) -> Indices | None:
    """Return the domain id and the global camera id of images, [N, 2], for a model that is told them; else None.

    An id is -1 for a domain, or a camera, that the model was not trained on.

    Args:
        model: the model.
        records: images of one domain.
        domain: its name.
        label_space: of the model's training.
    """
    if not model.needs_origins:
        return None
    domain_id = _domain_id(domain, label_space)
    if domain_id is None:
        return np.full((len(records), 2), -1, dtype=np.int64)
    known = label_space.domains[domain_id]
    cameras = [known.global_camid(r.camid) if r.camid in known.cameras else -1 for r in records]
    return np.stack([np.full(len(records), domain_id), np.array(cameras)], axis=1).astype(np.int64)


def _domain_id(name: str, label_space: LabelSpace) -> int | None:
    """Return the class that a domain has in the model's heads, or None if it was not trained on."""
    names = [known.name for known in label_space.domains]
    return names.index(name) if name in names else None


def _head_accuracies(name: str, embeddings: Embeddings, label_space: LabelSpace) -> tuple[float | None, float | None]:
    """Return the shares of images whose domain and whose camera the heads predict, as in `DomainResult`."""
    domain_id = _domain_id(name, label_space)
    if domain_id is None:
        return None, None
    known = np.isin(embeddings.camids, label_space.domains[domain_id].cameras)
    cameras = np.array([label_space.global_camid(name, camid) for camid in embeddings.camids[known].tolist()])
    domain_accuracy = camera_accuracy = None
    if embeddings.domain_posterior is not None:
        domain_accuracy = float((embeddings.domain_posterior.argmax(1) == domain_id).mean())
    if embeddings.camera_posterior is not None and len(cameras):
        camera_accuracy = float((embeddings.camera_posterior[known].argmax(1) == cameras).mean())
    return domain_accuracy, camera_accuracy
