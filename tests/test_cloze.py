from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import cloze, clozescores, paths
from cqa_helpers.calls import CallRecord
from cqa_helpers.cloze import ClozeError, ClozeStory, Filling
from cqa_helpers.judges import LocalJudge, Panel
from cqa_helpers.models import LocalModel
from cqa_helpers.params import Params
from cqa_helpers.prompts import load_dialect
from cqa_helpers.records import RecordError
from cqa_helpers.taxonomy import load as load_taxonomy

FILES = [paths.root() / "data" / "cloze" / f"stories.{x}.jsonl" for x in ("en", "zh")]
HAN = re.compile(r"[\u4e00-\u9fff]")


def row(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "id": "s", "language": "en", "title": "S", "origin": "simulated",
        "licence": "CC-BY-4.0", "source": "made up",
        "text": "He had {1}. She said “{2}.” Then {3}!",
        "blanks": [
            {"source": "intent", "constraint": "A habit.", "filling": "a cold"},
            {"source": "reality", "constraint": "A time.", "filling": "at 7.05"},
            {"source": "audience", "constraint": "The habit.", "filling": "a", "after": [1]},
        ],
    }  # fmt: skip
    return made | changes


def story(**changes: Any) -> ClozeStory:
    return ClozeStory.model_validate(row(**changes))


def blank(k: int, **changes: Any) -> dict[str, Any]:
    blanks = [dict(b) for b in row()["blanks"]]
    blanks[k - 1] |= changes
    return {"blanks": blanks}


def panel(name: str = "question", form: Any = "verdict-only") -> Panel:
    return Panel(load_taxonomy("cqa"), load_dialect(name), form)


@pytest.mark.parametrize("file", FILES, ids=["en", "zh"])
def test_the_stories_are_labelled_and_complete(file: Path) -> None:
    stories = cloze.load(file)
    assert len(stories) == 4
    for one in stories:
        assert one.origin == "model-authored", one.id
        assert one.licence == "CC-BY-4.0", one.id
        assert file.name.split(".")[1] == one.language, one.id
        assert 10 <= len(one.blanks) <= 14, one.id
        assert sum(bool(b.after) for b in one.blanks) >= 3, one.id
        assert {b.source for b in one.blanks} == {"intent", "audience", "reality"}, one.id
        whole = one.filled(one.own())
        assert "{" not in whole
        assert bool(HAN.search(whole)) == (one.language == "zh")


@pytest.mark.parametrize("file", FILES, ids=["en", "zh"])
def test_no_constraint_gives_the_authors_filling_away(file: Path) -> None:
    for one in cloze.load(file):
        for b in one.blanks:
            assert b.filling.lower() not in b.constraint.lower(), (one.id, b.filling)
            assert bool(HAN.search(b.constraint)) == (one.language == "zh"), (one.id, b.constraint)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"text": "He had {1}. Then {3}! She said “{2}.”"}, r"text has blanks \[1, 3, 2\]"),
    ({"text": "He had {1}. She said “{2}.”"}, r"text has blanks \[1, 2\]: give \{1\} to \{3\}"),
    ({"text": "He had {1} and she {2}. Then {3}!"}, "blank 1 does not end its sentence"),
    ({"origin": "model-authored"}, "3 blanks: a story has 10 to 20"),
    ({"language": "fr"}, "language: Input should be 'en' or 'zh'"),
    ({"surprise": 1}, "surprise: Extra inputs are not permitted"),
    (blank(2, source="craft"), "blanks.1.source: Input should be 'intent', 'audience' or"),
    (blank(3, after=[3]), r"blank 3 is after \[3\]: only earlier"),
    (blank(1, filling="a cold. He sat"), "blanks.0: Value error, filling 'a cold. He sat'"),
    (blank(1, filling="a cold "), "without space around it"),
    (blank(1, constraint=""), "blanks.0.constraint: String should have at least 1"),
]


@pytest.mark.parametrize(("changes", "message"), BAD, ids=[m for _, m in BAD])
def test_a_bad_story_is_named_by_file_and_line(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    file = tmp_path / "stories.jsonl"
    lines = [row(id="fine"), row(**changes)]
    file.write_text("\n".join(json.dumps(x) for x in lines), encoding="utf-8")
    with pytest.raises(RecordError, match=message) as caught:
        cloze.load(file)
    assert f"{file}:2: " in str(caught.value)


def test_a_story_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "stories.jsonl"
    file.write_text("\n".join([json.dumps(row())] * 2), encoding="utf-8")
    with pytest.raises(RecordError, match="given twice: s;"):
        cloze.load(file)


def scripted(
    monkeypatch: pytest.MonkeyPatch, answers: Sequence[Sequence[str]]
) -> list[Sequence[str]]:
    """Let the model say these answers, turn by turn; return the prompts it was given."""
    seen: list[Sequence[str]] = []

    def sample(local: object, prompts: Sequence[str], **_: object) -> list[str]:
        seen.append(prompts)
        return list(answers[len(seen) - 1])

    monkeypatch.setattr(cloze, "sample", sample)
    return seen


NOBODY = LocalModel(None, None, "nobody")
SETTINGS: dict[str, Any] = {"filler": "m", "temperature": 1.0, "max_new_tokens": 9, "seed": 1}


def test_blanks_are_filled_in_order_and_each_filling_stays_for_the_later_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = scripted(monkeypatch, [["a dog. It barked"], ["{1} at 9.10"], ["it slept! And"]])
    found = cloze.fill(NOBODY, [story()], **SETTINGS)
    assert [f.text for f in found] == ["a dog", "{1} at 9.10", "it slept"]
    assert [f.finished for f in found] == [True, False, True]
    assert [f.earlier for f in found] == [(), ("a dog",), ("a dog", "{1} at 9.10")]
    ends = [prompts[0].split("\n\n")[1] for prompts in seen]
    assert ends == [
        "He had",
        "He had a dog. She said “",
        "He had a dog. She said “{1} at 9.10.” Then",
    ]


def test_a_filler_is_told_the_blanks_own_constraint_or_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = scripted(monkeypatch, [["a"]] * 6)
    cloze.fill(NOBODY, [story()], **SETTINGS)
    cloze.fill(NOBODY, [story()], **SETTINGS, told=False)
    told = [[b.constraint for b in story().blanks if b.constraint in p[0]] for p in seen]
    assert told == [["A habit."], ["A time."], ["The habit."], [], [], []]


def test_nothing_written_is_missing_and_nothing_stands_there_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = scripted(monkeypatch, [["  . Then"], ["a"], ["b"]])
    found = cloze.fill(NOBODY, [story()], **SETTINGS)
    assert (found[0].text, found[1].text) == (None, "a")
    assert seen[1][0].endswith("He had . She said “")
    assert len(cloze.asked([story()], found, panel())) == 2


def test_stories_of_different_length_are_filled_side_by_side(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = story(id="t", text="So {1}.", blanks=row()["blanks"][:1])
    scripted(monkeypatch, [["a", "b"], ["c"], ["d"]])
    found = cloze.fill(NOBODY, [story(), short], **SETTINGS)
    assert [(f.story, f.blank, f.text) for f in found] == [
        ("s", 1, "a"), ("t", 1, "b"), ("s", 2, "c"), ("s", 3, "d"),
    ]  # fmt: skip


def test_shuffled_fillings_come_from_other_stories_of_the_language() -> None:
    stories = [s for file in FILES for s in cloze.load(file)]
    by_id = {s.id: s for s in stories}
    found = cloze.shuffled(stories, seed=1)
    for f in found:
        home = by_id[f.story]
        assert f.text not in home.own()
        assert any(f.text in s.own() for s in stories if s.language == home.language)
        assert f.earlier == home.own()[: f.blank - 1]
    assert len(found) == sum(len(s.blanks) for s in stories)
    assert cloze.shuffled(stories, seed=1) == found
    assert cloze.shuffled(stories, seed=2) != found


def test_one_story_alone_cannot_be_shuffled() -> None:
    with pytest.raises(ClozeError, match="no other story in 'en'"):
        cloze.shuffled([story(), story(id="z", language="zh")], seed=1)


def test_a_judge_sees_the_story_to_the_end_of_the_blank_and_its_constraint() -> None:
    one = story()
    asked = cloze.asked([one], [Filling("s", 2, "m", "⟦never⟧", ("a cold",))], panel())
    (question,) = asked
    assert question.item_id == "s#2@m#0"
    assert question.dimensions == ("reality",)
    assert "He had a cold. She said “⟦never⟧.”\n" in question.prompt
    assert "Is this true of them, where they stand? A time.\n" in question.prompt
    assert "Then" not in question.prompt


def test_a_judge_of_a_chinese_story_is_asked_in_chinese() -> None:
    one = cloze.load(FILES[1])[0]
    own = [f for f in cloze.by_author([one]) if f.blank == 3]
    (question,) = cloze.asked([one], own, panel("question-zh"))
    assert "⟦纸自己进去了⟧。" in question.prompt
    assert f"放在这个位置上，它是否做到了这一条？{one.blanks[2].constraint}" in question.prompt


def test_a_model_fills_is_read_and_judged_end_to_end(
    tiny: LocalModel, tiny_params: Params, tmp_path: Path
) -> None:
    texts = ["the inn at dawn was {1} . then {2} .", "quill found {1} . the key was {2} ."]
    blanks = [
        {"source": s, "constraint": "the inn", "filling": "a broken watch"}
        for s in ("intent", "reality")
    ]
    stories = [story(id=f"s{i}", text=text, blanks=blanks) for i, text in enumerate(texts)]
    settings: dict[str, Any] = {"max_new_tokens": 5, "seed": 4}
    drawn = cloze.fill(tiny, stories, filler="base", temperature=1.0, **settings)
    again = cloze.fill(tiny, stories, filler="base", temperature=1.0, **settings)
    other = cloze.fill(tiny, stories, filler="base", temperature=1.0, **{**settings, "seed": 5})
    assert drawn == again
    assert drawn != other
    greedy = cloze.fill(tiny, stories, filler="greedy", temperature=0.0, **settings)
    moved = cloze.fill(tiny, stories, filler="greedy", temperature=0.0, **{**settings, "seed": 9})
    assert greedy == moved
    fillings = [*cloze.by_author(stories), *drawn, *greedy]
    readings = clozescores.read(tiny, stories, fillings)
    record = CallRecord(tmp_path / "calls.sqlite")
    judge = LocalJudge(
        "tiny", "tiny@0", tiny_params.judging, record, lambda: nullcontext(tiny), seed=1
    )
    own = panel("rehearsal")
    verdicts = judge.ask(cloze.asked(stories, fillings, own), own)
    scored = clozescores.score(readings, verdicts, clozescores.reference(readings))
    assert list(scored["filler"].unique()) == ["author", "base", "greedy"]
    assert scored["score"].notna().sum() == sum(f.text is not None for f in fillings)
    assert scored["score"].dropna().between(0, 2).all()
    by_filler = scored.groupby("filler")["surprise"].mean()
    assert by_filler["greedy"] < by_filler["base"]
