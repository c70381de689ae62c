from __future__ import annotations

import asyncio
import json
import math
import sqlite3
import traceback
from collections.abc import Callable, Iterator
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cqa_helpers import calls, prompts, taxonomy
from cqa_helpers.calls import CallRecord
from cqa_helpers.judges import JudgeError, Panel, flight, replies
from cqa_helpers.judges import endpoint as endpoints
from cqa_helpers.judges.endpoint import Endpoint
from cqa_helpers.prompts import Question
from cqa_helpers.records import Passage
from cqa_helpers.sections import Live, Price, Prices

PANEL = Panel(taxonomy.load("cqa"), prompts.load_dialect("editor"), "verdict-only")
SECRET = "sk-proj-" + "0123456789abcdef"
PRICES = Prices(
    as_of=date(2026, 11, 1), source="a test",
    usd_per_million_tokens={"m-1": Price(input=1.0, output=100.0)},
)  # fmt: skip
Handler = Callable[[dict[str, Any]], Any]


def questions(n: int, text: str = "The inn at dawn, tale {}.") -> list[Question]:
    passages = [
        Passage(
            id=f"p{i}", work_id=f"w{i}", text=text.format(i), origin="simulated", licence="none",
            source="test",
        )
        for i in range(n)
    ]  # fmt: skip
    return PANEL.questions(passages)


def prompt(sent: dict[str, Any]) -> str:
    return str(sent["messages"][0]["content"])


def saying(word: str = "yes", **changes: Any) -> dict[str, Any]:
    """Return a completion whose answer is a verdict."""
    text = json.dumps({"verdict": word})
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": "c", "object": "chat.completion", "created": 1, "model": "m-1",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message, "logprobs": None}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    } | changes  # fmt: skip


def changed(choice: dict[str, Any] | None = None, **message: Any) -> dict[str, Any]:
    """Return a completion with a changed first choice or message."""
    reply = saying()
    reply["choices"][0] |= choice or {}
    reply["choices"][0]["message"] |= message
    return reply


def error(status: int, **fields: Any) -> httpx2.Response:
    """Return an error as the provider words it, with the key in it."""
    said = {"message": f"bad {SECRET}", "type": "t", "param": None, "code": None} | fields
    return httpx2.Response(status, json={"error": said}, headers={"retry-after": "0.01"})


def always(reply: Any, _: dict[str, Any]) -> Any:
    return reply


class World:
    """An endpoint whose network is a function, and a record on disk."""

    def __init__(self, record: CallRecord, monkeypatch: pytest.MonkeyPatch) -> None:
        self.record = record
        self.monkeypatch = monkeypatch
        self.sent: list[dict[str, Any]] = []
        self.asked: list[httpx2.Request] = []
        monkeypatch.setenv("A_KEY", SECRET)
        monkeypatch.setattr(endpoints, "AGAIN_S", 0.01)
        monkeypatch.setattr(flight, "WAITS", (0.01, 0.01, 0.01))

    def endpoint(self, handler: Handler, **changes: Any) -> Endpoint:
        async def handle(request: httpx2.Request) -> httpx2.Response:
            self.asked.append(request)
            self.sent.append(json.loads(request.content))
            reply = handler(self.sent[-1])
            reply = await reply if asyncio.iscoroutine(reply) else reply
            return reply if isinstance(reply, httpx2.Response) else httpx2.Response(200, json=reply)

        transport = httpx2.MockTransport(handle)
        self.monkeypatch.setattr(flight, "Wire", partial(WIRE, transport=transport))
        known: dict[str, Any] = {
            "judge_id": "gpt", "model": "m-1", "base_url": "http://test/v1",
            "key_variable": "A_KEY", "max_tokens": 100, "budget_usd": 10.0, "retries": 1,
            "in_flight": 4, "form": "verdict-only",
        }  # fmt: skip
        return Endpoint(Live(**(known | changes)), self.record, PRICES, seed=7)

    def count(self) -> int:
        return self.record.count()


WIRE = flight.Wire


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with CallRecord(tmp_path / "calls.sqlite") as record:
        yield World(record, monkeypatch)


def test_rows_come_in_the_order_of_the_questions_whatever_arrives_first(world: World) -> None:
    async def answer(sent: dict[str, Any]) -> dict[str, Any]:
        tale = int(prompt(sent).split("tale ")[1].split(".")[0])
        await asyncio.sleep(0.02 * (4 - tale))
        return saying("yes" if tale % 2 else "no")

    asked = questions(4)
    verdicts = world.endpoint(answer, in_flight=12).ask(asked, PANEL)
    assert [(v.item_id, v.dimension) for v in verdicts] == [
        (q.item_id, d) for q in asked for d in q.dimensions
    ]
    assert [v.value for v in verdicts] == [int(q.item_id[1:]) % 2 for q in asked]


def test_equal_questions_are_sent_once_and_all_get_the_answer(world: World) -> None:
    asked = questions(1)
    judge = world.endpoint(lambda _: saying())
    verdicts = judge.ask([*asked, *asked], PANEL)
    assert len(verdicts) == 2 * len(asked)
    assert len(world.sent) == len(asked) == judge.tally.asked


def test_a_full_record_needs_no_key_and_no_network_and_gives_the_same_rows(world: World) -> None:
    kinds = [
        saying(), saying("no"), saying(model="m-1-0613"), changed(content="hm"),
        changed(content=None, refusal="I would rather not"),
        changed({"finish_reason": "length"}, content='{"verd'),
    ]  # fmt: skip
    asked = questions(2)
    replies_left = iter(kinds)
    first = world.endpoint(lambda _: next(replies_left)).ask(asked, PANEL)
    world.monkeypatch.delenv("A_KEY")
    again = world.endpoint(lambda _: pytest.fail("asked again"))
    second = again.ask(asked, PANEL)
    assert [v.model_dump_json() for v in first] == [v.model_dump_json() for v in second]
    assert (again.tally.asked, again.tally.from_record) == (6, 6)
    assert "6 questions, 6 on record." in again.tally.said()


def test_without_a_key_nothing_is_sent_and_the_variable_is_named(world: World) -> None:
    world.monkeypatch.delenv("A_KEY")
    with pytest.raises(JudgeError, match="A_KEY is not set"):
        world.endpoint(lambda _: saying()).ask(questions(1), PANEL)
    assert world.sent == []


@pytest.mark.parametrize("held", ["two words", "schlüssel", "line\nbreak"])
def test_what_cannot_be_a_key_is_said_without_showing_it(world: World, held: str) -> None:
    world.monkeypatch.setenv("A_KEY", held)
    with pytest.raises(JudgeError, match="A_KEY") as caught:
        world.endpoint(lambda _: saying()).ask(questions(1), PANEL)
    assert held not in "".join(traceback.format_exception(caught.value))
    assert world.sent == []


def test_an_empty_address_is_the_providers_own_whatever_the_environment_says(world: World) -> None:
    world.monkeypatch.setenv("OPENAI_BASE_URL", "http://elsewhere/v1")
    world.endpoint(lambda _: saying(), base_url=None).ask(questions(1), PANEL)
    assert {str(r.url) for r in world.asked} == {"https://api.openai.com/v1/chat/completions"}
    world.endpoint(lambda _: pytest.fail("asked"), base_url="").ask(questions(1), PANEL)


def test_the_body_holds_the_question_the_schema_and_the_settings(world: World) -> None:
    asked = questions(1)
    world.endpoint(lambda _: saying(), in_flight=1).ask(asked, PANEL)
    sent = world.sent[0]
    shape = sent.pop("response_format")["json_schema"]
    assert sent == {
        "model": "m-1", "messages": [{"role": "user", "content": asked[0].prompt}],
        "max_tokens": 100, "temperature": 0, "seed": 7, "logprobs": True, "top_logprobs": 20,
    }  # fmt: skip
    assert shape["strict"] is True
    assert shape["schema"]["properties"]["verdict"]["enum"] == ["yes", "no"]


def test_what_a_server_refuses_is_left_out(world: World) -> None:
    left_out = ["temperature", "seed", "logprobs", "response_format"]
    world.endpoint(lambda _: saying(), omit=left_out, max_tokens_name="max_completion_tokens").ask(
        questions(1), PANEL
    )
    assert world.sent[0].keys() == {"model", "messages", "max_completion_tokens"}
    world.endpoint(lambda _: saying(), omit=["seed"]).ask(questions(1), PANEL)
    assert len(world.sent) == 6, "another request, so another answer"


def test_the_record_keeps_what_was_sent_and_what_came_back_verbatim(world: World) -> None:
    asked = questions(1)[:1]
    body = json.dumps(saying(), indent=3)
    judge = world.endpoint(lambda _: httpx2.Response(200, text=body))
    judge.ask(asked, PANEL)
    live = Live(
        judge_id="gpt", model="m-1", base_url="http://test/v1", max_tokens=100, budget_usd=1
    )
    key = calls.key(replies.request(live, asked[0], PANEL, seed=7, repeat=0))
    kept = json.loads(world.record.whole([key])[key])
    assert kept["raw"] == body
    assert kept["sent"] == world.sent[0]
    assert (kept["text"], kept["status"]) == ('{"verdict": "yes"}', "answered")
    assert (kept["input_tokens"], kept["output_tokens"], kept["attempts"]) == (100, 10, 1)


def test_a_repeat_is_asked_anew_with_the_same_words(world: World) -> None:
    judge = world.endpoint(lambda _: saying())
    asked = questions(1)
    judge.ask(asked, PANEL)
    verdicts = judge.ask(asked, PANEL, repeat=1)
    assert [r["output_tokens"] for r in judge.responses.values()] == [10] * 6
    assert {v.repeat for v in verdicts} == {1}
    assert len(world.sent) == 2 * len(asked)
    assert world.sent[0] == world.sent[len(asked)]


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (error(401), "A_KEY"), (error(402), "credit"), (error(403), "A_KEY"),
        (error(404, code="model_not_found"), "base_url"),
        (error(429, code="insufficient_quota"), "credit"),
        (error(400, param="temperature"), "Add temperature to judging.live.omit"),
        (error(400, param="top_logprobs"), "Add logprobs to judging.live.omit"),
        (error(400, param="response_format.json_schema"), "Add response_format to"),
        (error(400, param="max_tokens"), "max_tokens_name to max_completion_tokens"),
        (error(422, message="Extra inputs not permitted: seed"), "Add seed to"),
    ],
)  # fmt: skip
def test_what_every_call_would_meet_costs_one_call_and_says_what_to_change(
    world: World, reply: httpx2.Response, told: str
) -> None:
    with pytest.raises(JudgeError) as caught:
        world.endpoint(lambda _: reply).ask(questions(4), PANEL)
    assert told in str(caught.value)
    assert len(world.sent) == 1
    assert world.count() == 0


def test_no_error_carries_the_key_not_even_behind_it(world: World) -> None:
    for status in (401, 500, 400):
        reply = error(status, code=SECRET)
        judge = world.endpoint(partial(always, reply), most_failed=0.0)
        with pytest.raises(JudgeError) as caught:
            judge.ask(questions(1), PANEL)
        behind: BaseException | None = caught.value
        while behind is not None:
            assert SECRET not in "".join(traceback.format_exception(behind))
            assert "openai" not in type(behind).__module__, "it holds the request and its headers"
            behind = behind.__context__ or behind.__cause__
        assert SECRET not in judge.tally.said()


def test_a_key_that_comes_back_in_an_answer_is_not_kept(world: World, tmp_path: Path) -> None:
    world.endpoint(lambda _: changed(content=f"you sent {SECRET}")).ask(questions(1), PANEL)
    assert world.count() == 3
    assert SECRET.encode() not in (tmp_path / "calls.sqlite").read_bytes()
    keys = [key for (key,) in world.record._db.execute("SELECT key FROM calls")]
    assert keys
    assert not any(SECRET in text for text in world.record.whole(keys).values())


@pytest.mark.parametrize(
    ("reply", "status", "why"),
    [
        (changed(content=None, refusal="no, thank you"), "refused", "refusal"),
        (changed({"finish_reason": "content_filter"}, content=""), "refused", "content_filter"),
        (error(400, code="content_filter", param="prompt"), "refused", "content_filter"),
        (error(400, code="invalid_prompt"), "refused", "invalid_prompt"),
        (changed(content=""), "unparsed", "empty"),
        (changed(content=None, tool_calls=[{"id": "t", "type": "function"}]), "unparsed", "empty"),
        (changed({"finish_reason": "length"}, content='{"verdict'), "unparsed", "truncated"),
        (changed(content="perhaps"), "unparsed", "no verdict"),
        (httpx2.Response(200, text=json.dumps(changed(content="half a \ud83d"))), "unparsed",
         "no verdict"),
    ],
)  # fmt: skip
def test_an_answer_without_a_verdict_says_why_and_is_paid_once(
    world: World, reply: Any, status: str, why: str
) -> None:
    asked = questions(1)
    verdicts = world.endpoint(lambda _: reply).ask(asked, PANEL)
    assert {(v.status, v.meta["why"], v.value) for v in verdicts} == {(status, why, None)}
    assert world.endpoint(lambda _: pytest.fail("asked again")).ask(asked, PANEL) == verdicts


def test_a_prompt_that_is_too_long_fails_alone_and_only_it_is_asked_again(world: World) -> None:
    def answer(sent: dict[str, Any]) -> Any:
        if "tale 2" in prompt(sent):
            return error(400, code="context_length_exceeded", param="messages")
        return saying()

    asked = questions(4)
    verdicts = world.endpoint(answer, most_failed=0.5).ask(asked, PANEL)
    failed = [v for v in verdicts if v.status == "failed"]
    assert {(v.item_id, v.meta["why"]) for v in failed} == {
        ("p2", "BadRequestError: the prompt is too long")
    }
    world.sent.clear()
    world.endpoint(lambda _: saying("no")).ask(asked, PANEL)
    assert len(world.sent) == 3
    assert all("tale 2" in prompt(sent) for sent in world.sent)


def test_prompts_that_are_too_long_in_a_row_say_nothing_against_the_endpoint(world: World) -> None:
    def answer(sent: dict[str, Any]) -> Any:
        long = int(prompt(sent).split("tale ")[1].split(".")[0]) < 5
        return error(400, code="context_length_exceeded") if long else saying()

    world.monkeypatch.setattr(flight, "WAITS", (60.0,))
    judge = world.endpoint(answer, most_failed=0.9, in_flight=1)
    verdicts = judge.ask(questions(7), PANEL)
    assert [v.status for v in verdicts] == ["failed"] * 15 + ["ok"] * 6
    assert judge.tally.seconds < 30


def test_once_the_endpoint_has_answered_no_call_goes_first_alone(world: World) -> None:
    now = most = 0

    async def answer(sent: dict[str, Any]) -> Any:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.01)
        now -= 1
        # Those that were sent beside the first had waited for it, were it sent alone.
        if len(world.sent) <= 4:
            crowds.append(most)
        return saying()

    crowds: list[int] = []
    judge = world.endpoint(answer)
    judge.ask(questions(1), PANEL)
    assert crowds[0] == 1
    crowds.clear()
    world.sent.clear()
    judge.ask(questions(3, "Another tale {}."), PANEL)
    assert crowds[0] == 4


def test_too_many_failed_calls_end_the_run_and_keep_what_came(world: World) -> None:
    def answer(sent: dict[str, Any]) -> Any:
        return error(429) if "tale 1" in prompt(sent) else saying()

    judge = world.endpoint(answer, most_failed=0.2)
    with pytest.raises(JudgeError, match=r"3 of 12 calls failed \(3 RateLimitError\)"):
        judge.ask(questions(4), PANEL)
    assert world.count() == 9
    assert judge.tally.failed == {"RateLimitError": 3}
    assert judge.tally.retries == 3, "one more attempt for each of the three"


@pytest.mark.parametrize(
    "reply",
    [
        httpx2.Response(200, html="<html>Please log in</html>"),
        {"verdict": "yes"}, [1], {"choices": []}, {"choices": [{}]}, {"choices": None},
        {"choices": [{"message": None}]}, {"choices": [{"message": {"content": 7}}]},
        {"error": {"message": "busy"}}, httpx2.Response(200, text="[" * 100_000),
    ],
)  # fmt: skip
def test_a_reply_that_is_no_completion_is_asked_for_again_and_never_recorded(
    world: World, reply: Any
) -> None:
    asked = questions(1)[:1]
    judge = world.endpoint(lambda _: reply, most_failed=0.99)
    with pytest.raises(JudgeError, match="1 NotACompletion"):
        judge.ask(asked, PANEL)
    assert len(world.sent) == 3
    assert world.count() == 0
    assert judge.tally.usd_uncertain == pytest.approx(3 * worst(asked[0])), "each may be charged"
    later = iter([reply, saying()])
    (verdict,) = world.endpoint(lambda _: next(later)).ask(asked, PANEL)
    assert verdict.value == 1


def test_two_answers_that_differ_are_no_verdict_and_two_equal_ones_are_one(world: World) -> None:
    reply = saying("yes")
    reply["choices"] += saying("no")["choices"]
    asked = questions(2)
    (unclear,) = world.endpoint(lambda _: reply).ask(asked[:1], PANEL)
    assert (unclear.status, unclear.value) == ("unparsed", None)
    same = saying("yes")
    same["choices"] *= 2
    (clear,) = world.endpoint(lambda _: same).ask(asked[1:2], PANEL)
    assert clear.value == 1


def test_a_dead_endpoint_is_left_alone_and_what_was_not_asked_says_so(world: World) -> None:
    judge = world.endpoint(lambda _: error(503), retries=0, in_flight=4)
    with pytest.raises(JudgeError, match="120 calls failed") as caught:
        judge.ask(questions(40), PANEL)
    assert endpoints.NOT_ASKED in str(caught.value)
    assert 8 + 3 <= len(world.sent) <= 8 + 4 + 3, "eight in a row, those in flight, three probes"
    assert judge.tally.failed.total() == 120


def logprobs(yes: float) -> dict[str, Any]:
    def one(token: str, p: float) -> dict[str, Any]:
        return {"token": token, "logprob": math.log(p), "bytes": list(token.encode())}

    word = one("yes", yes) | {"top_logprobs": [one("yes", yes), one("no", 1 - yes)]}
    around = [one(t, 0.99) | {"top_logprobs": []} for t in ('{"verdict": "', '"}')]
    return {"content": [around[0], word, around[1]]}


def test_a_verdict_carries_the_probability_that_its_logprobs_give(world: World) -> None:
    judge = world.endpoint(lambda _: changed({"logprobs": logprobs(0.8)}))
    verdicts = judge.ask(questions(1), PANEL)
    assert {v.probability for v in verdicts} == {0.8}
    assert judge.tally.notes == []


def test_answers_without_logprobs_have_no_probability_and_that_is_told(world: World) -> None:
    judge = world.endpoint(lambda _: changed({"logprobs": {"content": None}}))
    assert {v.probability for v in judge.ask(questions(2), PANEL)} == {None}
    assert judge.tally.said().count("without probabilities") == 1


def test_another_model_than_asked_for_is_kept_in_the_rows_and_told_once(world: World) -> None:
    judge = world.endpoint(lambda _: saying(model="m-1-2026-01-01"))
    verdicts = judge.ask(questions(2), PANEL)
    assert {v.meta["served"] for v in verdicts} == {"m-1-2026-01-01"}
    assert judge.tally.said().count("m-1-2026-01-01") == 1


def worst(question: Question) -> float:
    """Return what a call costs at most: a token a byte, the schema, 100 tokens of output."""
    live = Live(judge_id="g", model="m-1", max_tokens=100, budget_usd=1)
    sent = replies.body(live, question, PANEL, seed=7)
    size = len(question.prompt.encode()) + len(json.dumps(sent["response_format"])) + 16
    return (size * 1.0 + 100 * 100.0) / 1e6


def test_the_budget_is_never_passed_and_a_higher_one_pays_only_the_rest(world: World) -> None:
    asked = questions(4)
    most = max(worst(q) for q in asked)
    dear = {"prompt_tokens": int((most * 1e6) - 10_000), "completion_tokens": 100}
    judge = world.endpoint(lambda _: saying(usage=dear), budget_usd=5.5 * most)
    with pytest.raises(JudgeError, match=r"judging\.live\.budget_usd") as caught:
        judge.ask(asked, PANEL)
    assert len(world.sent) == 5
    assert judge.tally.usd <= 5.5 * most
    assert "5 answers that came now are recorded" in str(caught.value)
    again = world.endpoint(lambda _: pytest.fail("sent"), budget_usd=5.5 * most)
    with pytest.raises(JudgeError, match="0 answers that came now"):
        again.ask(asked, PANEL)
    world.endpoint(lambda _: saying(usage=dear), budget_usd=100 * most).ask(asked, PANEL)
    assert len(world.sent) == len(asked)


def test_cheap_answers_give_back_what_was_kept_for_the_worst(world: World) -> None:
    asked = questions(4)
    most = max(worst(q) for q in asked)
    usage = {"prompt_tokens": 1, "completion_tokens": 0}
    judge = world.endpoint(lambda _: saying(usage=usage), budget_usd=3 * most, in_flight=12)
    assert len(judge.ask(asked, PANEL)) == 12


@pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0}, [3]])
def test_tokens_that_a_server_does_not_count_cost_their_most(world: World, usage: Any) -> None:
    asked = questions(1)[:1]
    judge = world.endpoint(lambda _: saying(usage=usage))
    judge.ask(asked, PANEL)
    assert judge.tally.usd == pytest.approx(worst(asked[0]))


def test_a_call_cut_after_sending_counts_as_charged_and_is_said(world: World) -> None:
    asked = questions(1)[:1]

    def cut(sent: dict[str, Any]) -> Any:
        raise httpx2.ReadError("cut")

    judge = world.endpoint(cut, retries=0)
    with pytest.raises(JudgeError, match="1 APIConnectionError"):
        judge.ask(asked, PANEL)
    assert judge.tally.usd_uncertain == pytest.approx(worst(asked[0]))
    assert "for calls cut after sending" in judge.tally.said()


def test_a_cut_call_is_not_sent_again_where_the_budget_does_not_cover_it(world: World) -> None:
    asked = questions(1)[:1]

    def cut(sent: dict[str, Any]) -> Any:
        raise httpx2.ReadError("cut")

    judge = world.endpoint(cut, retries=5, budget_usd=1.5 * worst(asked[0]))
    with pytest.raises(JudgeError, match="no second attempt"):
        judge.ask(asked, PANEL)
    assert len(world.sent) == 1


def test_an_attempt_that_never_ends_is_ended(world: World) -> None:
    async def hang(sent: dict[str, Any]) -> Any:
        await asyncio.sleep(60)

    judge = world.endpoint(hang, retries=0, timeout_s=0.05)
    with pytest.raises(JudgeError, match="1 APITimeoutError"):
        judge.ask(questions(1)[:1], PANEL)
    assert judge.tally.seconds < 10


def test_an_interrupt_keeps_what_came_and_the_next_run_asks_only_the_rest(world: World) -> None:
    async def answer(sent: dict[str, Any]) -> Any:
        if "tale 3" in prompt(sent):
            await asyncio.sleep(60)
        return saying()

    def tell(self: Any, done: int, usd: float) -> None:
        if done >= 9:
            raise KeyboardInterrupt

    judge = world.endpoint(answer)
    with world.monkeypatch.context() as patched:
        patched.setattr(endpoints.Progress, "tell", tell)
        with pytest.raises(KeyboardInterrupt):
            judge.ask(questions(4), PANEL)
    assert world.count() == 9
    assert judge.tally.usd_uncertain > 0, "three were in flight, and may have been charged"
    world.sent.clear()
    verdicts = world.endpoint(lambda _: saying()).ask(questions(4), PANEL)
    assert len(world.sent) == 3
    assert all(v.status == "ok" for v in verdicts)


def test_it_can_be_asked_where_a_loop_is_already_running(world: World) -> None:
    async def notebook() -> int:
        return len(world.endpoint(lambda _: saying()).ask(questions(1), PANEL))

    assert asyncio.run(notebook()) == 3


def test_answers_that_cannot_be_written_stop_the_run(world: World) -> None:
    def full(*_: Any) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async def answer(sent: dict[str, Any]) -> Any:
        await asyncio.sleep(0.005)
        return saying()

    judge = world.endpoint(answer, in_flight=1)
    world.monkeypatch.setattr(world.record, "put", full)
    with pytest.raises(JudgeError, match="disk is full"):
        judge.ask(questions(30), PANEL)
    assert len(world.sent) < 30


def test_nothing_is_written_to_stderr_where_nothing_is_wrong(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.endpoint(lambda _: saying()).ask(questions(2), PANEL)
    assert capsys.readouterr() == ("", "")


def test_a_long_headless_run_says_a_line_now_and_then(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    from cqa_helpers.judges import tally

    world.monkeypatch.setattr(tally, "PLAIN_EVERY_S", 0.0)
    shown = tally.Progress("gpt", 2400)
    shown.tell(1200, 3.1)
    shown.close()
    out, err = capsys.readouterr()
    assert out.startswith("gpt: 1,200 of 2,400 calls, 3.10 USD, about 0 min left")
    assert err == ""
