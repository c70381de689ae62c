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
    corpus,
    declared,
    figures,
    paths,
    planlock,
    provenance,
    results,
    standing,
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
print(f"Plan {blinding.plan_hash(params)}: {plan.candidate} minus {plan.reference}")
print(f"Margin {plan.margin} in κ, {plan.level:.0%} intervals")

# %% [markdown]
# ## The declared comparison
#
# Kappa against single experts with chance taken within each dimension; passages and seeds are
# both resampled. *Beats*: the whole interval lies above zero. *Matches*: it lies above minus the
# margin. Either counts only if the candidate's own agreement is above chance: beside a reference
# near zero, a judge that never reads would else be a match.

# %%
compared = declared.compare(table, params)
print(declared.sentence(compared, params))

# %%
#| label: fig-primary
#| fig-cap: "Difference in agreement with a single expert (κ, chance within each dimension) between each judge and the reference, on the same passages; 95 % intervals, passages and seeds resampled. Open rings are single seeds."
n_passages = compared[plan.candidate].contrast.overall.n_clusters
_ = figures.forest(
    declared.forest_rows(compared, params),
    title=declared.headline(compared, params),
    subtitle=f"κ minus that of {standing.name_of(plan.reference, params)}, {n_passages} held-out passages",
    xlabel="difference in Cohen's κ",
    lines={0.0: standing.name_of(plan.reference, params), -plan.margin: "margin"},
    dots=declared.seed_dots(compared, params),
)

# %%
#| label: tbl-primary
#| tbl-cap: "The declared test, and the same test for everyone else. The judges that never read must not pass it. p: bootstrap, two-sided, Holm-adjusted over the secondary comparisons."
figures.show_table(declared.as_rows(compared, params))

# %% [markdown]
# ## What blind raters saw
#
# The key is opened once, for these ratings and under the plan that was locked; changed terms are
# refused. Before that a funded study's analysis sees shuffled names only.

# %%
#| label: tbl-blind
#| tbl-cap: "Ratings of unsigned diagnoses, 1 to 5: mean by judge, and the difference from the reference with each rater's severity taken out (95 % interval, passages and raters resampled)."
returned = corpus.ratings(params, run)
blind = None
if returned is None:
    print("This profile has no blind test." if params.blind is None else "No ratings yet.")
else:
    gate = planlock.opened(params, run, returned)
    ratings, raters = declared.rated(returned, gate.key, params)
    figures.show_table(declared.rated_rows(raters, params))
    if gate.shuffled:
        print(
            "The key is sealed. The names above are shuffled and mean nothing: they show that the "
            "analysis runs. `cqa plan lock`, `cqa plan freeze` and `cqa unblind` come first."
        )
    else:
        blind = {
            "n_ratings": int(ratings["value"].count()),
            "n_raters": int(ratings["rater_id"].nunique()),
            "n_passages": int(ratings["passage_id"].nunique()),
            "judges": raters,
        }

# %% [markdown]
# ## The decision table
#
# Each outcome was given its meaning beforehand, failures included.

# %%
#| label: tbl-decision
#| tbl-cap: "What each outcome was declared to mean, and the row that holds in this run."
decision = declared.decision(table, compared, params)
figures.show_table(declared.decision_rows(decision))

# %%
print(
    f"{decision.row}: decided by {'; '.join(decision.decided_by) or 'nothing, no model is tuned'}"
)

# %% [markdown]
# ## Was what was planted found again?
#
# Only a rehearsal can ask this: its truth is known.

# %%
#| label: tbl-recovery
#| tbl-cap: "What was planted, and what the pipeline found: share of verdicts equal to the planted truth. Controls are declared at one half: they must not be able to tell."
recovery = None
if params.corpus.people is not None:
    from cqa_helpers.rehearsal import material as rehearsed

    people = params.corpus.people
    recovery = declared.recovery(
        table,
        rehearsed.planted(params),
        {
            "experts": people.expert_accuracy,
            "reference": people.reference_accuracy,
            "base": 0.5,
            "tuned-style-only": 0.5,
            "tuned-shuffled": 0.5,
        },
    )
    figures.show_table(
        pd.DataFrame(
            [
                {
                    "Judge": standing.name_of(j, params),
                    "Declared": e["planted"],
                    "Found": e["found"],
                }
                for j, e in recovery.items()
            ]
        ),
        digits=3,
    )
else:
    print("Nothing is planted in this profile.")

# %%
_ = results.save(
    run,
    "05-blind-analysis",
    {
        **declared.results(compared, decision, params),
        "blind": blind,
        "recovery": recovery,
        "provenance": provenance.block(params, "05-blind-analysis", watch, corpus.files(run)),
    },
)
