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
# # 02 · Fine-tune
#
# One execution is one arm at one size, over its seeds: the base is loaded once, finished adapters
# are kept, and every seed takes the same number of steps. `arm = "all"` trains nothing that is
# finished and shows all arms side by side.

# %% tags=["parameters"]
params_file = "params/rehearsal.yaml"  # one YAML is one run
run_dir = "runs/rehearsal"  # where outputs go, from the repository root
arm = "cot"  # cot | verdict-only | style-only | shuffled | all
n_train = 100  # how many annotations the arm is given
lineage = "first"  # which base: first | second

# %%
import pandas as pd

from cqa_helpers import (
    arms,
    calls,
    cohort,
    corpus,
    figures,
    finetuning,
    learning,
    models,
    paths,
    provenance,
    results,
)
from cqa_helpers import params as run_params

models.quiet()
watch = provenance.Stopwatch()
figures.use_style()
params = run_params.load(params_file)
run = paths.at(run_dir)
assert params.tuning is not None, (
    f"profile {params.profile} tunes no model: notebook 02 has nothing to do"
)
material = corpus.prepare(params, run)
members = [
    m
    for m in cohort.planned(params)
    if arm == "all" or (m.arm == arm and m.n == n_train and m.lineage == lineage)
]
assert members, (
    f"the params plan no arm {arm!r} of size {n_train} on the {lineage} base: {params.tuning.arms}"
)
print(
    f"{len(members)} model(s): "
    + ", ".join(m.name for m in members[:6])
    + (" …" if len(members) > 6 else "")
)

# %% [markdown]
# ## What a model is taught
#
# One row as the model sees it: the loss is on the completion alone. Guards run before a second is
# spent: every row has supervised tokens, none is cut off, none is lost.

# %%
first = members[0]
asked = cohort.panel(params, first.arm)
rows = arms.rows(
    first.arm,
    first.n,
    first.seed,
    material.annotations,
    material.by_id(),
    asked.taxonomy,
    asked.dialect,
)
print("PROMPT     …" + rows[0].prompt[-160:])
print("COMPLETION " + rows[0].completion[:360] + " …")

# %% [markdown]
# ## Train, then ask
#
# A finished adapter is never trained again; a killed run starts its seed anew and ends with the
# same weights. Each model then judges the held-out passages, and its answers go on record.

# %%
trained = {}
answers = {}
with calls.CallRecord(run / "calls.sqlite") as record:
    for one in sorted({m.lineage for m in members}):
        base = cohort.Base(params.models, one)
        for member in (m for m in members if m.lineage == one):
            trained[member] = cohort.train(member, base, params, material, run)
            answers[member] = cohort.ask(member, base, params, material.test(), run, record)
measured = learning.measure(answers, material, params)
overview = learning.overview(trained, measured)
figures.show_table(overview)

# %%
#| label: fig-loss
#| fig-cap: "Training loss by step, one line a seed."
_ = figures.losses(
    {
        m.name: a.record["losses"]
        for m, a in trained.items()
        if m.n == first.n and m.arm == first.arm and m.lineage == first.lineage
    },
    params.tuning.steps,
)
# %% [markdown]
# ## All arms side by side
#
# Shown when all of them are there. Reasons and verdicts, verdicts alone, the expert's way of
# talking with the judgment taken out, and other passages' annotations: what moved the model?

# %%
#| label: fig-arms
#| fig-cap: "How well each arm's probability ranks the experts' majority on held-out passages: AUC, mean over dimensions. Open rings are seeds; the interval is over passages and seeds. The line at 0.5 is a judge that cannot tell."
if arm == "all":
    by_arm = learning.by_arm(answers, material, params, run)
    rows = learning.forest_rows(by_arm)
    figures.forest(
        rows,
        title=learning.headline(by_arm),
        subtitle=f"mean AUC over {len(asked.taxonomy.dimensions)} dimensions, {len(material.split.test)} held-out passages, {len(params.tuning.seeds)} seeds",
        xlabel="AUC",
        lines={0.5: "cannot tell"},
        dots=learning.seed_dots(by_arm),
    )

# %%
#| label: tbl-arms
#| tbl-cap: "Every arm at its full size, on held-out passages: AUC by dimension (mean of seeds), the lowest and highest seed, and the share of answers that could not be read."
if arm == "all":
    figures.show_table(learning.as_rows(by_arm))

# %%
#| label: fig-curve
#| fig-cap: "Held-out AUC by number of annotations, equal steps at every size. Rings are seeds, the line their mean."
if arm == "all":
    sizes = learning.curve(measured)
    figures.curve(
        sizes,
        title=learning.curve_headline(sizes),
        subtitle=f"reasons first, mean AUC over dimensions, {params.tuning.steps} steps at every size",
        xlabel="annotations (log scale)",
        ylabel="AUC",
        lines={0.5: "cannot tell"},
    )

# %%
block = provenance.block(
    params,
    "02-fine-tune",
    watch,
    corpus.files(run),
    models=params.models.model_dump(),
    seeds=params.tuning.seeds,
    supervised_tokens=sum(a.record["supervised_tokens"] for a in trained.values()),
    adapters={m.name: models.weights_identity(a.folder) for m, a in trained.items()},
)
if arm == "all":
    _ = results.save(
        run, "02-fine-tune", {**learning.results(trained, measured, by_arm), "provenance": block}
    )
else:
    _ = results.save(
        run,
        f"02-fine-tune/{members[0].lineage}-{arm}-{n_train}",
        {**learning.results(trained, measured, {}), "provenance": block},
    )
