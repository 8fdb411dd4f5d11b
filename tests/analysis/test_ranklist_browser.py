"""The page of ranked lists in Chromium: filters, headings and focus, addresses of pictures, and how fast it is."""

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jointreid.analysis.ranklist_page import write_ranklist
from tests.analysis.noise_runs import make_noise_runs
from tests.analysis.ranklist_pages import data_of

pytestmark = [pytest.mark.slow, pytest.mark.browser]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_noise_runs(tmp_path_factory.mktemp("every"))


@pytest.fixture(scope="module")
def page(paths: list[Path]) -> Path:
    return write_ranklist(paths[0], paths[0].parent / "page", length=4, maps=True, device="cpu")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield opened
        opened.close()


@contextmanager
def shown_in(browser: Any, page: Path) -> Iterator[Any]:
    """Open a page, which must not complain, nor ask for anything but files."""
    shown, said, asked = browser.new_page(), list[str](), list[str]()
    shown.on("console", lambda message: said.append(message.text))
    shown.on("pageerror", lambda error: said.append(str(error)))
    shown.on("request", lambda request: asked.append(request.url))
    shown.goto(page.as_uri())
    yield shown
    shown.close()
    assert said == []
    assert all(url.startswith("file:") for url in asked)


def cameras_of(data: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the camera of each query and of its first answer, "" for none."""
    pairs = []
    for domain in data["domains"]:
        for query in domain["queries"]:
            first = next((index for index, _, kind in query["answers"] if kind != "junk"), None)
            answer = "" if first is None else str(domain["images"][first][2])
            pairs.append((str(domain["images"][query["image"]][2]), answer))
    return pairs


def test_filters_find_failures_in_a_browser(page: Path, browser: Any) -> None:
    queries = [query for domain in data_of(page)["domains"] for query in domain["queries"]]
    wrong = sum(query["first"] is not None and query["first"] > 1 for query in queries)
    with shown_in(browser, page) as shown:
        articles = shown.locator("#queries article")
        assert articles.count() == wrong
        assert shown.locator("#queries .maps").count() == wrong
        shown.select_option("select[name=show]", "all")
        assert articles.count() == len(queries)
        junk = shown.locator("#queries li.junk").count()
        assert junk > 0
        shown.uncheck("input[name=junk]")
        assert shown.locator("#queries li.junk").count() == 0
        shown.select_option("select[name=domain]", "one")
        assert shown.locator("#count").inner_text() == "2 of 7 queries (28.6%)"
        shown.select_option("select[name=domain]", "")
        shown.fill("input[name=person]", "<i>1")
        assert articles.count() == 1
        assert "<i>1" in (articles.first.text_content() or "")  # inner_text is empty until it has been laid out
        assert shown.locator("#queries img").first.evaluate("image => image.decode().then(() => image.naturalWidth)")


def test_queries_are_found_by_a_pair_of_cameras(page: Path, browser: Any) -> None:
    pairs = cameras_of(data_of(page))
    own, answers = (sorted({pair[which] for pair in pairs} - {""}, key=int) for which in (0, 1))
    assert len(own) > 1
    assert len(answers) > 1
    with shown_in(browser, page) as shown:
        shown.select_option("select[name=show]", "all")
        for name, offered in (("camera", own), ("answer", answers)):
            options = shown.locator(f"select[name={name}] option").evaluate_all("all => all.map(one => one.value)")
            assert options == ["", *offered]
        for camera in ("", *own):
            for answer in ("", *answers):
                shown.select_option("select[name=camera]", camera)
                shown.select_option("select[name=answer]", answer)
                expected = sum(camera in ("", pair[0]) and answer in ("", pair[1]) for pair in pairs)
                assert shown.locator("#queries article").count() == expected
        shown.select_option("select[name=domain]", "one")  # which has its own cameras
        here = cameras_of({"domains": [domain for domain in data_of(page)["domains"] if domain["name"] == "one"]})
        options = shown.locator("select[name=camera] option").evaluate_all("all => all.map(one => one.value)")
        assert options == ["", *sorted({pair[0] for pair in here}, key=int)]


@pytest.mark.parametrize("name", ["run#2.html", "what?.html", "x:y.htm", "50%25.html"])
def test_pictures_are_found_whatever_the_page_is_called(
    paths: list[Path], tmp_path: Path, browser: Any, name: str
) -> None:
    page = write_ranklist(paths[0], tmp_path / name, domain="one", length=1)
    with shown_in(browser, page) as shown:
        shown.select_option("select[name=show]", "all")
        assert shown.locator("#queries img").first.evaluate("image => image.decode().then(() => image.naturalWidth)")


def enlarged(page: Path) -> Path:
    """Write a page with 500 queries of each domain, with ten answers each, beside another one."""
    data = data_of(page)
    for domain in data["domains"]:
        for query in domain["queries"]:
            query["answers"] = (query["answers"] * 10)[:10]
        domain["queries"] = (domain["queries"] * 500)[:500]
    text = re.sub(
        r'(id="data">)[^<]*',
        lambda found: found[1] + json.dumps(data).replace("<", "\\u003c"),
        page.read_text(encoding="utf-8"),
    )
    large = page.with_name("large.html")
    large.write_text(text, encoding="utf-8")
    return large


def test_lists_are_headings_and_the_focus_is_kept_from_page_to_page(page: Path, browser: Any) -> None:
    with shown_in(browser, enlarged(page)) as shown:
        shown.select_option("select[name=show]", "all")
        heading = shown.locator("#queries article").first.get_by_role("heading", level=2)
        assert re.search(r" · query \d+$", heading.text_content() or "")
        above, below = (shown.locator(".pager .on").nth(place) for place in (0, 1))
        below.press("Enter")
        assert shown.evaluate("document.activeElement.id") == "count"
        above.press("Enter")
        assert above.evaluate("button => button === document.activeElement")
        back = shown.locator(".pager .back").first
        back.press("Enter")
        back.press("Enter")
        assert shown.locator(".pager .place").first.inner_text() == "page 1 of 50"
        assert shown.evaluate("document.activeElement.id") == "count"


def test_a_thousand_queries_stay_smooth(page: Path, browser: Any) -> None:
    """With ten answers each: opening takes 3 s at most, and a filter, an order or a page a second."""
    large = enlarged(page)
    began = time.perf_counter()
    with shown_in(browser, large) as shown:
        articles = shown.locator("#queries article")
        assert articles.count() == 20
        seconds = [time.perf_counter() - began]
        actions: tuple[Callable[[], object], ...] = (
            lambda: shown.select_option("select[name=show]", "all"),
            lambda: shown.locator(".pager .on").first.click(),
            lambda: shown.select_option("select[name=order]", "near"),
            lambda: shown.select_option("select[name=domain]", "one"),
            lambda: shown.uncheck("input[name=junk]"),
        )
        for act in actions:
            began = time.perf_counter()
            act()
            assert articles.count() == 20
            seconds.append(time.perf_counter() - began)
        assert shown.locator("#count").inner_text() == "500 of 1,000 queries (50.0%)"
    print("seconds:", [round(one, 3) for one in seconds])
    assert seconds[0] < 3
    assert max(seconds[1:]) < 1
