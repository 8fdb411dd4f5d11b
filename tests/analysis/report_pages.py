"""Report pages as a reader sees them, from run directories made by hand."""

import json
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import torch

from jointreid.analysis.report import write_report
from jointreid.analysis.reported import RunGroup
from jointreid.config import RunConfig
from jointreid.data.joint import join
from jointreid.data.label_space import LabelSpace
from jointreid.data.records import Domain, ImageRecord
from jointreid.retrieval.result_files import save_results
from jointreid.retrieval.results import DomainResult, QueryResult, Results
from jointreid.run import write_config
from jointreid.training.checkpoint import save_checkpoint


class Page(HTMLParser):
    """The content of a page; refuses one whose elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.tables: list[list[list[tuple[str, str, bool]]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append((tag, "", False))
        if tag not in ("br", "img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.texts.append(data)
        if {"td", "th"} & set(self.open):
            kind, text, _ = self.tables[-1][-1][-1]
            self.tables[-1][-1][-1] = (kind, text + data, self.open[-1] == "b")

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def rows(self, table: int) -> list[list[str]]:
        return [[text for _, text, _ in row] for row in self.tables[table]]

    def bold(self, table: int) -> list[list[str]]:
        return [[text for kind, text, bold in row if bold and kind == "td"] for row in self.tables[table]]

    def charts(self) -> list[str]:
        return [attrs["aria-label"] for tag, attrs in self.elements if tag == "svg" and attrs.get("class") == "chart"]


def space_of(*names: str) -> LabelSpace:
    domains = [Domain(name, train=(ImageRecord(Path("1"), "1", 0), ImageRecord(Path("2"), "2", 1))) for name in names]
    return join(domains).label_space


def make_run(
    path: Path,
    rates: Mapping[str, tuple[float, float]],
    *,
    log: Sequence[Mapping[str, Any]] = (),
    trained_on: Sequence[str] = (),
    facts: Mapping[str, Any] | None = None,
    asked: str = "9",
    **sections: Any,
) -> Path:
    """Make a run directory without weights, evaluated to these (mAP, Rank-1) by domain, of 10 steps an epoch."""
    domains = [
        DomainResult(name, mAP, 0.125, {1: rank1, 5: 0.8, 10: 0.9}, 9, 7, 1200, True, True, **(facts or {}))
        for name, (mAP, rank1) in rates.items()
    ]
    queries = [QueryResult(name, "q.png", asked, 0, True, 0.5, 0.5, 2) for name in rates]
    versions = {"jointreid": "1.2.3"}
    results = Results(
        path.name, "last", "abcd0123", tuple(domains), "bn_embedding", "cosine", False, 256, 128, "none", 1, versions
    )
    write_config(RunConfig().replace(**sections), path / "config.yaml")
    space_of(*(trained_on or rates)).save(path / "labels.json")
    save_results(results, queries, path)
    save_checkpoint(path, "last", torch.nn.Identity(), {"step": 40, "epoch": 4.0})
    if log:
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    return path


def step(number: int, total: float, **values: float) -> dict[str, Any]:
    terms = {"triplet": 1.0, "identity": 2.0, "domain": 0.0, "camera": 0.0, "total": total}
    return {"kind": "train", "step": number, "epoch": 1, **terms, **values, "lr": 0.001}


def evaluation(number: int, rates: Mapping[str, float]) -> dict[str, Any]:
    domains = {name: {"mAP": rate, "rank1": rate / 2} for name, rate in rates.items()}
    return {"kind": "evaluation", "step": number, "epoch": 1, **domains}


HEADS = {"domain": 1.0, "camera": 1.5, "domain_accuracy": 0.75, "camera_accuracy": 0.5}


def report(tmp_path: Path, groups: Mapping[str, Sequence[Path]], **options: Any) -> Page:
    told = [RunGroup(label, paths) for label, paths in groups.items()]
    path = write_report(told, tmp_path / "out" / "report.html", **{"title": "A page", "queries": 0, **options})
    return Page(path.read_text(encoding="utf-8"))
