"""The command: what it refuses, what it prints, and how it stops."""

import os
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from jointreid.cli import main
from jointreid.serve import server
from tests.serve.small_service import Client, png

TOKEN = "a-long-enough-token"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--gallery is missing"),
        (("--gallery", "g", "--host", "0.0.0.0"), "--host 0.0.0.0 is reached from other machines"),
        (("--gallery", "g", "--token", "short"), "the token has 5 characters"),
        (("--gallery", "g", "--threshold", "3"), "--threshold is 3.0; expected a similarity"),
        (("--gallery", "g", "--rate", "-1"), "--rate is -1; expected requests a minute"),
        (("--gallery", "g", "--port", "0"), "does not exist"),
    ],
)
def test_mistakes_are_one_paragraph(
    options: tuple[str, ...], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", str(tmp_path / "none"), *options]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("jointreid: ")
    assert message in printed


@pytest.mark.parametrize(("option", "variable"), [("auto", ""), ("", "auto"), ("", TOKEN), (TOKEN, "auto")])
def test_a_token_that_was_made_is_printed_and_no_other(
    option: str, variable: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    used = []
    monkeypatch.setenv("JOINTREID_TOKEN", variable)
    monkeypatch.setattr(server, "open_service", lambda run, gallery, settings, **_: used.append(settings.token))
    monkeypatch.setattr(server, "serve", lambda *_: None)
    assert main(["serve", "run", "--gallery", "g", "--port", "0", *(["--token", option] if option else [])]) == 0
    printed = capsys.readouterr().out
    if TOKEN in (option, variable):
        assert (used, printed) == ([TOKEN], "stopped\n")
    else:
        assert printed == f"token: {used[0]}\nstopped\n"


@pytest.mark.slow
def test_a_gallery_of_another_model_is_refused(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.extraction.small_runs import untrained_run

    other = untrained_run(tmp_path / "other", seed=1)
    assert main(["serve", str(other), "--gallery", str(shop / "g"), "--port", "0", "--device", "cpu"]) == 2
    assert "made by another model" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_after_the_answers_that_have_begun(
    shop: Path, number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The signal comes while a request is being computed: it is answered, a later one is not, and the code is 0."""
    assert threading.current_thread() is threading.main_thread()
    monkeypatch.setenv("JOINTREID_TOKEN", TOKEN)
    before = signal.getsignal(number)
    found: list[Any] = []
    begun = threading.Event()
    opened = server.open_service

    def slow_service(*args: Any, **options: Any) -> Any:
        service = opened(*args, **options)
        describe = service.describe

        def slow(*of: Any, **more: Any) -> Any:
            begun.set()
            time.sleep(0.5)
            return describe(*of, **more)

        object.__setattr__(service, "describe", slow)
        return service

    def ask(url: str) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        found.append(httpx.post(url + "api/search", json={"image": png(20, 40)}, headers=headers, timeout=30))

    def stop() -> None:
        begun.wait(30)
        os.kill(os.getpid(), number)

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"

    def asked_when_ready() -> None:
        for _ in range(600):
            try:
                httpx.get(url, timeout=30)
                break
            except httpx.ConnectError:
                time.sleep(0.05)
        ask(url)

    monkeypatch.setattr(server, "open_service", slow_service)
    threads = [threading.Thread(target=asked_when_ready), threading.Thread(target=stop)]
    for thread in threads:
        thread.start()
    code = main(["serve", str(shop / "run"), "--gallery", str(shop / "g"), "--port", str(port), "--device", "cpu"])
    for thread in threads:
        thread.join(30)
    assert code == 0
    assert [answer.status_code for answer in found] == [200]
    printed = capsys.readouterr()
    assert printed.out == f"{url} (Ctrl-C stops it)\nstopped\n"
    assert "answers have no verdict" in printed.err or not printed.err
    assert signal.getsignal(number) is before
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


@pytest.mark.slow
def test_the_page_is_part_of_the_package(shop: Path) -> None:
    from importlib.resources import files

    from jointreid.serve.app import PAGE

    shipped = {entry.name for entry in files("jointreid.serve").joinpath("page").iterdir()}
    assert {name for name, _ in PAGE.values()} == shipped
    text = Client(shop).get("/").text
    for path in PAGE:
        assert path == "/" or path in text or path in ("/client.js", "/scene.js", "/people.js")
    assert "http:" not in text
    assert "https:" not in text
    assert " style=" not in text
    assert " onclick" not in text
