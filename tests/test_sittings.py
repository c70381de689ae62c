from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cqa_helpers import corpus, diagnostics, sittings
from cqa_helpers.calls import CallRecord, opened
from cqa_helpers.corpus import Corpus
from cqa_helpers.judges import JudgeError, Panel, endpoint, rows
from cqa_helpers.params import Params
from cqa_helpers.prompts import Question
from cqa_helpers.records import Verdict, to_table

Maker = Callable[..., Params]
LIVE = {"judge_id": "gpt4", "model": "m", "max_tokens": 100, "budget_usd": 1.0, "repeats": 2}
PRICES = {
    "as_of": "2026-01-01",
    "source": "a list",
    "usd_per_million_tokens": {"m": {"input": 10, "output": 20}},
}


class StandIn:
    """Stands for an endpoint: says yes to the first answer named, and now and then nothing."""

    def __init__(self, live: Any, record: CallRecord, prices: Any, *, seed: int = 0) -> None:
        self.judge_id = live.judge_id
        self.tally = SimpleNamespace(usd=0.25, usd_recorded=0.5, said=lambda: "told")
        self.responses: dict[str, dict[str, Any]] = {}
        self.asked = 0

    def ask(self, asked: Sequence[Question], panel: Panel, *, repeat: int = 0) -> list[Verdict]:
        made: list[Verdict] = []
        for k, question in enumerate(asked):
            self.asked += 1
            first = "yes" if question.prompt.index('"yes"') < question.prompt.index('"no"') else (
                "no")  # fmt: skip
            response = {
                "text": f'{{"verdict": "{first}"}}', "input_tokens": 100, "output_tokens": 10,
                "seconds": 2.0,
            }  # fmt: skip
            if k == 0 and not panel.swapped:
                response |= {"status": "failed", "text": "", "why": "APITimeoutError"}
            else:
                self.responses[f"{panel.swapped} {repeat} {question.prompt}"] = response
            made += rows(self.judge_id, question, response, panel, repeat)
        return made


@pytest.fixture
def record(tmp_path: Path) -> Iterator[CallRecord]:
    with opened(tmp_path, "04-judge") as record:
        yield record


def settings(maker: Maker, folder: Path, **judging: Any) -> Params:
    return maker(
        models={"base": str(folder)},
        judging={
            "live": [LIVE], "prices": PRICES,
            "juries": {"both": ["gpt4", "reference", "base"]}, **judging,
        },
    )  # fmt: skip


def hold(
    run: Params, record: CallRecord, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Corpus, sittings.Sitting]:
    monkeypatch.setattr(endpoint, "Endpoint", StandIn)
    material = corpus.prepare(run, folder)
    return material, sittings.hold(run, material, folder, record)


def test_everyone_judges_every_held_out_passage_and_what_is_missing_is_told(
    small_params: Maker, tiny_folder: Path, tmp_path: Path, record: CallRecord,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    run = settings(small_params, tiny_folder)
    material, found = hold(run, record, tmp_path, monkeypatch)
    cells = {(p.id, d) for p in material.test() for d in ("craft", "audience", "reality_logic")}
    by_judge: dict[str, set[tuple[str, str]]] = {}
    for v in found.rows:
        by_judge.setdefault(v.judge_id, set()).add((v.item_id, v.dimension))
    assert set(by_judge) == {
        "expert-1", "expert-2", "expert-3", "reference", "gpt4", "base", "both",
        *run.judging.baselines,
    }  # fmt: skip
    assert all(asked <= cells for asked in by_judge.values())
    assert by_judge["gpt4"] == by_judge["base"] == by_judge["both"] == cells
    assert {v.repeat for v in found.rows if v.judge_id == "gpt4"} == {0, 1}
    # One call failed in each repeat, and none of the planned models is trained.
    assert found.failed == 2
    assert found.absent == ["first-cot-8-1", "first-cot-8-2"]
    assert found.usd == 0.75
    assert found.cost["gpt4"].usd == pytest.approx(1000 * (100 * 10 + 10 * 20) / 1e6)
    assert found.cost["gpt4"].seconds == pytest.approx(2000)
    # A random model writes no verdict, and 1,000 of none cost nothing that could be told.
    assert "base" not in found.cost
    assert capsys.readouterr().out == "told\n"


def test_who_is_asked_again_with_the_answers_swapped_is_compared_with_itself(
    small_params: Maker, tiny_folder: Path, tmp_path: Path, record: CallRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    checks = {"judges": ["gpt4", "base"], "n_items": 5}
    run = settings(small_params, tiny_folder, checks=checks)
    material, found = hold(run, record, tmp_path, monkeypatch)
    assert set(found.again) == {"answers swapped"}
    assert len(found.again["answers swapped"]) == 5 * 3
    # The rehearsal's prompts do not name the answers: the base cannot be asked otherwise.
    assert found.said == ["base: its prompts are the same with answers swapped; not asked again."]
    clusters = {p.id: p.id for p in material.test()}
    again = diagnostics.asked_again(to_table(found.rows), found, run, clusters)
    compared = again["answers swapped"]["gpt4"]
    # A judge that takes the first answer always changes its mind.
    assert compared["same"].value == 0
    assert compared["shift"].value == -1
    assert (compared["n_cells"], compared["n_lost"]) == (14, 1)


def test_who_answers_once_cannot_be_asked_again(
    small_params: Maker, tiny_folder: Path, tmp_path: Path, record: CallRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in ("reference", "tuned", "nobody"):
        run = settings(small_params, tiny_folder, checks={"judges": [name], "n_items": 2})
        with pytest.raises(JudgeError, match=f"'{name}' cannot be asked once more"):
            hold(run, record, tmp_path, monkeypatch)


def test_the_tables_of_bias_and_consistency_hold_who_has_something_to_show(
    small_params: Maker, tiny_folder: Path, tmp_path: Path, record: CallRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    checks = {"judges": ["gpt4"], "n_items": 5}
    run = settings(small_params, tiny_folder, checks=checks)
    material, found = hold(run, record, tmp_path, monkeypatch)
    table, clusters = to_table(found.rows), {p.id: p.id for p in material.test()}
    named = ["experts", "reference", "gpt4", "base", "always-no", "longest"]
    moved = diagnostics.of_judges(table, named, material, run, clusters)
    # The tiny model is random and writes no verdict: there is nothing of it to measure.
    assert "base" not in moved
    shown = diagnostics.bias_rows(moved, named, run).set_index("Judge")
    assert "always no" not in shown.index
    assert "Own kind" not in shown
    assert shown.loc["longest", "Yes per SD of length"][0] > 0.2
    again = diagnostics.asked_again(table, found, run, clusters)
    twice = diagnostics.consistency_rows(moved, again, run).set_index("Asked again")
    assert twice.loc["as before, drawn anew", "Same verdict"][0] == 1
    assert twice.loc["answers swapped", "Same verdict"][0] == 0


def test_own_and_other_passages_go_by_their_writers_and_siblings_are_in_neither(
    small_params: Maker,
) -> None:
    kin = {"gpt4": {"own": ["GPT4"], "others": ["Claude"]}}
    run = small_params(judging={"kin": kin})
    made: list[Any] = [
        SimpleNamespace(id=w, meta={"writer": w}) for w in ("GPT4", "GPT3.5", "Claude")
    ]
    assert diagnostics.sides("gpt4", made, run) == ({"GPT4"}, {"Claude"})
    assert diagnostics.sides("claude", made, run) == (set(), set())


def test_prompts_are_named_for_all_who_are_asked(small_params: Maker) -> None:
    run = small_params(judging={"live": [{**LIVE, "dialect": "rubric"}], "prices": PRICES})
    assert sittings.dialects(run) == ["rehearsal", "rubric"]


@pytest.mark.parametrize(
    ("judging", "said"),
    [
        ({"live": [LIVE]}, "prices has no m"),
        ({"live": [LIVE, LIVE], "prices": PRICES}, "gpt4 stands twice"),
        ({"live": [{**LIVE, "judge_id": "reference"}], "prices": PRICES},
         "reference stands twice"),
        ({"juries": {"one": ["gpt4", "gpt4"]}}, "one needs at least two different members"),
    ],
)  # fmt: skip
def test_judges_that_would_be_mixed_up_or_have_no_price_are_refused(
    small_params: Maker, judging: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        small_params(judging=judging)
