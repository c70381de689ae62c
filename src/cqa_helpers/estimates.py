"""How many minutes and dollars a profile will take, step by step, before it runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cqa_helpers import arms, bases, capacity, cohort, doctor, models, prices, speeds, workload
from cqa_helpers.arms import ArmError
from cqa_helpers.corpus import Corpus
from cqa_helpers.hardware import Machine
from cqa_helpers.params import Live, Params
from cqa_helpers.supervision import TuningError
from cqa_helpers.workload import Step

# English and Chinese alike have about four bytes a token (our choice, for prices alone).
BYTES_A_TOKEN = 4


class EstimateError(RuntimeError):
    """Nothing can be estimated: what is missing."""


class Dollars(NamedTuple):
    """Machine and live judges in USD; null where no price is known. Judges: the most it can be."""

    machine: float | None
    judges: float


class Estimate(NamedTuple):
    """Minutes and dollars of what is left of a profile, and what they rest on.

    ``seconds`` is the whole run with its jobs side by side on ``workers`` cores; ``kept`` counts
    adapters that are finished already.
    """

    jobs: list[Step]
    seconds: float
    workers: int
    money: Dollars
    memory: str
    basis: str
    kept: int

    @property
    def training(self) -> float:
        """Return the seconds of fine-tuning alone, one adapter after the other."""
        return sum(job.training for job in self.jobs)


def estimate(
    params: Params,
    run_dir: Path,
    *,
    gpu: str | None = None,
    usd_per_hour: float | None = None,
    fresh: bool = False,
    hub: bases.Hub | None = None,
) -> tuple[Estimate, doctor.Findings]:
    """Return what a profile will take: measured where its device is at hand, else worked out.

    Parameters
    ----------
    gpu
        A card of :data:`cqa_helpers.speeds.CARDS`, to work it out for.
    fresh
        Count what is finished in ``run_dir`` as if it were not.

    Raises
    ------
    EstimateError
        The data or the base's shape are not there, the device is not at hand and no card is
        named, or the training does not fit.
    """
    machine = None
    if gpu is not None:
        machine = _with_card(gpu, run_dir)
        if params.models is not None:
            spec = params.models.model_copy(update={"device": "cuda"})
            params = params.model_copy(update={"models": spec})
    found = doctor.examine(params, run_dir, hub=hub, machine=machine)
    if found.material is None:
        raise EstimateError(_why(found, ("data", "split")))
    tuned = params.tuning is not None and params.models is not None
    tokens: dict[str, float] = {}
    budgets: dict[str, int] = {}
    done, pace = workload.Finished(), None
    if tuned:
        if found.choice is None or found.known is None:
            raise EstimateError(_why(found, ("memory", "device", "base")))
        try:
            tokens, budgets = _tokens(params, found)
            pace = _speeds(params, found, tokens, gpu)
            if not fresh and found.known.folder is not None:
                done = workload.finished(params, found.material, run_dir)
        except (ArmError, TuningError, models.ModelError) as error:
            raise EstimateError(str(error)) from None
    start = pace.notebook if pace else speeds.notebook_start()[0]
    jobs = workload.steps(params, found.material, pace, tokens, start, done, budgets)
    workers = found.machine.cpus
    seconds = workload.schedule(jobs, workers)
    made = Estimate(
        jobs, seconds, workers, dollars(params, found.material, seconds, usd_per_hour),
        found.choice.why if found.choice else "no local model",
        pace.basis if pace else "no local model: the start of a notebook was measured",
        len(done.trained),
    )  # fmt: skip
    return made, found


def _with_card(gpu: str, run_dir: Path) -> Machine:
    card = speeds.CARDS.get(gpu)
    if card is None:
        raise EstimateError(f"No figures of card {gpu!r}. There are: {', '.join(speeds.CARDS)}.")
    here = capacity.machine(run_dir)
    return here._replace(gpu=gpu, gpu_total_gib=card.memory_gib, gpu_free_gib=card.memory_gib)


def _why(found: doctor.Findings, names: tuple[str, ...]) -> str:
    said = [
        f"{c.name.strip()}: {c.said} → {c.todo}"
        for c in found.checks if c.ok is not True and c.name.startswith(names)
    ]  # fmt: skip
    return "\n".join(said) or "Nothing is known of the base: run `cqa doctor` on this profile."


def _speeds(
    params: Params, found: doctor.Findings, tokens: Mapping[str, float], gpu: str | None
) -> speeds.Speeds:
    assert params.models is not None
    assert found.material is not None
    assert found.known is not None
    there = params.models.device != "cuda" or found.machine.gpu is not None
    if gpu is None and there and found.known.folder is not None:
        if doctor.failed([c for c in found.checks if c.name.startswith("rows")]):
            raise EstimateError(_why(found, ("rows",)))
        models.quiet()
        return speeds.measured(params, found.material)
    if gpu is None:
        raise EstimateError(
            "The device or the base is not at hand, so nothing can be measured. Name a card to "
            f"work it out for: --gpu {' | '.join(speeds.CARDS)}."
        )
    if found.known.shape is None or found.choice is None:
        raise EstimateError(_why(found, ("memory", "base")))
    forms: dict[str, float] = {}
    for cell, member in cohort.cells(params).items():
        forms.setdefault(arms.FORM_OF_ARM[member.arm], tokens[cell])
    panel = cohort.panel(params)
    asked = panel.questions(found.material.test())
    prompt = statistics.fmean(_about(q.prompt) for q in asked) if asked else 0.0
    answer = [_about(r.completion) for m in list(cohort.cells(params).values())[:1]
              for r in cohort.taught(m, params, found.material)]  # fmt: skip
    return speeds.worked_out(
        params, gpu, found.known.shape, found.choice, forms,
        min(params.judging.max_new_tokens, math.ceil(max(answer))), prompt,
    )  # fmt: skip


def _tokens(params: Params, found: doctor.Findings) -> tuple[dict[str, float], dict[str, int]]:
    """Return tokens a step and steps by execution of 02; without a tokenizer from rows' bytes."""
    assert found.material is not None
    assert params.tuning is not None
    tokenizer: Any = _ByBytes()
    if found.known is not None and found.known.folder is not None:
        tokenizer = doctor.tokenizer_of(found.known)
    tokens, budgets = {}, {}
    for cell, member in cohort.cells(params).items():
        rows = cohort.taught(member, params, found.material)
        tokens[cell] = speeds.step_tokens(rows, tokenizer, params.tuning.batch_size)
        budgets[cell] = workload.optimiser_steps(member, params, found.material, tokenizer)
    return tokens, budgets


class _ByBytes:
    """Stands where a tokenizer is not on disk: as many tokens as bytes let expect."""

    def __call__(self, text: str) -> dict[str, range]:
        return {"input_ids": range(math.ceil(_about(text)))}


def _about(text: str) -> float:
    return len(text.encode()) / BYTES_A_TOKEN


def dollars(
    params: Params, material: Corpus | None, seconds: float, usd_per_hour: float | None
) -> Dollars:
    """Return what the machine costs for so long, and what live judges can cost at most.

    Input is counted at four bytes a token (our choice), output as the longest that is allowed;
    no judge can pass its budget.
    """
    price = usd_per_hour
    if price is None and params.models is not None:
        price = params.models.usd_per_hour
    machine = None if price is None else price * seconds / 3600
    judged = 0.0 if material is None else sum(
        _live(live, material, params) for live in params.judging.live
    )  # fmt: skip
    return Dollars(machine, judged)


def _live(live: Live, material: Corpus, params: Params) -> float:
    assert params.judging.prices is not None
    asked = cohort.live_panel(live, params).questions(material.test())
    read = sum(math.ceil(len(q.prompt.encode()) / BYTES_A_TOKEN) for q in asked)
    said = {"input_tokens": read, "output_tokens": len(asked) * live.max_tokens}
    price = params.judging.prices.usd_per_million_tokens[live.model]
    return min(live.repeats * prices.usd(price, said | {"batch": live.batch}), live.budget_usd)


def lines(made: Estimate, found: doctor.Findings) -> Iterator[str]:
    """Yield the estimate as it is printed: machine, memory, table of steps, sums."""
    yield from (f"{c.name}: {c.said}" for c in found.checks if c.name in ("machine", "libraries"))
    yield f"memory: {made.memory}"
    yield f"speeds: {made.basis}"
    if made.kept:
        yield f"{made.kept} finished adapter(s) are taken out; --fresh counts them in."
    width = max(len(job.name) for job in made.jobs)
    yield f"\n{'step':<{width}}  minutes  training   asking"
    for job in made.jobs:
        yield (
            f"{job.name:<{width}}  {job.seconds / 60:7.2f}  {job.training / 60:8.2f} "
            f"{job.asking / 60:8.2f}"
        )
    yield (
        f"\nFine-tuning: {made.training / 60:.1f} minutes in all. The whole run: "
        f"{made.seconds / 60:.1f} minutes on {made.workers} core(s), jobs side by side."
    )
    machine = "not known (--usd-per-hour, or models.usd_per_hour)"
    if made.money.machine is not None:
        machine = f"{made.money.machine:.2f}"
    yield f"USD: machine {machine}; live judges at most {made.money.judges:.2f}."
