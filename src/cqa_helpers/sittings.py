"""A sitting: everyone of a profile judges the held-out passages, and some are asked once more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cqa_helpers import baselines, cohort, juries, prices
from cqa_helpers.calls import CallRecord
from cqa_helpers.cohort import Base, Member
from cqa_helpers.corpus import Corpus
from cqa_helpers.judges import Judge, JudgeError, Panel
from cqa_helpers.params import Live, Params
from cqa_helpers.prices import Cost
from cqa_helpers.records import Passage, Verdict

if TYPE_CHECKING:
    from cqa_helpers.judges.endpoint import Endpoint


@dataclass
class Sitting:
    """What a sitting gave.

    ``rows`` are everyone's verdicts. ``again`` holds, by change, the verdicts of who was asked
    once more with a change that should not matter. ``cost`` is of 1,000 verdicts, by judge, as
    far as it is known. ``failed`` counts verdicts of live judges that did not come, checks among
    them; ``absent`` names models that are planned and not trained yet; ``said`` tells what could
    not be asked. ``usd`` is what all calls of live judges have cost, over all runs.
    """

    rows: list[Verdict]
    again: dict[str, list[Verdict]] = field(default_factory=dict)
    cost: dict[str, Cost] = field(default_factory=dict)
    failed: int = 0
    absent: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    usd: float = 0.0


def hold(params: Params, material: Corpus, run_dir: Path, record: CallRecord) -> Sitting:
    """Return the verdicts of experts, recorded judges, baselines, models, endpoints and juries.

    What is on record is not asked again.

    Raises
    ------
    JudgeError
        An endpoint cannot be asked, or who is to be asked once more cannot be.
    """
    held_out = material.test()
    items = {p.id for p in held_out}
    whole = [*material.experts, *material.recorded]
    whole += baselines.verdicts(
        params.judging.baselines, material.passages, material.experts, seed=params.seed
    )
    sitting = Sitting([v for v in whole if v.item_id in items])
    _models(sitting, params, held_out, run_dir, record)
    endpoints = live_judges(params, record)
    for live in params.judging.live:
        _ask_live(sitting, live, endpoints[live.judge_id], params, held_out)
    for name, members in params.judging.juries.items():
        sitting.rows += juries.verdicts(name, members, sitting.rows)
    if params.judging.checks:
        for change, rows in _once_more(params, held_out, run_dir, record, endpoints, sitting):
            sitting.again.setdefault(change, []).extend(rows)
    sitting.usd = sum(e.tally.usd + e.tally.usd_recorded for e in endpoints.values())
    answers = [*sitting.rows, *(v for rows in sitting.again.values() for v in rows)]
    sitting.failed = sum(v.judge_id in endpoints and v.status == "failed" for v in answers)
    return sitting


def dialects(params: Params) -> list[str]:
    """Return the names of the prompt files that a profile's judges are asked with."""
    named = [params.models.dialect] if params.models else []
    return sorted({*named, *(live.dialect for live in params.judging.live)})


def _models(
    sitting: Sitting, params: Params, held_out: Sequence[Passage], run_dir: Path,
    record: CallRecord,
) -> None:  # fmt: skip
    """Let the local models judge: untuned bases, and every arm at its full size."""
    spent: dict[str, float] = {}
    members = _full(params)
    made: list[Verdict] = []
    for lineage in sorted({m.lineage for m in members}):
        assert params.models is not None
        base = Base(params.models, lineage)
        made += cohort.ask_base(base, params, held_out, record, lineage, spent=spent)
        for member in (m for m in members if m.lineage == lineage):
            if cohort.is_trained(member, run_dir):
                made += cohort.ask(member, base, params, held_out, run_dir, record, spent=spent)
            else:
                sitting.absent.append(member.name)
    sitting.rows += made
    price = params.models.usd_per_hour if params.models else None
    for judge, seconds in spent.items():
        if n := sum(v.judge_id == judge and v.status == "ok" for v in made):
            usd = None if price is None else price / 3600 * seconds * 1000 / n
            sitting.cost[judge] = Cost(usd, seconds * 1000 / n)


def live_judges(params: Params, record: CallRecord) -> dict[str, Endpoint]:
    """Return the judges behind an endpoint by name; nobody is asked yet."""
    if not params.judging.live:
        return {}
    # The SDK takes a second to import, which a run without live judges need not pay.
    from cqa_helpers.judges.endpoint import Endpoint

    listed = params.judging.prices
    assert listed is not None
    return {
        live.judge_id: Endpoint(live, record, listed, seed=params.seed)
        for live in params.judging.live
    }


def _ask_live(
    sitting: Sitting, live: Live, judge: Endpoint, params: Params, held_out: Sequence[Passage]
) -> None:
    """Let a judge behind an endpoint judge, in its own words."""
    put = cohort.live_panel(live, params)
    asked = put.questions(held_out)
    made: list[Verdict] = []
    try:
        for repeat in range(live.repeats):
            made += judge.ask(asked, put, repeat=repeat)
    finally:
        print(judge.tally.said())
    sitting.rows += made
    assert params.judging.prices is not None
    price = params.judging.prices.usd_per_million_tokens[live.model]
    ok = sum(v.status == "ok" for v in made)
    if cost := prices.of_judge(price, list(judge.responses.values()), ok):
        sitting.cost[live.judge_id] = cost


def _once_more(
    params: Params, held_out: Sequence[Passage], run_dir: Path, record: CallRecord,
    endpoints: Mapping[str, Endpoint],
    sitting: Sitting,
) -> Iterator[tuple[str, list[Verdict]]]:  # fmt: skip
    """Ask again with the two answers in the other order, and with the rubric shuffled."""
    checks = params.judging.checks
    assert checks is not None
    passages = [p for p in held_out if p.text][: checks.n_items]
    for name in checks.judges:
        judge, put = judge_of(name, params, run_dir, record, endpoints)
        plain = put.questions(passages)
        changes = {"answers swapped": Panel(put.taxonomy, put.dialect, put.form, swapped=True)}
        if not checks.swap_options:
            changes.clear()
        for k in range(1, checks.rubric_orders + 1):
            order = params.seed + k
            changes[f"rubric order {k}"] = Panel(put.taxonomy, put.dialect, put.form, order=order)
        for change, panel in changes.items():
            asked = panel.questions(passages)
            if [q.prompt for q in asked] == [q.prompt for q in plain]:
                note = f"{name}: its prompts are the same with {change}; not asked again."
                sitting.said.append(note)
                continue
            yield change, judge.ask(asked, panel)


def judge_of(
    name: str,
    params: Params,
    run_dir: Path,
    record: CallRecord,
    endpoints: Mapping[str, Endpoint],
) -> tuple[Judge, Panel]:
    """Return a judge that can be asked anew, and in which words.

    Raises
    ------
    JudgeError
        It is a recorded judge, a baseline or an unknown one, or its model is not trained.
    """
    for live in params.judging.live:
        if live.judge_id == name:
            return endpoints[name], cohort.live_panel(live, params)
    if params.models is not None and params.tuning is not None:
        if name == "base":
            base = Base(params.models)
            seed = params.tuning.seeds[0]
            return cohort.base_judge(base, params, record, seed=seed), cohort.panel(params)
        for member in _full(params):
            if cohort.judge_id(member) == name and cohort.is_trained(member, run_dir):
                base = Base(params.models, member.lineage)
                judge = cohort.judge(member, base, params, run_dir, record)
                return judge, cohort.panel(params, member.arm)
    raise JudgeError(
        f"{name!r} cannot be asked once more (judging.checks.judges, surprise.cloze.judge): name a "
        "live judge, base, or a model that is trained; recorded verdicts and baselines answer once."
    )


def _full(params: Params) -> list[Member]:
    """Return the models of the main comparison that have all their arm's annotations."""
    return [m for m in cohort.planned(params) if m.plain and cohort.at_full_size(m, params)]
