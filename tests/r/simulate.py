"""Simulate the ratings that R and this package both analyse, and write them as CSV.

Run as ``python tests/r/simulate.py``, then ``Rscript tests/r/clmm.R`` and
``Rscript tests/r/lme4.R``, all from the repository root. The tests need neither.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
JUDGES = ("base", "reference", "tuned")
CUTS = (-2.0, -0.5, 1.0, 2.5)


def ratings(
    seed: int,
    passages: int = 20,
    raters: int = 5,
    passage: float = 1.0,
    rater: float = 0.8,
    diagnosis: float = 0.0,
    slopes: tuple[float, float] = (0.0, 0.0),
    seeds: float = 0.0,
) -> pd.DataFrame:
    """Return simulated ratings of 1 to 5: every rater rates every judge on every passage."""
    rng = np.random.default_rng(seed)
    shape = (passages, len(JUDGES), raters)
    p, j, r = (x.ravel() for x in np.indices(shape))
    position = rng.permuted(np.tile([1, 2, 3], (passages * raters, 1)), axis=1)
    position = position.reshape(passages, raters, 3).transpose(0, 2, 1).ravel()
    length = rng.normal(4.5, 0.3, (passages, len(JUDGES))).round(3)[p, j]
    eta = (
        np.array([0.0, 0.4, 0.9])[j]
        + rng.normal(0, passage, passages)[p]
        + rng.normal(0, rater, raters)[r]
        + rng.normal(0, diagnosis, (passages, len(JUDGES)))[p, j]
        + (j == 2) * np.random.default_rng([seed, 1]).normal(0, seeds, 4)[p % 4]
        + slopes[0] * (position - 2)
        + slopes[1] * (length - 4.5)
        + rng.logistic(size=p.size)
    )
    return pd.DataFrame(
        {
            "passage": [f"p{i:02}" for i in p],
            "judge": [JUDGES[i] for i in j],
            "rater": [f"r{i}" for i in r],
            "position": position,
            "log_length": length,
            "seed": np.where(j == 2, np.char.add("s", (p % 4).astype(str)), ""),
            "value": 1 + np.digitize(eta, CUTS),
        }
    )


TABLES = {
    "crossed": lambda: ratings(11),
    "covariates": lambda: ratings(12, passages=24, raters=4, diagnosis=0.9, slopes=(-0.3, 0.8)),
    "small-variance": lambda: ratings(13, rater=0.25),
    "seeds": lambda: ratings(17, passages=24, raters=4, seeds=0.9),
    "zero-variance": lambda: ratings(14, rater=0.0),
}

if __name__ == "__main__":
    for name, make in TABLES.items():
        make().to_csv(HERE / f"{name}.csv", index=False)
