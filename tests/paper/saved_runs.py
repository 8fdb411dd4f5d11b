"""Runs of a grid with made-up results, written as a real evaluation writes them."""

from dataclasses import replace
from pathlib import Path

from jointreid.paper.store import RunRecord, metrics_digest, save_record
from jointreid.retrieval.result_files import save_results


def save_run(record: RunRecord, run: Path) -> RunRecord:
    """Write a run's results and its record, and return the record as it is read again."""
    file = save_results(record.results, (), run)
    record = replace(record, files={file.name: metrics_digest(record.results)})
    save_record(record, run)
    return record
