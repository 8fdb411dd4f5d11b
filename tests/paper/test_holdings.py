"""A person's data sets and the places they take."""

from dataclasses import replace
from pathlib import Path

import pytest

from jointreid.config import DataConfig
from jointreid.data.protocols import ProtocolMatch
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.paper.grid import PLACES
from jointreid.paper.holdings import Holding, hold, load_holdings, papers_holdings, require_papers_counts, seat

ROWS = ["train", "train", "query", "gallery"]


def write_table(path: Path, *names: str, splits: list[str] = ROWS) -> Path:
    rows = [f"{name}/{i}.png,{i},{i % 2},{split},{name}" for name in names for i, split in enumerate(splits)]
    path.write_text("\n".join(["path,pid,camid,split,domain", *rows]) + "\n")
    return path


def test_the_papers_sets_take_their_own_places_and_others_the_free_ones_in_order() -> None:
    domains = [Domain(name) for name in ("cuhk_sysu", "depot", "yard")]
    assert {place: d.name for place, d in seat(domains).items()} == {
        "market1501": "depot",
        "cuhk_sysu": "cuhk_sysu",
        "dukemtmc": "yard",
    }
    five = [Domain(f"synth-{i}") for i in range(1, 6)]
    assert [d.name for d in seat(five).values()] == [f"synth-{i}" for i in range(1, 6)]
    assert tuple(seat(five)) == PLACES
    with pytest.raises(JointreidError, match=r"6 data sets given .* have 5 places"):
        seat([*five, Domain("another")])


def test_a_holding_is_headed_by_its_place_and_counts_what_it_holds() -> None:
    records = [ImageRecord(Path(f"{i}.png"), str(i // 2), i % 3) for i in range(6)]
    domain = Domain("synth-1", train=tuple(records[:4]), query=(records[4],), gallery=(replace(records[5], junk=True),))
    holding = hold("market1501", "synth-1=t.csv", domain)
    assert holding.heading == "synth-1 (place of Market-1501)"
    assert not holding.is_papers
    assert holding.counts["train"] == {"ids": 2, "images": 4, "cameras": 3}
    assert holding.counts["gallery"] == {"ids": 0, "images": 0, "cameras": 0}
    assert Holding.from_dict(holding.to_dict()) == holding
    assert {h.heading for h in papers_holdings()} == {"CUHK03(L)", "CUHK-SYSU", "Market1501", "Duke", "MSMT17"}


def test_each_domain_of_a_table_gets_a_source_that_reads_it_alone(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", "b", "a")
    other = write_table(tmp_path / "o.csv", "c")
    holdings, domains = load_holdings(DataConfig(sources=(str(other), str(table))))
    assert [(h.place, h.name, h.source) for h in holdings] == [
        ("market1501", "a", f"a={table}"),
        ("cuhk_sysu", "b", f"b={table}"),
        ("dukemtmc", "c", str(other)),
    ]
    for holding in holdings:
        again, _ = load_holdings(DataConfig(sources=(holding.source,)))
        assert (again[0].name, again[0].counts) == (holding.name, holding.counts)
    assert list(domains) == [holding.place for holding in holdings]


def test_some_of_the_data_sets_can_be_chosen(tmp_path: Path) -> None:
    data = DataConfig(sources=(str(write_table(tmp_path / "t.csv", "a", "b")),))
    holdings, _ = load_holdings(data, ["b"])
    assert [(h.place, h.name) for h in holdings] == [("market1501", "b")]
    with pytest.raises(JointreidError, match="no data set among those given bb; did you mean b"):
        load_holdings(data, ["bb"])
    assert [h.name for h in papers_holdings(["cuhk03"])] == ["cuhk03"]
    with pytest.raises(JointreidError, match="no data set in Table I market; did you mean market1501"):
        papers_holdings(["market"])


def test_data_that_the_tables_cannot_use_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match="no data sets given"):
        load_holdings(DataConfig())
    train_only = write_table(tmp_path / "train.csv", "a", splits=["train"])
    with pytest.raises(JointreidError, match=r"a .*: no images in query and gallery; .* leave it out"):
        load_holdings(DataConfig(sources=(str(train_only),)))
    table = write_table(tmp_path / "t.csv", "one", "two")
    with pytest.raises(JointreidError, match="holds 2 domains under one name; give it as --manifest"):
        load_holdings(DataConfig(sources=(f"x={table}",)))
    with pytest.raises(JointreidError, match="domain one is given twice"):
        load_holdings(DataConfig(sources=(str(table), f"one={table}")))


def test_another_protocol_of_a_paper_set_is_refused_with_both_counts(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", "cuhk03", "mine")
    holdings, _ = load_holdings(DataConfig(sources=(str(table),)))
    with pytest.raises(JointreidError, match=r"cuhk03: .*767 identities and 7,368 images.*--allow-counts") as caught:
        require_papers_counts(holdings)
    assert "mine" not in str(caught.value)
    papers = replace(holdings[0], protocol=ProtocolMatch("cuhk03-new-labeled", True, "CUHK03"))
    require_papers_counts([papers, *(h for h in holdings if h.name == "mine")])
