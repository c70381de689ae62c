"""Time a judge behind an endpoint: many calls in flight, a replay of the record, the fault matrix.

The server is a process of this machine that answers as told; prompts are of 4 KB, answers short.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import json
import math
import os
import platform
import pstats
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import openai

import faultcases
import faultserver
from cqa_helpers import calls
from cqa_helpers.calls import CallRecord
from cqa_helpers.judges import replies
from cqa_helpers.judges.endpoint import Endpoint
from cqa_helpers.prompts import Question
from cqa_helpers.records import to_table
from cqa_helpers.sections import Live

SENTENCE = "She counted the lamps along the quay and found that one more had gone out. "
CHARACTERS = 4000


class Timed(NamedTuple):
    """One way of making the same calls: wall time and this process's CPU time, in seconds."""

    name: str
    seconds: float
    cpu: float


def asked_of(n: int, salt: str = "") -> list[Question]:
    """Return ``n`` questions with prompts of about 4 KB, no two alike."""
    dimensions = len(faultcases.PANEL.taxonomy.dimensions)
    bare = len(faultcases.questions(1)[0].prompt)
    text = SENTENCE * math.ceil((CHARACTERS - bare) / len(SENTENCE))
    texts = [f"{salt}{i}. {text}" for i in range(math.ceil(n / dimensions))]
    return faultcases.PANEL.questions(faultcases.passages(texts))[:n]


@contextlib.contextmanager
def served(delay: float) -> Iterator[str]:
    """Run the server in a process of its own and yield its address."""
    command = [sys.executable, faultserver.__file__, "--delay", str(delay)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.terminate()


def ours(address: str, asked: Sequence[Question], in_flight: int) -> Timed:
    """Ask as a study does, with the record on disk."""
    live = faultcases.live(address, in_flight=in_flight, timeout_s=30, budget_usd=1000)
    with (
        tempfile.TemporaryDirectory() as folder,
        CallRecord(Path(folder) / "calls.sqlite") as record,
    ):
        judge = Endpoint(live, record, faultcases.PRICES, seed=1)
        start, cpu = time.perf_counter(), time.process_time()
        rows = judge.ask(asked, faultcases.PANEL)
        found = Timed("ours", time.perf_counter() - start, time.process_time() - cpu)
    if any(row.status != "ok" for row in rows):
        raise SystemExit("not every answer came: this measures nothing")
    return found


def bare(address: str, asked: Sequence[Question], in_flight: int) -> Timed:
    """Ask with the SDK alone: no record, no budget, no reading of the answer."""
    live = faultcases.live(address)
    bodies = [replies.body(live, question, faultcases.PANEL, seed=1) for question in asked]

    async def run() -> None:
        gate = asyncio.Semaphore(in_flight)

        async def one(body: dict[str, Any]) -> None:
            async with gate:
                await client.chat.completions.create(**body)

        async with openai.AsyncOpenAI(
            api_key=faultcases.KEY, base_url=address, max_retries=0
        ) as client:
            await asyncio.gather(*(one(body) for body in bodies))

    start, cpu = time.perf_counter(), time.process_time()
    asyncio.run(run())
    return Timed("SDK alone", time.perf_counter() - start, time.process_time() - cpu)


def flight(given: argparse.Namespace) -> None:
    """Print the rate at which calls are made, beside the ideal and the SDK alone."""
    ideal = math.ceil(given.calls / given.in_flight) * given.delay
    # The first call goes alone: no more is sent before an endpoint has answered once.
    alone = (1 + math.ceil((given.calls - 1) / given.in_flight)) * given.delay
    print(
        f"{given.calls} calls of {CHARACTERS / 1000:.0f} KB, {given.in_flight} in flight, answers "
        f"after {given.delay:g} s: ideal {ideal:.2f} s, {given.calls / ideal:.0f} a second; with "
        f"the first alone, as ours asks, {alone:.2f} s\n"
    )
    print("| | s | calls/s | share of ideal | with the first alone | CPU ms a call | load |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    with served(given.delay) as address:
        for turn in range(given.rounds):
            for way in (bare, ours):
                if turn == 0:
                    way(address, asked_of(2, f"first {way.__name__}"), 2)  # imports, not counted
                asked = asked_of(given.calls, f"{turn} {way.__name__} ")
                name, seconds, cpu = way(address, asked, given.in_flight)
                first = f"{alone / seconds:.0%}" if way is ours else ""
                print(
                    f"| {name} | {seconds:.2f} | {given.calls / seconds:.0f} | "
                    f"{ideal / seconds:.0%} | {first} | "
                    f"{1000 * cpu / given.calls:.2f} | {os.getloadavg()[0]:.1f} |",
                    flush=True,
                )


def replay(given: argparse.Namespace) -> None:
    """Print how long it takes to make the table of verdicts from a full record."""
    live = faultcases.live("http://127.0.0.1:9/v1", budget_usd=1e6)
    panel = faultcases.PANEL
    asked = asked_of(given.verdicts)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "calls.sqlite"
        with CallRecord(file) as record, record.together():
            record.keep(_recorded(question, live) for question in asked)
        size = file.stat().st_size / 2**20
        os.environ.pop(faultcases.VARIABLE, None)
        with CallRecord(file) as record:
            judge = Endpoint(live, record, faultcases.PRICES, seed=1)
            profile = cProfile.Profile()
            start, cpu = time.perf_counter(), time.process_time()
            if given.profile:
                profile.enable()
            rows = judge.ask(asked, panel)
            read = time.perf_counter()
            table = to_table(rows)
            end, cpu = time.perf_counter(), time.process_time() - cpu
            profile.disable()
    print(
        f"{len(table):,} recorded verdicts, prompts of {CHARACTERS / 1000:.0f} KB, a record of "
        f"{size:,.0f} MiB: {end - start:.1f} s (rows {read - start:.1f} s, table "
        f"{end - read:.1f} s; CPU {cpu:.1f} s; load {os.getloadavg()[0]:.1f}); "
        f"{(table['status'] == 'ok').mean():.0%} ok"
    )
    if given.profile:
        pstats.Stats(profile).sort_stats("cumulative").print_stats(28)


def _recorded(question: Question, live: Live) -> calls.Row:
    request = replies.request(live, question, faultcases.PANEL, seed=1, repeat=0)
    sent = replies.body(live, question, faultcases.PANEL, seed=1)
    raw = json.dumps(faultserver.completion(question.prompt, sent))
    response = replies.read(raw, live, question, faultcases.PANEL, sent)
    assert response is not None
    response |= {"seconds": 0.2, "attempts": 1}
    return calls.row(calls.key(request), live.judge_id, request, response)


def faults() -> None:
    """Print the fault matrix."""
    with tempfile.TemporaryDirectory() as folder:
        print(faultcases.table(faultcases.measure(Path(folder))))


def main() -> None:
    """Do what is asked for; without a choice, the calls in flight and the replay."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", action="store_true", help="print the fault matrix, no times")
    parser.add_argument("--only", choices=("flight", "replay"), default=None)
    parser.add_argument("--calls", type=int, default=1280)
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--delay", type=float, default=0.2, help="seconds before each answer")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--verdicts", type=int, default=100_000)
    parser.add_argument("--profile", action="store_true", help="say where a replay's time goes")
    given = parser.parse_args()
    os.environ[faultcases.VARIABLE] = faultcases.KEY
    if given.faults:
        faults()
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, openai {openai.__version__}; load "
          f"{os.getloadavg()[0]:.1f}\n")  # fmt: skip
    if given.only in (None, "flight"):
        flight(given)
    if given.only in (None, "replay"):
        print()
        replay(given)


if __name__ == "__main__":
    main()
