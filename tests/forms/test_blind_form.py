"""A blind rater's session in a real browser, from the file that goes out to imported rows."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import ballots, forms, ratings, taxonomy
from cqa_helpers.sheets import RANK, Sheet, Worked
from cqa_helpers.taxonomy import Language, Text

OF = taxonomy.load("blind-rating")
CONTRAST = Path(__file__).parent / "contrast.js"
JUDGES = ("tuned-7b", "base-7b", "gpt-4-0613")
LONG = " ".join(f"The {n}th thing that it sees is the candle." for n in range(60))
EXAMPLE = Worked(
    Sheet("w1", "他把钟停了。", "zh", (("x1", "有效。"), ("x2", "无效。"))),
    {"x1": dict.fromkeys((*OF.ids(), RANK), 1), "x2": dict.fromkeys(OF.ids(), 4) | {RANK: 2}},
    {"x1": Text(en="Nothing is said.", zh="什么也没说。"), "x2": Text(en="Hardly.", zh="否定。")},
)  # fmt: skip
HOSTILE = "<script>window.hit=1</script></textarea>\u202eb &amp; 𠮷\u2028\x07"


def sheets(mark: str) -> tuple[Sheet, ...]:
    """Return two sheets of their own ids, so that each test has its own store."""
    return (
        Sheet(f"{mark}-s9", f"停电之夜。{HOSTILE}", "zh",
              ((f"{mark}-k4", "短。"), (f"{mark}-c9", LONG), (f"{mark}-m2", HOSTILE))),
        Sheet(f"{mark}-s2", "She locked it.", "en",
              ((f"{mark}-a7", "It holds."), (f"{mark}-t5", "It does not."))),
    )  # fmt: skip


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return headless Chromium with a profile of its own."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on the path: the form was not tried in a browser")
    with sync_api.sync_playwright() as play:
        shared = play.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("profile"), executable_path=chromium, args=["--no-sandbox"],
            viewport={"width": 1280, "height": 900},
        )  # fmt: skip
        shared.set_default_timeout(10_000)
        yield shared
        shared.close()


@pytest.fixture
def opened(context: Any, tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Return an opener of forms whose pages must neither fail nor ask for any address."""
    asked: list[str] = []
    pages: list[Any] = []
    keep = lambda request: asked.append(request.url)  # noqa: E731
    context.on("request", keep)

    def start(mark: str, language: Language = "en", worked: tuple[Worked, ...] = ()) -> Any:
        file = forms.blind(sheets(mark), OF, tmp_path / f"{mark}.html", language, "rater-1",
                           worked=worked, names=JUDGES)  # fmt: skip
        page = context.new_page()
        page.faults, page.said = [], []
        page.on("pageerror", lambda error: page.faults.append(str(error)))
        page.on("console", lambda m: page.faults.append(m.text) if m.type == "error" else None)
        page.on("dialog", lambda d: (page.said.append(d.message), d.accept()))
        page.goto(file.as_uri())
        page.wait_for_selector("#saved")
        pages.append(page)
        return page

    yield start
    context.remove_listener("request", keep)
    for page in pages:
        assert page.faults == []
        assert page.evaluate("window.hit") is None
        page.close(run_before_unload=False)
    assert {url.split(":")[0] for url in asked} <= {"file", "blob"}


def agree(page: Any) -> None:
    page.check("#agree")
    page.click("#start")


def rate(page: Any, letters: str, value: int = 4) -> None:
    page.evaluate(
        """([letters, ids, value]) => [...letters].forEach((x) => ids.forEach((d) =>
          document.querySelector(`#q-${x}-${d} input[value="${value}"]`).click()))""",
        [letters, OF.ids(), value],
    )


def place(page: Any, places: dict[str, int]) -> None:
    for letter, n in places.items():
        page.locator(f"#place-{letter} input[value='{n}']").check()


def sheet(page: Any, n: int) -> None:
    page.locator("nav li button").nth(n).click()


def export(page: Any, to: Path) -> Path:
    with page.expect_download() as got:
        page.click("#export")
    file = to / got.value.suggested_filename
    got.value.save_as(file)
    return file


def saved(page: Any) -> None:
    page.wait_for_selector("#saved[data-kind=saved]")


def test_a_session_goes_from_the_file_to_imported_rows(
    opened: Callable[..., Any], tmp_path: Path
) -> None:
    page = opened("full", worked=(EXAMPLE,))
    assert page.locator(".said, nav li button:visible").count() == 0
    agree(page)
    sheet(page, 1)
    assert page.locator(".said").count() == 0
    page.click("#to-example")
    rate(page, "AB", 2)
    assert page.locator("#compare-study").is_disabled()
    assert "Nothing is said." not in page.inner_text("main")
    place(page, {"A": 2, "B": 1})
    page.click("#compare-study")
    assert "Nothing is said." in page.inner_text("main")
    assert "you: 2 · the study: 4" in page.inner_text("#q-B-insight")
    assert not page.locator("#q-A-insight input").first.is_enabled()

    sheet(page, 1)
    texts = page.evaluate("[...document.querySelectorAll('.said')].map((x) => x.textContent)")
    assert texts == [forms.even(t) for _, t in sheets("full")[0].diagnoses]
    rate(page, "A")
    page.fill("#why-A", "说到了点子上。")
    page.wait_for_timeout(1100)
    saved(page)
    page.reload()
    page.wait_for_selector("#q-A-accuracy")
    assert page.locator("#q-A-sign-it input[value='4']").is_checked()
    assert page.input_value("#why-A") == "说到了点子上。"
    assert page.evaluate("state.drafts['w1'].compared") is not None
    begun = ratings.read([export(page, tmp_path)], {"rater-1": sheets("full")}, OF,
                         worked=[EXAMPLE.sheet])  # fmt: skip
    assert len(page.said) == 1
    assert "2 page(s) unfinished: Passage 1, Passage 2" in page.said[0]
    assert [(v.item_id, v.value, v.reason) for v in begun.rows] == [
        ("full-k4", 4, "说到了点子上。")] * 4  # fmt: skip
    assert [f for f in begun.findings if f.severe] == []
    assert len(begun.missing) == 5 * 5 - 4
    assert [(v.item_id, v.value) for v in begun.practice if v.dimension == RANK] == [
        ("x1", 2), ("x2", 1)]  # fmt: skip

    rate(page, "BC", 5)
    place(page, {"A": 3, "B": 1, "C": 3})
    assert page.inner_text("#order") == "Your order: B > A = C"
    assert page.locator("nav [data-kind=done]").count() == 2
    page.click("text=Next →")
    rate(page, "AB", 1)
    page.click("text=← Previous")
    assert page.locator("#q-C-insight input[value='5']").is_checked()
    page.click("text=Next →")
    place(page, {"A": 1, "B": 1})
    assert "Everything is complete" in page.inner_text("#open")
    assert page.inner_text("#count") == "2 of 2 finished"
    file = export(page, tmp_path)
    assert len(page.said) == 1
    agreed = json.loads(file.read_text("utf-8"))["consent_sha256"]
    assert agreed == ballots.checksum(page.evaluate("DATA.consent"))
    found = ratings.read([file], {"rater-1": sheets("full")}, OF, worked=[EXAMPLE.sheet])
    assert (found.findings, found.missing) == ([], [])
    by = {(v.item_id, v.dimension): v for v in found.rows}
    ranks = {code: v.value for (code, dimension), v in by.items() if dimension == RANK}
    assert ranks == {"full-k4": 2, "full-c9": 1, "full-m2": 2, "full-a7": 1, "full-t5": 1}
    assert {by["full-t5", d].value for d in OF.ids()} == {1}
    assert by["full-k4", RANK].meta["seconds"] >= 0


def test_all_of_it_can_be_done_by_keyboard(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened("keys", worked=(EXAMPLE,))
    key = page.keyboard.press

    def to(selector: str) -> None:
        for _ in range(60):
            if page.evaluate("(s) => document.activeElement.matches(s)", selector):
                return
            key("Tab")
        raise AssertionError(f"60 Tabs do not reach {selector}")

    to("#agree")
    key("Space")
    to("#start")
    key("Enter")
    for turn, count in enumerate((2, 3, 2)):
        for letter in "ABC"[:count]:
            to(f"#q-{letter}-accuracy input")
            for n in range(len(OF.ids())):
                key(str(n + 1))
                key("Tab")
            page.keyboard.type(f"because {letter}")
        for n, letter in enumerate("ABC"[:count]):
            to(f"#place-{letter} input")
            # Space takes the first place, an arrow goes down from it.
            key("Space")
            for _ in range(n):
                key("ArrowRight")
        if turn == 0:
            to("#compare-study")
            key("Enter")
        if turn < 2:
            to(".turn button:last-child")
            key("Enter")
    page.keyboard.press("Shift+Tab")
    page.evaluate("document.activeElement.blur()")
    with page.expect_download() as got:
        to("#export")
        key("Enter")
    file = tmp_path / "keys.json"
    got.value.save_as(file)
    found = ratings.read([file], {"rater-1": sheets("keys")}, OF, worked=[EXAMPLE.sheet])
    assert (found.findings, found.missing) == ([], [])
    mine = [(v.dimension, v.value, v.reason) for v in found.rows if v.item_id == "keys-c9"]
    assert mine == [(d, n, "because B") for n, d in enumerate(OF.ids(), start=1)] + [
        (RANK, 2, "because B")]  # fmt: skip


def test_boxes_are_alike_and_say_when_there_is_more(opened: Callable[..., Any]) -> None:
    page = opened("boxes")
    agree(page)
    sizes = page.evaluate("[...document.querySelectorAll('.said')].map((x) => "
                          "[x.offsetWidth, x.offsetHeight])")  # fmt: skip
    assert len(sizes) == 3
    assert len({tuple(s) for s in sizes}) == 1
    marks = page.locator(".diagnosis .more")
    assert [marks.nth(n).is_visible() for n in range(3)] == [False, True, False]
    page.evaluate("document.querySelectorAll('.said')[1].scrollTo(0, 1e6)")
    marks.nth(1).wait_for(state="hidden")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_it_fits_the_phone_and_can_be_read_in_both_languages(
    opened: Callable[..., Any], language: Language
) -> None:
    page = opened(f"phone-{language}", language, (EXAMPLE,))
    for width in (1280, 640, 390):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    agree(page)
    rate(page, "AB")
    place(page, {"A": 1, "B": 2})
    page.click("#compare-study")
    for n in (0, 1):
        sheet(page, n)
        for width in (390, 640, 1280):
            page.set_viewport_size({"width": width, "height": 844})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            left, right = (page.locator(s).first.bounding_box() for s in (".aside", ".diagnosis"))
            beside = left["x"] + left["width"] <= right["x"]
            assert beside == (width == 1280)
        assert page.evaluate(CONTRAST.read_text("utf-8").split("\n", 1)[1]) == []
    said = page.inner_text("body")
    for d in OF.dimensions:
        assert d.question.in_language(language) in said
        for anchor in d.anchors.values():
            assert anchor.in_language(language) in said
    named = page.evaluate("""[...document.querySelectorAll("input, textarea, button")]
      .filter((x) => !x.labels?.length && !x.getAttribute("aria-label") && !x.textContent.trim())
      .map((x) => x.outerHTML)""")
    assert named == []
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((x) => x.id)")
    assert len(ids) == len(set(ids))
    page.click("#language")
    assert page.inner_text("#h-A") == ("评语 A" if language == "en" else "Diagnosis A")


def test_page_and_package_reckon_the_same_checksum(opened: Callable[..., Any]) -> None:
    page = opened("sum")
    texts = ["a" * n for n in (0, 1, 55, 56, 63, 64, 65, 119, 120, 1000)]
    assert page.evaluate("(all) => all.map(sha256)", texts) == [
        hashlib.sha256(t.encode()).hexdigest() for t in texts
    ]
    odd = {"z": [1, None, True, '𠮷\x7f\x00\u2028"\\/é\n'], "a": {"b-1": "", "B_2": -3, "10": {}}}
    assert page.evaluate("(x) => sealing(x).checksum", odd) == ballots.checksum(odd)


def test_another_rater_s_file_is_not_taken_up(opened: Callable[..., Any], tmp_path: Path) -> None:
    page = opened("own")
    agree(page)
    rate(page, "A", 3)
    whole = json.loads(export(page, tmp_path).read_text("utf-8"))
    for change in ({"rater_id": "rater-2"}, {"values": {"own-k4": {"accuracy": 9}}}):
        other = whole | {"drafts": {"own-s9": whole["drafts"]["own-s9"] | change}}
        (tmp_path / "other.json").write_text(json.dumps(other), "utf-8")
        page.said.clear()
        page.set_input_files("#file", tmp_path / "other.json")
        page.wait_for_timeout(150)
        assert ["does not come from this kind of form" in s for s in page.said] == [True]
        assert page.evaluate("draft().values['own-k4'].accuracy") == 3


def test_time_counts_work_and_not_an_idle_or_hidden_page(opened: Callable[..., Any]) -> None:
    page = opened("time")
    agree(page)
    page.evaluate("clock.active = Date.now(); clock.since = Date.now() - 4000; count()")
    first = page.evaluate("draft().ms")
    assert 3900 < first < 6500
    page.evaluate("clock.active = Date.now() - 121000; clock.since = Date.now() - 4000; count()")
    assert page.evaluate("draft().ms") == first
    # A gap is a computer asleep: at most five seconds of it count.
    page.evaluate("clock.active = Date.now(); clock.since = Date.now() - 900000; count()")
    assert page.evaluate("draft().ms") <= first + 6500


def test_no_judge_stands_anywhere_in_the_file(tmp_path: Path) -> None:
    file = forms.blind(sheets("grep"), OF, tmp_path / "b.html", "en", "rater-1",
                       worked=[EXAMPLE], names=JUDGES)  # fmt: skip
    raw = file.read_text("utf-8").casefold()
    assert "grep-k4" in raw
    assert [name for name in (*JUDGES, "gpt", "qwen", 'judge_id":') if name in raw] == []
    shown = json.loads(re.findall(r'id="data">(.*?)</script>', file.read_text("utf-8"))[0])
    keys = {"id", "title", "language", "text", "sha256", "turn", "name", "diagnoses", "worked"}
    assert shown["items"][1].keys() == keys
    assert [list(d) for d in shown["items"][1]["diagnoses"]] == [["code", "text"]] * 3


def test_two_raters_never_share_a_store(tmp_path: Path) -> None:
    made = [
        re.findall(r'"form_id": "(\w+)"', forms.blind(
            sheets("x"), OF, tmp_path / "b.html", "en", rater).read_text("utf-8"))
        for rater in ("rater-1", "rater-2", "rater-1")
    ]  # fmt: skip
    assert made[0] == made[2] != made[1]


def test_every_word_and_address_of_the_script_is_in_order() -> None:
    script = "".join(forms._asset(name) for name in forms.BLIND)
    asked = set(re.findall(r'\bt\("([a-z][a-z0-9-]*)"', script))
    asked |= set(re.findall(r'\bt\([\w.() ]+ \? "([a-z-]+)"', script))
    assert {"all-done", "example-hint", "export-open"} <= asked | forms.words().keys()
    assert asked <= forms.words().keys()
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(",
                 "fetch(", "XMLHttp", "WebSocket", "sendBeacon", "import(", "http:", "https:",
                 "url(", "@import"):  # fmt: skip
        assert word not in script + forms._asset("blind.css"), word
