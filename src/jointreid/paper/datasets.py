"""The data sets of a grid, each in one of the five slots of Table I.

A slot is named after the paper's data set, which belongs in it. Other data sets fill the free slots in Table I's order,
so that the tables can be made of any data; their columns are then headed `synth-1 (in place of Market-1501)`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from jointreid.config import DataConfig
from jointreid.data.protocols import TABLE_I, WITHDRAWN, ProtocolMatch, canonical_order, count_split, identify
from jointreid.data.records import SPLITS, Domain
from jointreid.data.sources import load_by_source
from jointreid.messages.errors import JointreidError, no_such
from jointreid.paper import facts


@dataclass(frozen=True)
class GridDataset:
    """A data set in a slot of Table I.

    Attributes:
        slot: a key of `TABLE_I`.
        name: the domain's name; that of the slot for the paper's data set.
        source: the value of `--data` that reads it alone.
        variant: which edition its reader found, in words.
        protocol: which protocol it is in, or None for a data set that is not the paper's.
        counts: split -> its ids, images and cameras, without junk.
        ids_by_images: number of images -> train identities that have so many; empty where it is not known.
    """

    slot: str
    name: str
    source: str
    variant: str
    protocol: ProtocolMatch | None
    counts: Mapping[str, Mapping[str, int]]
    ids_by_images: Mapping[int, int] = field(default_factory=dict)

    @property
    def is_from_paper(self) -> bool:
        """True if it is the data set that the slot is named after."""
        return self.name == self.slot

    @property
    def train_images(self) -> list[int]:
        """Images of each train identity; where they are not known, all as equal as their counts allow."""
        if self.ids_by_images:
            return [images for images, ids in self.ids_by_images.items() for _ in range(ids)]
        each, more = divmod(self.counts["train"]["images"], self.counts["train"]["ids"])
        return [each + 1] * more + [each] * (self.counts["train"]["ids"] - more)

    @property
    def heading(self) -> str:
        """The heading of its columns."""
        return paper_name(self.slot) if self.is_from_paper else f"{self.name} (in place of {TABLE_I[self.slot].title})"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain dicts and lists, for JSON."""
        plain = asdict(self)
        return {"place": plain.pop("slot"), **plain}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "GridDataset":
        """Return what `to_dict` wrote; damaged input raises KeyError, TypeError or ValueError."""
        rest = {key: value for key, value in plain.items() if key != "place"}
        # The keys of a JSON object are texts; grids of earlier versions lack it.
        ids_by_images = {int(images): ids for images, ids in plain.get("ids_by_images", {}).items()}
        protocol = ProtocolMatch.from_dict(plain["protocol"])
        return cls(**{**rest, "slot": plain["place"], "protocol": protocol, "ids_by_images": ids_by_images})


def paper_name(slot: str) -> str:
    """Return the paper's name of the data set of a slot."""
    return facts.TESTS[slot]


def datasets_of_paper(only: Sequence[str] = ()) -> tuple[GridDataset, ...]:
    """Return the paper's data sets, or some of them, with their published counts, for a plan without data.

    Raises:
        JointreidError: one of `only` is not among them.
    """
    for name in only:
        if name not in TABLE_I:
            raise JointreidError(no_such("data set in Table I", name, TABLE_I))
    return tuple(
        GridDataset(
            slot,
            slot,
            source="",
            variant="",
            protocol=None,
            counts={
                split: {
                    "ids": getattr(protocol, split).ids,
                    "images": getattr(protocol, split).images,
                    "cameras": protocol.cameras,
                }
                for split in SPLITS
            },
        )
        for slot, protocol in TABLE_I.items()
        if not only or slot in only
    )


def load_datasets(data: DataConfig, only: Sequence[str] = ()) -> tuple[tuple[GridDataset, ...], dict[str, Domain]]:
    """Read the user's data sets and assign each to a slot.

    Args:
        data: where they are, and the options for published ones.
        only: names of those to use; none for all.

    Returns:
        The data sets in Table I's order, and slot -> domain.

    Raises:
        JointreidError: they cannot be read, are more than five, lack a split, or one of `only` is not there.
    """
    found = _read(data)
    for name in only:
        if name not in found:
            raise JointreidError(no_such("data set among those given", name, found))
    chosen = {name: pair for name, pair in found.items() if not only or name in only}
    by_slot = assign_slots(domain for _, domain in chosen.values())
    for domain in by_slot.values():
        if missing := [split for split in SPLITS if not count_split(getattr(domain, split)).images]:
            raise JointreidError(
                f"{domain.name} ({domain.source}): no images in {' and '.join(missing)}; the tables need data sets "
                "with a train split, a query and a gallery: leave it out"
            )
    datasets = (describe_dataset(slot, chosen[domain.name][0], domain) for slot, domain in by_slot.items())
    return tuple(datasets), by_slot


def assign_slots(domains: Iterable[Domain]) -> dict[str, Domain]:
    """Return slot -> domain in Table I's order: the paper's in their own slots, others in the free ones, in order.

    Raises:
        JointreidError: there are more than five.
    """
    domains = list(domains)
    if len(domains) > len(TABLE_I):
        raise JointreidError(
            f"{len(domains)} data sets given ({', '.join(domain.name for domain in domains)}), but the tables have "
            f"columns for {len(TABLE_I)}; choose among them, as in --data NAME=TABLE for one domain of a table"
        )
    by_slot = {domain.name: domain for domain in domains if domain.name in TABLE_I}
    free = (slot for slot in TABLE_I if slot not in by_slot)
    others = [domain for domain in domains if domain.name not in TABLE_I]
    by_slot |= {slot: domain for domain, slot in zip(others, free, strict=False)}
    return {slot: by_slot[slot] for slot in TABLE_I if slot in by_slot}


def describe_dataset(slot: str, source: str, domain: Domain) -> GridDataset:
    """Return the description of a domain in a slot."""
    counts = {}
    for split in SPLITS:
        records = getattr(domain, split)
        counted = count_split(records)
        cameras = {record.camid for record in records if not record.junk}
        counts[split] = {"ids": counted.ids, "images": counted.images, "cameras": len(cameras)}
    images_of = Counter(record.pid for record in domain.train)
    ids_by_images = dict(sorted(Counter(images_of.values()).items()))
    return GridDataset(slot, domain.name, source, domain.variant, identify(domain), counts, ids_by_images)


def require_paper_counts(datasets: Iterable[GridDataset]) -> None:
    """Refuse the paper's data sets in another protocol: their results could not be compared with the paper's.

    Raises:
        JointreidError: one differs; the message names split, found and expected counts of each.
    """
    wrong = [
        f"{dataset.name}: {dataset.protocol.words}" + "".join(f"; {line}" for line in dataset.protocol.differences)
        for dataset in datasets
        if dataset.protocol is not None and not dataset.protocol.comparable
    ]
    if wrong:
        raise JointreidError(
            f"these are not the data sets of the paper's Table I. {'. '.join(wrong)}. Repair them (`jointreid data "
            "check` gives details), or run with --allow-counts: the tables then mark these results as not comparable"
        )


def is_withdrawn(slot: str) -> bool:
    """Return whether the owner of the slot's data set has withdrawn it."""
    return slot in WITHDRAWN


def _read(data: DataConfig) -> dict[str, tuple[str, Domain]]:
    """Return name -> (the source that reads it alone, the domain), in the order in which domains are numbered."""
    found = {
        d.name: (_alone(source, d, domains), d) for source, domains in load_by_source(data).items() for d in domains
    }
    return {domain.name: found[domain.name] for domain in canonical_order(domain for _, domain in found.values())}


def _alone(source: str, domain: Domain, domains: Sequence[Domain]) -> str:
    """Return what reads one of a source's domains alone."""
    if len(domains) == 1:
        return source
    name, equals, _ = source.partition("=")
    if equals and "/" not in name and "\\" not in name:
        raise JointreidError(
            f"{source}: this table holds {len(domains)} domains under one name; give it as --manifest FILE, or each "
            "domain as --data NAME=FILE"
        )
    return f"{domain.name}={source}"
