"""Features of records by `extract`, against a slow computation image by image, and of any images by `Embedder`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from jointreid.config import EvalConfig, ImageConfig
from jointreid.data.joint import join
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.models.dcsd import FactorLogits
from jointreid.models.reid import ModelOutput, ReIDModel
from jointreid.retrieval.embeddings import Embeddings
from jointreid.retrieval.extract import Embedder, ImageLike, extract
from jointreid.run import model_for, open_run, write_config
from tests.small import small_config

IMAGE = ImageConfig(height=20, width=16)


class PixelModel(ReIDModel):
    """A feature is the mean of each colour in each quarter of the image: 12 numbers, changed by a mirror."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.frozen = nn.Dropout()
        self.seen: list[tuple[int, bool, bool]] = []
        self.spoilt_image = -1

    def forward(self, images: Tensor) -> ModelOutput:
        ready = images.is_contiguous(memory_format=torch.channels_last) and torch.is_inference_mode_enabled()
        spoilt = self.spoilt_image - sum(count for count, _, _ in self.seen)
        self.seen.append((len(images), self.training or self.frozen.training, ready))
        feature = nn.functional.adaptive_avg_pool2d(images, 2).flatten(1)  # B 12
        if 0 <= spoilt < len(images):
            feature[spoilt, 5] = torch.inf
        return ModelOutput(feature / 2, feature, feature, ())


def draw(folder: Path, count: int, size: tuple[int, int] = (23, 37)) -> list[ImageRecord]:
    """Return records of images of noise, (width, height) as in `size`, all different."""
    pixels = np.random.default_rng(3).integers(0, 256, (count, size[1], size[0], 3), dtype=np.uint8)
    records = []
    for i in range(count):
        Image.fromarray(pixels[i]).save(folder / f"{i:02}.png")
        records.append(ImageRecord(folder / f"{i:02}.png", f"p{i // 2}", 5 * (i % 3)))
    return records


def slow_features(records: Sequence[ImageRecord], mirror: bool = False) -> NDArray[np.float64]:
    """`PixelModel` image by image in numpy, float64."""
    features = []
    for record in records:
        resized = Image.open(record.path).resize((IMAGE.width, IMAGE.height), Image.Resampling.BICUBIC)
        pixels = (np.asarray(resized) / 255 - IMAGE.mean) / IMAGE.std  # H W 3
        pixels = pixels[:, ::-1] if mirror else pixels
        quarters = [pixels[top : top + 10, left : left + 8].mean((0, 1)) for top in (0, 10) for left in (0, 8)]
        features.append(np.array(quarters).T.ravel())
    return np.array(features)


def run_extract(
    model: ReIDModel, records: Sequence[ImageRecord], cache: Path, *, flip: bool = False, batch_size: int = 3
) -> Embeddings:
    evaluation = EvalConfig(flip=flip, batch_size=batch_size)
    device = torch.device("cpu")
    return extract(model, records, IMAGE, evaluation, device=device, cache_dir=cache, workers=2)


def test_features_are_those_of_the_images_one_by_one(tmp_path: Path) -> None:
    records = draw(tmp_path, 7)[::-1]
    model = PixelModel().train()
    embeddings = run_extract(model, records, tmp_path / "cache")
    np.testing.assert_allclose(embeddings.features, slow_features(records), atol=1e-5)
    assert embeddings.features.dtype == np.float32
    assert embeddings.pids.tolist() == [record.pid for record in records]
    assert embeddings.camids.tolist() == [record.camid for record in records]
    assert embeddings.paths.tolist() == [str(record.path) for record in records]
    assert embeddings.domain_posterior is None
    assert embeddings.camera_posterior is None
    assert model.seen == [(3, False, True), (3, False, True), (1, False, True)]


def test_flip_averages_with_the_mirrored_image(tmp_path: Path) -> None:
    records = draw(tmp_path, 4)
    upright, mirrored = slow_features(records), slow_features(records, mirror=True)
    assert np.abs(upright - mirrored).max() > 0.01
    model = PixelModel()
    embeddings = run_extract(model, records, tmp_path, flip=True)
    np.testing.assert_allclose(embeddings.features, (upright + mirrored) / 2, atol=1e-5)
    assert all(ready for _, _, ready in model.seen)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(logits)
    share: NDArray[np.float64] = powers / powers.sum(1, keepdims=True)
    return share


@pytest.mark.parametrize("flip", [False, True])
def test_posteriors_are_the_mean_softmax_over_blocks_and_views(tmp_path: Path, flip: bool) -> None:
    records = draw(tmp_path, 5)
    views = [slow_features(records), slow_features(records, mirror=True)][: 1 + flip]

    class TwoBlocks(PixelModel):
        def forward(self, images: Tensor) -> ModelOutput:
            output = super().forward(images)
            blocks = (
                FactorLogits(output.bn_embedding[:, :2], 9 * output.bn_embedding[:, 2:5]),
                FactorLogits(output.bn_embedding[:, 5:7], None),
            )
            return output._replace(factor_logits=blocks)

    embeddings = run_extract(TwoBlocks(), records, tmp_path, flip=flip)
    domain = np.mean([softmax(f[:, at : at + 2]) for f in views for at in (0, 5)], axis=0)
    camera = np.mean([softmax(9 * f[:, 2:5]) for f in views], axis=0)
    assert embeddings.domain_posterior is not None
    assert embeddings.camera_posterior is not None
    np.testing.assert_allclose(embeddings.domain_posterior, domain, atol=1e-5)
    np.testing.assert_allclose(embeddings.camera_posterior, camera, atol=1e-4)


def test_every_module_gets_its_mode_back_also_after_an_error(tmp_path: Path) -> None:
    records = draw(tmp_path, 4)
    model = PixelModel().train()
    model.frozen.eval()
    run_extract(model, records, tmp_path)
    assert (model.training, model.frozen.training) == (True, False)
    model.spoilt_image = 5
    with pytest.raises(JointreidError, match="not finite"):
        run_extract(model, records, tmp_path)
    assert (model.training, model.frozen.training) == (True, False)
    assert not torch.is_inference_mode_enabled()


def test_a_feature_that_is_not_finite_names_its_image(tmp_path: Path) -> None:
    records = draw(tmp_path, 5)
    model = PixelModel()
    model.spoilt_image = 4
    with pytest.raises(JointreidError, match=f"^{records[4].path}: its feature is not finite, one of 1 .* the 2 of"):
        run_extract(model, records, tmp_path)


def test_progress_and_no_records(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    records, device = draw(tmp_path, 5), torch.device("cpu")
    extract(
        PixelModel(), records, IMAGE, EvalConfig(batch_size=2), device=device, cache_dir=tmp_path, workers=1,
        on_batch=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    assert calls == [(2, 5), (4, 5), (5, 5)]
    with pytest.raises(JointreidError, match="no images"):
        run_extract(PixelModel(), [], tmp_path)


# Embedder, on a run with a real model


@pytest.fixture(scope="module")
def run_and_records(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ImageRecord]]:
    folder = tmp_path_factory.mktemp("embedder")
    records = draw(folder, 5)
    config = small_config("bot", eval={"batch_size": 2, "flip": True})
    space = join([Domain("d", train=tuple(records))]).label_space
    run = folder / "run"
    write_config(config, run / "config.yaml")
    space.save(run / "labels.json")
    torch.manual_seed(0)
    (run / "last").mkdir()
    save_file(model_for(config, space).state_dict(), run / "last" / "model.safetensors")
    return run, records


@pytest.mark.slow
def test_embedder_is_extract_with_length_one(run_and_records: tuple[Path, list[ImageRecord]], tmp_path: Path) -> None:
    path, records = run_and_records
    run = open_run(path)
    device = torch.device("cpu")
    features = extract(
        run.model(), records, run.config.image, run.config.eval, device=device, cache_dir=tmp_path, workers=1
    ).features
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    embed = Embedder.load(run, device="cpu")
    paths = [record.path for record in records]
    arrays = [np.asarray(Image.open(p)) for p in paths]
    mixed: list[ImageLike] = [paths[4], Image.open(paths[0]), arrays[2], str(paths[1]), Image.open(paths[3])]
    embedded = embed(mixed)
    assert embedded.dtype == np.float32
    assert np.abs(embedded - expected[[4, 0, 2, 1, 3]]).max() < 1e-6
    assert np.abs(embed(np.stack(arrays[:2])) - expected[:2]).max() < 1e-6


def test_embedder_takes_one_image_or_none(run_and_records: tuple[Path, list[ImageRecord]]) -> None:
    path, records = run_and_records
    embed = Embedder.load(path, device="cpu")
    image = Image.open(records[1].path)
    expected = embed([records[1].path])
    assert expected.shape == (1, 512)
    for one in (records[1].path, str(records[1].path), image, np.asarray(image)):
        assert np.array_equal(embed(one), expected)
    assert embed([]).shape == (0, 512)
    assert embed([]).dtype == np.float32


def test_embedder_turns_an_opened_image_upright_as_it_does_a_file(
    run_and_records: tuple[Path, list[ImageRecord]], tmp_path: Path
) -> None:
    embed = Embedder.load(run_and_records[0], device="cpu")
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    turned = tmp_path / "turned.png"
    Image.open(run_and_records[1][0].path).save(turned, exif=exif)
    assert np.array_equal(embed(Image.open(turned)), embed(turned))
    assert not np.allclose(embed(turned), embed(run_and_records[1][0].path), atol=1e-4)


def test_embedder_takes_pil_images_of_any_mode_as_it_does_files(
    run_and_records: tuple[Path, list[ImageRecord]], tmp_path: Path
) -> None:
    embed = Embedder.load(run_and_records[0], device="cpu")
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


def test_embedder_names_a_damaged_image_that_was_opened(
    run_and_records: tuple[Path, list[ImageRecord]], tmp_path: Path
) -> None:
    embed = Embedder.load(run_and_records[0], device="cpu")
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
        (Image.new("F", (4, 4)), "image 2: grey values are fractions"),
        (Image.new("RGB", (0, 4)), r"image 2: array uint8 \[4, 0, 3\]"),
        (7, "image 2: int; expected a path"),
        ("nowhere.png", "nowhere.png: no such file"),
    ],
)
def test_embedder_names_the_image_it_cannot_take(
    run_and_records: tuple[Path, list[ImageRecord]], image: Any, message: str
) -> None:
    embed = Embedder.load(run_and_records[0], device="cpu")
    image0: Any = run_and_records[1][0].path
    with pytest.raises(JointreidError, match=message):
        embed([image0, image0, image])
