"""What the fillings of a cloze are worth: satisfy × (1 + λ · surprise), blank by blank.

The formula and λ = 1 are QUIET's (Zou & Xu 2026, arXiv 2605.25955); how it computes satisfy and
surprise is not public. Our choice: satisfy is a judge's verdict on the filling in its place,
surprise how many bits a token costs one fixed reader who does not know the constraint. The same
reader for every filler: else a model that was made worse would be paid for being surprised.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from cqa_helpers.agreement import Interval, interval, limited, resample
from cqa_helpers.cloze import ClozeError, ClozeStory, Filling, Opening, opening
from cqa_helpers.models import LocalModel
from cqa_helpers.records import Verdict
from cqa_helpers.scoring import Asked
from cqa_helpers.scoring import score as bits_of


def read(
    reader: LocalModel,
    stories: Sequence[ClozeStory],
    fillings: Sequence[Filling],
    before: Opening = opening,
) -> pd.DataFrame:
    """Return how surprising each filling is to one reader who does not know the constraint.

    Returns
    -------
    DataFrame
        ``item_id``, ``story``, ``language``, ``blank``, ``source``, ``filler``, ``draw``,
        ``text``, ``finished``, ``bits`` and ``n_tokens`` of the filling's own tokens after all
        that stands before it; bits are nan where nothing was filled in. A token that reaches from
        the text before into the filling counts as the filling's.

    Raises
    ------
    ClozeError
        A filler has two fillings of one blank.
    """
    known = {story.id: story for story in stories}
    there = [f for f in fillings if f.text is not None]
    questions, seams = [], []
    for f in there:
        # A prefix ends in whitespace; what stands between that and the blank is read with the
        # filling and not counted.
        story = known[f.story]
        whole = before(story, None) + story.before(f.blank, f.earlier)
        prefix = whole[: len(whole) - len(re.split(r"\s", whole)[-1])]
        questions.append(Asked(prefix, whole[len(prefix) :] + str(f.text)))
        seams.append(len(whole) - len(prefix))
    counted: dict[str, tuple[float, int]] = {}
    for f, found, seam in zip(there, bits_of(reader, questions), seams, strict=True):
        if f.item_id in counted:
            raise ClozeError(f"{f.item_id}: two fillings of one blank; give them different draws.")
        own = found.bits[found.spans[:, 1] > seam]
        counted[f.item_id] = (float(own.sum()), len(own))
    rows = []
    for f in fillings:
        story = known[f.story]
        bits, n = counted.get(f.item_id, (np.nan, 0))
        rows.append(
            {
                "item_id": f.item_id, "story": f.story, "language": story.language,
                "blank": f.blank, "source": story.blanks[f.blank - 1].source,
                "filler": f.filler, "draw": f.draw, "text": f.text, "finished": f.finished,
                "bits": bits, "n_tokens": n,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def reference(readings: pd.DataFrame, filler: str = "base") -> dict[str, float]:
    """Return the median bits a token of one filler's fillings, by language.

    What it costs the reader when the untouched base fills in: half of its fillings are above.
    """
    own = readings[(readings["filler"] == filler) & readings["bits"].notna()]
    each = own["bits"] / own["n_tokens"]
    return {str(k): float(v) for k, v in each.groupby(own["language"]).median().items()}


def score(
    readings: pd.DataFrame,
    verdicts: Sequence[Verdict],
    at_half: Mapping[str, float],
    *,
    weight: float = 1.0,
    by: Literal["value", "probability"] = "value",
) -> pd.DataFrame:
    """Return the score of each blank: satisfy × (1 + weight · surprise), from 0 to 1 + weight.

    ``satisfy`` is a judge's verdict as a share of its scale, or its probability; repeats are
    averaged. ``surprise`` is h / (h + reference) with h the bits a token: 0 where the filling was
    certain, one half at the reference ``at_half`` of its language, below 1 for the wildest
    (our choice). Noise that does not satisfy scores zero. Where nothing was filled in, or no
    verdict came, there is no score.

    Raises
    ------
    ClozeError
        Verdicts of several judges, or on what was not read; no reference of a language.
    """
    if len(judges := {v.judge_id for v in verdicts}) > 1:
        raise ClozeError(f"Verdicts of {', '.join(sorted(judges))}: score one judge at a time.")
    if lost := sorted({v.item_id for v in verdicts} - set(readings["item_id"])):
        raise ClozeError(f"{len(lost)} judged filling(s) were not read: {', '.join(lost[:3])}.")
    if unknown := sorted(set(readings["language"]) - set(at_half)):
        raise ClozeError(f"No reference of surprise for {', '.join(unknown)}.")
    said: dict[str, list[float]] = {}
    for v in verdicts:
        if (value := _share(v) if by == "value" else v.probability) is not None:
            said.setdefault(v.item_id, []).append(value)
    table = readings.copy()
    means = {item: float(np.mean(values)) for item, values in said.items()}
    table["satisfy"] = table["item_id"].map(means).astype(float)
    each = table["bits"] / table["n_tokens"]
    table["surprise"] = each / (each + table["language"].map(dict(at_half)).astype(float))
    table["score"] = table["satisfy"] * (1 + weight * table["surprise"])
    return table


def of_stories(scored: pd.DataFrame, measure: str = "score") -> pd.DataFrame:
    """Return the mean over a story's blanks that have a value, fillers × stories."""
    return scored.pivot_table(
        index="filler", columns="story", values=measure, aggfunc="mean", sort=False
    )


def as_rows(
    scored: pd.DataFrame, n_boot: int = 2000, seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """Return the table, one row a filler, for show: means over stories, stories resampled.

    Limits need five stories, and means that differ. Fillings without a score and sentences that
    were not brought to an end are counted; a filler without any score keeps its row.
    """
    rows = []
    for filler, mine in scored.groupby("filler", sort=False):
        found = {
            title: tuple(_mean(of_stories(mine, name), n_boot, seed, level))
            for title, name in (("Score", "score"), ("Satisfied", "satisfy"),
                                ("Surprise", "surprise"))
        }  # fmt: skip
        rows.append(
            {
                "Filled by": filler, **found, "Blanks": len(mine),
                "Without a score": int(mine["score"].isna().sum()),
                "Unfinished": int((~mine["finished"]).sum()),
                "Stories": int(mine.loc[mine["score"].notna(), "story"].nunique()),
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def difference(
    scored: pd.DataFrame, a: str, b: str, n_boot: int = 2000, seed: int = 0, level: float = 0.95
) -> Interval:
    """Return filler ``a`` minus ``b`` over the stories that both have a score of.

    Stories alone are resampled: it says nothing of other seeds of a tuning.
    """
    wide = of_stories(scored).reindex([a, b])
    return _mean(wide.loc[[a]] - wide.loc[b], n_boot, seed, level)


def headline(found: Interval, a: str, b: str) -> str:
    """Return the finding as a sentence."""
    if found.value is None:
        return f"No story has a score both as {a} and as {b} filled it in"
    said = f"{a} scores {abs(found.value):.2f} {'above' if found.value >= 0 else 'below'} {b}"
    if found.low is None or found.high is None:
        return f"{said}, on too few stories for an interval"
    limits = f"{found.low:+.2f} to {found.high:+.2f}".replace("-", "−")
    if found.low <= 0 <= found.high:
        return f"No difference to be seen between {a} and {b} as fillers ({limits})"
    return f"{said} ({limits})"


def _share(verdict: Verdict) -> float | None:
    low, high = map(int, verdict.scale.split("-"))
    return None if verdict.value is None else (verdict.value - low) / (high - low)


def _mean(wide: pd.DataFrame, n_boot: int, seed: int, level: float) -> Interval:
    """Return the mean over the stories of the one row, those without a value left out."""
    values = wide.to_numpy(dtype=float).ravel()
    values = values[~np.isnan(values)]
    if not len(values):
        return Interval(None, None, None)
    draws = resample(len(values), n_boot, seed) @ values / len(values)
    # Resamples of values that are all the same would look certain (our choice).
    carried = len(values) if np.ptp(values) > 0 else 0
    return limited(interval(float(values.mean()), draws, level), carried)
