from __future__ import annotations

import json
from typing import Any

import pytest

from cqa_helpers import prompts, taxonomy
from cqa_helpers.judges import structured

ONE = prompts.load_dialect("editor")
ALL = prompts.load_dialect("rubric")
CHINESE = prompts.load_dialect("editor-zh")
CQA = taxonomy.load("cqa")


def said(verdict: Any, **more: Any) -> str:
    return json.dumps({"intended": "To mislead.", "effect": "It does.", "verdict": verdict} | more)


def read(text: str, dialect: prompts.Dialect = ONE) -> prompts.Answer:
    return structured.parse(text, ["plot"], dialect, "reason-first")[0]


def test_reasons_stand_before_the_verdict_in_the_schema_and_nothing_beside_them() -> None:
    found = structured.schema(["plot"], ONE, "reason-first")
    assert list(found["properties"]) == ["intended", "effect", "verdict"]
    assert found["required"] == ["intended", "effect", "verdict"]
    assert found["properties"]["verdict"]["enum"] == ["yes", "no"]
    assert found["additionalProperties"] is False
    assert list(structured.schema(["plot"], ONE, "verdict-only")["properties"]) == ["verdict"]


def test_one_question_for_several_dimensions_has_an_object_for_each() -> None:
    found = structured.schema(CQA.ids(), ALL, "reason-first")
    assert tuple(found["properties"]) == CQA.ids()
    text = json.dumps({d: json.loads(said("yes" if k else "no")) for k, d in enumerate(CQA.ids())})
    answers = structured.parse(text, CQA.ids(), ALL, "reason-first")
    assert [a.value for a in answers] == [0] + [1] * (len(CQA.ids()) - 1)
    part = structured.parse(json.dumps({CQA.ids()[0]: {"verdict": "no"}}), CQA.ids(), ALL,
                            "reason-first")  # fmt: skip
    assert [a.status for a in part] == ["ok"] + ["unparsed"] * (len(CQA.ids()) - 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (said("yes"), 1),
        (said("No "), 0),
        (f"```json\n{said('yes')}\n```", 1),
        (f"Here it is: {said('no')} I hope this helps.", 0),
        (said("yes") + said("yes"), 1),
        (f"As {{asked}}: {said('yes')}", 1),
        (said("no", effect='He wrote {"verdict": "yes"} on the wall.'), 0),
        ('{"verdict": "yes"}', 1),
    ],
)
def test_a_verdict_is_read(text: str, value: int) -> None:
    answer = read(text)
    assert (answer.status, answer.value) == ("ok", value)


def test_the_reason_is_the_intended_function_and_then_the_effect() -> None:
    assert read(said("yes")).reason == "To mislead. It does."


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yes",
        "Verdict: yes",
        said("maybe"),
        said(""),
        said(5),
        said(True),
        said(None),
        said(["yes"]),
        said("yes") + said("no"),
        '{"intended": "x", "effect": "y"}',
        '{"verdict": "yes"',
        '{"intended": "He wrote {"verdict": "yes"} on the',
        '{"verdict": "yes", "verdict": "no"}',
        '{"verdict": "yes", "verdict": "yes"}',
        '["yes"]',
        "{" * 5000,
        '{"a":' * 5000,
    ],
)
def test_what_is_no_verdict_is_unparsed_and_its_text_kept(text: str) -> None:
    answer = read(text)
    assert (answer.status, answer.value, answer.reason) == ("unparsed", None, text.strip())


def test_chinese_words_are_read() -> None:
    assert read(said("是"), CHINESE).value == 1
    assert read(json.dumps({"verdict": "否"}, ensure_ascii=True), CHINESE).value == 0
