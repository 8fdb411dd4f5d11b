"""Identities of a batch: how many there are, shared by the processes, and fewer where the data have fewer.

The check of the data and the training decide it by the same functions.
"""

import math
from collections.abc import Sequence

import numpy as np

from jointreid.config import RunConfig
from jointreid.custom import is_custom
from jointreid.data.camera_settings import unknown_cameras
from jointreid.data.composition import PassComposition, compose_pass
from jointreid.data.findings import Problem
from jointreid.data.holdout import hold_out
from jointreid.data.records import Domain
from jointreid.data.sampling import pk_sampler
from jointreid.messages.errors import JointreidError


def step_config(config: RunConfig) -> RunConfig:
    """Return the settings of one step over all processes.

    With `train.batch` per_process each process has `sampler.ids_per_batch` identities, and the batch and the learning
    rate are multiplied by the number of processes: the linear scaling rule of Goyal et al. 2017, found for SGD.

    Raises:
        JointreidError: the identities of a batch cannot be shared evenly, or its statistics not be put together.
    """
    _require_whole_statistics(config)
    size, identities = config.train.devices * config.train.nodes, config.sampler.ids_per_batch
    if config.train.batch == "per_process":
        return config.replace(sampler={"ids_per_batch": identities * size}, optim={"lr": config.optim.lr * size})
    if identities % size:
        raise JointreidError(
            f"{identities} identities a batch cannot be shared evenly by {size} processes; choose a multiple of them "
            "with --sampler.ids_per_batch, or --train.batch per_process"
        )
    if identities == size > 1 and not config.train.gather:
        raise JointreidError(
            f"{identities} identities a batch leave one for each of {size} processes, and a triplet needs a negative; "
            "choose more with --sampler.ids_per_batch, or --train.gather"
        )
    return config


def _require_whole_statistics(config: RunConfig) -> None:
    """Refuse `train.sync_bn` where it would leave out a batch normalisation: PyTorch knows its own layers alone."""
    by_domain = config.model.name.endswith("-dcsd") and config.dcsd.inject == "norm"
    if config.train.sync_bn and by_domain and config.train.devices * config.train.nodes > 1:
        raise JointreidError(
            "train.sync_bn does not reach the batch normalisation by domain of dcsd.inject norm, which would take the "
            "statistics of each process's part of a batch; leave train.sync_bn out, or train in one process"
        )


def fit_identities(config: RunConfig, identities: int, domains: int) -> RunConfig:
    """Return the settings of a step with no more identities in a batch than there are.

    Args:
        config: from `step_config`.
        identities: train identities of all domains.
        domains: those with train images.

    Raises:
        JointreidError: there are too few for a triplet, or to be shared by the processes.
    """
    if is_custom(config.sampler.kind) or identities >= config.sampler.ids_per_batch:
        return config
    processes = config.train.devices * config.train.nodes
    if identities < 2:
        raise JointreidError(
            f"train holds {identities} identit{'y' if identities == 1 else 'ies'} in all, and a triplet needs two "
            "different ones; add images of other people"
        )
    share = 1 if config.train.gather or processes == 1 else 2  # else a process has no negative
    grouped = config.sampler.kind == "grouped_domains"
    even = math.lcm(processes, min(config.sampler.domains_per_batch, domains)) if grouped else processes
    fitting = identities // even * even
    if fitting < share * processes:
        raise JointreidError(
            f"train holds {identities} identities in all, too few for a batch that {processes} processes share; start "
            f"at most {identities // share} (--devices, --nodes), or add images of other people"
        )
    return config.replace(sampler={"ids_per_batch": fitting})


def check_batches(domains: Sequence[Domain], config: RunConfig) -> tuple[list[Problem], PassComposition | None]:
    """Find whether batches can be drawn from the train splits, and shared by the processes.

    Args:
        domains: the data sets, without images that are skipped.
        config: the settings of the training.

    Returns:
        What is wrong; and how a pass is composed, where it can be drawn and has parts to compare. Nothing is known of a
        custom sampler.
    """
    problems = [Problem("error", "", text) for text in unknown_cameras(domains, config.data)]
    trained = [domain for domain in domains if domain.train]
    if config.data.val_ids:
        left = []
        for domain in trained:
            try:
                left.append(hold_out(domain, config.data.val_ids, config.train.seed)[0])
            except JointreidError as error:
                problems.append(Problem("error", domain.name, str(error)))
        trained = left
    if problems or not trained:
        return problems, None
    if config.loss.mining == "across" and len(trained) == 1:
        text = (
            f"loss.mining across takes negatives from other data sets, and only {trained[0].name} has train images; "
            "choose --loss.mining any, or give several data sets"
        )
        return [Problem("error", "", text)], None
    if config.loss.mining == "across" and (text := _without_other_domains(config, len(trained))):
        return [Problem("error", "", text)], None
    processes = config.train.devices * config.train.nodes
    if config.loss.id_head == "per_domain" and processes > 1 and not config.train.gather:
        text = (
            "loss.id_head per_domain takes the mean over the images of each data set in a batch, and a process sees "
            "its own part alone: add --train.gather"
        )
        return [Problem("error", "", text)], None
    identities = sum(len(domain.train_pids) for domain in trained)
    try:
        step = step_config(config)
        fitted = fit_identities(step, identities, len(trained))
    except JointreidError as error:
        return [Problem("error", "", str(error))], None
    wanted, found = step.sampler.ids_per_batch, fitted.sampler.ids_per_batch
    if found < wanted:
        text = (
            f"train holds {identities} identities in all, and a batch was to have {wanted} different ones "
            f"(sampler.ids_per_batch): batches of {found} identities are drawn; add people for larger ones"
        )
        problems.append(Problem("warning", "", text))
    if is_custom(config.sampler.kind):
        return problems, None
    try:
        return problems, _compose(trained, fitted)
    except JointreidError as error:
        return [*problems, Problem("error", "", str(error))], None


def _without_other_domains(config: RunConfig, domains: int) -> str:
    """Return why no triplet could take its negative from another domain; empty where it can."""
    processes = 1 if config.train.gather else config.train.devices * config.train.nodes
    if config.sampler.kind != "grouped_domains" or min(config.sampler.domains_per_batch, domains) > processes:
        return ""
    share = "a batch is of one data set" if processes == 1 else "the part of a process in a batch is of one data set"
    remedy = f"choose {processes + 1} or more" if domains > processes else "add --train.gather"
    return (
        f"loss.mining across takes negatives from other data sets, but with sampler.kind grouped_domains {share} "
        f"(sampler.domains_per_batch is {config.sampler.domains_per_batch}, of {domains} data sets): {remedy}"
    )


def _compose(domains: Sequence[Domain], config: RunConfig) -> PassComposition | None:
    """Draw the first pass, with the labels that `join` gives."""
    labels: list[int] = []
    first = 0
    for domain in domains:
        ranks = {pid: first + rank for rank, pid in enumerate(domain.train_pids)}
        labels += [ranks[record.pid] for record in domain.train]
        first += len(ranks)
    domain_ids = np.repeat(np.arange(len(domains)), [len(domain.train) for domain in domains])
    names = [domain.name for domain in domains]
    return compose_pass(pk_sampler(np.array(labels), domain_ids, names, config), domain_ids, names)
