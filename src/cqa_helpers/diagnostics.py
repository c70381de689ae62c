"""What else moves a judge: length and manner, its own kind, the asking itself. As tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cqa_helpers import bias, consistency
from cqa_helpers.agreement import Interval
from cqa_helpers.corpus import Corpus
from cqa_helpers.pairing import EXPERTS
from cqa_helpers.params import Params
from cqa_helpers.records import Passage, to_table
from cqa_helpers.sittings import Sitting
from cqa_helpers.standing import experts_of, name_of

# Of the manner of a passage the report shows its length; the others are in the results.
SHOWN = "length"
NONE = Interval(None, None, None)


def of_judges(
    table: pd.DataFrame,
    judge_ids: Sequence[str],
    material: Corpus,
    params: Params,
    clusters: Mapping[str, str],
) -> dict[str, dict[str, Any]]:
    """Return what moves each judge besides the experts' verdict, by judge id.

    ``leaning`` and ``gap`` (the judge's less one expert's) by feature; agreement ``raw``,
    ``adjusted`` to equal length and manner, and the ``change``; ``own`` (self-preference) where
    the params say who wrote what; ``repeats``.
    """
    experts = experts_of(table)
    manner = bias.features(material.test())
    options = _options(params, clusters)
    found: dict[str, dict[str, Any]] = {}
    colleague: tuple[int, dict[str, Interval]] = (0, {})
    for judge in judge_ids:
        rows = table[table["judge_id"] == judge]
        if judge != EXPERTS and not (rows["status"] == "ok").any():
            continue
        moved = bias.adjusted_agreement(table, judge, experts, manner, **options)
        entry: dict[str, Any] = {
            "leaning": {},
            "gap": {},
            "raw": moved.raw,
            "adjusted": moved.adjusted,
            "change": moved.difference,
            "n_without": moved.n_without,
        }
        if judge != EXPERTS:
            leaning = bias.leaning(table, judge, experts, manner, **options)
            entry["leaning"] = {name: f.judge for name, f in leaning.by_feature.items()}
            entry["gap"] = {name: f.gap for name, f in leaning.by_feature.items()}
            theirs = {name: f.expert for name, f in leaning.by_feature.items()}
            colleague = max(colleague, (leaning.n_cells, theirs), key=lambda c: c[0])
        own, other = sides(judge, material.test(), params)
        if own and other:
            kind = bias.self_preference(table, judge, experts, own, other, **options)
            entry["own"] = kind._asdict()
        if judge != EXPERTS and rows["repeat"].nunique() > 1:
            entry["repeats"] = consistency.repeats(table, judge, **options)._asdict()
        found[judge] = entry
    if EXPERTS in found:
        # An expert's own leaning comes with every judge's; the fullest of them is on all cells.
        found[EXPERTS]["leaning"] = colleague[1]
    return found


def sides(judge: str, passages: Sequence[Passage], params: Params) -> tuple[set[str], set[str]]:
    """Return the passages of a judge's own line, and those of strangers beside it."""
    kin = params.judging.kin.get(judge)
    if kin is None:
        return set(), set()
    own, others = (
        {p.id for p in passages if p.meta.get("writer") in side} for side in (kin.own, kin.others)
    )
    return own, others


def asked_again(
    table: pd.DataFrame, sitting: Sitting, params: Params, clusters: Mapping[str, str]
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return how far each judge asked with a change differs from itself, by change and judge."""
    options = _options(params, clusters)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for change, rows in sitting.again.items():
        changed = to_table(rows)
        for judge in dict.fromkeys(changed["judge_id"]):
            once = changed[changed["judge_id"] == judge]
            declared = table[
                (table["judge_id"] == judge) & table["item_id"].isin(set(once["item_id"]))
                & table["repeat"].isin(set(once["repeat"]))
            ]  # fmt: skip
            compared = consistency.compare(declared, once, judge, **options)
            found.setdefault(change, {})[judge] = compared._asdict()
    return found


def bias_rows(
    found: Mapping[str, Mapping[str, Any]], judge_ids: Sequence[str], params: Params
) -> pd.DataFrame:
    """Return length, adjusted agreement and self-preference for show; empty columns left out."""
    rows = []
    for judge in (j for j in judge_ids if j in found):
        e = found[judge]
        rows.append(
            {
                "Judge": name_of(judge, params),
                "Yes per SD of length": tuple(e["leaning"].get(SHOWN, NONE)),
                "more than an expert": tuple(e["gap"].get(SHOWN, NONE)),
                "Agreement": e["raw"].value,
                "change at equal length": tuple(e["change"]),
                "Own kind": tuple(e["own"]["at_equal_share"] if "own" in e else NONE),
            }
        )
    # Who always says the same has nothing here, and neither has a column that nobody fills.
    rows = [row for row in rows if any(map(_known, list(row.values())[1:]))]
    table = pd.DataFrame(rows)
    return table[[c for k, c in enumerate(table) if k == 0 or any(map(_known, table[c]))]]


def consistency_rows(
    found: Mapping[str, Mapping[str, Any]],
    again: Mapping[str, Mapping[str, Mapping[str, Any]]],
    params: Params,
) -> pd.DataFrame:
    """Return how often the same question got the same verdict, for show."""
    rows = [
        {
            "Judge": name_of(judge, params), "Asked again": "as before, drawn anew",
            "Same verdict": tuple(e["repeats"]["same"]), "Shift of yes": None,
            "Pairs": e["repeats"]["n_pairs"], "Lost": 0,
        }
        for judge, e in found.items() if "repeats" in e
    ]  # fmt: skip
    rows += [
        {
            "Judge": name_of(judge, params), "Asked again": change,
            "Same verdict": tuple(e["same"]), "Shift of yes": tuple(e["shift"]),
            "Pairs": e["n_cells"], "Lost": e["n_lost"],
        }
        for change, judges in again.items() for judge, e in judges.items()
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    return table.drop(columns=[c for c in table.columns if table[c].isna().all()])


def _options(params: Params, clusters: Mapping[str, str]) -> dict[str, Any]:
    plan = params.study
    return {
        "clusters": clusters, "n_boot": plan.n_boot, "seed": params.seed, "level": plan.level,
    }  # fmt: skip


def _known(value: Any) -> bool:
    return (value[0] if isinstance(value, tuple) else value) is not None
