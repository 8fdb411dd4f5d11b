"""Print what comes of every fault of the table: `.venv/bin/python -m tests.soak.faults`; 1 if any is lost."""

import faulthandler
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.fault_table import FAULTS
from tests.fault_table.judge import judge

# A fault that takes this long, in seconds, hangs: the process ends with where it stands.
LIMIT = 120


def main() -> int:
    """Judge every fault, print a line each and the counts."""
    counts: Counter[str] = Counter()
    for fault in FAULTS:
        faulthandler.dump_traceback_later(LIMIT, exit=True)
        with tempfile.TemporaryDirectory() as folder:
            verdict = judge(fault, Path(folder) / "place", wholly=True)
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
