"""How models read pairs: bits of the text and of the judgment, for good and degraded versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cqa_helpers import cohort, finetuning, surprise
from cqa_helpers.calls import CallRecord
from cqa_helpers.cohort import Base, Member
from cqa_helpers.corpus import Corpus
from cqa_helpers.models import LocalModel
from cqa_helpers.params import Params
from cqa_helpers.prompts import prefix
from cqa_helpers.records import Pair, Passage, Verdict


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


def read_all(
    members: Sequence[Member],
    params: Params,
    material: Corpus,
    run_dir: Path,
    record: CallRecord,
) -> pd.DataFrame:
    """Return one row a model and pair: H(x), H(x|y) and judgment bits of both versions.

    Models are ``base`` (one draw of reviews a seed, so that it is compared seed by seed) and each
    member. Columns end in ``_good`` and ``_degraded``; judgment bits are nan where a review left
    a verdict out.
    """
    assert params.tuning is not None
    assert params.models is not None
    base = Base(params.models)
    frames = []
    pairs = material.pairs
    sides = [
        Passage(
            id=f"{pair.id}#{side}", work_id=pair.id, text=getattr(pair, side), origin=pair.origin,
            licence="as its pair", source="pairs", language=pair.meta.get("language", "en"),
        )
        for side in ("good", "degraded") for pair in pairs
    ]  # fmt: skip
    text = _text_direction(base.local(), params, pairs)
    untuned = cohort.ask_base(base, params, sides, record)
    for repeat, seed in enumerate(params.tuning.seeds):
        bits = _judgment_bits([v for v in untuned if v.repeat == repeat], pairs, params)
        frames.append(_frame("base", 0, seed, pairs, text, bits))
    for member in members:
        folder = Path(run_dir) / "adapters" / member.name
        tuned = finetuning.with_adapter(base.local(), folder)
        try:
            text = _text_direction(tuned, params, pairs)
        finally:
            finetuning.without(tuned, base.local())
        answers = cohort.ask(member, base, params, sides, run_dir, record)
        bits = _judgment_bits(answers, pairs, params)
        frames.append(_frame(member.arm, member.n, member.seed, pairs, text, bits))
    return pd.concat(frames, ignore_index=True)


def _text_direction(
    local: LocalModel, params: Params, pairs: Sequence[Pair]
) -> dict[str, surprise.Surprise]:
    assert params.surprise is not None
    dialect = cohort.panel(params).dialect
    constrained = [prefix(dialect, pair.constraints) for pair in pairs]
    return {
        side: surprise.score(
            local, prefix(dialect, None), constrained, [getattr(p, side) for p in pairs],
            params.surprise.batch_size,
        )
        for side in ("good", "degraded")
    }  # fmt: skip


def _judgment_bits(
    answers: Sequence[Verdict], pairs: Sequence[Pair], params: Params
) -> dict[str, np.ndarray]:
    assert params.surprise is not None
    dimensions = list(dict.fromkeys(v.dimension for v in answers))
    known = {(v.item_id, v.dimension): v.probability for v in answers}
    bits = {}
    for side in ("good", "degraded"):
        table = np.array(
            [[known.get((f"{p.id}#{side}", d)) for d in dimensions] for p in pairs], dtype=float
        )
        bits[side] = surprise.log_odds_all_good(table, params.surprise.clip)
    return bits


def _frame(
    arm: str,
    n: int,
    seed: int,
    pairs: Sequence[Pair],
    text: Mapping[str, surprise.Surprise],
    bits: Mapping[str, np.ndarray],
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "arm": arm,
            "n_train": n,
            "seed": seed,
            "pair": [p.id for p in pairs],
            "group": [p.group for p in pairs],
            "dimension": [p.dimension for p in pairs],
            **{
                f"{name}_{side}": values
                for side in ("good", "degraded")
                for name, values in (
                    ("h_x", text[side].unconstrained),
                    ("h_x_given_y", text[side].constrained),
                    ("judgment", bits[side]),
                )
            },
        }
    )
