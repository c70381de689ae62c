"""The fine-tuned models that a profile plans: one for each arm, size, seed and base."""

from __future__ import annotations

from typing import Literal, NamedTuple

from cqa_helpers.params import Params


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
