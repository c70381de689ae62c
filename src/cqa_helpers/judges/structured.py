"""Verdicts as JSON: the schema that an endpoint is held to, and how its answer is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from cqa_helpers.prompts import Answer, Dialect, FormName

REASONS = ("intended", "effect")
# An object and not a brace in prose.
_BEGUN = re.compile(r'\{\s*"')


def schema(dimensions: Sequence[str], dialect: Dialect, form: FormName) -> dict[str, Any]:
    """Return the JSON schema of an answer: reasons before the verdict, nothing beside them.

    An object by dimension where one question asks for several.
    """
    words = dialect.words_of(form)
    fields: dict[str, Any] = {}
    if dialect.forms[form].with_reason:
        fields |= {name: {"type": "string"} for name in REASONS}
    fields["verdict"] = {"type": "string", "enum": [words[v] for v in sorted(words, reverse=True)]}
    one = _object(fields)
    return one if dialect.unit == "dimension" else _object(dict.fromkeys(dimensions, one))


def parse(text: str, dimensions: Sequence[str], dialect: Dialect, form: FormName) -> list[Answer]:
    """Read the verdicts of an answer; fences, and words around the JSON, are read over.

    Several objects must give the same verdict (some servers send an answer twice): one that
    contradicts itself is ``unparsed``, as is a verdict outside the words, or of another type.
    """
    values = {word.casefold(): value for value, word in dialect.words_of(form).items()}
    found = list(_objects(text))
    answers = []
    for dimension in dimensions:
        said = found if dialect.unit == "dimension" else [
            o[dimension] for o in found if isinstance(o.get(dimension), dict)
        ]  # fmt: skip
        said = [o for o in said if "verdict" in o]
        given = {values.get(str(o["verdict"]).strip().casefold()) for o in said}
        if len(given) != 1 or None in given:
            answers.append(Answer(dimension, None, text.strip(), "unparsed", None))
            continue
        parts = [str(said[0][name]).strip() for name in REASONS if said[0].get(name)]
        answers.append(Answer(dimension, given.pop(), " ".join(parts), "ok", None))
    return answers


def _object(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """Yield each outermost JSON object of a text, none where one is broken or names a key twice.

    What stands within a broken object may be quoted from the passage.
    """
    found, at = [], text.find("{")
    while at >= 0:
        try:
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError):
            if _BEGUN.match(text, at):
                return
            at = text.find("{", at + 1)
            continue
        found.append(value)
        at = text.find("{", end)
    yield from found


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key is named twice")
    return made


_DECODER = json.JSONDecoder(object_pairs_hook=_once_each)
