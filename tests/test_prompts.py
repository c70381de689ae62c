from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cqa_helpers import paths, prompts, taxonomy
from cqa_helpers.annotations import Annotation, Judgement
from cqa_helpers.prompts import Dialect, DialectError, FormName
from cqa_helpers.records import Constraints, Passage

CQA = taxonomy.load("cqa")
TTCW = taxonomy.load("ttcw")
REHEARSAL = prompts.load_dialect("rehearsal")
QUESTION = prompts.load_dialect("question")
CHINESE = prompts.load_dialect("question-zh")
KINDS = [(REHEARSAL, CQA), (QUESTION, TTCW), (QUESTION, CQA), (CHINESE, CQA)]
FORMS: tuple[FormName, ...] = ("reason-first", "verdict-only", "verdict-first", "second-voice")
prose = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


def passage(text: str | None, name: str = "p1") -> Passage:
    return Passage(
        id=name, work_id=name, text=text, url="https://example.org", origin="simulated",
        licence="none", source="test",
    )  # fmt: skip


def annotation(values: list[int], reasons: list[str], names: tuple[str, ...]) -> Annotation:
    return Annotation(
        id="a1", passage_id="p1", protocol="bc", expert_id="e", cot_body="body", summary="the end",
        judgements=tuple(
            Judgement(dimension=d, value=v, reason=r)
            for d, v, r in zip(names, values, reasons, strict=True)
        ),
    )  # fmt: skip


@pytest.mark.parametrize("dialect", [REHEARSAL, QUESTION, CHINESE])
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_what_is_rendered_is_parsed_back(
    dialect: Dialect, form: FormName, data: st.DataObject
) -> None:
    tree = CQA
    names = tree.ids()
    values = data.draw(st.lists(st.integers(0, 1), min_size=len(names), max_size=len(names)))
    reasons = data.draw(st.lists(prose, min_size=len(names), max_size=len(names)))
    # In one review of all dimensions, the head of another section inside a reason begins it.
    assume(not any(f"{d} :" in r or f"on {d} ;" in r for d in names for r in reasons))
    given_ = annotation(values, reasons, names)
    read = {}
    for dimensions, text in prompts.completions(given_, tree, dialect, form):
        for answer in prompts.parse(text, dimensions, dialect, form):
            read[answer.dimension] = answer
            assert answer.start is not None
            word = dialect.words_of(form)[answer.value or 0]
            assert text[answer.start :].startswith(word)
    assert [read[d].value for d in names] == values
    assert {a.status for a in read.values()} == {"ok"}
    if form != "verdict-only":
        for d, reason in zip(names, reasons, strict=True):
            assert reason.strip() in read[d].reason


@settings(max_examples=30, deadline=None)
@given(text=prose)
def test_a_passage_stands_in_its_prompt_unchanged(text: str) -> None:
    for dialect, tree in KINDS:
        for form in FORMS:
            for asked in prompts.questions([passage(text)], tree, dialect, form):
                assert text in asked.prompt


@pytest.mark.parametrize("text", ["{passage}", "{question} and {dimension}", "a { b } {} {0}"])
def test_braces_in_a_passage_are_text_and_no_template(text: str) -> None:
    (asked, *_) = prompts.questions([passage(text)], TTCW, QUESTION, "reason-first")
    assert asked.prompt.count(text) == 1
    assert TTCW.dimensions[0].question.en in asked.prompt


def test_a_passage_without_text_is_not_asked_about() -> None:
    assert prompts.questions([passage(None)], CQA, REHEARSAL, "reason-first") == []


def test_one_question_a_passage_or_one_a_dimension() -> None:
    whole = prompts.questions([passage("x")], CQA, REHEARSAL, "reason-first")
    single = prompts.questions([passage("x")], CQA, QUESTION, "reason-first")
    assert [q.dimensions for q in whole] == [CQA.ids()]
    assert [q.dimensions for q in single] == [(d,) for d in CQA.ids()]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "I cannot say.",
        "Verdict: maybe",
        "Verdict: nothing works here",
        "Verdict: yesterday",
        'I am asked to end with "Verdict: yes" or "Verdict: no".',
        "I must say “Verdict: yes” or “Verdict: no”. This is hard",
        "The form asks 'Verdict: no'",
        "yes",
        "判断：没有结论",
    ],
)
def test_what_is_not_a_verdict_is_unparsed_and_never_a_value(text: str) -> None:
    (answer,) = prompts.parse(text, ["d"], QUESTION, "reason-first")
    assert (answer.value, answer.status, answer.start) == (None, "unparsed", None)
    assert answer.reason == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("It works. Verdict: yes", 1),
        ("It fails. verdict: NO.", 0),
        ("**Verdict: no**", 0),
        ("**Verdict:** yes", 1),
        ("Verdict: **yes**", 1),
        ("Verdict:\nno", 0),
        ('Asked for "Verdict: yes" or "Verdict: no", I say it fails. Verdict: no', 0),
        ('Verdict: yes (the form was "Verdict: yes" or "Verdict: no")', 1),
        ("First I thought Verdict: no. But then it turns. Verdict: yes", 1),
        ("这一选择让读者意外，又合情理。Verdict: yes", 1),
    ],
)
def test_the_last_verdict_outside_quotation_marks_counts(text: str, value: int) -> None:
    (answer,) = prompts.parse(text, ["d"], QUESTION, "reason-first")
    assert (answer.value, answer.status) == (value, "ok")
    assert answer.start is not None
    assert text[answer.start :].lower().startswith(QUESTION.words[value])


def test_a_section_that_is_absent_is_unparsed_and_the_others_are_read() -> None:
    text = "craft : it is good , verdict good . reality_logic : it is bad , verdict bad ."
    found = {a.dimension: a for a in prompts.parse(text, CQA.ids(), REHEARSAL, "reason-first")}
    first, middle, last = CQA.ids()
    assert (found[first].value, found[last].value) == (1, 0)
    assert (found[middle].value, found[middle].status) == (None, "unparsed")


def test_a_verdict_of_one_section_is_not_taken_for_another() -> None:
    text = "craft : cut off audience : verdict bad . reality_logic : verdict good ."
    values = [a.value for a in prompts.parse(text, CQA.ids(), REHEARSAL, "reason-first")]
    assert values == [None, 0, 1]


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("Verdict: yes\nIt turns on the letter.", 1, "It turns on the letter."),
        ("**Verdict:** no\n\nToo neat.", 0, "Too neat."),
        ("Verdict: no\nOne could say Verdict: yes of the start.", 0,
         "One could say Verdict: yes of the start."),
        ('Asked for "Verdict: yes" or "Verdict: no": Verdict: no', 0, ""),
        ("Verdict: yes", 1, ""),
    ],
)  # fmt: skip
def test_in_the_verdict_first_form_the_first_verdict_counts_and_the_reason_follows(
    text: str, value: int, reason: str
) -> None:
    (answer,) = prompts.parse(text, ["d"], QUESTION, "verdict-first")
    assert (answer.value, answer.status, answer.reason) == (value, "ok", reason)
    assert answer.start is not None
    assert text[answer.start :].startswith(QUESTION.words[value])


def test_a_form_s_own_words_are_written_and_read_and_the_dialect_s_are_not() -> None:
    assert REHEARSAL.words_of("second-voice") == {0: "fails", 1: "holds"}
    assert REHEARSAL.words_of("reason-first") == REHEARSAL.words
    given_ = annotation([1, 0, 1], ["a", "b", "c"], CQA.ids())
    ((_, text),) = prompts.completions(given_, CQA, REHEARSAL, "second-voice")
    assert text == (
        " on craft ; a ; ruling holds . on audience ; b ; ruling fails . "
        "on reality_logic ; c ; ruling holds . the end"
    )
    foreign = text.replace("holds", "good").replace("fails", "bad")
    found = prompts.parse(foreign, CQA.ids(), REHEARSAL, "second-voice")
    assert {a.status for a in found} == {"unparsed"}


def test_each_form_of_a_dialect_asks_in_its_own_words() -> None:
    for dialect, tree in KINDS:
        asked = {prompts.questions([passage("x")], tree, dialect, f)[0].prompt for f in FORMS}
        # In the rehearsal's language nothing can ask for another order.
        assert len(asked) == (3 if dialect is REHEARSAL else 4)


@settings(max_examples=30, deadline=None)
@given(text=st.text("verdict good bad craft : . audience reality_logic\n", max_size=120))
def test_any_text_at_all_gives_one_answer_a_dimension(text: str) -> None:
    found = prompts.parse(text, CQA.ids(), REHEARSAL, "reason-first")
    assert [a.dimension for a in found] == list(CQA.ids())
    assert all((a.value is None) == (a.status == "unparsed") for a in found)


def test_a_completion_begins_with_a_space_so_that_tokens_do_not_merge() -> None:
    given_ = annotation([1, 0, 1], ["a", "b", "c"], CQA.ids())
    for dialect in (REHEARSAL, QUESTION):
        for _, text in prompts.completions(given_, CQA, dialect, "reason-first"):
            assert text.startswith(" ")
            assert not text.startswith("  ")


def test_verdict_only_says_no_reason() -> None:
    given_ = annotation([1, 0, 1], ["because a", "because b", "because c"], CQA.ids())
    for dialect in (REHEARSAL, QUESTION):
        for _, text in prompts.completions(given_, CQA, dialect, "verdict-only"):
            assert "because" not in text


def test_a_dimension_that_was_not_judged_is_not_taught() -> None:
    given_ = annotation([1], ["a"], CQA.ids()[:1])
    (only,) = prompts.completions(given_, CQA, QUESTION, "reason-first")
    assert only[0] == CQA.ids()[:1]


def test_the_prefix_holds_the_constraints_or_is_neutral() -> None:
    meant = Constraints(intent="{audience} 意图", audience="读者", reality="r")
    text = prompts.prefix(QUESTION, meant)
    assert all(part in text for part in ("{audience} 意图", "读者", "r"))
    assert prompts.prefix(QUESTION, None) == QUESTION.neutral


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "root", lambda: tmp_path)
    made = tmp_path / "data" / "prompts"
    made.mkdir(parents=True)
    return made


def test_an_unknown_dialect_lists_those_there_are(folder: Path) -> None:
    (folder / "mine.yaml").write_text("id: mine\n")
    with pytest.raises(DialectError, match=r"No dialect 'yours'.*There are: mine"):
        prompts.load_dialect("yours")


GOOD = """id: mine
unit: dimension
forms:
  reason-first:
    {prompt: "{passage}", head: "", verdict: "V {verdict}", with_reason: true, closing: ""}
words: {0: no, 1: yes}
neutral: n
constrained: "{intent}"
"""


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("V {verdict}", "V", "must hold {verdict} once"),
        ('"{passage}"', '"text"', "forms.reason-first.prompt"),
        ("neutral: n", "neutral: n\nextra: 1", "unknown key; allowed: id, unit"),
        ("words: {0: 'no', 1: 'yes'}", "words: {0: 'no'}", "mine.yaml:6: words"),
        ("with_reason: true", "with_reason: false, verdict_first: true", "verdict_first without"),
        ("with_reason: true", "with_reason: true, words: {0: 'no'}", "has words for [0]"),
    ],
)
def test_a_dialect_that_cannot_be_asked_or_read_is_refused(
    folder: Path, old: str, new: str, said: str
) -> None:
    good = GOOD.replace("no, 1: yes", "'no', 1: 'yes'")
    assert old in good
    (folder / "mine.yaml").write_text(good)
    assert prompts.load_dialect("mine").scale == "0-1"
    (folder / "mine.yaml").write_text(good.replace(old, new))
    with pytest.raises(DialectError) as caught:
        prompts.load_dialect("mine")
    assert said in str(caught.value)
