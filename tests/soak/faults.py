"""Print the outcome of every fault of the table: `python -m tests.soak.faults`. The exit code is 1 if one is lost."""

import faulthandler
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fault_table import FAULTS
from tests.fault_table.judge import judge

# After this many seconds a fault counts as hanging: the process prints where it is and ends.
LIMIT = 120


def main() -> int:
    """Judge every fault and print one line for each, then the counts."""
    counts: Counter[str] = Counter()
    for fault in FAULTS:
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        with tempfile.TemporaryDirectory() as folder:
            verdict = judge(fault, Path(folder) / "sandbox", wholly=True)
        faulthandler.cancel_dump_traceback_later()
        counts[verdict.outcome] += 1
        detail = f": {verdict.detail}" if verdict.outcome in ("skipped", "lost") else ""
        print(f"{verdict.outcome:<8} {fault.name}{detail}", flush=True)
    tried = counts.total() - counts["skipped"]
    print(
        f"\ntried {tried}: {counts['refused']} refused clearly, {counts['handled']} handled, {counts['lost']} lost "
        f"({counts['skipped']} cannot be made here)"
    )
    return int(counts["lost"] > 0)


if __name__ == "__main__":
    sys.exit(main())
