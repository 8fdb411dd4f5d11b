"""The run, its data and the images that a study looks at: some of each domain, by whole identities."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from jointreid.data.joint import JointSample
from jointreid.data.records import Domain, ImageRecord
from jointreid.machine.device import pick_device
from jointreid.messages.errors import JointreidError
from jointreid.run import Run, find_data, open_run
from jointreid.training.data import TrainingData, load_training_data

# Images of one identity at most: a study is about many people, not about many images of a few.
MOST_OF_IDENTITY = 8
# Distances between people need two, and a domain without a test split lends half of its people.
LEAST_IDENTITIES = 4
# Called with (what, items done, items in all).
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class StudiedDomain:
    """The chosen images of one domain.

    Attributes:
        name: of the domain.
        train: images it was trained on, with their labels, of identities with two images or more.
        test: images of identities that it was not trained on; none where the domain has no test split.
        exclude_same_camera: whether a match from the query's own camera is ignored.
        terms: terms of use of the images.
    """

    name: str
    train: tuple[JointSample, ...]
    test: tuple[ImageRecord, ...]
    exclude_same_camera: bool
    terms: str


@dataclass(frozen=True)
class StudiedRun:
    """A run and the images that a study looks at.

    Attributes:
        run: with the settings that find its data now.
        domains: in the order of its domain classes.
        device: where to compute.
        seed: of the choice of images, and of what else is drawn.
    """

    run: Run
    domains: tuple[StudiedDomain, ...]
    device: torch.device
    seed: int

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the domains."""
        return tuple(domain.name for domain in self.domains)

    @property
    def test_records(self) -> tuple[ImageRecord, ...]:
        """The chosen test images, domain after domain."""
        return tuple(record for domain in self.domains for record in domain.test)

    @property
    def train_samples(self) -> tuple[JointSample, ...]:
        """The chosen train images, domain after domain."""
        return tuple(sample for domain in self.domains for sample in domain.train)


def study_run(
    run: str | Path,
    images: int,
    *,
    sources: Sequence[str] = (),
    cache: str = "",
    device: str = "auto",
    seed: int = 0,
) -> StudiedRun:
    """Open a run and choose images of each of its domains.

    Args:
        run: the run directory.
        images: train images and test images of each domain, about; whole identities are taken.
        sources: where its data lie that were moved, as `--data` names them.
        cache: folder for decoded images; empty for that of the run.
        device: auto, cpu, cuda or mps.
        seed: of the choice.

    Raises:
        JointreidError: not a run, or one that was fetched from a hub, its data cannot be read or have other identities
            or cameras, fewer than 8 images are asked for, or the seed is below 0.
    """
    if images < 8:
        raise JointreidError(f"images is {images}; expected 8 or more of each data set")
    if seed < 0:
        raise JointreidError(f"seed is {seed}; expected 0 or more")
    where = pick_device(device)
    opened = open_run(run)
    if opened.label_space.is_published:
        raise JointreidError(
            f"{opened.path} was fetched from a hub: a published model has neither its people nor its classifiers, from "
            "which conflicts and the origin of images are seen; run this command where it was trained"
        )
    opened = find_data(opened, sources, cache)
    data = load_training_data(opened.config)
    if data.train_set.label_space.hash != opened.label_space.hash:
        raise JointreidError(
            f"{opened.path}: its data sets now have other identities or cameras than it was trained on; say where the "
            "same data lie with --data NAME=PATH"
        )
    domains = tuple(_choose(number, data, images, seed) for number in range(opened.label_space.num_domains))
    return StudiedRun(opened, domains, where, seed)


def choose_identities(
    records: Sequence[ImageRecord], count: int, seed: int, most: int = MOST_OF_IDENTITY
) -> tuple[int, ...]:
    """Return the indices of about `count` images, of identities drawn at random that have two images or more.

    There are `LEAST_IDENTITIES` of them or more, if there are as many. Of an identity at most `most` images are taken,
    its cameras in turn.

    Args:
        records: images of one domain.
        count: where the choice ends: with the identity that reaches it.
        seed: of the draw.
        most: images of one identity.
    """
    generator = np.random.default_rng(seed)
    by_pid: dict[str, list[int]] = {}
    for index, record in enumerate(records):
        by_pid.setdefault(record.pid, []).append(index)
    pids = [pid for pid in sorted(by_pid) if len(by_pid[pid]) > 1]
    chosen: list[int] = []
    for number, place in enumerate(generator.permutation(len(pids)).tolist()):
        if len(chosen) >= count and number >= LEAST_IDENTITIES:
            break
        own = by_pid[pids[place]]
        turns: dict[int, int] = {}
        queue = []
        for index in generator.permutation(own).tolist():
            camera = records[index].camid
            turns[camera] = turns.get(camera, 0) + 1
            queue.append((turns[camera], index))
        chosen += [index for _, index in sorted(queue, key=lambda entry: entry[0])[:most]]
    return tuple(sorted(chosen))


def _choose(number: int, data: TrainingData, images: int, seed: int) -> StudiedDomain:
    name = data.train_set.label_space.domains[number].name
    samples = [sample for sample in data.train_set.samples if sample.domain_id == number]
    train = choose_identities([sample.record for sample in samples], images, seed)
    held_out = next((domain for domain in (*data.test, *data.val) if domain.name == name), None)
    test = _test_images(held_out) if held_out else ()
    return StudiedDomain(
        name,
        tuple(samples[index] for index in train),
        tuple(test[index] for index in choose_identities(test, images, seed)),
        held_out.exclude_same_camera if held_out else True,
        held_out.terms if held_out else "",
    )


def _test_images(domain: Domain) -> tuple[ImageRecord, ...]:
    once = {record.key: record for record in (*domain.query, *domain.gallery)}
    return tuple(record for record in once.values() if not record.junk and not record.distractor)
