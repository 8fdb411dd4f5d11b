"""The DukeMTMC-reID reader: refused unless acknowledged, and its names read without traps."""

from pathlib import Path

import pytest

from jointreid.config import DataConfig
from jointreid.data.preflight import check
from jointreid.data.readers import READERS
from jointreid.data.readers.dukemtmc import KNOWN_FOLDERS, dukemtmc
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError

ACKNOWLEDGED = DataConfig(acknowledge_withdrawn=True)
FILES = {
    "bounding_box_train": ["0001_c2_f0046182.jpg", "0001_c8_f0046500.jpg", "Thumbs.db", "license.txt"],
    "query": ["0005_c2_f0046985.jpg"],
    "bounding_box_test": ["0005_c5_f0051341.jpg", "7139_c1_f0000001.jpg", "._0005_c5_f0051341.jpg"],
}


def build(root: Path, **changed: list[str]) -> Path:
    for folder, names in (FILES | changed).items():
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / name).touch()
    return root


@pytest.mark.parametrize("exists", [True, False])
def test_without_acknowledgement_the_message_says_why_and_how(tmp_path: Path, exists: bool) -> None:
    path = build(tmp_path) if exists else tmp_path / "absent"
    with pytest.raises(JointreidError) as caught:
        READERS["dukemtmc"](path)
    for words in (
        str(path),
        "withdrawn by its owner, Duke University, in 2019",
        "deviated significantly from the protocol",
        "privacy",
        "recommended configuration is the paper's other four",
        "--acknowledge-withdrawn",
        "data.acknowledge_withdrawn",
    ):
        assert words in str(caught.value)


def test_labels_come_from_the_names(tmp_path: Path) -> None:
    found = dukemtmc(build(tmp_path), ACKNOWLEDGED)
    train, query, gallery = (tmp_path / folder for folder in FILES)
    assert found == Domain(
        "dukemtmc",
        train=(
            ImageRecord(train / "0001_c2_f0046182.jpg", "0001", 1),
            ImageRecord(train / "0001_c8_f0046500.jpg", "0001", 7),
        ),
        query=(ImageRecord(query / "0005_c2_f0046985.jpg", "0005", 1),),
        gallery=(
            ImageRecord(gallery / "0005_c5_f0051341.jpg", "0005", 4),
            ImageRecord(gallery / "7139_c1_f0000001.jpg", "7139", 0),
        ),
        cameras=tuple(range(8)),
        terms=found.terms,
    )
    assert (found.source, found.variant) == (str(tmp_path), "withdrawn by its owner")
    assert "withdrawn" in found.terms
    assert "http" not in found.terms


@pytest.mark.parametrize("folder", ["", *KNOWN_FOLDERS])
def test_every_usual_folder_is_found(tmp_path: Path, folder: str) -> None:
    build(tmp_path / folder)
    assert dukemtmc(str(tmp_path), ACKNOWLEDGED).source == str(tmp_path / folder)


@pytest.mark.parametrize(
    "name", ["0005_c11_f0046985.jpg", "0005_c9_f0046985.jpg", "0005_c0_f0046985.jpg", "-1_c1_f1.jpg", "0005_c2.jpg"]
)
def test_a_name_of_another_kind_is_refused_not_misread(tmp_path: Path, name: str) -> None:
    with pytest.raises(JointreidError, match=r"cameras 1 to 8") as caught:
        dukemtmc(build(tmp_path, query=[name]), ACKNOWLEDGED)
    assert name in str(caught.value)


def test_a_missing_folder_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match=r"no DukeMTMC-reID here: .*dukemtmc-reid/DukeMTMC-reID"):
        dukemtmc(tmp_path, ACKNOWLEDGED)


def test_gallery_identities_without_a_query_are_no_problem(tmp_path: Path) -> None:
    report, _ = check([dukemtmc(build(tmp_path), ACKNOWLEDGED)], cache_dir=None, skip_unreadable=False)
    texts = [problem.message for problem in report.problems]
    assert not [text for text in texts if "does not hold" in text or "are in train" in text]
