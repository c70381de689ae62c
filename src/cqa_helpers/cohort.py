"""The local models of a run: which are planned, where each lies, and asking them all.

A base is loaded only when something has still to be trained or asked, and then once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from cqa_helpers import arms, finetuning, models, supervision
from cqa_helpers.calls import CallRecord, opened
from cqa_helpers.corpus import Corpus
from cqa_helpers.judges import NotRecordedError, Panel, ask_local
from cqa_helpers.params import Models, Params, Tuning
from cqa_helpers.prompts import load_dialect
from cqa_helpers.records import Passage, Verdict
from cqa_helpers.taxonomy import load as load_taxonomy

# Seeds of a second and later draw lie far from those of the first.
DRAW = 1_000_003


class Member(NamedTuple):
    """One fine-tuned model: arm, size, seed, which base it stands on, and its budget.

    ``budget`` is ``steps`` (equal for all) or ``tokens`` (as many supervised tokens as ``cot``).
    ``sample`` names which annotations were drawn; by default the seed draws them.
    """

    arm: str
    n: int
    seed: int
    lineage: str = "first"
    budget: Literal["steps", "tokens"] = "steps"
    sample: int | None = None

    @property
    def cell(self) -> str:
        """Return the name of the execution of 02 that trains it, and its like over seeds."""
        more = "" if self.plain else f"-{self.comparison}"
        return f"{self.lineage}-{self.arm}-{self.n}{more}"

    @property
    def name(self) -> str:
        """Return the name of its adapter's folder."""
        drawn = "" if self.sample is None else f"{self.sample}-"
        return f"{self.cell}-{drawn}{self.seed}"

    @property
    def comparison(self) -> str:
        """Return what it is compared in: ``steps``, the main one; ``tokens``; or ``samples``."""
        return self.budget if self.sample is None else "samples"

    @property
    def plain(self) -> bool:
        """Whether it is of the main comparison: equal steps, annotations drawn by the seed."""
        return self.comparison == "steps"


class Base:
    """A base model that is loaded when first needed."""

    def __init__(self, spec: Models, lineage: str = "first") -> None:
        name = spec.base if lineage == "first" else spec.second_base
        if name is None:
            raise models.ModelError("models.second_base is null: there is no second lineage.")
        self._spec, self._name = spec, name
        self._local: models.LocalModel | None = None
        self.identity = models.identity(spec, name)

    def tokenizer(self) -> Any:
        """Return the base's tokenizer; the weights stay where they are."""
        if self._local is not None:
            return self._local.tokenizer
        return models.load_tokenizer(self._spec, self._name)

    def local(self) -> models.LocalModel:
        """Return the model, loaded on the first call."""
        if self._local is None:
            self._local = models.load(self._spec, self._name)
        return self._local


def planned(params: Params) -> list[Member]:
    """Return every model the params ask for.

    The second lineage repeats ``cot`` at full size; arms at equal tokens repeat their full size;
    the nested design has several samples of annotations with several seeds each.
    """
    if params.tuning is None or params.models is None:
        return []
    tuning = params.tuning
    members = [
        Member(arm, n, seed)
        for arm, sizes in tuning.arms.items()
        for n in sizes
        for seed in tuning.seeds
    ]
    for arm in tuning.equal_tokens:
        n = max(tuning.arms[arm])
        members += [Member(arm, n, seed, budget="tokens") for seed in tuning.seeds]
    if nested := tuning.nested:
        members += [
            Member(nested.arm, nested.n, seed, sample=sample)
            for sample in range(1, nested.samples + 1)
            for seed in range(1, nested.seeds + 1)
        ]
    if params.models.second_base and "cot" in tuning.arms:
        n = max(tuning.arms["cot"])
        members += [Member("cot", n, seed, "second") for seed in tuning.seeds]
    return members


def at_full_size(member: Member, params: Params) -> bool:
    """Whether a member has all the annotations that its arm is given."""
    assert params.tuning is not None
    return any(
        member.arm == arm and member.n == max(sizes) for arm, sizes in params.tuning.arms.items()
    )


def cells(params: Params) -> dict[str, Member]:
    """Return one member for each execution of 02, by the execution's name."""
    found: dict[str, Member] = {}
    for member in planned(params):
        found.setdefault(member.cell, member)
    return found


def record(params: Params, run_dir: Path, execution: str) -> CallRecord:
    """Return the record of calls of what stands on every arm and size, open."""
    before = [f"02-fine-tune/{cell}" for cell in cells(params)]
    return opened(run_dir, execution, [*before, "02-fine-tune"])


def parameters(member: Member) -> dict[str, str | int]:
    """Return what notebook 02 is told, so that it trains a member's execution."""
    return {
        "arm": member.arm, "n_train": member.n, "lineage": member.lineage,
        "comparison": member.comparison,
    }  # fmt: skip


def judge_id(member: Member) -> str:
    """Return the name under which a model judges; its seeds are repeats of one judge."""
    name = "tuned" if member.arm == "cot" else f"tuned-{member.arm}"
    if member.sample is not None:
        return f"{name}-{member.n}-sample-{member.sample}"
    name += "" if member.budget == "steps" else f"-{member.budget}"
    return name if member.lineage == "first" else f"{name}-second-base"


def panel(params: Params, arm: str = "cot") -> Panel:
    """Return what judges are asked, in the form that an arm was taught."""
    assert params.models is not None
    return Panel(
        load_taxonomy(params.taxonomy), load_dialect(params.models.dialect), arms.FORM_OF_ARM[arm]
    )


def taught(member: Member, params: Params, corpus: Corpus) -> list[arms.TrainingRow]:
    """Return the rows that a member is trained on: annotations of training passages alone."""
    asked = panel(params, member.arm)
    return arms.rows(
        member.arm,
        member.n,
        member.seed,
        corpus.taught(),
        corpus.by_id(),
        asked.taxonomy,
        asked.dialect,
        sample=member.sample,
    )


def gaps(member: Member, params: Params, corpus: Corpus) -> list[tuple[str, str]]:
    """Return each dimension and verdict word that a member is never taught."""
    asked = panel(params, member.arm)
    lessons = arms.lessons(
        member.arm, member.n, member.seed, corpus.taught(), asked.dialect, sample=member.sample
    )
    return arms.never_taught(lessons, asked.taxonomy, asked.dialect)


def schedule(member: Member, base: Base, params: Params, corpus: Corpus) -> Tuning:
    """Return a member's tuning: the declared steps, or those that equal ``cot`` in tokens."""
    assert params.tuning is not None
    if member.budget == "steps":
        return params.tuning
    tokenizer, most = base.tokenizer(), params.tuning.max_length
    fit = params.tuning.too_long == "cut"
    taught_to = (taught(m, params, corpus) for m in (member, member._replace(arm="cot")))
    mine, whole = (
        finetuning.audit(supervision.cut(r, tokenizer, most) if fit else r, tokenizer, most)
        for r in taught_to
    )
    each = mine.supervised_tokens / mine.rows
    steps = params.tuning.steps * (whole.supervised_tokens / whole.rows) / each
    return params.tuning.model_copy(update={"steps": max(1, round(steps))})


def train(
    member: Member, base: Base, params: Params, corpus: Corpus, run_dir: Path
) -> finetuning.Adapter:
    """Return a member's finished adapter, trained now if it is not there."""
    rows = taught(member, params, corpus)
    tuning = schedule(member, base, params, corpus)
    folder = Path(run_dir) / "adapters" / member.name
    wanted = finetuning.recipe(tuning, base.identity, rows, member.seed)
    if done := finetuning.finished(folder, wanted):
        return done
    return finetuning.tune(base.local(), rows, tuning, member.seed, folder)


def ask(
    member: Member,
    base: Base,
    params: Params,
    passages: Sequence[Passage],
    run_dir: Path,
    record: CallRecord,
    *,
    put: Panel | None = None,
    draw: int = 0,
) -> list[Verdict]:
    """Ask a member about passages; its adapter is put on only if the record lacks answers.

    ``put`` asks in another form than the one that was taught; ``draw`` above 0 samples again.
    """
    folder = Path(run_dir) / "adapters" / member.name
    if not (folder / "training.json").is_file():
        raise finetuning.TuningError(
            f"{folder} holds no finished adapter: run notebook 02-fine-tune for arm "
            f"{member.arm!r}, size {member.n} first."
        )
    identity = f"{base.identity}+{models.weights_identity(folder)}"
    assert params.tuning is not None
    meta = {"arm": member.arm, "n_train": member.n, "seed": member.seed}
    # Seeds are repeats of one judge; those of the nested design are counted from one.
    seeds = params.tuning.seeds
    repeat = seeds.index(member.seed) if member.sample is None else member.seed - 1

    def asked(local: models.LocalModel | None) -> list[Verdict]:
        return ask_local(
            judge_id(member), local, identity, passages, put or panel(params, member.arm),
            params.judging, record, seed=member.seed + draw * DRAW, repeat=repeat, meta=meta,
        )  # fmt: skip

    try:
        return asked(None)
    except NotRecordedError:
        tuned = finetuning.with_adapter(base.local(), folder)
        try:
            return asked(tuned)
        finally:
            finetuning.without(tuned, base.local())


def ask_base(
    base: Base,
    params: Params,
    passages: Sequence[Passage],
    record: CallRecord,
    lineage: str = "first",
    *,
    put: Panel | None = None,
    draw: int = 0,
) -> list[Verdict]:
    """Ask the untuned base, in the reason-first form, with as many draws as there are seeds.

    ``put`` asks in another form; ``draw`` above 0 samples again.
    """
    assert params.tuning is not None
    name = "base" if lineage == "first" else "base-second-base"
    verdicts: list[Verdict] = []
    for repeat, seed in enumerate(params.tuning.seeds):

        def asked(
            local: models.LocalModel | None, repeat: int = repeat, seed: int = seed
        ) -> list[Verdict]:
            return ask_local(
                name, local, base.identity, passages, put or panel(params), params.judging, record,
                seed=seed + draw * DRAW, repeat=repeat, meta={"seed": seed},
            )  # fmt: skip

        try:
            verdicts += asked(None)
        except NotRecordedError:
            verdicts += asked(base.local())
    return verdicts
