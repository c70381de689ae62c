from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import forms, intake, taxonomy
from cqa_helpers.annotations import STEPS, Annotation, Step, compose, misfits
from cqa_helpers.records import Passage, Verdict
from cqa_helpers.taxonomy import Taxonomy, Text

NIGHT = Passage(
    id="夜-1", work_id="w", language="zh", domain="social-mystery", origin="model-authored",
    licence="CC-BY-4.0", source="written for this test",
    text="𠮷田把表停在九点，说是🕯️烧完的时候。\n\n可那晚停电，他怎么看得见钟？她没有问，只把蜡烛头数了一遍。",
    meta={"title": "停电"},
)  # fmt: skip
HOSTILE = Passage(
    id="<b>h</b>", work_id="w", language="en", origin="simulated", licence="CC0-1.0",
    source="written for this test",
    text="<script>window.hit=1</script></textarea><img src=x onerror=window.hit=1>]]>\n=cmd()\t"
    "a\u202eb\u2066c\u2069\u200bd\ufeff\x00\x07\u2028e &amp; </script>😀\r\nend",
)  # fmt: skip
PLAIN = Passage(
    id="p3", work_id="w", language="en", origin="simulated", licence="CC0-1.0",
    source="written for this test", text="She locked the door twice. He heard it once.",
)  # fmt: skip
CONTRAST = Path(__file__).parent / "forms" / "contrast.js"
PASSAGES = (NIGHT, HOSTILE, PLAIN)
STEP_TEXTS = (
    "他说看见了钟。",
    "为了立不在场的证。",
    "读者先信，再生疑。",
    "要是没停电，就没有破绽。",
    "这一笔有效。",
)


@pytest.fixture(scope="module")
def of() -> Taxonomy:
    return taxonomy.load("cqa")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory, of: Taxonomy) -> Path:
    return forms.annotate(PASSAGES, of, tmp_path_factory.mktemp("form") / "form.html")


class Parts(HTMLParser):
    """The elements of a page, with the text of its scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[tuple[str, dict[str, str | None], str]] = []
        self._in: tuple[str, dict[str, str | None]] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._in = (tag, dict(attrs)) if tag in ("script", "style") else None

    def handle_endtag(self, tag: str) -> None:
        self._in = None

    def handle_data(self, data: str) -> None:
        if self._in:
            self.inline.append((*self._in, data))

    def data(self) -> Any:
        (text,) = (t for tag, given, t in self.inline if given.get("id") == "data")
        return json.loads(text)


def parts(path: Path) -> Parts:
    with path.open(encoding="utf-8", newline="") as file:
        return Parts(file.read())


# ---- the file --------------------------------------------------------------------------------


def test_the_file_holds_all_it_needs_and_asks_for_nothing(page_file: Path) -> None:
    found = parts(page_file)
    assert [tag for tag, given in found.elements if {"src", "href"} & given.keys()] == []
    assert [tag for tag, _ in found.elements if tag in ("link", "img", "iframe", "object")] == []
    assert [tag for tag, _, _ in found.inline] == ["style", "script", "script"]
    scripts = "".join(t for _, given, t in found.inline if "id" not in given)
    for word in ("innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "Function(",
                 "fetch(", "XMLHttp", "WebSocket", "sendBeacon", "import(", "http:", "https:",
                 "url(", "@import"):  # fmt: skip
        assert word not in scripts, word


def test_the_policy_allows_this_script_and_this_style_and_nothing_else(page_file: Path) -> None:
    found = parts(page_file)
    (policy,) = (g["content"] for t, g in found.elements if t == "meta" and "http-equiv" in g)
    rules = dict(rule.split(" ", 1) for rule in (policy or "").split("; "))
    for name, tag in (("script-src", "script"), ("style-src", "style")):
        (text,) = (t for kind, given, t in found.inline if kind == tag and "id" not in given)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules.pop(name) == f"'sha256-{digest}'"
    assert set(rules.values()) == {"'none'"}
    assert "default-src" in rules


def test_texts_are_data_and_never_markup(page_file: Path) -> None:
    raw = page_file.read_text("utf-8")
    assert "window.hit" in raw
    assert not re.search(r"<(script|img)[^>]*>window.hit|<img|\u2028", raw)
    items = parts(page_file).data()["items"]
    assert [i["text"] for i in items] == [p.text for p in PASSAGES]
    assert items[0]["sha256"] == hashlib.sha256((NIGHT.text or "").encode()).hexdigest()


def test_a_title_cannot_end_its_element(tmp_path: Path, of: Taxonomy) -> None:
    title = Text(en="</title><script>1</script>", zh="标题")
    page = forms.rate([("a", "b")], of, tmp_path / "r.html", "en", title)
    assert [t for t, _, _ in parts(page).inline] == ["style", "script", "script"]


def test_the_form_id_names_texts_and_questions_and_not_the_interface(
    tmp_path: Path, of: Taxonomy
) -> None:
    def form_id(passages: tuple[Passage, ...], asked: Taxonomy, **given: Any) -> str:
        id: str = parts(forms.annotate(passages, asked, tmp_path / "f.html", **given)).data()[
            "form_id"
        ]
        return id

    first = form_id((NIGHT,), of)
    assert first == form_id((NIGHT,), of, language="en", expert_id="e", engineer_id="k")
    others = [
        form_id((NIGHT.model_copy(update={"text": "别的。"}),), of),
        form_id((NIGHT.model_copy(update={"id": "q"}),), of),
        form_id((NIGHT, PLAIN), of),
        form_id((NIGHT,), of.model_copy(update={"dimensions": of.dimensions[:2]})),
    ]
    assert len({first, *others}) == 5


@pytest.mark.parametrize(
    ("passages", "said"),
    [((), "at least one"), ((PLAIN, PLAIN), "given twice: p3"),
     ((PLAIN, NIGHT.model_copy(update={"text": None, "url": "u"})), "No text to show for 夜-1")],
)  # fmt: skip
def test_what_cannot_be_shown_is_refused_and_nothing_is_written(
    tmp_path: Path, of: Taxonomy, passages: tuple[Passage, ...], said: str
) -> None:
    with pytest.raises(forms.FormError, match=said):
        forms.annotate(passages, of, tmp_path / "f.html")
    assert list(tmp_path.iterdir()) == []


def test_every_word_of_the_scripts_stands_in_both_languages() -> None:
    words = forms.words()
    script = "".join(forms._asset(name) for name in (*forms.ANNOTATE, "rate.js"))
    asked = set(re.findall(r'\bt\("([a-z][a-z0-9-]*)"', script))
    assert asked <= words.keys()
    for key, said in words.items():
        assert said.keys() == {"en", "zh"}, key
        assert re.findall(r"\{\w+\}", said["en"]) == re.findall(r"\{\w+\}", said["zh"]), key
        assert re.search(r"[\u4e00-\u9fff]", said["zh"]), key


# ---- the page in a browser -------------------------------------------------------------------


@pytest.fixture(scope="module")
def launch() -> Iterator[Callable[..., Any]]:
    """Return a function that opens headless Chromium on a profile folder."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on the path: the forms were not tried in a browser")
    with sync_api.sync_playwright() as play:

        def start(profile: Path, **options: Any) -> Any:
            given = {"viewport": {"width": 1280, "height": 900}} | options
            context = play.chromium.launch_persistent_context(
                profile, executable_path=chromium, args=["--no-sandbox"], **given
            )
            context.set_default_timeout(10_000)
            return context

        yield start


@pytest.fixture(scope="module")
def context(launch: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return one browser for all tests that need no profile of their own."""
    shared = launch(tmp_path_factory.mktemp("profile"))
    yield shared
    shared.close()


@pytest.fixture
def asked(context: Any) -> Iterator[list[str]]:
    """Return the address of each request that is made during a test."""
    seen: list[str] = []
    keep = lambda request: seen.append(request.url)  # noqa: E731
    context.on("request", keep)
    yield seen
    context.remove_listener("request", keep)


def visit(context: Any, file: Path, ready: str = "#saved") -> Any:
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda m: faults.append(m.text) if m.type in ("error", "warning") else None)
    page.faults = faults
    page.goto(file.as_uri())
    page.wait_for_selector(ready)
    return page


@pytest.fixture
def fresh(context: Any, tmp_path: Path, of: Taxonomy) -> Iterator[Any]:
    """Return a page on a form of its own: a marked passage makes its id differ."""
    own = PLAIN.model_copy(update={"id": tmp_path.name})
    page = visit(context, forms.annotate([*PASSAGES, own], of, tmp_path / "form.html"))
    yield page
    assert page.faults == []
    page.close(run_before_unload=False)


def until(page: Any, holds: Callable[[], bool]) -> None:
    """Wait for something that dialogs tell; the page's policy forbids waiting inside the page."""
    for _ in range(100):
        if holds():
            return
        page.wait_for_timeout(30)
    raise AssertionError("waited 3 s in vain")


def saved(page: Any) -> None:
    page.wait_for_selector("#saved[data-kind=saved]")


def passage(page: Any, n: int) -> None:
    page.locator("nav li button").nth(n).click()


def drag(page: Any, quote: str) -> None:
    """Select words of the passage with the mouse, from their left to their right edge."""
    box = page.evaluate(
        """(quote) => {
          const box = document.getElementById("passage"), walk = document.createTreeWalker(box, 4);
          let node;
          while ((node = walk.nextNode())) {
            const at = node.data.indexOf(quote);
            if (at < 0) continue;
            const r = document.createRange();
            r.setStart(node, at); r.setEnd(node, at + quote.length);
            node.parentNode.scrollIntoView({ block: "center" });
            const all = [...r.getClientRects()], a = all[0], b = all[all.length - 1];
            return [a.left + 1, a.top + a.height / 2, b.right - 1, b.top + b.height / 2];
          }
        }""",
        quote,
    )
    page.mouse.move(box[0], box[1])
    page.mouse.down()
    page.mouse.move(box[2], box[3], steps=4)
    page.mouse.up()


def export(page: Any, to: Path) -> Any:
    with page.expect_download() as got:
        page.click("#export")
    file = to / got.value.suggested_filename
    got.value.save_as(file)
    return json.loads(file.read_text("utf-8"))


def recall(page: Any, text: str = "先觉得钟不对。") -> None:
    page.fill("#recall", text)
    page.click("#close-recall")


def fill(page: Any, of: Taxonomy) -> None:
    """Fill a whole annotation as a person would, without marking any evidence."""
    page.fill("#expert_id", "专家-1")
    page.fill("#engineer_id", "k1")
    page.fill("#minutes", "12.5")
    recall(page)
    page.click("[data-add=add-probe]")
    probe = page.locator("#s-probes fieldset").first
    for n, said in enumerate(("怎么看得见？", "试前提", "借着烛光。", "不，蜡烛已尽。")):
        probe.locator("textarea, input[type=text]").nth(n).fill(said)
    probe.locator("input[value=counterfactual]").check()
    probe.locator("input[value=prior-practice]").check()
    for d in of.dimensions:
        for kind, said in zip(STEPS, STEP_TEXTS, strict=True):
            page.fill(f"#{d.id}-{kind}", f" {said}\n")
        card = page.locator(f"#d-{d.id}")
        card.locator("> .choices.tall input[value='1']").check()
        card.locator("> .choices:not(.tall) input[value='4']").check()
    first = page.locator("#d-craft details.facets")
    first.locator("> summary").click()
    first.locator("input[value='1']").first.check()
    page.click("[data-add=add-claim]")
    claim = page.locator("#s-claims fieldset").first
    claim.locator("textarea").first.fill("因为停电，看不见钟。")
    claim.locator("> .tick input").check()
    claim.locator("[data-add=add-branch]").click()
    claim.locator(".branch textarea").nth(0).fill("要是没有停电")
    claim.locator(".branch textarea").nth(1).fill("证词就站住了")
    page.fill("#transcript", "嗯，那个，他说看见了钟。为了立不在场的证。")
    page.click("#compose")
    page.fill("#preamble", "停电之夜的证词。")
    page.fill("#summary", "一处破绽，埋得有效。")


def test_an_annotation_made_in_the_browser_is_valid_and_true_to_the_text(
    context: Any, page_file: Path, of: Taxonomy, tmp_path: Path, asked: list[str]
) -> None:
    page = visit(context, page_file)
    drag(page, "停在九点")
    page.click("[data-mark=craft]")
    page.locator(".evidence input").fill("钟")
    page.focus("#passage")
    page.keyboard.press("Home")
    page.evaluate("getSelection().setBaseAndExtent(...Array(2).fill("
                  "[document.getElementById('passage'), 0]).flat())")  # fmt: skip
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("3")
    page.keyboard.press("s")
    page.keyboard.press("2")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("End")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("Shift+ArrowLeft")
    page.keyboard.press("1")
    drag(page, "🕯️烧完")
    page.keyboard.press("3")
    fill(page, of)
    assert "1.00" in page.inner_text("#density")
    assert page.locator("#gaps li").count() == 0
    page.click("#finish")
    passage(page, 2)
    page.fill("#recall", "begun only")
    whole = export(page, tmp_path)
    (row,) = whole["annotations"]
    made = Annotation.model_validate(row)
    assert misfits(made, NIGHT, of) == []
    taken = intake.read(list(tmp_path.glob("*.json")), of)
    assert [p.record for p in taken.placed] == [made]
    assert [f.severe for f in taken.findings] == [False]
    letters = NIGHT.text or ""
    assert {s.quote for s in made.evidence} >= {"停在九点", "𠮷", "🕯️烧完"}
    assert len(made.evidence) == 5
    for span in made.evidence:
        assert letters[span.start : span.end] == span.quote
    (sentence,) = (s.quote for s in made.evidence if s.dimension == "audience")
    assert letters.startswith("𠮷")
    assert sentence.endswith("。")
    assert [s.note for s in made.evidence if s.quote == "停在九点"] == ["钟"]
    for judgement in made.judgements:
        assert judgement.reason == compose(judgement.steps, "zh") == "".join(STEP_TEXTS)
        assert (judgement.value, judgement.score) == (1, 4)
    assert made.judgements[0].facets == {"ethos": 1}
    assert made.cot_body == "\n\n".join(["".join(STEP_TEXTS)] * len(of.dimensions))
    assert (made.minutes, made.protocol, made.engineer_id) == (12.5, "bc", "k1")
    (probe,) = made.probes
    assert (probe.kind, probe.origin, probe.correction) == (
        "counterfactual", "prior-practice", "不，蜡烛已尽。",
    )  # fmt: skip
    assert probe.at is not None
    assert made.recall_closed is not None
    assert probe.at.tzinfo is not None
    assert probe.at >= made.recall_closed
    assert made.counterfactual_density() == 1.0
    assert whole["unfinished"] == ["p3"]
    assert whole["drafts"].keys() == {"夜-1", "p3"}
    assert [p["id"] for p in whole["passages"]] == [p.id for p in PASSAGES]
    assert page.faults == []
    assert {url.split(":")[0] for url in asked} <= {"file", "blob"}
    page.close()


def test_questions_stay_shut_until_the_recall_is_closed_and_probes_seal_it(fresh: Any) -> None:
    said: list[str] = []
    fresh.on("dialog", lambda d: (said.append(d.message), d.accept()))
    assert fresh.locator("[data-add=add-probe], .ask, [data-add=add-claim]").count() == 0
    fresh.click("#close-recall")
    assert len(said) == 1
    assert fresh.locator("[data-add=add-probe]").count() == 0
    recall(fresh)
    assert fresh.locator("[data-add=add-probe]").count() == 1
    assert not fresh.locator("#recall").is_editable()
    fresh.click("#reopen")
    assert fresh.locator("[data-add=add-probe]").count() == 0
    fresh.click("#close-recall")
    fresh.click("[data-add=add-probe]")
    fresh.locator("#s-probes textarea").first.fill("为什么？")
    passage(fresh, 1)
    passage(fresh, 0)
    assert fresh.locator("#reopen").count() == 0
    assert fresh.locator("#s-probes textarea").first.input_value() == "为什么？"


def test_a_closed_or_killed_browser_loses_nothing_that_was_saved(
    launch: Callable[..., Any], page_file: Path, tmp_path: Path
) -> None:
    profile = tmp_path / "profile"
    context = launch(profile)
    page = visit(context, page_file)
    page.fill("#expert_id", "e1")
    drag(page, "蜡烛头")
    page.keyboard.press("2")
    recall(page)
    page.fill("#craft-observation", "写到一半")
    saved(page)
    before = page.evaluate("JSON.stringify(draft())")
    context.close()

    context = launch(profile)
    page = visit(context, page_file)
    assert page.evaluate("JSON.stringify(draft())") == before
    assert page.input_value("#craft-observation") == "写到一半"
    page.fill("#craft-observation", "又写了一句，然后断电")
    saved(page)
    before = page.evaluate("JSON.stringify(draft())")
    kill(profile)
    launch_after_kill = launch(profile)
    page = visit(launch_after_kill, page_file)
    assert page.evaluate("JSON.stringify(draft())") == before
    assert page.locator(".evidence .quote").inner_text() == "蜡烛头"
    assert page.locator("#s-reasoning").count() == 1
    launch_after_kill.close()


def kill(profile: Path) -> None:
    """Kill the processes of one browser, known by its profile folder, without warning."""
    if not Path("/proc").is_dir():
        pytest.skip("no /proc: the browser's process cannot be found")
    mine = f"--user-data-dir={profile}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mine in (entry / "cmdline").read_bytes().split(b"\0"):
                os.kill(int(entry.name), signal.SIGKILL)
        except OSError:
            continue
    time.sleep(0.3)


def test_the_interface_changes_its_language_and_nothing_else(fresh: Any, of: Taxonomy) -> None:
    fill(fresh, of)
    before = fresh.evaluate("JSON.stringify(draft())")
    fields = "[...document.querySelectorAll('#main input, #main textarea')].map(x => " \
             "x.type === 'radio' || x.type === 'checkbox' ? x.checked : x.value)"  # fmt: skip
    held, text = fresh.evaluate(fields), fresh.inner_text("#passage")
    assert fresh.inner_text("#s-recall h2").endswith("自发回想")
    fresh.click("#language")
    assert fresh.inner_text("#s-recall h2").endswith("Unprompted recall")
    assert fresh.evaluate(fields) == held
    assert fresh.inner_text("#passage") == text
    assert fresh.evaluate("JSON.stringify(draft())") == before
    raw = fresh.evaluate("document.getElementById('app').innerText")
    assert not re.search(r"[\u4e00-\u9fff]", re.sub(r"中文", "", fresh.inner_text("header")))
    assert not re.findall(r"\b(?:[hm]|step|score|kind)-[a-z]+\b", raw)
    saved(fresh)
    fresh.reload()
    fresh.wait_for_selector("#language")
    assert fresh.inner_text("#language") == "中文"


def test_a_hostile_passage_is_shown_as_text(fresh: Any, tmp_path: Path) -> None:
    passage(fresh, 1)
    assert fresh.evaluate("document.getElementById('passage').textContent") == HOSTILE.text
    fresh.focus("#passage")
    fresh.keyboard.press("s")
    fresh.keyboard.press("1")
    drag(fresh, "end")
    fresh.keyboard.press("2")
    fresh.fill("#transcript", HOSTILE.text or "")
    fresh.fill("#cot_body", "b")
    fresh.click("#compare")
    letters = HOSTILE.text or ""
    for span in export(fresh, tmp_path)["drafts"][HOSTILE.id]["evidence"]:
        assert letters[span["start"] : span["end"]] == span["quote"]
    fresh.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert HOSTILE.text in fresh.evaluate("document.getElementById('print').textContent")
    assert fresh.evaluate("window.hit") is None
    assert fresh.locator("#app img, #app script, #print img").count() == 0
    named = fresh.evaluate("[...document.querySelectorAll('#passage .ctl')].map(x => "
                           "x.dataset.name)")  # fmt: skip
    assert {"U+202E", "U+2066", "U+200B", "U+0000", "U+FEFF"} <= set(named)
    # The overriding mark is boxed in: the letter after it stands to its right.
    place = fresh.evaluate("""() => {
      const box = document.getElementById("passage"), at = box.textContent.indexOf("\\u2066");
      const walk = document.createTreeWalker(box, 4), found = {};
      let node;
      while ((node = walk.nextNode())) for (const c of "bcd") {
        if (node.data !== c && !(c === "d" && node.data.startsWith("d"))) continue;
        const r = document.createRange(); r.selectNode(node);
        found[c] = r.getBoundingClientRect().left;
      }
      return found;
    }""")
    assert place["b"] < place["c"] < place["d"]


def test_a_file_continues_on_another_machine_and_never_replaces_unasked(
    launch: Callable[..., Any], page_file: Path, of: Taxonomy, tmp_path: Path
) -> None:
    first = launch(tmp_path / "one")
    page = visit(first, page_file)
    drag(page, "停在九点")
    page.keyboard.press("1")
    fill(page, of)
    passage(page, 2)
    page.fill("#recall", "half")
    sent = export(page, tmp_path)
    (file,) = tmp_path.glob("*.json")
    first.close()
    second = launch(tmp_path / "two")
    page = visit(second, page_file)
    answers: list[bool] = []
    said: list[str] = []

    def answer(dialog: Any) -> None:
        said.append(dialog.message)
        if dialog.type == "confirm" and not answers.pop(0):
            dialog.dismiss()
        else:
            dialog.accept()

    page.on("dialog", answer)
    page.set_input_files("#file", file)
    until(page, lambda: bool(said))
    here = page.evaluate("state.drafts")
    assert {id: here[id] for id in sent["drafts"]} == sent["drafts"]
    assert page.input_value("#expert_id") == "专家-1"
    page.fill("#summary", "我改的")
    mine = page.evaluate("draft()")
    for keep in (True, False):
        answers.append(not keep)
        said.clear()
        page.set_input_files("#file", file)
        until(page, lambda: len(said) == 2)
        assert "夜-1" in said[0]
        assert page.evaluate("draft()") == (mine if keep else sent["drafts"]["夜-1"])
    bad = tmp_path / "bad.json"
    draft = sent["drafts"]["夜-1"]
    elsewhere = draft["evidence"][0] | {"dimension": "elsewhere"}
    strange = [
        sent | {"drafts": {"夜-1": draft | change}}
        for change in ({"judgements": 3}, {"evidence": [elsewhere]})
    ]
    other_text = sent | {"passages": [{"id": "夜-1", "sha256": "0"}],
                         "drafts": {"夜-1": draft | {"summary": "of another text"}}}  # fmt: skip
    for content in ("{", *map(json.dumps, ({"kind": "other"}, *strange, other_text))):
        bad.write_text(content, "utf-8")
        said.clear()
        page.set_input_files("#file", bad)
        until(page, lambda: bool(said))
        assert page.evaluate("draft()") == sent["drafts"]["夜-1"]
    assert page.faults == []
    second.close()


def test_a_second_tab_reads_only_until_the_first_is_closed(
    fresh: Any, context: Any, tmp_path: Path
) -> None:
    fresh.fill("#recall", "first")
    saved(fresh)
    other = visit(context, tmp_path / "form.html", ".banner")
    assert not other.locator("#recall").is_editable()
    other.evaluate("draft().recall = 'second'; touched()")
    other.wait_for_timeout(200)
    fresh.goto("about:blank")
    other.wait_for_selector("#recall:enabled")
    assert other.input_value("#recall") == "first"
    other.close()


def test_what_cannot_be_read_is_not_written_over(fresh: Any, context: Any, tmp_path: Path) -> None:
    fresh.fill("#recall", "kept")
    saved(fresh)
    fresh.goto("about:blank")
    page = context.new_page()
    page.add_init_script("IDBObjectStore.prototype.getAll = () => { throw new Error('damaged'); };")
    page.goto((tmp_path / "form.html").as_uri())
    page.wait_for_selector(".banner")
    assert not page.locator("#recall").is_editable()
    page.close()
    fresh.goto((tmp_path / "form.html").as_uri())
    assert fresh.locator("#recall").input_value() == "kept"


@pytest.mark.parametrize("left", ["localStorage", "nothing"])
def test_the_note_on_saving_tells_the_truth_where_storage_fails(
    context: Any, tmp_path: Path, of: Taxonomy, left: str
) -> None:
    file = forms.annotate([NIGHT.model_copy(update={"id": left})], of, tmp_path / "form.html")
    page = context.new_page()
    page.add_init_script("Object.defineProperty(window, 'indexedDB', { value: null });")
    if left == "nothing":
        page.add_init_script("Storage.prototype.setItem = () => { throw new Error('full'); };")
    page.goto(file.as_uri())
    page.wait_for_selector("#recall")
    page.fill("#recall", "写下")
    kind = "unsaved" if left == "nothing" else "saved-weakly"
    page.wait_for_selector(f"#saved[data-kind={kind}]")
    warned: list[str] = []
    page.on("dialog", lambda d: (warned.append(d.type), d.accept()))
    if left == "nothing":
        page.close(run_before_unload=True)
        until(context.pages[0], lambda: bool(warned))
        assert warned == ["beforeunload"]
    else:
        page.reload()
        page.wait_for_selector("#recall")
        assert page.input_value("#recall") == "写下"
        assert warned == []
        page.close()


def shown_diff(page: Any) -> list[list[str]]:
    found: list[list[str]] = page.evaluate(
        "[...document.querySelectorAll('#diff > *')].map(x => [x.localName, x.textContent])"
    )
    return found


@pytest.mark.parametrize(
    ("before", "after", "kept"),
    [
        ("嗯，他说看见了钟。那个，不对。", "他说看见了钟，不对。", ("他说看见了钟",)),
        ("Well, I saw it, you know, at once.", "I saw the hook at once.", ("I saw ", " at once.")),
        ("", "x", ()),
        ("abc", "abc", ("abc",)),
    ],
)
def test_the_difference_gives_back_both_texts(
    fresh: Any, before: str, after: str, kept: tuple[str, ...]
) -> None:
    fresh.fill("#transcript", before)
    fresh.fill("#cot_body", after)
    fresh.click("#compare")
    runs = shown_diff(fresh)
    if not before:
        assert runs == []
        return
    assert "".join(t for kind, t in runs if kind != "ins") == before
    assert "".join(t for kind, t in runs if kind != "del") == after
    same = [t for kind, t in runs if kind == "span"]
    assert all(any(k in t for t in same) for k in kept)


def test_the_difference_of_long_texts_is_there_at_once(fresh: Any) -> None:
    made = """() => {
      let seed = 7;
      const next = () => (seed = (seed * 1103515245 + 12345) % 2147483648);
      const a = Array.from({ length: 20000 }, () => String.fromCodePoint(0x4e00 + next() % 600));
      const b = a.filter(() => next() % 5).map((c) => (next() % 9 ? c : "改"));
      const before = a.join(""), after = b.join(""), start = performance.now();
      const runs = showDiff(before, after).map((n) => [n.localName, n.textContent]);
      const took = performance.now() - start;
      const said = (not) => runs.filter(([k]) => k !== not).map(([, s]) => s).join("");
      const kept = runs.filter(([k]) => k === "span").reduce((n, [, s]) => n + s.length, 0);
      return { took, before: said("ins") === before, after: said("del") === after, kept };
    }"""
    found = fresh.evaluate(made)
    assert found["before"]
    assert found["after"]
    assert found["kept"] > 8_000
    assert found["took"] < 3_000


def test_reasons_are_composed_alike_in_page_and_package(fresh: Any) -> None:
    odd = ["\u3000一。\n", "\x1f二", "\ufeff三\ufeff", "\x85四\u2028", " \t"]
    for language in ("zh", "en", "zh-Hant"):
        steps = [Step(kind=k, text=t) for k, t in zip(STEPS, odd, strict=True) if t.strip()]
        found = fresh.evaluate(
            "([texts, language]) => compose(stepsOf({ steps: Object.fromEntries(STEPS.map((k, i) "
            "=> [k, texts[i]])) }), language)", [odd, language],
        )  # fmt: skip
        assert found == compose(steps, language)


def test_cannot_judge_is_missing_and_not_a_value(fresh: Any, of: Taxonomy, tmp_path: Path) -> None:
    fill(fresh, of)
    fresh.locator("#d-audience input[value=cannot]").check()
    fresh.fill("#minutes", "")
    fresh.locator("#s-session input[value=solo]").check()
    fresh.click("#finish")
    (row,) = export(fresh, tmp_path)["annotations"]
    made = Annotation.model_validate(row)
    assert [j.dimension for j in made.judgements] == ["craft", "reality_logic"]
    assert made.meta["cannot_judge"] == ["audience"]
    assert made.minutes is None
    assert made.engineer_id is None
    fresh.fill("#cot_body", "")
    emptied = export(fresh, tmp_path)
    assert emptied["annotations"] == []
    assert emptied["unfinished"] == [NIGHT.id]


def test_the_clock_counts_while_it_runs_and_its_minutes_can_be_corrected(fresh: Any) -> None:
    fresh.click("#clock")
    fresh.wait_for_timeout(250)
    fresh.click("#clock")
    counted = fresh.evaluate("draft().seconds")
    assert 0.2 < counted < 5
    fresh.wait_for_timeout(200)
    assert fresh.evaluate("draft().seconds") == counted
    fresh.fill("#minutes", "30")
    assert fresh.evaluate("draft().seconds") == 1800


def test_the_print_holds_every_answer(fresh: Any, of: Taxonomy) -> None:
    fill(fresh, of)
    fresh.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    paper = fresh.evaluate("document.getElementById('print').textContent")
    for said in (*STEP_TEXTS, "先觉得钟不对。", "借着烛光。", "不，蜡烛已尽。", "因为停电",
                 "证词就站住了", "嗯，那个", "停电之夜的证词。", "一处破绽", "12.5"):  # fmt: skip
        assert said in paper, said
    fresh.emulate_media(media="print")
    assert fresh.locator("#print").is_visible()
    assert not fresh.locator("#app").is_visible()
    fresh.emulate_media(media="screen")


def test_controls_are_named_and_the_page_fits_screen_zoom_and_phone(
    fresh: Any, of: Taxonomy
) -> None:
    fill(fresh, of)
    # 640 is what 200 % zoom leaves of 1280.
    for width in (1280, 640, 390):
        fresh.set_viewport_size({"width": width, "height": 844})
        assert fresh.evaluate("document.documentElement.scrollWidth") <= width
    nameless = fresh.evaluate("""[...document.querySelectorAll("input, textarea, select, button")]
      .filter((x) => !x.labels?.length && !x.getAttribute("aria-label") && !x.textContent.trim())
      .map((x) => x.outerHTML)""")
    assert nameless == []
    ids = fresh.evaluate("[...document.querySelectorAll('[id]')].map((x) => x.id)")
    assert len(ids) == len(set(ids))


def test_text_stands_out_from_its_ground(fresh: Any, of: Taxonomy) -> None:
    fill(fresh, of)
    drag(fresh, "蜡烛头")
    fresh.keyboard.press("2")
    fresh.click("#compare")
    faint = fresh.evaluate(CONTRAST.read_text("utf-8").split("\n", 1)[1])
    assert faint == []


def test_a_rating_sheet_goes_out_and_verdicts_come_back(
    context: Any, tmp_path: Path, asked: list[str]
) -> None:
    quality = taxonomy.load("cot-quality")
    items = [("ann-1", HOSTILE.text or ""), ("ann-2", "只有一句。")]
    title = Text(en="Quality of the reasoning", zh="推理质量评分")
    intro = Text(en="Read each text once.", zh="每篇请通读一遍。")
    page = visit(context, forms.rate(items, quality, tmp_path / "r.html", "en", title, intro))
    assert "Read each text once." in page.inner_text("main")
    first, second, third, *_ = quality.ids()
    shown = page.evaluate("document.querySelector('.passage').textContent")
    assert shown == HOSTILE.text
    said: list[str] = []
    page.on("dialog", lambda d: (said.append(d.message), d.accept()))
    page.locator(f"#d-{first} input[value='3']").check()
    assert export(page, tmp_path)["verdicts"] == []
    assert len(said) == 1
    page.fill("#judge", "rater-7")
    page.locator(f"#d-{first} textarea").fill("大半可循。")
    page.locator(f"#d-{second} input[value=cannot]").check()
    page.locator(f"#d-{third} textarea").fill("a reason without an answer")
    page.click("#language")
    page.locator("nav li button").nth(1).click()
    for d in quality.ids():
        page.locator(f"#d-{d} input[value='5']").check()
    assert page.inner_text("#count") == "完成 1 / 2 篇"
    saved(page)
    page.reload()
    page.wait_for_selector("#judge")
    assert page.locator(f"#d-{first} input[value='5']").is_checked()
    whole = export(page, tmp_path)
    rows = [Verdict.model_validate(row) for row in whole["verdicts"]]
    assert (whole["kind"], whole["version"], whole["judge_id"]) == ("cqa-ratings", 1, "rater-7")
    found = {(r.item_id, r.dimension): (r.value, r.status, r.reason) for r in rows}
    assert found[("ann-1", first)] == (3, "ok", "大半可循。")
    assert found[("ann-1", second)] == (None, "refused", "")
    assert ("ann-1", third) not in found
    assert [found[("ann-2", d)][0] for d in quality.ids()] == [5] * len(quality.ids())
    assert all(r.scale == "1-5" and r.judge_id == "rater-7" for r in rows)
    assert page.faults == []
    assert page.evaluate("window.hit") is None
    assert {url.split(":")[0] for url in asked} <= {"file", "blob"}
    page.close()
