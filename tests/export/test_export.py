"""`jointreid export` on a small trained run: the files load without jointreid and compute the model's features."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file

from jointreid.cli import main
from jointreid.config import GraphPrecision
from jointreid.data.augment import normalise
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.sources import load_domains
from jointreid.export import proof
from jointreid.export.contract import contract_path
from jointreid.export.runtime import ExportedModel, open_session
from jointreid.extraction.embedder import Embedder
from jointreid.messages.errors import JointreidError
from jointreid.run import open_run, write_config
from tests.small_run import copy_of_fixture

onnx = pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the small run as the current folder, whose features tell people apart."""
    with pytest.MonkeyPatch.context() as patch:
        folder = copy_of_fixture(tmp_path_factory.mktemp("export") / "place", patch)
        weights = folder / "run" / "last" / "model.safetensors"
        tensors = load_file(weights)
        model = open_run("run").model()
        with torch.inference_mode():
            features = model(normalise(torch.from_numpy(pixels()).permute(0, 3, 1, 2), *MEAN_STD)).embedding
        tensors["bnneck.running_mean"] = features.mean(0)
        tensors["bnneck.running_var"] = features.var(0) + 1e-6
        save_file(tensors, weights)
        yield folder


MEAN_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def pixels(count: int = 12) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 32, 16, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def written(place: Path) -> Path:
    """The exported file, with its proof."""
    assert main(["export", "run", "--verify", "--allow-few", "--out", "out"]) == 0
    return place / "out" / "bot-dcsd-uint8.onnx"


@pytest.mark.slow
def test_the_file_has_standard_operators_and_a_dynamic_batch(written: Path) -> None:
    model = onnx.load(written)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert not model.functions
    (images,), (features,) = model.graph.input, model.graph.output
    shapes = [
        [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in (images, features)
    ]
    assert [images.name, features.name] == ["images", "features"]
    assert shapes == [["batch", 32, 16, 3], ["batch", 16]]
    assert not [name for name in (tensor.name for tensor in model.graph.initializer) if "classifier" in name]
    assert b".py" not in written.read_bytes()  # nothing of where it was made


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 7])
def test_the_file_computes_the_features_of_the_run(written: Path, count: int) -> None:
    expected = Embedder.load("run", device="cpu")(list(pixels(count)))
    found = ExportedModel.load(written, threads=1)(list(pixels(count)))
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.slow
def test_the_contract_says_what_was_proved(written: Path) -> None:
    plain = json.loads(contract_path(written).read_text())
    assert plain["proof"]["images"] == 30
    assert plain["proof"]["too_few"] is True
    assert plain["proof"]["cosine_smallest"] >= 0.9999
    assert plain["proof"]["same_neighbours"] == 1
    assert plain["fingerprint"] == Embedder.load("run", device="cpu").fingerprint
    assert plain["input"]["shape"] == ["batch", 32, 16, 3]
    assert ExportedModel.load(written).contract.fingerprint == plain["fingerprint"]


@pytest.mark.slow
def test_people_in_a_frame_are_those_of_the_embedder(written: Path) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    boxes = np.array([[3, 4, 30, 60], [50.2, 10.7, 81.9, 200], [-5, -5, 20, 40]])
    expected = Embedder.load("run", device="cpu").boxes(frame, boxes, form="xyxy")
    found = ExportedModel.load(written).boxes(frame, boxes)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    with pytest.raises(JointreidError, match=r"box 0: \[200, 0, 210, 5\] shows nothing of a frame of 120 x 90"):
        ExportedModel.load(written).boxes(frame, [[200, 0, 210, 5]])
    with pytest.raises(JointreidError, match=r"boxes are \[2, 6\]; expected \[N, 4\]"):
        ExportedModel.load(written).boxes(frame, [[3, 4, 30, 60, 0.9, 0], [3, 4, 30, 60, 0.8, 0]])
    assert ExportedModel.load(written).boxes(frame, []).shape == (0, 16)


@pytest.mark.slow
def test_the_file_of_another_run_is_not_replaced(
    written: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = written.read_bytes()
    shutil.copytree(place / "run", place / "other")
    assert main(["export", "other", "--out", "out"]) == 2
    assert "bot-dcsd-uint8.onnx is there, exported from the run run; name another folder" in capsys.readouterr().err
    assert written.read_bytes() == before


@pytest.mark.slow
def test_a_file_that_computes_something_else_is_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from jointreid.export import run as exporting

    sound = exporting._program_runner

    def broken(program: torch.export.ExportedProgram) -> proof.Runner:
        return lambda batch: np.roll(sound(program)(batch), 1, axis=1)

    monkeypatch.setattr(exporting, "_program_runner", broken)
    assert main(["export", "run", "--format", "pt2", "--verify", "--allow-few", "--out", "refused"]) == 2
    assert "does not compute what the model does" in capsys.readouterr().err
    assert not [path for path in (place / "refused").glob("*") if path.is_file()]


@pytest.mark.slow
@pytest.mark.parametrize("images", ["200", "2", "0"])
def test_a_proof_on_few_images_is_refused_before_the_work(
    place: Path, images: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "run", "--verify", "--images", images, "--out", "few"]) == 2
    printed = capsys.readouterr().err
    assert f"the proof would have {min(int(images), 30)} test images; expected 200 or more" in printed
    assert "--allow-few" in printed
    assert "tracing" not in printed
    assert not list((place / "few").glob("*.onnx"))


def test_images_of_a_proof_are_shared_by_the_domains() -> None:
    def domain(name: str, people: int) -> Domain:
        records = tuple(ImageRecord(Path(f"{i}.png"), f"p{i}", 0) for i in range(people))
        return Domain(name, (), records[:1], records[1:])

    domains = [domain("large", 500), domain("small", 10), domain("other", 300)]
    for count, shares in ((200, [95, 10, 95]), (30, [10, 10, 10]), (900, [500, 10, 300]), (1, [0, 1, 0]), (0, [0] * 3)):
        chosen = proof.sample(domains, count)
        assert [sum(name == one.name for name, _ in chosen) for one in domains] == shares
    assert len({(name, record.path) for name, record in proof.sample(domains)}) == proof.IMAGES
    proof.require_enough(proof.sample(domains), allow=False)


@pytest.mark.slow
def test_a_program_of_pytorch_loads_without_jointreid(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "run", "--format", "pt2", "--input", "unit", "--out", "out", "--verify", "--allow-few"]) == 0
    program = torch.export.load(place / "out" / "bot-dcsd-unit.pt2")
    assert not [node for node in program.graph.nodes if "jointreid" in str(node.target)]
    images = torch.from_numpy(pixels(3)).permute(0, 3, 1, 2) / 255
    expected = Embedder.load("run", device="cpu")(list(pixels(3)))
    np.testing.assert_allclose(program.module()(images).detach().numpy(), expected, atol=2e-6)


@pytest.mark.slow
def test_what_the_file_leaves_out_of_the_evaluation_is_said_and_best_is_a_file_of_its_own(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(place / "run", tmp_path / "run"))
    shutil.copytree(run / "last", run / "best", dirs_exist_ok=True)
    write_config(open_run(run).config.replace(eval={"flip": True, "metric": "euclidean"}), run / "config.yaml")
    assert main(["export", str(run), "--format", "pt2", "--checkpoint", "best", "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "the file sees each image once" in printed.out + printed.err
    assert "the run was evaluated by euclidean distance" in printed.out + printed.err
    assert (tmp_path / "out" / "bot-dcsd-best-uint8.pt2").is_file()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ("same", ""),
        ("turned", "does not compute what the model does: cosine"),
        ("nan", "a feature that is not finite for .*people"),
    ],
)
def test_features_are_compared_one_by_one(features: str, message: str) -> None:
    expected = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0].astype(np.float32)
    found = expected.copy()
    if features == "turned":
        found[3] = found[4]
    if features == "nan":
        found[3] = np.nan
    images = [("d", ImageRecord(Path(f"people/{i}.png"), f"p{i}", 0)) for i in range(16)]
    if message:
        with pytest.raises(JointreidError, match=message):
            proof.compare(expected, found, images)
    else:
        assert proof.compare(expected, found, images).same_neighbours == 1


def test_a_proof_on_features_that_are_all_alike_is_vacuous() -> None:
    alike = np.ones((4, 8)) + np.eye(4, 8) / 10
    expected = (alike / np.linalg.norm(alike, axis=1, keepdims=True)).astype(np.float32)
    images = [("d", ImageRecord(Path(f"{i}.png"), f"p{i}", 0)) for i in range(4)]
    found = proof.compare(expected, expected.copy(), images)
    assert found.vacuous
    with pytest.raises(JointreidError, match=r"the proof is vacuous: images of different people are 0\.9"):
        proof.require_meaning(found, allow=False)
    proof.require_meaning(found, allow=True)


def test_a_control_that_needs_labels_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.extraction.small_runs import untrained_run

    run = untrained_run(tmp_path / "run")
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("context: block", "context: labels"))
    shutil.rmtree(run / "last")
    (run / "last").mkdir()
    opened = open_run(run)
    from jointreid.run import model_for

    save_file(model_for(opened.config, opened.label_space).state_dict(), run / "last" / "model.safetensors")
    assert main(["export", str(run)]) == 2
    assert "it is a control, not a model to export" in capsys.readouterr().err


@pytest.mark.slow
def test_the_loader_of_the_page_needs_no_jointreid(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    (code,) = (block for block in page.split("```python\n")[1:] if "import onnxruntime" in block)
    code = code.partition("```")[0]
    assert "jointreid" not in code.replace('"jointreid"', "")
    monkeypatch.chdir(written.parent)
    for index, image in enumerate(pixels(2)):
        Image.fromarray(image).save(f"{index}.png")
    names: dict[str, Any] = {}
    exec(code, names)
    expected = Embedder.load(written.parents[1] / "run", device="cpu")(["0.png", "1.png"])
    np.testing.assert_allclose(names["embed"](["0.png", "1.png"]), expected, atol=2e-6)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_smaller_files_are_evaluated_beside_fp32(place: Path, written: Path, precision: GraphPrecision) -> None:
    # The graph of the exported file again, which takes no second trace.
    from jointreid.export.precision import in_8_bit, in_half_precision, pointwise_convolutions

    graph, contract = onnx.load(written), ExportedModel.load(written).contract
    assert len(pointwise_convolutions(graph)) == 2
    run = open_run("run")
    if precision == "fp16":
        made = in_half_precision(graph)
    else:
        train = [record for domain in load_domains(run.config.data) for record in domain.train]
        made = in_8_bit(graph, contract, train, run.config)
        assert [node.op_type for node in made.graph.node].count("QuantizeLinear") >= 2
    session = open_session(made.SerializeToString(), precision, 1)
    blank = np.stack([np.full((32, 16, 3), value, np.uint8) for value in (0, 127, 255)])
    for images in (pixels(5), blank):
        expected = Embedder.load(run, device="cpu")(list(images))
        found = session.run(["features"], {"images": images})[0]
        assert np.isfinite(found).all()
        assert (expected * found).sum(axis=1).min() >= proof.AGREEMENT[precision]
