"""Figure 5 of small runs with random weights on noise: what it says, and that it says it again."""

import hashlib
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from jointreid.analysis.figure5 import Figure5, figure5
from jointreid.analysis.figure5_output import render, save
from jointreid.analysis.filters import ChosenImages, collect_filters, compute_separation
from jointreid.config import config_hash
from jointreid.data.manifest import read_manifest, write_manifest
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.models.dcsd import ChannelBranch
from jointreid.models.reid import ReIDModel
from jointreid.run import Run
from tests.analysis.test_filters import draw, make_run

pytestmark = pytest.mark.slow

SAMPLE = {"factors": ("sample",)}


class Made(NamedTuple):
    """Two runs, their figure and what was reported while it was made."""

    s: Run
    sdc: Run
    figure: Figure5
    progress: list[tuple[str, int, int]]


def manifest(folder: Path, sizes: Mapping[str, int]) -> Path:
    """Write domains of noise, half of each to train on and half to search in."""
    domains = []
    for seed, (name, size) in enumerate(sizes.items()):
        records = draw(folder / name, 2 * size, seed)
        domains.append(
            Domain(name, train=tuple(records[:size]), query=(records[size],), gallery=tuple(records[size + 1 :]))
        )
    write_manifest(domains, folder / "table.csv")
    return folder / "table.csv"


def run_on(table: Path, path: Path, spoil: Any = None, **sections: Any) -> Run:
    domains = list(read_manifest(table).values())
    data = {"sources": (str(table),), "cache": str(table.parent / "cache")}
    return make_run(path, domains, spoil, data=data | sections.pop("data", {}), **sections)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("figure5")
    table = manifest(folder, {"north": 9, "south": 12, "west": 8})
    s, sdc = run_on(table, folder / "s", dcsd=SAMPLE), run_on(table, folder / "sdc")
    progress: list[tuple[str, int, int]] = []
    figure = figure5(s.path, sdc.path, per_domain=10, device="cpu", on_batch=lambda *told: progress.append(told))
    return Made(s, sdc, figure, progress)


def test_the_left_column_is_of_the_sample_alone_and_the_right_of_all_three_factors(made: Made) -> None:
    chosen = made.figure.chosen
    assert chosen.domains == ("north", "south", "west")
    assert (chosen.per_domain, made.figure.asked) == (8, 10)
    assert made.figure.chance == pytest.approx(1 / 3)
    assert [column.heading for column in made.figure.columns] == ["S: sample alone", "S+D+C: sample, domain, camera"]
    for column, run in zip(made.figure.columns, (made.s, made.sdc), strict=True):
        filters = collect_filters(run, chosen.records, device="cpu")
        assert [(cell.number, cell.block) for cell in column.panels] == [
            (0, "layer1.0"),
            (12, "layer3.5"),
            (15, "layer4.2"),
        ]
        for cell, block in zip(column.panels, filters, strict=True):
            assert cell.dimensions == block.values.shape[1]
            assert cell.separation == compute_separation(block.values, chosen.domain_ids)
            assert cell.points.shape == (24, 2)
            assert np.isfinite(cell.points).all()
            assert np.ptp(cell.points, axis=0).min() > 0


def test_each_column_names_the_run_that_made_it(made: Made) -> None:
    for column, run in zip(made.figure.columns, (made.s, made.sdc), strict=True):
        weights = (run.path / "last" / "model.safetensors").read_bytes()
        assert column.weights == hashlib.sha256(weights).hexdigest()
        assert (column.config, column.labels) == (config_hash(run.config), run.label_space.hash)
        assert (column.run, column.step, column.ablate_context) == (str(run.path), 1234, False)
    assert made.figure.settings == {"dcsd.factors": (["sample"], ["sample", "domain", "camera"])}


def test_progress_covers_filters_and_t_sne(made: Made) -> None:
    assert ("S: sample alone", 24, 24) in made.progress
    assert made.progress[-1] == ("S+D+C: sample, domain, camera: t-SNE", 3, 3)


def test_files_contain_the_picture_and_all_numbers(made: Made, tmp_path: Path) -> None:
    picture, numbers = save(made.figure, tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [picture.name, numbers.name][::-1]
    with Image.open(picture) as image:
        assert image.width == 1800
    plain = json.loads(numbers.read_text(), parse_constant=pytest.fail)
    assert (plain["split"], plain["per_domain"], plain["per_domain_asked"], plain["seed"]) == ("test", 8, 10, 0)
    assert (plain["metric"], plain["neighbours"]) == ("euclidean", 5)
    assert plain["tsne"]["perplexity"] == pytest.approx(23 / 3)
    assert {name: len(images) for name, images in plain["images"].items()} == dict.fromkeys(
        made.figure.chosen.domains, 8
    )
    assert plain["versions"].keys() >= {"python", "jointreid", "torch", "openTSNE", "matplotlib"}
    for column, of_run in zip(plain["columns"], made.figure.columns, strict=True):
        for cell, of_block in zip(column["cells"], of_run.panels, strict=True):
            assert cell["separation"] == of_block.separation._asdict()
            assert np.array(cell["points"]) == pytest.approx(of_block.points, abs=1e-4)


def test_the_same_runs_give_the_same_bytes(made: Made, tmp_path: Path) -> None:
    torch.manual_seed(7)  # whatever happened before
    again = figure5(made.s.path, made.sdc.path, per_domain=10, device="cpu")
    for one, two in zip(save(made.figure, tmp_path / "1"), save(again, tmp_path / "2"), strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_the_text_has_both_accuracies_chance_and_the_settings(made: Made) -> None:
    text = render(made.figure)
    found = made.figure.columns[1].panels[2].separation
    row = next(line for line in text.splitlines() if "S+D+C" in line and "layer4.2" in line)
    assert [cell.strip() for cell in row.strip("|").split("|")][1:7] == [
        "15", "layer4.2", "1,152", f"{found.silhouette:+.3f}", f"{100 * found.accuracy:.1f}", "33.3"
    ]  # fmt: skip
    assert "8 test images (10 requested; the smallest domain has no more) of each of 3 domains, 24 in all" in text
    assert f"S: sample alone ({made.s.path}, checkpoint last, step 1,234)" in text
    assert "dcsd.factors: ['sample'] -> ['sample', 'domain', 'camera']" in text
    warned = replace(made.figure, warning="Only a test.")
    assert render(warned) == f"Only a test.\n\n{text}"
    assert next(iter(warned.to_dict().items())) == ("warning", "Only a test.")


def test_without_a_first_run_the_left_column_is_the_second_without_its_context(made: Made) -> None:
    figure = figure5(None, made.sdc.path, per_domain=6, split="train", seed=3, device="cpu")
    left, right = figure.columns
    assert left.heading == "S+D+C with D and C set to 0"
    assert (left.ablate_context, right.ablate_context, left.weights) == (True, False, right.weights)
    assert (figure.chosen.split, figure.chosen.per_domain, figure.settings) == ("train", 6, {})
    filters = collect_filters(made.sdc, figure.chosen.records, ablate_context=True, device="cpu")
    assert [cell.separation for cell in left.panels] == [
        compute_separation(block.values, figure.chosen.domain_ids) for block in filters
    ]


def test_filters_that_do_not_depend_on_the_image_fall_on_one_point(made: Made, tmp_path: Path) -> None:
    def dead(model: ReIDModel) -> None:
        for module in model.modules():
            if isinstance(module, ChannelBranch):
                nn.init.zeros_(module.fc1.weight)

    run = run_on(Path(made.s.config.data.sources[0]), tmp_path / "dead", dead, dcsd=SAMPLE, eval={"batch_size": 64})
    left, _ = figure5(run.path, made.sdc.path, per_domain=6, device="cpu").columns
    for cell in left.panels:
        assert not cell.points.any()
        assert list(cell.separation) == pytest.approx([0, 1 / 3, 0], abs=1e-6)


def test_each_column_tells_whether_its_filters_are_normalised(made: Made, tmp_path: Path) -> None:
    dcsd = {**SAMPLE, "base": "static", "generated_start": "zeros"}
    run = run_on(Path(made.s.config.data.sources[0]), tmp_path / "zeros", dcsd=dcsd)
    plain = figure5(run.path, made.sdc.path, per_domain=6, device="cpu").to_dict()
    assert [column["filter_norm"] for column in plain["columns"]] == [False, True]
    assert "FilterNorm where filter_norm is true" in plain["tensor"]


def test_images_that_training_skipped_or_left_out_are_not_chosen(tmp_path: Path) -> None:
    table = manifest(tmp_path, {"north": 12, "south": 12})
    run = run_on(table, tmp_path / "sdc", data={"skip_unreadable": True, "val_ids": 1})
    (tmp_path / "north" / "3.png").write_bytes(b"spoilt")
    chosen = figure5(None, run.path, split="train", device="cpu").chosen
    north = chosen.images["north"]
    assert len({record.pid for record in north}) == 5  # of 6, one held out
    assert chosen.per_domain == (9 if any(record.path.name == "2.png" for record in north) else 10)
    assert "3.png" not in {record.path.name for record in north}


def test_of_images_in_one_file_each_is_named_by_its_box(made: Made) -> None:
    record = ImageRecord(Path("street.png"), "1", 0, box=(1, 2, 3, 4))
    chosen = ChosenImages("test", 0, {"north": (record,)})
    assert replace(made.figure, chosen=chosen).to_dict()["images"] == {"north": ["street.png (1, 2, 3, 4)"]}


def test_the_text_says_that_a_generator_never_gets_the_context(made: Made) -> None:
    left, right = made.figure.columns
    figure = replace(made.figure, columns=(left, replace(right, context_to="spatial")))
    assert "domain and camera do not enter these filters" in render(figure)
    assert "domain and camera do not enter these filters" not in render(made.figure)


# Refused


def test_runs_in_the_wrong_order_or_without_dcsd_are_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(
        JointreidError, match="sdc: its filters are generated from sample, domain, camera; expected the"
    ):
        figure5(made.sdc.path, made.s.path)
    with pytest.raises(JointreidError, match="s: its filters are generated from sample; expected the sample and its"):
        figure5(made.s.path, made.s.path)
    with pytest.raises(JointreidError, match="s: its filters are generated from sample; expected the sample and its"):
        figure5(None, made.s.path)
    model = {"name": "bot", "trunk": "resnet50-w16"}
    bot = run_on(Path(made.s.config.data.sources[0]), tmp_path / "bot", model=model)
    for pair in ((bot.path, made.sdc.path), (made.s.path, bot.path)):
        with pytest.raises(JointreidError, match="bot: bot generates no filters"):
            figure5(*pair)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"north": 9}, "two or more domains; found north"),
        ({"north": 9, "south": 5}, "south: 5 images to choose from in test; expected 6 or more"),
    ],
)
def test_too_few_domains_or_images_are_refused(sizes: dict[str, int], message: str, tmp_path: Path) -> None:
    table = manifest(tmp_path, sizes)
    s, sdc = run_on(table, tmp_path / "s", dcsd=SAMPLE), run_on(table, tmp_path / "sdc")
    with pytest.raises(JointreidError, match=message):
        figure5(s.path, sdc.path)


def test_runs_of_other_domains_are_refused(made: Made, tmp_path: Path) -> None:
    table = manifest(tmp_path, {"north": 6, "east": 6})
    other = run_on(table, tmp_path / "other", dcsd=SAMPLE)
    with pytest.raises(JointreidError, match=r"other was trained on east, north and .*sdc on north, south, west"):
        figure5(other.path, made.sdc.path)


@pytest.mark.parametrize("package", ["openTSNE", "matplotlib"])
def test_a_missing_package_is_named_before_any_work(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("openTSNE", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None if name == package else sys)
    with pytest.raises(JointreidError, match=f"made with {package}, which is missing; .* 'jointreid.paper.'"):
        figure5("no", "run")
