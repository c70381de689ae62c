# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 · Blind analysis
#
# What the study must decide was written down before data were opened: the comparison, its margin,
# and what each outcome will be taken to mean. This notebook only carries it out.

# %% tags=["parameters"]
params_file = "params/rehearsal.yaml"  # one YAML is one run
run_dir = "runs/rehearsal"  # where outputs go, from the repository root

# %%
import pandas as pd

from cqa_helpers import (
    blinding,
    contrasts,
    corpus,
    figures,
    paths,
    provenance,
    records,
    results,
    standing,
    study,
)
from cqa_helpers import params as run_params

watch = provenance.Stopwatch()
figures.use_style()
params = run_params.load(params_file)
run = paths.at(run_dir)
plan = params.study
material = corpus.prepare(params, run)
results.load(run, "04-judge")  # says what to do if the judges have not judged yet
table = pd.read_parquet(run / "verdicts.parquet")
experts = standing.experts_of(table)
print(f"Plan {blinding.plan_hash(params)}: {plan.candidate} minus {plan.reference}, margin {plan.margin} in κ, {plan.level:.0%} intervals")

# %% [markdown]
# ## The declared comparison
#
# Kappa against single experts with chance taken within each dimension; passages and seeds are
# both resampled. *Beats*: the whole interval lies above zero. *Matches*: it lies above minus the
# margin. Either counts only if the candidate's own agreement is above chance: beside a reference
# near zero, a judge that never reads would else be a match.

# %%
others = [j for j in standing.judges_of(table) if j != plan.reference]
contrast, outcome = {}, {}
for judge in others:
    usable = table[(table["judge_id"] == judge) & (table["status"] == "ok")]
    if judge != "experts" and usable.empty:
        continue
    contrast[judge] = contrasts.seed_contrast(
        table, judge, plan.reference, experts, n_boot=plan.n_boot, seed=params.seed, level=plan.level
    )
    outcome[judge] = study.decide(contrast[judge].overall.difference, plan.margin, contrast[judge].candidate)
primary = outcome[plan.candidate]
p_values = {
    j: study.bootstrap_p(contrast[j].overall.draws) for j in contrast if j != plan.candidate
}
adjusted = study.holm(p_values)
name = standing.name_of
sentence = study.sentence(
    primary,
    candidate=standing.title_of(plan.candidate),
    reference=name(plan.reference),
    level=plan.level,
)
print(sentence)

# %%
#| label: fig-primary
#| fig-cap: "Difference in agreement with a single expert (κ, chance within each dimension) between each judge and the reference, on the same passages; 95 % intervals, passages and seeds resampled. Open rings are single seeds."
blind_judges = set(params.judging.baselines)
shown = [plan.candidate, *sorted((j for j in contrast if j != plan.candidate and j not in blind_judges), key=lambda j: -contrast[j].overall.difference.value)]
shown += [j for j in contrast if j in blind_judges]
rows = pd.DataFrame(
    [
        {
            "label": name(j),
            "role": figures.role_of(j, plan.reference, params.judging.recorded),
            **contrast[j].overall.difference.as_dict(),
        }
        for j in shown
    ]
)
figures.forest(
    rows,
    title=study.headline(primary, standing.title_of(plan.candidate), name(plan.reference)),
    subtitle=f"κ minus that of {name(plan.reference)}, {contrast[plan.candidate].overall.n_clusters} held-out passages",
    xlabel="difference in Cohen's κ",
    lines={0.0: "no difference", -plan.margin: "margin"},
    dots={name(j): [d for d in contrast[j].by_repeat.values() if d is not None] for j in shown if len(contrast[j].by_repeat) > 1},
);  # fmt: skip

# %%
#| label: tbl-primary
#| tbl-cap: "The declared test, and the same test for everyone else. The judges that never read must not pass it. p: bootstrap, two-sided, Holm-adjusted over the secondary comparisons."
figures.show_table(
    pd.DataFrame(
        [
            {
                "Judge": name(j),
                "Role": "primary" if j == plan.candidate else ("must not pass" if j in blind_judges else "secondary"),
                "κ minus reference": tuple(contrast[j].overall.difference),
                "Own κ": tuple(contrast[j].candidate),
                "Outcome": outcome[j].outcome.replace("-", " "),
                "p, Holm": None if j == plan.candidate else adjusted[j],
            }
            for j in shown
        ]
    ),
    digits=2,
)

# %% [markdown]
# ## What blind raters saw
#
# The key is opened once, for these ratings and under this plan; changed terms are refused.

# %%
#| label: tbl-blind
#| tbl-cap: "Ratings of unsigned diagnoses, 1 to 5: mean by judge, and the difference from the reference with each rater's severity taken out (95 % interval, passages and raters resampled)."
returned = corpus.ratings(params, run)
blind = None
if returned is None:
    print("No ratings in this profile." if params.blind is None else "No ratings have been returned yet.")
else:
    key = {d.code: d for d in blinding.open_key(params, run, returned)}
    ratings = pd.DataFrame(
        [
            {"judge_id": key[v.item_id].judge_id, "passage_id": key[v.item_id].passage_id, "rater_id": v.judge_id, "value": v.value}
            for v in records.read_jsonl(returned, records.Verdict)
        ]
    ).astype({"value": "float"})
    reference = plan.reference
    blind = {
        "n_ratings": int(ratings["value"].notna().sum()),
        "n_raters": int(ratings["rater_id"].nunique()),
        "n_passages": int(ratings["passage_id"].nunique()),
        "judges": {
            judge: {
                "mean": float(rows["value"].mean()),
                "n": len(rows),
                "minus_reference": None if judge == reference else contrasts.rating_contrast(ratings, judge, reference, plan.n_boot, params.seed, plan.level),
            }
            for judge, rows in ratings.groupby("judge_id")
        },
    }
    figures.show_table(
        pd.DataFrame(
            [
                {"Judge": name(j), "Ratings": e["n"], "Mean": e["mean"], "Minus reference": None if e["minus_reference"] is None else tuple(e["minus_reference"])}
                for j, e in sorted(blind["judges"].items(), key=lambda item: -item[1]["mean"])
            ]
        )
    )

# %% [markdown]
# ## The decision table
#
# Each outcome was given its meaning beforehand, failures included.

# %%
if params.tuning is None:
    decision = study.no_tuning()
else:
    controls = {
        arm: contrasts.seed_contrast(table, f"tuned-{arm}", "base", experts, n_boot=plan.n_boot, seed=params.seed, level=plan.level)
        if f"tuned-{arm}" in set(table["judge_id"]) else None
        for arm in ("style-only", "shuffled")
    }
    over_style = (
        contrasts.seed_contrast(table, plan.candidate, "tuned-style-only", experts, n_boot=plan.n_boot, seed=params.seed, level=plan.level).overall.difference
        if controls["style-only"] else None
    )
    decision = study.decision_table(
        primary,
        list(contrast[plan.candidate].by_repeat.values()),
        *(c and c.overall.difference for c in controls.values()),
        tuned_over_style=over_style,
        tuned=contrast[plan.candidate].candidate,
    )

# %%
#| label: tbl-decision
#| tbl-cap: "What each outcome was declared to mean, and the row that holds in this run."
figures.show_table(
    pd.DataFrame(
        [
            {"Holds": "→" if row == decision.row else "", "Row": row.replace("-", " "), "Declared to mean": text}
            for row, text in study.TEXTS.items()
        ]
    )
)
print(f"{decision.row}: decided by {'; '.join(decision.decided_by) or 'nothing tuned'}")

# %% [markdown]
# ## Was what was planted found again?
#
# Only a rehearsal can ask this: its truth is known.

# %%
#| label: tbl-recovery
#| tbl-cap: "What was planted, and what the pipeline found: share of verdicts equal to the planted truth."
recovery = None
if params.corpus.people is not None:
    truth = corpus.planted(params)
    known = table[table["status"] == "ok"].copy()
    known["right"] = [truth[i][d] == v for i, d, v in zip(known["item_id"], known["dimension"], known["value"], strict=True)]
    known["who"] = known["judge_id"].where(~known["judge_id"].isin(experts), "experts")
    share = known.groupby("who")["right"].mean()
    people = params.corpus.people
    recovery = {
        "experts": {"planted": people.expert_accuracy, "found": share["experts"]},
        "reference": {"planted": people.reference_accuracy, "found": share["reference"]},
        **{j: {"planted": 0.5, "found": share[j]} for j in ("base", "tuned-style-only", "tuned-shuffled") if j in share},
        **({"tuned": {"planted": None, "found": share["tuned"]}} if "tuned" in share else {}),
    }
    figures.show_table(
        pd.DataFrame([{"Who": name(j), "Planted": e["planted"], "Found": e["found"]} for j, e in recovery.items()]), digits=3
    )
else:
    print("Nothing is planted in this profile.")

# %%
results.save(
    run,
    "05-blind-analysis",
    {
        "primary": {
            "candidate": name(plan.candidate),
            "reference": name(plan.reference),
            "difference": primary.difference,
            "own_kappa": contrast[plan.candidate].candidate,
            "margin": plan.margin,
            "conclusion": primary.outcome,
            "sentence": sentence,
            "by_seed": contrast[plan.candidate].by_repeat,
        },
        "secondary": {
            j: {"difference": contrast[j].overall.difference, "conclusion": outcome[j].outcome, "p": p_values[j], "p_holm": adjusted[j]}
            for j in p_values
        },
        "decision": {"row": decision.row, "conclusion": decision.text, "decided_by": list(decision.decided_by), "share_of_seeds": decision.share_of_seeds},
        "blind": blind,
        "recovery": recovery,
        "plan": blinding.plan_hash(params),
        "provenance": provenance.block(params, "05-blind-analysis", watch, corpus.files(run)),
    },
)
