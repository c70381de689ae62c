"""Many calls in flight at once: how many, how long, and when to stop knocking."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import httpx2

from cqa_helpers.prices import Hold

J = TypeVar("J")
T = TypeVar("T")
Ended = Literal["all sent", "budget", "failing"]

# Our choice: each of these calls has had all its retries, over some 15 s, so that eight in a row
# are no bad luck; an endpoint that is down for some minutes is waited for, and no longer.
AFTER = 8
WAITS = (10.0, 30.0, 60.0)  # seconds before each probe
MOST_APART_S = 0.003  # between the first in flight: our choice, about the CPU time of a call

# What the call that is being sent keeps back of the budget: the SDK has no room for it.
HOLD: ContextVar[Hold | None] = ContextVar("HOLD", default=None)


class UnaffordableError(Exception):
    """An attempt was cut after it was sent, and the budget does not cover another."""


class Wire(httpx2.AsyncClient):
    """The SDK's HTTP client, with an end to each attempt.

    A read timeout alone never fires while a byte a second drips in.

    Parameters
    ----------
    limit_s
        Seconds for one attempt, from the connection to the last byte.
    in_flight
        Connections of the pool.
    """

    def __init__(self, limit_s: float, in_flight: int, **options: Any) -> None:
        limits = httpx2.Limits(max_connections=in_flight, max_keepalive_connections=in_flight)
        super().__init__(timeout=limit_s, limits=limits, follow_redirects=True, **options)
        self._limit_s = limit_s

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """Send one attempt, and count it as lost where it is cut after it was sent."""
        hold = HOLD.get()
        if hold is None:
            return await super().send(request, **options)
        if not hold.take():
            raise UnaffordableError
        hold.attempts += 1
        request.extensions["trace"] = _Watch(request).trace
        try:
            async with asyncio.timeout(self._limit_s):
                response = await super().send(request, **options)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout):
            raise
        except TimeoutError:
            hold.lose()
            raise httpx2.ReadTimeout("the attempt took too long", request=request) from None
        except BaseException:
            hold.lose()
            raise
        if response.status_code == 429 and b"insufficient_quota" in response.content:
            # No wait helps: the SDK would try it again and again.
            response.headers["x-should-retry"] = "false"
        return response


class _Watch:
    """Refuses an answer that was there before its question.

    On a connection that is kept, what a broken proxy sends twice would be read as the answer to
    the next question, and every later one be off by one. What comes over the network takes at
    least one turn of the event loop; what takes none had come already.
    """

    def __init__(self, request: httpx2.Request) -> None:
        self._request = request
        self._turned = False

    async def trace(self, event: str, info: object) -> None:
        if event == "http11.receive_response_headers.started":
            asyncio.get_running_loop().call_soon(self._turn)
        elif event == "http11.receive_response_headers.complete" and not self._turned:
            raise httpx2.RemoteProtocolError("answered before it was asked", request=self._request)

    def _turn(self) -> None:
        self._turned = True


@dataclass
class Breaker:
    """After ``after`` failures in a row nothing is sent but, after each wait, one probe.

    Any success closes it; when the probe after the last wait has failed too, it gives up.
    Times are those of the event loop, in seconds.
    """

    after: int = AFTER
    waits: Sequence[float] = WAITS
    in_a_row: int = 0
    vain: int = 0
    until: float | None = None
    probing: bool = False

    @property
    def given_up(self) -> bool:
        """Whether every probe was in vain."""
        return self.vain >= len(self.waits)

    def lets(self, now: float) -> bool:
        """Return whether a call may be sent now."""
        if self.until is None:
            return True
        return not self.probing and not self.given_up and now >= self.until

    def heard(self, answered: bool, now: float, probe: bool = False) -> None:
        """Take in how a call ended; ``probe`` says that it was sent while the breaker was open."""
        if answered:
            self.in_a_row, self.vain, self.until, self.probing = 0, 0, None, False
        elif self.until is None:
            self.in_a_row += 1
            if self.in_a_row >= self.after:
                self.until = now + self.waits[0]
        elif probe:
            self.probing = False
            self.vain += 1
            self.until = now + self.waits[min(self.vain, len(self.waits) - 1)]

    def pause(self, now: float) -> float | None:
        """Return the seconds until a probe may be sent; None where a call must end first."""
        if self.until is None or self.probing or self.given_up:
            return None
        return max(0.0, self.until - now)


async def fly(
    jobs: Sequence[J],
    send: Callable[[J], Awaitable[bool]],
    *,
    in_flight: int,
    breaker: Breaker,
    affords: Callable[[J], bool],
    first_alone: bool = False,
    grace_s: float = 60.0,
) -> Ended:
    """Send jobs, ``in_flight`` at most at once, and say why it ended.

    They are begun in their order, give or take what begins in the same turn of the loop. After a
    first one alone the next begin a little apart.

    ``send`` returns whether the endpoint answered, and raises what every further call would meet:
    then nothing more is sent, what is in flight has ``grace_s`` seconds to end, and it is raised.
    ``affords`` is asked before each; where it says no, it is asked again when a call has ended.
    """
    left, loop = deque(jobs), asyncio.get_running_loop()
    flying: set[asyncio.Task[None]] = set()
    alone, stop = first_alone, list[Exception]()
    begun, apart = loop.time(), 0.0

    async def one_after_another(job: J, probe: bool) -> None:
        # The next is sent from here while nothing is wrong: a turn of the loop that starts
        # another task would cost more than the call itself.
        try:
            while True:
                breaker.heard(await send(job), loop.time(), probe)
                plain = not (probe or alone or stop or breaker.until)
                if not (plain and left and affords(left[0])):
                    return
                job = left.popleft()
        except Exception as error:
            stop.append(error)

    try:
        while True:
            short = False
            while left and not stop and len(flying) < (1 if alone else in_flight):
                if not breaker.lets(loop.time()):
                    break
                if short := not affords(left[0]):
                    break
                breaker.probing = breaker.until is not None
                worker = one_after_another(left.popleft(), breaker.probing)
                flying.add(asyncio.ensure_future(worker))
                if apart and left and len(flying) < in_flight:
                    # What is sent at once is answered at once, and then queues for the loop.
                    await asyncio.sleep(apart)
            if not flying:
                if not left:
                    return "all sent"
                if short:
                    return "budget"
                if breaker.given_up:
                    return "failing"
                await asyncio.sleep(breaker.pause(loop.time()) or 0.0)
                continue
            pause = breaker.pause(loop.time()) if left and not alone else None
            done, _ = await asyncio.wait(flying, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            flying -= done
            if alone and done:
                alone, apart = False, min(MOST_APART_S, (loop.time() - begun) / in_flight)
            if stop:
                if flying:
                    await asyncio.wait(flying, timeout=grace_s)
                raise stop[0]
    finally:
        for task in flying:
            task.cancel()
        await asyncio.gather(*flying, return_exceptions=True)


class Writer:
    """Hands what comes in to ``keep``, in a thread, all that has gathered at a time.

    A commit takes some milliseconds, which would hold up every call in flight; what is not yet
    handed on is lost with the process, so nothing waits for company.
    """

    def __init__(self, keep: Callable[[list[Any]], None]) -> None:
        self._keep = keep
        self._gathered: list[Any] = []
        self._task: asyncio.Task[None] | None = None

    def put(self, item: Any) -> None:
        """Take in one thing; raise what an earlier commit met."""
        self._gathered.append(item)
        if self._task is None or self._task.done():
            if self._task is not None:
                self._task.result()
            self._task = asyncio.ensure_future(self._write())

    async def close(self) -> None:
        """Wait until all is handed on."""
        while self._task is not None and (self._gathered or not self._task.done()):
            await self._task
        if self._task is not None:
            self._task.result()

    async def _write(self) -> None:
        while self._gathered:
            batch, self._gathered = self._gathered, []
            await asyncio.to_thread(self._keep, batch)


def in_own_loop(
    work: Callable[[], Coroutine[Any, Any, T]], tick: Callable[[], None], every_s: float = 0.25
) -> T:
    """Run a coroutine in an event loop of its own, in a thread: a notebook's own loop is taken.

    ``tick`` is called from this thread while it runs. An interrupt cancels the coroutine, waits
    for it to put away what it has, and is raised again.
    """
    held: dict[str, Any] = {}
    begun, ended = threading.Event(), threading.Event()

    async def main() -> T:
        held["loop"], held["task"] = asyncio.get_running_loop(), asyncio.current_task()
        begun.set()
        return await work()

    def run() -> None:
        try:
            held["value"] = asyncio.run(main())
        except BaseException as error:
            held["error"] = error
        finally:
            begun.set()
            ended.set()

    # Waited for by an event: where an interrupt meets Thread.join, Python 3.11 takes the thread
    # for ended while it still runs.
    thread = threading.Thread(target=run, name="endpoint", daemon=True)
    try:
        thread.start()
        while not ended.wait(every_s):
            tick()
    except BaseException as error:
        if isinstance(error, RuntimeError) and thread.ident is None:
            raise  # there is no room for a thread
        begun.wait()
        if "loop" in held:
            with contextlib.suppress(RuntimeError):  # it has just ended by itself
                held["loop"].call_soon_threadsafe(held["task"].cancel)
        ended.wait()
        raise
    if "error" in held:
        raise held["error"]
    value: T = held["value"]
    return value
