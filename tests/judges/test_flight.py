from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqa_helpers.judges import flight
from cqa_helpers.judges.flight import Breaker, Writer
from cqa_helpers.prices import Budget, Hold

QUICK = (0.01, 0.02, 0.03)


class Sender:
    """Answers after a moment, says whether it did, and remembers what was in flight."""

    def __init__(
        self, answers: Callable[[int], bool] = lambda _: True, wait_s: float = 0.0
    ) -> None:
        self.answers, self.wait_s = answers, wait_s
        self.sent: list[int] = []
        self.ended: list[int] = []
        self.now = self.most = 0

    async def __call__(self, job: int) -> bool:
        self.sent.append(job)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.wait_s)
        finally:
            self.now -= 1
        self.ended.append(job)
        return self.answers(job)


def fly(jobs: Sequence[int], sender: Any, **changes: Any) -> flight.Ended:
    known: dict[str, Any] = {
        "in_flight": 4, "breaker": Breaker(3, QUICK), "affords": lambda _: True,
    }  # fmt: skip
    return asyncio.run(flight.fly(jobs, sender, **(known | changes)))


@given(n=st.integers(0, 30), in_flight=st.integers(1, 9), alone=st.booleans())
@settings(max_examples=25, deadline=None)
def test_every_job_is_sent_once_in_order_and_never_more_at_once_than_allowed(
    n: int, in_flight: int, alone: bool
) -> None:
    sender = Sender()
    assert fly(range(n), sender, in_flight=in_flight, first_alone=alone) == "all sent"
    assert sorted(sender.sent) == list(range(n))
    assert sender.most <= in_flight
    if not alone:
        assert sender.sent == list(range(n))
        assert sender.most == min(in_flight, n)


def test_the_first_goes_alone_where_nothing_is_proven_yet() -> None:
    seen: list[tuple[int, int]] = []

    async def send(job: int) -> bool:
        seen.append((job, len(seen)))
        await asyncio.sleep(0)
        if job == 0:
            assert len(seen) == 1
        return True

    assert fly(range(5), send, first_alone=True) == "all sent"
    assert len(seen) == 5


def test_after_the_first_the_others_begin_apart_so_that_their_answers_do() -> None:
    sender, at = Sender(wait_s=0.05), list[float]()

    async def send(job: int) -> bool:
        at.append(time.monotonic())
        return await sender(job)

    assert fly(range(11), send, in_flight=5, first_alone=True) == "all sent"
    apart = [later - early for early, later in pairwise(at[1:6])]
    assert min(apart) >= 0.0025
    assert sorted(sender.sent) == list(range(11))


def test_what_stops_all_stops_those_that_have_not_begun() -> None:
    sender = Sender(wait_s=0.05)

    async def send(job: int) -> bool:
        if job == 3:
            raise PermissionError("all alike")
        return await sender(job)

    with pytest.raises(PermissionError, match="all alike"):
        fly(range(100), send, in_flight=50, first_alone=True)
    assert sender.ended == [0, 1, 2]


def test_what_every_call_would_meet_stops_the_rest_and_lets_those_in_flight_end() -> None:
    sender = Sender(wait_s=0.02)

    async def send(job: int) -> bool:
        if job == 2:
            raise PermissionError("all alike")
        return await sender(job)

    with pytest.raises(PermissionError, match="all alike"):
        fly(range(100), send)
    assert sorted(sender.ended) == [0, 1, 3], "in flight beside it: they end and nothing follows"


def test_what_hangs_after_a_stop_is_cut_when_its_grace_is_over() -> None:
    sender = Sender(wait_s=30)

    async def send(job: int) -> bool:
        if job == 1:
            raise PermissionError
        return await sender(job)

    begun = time.monotonic()
    with pytest.raises(PermissionError):
        fly(range(3), send, grace_s=0.05)
    assert time.monotonic() - begun < 5
    assert sender.now == 0


def test_a_job_that_is_not_afforded_waits_for_what_is_given_back() -> None:
    budget = Budget(1.0)
    holds = [Hold(budget, 0.6) for _ in range(3)]
    sender = Sender(wait_s=0.005)

    async def send(job: int) -> bool:
        assert await sender(job)
        holds[job].end()
        budget.pay(str(job), 0.05)
        return True

    assert fly(range(3), send, affords=lambda job: holds[job].take()) == "all sent"
    assert sender.most == 1


def test_when_nothing_more_is_afforded_it_ends_and_says_so() -> None:
    sender = Sender()
    assert fly(range(9), sender, affords=lambda job: job < 5) == "budget"
    assert sorted(sender.ended) == [0, 1, 2, 3, 4]


def test_a_dead_endpoint_gets_some_calls_then_one_probe_a_wait_then_none() -> None:
    sender = Sender(answers=lambda _: False, wait_s=0.001)
    begun = time.monotonic()
    assert fly(range(1000), sender, in_flight=4) == "failing"
    assert len(sender.sent) <= 3 + 3 + 3, "three in a row, three more in flight, three probes"
    assert time.monotonic() - begun >= sum(QUICK)


def test_one_success_brings_all_back() -> None:
    down = {"from": 10, "until": 17}
    sender = Sender(answers=lambda job: not down["from"] <= job < down["until"], wait_s=0.001)
    assert fly(range(60), sender, in_flight=4) == "all sent"
    assert sender.ended[-1] >= 56
    assert sorted(sender.sent) == list(range(60))


def test_only_a_probe_counts_as_one() -> None:
    breaker = Breaker(2, (1.0, 2.0))
    for _ in range(2):
        breaker.heard(False, now=0.0)
    breaker.heard(False, now=0.5)  # sent before it opened
    assert (breaker.vain, breaker.until) == (0, 1.0)
    assert not breaker.lets(0.9)
    assert breaker.lets(1.0)
    breaker.probing = True
    assert not breaker.lets(1.0), "one probe at a time"
    assert breaker.pause(1.0) is None
    breaker.heard(False, now=1.5, probe=True)
    assert breaker.until == 3.5
    breaker.heard(False, now=4.0, probe=True)
    assert breaker.given_up
    breaker.heard(True, now=5.0)
    assert breaker.lets(5.0)
    assert not breaker.given_up


def test_failures_between_successes_never_open_it() -> None:
    breaker = Breaker(3, QUICK)
    for _ in range(50):
        for answered in (False, False, True):
            breaker.heard(answered, now=0.0)
            assert breaker.lets(0.0)


def test_what_gathers_during_a_commit_goes_into_the_next_one_in_order() -> None:
    batches: list[list[int]] = []
    first, free = threading.Event(), threading.Event()

    def keep(batch: list[int]) -> None:
        batches.append(batch)
        first.set()
        free.wait(5)

    async def main() -> None:
        writer = Writer(keep)
        writer.put(0)
        while not first.is_set():
            await asyncio.sleep(0.001)
        for n in range(1, 6):
            writer.put(n)
        free.set()
        await writer.close()

    asyncio.run(main())
    assert batches == [[0], [1, 2, 3, 4, 5]]


def test_a_commit_that_fails_is_told_even_when_it_is_the_last() -> None:
    def keep(batch: list[int]) -> None:
        raise OSError("disk full")

    async def main() -> None:
        writer = Writer(keep)
        writer.put(1)
        await writer.close()

    with pytest.raises(OSError, match="disk full"):
        asyncio.run(main())


def test_work_runs_beside_a_loop_that_is_already_running() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    async def notebook() -> int:
        return flight.in_own_loop(work, lambda: None)

    assert asyncio.run(notebook()) == 7


def test_an_interrupt_cancels_the_work_and_waits_for_it_to_put_away() -> None:
    put_away = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            put_away.append(True)

    def tick() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        flight.in_own_loop(work, tick, every_s=0.02)
    assert put_away == [True]


def test_an_interrupt_from_the_keyboard_waits_for_the_thread_however_often() -> None:
    put_away: list[bool] = []
    main_thread = threading.main_thread().ident or 0

    async def work() -> None:
        asyncio.get_running_loop().call_soon(signal.pthread_kill, main_thread, signal.SIGINT)
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.1)
            put_away.append(True)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        for n in range(1, 4):
            with pytest.raises(KeyboardInterrupt):
                flight.in_own_loop(work, lambda: None, every_s=5.0)
            assert len(put_away) == n
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_answer_that_was_there_before_its_question_is_not_taken() -> None:
    request = httpx2.Request("POST", "http://test/")
    headers = "http11.receive_response_headers"

    async def read(turns: int) -> None:
        watch = flight._Watch(request)
        await watch.trace(f"{headers}.started", {})
        for _ in range(turns):
            await asyncio.sleep(0)
        await watch.trace(f"{headers}.complete", {})

    with pytest.raises(httpx2.RemoteProtocolError):
        asyncio.run(read(turns=0))
    asyncio.run(read(turns=1))


def test_what_the_work_raises_is_raised_here() -> None:
    async def work() -> None:
        raise LookupError("there")

    with pytest.raises(LookupError, match="there"):
        flight.in_own_loop(work, lambda: None)


def wired(handler: Any, hold: Hold, limit_s: float = 5.0) -> httpx2.Response:
    async def main() -> httpx2.Response:
        flight.HOLD.set(hold)
        async with flight.Wire(limit_s, 2, transport=httpx2.MockTransport(handler)) as wire:
            return await wire.post("http://test/", json={})

    return asyncio.run(main())


def test_a_drip_ends_at_the_limit_and_counts_as_charged() -> None:
    class Drip(httpx2.AsyncByteStream):
        async def __aiter__(self):  # type: ignore[no-untyped-def]
            while True:
                await asyncio.sleep(0.01)
                yield b" "

    budget = Budget(1.0)
    with pytest.raises(httpx2.ReadTimeout):
        wired(lambda _: httpx2.Response(200, stream=Drip()), Hold(budget, 0.3), limit_s=0.1)
    assert (budget.lost, budget.held) == (pytest.approx(0.3), pytest.approx(0.0))


def test_what_never_left_is_not_counted_as_charged() -> None:
    def refuse(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused", request=request)

    budget = Budget(1.0)
    with pytest.raises(httpx2.ConnectError):
        wired(refuse, Hold(budget, 0.3))
    assert budget.lost == 0


def test_an_attempt_that_the_budget_does_not_cover_is_not_sent() -> None:
    sent = []

    def cut(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        raise httpx2.ReadError("cut", request=request)

    hold = Hold(Budget(0.5), 0.3)
    with pytest.raises(httpx2.ReadError):
        wired(cut, hold)
    with pytest.raises(flight.UnaffordableError):
        wired(cut, hold)
    assert len(sent) == 1
