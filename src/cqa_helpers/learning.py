"""What tuning taught: AUC of every fine-tuned model on held-out passages, by arm, size and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cqa_helpers import calibration, cohort
from cqa_helpers.agreement import Interval, interval, resample
from cqa_helpers.arms import TITLES
from cqa_helpers.cohort import Base, Member, ask_base
from cqa_helpers.contrasts import consensus
from cqa_helpers.corpus import Corpus
from cqa_helpers.finetuning import Adapter
from cqa_helpers.params import Params
from cqa_helpers.records import Verdict, to_table

# All other arms are variations of what is taught.
ROLES = {"cot": "tuned", "style-only": "control", "shuffled": "control"}


class Measured(NamedTuple):
    """One model on held-out passages: AUC by dimension, their mean, accuracy, no answer."""

    auc: dict[str, float | None]
    mean_auc: float | None
    accuracy: float | None
    no_answer: int
    n: int


class ArmSummary(NamedTuple):
    """One arm at its full size: mean AUC over passages and seeds, and each seed's own."""

    title: str
    role: str
    n_train: int
    mean_auc: Interval
    by_seed: tuple[float | None, ...]
    by_dimension: dict[str, float | None]
    no_answer: float


def measure(
    answers: Mapping[Member, Sequence[Verdict]], material: Corpus, params: Params
) -> dict[Member, Measured]:
    """Return each model's AUC and accuracy against the experts' majority."""
    majority = _majority(material)
    return {member: _measured(to_table(list(v)), majority) for member, v in answers.items()}


def of_recorded(judge_id: str, material: Corpus) -> Measured | None:
    """Return a recorded judge's AUC and accuracy on the held-out passages, if it is there."""
    held_out = set(material.split.test)
    rows = [v for v in material.recorded if v.judge_id == judge_id and v.item_id in held_out]
    return _measured(to_table(rows), _majority(material)) if rows else None


def _majority(material: Corpus) -> pd.DataFrame:
    table = to_table(material.experts)
    held_out = set(material.split.test)
    table = table[table["item_id"].isin(held_out)]
    return consensus(table, sorted(set(table["judge_id"])))


def _measured(table: pd.DataFrame, majority: pd.DataFrame) -> Measured:
    both = table.merge(majority[["item_id", "dimension", "value"]], on=["item_id", "dimension"],
                       suffixes=("", "_expert"))  # fmt: skip
    usable = both[both["status"] == "ok"]
    auc: dict[str, float | None] = {}
    for dimension, rows in usable.groupby("dimension"):
        known = rows[rows["probability"].notna()]
        auc[str(dimension)] = calibration.auc(
            known["value_expert"].astype(int), known["probability"].astype(float)
        )
    defined = [a for a in auc.values() if a is not None]
    return Measured(
        auc,
        float(np.mean(defined)) if defined else None,
        float((usable["value"] == usable["value_expert"]).mean()) if len(usable) else None,
        int((table["status"] != "ok").sum()),
        len(table),
    )


def by_arm(
    answers: Mapping[Member, Sequence[Verdict]], material: Corpus, params: Params, run_dir: Path
) -> dict[str, ArmSummary]:
    """Return each arm at its full size, second lineage and untuned bases beside them."""
    assert params.tuning is not None
    assert params.models is not None
    majority = _majority(material)
    groups: dict[str, tuple[str, str, int, list[pd.DataFrame]]] = {}
    for lineage in sorted({m.lineage for m in answers}):
        suffix = "" if lineage == "first" else "-second-base"
        where = "" if lineage == "first" else ", second base"
        with cohort.record(params, run_dir, "02-fine-tune") as record:
            base = Base(params.models, lineage)
            untuned = to_table(ask_base(base, params, material.test(), record, lineage))
        groups[f"base{suffix}"] = (
            TITLES["base"] + where, "base", 0, [g for _, g in untuned.groupby("repeat")],
        )  # fmt: skip
        for arm, sizes in params.tuning.arms.items():
            mine = [
                to_table(list(v)) for m, v in answers.items()
                if m.plain and m.arm == arm and m.n == max(sizes) and m.lineage == lineage
            ]  # fmt: skip
            if mine:
                role = ROLES.get(arm, "arm")
                groups[f"{arm}{suffix}"] = (TITLES[arm] + where, role, max(sizes), mine)
    return {
        name: _summary(title, role, n, tables, majority, params)
        for name, (title, role, n, tables) in groups.items()
    }


def _summary(
    title: str,
    role: str,
    n_train: int,
    tables: Sequence[pd.DataFrame],
    majority: pd.DataFrame,
    params: Params,
) -> ArmSummary:
    measured = [_measured(table, majority) for table in tables]
    dimensions = sorted({d for m in measured for d in m.auc})
    means = {
        d: _mean([m.auc.get(d) for m in measured]) for d in dimensions
    }  # fmt: skip
    return ArmSummary(
        title,
        role,
        n_train,
        _interval(tables, majority, params),
        tuple(m.mean_auc for m in measured),
        means,
        sum(m.no_answer for m in measured) / max(sum(m.n for m in measured), 1),
    )


def _interval(tables: Sequence[pd.DataFrame], majority: pd.DataFrame, params: Params) -> Interval:
    """Percentile bootstrap of the mean AUC over seeds, seeds and passages drawn anew.

    All seeds are scored on the same drawn passages. Null where a seed has no AUC at all: a mean
    of the others would flatter the arm.
    """
    rng = np.random.default_rng(params.seed)
    n_boot = min(params.study.n_boot, 1000)
    if any(_measured(t, majority).mean_auc is None for t in tables):
        return Interval(None, None, None)
    items = sorted(set(majority["item_id"]))
    whole = [
        calibration.mean_auc(
            pd.concat([t, majority]), str(t["judge_id"].iloc[0]), ["consensus"], None,
            n_boot, params.seed, params.study.level, among=items,
        )
        for t in tables
    ]  # fmt: skip
    value = float(np.mean([w.mean.value for w in whole]))
    draws = np.stack([w.draws for w in whole])
    picks = resample(len(tables), n_boot, rng) / len(tables)
    return interval(value, (picks * draws.T).sum(1), params.study.level)


def overview(
    trained: Mapping[Member, Adapter], measured: Mapping[Member, Measured]
) -> pd.DataFrame:
    """Return one row a model: what it was given, what it cost, what it can tell."""
    return pd.DataFrame(
        [
            {
                "Model": m.name,
                "Rows": adapter.record["rows"],
                "Supervised tokens": adapter.record["supervised_tokens"],
                "Last loss": adapter.record["losses"][-1] if adapter.record["losses"] else None,
                "AUC": measured[m].mean_auc,
                "Accuracy": measured[m].accuracy,
                "No answer": measured[m].no_answer,
            }
            for m, adapter in trained.items()
        ]
    )


def as_rows(arms: Mapping[str, ArmSummary]) -> pd.DataFrame:
    """Return the table of arms for show, highest first."""
    ranked = sorted(
        arms.values(), key=lambda s: (s.mean_auc.value is None, -(s.mean_auc.value or 0.0))
    )
    return pd.DataFrame(
        [
            {
                "Arm": s.title,
                "Annotations": s.n_train,
                "AUC": tuple(s.mean_auc),
                **{d.replace("_", " "): a for d, a in s.by_dimension.items()},
                "Lowest seed": min((a for a in s.by_seed if a is not None), default=None),
                "Highest seed": max((a for a in s.by_seed if a is not None), default=None),
                "No answer, %": 100 * s.no_answer,
            }
            for s in ranked
        ]
    )


def forest_rows(arms: Mapping[str, ArmSummary]) -> pd.DataFrame:
    """Return the rows of the figure of arms, highest first."""
    rows = pd.DataFrame(
        [{"label": s.title, "role": s.role, **s.mean_auc.as_dict()} for s in arms.values()]
    )
    return rows.sort_values("value", ascending=False, ignore_index=True)


def seed_dots(arms: Mapping[str, ArmSummary]) -> dict[str, list[float]]:
    """Return each arm's seeds by the title it is drawn under."""
    return {s.title: [a for a in s.by_seed if a is not None] for s in arms.values()}


def headline(arms: Mapping[str, ArmSummary]) -> str:
    """Return the finding of the figure of arms; a lift only where the interval clears the base."""
    cot, style, base = arms.get("cot"), arms.get("style-only"), arms.get("base")
    if cot is None or cot.mean_auc.value is None:
        return "Held-out AUC by arm"
    start = None if base is None else base.mean_auc.value
    rises = cot.mean_auc.low is not None and cot.mean_auc.low > (0.5 if start is None else start)
    said = f"Annotations with reasons {'lift' if rises else 'do not lift'} AUC"
    said += f"{' to' if rises else ':'} {cot.mean_auc.value:.2f}"
    if style is None or style.mean_auc.value is None:
        return said
    return f"{said}; style alone gives {style.mean_auc.value:.2f}"


def results(
    trained: Mapping[Member, Adapter],
    measured: Mapping[Member, Measured],
    arms: Mapping[str, ArmSummary],
) -> dict[str, Any]:
    """Return the section of ``results.json``: ``arms.<arm>.<n>.<seed>`` and summaries."""
    section: dict[str, Any] = {"arms": {}, "second_base": {}, "equal_tokens": {}, "samples": {}}
    for member, adapter in trained.items():
        if not member.plain:
            place = section[f"equal_{member.budget}" if member.sample is None else "samples"]
        else:
            place = section["arms"] if member.lineage == "first" else section["second_base"]
        found = measured[member]
        seed = str(member.seed) if member.sample is None else f"{member.sample}-{member.seed}"
        place.setdefault(member.arm, {}).setdefault(str(member.n), {})[seed] = {
            "train_seconds": adapter.record["train_seconds"],
            "auc": found.auc,
            "mean_auc": found.mean_auc,
            "accuracy": found.accuracy,
            "no_answer": found.no_answer,
            "supervised_tokens": adapter.record["supervised_tokens"],
            "steps": adapter.record["steps"],
        }
    section["base"] = {}
    for name, s in arms.items():
        entry = {
            "mean_auc": s.mean_auc,
            "seeds": len(s.by_seed),
            "by_seed": list(s.by_seed),
            "auc": s.by_dimension,
            "no_answer": s.no_answer,
        }
        if s.role == "base":
            section["base"][name] = entry
            continue
        place = section["second_base"] if name.endswith("-second-base") else section["arms"]
        place[name.removesuffix("-second-base")][str(s.n_train)]["summary"] = entry
    return section


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
