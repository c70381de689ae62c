"""The local models of a run: which are planned, where each lies, and asking them all.

A base is loaded only when something has still to be trained or asked, and then once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cqa_helpers import arms, finetuning, models
from cqa_helpers.calls import CallRecord
from cqa_helpers.corpus import Corpus
from cqa_helpers.judges import NotRecordedError, Panel, ask_local
from cqa_helpers.params import Models, Params
from cqa_helpers.prompts import load_dialect
from cqa_helpers.records import Passage, Verdict
from cqa_helpers.taxonomy import load as load_taxonomy

LINEAGES = ("first", "second")


class Member(NamedTuple):
    """One fine-tuned model: arm, size, seed, and which base it stands on."""

    arm: str
    n: int
    seed: int
    lineage: str = "first"

    @property
    def name(self) -> str:
        """Return the name of its adapter's folder."""
        return f"{self.lineage}-{self.arm}-{self.n}-{self.seed}"


class Base:
    """A base model that is loaded when first needed."""

    def __init__(self, spec: Models, lineage: str = "first") -> None:
        name = spec.base if lineage == "first" else spec.second_base
        if name is None:
            raise models.ModelError("models.second_base is null: there is no second lineage.")
        self._spec, self._name = spec, name
        self._local: models.LocalModel | None = None
        self.identity = models.identity(spec, name)

    def local(self) -> models.LocalModel:
        """Return the model, loaded on the first call."""
        if self._local is None:
            self._local = models.load(self._spec, self._name)
        return self._local


def planned(params: Params) -> list[Member]:
    """Return every model the params ask for; the second lineage repeats ``cot`` at full size."""
    if params.tuning is None or params.models is None:
        return []
    tuning = params.tuning
    members = [
        Member(arm, n, seed)
        for arm, sizes in tuning.arms.items()
        for n in sizes
        for seed in tuning.seeds
    ]
    if params.models.second_base and "cot" in tuning.arms:
        n = max(tuning.arms["cot"])
        members += [Member("cot", n, seed, "second") for seed in tuning.seeds]
    return members


def judge_id(member: Member) -> str:
    """Return the name under which a model judges; its seeds are repeats of one judge."""
    name = "tuned" if member.arm == "cot" else f"tuned-{member.arm}"
    return name if member.lineage == "first" else f"{name}-second-base"


def panel(params: Params, arm: str = "cot") -> Panel:
    """Return what judges are asked, in the form that an arm was taught."""
    assert params.models is not None
    return Panel(
        load_taxonomy(params.taxonomy), load_dialect(params.models.dialect), arms.FORM_OF_ARM[arm]
    )


def train(
    member: Member, base: Base, params: Params, corpus: Corpus, run_dir: Path
) -> finetuning.Adapter:
    """Return a member's finished adapter, trained now if it is not there."""
    assert params.tuning is not None
    asked = panel(params, member.arm)
    rows = arms.rows(
        member.arm,
        member.n,
        member.seed,
        corpus.annotations,
        corpus.by_id(),
        asked.taxonomy,
        asked.dialect,
    )
    folder = Path(run_dir) / "adapters" / member.name
    wanted = finetuning.recipe(params.tuning, base.identity, rows, member.seed)
    if done := finetuning.finished(folder, wanted):
        return done
    return finetuning.tune(base.local(), rows, params.tuning, member.seed, folder)


def ask(
    member: Member,
    base: Base,
    params: Params,
    passages: Sequence[Passage],
    run_dir: Path,
    record: CallRecord,
) -> list[Verdict]:
    """Ask a member about passages; its adapter is put on only if the record lacks answers."""
    folder = Path(run_dir) / "adapters" / member.name
    if not (folder / "training.json").is_file():
        raise finetuning.TuningError(
            f"{folder} holds no finished adapter: run notebook 02-fine-tune for arm "
            f"{member.arm!r}, size {member.n} first."
        )
    identity = f"{base.identity}+{models.weights_identity(folder)}"
    assert params.tuning is not None
    meta = {"arm": member.arm, "n_train": member.n, "seed": member.seed}
    repeat = params.tuning.seeds.index(member.seed)

    def asked(local: models.LocalModel | None) -> list[Verdict]:
        return ask_local(
            judge_id(member), local, identity, passages, panel(params, member.arm),
            params.judging, record, seed=member.seed, repeat=repeat, meta=meta,
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
) -> list[Verdict]:
    """Ask the untuned base, in the reason-first form, with as many draws as there are seeds."""
    assert params.tuning is not None
    name = "base" if lineage == "first" else "base-second-base"
    verdicts: list[Verdict] = []
    for repeat, seed in enumerate(params.tuning.seeds):

        def asked(
            local: models.LocalModel | None, repeat: int = repeat, seed: int = seed
        ) -> list[Verdict]:
            return ask_local(
                name, local, base.identity, passages, panel(params), params.judging, record,
                seed=seed, repeat=repeat, meta={"seed": seed},
            )  # fmt: skip

        try:
            verdicts += asked(None)
        except NotRecordedError:
            verdicts += asked(base.local())
    return verdicts
