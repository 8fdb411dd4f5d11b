"""`jointreid predict`: posteriors, suggestions for cameras, and the command on the small run of version 1."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jointreid.cli import main
from jointreid.conflict.layers import LayerFeatures
from jointreid.conflict.origin import fit_reader
from jointreid.conflict.predict import _stated
from jointreid.conflict.repair import suggest_cameras
from jointreid.data.label_space import DomainLabels, LabelSpace
from jointreid.extraction.image_table import ImageTable
from jointreid.retrieval.embeddings import Embeddings
from tests.small_run import copy_of_fixture

LABELS = LabelSpace(
    (DomainLabels("east", ("a", "b"), (1, 4), 0, 0), DomainLabels("west", ("c",), (0,), 2, 2)),
)


def features(layers: dict[str, Any], **posteriors: Any) -> LayerFeatures:
    count = len(next(iter(layers.values())))
    values = {f"{name}_posterior": np.array(rows, dtype=np.float32) for name, rows in posteriors.items()}
    embeddings = Embeddings(
        np.zeros((count, 1), np.float32), np.array(["p"] * count), np.zeros(count, np.int64), np.array(["x"] * count),
        **values,
    )  # fmt: skip
    return LayerFeatures(embeddings, {name: np.array(rows, dtype=np.float32) for name, rows in layers.items()})


def test_heads_tell_where_there_are_some() -> None:
    rows = [[0.75, 0.25], [0.1, 0.9]]
    given = features({"stem": [[0.0], [0.0]]}, domain=rows)
    reader = fit_reader("domain", given, [0, 1], ["a", "b"], 2, seed=0)
    assert reader.posterior(given) == pytest.approx(np.array(rows))
    assert reader.how == "domain: by the model's own heads"


def test_without_heads_a_probe_reads_the_layer_that_tells_best() -> None:
    generator = np.random.default_rng(0)
    classes = np.repeat([0, 1], 20)
    layers = {
        "stem": generator.normal(size=(40, 2)),
        "stage 1": np.eye(2)[classes] * 5 + generator.normal(size=(40, 2)),
    }
    given = features(layers)
    reader = fit_reader("camera", given, classes.tolist(), [str(i // 2) for i in range(40)], 3, seed=0)
    assert reader.layer == "stage 1"
    posterior = reader.posterior(given)
    assert posterior.shape == (40, 3)
    assert posterior.sum(1) == pytest.approx(np.ones(40))
    assert (posterior.argmax(1) == classes).mean() > 0.9
    assert "no camera heads, so by a linear probe on its features after stage 1" in reader.how


def test_a_camera_is_suggested_within_the_stated_domain_from_the_margin_on() -> None:
    posterior = np.array([[0.1, 0.3, 0.6], [0.3, 0.1, 0.6], [0.1, 0.3, 0.6], [0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    domains = ["east", "east", None, "east", "west"]
    camids = [1, 1, 1, 4, 0]
    found, compared = suggest_cameras(posterior, domains, camids, LABELS, margin=0.4)
    assert compared == [0, 1, 3]  # the third states no domain, west has one camera
    (only,) = found
    assert (only.index, only.domain, only.stated, only.suggested) == (0, "east", 1, 4)
    assert (only.stated_probability, only.suggested_probability) == pytest.approx((0.25, 0.75))
    assert suggest_cameras(posterior, domains, camids, LABELS, margin=0.6)[0] == []
    assert suggest_cameras(posterior, ["north"] * 5, camids, LABELS, margin=0.0) == ([], [])


def table_of(**columns: list[Any]) -> Any:
    """Return an image table with these columns."""
    import pyarrow as pa

    count = len(next(iter(columns.values())))
    return ImageTable("t", {}, pa.table(columns), ["a.jpg"] * count, [None] * count)


@pytest.mark.parametrize(
    ("camids", "numbers", "named"),
    [
        (["3", "04", None], [3, 4, None], ()),
        (["3.0", "4.0", ""], [3, 4, None], ()),
        ([3, 4, 4], [3, 4, 4], ()),
        ([3.0, None, 4.0], [3, None, 4], ()),
        (["hall", "2", "3"], [None, None, 3], ("east",)),  # the last is of another domain
    ],
)
def test_stated_cameras_are_read_as_training_reads_them(
    camids: list[Any], numbers: list[int | None], named: tuple[str, ...]
) -> None:
    domains, found, without = _stated(table_of(domain=["east", "east", "west"], camid=camids), "")
    assert (domains, found, without) == (["east", "east", "west"], numbers, named)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    patch = pytest.MonkeyPatch()
    yield copy_of_fixture(tmp_path_factory.mktemp("predict") / "v1", patch)
    patch.undo()


@pytest.mark.slow
def test_images_of_the_run_itself(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = Path("people.csv").read_text().splitlines()
    Path("some.csv").write_text("\n".join(rows[:6]) + "\n")
    options = ["--images", "some.csv", "--own-images", "8", "--device", "cpu", "--false-alarms", "0.2"]
    assert main(["predict", "run", *options, "--out", "out.csv"]) == 0
    printed = capsys.readouterr().out
    assert "Domain: by the model's own heads." in printed
    assert "5 images: " in printed
    assert "set for 20.0% false alarms" in printed
    assert "Stated cameras: " in printed
    with Path("out.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["path"] for row in table] == ["sheet.png"] * 5
    for row in table:
        assert row["predicted_domain"] in ("east", "west")
        assert float(row["p(east)"]) + float(row["p(west)"]) == pytest.approx(1.0, abs=1e-5)
        assert float(row["domain_probability"]) == max(float(row["p(east)"]), float(row["p(west)"]))
    assert main(["predict", "run", *options, "--json", "--out", "out.json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads(Path("out.json").read_text())
    cameras = found["images"][0]["cameras"]
    assert {name.partition(":")[0] for name in cameras} == {"east", "west"}
    assert sum(cameras.values()) == pytest.approx(1.0, abs=1e-5)
    assert found["alarm"]["asked_rate"] == 0.2
    assert main(["predict", "run", *options, "--out", "out.parquet"]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--images", "people.csv", "--out", "x.txt"), r"--out is .*x.txt; expected a file that ends in .csv"),
        ((), "--images is missing"),
        (("--images", "nowhere"), "nowhere does not exist"),
        (
            ("--images", "people.csv", "--false-alarms", "2", "--own-images", "8"),
            "false_alarms is 2.0; expected a share between 0 and 1",
        ),
        (
            ("--images", "people.csv", "--domain", "est", "--own-images", "8"),
            "there is no domain est; did you mean .*east",
        ),
    ],
)
def test_a_mistake_is_named(
    place: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], message: str
) -> None:
    assert main(["predict", "run", *options]) == 2
    assert re.search(message, capsys.readouterr().err)
