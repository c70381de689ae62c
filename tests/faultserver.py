"""An OpenAI-compatible server on loopback that goes wrong on request, and keeps a ledger.

What it answers follows from the prompt alone, so that a disturbed run can be compared with an
undisturbed one. A passage that holds ``[fault:NAME]`` meets that fault at each attempt,
``[fault:NAME*2]`` at the first two; ``calm`` ends all faults. Standard library only.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import math
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from email.utils import formatdate
from typing import Any, Literal, NamedTuple

MARK = re.compile(r"\[fault:([\w-]+?)(?:\*(\d+))?\]")
MODEL = "scripted-1"
DRIP_S = 0.2
MANY = 10 * 2**20
HTML = b"<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>"
Way = Literal["whole", "nothing", "silence", "cut", "drip", "twice"]


class Reply(NamedTuple):
    """What is sent: ``billed`` where a model has made it, ``usable`` where its JSON is whole."""

    status: int
    body: bytes
    headers: Mapping[str, str] = {}
    way: Way = "whole"
    billed: bool = False
    usable: bool = True


class Meant(NamedTuple):
    """What the server says to a prompt: the verdict, P(yes) and the JSON it writes."""

    verdict: str
    probability: float
    content: str


@dataclass
class Entry:
    """One request in the ledger; of the key only whether it was the expected one.

    ``outcome``: paid (an answer of the model, sent whole), lost (made and charged, and cut on
    its way), free (no model was asked).
    """

    prompt: str
    attempt: int
    fault: str
    at: float
    authorised: bool
    headers: tuple[str, ...]
    status: int = 0
    outcome: Literal["open", "paid", "lost", "free"] = "open"
    input_tokens: int = 0
    output_tokens: int = 0
    parameters: dict[str, Any] = field(default_factory=dict)


Scenario = Callable[[str, int], str]


def digest(prompt: str) -> str:
    """Return the name of a prompt in the ledger."""
    return hashlib.sha256(prompt.encode()).hexdigest()[:20]


def marked(prompt: str, attempt: int) -> str:
    """Return the fault that a prompt asks for at this attempt (from 1), or ``ok``."""
    found = MARK.search(prompt)
    if found is None or (found[2] and attempt > int(found[2])):
        return "ok"
    return found[1]


def meant(prompt: str) -> Meant:
    """Return the answer to a prompt: drawn from its hash, reasons only where it asks for them."""
    draw = random.Random(digest(prompt))
    probability = round(draw.uniform(0.02, 0.98), 3)
    verdict = "yes" if probability > 0.5 else "no"
    said: dict[str, str] = {}
    if '"intended"' in prompt:
        said["intended"] = f"To hold line {draw.randrange(1000)} back."
        said["effect"] = f"The reader waits; “beat {draw.randrange(1000)}” — 等."
    return Meant(verdict, probability, json.dumps({**said, "verdict": verdict}, ensure_ascii=False))


def logprobs(answer: Meant) -> dict[str, Any]:
    """Return the log-probabilities of an answer's tokens, both words at the verdict's own."""
    pieces = re.findall(r"\w+|\s+|[^\w\s]", answer.content)
    at = len(pieces) - 1 - pieces[::-1].index(answer.verdict)
    listed = []
    for place, piece in enumerate(pieces):
        odds = {piece: 1.0}
        if place == at:
            odds = {"yes": answer.probability, "no": 1 - answer.probability}
        tops = [
            {"token": t, "logprob": math.log(p), "bytes": list(t.encode())}
            for t, p in sorted(odds.items(), key=lambda kept: -kept[1])
        ]
        listed.append({**next(t for t in tops if t["token"] == piece), "top_logprobs": tops})
    return {"content": listed, "refusal": None}


def completion(
    prompt: str, asked: Mapping[str, Any], fault: str = "ok", key: str | None = None
) -> dict[str, Any]:
    """Return a completion; many faults are a change to a good one."""
    answer = meant(prompt)
    other = answer.content.replace(*(("yes", "no") if answer.verdict == "yes" else ("no", "yes")))
    long = MANY // 5 if fault == "ten-megabytes" else 0
    text: str | None = {
        "empty": "",
        "null": None,
        "truncated": answer.content[: len(answer.content) // 2],
        "no-json": "I would rather talk about the weather.",
        "quoted-then-cut": 'The passage tells me to answer {"verdict": "yes"}. I will not. My own',
        "key-twice": other[:-1] + answer.content[answer.content.rindex('"verdict"') - 2 :],
        "deep": '{"verdict": ' * 3000,
        "half-in-reason": answer.content.replace("To hold", r"To \ud83d\u0000 hold"),
        "fenced": f"Here it is:\n```json\n{answer.content}\n```\nI hope this helps.",
        "twice-in-content": f"{answer.content}\n{answer.content}",
        "contradiction": f"{answer.content}\n{other}",
        "wrong-word": answer.content.replace(f'"{answer.verdict}"', '"perhaps"'),
        "wrong-type": answer.content.replace(f'"{answer.verdict}"', '["yes", "no"]'),
        "number": answer.content.replace(f'"{answer.verdict}"', "1"),
        "ten-megabytes": answer.content[:-1] + ', "note": "' + "long " * long + '"}',
        "refusal": None,
        "content-filter": "",
    }.get(fault, answer.content)
    finish = {
        "truncated": "length",
        "quoted-then-cut": "length",
        "content-filter": "content_filter",
    }.get(fault, "stop")
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if fault == "refusal":
        message["refusal"] = "I can't help with that."
    choice: dict[str, Any] = {
        "index": 0, "finish_reason": finish, "message": message, "logprobs": None,
    }  # fmt: skip
    if asked.get("logprobs") and fault != "no-logprobs" and text == answer.content:
        choice["logprobs"] = logprobs(answer)
    choices = [choice]
    if fault == "two-choices":
        choices.append({**choice, "index": 1})
    if fault == "choices-contradict":
        choices.append({**choice, "index": 1, "logprobs": None,
                        "message": {**message, "content": other}})  # fmt: skip
    if fault == "no-choices":
        choices = []
    most = asked.get("max_tokens") or asked.get("max_completion_tokens") or 1
    usage: dict[str, int] | None = {
        "prompt_tokens": len(prompt.encode()) // 4,
        "completion_tokens": min(most, len((text or "…").encode()) // 4),
    }
    if fault == "costly":  # the most that a byte-level tokenizer could make of what was sent
        schema = json.dumps(asked.get("response_format") or "", separators=(",", ":"))
        usage = {"prompt_tokens": len(prompt.encode()) + len(schema), "completion_tokens": most}
    if usage is not None:
        usage["total_tokens"] = sum(usage.values())
    whole = {
        "id": f"chatcmpl-{digest(prompt)}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": MODEL,
        "choices": choices,
        "usage": None if fault == "no-usage" else usage,
    }
    if fault == "echo-in-answer":
        whole["debug"] = {"authorization": f"Bearer {key}"}
    return whole


def _error(status: int, message: str, code: str | None = None, **headers: str) -> Reply:
    kind = "invalid_request_error" if status < 429 else "server_error"
    said = {"error": {"message": message, "type": code or kind, "param": None, "code": code}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(said).encode(), named)


def reply(fault: str, prompt: str, asked: Mapping[str, Any], key: str | None) -> Reply:
    """Return what a fault does to the answer to a prompt.

    Raises
    ------
    KeyError
        There is no such fault.
    """
    now = time.time()
    errors: dict[str, Callable[[], Reply]] = {
        "408": lambda: _error(408, "Request timeout."),
        "409": lambda: _error(409, "Lock timeout."),
        "429": lambda: _error(429, "Too many requests.", "rate_limit_exceeded"),
        "429-seconds": lambda: _error(429, "Wait.", "rate_limit_exceeded", Retry_After="1"),
        "429-date": lambda: _error(429, "Wait.", "rate_limit_exceeded",
                                   Retry_After=formatdate(now + 2, usegmt=True)),
        "429-a-day": lambda: _error(429, "Wait.", "rate_limit_exceeded", Retry_After="86400"),
        "429-nonsense": lambda: _error(429, "Wait.", "rate_limit_exceeded", Retry_After="soon"),
        "500": lambda: _error(500, "Internal error."),
        "503": lambda: _error(503, "Overloaded."),
        "401": lambda: _error(401, "Incorrect API key provided.", "invalid_api_key"),
        "401-echo": lambda: _error(401, f"Incorrect key in Authorization: Bearer {key}.",
                                   "invalid_api_key"),
        "500-echo": lambda: _error(500, f"Failed with Authorization: Bearer {key} and {key}."),
        "400-echo": lambda: _error(400, f"Bad header Authorization: Bearer {key}."),
        "404": lambda: _error(404, f"The model {MODEL} does not exist.", "model_not_found"),
        "400-parameter": lambda: _error(400, "Unsupported parameter: 'seed' is not supported with "
                                        "this model.", "unsupported_parameter"),
        "400-too-long": lambda: _error(400, "This model's maximum context length is 16 tokens.",
                                       "context_length_exceeded"),
        "400-filter": lambda: _error(400, "Filtered by the content policy.", "content_filter"),
        "quota": lambda: _error(429, "You exceeded your current quota.", "insufficient_quota"),
        "html": lambda: Reply(200, HTML, {"Content-Type": "text/html"}),
        "html-502": lambda: Reply(502, HTML, {"Content-Type": "text/html"}),
        "other-schema": lambda: Reply(200, b'{"status": "ok", "result": {"verdict": "yes"}}'),
        "json-list": lambda: Reply(200, b'[{"verdict": "yes"}]'),
        "error-with-200": lambda: Reply(
            200, b'{"error": {"message": "overloaded", "code": 503}, "choices": null}'
        ),
        "cut-headers": lambda: Reply(0, b"", way="nothing"),
        "silence": lambda: Reply(0, b"", way="silence"),
    }  # fmt: skip
    if fault in errors:
        return errors[fault]()
    body = json.dumps(completion(prompt, asked, fault, key)).encode()
    if fault == "cut-body":
        return Reply(200, body, way="cut", billed=True)
    if fault == "drip":
        return Reply(200, body, way="drip", billed=True)
    if fault == "truncated-json":
        return Reply(200, body[: len(body) // 2], billed=True, usable=False)
    if fault == "no-choices":
        return Reply(200, body, billed=True, usable=False)
    if fault == "sent-twice":
        return Reply(200, body, way="twice", billed=True)
    if fault not in CHANGES:
        raise KeyError(f"no fault {fault!r}; there are {', '.join([*errors, *CHANGES, *WAYS])}")
    return Reply(200, body, billed=True)


CHANGES = frozenset({
    "ok", "costly", "empty", "null", "truncated", "quoted-then-cut", "no-json", "fenced",
    "twice-in-content", "contradiction", "key-twice", "deep", "half-in-reason", "wrong-word",
    "wrong-type", "number", "ten-megabytes", "refusal", "content-filter", "no-logprobs",
    "two-choices", "choices-contradict", "no-choices", "no-usage", "echo-in-answer",
})  # fmt: skip
WAYS = ("cut-body", "drip", "truncated-json", "sent-twice")


class FaultServer:
    """The server in a thread of its own: ``with FaultServer(key) as server: server.base_url``.

    ``delay`` gives the seconds before an answer, from the prompt and the attempt.
    """

    def __init__(
        self,
        key: str | None = None,
        scenario: Scenario = marked,
        delay: Callable[[str, int], float] | None = None,
        port: int = 0,
    ) -> None:
        self.key, self.scenario, self.delay, self.port = key, scenario, delay, port
        self.ledger: list[Entry] = []
        self.calm = False
        self.in_flight = self.most_in_flight = 0
        self._attempts: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def base_url(self) -> str:
        """Return the address that the SDK is given."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> FaultServer:
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the fault server did not start within 10 s")
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def paid(self) -> Counter[str]:
        """Return how often each prompt was answered whole."""
        return Counter(e.prompt for e in list(self.ledger) if e.outcome == "paid")

    def lost(self) -> Counter[str]:
        """Return how often each prompt's answer was made, charged and cut on its way."""
        return Counter(e.prompt for e in list(self.ledger) if e.outcome == "lost")

    def of(self, prompt: str) -> list[Entry]:
        """Return the requests with a prompt, in the order they came in."""
        name = digest(prompt)
        return [e for e in list(self.ledger) if e.prompt == name]

    def usd(self, input_price: float, output_price: float, *, lost: bool = True) -> float:
        """Return what was charged, at prices in USD per million tokens."""
        counted = ("paid", "lost") if lost else ("paid",)
        tokens = [(e.input_tokens, e.output_tokens) for e in self.ledger if e.outcome in counted]
        return sum(i * input_price + o * output_price for i, o in tokens) / 1e6

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(
            self._connection, "127.0.0.1", self.port, limit=2**24, backlog=1024
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:])}
        method, path, _ = head[0].split(" ", 2)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if method == "GET" and path == "/ledger":
            listed = {"most_in_flight": self.most_in_flight,
                      "requests": [asdict(e) for e in self.ledger]}  # fmt: skip
            return await self._send(writer, Reply(200, json.dumps(listed).encode()))
        asked = json.loads(body)
        if path != "/v1/chat/completions":
            return await self._send(writer, _error(404, f"no {path}"))
        return await self._answer(writer, asked, headers)

    async def _answer(
        self, writer: asyncio.StreamWriter, asked: dict[str, Any], headers: Mapping[str, str]
    ) -> bool:
        prompt = asked["messages"][-1]["content"]
        name = digest(prompt)
        self._attempts[name] += 1
        attempt = self._attempts[name]
        authorised = self.key is None or headers.get("authorization") == f"Bearer {self.key}"
        fault = "ok" if self.calm else self.scenario(prompt, attempt)
        if not authorised:
            fault = "401"
        entry = Entry(
            name, attempt, fault, time.monotonic(), authorised,
            tuple(n for n in headers if n), parameters={k: v for k, v in asked.items()
                                                        if k != "messages"},
        )  # fmt: skip
        self.ledger.append(entry)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if self.delay is not None:
                await asyncio.sleep(self.delay(prompt, attempt))
            sent = reply(fault, prompt, asked, self.key)
            entry.status = sent.status
            if sent.billed:
                used = json.loads(sent.body)["usage"] if fault != "truncated-json" else None
                entry.input_tokens = (used or {}).get("prompt_tokens", len(prompt) // 4)
                entry.output_tokens = (used or {}).get("completion_tokens", 16)
            good = sent.usable and sent.way in ("whole", "twice")
            # Charged from here on: should the client go away, the model has still answered.
            entry.outcome = "lost" if sent.billed else "free"
            stays = await self._send(writer, sent)
            if sent.billed and good:
                entry.outcome = "paid"
            return stays
        finally:
            self.in_flight -= 1

    async def _send(self, writer: asyncio.StreamWriter, sent: Reply) -> bool:
        if sent.way == "nothing":
            writer.transport.abort()
            return False
        if sent.way == "silence":
            await asyncio.sleep(3600)
        named = {
            "Content-Type": "application/json", "Content-Length": str(len(sent.body)),
            **sent.headers,
        }  # fmt: skip
        lines = [f"HTTP/1.1 {sent.status} Status", *(f"{n}: {v}" for n, v in named.items())]
        head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if sent.way == "drip":
            writer.write(head)
            for byte in sent.body:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(DRIP_S)
        elif sent.way == "cut":
            writer.write(head + sent.body[: len(sent.body) // 2])
            await writer.drain()
            # A moment for the bytes to leave: what is aborted unsent would be a cut before them.
            await asyncio.sleep(0.02)
            writer.transport.abort()
            return False
        else:
            writer.write((head + sent.body) * (2 if sent.way == "twice" else 1))
            await writer.drain()
        return True


def main() -> None:
    """Serve until killed; the first line of output is the port."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--port", type=int, default=0)
    given = parser.parse_args()
    with FaultServer(delay=lambda *_: given.delay, port=given.port) as server:
        print(server.port, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
