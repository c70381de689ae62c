"""Jobs line up as the graph does: worked examples, bounds, and what is finished taken out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqa_helpers import cohort, corpus, probing, workload
from cqa_helpers.params import Params
from cqa_helpers.speeds import Pace, Speeds
from cqa_helpers.workload import Step, schedule

SPEEDS = Speeds(
    {"reason-first": Pace(1.0, 0.5, 100.0, 0.25), "verdict-only": Pace(1.0, 0.1, 40.0, 0.05)},
    load=2.0,
    base_ask=0.5,
    score=0.1,
    notebook=3.0,
    basis="made up",
)


def test_jobs_side_by_side_end_when_a_person_would_say_so() -> None:
    a, b, c = Step("a", 4), Step("b", 3), Step("c", 2)
    assert schedule([a, b, c], 1) == 9
    assert schedule([a, b, c], 2) == 5
    assert schedule([a, b, c], 3) == 4
    late = Step("d", 1, after=("b", "c"))
    assert schedule([a, b, c, late], 2) == 6


def test_one_card_takes_one_job_and_others_go_on_beside_it() -> None:
    jobs = [Step("x", 5, gpu=True), Step("y", 5, gpu=True), Step("z", 7)]
    assert schedule(jobs, 3) == 10
    assert schedule(jobs, 3, gpus=2) == 7


def test_jobs_that_wait_for_what_never_comes_are_an_error() -> None:
    with pytest.raises(ValueError, match="wait for what never comes: b"):
        schedule([Step("a", 1), Step("b", 1, after=("c",))], 2)
    assert schedule([], 2) == 0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=12), st.integers(1, 5))
def test_no_schedule_beats_the_bounds_or_wastes_a_worker(lengths: list[float], n: int) -> None:
    total = schedule([Step(str(i), s) for i, s in enumerate(lengths)], n)
    assert total >= max(*lengths, sum(lengths) / n) - 1e-6
    assert total <= sum(lengths) / n + max(lengths) + 1e-6


def test_each_job_of_the_graph_is_there_with_its_seconds(
    small_params: Callable[..., Params], tmp_path: Path
) -> None:
    params = small_params()
    material = corpus.prepare(params, tmp_path)
    jobs = workload.steps(params, material, SPEEDS, {"first-cot-8": 200.0}, 3.0)
    by = {job.name: job for job in jobs}
    assert next(iter(by)) == "01-annotate-audit"
    assert list(by)[-1] == "report"
    # Two seeds: a start and two steps each; twice as long where rows have twice the tokens.
    assert by["first-cot-4"].training == pytest.approx(2 * (1.0 + 2 * 0.5))
    assert by["first-cot-8"].training == pytest.approx(2 * (1.0 + 2 * 0.5 * 2))
    # Sixteen passages again, in another voice and reworded; each held-out reason, in two voices.
    again, reasons = 3 * 16, workload.READING["probe"] * 2 * 16 * 3
    assert by["first-cot-8"].asking == pytest.approx(2 * (16 + again + reasons) * 0.25)
    assert by["first-cot-4"].asking == pytest.approx(2 * 16 * 0.25)
    assert by["first-cot-4"].seconds == pytest.approx(3.0 + 2.0 + 4.0 + 8.0)
    # Two draws of the base but one reading of reasons; sixteen annotations' reasons, five times.
    recognised = workload.READING["recognition"] * 16 * 3 * 5
    assert by["02-fine-tune"].asking == pytest.approx(
        (2 * (16 + again) + reasons + recognised) * 0.5
    )
    # Both versions of six pairs: two draws of the base, two seeds of the arm at its end and at two
    # steps on the way; three models scored, and a quarter of the prefixes on the way.
    read = 12 * 2 * (0.5 + 3 * 0.25) + 6 * (3 + 2 * 2 / 4) * 0.1
    # Twelve passages by the base, twice, and the arm, written and judged; blanks of eight stories
    # by the base's best, the base and the arm, with three times the tokens of a question.
    written, filled = 2 * 12 * (2 * 2 + 2) * 0.5, 3 * workload.BLANKS * 8 * (1 + 2 + 2) * 0.5
    assert by["03-calibrated-surprise"].asking == pytest.approx(read + written + filled)
    assert by["04-judge"].after == ("01-annotate-audit", "02-fine-tune")


def test_what_is_finished_is_taken_out_and_what_was_made_otherwise_is_not(
    tiny_params: Params, tmp_path: Path
) -> None:
    material = corpus.prepare(tiny_params, tmp_path)
    assert workload.finished(tiny_params, material, tmp_path) == workload.Finished()
    assert tiny_params.models is not None
    base = cohort.Base(tiny_params.models)
    first, second, *_ = cohort.planned(tiny_params)
    with cohort.record(tiny_params, tmp_path, "02-fine-tune") as record:
        for member in (first, second):
            cohort.train(member, base, tiny_params, material, tmp_path)
        cohort.ask(first, base, tiny_params, material.test(), tmp_path, record)
    done = workload.finished(tiny_params, material, tmp_path)
    assert done.trained == {first.name, second.name}
    assert done.answered == {first.name}
    assert not done.untuned
    fresh, left = (
        sum(
            j.training + j.asking for j in workload.steps(tiny_params, material, SPEEDS, {}, 3.0, d)
        )
        for d in (None, done)
    )
    assert fresh - left == pytest.approx(2 * 2.0 + 16 * 0.25)
    assert tiny_params.tuning is not None
    other = tiny_params.tuning.model_copy(update={"learning_rate": 0.5})
    changed = tiny_params.model_copy(update={"tuning": other})
    assert not workload.finished(changed, material, tmp_path).trained


def test_probes_are_counted_as_they_are_asked_and_those_on_record_are_taken_out(
    tiny_params: Params, tmp_path: Path
) -> None:
    material = corpus.prepare(tiny_params, tmp_path)
    assert tiny_params.models is not None
    base = cohort.Base(tiny_params.models)
    member = next(m for m in cohort.planned(tiny_params) if probing.wanted(m, tiny_params))
    cell, asked = member.cell, len(probing.reasons_put(tiny_params, material))
    readings = workload.READING["probe"] * asked

    def asking(done: workload.Finished | None) -> tuple[float, float]:
        jobs = workload.steps(tiny_params, material, SPEEDS, {}, 3.0, done)
        by = {job.name: job.asking for job in jobs}
        return by[cell] / 0.25, by["02-fine-tune"] / 0.5

    fresh = asking(None)
    with cohort.record(tiny_params, tmp_path, "02-fine-tune") as record:
        cohort.train(member, base, tiny_params, material, tmp_path)
        cohort.ask(member, base, tiny_params, material.test(), tmp_path, record)
        cohort.ask_base(base, tiny_params, material.test(), record)
        answered = asking(workload.finished(tiny_params, material, tmp_path))
        before = record.count()
        probing.probe(member, base, tiny_params, material, tmp_path, record)
        mine = record.count() - before
        probing.probe(None, base, tiny_params, material, tmp_path, record)
        of_base = record.count() - before - mine
    assert fresh[0] - answered[0] == pytest.approx(16)
    done = workload.finished(tiny_params, material, tmp_path)
    assert done.probed == {member.name, "base"}
    assert not done.recognised
    probed = asking(done)
    assert answered[0] - probed[0] == pytest.approx(mine - asked + readings)
    assert answered[1] - probed[1] == pytest.approx(of_base - asked + readings)
    probing.before_tuning(base, material, tiny_params, tmp_path / probing.KEPT)
    done = workload.finished(tiny_params, material, tmp_path)
    assert done.recognised
    assert asking(done)[1] == 0


def test_a_budget_of_tokens_gives_the_steps_that_training_will_take(
    small_params: Callable[..., Params], tmp_path: Path
) -> None:
    arms = {"cot": [8], "verdict-only": [8]}
    params = small_params(tuning={"arms": arms, "equal_tokens": ["verdict-only"], "steps": 20})
    assert params.models is not None
    material = corpus.prepare(params, tmp_path)
    base = cohort.Base(params.models)
    for member in cohort.planned(params):
        said = workload.optimiser_steps(member, params, material, base.tokenizer())
        assert said == cohort.schedule(member, base, params, material).steps
    budgets = {"first-verdict-only-8-tokens": 147}
    by = {j.name: j for j in workload.steps(params, material, SPEEDS, {}, 3.0, None, budgets)}
    more = by["first-verdict-only-8-tokens"].training - by["first-verdict-only-8"].training
    assert more == pytest.approx(2 * 127 * 0.1)
