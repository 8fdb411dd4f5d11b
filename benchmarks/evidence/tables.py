"""Write results/evidence.md and docs/evidence.md, the tables of the comparison, from its records, none typed by hand.

python -m evidence.tables
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from evidence.arm_table import arm_table
from evidence.arms import ARMS, START_WORDS, STARTS, Start
from evidence.closed_table import closed_table
from evidence.compared import gain, records_of
from evidence.cost_table import Costs, cost_tables
from evidence.data import DATASETS
from evidence.figures import mean, percent, signed
from evidence.records import RecordStore
from evidence.tasks import SCALES, arms_of
from jointreid.machine.files import write_atomically

ROOT = Path(__file__).resolve().parents[2]
HEAD = """# Evidence: which network for joint training

Made by `bash benchmarks/evidence/run.sh` from the records under `results/evidence/`. Small networks, small pictures and
few steps on two CPU cores: the figures compare networks with each other, not with results on photographs of people.
Every arm has the same data, batches, schedule and three learning rates, chosen on train identities that are held out;
no setting was chosen on a test identity. mAP in percent; in brackets the 95 % interval of a difference, over resamples
of identities, and of seeds where there are several. An arm that is marked with * is a control.
"""


# What the recommended network must gain over the plain one of no fewer multiply-adds, in mAP; set before any training.
GOALS = {"people": 0.05, "emoji": 0.02, "omniglot": 0.02}
_RIVALS = ("static-wide", "static")  # the first that was trained from that start


def goal_lines(store: RecordStore, datasets: Sequence[str]) -> Iterator[str]:
    """Yield, for each data set and start, what the recommended network gains in the longest trainings, and its goal."""
    for dataset in datasets:
        for start in STARTS:
            where = f"{DATASETS[dataset].words.partition(':')[0]}, from {START_WORDS[start].partition(',')[0]}"
            for stage in ("long", "short"):
                other = records_of(store, dataset, start, stage, "context")
                plain = next((found for arm in _RIVALS if (found := records_of(store, dataset, start, stage, arm))), [])
                if other and plain:
                    estimate, _ = gain(plain, other, store, DATASETS[dataset].domains)
                    reached = estimate.value >= GOALS[dataset] and estimate.low > 0
                    yield (
                        f"- {where}, {stage} trainings, against {ARMS[plain[0]['task']['arm']].words}: "
                        f"{signed(estimate)}; goal {100 * GOALS[dataset]:+.0f} "
                        f"{'reached' if reached else 'NOT reached'}"
                    )
                    break
            else:
                yield f"- {where}: not trained yet"
    yield ""


def joining_lines(store: RecordStore, dataset: str, start: Start) -> Iterator[str]:
    """Yield the mean mAP of networks trained on each domain alone beside that of one trained on all."""
    for arm in arms_of(start):
        alone = records_of(store, dataset, start, "solo", arm)
        joint = records_of(store, dataset, start, "short", arm)
        if len(alone) == len(DATASETS[dataset].domains) and joint:
            solo = mean(record["domains"][record["task"]["domain"]]["mAP"] for record in alone)
            yield (
                f"- {ARMS[arm].words}: each domain alone {percent(solo)}, all domains in one network "
                f"{percent(joint[0]['mean'])}, each image seen equally often"
            )
    yield ""


def page(store: RecordStore, costs: Costs, datasets: Sequence[str]) -> str:
    """Return the whole page."""
    lines = [HEAD, "## What the recommended network gains", "", *goal_lines(store, datasets)]
    for dataset in datasets:
        for start in STARTS:
            cell: list[str] = []
            for stage, title in (("short", "Short trainings, seed 0"), ("long", "Long trainings")):
                table = list(arm_table(store, dataset, start, stage))
                cell += [f"### {title}", "", *table] if table else []
            cell += closed_table(store, dataset, start)
            more = joining_lines(store, dataset, start)
            if cell:
                lines += [
                    f"## {DATASETS[dataset].words}; from {START_WORDS[start]}",
                    "",
                    *cell,
                    *filter(None, more),
                    "",
                ]
    lines += cost_tables(costs, datasets)
    records = list(store)
    if records:
        hours = sum(record["seconds"] for record in records) / 3600
        lines.append(f"{len(records)} trainings, {hours:.1f} hours on {records[0]['provenance']['machine']}.")
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "evidence")
    parser.add_argument("--records", type=Path, help="folder of the records; by default results/evidence")
    options, _ = parser.parse_known_args()  # those of evidence.run have no effect here
    is_real = options.scale == "cpu"
    folder = options.records or (ROOT / "results" / "evidence" if is_real else options.out / "records")
    pages = [ROOT / "results" / "evidence.md", ROOT / "docs" / "evidence.md"]
    costs = Costs.read((ROOT / "results" if is_real else options.out) / "evidence_costs.json")
    for path in pages if is_real else [options.out / "evidence.md"]:
        write_atomically(path, page(RecordStore(folder), costs, SCALES[options.scale].datasets))
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
