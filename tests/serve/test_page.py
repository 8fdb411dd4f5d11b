"""The page in Chromium, on a real server: image, boxes, verdicts, filters, additions, erasures, keyboard, token."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from PIL import Image

from jointreid.serve.server import listen, open_service, serving, url_of
from jointreid.serve.settings import ServeSettings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Route

pytestmark = [pytest.mark.slow, pytest.mark.browser]

TOKEN = "a-long-enough-token"


@contextmanager
def served(shop: Path, gallery: Path | None = None, **settings: Any) -> Iterator[str]:
    """Serve in a thread, and return the address."""
    limits = ServeSettings(rate=0, **settings)
    listening = listen("127.0.0.1", 0, limits.token)
    service = open_service(shop / "run", gallery or shop / "g", limits, device="cpu", threshold=0.9)
    server = serving(service)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield url_of(listening)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def url(shop: Path) -> Iterator[str]:
    with served(shop) as address:
        yield address


@pytest.fixture
def page(browser: "Browser", url: str) -> Iterator["Page"]:
    """The page, whose requests must all go to the server, and which must not complain."""
    with opened(browser, url) as page:
        page.locator("#gallery", has_text="12 images of 6 people").wait_for()
        yield page


@contextmanager
def opened(browser: "Browser", url: str) -> Iterator["Page"]:
    page = browser.new_page()
    page.set_default_timeout(20_000)
    asked: list[str] = []
    wrong: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text) if message.type == "error" else None)
    page.goto(url)
    yield page
    page.close()
    assert asked
    assert [one for one in asked if not one.startswith((url, "blob:", "data:"))] == []
    assert [one for one in wrong if not one.startswith("Failed to load resource")] == []  # that is a refusal


def scene(shop: Path, folder: Path) -> Path:
    """Write an image with two people of the gallery, 4 times as large as there."""
    whole = Image.new("RGB", (400, 200), "grey")
    for index, left in ((2, 40), (8, 240)):
        with Image.open(shop / "images" / f"{index:02}.png") as person:
            whole.paste(person.resize((92, 148), Image.Resampling.NEAREST), (left, 20))
    whole.save(folder / "scene.png")
    return folder / "scene.png"


def status(page: "Page", text: str) -> None:
    page.locator("#status", has_text=text).wait_for()


def test_an_image_gives_people_with_camera_time_score_and_verdict(page: "Page", shop: Path) -> None:
    page.set_input_files("#file", shop / "images" / "06.png")
    status(page, "23 × 37 pixels")
    page.get_by_role("button", name="Search", exact=True).click()
    status(page, "Nearest: Person p3 (p3), shop, same, score 1.000")
    first = page.locator("#people > li").first
    assert "same person" in first.inner_text()
    for words in ("Camera\n0", "Time\n2026-03-07 10:00 UTC", "Score\n1.000"):
        assert words in first.inner_text()
    assert first.locator("img").first.get_attribute("alt") == "Person p3 (p3), shop at camera 0, 2026-03-07 10:00 UTC"
    assert first.locator("img").first.evaluate("image => image.naturalHeight") == 32
    assert re.search(
        r"The network believes it sees domain [de] \(\d+\s%\) and camera [de]:\d+", page.inner_text("#facts")
    )
    assert page.locator("#people > li").count() == 6
    page.select_option("#camera", "5")
    page.fill("#until", "2026-03-05T00:00")
    page.get_by_role("button", name="Search", exact=True).click()
    page.locator("#facts", has_text="1 images searched, 1 person").wait_for()
    assert page.locator("#people > li").count() == 1
    text = page.content()
    assert str(shop) not in text
    assert "/tmp" not in text


def test_boxes_are_drawn_chosen_and_answered_one_by_one(page: "Page", shop: Path, tmp_path: Path) -> None:
    page.set_input_files("#file", scene(shop, tmp_path))
    status(page, "400 × 200 pixels")
    frame = page.locator("#picture").bounding_box()
    assert frame
    factor = frame["width"] / 400
    for left, top, right, bottom in ((40, 20, 132, 168), (332, 168, 240, 20)):
        page.mouse.move(frame["x"] + left * factor, frame["y"] + top * factor)
        page.mouse.down()
        page.mouse.move(frame["x"] + right * factor, frame["y"] + bottom * factor, steps=4)
        page.mouse.up()
    labels = [box.get_attribute("aria-label") or "" for box in page.locator(".box").all()]
    assert [re.findall(r"\d+", label)[0] for label in labels] == ["1", "2"]
    for label, left in zip(labels, (40, 240), strict=True):
        assert [int(n) for n in re.findall(r"\d+", label)[1:]] == pytest.approx([left, 20, 92, 148], abs=2)
    page.get_by_role("button", name="Search 2 boxes").click()
    status(page, "Done.")
    assert page.get_by_role("button", name="Box 2", exact=True).get_attribute("aria-pressed") == "true"
    assert "p4" in page.locator("#people h3").first.inner_text()
    page.locator(".box").first.click()
    status(page, "Box 1. Nearest: Person p1")
    assert "p1" in page.locator("#people h3").first.inner_text()
    page.get_by_role("button", name="Box 2", exact=True).click()
    assert "p4" in page.locator("#people h3").first.inner_text()


def test_answers_to_boxes_that_were_changed_during_the_search_are_left_out(
    page: "Page", shop: Path, tmp_path: Path
) -> None:
    page.set_input_files("#file", scene(shop, tmp_path))
    status(page, "400 × 200 pixels")
    page.locator("#add-box").click()
    page.locator("#add-box").click()
    waiting: list[Route] = []
    page.route("**/api/search", lambda route: waiting.append(route))
    page.get_by_role("button", name="Search 2 boxes").click()
    status(page, "Searching")
    assert page.locator("#file").is_disabled()
    page.locator("#remove-box").click()
    with page.expect_response("**/api/search"):
        waiting.pop().continue_()
    status(page, "The boxes were changed during the search, so its answers are left out: search again.")
    assert page.inner_text("#facts") == "None yet."
    assert page.locator("#people > li").count() == 0
    assert page.locator("#file").is_enabled()
    page.unroute("**/api/search")
    go = page.get_by_role("button", name="Search the box")
    go.press("Enter")
    status(page, "Done.")
    assert page.locator("#people > li").count() == 6
    assert go.evaluate("button => button === document.activeElement")


def test_boxes_by_keyboard_alone(page: "Page", shop: Path, tmp_path: Path) -> None:
    page.set_input_files("#file", scene(shop, tmp_path))
    status(page, "400 × 200 pixels")
    page.locator("#add-box").focus()
    page.keyboard.press("Enter")
    box = page.locator(".box").first
    assert box.evaluate("box => box === document.activeElement")
    assert box.get_attribute("aria-label") == "Box 1: left 150, top 50, 100 wide, 100 high"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+ArrowDown")
    assert box.get_attribute("aria-label") == "Box 1: left 146, top 50, 100 wide, 104 high"
    for name, value in (("Left", "40"), ("Top", "20"), ("Width", "92"), ("Height", "999")):
        page.get_by_label(name, exact=True).fill(value)
        page.keyboard.press("Tab")
    assert box.get_attribute("aria-label") == "Box 1: left 40, top 20, 92 wide, 180 high"
    box.focus()
    page.keyboard.press("Delete")
    assert page.locator(".box").count() == 0
    assert page.locator("#numbers").is_hidden()


def test_every_control_has_a_name_and_can_be_reached(page: "Page", shop: Path) -> None:
    page.set_input_files("#file", shop / "images" / "06.png")
    page.get_by_role("button", name="Search", exact=True).click()
    status(page, "Nearest")
    page.locator("summary").click()
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input, select, button, img, summary")]
          .filter((one) => !(one.labels?.length || one.ariaLabel || one.alt || one.textContent.trim()))
          .map((one) => one.outerHTML)"""
    )
    assert nameless == []
    assert page.evaluate("[...document.querySelectorAll('[tabindex]')].every((one) => one.tabIndex <= 0)")
    page.evaluate("document.activeElement.blur()")
    page.evaluate("window.scrollTo(0, 0)")
    page.locator("h1").click()
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    for name in ("Skip to the answers", "file", "add-box", "domain", "camera", "go", "Erase…"):
        assert name in reached
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((one) => one.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("way", ["paste", "drop"])
def test_an_image_is_pasted_or_dropped(page: "Page", shop: Path, way: str) -> None:
    content = list((shop / "images" / "09.png").read_bytes())
    page.evaluate(
        """([way, content]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(content)], "x.png", { type: "image/png" }));
          const event = way === "paste"
            ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true })
            : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
          document.body.dispatchEvent(event);
        }""",
        [way, content],
    )
    status(page, "23 × 37 pixels")
    page.get_by_role("button", name="Search", exact=True).click()
    status(page, "Person p4")


def test_add_and_erase(browser: "Browser", shop: Path, tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>"
    with served(shop, tmp_path / "new") as url, opened(browser, url) as page:
        page.locator("#gallery", has_text="0 images of 0 people").wait_for()
        page.set_input_files("#file", shop / "images" / "03.png")
        status(page, "pixels")
        page.locator("summary").click()
        page.get_by_label("Person (pid), required").fill("anna")
        page.get_by_label("Name").fill(name)
        page.get_by_label("Keep a small image too").check()
        page.get_by_role("button", name="Add", exact=True).click()
        status(page, "anna was added.")
        page.locator("#gallery", has_text="1 images of 1 people").wait_for()
        page.get_by_role("button", name="Search", exact=True).click()
        status(page, "Nearest")
        assert page.locator("#people h3").inner_text() == f"1. {name} (anna)"
        assert page.locator("#people img").count() == 1
        erase = page.get_by_role("button", name="Erase " + name)
        erase.click()
        page.get_by_role("dialog").wait_for()
        assert "1 image of" in page.inner_text("#erase-text")
        page.keyboard.press("Escape")
        assert erase.evaluate("button => button === document.activeElement")
        assert page.locator("#people > li").count() == 1
        erase.click()
        page.get_by_role("dialog").get_by_role("button", name="Erase").click()
        status(page, "1 image was erased.")
        page.locator("#gallery", has_text="0 images of 0 people").wait_for()
        assert page.locator("#people > li").count() == 0


def test_the_page_asks_for_the_token_and_keeps_it_for_the_tab(browser: "Browser", shop: Path) -> None:
    with served(shop, token=TOKEN) as url, opened(browser, url) as page:
        field = page.get_by_label("Token of this server")
        field.fill("wrong")
        page.get_by_role("button", name="Enter").click()
        page.locator("#alert", has_text="The token is wrong.").wait_for()
        field.fill(TOKEN)
        page.get_by_role("button", name="Enter").click()
        page.locator("#gallery", has_text="12 images").wait_for()
        page.reload()
        page.locator("#gallery", has_text="12 images").wait_for()
        assert TOKEN not in page.content()


def test_an_error_is_told(page: "Page", tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    page.set_input_files("#file", tmp_path / "broken.png")
    status(page, "This browser cannot show the image")
    page.get_by_role("button", name="Search", exact=True).click()
    page.locator("#alert", has_text="not an image of format").wait_for()


def test_another_site_cannot_use_the_server(browser: "Browser", url: str) -> None:
    other = browser.new_page()
    other.route("http://evil.example/", lambda route: route.fulfill(body="<p>hello</p>", content_type="text/html"))
    other.goto("http://evil.example/")
    asking = "([url, options]) => fetch(url, options).then((answer) => answer.status, () => 'blocked')"
    erase = {"method": "POST", "body": '{"pid": "p0"}', "headers": {"Content-Type": "application/json"}}
    for options in ({}, erase, {"method": "POST", "body": '{"pid": "p0"}'}):
        assert other.evaluate(asking, [url + "api/erase", options]) == "blocked"
    other.set_content(f'<iframe src="{url}"></iframe>')
    other.wait_for_timeout(300)
    assert other.frames[1].url.startswith("chrome-error:")
    assert other.frames[1].locator("#main").count() == 0
    other.close()
    assert httpx.get(url + "api/info").json()["images"] == 12
