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
import numpy as np
import pandas as pd

from cqa_helpers import (
    calls,
    cloze,
    clozescores,
    cohort,
    contrastpairs,
    corpus,
    duality,
    entropies,
    figures,
    gains,
    heat,
    models,
    pairtables,
    pairwise,
    paths,
    provenance,
    reading,
    results,
    sittings,
    writings,
)
from cqa_helpers import params as run_params
from cqa_helpers.arms import TITLES
from cqa_helpers.rehearsal import blanks, gauge, pairstudies

models.quiet()
watch = provenance.Stopwatch()
figures.use_style()
params = run_params.load(params_file)
run = paths.at(run_dir)
assert params.surprise is not None, (
    f"profile {params.profile} measures no surprise: notebook 03 has nothing to do"
)
plan, level = params.surprise, params.study.level
material = corpus.prepare(params, run)
pairs = material.pairs
groups = pd.Series([p.group for p in pairs]).value_counts()
print(f"{len(pairs)} pairs: " + ", ".join(f"{n} {g}" for g, n in groups.items()))
print(f"Declared primary: {plan.primary} direction, reading {plan.reading}, last checkpoint")

# %% [markdown]
# ## A pair
#
# In a literary pair the degraded text breaks one dimension; in a factual pair it states a wrong
# fact, which no diagnosis speaks of.

# %%
for group in groups.index:
    pair = next(p for p in pairs if p.group == group)
    good, bad = pairwise.difference(pair)
    print(
        f"{group} ({pair.dimension})\n  good      {good}\n  degraded  {bad}\n  meant     {pair.constraints.joint()}\n"
    )

# %% [markdown]
# ## Reading both versions, before and after
#
# *Text direction*: bits of the passage's own tokens after a neutral prefix, H(x), after the
# constraints, H(x|y), after each source of constraint alone, and after controls: another pair's
# constraints, its own in another order, and filler of equal length. *Judgment direction*: log2 of
# the probability the model's own review gives to "every dimension is effective", which differs
# from log2 p(y|x) − log2 p(y) by a constant that cancels.

# %%
wanted = reading.wanted(params)
finished = [m for m in wanted if cohort.is_trained(m, run)]
if len(finished) < len(wanted):
    print(
        "Planned and not trained yet (run 02-fine-tune for them):",
        ", ".join(m.name for m in wanted if m not in finished),
    )
assert finished, "no model is tuned yet: run notebook 02-fine-tune first"
with calls.opened(run, "03-calibrated-surprise") as record:
    texts = reading.texts(finished, params, pairs, run)
    judgments = reading.judgments(finished, params, pairs, run, record)
texts.to_parquet(run / "surprise.parquet", index=False)
judgments.to_parquet(run / "surprise-judgments.parquet", index=False)
odd = texts.groupby("pair")[["straddles", "windows"]].max()
print(
    f"{len(texts):,} texts scored; in {int(odd['straddles'].sum())} pairs a token straddles the "
    f"prefix, {int((odd['windows'] > 1).sum())} were read in windows"
)
changes = pairwise.changes(texts, judgments)
effects = pairwise.effects(pairwise.declared(changes), level)
primary = pairwise.last(effects, plan.primary, plan.reading)
missing = int(judgments["bits"].isna().sum())
print(f"{missing} of {len(judgments):,} judgments left a verdict out: missing, not zero")

# %%
#| label: fig-surprise
#| fig-cap: "Change by tuning in how a model tells good from degraded, Δ(ΔI), in the declared primary direction and reading: one ring a seed, the dot their mean; 95 % intervals for other seeds and other pairs. Literary pairs should move and factual pairs should not; the style-only control tells drift from judgment."
_ = figures.forest(
    pairtables.forest_rows(primary),
    title=pairtables.headline(primary),
    subtitle=pairtables.subtitle(plan.primary, plan.reading, groups),
    xlabel=pairtables.UNITS["passage" if plan.primary == "judgment" else "token"],
    lines={0.0: "no change"},
    dots=pairtables.seed_dots(primary),
)

# %%
#| label: tbl-surprise
#| tbl-cap: "Both directions, both readings; 95 % intervals for other seeds and pairs. A (sensitivity): change of I(x; y) of the good version. B (contrast): change of I(good) − I(degraded). Judgment direction in bits per passage (A rises with a model that calls everything good; B does not), text direction in bits per token."
shown = [e for e in effects if e.against is None or e.arm == "cot"]
figures.show_table(pairtables.as_rows(shown), digits=3)

# %% [markdown]
# ## Literary more than factual?
#
# "Significant here, not there" is no test of a difference. The interaction is: by seed, how much
# more literary pairs moved than factual ones. Holm's correction is over checkpoints and readings.

# %%
#| label: tbl-interaction
#| tbl-cap: "The declared primary measure: change by arm and group, their difference, and each arm beyond the style-only control, in bits. Intervals for other seeds and other pairs; beside them for other seeds on these pairs."
mine = [e for e in primary if e.group == pairwise.INTERACTION or e.against is None]
table = pairtables.effect_rows(mine).drop(columns=["p, these pairs", "Lowest seed", "Highest seed"])
figures.show_table(table.assign(p=table["p"].map(figures.p_value)))

# %%
#| label: tbl-declared
#| tbl-cap: "The tuned model's interaction, literary minus factual, at every checkpoint and in both readings of the primary direction; p two-sided, and corrected together by Holm's procedure. The last checkpoint in the declared reading is primary."
tests = pairwise.declared_tests(effects, "cot", plan.primary)
corrected = pairwise.corrected(tests)
table = pairtables.tested_rows(tests)
for column in ("p", "p, Holm"):
    table[column] = table[column].map(figures.p_value)
figures.show_table(table)

# %%
#| label: fig-trajectory
#| fig-cap: "The primary measure over training: the mean of seeds, bars their range. The last checkpoint was declared primary beforehand, so that nobody can choose the one that pleases."
declared = pairwise.declared(changes)
track = pairtables.trajectory(
    declared[(declared["direction"] == plan.primary) & (declared["reading"] == plan.reading)]
)
if track["checkpoint"].nunique() > 1:
    _ = pairtables.trajectory_figure(
        track[track["arm"].isin(reading.FOLLOWED)],
        title=pairtables.headline(primary),
        subtitle=pairtables.subtitle(plan.primary, plan.reading, groups),
        ylabel="bits",
    )

# %% [markdown]
# ## What one checkpoint seems to show
#
# A test over pairs within one tuned model measures how that model drifted. It is shown because
# papers use it.

# %%
#| label: tbl-drift
#| tbl-cap: "Each tuned model by itself, primary direction and reading, literary pairs: Cohen's d with bootstrap interval over pairs, Wilcoxon two-sided and one-sided, signs."
drifts = pairwise.checkpoints(declared, level, params.seed)
shown = [
    d
    for d in drifts
    if (d.direction, d.reading, d.group) == (plan.primary, plan.reading, "literary")
]
table = pairtables.checkpoint_rows(shown).drop(columns="Pairs")
for column in ("Wilcoxon p", "one-sided", "Sign test p"):
    table[column] = table[column].map(figures.p_value)
figures.show_table(table)

# %% [markdown]
# ## H(X) and H(X|Y) apart
#
# Tuning moves both, so a change of their difference can come from either.

# %%
#| label: tbl-entropy
#| tbl-cap: "Which term moved: change by tuning in H(x), in H(x|y) and in I = H(x) − H(x|y), bits per token, 95 % intervals for other seeds and pairs."
terms = entropies.terms(texts, level)
figures.show_table(entropies.term_rows(terms), digits=3)
for term in terms:
    if term.arm == "cot":
        print(entropies.sentence(term))

# %%
#| label: tbl-conditions
#| tbl-cap: "Is it the constraint that informs? I of the good version under its joint constraints, and how far it lies above I under another pair's constraints, its own in another order, and filler of equal length; bits per token. What does not lie above all controls is no information about this passage."
above = entropies.above_controls(texts, level)
figures.show_table(entropies.above_rows(above), digits=3)

# %%
#| label: tbl-sources
#| tbl-cap: "I(x; y) under each source of constraint and under the controls, bits per token and version."
figures.show_table(entropies.information_rows(entropies.levels(texts)), digits=3)

# %% [markdown]
# ## Where does the good passage gain?

# %%
#| label: fig-strip
#| fig-cap: "The first literary pair, word by word, as the tuned model (first seed) reads it: how many bits knowing the constraints saves there. What the two versions do not share is underlined. Words that stand in the constraints gain by copying; the rest is what the constraints make expected."
first = next(p for p in pairs if p.group == "literary")
tuned_first = next((m for m in finished if m.arm == "cot"), None)
if tuned_first is not None:
    strips = reading.strips(tuned_first, params, pairs, first, run)
    told = ", ".join(heat.where(strips["tuned"][0]))
    _ = heat.strip(
        strips["tuned"],
        title=f"Knowing the constraints helps most at: {told}",
        subtitle=f"meant: {first.constraints.joint()}",
    )

# %% [markdown]
# ## Would these statistics find it, and find nothing where nothing is?

# %%
#| label: tbl-pairstudies
#| tbl-cap: "Simulated studies, per cent: how often the declared interval holds a planted Δ(ΔI), how often it rejects where nothing is planted (mean, interaction), and how often a Wilcoxon test over the pairs of one checkpoint does, where seeds drift."
simulated = pairstudies.simulate(level=level, seed=params.seed)
figures.show_table(pairstudies.as_rows(simulated), digits=1)
print(pairstudies.headline(simulated))
most = max(r.rejected_one_checkpoint for r in simulated.rates)
drifting = (
    "in simulated studies where seeds drift and nothing is there, such a test finds something in "
    f"up to {most:.0%}"
)

# %%
#| label: tbl-reach
#| tbl-cap: "Smallest Δ(ΔI) that four of five studies of so many seeds (rows) and pairs a group (columns) would find, bits, from the standard deviations seen here for literary pairs of the tuned model; rough where seeds are few."
literary = next(
    (e for e in primary if (e.arm, e.group, e.against) == ("cot", "literary", None)), None
)
reach = gains.detectable(literary.gain, level) if literary else pd.DataFrame()
if len(reach):
    figures.show_table(pairtables.power_rows(reach))

# %% [markdown]
# ## Public factual pairs
#
# Facts that nobody here wrote: completions of expert answers (FACTOR) and minimally edited claims
# (creak). Their constraints say what is spoken of and never what is true, unlike our own pairs',
# so they stand apart.

# %%
#| label: tbl-external
#| tbl-cap: "The primary measure with public factual pairs in the place of our own."
outside = None
if plan.external:
    drawn = contrastpairs.read(plan.external, plan.n_external, params.seed)
    for name, why in drawn.dropped.items():
        print(f"{name}: {drawn.usable[name]} usable; left out {why}")
    with calls.opened(run, "03-calibrated-surprise") as record:
        moved = pairwise.changes(
            reading.texts(finished, params, drawn.pairs, run),
            reading.judgments(finished, params, drawn.pairs, run, record),
        )
    both = pd.concat([changes[changes["group"] == "literary"], moved], ignore_index=True)
    outside = pairwise.last(
        pairwise.effects(pairwise.declared(both), level), plan.primary, plan.reading
    )
    figures.show_table(
        pairtables.effect_rows(e for e in outside if e.against is None or e.arm == "cot")
    )
else:
    print("This profile reads no public pairs.")

# %% [markdown]
# ## Filling the blanks of a story
#
# Each blank has a constraint. A filling scores satisfy × (1 + λ · surprise): nothing unless it
# satisfies, and more if the untuned base did not expect it. What was filled in stays in the story
# for the later blanks.

# %%
#| label: tbl-cloze
#| tbl-cap: "Cascaded cloze: score = satisfy × (1 + λ · surprise), 95 % intervals with stories resampled. Author: the story's own fillings. Shuffled: those of another story. Greedy: the untuned base's most likely ones. Surprise is that of the untuned base for all."
filled = None
if plan.cloze is not None:
    simulated_people = params.corpus.people is not None
    written = sorted(paths.at("data/cloze").glob("*.jsonl"))
    known = (
        blanks.stories(params.seed)
        if simulated_people
        else [story for file in written for story in cloze.load(file)]
    )[: plan.cloze.n_stories]
    before = blanks.opening if simulated_people else cloze.opening
    how = {"max_new_tokens": plan.cloze.max_new_tokens, "before": before}
    warm = {"temperature": params.judging.temperature, **how}
    base = cohort.Base(params.models)
    local = base.local()
    fillings = [*cloze.by_author(known), *cloze.shuffled(known, params.seed)]
    fillings += cloze.fill(local, known, filler="greedy", temperature=0.0, seed=0, **how)
    for seed in params.tuning.seeds:
        fillings += cloze.fill(local, known, filler="base", seed=seed, draw=seed, **warm)
    for member in (m for m in finished if m.arm in reading.FOLLOWED):
        with cohort.worn(member, base, run) as tuned:
            fillings += cloze.fill(
                tuned, known, filler=member.arm, seed=member.seed, draw=member.seed, **warm
            )
    read = clozescores.read(local, known, fillings, before)
    if simulated_people:
        verdicts = blanks.Planted(known, fillings).ask(
            cloze.asked(known, fillings, cohort.panel(params)), cohort.panel(params)
        )
    else:
        with calls.opened(run, "03-calibrated-surprise") as record:
            live = sittings.live_judges(params, record)
            judge, panel = sittings.judge_of(plan.cloze.judge, params, run, record, live)
            verdicts = judge.ask(cloze.asked(known, fillings, panel), panel)
    scored = clozescores.score(
        read, verdicts, clozescores.reference(read), weight=plan.cloze.weight
    )
    shown = clozescores.as_rows(scored, params.study.n_boot, params.seed, level)
    shown["Filled by"] = shown["Filled by"].map(lambda who: TITLES.get(who, who))
    figures.show_table(shown.drop(columns=["Blanks", "Stories"]))
    gap = clozescores.difference(scored, "cot", "base", params.study.n_boot, params.seed, level)
    filled = {
        "sentence": f"{clozescores.headline(gap, 'the tuned model', 'the base')}.",
        "tuned_minus_base": gap,
        "judge": plan.cloze.judge,
        "stories": len(known),
    }
    print(filled["sentence"], "Seeds are averaged: the interval is for other stories.")
else:
    print("This profile fills no blanks.")

# %% [markdown]
# ## Does learning to appreciate change what is written?
#
# The base and the tuned models go on from the same beginnings, under the same seeds; real models
# also tell the degraded passages again. What they write is read by the untouched base under the
# constraint it was to meet, and by judges that were not tuned with the same seed.

# %%
#| label: tbl-duality
#| tbl-cap: "What is written after tuning less what is written before, 95 % intervals over seeds: I(x; y) of the text under the constraints it was to meet, in bits per token as the untouched base reads it, with both terms apart; and P(good) by tuned judges of other seeds. The base under other seeds shows the noise."
wrote = None
if plan.duality is not None:
    base = cohort.Base(params.models)
    taking_part = [m for m in finished if m.arm in reading.FOLLOWED]
    judges = [m for m in taking_part if m.arm == "cot"]
    with calls.opened(run, "03-calibrated-surprise") as record:
        written = writings.generate(params, pairs, run, record, taking_part, base=base)
        moved = duality.scored(
            written, pairs, base.local(), reading.dialects(params), params.judging.batch_size
        )
        said = duality.judged(written, pairs, params, run, record, judges, base=base)
    approved = duality.approvals(written, pairs, said)
    names = {
        "information": "I(x; y)",
        "h_neutral": "H(x)",
        "h_constrained": "H(x|y)",
    }
    compared = {
        title: duality.contrasts(moved, column, level, seed=params.seed)
        for column, title in names.items()
    }
    others = approved[~approved["same_seed"].astype(bool)]
    if others["good"].notna().any():
        compared["P(good), tuned judges"] = duality.contrasts(
            others, "good", level, seed=params.seed
        )
    if params.corpus.people is not None:
        of = {p.id: p for p in pairs}
        planted = gauge.measured(
            [writings.whole(w, of[w.pair]) for w in written],
            [of[w.pair].constraints for w in written],
        )
        told = pd.concat([moved, planted], axis=1)
        for column, title in (
            ("formed", "well-formed tales (planted truth)"),
            ("good", "good, where readable (planted truth)"),
        ):
            compared[title] = duality.contrasts(told, column, level, seed=params.seed)
    shown = duality.as_rows(compared).drop(columns=["Seeds", "Pairs", "Without a value"])
    figures.show_table(shown, digits=3)
    wrote = {
        "sentence": f"{duality.headline(compared, 'I(x; y)', 'bits per token')}.",
        "effects": compared,
        "texts": len(written),
    }
    print(wrote["sentence"])
else:
    print("This profile writes nothing.")

# %%
#| label: tbl-lockin
#| tbl-cap: "The form of what is written, by writer: share in direct speech, share that falls into the form of a diagnosis, words, share that came to an end."
if wrote is not None:
    spoken = gauge.spoken if params.corpus.people is not None else duality.speech_share
    locked = duality.lockin(
        written, reading.dialects(params), cohort.panel(params).taxonomy.ids(), spoken
    )
    figures.show_table(duality.lockin_rows(locked))
    wrote["form"] = {
        column: duality.contrasts(locked, column, level, seed=params.seed)
        for column in ("spoken", "critique", "words", "ended")
    }

# %% [markdown]
# ## Was what was planted found again?
#
# Only a rehearsal can ask this. In its world one verdict of three is false of a degraded literary
# text, so a judge that sees it moves by the bits between the two clips; nothing is planted in
# factual pairs, in the style-only arm, nor in how a passage goes on.

# %%
#| label: tbl-planted
#| tbl-cap: "Planted and found Δ(ΔI), reading B, bits (judgment: per passage; text: per token), 95 % intervals for other seeds and pairs."
if params.corpus.people is not None:
    flipped = float(np.log2((1 - plan.clip) / plan.clip))
    told = {("judgment", "cot", "literary"): flipped}
    found = [
        e
        for e in effects
        if e.last
        and e.reading == "B"
        and e.against is None
        and e.arm in reading.FOLLOWED
        and e.group in pairwise.GROUPS
    ]
    figures.show_table(
        pd.DataFrame(
            [
                {
                    "Direction": e.direction,
                    "Arm": TITLES[e.arm],
                    "Pairs": e.group,
                    "Planted": told.get((e.direction, e.arm, e.group), 0.0),
                    "Found": tuple(e.gain.mean),
                }
                for e in found
            ]
        ),
        digits=3,
    )
else:
    print("Nothing is planted in this profile.")

# %%
_ = results.save(
    run,
    "03-calibrated-surprise",
    {
        "primary_direction": plan.primary,
        "reading": plan.reading,
        "groups": entropies.results(texts, judgments),
        "levels": entropies.levels(texts).to_dict("records"),
        **pairwise.results(effects, drifts),
        "holm": corrected,
        "conditions": above,
        "simulated": {
            "sentence": pairstudies.headline(simulated),
            "drift": drifting,
            **simulated._asdict(),
        },
        "external": None if outside is None else pairwise.results(outside, []),
        "cloze": filled,
        "duality": wrote,
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
