"""Sources written as `NAME=PATH` or `PATH` become domains in a fixed order."""

import itertools
import re
from pathlib import Path

import pytest

from jointreid.config import DataConfig
from jointreid.data.records import Domain
from jointreid.data.sources import load_by_source, load_domains
from jointreid.messages.errors import JointreidError


def table(path: Path, *domains: str) -> str:
    """Write a manifest with one train image in each domain and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = "".join(f"{name},train,{name}.png,1,0\n" for name in domains)
    path.write_text("domain,split,path,pid,camid\n" + rows)
    return str(path)


def market(path: Path) -> Path:
    """Make a folder as Market-1501 has it, with one train image."""
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (path / folder).mkdir(parents=True)
    (path / "bounding_box_train" / "0002_c1s1_000451_03.jpg").touch()
    return path


def load(*sources: str) -> tuple[Domain, ...]:
    return load_domains(DataConfig(sources=sources))


def names(*sources: str) -> list[str]:
    return [domain.name for domain in load(*sources)]


def test_a_manifest_gives_all_its_domains_or_the_one_named(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "b", "a")
    assert names(path) == ["a", "b"]
    assert names(f"b={path}") == ["b"]


def test_the_only_domain_of_a_manifest_can_be_renamed(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "a")
    (domain,) = load(f"shop={path}")
    assert (domain.name, domain.source, domain.train[0].path) == ("shop", path, tmp_path / "a.png")


def test_a_domain_cannot_be_named_as_the_mean_of_tables(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "a")
    with pytest.raises(JointreidError, match=rf"mean={re.escape(path)}: 'mean' is what tables call .* another name"):
        load(f"mean={path}")


def test_a_folder_is_read_by_the_reader_named(tmp_path: Path) -> None:
    (domain,) = load(f"market1501={market(tmp_path / 'data')}")
    assert (domain.name, len(domain.train)) == ("market1501", 1)


def test_the_order_is_that_of_table_i_then_by_name(tmp_path: Path) -> None:
    sources = [
        table(tmp_path / "own.csv", "zoo", "airport"),
        f"msmt17={table(tmp_path / 'm.csv', 'x')}",
        f"cuhk_sysu={table(tmp_path / 'c.csv', 'x')}",
        f"market1501={market(tmp_path / 'market')}",
    ]
    for order in itertools.permutations(sources):
        assert names(*order) == ["market1501", "cuhk_sysu", "msmt17", "airport", "zoo"]


def test_an_equals_sign_after_a_separator_belongs_to_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "k=v" / "t=1.csv", "a")
    assert names(path) == ["a"]
    assert names(f"b={path}") == ["b"]
    monkeypatch.chdir(tmp_path / "k=v")
    assert names("./t=1.csv") == ["a"]


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    table(tmp_path / "t.csv", "a")
    assert names("~/t.csv") == ["a"]
    assert names("b=~/t.csv") == ["b"]


def test_missing_camid_reaches_the_manifest(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("domain,split,path,pid\na,train,a.png,1\n")
    with pytest.raises(JointreidError, match="no camera ids for a"):
        load(str(path))
    assert not load_domains(DataConfig(sources=(str(path),), missing_camid="one_camera"))[0].exclude_same_camera


def test_no_sources_shows_how() -> None:
    with pytest.raises(JointreidError, match=r"--data market1501=/data/market1501 or --manifest table\.csv"):
        load()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{}/absent.csv", "there is no file or folder"),
        ("market1501={}/absent", "there is no file or folder"),
        ("market1501", "expected NAME=PATH"),
        ("={}/t.csv", "expected NAME=PATH"),
        ("market1501=", "expected NAME=PATH"),
        ("{}", "needs a reader's name: market1501, dukemtmc, cuhk03, cuhk_sysu, msmt17 (as in market1501="),
        ("markt1501={}", "there is no reader markt1501; did you mean market1501? (as in market1501="),
        ("xyz={}", "there is no reader xyz; there are market1501, dukemtmc"),
        ("xyz={}", "`jointreid data ingest {} --out manifest.csv`"),
        ("market1501={}", "no Market-1501 here"),
        ("aa={}/t.csv", "there is no domain aa; did you mean aaa?"),
        ("parts={}/parts", "is a folder of 1 Parquet files, and a manifest is one file"),
        ("{}/t.xlsx", "a manifest is a .csv or .parquet file"),
    ],
)
def test_what_cannot_be_loaded(tmp_path: Path, source: str, words: str) -> None:
    table(tmp_path / "t.csv", "aaa", "abb")
    table(tmp_path / "t.xlsx", "aaa")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts/part-0.parquet").touch()
    with pytest.raises(JointreidError) as caught:
        load(source.format(tmp_path))
    assert words.format(tmp_path) in str(caught.value)


def test_a_name_for_a_table_of_several_domains_stands_before_theirs(tmp_path: Path) -> None:
    path = table(tmp_path / "t.csv", "aaa", "abb")
    assert names(f"mine={path}") == ["mine-aaa", "mine-abb"]
    assert names(f"mine={path}", path) == ["aaa", "abb", "mine-aaa", "mine-abb"]


def test_a_folder_in_the_layout_of_market1501_goes_by_any_name(tmp_path: Path) -> None:
    for split in ("bounding_box_train", "query", "bounding_box_test"):
        (tmp_path / split).mkdir()
    (tmp_path / "query" / "7_c2.png").touch()
    [domain] = load(f"shop={tmp_path}")
    assert (domain.name, domain.query[0].pid, domain.query[0].camid) == ("shop", "7", 1)


def test_settings_of_published_data_sets_reach_their_readers(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match="withdrawn"):
        load(f"dukemtmc={tmp_path}")
    with pytest.raises(JointreidError, match="no DukeMTMC-reID here"):
        load_domains(DataConfig(sources=(f"dukemtmc={tmp_path}",), acknowledge_withdrawn=True))


def test_a_domain_given_twice_names_both_sources(tmp_path: Path) -> None:
    first, second = table(tmp_path / "1.csv", "a"), table(tmp_path / "2.csv", "b", "a")
    with pytest.raises(JointreidError) as caught:
        load(first, second)
    for word in ("domain a is given twice", first, second):
        assert word in str(caught.value)
    assert names(f"c={first}", second) == ["a", "b", "c"]


def test_each_source_knows_its_domains(tmp_path: Path) -> None:
    first, second = table(tmp_path / "1.csv", "z"), table(tmp_path / "2.csv", "b", "a")
    loaded = load_by_source(DataConfig(sources=(first, second)))
    assert {source: [domain.name for domain in domains] for source, domains in loaded.items()} == {
        first: ["z"],
        second: ["a", "b"],
    }
    with pytest.raises(JointreidError, match="domain z is given twice"):
        load_by_source(DataConfig(sources=(first, first)))
