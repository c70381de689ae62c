"""How models read pairs: bits of the text under each condition, and bits of the judgment.

One row a model, pair and side; a model is the base or an arm's seed at a training step. What is
made of the rows is in :mod:`cqa_helpers.pairwise`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cqa_helpers import cohort, conditions, scoring, surprise
from cqa_helpers.calls import CallRecord
from cqa_helpers.cohort import Base, Member
from cqa_helpers.heat import Strip
from cqa_helpers.models import LocalModel
from cqa_helpers.params import Params
from cqa_helpers.prompts import load_dialect
from cqa_helpers.records import Pair, Passage, Verdict
from cqa_helpers.scoring import Asked

SIDES = ("good", "degraded")
BASE = "base"
# Arms whose adapters on the way are read: the tuned model, and the control that only talks.
FOLLOWED = ("cot", "style-only")


class Reader(NamedTuple):
    """A model that reads: the base at step 0, or an arm's seed after a step."""

    arm: str
    n_train: int
    seed: int
    checkpoint: int
    last: bool

    def names(self) -> dict[str, Any]:
        """Return the columns that name it."""
        return self._asdict()


def wanted(params: Params) -> list[Member]:
    """Return the models whose reading is measured: the declared arms at full size, every seed."""
    assert params.surprise is not None
    return [
        m
        for m in cohort.planned(params)
        if m.plain
        and m.lineage == "first"
        and m.arm in params.surprise.arms
        and cohort.at_full_size(m, params)
    ]


def readers(
    members: Sequence[Member], params: Params, run_dir: Path
) -> Iterator[tuple[Reader, Member, int | None]]:
    """Yield each tuned model that reads, its member, and the step on the way, if it is one."""
    assert params.surprise is not None
    assert params.tuning is not None
    for member in members:
        steps: list[int | None] = [None]
        if params.surprise.checkpoints and member.arm in FOLLOWED:
            steps = [*cohort.steps(member, run_dir), None]
        for step in steps:
            at = params.tuning.steps if step is None else step
            yield Reader(member.arm, member.n, member.seed, at, step is None), member, step


def texts(
    members: Sequence[Member], params: Params, pairs: Sequence[Pair], run_dir: Path
) -> pd.DataFrame:
    """Return the text direction: bits of each side of each pair under each condition, by model.

    On the way neutral and joint prefixes alone are read. Rows of the base stand once a seed, so
    that every seed has its own *before*. The base is loaded once for all adapters.

    Raises
    ------
    ConditionError, SurpriseError
        A pair that has no constraint or no contrast, or cannot be scored: which, and why.
    """
    assert params.tuning is not None
    assert params.models is not None
    base = Base(params.models)
    before = conditions.prefixes(pairs, dialects(params), base.tokenizer(), params.seed)
    whole = _bits(base.local(), params, pairs, before, conditions.CONDITIONS)
    frames = [
        whole.assign(**Reader(BASE, 0, seed, 0, True).names()) for seed in params.tuning.seeds
    ]
    for reader, member, step in readers(members, params, run_dir):
        named = conditions.CONDITIONS if reader.last else (conditions.NEUTRAL, conditions.JOINT)
        with cohort.worn(member, base, run_dir, step) as tuned:
            frames.append(_bits(tuned, params, pairs, before, named).assign(**reader.names()))
    return pd.concat(frames, ignore_index=True)


def judgments(
    members: Sequence[Member],
    params: Params,
    pairs: Sequence[Pair],
    run_dir: Path,
    record: CallRecord,
) -> pd.DataFrame:
    """Return the judgment direction: Σ log2 P(good) of each side of each pair, by model.

    Nan where a review left a verdict out. The base is asked once a seed.
    """
    assert params.tuning is not None
    assert params.models is not None
    base = Base(params.models)
    sides = [
        Passage(
            id=f"{pair.id}#{side}", work_id=pair.id, text=getattr(pair, side), origin=pair.origin,
            licence="as its pair", source="pairs", language=conditions.language_of(pair),
        )
        for side in SIDES for pair in pairs
    ]  # fmt: skip
    untuned = cohort.ask_base(base, params, sides, record)
    frames = [
        _judged([v for v in untuned if v.repeat == k], params, pairs).assign(
            **Reader(BASE, 0, seed, 0, True).names()
        )
        for k, seed in enumerate(params.tuning.seeds)
    ]
    for reader, member, step in readers(members, params, run_dir):
        answers = cohort.ask(member, base, params, sides, run_dir, record, step=step)
        frames.append(_judged(answers, params, pairs).assign(**reader.names()))
    return pd.concat(frames, ignore_index=True)


def strips(
    member: Member, params: Params, pairs: Sequence[Pair], pair: Pair, run_dir: Path
) -> dict[str, list[Strip]]:
    """Return both versions of a pair token by token, as ``base`` and ``tuned`` read them.

    ``pairs`` are those that the pair was read with.
    """
    assert params.models is not None
    base = Base(params.models)
    before = conditions.prefixes(pairs, dialects(params), base.tokenizer(), params.seed)[pair.id]
    asked = [
        Asked(before[condition], getattr(pair, side))
        for side in SIDES
        for condition in (conditions.NEUTRAL, conditions.JOINT)
    ]
    found = {"base": scoring.score(base.local(), asked, **options(params))}
    with cohort.worn(member, base, run_dir) as tuned:
        found["tuned"] = scoring.score(tuned, asked, **options(params))
    return {
        who: [
            Strip(side, getattr(pair, side), bits[2 * k].spans, bits[2 * k].bits,
                  bits[2 * k + 1].bits)
            for k, side in enumerate(SIDES)
        ]
        for who, bits in found.items()
    }  # fmt: skip


def dialects(params: Params) -> dict[str, Any]:
    """Return the dialect whose prefixes are used, by language of a pair."""
    assert params.surprise is not None
    assert params.models is not None
    named = params.surprise.dialects
    return {
        language: load_dialect(named.get(language, params.models.dialect))
        for language in ("en", "zh")
    }


def options(params: Params) -> dict[str, Any]:
    """Return how texts are scored."""
    assert params.surprise is not None
    plan = params.surprise
    return {
        "batch_tokens": plan.batch_tokens, "too_long": plan.too_long, "stride": plan.stride,
    }  # fmt: skip


def _bits(
    local: LocalModel,
    params: Params,
    pairs: Sequence[Pair],
    before: dict[str, dict[str, str]],
    wanted: Sequence[str],
) -> pd.DataFrame:
    rows = [
        (pair, side, condition)
        for pair in pairs for side in SIDES for condition in wanted if condition in before[pair.id]
    ]  # fmt: skip
    asked = [Asked(before[p.id][condition], getattr(p, side)) for p, side, condition in rows]
    found = scoring.score(local, asked, **options(params))
    return pd.DataFrame(
        [
            {
                **_named(pair, side), "condition": condition, "bits": bits.total,
                "n_tokens": len(bits.bits), "n_chars": bits.n_chars, "straddles": bits.straddles,
                "windows": bits.windows,
            }
            for (pair, side, condition), bits in zip(rows, found, strict=True)
        ]
    )  # fmt: skip


def _judged(answers: Sequence[Verdict], params: Params, pairs: Sequence[Pair]) -> pd.DataFrame:
    assert params.surprise is not None
    dimensions = list(dict.fromkeys(v.dimension for v in answers))
    known = {(v.item_id, v.dimension): v.probability for v in answers}
    frames = []
    for side in SIDES:
        table = np.array(
            [[known.get((f"{p.id}#{side}", d)) for d in dimensions] for p in pairs], dtype=float
        )
        bits = surprise.log_odds_all_good(table, params.surprise.clip)
        frames.append(pd.DataFrame([_named(p, side) for p in pairs]).assign(bits=bits))
    return pd.concat(frames, ignore_index=True)


def _named(pair: Pair, side: str) -> dict[str, str]:
    return {
        "pair": pair.id, "group": pair.group, "language": conditions.language_of(pair),
        "dimension": pair.dimension, "side": side,
    }  # fmt: skip
