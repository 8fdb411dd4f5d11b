"""The paper's numbers: what can be derived from others among them is derived again."""

import pytest

from jointreid.data.protocols import TABLE_I as PROTOCOLS
from jointreid.paper.facts import (
    ACCURACY_TABLES,
    JOINT,
    METRICS,
    SOLO,
    TABLE_I,
    TABLE_IV,
    TESTS,
    AccuracyMetric,
    printed,
    table_rows,
)
from jointreid.paper.footnotes import FOOTNOTES, footnote_texts, footnotes_of
from jointreid.recipes import RECIPES

NUMBERS = [(test, metric) for test in TESTS for metric in METRICS["II"]]


def value(table: str, recipe: str, trained_on: str, test: str, metric: AccuracyMetric) -> float:
    number = printed(table, recipe, trained_on, test, metric)
    assert number is not None
    return number


@pytest.mark.parametrize("base", ["bot", "agw"])
def test_joint_training_gain_is_the_difference_of_the_joint_rows(base: str) -> None:
    (gain,) = [row for row in table_rows("II") if row.minus == base]
    assert gain.recipe == f"{base}-dcsd"
    for test, metric in NUMBERS:
        with_dcsd, without = (value("II", recipe, JOINT, test, metric) for recipe in (gain.recipe, base))
        assert gain.metrics[test, metric] == pytest.approx(with_dcsd - without, abs=0.001)


def test_tables_agree_on_the_cells_they_share_but_for_one_slip() -> None:
    """Tables II and III print BoT and BoT-DCSD both, V and VI the joint mAP again."""
    for recipe in ("bot", "bot-dcsd"):
        for test, metric in NUMBERS:
            own = value("II", recipe, SOLO, test, metric), value("III", recipe, test, test, metric)
            if (recipe, test, metric) == ("bot-dcsd", "msmt17", "mAP"):
                assert own == (58.2, 59.5)
            else:
                assert own[0] == own[1]
            assert value("II", recipe, JOINT, test, metric) == value("III", recipe, JOINT, test, metric)
    for table, recipe in [("V", "bot"), ("V", "bot-dcsd"), ("VI", "bot-dcsd"), ("VI", "agw-dcsd")]:
        for test in TESTS:
            assert value(table, recipe, JOINT, test, "mAP") == value("II", recipe, JOINT, test, "mAP")


def test_some_numbers_by_hand() -> None:
    assert value("II", "bot-dcsd", JOINT, "market1501", "mAP") == 89.5
    assert value("III", "bot-snr", "dukemtmc", "msmt17", "rank1") == 26.7
    assert value("VI", "agw-dcsd-no-sg", JOINT, "cuhk03", "mAP") == 76.3
    quoted = {row.label: row for row in table_rows("II") if not row.recipe}
    assert len(quoted) == 17
    assert quoted["IANet [30]"].metrics["cuhk03", "rank1"] == 72.4
    assert quoted["IANet [30]"].metrics["cuhk03", "mAP"] is None
    assert printed("V", "agw", JOINT, "cuhk03", "mAP") is None


def test_every_row_that_is_not_quoted_is_a_recipe() -> None:
    rows = [row for table in ACCURACY_TABLES for row in table_rows(table) if row.recipe]
    assert {recipe for row in rows for recipe in (row.recipe, row.minus) if recipe} == set(RECIPES) - {"joint"}  # ours
    assert {row.trained_on for row in rows} == {SOLO, JOINT, *TESTS}


def test_table_i_is_that_of_the_protocols_but_for_one_slip() -> None:
    differing = [
        (name, split, what)
        for name, protocol in PROTOCOLS.items()
        for split in ("train", "query", "gallery")
        for what in ("ids", "images")
        if TABLE_I[name][split, what] != getattr(getattr(protocol, split), what)
    ]
    assert all(TABLE_I[name]["train", "cameras"] == protocol.cameras for name, protocol in PROTOCOLS.items())
    assert differing == [("msmt17", "query", "images")]
    assert sum(TABLE_I["msmt17"][split, "images"] for split in ("query", "gallery")) + 32_621 == 126_441 - 2
    assert TABLE_IV["resnet50-dcsd"] == ("ResNet50-DCSD", 18.2, 2.3)


# Footnotes


def cross_gains(recipe: str) -> list[tuple[float, float]]:
    """Return how much a method is above BoT on each of the 20 pairs of different data sets, Rank-1 and mAP."""
    gains = []
    for source in TESTS:
        for test in TESTS:
            if test != source:
                rank1, mean_ap = (
                    value("III", recipe, source, test, m) - value("III", "bot", source, test, m) for m in METRICS["III"]
                )
                gains.append((round(rank1, 1), round(mean_ap, 1)))
    return gains


def test_footnotes_say_what_the_numbers_say() -> None:
    (generalise,) = [note.text for note in FOOTNOTES if note.slip == 5]
    for recipe, title in [("bot-dn", "BoT-DN"), ("bot-snr", "BoT-SNR"), ("bot-dcsd", "BoT-DCSD")]:
        gains = cross_gains(recipe)
        means = [sum(gain[i] for gain in gains) / 20 for i in (0, 1)]
        assert f"{title} +{means[0]:.1f} and +{means[1]:.1f}" in generalise
        assert sum(min(gain) < 0 for gain in gains) == (0 if recipe == "bot-snr" else 4)
    (worse,) = [note.text for note in FOOTNOTES if note.slip == 4]
    for recipe, test, said in [
        ("bot-dn", "cuhk03", "CUHK03 (+7.2 Rank-1, +6.6 mAP)"),
        ("bot-dn", "market1501", "Market1501 (+0.5, 0.0)"),
        ("bot-dn", "msmt17", "MSMT17 (+0.1, +0.8)"),
        ("bot-snr", "cuhk_sysu", "CUHK-SYSU (+2.3, +2.2)"),
    ]:
        joint = [value("III", recipe, JOINT, test, m) - value("III", recipe, test, test, m) for m in METRICS["III"]]
        assert said in worse
        assert [f"{abs(number):.1f}" in said for number in joint] == [True, True]
    (lowers,) = [note.text for note in FOOTNOTES if note.slip == 8]
    falls = [
        value("II", "bot", JOINT, test, metric) - value("II", "bot", SOLO, test, metric)
        for test, metric in NUMBERS
        if test != "cuhk_sysu"
    ]
    assert round(min(falls), 1) == -1.6
    assert max(falls) < 0
    assert "no more than 1.6" in lowers


def test_every_slip_is_told_of_once_and_marks_numbers_that_are_there() -> None:
    assert sorted(note.slip for note in FOOTNOTES if note.slip) == list(range(1, 11))
    for note in FOOTNOTES:
        for table, recipe, trained_on, test in note.numbers:
            assert table in note.tables
            if table == "I":
                assert (trained_on, test) in TABLE_I[recipe]
            elif trained_on:
                assert printed(table, recipe, trained_on, test, "mAP") is not None
            else:
                assert recipe in {row.label for row in table_rows(table)}


def test_footnotes_are_found_by_number_and_by_table() -> None:
    (copied,) = footnote_texts("III", "bot-dcsd", "market1501", "cuhk_sysu")
    assert "76.7 / 87.8" in copied
    assert copied not in [note.text for note in footnotes_of("III")]
    assert not footnote_texts("III", "bot-dcsd", "market1501", "msmt17")
    assert {note.slip for note in footnotes_of("VI") if note.slip} == {6, 10}
