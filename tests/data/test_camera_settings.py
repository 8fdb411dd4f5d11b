"""Cameras left out of training, and cameras that data sets of one place share."""

from dataclasses import replace
from pathlib import Path

import pytest

from jointreid.config import DataConfig, RunConfig
from jointreid.data.batch_shares import check_batches
from jointreid.data.camera_settings import unknown_cameras, with_settings, with_train_cameras
from jointreid.data.joint import join
from jointreid.data.label_space import LabelSpace
from jointreid.data.manifest import read_manifest, write_manifest
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
    left = with_settings(domain(), data)
    assert {record.camid for record in left.train} == {0, 5}
    assert len(left.train) == 40
    assert (left.query, left.gallery, left.cameras) == (domain().query, domain().gallery, (0, 2, 5))
    assert with_settings(domain("b"), data) == domain("b")


def test_a_left_out_camera_has_no_class() -> None:
    data = DataConfig(leave_out_cameras=("a:2", "a:0", "b:5"))
    domains = [with_settings(domain(name), data) for name in ("a", "b", "c")]
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


def test_data_sets_of_one_place_share_the_classes_of_their_cameras(tmp_path: Path) -> None:
    data = DataConfig(places=("a=street", "c=street"))
    c = Domain("c", tuple(ImageRecord(Path(f"c/{n}"), f"{n}", n) for n in (2, 9)))
    domains = [with_settings(one, data) for one in (domain("a"), domain("b"), c)]
    space = join(domains).label_space
    assert [labels.cameras for labels in space.domains] == [(0, 2, 5, 9), (0, 2, 5), (0, 2, 5, 9)]
    assert [labels.camera_offset for labels in space.domains] == [0, 4, 0]
    assert space.num_cameras == 7
    assert space.global_camid("c", 2) == space.global_camid("a", 2) == 1
    assert space.global_camid("b", 2) == 5
    assert join(domains, "local").label_space.num_cameras == 4
    space.save(tmp_path / "labels.json")
    assert LabelSpace.load(tmp_path / "labels.json") == space
    apart = join([domain("a"), domain("b"), c]).label_space
    assert apart.num_cameras == 8
    assert "place" not in apart.to_dict()["domains"][0]
    with pytest.raises(JointreidError, match="its cameras are not those of the other domains in its place"):
        LabelSpace((space.domains[0], replace(space.domains[2], cameras=(0, 2, 5))))


def test_a_camera_that_another_data_set_of_the_place_has_is_not_new() -> None:
    data = DataConfig(places=("a=street", "b=street"), leave_out_cameras=("a:2", "a:0", "b:0"))
    domains = [with_train_cameras(with_settings(domain(name), data), data) for name in ("a", "b")]
    assert [labels.cameras for labels in join(domains).label_space.domains] == [(2, 5), (2, 5)]


def test_a_side_file_says_the_place(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    rows = [f"{pid}-{camid}.png,{pid},{camid},train,x" for pid in "ab" for camid in (1, 2)]
    table.write_text("path,pid,camid,split,domain\n" + "\n".join(rows) + "\n")
    (tmp_path / "t.domains.json").write_text('{"x": {"place": "street"}}')
    read = read_manifest(table)
    assert read["x"].place == "street"
    write_manifest(read.values(), tmp_path / "again.csv")
    assert read_manifest(tmp_path / "again.csv") == read
    table.write_text(table.read_text().replace(",1,", ",gate,"))
    with pytest.raises(JointreidError, match=r"names its cameras, and .* gives it a place"):
        read_manifest(table)


@pytest.mark.parametrize(("wrong", "message"), [(["a"], "NAME=PLACE for each"), (["a=x", "a=y"], "each data set once")])
def test_a_place_is_given_once_for_each_data_set(wrong: list[str], message: str) -> None:
    with pytest.raises(JointreidError, match=message):
        RunConfig().replace(data={"places": wrong})
    config = RunConfig().replace(data={"places": ["b=street"]})
    assert "data.places: there is no domain b" in check_batches([domain()], config)[0][0].message


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


def test_named_cameras_are_not_shared_by_their_ranks(tmp_path: Path) -> None:
    rows = [
        f"x,{split},{pid}-{camera}.jpg,{pid},{camera}" for camera in ("entrance", "exit") for split, pid in SPLIT_OF
    ]
    (tmp_path / "t.csv").write_text("\n".join(["domain,split,path,pid,camid", *rows]) + "\n")
    named = read_manifest(tmp_path / "t.csv")["x"]
    assert named.cameras == (0, 1)
    with pytest.raises(
        JointreidError, match=r"data\.places gives x the place mall, .* names its cameras; write numbers"
    ):
        with_settings(named, DataConfig(places=("x=mall",)))
    assert with_settings(named, DataConfig()) == named


SPLIT_OF = [("train", "1"), ("train", "2"), ("query", "3"), ("gallery", "3")]
