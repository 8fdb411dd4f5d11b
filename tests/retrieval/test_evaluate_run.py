"""A run directory is evaluated on its own data, on other data, and on data that moved."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from jointreid.config import DataConfig, config_hash
from jointreid.data.joint import join
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.evaluate import evaluate_run
from jointreid.retrieval.result_files import load_results
from jointreid.retrieval.results import Results, render
from jointreid.retrieval.run_data import load_evaluated_data
from jointreid.run import model_for, open_run, write_config
from tests.retrieval.test_evaluate import Painter
from tests.small import small_config

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `own.csv` (domains a, b, and c without a test split), `new.csv`, and `run`, trained on own.csv."""
    folder = tmp_path_factory.mktemp("evaluate")
    paint = Painter(folder)
    generator = np.random.default_rng(0)
    for table, names in (("own.csv", "abc"), ("new.csv", "n")):
        rows = ["domain,split,path,pid,camid"]
        for name in names:
            for split in ("train", "query", "gallery") if name != "c" else ("train",):
                for i in range(6):
                    image = paint(generator.integers(0, 256, 3).tolist(), "x", 0)
                    cells = f"{split[0]}{i % 3}" if split == "train" else f"t{i % 3}", i % 2 + 2 * (split == "query")
                    rows.append(f"{name},{split},{image.path.name},{cells[0]},{cells[1]}")
        (folder / table).write_text("\n".join(rows) + "\n")
    config = small_config("bot", manifest=folder / "own.csv", cache=folder / "cache", train={"label": "tiny"})
    train = (ImageRecord(Path("1"), "1", 0),)
    space = join([Domain("a", train=train), Domain("b", train=train), Domain("c", train=train)]).label_space
    write_config(config, folder / "run" / "config.yaml")
    space.save(folder / "run" / "labels.json")
    (folder / "run" / "last").mkdir()
    torch.manual_seed(0)
    save_file(model_for(config, space).state_dict(), folder / "run" / "last" / "model.safetensors")
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the run, to write into."""
    return Path(shutil.copytree(trained / "run", tmp_path / "run"))


def test_a_run_is_evaluated_on_its_own_data(run: Path) -> None:
    results = evaluate_run(run, device="cpu")
    assert [(result.domain, result.trained_on, result.num_query) for result in results.domains] == [
        ("a", True, 6),
        ("b", True, 6),
    ]
    loaded, queries = load_results(run)
    assert loaded == results
    assert (results.run, results.height, results.flip) == ("tiny", 32, False)
    assert results.config == config_hash(open_run(run).config)
    for result in results.domains:
        precisions = [q.average_precision for q in queries if q.domain == result.domain and q.valid]
        assert np.mean(np.array(precisions, dtype=float)) == pytest.approx(result.mAP)
    assert {"results.json", "queries.parquet"} < {path.name for path in run.iterdir()}


def test_results_say_what_training_started_from_as_the_checkpoint_does_else_the_settings(run: Path) -> None:
    assert evaluate_run(run, device="cpu").pretraining == "none"
    write_config(open_run(run).config.replace(model={"pretrain": "tv_in1k"}), run / "config.yaml")
    assert evaluate_run(run, device="cpu").pretraining == "torchvision R50 ImageNet V1 (76.1%)"
    start = "torchvision R50 ImageNet V1 (76.1%), sha256 0676ba61"
    (run / "last" / "state.json").write_text(json.dumps({"format_version": 1, "pretraining": start}))
    evaluate_run(run, device="cpu")
    assert load_results(run)[0].pretraining == start


def test_a_run_is_evaluated_on_data_it_never_saw(run: Path, trained: Path) -> None:
    own = evaluate_run(run, device="cpu")
    new = evaluate_run(run, DataConfig(sources=(str(trained / "new.csv"),)), device="cpu")
    assert [(result.domain, result.trained_on) for result in new.domains] == [("n", False)]
    both, queries = load_results(run)
    assert both.domains == (*own.domains, *new.domains)
    assert [query.domain for query in queries] == ["a"] * 6 + ["b"] * 6 + ["n"] * 6
    again = evaluate_run(run, DataConfig(sources=(str(trained / "own.csv"),)), device="cpu")
    assert load_results(run)[0].domains == (*again.domains, *new.domains)
    assert not list(run.glob("results-*"))


def test_the_protocol_is_that_of_the_data_as_read_not_of_what_is_evaluated(run: Path, trained: Path) -> None:
    shutil.copytree(trained, data := run.parent / "data", ignore=shutil.ignore_patterns("run", "cache"))
    table = (data / "own.csv").read_text().replace("\na,", "\nmarket1501,")
    (data / "own.csv").write_text(table)
    broken = next(row.split(",")[2] for row in table.splitlines() if row.startswith("market1501,gallery"))
    (data / broken).write_bytes(b"no image")
    settings = {"sources": (str(data / "own.csv"),), "skip_unreadable": True}
    write_config(open_run(run).config.replace(data=settings), run / "config.yaml")
    evaluate_run(run, device="cpu")
    results, _ = load_results(run)
    b, market = sorted(results.domains, key=lambda result: result.domain)
    assert (b.protocol, market.num_gallery) == (None, 5)
    assert market.protocol is not None
    assert market.protocol.words == (
        "part of Market-1501: 6 of 12,936 train images, 6 of 3,368 query images and 6 of 15,913 gallery images"
    )
    evaluate_run(run, DataConfig(sources=(f"market1501={trained / 'new.csv'}",)), device="cpu")
    (given,) = (result for result in load_results(run)[0].domains if result.domain == "market1501")
    assert given.protocol is not None
    assert given.protocol.name == "part of market1501"


def test_a_run_is_evaluated_wherever_its_data_lie_and_only_on_its_own_images(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (before := tmp_path / "before").mkdir()
    shutil.copytree(trained / "run", before / "run")
    shutil.copytree(trained, before / "data", ignore=shutil.ignore_patterns("run", "cache"))
    places: dict[str, Any] = {
        "data": {"sources": (str(before / "data" / "own.csv"),)},
        "train": {"out": str(before / "run")},
    }
    write_config(open_run(before / "run").config.replace(**places), before / "run" / "config.yaml")
    first = evaluate_run(before / "run", device="cpu")
    after = before.rename(tmp_path / "after")
    monkeypatch.chdir("/")
    assert metrics(evaluate_run(after / "run", device="cpu")) == metrics(first)
    data = (after / "data").rename(tmp_path / "data")
    with pytest.raises(JointreidError, match=r"its data are not where they were .*--data NEWFOLDER/own\.csv"):
        evaluate_run(after / "run", device="cpu")
    given = DataConfig(sources=(str(data / "own.csv"),))
    assert metrics(evaluate_run(after / "run", given, device="cpu")) == metrics(first)
    (one,) = evaluate_run(after / "run", DataConfig(sources=(f"a={data / 'own.csv'}",)), device="cpu").domains
    assert (one.domain, one.mAP) == ("a", first.domains[0].mAP)
    assert metrics(load_results(after / "run")[0]) == metrics(first)
    name = next(row.split(",")[2] for row in (data / "own.csv").read_text().splitlines() if row.startswith("a,query"))
    with (data / name).open("ab") as file:
        file.write(b"x")
    with pytest.raises(JointreidError, match=rf"not those of the run.* a, query: 1 of the run .*{name}"):
        evaluate_run(after / "run", given, device="cpu")


def metrics(results: Results) -> list[tuple[str, float]]:
    return [(result.domain, result.mAP) for result in results.domains]


def test_data_that_a_run_never_saw_are_found_again_for_a_page(run: Path, trained: Path, tmp_path: Path) -> None:
    table = (trained / "new.csv").read_text()
    two = table + "".join(f"{row.replace('n,', 'm,', 1)}\n" for row in table.splitlines()[1:])
    shutil.copytree(trained, tmp_path / "new", ignore=shutil.ignore_patterns("run", "cache"))
    (tmp_path / "new" / "two.csv").write_text(two)
    found = evaluate_run(run, DataConfig(sources=(f"shop={tmp_path / 'new' / 'two.csv'}",)), device="cpu")
    places = {result.domain: result.conditions.source for result in found.domains if result.conditions}
    assert places == dict.fromkeys(("shop-m", "shop-n"), f"shop={tmp_path / 'new' / 'two.csv'}")
    assert [domain.name for domain in load_evaluated_data(open_run(run), places).domains] == ["shop-m", "shop-n"]
    moved = (tmp_path / "new").rename(tmp_path / "moved") / "two.csv"
    assert load_evaluated_data(open_run(run), places).domains == ()
    again = load_evaluated_data(open_run(run), places, [f"shop={moved}"])
    assert [domain.name for domain in again.domains] == ["shop-m", "shop-n"]


@pytest.mark.parametrize("own", [False, True])
def test_a_table_called_as_that_of_the_run_is_found_again(run: Path, trained: Path, tmp_path: Path, own: bool) -> None:
    """A table `own.csv` elsewhere, of domains m and n, and with `own` of a domain of the run too, is given as PATH."""
    rows = (trained / "new.csv").read_text().splitlines()
    rows += [row.replace("n,", "m,", 1) for row in rows[1:]]
    rows += [row for row in (trained / "own.csv").read_text().splitlines() if own and row.startswith("a,")]
    shutil.copytree(trained, tmp_path / "new", ignore=shutil.ignore_patterns("run", "cache"))
    (table := tmp_path / "new" / "own.csv").write_text("\n".join(rows) + "\n")
    found = evaluate_run(run, DataConfig(sources=(str(table),)), device="cpu")
    places = {result.domain: result.conditions.source for result in found.domains if result.conditions}
    assert places == {"m": str(table), "n": str(table)} | ({"a": ""} if own else {})
    assert {domain.name for domain in load_evaluated_data(open_run(run), places).domains} == places.keys()
    # Results of earlier versions lack the place; it is then given.
    unknown = dict.fromkeys(places, "")
    moved = (tmp_path / "new").rename(tmp_path / "moved") / "own.csv"
    for before in (places, unknown):
        again = load_evaluated_data(open_run(run), before, [str(moved)])
        assert {domain.name for domain in again.domains} == places.keys()


def test_one_of_two_tables_that_moved_is_given_and_the_other_found(run: Path, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "new", ignore=shutil.ignore_patterns("run", "cache"))
    table = (trained / "new.csv").read_text()
    (tmp_path / "new" / "m.csv").write_text(table.replace("\nn,", "\nm,"))
    sources = (str(trained / "new.csv"), str(tmp_path / "new" / "m.csv"))
    moved = (tmp_path / "new").rename(tmp_path / "moved") / "m.csv"
    found = load_evaluated_data(open_run(run), dict(zip("nm", sources, strict=True)), [str(moved)])
    assert [domain.name for domain in found.domains] == ["m", "n"]


def test_flip_and_checkpoint_best(run: Path) -> None:
    shutil.copytree(run / "last", run / "best")
    results = evaluate_run(run, checkpoint="best", flip=True, device="cpu")
    assert (results.flip, results.checkpoint) == (True, "best")
    assert results.config == config_hash(open_run(run).config)
    assert (run / "results.best.json").is_file()
    assert not (run / "results.json").exists()


def test_the_galleries_of_all_domains_are_searched_together(run: Path, trained: Path) -> None:
    both = DataConfig(sources=(str(trained / "own.csv"), str(trained / "new.csv")))
    results = evaluate_run(run, both, device="cpu", merged_gallery=True)
    names = tuple(result.domain for result in results.domains)
    images = sum(result.num_gallery for result in results.domains)
    assert len(names) >= 2
    for result in results.domains:
        merged = result.merged
        assert merged is not None
        assert (merged.domains, merged.num_gallery) == (names, images)
        assert merged.mAP <= result.mAP
        assert merged.overtaken is not None
        assert result.cmc[1] - merged.cmc[1] <= merged.overtaken
    assert {r.domain: r.merged for r in load_results(run)[0].domains} == {r.domain: r.merged for r in results.domains}
    reranked = evaluate_run(run, both, device="cpu", rerank=True, merged_gallery=True)
    assert [result.merged.overtaken for result in reranked.domains if result.merged] == [None] * len(names)
    assert "the merged gallery of" in render(reranked)
    alone = DataConfig(sources=(str(trained / "new.csv"),))
    assert [r.merged for r in evaluate_run(run, alone, device="cpu").domains] == [None]
    with pytest.raises(
        JointreidError, match=r"a merged gallery takes two data sets or more, and only \w+ is evaluated"
    ):
        evaluate_run(run, alone, device="cpu", merged_gallery=True)


def test_few_images_are_re_ranked_with_all_of_them_as_neighbours(run: Path) -> None:
    plain, reranked = (evaluate_run(run, rerank=rerank, device="cpu") for rerank in (False, True))
    assert reranked.rerank
    assert [result.num_gallery for result in reranked.domains] == [6, 6]
    assert [result.num_valid_queries for result in reranked.domains] == [
        result.num_valid_queries for result in plain.domains
    ]


def test_a_given_domain_without_a_test_split_is_refused_and_nothing_written(run: Path, trained: Path) -> None:
    before = sorted(run.iterdir())
    with pytest.raises(JointreidError, match=r"^the data are not ready: c \(.*own\.csv\): no images in query"):
        evaluate_run(run, DataConfig(sources=(f"c={trained / 'own.csv'}",)), device="cpu")
    with pytest.raises(JointreidError, match="has no checkpoint 'best'"):
        evaluate_run(run, checkpoint="best", device="cpu")
    assert sorted(run.iterdir()) == before


def test_unreadable_images_are_refused_or_listed_and_skipped(
    run: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(trained, data, ignore=shutil.ignore_patterns("run", "cache"))
    table = (data / "own.csv").read_text().splitlines()
    broken = next(row.split(",")[2] for row in table if row.startswith("a,gallery"))
    (data / broken).write_bytes(b"no image")
    config = open_run(run).config.replace(data={"sources": (str(data / "own.csv"),)})
    write_config(config, run / "config.yaml")
    with pytest.raises(JointreidError, match=broken):
        evaluate_run(run, device="cpu")
    write_config(config.replace(data={"skip_unreadable": True}), run / "config.yaml")
    results = evaluate_run(run, device="cpu")
    assert [result.num_gallery for result in results.domains] == [5, 6]
    assert f"a: skipped {data / broken}" in capsys.readouterr().err
