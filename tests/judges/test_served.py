"""A real server, ``transformers serve``, asked over loopback by the real SDK."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest

from cqa_helpers import models, paths, prompts, taxonomy
from cqa_helpers.calls import CallRecord
from cqa_helpers.judges import JudgeError, LocalJudge, Panel
from cqa_helpers.judges.endpoint import Endpoint, Tally
from cqa_helpers.params import Judging, Models
from cqa_helpers.records import Verdict
from cqa_helpers.rehearsal import world
from cqa_helpers.sections import Live, Price, Prices

PANEL = Panel(taxonomy.load("cqa"), prompts.load_dialect("rehearsal"))
KEY = "loopback-0123456789"
READY_S = 60
LONGEST = 170  # tokens of a review, as in the rehearsal's own params
# Nothing but the prompt: these models know no turns of a conversation.
TEMPLATE = "{{ messages[0]['content'] }}"


def needs(*packages: str) -> pytest.MarkDecorator:
    """Return a mark that skips where packages are not installed."""
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f"transformers serve needs {', '.join(missing)}: install .[dev]"
    )


pytestmark = needs("fastapi", "uvicorn")


class Asked(NamedTuple):
    """One endpoint's run: the judge's settings, its verdicts and its account."""

    live: Live
    verdicts: list[Verdict]
    tally: Tally


class Heard(NamedTuple):
    """What was heard from a server that is stopped by now."""

    ready_s: float
    stopped: int
    port: int
    models: list[str]
    direct: Any
    random: Asked
    base: Asked
    unomitted: Asked
    missing: str
    record: Path


def free_port() -> int:
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


@contextmanager
def serving(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server in a process group of its own, and end all of it."""
    (folder / "hf" / "hub").mkdir(parents=True)
    environment = {
        **os.environ, "HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
        "NO_COLOR": "1",
    }  # fmt: skip
    command = [
        str(Path(sys.executable).with_name("transformers")), "serve", "--host", "127.0.0.1",
        "--port", str(port), "--device", "cpu", "--dtype", "float32",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=folder, stdout=log, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            for sign, seconds in ((signal.SIGTERM, 30), (signal.SIGKILL, 10)):
                if process.poll() is not None:
                    break
                os.killpg(process.pid, sign)
                try:
                    process.wait(seconds)
                except subprocess.TimeoutExpired:
                    continue


def await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> float:
    """Return the seconds until the server says that it is well."""
    begun = time.monotonic()
    while time.monotonic() - begun < READY_S:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as said:
                assert said.status == 200
                return time.monotonic() - begun
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise AssertionError(f"transformers serve did not come up:\n{log.read_text()[-3000:]}")


def with_template(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    (to / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return to


def live(judge_id: str, model: str, port: int, **changes: Any) -> Live:
    settings: dict[str, Any] = {
        "judge_id": judge_id, "model": model, "base_url": f"http://127.0.0.1:{port}/v1",
        "key_variable": "SERVED_KEY", "dialect": "rehearsal", "max_tokens": LONGEST,
        "omit": ["logprobs", "response_format"], "in_flight": 2, "timeout_s": 30, "retries": 1,
        "budget_usd": 1.0,
    } | changes  # fmt: skip
    return Live(**settings)


def ask(judge: Live, n: int, record: CallRecord) -> Asked:
    """Ask an endpoint about the first n simulated passages."""
    prices = Prices(
        as_of=date(2026, 1, 1), source="this test",
        usd_per_million_tokens={judge.model: Price(input=1.0, output=2.0)},
    )  # fmt: skip
    endpoint = Endpoint(judge, record, prices)
    return Asked(judge, endpoint.ask(questions(n), PANEL), endpoint.tally)


def questions(n: int) -> list[prompts.Question]:
    return PANEL.questions([world.to_passage(story) for story in world.draw_stories(n, 5, "s")])


@pytest.fixture(scope="module")
def heard(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Heard:
    """Start a server, ask two models of it, stop it."""
    folder = tmp_path_factory.mktemp("served")
    random = str(with_template(tiny_folder, folder / "random"))
    base = str(with_template(paths.at("data/rehearsal/base-a"), folder / "base"))
    port = free_port()
    with pytest.MonkeyPatch.context() as patch, CallRecord(folder / "calls.sqlite") as record:
        patch.setenv("SERVED_KEY", KEY)
        with serving(folder, port) as process:
            ready_s = await_ready(process, port, folder / "log")
            with openai.OpenAI(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1") as client:
                listed = [model.id for model in client.models.list()]
                direct = client.chat.completions.create(
                    model=random, max_tokens=5, temperature=0,
                    messages=[{"role": "user", "content": questions(1)[0].prompt}],
                )  # fmt: skip
            asked = [
                ask(live("random", random, port, max_tokens=16), 2, record),
                # As the server names it in its answers: nothing differs from what was asked for.
                ask(live("base", f"{base}@main", port), 6, record),
                ask(live("unomitted", random, port, max_tokens=16, omit=[]), 1, record),
            ]
            with pytest.raises(JudgeError) as caught:
                ask(live("missing", str(folder / "none"), port, retries=0), 1, record)
            missing = str(caught.value)
    stopped = process.returncode
    return Heard(ready_s, stopped, port, listed, direct, *asked, missing, folder / "calls.sqlite")


def test_the_server_answers_the_sdk_and_is_gone_afterwards(heard, record_property) -> None:
    record_property("seconds until the server is ready", round(heard.ready_s, 1))
    assert heard.models == []
    assert heard.direct.object == "chat.completion"
    assert heard.direct.choices[0].finish_reason == "length"
    assert heard.direct.usage.completion_tokens == 5
    assert heard.stopped == -signal.SIGTERM
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", heard.port), timeout=2)


def test_a_random_model_gives_no_verdict_and_no_failed_call(heard) -> None:
    _, verdicts, tally = heard.random
    assert len(verdicts) == 2 * len(PANEL.taxonomy.dimensions)
    assert {v.status for v in verdicts} <= {"ok", "unparsed"}
    assert all(v.meta["why"] == "truncated" for v in verdicts if v.status == "unparsed")
    assert (tally.answered, tally.failed.total(), tally.retries) == (2, 0, 0)


def test_tokens_are_counted_as_the_tokenizer_counts_them(heard) -> None:
    tokenizer = models.load_tokenizer(spec())
    asked = questions(6)
    with CallRecord(heard.record) as record:
        kept = record._db.execute("SELECT key FROM calls WHERE judge_id = 'base'").fetchall()
        found = [json.loads(text) for text in record.whole(k for (k,) in kept).values()]
    by_prompt = {r["sent"]["messages"][0]["content"]: r for r in found}
    assert len(by_prompt) == 6
    for question in asked:
        response = by_prompt[question.prompt]
        assert response["input_tokens"] == len(tokenizer(question.prompt)["input_ids"])
        assert 0 < response["output_tokens"] <= LONGEST
    usd = sum(r["input_tokens"] + 2 * r["output_tokens"] for r in found) / 1e6
    assert heard.base.tally.usd == pytest.approx(usd)


def test_what_the_server_gives_is_what_the_same_model_gives_here(heard, tmp_path) -> None:
    judging = Judging(temperature=0, max_new_tokens=LONGEST, batch_size=1, baselines=[])
    with CallRecord(tmp_path / "local.sqlite") as record:
        judge = LocalJudge(
            "local", "base-a", judging, record, lambda: nullcontext(models.load(spec()))
        )
        here = judge.ask(questions(6), PANEL)
    told = [(v.item_id, v.dimension, v.status, v.value, v.reason) for v in heard.base.verdicts]
    assert told == [(v.item_id, v.dimension, v.status, v.value, v.reason) for v in here]
    # The base writes reviews in form, so that this compares verdicts and not their absence.
    assert sum(v.status == "ok" for v in here) >= 0.9 * len(here)
    assert {v.value for v in here if v.status == "ok"} == {0, 1}


def test_what_the_server_passes_over_is_noted(heard) -> None:
    live_, verdicts, tally = heard.unomitted
    assert {v.status for v in verdicts} <= {"ok", "unparsed"}
    assert "Some answers came without probabilities." in tally.notes
    assert f"Answers came from {live_.model}@main, asked for was {live_.model}." in tally.notes
    assert {v.meta["served"] for v in verdicts} == {f"{live_.model}@main"}
    assert heard.base.tally.notes == []


def test_a_model_that_the_server_does_not_have_fails_and_is_not_recorded(heard) -> None:
    assert "1 of 1 calls failed" in heard.missing
    with closing(sqlite3.connect(heard.record)) as db:
        judges = {name for (name,) in db.execute("SELECT judge_id FROM calls")}
    assert judges == {"random", "base", "unomitted"}


def test_a_second_run_needs_neither_server_nor_key(heard, monkeypatch) -> None:
    monkeypatch.delenv("SERVED_KEY", raising=False)
    with CallRecord(heard.record) as record:
        for first, n in ((heard.random, 2), (heard.base, 6), (heard.unomitted, 1)):
            again = ask(first.live, n, record)
            assert again.verdicts == first.verdicts
            assert again.tally.from_record == again.tally.asked == n
            assert again.tally.usd_recorded == pytest.approx(first.tally.usd)


def spec() -> Models:
    """Return how the rehearsal's base is loaded here: as the server loads it."""
    return Models(
        base="data/rehearsal/base-a", precision="float32", device="cpu", threads=1,
        dialect="rehearsal",
    )  # fmt: skip
