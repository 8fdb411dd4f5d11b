"""`Embedder`: any images -> the features of evaluation."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from PIL import Image

from jointreid.data.records import ImageRecord
from jointreid.extraction.embedder import Embedder, unit_length
from jointreid.extraction.image_input import ImageLike
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.extract import extract
from jointreid.run import open_run
from tests.extraction.small_runs import draw, untrained_run

pytestmark = pytest.mark.slow

RunAndRecords = tuple[Path, list[ImageRecord]]


@pytest.fixture(scope="module")
def run_and_records(tmp_path_factory: pytest.TempPathFactory) -> RunAndRecords:
    folder = tmp_path_factory.mktemp("embedder")
    return untrained_run(folder / "run"), draw(folder / "images", 5)


@pytest.fixture(scope="module")
def embed(run_and_records: RunAndRecords) -> Embedder:
    return Embedder.load(run_and_records[0], device="cpu")


@pytest.mark.parametrize("flip", [False, True])
def test_features_and_posteriors_are_those_of_evaluation_bit_for_bit(
    run_and_records: RunAndRecords, tmp_path: Path, flip: bool
) -> None:
    path, records = run_and_records
    run = open_run(path)
    evaluation = run.config.replace(eval={"flip": flip}).eval
    device = torch.device("cpu")
    expected = extract(run.model(), records, run.config.image, evaluation, device=device, cache_dir=tmp_path, workers=1)
    embed = Embedder.load(run, device="cpu", flip=flip)
    paths = [record.path for record in records]
    described = embed.describe(paths)
    assert np.array_equal(described.features, expected.features)
    assert np.array_equal(embed(paths, normalise=False), expected.features)
    assert described.domain is not None
    assert described.camera is not None
    assert expected.domain_posterior is not None
    assert expected.camera_posterior is not None
    assert np.array_equal(described.domain, expected.domain_posterior)
    assert np.array_equal(described.camera, expected.camera_posterior)
    assert np.array_equal(embed(paths), unit_length(expected.features))


def test_features_have_length_one_and_differ_between_images(embed: Embedder, run_and_records: RunAndRecords) -> None:
    features = embed([record.path for record in run_and_records[1]])
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-6)
    assert features.dtype == np.float32
    assert (features @ features.T)[~np.eye(5, dtype=bool)].max() < 0.9999


def test_every_kind_of_image_gives_the_same_feature(embed: Embedder, run_and_records: RunAndRecords) -> None:
    path = run_and_records[1][1].path
    array = np.asarray(Image.open(path))
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1)
    expected = embed([path])
    assert expected.shape == (1, embed.dims) == (1, 512)
    for one in (path, str(path), Image.open(path), array, tensor, tensor.float() / 255, tensor.double() / 255):
        assert np.array_equal(embed(one), expected)
    bgr = array[:, :, ::-1]
    assert np.array_equal(embed(bgr, channels="bgr"), expected)
    assert np.array_equal(embed(tensor.flip(0), channels="bgr"), expected)
    assert np.array_equal(embed(path, channels="bgr"), expected), "a file knows its colours"
    assert not np.allclose(embed(bgr), expected, atol=1e-3)


def test_several_images_keep_their_order(embed: Embedder, run_and_records: RunAndRecords) -> None:
    paths = [record.path for record in run_and_records[1]]
    arrays = [np.asarray(Image.open(p)) for p in paths]
    whole = embed(paths)
    mixed: list[ImageLike] = [paths[4], Image.open(paths[0]), arrays[2], str(paths[1]), Image.open(paths[3])]
    np.testing.assert_allclose(embed(mixed), whole[[4, 0, 2, 1, 3]], atol=1e-6)
    assert np.array_equal(embed(np.stack(arrays)), whole)
    assert np.array_equal(embed(torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2)), whole)
    assert embed([]).shape == (0, 512)
    assert embed([]).dtype == np.float32


@pytest.mark.parametrize(
    ("form", "boxes"),
    [
        ("xywh", [(2, 3, 10, 20), (0, 0, 23, 37)]),
        ("xyxy", [(2, 3, 12, 23), (0, 0, 23, 37)]),
        ("xyxy", np.array([(2.4, 2.6, 11.7, 23.3), (-5.0, -0.2, 99.0, 40.0)], np.float32)),
    ],
)
def test_boxes_of_a_frame_are_its_parts(
    embed: Embedder, run_and_records: RunAndRecords, form: Literal["xywh", "xyxy"], boxes: Any
) -> None:
    path = run_and_records[1][0].path
    frame = np.asarray(Image.open(path))
    expected = embed([frame[3:23, 2:12], frame])
    assert np.array_equal(embed.boxes(path, boxes, form=form), expected)
    assert np.array_equal(embed.boxes(frame[:, :, ::-1], boxes, form=form, channels="bgr"), expected)
    assert embed.boxes(frame, []).shape == (0, 512)
    assert embed.boxes(frame, np.empty((0, 4))).shape == (0, 512)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([(0, 0, 3)], r"boxes: \[1, 3\]; expected \[N, 4\]"),
        ([(0, 0, 3, 3), (23, 0, 5, 5)], r"box 1: \[23.0, 0.0, 28.0, 5.0\] .* no pixel of the frame of 23 x 37"),
        ([(0, 0, 3, 0)], "box 0: .* shows no pixel"),
        ([(0, 0, float("nan"), 3)], "box 0: a number is not finite"),
    ],
)
def test_a_box_that_shows_nothing_is_refused(
    embed: Embedder, run_and_records: RunAndRecords, boxes: Any, message: str
) -> None:
    with pytest.raises(JointreidError, match=message):
        embed.boxes(run_and_records[1][0].path, boxes)


def test_predictions_name_the_domain_and_the_camera(embed: Embedder, run_and_records: RunAndRecords) -> None:
    described = embed.describe([record.path for record in run_and_records[1]])
    assert described.domain is not None
    assert described.camera is not None
    assert described.camera.shape == (5, 4)
    for row, found in enumerate(embed.predict(described)):
        best = int(described.camera[row].argmax())
        assert found.camera == ["d:0", "d:5", "d:10", "e:7"][best]
        assert found.camera_probability == described.camera[row, best]
        assert found.domain == ["d", "e"][int(described.domain[row].argmax())]
        assert found.domain_probability == described.domain[row].max()


def test_a_model_in_memory_is_taken_as_well(embed: Embedder, run_and_records: RunAndRecords) -> None:
    path, records = run_and_records
    run = open_run(path)
    made = Embedder.of(run.model(), run.config, run.label_space, "cpu")
    assert made.fingerprint == embed.fingerprint
    assert np.array_equal(made(records[0].path), embed(records[0].path))
    assert made.cameras == ("d:0", "d:5", "d:10", "e:7")


def test_a_model_without_heads_predicts_nothing(run_and_records: RunAndRecords, tmp_path: Path) -> None:
    embed = Embedder.load(untrained_run(tmp_path / "run", "bot"), device="cpu")
    described = embed.describe(run_and_records[1][0].path)
    assert described.domain is None
    assert embed.predict(described) == [(None, None, None, None)]


NETWORK = {"base": "static", "context": "network"}


@pytest.mark.parametrize("dcsd", [NETWORK, {**NETWORK, "context_stages": (1, 2)}])
def test_a_context_network_tells_what_it_sees_and_gives_the_features_of_evaluation(
    run_and_records: RunAndRecords, tmp_path: Path, dcsd: dict[str, Any]
) -> None:
    run = open_run(untrained_run(tmp_path / "run", dcsd=dcsd))
    records = run_and_records[1]
    expected = extract(
        run.model(), records, run.config.image, run.config.eval, device=torch.device("cpu"), cache_dir=None, workers=1
    )
    described = Embedder.load(run, device="cpu").describe([record.path for record in records])
    assert np.array_equal(described.features, expected.features)
    assert described.camera is not None
    assert described.camera.shape == (5, 4)


def test_a_control_that_needs_the_true_domain_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match="has to be told the domain and the camera of each image"):
        Embedder.load(untrained_run(tmp_path / "run", dcsd={**NETWORK, "context": "labels"}), device="cpu")


def test_an_opened_image_is_turned_upright_as_a_file_is(
    embed: Embedder, run_and_records: RunAndRecords, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    turned = tmp_path / "turned.png"
    Image.open(run_and_records[1][0].path).save(turned, exif=exif)
    assert np.array_equal(embed(Image.open(turned)), embed(turned))
    assert not np.allclose(embed(turned), embed(run_and_records[1][0].path), atol=1e-4)


def test_pil_images_of_any_mode_are_taken_as_files_are(
    embed: Embedder, run_and_records: RunAndRecords, tmp_path: Path
) -> None:
    colours = Image.open(run_and_records[1][0].path)
    transparent = colours.convert("RGBA")
    transparent.putalpha(colours.convert("L"))
    deep = Image.fromarray(np.asarray(colours.convert("L")).astype(np.uint16) * 257)
    images = [transparent, deep, colours.convert("P"), colours.convert("1")]
    paths = []
    for image in images:
        paths.append(tmp_path / f"{image.mode.replace(';', '')}.png")
        image.save(paths[-1])
    assert np.array_equal(embed(images), embed(paths))


def test_a_damaged_image_that_was_opened_is_named(
    embed: Embedder, run_and_records: RunAndRecords, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(run_and_records[1][0].path.read_bytes()[:900])
    with pytest.raises(JointreidError, match=r"image 1: .*truncated"):
        embed([run_and_records[1][0].path, Image.open(cut)])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"image 2: array float32 \[4, 4, 3\]; expected uint8 \[H, W, 3\]"),
        (np.zeros((4, 4), np.uint8), r"image 2: array uint8 \[4, 4\]"),
        (np.zeros((4, 4, 4), np.uint8), "image 2: array uint8"),
        (np.zeros((0, 4, 3), np.uint8), "image 2: array uint8"),
        (torch.zeros(4, 4, 3), r"image 2: tensor torch.float32 \[4, 4, 3\]; expected \[3, H, W\]"),
        (torch.full((3, 4, 4), -0.5), r"image 2: values from -0.5 to -0.5; expected \[0, 1\], not normalised"),
        (torch.zeros(3, 4, 4, dtype=torch.int64), "image 2: array int64"),
        (Image.new("F", (4, 4)), "image 2: grey values are fractions"),
        (Image.new("RGB", (0, 4)), r"image 2: array uint8 \[4, 0, 3\]"),
        (7, "image 2: int; expected a path"),
        ("nowhere.png", "nowhere.png: no such file"),
    ],
)
def test_an_image_that_cannot_be_taken_is_named(
    embed: Embedder, run_and_records: RunAndRecords, image: Any, message: str
) -> None:
    image0: Any = run_and_records[1][0].path
    with pytest.raises(JointreidError, match=message):
        embed([image0, image0, image])


def test_unknown_words_are_refused(embed: Embedder, run_and_records: RunAndRecords) -> None:
    wrong: Any = "grb"
    with pytest.raises(JointreidError, match="channels is 'grb'; expected rgb or bgr"):
        embed(run_and_records[1][0].path, channels=wrong)
    with pytest.raises(JointreidError, match="form is 'grb'; expected xywh"):
        embed.boxes(run_and_records[1][0].path, [(0, 0, 1, 1)], form=wrong)
