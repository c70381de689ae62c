"""Cloze stories of the simulated world, whose right fillings are known.

Eight stories, one of each shape, with three to five blanks. Fewer than the 10 to 20 of a real
story, because a simulated one has three things that can be right or wrong. Where a thing is said
twice (a clue and its reveal, a question and its answer, a claim and its witness), both places are
blanks, and what is right in the second depends on what was put into the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd

from cqa_helpers.cloze import DIMENSION_OF, Blank, ClozeStory, Filling, Source
from cqa_helpers.judges.panel import Panel
from cqa_helpers.prompts import Question
from cqa_helpers.records import Passage, Verdict
from cqa_helpers.rehearsal import grammar as g
from cqa_helpers.rehearsal import voices
from cqa_helpers.rehearsal.telling import GOOD, SHAPES, Dice, Draw, Story, draw, tell

Kind = Literal[
    "mood", "speech", "clue", "reveal", "question", "answer", "claim", "witness", "mover"
]

# Both a fresh line and a stock phrase may begin with these.
OPEN_NOUNS = ("smoke", "dust")
_WORDS: dict[Kind, tuple[Source, str, Kind | None]] = {
    "mood": ("intent", "a mood line in words of its own , no stock phrase", None),
    "speech": ("intent", "a line of speech that fits the age , no slang", None),
    "clue": ("audience", "an object to be seen", None),
    "reveal": ("audience", "names an object that was shown before , and no other", "clue"),
    "question": ("audience", "asks who did something at a place", None),
    "answer": ("audience", "says what was asked about , and nothing else", "question"),
    "claim": ("reality", "the place where the killer claims to have been", None),
    "witness": ("reality", "the place that the killer named", "claim"),
    "mover": ("reality", "someone alive does something", None),
}
_FRESH = (g.MOOD_VERBS, g.MOOD_PREPOSITIONS, ("the",), g.MOOD_SURFACES)


def stories(seed: int) -> list[ClozeStory]:
    """Return eight good tales with their blanks, the same for the same seed."""
    dice = Dice(np.random.default_rng([seed, 3]))
    return [
        _with_blanks(_drawn(dice, shape), f"cloze-{seed}-{i}") for i, shape in enumerate(SHAPES)
    ]


def opening(story: ClozeStory, blank: Blank | None) -> str:
    """Return what the base has read before stories: nothing, or the plan of the whole tale.

    It knows no header of one blank alone, so that every blank is told with the same plan.
    """
    header = "" if blank is None else f"{story.meta['plan']} "
    return f"{voices.START} {header}<story> "


def kind(story: ClozeStory, blank: int) -> Kind:
    """Return what a blank is about."""
    found: Kind = story.meta["kinds"][blank - 1]
    return found


def holds(story: ClozeStory, filling: Filling) -> bool | None:
    """Return whether a filling keeps its constraint; null where an earlier one leaves it open.

    Decided by the words of the filling and of the text before it, as the grammar reads them.
    """
    words = (filling.text or "").split()
    about = kind(story, filling.blank)
    if about == "mood":
        return len(words) == 4 and all(w in part for w, part in zip(words, _FRESH, strict=True))
    if about == "speech":
        return " ".join(words) in g.PLAIN_LINES
    if about == "clue":
        return bool(words) and words[0] in g.OBJECTS and len(_named(words, g.OBJECTS)) == 1
    if about == "reveal":
        shown = story.before(filling.blank, filling.earlier).split()
        return bool(named := _named(words, g.OBJECTS)) and named <= _named(shown, g.OBJECTS)
    if about == "question":
        return _deed(words)
    if about == "mover":
        mover = words[0] if words else ""
        alive = mover in g.PEOPLE and mover != story.meta["victim"]
        return alive and " ".join(words[1:]) in g.ACTS
    if about == "claim":
        return len(_named(words, g.PLACES)) == 1 and words[0] == "the"
    first = filling.earlier[story.blanks[filling.blank - 1].after[0] - 1].split()
    if about == "answer":
        return words == first if _deed(first) else None
    claimed = _named(first, g.PLACES)
    return _named(words, g.PLACES) == claimed if len(claimed) == 1 else None


class Planted:
    """The judge that knows: verdicts by the rules of the grammar, none where they leave it open."""

    judge_id = "planted"

    def __init__(self, known: Sequence[ClozeStory], fillings: Sequence[Filling]) -> None:
        by_id = {story.id: story for story in known}
        self._held = {f.item_id: holds(by_id[f.story], f) for f in fillings}

    def ask(self, asked: Sequence[Question], panel: Panel, *, repeat: int = 0) -> list[Verdict]:
        """Return one verdict for each question about these fillings, in order."""
        return [self._verdict(question, repeat) for question in asked]

    def _verdict(self, question: Question, repeat: int) -> Verdict:
        held = self._held[question.item_id]
        open_still = held is None
        return Verdict(
            item_id=question.item_id, dimension=question.dimensions[0], judge_id=self.judge_id,
            repeat=repeat, value=None if held is None else int(held),
            probability=None if held is None else float(held),
            status="failed" if open_still else "ok",
            meta={"why": "an earlier filling leaves it open"} if open_still else {},
        )  # fmt: skip


def passages(known: Sequence[ClozeStory], fillings: Sequence[Filling]) -> list[Passage]:
    """Return whole tales for the rehearsal's judges, one for each filling that can break one.

    The little base has read reviews of whole tales and no question about one blank. The earlier
    fillings stand as they did, the author's follow. The first place of a thing said twice breaks
    nothing by itself: no judge is asked about it, and it has no score.
    """
    by_id = {story.id: story for story in known}
    made = []
    for f in fillings:
        story = by_id[f.story]
        if f.text is None or kind(story, f.blank) in ("clue", "question", "claim"):
            continue
        text = story.filled([*f.earlier, f.text, *story.own()[f.blank :]])
        made.append(
            Passage(
                id=f.item_id, work_id=story.id, domain="simulated micro-mystery", text=text,
                origin="simulated", licence=story.licence, source=story.source,
            )
        )  # fmt: skip
    return made


def judged(
    known: Sequence[ClozeStory], fillings: Sequence[Filling], verdicts: Sequence[Verdict]
) -> list[Verdict]:
    """Return those of the verdicts on :func:`passages` that speak of the blank's own constraint."""
    by_id = {story.id: story for story in known}
    sources = {f.item_id: by_id[f.story].blanks[f.blank - 1].source for f in fillings}
    return [v for v in verdicts if v.dimension == DIMENSION_OF[sources[v.item_id]]]


def against_truth(estimated: pd.DataFrame, planted: pd.DataFrame) -> pd.DataFrame:
    """Return, by filler, a judge's scores beside those of the truth, on blanks that both have.

    Both are from :func:`cqa_helpers.clozescores.score` of the same readings.
    """
    both = estimated.merge(planted, on=["item_id", "filler"], suffixes=("_judged", "_true"))
    both = both.dropna(subset=["score_judged", "score_true"])
    rows = []
    for filler in dict.fromkeys(estimated["filler"]):
        mine = both[both["filler"] == filler]
        agrees = (mine["satisfy_judged"] >= 0.5) == (mine["satisfy_true"] >= 0.5)
        rows.append(
            {
                "Filled by": filler,
                **{
                    f"{title}, {side}": mine[f"{name}_{suffix}"].mean()
                    for title, name in (("Satisfied", "satisfy"), ("Score", "score"))
                    for side, suffix in (("judged", "judged"), ("planted", "true"))
                },
                "Judged right": agrees.mean(), "Blanks": len(mine),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def chance(known: Sequence[ClozeStory]) -> float:
    """Return the share of all fillings of other stories that would satisfy, over all blanks.

    What :func:`cqa_helpers.cloze.shuffled` must come near.
    """
    hits = []
    for story in known:
        others = [text for s in known if s.id != story.id for text in s.own()]
        for k in range(1, len(story.blanks) + 1):
            tried = [Filling(story.id, k, "", text, story.own()[: k - 1]) for text in others]
            hits.append(np.mean([bool(holds(story, f)) for f in tried]))
    return float(np.mean(hits))


def _drawn(dice: Dice, shape: tuple[str, str, str]) -> Draw:
    made = draw(dice, shape)
    return made._replace(cast={**made.cast, "mood_noun": dice.pick(OPEN_NOUNS)})


def _with_blanks(drawn: Draw, name: str) -> ClozeStory:
    tale = tell(drawn, GOOD, name)
    told: list[str] = []
    blanks: list[Blank] = []
    kinds: list[Kind] = []
    for part, sentences in tale.parts.items():
        for i, sentence in enumerate(sentences):
            about, start = _gap(tale, part, i)
            if about is None:
                told.append(sentence)
                continue
            at = f" {sentence}".index(f" {start} ")
            source, constraint, earlier = _WORDS[about]
            after = (kinds.index(earlier) + 1,) if earlier else ()
            blanks.append(
                Blank(source=source, constraint=constraint, filling=sentence[at:-2], after=after)
            )
            kinds.append(about)
            told.append(f"{sentence[:at]}{{{len(blanks)}}}{sentence[-2:]}")
    return ClozeStory(
        id=name, language="en", title=name, text=" ".join(told), blanks=tuple(blanks),
        origin="simulated", licence="CC-BY-4.0", source="rehearsal grammar",
        meta={
            "kinds": kinds, "plan": voices.plan_header(tale), "victim": drawn.cast["victim"],
        },
    )  # fmt: skip


def _gap(tale: Story, part: str, i: int) -> tuple[Kind | None, str]:
    """Return what is left out of a part's sentence, and the words with which the gap begins."""
    c, subtype = tale.drawn.cast, tale.subtypes.get(part)
    if part == "craft":
        return ("mood", c["mood_verb"]) if subtype == "a" else ("speech", c["plain"])
    if part == "audience" and subtype == "a" and i == 0:
        return "clue", c[c["clue_first"]]
    if part == "audience" and subtype == "b":
        return ("question" if i == 0 else "answer"), c["deed"]
    if part == "reality_logic" and subtype == "a":
        return ("claim" if i == 0 else "witness"), f"the {c['alibi_place']}"
    if part == "reality_logic":
        return "mover", c["alive"]
    if part == "reveal" and tale.subtypes["audience"] == "a":
        return "reveal", f"the {c['object']}"
    return None, ""


def _named(words: Sequence[str], of: Sequence[str]) -> set[str]:
    return set(words) & set(of)


def _deed(words: Sequence[str]) -> bool:
    return (
        len(words) == 3 and words[0] in g.DEEDS and words[1] == "the" and words[2] in g.PLACES
    )  # fmt: skip
