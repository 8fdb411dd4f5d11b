from pathlib import Path
from typing import Any

import pytest

from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError


def image(name: str, pid: str = "1", camid: int = 0, **fields: Any) -> ImageRecord:
    return ImageRecord(Path(name), pid, camid, **fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pid": ""}, "pid is empty"),
        ({"camid": -1}, "camid is -1; expected an integer from 0 to 999,999,999"),
        ({"camid": 10**9}, "camid is 1000000000; expected an integer"),
        ({"camid": True}, "camid is True"),
        ({"box": (0, 0, 0, 5)}, "width, height >= 1"),
        ({"box": (-1, 0, 2, 5)}, "x, y >= 0"),
        ({"timestamp": float("nan")}, "finite number of seconds"),
        ({"junk": True, "distractor": True}, "both junk and distractor"),
    ],
)
def test_a_record_refuses_what_cannot_be(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(JointreidError, match=message) as caught:
        image("a.png", **fields)
    assert "a.png" in str(caught.value)


def test_splits_are_sorted_whatever_order_they_come_in() -> None:
    records = [image("b.png"), image("a.png", box=(1, 0, 2, 2)), image("a.png", box=(0, 0, 2, 2)), image("a.png")]
    domain = Domain("d", train=tuple(records))
    assert domain == Domain("d", train=tuple(reversed(records)))
    assert [record.key for record in domain.train] == sorted(record.key for record in records)


def test_cameras_are_those_of_all_splits_or_as_declared() -> None:
    train, query = (image("a.png", camid=4),), (image("b.png", camid=1),)
    assert Domain("d", train=train, query=query).cameras == (1, 4)
    assert Domain("d", train=train, query=query, cameras=(4, 0, 1, 4)).cameras == (0, 1, 4)
    with pytest.raises(JointreidError, match=r"d: images have cameras \[4\]"):
        Domain("d", train=train, query=query, cameras=(0, 1))


def test_a_domain_refuses_junk_in_train_and_a_missing_or_reserved_name() -> None:
    with pytest.raises(JointreidError, match=r"a\.png is junk"):
        Domain("d", train=(image("a.png", distractor=True),))
    with pytest.raises(JointreidError, match="needs a name"):
        Domain("")
    with pytest.raises(JointreidError, match="'mean of others' is what tables call the mean over data sets; give"):
        Domain("mean of others")


def test_iterating_gives_every_image_and_pids_are_sorted() -> None:
    domain = Domain("d", train=(image("a", "9"), image("b", "10")), query=(image("c"),), gallery=(image("d"),))
    assert [str(record.path) for record in domain] == ["a", "b", "c", "d"]
    assert domain.train_pids == ("10", "9")
