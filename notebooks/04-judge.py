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
# # 04 · Judge
#
# Every judge answers the same questions about the same passages and writes the same row. What
# the table of judges is worth shows in its last rows: judges that never read a word.

# %% tags=["parameters"]
params_file = "params/rehearsal.yaml"  # one YAML is one run
run_dir = "runs/rehearsal"  # where outputs go, from the repository root

# %%
import pandas as pd
from IPython.display import Markdown, display

from cqa_helpers import (
    baselines,
    blinding,
    cohort,
    corpus,
    figures,
    judges,
    paths,
    provenance,
    results,
    standing,
    taxonomy,
)
from cqa_helpers import params as run_params
from cqa_helpers.records import to_table

watch = provenance.Stopwatch()
figures.use_style()
params = run_params.load(params_file)
run = paths.at(run_dir)
dimensions = taxonomy.load(params.taxonomy)
material = corpus.prepare(params, run)
held_out = material.test()
asked_items = {p.id for p in held_out}

# %% [markdown]
# ## Everyone judges
#
# Local models were asked in 02 where they were trained; the record of calls holds their answers
# and nothing is asked, or paid for, twice. Experts, recorded judges and baselines come as rows.

# %%
experts = [v for v in material.experts if v.item_id in asked_items]
rows = [*experts, *(v for v in material.recorded if v.item_id in asked_items)]
rows += baselines.verdicts(
    params.judging.baselines, material.passages, material.experts, seed=params.seed
)
absent = []
with cohort.record(params, run, "04-judge") as record:
    if params.tuning is not None:
        members = [m for m in cohort.planned(params) if m.plain and cohort.at_full_size(m, params)]
        for lineage in sorted({m.lineage for m in members}):
            base = cohort.Base(params.models, lineage)
            rows += cohort.ask_base(base, params, held_out, record, lineage)
            for member in (m for m in members if m.lineage == lineage):
                if (run / "adapters" / member.name / "training.json").is_file():
                    rows += cohort.ask(member, base, params, held_out, run, record)
                else:
                    absent.append(member.name)
    for live in params.judging.live:
        rows += judges.ask_live(live, held_out, cohort.panel(params), record, seed=params.seed)
    recorded_calls = record.count()
table = to_table([v for v in rows if v.item_id in asked_items])
paths.at(run).mkdir(parents=True, exist_ok=True)
table.to_parquet(run / "verdicts.parquet", index=False)
if absent:
    print("Planned and not trained yet (run 02-fine-tune for them):", ", ".join(absent))
print(
    f"{len(table):,} verdicts of {table['judge_id'].nunique()} judges; {recorded_calls:,} calls on record"
)

# %% [markdown]
# ## Exhibit: one passage
#
# Before any statistics, one passage and what was said about it. The passage is the first one on
# which the reference and the experts' majority part ways.

# %%
#| label: tbl-exhibit
#| tbl-cap: "One held-out passage, and what each judge said of one dimension. The passage is the first, in the split's order, on which the reference differs from the experts' majority; nobody chose it."
exhibit = standing.exhibit(table, material, params, dimensions)
figures.show_table(exhibit.table)

# %% [markdown]
# ## The table of judges
#
# Cohen's kappa of each judge against a *single* expert, so that one expert against another is on
# the same footing. Twice: with chance pooled over dimensions (the usual figure) and with chance
# taken within each dimension, where an answer that ignores the passage gets zero on average.

# %%
clusters = {p.id: p.id for p in held_out}
found = standing.standings(table, params, clusters)
subsets = {}
with_text = {p.id for p in held_out if p.text}
if len(with_text) < len(asked_items):
    subsets["text_only"] = {
        "n_items": len(with_text),
        "judges": standing.standings(table[table["item_id"].isin(with_text)], params, clusters),
    }

# %%
#| label: fig-judges
#| fig-cap: "Agreement with a single expert, chance taken within each dimension; 95 % intervals, passages and seeds resampled. Open rings are single seeds. Judges at zero cannot be told from chance."
order = standing.order(found, params)
forest = pd.DataFrame(
    [
        {
            "label": standing.name_of(j, params),
            "role": figures.role_of(j, params.study.reference, params.judging.recorded),
            **found[j]["kappa_within"].as_dict(),
        }
        for j in order
    ]
)
dots = {
    standing.name_of(j, params): found[j]["by_repeat"].values()
    for j in order
    if len(found[j]["by_repeat"]) > 1
}
_ = figures.forest(
    forest,
    title=standing.headline(found, params),
    subtitle=f"κ against a single expert, {len(asked_items)} held-out passages, {len(dimensions.dimensions)} dimensions",
    xlabel="Cohen's κ, chance within each dimension",
    lines={0.0: "chance"},
    dots={k: [x for x in v if x is not None] for k, v in dots.items()},
)

# %%
#| label: tbl-judges
#| tbl-cap: "All judges on the same questions. κ: against a single expert, chance pooled, and chance within each dimension (95 % intervals). Raw: share of pairs that agree. AUC: how well the probability ranks the experts' majority, mean over dimensions. No answer: unparsed, refused, failed or absent; counted, never scored."
figures.show_table(standing.as_rows(found, order, params))

# %%
if subsets:
    display(Markdown(f"The same on the {len(with_text)} passages whose text may be shared:"))
    figures.show_table(standing.as_rows(subsets["text_only"]["judges"], order, params))

# %% [markdown]
# ## Does a judge know when it is right?
#
# Creative Calibration in the strict sense: of the passages that a judge calls effective with
# probability p, do experts find a share p effective?

# %%
#| label: fig-calibration
#| fig-cap: "Reliability of P(effective): bins of about equal number, dot area by number. On the dashed line a judge is as often right as it says."
curves = standing.reliability_curves(table, params)
if curves:
    names = list(curves)
    errors = {j: found[j]["ece"] for j in names}
    best = min(errors, key=errors.get)
    figures.reliability(
        {
            standing.name_of(j, params): (
                figures.role_of(j, params.study.reference, params.judging.recorded),
                b,
            )
            for j, b in curves.items()
        },
        title=f"{standing.name_of(best, params).capitalize()} is closest to saying how often it is right",
        subtitle="share judged effective by the experts' majority, by the judge's own probability",
    )
else:
    print("No judge of this profile gives probabilities.")

# %% [markdown]
# ## Sealing the blind test
#
# Raters will see diagnoses under codes. The key is sealed here, before a rating exists.

# %%
sealed = None
if params.blind is not None:
    folder = blinding.seal(
        params,
        run,
        rows,
        held_out,
        cohort.panel(params).dialect.words if params.models else {0: "no", 1: "yes"},
    )
    sealed = (folder / "seal.json").read_text()
    print(sealed)

# %%
_ = results.save(
    run,
    "04-judge",
    {
        "judges": found,
        "subsets": subsets,
        "n_items": len(asked_items),
        "absent": absent,
        "provenance": provenance.block(
            params,
            "04-judge",
            watch,
            corpus.files(run),
            models=None if params.models is None else params.models.model_dump(),
            cost_usd=0.0 if not params.judging.live else None,
        ),
    },
)
