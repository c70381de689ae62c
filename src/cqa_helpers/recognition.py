"""What a base can already read: does it prefer an expert's reason for the passage it was given for?

Annotations select and orient knowledge that is there; this asks before tuning whether it is. Two
reasons for the same verdict on the same dimension, each of another passage, are put to the base
under both passages, right after the question and the dimension's head:
``s = ½ [lp(r1|p1) + lp(r2|p2) − lp(r1|p2) − lp(r2|p1)]`` bits a reason. What makes a reason
likely anywhere (its length, its wording) and a passage easy for any reason cancels, and the
verdict is the same: only the tie between reason and passage is left. A choice is right above 0;
chance is one half (our choice throughout). A base that is right can read what the reasons point
at; it need not know what it is worth. Words that reason and passage share can be enough, so the
same choice by shared words alone stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cqa_helpers import dyads, likelihood, overlap
from cqa_helpers.agreement import Interval
from cqa_helpers.annotations import Annotation
from cqa_helpers.models import LocalModel
from cqa_helpers.prompts import Dialect, completions, questions
from cqa_helpers.records import Passage
from cqa_helpers.taxonomy import Taxonomy

# In how many pairs each reason stands (our choice; even).
PAIRS_EACH = 4
# A smaller preference is the noise of sums in single precision: a tie, half right.
TIE = 1e-4
ALL, ONE_WORK = "all dimensions", "two passages of one work"
BEYOND = "pairs that shared words get wrong or tie"
COLUMNS = ["dimension", "value", "first", "second", "first_work", "second_work", "bits", "right"]


class RecognitionError(ValueError):
    """The probe cannot be made from what is there."""


class Told(NamedTuple):
    """One expert's reason on one dimension, and the prompt (with the head) it is put after."""

    passage_id: str
    work_id: str
    dimension: str
    value: int
    reason: str
    prompt: str


class Row(NamedTuple):
    """Share of right choices, chance one half, and bits a reason; null where undefined."""

    name: str
    right: Interval
    bits: Interval
    pairs: int
    passages: int
    works: int


class Recognition(NamedTuple):
    """The probe of one model: a row for all, one a dimension, one for pairs within a work.

    ``choices`` has a row a pair; ``left_out`` counts reasons that found no partner.
    """

    rows: tuple[Row, ...]
    choices: pd.DataFrame
    left_out: int


Fit = Callable[[Sequence[str], Sequence[str]], NDArray[np.float64]]


def probe(
    local: LocalModel, told: Sequence[Told], *, seed: int, batch_size: int,
    pairs_each: int = PAIRS_EACH, level: float = 0.95,
) -> Recognition:  # fmt: skip
    """Return how often a model tells a passage's own reason from another's.

    Raises
    ------
    RecognitionError
        No two reasons can be paired.
    LikelihoodError
        A reason with its passage is longer than the model reads.
    """
    return _chosen(
        told, lambda p, r: likelihood.bits(local, p, r, batch_size), seed, pairs_each, level
    )


def by_shared_words(
    told: Sequence[Told], texts: Mapping[str, str], *, seed: int, pairs_each: int = PAIRS_EACH,
    level: float = 0.95,
) -> Recognition:  # fmt: skip
    """Return the same choices made without a model: by the share of a reason's words in the text.

    ``texts`` is passage to text. Bits do not apply.
    """
    words = {name: set(overlap.units(text)) for name, text in texts.items()}
    of_prompt = {t.prompt: words[t.passage_id] for t in told}

    def fit(prompts: Sequence[str], reasons: Sequence[str]) -> NDArray[np.float64]:
        both = [
            (of_prompt[p], set(overlap.units(r))) for p, r in zip(prompts, reasons, strict=True)
        ]
        return np.array([len(said & text) / max(len(said), 1) for text, said in both])

    found = _chosen(told, fit, seed, pairs_each, level)
    rows = tuple(r._replace(bits=Interval(None, None, None)) for r in found.rows)
    return Recognition(rows, found.choices.assign(bits=np.nan), found.left_out)


def beyond_words(base: Recognition, words: Recognition, level: float = 0.95) -> Recognition:
    """Return a probe with a row more: the pairs that shared words alone do not get right.

    Raises
    ------
    RecognitionError
        The two are not of the same pairs.
    """
    names = ["dimension", "first", "second"]
    if not base.choices[names].equals(words.choices[names]):
        raise RecognitionError("the two probes are of other pairs: give both the same seed.")
    hard = base.choices[words.choices["right"] < 1]
    more = (_row(BEYOND, hard, level),) if len(hard) else ()
    return base._replace(rows=(*base.rows, *more))


def reasons(
    annotations: Sequence[Annotation],
    passages: Mapping[str, Passage],
    taxonomy: Taxonomy,
    dialect: Dialect,
) -> list[Told]:
    """Return every reason with the prompt and head it stands under, reasons first.

    Reasons on passages without a text are left out. Give the annotations of one arm only.

    Raises
    ------
    RecognitionError
        The dialect has no reason-first form, or an annotated passage is not known.
    """
    if "reason-first" not in dialect.forms:
        raise RecognitionError(
            f"dialect {dialect.id!r} has no form 'reason-first', in which the probe puts reasons; "
            f"it has: {', '.join(dialect.forms)}."
        )
    found = []
    for annotation in annotations:
        if annotation.passage_id not in passages:
            raise RecognitionError(
                f"annotation {annotation.id} is of passage {annotation.passage_id!r}, which is not "
                "among the passages given."
            )
        passage = passages[annotation.passage_id]
        asked = {
            d: q.prompt
            for q in questions([passage], taxonomy, dialect, "reason-first")
            for d in q.dimensions
        }
        for judgement in annotation.judgements:
            if judgement.dimension not in asked:
                continue
            alone = annotation.model_copy(update={"judgements": (judgement,)})
            ((_, text),) = completions(alone, taxonomy, dialect, "reason-first")
            head = text[: text.index(judgement.reason)].rstrip()
            found.append(
                Told(
                    passage.id, passage.work_id, judgement.dimension, judgement.value,
                    judgement.reason, asked[judgement.dimension] + head,
                )
            )  # fmt: skip
    return found


def _chosen(
    told: Sequence[Told], fit: Fit, seed: int, pairs_each: int, level: float
) -> Recognition:
    drawn = dyads.neighbours(
        [(t.dimension, t.value) for t in told], [t.passage_id for t in told], pairs_each, seed
    )
    if not drawn:
        raise RecognitionError(
            f"None of {len(told)} reason(s) can be paired: the probe needs two annotated passages "
            "with the same verdict on one dimension."
        )
    # Which reason is put under whose prompt, each combination once.
    asked = sorted({c for a, b in drawn for c in ((a, a), (b, b), (a, b), (b, a))})
    scores = fit([told[at].prompt for _, at in asked], [told[r].reason for r, _ in asked])
    of = dict(zip(asked, scores.tolist(), strict=True))
    rows = []
    for a, b in drawn:
        bits = (of[a, a] + of[b, b] - of[a, b] - of[b, a]) / 2
        right = 0.5 if abs(bits) <= TIE else float(bits > 0)
        one, two = told[a], told[b]
        rows.append((one.dimension, one.value, one.passage_id, two.passage_id,
                     one.work_id, two.work_id, bits, right))  # fmt: skip
    choices = pd.DataFrame(rows, columns=COLUMNS)
    kinds = [(ALL, choices)]
    kinds += [(str(d), c) for d, c in choices.groupby("dimension", sort=True)]
    within = choices[choices["first_work"] == choices["second_work"]]
    kinds += [(ONE_WORK, within)] if len(within) else []
    left_out = len(told) - len({i for pair in drawn for i in pair})
    return Recognition(tuple(_row(n, c, level) for n, c in kinds), choices, left_out)


def _row(name: str, choices: pd.DataFrame, level: float) -> Row:
    first, second = choices["first_work"].tolist(), choices["second_work"].tolist()
    return Row(
        name,
        dyads.share(choices["right"], first, second, level),
        dyads.mean(choices["bits"], first, second, level),
        len(choices),
        len({*choices["first"], *choices["second"]}),
        len({*first, *second}),
    )


def table(found: Mapping[str, Recognition]) -> pd.DataFrame:
    """Return what each model told right, a row each kind of pair; ``found`` is label to probe."""
    return pd.DataFrame(
        [
            {
                "Model": label,
                "Pairs of": row.name.replace("_", " "),
                "Right": tuple(row.right),
                "Bits a reason": tuple(row.bits),
                "Pairs": row.pairs,
                "Passages": row.passages,
                "Works": row.works,
            }
            for label, probed in found.items()
            for row in probed.rows
        ]
    )


def forest_rows(found: Mapping[str, tuple[str, Recognition]]) -> pd.DataFrame:
    """Return the rows of :func:`cqa_helpers.figures.forest`; ``found`` is label to (role, probe).

    All pairs of each model first, then the first model's by dimension.
    """
    rows = [(label, role, probed.rows[0]) for label, (role, probed) in found.items()]
    for label, (role, probed) in list(found.items())[:1]:
        rows += [(f"{label}: {r.name.replace('_', ' ')}", role, r) for r in probed.rows[1:]]
    return pd.DataFrame(
        [{"label": label, "role": role, **row.right.as_dict()} for label, role, row in rows]
    )


def sentence(base: Recognition, words: Recognition | None = None) -> str:
    """Return the finding, from the interval alone; ``words`` is :func:`by_shared_words`.

    What the base cannot be shown to read beyond shared words is said outright.
    """
    whole = base.rows[0]
    share, low, high = whole.right
    assert share is not None
    if low is None or high is None:
        return (
            f"Before tuning the base prefers the passage's own reason in {share:.0%} of "
            f"{whole.pairs} pairs; {whole.works} work(s) are too few to say more."
        )
    span = f"{share:.0%} of {whole.pairs} pairs ({low:.0%} to {high:.0%}, chance 50%)"
    if low > 0.5:
        said = f"Before tuning the base tells a passage's own reason from another's in {span}"
        blind = [
            r.name.replace("_", " ") for r in base.rows[1:]
            if r.name not in (ONE_WORK, BEYOND) and (r.right.low is None or r.right.low <= 0.5)
        ]  # fmt: skip
        said += f"; not shown for {', '.join(blind)}" if blind else ""
    elif high < 0.5:
        said = f"Before tuning the base prefers another passage's reason: right in {span}"
    else:
        said = (
            "Before tuning the base is not shown to tell a passage's own reason from another's: "
            f"right in {span}"
        )
    if words is None:
        return said + "."
    said += f". Shared words alone are right in {words.rows[0].right.value:.0%}"
    hard = next((r for r in beyond_words(base, words).rows if r.name == BEYOND), None)
    n = 0 if hard is None else hard.pairs
    if hard is None or hard.right.low is None or hard.right.low <= 0.5:
        return f"{said}; reading beyond them is not shown ({n} pair(s) they leave open)."
    return f"{said}; where they are not, the base is right in {hard.right.value:.0%} of {n} pairs."
