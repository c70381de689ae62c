"""Duality: does tuning on appreciation move what a model writes?

One conditional distribution P(x|y) is read in appreciating and sampled in generating, so a model
that was tuned on diagnoses might also write otherwise. Base, tuned models and the style-only
control continue the same beginnings, and tell the same degraded texts again, under the same seeds.
The untouched base scores what they wrote, the judges judge it, and raters can have it unsigned.
The seed is the unit; the base against itself under other seeds says what noise alone does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from cqa_helpers import cohort, equivalence, likelihood, unsigned
from cqa_helpers.agreement import Interval
from cqa_helpers.calls import CallRecord
from cqa_helpers.cohort import Base, Member
from cqa_helpers.conditions import language_of
from cqa_helpers.equivalence import Equivalence
from cqa_helpers.models import LocalModel
from cqa_helpers.params import Params
from cqa_helpers.prompts import Dialect, prefix
from cqa_helpers.records import Pair, Verdict
from cqa_helpers.seeds import differ, t_interval
from cqa_helpers.study import holm
from cqa_helpers.writings import (
    AGAIN,
    WRITERS,
    Writing,
    as_passages,
    beginning,
    joined,
    openings,
    passage_id,
    table,
    writer,
)

_SPOKEN = re.compile(r"“[^”]*”|\"[^\"\n]*\"|「[^」]*」|『[^』]*』|«[^»]*»|(?<!\w)‘[^‘]*?’(?!\w)")


class DualityError(ValueError):
    """What was written cannot be compared."""


def scored(
    writings: Sequence[Writing], pairs: Sequence[Pair], local: LocalModel,
    dialects: Mapping[str, Dialect], batch_size: int,
) -> pd.DataFrame:  # fmt: skip
    """Return the table with what an untouched model finds of each text, bits per token of its own.

    ``h_neutral`` is H after the neutral prefix, ``h_constrained`` after the pair's constraints,
    which no model was tuned on, and ``information`` their difference. What was continued is part
    of both prefixes. A text that is empty has nan.
    """
    of = {p.id: p for p in pairs}
    found = table(writings).assign(n_tokens=0, h_neutral=np.nan, h_constrained=np.nan)
    kept = [i for i, w in enumerate(writings) if w.text]
    texts = [writings[i].text for i in kept]
    tokens = [len(local.tokenizer(" " + t, add_special_tokens=False)["input_ids"]) for t in texts]
    found.loc[kept, "n_tokens"] = tokens
    for name in ("h_neutral", "h_constrained"):
        before = []
        for i in kept:
            w, pair = writings[i], of[writings[i].pair]
            given = None if name == "h_neutral" else pair.constraints
            head = prefix(dialects[language_of(pair)], given)
            begun = beginning(pair.good) if w.kind == "continuation" else ""
            before.append(joined(head, begun) if begun else head)
        bits = likelihood.bits(local, before, texts, batch_size)
        found.loc[kept, name] = -bits / np.array(tokens)
    return found.assign(information=found["h_neutral"] - found["h_constrained"])


def judged(
    writings: Sequence[Writing], pairs: Sequence[Pair], params: Params, run_dir: Path,
    record: CallRecord, judges: Sequence[Member], *, base: Base | None = None,
) -> list[Verdict]:  # fmt: skip
    """Return the verdicts of members of one arm on what was written.

    Each judges all that was written under the seed before its own, so that no writer is its own
    judge, and of its own seed the base's texts and its own, for :func:`self_preference`. All texts
    by all judges would be three times the work of three seeds.
    """
    assert params.models is not None
    untouched = base or Base(params.models)
    verdicts: list[Verdict] = []
    for k, member in enumerate(judges):
        before = judges[k - 1].seed
        mine = [
            w for w in writings
            if (w.seed == before and w.arm != AGAIN)
            or (w.seed == member.seed and w.arm in ("base", member.arm))
        ]  # fmt: skip
        passages = as_passages(mine, pairs)
        verdicts += cohort.ask(member, untouched, params, passages, run_dir, record)
    return verdicts


def approvals(
    writings: Sequence[Writing], pairs: Sequence[Pair], verdicts: Sequence[Verdict]
) -> pd.DataFrame:
    """Return one row a text, judge and judge's seed; ``good`` is the mean over its dimensions.

    Of P(good) where a judge gives one, else of the verdict on a scale from 0 to 1; what is
    missing is left out of the mean, and nan where nothing is left. ``same_seed`` tells rows in
    which a model judges its own text, or the base's under its own seed, from those to compare.
    """
    of = {p.id: p for p in pairs}
    said: dict[str, dict[tuple[str, int], list[float]]] = {}
    for v in verdicts:
        low, high = map(int, v.scale.split("-"))
        who = said.setdefault(v.item_id, {})
        values = who.setdefault((v.judge_id, int(v.meta.get("seed", v.repeat))), [])
        if v.value is not None:
            values.append(
                (v.value - low) / (high - low) if v.probability is None else v.probability
            )
    rows = [
        w._asdict() | {"judge": judge, "judge_seed": seed, "good": np.mean(values or [np.nan])}
        for w in writings if w.text
        for (judge, seed), values in said.get(passage_id(w, of[w.pair]), {}).items()
    ]  # fmt: skip
    found = pd.DataFrame(rows, columns=[*Writing._fields, "judge", "judge_seed", "good"])
    return found.assign(same_seed=found["seed"] == found["judge_seed"])


class Effect(NamedTuple):
    """A difference between writers.

    ``mean`` has Student's limits over seeds, which are the unit; ``over_pairs`` those of pairs
    resampled for these very models. ``n_missing`` counts texts of the arm without a value.
    """

    mean: Interval
    over_pairs: Interval
    by_seed: dict[int, float]
    n_pairs: int
    n_missing: int
    equivalence: Equivalence | None = None

    @property
    def p(self) -> float | None:
        """Student's two-sided p over seeds; null where they are too few or do not differ."""
        values = list(self.by_seed.values())
        return float(stats.ttest_1samp(values, 0).pvalue) if differ(values) else None


def contrasts(
    found: pd.DataFrame, value: str, level: float = 0.95, *, reference: str = "base",
    margin: float | None = None, n_boot: int = 2000, seed: int = 0,
) -> dict[str, Effect]:  # fmt: skip
    """Return each arm minus the reference in a column, on the same pairs under the same seed.

    Rows of one text, as of several judges, are averaged first. With ``margin``, whether the
    difference is too small to matter.
    """
    known = found.assign(**{value: found[value].astype(float)})
    each = known.groupby(["arm", "seed", "pair"], sort=False)[value].mean().unstack("pair")
    lost = known[value].isna().groupby(known["arm"]).sum()
    if reference not in each.index.get_level_values("arm"):
        raise DualityError(f"Nobody to compare with: no rows of {reference!r}.")
    rng = np.random.default_rng([seed, 31])
    drawn = rng.integers(0, each.shape[1], (n_boot, each.shape[1]))
    effects = {}
    for arm in (a for a in WRITERS if a in each.index.get_level_values("arm") and a != reference):
        gaps = (each.xs(arm) - each.xs(reference)).dropna(how="all")
        nothing = Interval(None, None, None)
        if gaps.empty:
            effects[arm] = Effect(nothing, nothing, {}, 0, int(lost.get(arm, 0)))
            continue
        counted = gaps.to_numpy(dtype=float)
        by_seed = np.nanmean(counted, axis=1)
        mean = t_interval(by_seed, level)
        ok = ~np.isnan(counted)
        totals = np.nan_to_num(counted)[:, drawn].sum(axis=2)
        with np.errstate(invalid="ignore", divide="ignore"):
            again = (totals / ok[:, drawn].sum(axis=2)).mean(axis=0)
        limits = np.nanquantile(again, [(1 - level) / 2, (1 + level) / 2])
        effects[arm] = Effect(
            mean,
            Interval(mean.value, *map(float, limits)),
            {int(str(s)): float(v) for s, v in zip(gaps.index, by_seed, strict=True)},
            int(ok.any(axis=0).sum()),
            int(lost.get(arm, 0)),
            None if margin is None
            else equivalence.of_interval(mean, len(gaps) - 1, margin, level),
        )  # fmt: skip
    return effects


def self_preference(found: pd.DataFrame, level: float = 0.95) -> Effect | None:
    """Return how much more a tuned model approves of its own texts than its other seeds do.

    Less the same for texts of the base under the same seed, so that a lenient judge prefers
    nobody. ``found`` are :func:`approvals`; None with fewer than two seeds.
    """
    mine = found[found["judge"] == writer("cot")]
    means = mine[mine["arm"].isin(["base", "cot"])].groupby(["arm", "seed", "same_seed"])["good"]
    wide = means.mean().unstack("same_seed")
    if not {True, False} <= set(wide) or set(wide.index.get_level_values("arm")) != {"base", "cot"}:
        return None
    more = (wide[True] - wide[False]).unstack("arm")
    by_seed = (more["cot"] - more["base"]).dropna()
    return Effect(
        t_interval(by_seed.to_numpy(dtype=float), level), Interval(None, None, None),
        {int(str(s)): float(v) for s, v in by_seed.items()}, mine["pair"].nunique(),
        int(mine["good"].isna().sum()),
    )  # fmt: skip


def speech_share(text: str) -> float:
    """Return the share of a text's characters that stand within quotation marks."""
    return sum(len(m[0]) for m in _SPOKEN.finditer(text)) / len(text) if text else float("nan")


def lockin(
    writings: Sequence[Writing], dialects: Mapping[str, Dialect], dimensions: Sequence[str],
    spoken: Callable[[str], float] = speech_share,
) -> pd.DataFrame:  # fmt: skip
    """Return the table with what tells of a genre that was not asked for.

    ``words``; ``spoken``, the share in direct speech; ``critique``, whether a section's head or a
    verdict in a dialect's words stands in the text; ``opened``, whether it went over into a
    diagnosis; ``empty``. A Chinese character is a word.
    """
    opening = [o for dialect in dialects.values() for o in openings(dialect)]
    return table(writings).assign(
        words=[unsigned.n_words(w.text) for w in writings],
        spoken=[spoken(w.text) if w.text else np.nan for w in writings],
        critique=[
            any(_is_critique(w.text, dialect, dimensions) for dialect in dialects.values())
            for w in writings
        ],
        opened=[w.end in opening for w in writings],
        empty=[not w.text for w in writings],
    )


def as_rows(found: Mapping[str, Mapping[str, Effect]]) -> pd.DataFrame:
    """Return the table of effects for show, one row a measure and writer."""
    return pd.DataFrame(
        [
            {
                "Measure": measure,
                "Writer": WRITERS[arm],
                "Difference": tuple(e.mean),
                "Pairs resampled": tuple(e.over_pairs),
                "Seeds": len(e.by_seed),
                "Pairs": e.n_pairs,
                "Without a value": e.n_missing,
            }
            for measure, effects in found.items()
            for arm, e in effects.items()
        ]
    )


def lockin_rows(found: pd.DataFrame) -> pd.DataFrame:
    """Return the table of genre lock-in for show: means by writer, shares in [0, 1]."""
    columns = {
        "words": "Words", "spoken": "Direct speech", "critique": "In critique form",
        "opened": "Went over into a diagnosis", "ended": "Ended", "empty": "Empty",
    }  # fmt: skip
    means = found.groupby("arm")[list(columns)].mean().astype(float)
    means = means.reindex([arm for arm in WRITERS if arm in means.index]).rename(columns=columns)
    means.insert(0, "Texts", found.groupby("arm").size())
    return means.rename(index=WRITERS).rename_axis("Writer").reset_index()


def headline(found: Mapping[str, Mapping[str, Effect]], primary: str, unit: str) -> str:
    """Return the finding on the primary measure, the control beside it, and what else moved.

    ``found`` are effects against the base by measure and arm; those beside the primary one are
    held to Holm's correction over them, at .05.
    """
    tuned, control = (found.get(primary, {}).get(arm) for arm in ("cot", "style-only"))
    if tuned is None or tuned.mean.value is None:
        return f"Nothing is known of what tuning does to writing: no {primary} of a tuned model"
    said = f"{_limits(tuned.mean)} {unit}"
    if control is not None and control.mean.value is not None:
        said += f", style-only control {_limits(control.mean)}"
    if tuned.mean.low is None:
        return f"Seeds too few to say whether tuning moves {primary} of what is written: {said}"
    if tuned.mean.high is not None and not tuned.mean.low <= 0 <= tuned.mean.high:
        finding = f"Tuning on diagnoses moves {primary} of what is written: {said}"
    else:
        finding = f"No effect of tuning on {primary} of what is written was found: {said}"
        if tuned.equivalence is not None and tuned.equivalence.equivalent:
            finding += f"; it is within ±{tuned.equivalence.margin:g}"
    also, by_control = (
        _moved({m: e[arm] for m, e in found.items() if m != primary and arm in e})
        for arm in ("cot", "style-only")
    )
    shared, own = [m for m in also if m in by_control], [m for m in also if m not in by_control]
    more = [f"Tuning moves {', '.join(shared)}, and so does the control"] if shared else []
    more += [f"Tuning moves {', '.join(own)}"] if own else []
    return ". ".join([finding, *more])


def _moved(effects: Mapping[str, Effect]) -> list[str]:
    adjusted = holm({measure: effect.p for measure, effect in effects.items()})
    return [measure for measure, p in adjusted.items() if p is not None and p < 0.05]


def _limits(interval: Interval) -> str:
    value, low, high = (None if x is None else f"{x:+.3f}".replace("-", "−") for x in interval)
    return f"{value}" if low is None else f"{value} ({low} to {high})"


def _is_critique(text: str, dialect: Dialect, dimensions: Sequence[str]) -> bool:
    for name, form in dialect.forms.items():
        heads = [form.head.replace("{dimension}", d) for d in dimensions if form.head]
        # A verdict that is a bare word can stand in any prose.
        bare = form.verdict.strip() == "{verdict}"
        words = [] if bare else dialect.words_of(name).values()
        said = [*heads, *(form.verdict.replace("{verdict}", word) for word in words)]
        if any(re.search(rf"(?<!\w){re.escape(each)}", text) for each in said):
            return True
    return False
