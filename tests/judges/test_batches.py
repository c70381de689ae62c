from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchserver import HTML, BatchServer, Lines, Script, answered, completion, ordinary
from cqa_helpers.judges import batchfiles
from cqa_helpers.judges.batches import Batches, Pace
from cqa_helpers.judges.batchfiles import Limits, Memory
from cqa_helpers.judges.panel import JudgeError
from cqa_helpers.sections import Live

KEY = "sk-loopback-" + "0123456789abcdef"
QUICK = Pace(first_s=0.002, growth=1.5, longest_s=0.01, patience_s=0.05)


def bodies(n: int, start: int = 0) -> dict[str, dict[str, Any]]:
    """Return requests by key."""
    return {
        f"key{i:02d}": {
            "model": "scripted-1",
            "messages": [{"role": "user", "content": f"Does scene {i} 中文 hold?"}],
            "max_tokens": 20,
        }
        for i in range(start, start + n)
    }


def told(asked: dict[str, Any]) -> dict[str, Any]:
    """Return what the server's model answers to each."""
    return {key: completion(body) for key, body in asked.items()}


class Desk:
    """One judge at one server: what it kept, and how it asks."""

    def __init__(self, server: BatchServer, folder: Path) -> None:
        self.server = server
        self.memory = folder / "judge.batches.json"
        self.kept: dict[str, Any] = {}
        self.said: list[tuple[int, int, str]] = []

    def batches(self, limits: Limits | None = None, retries: int = 0) -> Batches:
        client = openai.OpenAI(
            api_key=KEY, base_url=self.server.base_url, max_retries=retries, timeout=5
        )  # fmt: skip
        live = Live(
            judge_id="judge", model="scripted-1", max_tokens=20, budget_usd=1, batch=True,
            base_url=self.server.base_url, key_variable="LOOPBACK_KEY",
        )  # fmt: skip
        return Batches(
            client, live, self.memory, pace=QUICK, limits=limits or Limits(),
            tell=lambda *said: self.said.append(said),
        )  # fmt: skip

    def keep(self, answers: dict[str, str]) -> None:
        self.kept.update({key: json.loads(raw) for key, raw in answers.items()})

    def ask(self, asked: dict[str, Any], left_usd: float = 1.0, **options: Any) -> Any:
        return self.batches(**options).ask(
            list(asked.items()), self.keep, most_usd=lambda key: 0.01, left_usd=left_usd
        )

    def remembered(self) -> Memory:
        return Memory.load(self.memory)


@pytest.fixture
def server() -> Iterator[BatchServer]:
    with BatchServer(KEY).running() as it:
        yield it


@pytest.fixture
def desk(server: BatchServer, tmp_path: Path) -> Desk:
    return Desk(server, tmp_path)


def test_a_batch_is_uploaded_made_waited_for_and_read_in_any_order(desk, server) -> None:
    def shuffled(requests: Lines) -> tuple[Lines, Lines]:
        good, bad = ordinary(requests)
        random.Random(1).shuffle(good)
        return good, bad

    server.script.results = shuffled
    asked = bodies(7)
    outcome = desk.ask(asked)
    assert desk.kept == told(asked)
    assert {k: json.loads(raw) for k, raw in outcome.answers.items()} == told(asked)
    assert (outcome.faults, outcome.notes) == ({}, [])
    lines = [json.loads(line) for line in server.files["file-1"].decode().splitlines()]
    assert lines == [
        {"custom_id": k, "method": "POST", "url": "/v1/chat/completions", "body": b}
        for k, b in asked.items()
    ]
    made = server.batches["batch_1"]
    assert (made["endpoint"], made["completion_window"]) == ("/v1/chat/completions", "24h")
    assert desk.said[0] == (0, 7, "validating")
    assert desk.said[-1] == (7, 7, "completed")
    assert (desk.remembered().open, desk.remembered().settled) == ([], ["batch_1"])


def test_errors_leave_the_answers_and_are_asked_again_by_the_next_run(desk, server) -> None:
    shapes = [
        {"response": {"status_code": 400, "body": {"error": {"code": "content_filter"}}}},
        {"response": {"status_code": 500, "body": {"error": {"message": f"at {KEY}"}}}},
        {"response": {"status_code": 0, "request_id": "", "body": {}}, "error": None},
        {"response": None, "error": {"code": "batch_expired", "message": "too late"}},
    ]

    def partly(requests: Lines) -> tuple[Lines, Lines]:
        bad = [{"custom_id": r["custom_id"], **s} for r, s in zip(requests, shapes, strict=False)]
        return [answered(r) for r in requests[4:]], bad

    server.script.results = partly
    asked = bodies(6)
    outcome = desk.ask(asked)
    assert set(desk.kept) == {"key04", "key05"}
    assert {k: f.why for k, f in outcome.faults.items()} == {
        "key00": "batch request failed: 400 content_filter",
        "key01": "batch request failed: 500",
        "key02": "batch request failed: no reason given",
        "key03": "batch request failed: batch_expired",
    }
    assert outcome.faults["key00"].code == "content_filter"
    assert "[key]" in outcome.faults["key01"].raw
    server.script = Script()
    again = {k: b for k, b in asked.items() if k not in desk.kept}
    assert desk.ask(again).faults == {}
    assert desk.kept == told(asked)
    assert server.asked("batch_2") == list(again)


def test_a_batch_of_errors_alone_has_no_file_of_answers_and_is_asked_anew(desk, server) -> None:
    server.script.results = lambda requests: (
        [], [{"custom_id": r["custom_id"], "response": {"status_code": 503}} for r in requests]
    )  # fmt: skip
    asked = bodies(2)
    assert len(desk.ask(asked).faults) == 2
    server.script = Script()
    # Even if it is forgotten here: of those that the provider lists, it has nothing to give.
    desk.memory.unlink()
    assert desk.ask(asked).faults == {}
    assert server.calls["POST batches"] == 2


@pytest.mark.parametrize("end", ["expired", "cancelled"])
def test_of_a_batch_that_was_not_finished_what_came_is_kept(desk, server, end) -> None:
    server.script = Script(end=end, results=lambda r: ([answered(r[0])], []))
    outcome = desk.ask(bodies(3))
    assert desk.kept == told(bodies(1))
    assert {f.why for f in outcome.faults.values()} == {f"no result, batch {end}"}
    assert set(outcome.faults) == {"key01", "key02"}


def test_a_batch_refused_at_validation_says_why_and_may_be_tried_again(desk, server) -> None:
    server.script = Script(
        end="failed",
        errors=[
            {"code": "invalid_json_line", "message": f"not JSON, key {KEY}", "line": n}
            for n in (2, 3)
        ],
    )
    outcome = desk.ask(bodies(3))
    assert (desk.kept, len(outcome.faults)) == ({}, 3)
    assert outcome.notes == [
        "Batch batch_1 was refused: invalid_json_line not JSON, key [key] (line 2)."
    ]
    server.script = Script()
    assert desk.ask(bodies(3)).faults == {}


RUN = """
import json, sys
from pathlib import Path
import openai
from cqa_helpers.judges.batches import Batches, Pace
from cqa_helpers.sections import Live
url, key, memory, asked = sys.argv[1:]
live = Live(judge_id="judge", model="scripted-1", max_tokens=20, budget_usd=1, base_url=url)
Batches(
    openai.OpenAI(api_key=key, base_url=url, max_retries=2, timeout=60), live, Path(memory),
    pace=Pace(0.01, 1.0, 0.01, 60.0),
).ask(list(json.loads(asked).items()), lambda kept: None, most_usd=lambda k: 0.01, left_usd=1.0)
"""


@pytest.mark.parametrize("moment", ["while it waits", "before the name is heard"])
def test_a_killed_run_takes_up_its_batch_and_makes_no_second(desk, server, moment) -> None:
    waits = moment == "while it waits"
    server.script = Script(wait=threading.Event(), create="" if waits else "hang")
    asked = bodies(5)
    run = subprocess.Popen(
        [sys.executable, "-c", RUN, server.base_url, KEY, str(desk.memory), json.dumps(asked)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert (server.looked if waits else server.made).wait(60)
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    assert [s.batch_id for s in desk.remembered().open] == ["batch_1" if waits else None]
    server.script.wait.set()
    server.script.create = ""
    # A passage was added meanwhile: only that one is new.
    assert desk.ask(bodies(6)).faults == {}
    assert desk.kept == told(bodies(6))
    assert server.asked("batch_1") == list(asked)
    assert server.asked("batch_2") == ["key05"]
    assert server.calls["POST batches"] == server.calls["POST files"] == 2


def test_a_batch_whose_making_was_answered_by_nothing_is_found_not_made_again(desk, server) -> None:
    server.script.create = "cut"
    assert desk.ask(bodies(3), retries=2).faults == {}
    assert (desk.kept, server.calls["POST batches"]) == (told(bodies(3)), 1)


def test_what_was_about_to_be_submitted_and_never_was_is_submitted(desk, server) -> None:
    server.script.refuse = lambda method, path: (503, {}) if method == "POST" else None
    with pytest.raises(JudgeError, match=r"InternalServerError.*is remembered"):
        desk.ask(bodies(3))
    assert [s.batch_id for s in desk.remembered().open] == [None]
    server.script = Script()
    assert desk.ask(bodies(4)).faults == {}
    assert server.asked("batch_1") == list(bodies(4))


def test_a_lost_memory_is_made_good_by_what_the_provider_lists(desk, server) -> None:
    for start in (20, 30, 40, 0):  # the first page of the list does not hold it
        desk.ask(bodies(2, start))
    for start in (50, 60, 70):
        desk.ask(bodies(2, start))
    desk.memory.unlink()
    desk.kept.clear()
    assert desk.ask(bodies(2)).faults == {}
    assert (desk.kept, server.calls["POST batches"]) == (told(bodies(2)), 7)


def test_answers_that_nobody_asked_for_now_stay_to_be_fetched(desk, server) -> None:
    server.script.wait = threading.Event()
    looks = iter([None, None])

    def interrupted(*_: object) -> None:
        if next(looks, 1):
            raise KeyboardInterrupt

    asking = desk.batches()
    asking._tell = interrupted
    with pytest.raises(KeyboardInterrupt):
        asking.ask(
            list(bodies(4).items()), desk.keep, most_usd=lambda key: 0.01, left_usd=1.0
        )  # fmt: skip
    server.script.wait.set()
    desk.ask(bodies(1))
    assert desk.kept == told(bodies(1))
    desk.ask(bodies(3, 1))
    assert desk.kept == told(bodies(4))
    assert server.calls["POST batches"] == 1


def test_what_could_not_be_kept_is_fetched_again(desk, server) -> None:
    def full(answers: dict[str, str]) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        desk.batches().ask(
            list(bodies(2).items()), full, most_usd=lambda key: 0.01, left_usd=1.0
        )  # fmt: skip
    assert desk.ask(bodies(2)).faults == {}
    assert (desk.kept, server.calls["POST batches"]) == (told(bodies(2)), 1)


def test_unknown_and_contradictory_results_are_refused_told_and_put_aside(desk, server) -> None:
    def odd(requests: Lines) -> tuple[Lines, Lines]:
        good = [answered(r) for r in requests]
        other = json.loads(json.dumps(good[1]))
        other["response"]["body"]["choices"][0]["message"]["content"] = '{"verdict": "other"}'
        stranger = {**good[2], "custom_id": "nobody's"}
        late = {"custom_id": "key03", "response": None, "error": {"code": "batch_expired"}}
        return [good[0], good[0], good[1], other, stranger, good[2], good[3]], [late]

    server.script.results = odd
    outcome = desk.ask(bodies(4))
    kept = told(bodies(4))
    del kept["key01"]
    assert desk.kept == kept
    assert outcome.faults["key01"].why == "two different answers in one batch"
    assert outcome.notes == [
        "Batch batch_1 has 1 results for questions that were not asked in it.",
        "Batch batch_1 has 1 questions with two different answers, of which neither is taken.",
        "Those lines are kept in judge.batches.batch_1.odd.jsonl.",
    ]
    aside = (desk.memory.parent / "judge.batches.batch_1.odd.jsonl").read_text(encoding="utf-8")
    found = [json.loads(line)["custom_id"] for line in aside.split("\n") if line]
    assert found == ["nobody's", "key01", "key01"]
    # The same single question again is a new batch, though the provider has one with its label.
    server.script.results = lambda r: ([answered(r[0]), {**answered(r[0]), "response": {
        "status_code": 200, "body": {"choices": []}}}], [])  # fmt: skip
    assert set(desk.ask(bodies(1, 1)).faults) == {"key01"}
    server.script = Script()
    assert desk.ask(bodies(1, 1)).faults == {}
    assert server.calls["POST batches"] == 3


def test_a_download_that_was_cut_is_fetched_again(desk, server) -> None:
    server.script.edit = lambda content, fetched: content if fetched else content[:-40]
    assert desk.ask(bodies(3)).faults == {}
    assert desk.kept == told(bodies(3))


def test_a_file_that_stays_broken_gives_what_is_whole_in_it(desk, server) -> None:
    server.script.edit = lambda content, fetched: content[:-40]
    outcome = desk.ask(bodies(3))
    assert (set(desk.kept), set(outcome.faults)) == ({"key00", "key01"}, {"key02"})
    assert "1 lines that are no JSON" in outcome.notes[0]


def test_results_that_are_gone_are_told_and_asked_anew_only_by_a_further_run(desk, server) -> None:
    server.script.refuse = lambda method, path: (404, {}) if path.endswith("content") else None
    with pytest.raises(JudgeError, match=r"Running again asks, and pays for, its"):
        desk.ask(bodies(2))
    assert server.calls["POST batches"] == 1
    server.script = Script()
    assert desk.ask(bodies(2)).faults == {}
    assert server.calls["POST batches"] == 2


def test_answers_without_a_file_of_them_are_waited_for(desk, server) -> None:
    server.script.results = lambda requests: ([], [])
    counts = server._end

    def uncounted(batch: dict[str, Any]) -> None:
        counts(batch)
        batch["request_counts"]["completed"] = 2

    server._end = uncounted
    with pytest.raises(JudgeError, match=r"2 answers, and the endpoint names no file.*remembered"):
        desk.ask(bodies(2))
    server.batches["batch_1"]["output_file_id"] = server.upload(
        "".join(json.dumps(line) + "\n" for line in ordinary(
            [{"custom_id": k, "body": b} for k, b in bodies(2).items()])[0]).encode()
    )["id"]  # fmt: skip
    assert desk.ask(bodies(2)).faults == {}
    assert server.calls["POST batches"] == 1


def test_files_keep_to_the_limits_and_lose_nothing(desk, server) -> None:
    assert desk.ask(bodies(5), limits=Limits(requests=2)).faults == {}
    assert [len(server.asked(name)) for name in server.batches] == [2, 2, 1]
    assert desk.kept == told(bodies(5))


@given(
    st.lists(st.integers(0, 60), max_size=12),
    st.integers(1, 4),
    st.integers(80, 260),
)
def test_every_request_stands_in_one_file_or_is_named_as_too_long(lengths, most, size) -> None:
    requests = {f"k{i}": {"x": "a" * n} for i, n in enumerate(lengths)}
    files, too_long = batchfiles.uploads(requests, Limits(most, size))
    assert [k for file in files for k in file] == [k for k in requests if k not in too_long]
    for file in files:
        assert 1 <= len(file) <= most
        assert sum(len(line) + 1 for line in file.values()) <= size
    for key in too_long:
        alone, _ = batchfiles.uploads({key: requests[key]}, Limits())
        assert len(alone[0][key]) + 1 > size


def test_a_request_that_fits_into_no_file_fails_alone(desk, server) -> None:
    asked = bodies(2)
    asked["key01"]["messages"][0]["content"] = "x" * 400
    outcome = desk.ask(asked, limits=Limits(bytes=400))
    assert outcome.faults["key01"].why == "longer than a batch's file may be"
    assert set(desk.kept) == {"key00"}


def test_nothing_is_submitted_that_could_cost_more_than_is_left(desk, server) -> None:
    with pytest.raises(JudgeError, match=r"3 questions could cost 0\.0300 USD .* 0\.0250 USD"):
        desk.ask(bodies(3), left_usd=0.025)
    assert (server.files, server.batches) == ({}, {})
    assert desk.ask(bodies(3), left_usd=0.03).faults == {}


def test_what_is_under_way_counts_against_the_budget_and_is_fetched_first(desk, server) -> None:
    server.script.refuse = lambda method, path: (500, {}) if "batch_1" in path else None
    with pytest.raises(JudgeError, match="is remembered"):
        desk.ask(bodies(2))
    server.script = Script()
    with pytest.raises(JudgeError, match="Nothing new was submitted"):
        desk.ask(bodies(4), left_usd=0.035)
    assert (desk.kept, server.calls["POST batches"]) == (told(bodies(2)), 1)


@pytest.mark.parametrize(
    "fault",
    [(200, HTML), (200, b'{"id": "ba'), (503, {}), (429, {"error": {"code": "slow_down"}})],
)
def test_every_kind_of_call_is_repeated_where_its_answer_is_none(desk, server, fault) -> None:
    met = set()

    def first_time(method: str, path: str) -> tuple[int, Any] | None:
        kind = (method, path.strip("0123456789"))
        known = kind in met
        met.add(kind)
        return None if known else fault

    server.script.refuse = first_time
    assert desk.ask(bodies(3)).faults == {}
    assert len(met) == 5
    assert (desk.kept, len(server.batches)) == (told(bodies(3)), 1)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (401, "invalid_api_key", "Check the key in LOOPBACK_KEY"),
        (404, "not_found", "NotFoundError, status 404, not_found, to its Batch API"),
        (429, "insufficient_quota", "no credit left"),
        (400, "billing_hard_limit_reached", "status 400, billing_hard_limit_reached"),
    ],
)
def test_what_no_wait_would_help_stops_at_once(desk, server, status, code, said) -> None:
    server.script.refuse = lambda method, path: (
        status, {"error": {"message": f"{KEY}!", "code": code}}
    )  # fmt: skip
    with pytest.raises(JudgeError, match=said):
        desk.ask(bodies(1))
    assert server.calls.total() == 1


def test_a_batch_that_the_endpoint_does_not_know_is_not_bought_again(desk, server) -> None:
    server.script.refuse = lambda method, path: (500, {}) if "batch_1" in path else None
    with pytest.raises(JudgeError, match="is remembered"):
        desk.ask(bodies(2))
    server.script = Script()
    server.batches.clear()
    with pytest.raises(JudgeError, match=r"knows no batch batch_1.*LOOPBACK_KEY.*delete"):
        desk.ask(bodies(2))
    assert server.calls["POST batches"] == 1


def test_a_memory_that_cannot_be_read_is_named(desk) -> None:
    desk.memory.write_text('{"open": [{"label"', encoding="utf-8")
    with pytest.raises(JudgeError, match=r"judge\.batches\.json should tell"):
        desk.ask(bodies(1))


def test_the_key_is_nowhere(desk, server, capfd) -> None:
    def echoing(requests: Lines) -> tuple[Lines, Lines]:
        good = [answered(r) for r in requests]
        for line in good:
            line["response"]["body"]["choices"][0]["message"]["content"] = f"my key is {KEY}"
        stranger = {**good[0], "custom_id": KEY}
        bad = {"custom_id": "key02", "response": None, "error": {"code": KEY, "message": KEY}}
        return [good[0], good[1], stranger], [bad]

    seen = []
    server.script.results = echoing
    seen.append(repr(desk.ask(bodies(3))))
    server.script = Script(end="failed", errors=[{"code": KEY, "message": f"<{KEY}>", "line": 1}])
    seen.append(repr(desk.ask(bodies(3, 5))))
    for status in (400, 401, 404, 429, 500):
        server.script.refuse = lambda method, path, s=status: (
            s, {"error": {"message": KEY, "code": KEY, "type": KEY, "param": KEY}}
        )  # fmt: skip
        with pytest.raises(JudgeError) as caught:
            desk.ask(bodies(3, 10))
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        seen.append(str(caught.value))
    seen += [json.dumps(desk.kept), *capfd.readouterr()]
    files = [p for p in desk.memory.parent.rglob("*") if p.is_file()]
    assert len(files) == 2
    seen += [p.name + p.read_text(encoding="utf-8") for p in files]
    assert not [text for text in seen if KEY in text]
    assert any("my key is [key]" in text for text in seen)
