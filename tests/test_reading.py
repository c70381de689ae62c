from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cqa_helpers import cohort, conditions, corpus, reading
from cqa_helpers.calls import CallRecord
from cqa_helpers.cohort import Member
from cqa_helpers.params import Params
from cqa_helpers.records import Constraints, Pair, Verdict
from cqa_helpers.surprise import log_odds_all_good

Maker = Callable[..., Params]


def pair(name: str) -> Pair:
    return Pair(
        id=name, good="a b", degraded="a c", dimension="craft", group="literary",
        constraints=Constraints(intent="x"), origin="simulated",
    )  # fmt: skip


def test_judgment_bits_follow_the_side_and_are_missing_where_a_verdict_is(
    small_params: Maker,
) -> None:
    said = {("x#good", 0.9), ("x#degraded", 0.2), ("y#good", 0.8)}
    rows = [
        Verdict(item_id=i, dimension=d, judge_id="tuned", value=1, probability=p)
        for i, p in sorted(said) for d in ("craft", "audience")
    ]  # fmt: skip
    rows.append(
        Verdict(item_id="y#degraded", dimension="craft", judge_id="tuned", value=None,
                status="unparsed")
    )  # fmt: skip
    params = small_params()
    found = reading._judged(rows, params, [pair("x"), pair("y")])
    bits = found.set_index(["pair", "side"])["bits"]
    assert params.surprise is not None
    expected = log_odds_all_good(np.array([[0.9, 0.9], [0.8, 0.8]]), params.surprise.clip)
    assert [bits["x", "good"], bits["y", "good"]] == pytest.approx(list(expected))
    assert bits["x", "degraded"] == pytest.approx(2 * np.log2(0.2))
    assert np.isnan(bits["y", "degraded"])


def test_every_reader_has_its_rows_and_the_base_is_left_as_it_was(
    tiny_params: Params, tmp_path: Path
) -> None:
    material = corpus.prepare(tiny_params, tmp_path)
    pairs = [p for g in ("literary", "factual") for p in material.pairs if p.group == g]
    member = Member("cot", 4, 1)
    assert tiny_params.models is not None
    cohort.train(member, cohort.Base(tiny_params.models), tiny_params, material, tmp_path)
    steps = cohort.steps(member, tmp_path)
    texts = reading.texts([member], tiny_params, pairs, tmp_path)
    pd.testing.assert_frame_equal(texts, reading.texts([member], tiny_params, pairs, tmp_path))
    base, last = texts[texts["arm"] == "base"], texts[(texts["arm"] == "cot") & texts["last"]]
    assert set(last["condition"]) == set(conditions.CONDITIONS)
    one, two = (rows["bits"].to_numpy() for _, rows in base.groupby("seed"))
    assert np.array_equal(one, two)
    assert np.isfinite(texts["bits"]).all()
    on_the_way = texts[~texts["last"]]
    assert sorted(set(on_the_way["checkpoint"])) == steps
    assert set(on_the_way["condition"]) <= {"neutral", "joint"}
    with CallRecord(tmp_path / "calls.sqlite") as record:
        known = (tiny_params, pairs, tmp_path, record)
        judgments = reading.judgments([member], *known)
        asked = record.count()
        pd.testing.assert_frame_equal(judgments, reading.judgments([member], *known))
        assert record.count() == asked
    assert len(judgments) == 2 * len(pairs) * (2 + 1 + len(steps))
    strips = reading.strips(member, tiny_params, pairs, pairs[0], tmp_path)
    assert [s.label for s in strips["tuned"]] == ["good", "degraded"]
    row = base[(base["pair"] == pairs[0].id) & (base["side"] == "good") & (base["seed"] == 1)]
    neutral = float(row.loc[row["condition"] == "neutral", "bits"].iloc[0])
    assert strips["base"][0].before.sum() == pytest.approx(neutral, rel=1e-5)
