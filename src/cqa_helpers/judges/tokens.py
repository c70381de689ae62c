"""A verdict's probability from the token log-probabilities that an endpoint lists."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cqa_helpers.prompts import Dialect, FormName, parse

# What may stand between a marker and its word without making it another word.
_BLANK = " \t\r\n\u3000\"'“”‘’「」『』*_`"


def starts(
    text: str, dimensions: Sequence[str], dialect: Dialect, form: FormName
) -> dict[str, int]:
    """Return the character at which each dimension's verdict begins in an answer.

    In JSON it is the value of ``verdict`` itself: the same word within a reason is not it.
    """
    if dialect.answer == "text":
        found = parse(text, dimensions, dialect, form)
        return {a.dimension: a.start for a in found if a.start is not None}
    known: dict[str, int] = {}
    for at in _objects(text):
        for dimension in dimensions:
            inner: int | None = at
            if dialect.unit == "passage":
                inner = _members(text, at).get(dimension)
            if inner is None or text[inner] != "{":
                continue
            said = _members(text, inner).get("verdict")
            if said is not None and text[said] == '"':
                blank = len(text[said + 1 :]) - len(text[said + 1 :].lstrip())
                known.setdefault(dimension, said + 1 + blank)
    return known


def probability(
    listed: Sequence[Any], text: str, start: int, words: Mapping[int, str]
) -> float | None:
    """Return the probability of the highest value's word at a verdict, among all the words.

    Our choice, as an API lists only the likeliest alternatives of each token that it wrote:

    - variants of a word (another case, a blank or a quotation mark before it) add up;
    - where the written token could begin several words, the next tokens decide, each weighed by
      the mass that is still undecided; undecided mass off the written path is left out;
    - a word that is not listed gets the most it can have: the smallest listed probability, or
      what the listed ones leave of 1 where that is less.

    Parameters
    ----------
    listed
        ``choices[0].logprobs.content``: tokens with ``token``, ``logprob``, ``bytes`` and
        ``top_logprobs``.
    text
        The answer; ``start`` is the character at which the verdict's word begins in it.
    words
        The word of each value.

    Returns
    -------
    float or None
        Between 0 and 1; None where nothing was listed for the word, or the tokens do not spell
        the answer.
    """
    spelt = [_bytes(entry) for entry in listed]
    at = _token_at(spelt, text, start)
    if at is None:
        return None
    number, before = at
    rest = {value: _folded(word.encode()) for value, word in words.items()}
    high = max(words)
    undecided, said = 1.0, 0.0
    for index in range(number, len(listed)):
        lead = before if index == number else None
        masses, shared, path = _weigh(listed[index], spelt[index], lead, rest)
        total = sum(masses.values()) + (shared if len(path) > 1 else 0.0)
        if not path or total <= 0:
            return None
        said += undecided * masses.get(high, 0.0) / total
        if len(path) == 1:
            return min(1.0, max(0.0, said))
        undecided *= shared / total
        rest = path
    ended = [value for value, left in rest.items() if not left]
    return min(1.0, said + undecided * (ended[0] == high)) if len(ended) == 1 else None


def _weigh(
    entry: Mapping[str, Any], written: bytes, lead: bytes | None, rest: Mapping[int, bytes]
) -> tuple[dict[int, float], float, dict[int, bytes]]:
    """Return the mass of each word decided here, the undecided mass, and what is left of words.

    The third holds the words that the written token may still become, without what it wrote.
    """
    options = {written: _mass(entry)}
    for other in entry.get("top_logprobs") or []:
        spelt = _bytes(other)
        if spelt and spelt not in options:
            options[spelt] = _mass(other)
    own = _form(written, lead)
    path = _fits(own, rest)
    masses: dict[int, float] = {}
    shared = 0.0
    for spelt, mass in options.items():
        form = _form(spelt, lead)
        fits = _fits(form, rest)
        if len(fits) == 1:
            value = next(iter(fits))
            masses[value] = masses.get(value, 0.0) + mass
        elif fits and form == own:
            shared += mass
    seen = [mass for mass in options.values() if mass > 0]
    most = min(min(seen, default=0.0), max(0.0, 1.0 - sum(options.values())))
    for value in rest.keys() - masses.keys() - (path.keys() if len(path) > 1 else set()):
        masses[value] = most
    return masses, shared, path


def _fits(form: bytes, rest: Mapping[int, bytes]) -> dict[int, bytes]:
    """Return the words that a token may be of, with what is then left of each."""
    if not form:
        return {}
    left = {}
    for value, word in rest.items():
        if word.startswith(form):
            left[value] = word[len(form) :]
        elif form.startswith(word) and not _goes_on(form[len(word) :]):
            left[value] = b""
    # Where one word begins another, the one that more of the token spells is meant.
    spelt = {value: min(len(form), len(rest[value])) for value in left}
    return {v: tail for v, tail in left.items() if spelt[v] == max(spelt.values())}


def _goes_on(after: bytes) -> bool:
    first = after.decode("utf-8", "replace")[:1]
    return first.isalnum() or first == "\ufffd"


def _form(spelt: bytes, lead: bytes | None) -> bytes:
    """Return a token without what stands before the word in it, whatever its case."""
    if lead is None:
        return _folded(spelt)
    if lead and spelt.startswith(lead):
        spelt = spelt[len(lead) :]
    return _folded(spelt, strip=True)


def _folded(spelt: bytes, strip: bool = False) -> bytes:
    # A token may hold part of a character: its bytes are kept as they are.
    text = spelt.decode("utf-8", "surrogateescape")
    text = text.lstrip(_BLANK) if strip else text
    return text.casefold().encode("utf-8", "surrogateescape")


def _token_at(spelt: Sequence[bytes], text: str, start: int) -> tuple[int, bytes] | None:
    """Return the token that holds a character of the text, and what it holds before it."""
    whole = b"".join(spelt)
    # Some servers list what the text leaves out: blanks at its ends, a mark of its end.
    shift = whole.find(text.encode("utf-8", "surrogatepass"))
    if shift < 0:
        return None
    wanted = shift + len(text[:start].encode("utf-8", "surrogatepass"))
    begins = 0
    for number, token in enumerate(spelt):
        if begins <= wanted < begins + len(token):
            return number, token[: wanted - begins]
        begins += len(token)
    return None


def _bytes(entry: Any) -> bytes:
    if not isinstance(entry, Mapping):
        return b""
    given = entry.get("bytes")
    if isinstance(given, list):
        try:
            return bytes(given)
        except (ValueError, TypeError):
            pass
    token = entry.get("token")
    return token.encode("utf-8", "surrogatepass") if isinstance(token, str) else b""


def _mass(entry: Mapping[str, Any]) -> float:
    logprob = entry.get("logprob")
    if not isinstance(logprob, int | float) or isinstance(logprob, bool) or math.isnan(logprob):
        return 0.0
    return math.exp(min(0.0, logprob))


_DECODER = json.JSONDecoder()


def _objects(text: str) -> Iterator[int]:
    """Yield where each outermost JSON object of a text begins."""
    at = text.find("{")
    while at >= 0:
        try:
            end = _DECODER.raw_decode(text, at)[1]
        except (ValueError, RecursionError):
            at = text.find("{", at + 1)
            continue
        yield at
        at = text.find("{", end)


def _members(text: str, at: int) -> dict[str, int]:
    """Return where the value of each key begins, in the object that begins at a character."""
    found: dict[str, int] = {}
    at = _past(text, at + 1)
    while text[at] == '"':
        name, end = _DECODER.raw_decode(text, at)
        at = _past(text, _past(text, end) + 1)
        found[name] = at
        at = _past(text, _DECODER.raw_decode(text, at)[1])
        if text[at] != ",":
            break
        at = _past(text, at + 1)
    return found


def _past(text: str, at: int) -> int:
    """Return the first character from here that is no blank."""
    while text[at] in " \t\r\n":
        at += 1
    return at
