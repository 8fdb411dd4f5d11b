"""The API, asked without a network: searches, filters, additions, erasures, and what it says of itself."""

import asyncio
import base64
import io
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.serve.small_service import PEOPLE, Client, encoded, png

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(shop: Path) -> Client:
    return Client(shop, threshold=0.99, rate=0)


def test_an_image_of_the_gallery_finds_its_person(client: Client) -> None:
    answer = client.post("/api/search", {"image": client.image(6), "top": 3})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert (found["width"], found["height"], found["total"]) == (23, 37, 2 * PEOPLE)
    (one,) = found["answers"]
    assert (one["searched"], one["searched_people"]) == (2 * PEOPLE, PEOPLE)
    assert one["exact"]
    assert len(one["people"]) == 3
    person = one["people"][0]
    assert (person["pid"], person["name"], person["domain"], person["verdict"]) == ("p3", "Person p3", "shop", "same")
    assert person["similarity"] == pytest.approx(1, abs=1e-4)
    image = person["images"][0]
    assert (image["camera"], image["time"]) == ("0", "2026-03-07T10:00:00+00:00")
    small = Image.open(io.BytesIO(base64.b64decode(image["thumbnail"])))
    assert (small.format, small.height) == ("JPEG", 32)
    assert one["seen"]["domain"] in ("d", "e")
    assert 0.5 <= one["seen"]["domain_probability"] <= 1
    assert one["seen"]["camera"].partition(":")[0] in ("d", "e")


def test_boxes_of_a_scene_are_answered_one_by_one(client: Client) -> None:
    scene = Image.new("RGB", (200, 100), "grey")
    for index, left in ((2, 10), (8, 120)):
        scene.paste(Image.open(io.BytesIO(base64.b64decode(client.image(index)))), (left, 30))
    boxes = [[10, 30, 23, 37], [120, 30, 23, 37], [190.4, -20, 50, 500]]
    answer = client.post("/api/search", {"image": encoded(scene), "boxes": boxes, "top": 1}).json()
    assert [one["people"][0]["pid"] for one in answer["answers"]][:2] == ["p1", "p4"]
    assert [one["box"] for one in answer["answers"]] == [[10, 30, 23, 37], [120, 30, 23, 37], [190, 0, 10, 100]]


def test_a_photograph_is_turned_before_its_box_is_cut(client: Client) -> None:
    upright = Image.open(io.BytesIO(base64.b64decode(client.image(4)))).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(upright.transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif)
    answer = client.post("/api/search", {"image": turned, "boxes": [[0, 0, 23, 37]]}).json()
    assert (answer["width"], answer["height"]) == (23, 37)
    assert answer["answers"][0]["people"][0]["similarity"] == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize(
    ("filters", "count", "people"),
    [
        ({"camera": ["0"]}, 4, 4),
        ({"camera": ["0", "5"], "domain": ["shop"]}, 8, 6),
        ({"domain": ["elsewhere"]}, 0, 0),
        ({"since": "2026-03-03", "until": "2026-03-05"}, 2, 1),
        ({"pid": ["p1"]}, 2, 1),
        ({"where": "camera = 5 or pid = p0"}, 5, 4),
    ],
)
def test_filters_apply_before_the_search(client: Client, filters: dict[str, object], count: int, people: int) -> None:
    (answer,) = client.post("/api/search", {"image": client.image(0), **filters}).json()["answers"]
    assert (answer["searched"], answer["searched_people"]) == (count, people)
    assert bool(answer["people"]) == bool(count)
    assert answer["nobody"] == (not count) or count == 2 or answer["people"][0]["verdict"] in ("same", "different")


def test_nobody_is_an_answer(client: Client) -> None:
    (answer,) = client.post("/api/search", {"image": client.image(0), "pid": ["p5"]}).json()["answers"]
    assert [person["verdict"] for person in answer["people"]] == ["different"]
    assert answer["nobody"]
    assert (answer["same_from"], answer["different_below"]) == (0.99, 0.99)


def test_without_a_threshold_there_is_no_verdict(shop: Path) -> None:
    (answer,) = Client(shop).post("/api/search", {"image": png(20, 40)}).json()["answers"]
    assert {person["verdict"] for person in answer["people"]} == {None}
    assert not answer["nobody"]
    assert answer["note"].startswith("no threshold is known")


def test_add_then_find_then_erase(shop: Path, tmp_path: Path) -> None:
    """In a gallery that the first addition makes; afterwards no byte of the person is left in it."""
    client = Client(shop, tmp_path / "new", threshold=0.9)
    assert client.get("/api/info").json()["images"] == 0
    assert "gallery is empty" in client.post("/api/search", {"image": png(20, 40)}).json()["detail"]
    facts = {"name": "Anna Unmistakable", "camera": "7", "domain": "shop", "time": "2026-05-01T08:00", "consent": "f-1"}
    asked = {"image": png(40, 80), "box": [5, 5, 20, 60], "pid": "anna", "thumbnail": True, **facts}
    added = client.post("/api/add", asked).json()
    assert added["added"]
    assert client.post("/api/add", asked).json() == {**added, "added": False}
    assert client.post("/api/add", {"image": png(40, 80, 1), "pid": "ben"}).json()["added"]
    found = client.post("/api/search", {"image": asked["image"], "boxes": [asked["box"]]}).json()["answers"][0]
    person = found["people"][0]
    assert (person["pid"], person["name"], person["verdict"]) == ("anna", "Anna Unmistakable", "same")
    assert person["images"][0]["key"] == added["key"]
    assert person["images"][0]["thumbnail"]
    small = base64.b64decode(person["images"][0]["thumbnail"])
    assert in_files(tmp_path / "new", b"Anna Unmistakable")
    assert in_files(tmp_path / "new", small)
    who = {"pid": "anna", "domain": "shop"}
    assert client.post("/api/erase", {"pid": "anna"}).json()["images"] == 0  # that of no domain is another person
    dry = client.post("/api/erase", {**who, "dry_run": True}).json()
    assert (dry["images"], dry["people"], dry["erased"]) == (1, ["anna"], False)
    erased = client.post("/api/erase", who).json()
    assert (erased["images"], erased["people"], erased["erased"]) == (1, ["anna"], True)
    assert not in_files(tmp_path / "new", b"Anna Unmistakable")
    assert not in_files(tmp_path / "new", small)
    left = client.post("/api/search", {"image": asked["image"]}).json()["answers"][0]["people"]
    assert [one["pid"] for one in left] == ["ben"]
    assert client.post("/api/erase", {"keys": [left[0]["images"][0]["key"]]}).json()["people"] == ["ben"]


def test_a_wide_image_gets_a_small_thumbnail(shop: Path, tmp_path: Path) -> None:
    """A few kilobytes of PNG: scaled to the height of others, it would be a million pixels wide."""
    client, image = Client(shop, tmp_path / "new"), encoded(Image.new("RGB", (100_000, 10)))
    assert client.post("/api/add", {"image": image, "pid": "wide", "thumbnail": True}).json()["added"]
    (answer,) = client.post("/api/search", {"image": image}).json()["answers"]
    small = base64.b64decode(answer["people"][0]["images"][0]["thumbnail"])
    assert Image.open(io.BytesIO(small)).size == (512, 1)


def test_an_image_added_just_before_an_erasure_is_erased_too(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An erasure that is answered with `erased` has to reach what others added until it held the lock of writers."""
    client, other = Client(shop, tmp_path / "new"), Client(shop, tmp_path / "new")
    assert client.post("/api/add", {"image": png(40, 80), "pid": "anna"}).json()["added"]
    store = client.service.gallery._store
    writing: Callable[[], AbstractContextManager[None]] = store.writing

    def write_later() -> AbstractContextManager[None]:
        assert other.post("/api/add", {"image": png(40, 80, 1), "pid": "anna"}).json()["added"]
        return writing()

    monkeypatch.setattr(store, "writing", write_later)
    erased = client.post("/api/erase", {"pid": "anna"}).json()
    assert (erased["images"], erased["erased"]) == (2, True)
    assert client.get("/api/info").json()["images"] == 0


def in_files(folder: Path, content: bytes) -> bool:
    found = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert found
    return any(content in one for one in found)


def test_info_counts_what_is_there(client: Client) -> None:
    info = client.get("/api/info").json()
    assert (info["images"], info["people"], info["expired"]) == (12, 6, 0)
    assert info["cameras"] == [{"domain": "shop", "camera": name, "images": 4} for name in ("0", "10", "5")]
    assert info["limits"]["bytes"] == 20_000_000


def test_the_schema_names_every_operation(shop: Path) -> None:
    found = Client(shop).get("/api/openapi.json").json()
    assert {(path, *of) for path, of in found["paths"].items()} == {
        ("/api/info", "get"),
        ("/api/search", "post"),
        ("/api/add", "post"),
        ("/api/erase", "post"),
    }
    assert {"401", "413", "429", "503"} <= found["paths"]["/api/search"]["post"]["responses"].keys()
    assert "http" not in json.dumps(found["paths"])
    secured = Client(shop, token="0123456789abcdef")
    bearer = {"Authorization": "Bearer 0123456789abcdef"}
    assert secured.get("/api/openapi.json", bearer).json()["components"]["securitySchemes"]


@pytest.mark.parametrize(
    ("asked", "status", "message"),
    [
        ({}, 422, "image: Field required"),
        ({"image": "%%%"}, 400, "the image is no base64"),
        ({"image": base64.b64encode(b"GIF89a").decode()}, 400, "the image:"),
        ({"image": base64.b64encode(b"no image at all").decode()}, 400, "not an image of format JPEG"),
        ({"image": "", "top": 0}, 422, "top: Input should be greater than or equal to 1"),
        ({"image": "", "boxes": [[1, 2, 3]]}, 422, "boxes.0:"),
        ({"image": "", "colour": "red"}, 422, "colour: Extra inputs are not permitted"),
        ({"image": png(9, 9), "boxes": [[20, 0, 5, 5]]}, 400, "shows no pixel of the image of 9 x 9 pixels"),
        ({"image": png(9, 9), "boxes": [[0, 0, 5, 5]] * 33}, 400, "33 boxes; expected at most 32"),
        ({"image": png(9, 9), "since": "yesterday"}, 400, "'yesterday' is no time"),
        ({"image": png(9, 9), "where": "camera >"}, 400, "expected a value"),
        ({"image": png(9, 9), "where": "pid = 3 or (path = '/a')"}, 400, "not for clients"),
        ({"image": png(9, 9), "where": "(" * 1500}, 400, "more than 20 parentheses in each other"),
        ({"image": png(9, 9), "where": "pid = \ud800"}, 422, "where: Input should be a valid string"),
        ({"image": png(9, 9), "since": "0001-01-01T00:00+23:59"}, 400, "is no time"),
        ({"image": png(9, 9), "boxes": [[1.7e308, 0, 1.7e308, 1]]}, 400, "shows no pixel"),
        ({"image": png(9, 9), "boxes": [[10**4000, 0, 1, 1]]}, 422, "boxes.0.0:"),
        ({"image": png(9, 9), "\ud800": 1}, 422, "the request: Input should be a valid string"),
    ],
)
def test_a_mistake_is_answered_with_its_cause(
    client: Client, asked: dict[str, object], status: int, message: str
) -> None:
    answer = client.post("/api/search", asked)
    assert (answer.status_code, message in answer.json()["detail"]) == (status, True), answer.text


def test_other_mistakes(client: Client) -> None:
    assert client.post("/api/erase", {}).status_code == 400
    assert client.post("/api/erase", {"pid": "p0", "keys": ["0" * 32]}).status_code == 400
    assert client.post("/api/add", {"image": png(9, 9), "pid": "x", "time": "soon"}).status_code == 400
    assert client.post("/api/add", {"image": png(9, 9), "pid": ""}).status_code == 422
    far = {"image": png(9, 9), "pid": "x", "time": "0001-01-01T00:00+23:59"}
    assert client.post("/api/add", far).status_code == 400
    nested = client.ask(lambda asking: asking.post("/api/search", content="[" * 100_000))
    assert nested.status_code in (400, 422)
    assert client.get("/nothing").status_code == 404


def test_nobody_changes_a_gallery_that_is_read_only(shop: Path) -> None:
    client = Client(shop, read_only=True)
    for path, asked in (("/api/add", {"image": png(9, 9), "pid": "x"}), ("/api/erase", {"pid": "p0"})):
        answer = client.post(path, asked)
        assert (answer.status_code, answer.json()["detail"]) == (403, "the server is read-only")
    assert client.get("/api/info").json()["read_only"]


def test_no_answer_has_a_path_of_the_server(client: Client, shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [client.get(path).text for path in ("/", "/page.js", "/api/info", "/api/openapi.json")]
    texts.append(client.post("/api/search", {"image": client.image(0), "images": 9}).text)
    texts.append(client.post("/api/erase", {"pid": "p1", "domain": "shop", "dry_run": True}).text)
    monkeypatch.setattr(client.service.gallery, "_store", None)
    broken = client.post("/api/search", {"image": client.image(0)})
    assert broken.status_code == 500
    texts.append(broken.text)
    assert len(texts) == 7
    for text in texts:
        assert str(shop) not in text
        assert "/tmp" not in text
        assert ".png" not in text.replace('accept="', "")


def test_twenty_clients_at_once_are_all_answered_by_one_thread(client: Client) -> None:
    async def crowd(asking: httpx.AsyncClient) -> list[httpx.Response]:
        asked = [{"image": client.image(index % 12), "top": 1} for index in range(20)]
        return await asyncio.gather(*(asking.post("/api/search", json=one) for one in asked))

    answers = client.ask(crowd)
    assert [answer.status_code for answer in answers] == [200] * 20
    found = [answer.json()["answers"][0]["people"][0]["pid"] for answer in answers]
    assert found == [f"p{index % 12 // 2}" for index in range(20)]


def test_a_full_queue_refuses_and_says_when_to_try_again(shop: Path) -> None:
    small = Client(shop, max_queue=2)

    async def crowd(asking: httpx.AsyncClient) -> list[httpx.Response]:
        return await asyncio.gather(*(asking.post("/api/search", json={"image": small.image(0)}) for _ in range(6)))

    answers = small.ask(crowd)
    assert sorted(answer.status_code for answer in answers) == [200, 200, 503, 503, 503, 503]
    assert {answer.headers["retry-after"] for answer in answers if answer.status_code == 503} == {"2"}


def test_features_are_those_of_the_embedder(client: Client) -> None:
    described = client.service.describe(client.image(5), [])
    expected = client.service.embedder(str(client.folder / "images" / "05.png"))
    np.testing.assert_array_equal(described.features, expected)
