"""Whatever a server does, no verdict is lost, none invented, none paid twice, no key let out."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import logging
import multiprocessing
import os
import random
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

import faultcases
from cqa_helpers.judges import JudgeError, flight
from cqa_helpers.prompts import Question
from cqa_helpers.records import Verdict, to_table
from faultcases import CASES, KEY, LOSSY, PANEL, VARIABLE, Case, Outcome, passages
from faultserver import FaultServer, digest, meant

# What the SDK or we do not ask again within a run: another attempt would meet the same.
HOPELESS = {"429-a-day", "400-echo", "400-too-long"}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


class Measured(NamedTuple):
    """All faults' outcomes, and the files of their records."""

    outcomes: dict[str, Outcome]
    files: dict[str, bytes]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    folder = tmp_path_factory.mktemp("faults")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, KEY)
        outcomes = faultcases.measure(folder)
    files = {file.name: file.read_bytes() for file in folder.iterdir()}
    return Measured(outcomes, files)


@contextlib.contextmanager
def heard() -> Iterator[io.StringIO]:
    """Collect what any logger says, at its most talkative, and what is printed."""
    said, root = io.StringIO(), logging.getLogger()
    handler = logging.StreamHandler(said)
    levels = {n: logging.getLogger(n).level for n in ("", "openai", "httpx2", "httpcore2")}
    root.addHandler(handler)
    for name in levels:
        logging.getLogger(name).setLevel(logging.DEBUG)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            yield said
    finally:
        root.removeHandler(handler)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def as_bytes(rows: Sequence[Verdict]) -> bytes:
    return to_table(rows).to_csv(index=False).encode()


def invented(asked: Sequence[Question], rows: Sequence[Verdict]) -> list[Verdict]:
    """Return the rows whose value or probability the server never gave to their question."""
    by_cell = {(q.item_id, d): meant(q.prompt) for q in asked for d in q.dimensions}
    wrong = []
    for row in rows:
        said = by_cell[row.item_id, row.dimension]
        value = {"yes": 1, "no": 0}[said.verdict]
        near = row.probability is None or abs(row.probability - said.probability) < 1e-4
        if row.value not in (None, value) or not near:
            wrong.append(row)
    return wrong


def twice_paid(server: FaultServer) -> list[str]:
    return [prompt for prompt, times in server.paid().items() if times > 1]


# ---- the matrix


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.fault)
def test_no_fault_loses_a_verdict_invents_one_or_pays_for_one_twice(
    measured: Measured, case: Case
) -> None:
    found = measured.outcomes[case.fault]
    asked = found.asked.in_order()
    wanted = [(q.item_id, d) for q in asked for d in q.dimensions]
    if case.status is None:
        assert found.first is None
        assert case.why in found.stopped
        assert "What came before is recorded" in found.stopped
    else:
        assert found.first is not None
        assert sorted((v.item_id, v.dimension) for v in found.first) == sorted(wanted)
        assert {v.status for v in found.rows(found.asked.sound)} == {"ok"}
        always, once = found.rows(found.asked.always), found.rows(found.asked.once)
        assert {v.status for v in always} == {case.status}
        passes = case.status == "failed" and case.fault not in HOPELESS
        assert {v.status for v in once} == {"ok" if passes else case.status}
        assert all((v.value is None) == (v.status != "ok") for v in found.first)
        assert all(case.why in v.meta["why"] for v in always if v.value is None)
    assert invented(asked, [*(found.first or []), *found.again]) == []

    # After the second run, without the fault, each question has its row; what had an answer was
    # not asked again, and its row is the same.
    assert sorted((v.item_id, v.dimension) for v in found.again) == sorted(wanted)
    before = {(v.item_id, v.dimension): v for v in found.first or []}
    for row in found.again:
        old = before.get((row.item_id, row.dimension))
        assert row.status == "ok" if old is None or old.status == "failed" else row == old
    paid = [e.prompt for e in (*found.requests, *found.requests_again) if e.outcome == "paid"]
    assert len(paid) == len(set(paid))
    lost = [e for e in (*found.requests, *found.requests_again) if e.outcome == "lost"]
    assert bool(lost) == (case.fault in LOSSY)
    assert {e.authorised for e in found.requests} == {True}


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.fault)
def test_the_record_holds_every_answer_and_no_failure(measured: Measured, case: Case) -> None:
    found = measured.outcomes[case.fault]
    assert {r["status"] for r in found.kept} <= {"answered", "refused"}
    answered = {e.prompt for e in found.requests if e.outcome == "paid"}
    turned_down = {e.prompt for e in found.requests if e.fault == "400-filter"}
    assert len(found.kept) == len(answered | turned_down)


def test_retry_after_is_waited_for_as_seconds_and_as_a_date(measured: Measured) -> None:
    for fault in ("429-seconds", "429-date"):
        found = measured.outcomes[fault]
        for question in (*found.asked.always, *found.asked.once):
            at = [e.at for e in found.entries([question])]
            waits = [b - a for a, b in itertools.pairwise(at)]
            assert waits
            assert min(waits) > 0.95


def test_rows_can_be_written_whatever_the_answer_held(measured: Measured, tmp_path: Path) -> None:
    rows = [v for o in measured.outcomes.values() for v in (*(o.first or []), *o.again)]
    to_table(rows).to_parquet(tmp_path / "verdicts.parquet")
    assert all(v.model_dump_json() for v in rows)
    assert max(len(v.reason) for v in rows) < 10_000


def test_the_table_of_faults_says_what_was_measured(measured: Measured) -> None:
    lines = faultcases.table(measured.outcomes).splitlines()
    assert len(lines) == len(CASES) + 2
    assert len({line.count("|") for line in lines}) == 1
    drip = next(line for line in lines if "0.2 s" in line)
    assert "failed: APITimeoutError" in drip
    assert "asked again: ok" in drip


def test_an_answer_sent_twice_on_a_connection_is_not_taken_for_the_next_questions(
    tmp_path: Path,
) -> None:
    asked = faultcases.questions(4)
    first = PANEL.questions(passages(["Twice. [fault:sent-twice]"]))[:1]
    whole = [*(q._replace(item_id="first") for q in first), *asked]
    with FaultServer(KEY) as server:
        rows = faultcases.ask(server, tmp_path / "calls.sqlite", whole, in_flight=1)
    assert len(rows) == len(whole)
    wrong = invented(whole, rows)
    assert not wrong, f"{len(wrong)} of {len(rows)} rows hold another question's answer"


def test_equal_questions_are_asked_once_and_each_has_its_row(tmp_path: Path) -> None:
    asked = PANEL.questions(passages(["The same."] * 5))
    with FaultServer(KEY, delay=lambda *_: 0.01) as server:
        rows = faultcases.ask(server, tmp_path / "calls.sqlite", asked)
        assert len(server.ledger) == len({q.prompt for q in asked})
    assert [(v.item_id, v.dimension) for v in rows] == [(q.item_id, q.dimensions[0]) for q in asked]
    assert invented(asked, rows) == []


def test_an_endpoint_that_is_down_is_soon_left_alone_and_asked_again_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flight, "WAITS", (0.05, 0.05, 0.05))
    asked = faultcases.questions(100)
    file = tmp_path / "calls.sqlite"
    with FaultServer(KEY, scenario=lambda *_: "503") as server:
        with pytest.raises(JudgeError, match="300 of 300 calls failed"):
            faultcases.ask(server, file, asked, in_flight=8, retries=0)
        assert len(server.ledger) <= flight.AFTER + 8 + len(flight.WAITS)
        assert faultcases.kept(file) == []
        server.calm = True
        rows = faultcases.ask(server, file, asked)
    assert {v.status for v in rows} == {"ok"}
    assert invented(asked, rows) == []


# ---- the key


def test_the_key_is_in_no_row_record_message_or_traceback(measured: Measured) -> None:
    places = {f"record {name}": content for name, content in measured.files.items()}
    for name, o in measured.outcomes.items():
        places[f"message {name}"] = o.stopped.encode()
        places[f"traceback {name}"] = o.trace.encode()
        # In the file the bodies are compressed.
        places[f"responses {name}"] = json.dumps(o.kept, ensure_ascii=False).encode()
        places[f"rows {name}"] = repr([*(o.first or []), *o.again]).encode()
    assert "Traceback" in measured.outcomes["401-echo"].trace
    assert [place for place, content in places.items() if KEY.encode() in content] == []


def test_the_key_is_in_no_log_at_its_most_talkative_and_in_nothing_printed(
    tmp_path: Path,
) -> None:
    faults = ("ok", "500-echo", "400-echo", "cut-body", "echo-in-answer", "html", "401-echo")
    texts = [f"A lamp. [fault:{fault}*1]" for fault in faults]
    asked = [q for q in PANEL.questions(passages(texts)) if q.dimensions == ("craft",)]
    with heard() as said, FaultServer(KEY) as server:
        try:
            faultcases.ask(server, tmp_path / "calls.sqlite", asked, in_flight=1)
        except JudgeError:
            traceback.print_exc()
    assert {e.fault for e in server.ledger} == set(faults)
    for talker in (
        "HTTP Request: POST",
        "AuthenticationError",
        "Traceback",
        "send_request_headers",
    ):
        assert talker in said.getvalue()
    assert KEY not in said.getvalue()


@pytest.mark.parametrize("value", [None, "", "  ", "two words", "schlüssel"])
def test_without_a_usable_key_a_sentence_names_the_variable_and_nothing_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)  # another provider's: not to be sent instead
    if value is None:
        monkeypatch.delenv(VARIABLE)
    else:
        monkeypatch.setenv(VARIABLE, value)
    with FaultServer() as server:
        with pytest.raises(JudgeError, match=VARIABLE) as caught:
            faultcases.ask(server, tmp_path / "calls.sqlite", faultcases.questions(2))
        assert server.ledger == []
    assert not (value or "").strip() or str(value) not in str(caught.value)


# ---- the budget


@pytest.mark.parametrize("fault", ["costly", "no-usage"])
def test_the_budget_is_never_passed_with_32_in_flight(tmp_path: Path, fault: str) -> None:
    asked = faultcases.questions(40)
    file = tmp_path / "calls.sqlite"
    with FaultServer(KEY, lambda *_: fault, lambda *_: 0.02) as server:
        with pytest.raises(JudgeError, match="budget_usd"):
            faultcases.ask(server, file, asked, in_flight=32, budget_usd=0.2)
        charged = server.usd(faultcases.INPUT_USD, faultcases.OUTPUT_USD)
        assert len(server.ledger) > 32
        assert charged <= 0.2
        if fault == "costly":  # and it is used: what is left would not pay for one more call
            assert charged > 0.2 - 1.05 * charged / len(server.ledger)
        assert len(faultcases.kept(file)) == len(server.ledger)
        # A budget spent stays spent.
        with pytest.raises(JudgeError, match="budget_usd"):
            faultcases.ask(server, file, asked, in_flight=32, budget_usd=0.2)
        assert server.usd(faultcases.INPUT_USD, faultcases.OUTPUT_USD) <= 0.2
        rows = faultcases.ask(server, file, asked, in_flight=32, budget_usd=10)
        assert twice_paid(server) == []
    assert invented(asked, rows) == []


def test_the_budget_counts_answers_that_were_cut_on_their_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    class Watched(flight.Breaker):
        def heard(self, answered: bool, now: float, probe: bool = False) -> None:
            super().heard(answered, now, probe)
            opened.append(self.until is not None)

    monkeypatch.setattr(flight, "WAITS", (0.05, 0.05, 0.05))
    monkeypatch.setattr(flight, "Breaker", Watched)
    asked = faultcases.questions(20)

    def scenario(prompt: str, attempt: int) -> str:
        return "cut-body" if attempt == 1 else "costly"

    with FaultServer(KEY, scenario) as server:
        with contextlib.suppress(JudgeError):
            faultcases.ask(server, tmp_path / "calls.sqlite", asked, in_flight=32, budget_usd=0.1)
        assert server.lost()
        assert server.usd(faultcases.INPUT_USD, faultcases.OUTPUT_USD) <= 0.1
    assert opened
    assert not any(opened), "a budget that ends is no fault of the endpoint: nothing waits for it"


# ---- order and identity


def test_32_in_flight_with_any_delays_give_the_table_of_one_in_flight_and_so_does_a_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = faultcases.questions(50)

    def delay(prompt: str, attempt: int) -> float:
        return random.Random(prompt).uniform(0.0, 0.1)

    with FaultServer(KEY, delay=delay) as server:
        many = faultcases.ask(server, tmp_path / "many.sqlite", asked, in_flight=32)
        assert 1 < server.most_in_flight <= 32
        server.most_in_flight, server.delay = 0, None
        one = faultcases.ask(server, tmp_path / "one.sqlite", asked, in_flight=1)
        assert server.most_in_flight == 1
        assert set(server.paid().values()) == {2}  # once for each of the two records
        address = server.base_url
    assert [(v.item_id, v.dimension) for v in many] == [
        (q.item_id, d) for q in asked for d in q.dimensions
    ]
    assert as_bytes(many) == as_bytes(one)
    assert [v.model_dump_json() for v in many] == [v.model_dump_json() for v in one]
    monkeypatch.delenv(VARIABLE)
    replayed = faultcases.ask(address, tmp_path / "many.sqlite", asked, in_flight=32)
    assert [v.model_dump_json() for v in replayed] == [v.model_dump_json() for v in many]
    assert invented(asked, many) == []


def test_a_judge_can_be_asked_inside_a_running_event_loop(tmp_path: Path) -> None:
    async def cell() -> list[Verdict]:
        return faultcases.ask(server, tmp_path / "calls.sqlite", asked)

    asked = faultcases.questions(3)
    with FaultServer(KEY) as server:
        rows = asyncio.run(cell())
    assert invented(asked, rows) == []
    assert {v.status for v in rows} == {"ok"}


def test_an_interrupt_keeps_what_came_and_the_next_run_asks_only_the_rest(tmp_path: Path) -> None:
    asked, in_flight = faultcases.questions(60), 8
    file = tmp_path / "calls.sqlite"
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    with FaultServer(KEY, delay=lambda *_: 0.02) as server:

        def interrupt() -> None:
            while len(server.paid()) < 50:
                time.sleep(0.002)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        try:
            thread = threading.Thread(target=interrupt)
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                faultcases.ask(server, file, asked, in_flight=in_flight)
        finally:
            thread.join()
            signal.signal(signal.SIGINT, handler)
        came = {prompt for prompt, _ in faultcases.kept(file)}
        while server.in_flight:
            time.sleep(0.01)
        mark, billed = len(server.ledger), len(server.paid())
        assert 50 - in_flight <= len(came) < len(asked)
        assert billed - len(came) <= in_flight
        rows = faultcases.ask(server, file, asked, in_flight=in_flight)
        again = {e.prompt for e in server.ledger[mark:]}
    assert again == {digest(q.prompt) for q in asked if q.prompt not in came}
    assert {v.status for v in rows} == {"ok"}
    assert invented(asked, rows) == []


# ---- kill -9


N_KILLED, IN_FLIGHT, KILLS, WITHIN_S = 67, 8, 5, 2.0


class Killed(NamedTuple):
    """A run after all its kills: its server's address, answers lost at each kill, exit codes."""

    file: Path
    address: str
    lost: list[int]
    codes: list[int | None]


def killed_run(folder: Path, seed: int) -> Killed:
    """Kill one run ``KILLS`` times, then let it end."""
    dice = random.Random(seed)
    moments = sorted(dice.sample(range(3 * N_KILLED + 1), KILLS))
    asked = faultcases.questions(N_KILLED)
    file = folder / f"killed-{seed}.sqlite"
    context = multiprocessing.get_context("forkserver")
    lost: list[int] = []
    codes: list[int | None] = []
    known: set[str] = set()
    with FaultServer(KEY, delay=lambda *_: dice.uniform(0.01, 0.04)) as server:
        for moment in moments:
            mark = len(server.ledger)
            child = context.Process(
                target=faultcases.judge, args=(server.base_url, file, N_KILLED, IN_FLIGHT)
            )
            child.start()
            begun = time.monotonic()
            while len(server.ledger) < moment and child.is_alive():
                assert time.monotonic() - begun < 30
                time.sleep(0.001)
            time.sleep(dice.uniform(0, 0.03))
            assert child.pid is not None
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
            killed = time.monotonic()
            child.join()
            codes.append(child.exitcode)
            # What a killed client had sent may still lie unread in the server's sockets.
            seen = -1
            while server.in_flight or seen < len(server.ledger):
                seen = len(server.ledger)
                time.sleep(0.1)
            assert not known & {e.prompt for e in server.ledger[mark:]}
            answers = faultcases.kept(file) if file.is_file() else []
            now = {digest(prompt) for prompt, _ in answers}
            assert known <= now
            assert {r["text"] for p, r in answers} == {meant(p).content for p, r in answers}
            gone = [e for e in server.ledger[mark:] if e.prompt not in now]
            # What was in flight, and what came while the last commit was under way.
            assert all(killed - e.at < WITHIN_S for e in gone)
            lost.append(len(gone))
            known = now
        mark = len(server.ledger)
        faultcases.ask(server, file, asked, in_flight=IN_FLIGHT)
        assert {e.prompt for e in server.ledger[mark:]} == {digest(q.prompt) for q in asked} - known
        assert sum(lost) == len(server.ledger) - len(asked)
    return Killed(file, server.base_url, lost, codes)


def test_a_run_killed_at_20_random_moments_ends_as_an_undisturbed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = faultcases.questions(N_KILLED)
    multiprocessing.get_context("forkserver").set_forkserver_preload(
        ["cqa_helpers.judges.endpoint", "openai.resources.chat.completions"]
    )
    with FaultServer(KEY) as server:
        whole = faultcases.ask(server, tmp_path / "whole.sqlite", asked, in_flight=IN_FLIGHT)
    with ThreadPoolExecutor(2) as pool:
        runs = list(pool.map(lambda seed: killed_run(tmp_path, seed), range(4)))
    lost = [n for run in runs for n in run.lost]
    codes = [code for run in runs for code in run.codes]
    print(f"answers paid and lost at each of {len(lost)} kills, {IN_FLIGHT} in flight: {lost}")
    assert codes.count(-signal.SIGKILL) >= 15
    monkeypatch.delenv(VARIABLE)
    for run in runs:
        assert len(faultcases.kept(run.file)) == len(asked)
        rows = faultcases.ask(run.address, run.file, asked, in_flight=IN_FLIGHT)
        assert as_bytes(rows) == as_bytes(whole)
