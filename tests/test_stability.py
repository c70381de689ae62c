from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cqa_helpers import stability
from cqa_helpers.adapters import Adapter
from cqa_helpers.cohort import Member
from cqa_helpers.corpus import Corpus
from cqa_helpers.learning import Measured
from cqa_helpers.params import Params
from cqa_helpers.splits import Split
from simulated_table import experts_of, passages, said, truth_of

Maker = Callable[..., Params]
TRUTH = truth_of(30)


def found(auc: float | None, accuracy: float | None = None) -> Measured:
    return Measured({}, auc, accuracy, 0, 90)


def test_the_curve_is_of_the_reasons_first_arm_of_the_first_base_at_equal_steps() -> None:
    members = [
        Member("cot", 4, 1), Member("cot", 8, 1), Member("shuffled", 8, 1),
        Member("cot", 8, 1, "second"), Member("cot", 8, 1, budget="tokens"),
        Member("cot", 4, 1, sample=1),
    ]  # fmt: skip
    rows = stability.by_size(dict.fromkeys(members, found(0.9)))
    assert list(zip(rows["n"], rows["seed"], strict=True)) == [(4, 1), (8, 1)]


def test_the_curve_rises_where_it_was_planted_and_what_is_missing_is_no_zero(
    small_params: Maker,
) -> None:
    rng = np.random.default_rng(1)
    measured = {
        Member("cot", n, seed): found(0.95 - 1.2 / n + 0.01 * rng.standard_normal())
        for n in (4, 8, 16)
        for seed in range(1, 7)
    }
    line = stability.curve(measured, small_params())
    assert line is not None
    assert line.fit is not None
    assert line.at(16).value == pytest.approx(0.95 - 1.2 / 16, abs=0.02)
    gap = stability.curve({**measured, Member("cot", 16, 6): found(None)}, small_params())
    assert gap is not None
    assert gap.sizes.set_index("n").loc[16, "missing"] == 1
    assert stability.curve({Member("cot", 4, 1): found(None)}, small_params()) is None
    assert list(stability.wanted(measured, small_params())["Within ±"]) == list(stability.WANTED)


def test_what_was_planted_between_samples_is_found_between_samples(small_params: Maker) -> None:
    rng = np.random.default_rng(2)
    shift = 0.1 * rng.standard_normal(40)
    nested = {
        Member("cot", 4, seed, sample=sample): found(
            0.7 + shift[sample - 1] + 0.01 * rng.standard_normal()
        )
        for sample in range(1, 41)
        for seed in (1, 2, 3)
    }
    parts = stability.components(nested, small_params())
    assert parts is not None
    assert parts.n_samples == 40
    assert parts.sample.value == pytest.approx(np.std(shift, ddof=1), rel=0.1)
    assert parts.seed.value == pytest.approx(0.01, rel=0.3)
    plain = {Member("cot", 4, 1): found(0.1)}
    assert stability.components({**plain, **nested}, small_params()) == parts
    assert stability.components(plain, small_params()) is None
    missing = {**nested, Member("cot", 4, 1, sample=1): found(None)}
    assert stability.components(missing, small_params()) is None


def corpus_with(skill: float, probability: bool) -> Corpus:
    texts = passages(30)
    recorded = said("reference", TRUTH, skill, 3, probability=probability)
    split = Split((), tuple(p.id for p in texts))
    return Corpus(texts, [], experts_of(TRUTH, 1.0), recorded, [], split)


@pytest.mark.parametrize(("probability", "measure"), [(True, "AUC"), (False, "accuracy")])
def test_seeds_are_set_against_the_recorded_reference(
    small_params: Maker, probability: bool, measure: str
) -> None:
    params = small_params(tuning={"arms": {"cot": [4, 8]}, "seeds": [1, 2, 3]})
    measured = {
        Member("cot", 8, 1): found(1.0, 1.0), Member("cot", 8, 2): found(0.2, 0.2),
        Member("cot", 8, 3): found(None, None), Member("cot", 4, 1): found(1.0, 1.0),
        Member("cot", 8, 1, "second"): found(1.0, 1.0),
    }  # fmt: skip
    beaten = stability.beating(measured, corpus_with(0.7, probability), params)
    assert beaten is not None
    assert beaten.measure == measure
    counted = beaten.found
    assert (counted.wins, counted.n_known, counted.n_missing) == (1, 2, 1)
    assert stability.beating(measured, corpus_with(0.7, True)._replace(recorded=[]), params) is None


def test_arms_at_equal_steps_and_at_equal_tokens_stand_below_each_other(
    small_params: Maker,
) -> None:
    arms = {"cot": [8], "verdict-only": [8]}
    params = small_params(tuning={"arms": arms, "seeds": [1, 2], "equal_tokens": ["verdict-only"]})
    records = {
        "cot": {"steps": 10, "supervised_tokens": 800, "rows": 8},
        "verdict-only": {"steps": 10, "supervised_tokens": 80, "rows": 8},
        "tokens": {"steps": 100, "supervised_tokens": 80, "rows": 8},
    }
    members = [Member(arm, 8, seed) for arm in arms for seed in (1, 2)]
    members += [Member("verdict-only", 8, seed, budget="tokens") for seed in (1, 2)]
    members += [Member("cot", 8, 1, "second")]
    trained = {
        m: Adapter(Path("x"), records[m.arm if m.budget == "steps" else "tokens"]) for m in members
    }
    table = stability.at_equal_tokens(dict.fromkeys(members, found(0.6)), trained, params)
    assert list(table["Equal in"]) == ["steps", "steps", "tokens"]
    assert list(table["Steps"]) == [10, 10, 100]
    tokens = list(table["Supervised tokens seen"])
    assert tokens[0] == tokens[2] == 10 * tokens[1]
    assert list(table["Seeds"]) == [2, 2, 2]


def test_at_equal_tokens_a_missing_auc_is_null_and_counted_and_reasons_stand_above(
    small_params: Maker,
) -> None:
    arms = {"verdict-only": [8], "cot": [8]}
    params = small_params(
        tuning={"arms": arms, "seeds": [1, 2, 3], "equal_tokens": ["verdict-only"]},
        study={"level": 0.8},
    )
    record = {"steps": 10, "supervised_tokens": 80, "rows": 8}
    measured = {
        Member("verdict-only", 8, 1): found(None),
        Member("verdict-only", 8, 2): found(0.6), Member("verdict-only", 8, 3): found(0.8),
        Member("verdict-only", 8, 1, budget="tokens"): found(None),
        Member("cot", 8, 1): found(0.6), Member("cot", 8, 2): found(0.8),
        Member("cot", 4, 1, sample=1): found(0.1),
    }  # fmt: skip
    trained = dict.fromkeys(measured, Adapter(Path("x"), record))
    table = stability.at_equal_tokens(measured, trained, params)
    assert list(table["Arm"]) == ["reasons first", "verdicts alone", "verdicts alone"]
    # With one degree of freedom t is Cauchy's: its .9 quantile is tan(.4 pi), times an error of .1.
    half = 0.1 * math.tan(0.4 * math.pi)
    assert table["AUC"].iloc[0] == pytest.approx((0.7, 0.7 - half, 0.7 + half))
    assert table["AUC"].iloc[1] == pytest.approx((0.7, 0.7 - half, 0.7 + half))
    assert table["AUC"].iloc[2] == (None, None, None)
    assert list(table["Seeds"]) == [2, 2, 0]
    assert list(table["Without a value"]) == [0, 1, 1]


def test_results_say_what_is_there_and_leave_out_what_is_not(small_params: Maker) -> None:
    assert stability.results(None, None, None) == {}
    measured = {Member("cot", n, s): found(0.5 + n / 100) for n in (4, 8) for s in (1, 2)}
    line = stability.curve(measured, small_params())
    assert set(stability.results(line, None, None)) == {"curve"}
