"""The two halves of the held-out people: one to choose thresholds on, the other to check them on."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jointreid.data.records import Domain, ImageRecord
from jointreid.machine.hashing import text_sha256
from jointreid.messages.errors import JointreidError
from jointreid.messages.listing import first_few
from jointreid.retrieval.domain_ranking import images_of
from jointreid.verification.calibrated_thresholds import HalfCounts
from jointreid.verification.pairs import Floats, People


@dataclass(frozen=True, eq=False)
class Half:
    """The images of half of the people of one data set.

    Attributes:
        domain: the data set.
        records: its images.
        people: their features (empty until `with_features`) and identities; all pairs count.
        across: the same, where only pairs of two cameras count.
    """

    domain: str
    records: tuple[ImageRecord, ...]
    people: People
    across: People

    def with_features(self, features: Floats) -> "Half":
        """Return it with the features of its images [N, D], scaled to length 1."""
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        scaled = np.ascontiguousarray(features / np.maximum(lengths, 1e-12), dtype=np.float32)
        return replace(self, people=replace(self.people, features=scaled), across=replace(self.across, features=scaled))


def counts_of(people: People) -> HalfCounts:
    """Return how many people, images and pairs there are."""
    images = len(people.identities)
    return HalfCounts(people.num_identities, images, people.num_negatives, people.num_positives)


def halves_of(domain: Domain, trained: Sequence[str], images: int, seed: int) -> tuple[Half, Half]:
    """Split the test people of a domain into two halves.

    Junk and distractors are left out: nobody says which of them show one person.

    Args:
        domain: with query and gallery.
        trained: people of the domain that the run was trained on; none of them may be among the others.
        images: how many of each half are used at most; each person keeps as many as fit evenly.
        seed: of the split and of the choice of images.

    Raises:
        JointreidError: somebody was trained on, or there are fewer than four people.
    """
    of_person: dict[str, list[ImageRecord]] = defaultdict(list)
    for record in {record.key: record for record in images_of(domain) if not record.distractor}.values():
        of_person[record.pid].append(record)
    if known := sorted(of_person.keys() & set(trained)):
        raise JointreidError(
            f"{domain.name}: {len(known):,} people to calibrate on were trained on ({first_few(known)}); a threshold "
            "takes people whom the model has never seen"
        )
    if len(of_person) < 4:
        raise JointreidError(
            f"{domain.name}: has {len(of_person)} test people; two halves of two people or more are needed"
        )
    generator = np.random.default_rng([seed, int(text_sha256(domain.name)[:8], 16)])
    pids = [str(pid) for pid in generator.permutation(sorted(of_person))]
    middle = (len(pids) + 1) // 2
    first, second = (_half(domain.name, of_person, part, images, generator) for part in (pids[:middle], pids[middle:]))
    return first, second


def _half(
    domain: str,
    of_person: Mapping[str, list[ImageRecord]],
    pids: list[str],
    images: int,
    generator: np.random.Generator,
) -> Half:
    shuffled = {pid: [of_person[pid][i] for i in generator.permutation(len(of_person[pid]))] for pid in pids}
    most = max(map(len, shuffled.values()))
    in_turns = [shuffled[pid][turn] for turn in range(most) for pid in pids if turn < len(shuffled[pid])]
    records = tuple(sorted(in_turns[:images], key=lambda record: record.key))
    number = {pid: i for i, pid in enumerate(sorted({record.pid for record in records}))}
    identities = np.array([number[record.pid] for record in records], dtype=np.int64)
    cameras = np.array([record.camid for record in records], dtype=np.int64)
    people = People(np.empty((len(records), 0), dtype=np.float32), identities)
    return Half(domain, records, people, replace(people, groups=cameras))


def across_domains(halves: Sequence[Half], images: int) -> People:
    """Return the people of all data sets, where only pairs of two data sets count; at most so many images in all."""
    each = max(1, images // len(halves))
    features, identities, groups, before = [], [], [], 0
    for group, half in enumerate(halves):
        own = half.people
        rows = np.unique(np.linspace(0, len(own.identities) - 1, min(each, len(own.identities))).astype(int))
        numbers = np.unique(own.identities[rows], return_inverse=True)[1]
        features.append(own.features[rows])
        identities.append(numbers + before)
        groups.append(np.full(len(rows), group))
        before += int(numbers.max()) + 1
    return People(np.concatenate(features), np.concatenate(identities), np.concatenate(groups))
