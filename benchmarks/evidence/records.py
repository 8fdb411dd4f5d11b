"""What is kept of each training: one JSON file under `results/evidence/`, so that the comparison resumes anywhere.

Average precisions are in order of the test queries, in ten thousandths; the queries of a data set, the same for all of
its trainings, have a file of their own.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from evidence.levels import Record
from evidence.tasks import Task
from jointreid.machine.files import write_atomically
from jointreid.retrieval.results import QueryResult

UNIT = 10_000


class RecordStore:
    """The records of a folder.

    Args:
        folder: `results/evidence`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._known: dict[str, tuple[int, Record]] = {}  # with the time of the file

    def __call__(self, name: str) -> Record | None:
        """Return the record of a task by its name; None if it was not trained yet."""
        path = self._path(name)
        if not path.is_file():
            return None
        time = path.stat().st_mtime_ns  # other processes write here too
        if name not in self._known or self._known[name][0] != time:
            self._known[name] = time, json.loads(path.read_text(encoding="utf-8"))
        return self._known[name][1]

    def __iter__(self) -> Iterator[Record]:
        """Yield all records, in order of their names."""
        for path in sorted(self.folder.glob("[!.]*_lr*_s*.json")):  # hidden: files that are being written
            record = self(path.stem)
            if record is not None:
                yield record

    def save(self, task: Task, record: Record) -> None:
        """Write the record of a task, whole or not at all."""
        write_atomically(self._path(task.name), json.dumps(record) + "\n")

    def queries(self, dataset: str) -> Mapping[str, Sequence[Sequence[Any]]]:
        """Return the test queries of a data set: domain -> (pid, camid) of each."""
        plain: dict[str, list[list[Any]]] = json.loads(self._queries(dataset).read_text(encoding="utf-8"))
        return plain

    def save_queries(self, dataset: str, queries: Sequence[QueryResult]) -> None:
        """Write the test queries of a data set, or compare them with those of earlier trainings.

        Raises:
            ValueError: they are others: the records could not be compared.
        """
        plain: dict[str, list[list[Any]]] = {}
        for query in queries:
            plain.setdefault(query.domain, []).append([query.pid, query.camid])
        path = self._queries(dataset)
        if not path.is_file():
            write_atomically(path, json.dumps(plain) + "\n")
            return
        known = self.queries(dataset)
        for domain, rows in plain.items():  # a solo training is evaluated on one domain
            if known[domain] != rows:
                raise ValueError(f"{path}: the test queries of {domain} are not those of earlier trainings")

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _queries(self, dataset: str) -> Path:
        return self.folder / f"queries-{dataset}.json"


def precisions(queries: Sequence[QueryResult]) -> dict[str, list[int | None]]:
    """Return the average precision of each query by domain, in ten thousandths; None without a match."""
    found: dict[str, list[int | None]] = {}
    for query in queries:
        ap = query.average_precision
        found.setdefault(query.domain, []).append(None if ap is None else round(UNIT * ap))
    return found
