import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from jointreid.config import ImageConfig
from jointreid.data.augment import ERASE_ATTEMPTS, AugmentDraws, apply, augment, draw, normalise
from jointreid.messages.errors import JointreidError
from jointreid.recipes import apply_recipe

CONFIG = ImageConfig(height=33, width=17, pad=3)
PLAIN = replace(CONFIG, flip=0.0, pad=0, erase=0.0)
FORMATS = [torch.contiguous_format, torch.channels_last]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(batch: int, config: ImageConfig = CONFIG, seed: int = 0) -> torch.Tensor:
    size = (batch, 3, config.height, config.width)
    return torch.randint(0, 256, size, dtype=torch.uint8, generator=generator(seed))


def one_by_one(images: torch.Tensor, draws: AugmentDraws, config: ImageConfig) -> torch.Tensor:
    """The same changes in numpy, image by image and in double precision."""
    changed = []
    for image, *row in zip(images.permute(0, 2, 3, 1).numpy(), *(field.tolist() for field in draws), strict=True):
        flip, top, left, erase_top, erase_left, erase_height, erase_width = row
        image = image[:, ::-1] if flip else image
        border = [(config.pad, config.pad), (config.pad, config.pad), (0, 0)]
        padded = np.pad(image, border, mode="constant" if config.pad_mode == "zeros" else "edge")
        crop = padded[top : top + config.height, left : left + config.width]
        normalised = (crop / 255 - np.array(config.mean)) / np.array(config.std)
        fill = np.zeros(3) if config.erase_fill == "mean" else np.array(config.mean)
        normalised[erase_top : erase_top + erase_height, erase_left : erase_left + erase_width] = fill
        changed.append(torch.from_numpy(normalised).permute(2, 0, 1))
    return torch.stack(changed)


@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"erase_fill": "normalised"},
        {"flip": 1.0, "pad": 0},
        {"pad": 9, "erase": 1.0},
        {"pad": 9, "pad_mode": "edge"},
        {"height": 16, "width": 40, "erase_area": (0.3, 0.9)},
        {"mean": (0.1, 0.2, 0.3), "std": (1.0, 2.0, 0.5), "erase_fill": "normalised"},
    ],
)
def test_a_batch_equals_its_images_one_by_one(changes: dict[str, Any], memory_format: torch.memory_format) -> None:
    config = replace(CONFIG, **changes)
    images = noise(23, config).contiguous(memory_format=memory_format)
    before = images.clone()
    draws = draw(config, 23, generator())
    changed = apply(images, draws, config)
    torch.testing.assert_close(changed.double(), one_by_one(images, draws, config), rtol=0, atol=2e-6)
    assert changed.dtype == torch.float32
    assert changed.is_contiguous(memory_format=memory_format)
    assert torch.equal(images, before)
    assert torch.equal(augment(images, config, generator()), changed)


@pytest.mark.slow
@pytest.mark.parametrize("fill", ["mean", "normalised"])
def test_a_batch_equals_torchvision_image_by_image(fill: Any) -> None:
    from torchvision.transforms.v2 import functional as tv

    config = replace(CONFIG, erase_fill=fill)
    images, draws = noise(40), draw(config, 40, generator(1))
    value = torch.tensor((0.0, 0.0, 0.0) if fill == "mean" else config.mean)[:, None, None]
    changed = apply(images, draws, config)
    for i, image in enumerate(images):
        flip, top, left, erase_top, erase_left, erase_height, erase_width = (int(field[i]) for field in draws)
        image = tv.horizontal_flip(image) if flip else image
        image = tv.crop(tv.pad(image, [config.pad] * 4), top, left, config.height, config.width)
        image = tv.normalize(tv.to_dtype(image, torch.float32, scale=True), list(config.mean), list(config.std))
        image = tv.erase(image, erase_top, erase_left, erase_height, erase_width, value)
        torch.testing.assert_close(changed[i], image, rtol=0, atol=1e-6)


def test_by_hand() -> None:
    config = ImageConfig(height=16, width=16, pad=1, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    images[0, :, 0, :3] = torch.tensor([255, 51, 102], dtype=torch.uint8)
    # Flip: 102 51 255 end the first row. Crop at (2, 1) takes it away, at (0, 2) moves it one down and one left.
    still = AugmentDraws(torch.tensor([True]), *(torch.tensor([n]) for n in (0, 2, 0, 0, 0, 0)))
    row = apply(images, still, config)[0, 0, 1]
    assert row[12:].tolist() == pytest.approx([0.4, 0.2, 1.0, 0.0])
    gone = apply(images, still._replace(top=torch.tensor([2])), config)
    assert not gone.any()


def test_with_everything_off_only_normalising_is_left() -> None:
    images = noise(5)
    assert torch.equal(augment(images, PLAIN, generator()), normalise(images, PLAIN.mean, PLAIN.std))


@pytest.mark.parametrize("memory_format", FORMATS)
def test_normalise(memory_format: torch.memory_format) -> None:
    images = noise(3).contiguous(memory_format=memory_format)
    mean, std = (0.5, 0.25, 0.0), (0.5, 0.25, 2.0)
    found = normalise(images, mean, std)
    for channel in range(3):
        wanted = (images[:, channel].double() / 255 - mean[channel]) / std[channel]
        torch.testing.assert_close(found[:, channel].double(), wanted, rtol=0, atol=1e-6)
    assert found.is_contiguous(memory_format=memory_format)


def test_a_seed_decides_everything() -> None:
    images = noise(16)
    assert torch.equal(augment(images, CONFIG, generator(3)), augment(images, CONFIG, generator(3)))
    assert not torch.equal(augment(images, CONFIG, generator(3)), augment(images, CONFIG, generator(4)))


def test_settings_do_not_move_the_draws_of_others() -> None:
    one, other = generator(), generator()
    first = draw(CONFIG, 9, one)
    second = draw(replace(CONFIG, flip=0.0, pad=0), 9, other)
    assert torch.equal(one.get_state(), other.get_state())
    assert all(torch.equal(first[i], second[i]) for i in range(3, 7))
    assert not second.flip.any()
    assert not second.top.any()


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 3, 33, 17),
        torch.zeros(2, 3, 17, 33, dtype=torch.uint8),
        torch.zeros(2, 33, 17, 3, dtype=torch.uint8),
    ],
)
def test_other_images_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(JointreidError, match=r"expected torch.uint8 \[B, 3, 33, 17\]"):
        augment(images, CONFIG, generator())


@pytest.mark.gpu
def test_a_seed_changes_images_the_same_way_on_every_device() -> None:
    images = noise(16)
    wanted = augment(images, CONFIG, generator(3))
    for memory_format in FORMATS:
        on_gpu = augment(images.cuda().contiguous(memory_format=memory_format), CONFIG, generator(3))
        torch.testing.assert_close(on_gpu.cpu(), wanted, rtol=0, atol=1e-6)
        assert on_gpu.is_contiguous(memory_format=memory_format)


# What is drawn.

N = 20_000


def test_flips_come_at_their_rate_and_independently() -> None:
    flip = draw(replace(CONFIG, flip=0.3), N, generator()).flip.double()
    assert float(flip.mean()) == pytest.approx(0.3, abs=0.013)  # four standard deviations
    neighbours = float((flip[1:] * flip[:-1]).mean())
    assert neighbours == pytest.approx(0.09, abs=0.01)
    assert bool(draw(replace(CONFIG, flip=1.0), N, generator()).flip.all())


def test_crops_are_uniform_over_all_places() -> None:
    draws = draw(replace(CONFIG, pad=2), N, generator())
    places = torch.bincount(draws.top * 5 + draws.left)
    assert len(places) == 25
    # N / 25 = 800 expected in each, standard deviation 28.
    assert 680 <= int(places.min()) <= int(places.max()) <= 920


@pytest.mark.parametrize(("rows", "columns"), [(64, 24), (16, 16)])  # in 16 x 16, many just fail to fit
def test_the_erased_rectangle_is_that_of_its_uniform_numbers(rows: int, columns: int) -> None:
    """The loop of up to ten attempts, image by image, from the same uniform numbers."""
    config = ImageConfig(height=rows, width=columns, erase=0.7, erase_area=(0.1, 0.95))
    draws = draw(config, 500, generator(5))
    uniform = torch.rand(500, 6 + 2 * ERASE_ATTEMPTS, dtype=torch.float64, generator=generator(5)).tolist()
    attempts_needed = set()
    for row, *found in zip(uniform, *(field.tolist() for field in draws[3:]), strict=True):
        place, shape = (0, 0), (0, 0)
        for attempt, (u, v) in enumerate(zip(row[6:16], row[16:], strict=True)):
            area = rows * columns * (0.1 + u * 0.85)
            ratio = math.exp(math.log(0.3) + v * math.log(3.3 / 0.3))
            height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if height < rows and width < columns:
                shape = (height, width)
                place = (int(row[4] * (rows - height + 1)), int(row[5] * (columns - width + 1)))
                attempts_needed.add(attempt)
                break
        wanted = shape if row[3] < 0.7 else (0, 0)
        assert tuple(found[2:]) == wanted
        if wanted != (0, 0):
            assert tuple(found[:2]) == place
    assert {0, 1, 2} <= attempts_needed


def test_where_no_rectangle_fits_nothing_is_erased() -> None:
    config = replace(PLAIN, erase=1.0, erase_area=(0.9, 0.95), erase_ratio=(5.0, 6.0))
    images = noise(4)
    assert torch.equal(augment(images, config, generator()), normalise(images, config.mean, config.std))


def distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Kolmogorov-Smirnov: the largest gap between two empirical distribution functions."""
    values = np.union1d(one, other)
    ranks = [np.searchsorted(np.sort(sample), values, side="right") / len(sample) for sample in (one, other)]
    return float(np.abs(ranks[0] - ranks[1]).max())


def test_erased_rectangles_are_distributed_as_torchvisions() -> None:
    from torchvision.transforms import RandomErasing

    torch.manual_seed(0)
    config = ImageConfig(height=64, width=32, erase=1.0)
    count = 4000
    image = torch.zeros(3, 64, 32)
    theirs = np.array(
        [RandomErasing.get_params(image, config.erase_area, config.erase_ratio, [0.0])[:4] for _ in range(count)],
        dtype=np.float64,
    )
    ours = torch.stack(draw(config, count, generator(2))[3:], dim=1).double().numpy()
    limit = 0.044  # exceeded by chance once in a thousand samples of this size
    assert max(distance(ours[:, i], theirs[:, i]) for i in range(4)) < limit
    assert distance(ours[:, 2] * ours[:, 3], theirs[:, 2] * theirs[:, 3]) < limit
    np.testing.assert_allclose(np.corrcoef(ours.T), np.corrcoef(theirs.T), rtol=0, atol=0.08)


def repository_ratios(count: int, seed: int) -> NDArray[np.float64]:
    """Height/width of the rectangles that the BoT and AGW repositories erase, one by one."""
    rng, ratios = np.random.default_rng(seed), list[float]()
    while len(ratios) < count:
        area, ratio = 256 * 128 * rng.uniform(0.02, 0.4), rng.uniform(0.3, 1 / 0.3)
        height, width = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if height < 256 and width < 128:
            ratios.append(height / width)
    return np.array(ratios)


@pytest.mark.parametrize("preset", ["bot-repo", "agw-repo"])
def test_the_repositories_presets_erase_shapes_as_these_do(preset: str) -> None:
    image = replace(apply_recipe("bot", preset).image, erase=1.0)
    uniform, log_uniform = (
        (draws.erase_height / draws.erase_width).double().numpy()
        for law in ("uniform", "log_uniform")
        for draws in [draw(replace(image, erase_ratio_law=law), N, generator(3))]
    )
    assert image.erase_ratio_law == "uniform"
    theirs = repository_ratios(4000, seed=4)
    medians = [float(np.median(ratios)) for ratios in (uniform, theirs, log_uniform)]
    assert medians == pytest.approx([1.90, 1.90, 1.20], abs=0.04)
    assert distance(uniform, theirs) < 0.035  # more by chance once in a thousand samples of these sizes
    assert distance(log_uniform, theirs) > 0.2


def test_erasing_comes_at_its_rate_and_in_its_range() -> None:
    config = ImageConfig(erase=0.25)
    draws = draw(config, N, generator())
    height, width = draws.erase_height.double(), draws.erase_width.double()
    erased = height > 0
    assert float(erased.double().mean()) == pytest.approx(0.25, abs=0.013)
    assert torch.equal(erased, width > 0)
    share = (height * width / (256 * 128))[erased]
    ratio = (height / width)[erased]
    # Rounding to pixels moves a side by at most half a pixel.
    assert 0.019 < float(share.min()) < 0.021
    assert 0.32 < float(share.max()) < 0.334
    assert 0.28 < float(ratio.min()) < 0.32
    assert 3.1 < float(ratio.max()) < 3.4
    assert bool((draws.erase_top + draws.erase_height <= 256).all())
    assert bool((draws.erase_left + draws.erase_width <= 128).all())
