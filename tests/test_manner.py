from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd
import pytest

from cqa_helpers import manner, probing
from cqa_helpers.agreement import Interval
from cqa_helpers.annotations import Annotation, Judgement
from cqa_helpers.corpus import Corpus
from cqa_helpers.learning import ArmSummary
from cqa_helpers.params import Params
from cqa_helpers.probing import Probed
from cqa_helpers.records import Verdict
from cqa_helpers.splits import Split
from simulated_table import DIMENSIONS, experts_of, passages, truth_of

Maker = Callable[..., Params]
N = 24
PLANTED = truth_of(N)
TRUTH = {
    f"p{i:03}": dict(zip(DIMENSIONS, map(int, row), strict=True)) for i, row in enumerate(PLANTED)
}
OWN = "perhaps it is so , and yet i wonder whether it would be , for me , quite that"
OTHER = "it works . the thing does that . it works"


def annotations(reason: str, arm: str = "cot") -> list[Annotation]:
    return [
        Annotation(
            id=f"{arm}-{p.id}", passage_id=p.id, protocol="bc", expert_id="e", cot_body="c",
            judgements=tuple(
                Judgement(dimension=d, value=v, reason=f"{reason} in {p.id}")
                for d, v in TRUTH[p.id].items()
            ),
            meta={"arm": arm},
        )
        for p in passages(N)
    ]  # fmt: skip


def material(probes: Sequence[Annotation] = ()) -> Corpus:
    texts = passages(N)
    return Corpus(
        texts, annotations(OTHER), experts_of(PLANTED, 1.0), [], [],
        Split((), tuple(p.id for p in texts)), probes=list(probes),
    )  # fmt: skip


def answers(reason: str, flip: bool = False) -> list[Verdict]:
    return [
        Verdict(item_id=i, dimension=d, judge_id="tuned", repeat=r, value=1 - v if flip else v,
                probability=0.9 if v else 0.1, reason=f"{reason} in {i}")
        for r in (0, 1) for i, row in TRUTH.items() for d, v in row.items()
    ]  # fmt: skip


def summary(role: str = "tuned") -> ArmSummary:
    return ArmSummary("reasons first", role, 8, Interval(0.9, 0.8, 1.0), (0.9, 0.91), {}, 0.0)


def probed(flip: bool) -> Probed:
    reasons = pd.DataFrame(
        [(i, d, "first", v, 0.9 if v else 0.1) for i, row in TRUTH.items() for d, v in row.items()],
        columns=probing.REASON_COLUMNS,
    )
    return Probed(answers(OWN), answers(OWN, flip), answers(OWN), reasons)


def test_held_out_reasons_of_the_expert_are_taken_and_only_without_them_those_of_training() -> None:
    with_own = [*annotations(OWN), *annotations("voice", "second-voice")]
    held_out = manner.expert_reasons(material(with_own))
    assert held_out["reason"].str.startswith(OWN).all()
    assert len(held_out) == N * 3
    assert manner.expert_reasons(material())["reason"].str.startswith(OTHER).all()


def test_who_talks_like_the_expert_is_like_and_who_does_not_is_not(small_params: Maker) -> None:
    whole = material(annotations(OWN))
    summaries = {"cot": summary(), "style-only": summary("control"), "verdict-only": summary("arm")}
    said = {"cot": answers(OWN), "style-only": answers(OTHER), "verdict-only": answers("")}
    cot, other, bare = manner.of_arms(summaries, said, {}, whole, small_params())
    assert cot.similarity is not None
    assert other.similarity is not None
    assert cot.similarity.similarity.value > 0.7
    assert other.similarity.similarity.value < 0.2
    assert bare.similarity is None
    assert cot.voice is cot.passage is cot.reasons is None
    assert set(manner.spans([cot, other, bare])) == {"cot", "style-only"}
    assert cot.agreement_by_repeat == {0: 0.9, 1: 0.91}


def test_flips_beyond_a_second_draw_are_those_of_the_other_voice(small_params: Maker) -> None:
    whole = material(annotations(OWN))
    (arm,) = manner.of_arms(
        {"cot": summary()}, {"cot": answers(OWN)}, {"cot": [probed(True)]}, whole, small_params()
    )
    assert arm.voice is not None
    assert arm.passage is not None
    assert arm.reasons is not None
    assert arm.voice.excess.value == pytest.approx(1.0)
    assert arm.passage.excess.value == pytest.approx(0.0)
    assert arm.reasons.first.follows.value == 1.0
    told = manner.results([arm], small_params())
    assert "talks like the simulated expert" in told["headline"]
    kept = told["arms"]["cot"]
    assert kept["more_in_another_voice"].value == pytest.approx(1.0)
    assert kept["flips_by_chance"].value == 0.0


def test_the_second_base_is_not_in_the_plane(small_params: Maker) -> None:
    summaries = {"cot": summary(), "cot-second-base": summary()}
    found = manner.of_arms(summaries, {"cot": answers(OWN)}, {}, material(), small_params())
    assert [a.name for a in found] == ["cot"]
