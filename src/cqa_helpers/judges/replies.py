"""What is sent to an endpoint, how its reply is read, and what its errors mean."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from cqa_helpers.judges import structured, tokens
from cqa_helpers.judges.panel import CHARACTERS_A_TOKEN, JudgeError, Panel, storable
from cqa_helpers.prompts import Question
from cqa_helpers.sections import Live, Price

TOP = 20  # the most alternatives that the API lists
_TOO_LONG = re.compile(r"context.{0,12}(length|window)|too long|maximum context", re.IGNORECASE)
_UNSUPPORTED = re.compile(
    "unsupported|not support|unknown|unrecognized|not permitted|invalid|large"
)
REFUSALS = {"content_filter", "content_policy_violation", "invalid_prompt"}
_SETTINGS = {
    "temperature": "temperature", "seed": "seed", "response_format": "response_format",
    "logprobs": "logprobs", "top_logprobs": "logprobs",
}  # fmt: skip


class Failed(NamedTuple):
    """A call without an answer. ``own`` says that its prompt is at fault, not the endpoint."""

    why: str
    own: bool = False


def request(
    live: Live, question: Question, panel: Panel, *, seed: int, repeat: int
) -> dict[str, Any]:
    """Return what identifies a call in the record: all that its answer could depend on."""
    return {
        "prompt": question.prompt,
        "dimensions": list(question.dimensions),
        "model": live.model,
        "base_url": live.base_url or None,
        "temperature": 0,
        "max_tokens": live.max_tokens,
        "seed": seed,
        "repeat": repeat,
        "answer": panel.dialect.answer,
        "omit": sorted(set(live.omit)),
        "form": panel.form,
    }


def body(live: Live, question: Question, panel: Panel, *, seed: int) -> dict[str, Any]:
    """Return the body of a chat completion that asks a question, without what is omitted."""
    sent: dict[str, Any] = {
        "model": live.model,
        "messages": [{"role": "user", "content": question.prompt}],
        live.max_tokens_name: live.max_tokens,
    }
    if "temperature" not in live.omit:
        sent["temperature"] = 0
    if "seed" not in live.omit:
        sent["seed"] = seed
    if "logprobs" not in live.omit:
        sent |= {"logprobs": True, "top_logprobs": TOP}
    if panel.dialect.answer == "json" and "response_format" not in live.omit:
        shape = structured.schema(question.dimensions, panel.dialect, panel.form)
        sent["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "verdict", "strict": True, "schema": shape},
        }
    return sent


def most_input(sent: Mapping[str, Any]) -> int:
    """Return the most input tokens of a body: one a byte, a schema counted too, and a frame."""
    shape = sent.get("response_format")
    told = json.dumps(shape) if shape else ""
    return len(sent["messages"][0]["content"].encode()) + len(told) + 16


def most_usd(price: Price, sent: Mapping[str, Any], most_output: int, share: float = 1.0) -> float:
    """Return the most that an attempt costs, in USD; ``share`` of the list price in a batch."""
    return (most_input(sent) * price.input + most_output * price.output) * share / 1e6


def read(
    raw: str, live: Live, question: Question, panel: Panel, sent: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Read the body of a reply as a response for the record, None where it is no completion.

    Tokens that the server does not count are counted at their most, so that no budget is passed.
    """
    try:
        reply = json.loads(raw)
        choice = reply["choices"][0]
        message, ended = choice["message"], choice.get("finish_reason")
        refusal = message.get("refusal")
        said = [c["message"].get("content") or "" for c in reply["choices"]]
        # One answer is asked for. Where more come, they stand together: two that differ are then
        # read as one that contradicts itself.
        content = "\n".join(dict.fromkeys(said))
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None
    if not isinstance(refusal, str | None):
        return None
    counted = _counted(reply.get("usage"))
    filtered = ended == "content_filter"
    response: dict[str, Any] = {
        "text": storable(refusal or content),
        "status": "refused" if refusal or filtered else "answered",
        "finish_reason": ended if isinstance(ended, str) else None,
        "model": reply["model"] if isinstance(reply.get("model"), str) else live.model,
        "max_tokens": live.max_tokens,
        "input_tokens": counted[0] if counted else most_input(sent),
        "output_tokens": counted[1] if counted else live.max_tokens,
        "at": now(),
        "sent": dict(sent),
        "raw": storable(raw),
    }
    if response["status"] == "refused":
        response["why"] = "content_filter" if filtered else "refusal"
    elif not content and message.get("tool_calls"):
        response["why"] = "tool calls instead of an answer"
    if response["status"] == "answered" and content:
        response |= _probabilities(choice, content, question, panel, live)
    return response


def declined(code: str, live: Live, sent: Mapping[str, Any], raw: str) -> dict[str, Any]:
    """Return the response for a prompt that the provider's own policy turned down, uncharged."""
    return {
        "text": "", "status": "refused", "why": code, "finish_reason": None, "model": live.model,
        "max_tokens": live.max_tokens, "input_tokens": 0, "output_tokens": 0, "at": now(),
        "sent": dict(sent), "raw": storable(raw),
    }  # fmt: skip


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def meaning(error: Exception, live: Live) -> JudgeError | Failed | str:
    """Return what an error of the SDK means: a fault of all calls, of one, or a refusal's code.

    Nothing of an error's text is passed on: a server may echo the key in it.
    """
    status = getattr(error, "status_code", None)
    code = _plain(getattr(error, "code", None))
    name = re.sub(r"[^A-Za-z]", "", type(error).__name__)
    if status in (401, 402, 403, 404) or (status == 429 and code == "insufficient_quota"):
        return JudgeError(_every(live, name, status, code, _remedy(live, status)))
    if status not in (400, 413, 422):
        return Failed(name)
    if code in REFUSALS:
        return code
    said = str(getattr(error, "message", ""))
    if status == 413 or code == "context_length_exceeded" or _TOO_LONG.search(said):
        return Failed(f"{name}: the prompt is too long", own=True)
    setting = _setting(getattr(error, "param", None), said)
    if setting:
        return JudgeError(_every(live, name, status, code, _change(live, setting)))
    return Failed(name)


def _counted(usage: Any) -> tuple[int, int] | None:
    if not isinstance(usage, dict):
        return None
    said = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    if any(type(n) is not int or n < 0 for n in said) or not said[0]:
        return None
    return said[0], said[1]  # type: ignore[return-value]


def _probabilities(
    choice: Mapping[str, Any], text: str, question: Question, panel: Panel, live: Live
) -> dict[str, Any]:
    listed = choice.get("logprobs")
    listed = listed.get("content") if isinstance(listed, dict) else None
    if not isinstance(listed, list) or len(text) > live.max_tokens * CHARACTERS_A_TOKEN:
        return {}
    starts = tokens.starts(text, question.dimensions, panel.dialect, panel.form)
    found = {d: tokens.probability(listed, text, at, panel.words()) for d, at in starts.items()}
    known = {d: round(p, 6) for d, p in found.items() if p is not None}
    return {"probabilities": known} if known else {}


def _plain(code: object) -> str:
    """Return an error's code if it looks like one: a word in small letters, so never a key."""
    text = code if isinstance(code, str) else ""
    return text if re.fullmatch(r"[a-z]+(_[a-z]+)*", text) and len(text) <= 40 else ""


def _setting(param: object, said: str) -> str:
    known = {*_SETTINGS, "max_tokens", "max_completion_tokens", "model"}
    if isinstance(param, str) and param:
        first = re.split(r"[.\[]", param)[0]
        return first if first in known else ""
    # Some servers name no parameter, but their sentence does; what it quotes comes later in it.
    said = said[:200].lower()
    if not _UNSUPPORTED.search(said):
        return ""
    words = re.findall(r"\w+", said)
    return next((w for w in words if w in known - {"model"}), "")


def _every(live: Live, name: str, status: object, code: str, remedy: str) -> str:
    kind = f"{name}, status {status}" + (f", {code}" if code else "")
    return (
        f"{live.judge_id}: the endpoint answers {kind} for model {live.model!r}, and would answer "
        f"every call so. {remedy} What came before is recorded."
    )


def _remedy(live: Live, status: object) -> str:
    if status == 401:
        return (
            f"Check the key in {live.key_variable}, and that it is one for judging.live.base_url."
        )
    if status == 403:
        return f"Check that the key in {live.key_variable} may use judging.live.model."
    if status == 404:
        return (
            "Check judging.live.model, whether this snapshot is still served, and "
            "judging.live.base_url; recorded verdicts can stand in its place."
        )
    return f"The account behind {live.key_variable} has no credit left: add some and run again."


def _change(live: Live, setting: str) -> str:
    if setting in _SETTINGS:
        return f"Add {_SETTINGS[setting]} to judging.live.omit."
    if setting == "model":
        return "Check judging.live.model."
    other = "max_tokens" if live.max_tokens_name == "max_completion_tokens" else (
        "max_completion_tokens"
    )  # fmt: skip
    return f"Set judging.live.max_tokens_name to {other}, or lower judging.live.max_tokens."
