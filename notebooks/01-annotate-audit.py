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
# # 01 · Annotate and audit
#
# Everything later rests on what the experts gave. Before a model sees a passage we ask: what is
# there, how far do experts agree with one another, and does anything stand on both sides of the
# split?

# %% tags=["parameters"]
params_file = "params/rehearsal.yaml"  # one YAML is one run
run_dir = "runs/rehearsal"  # where outputs go, from the repository root

# %%
import pandas as pd

from cqa_helpers import corpus, figures, paths, provenance, results, splits, taxonomy
from cqa_helpers import params as run_params
from cqa_helpers.agreement import fleiss_kappa, kappa_against_experts
from cqa_helpers.records import to_table

watch = provenance.Stopwatch()
figures.use_style()
params = run_params.load(params_file)
run = paths.at(run_dir)
dimensions = taxonomy.load(params.taxonomy)

# %% [markdown]
# ## What there is
#
# The profile's source writes passages, annotations and verdicts into one set of files. From here
# on no notebook knows where they came from; each row says it for itself.

# %%
material = corpus.prepare(params, run)
experts = sorted({v.judge_id for v in material.experts})
verdicts = to_table(material.experts)
passages = material.by_id()
assert len(verdicts), "no expert verdicts: there is nothing to agree with"

# %%
#| label: tbl-corpus
#| tbl-cap: "What the run works on. *Share of yes* is how often an expert finds the choice effective; a judge that always gives the commoner answer gets that share right without reading."
whose = {i: passages[i].meta.get("writer", passages[i].origin) for i in passages}
verdicts["writer"] = verdicts["item_id"].map(whose)
corpus_table = pd.DataFrame(
    [
        {
            "Passages": group if group != "simulated" else "simulated micro-mysteries",
            "Number": rows["item_id"].nunique(),
            "with text": sum(bool(passages[i].text) for i in rows["item_id"].unique()),
            "Expert verdicts": len(rows),
            "Share of yes": float(rows["value"].mean()),
        }
        for group, rows in verdicts.groupby("writer")
    ]
)
figures.show_table(corpus_table)

# %% [markdown]
# ## How far experts agree
#
# This is the ceiling: no judge can agree with an expert more reliably than experts agree with one
# another. Fleiss' kappa looks at all experts of a passage at once; the interval is that of one
# expert against another, with whole passages resampled.

# %%
agreement = {}
for dimension in dimensions.dimensions:
    rows = verdicts[verdicts["dimension"] == dimension.id]
    one = kappa_against_experts(
        rows, "experts", experts, n_boot=params.study.n_boot, seed=params.seed
    )
    agreement[dimension.id] = {
        "fleiss_kappa": fleiss_kappa(rows, dimension.id),
        "kappa": one.kappa,
        "raw": one.raw,
        "yes_rate": float(rows["value"].mean()),
        "n_items": int(rows["item_id"].nunique()),
        "n_verdicts": len(rows),
    }
overall = kappa_against_experts(
    verdicts, "experts", experts, n_boot=params.study.n_boot, seed=params.seed, chance="pooled"
)

# %%
#| label: fig-agreement
#| fig-cap: "How far one expert agrees with another, by dimension: Cohen's kappa with a 95 % interval, whole passages resampled. Zero is what chance gives."
labels = {d.id: d.label.en for d in dimensions.dimensions}
rows = pd.DataFrame(
    [
        {"label": labels[d], "role": "human", **found["kappa"].as_dict()}
        for d, found in agreement.items()
    ]
).sort_values("value", ascending=False)
best, worst = rows.iloc[0], rows.iloc[-1]
_ = figures.forest(
    rows,
    title=f"Experts agree most on {best['label'].lower()}, least on {worst['label'].lower()}",
    subtitle=f"one expert against another, {overall.n_items} passages, {len(verdicts):,} verdicts",
    xlabel="Cohen's κ",
    lines={0.0: "chance"},
)

# %%
#| label: tbl-agreement
#| tbl-cap: "Agreement of the experts by dimension. κ is one expert against another (95 % interval); raw is the share of pairs that agree."
figures.show_table(
    pd.DataFrame(
        [
            {
                "Dimension": labels[d],
                "Fleiss κ": found["fleiss_kappa"],
                "κ, one against another": found["kappa"],
                "Raw": found["raw"],
                "Share of yes": found["yes_rate"],
            }
            for d, found in agreement.items()
        ]
    )
)

# %% [markdown]
# ## Does anything leak?
#
# No passage, work or text may stand on both sides of the split (the run stops if one does), and
# near-duplicates are listed, since a model can remember a passage it has almost seen.

# %%
splits.check(material.split, passages)
twins = splits.near_duplicates(material.split, passages)
reasons = verdicts.loc[verdicts["reason"] != "", "reason"]
words = reasons.str.split().str.len()
audit = {
    "n_train": len(material.split.train),
    "n_test": len(material.split.test),
    "n_annotations": len(material.annotations),
    "n_pairs": len(material.pairs),
    "near_duplicates": len(twins),
    "reasons": len(reasons),
    "median_reason_words": float(words.median()) if len(words) else None,
}
figures.show_table(
    pd.DataFrame([{"What": k.replace("_", " "), "Number": v} for k, v in audit.items()]), digits=0
)

# %%
_ = results.save(
    run,
    "01-annotate-audit",
    {
        "n_items": int(verdicts["item_id"].nunique()),
        "n_verdicts": len(verdicts),
        "n_experts": len(experts),
        "agreement": agreement,
        "experts_kappa": overall.kappa,
        "audit": audit,
        "provenance": provenance.block(params, "01-annotate-audit", watch, corpus.files(run)),
    },
)
