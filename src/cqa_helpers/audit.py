"""What an audit counts besides agreement: coverage, reasons, and how annotations are made.

Lengths are in words, or in characters where a script has no spaces. What is computed and not
rated is a proxy and is called so.
"""

from __future__ import annotations

import difflib
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from cqa_helpers.annotations import STEPS, Annotation
from cqa_helpers.overlap import units
from cqa_helpers.records import Verdict
from cqa_helpers.taxonomy import Taxonomy

# An opening that a judge gives this often is a formula (our choice).
OPENING, OFTEN = 5, 3
_HESITATION = re.compile(
    r"\b(?:um+|uh+|hmm+|er+m?|well|i mean|wait|let me think|actually|no,)\b|嗯|呃|唔|怎么说|"
    r"等一下|不对|让我想想|那个……|就是说|其实",
    re.IGNORECASE,
)


class Reasons(NamedTuple):
    """The reasons of a set of verdicts.

    ``empty``, ``duplicate`` (word for word another cell's, by anyone) and ``formulaic`` (the judge
    opens several reasons so) are shares of verdicts with a value, the last two of those with a
    reason; null where there is nothing to share. ``quartiles`` are of the length.
    """

    n: int
    empty: float | None
    duplicate: float | None
    formulaic: float | None
    quartiles: tuple[float, float, float] | None


class Proxy(NamedTuple):
    """A computed stand-in for a rated quality: what it is, and its mean over annotations."""

    quality: str
    what: str
    value: float | None
    n: int


def coverage(
    table: pd.DataFrame, annotations: Sequence[Annotation], taxonomy: Taxonomy, target: int
) -> pd.DataFrame:
    """Return what each dimension has: one row a dimension.

    Columns: ``dimension``, ``items`` with a verdict, ``judges_per_item`` (mean), ``annotated``
    passages, ``target``, ``share`` of the target, ``missing`` (rows without a value), ``facets``
    (verdicts on single aspects).
    """
    rows = []
    for d in taxonomy.dimensions:
        mine = table[table["dimension"] == d.id]
        ok = mine[mine["status"] == "ok"]
        per_item = ok.groupby("item_id")["judge_id"].nunique()
        judged = [(a.passage_id, j) for a in annotations for j in a.judgements
                  if j.dimension == d.id]  # fmt: skip
        annotated = len({passage for passage, _ in judged})
        rows.append(
            {
                "dimension": d.id, "items": len(per_item),
                "judges_per_item": float(per_item.mean()) if len(per_item) else None,
                "annotated": annotated, "target": target, "share": annotated / target,
                "missing": len(mine) - len(ok), "facets": sum(len(j.facets) for _, j in judged),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def reasons(table: pd.DataFrame) -> Reasons:
    """Return how long the reasons of a verdict table are, and how many say nothing of their own."""
    ok = table[table["status"] == "ok"]
    if ok.empty:
        return Reasons(0, None, None, None, None)
    said = ok[ok["reason"].str.strip() != ""]
    empty = (len(ok) - len(said)) / len(ok)
    if said.empty:
        return Reasons(len(ok), empty, None, None, None)
    words = [units(text) for text in said["reason"]]
    whole = Counter(" ".join(w) for w in words)
    openings = [
        (judge, " ".join(w[:OPENING])) for judge, w in zip(said["judge_id"], words, strict=True)
    ]
    often = Counter(openings)
    low, middle, high = np.quantile([len(w) for w in words], [0.25, 0.5, 0.75])
    return Reasons(
        n=len(ok),
        empty=empty,
        duplicate=sum(whole[" ".join(w)] > 1 for w in words) / len(words),
        formulaic=sum(often[o] >= OFTEN for o in openings) / len(words),
        quartiles=(float(low), float(middle), float(high)),
    )


def proxies(annotations: Sequence[Annotation]) -> list[Proxy]:
    """Return a computed proxy for each of the five qualities of a chain of thought.

    None of them is a rating. Hesitation marks detect a format, as critics of D3 note; only the
    counterfactual density is the protocol's own definition, as far as claims were logged.
    """

    def mean(values: Sequence[float | None]) -> tuple[float | None, int]:
        known = [v for v in values if v is not None]
        return (float(np.mean(known)) if known else None), len(known)

    bodies = [(a, units(a.cot_body)) for a in annotations]
    stepped = [j for a in annotations for j in a.judgements if j.steps]
    measured: list[tuple[str, str, Sequence[float | None]]] = [
        ("chain-completeness", "share of the five steps written out, by judgement",
         [len({s.kind for s in j.steps}) / len(STEPS) for j in stepped]),
        ("premises-externalised", "claims logged per 100 words or characters of reasoning",
         [100 * len(a.claims) / len(w) if a.claims and w else None for a, w in bodies]),
        ("naturalness", "hesitation marks per 100 words or characters (detects a format)",
         [100 * len(_HESITATION.findall(a.cot_body)) / len(w) if w else None for a, w in bodies]),
        ("information-density", "compressed over plain size of the reasoning (repetition lowers)",
         [_density(a.cot_body) for a in annotations]),
        ("counterfactual-density", "explicit counterfactuals per load-bearing claim, as logged",
         [a.counterfactual_density() for a in annotations]),
    ]  # fmt: skip
    return [Proxy(quality, what, *mean(values)) for quality, what, values in measured]


def rated(quality: Sequence[Verdict], taxonomy: Taxonomy) -> pd.DataFrame:
    """Return the mean rating of each quality: ``dimension``, ``mean``, ``n``, ``raters``."""
    rows = []
    for d in taxonomy.dimensions:
        mine = [v for v in quality if v.dimension == d.id and v.value is not None]
        rows.append(
            {
                "dimension": d.id,
                "mean": float(np.mean([v.value for v in mine if v.value is not None]))
                if mine else None,
                "n": len(mine), "raters": len({v.judge_id for v in mine}),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def edits(raw: str, edited: str) -> list[tuple[str, str]]:
    """Return how a raw text became the edited one: runs of ``same``, ``cut`` and ``added``.

    Compared by word, or by character where a script has no spaces; joined, ``same`` and ``cut``
    are the raw text and ``same`` and ``added`` the edited one.
    """
    before, after = _pieces(raw), _pieces(edited)
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    runs: list[tuple[str, str]] = []
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind == "equal":
            runs.append(("same", "".join(before[a:b])))
            continue
        if b > a:
            runs.append(("cut", "".join(before[a:b])))
        if d > c:
            runs.append(("added", "".join(after[c:d])))
    return runs


def _pieces(text: str) -> list[str]:
    return re.findall(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\W\u2e80-\u9fff]+|\s+|.", text, re.DOTALL)


def _density(text: str) -> float | None:
    data = text.encode()
    return len(zlib.compress(data, 9)) / len(data) if data else None
