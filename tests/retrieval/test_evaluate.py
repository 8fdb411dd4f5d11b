from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from jointreid.config import RunConfig
from jointreid.data.joint import join
from jointreid.data.label_space import LabelSpace
from jointreid.data.protocols import ProtocolMatch, identify
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.models.context import FactorLogits, Origins
from jointreid.models.reid import ModelOutput, ReIDModel
from jointreid.retrieval.evaluate import evaluate_domains
from jointreid.retrieval.results import QueryResult, Results

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
