"""The data sets that a person has, each in the place of one of Table I's five.

The paper's data sets stand in their own places. Others fill the free ones in Table I's order, so that the tables can
be made of any data; they are then headed `synth-1 (place of Market-1501)`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jointreid.config import DataConfig
from jointreid.data.protocols import TABLE_I, WITHDRAWN, ProtocolMatch, canonical_order, count_split, identify
from jointreid.data.records import SPLITS, Domain
from jointreid.data.sources import load_by_source
from jointreid.messages.errors import JointreidError, no_such
from jointreid.paper import facts


@dataclass(frozen=True)
class Holding:
    """A data set in a place of Table I.

    Attributes:
        place: the place, a key of `TABLE_I`.
        name: the domain's name; that of the place for the paper's own data set.
        source: what `--data` takes to read it alone.
        variant: which edition its reader found, in words.
        protocol: which protocol it is in, or None for a data set that is not the paper's.
        counts: split -> its ids, images and cameras, junk left out.
    """

    place: str
    name: str
    source: str
    variant: str
    protocol: ProtocolMatch | None
    counts: Mapping[str, Mapping[str, int]]

    @property
    def is_papers(self) -> bool:
        """Whether it is the data set that the place is called after."""
        return self.name == self.place

    @property
    def heading(self) -> str:
        """What its columns are headed."""
        return heading(self.place) if self.is_papers else f"{self.name} (place of {TABLE_I[self.place].title})"

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain dicts and lists, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Holding":
        """Return what `to_dict` wrote; damaged input raises KeyError, TypeError or ValueError."""
        return cls(**{**plain, "protocol": ProtocolMatch.from_dict(plain["protocol"])})


def heading(place: str) -> str:
    """Return what the paper calls the data set of a place."""
    return facts.TESTS[place]


def papers_holdings(only: Sequence[str] = ()) -> tuple[Holding, ...]:
    """Return the paper's data sets, or some of them, with their published counts, for a plan without data.

    Raises:
        JointreidError: one of `only` is not among them.
    """
    for name in only:
        if name not in TABLE_I:
            raise JointreidError(no_such("data set in Table I", name, TABLE_I))
    return tuple(
        Holding(
            place,
            place,
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
        for place, protocol in TABLE_I.items()
        if not only or place in only
    )


def load_holdings(data: DataConfig, only: Sequence[str] = ()) -> tuple[tuple[Holding, ...], dict[str, Domain]]:
    """Read a person's data sets and give each its place.

    Args:
        data: where they are, and the choices about published ones.
        only: names of those to take; none for all.

    Returns:
        The holdings in Table I's order, and place -> domain.

    Raises:
        JointreidError: they cannot be read, are more than five, lack a split, or one of `only` is not there.
    """
    found = _read(data)
    for name in only:
        if name not in found:
            raise JointreidError(no_such("data set among those given", name, found))
    chosen = {name: pair for name, pair in found.items() if not only or name in only}
    seated = seat(domain for _, domain in chosen.values())
    for domain in seated.values():
        if missing := [split for split in SPLITS if not count_split(getattr(domain, split)).images]:
            raise JointreidError(
                f"{domain.name} ({domain.source}): no images in {' and '.join(missing)}; the tables need data sets "
                "with a train split, a query and a gallery: leave it out"
            )
    holdings = (hold(place, chosen[domain.name][0], domain) for place, domain in seated.items())
    return tuple(holdings), seated


def seat(domains: Iterable[Domain]) -> dict[str, Domain]:
    """Return place -> domain in Table I's order: the paper's in their own places, others in the free ones, in order.

    Raises:
        JointreidError: there are more than five.
    """
    domains = list(domains)
    if len(domains) > len(TABLE_I):
        raise JointreidError(
            f"{len(domains)} data sets given ({', '.join(domain.name for domain in domains)}), but the tables have "
            f"{len(TABLE_I)} places; choose among them, as in --data NAME=TABLE for one domain of a table"
        )
    seated = {domain.name: domain for domain in domains if domain.name in TABLE_I}
    free = (place for place in TABLE_I if place not in seated)
    others = [domain for domain in domains if domain.name not in TABLE_I]
    seated |= {place: domain for domain, place in zip(others, free, strict=False)}
    return {place: seated[place] for place in TABLE_I if place in seated}


def hold(place: str, source: str, domain: Domain) -> Holding:
    """Return the record of a domain in a place."""
    counts = {}
    for split in SPLITS:
        records = getattr(domain, split)
        held = count_split(records)
        cameras = {record.camid for record in records if not record.junk}
        counts[split] = {"ids": held.ids, "images": held.images, "cameras": len(cameras)}
    return Holding(place, domain.name, source, domain.variant, identify(domain), counts)


def require_papers_counts(holdings: Iterable[Holding]) -> None:
    """Refuse the paper's data sets in another protocol than its own: their figures would not be what a table says.

    Raises:
        JointreidError: one differs; the message names split, found and expected counts of each.
    """
    wrong = [
        f"{holding.name}: {holding.protocol.words}" + "".join(f"; {line}" for line in holding.protocol.differences)
        for holding in holdings
        if holding.protocol is not None and not holding.protocol.comparable
    ]
    if wrong:
        raise JointreidError(
            f"not the data sets of the paper's Table I. {'. '.join(wrong)}. Mend them (`jointreid data check` says "
            "more), or go on with --allow-counts: the tables then say that these figures are not comparable"
        )


def is_withdrawn(place: str) -> bool:
    """Return whether the owner of the place's data set has withdrawn it."""
    return place in WITHDRAWN


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
