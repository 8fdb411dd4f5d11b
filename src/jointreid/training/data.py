"""The data of a run: checked, split and joined before the first step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jointreid.config import RunConfig
from jointreid.data.camera_settings import with_train_cameras
from jointreid.data.decode import scan_images
from jointreid.data.findings import render
from jointreid.data.gate import require_ready
from jointreid.data.holdout import hold_out
from jointreid.data.joint import JointTrainSet, join
from jointreid.data.protocols import ProtocolMatch
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.remembered import content_hashes
from jointreid.data.run_images import RunImage, RunSplit, run_images
from jointreid.data.sources import load_domains
from jointreid.machine.hashing import text_sha256


@dataclass(frozen=True)
class TrainingData:
    """The images that a run trains and is evaluated on.

    Attributes:
        train_set: the union of the train splits, with labels.
        test: the domains that have a query and a gallery.
        val: the held-out identities of each domain as a small test set; empty without `data.val_ids`.
        protocols: domain -> its evaluation protocol, found before images were skipped.
        summary: the table of the data check for people.
        marks: domain -> the remarks that its results carry.
    """

    train_set: JointTrainSet
    test: tuple[Domain, ...]
    val: tuple[Domain, ...]
    protocols: Mapping[str, ProtocolMatch | None]
    summary: str
    marks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def load_training_data(config: RunConfig) -> TrainingData:
    """Load, check and join the data sets of a run.

    Raises:
        JointreidError: the data check found errors; the message lists them.
    """
    result, domains = require_ready(load_domains(config.data), config.data, config.train.workers, training=config)
    test = tuple(domain for domain in domains if domain.query and domain.gallery)
    val: tuple[Domain, ...] = ()
    if config.data.val_ids:
        split = [hold_out(domain, config.data.val_ids, config.train.seed) for domain in domains]
        domains, val = tuple(rest for rest, _ in split), tuple(held for _, held in split)
    protocols = {name: summary.protocol for name, summary in result.domains.items()}
    train_set = join([with_train_cameras(domain, config.data) for domain in domains], config.data.camera_ids)
    return TrainingData(train_set, test, val, protocols, render(result), result.marks)


def images_hash(train_set: JointTrainSet) -> str:
    """Return a hash of the images, their order and their labels; it is the same if they lie in another folder.

    The batches of a run are indices into this order.
    """
    return text_sha256(
        *(f"{s.record.path.name}\0{s.record.box}\0{s.label}\0{s.global_camid}\n" for s in train_set.samples)
    )


def images_by_content(data: TrainingData, cache: Path | None, threads: int) -> tuple[RunImage, ...]:
    """Return the images that a run trains and is evaluated on, by content.

    Args:
        data: of the run.
        cache: folder that remembers the content of files; None reads all of them.
        threads: files read at a time.

    Raises:
        JointreidError: a file cannot be read any more, or the folder cannot be written.
    """
    train: dict[str, list[ImageRecord]] = {domain.name: [] for domain in data.train_set.label_space.domains}
    names = list(train)
    for sample in data.train_set.samples:
        train[names[sample.domain_id]].append(sample.record)
    splits: list[tuple[str, RunSplit, Sequence[ImageRecord]]] = [(name, "train", train[name]) for name in names]
    splits += [(domain.name, "held_out", (*domain.query, *domain.gallery)) for domain in data.val]
    for domain in data.test:
        splits += [(domain.name, "query", domain.query), (domain.name, "gallery", domain.gallery)]
    contents = content_hashes({record.path for _, _, records in splits for record in records}, cache, threads)
    looks = scan_images((record.path for records in train.values() for record in records), cache, threads).looks
    return tuple(
        image
        for name, split, records in splits
        for image in run_images(name, split, records, contents, looks if split == "train" else None)
    )


def data_hash(data: TrainingData) -> str:
    """Return a hash of the data that all processes of a run must share: train images, labels and test images."""
    test_images = (
        f"{domain.name}\0{record.path.name}\0{record.box}\n"
        for domain in (*data.test, *data.val)
        for record in (*domain.query, *domain.gallery)
    )
    return text_sha256(f"{images_hash(data.train_set)} {data.train_set.label_space.hash}", *test_images)
