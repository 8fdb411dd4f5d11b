"""Leave-one-out: every test image asks all others, itself left out by index, with the figures of other libraries."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from jointreid.config import Metric
from jointreid.data.findings import render
from jointreid.data.holdout import hold_out
from jointreid.data.manifest import read_manifest, write_manifest
from jointreid.data.preflight import check
from jointreid.data.protocols import LEAVE_ONE_OUT, identify
from jointreid.data.records import Domain, ImageRecord
from jointreid.ingest import ingest
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.domain_ranking import images_of, split_rows
from jointreid.retrieval.ranking import RankingMetrics, evaluate_distmat, evaluate_ranking
from jointreid.retrieval.ranking_inputs import RankingLabels
from jointreid.retrieval.ranking_torch import ranks
from jointreid.retrieval.rerank import reranked_blocks

# What pytorch-metric-learning 2.9.0 and open-metric-learning 4.0.0 give for `_features()`:
#     AccuracyCalculator(include=("precision_at_1", "mean_average_precision"), k=None,
#                        knn_func=CustomKNN(CosineSimilarity())).get_accuracy(x, pids)   # or LpDistance(False)
#     calc_retrieval_metrics(retrieved, relevant, cmc_top_k=(1, 5, 10), map_top_k=(39,))  # the image itself left out
THEIRS: dict[Metric, tuple[float, float, float, float]] = {
    "cosine": (0.23684210526315788, 0.7105262875556946, 0.8947368264198303, 0.3173611861126987),
    "euclidean": (0.21052631578947367, 0.6578947305679321, 0.8947368264198303, 0.2952555658698022),
}


def _features() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return features [40, 8] and identities [40], two of which have one image."""
    generator = np.random.default_rng(7)
    pids = np.repeat(np.arange(12), [1, 2, 3, 4, 5, 6, 2, 3, 4, 1, 5, 4])
    pids = pids[generator.permutation(len(pids))]
    centres = generator.normal(size=(12, 8))
    return (centres[pids] + 1.4 * generator.normal(size=(len(pids), 8))).astype(np.float32), pids


def _rank(metric: Metric, max_memory: int = 2**30) -> RankingMetrics:
    x, pids = _features()
    return evaluate_ranking(
        x,
        x,
        pids,
        pids,
        exclude_same_camera=False,
        leave_one_out=True,
        metric=metric,
        max_rank=10,
        max_memory=max_memory,
    )


@pytest.mark.parametrize("metric", THEIRS)
@pytest.mark.parametrize("max_memory", [1000, 2**30])
def test_figures_are_those_of_other_libraries(metric: Metric, max_memory: int) -> None:
    found = _rank(metric, max_memory)
    assert (found.cmc[0], found.cmc[4], found.cmc[9], found.mAP) == pytest.approx(THEIRS[metric], abs=2e-7)
    assert (found.num_valid_queries, len(found.skipped_queries)) == (38, 2)


def test_tensors_and_given_distances_rank_alike() -> None:
    x, pids = _features()
    labels = RankingLabels(pids, pids, None, None, False, True)
    expected = _rank("euclidean")
    tensors = torch.from_numpy(x)
    found = ranks(tensors, tensors, "euclidean", 2**20, labels.relevance)
    assert found[labels.relevance.starts[:-1]].tolist() == expected.first_match_rank.tolist()
    distances = ((x[:, None].astype(np.float64) - x) ** 2).sum(2)
    given = evaluate_distmat(distances, pids, pids, exclude_same_camera=False, leave_one_out=True)
    assert given.mAP == pytest.approx(expected.mAP)


def test_an_equal_image_is_an_answer_and_only_the_image_itself_is_left_out() -> None:
    x = np.array([[1.0, 0], [1, 0], [0, 1], [0.1, 1]])
    found = evaluate_ranking(x, x, [0, 1, 0, 1], [0, 1, 0, 1], exclude_same_camera=False, leave_one_out=True)
    assert found.first_match_rank[:2].tolist() == [3, 2]  # each finds its twin of another identity first
    with pytest.raises(JointreidError, match="takes the same images as query and gallery"):
        evaluate_ranking(x, x[:3], [0, 1, 0, 1], [0, 1, 0], exclude_same_camera=False, leave_one_out=True)
    with pytest.raises(JointreidError, match="none of the 4 images has another image of its pid; leave-one-out needs"):
        evaluate_ranking(x, x, [0, 1, 2, 3], [0, 1, 2, 3], exclude_same_camera=False, leave_one_out=True)


def test_re_ranking_sees_each_image_once() -> None:
    x, pids = _features()
    blocks = np.concatenate([*reranked_blocks(x, x, "euclidean", k1=5, k2=3, leave_one_out=True)])
    assert blocks.shape == (40, 40)
    # As if the first 20 asked, of which re-ranking makes one list with the gallery.
    halves = np.concatenate([*reranked_blocks(x[:20], x[20:], "euclidean", k1=5, k2=3)])
    assert blocks[:20, 20:] == pytest.approx(halves)
    assert evaluate_distmat(blocks, pids, pids, exclude_same_camera=False, leave_one_out=True).num_valid_queries == 38


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Animals without cameras: two to train on, three in a split `test`, of which one has a single image."""
    rows = ["domain,split,path,pid,distractor"]
    for shade, (split, pid) in enumerate(
        [("train", "a")] * 2 + [("train", "b")] * 2 + [("test", "c")] * 3 + [("test", "d")] * 2 + [("test", "e")]
    ):
        Image.new("RGB", (8, 16), (20 * shade, 80, 40)).save(tmp_path / f"{shade}.png")
        rows.append(f"birds,{split},{shade}.png,{pid},")
    (tmp_path / "birds.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "birds.domains.json").write_text('{"birds": {"protocol": "leave_one_out"}}')
    return tmp_path / "birds.csv"


def test_a_side_file_states_it_and_the_table_has_a_split_test(table: Path) -> None:
    (domain,) = read_manifest(table).values()
    assert domain.leave_one_out
    assert not domain.exclude_same_camera
    assert [record.pid for record in domain.query] == [record.pid for record in domain.gallery] == [*"cccdde"]
    assert len(images_of(domain)) == 6
    rows = np.arange(6)
    assert [part.tolist() for part in split_rows(domain, rows)] == [rows.tolist()] * 2
    write_manifest([domain], table.with_name("again.csv"))
    assert list(read_manifest(table.with_name("again.csv")).values()) == [domain]
    assert json.loads(table.with_name("again.domains.json").read_text())["birds"]["protocol"] == "leave_one_out"


@pytest.mark.parametrize("change", [("test", "query"), ("test", "gallery")])
def test_the_images_of_one_split_alone_ask_each_other(table: Path, change: tuple[str, str]) -> None:
    table.write_text(table.read_text().replace(*change))
    (domain,) = read_manifest(table).values()
    assert domain.query == domain.gallery
    assert len(domain.query) == 6


def test_test_is_no_split_of_other_domains_and_the_protocol_is_one_of_two(table: Path) -> None:
    side = table.with_name("birds.domains.json")
    side.write_text('{"birds": {"exclude_same_camera": false, "cameras": 1}}')
    with pytest.raises(JointreidError, match=r"query, gallery; test is for domains whose side file says"):
        read_manifest(table)
    side.write_text('{"birds": {"protocol": "loo"}}')
    with pytest.raises(JointreidError, match=r"protocol is 'loo'; expected query_gallery \(the"):
        read_manifest(table)


def test_the_check_counts_images_that_are_alone_and_names_the_protocol(table: Path) -> None:
    (domain,) = read_manifest(table).values()
    result, _ = check([domain], cache_dir=None)
    assert result.ok
    words = [problem.message for problem in result.problems]
    assert "birds: 1 of 6 test images show an identity without another image in the test split (pid e" in words[0]
    assert "figures are not comparable with the paper's" in words[1]
    assert "birds: 1 camera; every test image asks all others; every match counts" in render(result)
    protocol = identify(domain)
    assert protocol is not None
    assert (protocol.name, protocol.comparable) == (LEAVE_ONE_OUT, False)
    alone = Domain("birds", gallery=domain.gallery[3:4] + domain.gallery[5:], leave_one_out=True)
    assert not check([alone], cache_dir=None, purpose="evaluate")[0].ok


def test_held_out_identities_ask_each_other_too(table: Path) -> None:
    (domain,) = read_manifest(table).values()
    domain = replace(domain, train=domain.gallery[:5] + domain.train, gallery=(), query=())
    rest, held = hold_out(domain, 1, seed=0)
    assert (len(rest.train_pids), len({record.pid for record in held.query})) == (3, 1)
    assert held.query == held.gallery


def test_cameras_count_where_they_are_said_to() -> None:
    records = tuple(ImageRecord(Path(f"{i}.png"), "a", i % 2) for i in range(3))
    domain = Domain("birds", query=records, leave_one_out=True, exclude_same_camera=True)
    camids = [record.camid for record in domain.query]
    found = evaluate_ranking(np.eye(3), np.eye(3), [0, 0, 0], [0, 0, 0], camids, camids, leave_one_out=True)
    assert found.num_valid_queries == 3
    protocol = identify(domain)
    assert protocol is not None
    assert "without those of its identity and camera" in protocol.words


def test_ingest_writes_it(tmp_path: Path) -> None:
    for person in range(6):
        for number in range(3):
            path = tmp_path / "src" / f"bird{person}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 16), (40 * person, 80 * number, 40)).save(path)
    summary = ingest(tmp_path / "src", tmp_path / "m.csv", protocol="leave_one_out")
    (domain,) = read_manifest(summary.manifest).values()
    assert domain.leave_one_out
    assert len(domain.query) == len(domain.gallery) == 9
    assert check([domain], cache_dir=None)[0].ok
