"""A judge's verdicts as preferences: rows that TRL's DPO and reward trainers read.

Two texts answer one task. *Pointwise*, a judge was asked about each alone and the one it holds to
be better is chosen; *pairwise*, it was shown both, in both orders, and only what it says in both
counts.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from cqa_helpers.judges.reward import strengths
from cqa_helpers.params import fingerprint
from cqa_helpers.prompts import Dialect, prefix
from cqa_helpers.records import Pair, Passage, Verdict, write_atomically

Source = Literal["pointwise", "pairwise"]
ALL = "all"
# A margin below this is a tie (our choice).
TIE = 0.05
SCHEMA = pa.schema(
    [("prompt", pa.string()), ("chosen", pa.string()), ("rejected", pa.string()),
     ("margin", pa.float64()), ("judge_id", pa.string()), ("dimension", pa.string()),
     ("source", pa.string()), ("chosen_id", pa.string()), ("rejected_id", pa.string()),
     ("score_chosen", pa.float64()), ("score_rejected", pa.float64()), ("n_judged", pa.int64()),
     ("consistent", pa.bool_()), ("origin", pa.string()), ("licence", pa.string()),
     ("prompt_hash", pa.string()), ("dialect", pa.string())]
)  # fmt: skip


class Task(NamedTuple):
    """What a writer was asked, and the passages that answer it; ``good`` is the one planted so."""

    prompt: str
    passages: tuple[Passage, ...]
    good: str | None = None


class Preferences(NamedTuple):
    """The rows that are kept, and why the other comparisons are not.

    ``unparsed`` comparisons have no verdict that both sides, or both orders, share. Of those that
    have a planted better text and are kept, ``planted``, the judge prefers it in ``agreed``.
    """

    rows: list[dict[str, Any]]
    ties: int
    inconsistent: int
    unparsed: int
    planted: int
    agreed: int
    tie: float

    @property
    def mean_margin(self) -> float | None:
        """Return the mean margin of the rows that are kept."""
        margins = [row["margin"] for row in self.rows]
        return fmean(margins) if margins else None


class _Lean(NamedTuple):
    """How far a judge leans to the first of two texts, in [-1, 1], and what it leans on."""

    first: float
    second: float
    leans: tuple[float, ...]
    n_judged: int


def of_pairs(pairs: Sequence[Pair], dialect: Dialect, licence: str | None) -> list[Task]:
    """Return pairs as tasks: the good and the degraded text, asked for by their constraints.

    ``licence`` is that of pairs whose ``meta`` has none.
    """
    return [
        Task(
            prefix(dialect, pair.constraints),
            tuple(
                Passage(
                    id=f"{pair.id}#{side}", work_id=pair.id, text=getattr(pair, side),
                    language=pair.meta.get("language", "en"), origin=pair.origin,
                    licence=pair.meta.get("licence") or licence or "unknown", source="pairs",
                )
                for side in ("good", "degraded")
            ),
            f"{pair.id}#good",
        )
        for pair in pairs
    ]  # fmt: skip


def of_works(passages: Sequence[Passage], dialect: Dialect) -> list[Task]:
    """Return passages of one work as tasks, asked for neutrally; those without a text are out."""
    works: dict[str, list[Passage]] = {}
    for passage in passages:
        if passage.text:
            works.setdefault(passage.work_id, []).append(passage)
    return [Task(prefix(dialect, None), tuple(w)) for w in works.values() if len(w) > 1]


def alone(tasks: Sequence[Task]) -> list[Passage]:
    """Return what a judge is asked about for :func:`pointwise`: all first texts, all second …"""
    columns = itertools.zip_longest(*(task.passages for task in tasks))
    return [passage for column in columns for passage in column if passage is not None]


def side_by_side(tasks: Sequence[Task]) -> list[Passage]:
    """Return what a judge is asked about for :func:`pairwise`: each two texts, in both orders."""
    return [
        one.model_copy(update={"id": _order(one, two), "meta": {"second": two.text}})
        for task in tasks
        for pair in itertools.combinations(task.passages, 2)
        for one, two in (pair, pair[::-1])
    ]


def pointwise(
    tasks: Sequence[Task],
    verdicts: Sequence[Verdict],
    *,
    tie: float = TIE,
    each_dimension: bool = False,
    dialect: str | None = None,
) -> Preferences:
    """Return whom one judge prefers who was asked about each text alone.

    A text's score is the mean probability over dimensions (and repeats), or the mean value within
    its scale where there are none, over what both texts have; the margin is the difference of the
    two, in [0, 1]. Margins below ``tie`` are dropped. ``each_dimension`` compares within each
    dimension instead; ``dialect`` names how the judge was asked.
    """
    found = _by_item(verdicts)

    def lean(one: Passage, two: Passage, dimension: str) -> _Lean | None:
        a, b = _shared(found.get(one.id, {}), found.get(two.id, {}), dimension)
        if not a:
            return None
        both = strengths([*a, *b])
        first, second = fmean(both[: len(a)]), fmean(both[len(a) :])
        return _Lean(first, second, (first - second,), len(a))

    return _compared(tasks, verdicts, lean, "pointwise", tie, each_dimension, dialect)


def pairwise(
    tasks: Sequence[Task],
    verdicts: Sequence[Verdict],
    *,
    tie: float = TIE,
    each_dimension: bool = False,
    dialect: str | None = None,
) -> Preferences:
    """Return whom one judge prefers who was shown both texts, in both orders.

    Kept is what both orders prefer. The margin is the mean over orders of 2p - 1, p the
    probability of the chosen text (mean over dimensions), and 1 or a share of votes where the
    judge gives no probabilities; the scores are p and 1 - p. Margins below ``tie`` are dropped.
    """
    found = _by_item(verdicts)

    def lean(one: Passage, two: Passage, dimension: str) -> _Lean | None:
        ab, ba = _shared(
            found.get(_order(one, two), {}), found.get(_order(two, one), {}), dimension
        )
        if not ab:
            return None
        both = strengths([*ab, *ba])
        forth, back = fmean(both[: len(ab)]), 1 - fmean(both[len(ab) :])
        first = (forth + back) / 2
        return _Lean(first, 1 - first, (2 * forth - 1, 2 * back - 1), len(ab))

    return _compared(tasks, verdicts, lean, "pairwise", tie, each_dimension, dialect)


def write(path: Path, preferences: Preferences) -> None:
    """Write the rows as JSON Lines, or as Parquet where the name ends so; whole or not at all."""
    if path.suffix == ".parquet":
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(preferences.rows, schema=SCHEMA), sink)
        write_atomically(path, sink.getvalue())
    else:
        rows = (json.dumps(row, ensure_ascii=False) + "\n" for row in preferences.rows)
        write_atomically(path, "".join(rows))


def said(preferences: Preferences, source: Source) -> list[str]:
    """Return the summary of an export in lines."""
    margin = preferences.mean_margin
    lines = [
        f"{len(preferences.rows)} preference(s) kept, mean margin "
        f"{'none' if margin is None else format(margin, '.3f')}; "
        f"{preferences.ties} tie(s) dropped (margin below {preferences.tie:g}), "
        f"{preferences.unparsed} comparison(s) without a verdict.",
    ]
    if source == "pairwise":
        lines.append(f"{preferences.inconsistent} dropped: the two orders disagree.")
    if preferences.planted:
        share = preferences.agreed / preferences.planted
        lines.append(
            f"Planted: in {preferences.agreed} of {preferences.planted} ({share:.0%}) the judge "
            "prefers the text that was written as the good one. This is no column of the rows."
        )
    return lines


def _compared(
    tasks: Sequence[Task],
    verdicts: Sequence[Verdict],
    lean: Callable[[Passage, Passage, str], _Lean | None],
    source: Source,
    tie: float,
    each_dimension: bool,
    dialect: str | None,
) -> Preferences:
    judges = sorted({v.judge_id for v in verdicts})
    if len(judges) > 1:
        raise ValueError(f"preferences are one judge's, and these are of {', '.join(judges)}")
    dimensions = list(dict.fromkeys(v.dimension for v in verdicts)) if each_dimension else [ALL]
    rows: list[dict[str, Any]] = []
    ties = inconsistent = unparsed = planted = agreed = 0
    for task, one, two, dimension in _comparisons(tasks, dimensions or [ALL]):
        leaning = lean(one, two, dimension)
        if leaning is None:
            unparsed += 1
            continue
        if min(leaning.leans) < 0 < max(leaning.leans):
            inconsistent += 1
            continue
        margin = abs(fmean(leaning.leans))
        if margin < tie or 0 in leaning.leans:
            ties += 1
            continue
        texts = [(one, leaning.first), (two, leaning.second)]
        (chosen, high), (rejected, low) = texts if leaning.leans[0] > 0 else texts[::-1]
        if task.good:
            planted, agreed = planted + 1, agreed + (chosen.id == task.good)
        rows.append(
            {
                "prompt": task.prompt,
                "chosen": _after(task.prompt, chosen),
                "rejected": _after(task.prompt, rejected),
                "margin": round(margin, 6),
                "judge_id": judges[0],
                "dimension": dimension,
                "source": source,
                "chosen_id": chosen.id,
                "rejected_id": rejected.id,
                "score_chosen": round(high, 6),
                "score_rejected": round(low, 6),
                "n_judged": leaning.n_judged,
                "consistent": True if source == "pairwise" else None,
                "origin": _both(chosen.origin, rejected.origin),
                "licence": _both(chosen.licence, rejected.licence),
                "prompt_hash": fingerprint(task.prompt),
                "dialect": dialect,
            }
        )
    return Preferences(rows, ties, inconsistent, unparsed, planted, agreed, tie)


def _comparisons(
    tasks: Sequence[Task], dimensions: Sequence[str]
) -> Iterator[tuple[Task, Passage, Passage, str]]:
    for task in tasks:
        for one, two in itertools.combinations(task.passages, 2):
            for dimension in dimensions:
                yield task, one, two, dimension


def _by_item(verdicts: Sequence[Verdict]) -> dict[str, dict[tuple[str, int], Verdict]]:
    found: dict[str, dict[tuple[str, int], Verdict]] = {}
    for v in verdicts:
        if v.value is not None:
            found.setdefault(v.item_id, {})[v.dimension, v.repeat] = v
    return found


def _shared(
    a: dict[tuple[str, int], Verdict], b: dict[tuple[str, int], Verdict], dimension: str
) -> tuple[list[Verdict], list[Verdict]]:
    """Return the verdicts on what both were judged on, in one order."""
    cells = [c for c in a if c in b and dimension in (ALL, c[0])]
    return [a[c] for c in cells], [b[c] for c in cells]


def _order(one: Passage, two: Passage) -> str:
    return f"{one.id}>{two.id}"


def _after(prompt: str, passage: Passage) -> str:
    """Return a text so that prompt and text can be read as one, with a space between them."""
    text = passage.text or ""
    return text if prompt[-1:].isspace() or not prompt else f" {text}"


def _both(one: str, two: str) -> str:
    return " / ".join(dict.fromkeys((one, two)))
