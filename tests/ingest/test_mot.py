"""Tracking sequences become boxes of identities: which are taken, how they are cut, and what was left out."""

from pathlib import Path

import pytest
from PIL import Image

from jointreid.ingest.images import FolderContents, Omissions, list_images
from jointreid.ingest.layouts import read_layout
from jointreid.ingest.mot import BoxChoice, read_mot
from jointreid.messages.errors import JointreidError

INFO = "[Sequence]\nname=x\nimDir=img1\nframeRate=25\nseqLength=3\nimWidth=64\nimHeight=96\nimExt=.jpg\n"


def sequence(
    folder: Path, rows: str, *, frames: int = 3, info: str = "", inner: str = "img1", suffix: str = ".jpg"
) -> Path:
    """Make a sequence with frames of 64 x 96 pixels."""
    (folder / "gt").mkdir(parents=True)
    (folder / "gt/gt.txt").write_text(rows)
    (folder / inner).mkdir(parents=True)
    for frame in range(1, frames + 1):
        Image.new("RGB", (64, 96)).save(folder / inner / f"{frame:06}{suffix}")
    if info:
        (folder / "seqinfo.ini").write_text(info)
    return folder


def look(root: Path, choice: BoxChoice = BoxChoice(every=1)) -> tuple[FolderContents, dict[str, int]]:  # noqa: B008
    """Read a folder, and count what was left out."""
    omissions = Omissions()
    found = read_layout(root, "auto", "auto", choice, omissions)
    return found, {dropped.reason: dropped.count for dropped in omissions.listed()}


def test_boxes_of_tracks_become_images(tmp_path: Path) -> None:
    rows = "1,7,10,20,30,60,1,1,1\n2,7,12.4,20.6,30,60,1,1,0.5\n3, 8, 0, 0, 20, 50, 1, 1, 1\r\n\n"
    folder = sequence(tmp_path / "park", rows, info=INFO)
    found, dropped = look(tmp_path)
    assert [image.record.box for image in found.images] == [(10, 20, 30, 60), (12, 21, 30, 60), (0, 0, 20, 50)]
    assert [image.record.pid for image in found.images] == ["park-7", "park-7", "park-8"]
    assert [image.record.timestamp for image in found.images] == [1 / 25, 2 / 25, 3 / 25]
    assert [image.record.path for image in found.images] == [folder / f"img1/00000{frame}.jpg" for frame in (1, 2, 3)]
    assert [image.frame for image in found.images] == [1, 2, 3]
    assert (found.layout, found.cameras, found.tracks, found.exclude_same_camera) == ("mot", {0: "park"}, True, False)
    assert "nobody is followed from one to another" in found.policy
    assert dropped == {}


def test_a_sequence_itself_gives_the_same(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "park", "1,7,10,20,30,60,1,1,1\n")
    one, other = look(tmp_path)[0].images, look(folder)[0].images
    assert [image.record for image in one] == [image.record for image in other]


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ("1,7,10,20,30,60,1", ""),
        ("1,7,10,20,30,60,1,1", ""),
        ("1,7,10,20,30,60,1,-1,-1", ""),
        ("1.0,7.0,10,20,30,60,0.5,1.0,0.3", ""),
        ("1,7,10,20,30,60,1,2,-1,-1", ""),  # of ten cells, the last three are a place in the world
        ("1,7,10,20,30,60,0,1,1", "boxes marked as ignored (conf 0)"),
        ("1,-1,10,20,30,60,1", "boxes without an id"),
        ("1,7,10,20,30,60,1,7,1", "boxes of a class other than pedestrian (1)"),
        ("1,7,10,20,30,60,1,1,0.29", "boxes less visible than 0.3"),
        ("4,7,10,20,30,60,1,1,1", "boxes whose frame is missing"),
        ("1,7,70,20,30,60,1,1,1", "boxes outside their frame"),
        ("1,7,-40,20,30,60,1,1,1", "boxes outside their frame"),
        ("1,7,10,20,30,31,1,1,1", "boxes lower than 32 pixels"),
        ("1,7,10,70,30,60,1,1,1", "boxes lower than 32 pixels"),  # 26 of the 60 lie in the frame
    ],
)
def test_unusable_boxes_are_counted(tmp_path: Path, cells: str, reason: str) -> None:
    sequence(tmp_path / "park", f"2,9,0,0,20,50,1,1,1\n{cells}\n")
    found, dropped = look(tmp_path)
    assert dropped == ({reason: 1} if reason else {})
    assert [image.record.pid for image in found.images] == (["park-9"] if reason else ["park-7", "park-9"])


def test_the_limits_of_usable_boxes_can_be_set(tmp_path: Path) -> None:
    sequence(tmp_path / "park", "1,7,10,20,30,10,1,1,0.1\n")
    assert look(tmp_path)[0].images == ()
    found, _ = look(tmp_path, BoxChoice(1, min_height=10, min_visibility=0.1))
    assert [image.record.box for image in found.images] == [(10, 20, 30, 10)]


@pytest.mark.parametrize(
    ("box", "clipped"),
    [
        ("-5,-7,30,60", (0, 0, 25, 53)),
        ("50,50,30,60", (50, 50, 14, 46)),
        ("-1,-1,100,100", (0, 0, 64, 96)),
        ("10.6,20.4,30,60", (11, 20, 30, 60)),
    ],
)
def test_boxes_are_clipped_to_the_frame(tmp_path: Path, box: str, clipped: tuple[int, ...]) -> None:
    sequence(tmp_path / "park", f"1,7,{box},1,1,1\n")
    assert [image.record.box for image in look(tmp_path)[0].images] == [clipped]


def test_boxes_of_a_track_are_frames_apart_in_any_order_of_rows(tmp_path: Path) -> None:
    frames = [9, 1, 2, 4, 5, 12, 20, 1]
    rows = "".join(f"{frame},7,10,20,30,60,1,1,1\n" for frame in frames) + "2,8,11,20,30,60,1,1,1\n"
    sequence(tmp_path / "park", rows, frames=20)
    found, dropped = look(tmp_path, BoxChoice(every=4))
    assert [image.frame for image in found.images if image.record.pid == "park-7"] == [1, 5, 9, 20]
    assert [image.frame for image in found.images if image.record.pid == "park-8"] == [2]
    assert dropped == {"boxes less than 4 frames after the previous one of their track": 4}
    assert len(look(tmp_path, BoxChoice(every=1))[0].images) == 8


def test_a_box_of_two_tracks_is_one_image(tmp_path: Path) -> None:
    sequence(tmp_path / "park", "1,7,10,20,30,60,1\n1,9,10,20,30,60,1\n2,9,10,20,30,60,1\n")
    found, dropped = look(tmp_path)
    assert [(image.record.pid, image.frame) for image in found.images] == [("park-7", 1), ("park-9", 2)]
    assert dropped == {"boxes that another track also has": 1}


def test_each_sequence_is_one_camera_with_its_own_identities(tmp_path: Path) -> None:
    sequence(tmp_path / "b", "1,7,10,20,30,60,1,1,1\n")
    sequence(tmp_path / "a", "1,7,11,20,30,60,1,1,1\n")
    sequence(tmp_path / "a-again", "1,7,11,20,30,60,1,1,1\n")
    (tmp_path / "test/img1").mkdir(parents=True)
    (tmp_path / "test/img1/1.jpg").touch()
    found, dropped = look(tmp_path)
    assert [(image.record.pid, image.record.camid) for image in found.images] == [("a-7", 0), ("b-7", 1)]
    assert found.cameras == {0: "a", 1: "b"}
    assert dropped == {"sequences with the gt.txt of another": 1, "folders without gt/gt.txt": 1}


def test_seqinfo_names_folder_ending_and_rate(tmp_path: Path) -> None:
    info = INFO.replace("img1", "rgb/left").replace(".jpg", ".png").replace("25", "12.5")
    folder = sequence(tmp_path / "park", "2,7,10,20,30,60,1,1,1\n", info=info, inner="rgb/left", suffix=".png")
    Image.new("RGB", (5, 5)).save(folder / "rgb/left/000002.jpg")
    (image,) = look(tmp_path)[0].images
    assert (image.record.path, image.record.timestamp) == (folder / "rgb/left/000002.png", 0.16)


def test_without_seqinfo_there_are_no_times_and_frame_numbers_have_any_width(tmp_path: Path) -> None:
    folder = sequence(tmp_path / "park", "2,7,10,20,30,60,1,1,1\n", suffix=".png")
    (folder / "img1/000002.png").rename(folder / "img1/00000002.png")
    (image,) = look(tmp_path)[0].images
    assert (image.record.path.name, image.record.timestamp) == ("00000002.png", None)


@pytest.mark.parametrize(
    ("rows", "info", "words"),
    [
        ("1,7,10,20,30,60\n", "", "gt.txt, row 1: 6 cells; expected 7 to 10: frame,id,left"),
        ("1,7,10,20,30,60,1,1,1\n1;7;10\n", "", "gt.txt, row 2: 1 cells"),
        ("frame,id,left,top,w,h,conf\n", "", "gt.txt, row 1: 'frame,id,left,top,w,h,conf'; expected numbers"),
        ("1.5,7,10,20,30,60,1\n", "", "gt.txt, row 1: .*whole for frame and id"),
        ("1,7,10,20,30,nan,1\n", "", "gt.txt, row 1: .*expected numbers"),
        ("1,7,10,20,30,60,1\n", "imWidth=64\n", "seqinfo.ini: is not as in MOTChallenge: .*no section headers"),
        ("1,7,10,20,30,60,1\n", "[Other]\n", r"seqinfo.ini: is not as in MOTChallenge: .*\[Sequence\]"),
        (
            "1,7,10,20,30,60,1\n",
            INFO.replace("25", "fast"),
            "seqinfo.ini, framerate: 'fast'; expected a number above 0",
        ),
        ("1,7,10,20,30,60,1\n", INFO.replace("64", "0"), "seqinfo.ini, imwidth: '0'"),
        ("1,7,10,20,30,60,1\n", INFO.replace("64", "128"), "128 x 96, but .*000001.jpg is 64 x 96 pixels"),
        ("1,7,10,20,30,60,1\n", INFO.replace("img1", "../../x"), "contains no frames of park"),
        (
            "1,7,10,20,30,60,1\n",
            INFO.replace(".jpg", ".png"),
            "no frames of park; expected .* such as 000001.png",
        ),
    ],
)
def test_a_malformed_file_is_named(tmp_path: Path, rows: str, info: str, words: str) -> None:
    sequence(tmp_path / "park", rows, info=info)
    with pytest.raises(JointreidError, match=words) as caught:
        look(tmp_path)
    assert str(tmp_path / "park") in str(caught.value)


def test_links_out_of_the_folder_are_not_read(tmp_path: Path) -> None:
    outside = sequence(tmp_path / "outside", "1,7,10,20,30,60,1,1,1\n")
    root = tmp_path / "src"
    folder = sequence(root / "park", "1,7,10,20,30,60,1,1,1\n")
    (root / "linked").symlink_to(outside)
    found, dropped = look(root)
    assert [image.record.pid for image in found.images] == ["park-7"]
    assert dropped == {"links that lead out of the folder, not followed": 1}
    (folder / "gt/gt.txt").unlink()
    (folder / "gt/gt.txt").symlink_to(outside / "gt/gt.txt")
    with pytest.raises(JointreidError, match=r"gt\.txt: is a link that leads out of"):
        look(root)
    frames = sequence(tmp_path / "again/park", "1,7,10,20,30,60,1,1,1\n", inner="frames") / "img1"
    frames.symlink_to(outside / "img1")
    with pytest.raises(JointreidError, match=r"img1 \(a link, which is not followed\): contains no frames"):
        look(tmp_path / "again")


def test_frames_without_tracks_are_refused(tmp_path: Path) -> None:
    sequence(tmp_path / "train/park", "1,7,10,20,30,60,1,1,1\n")
    with pytest.raises(JointreidError, match=r"no folder here has a gt/gt.txt; if train contains sequences, give that"):
        look(tmp_path)
    (tmp_path / "train/park/gt/gt.txt").unlink()
    with pytest.raises(JointreidError, match=r"no folder here has a gt/gt.txt\. Expected one folder per sequence"):
        look(tmp_path / "train")


def test_images_beside_sequences_are_left_out_only_if_the_layout_is_given(tmp_path: Path) -> None:
    sequence(tmp_path / "park", "1,7,10,20,30,60,1,1,1\n")
    (tmp_path / "cover.jpg").touch()
    with pytest.raises(JointreidError, match=r"1 images \(cover.jpg\) lie beside sequences \(park\)"):
        look(tmp_path)
    omissions = Omissions()
    assert len(read_layout(tmp_path, "mot", "auto", BoxChoice(), omissions).images) == 1
    assert [str(dropped) for dropped in omissions.listed()] == ["1 images outside the sequences (cover.jpg)"]
    with pytest.raises(JointreidError, match="--camera name is for folders of images"):
        read_layout(tmp_path, "mot", "name", BoxChoice(), Omissions())


def test_by_default_boxes_are_ten_frames_apart(tmp_path: Path) -> None:
    sequence(tmp_path / "park", "".join(f"{frame},7,10,20,30,60,1\n" for frame in range(1, 31)), frames=30)
    images = list_images(tmp_path, Omissions())
    assert [image.frame for image in read_mot(tmp_path, images, BoxChoice(), Omissions()).images] == [1, 11, 21]


# Classes


def classes(root: Path, kinds: list[int], choice: str = "") -> tuple[list[str], tuple[str, ...]]:
    """Return the identities that are taken from boxes of some classes, and the notes."""
    sequence(root / "park", "".join(f"1,{10 + n},{n},20,30,60,1,{kind},1\n" for n, kind in enumerate(kinds)))
    found, _ = look(root, BoxChoice(every=1, classes=choice))
    return [image.record.pid for image in found.images], found.notes


@pytest.mark.parametrize(
    ("kinds", "choice", "taken"),
    [
        ([1, 7, 8, -1], "", [0, 3]),
        ([1, 7, 8], "7", [1]),
        ([1, 7, 8], "static person", [1]),
        ([1, 7, 8], "Static_Person, 1", [0, 1]),
        ([1, 2, 20], "20", [2]),
        # Counted from 0.
        ([0, 0, 6], "", [0, 1]),
        ([0, 2, 6], "static-person", [2]),
        ([0, 2], "0", [0]),
        ([0, 1, 1], "1", [1, 2]),
    ],
)
def test_classes_are_chosen_by_number_or_name(tmp_path: Path, kinds: list[int], choice: str, taken: list[int]) -> None:
    assert classes(tmp_path, kinds, choice)[0] == [f"park-{10 + number}" for number in taken]


def test_classes_counted_from_0_are_told_and_so_are_the_others(tmp_path: Path) -> None:
    _, notes = classes(tmp_path, [0, 0, 6])
    assert notes == (
        "class 0 occurs and class 1 does not, so classes are counted from 0: pedestrians are class 0",
        "classes of the boxes: pedestrian (0): 2 boxes, static person (6): 1 boxes; choose others with --class",
    )


@pytest.mark.parametrize(
    ("kinds", "choice", "words"),
    [
        ([0, 1], "", r"class 0 \(1\) and class 1 \(1\), so pedestrians are 1 as in MOTChallenge or 0 .* --class 0"),
        ([0, 1], "pedestrian", "say which number"),
        ([1, 2], "3", r"--class 3: no box has class 3; there are pedestrian \(1\): 1 boxes, person on vehicle \(2\)"),
        ([1], "pedestrain", "there is no class pedestrain; did you mean pedestrian"),
    ],
)
def test_a_class_that_is_not_clear_or_not_there_is_refused(
    tmp_path: Path, kinds: list[int], choice: str, words: str
) -> None:
    with pytest.raises(JointreidError, match=words):
        classes(tmp_path, kinds, choice)
