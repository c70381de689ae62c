"""Good against degraded: what tuning changes in how models read pairs (Δ(ΔI), both directions).

Reading A (sensitivity) is the change of I of the good text, reading B (contrast) that of
I(good) − I(degraded); which direction and reading are primary is declared in params, and so is the
last checkpoint. The judgment direction gives I but for log2 p(y), which tuning moves too: it is
gone from B and from literary minus factual, but a model that calls all texts good rises in A.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from cqa_helpers import gains, study
from cqa_helpers.agreement import Seed
from cqa_helpers.arms import TITLES
from cqa_helpers.conditions import JOINT, NEUTRAL
from cqa_helpers.gains import Drift, Gain
from cqa_helpers.records import Pair

CONTROL = "style-only"
GROUPS = ("literary", "factual")
INTERACTION = "literary − factual"
_MODEL = ["arm", "seed", "checkpoint", "last"]
_PAIR = ["group", "language", "dimension"]
_MEASURE = ["direction", "reading", "condition", "unit"]


class PairwiseError(ValueError):
    """Readings do not belong together."""


class Effect(NamedTuple):
    """A gain and whose it is: an arm's, or (``against``) an arm's beyond the style-only control's.

    ``group`` is literary, factual or literary − factual; ``checkpoint`` the training step.
    """

    arm: str
    against: str | None
    checkpoint: int
    last: bool
    group: str
    direction: str
    reading: str
    condition: str
    unit: str
    gain: Gain


class Checkpoint(NamedTuple):
    """Drift of one tuned model: the pairs of one seed, at its last checkpoint."""

    arm: str
    seed: int
    group: str
    direction: str
    reading: str
    unit: str
    drift: Drift


def difference(pair: Pair) -> tuple[str, str]:
    """Return the words in which good and degraded differ, with a little around them."""
    good, bad = pair.good.split(), pair.degraded.split()
    blocks = difflib.SequenceMatcher(None, good, bad, autojunk=False).get_opcodes()
    changed = [b for b in blocks if b[0] != "equal"]
    first, last = changed[0], changed[-1]
    return (
        " ".join(good[max(first[1] - 4, 0) : last[2] + 4]),
        " ".join(bad[max(first[3] - 4, 0) : last[4] + 4]),
    )


def changes(texts: pd.DataFrame, judgments: pd.DataFrame) -> pd.DataFrame:
    """Return after minus before of every pair, in bits; before is the same seed's base.

    Parameters
    ----------
    texts
        One row a model, pair, side and condition: ``bits`` with ``n_tokens`` and ``n_chars``.
    judgments
        One row a model, pair and side: ``bits``.

    Returns
    -------
    DataFrame
        ``arm, seed, checkpoint, last, pair, group, language, dimension, direction, reading,
        condition, unit, value``: a row for each tuned model, condition it was read under and pair
        of any model, nan where anything it takes is missing. ``condition`` is "" and ``unit``
        "passage" in the judgment direction.

    Raises
    ------
    PairwiseError
        A reading stands twice, or a tuned model's seed has no readings of the base.
    """
    columns = [*_MODEL, "pair", *_PAIR, *_MEASURE, "value"]
    made = [_after_before(parts) for parts in (_of_texts(texts), _of_judgments(judgments)) if parts]
    if not made:
        return pd.DataFrame(columns=columns)
    about = pd.concat([texts, judgments])[["pair", *_PAIR]].drop_duplicates("pair")
    return pd.concat(made, ignore_index=True).merge(about, on="pair", how="left")[columns]


def _of_texts(texts: pd.DataFrame) -> dict[tuple[str, ...], pd.Series]:
    if texts.empty:
        return {}
    parts: dict[tuple[str, ...], pd.Series] = {}
    for unit, per in (("token", "n_tokens"), ("char", "n_chars")):
        h = _wide(texts.assign(h=texts["bits"] / texts[per]), "h", ["side", "condition"])
        conditions = dict.fromkeys([NEUTRAL, *texts["condition"]])
        h = h.reindex(columns=pd.MultiIndex.from_product([("good", "degraded"), conditions]))
        for condition in [c for c in conditions if c != NEUTRAL]:
            # A model that was not asked under a condition, as on the way, lacks nothing there.
            asked = texts.loc[texts["condition"] == condition, _MODEL].drop_duplicates()
            models = pd.MultiIndex.from_frame(h.index.to_frame()[_MODEL])
            mine = h[models.isin(pd.MultiIndex.from_frame(asked))]
            good, bad = (
                mine[(side, NEUTRAL)] - mine[(side, condition)] for side in ("good", "degraded")
            )
            parts["text", "A", condition, unit] = good
            parts["text", "B", condition, unit] = good - bad
    return parts


def _of_judgments(judgments: pd.DataFrame) -> dict[tuple[str, ...], pd.Series]:
    if judgments.empty:
        return {}
    bits = _wide(judgments, "bits", ["side"])
    return {
        ("judgment", "A", "", "passage"): bits["good"],
        ("judgment", "B", "", "passage"): bits["good"] - bits["degraded"],
    }


def _wide(readings: pd.DataFrame, value: str, over: list[str]) -> pd.DataFrame:
    keys = [*_MODEL, "pair"]
    twice = readings.duplicated([*keys, *over])
    if twice.any():
        row = readings.loc[twice, [*keys, *over]].iloc[0].to_dict()
        raise PairwiseError(f"{int(twice.sum())} reading(s) stand twice, the first: {row}.")
    return readings.pivot(index=keys, columns=over, values=value)


def _after_before(parts: dict[tuple[str, ...], pd.Series]) -> pd.DataFrame:
    table = pd.concat(parts, names=_MEASURE).unstack("pair")
    arm, seed = (table.index.get_level_values(name) for name in ("arm", "seed"))
    after = table[arm != "base"]
    before = table[arm == "base"].droplevel(["arm", "checkpoint", "last"])
    if lost := sorted(set(seed[arm != "base"]) - set(seed[arm == "base"])):
        raise PairwiseError(f"seed(s) {lost} have tuned models and no readings of the base.")
    same = pd.MultiIndex.from_frame(after.index.to_frame()[[*_MEASURE, "seed"]])
    gone = pd.DataFrame(
        after.to_numpy() - before.reindex(same).to_numpy(), after.index, table.columns
    )
    return gone.reset_index().melt([*_MEASURE, *_MODEL], var_name="pair")


def declared(found: pd.DataFrame) -> pd.DataFrame:
    """Return the changes that are tested: judgment, and joint constraints by token."""
    return found[(found["condition"].isin([JOINT, ""])) & (found["unit"] != "char")]


def effects(found: pd.DataFrame, level: float) -> list[Effect]:
    """Return every gain in ``found``: by arm, checkpoint, group and measure.

    Each also for literary minus factual ("significant here, not there" is no test of a
    difference) and for each arm minus the style-only control, seed by seed and pair by pair.
    Checkpoints are matched by step, the last ones with each other.
    """
    step = found["checkpoint"].where(~found["last"].astype(bool), -1)
    made = []
    for key, cell in found.assign(step=step).groupby([*_MEASURE, "step"], sort=False):
        direction, reading, condition, unit, at = map(str, key)
        tables = {
            (str(arm), str(group)): part.pivot(index="seed", columns="pair", values="value")
            for (arm, group), part in cell.groupby(["arm", "group"])
        }
        steps = cell.groupby("arm")["checkpoint"].max()
        for arm in (a for a in TITLES if a in steps.index):
            for against in (None, CONTROL):
                own = {g: tables[arm, g] for g in GROUPS if (arm, g) in tables}
                if against:
                    own = {g: t - tables[CONTROL, g] for g, t in own.items()
                           if (CONTROL, g) in tables and arm != CONTROL}  # fmt: skip
                tested = [(g, [t], [1]) for g, t in own.items()]
                if len(own) == 2:
                    tested.append((INTERACTION, list(own.values()), [1, -1]))
                for group, some, signs in tested:
                    made.append(
                        Effect(arm, against, int(steps[arm]), at == "-1", group, direction, reading,
                               condition, unit, gains.gain(some, signs, level))
                    )  # fmt: skip
    return made


def last(found: Iterable[Effect], direction: str, reading: str) -> list[Effect]:
    """Return the declared gains at the last checkpoint in one direction and reading."""
    return [
        e
        for e in found
        if e.last and _is_declared(e) and (e.direction, e.reading) == (direction, reading)
    ]


def checkpoints(found: pd.DataFrame, level: float, rng: Seed = 0) -> list[Checkpoint]:
    """Return the drift of every tuned model at its last checkpoint in the declared changes."""
    kept = declared(found)
    keys = ["arm", "seed", "group", "direction", "reading", "unit"]
    generator = np.random.default_rng(rng)
    rows = [
        Checkpoint(arm, int(seed), group, direction, reading, unit,
                   gains.drift(part["value"].to_numpy(dtype=float), level, generator))
            for key, part in kept[kept["last"].astype(bool)].groupby(keys)
        for arm, seed, group, direction, reading, unit in [map(str, key)]
    ]  # fmt: skip
    return sorted(rows, key=lambda r: (list(TITLES).index(r.arm), GROUPS.index(r.group)))


def declared_tests(found: Iterable[Effect], arm: str, direction: str) -> dict[str, Effect]:
    """Return an arm's interactions in one direction, by name: each checkpoint and reading."""
    return {
        f"step {e.checkpoint}{' (last)' * e.last}, reading {e.reading}": e
        for e in found
        if _is_declared(e)
        and (e.arm, e.against, e.group, e.direction) == (arm, None, INTERACTION, direction)
    }


def corrected(tests: Mapping[str, Effect]) -> dict[str, float | None]:
    """Return Holm's p of declared tests by name: two-sided, seeds and pairs at random.

    A test that gave no p counts as one all the same.
    """
    return study.holm({name: e.gain.p for name, e in tests.items()})


def results(found: Sequence[Effect], drifts: Sequence[Checkpoint]) -> dict[str, Any]:
    """Return the section of ``results.json``: gains at the last checkpoint, by what they are of.

    ``changes`` and ``over_style_only`` are by direction, reading, arm and group; ``one_checkpoint``
    by direction, reading, arm, group and seed.
    """
    section: dict[str, Any] = {"changes": {}, "over_style_only": {}, "one_checkpoint": {}}
    for e in (e for e in found if e.last and _is_declared(e)):
        where = section["over_style_only" if e.against else "changes"]
        for name in (e.direction, e.reading, e.arm):
            where = where.setdefault(name, {})
        where[e.group] = e.gain
    for c in drifts:
        where = section["one_checkpoint"]
        for name in (c.direction, c.reading, c.arm, c.group):
            where = where.setdefault(name, {})
        where[str(c.seed)] = c.drift
    return section


def _is_declared(effect: Effect) -> bool:
    return effect.condition in (JOINT, "") and effect.unit != "char"
