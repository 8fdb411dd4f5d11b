import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from jointreid.config import DataConfig, RunConfig, config_hash
from jointreid.data.joint import join
from jointreid.data.label_space import LabelSpace
from jointreid.data.protocols import ProtocolMatch, identify
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.models.context import FactorLogits, Origins
from jointreid.models.reid import ModelOutput, ReIDModel
from jointreid.retrieval.evaluate import evaluate_domains, evaluate_run
from jointreid.retrieval.result_files import load_results
from jointreid.retrieval.results import QueryResult, Results
from jointreid.retrieval.run_data import load_evaluated_data
from jointreid.run import model_for, open_run, write_config
from tests.small import small_config

pytestmark = pytest.mark.slow

CONFIG = RunConfig().replace(
    image={"height": 16, "width": 16, "mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}, eval={"batch_size": 7}
)


class ColourModel(ReIDModel):
    """The feature is the mean colour; so are the camera logits, and the domain logits are red and green."""

    def __init__(self, heads: bool = True) -> None:
        nn.Module.__init__(self)
        self.context = None
        self.heads = heads

    def forward(
        self, images: Tensor, origins: Origins | None = None, keeps_context: Tensor | None = None
    ) -> ModelOutput:
        colour = images.mean((2, 3))  # B 3
        logits = (FactorLogits(colour[:, :2], colour),) if self.heads else ()
        return ModelOutput(colour, colour, colour, logits)


class Painter:
    """Makes records of images of one colour, (red, green, blue) in 0..255."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0

    def __call__(
        self, colour: Sequence[int], pid: str, camid: int, *, junk: bool = False, distractor: bool = False
    ) -> ImageRecord:
        self.count += 1
        path = self.folder / f"{self.count:04}.png"
        Image.fromarray(np.full((3, 5, 3), colour, dtype=np.uint8)).save(path)
        return ImageRecord(path, pid, camid, junk=junk, distractor=distractor)


@pytest.fixture
def paint(tmp_path: Path) -> Painter:
    (tmp_path / "images").mkdir()
    return Painter(tmp_path / "images")


def two_domains() -> LabelSpace:
    """Domain a with cameras 0 and 2 (classes 0 and 1), domain b with camera 0 (class 2)."""
    a = Domain("a", train=(ImageRecord(Path("1"), "1", 0), ImageRecord(Path("2"), "1", 2)))
    return join([a, Domain("b", train=(ImageRecord(Path("3"), "1", 0),))]).label_space


def evaluate(
    domains: Sequence[Domain],
    cache: Path,
    *,
    heads: bool = True,
    metric: str = "cosine",
    protocols: Mapping[str, ProtocolMatch | None] | None = None,
) -> tuple[Results, tuple[QueryResult, ...]]:
    config = CONFIG.replace(data={"cache": str(cache)}, eval={"metric": metric})
    return evaluate_domains(
        ColourModel(heads), domains, config, two_domains(), device=torch.device("cpu"), protocols=protocols
    )


def slow_measures(domain: Domain, colours: dict[Path, NDArray[np.float64]], metric: str) -> list[list[float]]:
    """AP, INP and the first match's rank of every query with a match, by sorting."""
    measures = []
    for query in domain.query:
        ranked = []
        for index, image in enumerate(domain.gallery):
            same_pid = image.pid == query.pid
            if not (domain.exclude_same_camera and same_pid and image.camid == query.camid):
                a, b = colours[query.path], colours[image.path]
                cosine = -a @ b / np.linalg.norm(a) / np.linalg.norm(b)
                ranked.append((cosine if metric == "cosine" else np.linalg.norm(a - b), index, same_pid))
        matches = [rank for rank, (_, _, match) in enumerate(sorted(ranked), 1) if match]
        if matches:
            precisions = [(k + 1) / rank for k, rank in enumerate(matches)]
            measures.append([sum(precisions) / len(matches), len(matches) / matches[-1], matches[0]])
    return measures


def test_queries_of_a_camera_that_was_not_trained_with_are_told_apart(paint: Painter, tmp_path: Path) -> None:
    """The label space has cameras 0 and 2 of domain a; 7 is new to the model, and domain c is new as a whole."""

    def domain(name: str) -> Domain:
        queries = [paint((200, 0, 9), "1", 0), paint((0, 200, 9), "2", 7), paint((9, 0, 200), "3", 7)]
        gallery = [paint((200, 9, 9), "1", 2), paint((255, 0, 255), "2", 0), paint((0, 0, 220), "3", 0)]
        return Domain(name, query=tuple(queries), gallery=tuple(gallery), cameras=(0, 2, 7))

    results, queries = evaluate([domain("a"), domain("c")], tmp_path / "cache")
    (camera,) = results.domains[0].unseen_cameras
    of_it = [query for query in queries if query.domain == "a" and query.camid == 7]
    assert (camera.camid, camera.num_valid_queries) == (7, 2)
    assert [query.first_match_rank for query in of_it] == [3, 1]
    assert camera.rank1 == 0.5
    assert camera.mAP == pytest.approx((1 / 3 + 1) / 2)
    assert camera.mINP == pytest.approx((1 / 3 + 1) / 2)
    assert results.domains[1].unseen_cameras == ()


class ToldModel(ColourModel):
    """The feature is the colour of the domain and the camera that the model is told; it keeps what it was told."""

    needs_origins = True

    def __init__(self) -> None:
        super().__init__()
        self.told: list[list[int]] = []

    def forward(
        self, images: Tensor, origins: Origins | None = None, keeps_context: Tensor | None = None
    ) -> ModelOutput:
        assert origins is not None
        self.told += torch.stack(list(origins), 1).tolist()
        return super().forward(images)


def test_a_model_with_true_labels_is_told_the_classes_it_knows(paint: Painter, tmp_path: Path) -> None:
    def domain(name: str) -> Domain:
        images = [paint((9, i, 3 * i), "p", camid) for i, camid in enumerate((0, 2, 7, 0))]
        return Domain(name, query=tuple(images[:3]), gallery=tuple(images[3:]), exclude_same_camera=False)

    config = CONFIG.replace(data={"cache": str(tmp_path / "cache")})
    model = ToldModel()
    evaluate_domains(model, [domain("a"), domain("c")], config, two_domains(), device=torch.device("cpu"))
    assert model.told == [[0, 0], [0, 1], [0, -1], [0, 0], *[[-1, -1]] * 4]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("exclude_same_camera", [True, False])
def test_results_are_those_of_a_slow_ranking(
    paint: Painter, tmp_path: Path, metric: str, exclude_same_camera: bool
) -> None:
    generator = np.random.default_rng(5)
    records = [
        paint(generator.integers(0, 256, 3).tolist(), f"p{generator.integers(6)}", int(generator.integers(3)))
        for _ in range(41)
    ]
    domain = Domain(
        "a", query=tuple(records[:11]), gallery=tuple(records[11:]), exclude_same_camera=exclude_same_camera
    )
    colours = {r.path: np.asarray(Image.open(r.path))[0, 0] / 127.5 - 1 for r in records}
    results, queries = evaluate([domain], tmp_path / "cache", metric=metric)
    expected = np.array(slow_measures(domain, colours, metric))
    (result,) = results.domains
    assert result.mAP == pytest.approx(expected[:, 0].mean(), abs=1e-12)
    assert result.mINP == pytest.approx(expected[:, 1].mean(), abs=1e-12)
    assert result.cmc == {k: pytest.approx((expected[:, 2] <= k).mean()) for k in (1, 5, 10)}
    assert (result.num_query, result.num_gallery, result.num_valid_queries) == (11, 30, len(expected))
    valid = [q for q in queries if q.valid]
    found = [[q.average_precision, q.inverse_negative_penalty, q.first_match_rank] for q in valid]
    np.testing.assert_allclose(np.array(found, dtype=float), expected, atol=1e-12)
    assert [(q.pid, q.camid) for q in queries] == [(r.pid, r.camid) for r in domain.query]
    assert (results.metric, results.checkpoint, results.feature) == (metric, "last", "bn_embedding")


def test_a_distractor_never_matches_and_junk_is_not_there(paint: Painter, tmp_path: Path) -> None:
    red = (250, 20, 20)
    domain = Domain(
        "a",
        query=(paint(red, "1", 0), paint(red, "1", 0, junk=True)),
        gallery=(
            paint(red, "1", 1, distractor=True),
            paint(red, "1", 1, junk=True),
            paint((240, 60, 60), "1", 1),
            paint((20, 250, 20), "2", 1),
        ),
    )
    results, queries = evaluate([domain], tmp_path)
    (result,), (query,) = results.domains, queries
    assert (result.num_query, result.num_gallery) == (1, 3)
    assert (result.mAP, result.cmc[1], result.cmc[5]) == (0.5, 0.0, 1.0)
    assert query.first_match_rank == 2


def test_a_distractor_as_query_matches_nothing_not_even_a_distractor(paint: Painter, tmp_path: Path) -> None:
    red = (250, 20, 20)
    query = (paint(red, "0", 0, distractor=True), paint(red, "1", 0))
    gallery = (paint(red, "0", 1, distractor=True), paint(red, "0", 1), paint(red, "1", 1))
    results, queries = evaluate([Domain("a", query=query, gallery=gallery)], tmp_path)
    assert [query.valid for query in queries] == [False, True]
    assert results.domains[0].skipped_queries == 1


def test_a_query_without_a_match_is_skipped_and_counted(paint: Painter, tmp_path: Path) -> None:
    red, green = (250, 20, 20), (20, 250, 20)
    gallery = (paint(green, "1", 0), paint(red, "2", 1))
    query = (paint(green, "1", 0), paint(red, "2", 0))
    by_camera = Domain("a", query=query, gallery=gallery)
    anywhere = Domain("every", query=query, gallery=gallery, exclude_same_camera=False)
    results, queries = evaluate([by_camera, anywhere], tmp_path)
    excluded, included = results.domains
    assert (excluded.num_query, excluded.num_valid_queries, excluded.skipped_queries) == (2, 1, 1)
    assert (included.num_valid_queries, included.mAP) == (2, 1.0)
    names = [path.as_posix() for path in (query[0].path, query[1].path)]
    assert queries[0] == QueryResult("a", names[0], "1", 0, False)
    assert queries[1] == QueryResult("a", names[1], "2", 0, True, 1.0, 1.0, 1)
    assert results.mean == {"rank1": 1.0, "rank5": 1.0, "rank10": 1.0, "mAP": 1.0, "mINP": 1.0}


def test_head_accuracies_are_of_what_the_model_was_trained_on(paint: Painter, tmp_path: Path) -> None:
    red, green, blue = (250, 20, 90), (20, 250, 90), (90, 20, 250)
    query = (paint(red, "1", 0), paint(green, "2", 2))  # camera classes 0 and 1: both told
    gallery = (
        paint(blue, "1", 2),  # camera class 1, told 2; domain 0, told 0
        paint(blue, "2", 0),  # camera class 0, told 2; domain 0, told 0
        paint(green, "1", 7),  # a camera that the model does not know; domain 0, told 1
    )
    known, unknown = (Domain(name, query=query, gallery=gallery) for name in ("a", "new"))
    first, second = evaluate([known, unknown], tmp_path)[0].domains
    assert (first.trained_on, first.domain_accuracy, first.camera_accuracy) == (True, 0.6, 0.5)
    assert (second.trained_on, second.domain_accuracy, second.camera_accuracy) == (False, None, None)
    (without,) = evaluate([known], tmp_path, heads=False)[0].domains
    assert (without.domain_accuracy, without.camera_accuracy) == (None, None)
    (other,) = evaluate([replace(known, name="b")], tmp_path)[0].domains
    # As domain b (class 1) the two greens are told; of its camera 0 (class 2) there are a red and a blue image.
    assert (other.domain_accuracy, other.camera_accuracy) == (0.4, 0.5)


def test_queries_are_named_below_their_source(paint: Painter, tmp_path: Path) -> None:
    plain = paint((9, 99, 9), "1", 0)
    boxed = replace(plain, box=(0, 1, 2, 2))
    gallery = (paint((9, 99, 9), "1", 1),)
    folder = plain.path.parent
    for source, start in ((tmp_path, "images/"), (tmp_path / "table.csv", "images/"), ("elsewhere", f"{folder}/")):
        domain = Domain("a", query=(plain, boxed), gallery=gallery, source=str(source))
        _, queries = evaluate([domain], tmp_path / "cache")
        assert [query.path for query in queries] == [f"{start}0001.png", f"{start}0001.png (0, 1, 2, 2)"]


def test_the_protocol_is_told_from_the_domains_or_given(paint: Painter, tmp_path: Path) -> None:
    query, gallery = (paint((9, 99, 9), "1", 0),), (paint((9, 99, 9), "1", 1),)
    duke, own = (Domain(name, query=query, gallery=gallery) for name in ("dukemtmc", "own"))
    results, _ = evaluate([duke, own], tmp_path)
    assert [result.protocol for result in results.domains] == [identify(duke), None]
    as_read = ProtocolMatch("x", True, "as it was read")
    results, _ = evaluate([duke, own], tmp_path, protocols={"dukemtmc": as_read, "own": None})
    assert [result.protocol for result in results.domains] == [as_read, None]


def test_what_cannot_be_evaluated_is_refused_by_name(paint: Painter, tmp_path: Path) -> None:
    red = paint((250, 0, 0), "1", 0)
    with pytest.raises(JointreidError, match="no data set has a query and a gallery"):
        evaluate([], tmp_path)
    with pytest.raises(JointreidError, match=r"^cats \(cats\.csv\): no images in gallery"):
        evaluate([Domain("cats", query=(red,), source="cats.csv")], tmp_path)
    with pytest.raises(JointreidError, match=r"^cats: no images in query"):
        evaluate([Domain("cats", query=(replace(red, junk=True),), gallery=(red,))], tmp_path)
    with pytest.raises(JointreidError, match=r"^cats: "):
        evaluate([Domain("cats", query=(red,), gallery=(paint((0, 9, 9), "2", 1),))], tmp_path)


# A run directory


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
        assert result.cmc[1] - merged.cmc[1] <= merged.overtaken
    assert {r.domain: r.merged for r in load_results(run)[0].domains} == {r.domain: r.merged for r in results.domains}
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
