"""The names that scripts and other packages call: each exists, with the arguments it is called by."""

import inspect
from collections.abc import Callable

import pytest

import jointreid
from jointreid.data.joint import JointTrainSet, join
from jointreid.data.manifest import read_manifest
from jointreid.data.readers import READERS
from jointreid.data.records import Domain
from jointreid.models import ModelOutput, ReIDModel, build_model
from jointreid.models.dynamic_filter import dynamic_filter, dynamic_filter_reference, filter_norm
from jointreid.retrieval.ranking import RankingMetrics, evaluate_distmat, evaluate_ranking
from jointreid.run import Run, open_run

IDS = "query_pids, gallery_pids, query_camids=None, gallery_camids=None"


@pytest.mark.parametrize(
    ("function", "signature"),
    [
        (dynamic_filter, "x, spatial, channel, stride=1, dilation=1"),
        (dynamic_filter_reference, "x, spatial, channel, stride=1, dilation=1"),
        (filter_norm, "raw, dim, std, eps=1e-10"),
        (jointreid.train, "config"),
        (open_run, "path"),
        (read_manifest, "path"),
        (join, "domains"),
        (READERS["market1501"], "path"),
        (jointreid.Embedder.load, "run, checkpoint='last', device='auto'"),
        (jointreid.Embedder.__call__, "self, images"),
        (build_model, "name, num_ids, num_domains=1, num_cameras=1, trunk='resnet50'"),
        (
            evaluate_ranking,
            f"query, gallery, {IDS}, *, exclude_same_camera=True, metric='cosine', max_rank=50, max_memory=1073741824",
        ),
        (evaluate_distmat, f"distmat_or_chunks, {IDS}, *, exclude_same_camera=True, max_rank=50"),
    ],
)
def test_a_function_takes_the_arguments_it_is_called_by(function: Callable[..., object], signature: str) -> None:
    assert leading_parameters(function, signature.replace("*, ", "").count(", ") + 1) == signature


def leading_parameters(function: Callable[..., object], count: int) -> str:
    """Return the first parameters and their defaults; further ones must have a default."""
    parameters = [p.replace(annotation=p.empty) for p in inspect.signature(function).parameters.values()]
    for further in parameters[count:]:
        assert further.default is not further.empty or further.kind is further.VAR_KEYWORD, f"{further} is required"
    kept = inspect.Signature(parameters[:count])
    return str(kept)[1:-1]


def test_what_is_returned() -> None:
    assert inspect.signature(jointreid.train, eval_str=True).return_annotation is Run
    assert inspect.signature(open_run, eval_str=True).return_annotation is Run
    assert inspect.signature(read_manifest, eval_str=True).return_annotation == dict[str, Domain]
    assert inspect.signature(join, eval_str=True).return_annotation is JointTrainSet
    assert inspect.signature(build_model, eval_str=True).return_annotation is ReIDModel
    for function in (evaluate_ranking, evaluate_distmat):
        assert inspect.signature(function, eval_str=True).return_annotation is RankingMetrics


def test_fields_of_results() -> None:
    assert ModelOutput._fields[:4] == ("embedding", "bn_embedding", "id_logits", "factor_logits")
    assert {"cmc", "mAP", "mINP", "num_valid_queries"} <= RankingMetrics.__annotations__.keys()
