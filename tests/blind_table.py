"""Simulated ratings of a blind test, as the table that the analysis reads."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cqa_helpers.sections import Blind, Study

CRITERIA = ("accuracy", "insight", "usefulness", "sign-it")
CUTS = (-2.0, -0.7, 0.7, 2.0)
PLAN = Study(candidate="tuned", reference="gpt4", margin=0.1, level=0.95, n_boot=200)


def blind(**changes: object) -> Blind:
    """Return the blind test's section, raters and passages left to the table."""
    given = {
        "n_items": 20, "judges": ["tuned", "base", "gpt4"], "raters": ["rater-1", "rater-2"],
        "criterion": "sign-it", "margin": 0.5, "margin_points": 0.25, "control": "base",
    }  # fmt: skip
    return Blind.model_validate(given | changes)


def ratings(
    judges: Mapping[str, float],
    n_raters: int = 5,
    n_passages: int = 16,
    seed: int = 0,
    *,
    criteria: tuple[str, ...] = ("sign-it",),
    sd: float = 0.5,
    severity: Mapping[str, float] | None = None,
    fatigue: float = 0.0,
    words: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Return every rater's ratings of every passage, with what is planted in log-odds.

    ``judges`` says how good each is, ``sd`` how far raters, passages and both by judge differ,
    ``fatigue`` what ten sheets more take from a rating. A rank follows one latent value.
    """
    rng = np.random.default_rng(seed)
    names = list(judges)
    by_rater = {r: rng.normal(0, sd, len(names)) for r in range(n_raters)}
    own = {r: rng.normal(0, sd) for r in range(n_raters)}
    rows = []
    turns = [rng.permutation(n_passages) for _ in range(n_raters)]
    for p in range(n_passages):
        level, by_judge = rng.normal(0, sd), rng.normal(0, sd, len(names))
        for r in range(n_raters):
            rater, sheet, position = f"rater-{r + 1}", f"s{r}-{p}", int(turns[r][p]) + 1
            places = rng.permutation(len(names))
            harsh = (severity or {}).get(rater, 0.0)
            base = level + own[r] - harsh - fatigue * position / 10
            eta = [base + judges[j] + by_judge[k] + by_rater[r][k] for k, j in enumerate(names)]
            latent = np.array(eta) + rng.logistic(size=len(names))
            rank = pd.Series(-np.round(latent)).rank(method="min")
            seconds = float(rng.uniform(60, 300))
            for k, judge in enumerate(names):
                length = float((words or {}).get(judge, 80) + rng.integers(0, 40))
                shared = {
                    "rater": rater, "passage": f"p{p}", "judge": judge, "seed": "",
                    "kind": "item", "code": f"{sheet}-{k}", "of": "", "swapped": False,
                    "sheet": sheet, "label": "ABCDEFGH"[places[k]], "position": position,
                    "words": length, "seconds": seconds,
                }  # fmt: skip
                for criterion in criteria:
                    value = 1 + np.searchsorted(CUTS, eta[k] + rng.logistic())
                    rows.append(shared | {"criterion": criterion, "value": float(value)})
                rows.append(shared | {"criterion": "rank", "value": float(rank[k])})
    return pd.DataFrame(rows)
