"""The data of a run are found where they lie now."""

from dataclasses import replace
from pathlib import Path

import pytest

from jointreid.config import RunConfig
from jointreid.data.moved import find_sources, is_of_run, resolve_paths
from jointreid.messages.errors import JointreidError

HEAD = "domain,split,path,pid,camid\n"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a run and two tables of its, `work/run` and `work/data/{shop,city}.csv`; the current folder."""
    (tmp_path / "work" / "data").mkdir(parents=True)
    (tmp_path / "work" / "run").mkdir()
    for table, domains in (("shop", ["shop"]), ("city", ["east", "west"])):
        rows = [f"{domain},train,{domain}.jpg,1,0\n" for domain in domains]
        (tmp_path / "work" / "data" / f"{table}.csv").write_text(HEAD + "".join(rows))
    monkeypatch.chdir(tmp_path)
    return tmp_path


NAMES = ("shop", "east", "west")


def settings(place: Path, **other: str) -> RunConfig:
    sources = (f"shop={place}/work/data/shop.csv", f"{place}/work/data/city.csv")
    return RunConfig().replace(data={"sources": sources}, train={"out": f"{place}/work/run", **other})


def test_paths_are_resolved_once_and_the_default_cache_is_not(place: Path) -> None:
    given = RunConfig().replace(
        data={"sources": ("shop=data/shop.csv", "city.csv"), "cache": "cache"},
        train={"out": "run", "init": "old"},
        model={"pretrain_file": "w.pth"},
    )
    found = resolve_paths(given)
    assert found.data.sources == (f"shop={place}/data/shop.csv", f"{place}/city.csv")
    assert (found.data.cache, found.train.out, found.train.init) == (f"{place}/cache", f"{place}/run", f"{place}/old")
    assert found.model.pretrain_file == f"{place}/w.pth"
    assert resolve_paths(found) == found
    by_file = given.replace(model={"pretrain": "w.safetensors", "pretrain_file": ""})
    assert resolve_paths(by_file).model.pretrain == f"{place}/w.safetensors"
    assert resolve_paths(RunConfig()) == RunConfig()


def test_data_that_were_not_moved_are_where_they_were(place: Path) -> None:
    config = settings(place)
    assert find_sources(config, Path("work/run"), NAMES) == config.data.sources


@pytest.mark.parametrize("relative", [False, True])
def test_data_that_moved_with_the_run_are_found_beside_it(place: Path, relative: bool) -> None:
    config = settings(place)
    if relative:  # as earlier versions recorded it
        config = config.replace(data={"sources": ("shop=data/shop.csv", "data/city.csv")}, train={"out": "run"})
    (place / "work").rename(place / "moved")
    found = find_sources(config, Path("moved/run"), NAMES)
    assert found == (f"shop={place}/moved/data/shop.csv", f"{place}/moved/data/city.csv")


def test_the_default_run_directory_lay_below_runs(place: Path) -> None:
    (place / "work" / "runs").mkdir()
    (place / "work" / "run").rename(place / "work" / "runs" / "bot-1")
    config = RunConfig().replace(data={"sources": ("shop=data/shop.csv",)})
    found = find_sources(config, Path("work/runs/bot-1"), ["shop"])
    assert found == (f"shop={place}/work/data/shop.csv",)


def test_a_new_path_takes_the_place_of_the_old_one(place: Path) -> None:
    config = settings(place)
    assert find_sources(config, Path("work/run"), NAMES, ["shop=/new/s.csv"]) == (
        "shop=/new/s.csv",
        config.data.sources[1],
    )
    assert find_sources(config, Path("work/run"), NAMES, ["/new/city.csv"]) == (
        config.data.sources[0],
        "/new/city.csv",
    )


def test_one_domain_of_a_table_can_be_given_alone(place: Path) -> None:
    found = find_sources(settings(place), Path("work/run"), NAMES, ["east=/new/e.csv"])
    assert found == (f"shop={place}/work/data/shop.csv", f"west={place}/work/data/city.csv", "east=/new/e.csv")


def test_all_domains_given_need_nothing_of_the_old_places(place: Path) -> None:
    config = settings(place)
    (place / "work" / "data").rename(place / "gone")
    given = ["shop=a.csv", "east=b.csv", "west=c.csv"]
    assert sorted(find_sources(config, Path("work/run"), NAMES, given)) == sorted(given)


def test_what_is_not_found_is_named_with_the_option(place: Path) -> None:
    (place / "work" / "data").rename(place / "gone")
    with pytest.raises(JointreidError, match=r"--data shop=NEWPATH --data NEWFOLDER/city\.csv"):
        find_sources(settings(place), Path("work/run"), NAMES)


def test_what_stands_for_data_of_the_run(place: Path) -> None:
    config = settings(place)
    assert is_of_run("east=x", config, NAMES)
    assert is_of_run("/new/city.csv", config, NAMES)
    assert not is_of_run("new=x", config, NAMES)
    assert not is_of_run("/new/other.csv", replace(config), NAMES)
