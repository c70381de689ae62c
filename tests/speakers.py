"""Made-up speakers for tests of style: what is said and how it is said vary apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cqa_helpers.records import Verdict

DIMENSIONS = ("craft", "audience")
CONTENT = {
    "en": (["lamp", "door", "letter", "clock", "garden", "window", "knife", "coat", "river"],
           ["works", "fails", "shines", "drags", "breaks", "holds", "turns", "rests"]),
    "zh": (["灯光", "门扇", "信纸", "座钟", "花园", "窗棂", "刀刃", "衣襟", "河流"],
           ["落空", "成立", "发亮", "拖沓", "断裂", "站住", "转折", "停歇"]),
}  # fmt: skip
# {n} is a noun and {v} a verb of the content; the rest is the speaker's way of talking.
VOICES = {
    "en": {
        "plain": ["The {n} {v} because the {n} {v}.", "The {n} {v} at the {n}.",
                  "It is the {n} which {v}, so the {n} {v}."],
        "halting": ["Hmm, I think the {n} sort of {v}...",
                    "Er, perhaps it's that {n}; maybe it {v}?",
                    "I mean, my {n} just {v} here, I suppose!"],
    },
    "zh": {
        "plain": ["因为{n}{v}，所以{n}{v}。",
                  "{n}在{n}的前面{v}。", "这{n}其实就{v}，因此{n}也{v}。"],
        "halting": ["嗯，我觉得{n}好像有点{v}吧……",
                    "怎么说呢，我想那{n}也许{v}了？", "呃，{n}大概{v}吧！"],
    },
}  # fmt: skip
VERDICT = {"en": {0: "Bad.", 1: "Good."}, "zh": {0: "坏。", 1: "好。"}}


def text_of(
    voice: str, language: str, words: np.random.Generator, manner: np.random.Generator, n: int = 3
) -> str:
    """Return a reason: ``words`` draws what is said, ``manner`` how."""
    nouns, verbs = CONTENT[language]
    forms = VOICES[language][voice]
    said = []
    for _ in range(n):
        form = forms[manner.integers(len(forms))]
        for slot, choice in (("{n}", nouns), ("{v}", verbs)):
            while slot in form:
                form = form.replace(slot, choice[words.integers(len(choice))], 1)
        said.append(form)
    return " ".join(said)


def reasons(
    voice: str,
    judge: str = "judge",
    language: str = "en",
    items: Sequence[int] = range(30),
    content: int = 0,
    seed: int = 1,
    repeat: int = 0,
    yes: float = 0.5,
) -> list[Verdict]:
    """Return a speaker's verdicts with reasons; equal ``content`` and ``items`` say the same."""
    words, manner = np.random.default_rng(content), np.random.default_rng(seed)
    made = []
    for i in items:
        for dimension in DIMENSIONS:
            value = int(manner.random() < yes)
            text = f"{text_of(voice, language, words, manner)} {VERDICT[language][value]}"
            made.append(
                Verdict(item_id=f"p{i:03}", dimension=dimension, judge_id=judge, repeat=repeat,
                        value=value, reason=text)
            )  # fmt: skip
    return made
