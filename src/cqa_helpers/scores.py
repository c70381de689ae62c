"""Returned ratings beside the key: the one table that the analysis of a blind test reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from cqa_helpers.packets import Diagnosis
from cqa_helpers.records import RecordError, Verdict, read_jsonl
from cqa_helpers.sheets import RANK
from cqa_helpers.taxonomy import Taxonomy

COLUMNS = (
    "rater", "passage", "judge", "seed", "criterion", "value", "kind", "code", "of", "swapped",
    "sheet", "label", "position", "words", "seconds",
)  # fmt: skip


class ScoreError(RecordError):
    """Ratings that do not belong to these packets."""


def read(file: Path, key: Sequence[Diagnosis], criteria: Taxonomy) -> pd.DataFrame:
    """Return :func:`table` of a file of ratings."""
    return table(read_jsonl(file, Verdict), key, criteria, str(file))


def table(
    ratings: Sequence[Verdict], key: Sequence[Diagnosis], criteria: Taxonomy, where: str = "ratings"
) -> pd.DataFrame:
    """Return one row for each answer that was asked for, with the judge that the key names.

    An answer that did not come is a row without a value, so that it can be counted.

    Returns
    -------
    DataFrame
        ``rater``, ``passage``, ``judge``, ``seed`` (which of a judge's seeds, empty where it has
        one), ``criterion`` (of the taxonomy, or ``rank``, 1 the best), ``value``, ``kind``
        (``item`` counts; ``repeat`` is a sheet shown again; on an ``attention`` sheet one diagnosis
        is of another passage, ``swapped``), ``code``, ``of`` (the first showing's code),
        ``sheet``, ``label``, ``position`` (of the sheet in the rater's sequence), ``words`` (of
        the diagnosis), ``seconds`` (on the sheet).

    Raises
    ------
    ScoreError
        A rating is of a code that no packet has, by a rater who was not sent it, on an unknown
        criterion, off its scale, or stands twice: the first of each kind by name.
    """
    of_code = {d.code: d for d in key}
    scales = {d.id: d.scale for d in criteria.dimensions}
    on_sheet = pd.Series([d.sheet for d in key]).value_counts().to_dict()
    _check(ratings, of_code, scales, where)
    given = {(v.item_id, v.judge_id, v.dimension): v for v in ratings}
    repeats: dict[str, set[int]] = {}
    for d in key:
        repeats.setdefault(d.judge_id, set()).add(d.repeat)
    seconds = {
        (v.judge_id, v.meta["sheet"]): float(v.meta["seconds"])
        for v in ratings
        if v.meta.get("sheet") and v.meta.get("seconds") is not None
    }
    rows = []
    for d in key:
        for criterion in (*scales, *((RANK,) if on_sheet[d.sheet] > 1 else ())):
            found = given.get((d.code, d.rater_id, criterion))
            several = len(repeats[d.judge_id]) > 1
            rows.append(
                (
                    d.rater_id, d.passage_id, d.judge_id,
                    f"{d.judge_id}-{d.repeat}" if several else "", criterion,
                    None if found is None or found.value is None else float(found.value),
                    d.kind, d.code, d.of or "", d.donor is not None, d.sheet, d.label, d.position,
                    d.words, seconds.get((d.rater_id, d.sheet)),
                )
            )  # fmt: skip
    made = pd.DataFrame(rows, columns=list(COLUMNS))
    return made.astype({"value": float, "seconds": float})


def _check(
    ratings: Sequence[Verdict],
    of_code: dict[str, Diagnosis],
    scales: dict[str, str],
    where: str,
) -> None:
    faults: dict[str, list[str]] = {}
    seen: set[tuple[str, str, str]] = set()
    for v in ratings:
        name = f"{v.judge_id}, {v.item_id}, {v.dimension}"
        d = of_code.get(v.item_id)
        if d is None:
            faults.setdefault("is of a code that no packet has", []).append(name)
        elif d.rater_id != v.judge_id:
            faults.setdefault("is by a rater who was not sent it", []).append(name)
        elif v.dimension != RANK and v.dimension not in scales:
            faults.setdefault("is on no criterion of the plan", []).append(name)
        elif v.dimension in scales and v.scale != scales[v.dimension]:
            faults.setdefault(f"has the scale {v.scale}", []).append(name)
        if (key := (v.item_id, v.judge_id, v.dimension)) in seen:
            faults.setdefault("stands twice", []).append(name)
        seen.add(key)
    if faults:
        said = "\n".join(
            f"  {names[0]}: {what}" + (f" (and {len(names) - 1} more)" if len(names) > 1 else "")
            for what, names in faults.items()
        )
        raise ScoreError(f"{where} does not fit the packets; import the ratings again.\n{said}")
