from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cqa_helpers import learning
from cqa_helpers.agreement import Interval
from cqa_helpers.cohort import Member
from cqa_helpers.corpus import Corpus
from cqa_helpers.finetuning import Adapter
from cqa_helpers.learning import ArmSummary
from cqa_helpers.params import Params
from cqa_helpers.records import Verdict, to_table
from cqa_helpers.splits import Split
from simulated_table import experts_of, passages, said, truth_of

Maker = Callable[..., Params]
N = 40
TRUTH = truth_of(N)


def material() -> Corpus:
    texts = passages(N)
    return Corpus(texts, [], experts_of(TRUTH, 1.0), [], [], Split((), tuple(p.id for p in texts)))


def answers(skills: dict[Member, float], unparsed: float = 0.0) -> dict[Member, list[Verdict]]:
    return {
        m: said("tuned", TRUTH, skill, 10 * m.seed + m.n, m.seed - 1, unparsed, probability=True)
        for m, skill in skills.items()
    }


def test_a_right_model_ranks_all_and_a_wrong_one_none(small_params: Maker) -> None:
    right, wrong = Member("cot", 8, 1), Member("cot", 4, 1)
    found = learning.measure(answers({right: 1.0, wrong: 0.0}), material(), small_params())
    assert (found[right].mean_auc, found[right].accuracy) == (1.0, 1.0)
    assert (found[wrong].mean_auc, found[wrong].accuracy) == (0.0, 0.0)
    assert set(found[right].auc) == {"craft", "audience", "reality_logic"}


def test_what_was_not_answered_is_counted_and_scored_neither_right_nor_wrong(
    small_params: Maker,
) -> None:
    member = Member("cot", 8, 1)
    made = answers({member: 1.0}, unparsed=0.4)
    found = learning.measure(made, material(), small_params())[member]
    assert found.no_answer == sum(v.value is None for v in made[member])
    assert found.n == N * 3
    assert (found.accuracy, found.mean_auc) == (1.0, 1.0)
    silent = learning.measure(answers({member: 1.0}, 1.0), material(), small_params())[member]
    assert silent == learning.Measured({}, None, None, N * 3, N * 3)


def test_only_held_out_passages_are_measured(small_params: Maker) -> None:
    whole = material()
    held_out = whole._replace(split=Split(("p000", "p001"), whole.split.test[2:]))
    member = Member("cot", 8, 1)
    made = answers({member: 1.0})
    spoiled = [
        v.model_copy(update={"value": 1 - (v.value or 0)}) if v.item_id in ("p000", "p001") else v
        for v in made[member]
    ]
    found = learning.measure({member: spoiled}, held_out, small_params())[member]
    assert found.accuracy == 1.0


def interval_of(skills: list[float], params: Params, unparsed: float = 0.0) -> Interval:
    tables = [
        to_table(said("tuned", TRUTH, s, 40 + k, k, unparsed, probability=True))
        for k, s in enumerate(skills)
    ]
    return learning._interval(tables, learning._majority(material()), params)


def test_seeds_that_differ_widen_the_interval_of_an_arm(small_params: Maker) -> None:
    params = small_params(study={"n_boot": 400})
    even, mixed = interval_of([0.75] * 3, params), interval_of([1.0, 0.75, 0.5], params)
    for found in (even, mixed):
        assert found.low is not None
        assert found.value is not None
        assert found.high is not None
        assert found.low < found.value < found.high
    assert (mixed.high or 0) - (mixed.low or 0) > 1.5 * ((even.high or 0) - (even.low or 0))


def test_seeds_share_the_drawn_passages_even_where_some_left_passages_out(
    small_params: Maker,
) -> None:
    # The same answers many times know no more of the passages than once.
    params = small_params(study={"n_boot": 1000})
    one = to_table(said("tuned", TRUTH, 0.75, 40, 0, probability=True))
    majority = learning._majority(material())
    alone = learning._interval([one], majority, params)
    lacking = [one[one["item_id"] >= f"p{k:03}"] for k in range(1, 7)]
    together = learning._interval(lacking, majority, params)
    width = [(f.high or 0) - (f.low or 0) for f in (alone, together)]
    assert width[1] > 0.9 * width[0]


def test_an_arm_with_a_seed_that_never_answers_has_no_mean(small_params: Maker) -> None:
    tables = [
        to_table(said("tuned", TRUTH, 0.9, k, k, lost, probability=True))
        for k, lost in enumerate((0.0, 1.0))
    ]
    found = learning._interval(tables, learning._majority(material()), small_params())
    assert found == Interval(None, None, None)


def summary(title: str, role: str, n: int, value: float | None, half: float = 0.02) -> ArmSummary:
    limits = (None, None) if value is None else (value - half, value + half)
    seeds = (value, None) if value is None else (value - 0.01, value + 0.01)
    return ArmSummary(title, role, n, Interval(value, *limits), seeds, {"craft": value}, 0.1)


ARMS = {
    "base": summary("base, not tuned", "base", 0, 0.5),
    "cot": summary("reasons first", "tuned", 8, 0.9),
    "style-only": summary("style alone (control)", "control", 8, 0.52),
    "shuffled": summary("shuffled (control)", "control", 8, None),
}


def test_the_headline_says_a_lift_only_where_the_interval_clears_the_base() -> None:
    assert learning.headline(ARMS) == (
        "Annotations with reasons lift AUC to 0.90; style alone gives 0.52"
    )
    flat = ARMS | {"cot": summary("reasons first", "tuned", 8, 0.51)}
    assert learning.headline(flat).startswith("Annotations with reasons do not lift AUC: 0.51")
    assert learning.headline({"base": ARMS["base"]}) == "Held-out AUC by arm"


def test_arms_stand_highest_first_and_one_without_a_mean_last() -> None:
    shown = learning.as_rows(ARMS)
    assert list(shown["Arm"]) == [
        "reasons first", "style alone (control)", "base, not tuned", "shuffled (control)",
    ]  # fmt: skip
    assert list(learning.forest_rows(ARMS)["label"])[-1] == "shuffled (control)"
    assert learning.seed_dots(ARMS)["shuffled (control)"] == []


def test_results_hold_every_model_by_arm_size_and_seed(small_params: Maker) -> None:
    members = [Member("cot", 8, 1), Member("cot", 8, 2), Member("cot", 8, 1, "second")]
    record = {"train_seconds": 1.0, "supervised_tokens": 9, "steps": 2, "rows": 8, "losses": [2.0]}
    trained = {m: Adapter(Path("x"), record) for m in members}
    found = learning.measure(answers(dict.fromkeys(members, 1.0)), material(), small_params())
    section = learning.results(trained, found, {"cot": ARMS["cot"], "base": ARMS["base"]})
    assert set(section["arms"]["cot"]["8"]) == {"1", "2", "summary"}
    assert section["second_base"]["cot"]["8"]["1"]["mean_auc"] == 1.0
    assert section["base"]["base"]["mean_auc"].value == 0.5
    table = learning.overview(trained, found)
    assert list(table["Model"]) == ["first-cot-8-1", "first-cot-8-2", "second-cot-8-1"]
    assert table["AUC"].tolist() == pytest.approx([1.0] * 3)
    assert not table["Last loss"].isna().any()
    assert np.isfinite(table["Accuracy"]).all()
