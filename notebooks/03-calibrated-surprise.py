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
# # 03 · Calibrated surprise
#
# Good creative choices surprise, and stop surprising once one knows what they were meant to do:
# I(x; y) = H(x) − H(x|y) is high. Does tuning on diagnoses change how a model reads a passage
# against its degraded twin, in literary pairs more than in factual ones? Both directions of the
# same mutual information are measured, and the style-only control stands beside the tuned model.

# %% tags=["parameters"]
params_file = "params/rehearsal.yaml"  # one YAML is one run
run_dir = "runs/rehearsal"  # where outputs go, from the repository root

# %%
import pandas as pd

from cqa_helpers import (
    calls,
    corpus,
    figures,
    models,
    pairwise,
    paths,
    provenance,
    reading,
    results,
)
from cqa_helpers import params as run_params

models.quiet()
watch = provenance.Stopwatch()
figures.use_style()
params = run_params.load(params_file)
run = paths.at(run_dir)
assert params.surprise is not None, (
    f"profile {params.profile} measures no surprise: notebook 03 has nothing to do"
)
material = corpus.prepare(params, run)
groups = pd.Series([p.group for p in material.pairs]).value_counts()
print(f"{len(material.pairs)} pairs: " + ", ".join(f"{n} {g}" for g, n in groups.items()))

# %% [markdown]
# ## A pair
#
# One sentence differs. In a literary pair it breaks one dimension; in a factual pair it states a
# wrong fact inside a good story, which no diagnosis speaks of.

# %%
for group in groups.index:
    pair = next(p for p in material.pairs if p.group == group)
    good, bad = pairwise.difference(pair)
    print(
        f"{group} ({pair.dimension})\n  good      {good}\n  degraded  {bad}\n  meant     {pair.constraints.joint()}\n"
    )

# %% [markdown]
# ## Reading both versions, before and after
#
# *Text direction*: bits per passage token with a neutral prefix, H(x), and after the constraints,
# H(x|y). *Judgment direction*: log2 of the probability the model's own review gives to "every
# dimension is effective", which differs from log2 p(y|x) − log2 p(y) by a constant that cancels.

# %%
wanted = reading.wanted(params)
finished = [m for m in wanted if (run / "adapters" / m.name / "training.json").is_file()]
if len(finished) < len(wanted):
    print(
        "Planned and not trained yet (run 02-fine-tune for them):",
        ", ".join(m.name for m in wanted if m not in finished),
    )
with calls.opened(run, "03-calibrated-surprise") as record:
    readings = reading.read_all(finished, params, material, run, record)
readings.to_parquet(run / "surprise.parquet", index=False)
changes = pairwise.changes(readings)

# %%
#| label: fig-surprise
#| fig-cap: "Change by tuning in how a model tells good from degraded, Δ(ΔI), in the declared primary direction: one ring a seed, the dot their mean, the line their range. Literary pairs should move and factual pairs should not; the style-only control tells drift from judgment."
rows = pairwise.forest_rows(changes, params.surprise.primary)
_ = figures.forest(
    rows,
    title=pairwise.headline(changes, params.surprise.primary),
    subtitle=pairwise.subtitle(params.surprise.primary, groups),
    xlabel=pairwise.UNITS[params.surprise.primary],
    lines={0.0: "no change"},
    dots=pairwise.seed_dots(changes, params.surprise.primary),
)

# %%
#| label: tbl-surprise
#| tbl-cap: "Both directions, both readings; means of seeds with their range. A (sensitivity): change of I(x; y) of the good version. B (contrast): change of I(good) − I(degraded). Judgment direction in bits per passage, text direction in bits per token. The last column counts seeds with a two-sided Wilcoxon p below .05 over pairs, primary direction, reading B: a test of one checkpoint's drift, shown because papers use it."
figures.show_table(pairwise.as_rows(changes, params.surprise.primary))

# %% [markdown]
# ## Literary more than factual?
#
# "Significant here, not there" is no test of a difference. The interaction is: by seed, how much
# more literary pairs moved than factual ones.

# %%
#| label: tbl-interaction
#| tbl-cap: "Literary minus factual Δ(ΔI) in the primary direction, contrast reading: mean of seeds with Student's 95 % interval over seeds, which are the unit."
interactions = pairwise.interactions(changes, params.surprise.primary, params.study.level)
figures.show_table(pairwise.interaction_rows(interactions))

# %% [markdown]
# ## H(X) and H(X|Y) apart
#
# Tuning moves both, so a change of their difference can come from either.

# %%
#| label: tbl-entropy
#| tbl-cap: "Bits per passage token, mean over pairs and seeds: the good version without and with its constraints, and the same for the degraded version."
figures.show_table(pairwise.entropies(readings), digits=3)

# %%
_ = results.save(
    run,
    "03-calibrated-surprise",
    {
        **pairwise.results(readings, changes, params),
        "interaction": interactions,
        "n_pairs": {g: int(n) for g, n in groups.items()},
        "provenance": provenance.block(
            params,
            "03-calibrated-surprise",
            watch,
            corpus.files(run),
            models=params.models.model_dump(),
            seeds=params.tuning.seeds,
        ),
    },
)
