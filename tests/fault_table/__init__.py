"""A table of the ways in which data can be bad, each with the outcome that must follow; see tests/README.md."""

from tests.fault_table.folders import FOLDERS
from tests.fault_table.images import DAMAGED, NAMED, ODD
from tests.fault_table.splits import SPLITS
from tests.fault_table.tables import BYTES, CELLS, SIDE

FAULTS = [*DAMAGED, *ODD, *NAMED, *BYTES, *CELLS, *SIDE, *SPLITS, *FOLDERS]
