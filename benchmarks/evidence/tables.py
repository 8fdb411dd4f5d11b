"""Write results/evidence.md and docs/evidence.md, the page of the comparison, from its records, none typed by hand.

python -m evidence.tables
"""

import argparse
import os
import sys
from math import floor
from pathlib import Path

from evidence.arm_table import arm_table
from evidence.arms import START_WORDS, Start
from evidence.closed_table import closed_table
from evidence.complete import CompleteRecords
from evidence.cost_table import Costs, cost_tables
from evidence.data import DATASETS
from evidence.domain_table import domain_table
from evidence.figures import paragraph
from evidence.gain_split import gain_split
from evidence.goals import goal_section
from evidence.legend import legend
from evidence.length import length_drawing, length_section
from evidence.matchings import matching_table
from evidence.options import PUBLISHED, ROOT, add_options, chosen_scale, records_folder
from evidence.records import RecordStore
from evidence.remedies_table import remedies_table
from evidence.tasks import Scale
from evidence.trained import trained_section
from evidence.training_config import check_records
from evidence.tuning_table import tuning_table
from jointreid.machine.files import write_atomically

# The drawing of the lengths, below docs/.
IMAGE = "images/evidence-length.svg"
TITLE = "# Evidence: which network for joint training"
HEAD = (
    "Made by `bash benchmarks/evidence/run.sh` from the records under `results/evidence/`. {size}: the figures compare "
    "networks with each other, not with results on photographs of people. Every arm has the same data, batches and "
    "schedule, and a learning rate (lr) chosen on train identities that are held out. No setting was chosen on a test "
    "identity; only where remedies are tried depends on what was reached there. mAP in percent; in brackets the 95 % "
    "interval of a difference, over resamples of identities, and of seeds where there are several. An arm that is "
    "marked with * is a control."
)
REPEAT = (
    paragraph(
        "The two sets of pictures have to lie at `../shared/data/omniglot` and `../shared/data/emoji`, beside the "
        "repository, each with a `manifest.csv` (columns domain, split, path, pid, camid); the synthetic people are "
        "drawn. A new folder of records begins from nothing; without `--records` the trainings that this page lacks "
        "are added to it. `--minutes 60` and `--only people_random` do a part of them."
    ),
    "",
    "```bash",
    "make setup",
    "bash benchmarks/evidence/run.sh --scale cpu --out DIR --records DIR/records    # then DIR/evidence.md is the page",
    "```",
)


def page(store: RecordStore, costs: Costs, scale: Scale, image: str = IMAGE) -> str:
    """Return the whole page, which links the drawing of `length_drawing` as `image`."""
    records = list(store)
    trained = trained_section(store, scale)
    store = CompleteRecords(store)
    lines = [TITLE, "", paragraph(HEAD.format(size=scale.words)), "", *goal_section(store, scale), *trained]
    lines += legend(scale)
    lines += length_section(store, scale, image)
    for dataset in scale.datasets:
        for start in scale.starts:
            lines += cell_section(store, dataset, start)
    lines += cost_tables(costs, scale)
    if not records:
        lines.append("There is no training yet.")
    else:
        hours = floor(sum(record["cpu_seconds"] for record in records) / 360) / 10
        machines = sorted({record["provenance"]["machine"] for record in records})
        lines.append(
            paragraph(f"{len(records)} trainings, at least {hours:.1f} CPU hours on {' and '.join(machines)}.")
        )
    lines += ["", "## Repeat it", "", *REPEAT]
    return "\n".join(lines).rstrip() + "\n"


def cell_section(store: RecordStore, dataset: str, start: Start) -> list[str]:
    """Return the section of one data set and start; empty if nothing was trained."""
    lines = list(tuning_table(store, dataset, start))
    for stage, title in (("short", "Short trainings, seed 0"), ("long", "Long trainings")):
        table = list(arm_table(store, dataset, start, stage))
        lines += [f"### {title}", "", *table] if table else []
    lines += domain_table(store, dataset, start)
    lines += matching_table(store, dataset, start)
    lines += remedies_table(store, dataset, start)
    lines += gain_split(store, dataset, start)
    lines += closed_table(store, dataset, start)
    title = f"## {DATASETS[dataset].words}; from {START_WORDS[start]}"
    return [title, "", *lines] if lines else []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    options, _ = parser.parse_known_args()  # those of evidence.run have no effect here
    folder, scale = records_folder(options), chosen_scale(options)
    store, is_published = RecordStore(folder), folder.resolve() == PUBLISHED
    check_records(store, scale)
    costs = Costs.read((ROOT / "results" if options.scale == "cpu" else options.out) / "evidence_costs.json")
    drawing_path = ROOT / "docs" / IMAGE if is_published else options.out / Path(IMAGE).name
    pages = [ROOT / "results" / "evidence.md", ROOT / "docs" / "evidence.md"]
    if drawing := length_drawing(CompleteRecords(store), scale):
        write_atomically(drawing_path, drawing + "\n")
    for path in pages if is_published else [options.out / "evidence.md"]:
        image = Path(os.path.relpath(drawing_path, path.parent)).as_posix()
        write_atomically(path, page(store, costs, scale, image))
        print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
