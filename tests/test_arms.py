from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cqa_helpers import arms, prompts, taxonomy
from cqa_helpers.annotations import Annotation, Judgement
from cqa_helpers.arms import ArmError, TrainingRow
from cqa_helpers.records import Passage

CQA = taxonomy.load("cqa")
QUESTION = prompts.load_dialect("question")
REHEARSAL = prompts.load_dialect("rehearsal")


def passage(name: str, text: str | None = None) -> Passage:
    return Passage(
        id=name, work_id=name, text=text or f"text of {name} .", origin="simulated",
        licence="none", source="test",
    )  # fmt: skip


def annotation(name: str, values: Sequence[int], **changes: Any) -> Annotation:
    known: dict[str, Any] = {
        "id": f"on-{name}",
        "passage_id": name,
        "protocol": "bc",
        "expert_id": "e1",
        "cot_body": "body",
        "summary": "the end",
        "judgements": tuple(
            Judgement(dimension=d, value=v, reason=f"{name} says {d}")
            for d, v in zip(CQA.ids(), values, strict=False)
        ),
    }
    return Annotation(**known | changes)


def material(n: int, seed: int = 0) -> tuple[list[Annotation], dict[str, Passage]]:
    values = np.random.default_rng(seed).integers(0, 2, (n, 3))
    names = [f"p{i:03}" for i in range(n)]
    made = [
        annotation(name, [int(v) for v in row]) for name, row in zip(names, values, strict=True)
    ]
    return made, {name: passage(name) for name in names}


def rows(arm: str, n: int, seed: int = 1, size: int = 40, **changes: Any) -> list[TrainingRow]:
    annotations, passages = material(size)
    known: dict[str, Any] = {
        "annotations": annotations, "passages": passages, "taxonomy": CQA, "dialect": REHEARSAL,
    }  # fmt: skip
    return arms.rows(arm, n, seed, **known | changes)


def verdicts(made: Sequence[TrainingRow]) -> dict[str, list[int | None]]:
    return {
        row.item_id: [
            a.value for a in prompts.parse(row.completion, CQA.ids(), REHEARSAL, "reason-first")
        ]
        for row in made
    }


def truth(size: int = 40) -> dict[str, list[int | None]]:
    return {a.passage_id: [j.value for j in a.judgements] for a in material(size)[0]}


@pytest.mark.parametrize("arm", arms.FORM_OF_ARM)
def test_every_passage_gives_its_rows_and_none_is_lost(arm: str) -> None:
    assert len({r.item_id for r in rows(arm, 40)}) == len(rows(arm, 40)) == 40
    one_a_dimension = rows(arm, 40, dialect=QUESTION)
    assert len(one_a_dimension) == 40 * 3
    for row in rows(arm, 5):
        assert f"text of {row.item_id} ." in row.prompt
        assert row.completion.strip()


@settings(max_examples=20, deadline=None)
@given(
    arm=st.sampled_from(["cot", "verdict-only"]), small=st.integers(1, 20),
    more=st.integers(0, 20), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_smaller_size_is_the_beginning_of_a_larger_one(
    arm: str, small: int, more: int, seed: int
) -> None:
    assert rows(arm, small + more, seed)[:small] == rows(arm, small, seed)


@pytest.mark.parametrize("arm", arms.FORM_OF_ARM)
def test_the_passages_of_a_smaller_size_are_among_those_of_a_larger_one(arm: str) -> None:
    order = [r.item_id for r in rows(arm, 40)]
    assert [r.item_id for r in rows(arm, 10)] == order[:10]
    assert [r.item_id for r in rows("cot", 40)] == order


@pytest.mark.parametrize("arm", arms.FORM_OF_ARM)
def test_the_seed_fixes_the_rows_and_another_gives_others(arm: str) -> None:
    assert rows(arm, 20, 1) == rows(arm, 20, 1)
    assert rows(arm, 20, 1) != rows(arm, 20, 2)


def test_cot_teaches_reason_and_verdict_and_verdict_only_the_verdict() -> None:
    for row in rows("cot", 40):
        assert f"{row.item_id} says craft" in row.completion
    assert verdicts(rows("cot", 40)) == truth()
    assert not any("says" in row.completion for row in rows("verdict-only", 40))
    short = {
        r.item_id: [
            a.value for a in prompts.parse(r.completion, CQA.ids(), REHEARSAL, "verdict-only")
        ]
        for r in rows("verdict-only", 40)
    }
    assert short == truth()


@pytest.mark.parametrize("seed", range(8))
def test_shuffled_leaves_nobody_with_their_own_and_next_to_no_association(seed: int) -> None:
    made = rows("shuffled", 40, seed)
    lenders = [row.completion.split(" : ")[1].split()[0] for row in made]
    assert all(lender != row.item_id for lender, row in zip(lenders, made, strict=True))
    assert sorted(lenders) == sorted(row.item_id for row in made)
    own, borrowed = truth(), verdicts(made)
    for d in range(3):
        pairs = np.array([(own[i][d], borrowed[i][d]) for i in own], dtype=float)
        assert abs(np.corrcoef(pairs.T)[0, 1]) < 0.12


def test_shuffled_never_lends_another_experts_word_on_the_same_passage() -> None:
    annotations, passages = material(6)
    both = annotations + [
        a.model_copy(update={"id": f"{a.id}-2", "expert_id": "e2"}) for a in annotations
    ]
    made = rows("shuffled", 12, annotations=both, passages=passages)
    assert len(made) == 12
    for row in made:
        assert not row.completion.startswith(f" craft : {row.item_id} says")


def test_shuffled_of_one_passage_is_an_error() -> None:
    with pytest.raises(ArmError, match="at least two"):
        rows("shuffled", 1)
    twice = [annotation("p000", [1, 0, 1], id=f"a{k}") for k in range(3)]
    with pytest.raises(ArmError, match="same passages"):
        rows("shuffled", 3, annotations=twice)


@pytest.mark.parametrize("seed", range(5))
def test_style_only_flips_half_of_each_cell(seed: int) -> None:
    own, styled = truth(), verdicts(rows("style-only", 40, seed))
    for d in range(3):
        for value in (0, 1):
            cell = [i for i in own if own[i][d] == value]
            flipped = sum(styled[i][d] != value for i in cell)
            assert flipped == len(cell) // 2


def test_style_only_keeps_the_reasoning_on_its_own_passage() -> None:
    for row in rows("style-only", 40):
        assert f"{row.item_id} says audience" in row.completion


def test_style_only_flips_verdicts_that_are_all_alike() -> None:
    alike = [annotation(f"p{i:03}", [1, 1, 1]) for i in range(40)]
    styled = verdicts(rows("style-only", 40, annotations=alike))
    assert [sum(v[d] == 0 for v in styled.values()) for d in range(3)] == [20, 20, 20]


def test_annotations_made_for_an_arm_are_taken_for_it_and_for_no_other() -> None:
    annotations, passages = material(10)
    made = [a.model_copy(update={"meta": {"arm": "style-only"}, "id": "s"}) for a in annotations]
    imitated = [
        a.model_copy(
            update={
                "judgements": tuple(
                    j.model_copy(update={"reason": "imitated"}) for j in a.judgements
                )
            }
        )
        for a in made
    ]
    both = [*annotations, *imitated]
    known = {"annotations": both, "passages": passages}
    assert all("imitated" in r.completion for r in rows("style-only", 10, **known))
    for arm in ("cot", "shuffled"):
        assert not any("imitated" in r.completion for r in rows(arm, 10, **known))
    # They are decoupled already: a second flip would undo it.
    assert verdicts(rows("style-only", 10, **known)) == {
        k: v for k, v in truth(10).items() if k in passages
    }


def test_too_few_annotations_an_unknown_arm_and_no_text_are_named() -> None:
    with pytest.raises(ArmError, match="'cot' asks for 41 annotations and there are 40"):
        rows("cot", 41)
    with pytest.raises(ArmError, match="no arm 'both'; there are: cot, "):
        rows("both", 4)
    with pytest.raises(ArmError, match=r"on-p0\d\d: no text of passage"):
        rows("cot", 4, passages={})
    silent = {
        name: p.model_copy(update={"text": None, "url": "https://example.org"})
        for name, p in material(40)[1].items()
    }
    with pytest.raises(ArmError, match="no text of passage"):
        rows("cot", 4, passages=silent)


def test_a_judgement_that_nobody_can_teach_is_an_error_and_not_left_out() -> None:
    other = (Judgement(dimension="rhyme", value=1, reason="r"),)
    with pytest.raises(ArmError, match="judges 'rhyme', and taxonomy 'cqa' has: craft"):
        rows("cot", 1, annotations=[annotation("p000", [], judgements=other)])
    with pytest.raises(ArmError, match="no word for the value 4"):
        rows("cot", 1, annotations=[annotation("p000", [4, 1, 1])])
