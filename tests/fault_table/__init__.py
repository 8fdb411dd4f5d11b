"""Bad data as a table: each fault, and what must come of it."""

from fault_table.folders import FOLDERS
from fault_table.images import DAMAGED, NAMED, ODD
from fault_table.splits import SPLITS
from fault_table.tables import BYTES, CELLS, SIDE

FAULTS = [*DAMAGED, *ODD, *NAMED, *BYTES, *CELLS, *SIDE, *SPLITS, *FOLDERS]
