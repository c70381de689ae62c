from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cqa_helpers import agreement, baselines, study
from cqa_helpers.records import Passage, Verdict, to_table

NAMES: list[baselines.Name] = ["always-no", "always-yes", "majority", "longest", "shuffled"]


def passage(item: str, work: str, text: str | None, language: str = "en") -> Passage:
    return Passage(
        id=item,
        work_id=work,
        language=language,
        text=text,
        url=None if text else "https://example.org",
        origin="simulated",
        licence="MIT",
        source="a test",
    )


def said(
    item: str, value: int, dimension: str = "d", judge: str = "e0", scale: str = "0-1"
) -> Verdict:
    return Verdict(item_id=item, dimension=dimension, judge_id=judge, value=value, scale=scale)


PASSAGES = [
    passage("a", "w1", "one two three"),
    passage("b", "w1", "one"),
    passage("c", "w2", "one two"),
    passage("d", "w3", None),
]
SAID = [said("a", 1), said("b", 1), said("c", 0), said("d", 0)]


def values(name: baselines.Name, **kwargs: object) -> dict[str, int | None]:
    rows = baselines.verdicts([name], PASSAGES, SAID, **kwargs)  # type: ignore[arg-type]
    return {v.item_id: v.value for v in rows}


def test_every_baseline_answers_every_cell_the_experts_judged_once() -> None:
    rows = baselines.verdicts(NAMES, PASSAGES, [*SAID, said("a", 0, judge="e1")])
    assert Counter(v.judge_id for v in rows) == dict.fromkeys(NAMES, 4)


def test_constants_are_the_ends_of_the_scale() -> None:
    assert set(values("always-no").values()) == {0}
    assert set(values("always-yes").values()) == {1}
    rows = baselines.verdicts(["always-no", "always-yes"], PASSAGES, [said("a", 3, scale="1-5")])
    assert [v.value for v in rows] == [1, 5]


def test_majority_looks_at_other_works_only_and_takes_the_lower_value_of_a_tie() -> None:
    # For a and b: c and d say no. For c: yes, yes, no. For d: yes, yes, no.
    assert values("majority") == {"a": 0, "b": 0, "c": 1, "d": 1}
    tie = [said("a", 1), said("c", 0), said("d", 1)]
    rows = baselines.verdicts(["majority"], PASSAGES, tie)
    assert {v.item_id: v.value for v in rows}["a"] == 0


def test_majority_without_another_work_has_failed() -> None:
    (row,) = baselines.verdicts(["majority"], PASSAGES, [said("a", 1)])
    assert (row.value, row.status, row.reason) == (None, "failed", "no other work")


def test_longest_is_above_the_median_of_what_has_text_and_fails_without_text() -> None:
    assert values("longest") == {"a": 1, "b": 0, "c": 0, "d": None}
    row = next(v for v in baselines.verdicts(["longest"], PASSAGES, SAID) if v.item_id == "d")
    assert (row.status, row.reason) == ("failed", "no text")


def test_longest_counts_characters_where_a_language_has_no_spaces() -> None:
    chinese = [
        passage("x", "w1", "雨停了，天还没亮。", "zh"),
        passage("y", "w2", "雨 停 了", "zh"),
        passage("z", "w3", "a b c d e f g h i j k l m n o p"),
    ]
    rows = baselines.verdicts(["longest"], chinese, [said(i, 0) for i in "xyz"])
    assert [v.value for v in rows] == [1, 0, 0]


def test_shuffled_keeps_each_dimensions_values_and_depends_on_the_seed() -> None:
    passages = [passage(f"i{k}", f"w{k}", "x") for k in range(40)]
    rng = np.random.default_rng(0)
    experts = [
        said(p.id, int(rng.random() < share), d)
        for p in passages
        for d, share in (("d0", 0.2), ("d1", 0.7))
    ]
    one, same, other = (baselines.verdicts(["shuffled"], passages, experts, s) for s in (1, 1, 2))
    assert one == same
    assert one != other
    for d in ("d0", "d1"):
        assert Counter(v.value for v in one if v.dimension == d) == Counter(
            v.value for v in experts if v.dimension == d
        )


@pytest.mark.parametrize("seed", range(8))
def test_no_baseline_beats_or_matches_a_judge_that_reads(seed: int) -> None:
    # Simulated: three experts and a reference that agree with a planted truth, and base rates
    # that differ between dimensions, which is where a blind judge could gain.
    rng = np.random.default_rng(seed)
    passages = [passage(f"i{k}", f"w{k // 2}", "x " * int(rng.integers(1, 99))) for k in range(48)]
    experts: list[Verdict] = []
    reference: list[Verdict] = []
    for p in passages:
        for d, share in (("d0", 0.1), ("d1", 0.5), ("d2", 0.9)):
            truth = rng.random() < share
            for judge, skill in (("e0", 0.85), ("e1", 0.85), ("ref", 0.75)):
                value = int(truth if rng.random() < skill else not truth)
                (reference if judge == "ref" else experts).append(said(p.id, value, d, judge))
    rows = baselines.verdicts(NAMES, passages, experts, seed)
    table = to_table([*experts, *reference, *rows])
    works = {p.id: p.work_id for p in passages}
    for name in NAMES:
        found = agreement.paired_difference(table, name, "ref", ["e0", "e1"], works, n_boot=500)
        outcome = study.decide(found.difference, margin=0.05).outcome
        assert outcome in ("falls-short", "inconclusive"), name


def test_errors_name_what_is_unknown() -> None:
    with pytest.raises(ValueError, match=r"no baseline 'coin'; there are: always-no"):
        baselines.verdicts(["coin"], PASSAGES, SAID)  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"1 judged passage\(s\) are not given: z"):
        baselines.verdicts(NAMES, PASSAGES, [said("z", 1)])
