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
arm = "cot"  # an arm of tuning.arms, or all
n_train = 100  # how many annotations the arm is given
lineage = "first"  # which base: first | second
comparison = "steps"  # at equal steps | tokens, or over samples of annotations

# %%
from cqa_helpers import (
    calls,
    charts,
    cohort,
    corpus,
    curves,
    figures,
    finetuning,
    learning,
    manner,
    models,
    paths,
    probing,
    provenance,
    results,
    seeds,
    stability,
    standing,
    variance,
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
wanted = (arm, n_train, lineage, comparison)
members = [
    m
    for m in cohort.planned(params)
    if arm == "all" or (m.arm, m.n, m.lineage, m.comparison) == wanted
]
assert members, (
    f"the params plan no arm {arm!r} of size {n_train} on the {lineage} base in comparison "
    f"{comparison!r}; they plan: {', '.join(cohort.cells(params))}"
)
bases = {one: cohort.Base(params.models, one) for one in sorted({m.lineage for m in members})}
print(
    f"{len(members)} model(s): "
    + ", ".join(m.name for m in members[:6])
    + (" …" if len(members) > 6 else "")
)

# %% [markdown]
# ## What a model is taught
#
# One row as the model sees it: the loss is on the completion alone. Guards run before a second is
# spent: every row has supervised tokens, none is cut off, none is lost, each reads back as its
# verdicts, and none is about a held-out passage.

# %%
first = members[0]
rows = cohort.taught(first, params, material)
print("PROMPT     …" + rows[0].prompt[-160:])
print("COMPLETION " + rows[0].completion[:360] + " …")
counted = finetuning.audit(rows, bases[first.lineage].tokenizer(), params.tuning.max_length)
print(
    f"{counted.rows} rows, {counted.supervised_tokens:,} supervised tokens, the longest row "
    f"{counted.longest} of {params.tuning.max_length} tokens"
)
if gaps := cohort.gaps(first, params, material):
    print("Never taught: " + "; ".join(f"{d}: {word}" for d, word in gaps))

# %% [markdown]
# ## Train, then ask
#
# A finished adapter is never trained again; a killed run starts its seed anew and ends with the
# same weights. Each model then judges the held-out passages, and its answers go on record. Models
# with reasons are also asked again, in another voice and of reworded passages.

# %%
trained, answers, probed = {}, {}, {}
kept = (
    cohort.record(params, run, "02-fine-tune")
    if arm == "all"
    else calls.opened(run, f"02-fine-tune/{members[0].cell}")
)
with kept as record:
    for member in members:
        base = bases[member.lineage]
        trained[member] = cohort.train(member, base, params, material, run)
        answers[member] = cohort.ask(member, base, params, material.test(), run, record)
        if probing.wanted(member, params):
            probed[member] = probing.probe(member, base, params, material, run, record)
measured = learning.measure(answers, material, params)
overview = learning.overview(trained, measured)
figures.show_table(overview)
print("Memory: " + trained[first].record["memory"])

# %%
#| label: fig-loss
#| fig-cap: "Training loss by step, one line a seed."
_ = figures.losses(
    {
        m.name: a.record["losses"]
        for m, a in trained.items()
        if m.n == first.n and m.arm == first.arm and m.lineage == first.lineage and m.plain
    }
    or {m.name: a.record["losses"] for m, a in trained.items()},
    trained[first].record["steps"],
)
# %% [markdown]
# ## What the base can already read
#
# Annotations select and orient knowledge that is there. Before any tuning: does the base prefer an
# expert's own reason for a passage to the same expert's reason for another passage with the same
# verdict? The contrast cancels how likely and how long each reason is.

# %%
#| label: tbl-recognition
#| tbl-cap: "How often the untuned base tells a passage's own reason from another's: same dimension, same verdict, chance one half. *Shared words* makes the same choices by counting words, without a model."
known = None
if arm == "all":
    known = probing.before_tuning(bases["first"], material, params, run / "recognition.json")
    if known is None:
        print("Too few annotated passages to pair.")
    else:
        figures.show_table(known.table)
        print(known.sentence)

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
    figures.forest(
        learning.forest_rows(by_arm),
        title=learning.headline(by_arm),
        subtitle=f"mean AUC over {len(cohort.panel(params).taxonomy.dimensions)} dimensions, {len(material.split.test)} held-out passages, {len(params.tuning.seeds)} seeds",
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
#| label: tbl-tokens
#| tbl-cap: "Equal steps give an arm of bare verdicts fewer supervised tokens. Here it is trained on until it has seen as many: AUC with a t-interval over seeds."
if arm == "all" and params.tuning.equal_tokens:
    figures.show_table(stability.at_equal_tokens(measured, trained, params))

# %% [markdown]
# ## How stable it is
#
# A single run proves little. The curve over sizes, with a band over seeds; what makes runs differ,
# the annotations drawn or the training seed; and how many of either a wanted precision needs.

# %%
#| label: fig-curve
#| fig-cap: "Held-out AUC by number of annotations, equal steps at every size. Rings are seeds; the line is their mean, or with five seeds and three sizes or more a fitted curve with its band, dashed beyond what was measured."
line = parts = beaten = None
if arm == "all":
    line = stability.curve(measured, params)
if line is not None:
    figures.curve(
        stability.by_size(measured),
        title=curves.headline(line),
        subtitle=f"reasons first, mean AUC over dimensions, {params.tuning.steps} steps at every size",
        xlabel="annotations (log scale)",
        ylabel="AUC",
        lines={0.5: "cannot tell"},
        band=line.band if len(line.band.dropna()) else None,
    )

# %%
#| label: tbl-sizes
#| tbl-cap: "The learning curve in figures, t-intervals over seeds."
if line is not None:
    figures.show_table(curves.as_rows(line))

# %%
#| label: tbl-wanted
#| tbl-cap: "What a 95 % interval of a wanted half-width in AUC would need: annotations for a single run, from how its spread falls with size, or seeds for a mean of runs."
if line is not None:
    figures.show_table(stability.wanted(measured, params))

# %%
#| label: tbl-variance
#| tbl-cap: "What makes runs differ: several samples of annotations, each trained with the same seeds. Standard deviations of AUC; a share of variance near one means that it matters most which annotations were drawn."
if arm == "all":
    parts = stability.components(measured, params)
if parts is not None:
    figures.show_table(variance.as_rows(parts), digits=3)
    print(variance.headline(parts))

# %%
#| label: tbl-beating
#| tbl-cap: "How many seeds exceed the recorded reference on the same passages, and the chance that one more seed would. The reference is taken as a known number."
if arm == "all":
    beaten = stability.beating(measured, material, params)
if beaten is not None:
    figures.show_table(seeds.as_rows(beaten.found))
    print(f"By {beaten.measure}: {seeds.headline(beaten.found)}.")

# %% [markdown]
# ## Judgment or style?
#
# Each arm by how far its reasons pass for the expert's and by how well it judges. An arm at the
# lower right talks and does not judge: the failure that fluent text hides.

# %%
#| label: fig-plane
#| fig-cap: "Style similarity and agreement with the experts, one point an arm and seed. Similarity compares reasons by style alone (function words, lengths, markers), never by content or verdict. Arms without reasons are not shown."
gathered = []
if arm == "all":
    said, asked = probing.by_arm(answers, probed, bases["first"], params, material, run)
    gathered = manner.of_arms(by_arm, said, asked, material, params)
    charts.plane(
        charts.tidy(gathered),
        standing.said_of(charts.headline(gathered), params),
        f"{len(material.split.test)} held-out passages, {len(params.tuning.seeds)} seeds",
        manner.spans(gathered),
        xlabel=standing.said_of(charts.SIMILARITY, params),
        ylabel=standing.said_of("agreement with the experts, AUC", params),
    )

# %%
#| label: tbl-style
#| tbl-cap: "Talk and judgment by arm. *Flips by chance*: verdicts that differ between two draws of the same question. *More*: flips beyond that when the answer's voice or the passage's wording changes. *Follows*: share of verdicts that follow an expert's reason put before the model, and the same reason reworded."
if gathered:
    figures.show_table(charts.as_rows(gathered))

# %%
block = provenance.block(
    params,
    "02-fine-tune",
    watch,
    corpus.files(run),
    models=params.models.model_dump(),
    precision=models.precision_of(params.models),
    seeds=params.tuning.seeds,
    supervised_tokens=sum(a.record["supervised_tokens"] for a in trained.values()),
    adapters={m.name: models.weights_identity(a.folder) for m, a in trained.items()},
)
if arm == "all":
    section = learning.results(trained, measured, by_arm)
    section["stability"] = stability.results(line, parts, beaten)
    section["style"] = manner.results(gathered, params)
    section["recognition"] = None if known is None else known.results
    _ = results.save(run, "02-fine-tune", {**section, "provenance": block})
else:
    _ = results.save(
        run,
        f"02-fine-tune/{members[0].cell}",
        {**learning.results(trained, measured, {}), "provenance": block},
    )
