"""Records of the comparison of networks that a test makes and keeps in memory."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


class MadeRecords:
    """Records by the names of their tasks, as `evidence.records.RecordStore` gives them.

    Every domain has a query of each of a few people, and one average precision for each of them.
    """

    def __init__(self, people: int = 2) -> None:
        self.people, self.folder = people, Path()
        self.records: dict[str, Any] = {}

    def __call__(self, name: str) -> Any:
        return self.records.get(name)

    def __iter__(self) -> Iterator[Any]:
        return iter(list(self.records.values()))

    def queries(self, dataset: str) -> Mapping[str, Sequence[Sequence[Any]]]:
        from evidence.data import DATASETS

        return {domain: [[f"p{n}", 0] for n in range(self.people)] for domain in DATASETS[dataset].domains}

    def add(self, task: Any, *values: float) -> None:
        """Add the record of a task: the average precision of all people, or one for each."""
        from evidence.data import DATASETS

        domains = DATASETS[task.dataset].domains
        precisions = values if len(values) > 1 else values * self.people
        mean = sum(precisions) / self.people
        self.records[task.name] = {
            "task": task.identity,
            "mean": mean,
            "domains": {domain: {"mAP": mean} for domain in domains},
            "ap": {domain: [round(1e4 * value) for value in precisions] for domain in domains},
        }
