"""An expert's diagnosis of one passage, as the BC protocol gives it.

The order is the protocol's: what the expert says unasked is closed first, then the engineer's
probes are logged one by one; the edited reasoning stands beside the raw transcript. Claims that
bear load and the counterfactuals that test them are kept, so their density is computed and not
guessed (BC, arXiv 2605.25549; the fields are our reconstruction).
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from pydantic import Field, model_validator

from cqa_helpers.records import Passage, Record, Verdict
from cqa_helpers.taxonomy import Aspect, Taxonomy

Protocol = Literal["bc", "solo"]
StepKind = Literal["observation", "function", "effect", "counterfactual", "verdict"]
STEPS: tuple[StepKind, ...] = ("observation", "function", "effect", "counterfactual", "verdict")


class Span(Record):
    """Evidence in the passage: characters ``start`` to ``end`` (end excluded).

    Characters are Unicode code points. ``quote`` is what stands there, so that a span can be
    checked against the text; it is empty only in records made before quotes were kept.
    """

    start: int = Field(ge=0)
    end: int
    dimension: str
    quote: str = ""
    note: str = ""

    @model_validator(mode="after")
    def _runs_forward(self) -> Span:
        if self.end <= self.start:
            raise ValueError(f"span ends at {self.end}, not after its start {self.start}")
        if self.quote and len(self.quote) != self.end - self.start:
            raise ValueError(
                f"span {self.start}-{self.end} holds {self.end - self.start} character(s), its "
                f"quote {len(self.quote)}"
            )
        return self


class Probe(Record):
    """One logged question of the engineer and what came of it.

    ``origin`` says whether the reply reports what the expert already did in earlier practice or
    was thought up afresh under the question.
    """

    asked: str = Field(min_length=1)
    why: str = ""
    reply: str = Field(min_length=1)
    correction: str = ""
    kind: Literal["follow-up", "counterexample", "counterfactual"]
    origin: Literal["prior-practice", "fresh"] | None = None
    at: datetime | None = None


class Step(Record):
    """One move of the reasoning: what is seen, what it is for, what it does, what else, so what."""

    kind: StepKind
    text: str = Field(min_length=1)


class Judgement(Record):
    """The expert's verdict on one dimension, with the reasoning that leads to it.

    ``value`` is on the taxonomy's scale; ``score`` says how far the function is achieved, 1 (not at
    all) to 5 (fully); ``facets`` are verdicts on the dimension's literary aspects, same scale.
    """

    dimension: str
    value: int
    score: int | None = Field(default=None, ge=1, le=5)
    reason: str = Field(min_length=1)
    steps: tuple[Step, ...] = ()
    facets: dict[Aspect, int] = Field(default_factory=dict)


class Counterfactual(Record):
    """A premise the expert relied on, changed: what would follow."""

    premise: str = Field(min_length=1)
    outcome: str = Field(min_length=1)
    explicit: bool = True


class Claim(Record):
    """One claim of the reasoning.

    It bears load if the reasoning collapses once its causal link is reversed.
    """

    text: str = Field(min_length=1)
    dimension: str
    load_bearing: bool
    counterfactuals: tuple[Counterfactual, ...] = ()


class Annotation(Record):
    """A chain-of-thought diagnosis of one passage.

    ``recall`` is what the expert said before any question, ``transcript`` the raw record of the
    session, ``cot_body`` the edited reasoning. Probes are logged after the recall is closed.
    """

    id: str = Field(min_length=1)
    passage_id: str = Field(min_length=1)
    protocol: Protocol
    expert_id: str = Field(min_length=1)
    engineer_id: str | None = None
    minutes: float | None = Field(default=None, gt=0, le=24 * 60)
    recall: str = ""
    recall_closed: datetime | None = None
    preamble: str = ""
    cot_body: str = Field(min_length=1)
    summary: str = ""
    judgements: tuple[Judgement, ...] = Field(min_length=1)
    claims: tuple[Claim, ...] = ()
    probes: tuple[Probe, ...] = ()
    evidence: tuple[Span, ...] = ()
    transcript: str = ""
    meta: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _hangs_together(self) -> Annotation:
        dimensions = [j.dimension for j in self.judgements]
        if len(set(dimensions)) != len(dimensions):
            raise ValueError(f"a dimension is judged twice: {dimensions}")
        if self.recall_closed is not None:
            early = [
                i for i, p in enumerate(self.probes) if p.at is not None
                and (p.at.tzinfo is None) == (self.recall_closed.tzinfo is None)
                and p.at < self.recall_closed
            ]  # fmt: skip
            if early:
                raise ValueError(
                    f"probe(s) {', '.join(map(str, early))} were logged before the unprompted "
                    "recall was closed"
                )
        return self

    def counterfactual_density(self) -> float | None:
        """Return explicit counterfactuals of load-bearing claims over load-bearing claims.

        ``None`` where no claim is marked as bearing load. BC, arXiv 2605.25549.
        """
        bearing = [claim for claim in self.claims if claim.load_bearing]
        if not bearing:
            return None
        return sum(c.explicit for claim in bearing for c in claim.counterfactuals) / len(bearing)

    def verdicts(self, taxonomy: Taxonomy) -> list[Verdict]:
        """Return the expert's verdicts as the rows that every judge writes.

        Dimensions outside the taxonomy are left out: :func:`misfits` names them.
        """
        scales = {d.id: d.scale for d in taxonomy.dimensions}
        return [
            Verdict(
                item_id=self.passage_id,
                dimension=j.dimension,
                judge_id=self.expert_id,
                value=j.value,
                scale=scales[j.dimension],
                reason=j.reason,
                meta={"annotation": self.id},
            )
            for j in self.judgements
            if j.dimension in scales
        ]


class Misfit(NamedTuple):
    """Something that does not fit. ``severe`` stops an import, the rest is for a person to read."""

    field: str
    message: str
    severe: bool


def misfits(annotation: Annotation, passage: Passage | None, taxonomy: Taxonomy) -> list[Misfit]:
    """Return what does not fit between an annotation, its passage and the taxonomy.

    Severe: an unknown passage or dimension, a value or facet outside the scale, a span outside the
    text or with another quote. For a person to read: a verdict left out, a reason that speaks
    against its verdict, a score against its verdict, a solo session with an engineer.
    """
    return [
        *_spans(annotation, passage),
        *_judgements(annotation, taxonomy),
        *_protocol(annotation),
    ]


def _spans(annotation: Annotation, passage: Passage | None) -> Iterator[Misfit]:
    if passage is None:
        yield Misfit("passage_id", f"no passage {annotation.passage_id!r} is known; import it "
                     "together with the annotation, or before it", True)  # fmt: skip
        return
    text = passage.text
    if text is None:
        if annotation.evidence:
            yield Misfit("evidence", f"passage {passage.id!r} is a link without text, so its "
                         "spans cannot be checked; give the text locally", False)  # fmt: skip
        return
    for i, span in enumerate(annotation.evidence):
        if span.end > len(text):
            yield Misfit(f"evidence.{i}", f"characters {span.start}-{span.end} lie outside the "
                         f"text of {passage.id!r}, which has {len(text)}", True)  # fmt: skip
        elif span.quote and text[span.start : span.end] != span.quote:
            yield Misfit(f"evidence.{i}.quote", f"{_short(span.quote)} is quoted, but characters "
                         f"{span.start}-{span.end} of {passage.id!r} are "
                         f"{_short(text[span.start : span.end])}", True)  # fmt: skip


def _judgements(annotation: Annotation, taxonomy: Taxonomy) -> Iterator[Misfit]:
    known = {d.id: d for d in taxonomy.dimensions}
    for i, j in enumerate(annotation.judgements):
        where = f"judgements.{i}"
        if j.dimension not in known:
            yield Misfit(f"{where}.dimension", f"{j.dimension!r} is not a dimension of taxonomy "
                         f"{taxonomy.id!r}; it has {', '.join(known)}", True)  # fmt: skip
            continue
        dimension = known[j.dimension]
        low, high = dimension.range()
        if not low <= j.value <= high:
            yield Misfit(f"{where}.value", f"{j.value} lies outside the scale {dimension.scale}",
                         True)  # fmt: skip
        aspects = {facet.aspect for facet in dimension.facets}
        for aspect, value in j.facets.items():
            if aspect not in aspects:
                yield Misfit(f"{where}.facets.{aspect}", f"{j.dimension} has no facet {aspect!r}; "
                             f"it has {', '.join(sorted(aspects)) or 'none'}", True)  # fmt: skip
            elif not low <= value <= high:
                yield Misfit(f"{where}.facets.{aspect}", f"{value} lies outside the scale "
                             f"{dimension.scale}", True)  # fmt: skip
        if (
            low < high
            and j.score is not None
            and ((j.value == high and j.score <= 2) or (j.value == low and j.score >= 4))
        ):
            yield Misfit(f"{where}.score", f"score {j.score} of 5 speaks against the verdict "
                         f"{j.value} on the scale {dimension.scale}", False)  # fmt: skip
        said = stance(j.reason)
        if said is not None and j.value in (low, high) and said != (j.value == high):
            yield Misfit(f"{where}.reason", "the reason ends by finding the choice "
                         f"{'effective' if said else 'ineffective'}, the verdict is {j.value} on "
                         f"the scale {dimension.scale}: {_short(j.reason[-60:])}",
                         False)  # fmt: skip
    if left := [d for d in known if d not in {j.dimension for j in annotation.judgements}]:
        yield Misfit("judgements", f"no verdict on {', '.join(left)}: counted as missing", False)


def _protocol(annotation: Annotation) -> Iterator[Misfit]:
    if annotation.protocol == "solo" and annotation.engineer_id:
        yield Misfit("engineer_id", "a solo session has no engineer", False)
    if annotation.protocol == "bc" and not annotation.engineer_id:
        yield Misfit("engineer_id", "a dialogue (bc) needs the engineer's id", False)
    if annotation.probes and not annotation.recall:
        yield Misfit("recall", "probes are logged, but no unprompted recall before them", False)


# What a closing sentence says outright. Rough on purpose: it flags, a person decides.
_FOR = ("achieves its purpose", "serves its purpose", "serves the purpose", "it works", "succeeds",
        "is effective", "verdict: yes", "verdict: effective", "holds together", "keeps its promise",
        "有效", "成立", "达成", "奏效", "兑现了", "判断：是", "结论：是")  # fmt: skip
_AGAINST = ("does not work", "doesn't work", "fails", "is ineffective", "not effective",
            "does not succeed", "defeats its purpose", "works against its purpose",
            "does not achieve", "does not serve", "does not hold together", "verdict: no",
            "verdict: not effective", "does not keep", "无效", "不成立", "未能", "没有达成",
            "失效", "落空", "未达成", "没能", "不奏效", "没有兑现", "判断：否",
            "结论：否")  # fmt: skip


def stance(reason: str) -> bool | None:
    """Return what the last sentence of a reason says outright: effective or not.

    ``None`` where it says neither, or both. A word list of ours, for flags only.
    """
    text = unicodedata.normalize("NFKC", reason).casefold().strip()
    end = text.rstrip(".!?。！？\"'”’」』) ")
    cut = max(end.rfind(mark) for mark in (". ", "。", "! ", "? ", "!", "?", "\n"))
    last = text[cut + 1 :]
    against = any(unicodedata.normalize("NFKC", p) in last for p in _AGAINST)
    remains = last
    for phrase in _AGAINST:
        remains = remains.replace(unicodedata.normalize("NFKC", phrase), " ")
    favour = any(unicodedata.normalize("NFKC", p) in remains for p in _FOR)
    return None if favour == against else favour


def compose(steps: Sequence[Step], language: str) -> str:
    """Return the steps as one running text: spaces between sentences, none in Chinese."""
    return ("" if language.startswith("zh") else " ").join(s.text.strip() for s in steps)


def _short(text: str, most: int = 40) -> str:
    return repr(text if len(text) <= most else text[: most - 1] + "…")
