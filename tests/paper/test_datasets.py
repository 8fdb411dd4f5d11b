"""The user's data sets and the slots that they fill."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from jointreid.config import DataConfig
from jointreid.data.protocols import ProtocolMatch
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.paper.datasets import (
    GridDataset,
    assign_slots,
    datasets_of_paper,
    describe_dataset,
    load_datasets,
    require_paper_counts,
)
from jointreid.paper.grid import SLOTS

ROWS = ["train", "train", "query", "gallery"]


def write_table(path: Path, *names: str, splits: list[str] = ROWS) -> Path:
    rows = [f"{name}/{i}.png,{i},{i % 2},{split},{name}" for name in names for i, split in enumerate(splits)]
    path.write_text("\n".join(["path,pid,camid,split,domain", *rows]) + "\n")
    return path


def test_the_papers_sets_get_their_own_slots_and_others_the_free_ones_in_order() -> None:
    domains = [Domain(name) for name in ("cuhk_sysu", "depot", "yard")]
    assert {slot: d.name for slot, d in assign_slots(domains).items()} == {
        "market1501": "depot",
        "cuhk_sysu": "cuhk_sysu",
        "dukemtmc": "yard",
    }
    five = [Domain(f"synth-{i}") for i in range(1, 6)]
    assert [d.name for d in assign_slots(five).values()] == [f"synth-{i}" for i in range(1, 6)]
    assert tuple(assign_slots(five)) == SLOTS
    with pytest.raises(JointreidError, match=r"6 data sets given .* have columns for 5"):
        assign_slots([*five, Domain("another")])


def test_a_data_set_names_its_slot_and_counts_its_images() -> None:
    records = [ImageRecord(Path(f"{i}.png"), str(i // 2), i % 3) for i in range(6)]
    domain = Domain("synth-1", train=tuple(records[:4]), query=(records[4],), gallery=(replace(records[5], junk=True),))
    dataset = describe_dataset("market1501", "synth-1=t.csv", domain)
    assert dataset.ids_by_images == {2: 2}
    assert dataset.train_images == [2, 2]
    assert dataset.heading == "synth-1 (in place of Market-1501)"
    assert not dataset.is_from_paper
    assert dataset.counts["train"] == {"ids": 2, "images": 4, "cameras": 3}
    assert dataset.counts["gallery"] == {"ids": 0, "images": 0, "cameras": 0}
    assert GridDataset.from_dict(dataset.to_dict()) == dataset
    assert {h.heading for h in datasets_of_paper()} == {"CUHK03(L)", "CUHK-SYSU", "Market1501", "Duke", "MSMT17"}


def test_each_domain_of_a_table_gets_a_source_that_reads_it_alone(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", "b", "a")
    other = write_table(tmp_path / "o.csv", "c")
    datasets, domains = load_datasets(DataConfig(sources=(str(other), str(table))))
    assert [(h.slot, h.name, h.source) for h in datasets] == [
        ("market1501", "a", f"a={table}"),
        ("cuhk_sysu", "b", f"b={table}"),
        ("dukemtmc", "c", str(other)),
    ]
    for dataset in datasets:
        again, _ = load_datasets(DataConfig(sources=(dataset.source,)))
        assert (again[0].name, again[0].counts) == (dataset.name, dataset.counts)
    assert list(domains) == [dataset.slot for dataset in datasets]


def test_some_of_the_data_sets_can_be_chosen(tmp_path: Path) -> None:
    data = DataConfig(sources=(str(write_table(tmp_path / "t.csv", "a", "b")),))
    datasets, _ = load_datasets(data, ["b"])
    assert [(h.slot, h.name) for h in datasets] == [("market1501", "b")]
    with pytest.raises(JointreidError, match="no data set among those given bb; did you mean b"):
        load_datasets(data, ["bb"])
    assert [h.name for h in datasets_of_paper(["cuhk03"])] == ["cuhk03"]
    with pytest.raises(JointreidError, match="no data set in Table I market; did you mean market1501"):
        datasets_of_paper(["market"])


def test_data_that_the_tables_cannot_use_are_refused(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match="no data sets given"):
        load_datasets(DataConfig())
    train_only = write_table(tmp_path / "train.csv", "a", splits=["train"])
    with pytest.raises(JointreidError, match=r"a .*: no images in query and gallery; .* leave it out"):
        load_datasets(DataConfig(sources=(str(train_only),)))
    table = write_table(tmp_path / "t.csv", "one", "two")
    with pytest.raises(JointreidError, match="holds 2 domains under one name; give it as --manifest"):
        load_datasets(DataConfig(sources=(f"x={table}",)))
    with pytest.raises(JointreidError, match="domain one is given twice"):
        load_datasets(DataConfig(sources=(str(table), f"one={table}")))


def test_another_protocol_of_a_paper_set_is_refused_with_both_counts(tmp_path: Path) -> None:
    table = write_table(tmp_path / "t.csv", "cuhk03", "mine")
    datasets, _ = load_datasets(DataConfig(sources=(str(table),)))
    with pytest.raises(JointreidError, match=r"cuhk03: .*767 identities and 7,368 images.*--allow-counts") as caught:
        require_paper_counts(datasets)
    assert "mine" not in str(caught.value)
    papers = replace(datasets[0], protocol=ProtocolMatch("cuhk03-new-labeled", True, "CUHK03"))
    require_paper_counts([papers, *(h for h in datasets if h.name == "mine")])


def test_the_images_of_each_identity_survive_json_and_are_assumed_equal_where_not_known() -> None:
    records = tuple(ImageRecord(Path(f"{i}.png"), str(min(i, 3)), 0) for i in range(7))
    dataset = describe_dataset("market1501", "a=t.csv", Domain("a", train=records))
    assert dataset.train_images == [1, 1, 1, 4]
    plain = json.loads(json.dumps(dataset.to_dict()))
    assert GridDataset.from_dict(plain) == dataset
    del plain["ids_by_images"]  # as grids of before have it
    assert GridDataset.from_dict(plain).train_images == [2, 2, 2, 1]
