from __future__ import annotations

import numpy as np
import pytest

from cqa_helpers.records import Verdict
from cqa_helpers.rehearsal.rating import Noise, Seen, rate
from cqa_helpers.rehearsal.world import draw_stories

STORIES = draw_stories(96, seed=11)
TRUTH = {s.id: s.truth for s in STORIES}
CRITERIA = ("accuracy", "sign-it")
QUIET = Noise(base=1, gain=3, rater_sd=0, passage_sd=0, noise_sd=0, criterion_sd=0)


def _seen(right: int, raters: int = 2, foreign: bool = False) -> list[Seen]:
    """Diagnoses with this many right verdicts of three, one on each sheet."""
    return [
        Seen(
            f"code-{r}-{i:03d}", f"rater-{r}", f"sheet-{r}-{i}", s.id,
            {d: v if k < right else 1 - v for k, (d, v) in enumerate(s.truth.items())}, foreign,
        )
        for r in range(raters) for i, s in enumerate(STORIES)
    ]  # fmt: skip


def _values(rows: list[Verdict], criterion: str) -> dict[str, int | None]:
    return {v.item_id: v.value for v in rows if v.dimension == criterion}


def test_ratings_rise_with_the_share_of_right_verdicts() -> None:
    means = [np.mean([v.value for v in rate(_seen(k), TRUTH, CRITERIA)]) for k in range(4)]
    assert means == sorted(means)
    assert means[3] - means[0] > 2


def test_without_noise_a_rating_is_the_declared_line() -> None:
    for right in range(4):
        rows = rate(_seen(right), TRUTH, CRITERIA, QUIET)
        assert {v.value for v in rows} == {1 + right}
        assert {v.scale for v in rows} == {"1-5"}
        assert {(v.judge_id, v.dimension) for v in rows} == {
            (f"rater-{r}", c) for r in range(2) for c in CRITERIA
        }


def test_a_missing_verdict_is_rated_like_a_wrong_one_and_a_foreign_diagnosis_lowest() -> None:
    story = STORIES[0]
    gap = Seen("x", "r", "s", story.id, {**story.truth, "craft": None})
    assert rate([gap], TRUTH, CRITERIA, QUIET)[0].value == 3
    assert {v.value for v in rate(_seen(3, foreign=True), TRUTH, CRITERIA, QUIET)} == {1}


def test_a_sheet_is_ranked_by_what_is_right_and_near_equals_share_the_better_place() -> None:
    story = STORIES[0]
    given = [dict(story.truth), dict(story.truth), {d: 1 - v for d, v in story.truth.items()}]
    sheet = [Seen(f"c{i}", "r", "s", story.id, values) for i, values in enumerate(given)]
    rows = rate(sheet, TRUTH, CRITERIA, QUIET)
    assert _values(rows, "rank") == {"c0": 1, "c1": 1, "c2": 3}
    assert {v.scale for v in rows if v.dimension == "rank"} == {"1-3"}


def test_each_rater_rates_what_was_sent_to_it_and_raters_differ_in_severity() -> None:
    quiet = Noise(base=3, gain=0, rater_sd=2, passage_sd=0, noise_sd=0, criterion_sd=0)
    rows = rate(_seen(3, raters=6), TRUTH, CRITERIA, quiet)
    assert {(v.judge_id[-1], v.item_id.split("-")[1]) for v in rows} == {
        (str(r), str(r)) for r in range(6)
    }
    of_rater = [{v.value for v in rows if v.judge_id == f"rater-{r}"} for r in range(6)]
    assert all(len(values) == 1 for values in of_rater)
    assert len(set().union(*of_rater)) > 1


def test_the_order_of_packets_changes_no_rating_and_another_seed_does() -> None:
    seen = _seen(2)
    assert rate(seen, TRUTH, CRITERIA, seed=4) == rate(seen[::-1], TRUTH, CRITERIA, seed=4)
    assert rate(seen, TRUTH, CRITERIA, seed=4) != rate(seen, TRUTH, CRITERIA, seed=5)


def test_a_diagnosis_of_an_unknown_passage_is_refused_by_name() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        rate([Seen("x", "r", "s", "nowhere", {})], TRUTH, CRITERIA)
