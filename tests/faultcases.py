"""The faults an endpoint is driven through, what each run came to, and the table of it."""

from __future__ import annotations

import json
import os
import threading
import traceback
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import faultserver
from cqa_helpers import prompts, taxonomy
from cqa_helpers.calls import CallRecord
from cqa_helpers.judges.endpoint import Endpoint
from cqa_helpers.judges.panel import JudgeError, Panel
from cqa_helpers.prompts import Question
from cqa_helpers.records import Passage, Status, Verdict
from cqa_helpers.sections import Live, Prices
from faultserver import Entry, FaultServer

KEY = "sk-fault-" + "9d1f4c7ab2e86035"
VARIABLE = "CQA_FAULT_KEY"
INPUT_USD, OUTPUT_USD = 2.0, 8.0
PRICES = Prices.model_validate({
    "as_of": date(2026, 11, 1), "source": "invented for a test",
    "usd_per_million_tokens": {faultserver.MODEL: {"input": INPUT_USD, "output": OUTPUT_USD}},
})  # fmt: skip
PANEL = Panel(taxonomy.load("cqa"), prompts.load_dialect("editor"))
# A reply of the model that never reaches us whole may have been charged: no client can know.
LOSSY = frozenset({"cut-body", "drip", "truncated-json", "no-choices"})


class Case(NamedTuple):
    """A fault, and what must become of a question that always meets it.

    ``status`` is None where every call would fail alike, so that the run stops in words.
    ``why`` must stand in ``meta.why``.
    """

    fault: str
    what: str
    status: Status | None
    why: str = ""


CASES = (
    Case("429", "429 without Retry-After", "failed", "RateLimitError"),
    Case("429-seconds", "429, Retry-After: 1", "failed", "RateLimitError"),
    Case("429-date", "429, Retry-After: a date", "failed", "RateLimitError"),
    Case("429-a-day", "429, Retry-After: 86400", "failed", "RateLimitError"),
    Case("429-nonsense", "429, Retry-After: soon", "failed", "RateLimitError"),
    Case("408", "408", "failed", "APIStatusError"),
    Case("409", "409", "failed", "ConflictError"),
    Case("500", "500", "failed", "InternalServerError"),
    Case("503", "503", "failed", "InternalServerError"),
    Case("html-502", "502 with a web page", "failed", "InternalServerError"),
    Case("500-echo", "500 that echoes the key", "failed", "InternalServerError"),
    Case("400-echo", "400 that echoes the key", "failed", "BadRequestError"),
    Case("cut-headers", "connection cut before the headers", "failed", "APIConnectionError"),
    Case("cut-body", "connection cut within the body", "failed", "APIConnectionError"),
    Case("silence", "no byte ever", "failed", "APITimeoutError"),
    Case("drip", "a byte every 0.2 s for ever", "failed", "APITimeoutError"),
    Case("html", "a web page with 200", "failed", "NotACompletion"),
    Case("other-schema", "other JSON with 200", "failed", "NotACompletion"),
    Case("json-list", "a JSON list with 200", "failed", "NotACompletion"),
    Case("error-with-200", "an error with 200", "failed", "NotACompletion"),
    Case("truncated-json", "half a JSON body with 200", "failed", "NotACompletion"),
    Case("no-choices", "a completion without a choice", "failed", "NotACompletion"),
    Case("400-too-long", "400, context length exceeded", "failed", "too long"),
    Case("400-filter", "400, content filter", "refused", "content_filter"),
    Case("refusal", "refusal", "refused", "refusal"),
    Case("content-filter", "finish_reason content_filter", "refused", "content_filter"),
    Case("empty", "empty content", "unparsed", "empty"),
    Case("null", "content null", "unparsed", "empty"),
    Case("truncated", "finish_reason length, half the JSON", "unparsed", "truncated"),
    Case("quoted-then-cut", "cut off after a quoted verdict", "unparsed", "truncated"),
    Case("no-json", "prose instead of JSON", "unparsed", "no verdict"),
    Case("wrong-word", "a verdict outside the words", "unparsed", "no verdict"),
    Case("wrong-type", "a list as verdict", "unparsed", "no verdict"),
    Case("number", "a number as verdict", "unparsed", "no verdict"),
    Case("key-twice", "one object with two verdicts", "unparsed", "no verdict"),
    Case("deep", "JSON nested 3,000 deep", "unparsed", "no verdict"),
    Case("contradiction", "two objects, two verdicts", "unparsed", "no verdict"),
    Case("choices-contradict", "two choices, two verdicts", "unparsed", "no verdict"),
    Case("ten-megabytes", "an answer of 10 MB", "unparsed", "characters"),
    Case("fenced", "JSON between prose and fences", "ok"),
    Case("twice-in-content", "the JSON twice in one answer", "ok"),
    Case("two-choices", "two choices alike", "ok"),
    Case("half-in-reason", "half a character and a NUL in a reason", "ok"),
    Case("no-logprobs", "no log-probabilities", "ok"),
    Case("no-usage", "no count of tokens", "ok"),
    Case("echo-in-answer", "an answer that echoes the key", "ok"),
    Case("401", "401", None, VARIABLE),
    Case("401-echo", "401 that echoes the key", None, VARIABLE),
    Case("404", "404, no such model", None, "judging.live.model"),
    Case("400-parameter", "400, parameter not supported", None, "Add seed to judging.live.omit"),
    Case("quota", "429, quota used up", None, "no credit"),
)


class Asked(NamedTuple):
    """The questions that meet a fault at each attempt, at the first only, and never."""

    always: list[Question]
    once: list[Question]
    sound: list[Question]

    def in_order(self) -> list[Question]:
        """Return them all, by passage."""
        return sorted([*self.always, *self.once, *self.sound], key=lambda q: q.item_id)

    def prompts(self) -> set[str]:
        """Return all prompts."""
        return {q.prompt for q in self.in_order()}

    def of(self, rows: Sequence[Verdict]) -> list[Verdict]:
        """Return the rows of these questions."""
        return _of(self.in_order(), rows)

    def entries(self, ledger: Sequence[Entry]) -> list[Entry]:
        """Return the requests for these questions."""
        return _entries(self.in_order(), ledger)


class Outcome(NamedTuple):
    """What became of one fault: in the first run, with it, and in the second, without.

    ``trace`` is the traceback of what stopped it, with the variables of each frame; ``kept`` are
    the recorded responses after the first run.
    """

    case: Case
    asked: Asked
    first: list[Verdict] | None
    stopped: str
    trace: str
    kept: list[dict[str, Any]]
    requests: list[Entry]
    again: list[Verdict]
    requests_again: list[Entry]

    def rows(self, questions: Sequence[Question], again: bool = False) -> list[Verdict]:
        """Return the first run's rows of some questions, or the second's."""
        return _of(questions, self.again if again else self.first or [])

    def entries(self, questions: Sequence[Question], again: bool = False) -> list[Entry]:
        """Return the first run's requests for some questions, or the second's."""
        return _entries(questions, self.requests_again if again else self.requests)


def passages(texts: Sequence[str]) -> list[Passage]:
    """Return simulated passages with these texts."""
    return [
        Passage(id=f"p{i:03d}", work_id=f"w{i}", text=text, origin="simulated", licence="none",
                source="test")
        for i, text in enumerate(texts)
    ]  # fmt: skip


def questions(n: int, words: str = "") -> list[Question]:
    """Return the questions about ``n`` passages: one a dimension."""
    texts = [f"The lamp went out at {i} past. {words}" for i in range(n)]
    return PANEL.questions(passages(texts))


def live(server: FaultServer | str, **changes: Any) -> Live:
    """Return settings for a server with short waits."""
    known: dict[str, Any] = {
        "judge_id": "scripted", "model": faultserver.MODEL, "key_variable": VARIABLE,
        "base_url": server if isinstance(server, str) else server.base_url, "max_tokens": 400,
        "in_flight": 16, "timeout_s": 1, "retries": 1, "budget_usd": 100.0, "most_failed": 0.99,
    }  # fmt: skip
    return Live.model_validate(known | changes)


def ask(
    server: FaultServer | str, file: Path, asked: Sequence[Question], **changes: Any
) -> list[Verdict]:
    """Ask an endpoint of its own, with the record in a file."""
    with CallRecord(file) as record:
        return Endpoint(live(server, **changes), record, PRICES, seed=1).ask(asked, PANEL)


def kept(file: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return the prompt and the response of every call in a record."""
    with CallRecord(file) as record:
        rows = record._db.execute("SELECT key, request FROM calls").fetchall()
        whole = record.whole(k for k, _ in rows)
    return [(json.loads(request)["prompt"], json.loads(whole[k])) for k, request in rows]


def measure(folder: Path, cases: Sequence[Case] = CASES) -> dict[str, Outcome]:
    """Ask all that does not stop a run in one run, the others each in its own; then once more.

    The second time there is no fault. The key must stand in the environment variable ``VARIABLE``.
    """
    asked = {c.fault: _questions(c) for c in cases}
    # What stops a run, or holds up its event loop, has one of its own.
    alone = [c for c in cases if c.status is None or c.fault == "ten-megabytes"]
    runs = [g for g in ([c for c in cases if c not in alone], *([c] for c in alone)) if g]
    first: dict[str, list[Verdict]] = {}
    again: dict[str, list[Verdict]] = {}
    stopped: dict[str, JudgeError] = {}

    def run(group: Sequence[Case], rows: dict[str, list[Verdict]]) -> None:
        name = group[0].fault
        file = folder / f"{name}.sqlite"
        whole = [q for c in group for q in asked[c.fault].in_order()]
        # What is long takes its time on a busy machine, and is no hanging server for that.
        patience = 30 if name == "ten-megabytes" else 3
        try:
            found = ask(server, file, whole, in_flight=40, timeout_s=patience)
        except JudgeError as error:
            stopped[name] = error
        else:
            rows |= {c.fault: asked[c.fault].of(found) for c in group}

    with FaultServer(KEY) as server:
        _together([lambda g=g: run(g, first) for g in runs])
        early = list(server.ledger)
        answers = [a for g in runs for a in kept(folder / f"{g[0].fault}.sqlite")]
        server.calm = True
        _together([lambda g=g: run(g, again) for g in runs])
        late = server.ledger[len(early) :]
    return {
        c.fault: Outcome(
            c, asked[c.fault], first.get(c.fault), str(stopped.get(c.fault, "")),
            _trace(stopped.get(c.fault)),
            [response for prompt, response in answers if prompt in asked[c.fault].prompts()],
            asked[c.fault].entries(early), again.get(c.fault, []), asked[c.fault].entries(late),
        )
        for c in cases
    }  # fmt: skip


def table(found: dict[str, Outcome]) -> str:
    """Return the fault matrix in Markdown, from what was measured."""
    lines = [
        "| fault | met once: row, attempts | met always: what the run did | row, why | attempts "
        "| answers paid, charged and cut | next run, without the fault |",
        "|---|---|---|---|--:|--:|---|",
    ]
    for o in found.values():
        always, once = o.asked.always, o.asked.once
        entries = o.entries(always)
        rows = o.rows(always)
        asked_again = o.entries(always, again=True)
        tries = len(entries) / max(1, len({e.prompt for e in entries}))
        said = [f"{v.status}: {v.meta['why']}" if v.value is None else v.status for v in rows]
        cells = [
            o.case.what,
            f"{_statuses(o.rows(once))}, {len(o.entries(once)) / len(once):.0f}" if o.first else "",
            _did(o, tries),
            said[0] if said else "",
            f"{tries:.0f}",
            f"{_share(entries, 'paid')}, {_share(entries, 'lost')}",
            f"{'asked again' if asked_again else 'from the record'}: "
            f"{_statuses(o.rows(always, again=True))}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def judge(base_url: str, file: Path, n: int, in_flight: int) -> None:
    """Ask about ``n`` passages: in a process of its own, which may be killed."""
    os.environ[VARIABLE] = KEY
    ask(base_url, file, questions(n), in_flight=in_flight, timeout_s=30)


def _trace(error: Exception | None) -> str:
    if error is None:
        return ""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def _did(outcome: Outcome, tries: float) -> str:
    if outcome.stopped:
        return "stops, and says what to do"
    if outcome.entries(outcome.asked.always, again=True):
        return "asks again, gives up, records nothing" if tries > 1 else "gives up, records nothing"
    return "records the answer"


def _statuses(rows: Sequence[Verdict]) -> str:
    return ", ".join(sorted({v.status for v in rows}))


def _share(entries: Sequence[Entry], outcome: str) -> str:
    prompts = len({e.prompt for e in entries})
    return f"{sum(e.outcome == outcome for e in entries) / max(1, prompts):.2g}"


def _questions(case: Case) -> Asked:
    name = case.fault
    texts = [f"{name}: the inn", f"{name}: the tide [fault:{name}]",
             f"{name}: the road [fault:{name}*1]", f"{name}: the ash"]  # fmt: skip
    asked = [q._replace(item_id=f"{name} {q.item_id}") for q in PANEL.questions(passages(texts))]
    # Two questions that always meet it, one that does once, and one sound one on each side.
    by_text = [[q for q in asked if text in q.prompt] for text in texts]
    return Asked(by_text[1][:2], by_text[2][:1], [by_text[0][0], by_text[3][0]])


def _of(questions: Sequence[Question], rows: Sequence[Verdict]) -> list[Verdict]:
    cells = {(q.item_id, d) for q in questions for d in q.dimensions}
    return [v for v in rows if (v.item_id, v.dimension) in cells]


def _entries(questions: Sequence[Question], ledger: Sequence[Entry]) -> list[Entry]:
    names = {faultserver.digest(q.prompt) for q in questions}
    return [e for e in ledger if e.prompt in names]


def _together(works: Sequence[Any]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
