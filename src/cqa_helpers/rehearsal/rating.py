"""Simulated blind raters: they see whether a diagnosis is right, and err at declared rates.

They know no judge. What makes them prefer one is how many of its verdicts are the planted truth.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cqa_helpers.records import Verdict
from cqa_helpers.sheets import RANK


@dataclass(frozen=True)
class Noise:
    """How an unsigned diagnosis is scored from 1 to 5; all on the latent scale.

    latent = base + gain x (share of verdicts that are right) + severity of the rater
    + effect of the passage + noise; a criterion adds its own noise, and is rounded and cut to
    1..5. Neighbours in a sheet's ranking that lie within ``tie`` share a rank.
    """

    base: float = 1.0
    gain: float = 3.6
    rater_sd: float = 0.4
    passage_sd: float = 0.3
    noise_sd: float = 0.5
    criterion_sd: float = 0.5
    tie: float = 0.2


class Seen(NamedTuple):
    """A coded diagnosis on a rater's sheet; ``foreign`` if it was written for another passage."""

    code: str
    rater_id: str
    sheet: str
    passage_id: str
    values: Mapping[str, int | None]
    foreign: bool = False


def rate(
    seen: Sequence[Seen],
    truth: Mapping[str, Mapping[str, int]],
    criteria: Sequence[str],
    noise: Noise | None = None,
    seed: int = 0,
) -> list[Verdict]:
    """Return a rating by each criterion and a rank for each diagnosis, by its own rater.

    ``truth`` gives the planted truth by passage id and dimension. A missing verdict is not right,
    and nothing of a foreign diagnosis is. A lone diagnosis on a sheet gets no rank.

    Raises
    ------
    KeyError
        A diagnosis is of a passage without known truth.
    """
    if unknown := sorted({d.passage_id for d in seen} - set(truth)):
        raise KeyError(f"no planted truth for passage(s) {unknown}: pass the truth of each")
    by = noise or Noise()
    rng = np.random.default_rng(seed)
    passages, raters = (sorted(set(names)) for names in ((d.passage_id for d in seen),
                                                         (d.rater_id for d in seen)))  # fmt: skip
    effects = dict(zip(passages, by.passage_sd * rng.standard_normal(len(passages)), strict=True))
    severity = dict(zip(raters, by.rater_sd * rng.standard_normal(len(raters)), strict=True))
    latent: dict[str, dict[str, float]] = defaultdict(dict)
    rows: list[Verdict] = []
    # Sorted, so that the order in which packets were made changes nothing.
    for d in sorted(seen, key=lambda d: d.code):
        key = truth[d.passage_id]
        share = 0.0 if d.foreign else np.mean([d.values.get(k) == key[k] for k in key])
        felt = by.base + by.gain * share + severity[d.rater_id] + effects[d.passage_id]
        felt += by.noise_sd * rng.standard_normal()
        latent[d.sheet][d.code] = float(felt)
        own = felt + by.criterion_sd * rng.standard_normal(len(criteria))
        rows += [_row(d, c, int(np.clip(np.rint(x), 1, 5)), "1-5")
                 for c, x in zip(criteria, own, strict=True)]  # fmt: skip
    places = {sheet: _places(felts, by.tie) for sheet, felts in latent.items() if len(felts) > 1}
    rows += [
        _row(d, RANK, places[d.sheet][d.code], f"1-{len(places[d.sheet])}")
        for d in sorted(seen, key=lambda d: d.code)
        if d.sheet in places
    ]
    return rows


def _places(felt: Mapping[str, float], tie: float) -> dict[str, int]:
    """Return ranks, 1 the best; neighbours closer than ``tie`` share the better one."""
    places: dict[str, int] = {}
    above = None
    for n, code in enumerate(sorted(felt, key=lambda code: -felt[code]), start=1):
        near = above is not None and felt[above] - felt[code] <= tie
        places[code] = places[above] if above is not None and near else n
        above = code
    return places


def _row(seen: Seen, criterion: str, value: int, scale: str) -> Verdict:
    return Verdict(
        item_id=seen.code, dimension=criterion, judge_id=seen.rater_id, value=value, scale=scale,
        meta={"simulated": True, "sheet": seen.sheet},
    )  # fmt: skip
