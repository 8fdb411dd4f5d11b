"""Data sets checked, split and joined before the first step."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jointreid.config import RunConfig
from jointreid.data.findings import render
from jointreid.data.holdout import hold_out
from jointreid.data.joint import JointTrainSet, join
from jointreid.data.preflight import check
from jointreid.data.protocols import ProtocolMatch
from jointreid.data.records import Domain
from jointreid.data.sources import load_domains
from jointreid.machine.hashing import text_sha256
from jointreid.messages.errors import JointreidError


@dataclass(frozen=True)
class TrainingData:
    """What a run trains and is measured on.

    Attributes:
        train_set: the union of the train splits, with labels.
        test: the domains that have a query and a gallery.
        val: for each domain with held-out identities, these as a small test set; empty without `data.val_ids`.
        protocols: domain -> which protocol it was read in, before images were skipped.
        summary: the pre-flight's table for people.
    """

    train_set: JointTrainSet
    test: tuple[Domain, ...]
    val: tuple[Domain, ...]
    protocols: Mapping[str, ProtocolMatch | None]
    summary: str


def load_training_data(config: RunConfig) -> TrainingData:
    """Load, check and join the data sets of a run.

    Raises:
        JointreidError: the pre-flight found that training or evaluation cannot run; the message holds its errors.
    """
    domains = load_domains(config.data)
    result, domains = check(
        domains,
        cache_dir=Path(config.data.cache),
        skip_unreadable=config.data.skip_unreadable,
        threads=config.train.workers,
        purpose="both",
    )
    if not result.ok:
        errors = "; ".join(problem.message for problem in result.problems if problem.level == "error")
        raise JointreidError(f"the data are not ready: {errors}. `jointreid data check` shows all that was found")
    test = tuple(domain for domain in domains if domain.query and domain.gallery)
    val: tuple[Domain, ...] = ()
    if config.data.val_ids:
        split = [hold_out(domain, config.data.val_ids, config.train.seed) for domain in domains]
        domains, val = tuple(rest for rest, _ in split), tuple(held for _, held in split)
    protocols = {name: summary.protocol for name, summary in result.domains.items()}
    return TrainingData(join(domains, config.data.camera_ids), test, val, protocols, render(result))


def images_hash(train_set: JointTrainSet) -> str:
    """Return a hash of which images there are, in which order and with which labels; it is the same in another folder.

    The batches of a run are indices into this order.
    """
    return text_sha256(
        *(f"{s.record.path.name}\0{s.record.box}\0{s.label}\0{s.global_camid}\n" for s in train_set.samples)
    )


def data_hash(data: TrainingData) -> str:
    """Return a hash of what must be alike in all processes of a run: train images, labels, and what is measured on."""
    test_images = (
        f"{domain.name}\0{record.path.name}\0{record.box}\n"
        for domain in (*data.test, *data.val)
        for record in (*domain.query, *domain.gallery)
    )
    return text_sha256(f"{images_hash(data.train_set)} {data.train_set.label_space.hash}", *test_images)
