"""Notes on the paper's numbers: its slips, and details that it leaves out."""

from collections.abc import Container
from dataclasses import dataclass

from jointreid.paper.facts import SOLO


@dataclass(frozen=True)
class Footnote:
    """A remark on numbers of the paper.

    Attributes:
        text: the remark.
        tables: the tables that it belongs to; none for a remark on the text.
        numbers: (table, recipe, trained on, test) of the numbers it is about, or (table, data set, split, what) in
            Table I; none where it is about tables as a whole.
        slip: the number of the slip or inconsistency in the paper that it reports, 0 for other remarks.
    """

    text: str
    tables: tuple[str, ...]
    numbers: tuple[tuple[str, str, str, str], ...] = ()
    slip: int = 0


FOOTNOTES = (
    Footnote(
        "The paper prints two values for BoT-DCSD trained and tested on MSMT17: mAP 58.2 in Table II and 59.5 in "
        "Table III; Rank-1 is 79.8 in both.",
        ("II", "III"),
        (("II", "bot-dcsd", SOLO, "msmt17"), ("III", "bot-dcsd", "msmt17", "msmt17")),
        slip=1,
    ),
    Footnote(
        "Printed 76.7 / 87.8: an mAP above Rank-1, equal to the mAP on Market1501 in the same row, so probably copied "
        "from there. The value meant is unknown; going by its neighbours it is between 70 and 80.",
        ("III",),
        (("III", "bot-dcsd", "market1501", "cuhk_sysu"),),
        slip=2,
    ),
    Footnote(
        "Table I prints 11,657 queries of MSMT17; the official list has 11,659, and the total of 126,441 images that "
        "the paper gives adds up only with those.",
        ("I",),
        (("I", "msmt17", "query", "images"),),
        slip=3,
    ),
    Footnote(
        "The paper says that joint training makes BoT-DN and BoT-SNR worse than training on each data set alone. Its "
        "own Table III shows otherwise for BoT-DN on CUHK03 (+7.2 Rank-1, +6.6 mAP), CUHK-SYSU (+9.7, +10.8), "
        "Market1501 (+0.5, 0.0) and MSMT17 (+0.1, +0.8), nor for BoT-SNR on CUHK-SYSU (+2.3, +2.2).",
        ("III",),
        slip=4,
    ),
    Footnote(
        "The paper says that all three methods generalise better than the baseline. Averaged over the 20 pairs of "
        "different data sets they do (Rank-1 and mAP: BoT-DN +7.0 and +4.4, BoT-SNR +11.4 and +8.8, BoT-DCSD +1.6 and "
        "+2.0, the last with the copied 87.8), but BoT-DN and BoT-DCSD are worse in 4 pairs each.",
        ("III",),
        slip=5,
    ),
    Footnote(
        "The captions of Tables II and III leave out CUHK-SYSU, mark their own runs with different signs, and the text "
        "calls the stop-gradient SG where Table VI prints GS.",
        ("I", "II", "III", "VI"),
        slip=6,
    ),
    Footnote(
        "Equations: the padding under Eq. 1 should be (K-1)/2; Eq. 2 lacks the position of the generated kernel, Eq. 5 "
        "the index of the block; the text of Eq. 3 speaks of vehicle images.",
        (),
        slip=7,
    ),
    Footnote(
        "The paper says that joint training lowers BoT and AGW significantly on most data sets. By this table both "
        "rise on CUHK-SYSU (+3.3 Rank-1, +3.3 mAP and +1.7, +2.1), and BoT loses no more than 1.6 on the others.",
        ("II",),
        slip=8,
    ),
    Footnote(
        "The paper discusses that BoT-DCSD on CUHK-SYSU alone is 0.4 mAP below BoT, but not that AGW-DCSD is 5.2 "
        "Rank-1 and 5.1 mAP below AGW there, nor that BoT-DCSD is 2.3 Rank-1 below BoT on CUHK03.",
        ("II",),
        (("II", "agw-dcsd", SOLO, "cuhk_sysu"), ("II", "bot-dcsd", SOLO, "cuhk03")),
        slip=9,
    ),
    Footnote(
        "The paper states a margin of 0.3 in all experiments, but AGW's own triplet term has none; here AGW is trained "
        "with its own. MetaBIN is cited but not compared.",
        ("II", "VI"),
        slip=10,
    ),
    Footnote(
        "TransReID was trained on MSMT17's train and validation lists, 32,621 images; the paper's own rows on 30,248.",
        ("II",),
        (("II", "TransReID (DeiT-S/16) [33]", "", "msmt17"),),
    ),
    Footnote("The paper does not say whether its MSMT17 is V1 or V2, in which faces are masked.", ("I", "II", "III")),
    Footnote(
        "The paper says only that the backbone is pre-trained on ImageNet, which has neither domains nor cameras. For "
        "DCSD the most likely initial weights are DDF's published ones (79.1% top-1). A file given as these is checked "
        "tensor by tensor, but its checksum is not known.",
        ("II", "III", "V", "VI"),
    ),
    Footnote(
        "S generates filters from the sample alone, which is DDF, an earlier operator. Its gain over BoT and the gain "
        "from domain and camera are listed separately. DDF's published ImageNet weights are also more accurate (79.1% "
        "top-1) than ResNet-50's (76.1%).",
        ("V",),
    ),
    Footnote(
        "Multiply-adds, which the paper calls FLOPs, at 224x224 with stride 2 in the last stage and a 1000-way "
        "classifier.",
        ("IV",),
    ),
)

# Why results without DukeMTMC-reID cannot be compared with the paper's.
WITHDRAWN = (
    "DukeMTMC-reID was withdrawn by its owner in 2019; it is no longer distributed, and this project does not need it. "
    "The paper's joint training includes it, so a joint training without it is not comparable."
)


def withdrawn_note(slots: Container[str]) -> tuple[str, ...]:
    """Return the remark for tables without the withdrawn data set."""
    return () if "dukemtmc" in slots else (WITHDRAWN,)


def footnotes_of(table: str) -> tuple[Footnote, ...]:
    """Return the remarks on a table as a whole."""
    return tuple(note for note in FOOTNOTES if table in note.tables and not _about(note, table))


def footnote_texts(table: str, recipe: str, trained_on: str, test: str) -> tuple[str, ...]:
    """Return the remarks on one number of a table, see `Footnote.numbers`."""
    return tuple(note.text for note in FOOTNOTES if (table, recipe, trained_on, test) in note.numbers)


def _about(note: Footnote, table: str) -> bool:
    return any(number[0] == table for number in note.numbers)
