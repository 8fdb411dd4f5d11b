"""A result of the check reads as a table and as plain JSON."""

import json
from dataclasses import replace

from jointreid.data.findings import CheckResult, DomainSummary, Problem, SplitSummary, Unreadable, render
from jointreid.data.protocols import ProtocolMatch

TRAIN = SplitSummary(ids=1_501, images=12_936, cameras=6, distractors=0, junk=0)
TEST = SplitSummary(ids=2, images=2, cameras=1, distractors=10, junk=3)
PROTOCOL = ProtocolMatch("cuhk03-x", False, "CUHK03, other boxes", ("train: 1 (the paper: 2)", "9 cameras"))
RESULT = CheckResult(
    purpose="both",
    domains={
        "shop": DomainSummary("table.csv", "", 6, True, None, {"train": TRAIN, "query": TEST}),
        "cuhk03": DomainSummary("", "detected boxes", 2, False, PROTOCOL, {"gallery": TEST}),
    },
    problems=(Problem("error", "shop", "shop: one is wrong"), Problem("warning", "shop", "shop: one is odd")),
    unreadable=(Unreadable("shop", "a.png", "the file is empty"),),
    decoded=17,
    from_cache=12_000,
)


def test_the_report_as_text() -> None:
    assert render(RESULT).splitlines() == [
        "domain  split      ids  images  cameras  distractors  junk",
        "shop    train    1,501  12,936        6            0     0",
        "shop    query        2       2        1           10     3",
        "cuhk03  gallery      2       2        1           10     3",
        "shop: 6 cameras; a match from the query's own camera is ignored; from table.csv",
        "cuhk03: 2 cameras; every match counts; from memory",
        "  protocol: CUHK03, other boxes",
        "  not as in the paper: train: 1 (the paper: 2)",
        "  not as in the paper: 9 cameras",
        "error: shop: one is wrong",
        "warning: shop: one is odd",
        "images: 17 decoded, 12,000 known from an earlier check, 1 unreadable",
        "not ready for training and evaluation: 1 errors, 1 warnings",
    ]


def test_the_last_line_tells_for_what_the_data_are_ready() -> None:
    sound = replace(RESULT, problems=RESULT.problems[1:])
    assert (RESULT.ok, sound.ok) == (False, True)
    assert render(sound).splitlines()[-1] == "ready for training and evaluation: 0 errors, 1 warnings"
    assert render(replace(sound, purpose="train")).splitlines()[-1].startswith("ready for training: ")
    assert render(replace(RESULT, purpose="evaluate")).splitlines()[-1].startswith("not ready for evaluation: ")


def test_the_report_as_json() -> None:
    plain = json.loads(json.dumps(RESULT.to_dict()))
    assert (plain["ok"], plain["purpose"], plain["decoded"], plain["from_cache"]) == (False, "both", 17, 12_000)
    assert plain["domains"]["shop"]["splits"]["query"] == {
        "ids": 2,
        "images": 2,
        "cameras": 1,
        "distractors": 10,
        "junk": 3,
    }
    assert (plain["domains"]["shop"]["protocol"], plain["domains"]["shop"]["source"]) == (None, "table.csv")
    assert plain["domains"]["cuhk03"]["variant"] == "detected boxes"
    assert plain["domains"]["cuhk03"]["protocol"] == {
        "name": "cuhk03-x",
        "comparable": False,
        "words": "CUHK03, other boxes",
        "differences": ["train: 1 (the paper: 2)", "9 cameras"],
    }
    assert [problem["level"] for problem in plain["problems"]] == ["error", "warning"]
    assert plain["unreadable"] == [{"domain": "shop", "path": "a.png", "cause": "the file is empty"}]
