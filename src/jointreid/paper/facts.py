"""The numbers that the paper prints, as data; `footnotes` says what is wrong with some of them.

Accuracy is in percent, as printed. Tables II, III, V and VI have one layout below: label | recipe | trained on | the
metrics on each of `TESTS`, Rank-1 before mAP where both are given.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from jointreid.data.records import SPLITS

TABLES = ("I", "II", "III", "IV", "V", "VI")
ACCURACY_TABLES = ("II", "III", "V", "VI")

# The paper's names of its data sets, in the order of these tables' columns. Table I has another, that of `protocols`.
TESTS = {
    "cuhk03": "CUHK03(L)",
    "cuhk_sysu": "CUHK-SYSU",
    "market1501": "Market1501",
    "dukemtmc": "Duke",
    "msmt17": "MSMT17",
}

# The training data of a row that does not name one data set: the data set of each column, or all of them jointly.
SOLO = "solo"
JOINT = "joint"

AccuracyMetric = Literal["rank1", "mAP"]
METRICS: dict[str, tuple[AccuracyMetric, ...]] = {
    "II": ("rank1", "mAP"),
    "III": ("rank1", "mAP"),
    "V": ("mAP",),
    "VI": ("mAP",),
}
METRIC_NAMES: dict[AccuracyMetric, str] = {"rank1": "Rank-1", "mAP": "mAP"}

# The weights that its networks start from, by how their names begin: ResNet-50's as in fast-reid, and DDF's for DCSD,
# of which the paper says only that they come from ImageNet. A test checks them against `models.weight_sources`.
STARTS = ("torchvision R50 ImageNet V1", "DDF-R50 ImageNet")

TITLES = {
    "I": "The data sets",
    "II": "Single and joint training",
    "III": "Domain generalisation methods, across data sets",
    "IV": "Parameters and multiply-adds",
    "V": "Factors that the filters are generated from (mAP)",
    "VI": "With and without the stop-gradient (mAP)",
}


@dataclass(frozen=True)
class PrintedRow:
    """A row of Table II, III, V or VI.

    Attributes:
        label: the row's name.
        recipe: of the model; empty for one that the paper quotes from others.
        trained_on: `SOLO`, `JOINT` or a key of `TESTS`; empty for a quoted one.
        minus: for a row of differences, the recipe whose numbers are subtracted, trained on the same data.
        metrics: (test, metric) -> percent, or None where the paper prints none.
    """

    label: str
    recipe: str = ""
    trained_on: str = ""
    minus: str = ""
    metrics: Mapping[tuple[str, AccuracyMetric], float | None] = field(default_factory=dict)


def table_rows(table: str) -> tuple[PrintedRow, ...]:
    """Return the rows of an accuracy table, in order."""
    return _ROWS[table]


def printed(table: str, recipe: str, trained_on: str, test: str, metric: AccuracyMetric) -> float | None:
    """Return the metric that a table prints for a model, in percent, or None if it prints none."""
    for row in _ROWS[table]:
        if (row.recipe, row.trained_on, row.minus) == (recipe, trained_on, ""):
            return row.metrics.get((test, metric))
    return None


def _parse(table: str, text: str) -> tuple[PrintedRow, ...]:
    rows = []
    for line in text.strip().splitlines():
        label, model, trained_on, *columns = (cell.strip() for cell in line.split("|"))
        recipe, _, minus = model.partition(" - ")
        metrics = {
            (test, metric): None if number == "-" else float(number)
            for test, column in zip(TESTS, columns, strict=True)
            for metric, number in zip(METRICS[table], column.split(), strict=True)
        }
        rows.append(PrintedRow(label, recipe, trained_on, minus, metrics))
    return tuple(rows)


# Identities, images and cameras of train, query and gallery, in the table's order.
_TABLE_I = {
    "market1501": (751, 12_936, 6, 750, 3_368, 6, 751, 15_913, 6),
    "cuhk_sysu": (942, 4_374, 1, 2_900, 2_900, 1, 2_900, 5_447, 1),
    "dukemtmc": (702, 16_522, 8, 702, 2_228, 8, 1_110, 17_661, 8),
    "cuhk03": (767, 7_368, 2, 700, 1_400, 2, 700, 5_328, 2),
    "msmt17": (1_041, 30_248, 15, 3_060, 11_657, 15, 3_060, 82_161, 15),
}
COUNTED = ("ids", "images", "cameras")
TABLE_I: dict[str, dict[tuple[str, str], int]] = {
    name: dict(zip([(split, what) for split in SPLITS for what in COUNTED], counts, strict=True))
    for name, counts in _TABLE_I.items()
}

# Millions of parameters and billions of multiply-adds, which the paper calls FLOPs, by the name in `models.profile`.
TABLE_IV: dict[str, tuple[str, float, float]] = {
    "resnet50": ("ResNet50", 25.6, 4.1),
    "resnet50-dcsd": ("ResNet50-DCSD", 18.2, 2.3),
}

_TABLE_II = """
IDE [17]                    |                |       | 43.8 38.9 |    -    - | 85.3 68.5 | 73.2 52.8 |    -    -
Gp-reid [18]                |                |       |    -    - |    -    - | 92.2 81.2 | 85.2 72.8 |    -    -
MGCAM [19]                  |                |       | 50.1 50.2 |    -    - | 83.8 74.3 |    -    - |    -    -
MaskReID [20]               |                |       |    -    - |    -    - | 90.0 70.3 | 78.9 61.9 |    -    -
AACN [21]                   |                |       |    -    - |    -    - | 85.9 66.9 | 76.8 59.3 |    -    -
SPReID [22]                 |                |       |    -    - |    -    - | 92.5 81.3 | 84.4 71.0 |    -    -
HA-CNN [23]                 |                |       | 44.4 41.0 |    -    - | 91.2 75.7 | 80.5 63.8 |    -    -
DuATM [24]                  |                |       |    -    - |    -    - | 91.4 76.6 | 81.8 64.6 |    -    -
Mancs [25]                  |                |       | 69.0 63.9 |    -    - | 93.1 82.3 | 84.9 71.8 |    -    -
MGN [26]                    |                |       | 68.0 67.4 |    -    - | 95.7 86.9 | 88.7 78.4 |    -    -
HPM [27]                    |                |       | 63.9 57.5 |    -    - | 94.2 82.7 | 86.6 74.3 |    -    -
DSA-reID [28]               |                |       | 78.9 75.2 |    -    - | 95.7 87.6 | 86.2 74.3 |    -    -
OSNet [29]                  |                |       | 72.3 67.8 |    -    - | 94.8 84.9 | 88.6 73.5 | 78.7 52.9
IANet [30]                  |                |       | 72.4    - |    -    - | 94.4 83.1 | 87.1 73.4 | 75.5 46.8
HOReid [31]                 |                |       |    -    - |    -    - | 94.2 84.9 | 86.9 75.6 |    -    -
ISP [32]                    |                |       | 76.5 74.1 |    -    - | 95.3 88.6 | 89.6 80.0 |    -    -
TransReID (DeiT-S/16) [33]  |                |       |    -    - |    -    - |    -    - |    -    - | 76.3 55.2
BoT [34]                    | bot            | solo  | 69.1 67.3 | 87.2 86.0 | 94.2 86.1 | 86.4 76.8 | 74.1 50.2
BoT (Joint Training)        | bot            | joint | 67.5 65.7 | 90.5 89.3 | 93.7 84.6 | 86.0 75.9 | 72.9 49.5
BoT-DCSD                    | bot-dcsd       | solo  | 66.8 66.5 | 87.2 85.6 | 95.3 87.8 | 88.6 79.0 | 79.8 58.2
BoT-DCSD (Joint Training)   | bot-dcsd       | joint | 79.4 78.0 | 92.4 91.3 | 95.9 89.5 | 89.6 80.6 | 80.3 61.5
Joint Training Gain         | bot-dcsd - bot | joint | 11.9 12.3 |  1.9  2.0 |  2.2  4.9 |  3.6  4.7 |  7.4 12.0
AGW [35]                    | agw            | solo  | 75.1 73.4 | 90.1 88.7 | 95.4 88.5 | 89.2 79.4 | 78.0 54.3
AGW (Joint Training)        | agw            | joint | 70.3 69.1 | 91.8 90.8 | 94.0 86.2 | 88.0 78.5 | 75.5 52.6
AGW-DCSD                    | agw-dcsd       | solo  | 77.2 74.3 | 84.9 83.6 | 95.3 88.1 | 89.6 80.3 | 80.1 60.7
AGW-DCSD (Joint Training)   | agw-dcsd       | joint | 80.9 78.8 | 92.7 91.4 | 95.7 89.3 | 90.0 81.2 | 81.8 62.9
Joint Training Gain         | agw-dcsd - agw | joint | 10.6  9.7 |  0.9  0.6 |  1.7  3.1 |  2.0  2.7 |  6.3 10.3
"""

_TABLE_III = """
BoT (Baseline) [34] | bot      | cuhk03     | 69.1 67.3 | 70.2 67.3 | 46.3 22.3 | 19.9 10.5 |  7.1  2.1
BoT (Baseline) [34] | bot      | cuhk_sysu  |  3.9  4.4 | 87.2 86.0 | 46.2 23.5 | 24.5 14.5 | 12.8  4.8
BoT (Baseline) [34] | bot      | market1501 |  4.0  4.4 | 74.4 70.8 | 94.2 86.1 | 27.6 14.8 |  7.7  2.4
BoT (Baseline) [34] | bot      | dukemtmc   |  4.8  5.2 | 66.1 62.0 | 48.0 22.2 | 86.4 76.8 | 12.8  3.9
BoT (Baseline) [34] | bot      | msmt17     |  9.7 10.3 | 79.5 76.7 | 56.4 28.7 | 49.6 33.5 | 74.1 50.2
BoT (Baseline) [34] | bot      | joint      | 67.5 65.7 | 90.5 89.3 | 93.7 84.6 | 86.0 75.9 | 72.9 49.5
BoT-DN [36]         | bot-dn   | cuhk03     | 59.6 57.9 | 68.6 65.2 | 58.1 30.6 | 43.1 24.6 | 18.3  5.7
BoT-DN [36]         | bot-dn   | cuhk_sysu  |  5.1  6.5 | 79.9 77.5 | 50.4 27.6 | 34.9 19.9 | 14.8  4.8
BoT-DN [36]         | bot-dn   | market1501 | 14.3 14.6 | 73.9 71.2 | 92.6 81.8 | 48.9 29.5 | 19.1  6.5
BoT-DN [36]         | bot-dn   | dukemtmc   |  8.8  8.8 | 63.6 60.7 | 57.1 28.2 | 85.8 71.4 | 21.7  6.9
BoT-DN [36]         | bot-dn   | msmt17     | 14.7 15.1 | 76.0 72.8 | 59.7 31.6 | 60.8 41.4 | 74.5 48.4
BoT-DN [36]         | bot-dn   | joint      | 66.8 64.5 | 89.6 88.3 | 93.1 81.8 | 84.5 72.7 | 74.6 49.2
BoT-SNR [37]        | bot-snr  | cuhk03     | 71.9 70.6 | 77.7 74.5 | 65.4 38.9 | 41.2 25.6 | 22.1  7.5
BoT-SNR [37]        | bot-snr  | cuhk_sysu  |  6.9  8.4 | 88.4 87.3 | 61.6 37.6 | 39.6 25.2 | 20.4  8.2
BoT-SNR [37]        | bot-snr  | market1501 | 17.6 17.5 | 79.7 77.2 | 95.0 86.4 | 49.7 32.4 | 21.1  7.6
BoT-SNR [37]        | bot-snr  | dukemtmc   | 11.0 10.9 | 71.3 68.1 | 62.1 33.0 | 89.1 77.5 | 26.7  9.1
BoT-SNR [37]        | bot-snr  | msmt17     | 16.9 17.7 | 81.3 78.5 | 64.4 37.4 | 63.4 45.6 | 77.3 52.3
BoT-SNR [37]        | bot-snr  | joint      | 66.6 65.8 | 90.7 89.5 | 94.2 84.9 | 87.5 76.4 | 76.2 51.3
BoT-DCSD (Ours)     | bot-dcsd | cuhk03     | 66.8 66.5 | 75.5 72.3 | 49.1 25.4 | 24.2 13.3 | 10.3  3.3
BoT-DCSD (Ours)     | bot-dcsd | cuhk_sysu  |  4.0  4.9 | 87.2 85.6 | 46.1 24.1 | 27.1 15.1 | 13.2  5.0
BoT-DCSD (Ours)     | bot-dcsd | market1501 |  7.6  8.0 | 76.7 87.8 | 95.3 87.8 | 32.0 18.9 | 10.2  3.4
BoT-DCSD (Ours)     | bot-dcsd | dukemtmc   |  5.4  5.6 | 66.9 63.5 | 48.6 22.3 | 88.6 79.0 | 14.1  4.5
BoT-DCSD (Ours)     | bot-dcsd | msmt17     | 12.5 12.3 | 78.3 75.0 | 52.4 27.1 | 49.9 33.1 | 79.8 59.5
BoT-DCSD (Ours)     | bot-dcsd | joint      | 79.4 78.0 | 92.4 91.3 | 95.9 89.5 | 89.6 80.6 | 80.3 61.5
"""

_TABLE_V = """
BoT (JT)                 | bot            | joint | 65.7 | 89.3 | 84.6 | 75.9 | 49.5
BoT-DCSD (JT), S         | bot-dcsd-s     | joint | 74.6 | 90.9 | 88.2 | 80.2 | 58.8
BoT-DCSD (JT), S + D     | bot-dcsd-sd    | joint | 75.2 | 91.0 | 88.5 | 80.4 | 59.6
BoT-DCSD (JT), S + C     | bot-dcsd-sc    | joint | 77.9 | 91.1 | 89.1 | 80.4 | 61.2
BoT-DCSD (JT), S + D + C | bot-dcsd       | joint | 78.0 | 91.3 | 89.5 | 80.6 | 61.5
"""

_TABLE_VI = """
BoT-DCSD (JT) w/o GS     | bot-dcsd-no-sg | joint | 76.0 | 90.5 | 88.9 | 80.4 | 61.0
BoT-DCSD (JT) with GS    | bot-dcsd       | joint | 78.0 | 91.3 | 89.5 | 80.6 | 61.5
AGW-DCSD (JT) w/o GS     | agw-dcsd-no-sg | joint | 76.3 | 90.9 | 88.9 | 80.9 | 61.4
AGW-DCSD (JT) with GS    | agw-dcsd       | joint | 78.8 | 91.4 | 89.3 | 81.2 | 62.9
"""

_ROWS: dict[str, tuple[PrintedRow, ...]] = {
    "II": _parse("II", _TABLE_II),
    "III": _parse("III", _TABLE_III),
    "V": _parse("V", _TABLE_V),
    "VI": _parse("VI", _TABLE_VI),
}
