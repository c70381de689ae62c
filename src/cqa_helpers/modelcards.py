"""The model card of an exported adapter or merged model: the hub's head, then what it is.

What is not known or not measured is said to be so; nothing is filled in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from cqa_helpers import arms, licences, loading
from cqa_helpers.agreement import Interval
from cqa_helpers.card import cell, page
from cqa_helpers.cohort import Member
from cqa_helpers.merging import TOLERANCE, Parity
from cqa_helpers.params import Params
from cqa_helpers.prompts import Dialect

STATUS = {
    "simulated": "**Simulated.** The passages, annotations and verdicts behind these weights come "
    "from a program with planted truth. No expert said any of it, and the figures below say "
    "whether a pipeline works, nothing about literature.",
    "model-authored": "**Model-authored.** The passages and annotations behind these weights were "
    "written by a language model as worked examples. No expert said any of it.",
    "public-replay": "Taught with public verdicts that others collected, named below.",
    "funded-study": "Taught with the study's own expert annotations.",
}


class Data(NamedTuple):
    """What the weights were taught; ``annotation_licence`` is null where nobody stated one.

    ``passage_licences`` and ``origins`` count passages, ``withheld`` those that may not be passed
    on; ``hashes`` is file to sha256.
    """

    annotations: int
    passages: int
    works: int
    languages: tuple[str, ...]
    origins: dict[str, int]
    passage_licences: dict[str, int]
    annotation_licence: str | None
    withheld: int
    split: str
    hashes: dict[str, str]


class Metric(NamedTuple):
    """One measure on held-out passages; an interval without a value was not measured."""

    name: str
    scope: str
    interval: Interval


class Facts(NamedTuple):
    """All that a card says. ``base`` is a portable name; null licences are unknown.

    ``dimensions`` is id to question.
    """

    params: Params
    member: Member
    dialect: Dialect
    dimensions: dict[str, str]
    base: str
    on_hub: bool
    revision: str | None
    base_licence: str | None
    record: dict[str, Any]
    data: Data
    metrics: Sequence[Metric]
    git: dict[str, Any]
    parity: Parity | None = None

    @property
    def name(self) -> str:
        """Return the model's name; that of a merged one ends in ``-merged``."""
        end = "" if self.parity is None else "-merged"
        return f"cqa-{self.params.profile}-{self.member.name}{end}"

    @property
    def precision(self) -> str:
        """Return the precision of the weights that it was trained on."""
        return str(self.record["base"]).rsplit("/", 1)[-1]

    def licence(self) -> str:
        """Return the licence for the head: one where all agree, ``other``, or ``unknown``."""
        d = self.data
        return licences.joint([self.base_licence, d.annotation_licence, *d.passage_licences])


def write(facts: Facts) -> str:
    """Return the card, its head made and read back with huggingface_hub, without a network.

    Raises
    ------
    ValueError
        The head does not read back as it was made.
    """
    from huggingface_hub import ModelCard, ModelCardData

    licence = facts.licence()
    relation = "adapter" if facts.parity is None else "finetune"
    # The hub refuses a card whose base is no model of its own.
    head = ModelCardData(
        base_model=facts.base if facts.on_hub else None,
        base_model_relation=relation if facts.on_hub else None,
        language=list(facts.data.languages),
        library_name="peft" if facts.parity is None else "transformers",
        license=licence,
        license_name="base-and-training-data" if licence == "other" else None,
        license_link="LICENSE" if licence == "other" else None,
        model_name=facts.name,
        pipeline_tag="text-generation",
        tags=["lora", "creative-writing", "chain-of-thought", "llm-as-judge", facts.params.status],
    )
    text = page(head.to_yaml(), _sections(facts))
    if ModelCard(text, ignore_metadata_errors=False).data.to_dict() != head.to_dict():
        raise ValueError(f"the head of the card of {facts.name} does not read back as made")
    return text


def licence_note(facts: Facts) -> str:
    """Return the LICENSE file: what base and data allow, each for itself."""
    return "\n".join([
        "These weights come of a base model and of training data, and follow the terms of both.",
        "", f"Base model {facts.base}: {facts.base_licence or 'licence unknown'}",
        f"Annotations they were trained on: {facts.data.annotation_licence or 'licence unknown'}",
        "Passages they were trained on: " + (_counts(facts.data.passage_licences) or "unknown"),
        "", "Where a licence is unknown, nothing is granted: ask its holder before you use or pass "
        "on these\nweights.", "",
    ])  # fmt: skip


def _sections(facts: Facts) -> list[tuple[int, str, str]]:
    merged = [(2, "Parity with the adapter", _parity(facts.parity))] if facts.parity else []
    return [
        (1, f"Model Card for {facts.name}", f"{STATUS[facts.params.status]}\n\n{_what(facts)}"),
        (2, "Base Model and Licence", _base(facts)),
        (2, "Uses", ""),
        (3, "Intended Use", "Research on whether expert judgment of fiction can be taught with few "
         "annotations: judging passages of the kind it was taught on, beside experts, other "
         "judges and the controls of the study."),
        (3, "Out-of-Scope Use", "Ranking authors, deciding what is published, grading students, "
         "judging other kinds of text, standing in for readers at large, or serving as a reward "
         "model without a check of its own."),
        (2, "How to Load", _load(facts)),
        (2, "Training Data", _data(facts)),
        (2, "Training Recipe", _recipe(facts)),
        (2, "Evaluation", _evaluation(facts)),
        *merged,
        (2, "Bias, Risks, and Limitations", _limits(facts)),
        (2, "Provenance", _provenance(facts)),
    ]  # fmt: skip


def _what(facts: Facts) -> str:
    m, t = facts.member, facts.params.tuning
    assert t is not None
    kind = "A LoRA adapter" if facts.parity is None else "A LoRA adapter merged into its base"
    return (
        f"{kind} (rank {t.lora_rank}) for `{facts.base}`: arm `{m.arm}` "
        f"({arms.TITLES.get(m.arm, m.arm)}), {m.n} annotations, seed {m.seed}, of the study "
        f"“{facts.params.title}”. It reads a passage and judges it on these dimensions:\n\n"
        + "\n".join(f"- `{name}`: {asked}" for name, asked in facts.dimensions.items())
    )


def _base(facts: Facts) -> str:
    where = "" if facts.on_hub else " (a folder where it was trained, not a name on the hub)"
    return "\n".join([
        f"- **Base:** `{facts.base}`{where}",
        f"- **Revision:** {_code(facts.revision) or 'not pinned'}",
        f"- **Trained on weights in:** {facts.precision}",
        f"- **Licence of the base:** {facts.base_licence or 'unknown'}",
        f"- **Licence of the annotations:** {facts.data.annotation_licence or 'unknown'}",
        f"- **Licences of the passages:** {_counts(facts.data.passage_licences) or 'unknown'}",
        "", "These weights follow the terms of base and data alike; where one is unknown, nothing "
        "is granted.",
    ])  # fmt: skip


def _load(facts: Facts) -> str:
    t, p = facts.params.tuning, facts.parity
    assert t is not None
    return loading.section(
        loading.Loading(
            facts.name,
            facts.base if p is None else None,
            facts.revision,
            facts.precision if p is None else p.merged_precision,
            t.lora_rank,
            facts.dialect.forms[arms.FORM_OF_ARM[facts.member.arm]].prompt,
            facts.params.judging.max_new_tokens,
        )
    )


def _data(facts: Facts) -> str:
    d, r = facts.data, facts.record
    lines = [
        f"- {d.annotations} annotations of {d.passages} passages from {d.works} works "
        f"({', '.join(d.languages)}; {_counts(d.origins)})",
        f"- {r['rows']} training rows, {r['supervised_tokens']:,} supervised tokens, "
        f"{r.get('rows_cut', 0)} rows cut",
        f"- Split by work, fingerprint `{d.split}`; no work of the test side was taught",
    ]
    return "\n".join([*lines, *(f"- `{f}`: sha256 `{h}`" for f, h in d.hashes.items())])


def _recipe(facts: Facts) -> str:
    t, r = facts.params.tuning, facts.record
    assert t is not None
    rows = [
        ("Method", "LoRA on all linear layers, loss on the answer alone"),
        ("Rank, alpha, dropout", f"{t.lora_rank}, {t.lora_alpha}, {t.lora_dropout}"),
        ("Steps", r["steps"]), ("Rows a step", t.batch_size),
        ("Learning rate", f"{t.learning_rate:g}, {t.schedule}, {t.warmup_steps} warm-up steps"),
        ("Longest row allowed, tokens", t.max_length), ("Seed", facts.member.seed),
        ("Last training loss", f"{r['losses'][-1]:.4f}" if r.get("losses") else "not recorded"),
        ("Training time, seconds", r.get("train_seconds", "not recorded")),
    ]  # fmt: skip
    return "\n".join(["| Setting | Value |", "|---|---|",
                      *(f"| {name} | {cell(str(value))} |" for name, value in rows)])  # fmt: skip


def _evaluation(facts: Facts) -> str:
    lines = ["On held-out works, with the params below. Intervals are those of the study.", "",
             "| Measure | Of | Value | Interval |", "|---|---|---|---|"]  # fmt: skip
    for metric in facts.metrics:
        value, low, high = metric.interval
        shown = "not measured" if value is None else f"{value:.3f}"
        limits = "none" if low is None or high is None else f"{low:.3f} to {high:.3f}"
        lines.append(f"| {cell(metric.name)} | {cell(metric.scope)} | {shown} | {limits} |")
    return "\n".join(lines)


def _parity(p: Parity) -> str:
    verdicts = (
        "no verdict was compared" if p.max_probability is None
        else f"P of {p.verdicts} verdicts differs by at most {p.max_probability:.2g}"
    )  # fmt: skip
    limit = TOLERANCE[p.adapter_precision]
    return (
        f"Against base and adapter in {p.adapter_precision}, this model in {p.merged_precision} on "
        f"{p.tokens} tokens of {p.rows} training answers: mean divergence {p.kl_bits:.2g} bits a "
        f"token (allowed {limit.kl_bits:g}), largest {p.max_kl_bits:.2g}; logits differ by at most "
        f"{p.max_logit:.2g}, {p.mean_logit:.2g} in the mean; the likeliest next token is the same "
        f"in {p.same_greedy:.1%}; {verdicts} (allowed {limit.probability:g}). The measures under "
        "Evaluation were taken with the adapter. All figures are in `parity.json`."
    )


def _limits(facts: Facts) -> str:
    d = facts.data
    told = (
        f"{d.withheld} of the {d.passages} training passages may not be passed on under their "
        "licence. A model can recite what it was trained on: check before you publish it."
        if d.withheld else "A model can recite what it was trained on."
    )  # fmt: skip
    return "\n".join([
        "- It agrees, at best, with the people who annotated; that is not what readers at large "
        "think.",
        "- Small sets and single seeds vary: this is one seed of an arm.",
        "- A tuned judge can learn an expert's manner and not the judgment. Compare it with the "
        "controls of the study; arms `style-only` and `shuffled` are such controls and of no other "
        "use.",
        f"- {told}",
        "- Text in a passage can steer any language model. Treat its verdict on text from "
        "strangers with care.",
    ])  # fmt: skip


def _provenance(facts: Facts) -> str:
    dirty = {True: ", with changes not committed", False: ""}.get(facts.git["git_dirty"], "")
    return "\n".join([
        f"- Exported at commit {_code(facts.git['git_commit']) or 'unknown'}{dirty}",
        f"- Profile `{facts.params.profile}`, params of notebook 02: "
        f"`{facts.params.fingerprint('02-fine-tune')}`",
        f"- Recipe (settings, base, rows, seed): `{facts.record['recipe']}`",
        f"- Adapter weights, first 16 digits of their sha256: `{facts.record['weights']}`",
        "- Each file's sha256: `MANIFEST.json`",
    ])  # fmt: skip


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{cell(name)} ({n})" for name, n in sorted(counts.items()))


def _code(text: str | None) -> str:
    return f"`{text}`" if text else ""
