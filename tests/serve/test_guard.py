"""Who is let through: hosts, origins, tokens, rates, sizes; the headers of every answer; and nothing on the disk."""

import asyncio
import base64
import sys
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from jointreid.messages.errors import JointreidError
from jointreid.serve.app import PAGE
from jointreid.serve.guard import HEADERS, _is_token
from jointreid.serve.limits import MemoryFull, RateLimit, RequestMemory
from jointreid.serve.server import listen, url_of
from jointreid.serve.settings import ServeSettings, chosen_token, is_loopback
from tests.serve.small_service import URL, Client, encoded, png

TOKEN = "a-long-enough-token"
WRITING = ("w", "a", "x", "+")


@pytest.fixture(scope="module")
def client(shop: Path) -> Client:
    return Client(shop, rate=0)


@pytest.mark.slow
@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "127.0.0.1:8000", "LOCALHOST"])
def test_own_names_are_let_through(client: Client, host: str) -> None:
    assert client.get("/api/info", {"Host": host}).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8000", "", "[::1", "[::1]"])
def test_a_name_that_is_not_ours_is_refused(client: Client, host: str) -> None:
    """DNS rebinding: the browser believes that evil.example is this machine, and sends its name."""
    for path in ("/", "/api/info"):
        assert client.get(path, {"Host": host}).status_code == 421


@pytest.mark.slow
def test_a_further_name_is_let_through_when_it_was_allowed(shop: Path) -> None:
    named = Client(shop, hosts=("Gallery.example",))
    assert named.get("/api/info", {"Host": "gallery.example"}).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": URL}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:9000"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[x"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "none"}, 200),
    ],
)
def test_pages_of_other_sites_are_refused(client: Client, headers: dict[str, str], status: int) -> None:
    answer = client.get("/api/info", headers)
    assert answer.status_code == status
    assert not [name for name in answer.headers if name.startswith("access-control")]
    asked = {"pid": "p0", "dry_run": True}
    assert client.post("/api/erase", asked, headers).status_code == status


@pytest.mark.slow
def test_a_request_that_needs_no_permission_of_other_sites_is_refused(client: Client) -> None:
    """A form of another site can send text, but no JSON."""
    answer = client.ask(
        lambda asking: asking.post(
            "/api/erase", content='{"pid": "p0", "dry_run": true}', headers={"Content-Type": "text/plain"}
        )
    )
    assert answer.status_code == 422


@pytest.mark.slow
def test_the_api_wants_the_token_and_the_page_asks_for_it(shop: Path) -> None:
    secured = Client(shop, token=TOKEN)
    right = {"Authorization": f"Bearer {TOKEN}"}
    for path in PAGE:
        assert secured.get(path).status_code == 200
    assert secured.get("/api/info", right).status_code == 200
    for wrong in ("", TOKEN, f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}"):
        answer = secured.get("/api/info", {"Authorization": wrong})
        assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert TOKEN not in answer.text
    assert not _is_token("Bearer \xe9", TOKEN)


@pytest.mark.parametrize("token", ["short", "with a space in it", "not-ascii-\xe9\xe9\xe9\xe9\xe9\xe9\xe9"])
def test_a_weak_token_is_refused(token: str) -> None:
    with pytest.raises(JointreidError, match="expected 16 or more, of ASCII"):
        ServeSettings(token=token)


def test_a_token_is_made_on_request() -> None:
    assert len(chosen_token("auto")) >= 32
    assert chosen_token("auto") != chosen_token("auto")
    assert chosen_token(TOKEN) == TOKEN


def test_other_machines_reach_it_only_with_a_token() -> None:
    for host in ("0.0.0.0", "::"):
        with pytest.raises(JointreidError, match=r"reached from other machines.*--token auto"):
            listen(host, 0, "")
    with listen("127.0.0.1", 0, "") as listening:
        url = url_of(listening)
        assert url.startswith("http://127.0.0.1:")
        with pytest.raises(JointreidError, match=r"cannot listen there.*name another --port"):
            listen("127.0.0.1", int(url.rstrip("/").rpartition(":")[2]), "")
    with listen("0.0.0.0", 0, TOKEN) as listening:
        assert url_of(listening)
    with pytest.raises(JointreidError, match="no such address"):
        listen("no.such.name.invalid", 0, TOKEN)
    assert is_loopback("127.3.2.1")
    assert is_loopback("::1")
    assert not is_loopback("10.0.0.1")


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_bytes", 0), ("max_pixels", 0), ("max_boxes", 0), ("max_queue", 0), ("max_connections", 0), ("rate", -1)],
)
def test_limits_out_of_range_are_refused(name: str, value: int) -> None:
    with pytest.raises(JointreidError, match=f"--{name.replace('_', '-')} is {value}; expected"):
        ServeSettings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.slow
def test_every_answer_has_the_headers_that_protect_it(client: Client) -> None:
    answers = [client.get(path) for path in (*PAGE, "/api/info", "/nothing", "/../secret")]
    answers += [client.get("/", {"Host": "evil.example"}), client.post("/api/search", {})]
    assert len(answers) == len(PAGE) + 5
    for answer in answers:
        for name, value in HEADERS.items():
            assert answer.headers.get_list(name) == [value], (answer.url, name)
    assert "unsafe" not in HEADERS["content-security-policy"]
    assert "frame-ancestors 'none'" in HEADERS["content-security-policy"]


@pytest.mark.slow
def test_one_address_may_not_ask_too_often(shop: Path) -> None:
    slow = Client(shop, rate=3)
    assert [slow.get("/api/info").status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    assert int(slow.get("/").headers["retry-after"]) in range(1, 21)
    assert slow.ask(lambda asking: asking.get("/api/info"), "10.1.1.1").status_code == 200


def test_a_bucket_fills_again() -> None:
    now = [0.0]
    limit = RateLimit(2, lambda: now[0])
    assert [limit.wait("a") for _ in range(3)] == [0, 0, 30]
    now[0] = 15
    assert limit.wait("a") == 15
    now[0] = 30
    assert [limit.wait("a"), limit.wait("a")] == [0, 30]
    assert limit.wait("b") == 0
    for index in range(10_100):
        limit.wait(str(index))
    assert len(limit._left) == 10_000
    assert [limit.wait(f"2001:db8::{index}") for index in range(3)] == [0, 0, 30]


def test_memory_of_all_requests_is_bounded() -> None:
    memory = RequestMemory(10)
    with memory.request() as first, memory.request() as second:
        first(6)
        with pytest.raises(MemoryFull):
            second(5)
        second(4)
    assert memory.used == 0


@pytest.mark.slow
def test_too_many_bytes_are_refused_before_they_are_all_here(shop: Path) -> None:
    small = Client(shop, max_bytes=1000)
    message = "the image has more than 1,000 bytes; send a smaller one"
    answer = small.post("/api/search", {"image": "A" * 80_000})
    assert (answer.status_code, answer.json()["detail"]) == (413, message)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 1
            yield b"A" * 10_000

    async def ask(asking: httpx.AsyncClient) -> httpx.Response:
        return await asking.post("/api/search", content=endless(), headers={"Content-Type": "application/json"})

    assert small.ask(ask).status_code == 413
    assert sent < 10
    answer = small.post("/api/search", {"image": png(60, 60)})
    assert (answer.status_code, "expected at most 1,000" in answer.text) == (400, True)


@pytest.mark.slow
def test_a_slow_sender_is_given_up(shop: Path) -> None:
    impatient = Client(shop, body_seconds=0.05)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(20)

    async def ask(asking: httpx.AsyncClient) -> httpx.Response:
        return await asking.post("/api/search", content=slow(), headers={"Content-Type": "application/json"})

    assert impatient.ask(ask).status_code == 408


@pytest.mark.slow
@pytest.mark.parametrize("form", ["PNG", "GIF", "WEBP", "JPEG", "TIFF", "BMP", "PPM"])
def test_an_image_of_too_many_pixels_is_not_decoded(shop: Path, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr("jointreid.data.decode._upright", fail)
    answer = Client(shop, max_pixels=10_000).post("/api/search", {"image": encoded(Image.new("RGB", (101, 100)), form)})
    assert answer.status_code == 400
    assert answer.json()["detail"] == "the image: 101 x 100 pixels; expected at most 10,000; shrink it"


@pytest.mark.slow
@pytest.mark.parametrize("side", [5_001, 60_000])
def test_a_small_file_that_claims_many_pixels_is_refused(client: Client, side: int) -> None:
    whole = base64.b64decode(encoded(Image.new("RGB", (8, 8))))
    header = whole[12:16] + side.to_bytes(4, "big") * 2 + whole[24:29]
    bomb = whole[:12] + header + zlib.crc32(header).to_bytes(4, "big") + whole[33:]
    answer = client.post("/api/search", {"image": base64.b64encode(bomb).decode()})
    assert answer.status_code == 400
    assert "pixels; expected at most 25,000,000" in answer.json()["detail"]


_OPENED: list[str] = []
_WATCHING = [False]


def _note_opened(event: str, arguments: tuple[Any, ...]) -> None:
    if _WATCHING[0] and event == "open":
        path, mode, flags = arguments
        if (isinstance(mode, str) and any(letter in mode for letter in WRITING)) or (mode is None and flags & 3):
            _OPENED.append(str(path))
    elif _WATCHING[0] and event in ("os.mkdir", "os.rename", "tempfile.mkstemp", "tempfile.mkdtemp"):
        _OPENED.append(str(arguments[0]))


@contextmanager
def opened_for_writing() -> Iterator[list[str]]:
    """Collect the files and folders that Python opens to write or makes."""
    if not _OPENED and not hasattr(sys, "_jointreid_watch"):
        sys._jointreid_watch = True  # type: ignore[attr-defined]  # a hook cannot be removed
        sys.addaudithook(_note_opened)
    _OPENED.clear()
    _WATCHING[0] = True
    try:
        yield _OPENED
    finally:
        _WATCHING[0] = False


@pytest.mark.slow
def test_what_is_sent_never_touches_the_disk(shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search with an image of several MB: the temporary folder stays empty, and nothing is opened for writing."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client = Client(shop)
    client.post("/api/search", {"image": client.image(0)})  # the mirror is open
    large = png(1500, 1000)
    assert len(large) > 5_000_000
    before = {path: path.stat().st_mtime_ns for path in shop.rglob("*")}
    with opened_for_writing() as opened:
        assert client.post("/api/search", {"image": large, "boxes": [[0, 0, 500, 900]]}).status_code == 200
    assert opened == []
    with opened_for_writing() as opened, tempfile.TemporaryFile() as file:
        file.write(b"x")
    assert opened  # the hook sees what such a file would do
    assert list(tmp_path.iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in shop.rglob("*")} == before
