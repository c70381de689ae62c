"""The whole way of a blind rating in a real browser: sealed packets, a session, imported rows."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import cli, rounds
from cqa_helpers.records import Verdict, read_jsonl
from cqa_helpers.sheets import RANK, Sheet, worked
from rating_round import Maker, Study, make

WHY = "说到了点子上。"


@pytest.fixture
def study(small_params: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    return make(small_params, tmp_path / "root", monkeypatch)


@pytest.fixture
def page(study: Study, tmp_path: Path) -> Iterator[Any]:
    """Return the form of rater-1, opened from the file that the command wrote."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on the path: the session was not tried in a browser")
    assert cli.main(["form", "rate", study.params.profile, "--out", str(tmp_path / "out"),
                     "--contact", "post@example.org"]) == 0  # fmt: skip
    with sync_api.sync_playwright() as play:
        browser = play.chromium.launch_persistent_context(
            tmp_path / "profile", executable_path=chromium, args=["--no-sandbox"],
            viewport={"width": 1280, "height": 900},
        )  # fmt: skip
        browser.set_default_timeout(10_000)
        shown = browser.new_page()
        faults: list[str] = []
        shown.on("pageerror", lambda error: faults.append(str(error)))
        shown.on("dialog", lambda dialog: dialog.accept())
        shown.goto((tmp_path / "out" / "rater-1.html").as_uri())
        shown.wait_for_selector("#agree")
        yield shown
        assert faults == []
        browser.close()


def to(page: Any, selector: str) -> None:
    """Go on with Tab until the focus is there."""
    for _ in range(80):
        if page.evaluate("(s) => document.activeElement.matches(s)", selector):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"80 Tabs do not reach {selector}")


def answer(page: Any, sheet: Sheet, shift: int, places: str) -> dict[tuple[str, str], int]:
    """Fill in a page by keys alone; return what was entered by code and question."""
    entered = {}
    questions = page.evaluate("DIMENSIONS.map((d) => d.id)")
    for n, (code, _) in enumerate(sheet.diagnoses):
        to(page, f"#q-{'ABC'[n]}-{questions[0]} input")
        for k, question in enumerate(questions):
            entered[code, question] = 1 + (n + k + shift) % 5
            page.keyboard.press(str(entered[code, question]))
            page.keyboard.press("Tab")
    for n, (code, _) in enumerate(sheet.diagnoses):
        to(page, f"#place-{'ABC'[n]} input")
        page.keyboard.press(places[n])
        entered[code, RANK] = 1 + sum(other < places[n] for other in places)
    return entered


def export(page: Any, to_folder: Path) -> Path:
    page.evaluate("document.activeElement.blur()")
    to(page, "#export")
    with page.expect_download() as got:
        page.keyboard.press("Enter")
    file = to_folder / str(got.value.suggested_filename)
    got.value.save_as(file)
    return file


def test_a_session_by_keyboard_gives_the_rows_that_were_entered(
    study: Study, page: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = page.inner_text("main")
    assert "先做 3 个练习示例，再评 3 篇" in said
    assert "post@example.org" in said
    to(page, "#agree")
    page.keyboard.press("Space")
    to(page, "#start")
    page.keyboard.press("Enter")

    mine = study.round().sheets["rater-1"]
    for n, example in enumerate(worked("zh")):
        assert page.inner_text("#count") == "完成 0 / 3 篇"
        answer(page, example.sheet, n, "123")
        to(page, "#compare-study")
        page.keyboard.press("Enter")
        to(page, ".turn .next")
        page.keyboard.press("Enter")

    entered: dict[tuple[str, str], int] = {}
    for n, sheet in enumerate(mine):
        shown = page.evaluate("[...document.querySelectorAll('.said')].map((x) => x.textContent)")
        assert shown == [text for _, text in sheet.diagnoses]
        entered |= answer(page, sheet, n, ("121", "213", "321")[n])
        if n == 0:
            assert page.inner_text("#order") == "您的排序：A = C > B"
            assert "还剩 2 篇" in page.inner_text("#open")
            page.fill("#why-B", WHY)
            part = export(page, tmp_path)
            assert "还有 2 篇未完成" in page.inner_text("#exported")
            part = part.rename(tmp_path / "part.json")
            # The browser is closed and opened again: all of it is there.
            page.wait_for_selector("#saved[data-kind=saved]")
            page.reload()
            page.wait_for_selector("#why-B")
            assert page.input_value("#why-B") == WHY
            assert page.inner_text("#order") == "您的排序：A = C > B"
        if n < 2:
            to(page, ".turn .next")
            page.keyboard.press("Enter")
    assert "全部完成" in page.inner_text("#open")
    file = export(page, tmp_path)
    assert f"{file.name}。请把它寄给 post@example.org" in page.inner_text("#exported")
    assert json.loads(file.read_text("utf-8"))["unfinished"] == []

    take = ["import-ratings", study.params.profile]
    assert cli.main([*take, str(file)]) == 0
    assert "rater-1: 45 of 45 answers" in capsys.readouterr().out
    rows = read_jsonl(study.ratings() / rounds.ROWS, Verdict)
    assert {(v.item_id, v.dimension): v.value for v in rows} == entered
    assert {v.judge_id for v in rows} == {"rater-1"}
    told = mine[0].diagnoses[1][0]
    assert {v.item_id for v in rows if v.reason} == {told}
    assert {v.reason for v in rows if v.item_id == told} == {WHY}
    practice = read_jsonl(study.ratings() / rounds.PRACTICE, Verdict)
    assert len(practice) == 45

    # The export half way differs from the last one: the study decides, and says so.
    assert cli.main([*take, "--later-wins", str(part)]) == 0
    assert read_jsonl(study.ratings() / rounds.ROWS, Verdict) == rows

    whole = json.loads(file.read_text("utf-8"))
    whole["sheets"][2]["answers"][0]["values"]["insight"] = 5
    whole["sheets"][2]["answers"][1]["values"]["insight"] = 5
    (tmp_path / "touched.json").write_text(json.dumps(whole, ensure_ascii=False), "utf-8")
    assert cli.main([*take, "--later-wins", str(tmp_path / "touched.json")]) == 1
    assert "touched.json: rater-1: the checksum does not fit" in capsys.readouterr().err
    assert read_jsonl(study.ratings() / rounds.ROWS, Verdict) == rows


def test_on_a_phone_the_text_can_be_laid_beside_a_diagnosis(page: Any) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    page.check("#agree")
    page.click("#start")
    page.evaluate("document.getElementById('h-B').scrollIntoView()")
    top = page.evaluate("scrollY")
    text = page.locator("#text")
    assert text.bounding_box()["y"] < 0
    page.click("#peek")
    assert 844 / 3 < text.bounding_box()["y"] < 844
    assert page.locator("#h-B").bounding_box()["y"] < 844 / 3
    assert page.evaluate("scrollY") == top
    assert page.get_attribute("#peek", "aria-expanded") == "true"
    page.click("#peek")
    assert text.bounding_box()["y"] < 0
    page.set_viewport_size({"width": 1280, "height": 900})
    assert not page.locator("#peek").is_visible()
