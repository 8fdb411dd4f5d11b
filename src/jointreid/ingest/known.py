"""Published layouts known by name: how each names its files, its cameras, its splits, its junk and its distractors."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from jointreid.ingest.known_lists import SplitLists, mars, regdb, sysu_mm01, vehicleid

Fields = Mapping[str, str]


class Label(NamedTuple):
    """The identity, camera and split of one image.

    Attributes:
        pid: the identity.
        camera: the camera's name.
        split: train, query or gallery; "test" to divide into query and gallery; "" to draw.
        side: query or gallery, which the image is if its identity is drawn for the test; "" for either.
        distractor: whether it shows none of the identities.
    """

    pid: str
    camera: str = ""
    split: str = ""
    side: str = ""
    distractor: bool = False


class KnownLayout(NamedTuple):
    """One published layout.

    Attributes:
        title: the data set as people call it.
        shape: its paths in words.
        path: the paths of its images, without what stands before its own folders and without the ending.
        label: returns the label of an image, or the reason for which it is left out (a plural).
        cameras: name -> camid, where they have names; otherwise the number in the name, less `first`.
        needs: folders that are there; each a regular expression.
        hint: what a folder's name contains if the layout is not certain by its files alone.
        lists: reads the lists that come with it, if any.
        exclude_same_camera: whether matches from the query's own camera are ignored.
        first: number of the first camera.
        notes: what a user has to know of it.
    """

    title: str
    shape: str
    path: str
    label: Callable[[Fields, SplitLists], Label | str]
    cameras: Mapping[str, int] = {}
    needs: tuple[str, ...] = ()
    hint: str = ""
    lists: Callable[[Path], SplitLists] | None = None
    exclude_same_camera: bool = True
    first: int = 1
    notes: tuple[str, ...] = ()


_THREE = {"train": "train", "query": "query", "gallery": "gallery", "test": "gallery"}


def _by_camera(query: str) -> Callable[[Fields, SplitLists], Label]:
    """Return a function that labels by pid and camera; in a drawn test the cameras of `query` are the queries."""

    def label(found: Fields, lists: SplitLists) -> Label:
        camera = found["camera"].lower()
        return Label(found["pid"], camera, side="query" if camera in query else "gallery")

    return label


def _by_folder(found: Fields, lists: SplitLists) -> Label | str:
    folder = found["split"].lower().removeprefix("image_").removeprefix("bounding_box_")
    if found["pid"] == "-1":
        return "junk images (pid -1)"
    return Label(found["pid"], found.get("camera", ""), _THREE[folder])


def _sysu_mm01(found: Fields, lists: SplitLists) -> Label | str:
    side = "query" if found["camera"] in "36" else "gallery"
    split = lists.splits.get(found["pid"], "" if not lists.splits else "none")
    if split == "none":
        return "images of people in none of the lists"
    return Label(found["pid"], found["camera"], side if split == "test" else split, side)


def _regdb(found: Fields, lists: SplitLists) -> Label | str:
    camera = found["camera"].lower()
    side = "query" if camera == "visible" else "gallery"
    if not lists.splits:
        return Label(found["pid"], camera, side=side)
    split = lists.splits.get(found["path"].lower())
    return Label(found["pid"], camera, split, side) if split else "images in none of the lists of trial 1"


def _vehicleid(found: Fields, lists: SplitLists) -> Label | str:
    image = found["image"]
    if image not in lists.splits:
        return "images in none of the lists that are read"
    return Label(lists.pids[image], split=lists.splits[image])


def _prid2011(found: Fields, lists: SplitLists) -> Label | str:
    camera, pid = found["camera"].lower(), found["pid"]
    side = "query" if camera == "a" else "gallery"
    if int(pid) <= 200:
        return Label(pid, camera, side=side)
    # From 201 on the two cameras count different people.
    if camera == "a":
        return "images of people that camera a alone has (from 201 on), which the protocol does not use"
    return Label(f"b-{pid}", camera, side=side, distractor=True)


def _mars(found: Fields, lists: SplitLists) -> Label | str:
    folder, pid = found["split"].lower(), found["pid"]
    if pid in ("00-1", "-1"):
        return "junk images (00-1)"
    if folder == "bbox_train":
        return Label(pid, found["camera"], "train")
    if pid == "0000":
        return Label(pid, found["camera"], "gallery", distractor=True)
    if not lists.splits:
        return Label(pid, found["camera"], "test")
    split = lists.splits.get(found["name"])
    return Label(pid, found["camera"], split) if split else "images of no track in tracks_test_info.mat"


def _cuhk01(found: Fields, lists: SplitLists) -> Label:
    first = found["number"] in ("001", "002")
    return Label(found["pid"], "a" if first else "b", side="query" if first else "gallery")


def _grid(found: Fields, lists: SplitLists) -> Label:
    distractor = int(found["pid"]) == 0
    side = "query" if found["folder"].lower() == "probe" else "gallery"
    return Label(found["pid"], found["camera"], side=side, distractor=distractor)


def _prcc(found: Fields, lists: SplitLists) -> Label | str:
    if found["part"] and found["part"].lower() == "val":
        return "images of rgb/val, further images of the people in train"
    if found["part"]:
        return Label(found["pid"], found["letter"].upper(), "train")
    camera = found["camera"].upper()
    return Label(found["tested"], camera, "gallery" if camera == "A" else "query")


def _randperson(found: Fields, lists: SplitLists) -> Label:
    scene, camera = found["scene"] or found["scene2"], found["camera"] or found["camera2"]
    return Label(found["pid"], f"s{scene}c{camera}")


def _plain(found: Fields, lists: SplitLists) -> Label:
    return Label(found["pid"], found["camera"])


_AB = {"a": 0, "b": 1}
_MARKET_SPLITS = r"(?P<split>bounding_box_train|query|bounding_box_test)"

KNOWN: Mapping[str, KnownLayout] = {
    "viper": KnownLayout(
        "VIPeR",
        "cam_CAMERA/PERSON_*",
        r"cam_(?P<camera>[ab])/(?P<pid>\d{3,4})_\d+",
        _by_camera("a"),
        _AB,
        needs=("cam_a", "cam_b"),
        notes=("of the people tested on, camera a is the query and camera b the gallery",),
    ),
    "sysu-mm01": KnownLayout(
        "SYSU-MM01",
        "camCAMERA/PERSON/IMAGE",
        r"cam(?P<camera>[1-6])/(?P<pid>\d{4})/\d{4}",
        _sysu_mm01,
        needs=("cam[1245]", "cam[36]"),
        hint="sysu",
        lists=sysu_mm01,
        notes=(
            "infrared cameras 3 and 6 are queries, cameras 1, 2, 4 and 5 the gallery; the protocol also ignores camera "
            "2 for queries of camera 3, which is not done here",
        ),
    ),
    "regdb": KnownLayout(
        "RegDB",
        "CAMERA/PERSON/IMAGE",
        r"(?P<path>(?P<camera>visible|thermal)/(?P<pid>\d+)/[^/]+)",
        _regdb,
        {"visible": 0, "thermal": 1},
        needs=("visible", "thermal"),
        lists=regdb,
    ),
    "veri-776": KnownLayout(
        "VeRi-776",
        "image_SPLIT/PERSON_cCAMERA_IMAGE",
        r"(?P<split>image_train|image_query|image_test)/(?P<pid>-1|\d+)_c(?P<camera>\d{3})_\d+_\d+",
        _by_folder,
        needs=("image_train", "image_query", "image_test"),
    ),
    "vehicleid": KnownLayout(
        "VehicleID",
        "image/IMAGE, with the vehicles in lists",
        r"image/(?P<image>\d+)",
        _vehicleid,
        needs=("image", "train_test_split"),
        lists=vehicleid,
        exclude_same_camera=False,
    ),
    "prid2011": KnownLayout(
        "PRID2011",
        "cam_CAMERA/person_PERSON",
        r"(?:(?:single_shot|(?P<multi>multi_shot))/)?cam_(?P<camera>[ab])/person_(?P<pid>\d{4})(?:/\d+)?",
        _prid2011,
        _AB,
        needs=("(?:single_shot/|multi_shot/)?cam_a", "(?:single_shot/|multi_shot/)?cam_b"),
        notes=("people 1 to 200 are seen by both cameras: queries by a, gallery by b with the others of b added",),
    ),
    "ilids-vid": KnownLayout(
        "iLIDS-VID",
        "camCAMERA/PERSON/IMAGE",
        r"(?:images|sequences)/cam(?P<camera>[12])/(?P<pid>person\d+)/[^/]+",
        _by_camera("1"),
        needs=("(?:images|sequences)/cam1", "(?:images|sequences)/cam2"),
        notes=("of the people tested on, camera 1 is the query and camera 2 the gallery",),
    ),
    "mars": KnownLayout(
        "MARS",
        "bbox_SPLIT/PERSON/PERSONcCAMERAtTRACKfIMAGE",
        r"(?P<split>bbox_train|bbox_test)/(?P<pid>\d{4}|00-1)/(?P<name>(?:\d{4}|00-1)C(?P<camera>\d)T\d+F\d+\.jpg)",
        _mars,
        needs=("bbox_train", "bbox_test"),
        lists=mars,
    ),
    "cuhk01": KnownLayout(
        "CUHK01",
        "PERSON and number",
        r"(?:campus/)?(?P<pid>\d{4})(?P<number>00[1-4])",
        _cuhk01,
        _AB,
        notes=("images 1 and 2 of a person are of camera a (queries), 3 and 4 of camera b (gallery)",),
    ),
    "grid": KnownLayout(
        "GRID",
        "probe or gallery/PERSON_CAMERA_IMAGE",
        r"(?P<folder>probe|gallery)/(?P<pid>\d{4})_(?P<camera>[1-8])_[\d_]+",
        _grid,
        needs=("probe", "gallery"),
        notes=("people are drawn; the ten partitions of features_and_partitions.mat are not read",),
    ),
    "3dpes": KnownLayout(
        "3DPeS",
        "PERSON_CAMERA_FRAME_IMAGE",
        r"(?:RGB/)?(?P<pid>\d+)_(?P<camera>\d+)_FRAME_\d+(?:_RGB)?",
        _plain,
        notes=("the view, the second number of a name, counts as camera: its images are frames of one sequence",),
    ),
    "ltcc": KnownLayout(
        "LTCC",
        "SPLIT/PERSON_CLOTHES_cCAMERA_IMAGE",
        r"(?P<split>train|query|test)/(?P<pid>\d{3})_\d+_c(?P<camera>\d+)_\d+",
        _by_folder,
        needs=("train", "query", "test"),
        notes=("the standard protocol: matches in the same clothes count; person 000 is a person",),
    ),
    "prcc": KnownLayout(
        "PRCC",
        "rgb/train/PERSON/CAMERA_IMAGE, rgb/test/CAMERA/PERSON/IMAGE",
        r"(?:rgb/)?(?:(?P<part>train|val)/(?P<pid>\d+)/(?P<letter>[ABC])_[^/]+|test/(?P<camera>[ABC])/(?P<tested>\d+)/[^/]+)",
        _prcc,
        {"A": 0, "B": 1, "C": 2},
        needs=("(?:rgb/)?train", "(?:rgb/)?test"),
        notes=("gallery is camera A; queries are B (same clothes) and C (other clothes)",),
    ),
    "celeb-reid": KnownLayout(
        "Celeb-reID",
        "SPLIT/PERSON_IMAGE_0",
        r"(?P<split>train|query|gallery)/(?P<pid>\d+)_\d+_0",
        _by_folder,
        needs=("train", "query", "gallery"),
        exclude_same_camera=False,
        notes=("the data set has no cameras",),
    ),
    "personx": KnownLayout(
        "PersonX",
        "SPLIT/PERSON_cCAMERA_IMAGE",
        _MARKET_SPLITS + r"/(?P<pid>-1|\d+)_c(?P<camera>\d+)(?:s\d+)?_[^/]+",
        _by_folder,
        needs=("bounding_box_train", "query", "bounding_box_test"),
        hint="personx",
    ),
    "randperson": KnownLayout(
        "RandPerson",
        "PERSON_sSCENE_cCAMERA_fIMAGE",
        r"(?P<pid>\d{6})_(?:s(?P<scene>\d\d)_c(?P<camera>\d\d)|c(?P<camera2>\d\d)_s(?P<scene2>\d\d))_f\d+",
        _randperson,
        notes=("cameras are counted anew in each scene: a camera is scene and camera; person 000000 is a person",),
    ),
}
