"""What the study concludes: margins, corrections, the decision table, and power.

Every rule here is declared before data are opened; margins come from params.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from statsmodels.stats.multitest import multipletests

from cqa_helpers.agreement import Interval, Seed, interval, stratified_kappa

Outcome = Literal["not-above-chance", "falls-short", "inconclusive", "matches", "beats"]
Row = Literal["success", "failure-1", "failure-2", "undecided", "not-applicable"]
OUTCOMES: tuple[Outcome, ...] = (
    "not-above-chance", "falls-short", "inconclusive", "matches", "beats",
)  # fmt: skip

TEXTS: dict[Row, str] = {
    "success": (
        "The tuned model matches or beats the reference, and most seeds do so on their own: "
        "expert judgment was transferred."
    ),
    "failure-1": (
        "Too few samples, or too much variance: the tuned model does not reliably reach the "
        "reference. The annotated set is released on its own, and the next step is more of it."
    ),
    "failure-2": (
        "Style and not judgment: a control that learned only how the expert talks rises as the "
        "tuned model does. The annotation protocol is changed to part expression from judgment."
    ),
    "undecided": "The study cannot be decided on these results.",
}


class Conclusion(NamedTuple):
    """What a difference means against its margin."""

    outcome: Outcome
    difference: Interval
    margin: float


class Decision(NamedTuple):
    """A row of the decision table, why it is that row, and what it was computed from."""

    row: Row
    text: str
    decided_by: tuple[str, ...]
    share_of_seeds: float | None


class Power(NamedTuple):
    """Share of simulated studies with each outcome."""

    n_clusters: int
    n_sim: int
    shares: dict[Outcome, float]


def decide(difference: Interval, margin: float, own: Interval | None = None) -> Conclusion:
    """Return what the difference to the reference shows; exactly one outcome holds.

    - ``not-above-chance``: ``own``, the candidate's own kappa, is given and its interval does not
      lie above 0. Beside a reference near zero a judge that never reads would else be a match
      (what trials call assay sensitivity).

    - ``beats``: the whole interval lies above 0.
    - ``matches``: not that, but the whole interval lies above −margin (non-inferiority).
    - ``falls-short``: not that, and the whole interval lies below 0: reliably worse, and a match
      within the margin is not shown.
    - ``inconclusive``: the interval holds 0 and reaches −margin, or it is undefined.

    A narrow interval wholly between −margin and 0 *matches*: that is what the margin declares.

    Raises
    ------
    ValueError
        A margin that is not positive, or limits in the wrong order.
    """
    if not margin > 0:
        raise ValueError(f"margin {margin} must be above 0")
    _, low, high = difference
    if low is None or high is None:
        return Conclusion("inconclusive", difference, margin)
    if not low <= high:
        raise ValueError(f"the interval runs from {low} to {high}")
    if own is not None and not _rises(own):
        return Conclusion("not-above-chance", difference, margin)
    if low > 0:
        return Conclusion("beats", difference, margin)
    if low > -margin:
        return Conclusion("matches", difference, margin)
    return Conclusion("falls-short" if high < 0 else "inconclusive", difference, margin)


def sentence(
    conclusion: Conclusion,
    candidate: str = "The tuned model",
    reference: str = "GPT-4",
    measure: str = "agreement with experts (κ)",
    level: float = 0.95,
) -> str:
    """Return the conclusion as one plain sentence with its interval, for people with no time."""
    value, low, high = conclusion.difference
    margin = conclusion.margin
    if value is None or low is None or high is None:
        return (
            f"{candidate} and {reference} cannot be compared: the difference in {measure} is "
            "not defined on these data."
        )
    digits = _digits((low, high), (0.0, -margin))
    shown = (
        f"{_number(value, digits)} ({level:.0%} interval {_number(low, digits)} to "
        f"{_number(high, digits)})"
    )
    limit = f"{margin:g}"
    if conclusion.outcome == "not-above-chance":
        return (
            f"{candidate} does not agree with experts beyond chance, so no difference to "
            f"{reference} counts for it: it is {shown}."
        )
    if conclusion.outcome == "beats":
        return f"{candidate} beats {reference}: its {measure} is higher by {shown}."
    if conclusion.outcome == "matches":
        lower = ", reliably lower yet" if high < 0 else ","
        return (
            f"{candidate} matches {reference}: the difference in {measure} is {shown}{lower} "
            f"within the margin of {limit} set beforehand."
        )
    if conclusion.outcome == "falls-short":
        return (
            f"{candidate} falls short of {reference}: the difference in {measure} is {shown}, "
            f"below zero and not within the margin of {limit} set beforehand."
        )
    who = candidate.replace("The ", "the ", 1)
    return (
        f"The data do not tell whether {who} matches {reference}: "
        f"the difference in {measure} is {shown}, which holds both zero and a shortfall of {limit} "
        "or more."
    )


def headline(conclusion: Conclusion, candidate: str, reference: str) -> str:
    """Return the conclusion as a figure's title, without its numbers."""
    said = {
        "not-above-chance": "does not agree with experts beyond chance",
        "beats": f"agrees with experts more than {reference} does",
        "matches": f"matches {reference} within the margin",
        "falls-short": f"falls short of {reference}",
        "inconclusive": f"cannot be told from {reference} on these data",
    }
    return f"{candidate} {said[conclusion.outcome]}"


def no_tuning() -> Decision:
    """Return what the table says where nothing was tuned: no row holds."""
    return Decision(
        "not-applicable",
        "This profile tunes no model, so no row of the table can hold. It measures the bar that a "
        "tuned model has to reach.",
        (),
        None,
    )


def bootstrap_p(draws: ArrayLike) -> float | None:
    """Return the two-sided p of no difference from bootstrap differences; null without any.

    Twice the smaller share of draws on either side of 0, plus one in each count so that p is
    never 0: it falls below 1 − level about when the percentile interval leaves out 0.
    """
    d = np.asarray(draws, dtype=float)
    d = d[~np.isnan(d)]
    if d.size == 0:
        return None
    below, above = int((d <= 0).sum()), int((d >= 0).sum())
    return float(min(1.0, 2 * (min(below, above) + 1) / (d.size + 1)))


def holm(p_values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return Holm-adjusted p-values of the declared tests by name.

    Holm 1979, by statsmodels. A test that gave no p stays null and still counts as one of those
    declared, so that a missing result never makes the others easier (our choice).
    """
    if not p_values:
        return {}
    filled = [1.0 if p is None else p for p in p_values.values()]
    adjusted = multipletests(filled, method="holm")[1]
    return {
        name: None if p is None else float(q)
        for (name, p), q in zip(p_values.items(), adjusted, strict=True)
    }


def share_above(seed_differences: Sequence[float | None], threshold: float) -> float | None:
    """Return the share of seeds whose difference to the reference exceeds a threshold.

    A seed without a result counts among the seeds and not among those that exceed. Null where
    there are no seeds.
    """
    if not seed_differences:
        return None
    return sum(d is not None and d > threshold for d in seed_differences) / len(seed_differences)


def decision_table(
    primary: Conclusion,
    seed_differences: Sequence[float | None],
    style_only: Interval | None,
    shuffled: Interval | None,
    tuned_over_style: Interval | None = None,
    tuned: Interval | None = None,
    raters: Outcome | None = None,
    needed_share: float = 0.8,
) -> Decision:
    """Return the row of the pre-stated conclusions that holds, and what decided it.

    The rows are the proposal's; the rules are our choice, in this order:

    1. The shuffled control rises: something leaks, and the study is ``undecided``.
    2. The style-only control rises and the tuned model is not reliably above it: ``failure-2``.
    3. The tuned model's own kappa is not above chance: ``failure-1``, whatever the reference
       does; to beat a reference that is below chance shows nothing.
    4. The primary result beats or matches, and so does the needed share of seeds: ``success``;
       with fewer seeds ``failure-1``. Where blind raters put the tuned model reliably below the
       reference, agreement with experts and worth in professionals' eyes part: ``undecided``.
    5. The primary result falls short, or is inconclusive with fewer seeds than needed above the
       reference: ``failure-1``. Inconclusive with enough seeds above it: ``undecided``.

    Parameters
    ----------
    primary
        Tuned minus reference.
    seed_differences
        Each seed's own difference to the reference. Where the primary result matches, a seed
        counts from −margin on; otherwise it must lie above 0.
    style_only, shuffled
        Each control minus the base model. A control *rises* where its interval lies above 0.
    tuned_over_style
        Tuned minus style-only. Without it, any rise of the style-only control is failure 2.
    tuned
        The tuned model's own kappa. Without it, rule 3 is not applied.
    raters
        The outcome of the blind test, where there is one.
    needed_share
        Share of seeds that makes a result reliable.
    """
    threshold = -primary.margin if primary.outcome == "matches" else 0.0
    share = share_above(seed_differences, threshold)
    missing = [
        name
        for name, absent in (
            ("the primary difference", primary.difference.low is None),
            ("the seeds", share is None),
            ("the style-only control", style_only is None or style_only.low is None),
            ("the shuffled control", shuffled is None or shuffled.low is None),
        )
        if absent
    ]

    def decision(row: Row, *by: str) -> Decision:
        return Decision(row, TEXTS[row], by, share)

    if _rises(shuffled):
        return decision("undecided", "the shuffled control rises: find the leak")
    if _rises(style_only) and not _rises(tuned_over_style):
        return decision("failure-2", "the style-only control rises")
    if missing or share is None:
        return decision("undecided", *(f"no result for {name}" for name in missing))
    if tuned is not None and not _rises(tuned):
        return decision("failure-1", "the tuned model is not above chance")
    by: tuple[str, ...] = (
        f"primary: {primary.outcome}",
        f"seeds: {share:.0%} of {len(seed_differences)}",
    )
    reliable = share >= needed_share
    if raters is not None:
        by = (*by, f"blind raters: {raters}")
    if primary.outcome in ("beats", "matches") and reliable and raters == "falls-short":
        return decision("undecided", *by, "experts' verdicts and blind raters part")
    if primary.outcome in ("beats", "matches") and reliable:
        return decision("success", *by)
    if primary.outcome == "inconclusive" and reliable:
        return decision("undecided", *by, "more test items are needed")
    return decision("failure-1", *by)


def simulate_power(
    counts_a: NDArray[np.int64],
    counts_b: NDArray[np.int64],
    n_clusters: int,
    margin: float,
    n_sim: int = 200,
    n_boot: int = 500,
    seed: Seed = 0,
    level: float = 0.95,
) -> Power:
    """Return how often a study of this many clusters would reach each outcome.

    Each simulated study draws clusters from the pilot's and is analysed as the real one: kappa
    difference, clustered bootstrap, margin. The pilot stands for the population, so a small or
    peculiar pilot misleads.

    Parameters
    ----------
    counts_a, counts_b
        The pilot's tables ``(cluster, dimension, K, K)`` of candidate and reference, as from
        :func:`cqa_helpers.pairing.pair_tables`; summed over dimensions (one stratum), chance is
        pooled.
    n_clusters
        Clusters in the study that is planned.

    Raises
    ------
    ValueError
        The two pilots do not have the same clusters and values, or no cluster is asked for.
    """
    if counts_a.shape != counts_b.shape or counts_a.ndim != 4:
        raise ValueError(f"pilot tables of shapes {counts_a.shape} and {counts_b.shape} differ")
    if n_clusters < 1:
        raise ValueError(f"a study of {n_clusters} clusters")
    rng = np.random.default_rng(seed)
    tallies: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
    for drawn in rng.multinomial(n_clusters, np.full(len(counts_a), 1 / len(counts_a)), n_sim):
        # Resampling the drawn clusters is drawing from the pilot's with the drawn shares.
        times = rng.multinomial(n_clusters, drawn / n_clusters, n_boot)
        a, b = (
            stratified_kappa(np.tensordot(np.vstack([drawn, times]), counts, 1))
            for counts in (counts_a, counts_b)
        )
        d = a - b
        tallies[decide(interval(float(d[0]), d[1:], level), margin).outcome] += 1
    return Power(n_clusters, n_sim, {name: n / n_sim for name, n in tallies.items()})


def _rises(found: Interval | None) -> bool:
    return found is not None and found.low is not None and found.low > 0


def _digits(limits: tuple[float, float], borders: tuple[float, float]) -> int:
    """Return the fewest decimals, two to four, at which no limit looks like a border."""
    for digits in (2, 3):
        if all(round(x, digits) != round(b, digits) for x in limits for b in borders if x != b):
            return digits
    return 4


def _number(value: float, digits: int) -> str:
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else f"{0:.{digits}f}"
