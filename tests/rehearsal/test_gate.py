from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from cqa_helpers.rehearsal import gate as gates
from cqa_helpers.rehearsal import grammar as g
from cqa_helpers.rehearsal import voices
from cqa_helpers.rehearsal.base import tokenizer
from cqa_helpers.rehearsal.people import annotate
from cqa_helpers.rehearsal.world import draw_stories

STORIES = draw_stories(16, seed=21)
TOKENS = tokenizer()


class Scripted:
    """A stand-in model: it puts all its weight on one rule's next token."""

    def __init__(self, rule) -> None:  # type: ignore[no-untyped-def]
        self.rule = rule

    def __call__(self, input_ids: torch.Tensor, **_: object) -> SimpleNamespace:
        logits = torch.zeros(*input_ids.shape, len(voices.vocabulary()))
        for row, ids in enumerate(input_ids):
            for position in range(len(ids)):
                token, height = self.rule(ids, position)
                logits[row, position, token] = height
        return SimpleNamespace(logits=logits)


def _oracle(ids: torch.Tensor, position: int) -> tuple[int, float]:
    return int(ids[min(position + 1, len(ids) - 1)]), 5.0


def test_a_model_that_writes_each_note_is_exact_and_one_that_cannot_is_not() -> None:
    assert set(gates.note_exactness(Scripted(_oracle), TOKENS, STORIES).values()) == {1.0}
    blind = Scripted(lambda ids, position: (0, 5.0))
    assert set(gates.note_exactness(blind, TOKENS, STORIES).values()) == {0.0}


def test_one_wrong_operand_makes_a_note_inexact() -> None:
    seen = TOKENS.convert_tokens_to_ids("in")

    def stumbles(ids: torch.Tensor, position: int) -> tuple[int, float]:
        return (0, 9.0) if int(ids[position]) == seen else _oracle(ids, position)

    shares = gates.note_exactness(Scripted(stumbles), TOKENS, STORIES)
    # "seen in {place}" and "in the end" are in one wording of alibi and of question.
    assert shares == {"craft": 1.0, "audience": 0.75, "reality_logic": 0.75}


@pytest.mark.parametrize("voice", ["a", "b"])
def test_margins_are_read_where_the_verdicts_stand(voice: voices.Voice) -> None:
    reviews = [f"{a.cot_body} {a.summary}" for a in annotate(STORIES, 1, voice)]
    margins = gates.verdict_margins(Scripted(_oracle), TOKENS, STORIES, reviews, voice)
    for d in g.DIMENSIONS:
        assert margins[d] == [5.0 if s.truth[d] else -5.0 for s in STORIES]
    areas, missing = gates.verdict_aucs(STORIES, margins)
    assert set(areas.values()) == {1.0}
    assert set(missing.values()) == {0.0}


def test_a_review_without_a_verdict_is_missing_not_zero() -> None:
    reviews = ["craft : verdict good . audience : i note"] * len(STORIES)
    margins = gates.verdict_margins(Scripted(_oracle), TOKENS, STORIES, reviews)
    assert margins["audience"] == [None] * len(STORIES)
    areas, missing = gates.verdict_aucs(STORIES, margins)
    assert areas["audience"] is None
    assert (missing["craft"], missing["audience"]) == (0.0, 1.0)


def _failures(**changes: object) -> tuple[str, ...]:
    measured = {
        "exactness": dict.fromkeys(g.DIMENSIONS, 0.95),
        "areas": dict.fromkeys(g.DIMENSIONS, 0.5),
        "mean": 0.5,
        "missing": dict.fromkeys(g.DIMENSIONS, 0.0),
    }
    return gates.failures(**{**measured, **changes})  # type: ignore[arg-type]


def test_a_good_base_passes() -> None:
    assert _failures() == ()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"exactness": {"craft": 0.95, "audience": 0.89, "reality_logic": 0.95}}, "exactness"),
        ({"areas": {"craft": 0.61, "audience": 0.5, "reality_logic": 0.5}}, "not chance"),
        ({"areas": {"craft": 0.39, "audience": 0.5, "reality_logic": 0.5}}, "not chance"),
        ({"areas": {"craft": None, "audience": 0.5, "reality_logic": 0.5}}, "no verdict AUC"),
        ({"mean": 0.56}, "mean verdict AUC"),
        ({"missing": {"craft": 0.06, "audience": 0.0, "reality_logic": 0.0}}, "unparsed"),
    ],
)
def test_each_threshold_can_fail_and_says_so(changes: dict[str, object], words: str) -> None:
    (failure,) = _failures(**changes)
    assert words in failure
