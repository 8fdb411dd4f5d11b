"""Bad data as a table: each fault, and what must come of it."""

from tests.fault_table.folders import FOLDERS
from tests.fault_table.images import DAMAGED, NAMED, ODD
from tests.fault_table.splits import SPLITS
from tests.fault_table.tables import BYTES, CELLS, SIDE

FAULTS = [*DAMAGED, *ODD, *NAMED, *BYTES, *CELLS, *SIDE, *SPLITS, *FOLDERS]
