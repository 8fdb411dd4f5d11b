"""A report reads as a table and as plain JSON."""

import json
from dataclasses import replace

from jointreid.data.findings import DomainSummary, Problem, Report, SplitSummary, Unreadable, render

TRAIN = SplitSummary(ids=1_501, images=12_936, cameras=6, distractors=0, junk=0)
TEST = SplitSummary(ids=2, images=2, cameras=1, distractors=10, junk=3)
REPORT = Report(
    purpose="both",
    domains={
        "shop": DomainSummary("table.csv", 6, True, "", {"train": TRAIN, "query": TEST}),
        "market1501": DomainSummary("", 2, False, "not Table I", {"gallery": TEST}),
    },
    problems=(Problem("error", "shop", "shop: one is wrong"), Problem("warning", "shop", "shop: one is odd")),
    unreadable=(Unreadable("shop", "a.png", "the file is empty"),),
    decoded=17,
    from_cache=12_000,
)


def test_the_report_as_text() -> None:
    assert render(REPORT).splitlines() == [
        "domain      split      ids  images  cameras  distractors  junk",
        "shop        train    1,501  12,936        6            0     0",
        "shop        query        2       2        1           10     3",
        "market1501  gallery      2       2        1           10     3",
        "shop: 6 cameras; a match from the query's own camera is ignored; from table.csv",
        "market1501: 2 cameras; every match counts; not Table I; from memory",
        "error: shop: one is wrong",
        "warning: shop: one is odd",
        "images: 17 decoded, 12,000 known from an earlier check, 1 unreadable",
        "not ready for training and evaluation: 1 errors, 1 warnings",
    ]


def test_the_last_line_tells_for_what_the_data_are_ready() -> None:
    sound = replace(REPORT, problems=REPORT.problems[1:])
    assert (REPORT.ok, sound.ok) == (False, True)
    assert render(sound).splitlines()[-1] == "ready for training and evaluation: 0 errors, 1 warnings"
    assert render(replace(sound, purpose="train")).splitlines()[-1].startswith("ready for training: ")
    assert render(replace(REPORT, purpose="evaluate")).splitlines()[-1].startswith("not ready for evaluation: ")


def test_the_report_as_json() -> None:
    plain = json.loads(json.dumps(REPORT.to_dict()))
    assert (plain["ok"], plain["purpose"], plain["decoded"], plain["from_cache"]) == (False, "both", 17, 12_000)
    assert plain["domains"]["shop"]["splits"]["query"] == {
        "ids": 2,
        "images": 2,
        "cameras": 1,
        "distractors": 10,
        "junk": 3,
    }
    assert [problem["level"] for problem in plain["problems"]] == ["error", "warning"]
    assert plain["unreadable"] == [{"domain": "shop", "path": "a.png", "cause": "the file is empty"}]
