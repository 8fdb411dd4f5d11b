"""Features of records by `extract`, against a slow computation image by image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from jointreid.config import EvalConfig, ImageConfig
from jointreid.data.records import ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.models.context import FactorLogits, Origins
from jointreid.models.reid import ModelOutput, ReIDModel
from jointreid.retrieval.embeddings import Embeddings
from jointreid.retrieval.extract import extract

IMAGE = ImageConfig(height=20, width=16)


class PixelModel(ReIDModel):
    """A feature is the mean of each colour in each quarter of the image: 12 numbers, changed by a mirror."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.context = None
        self.frozen = nn.Dropout()
        self.seen: list[tuple[int, bool, bool]] = []
        self.spoilt_image = -1

    def forward(
        self, images: Tensor, origins: Origins | None = None, keeps_context: Tensor | None = None
    ) -> ModelOutput:
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
        def forward(
            self, images: Tensor, origins: Origins | None = None, keeps_context: Tensor | None = None
        ) -> ModelOutput:
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
