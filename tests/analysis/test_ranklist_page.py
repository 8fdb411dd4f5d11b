"""Ranked lists of every query against an independent ranking, and the page that shows them."""

import base64
import doctest
import hashlib
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jointreid.analysis import ranklist_data, ranklist_page
from jointreid.analysis.every_query import ListedQuery, list_queries
from jointreid.analysis.ranklist_data import address, pictures_folder
from jointreid.analysis.ranklist_files import MARKER
from jointreid.analysis.ranklist_page import NOTICE, write_ranklist
from jointreid.analysis.ranklists import load_reported_domains
from jointreid.analysis.reported import ReportedRun, RunGroup, open_runs
from jointreid.cli import main
from jointreid.data.records import Domain, ImageRecord
from jointreid.messages.errors import JointreidError
from jointreid.retrieval.evaluate import evaluate_run
from tests.analysis.noise_runs import NASTY, distance, features_of, is_ignored, make_noise_runs
from tests.analysis.ranklist_pages import data_of, folder_of

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return make_noise_runs(tmp_path_factory.mktemp("every"))


@pytest.fixture(scope="module")
def page(paths: list[Path]) -> Path:
    return write_ranklist(paths[0], paths[0].parent / "page", length=4, maps=True, device="cpu")


def lists_of(path: Path, length: int) -> list[tuple[ReportedRun, Domain, tuple[ListedQuery, ...]]]:
    (run,) = open_runs([RunGroup("", [path])])
    domains, _ = load_reported_domains([run])
    model = run.run.model()
    return [(run, domain, tuple(list_queries(run, model, domain, length, device=CPU))) for domain in domains.values()]


# The lists


@pytest.mark.parametrize("place", [0, 1])  # cosine, Euclidean with mirrored images
@pytest.mark.parametrize("length", [3, 50])
def test_lists_are_those_of_an_independent_ranking_with_junk_in_its_place(
    paths: list[Path], place: int, length: int
) -> None:
    compared = kinds = 0
    for run, domain, queries in lists_of(paths[place], length):
        records = list(dict.fromkeys((*domain.query, *domain.gallery)))
        features = dict(zip(records, features_of(run, records), strict=True))
        assert [query.record for query in queries] == [record for record in domain.query if not record.junk]
        for query in queries:
            ranked = sorted(
                (distance(features[query.record], features[r], run.run.config.eval.metric), r.junk, index, r)
                for index, r in enumerate(domain.gallery)
            )
            expected, counted = list[tuple[ImageRecord, str]](), 0
            for _, _, _, record in ranked:
                if counted < length:
                    kind = kind_of(domain, query.record, record)
                    expected.append((record, kind))
                    counted += kind != "junk"
            while expected[-1][1] == "junk":
                expected.pop()
            junk = [record for record, kind in expected if kind == "junk"]
            expected = [(record, kind) for record, kind in expected if record not in junk[length:]]
            assert [(answer.record, answer.kind) for answer in query.answers] == expected
            assert query.as_evaluated
            assert query.num_matches == sum(kind_of(domain, query.record, r) == "right" for r in domain.gallery)
            compared += len(expected)
            kinds |= {"right": 1, "wrong": 2, "junk": 4}[expected[0][1]]
    assert compared > 20
    assert kinds & 3 == 3


def kind_of(domain: Domain, query: ImageRecord, record: ImageRecord) -> str:
    if record.junk or is_ignored(domain, query, record):
        return "junk"
    return "right" if record.pid == query.pid and not record.distractor else "wrong"


def test_a_failure_is_a_wrong_first_answer_before_which_only_junk_stands(paths: list[Path]) -> None:
    queries = [query for _, _, found in lists_of(paths[0], 50) for query in found]
    for query in queries:
        wrong = query.result.valid and query.result.first_match_rank != 1
        assert (query.first_wrong is not None) == wrong
    assert 0 < sum(query.first_wrong is not None for query in queries) < len(queries)
    other = replace(queries[0], result=replace(queries[0].result, first_match_rank=7))
    assert not other.as_evaluated


def test_with_re_ranking_first_matches_are_those_of_the_evaluation(paths: list[Path], tmp_path: Path) -> None:
    path = tmp_path / "reranked"
    shutil.copytree(paths[0], path)
    evaluate_run(path, device="cpu", rerank=True)
    for _, _, queries in lists_of(path, 5):
        assert all(query.as_evaluated for query in queries)
        assert not any(answer.record.junk for query in queries for answer in query.answers)
    text = write_ranklist(path, tmp_path / "r.html", length=3).read_text(encoding="utf-8")
    assert "The lists are re-ranked, as in the evaluation" in text
    assert "camera, re-ranked distance." in text


# The page


def test_the_page_holds_every_query_and_its_pictures_lie_beside_it(page: Path, paths: list[Path]) -> None:
    data = data_of(page)
    pictures = folder_of(page)
    assert pictures.parent == page.parent / "pictures"
    assert sorted(pictures.parent.iterdir()) == sorted([pictures, pictures.parent / MARKER])
    assert [domain["name"] for domain in data["domains"]] == [NASTY, "one"]
    assert [len(domain["queries"]) for domain in data["domains"]] == [5, 2]
    assert (data["length"], data["similarity"]) == (4, True)
    used = set()
    for domain in data["domains"]:
        used |= {file for file, *_ in domain["images"]}
        for query in domain["queries"]:
            assert sum(kind != "junk" for *_, kind in query["answers"]) == 4
            assert ("maps" in query) == (query["first"] is not None and query["first"] > 1)
            used |= set(query.get("maps", ())[:2])
    assert {file.name for file in pictures.iterdir()} == used
    with Image.open(pictures / "0-0.jpg") as image:
        assert (image.format, image.size) == ("JPEG", (16, 32))
    assert data["domains"][0]["images"][0][3].endswith(".png")  # its path below the data set, not on this machine
    assert str(paths[0].parent) not in json.dumps(data)


def test_maps_show_the_similarity_of_the_query_and_its_first_answer(page: Path) -> None:
    compared = 0
    for domain in data_of(page)["domains"]:
        for query in domain["queries"]:
            if "maps" in query:
                first = next(answer for answer in query["answers"] if answer[2] != "junk")
                assert first[2] == "wrong"
                assert query["maps"][2] == pytest.approx(-first[1], abs=2e-4)
                compared += 1
    assert compared


def test_the_page_loads_nothing_remote_and_runs_its_own_script_alone(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)
    assert policy
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert policy[1].replace("&#x27;", "'") == (
        "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'; " + f"script-src 'sha256-{digest}'"
    )
    assert not re.findall(r'(?:src|href)="(?!#)', text)
    assert NOTICE in text
    assert "<i>" not in text
    assert "Terms of use of one: For &lt;research&gt; only" in text


def test_a_new_page_replaces_the_pictures_of_the_former_one_and_nothing_else(paths: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "one.html"
    assert write_ranklist(paths[0], out, domain="one", length=1) == out
    assert [domain["name"] for domain in data_of(out)["domains"]] == ["one"]
    (tmp_path / "one-pictures" / "0-0.jpg").write_bytes(b"of a page of an earlier version")
    before = folder_of(out)
    write_ranklist(paths[0], out, domain="one", length=2)
    assert folder_of(out) != before
    assert {entry.name for entry in (tmp_path / "one-pictures").iterdir()} == {MARKER, folder_of(out).name}
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["one-pictures", "one.html"]
    (tmp_path / "pictures").mkdir()
    with pytest.raises(JointreidError, match="pictures exists and holds no pictures of a ranked-list page"):
        write_ranklist(paths[0], tmp_path)


def test_a_page_that_cannot_be_replaced_keeps_its_own_pictures(
    paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = write_ranklist(paths[0], tmp_path / "p.html", domain="one", length=1)
    before, text = {file.name: file.read_bytes() for file in folder_of(out).iterdir()}, out.read_bytes()

    def full(path: Path, content: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ranklist_page, "write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        write_ranklist(paths[0], out, domain=NASTY, length=1)
    assert out.read_bytes() == text
    assert {file.name: file.read_bytes() for file in folder_of(out).iterdir()} == before


def test_every_page_has_a_folder_of_pictures_of_its_own_and_names_it_as_an_address() -> None:
    names = ("index.html", "a.html", "a.htm", "a.htm.html", "a.HTML", "index.htm", "a.html.html")
    assert len({pictures_folder(Path(name)) for name in names}) == len(names)
    assert doctest.testmod(ranklist_data) == (0, 2)
    undecodable = Path(os.fsdecode(b"\xff.html"))
    assert address(pictures_folder(undecodable) / "ab12", undecodable) == "./%FF-pictures/ab12"


def test_an_unknown_domain_and_an_empty_list_are_refused(paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(JointreidError, match=r"--domain: there is no evaluated data set onn; did you mean one\?"):
        write_ranklist(paths[0], tmp_path, domain="onn")
    with pytest.raises(JointreidError, match="--length is 0; expected 1 or more"):
        write_ranklist(paths[0], tmp_path, length=0)
    assert not list(tmp_path.iterdir())


# The commands


def test_the_command_writes_the_page_and_tells_how_to_make_it_again(
    paths: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "lists"
    assert main(["ranklist", str(paths[1]), "--out", str(out), "--domain", "one", "--length", "2"]) == 0
    assert f"Wrote {out / 'index.html'} and pictures beside it." in capsys.readouterr().out
    assert "--domain=one --length=2</code>" in (out / "index.html").read_text(encoding="utf-8")


def test_why_explains_any_two_images(paths: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = [str(file) for file in sorted(paths[0].parent.glob("*.png"))[:2]]
    assert main(["why", str(paths[0]), *images, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert [image["path"] for image in plain["images"]] == images
    for image in plain["images"]:
        assert np.sum(image["contributions"]) == pytest.approx(plain["similarity"], abs=1e-9)
    out, copied = tmp_path / "why.html", shutil.copy(images[0], tmp_path / os.fsdecode(b"\xff.png"))  # no Unicode
    assert main(["why", str(paths[0]), images[0], str(copied), "--out", str(out), "--device", "cpu"]) == 0
    assert "Cosine similarity 1.000 (1 at most). Half of it comes from" in capsys.readouterr().out
    text = out.read_text(encoding="utf-8")
    assert text.count("<img ") == text.count('src="data:image/jpeg') == 4
    assert f"--out {out} --device=cpu</code>" in text
    assert main(["why", str(paths[0]), images[0], "absent.png"]) == 2
    assert "absent.png" in capsys.readouterr().err
