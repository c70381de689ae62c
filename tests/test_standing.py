from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from cqa_helpers import contrasts, standing, study, taxonomy
from cqa_helpers.params import Params
from cqa_helpers.prices import Cost
from cqa_helpers.records import Verdict, to_table
from simulated_table import EXPERTS, experts_of, passages, said, table_of, truth_of

Maker = Callable[..., Params]
BLIND = ("always-no", "always-yes", "majority", "longest", "shuffled")
TREE = taxonomy.load("cqa")


def found_in(table: pd.DataFrame, params: Params) -> dict[str, dict[str, Any]]:
    return standing.standings(table, params, {p.id: p.work_id for p in passages(60)})


def test_what_has_no_value_is_counted_and_never_a_zero(small_params: Maker) -> None:
    truth = truth_of(30)
    rows = said("tuned", truth, 1.0, 1, unparsed=0.3, probability=True)
    lost = sum(v.value is None for v in rows)
    rows[0] = rows[0].model_copy(update={"value": None, "probability": None, "status": "refused"})
    rows[1] = rows[1].model_copy(update={"value": None, "probability": None, "status": "failed"})
    lost = sum(v.status == "unparsed" for v in rows)
    table = to_table([*experts_of(truth, 1.0), *rows])
    entry = found_in(table, small_params())["tuned"]
    assert (entry["unparsed"], entry["refused"], entry["failed"]) == (lost, 1, 1)
    assert entry["n"] == 90 - lost - 2
    # Always right where it answers: every zero in place of silence would lower these.
    assert entry["kappa"].value == pytest.approx(1)
    assert entry["raw"] == 1
    assert entry["auc"].value == pytest.approx(1)
    right = [t for v, t in zip(rows, truth.flatten(), strict=True) if v.value is not None]
    assert entry["yes_rate"] == pytest.approx(sum(right) / len(right))


def test_cells_that_a_judge_never_saw_are_absent_and_counted(small_params: Maker) -> None:
    table = table_of(20)
    gone = (table["judge_id"] == "tuned") & table["item_id"].isin(["p000", "p001"])
    assert found_in(table[~gone], small_params())["tuned"]["absent"] == 2 * 3


def test_a_judge_without_one_usable_verdict_has_null_measures(small_params: Maker) -> None:
    truth = truth_of(20)
    table = to_table([*experts_of(truth), *said("tuned", truth, 0.9, 1, unparsed=1.0)])
    entry = found_in(table, small_params())["tuned"]
    assert (entry["n"], entry["unparsed"]) == (0, 60)
    assert entry["kappa"] == (None, None, None)
    assert [entry[k] for k in ("raw", "yes_rate", "auc", "brier", "ece")] == [None] * 5


def test_constant_answers_have_exactly_no_kappa_within_dimensions(small_params: Maker) -> None:
    entries = found_in(table_of(yes=(0.2, 0.3, 0.9)), small_params())
    for name in ("always-no", "always-yes"):
        assert entries[name]["kappa_within"] == pytest.approx((0, 0, 0))
    # Which is not so of the raw share: the commoner answer alone gets most cells right.
    assert entries["always-no"]["raw"] > 0.45


def test_experts_are_one_judge_compared_with_one_another(small_params: Maker) -> None:
    entries = found_in(table_of(), small_params())
    assert entries["experts"]["n"] == 60 * 3 * 3
    assert 0.4 < entries["experts"]["kappa"].value < 0.9
    assert not set(EXPERTS) & set(entries)


# Experts who mostly say no, chance agreement, and a reference that is nearly worthless: the
# places where a judge that never reads has been called as good as any. The longest-is-best judge
# is not among these: length can go with quality, and then its agreement is real.
UNREADING = ("always-no", "always-yes", "majority", "shuffled")


@pytest.mark.parametrize("yes", [(0.5, 0.5, 0.5), (0.1, 0.15, 0.2), (0.05, 0.5, 0.95)])
@pytest.mark.parametrize("reference", [0.5, 0.55, 0.8])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_judges_that_never_read_do_not_pass_the_primary_rule(
    yes: tuple[float, ...], reference: float, seed: int
) -> None:
    table = table_of(48, reference=reference, yes=yes, seed=seed)
    for name in UNREADING:
        contrast = contrasts.seed_contrast(table, name, "reference", EXPERTS, n_boot=300, seed=1)
        with_floor = study.decide(contrast.overall.difference, 0.1, contrast.candidate)
        assert with_floor.outcome not in ("matches", "beats"), name


def test_without_the_floor_a_blind_judge_beside_a_worthless_reference_would_pass() -> None:
    passed = []
    for seed in range(3):
        table = table_of(48, reference=0.5, seed=seed)
        for name in ("always-no", "always-yes"):
            contrast = contrasts.seed_contrast(
                table, name, "reference", EXPERTS, n_boot=300, seed=1
            )
            passed.append(study.decide(contrast.overall.difference, 0.3).outcome)
    assert "matches" in passed or "beats" in passed


def test_a_judge_that_reads_passes(small_params: Maker) -> None:
    contrast = contrasts.seed_contrast(
        table_of(tuned=0.9, reference=0.6), "tuned", "reference", EXPERTS, n_boot=300, seed=1
    )
    assert study.decide(contrast.overall.difference, 0.1, contrast.candidate).outcome == "beats"


def test_who_reads_stands_by_agreement_and_who_never_reads_below(small_params: Maker) -> None:
    params = small_params()
    entries = found_in(table_of(), params)
    order = standing.order(entries, params)
    assert order[:3] == sorted(order[:3], key=lambda j: -entries[j]["kappa_within"].value)
    assert set(order[3:]) == set(BLIND)


def test_a_judge_without_a_kappa_stands_below_one_with_a_negative_one(small_params: Maker) -> None:
    truth = truth_of(40)
    rows = [
        *experts_of(truth), *said("wrong", truth, 0.2, 1), *said("mute", truth, 0.9, 2, unparsed=1)
    ]  # fmt: skip
    entries = found_in(to_table(rows), small_params())
    assert standing.order(entries, small_params())[-2:] == ["wrong", "mute"]


def test_the_headline_says_who_agrees_as_experts_do_or_that_nobody_does(
    small_params: Maker,
) -> None:
    params = small_params()
    good = standing.headline(found_in(table_of(tuned=0.99), params), params)
    assert good == "Tuned agrees with simulated experts about as they do with one another"
    poor = standing.headline(found_in(table_of(tuned=0.6, reference=0.55), params), params)
    assert poor.startswith("No judge agrees with a simulated expert as another does (κ 0.")
    assert f"{standing.name_of('reference')} reaches" in poor


def test_the_table_shows_no_answer_and_drops_columns_that_nobody_fills(
    small_params: Maker,
) -> None:
    truth = truth_of(20)
    rows = [*experts_of(truth), *said("tuned", truth, 0.9, 1, unparsed=0.5)]
    entries = found_in(to_table(rows), small_params())
    shown = standing.as_rows(entries, ["experts", "tuned"])
    assert list(shown["Judge"]) == ["one expert", "tuned"]
    share = entries["tuned"]["unparsed"] / 60
    assert shown["No answer"].tolist() == ["0", f"{share:.1%}"]
    costs = standing.as_costs(entries, {}, ["experts", "tuned"])
    assert costs["Unparsed"].tolist() == [0, entries["tuned"]["unparsed"]]
    assert not {"AUC", "Brier", "ECE", "s / 1,000", "USD / 1,000"} & {*shown, *costs}
    whole = found_in(table_of(), small_params())
    assert "AUC" in standing.as_rows(whole, ["tuned"])
    paid = standing.as_costs(whole, {"tuned": Cost(0.5, 12.0)}, ["tuned", "reference"])
    assert {"Brier", "ECE"} <= set(paid)
    assert paid["USD / 1,000"].tolist()[0] == 0.5


def test_the_headline_of_silence_names_who_gave_no_verdict_most_first(small_params: Maker) -> None:
    truth = truth_of(20)
    rows = [
        *experts_of(truth), *said("tuned", truth, 0.9, 1, unparsed=0.5),
        *said("base", truth, 0.9, 2, unparsed=0.1),
    ]  # fmt: skip
    params = small_params()
    entries = found_in(to_table(rows), params)
    shares = {j: sum(v.status != "ok" for v in rows if v.judge_id == j) / 60
              for j in ("tuned", "base")}  # fmt: skip
    assert standing.silence(entries, params) == (
        f"Without a verdict: tuned {shares['tuned']:.1%}, base {shares['base']:.1%}; "
        "all others none."
    )
    whole = found_in(table_of(), params)
    assert standing.silence(whole, params).startswith("Every judge gave a verdict")


def test_reliability_is_shown_for_judges_that_say_probabilities(small_params: Maker) -> None:
    curves = standing.reliability_curves(table_of(), small_params())
    assert list(curves) == ["tuned", "reference"]
    # Two probabilities are said, .2 and .8.
    assert [round(b.mean_probability, 1) for b in curves["tuned"]] == [0.2, 0.8]


def test_names_for_readers_and_for_the_start_of_a_sentence() -> None:
    assert standing.name_of("gpt4") == "GPT-4"
    assert standing.name_of("always-no") == "always no"
    assert standing.title_of("tuned") == "The tuned model"
    assert standing.title_of("some-judge") == "Some judge"


def test_experts_are_known_by_their_ids() -> None:
    row = Verdict(item_id="a", dimension="craft", judge_id="expertise-model", value=1)
    table = to_table([*experts_of(truth_of(2)), row])
    assert standing.experts_of(table) == sorted(EXPERTS)
    assert standing.judges_of(table) == ["experts", "expertise-model"]
