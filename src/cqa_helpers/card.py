"""The dataset card of a release: the hub's sections, filled from what the set itself says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import yaml

from cqa_helpers.consent import People, shareable
from cqa_helpers.corpus import Corpus
from cqa_helpers.params import Params
from cqa_helpers.taxonomy import Taxonomy

_DEEDS = {
    "CC-BY-4.0": "Creative Commons Attribution 4.0 International",
    "CC-BY-SA-4.0": "Creative Commons Attribution-ShareAlike 4.0 International",
    "CC0-1.0": "Creative Commons Zero 1.0 Universal",
}


class Facts(NamedTuple):
    """All that a card and its metadata say. ``files`` is table to side to parquet file."""

    params: Params
    people: People
    material: Corpus
    taxonomy: Taxonomy
    files: dict[str, dict[str, str]]
    withheld: list[str]
    without_consent: list[str]
    git: dict[str, Any]

    def name(self) -> str:
        """Return the set's short name."""
        return f"cqa-{self.params.profile}"

    def description(self) -> str:
        """Return what the set is, in two sentences."""
        m = self.material
        languages = " and ".join(sorted({p.language for p in m.passages}))
        origins = " and ".join(sorted({p.origin for p in m.passages}))
        return (
            f"{self.people.title}: {len(m.passages)} passages ({languages}; {origins}), "
            f"{len(m.annotations)} chain-of-thought annotations, {len(m.experts)} verdicts on "
            f"{len(self.taxonomy.dimensions)} dimensions and {len(m.pairs)} contrast pairs. Made "
            "to study whether expert judgment of fiction can be taught to a small language model."
        )

    def citation(self) -> str:
        """Return how the set is cited."""
        commit = str(self.git.get("git_commit") or "unknown")[:12]
        return f"{self.people.title}. Release of profile {self.params.profile}, commit {commit}."


def write(facts: Facts) -> str:
    """Return the card: YAML front matter that the hub and ``load_dataset`` read, then sections."""
    front = yaml.safe_dump(_front(facts), sort_keys=False, allow_unicode=True)
    return page(front, _sections(facts))


def page(front: str, sections: Iterable[tuple[int, str, str]]) -> str:
    """Return a card as the hub wants it: YAML head, then sections (level, title, text)."""
    body = "\n\n".join(
        f"{'#' * level} {title}\n\n{text}".rstrip() for level, title, text in sections
    )
    return f"---\n{front.rstrip()}\n---\n\n{body}\n"


def licence(spdx: str) -> str:
    """Return the licence file: the identifier, its name and where its text stands."""
    name = _DEEDS.get(spdx, spdx)
    return (
        f"SPDX-License-Identifier: {spdx}\n\nThe annotations, verdicts, pairs and the card are "
        f"given under {name}.\nThe text of each licence: https://spdx.org/licenses/{spdx}.html\n\n"
        "Each passage has its own licence, in the column `licence` of the table `passages`; where "
        "that\nforbids passing it on, its text is not in this folder.\n"
    )


def _front(facts: Facts) -> dict[str, Any]:
    configs = [
        {
            "config_name": table,
            **({"default": True} if table == "annotations" else {}),
            "data_files": [{"split": side, "path": path} for side, path in sides.items()],
        }
        for table, sides in facts.files.items()
    ]
    return {
        "pretty_name": facts.people.title,
        "license": facts.people.licence.lower(),
        "language": sorted({p.language for p in facts.material.passages}),
        "task_categories": ["text-classification", "text-generation"],
        "tags": [
            "creative-writing",
            "chain-of-thought",
            "llm-as-judge",
            "model-authored" if _authored(facts) else "expert-annotation",
        ],
        "annotations_creators": ["machine-generated" if _authored(facts) else "expert-generated"],
        "configs": configs,
    }


def _authored(facts: Facts) -> bool:
    return facts.params.status == "model-authored"


def _sections(facts: Facts) -> list[tuple[int, str, str]]:
    people = facts.people
    status = (
        "**Everything here is model-authored: passages, annotations and pairs were written by a "
        "language model as worked examples. No expert said any of it.**\n\n"
        if _authored(facts) else ""
    )  # fmt: skip
    return [
        (1, f"Dataset Card for {people.title}", status + facts.description()),
        (2, "Dataset Details", ""),
        (3, "Dataset Description", _facts_list(facts)),
        (2, "Uses", ""),
        (3, "Direct Use", "Learning the form of an annotation; few-shot examples; testing tools."
         if _authored(facts) else
         "Training and testing judges of narrative craft against these people's judgment; "
         "studying what an expert's reasoning holds; few-shot examples."),
        (3, "Out-of-Scope Use", "Ranking authors, deciding what is published, grading students, "
         "judging other kinds of text, or standing in for readers at large. A judge that agrees "
         "with these people agrees with these people."),
        (2, "Dataset Structure", _structure(facts)),
        (2, "Dataset Creation", ""),
        (3, "Curation Rationale", "Public alignment data say much about wording and little about "
         "what a reader expects or a story's world allows. This set holds reasons for all three."),
        (3, "Source Data", _sources(facts)),
        (3, "Annotations", _annotations(facts)),
        (3, "Personal and Sensitive Information", "People are known by number. "
         + (f"Left out for want of consent: {', '.join(facts.without_consent)}."
            if facts.without_consent else "Everyone listed agreed to what is published here.")),
        (2, "Bias, Risks, and Limitations", _limits(facts)),
        (2, "Citation", facts.citation()),
        (2, "Dataset Card Contact", people.contact),
    ]  # fmt: skip


def _facts_list(facts: Facts) -> str:
    return "\n".join([
        f"- **Curated by:** see contact; collected {facts.people.collected}",
        f"- **Language(s):** {', '.join(sorted({p.language for p in facts.material.passages}))}",
        f"- **License:** {facts.people.licence} for annotations, verdicts and pairs; passages each "
        "their own",
        f"- **Split:** by work, seeded, fingerprint `{facts.material.split.fingerprint()}`; files "
        "hold `train`, `test`, and `other` (neither)",
        f"- **Made from:** commit `{facts.git.get('git_commit')}`",
    ])  # fmt: skip


def _structure(facts: Facts) -> str:
    lines = ["| Table | Splits | One row is |", "|---|---|---|"]
    meaning = {
        "passages": "a text, or its id, length and sha256 where its licence withholds it",
        "annotations": "one expert's diagnosis of one passage: recall, reasoning in steps, claims "
        "with counterfactuals, logged probes, evidence spans (code points, end excluded)",
        "verdicts": "one judge's answer on one dimension of one passage",
        "quality": "one rater's answer on one quality of an annotation's reasoning",
        "pairs": "a passage and a version that is worse in one dimension, with its constraints",
    }
    for table, sides in facts.files.items():
        lines.append(f"| `{table}` | {', '.join(sides)} | {meaning[table]} |")
    dimensions = "\n".join(
        f"- `{d.id}` ({d.scale}): {d.question.en}" for d in facts.taxonomy.dimensions
    )
    return "\n".join([
        *lines, "", "The dimensions, in full in `taxonomy.yaml`:", "", dimensions, "",
        "`facets` and `meta` are JSON in a string. A null value has a status that says why: "
        "`unparsed`, `refused` or `failed`; missing is never a zero.", "",
        "```python", "from datasets import load_dataset",
        'annotations = load_dataset("path/to/this/folder", "annotations")', "```",
    ])  # fmt: skip


def _sources(facts: Facts) -> str:
    rows = Counter((p.origin, p.licence, p.source, shareable(p)) for p in facts.material.passages)
    lines = [
        "| Origin | Licence | Source | Text in this folder | Passages |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {origin} | {lic} | {cell(source)} | "
        f"{'yes' if yes else 'no: id and offsets only'} | {n} |"
        for (origin, lic, source, yes), n in sorted(rows.items())
    ]
    if facts.withheld:
        lines += ["", f"Withheld: {', '.join(facts.withheld)}. `characters` and `sha256` let an "
                  "owner of the book check that offsets meet the same text."]  # fmt: skip
    return "\n".join(lines)


def _annotations(facts: Facts) -> str:
    m = facts.material
    protocols = Counter(a.protocol for a in m.annotations)
    minutes = [a.minutes for a in m.annotations if a.minutes is not None]
    lines = [
        "One expert and one engineer in dialogue (`bc`) or the expert alone (`solo`): "
        + (", ".join(f"{n} {p}" for p, n in sorted(protocols.items())) or "none") + ". "
        + (f"{sum(minutes):.0f} minutes recorded over {len(minutes)} sessions."
           if minutes else "No session times are recorded."),
        "", "**Who the annotators are**", "",
        "| Id | Role | Who | Payment | Agreed to publish |", "|---|---|---|---|---|",
    ]  # fmt: skip
    lines += [
        f"| {p.id} | {p.role} | {cell(p.description)} | {cell(p.payment)} | "
        f"{', '.join(p.consents) or 'nothing'} |"
        for p in facts.people.people
    ]
    return "\n".join(lines)


def _limits(facts: Facts) -> str:
    judges = Counter(v.judge_id for v in facts.material.experts)
    most, n = judges.most_common(1)[0]
    one = len(judges) == 1
    return "\n".join([
        f"- {len(judges)} person(s) judged; {most} gave {n} of {sum(judges.values())} verdicts."
        + (" With one person there is no agreement to report: what a model learns here is that "
           "person's judgment." if one else ""),
        "- One genre; few works. Verdicts on passages of one work are not independent: resample "
        "works.",
        "- An expert's reasons can be learned as a manner of speaking. Compare a tuned judge with "
        "the controls that have the manner and not the judgment.",
        *(["- Model-authored: of use to learn the format, not the judgment."]
          if _authored(facts) else []),
    ])  # fmt: skip


def cell(text: str) -> str:
    """Return a text so that it stays within one cell of a table."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")
