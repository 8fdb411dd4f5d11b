"""Cameras left out of training: no train images, no class, and evaluation as ever."""

from pathlib import Path

import pytest

from jointreid.config import DataConfig, RunConfig
from jointreid.data.batch_shares import check_batches
from jointreid.data.joint import join
from jointreid.data.left_out import unknown_cameras, with_train_cameras, without_cameras
from jointreid.data.records import Domain, ImageRecord
from jointreid.data.sources import load_domains
from jointreid.messages.errors import JointreidError


def domain(name: str = "a") -> Domain:
    """Cameras 0, 2 and 5; camera 2 took two images of each of 20 people, the others one each."""
    cameras = list(enumerate((0, 2, 2, 5)))
    train = tuple(ImageRecord(Path(f"{name}/{p}-{n}"), f"{p}", camid) for p in range(20) for n, camid in cameras)
    test = [ImageRecord(Path(f"{name}/test-{pid}-{camid}"), f"t{pid}", camid) for pid in range(3) for camid in (0, 2)]
    return Domain(name, train, tuple(test[:3]), tuple(test[3:]))


def test_train_loses_the_images_of_a_left_out_camera_and_test_keeps_them() -> None:
    data = DataConfig(leave_out_cameras=("a:2",))
    left = without_cameras(domain(), data)
    assert {record.camid for record in left.train} == {0, 5}
    assert len(left.train) == 40
    assert (left.query, left.gallery, left.cameras) == (domain().query, domain().gallery, (0, 2, 5))
    assert without_cameras(domain("b"), data) == domain("b")


def test_a_left_out_camera_has_no_class() -> None:
    data = DataConfig(leave_out_cameras=("a:2", "a:0", "b:5"))
    domains = [without_cameras(domain(name), data) for name in ("a", "b", "c")]
    train_set = join([with_train_cameras(one, data) for one in domains])
    assert [labels.cameras for labels in train_set.label_space.domains] == [(5,), (0, 2), (0, 2, 5)]
    assert train_set.label_space.num_cameras == 6
    assert sorted(set(train_set.global_camids.tolist())) == [0, 1, 2, 3, 4, 5]


def test_names_that_fit_nothing_are_errors_of_the_check() -> None:
    data = {"leave_out_cameras": ("a:2", "aa:2", "a:3")}
    config = RunConfig().replace(data=data)
    assert unknown_cameras([domain()], config.data) == [
        "data.leave_out_cameras aa:2: there is no domain aa; did you mean a?",
        "data.leave_out_cameras a:3: a has no camera 3; it has 0, 2, 5",
    ]
    problems, composition = check_batches([domain()], config)
    assert composition is None
    assert [problem.level for problem in problems] == ["error", "error"]


@pytest.mark.parametrize("wrong", ["a", "a:", ":3", "a:x", "a:-1"])
def test_a_camera_is_named_by_data_set_and_number(wrong: str) -> None:
    with pytest.raises(JointreidError, match=r"data\.leave_out_cameras is .*; expected NAME:CAMID"):
        DataConfig(leave_out_cameras=(wrong,))


def test_data_sets_are_read_without_them(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    rows = [f"{pid}-{camid}.png,{pid},{camid},train,x" for pid in "ab" for camid in (1, 2)]
    table.write_text("path,pid,camid,split,domain\n" + "\n".join(rows) + "\n")
    (whole,) = load_domains(DataConfig(sources=(f"x={table}",)))
    (left,) = load_domains(DataConfig(sources=(f"x={table}",), leave_out_cameras=("x:2",)))
    assert [record.camid for record in whole.train] == [1, 2, 1, 2]
    assert [record.camid for record in left.train] == [1, 1]
