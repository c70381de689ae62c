from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import calls, comparisons, corpus, models, preferences, reading
from cqa_helpers.comparisons import ComparisonError
from cqa_helpers.judges import Panel
from cqa_helpers.params import Params
from cqa_helpers.prompts import DialectError, Question
from cqa_helpers.records import Verdict

LIVE: dict[str, Any] = {
    "live": [
        {"judge_id": name, "model": "m", "dialect": "question", "max_tokens": 100,
         "repeats": 2, "budget_usd": 1}
        for name in ("longer", "first")
    ],
    "prices": {"as_of": "2026-11-01", "source": "none",
               "usd_per_million_tokens": {"m": {"input": 0, "output": 0}}},
}  # fmt: skip


class StandIn:
    """Stands for an endpoint: prefers the longer text, or always the first."""

    def __init__(self, live: Any, record: Any, prices: Any, *, seed: int) -> None:
        self.judge_id = live.judge_id

    def ask(self, asked: Sequence[Question], panel: Panel, *, repeat: int = 0) -> list[Verdict]:
        said = []
        for q in asked:
            parts = q.prompt.split("==========")
            longer = len(parts[1]) > len(parts[3]) if len(parts) > 3 else len(parts[1]) % 2 == 0
            value = int(longer) if self.judge_id == "longer" else 1
            said += [
                Verdict(item_id=q.item_id, dimension=d, judge_id=self.judge_id, repeat=repeat,
                        value=value) for d in q.dimensions
            ]  # fmt: skip
        return said


@pytest.fixture
def params(small_params: Callable[..., Params]) -> Params:
    return small_params(judging=LIVE)


@pytest.fixture
def run(params: Params, tmp_path: Path) -> Path:
    corpus.prepare(params, tmp_path)
    return tmp_path


def test_a_live_judge_is_asked_in_both_orders_and_as_often_as_declared(
    params: Params, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparisons, "Endpoint", StandIn)
    found = comparisons.gather(params, run, "longer", source="pairwise")
    assert len(found.tasks) == 6
    assert len(found.verdicts) == 6 * 2 * 3 * 2
    assert found.dialect is not None
    assert found.dialect.startswith("question@")
    made = preferences.pairwise(found.tasks, found.verdicts)
    same = sum(len(t.passages[0].text or "") == len(t.passages[1].text or "") for t in found.tasks)
    assert len(made.rows) == 6 - same > 0
    assert made.inconsistent == same
    assert all(
        len(r["chosen"]) > len(r["rejected"]) and r["n_judged"] == 6 and r["margin"] == 1
        for r in made.rows
    )
    blind = comparisons.gather(params, run, "first", source="pairwise")
    made = preferences.pairwise(blind.tasks, blind.verdicts)
    assert [made.rows, made.inconsistent] == [[], 6]


def test_a_dialect_may_be_named_and_one_without_the_form_is_refused(
    params: Params, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparisons, "Endpoint", StandIn)
    found = comparisons.gather(params, run, "first", dialect="question-zh")
    assert (found.dialect or "").startswith("question-zh@")
    with pytest.raises(DialectError, match="has no form 'pairwise'"):
        comparisons.gather(params, run, "first", source="pairwise", dialect="rehearsal")


def test_what_notebook_03_asked_about_the_pairs_is_not_asked_again(
    small_params: Callable[..., Params], tiny_folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    params = small_params(models={"base": str(tiny_folder)})
    material = corpus.prepare(params, tmp_path)
    with calls.opened(tmp_path, "03-calibrated-surprise") as record:
        reading.judgments([], params, material.pairs, tmp_path, record)
    monkeypatch.setattr(models, "load", None)
    found = comparisons.gather(params, tmp_path, "base")
    assert len(found.verdicts) == 6 * 2 * 3 * 2
    assert {task.passages[0].licence for task in found.tasks} == {"CC-BY-4.0"}


def test_a_judge_that_cannot_be_asked_is_told_from_those_that_can(
    params: Params, run: Path
) -> None:
    with pytest.raises(ComparisonError, match=r"no judge 'gpt4' .* can ask longer, first, tuned"):
        comparisons.gather(params, run, "gpt4")
    assert not (run / "calls").exists()
