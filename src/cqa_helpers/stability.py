"""Is tuning stable: over seeds, over the annotations drawn, over sizes, at equal tokens?

What notebook 02 shows of it, gathered from measured models; the statistics are in ``variance``,
``curves``, ``spread`` and ``seeds``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from cqa_helpers import cohort, curves, learning, seeds, spread, variance
from cqa_helpers.adapters import Adapter
from cqa_helpers.arms import TITLES
from cqa_helpers.cohort import Member
from cqa_helpers.corpus import Corpus
from cqa_helpers.learning import Measured
from cqa_helpers.params import Params
from cqa_helpers.seeds import Beating
from cqa_helpers.variance import Components

# Half-widths of a 95 % interval of AUC that a study may want (our choice).
WANTED = (0.05, 0.02)


class Beaten(NamedTuple):
    """The seeds of the full ``cot`` arm against the reference, and in which measure."""

    found: Beating
    measure: str


def by_size(measured: Mapping[Member, Measured]) -> pd.DataFrame:
    """Return the runs of the learning curve: ``n``, ``seed``, ``value``."""
    return pd.DataFrame(
        [
            {"n": m.n, "seed": m.seed, "value": found.mean_auc}
            for m, found in measured.items()
            if m.plain and m.arm == "cot" and m.lineage == "first"
        ],
        columns=["n", "seed", "value"],
    ).astype({"value": float})


def curve(measured: Mapping[Member, Measured], params: Params) -> curves.Curve | None:
    """Return the learning curve with its band, or None where no run has a value."""
    rows = by_size(measured)
    if rows["value"].notna().sum() == 0:
        return None
    return curves.learning_curve(
        rows, pool=params.corpus.n_train, rng=params.seed, level=params.study.level,
        n_boot=min(params.study.n_boot, 2000),
    )  # fmt: skip


def wanted(measured: Mapping[Member, Measured], params: Params) -> pd.DataFrame:
    """Return how many annotations, or seeds, an interval of a wanted width would need."""
    return spread.as_rows(
        by_size(measured), WANTED, pool=params.corpus.n_train, level=params.study.level
    )


def components(measured: Mapping[Member, Measured], params: Params) -> Components | None:
    """Return what makes runs of the nested design differ, or None where it was not planned."""
    runs = [
        {"sample": m.sample, "seed": m.seed, "value": found.mean_auc}
        for m, found in measured.items()
        if m.sample is not None
    ]
    if not runs or any(run["value"] is None for run in runs):
        return None
    # A seed starts every sample with the same adapter: it is crossed with samples.
    return variance.components(
        pd.DataFrame(runs), seeds="shared", level=params.study.level, rng=params.seed
    )


def beating(measured: Mapping[Member, Measured], material: Corpus, params: Params) -> Beaten | None:
    """Return how many seeds exceed the recorded reference, which judged the same passages.

    By AUC where the reference gave probabilities, else by accuracy against the majority.
    """
    reference = learning.of_recorded(params.study.reference, material)
    assert params.tuning is not None
    if reference is None or "cot" not in params.tuning.arms:
        return None
    mine = [
        found for m, found in measured.items()
        if m.plain and m.arm == "cot" and m.lineage == "first" and cohort.at_full_size(m, params)
    ]  # fmt: skip
    measure = "AUC" if reference.mean_auc is not None else "accuracy"
    values = [f.mean_auc if measure == "AUC" else f.accuracy for f in mine]
    line = reference.mean_auc if measure == "AUC" else reference.accuracy
    if line is None:
        return None
    return Beaten(seeds.share_beating(values, line, params.study.level), measure)


def at_equal_tokens(
    measured: Mapping[Member, Measured], trained: Mapping[Member, Adapter], params: Params
) -> pd.DataFrame:
    """Return arms trained for equal steps and for equal supervised tokens, ``cot`` above them."""
    assert params.tuning is not None
    groups: dict[tuple[str, str], list[Member]] = {}
    for m in measured:
        whole = m.lineage == "first" and m.sample is None and cohort.at_full_size(m, params)
        if whole and m.arm in ("cot", *params.tuning.equal_tokens):
            groups.setdefault((m.arm, m.budget), []).append(m)
    made = []
    for (arm, budget), members in sorted(groups.items(), key=lambda group: group[0][0] != "cot"):
        records = [trained[m].record for m in members]
        batch = params.tuning.batch_size
        tokens = [r["steps"] * batch * r["supervised_tokens"] / r["rows"] for r in records]
        values = [measured[m].mean_auc for m in members]
        known = [float("nan") if v is None else v for v in values]
        found = seeds.t_interval(known, params.study.level)
        made.append(
            {
                "Arm": TITLES[arm],
                "Equal in": budget,
                "Steps": round(sum(r["steps"] for r in records) / len(records)),
                "Supervised tokens seen": round(sum(tokens) / len(tokens)),
                "AUC": tuple(found),
                "Seeds": len(members) - values.count(None),
                "Without a value": values.count(None),
            }
        )
    return pd.DataFrame(made)


def results(
    line: curves.Curve | None, parts: Components | None, beaten: Beaten | None
) -> dict[str, Any]:
    """Return what ``results.json`` keeps of the stability of tuning."""
    section: dict[str, Any] = {}
    if line is not None:
        section["curve"] = {
            "sizes": line.sizes.to_dict("records"),
            "fit": None if line.fit is None else line.fit._asdict(),
            "asymptote": line.asymptote,
            "notes": list(line.notes),
            "headline": curves.headline(line),
        }
    if parts is not None:
        section["components"] = {
            "sample_sd": parts.sample, "seed_sd": parts.seed, "total_sd": parts.total,
            "sample_share": parts.sample_share, "runs": parts.n_runs,
            "samples": parts.n_samples, "headline": variance.headline(parts),
        }  # fmt: skip
    if beaten is not None:
        section["beating"] = {
            "measure": beaten.measure, "reference": beaten.found.reference,
            "share": beaten.found.share, "wins": beaten.found.wins,
            "seeds": beaten.found.n_known, "next_seed": beaten.found.next_seed,
        }  # fmt: skip
    return section
