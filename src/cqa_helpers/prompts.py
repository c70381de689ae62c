"""How a passage is put to a model, and how its answer is read.

A *dialect* is data (``data/prompts/<id>.yaml``): the prompt, the head of a dimension's section,
the verdict's marker and words. Rendering and parsing use the same templates.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cqa_helpers import injections, paths, yamlfile
from cqa_helpers.annotations import Annotation, Judgement
from cqa_helpers.records import Constraints, Passage, Status
from cqa_helpers.taxonomy import Dimension, Language, Taxonomy

Source = Literal["intent", "audience", "reality"]
FormName = Literal["reason-first", "verdict-only", "verdict-first", "second-voice", "pairwise"]


class DialectError(ValueError):
    """A dialect file is missing or does not say what is needed."""


class Form(BaseModel):
    """One way of answering: the verdict after the reasoning, before it, or alone.

    ``words`` are the form's own verdict words, where it has any; ``between`` stands between the
    parts of a section.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    prompt: str = Field(pattern=r"\{passage\}")
    head: str
    verdict: str
    with_reason: bool
    verdict_first: bool = False
    between: str = " "
    closing: str
    words: dict[int, str] | None = None

    @model_validator(mode="after")
    def _one_verdict(self) -> Form:
        if self.verdict.count("{verdict}") != 1:
            raise ValueError(f"verdict {self.verdict!r} must hold {{verdict}} once")
        if self.verdict_first and not self.with_reason:
            raise ValueError("verdict_first without a reason: a bare verdict comes neither first "
                             "nor last; leave verdict_first out")  # fmt: skip
        return self


class Dialect(BaseModel):
    """The templates of one prompt language.

    Before a passage that is scored stands the ``neutral`` prefix, the ``constrained`` one, each
    source of constraint ``alone``, or the ``filler``, repeated within ``padded``. A passage that is
    written is over at one of ``ends``; ``rewrite`` asks for one to be told again.

    ``answer`` says whether a verdict is written in words or as JSON. At a text of ``stops`` an
    answer is over: a base model goes on to ask itself the next question.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    id: str
    unit: Literal["passage", "dimension"]
    answer: Literal["text", "json"] = "text"
    stops: list[str] = []
    forms: dict[FormName, Form]
    words: dict[int, str] = Field(min_length=2)
    neutral: str
    constrained: str
    alone: dict[Source, str] = {}
    padded: str = Field(default="", pattern=r"^$|\{filler\}")
    filler: str = ""
    ends: list[str] = []
    rewrite: str = Field(default="", pattern=r"^$|\{passage\}")

    @model_validator(mode="after")
    def _words_for_each_value(self) -> Dialect:
        for name, form in self.forms.items():
            if form.words is not None and form.words.keys() != self.words.keys():
                raise ValueError(
                    f"forms.{name}.words has words for {sorted(form.words)}, and the dialect for "
                    f"{sorted(self.words)}: give one word for each of these values"
                )
        return self

    def words_of(self, form: FormName) -> dict[int, str]:
        """Return the verdict word of each value in a form: its own, or the dialect's."""
        return self.forms[form].words or self.words

    @property
    def scale(self) -> str:
        """Return the verdict scale, as in ``"0-1"``."""
        return f"{min(self.words)}-{max(self.words)}"


class Question(NamedTuple):
    """One prompt: a passage and the dimensions its answer must speak of, in their order.

    ``flags`` are the passage's own words that speak to a judge (:mod:`~cqa_helpers.injections`).
    """

    item_id: str
    dimensions: tuple[str, ...]
    prompt: str
    flags: tuple[str, ...] = ()


class Answer(NamedTuple):
    """What was read from a completion about one dimension.

    ``start`` is the character at which the verdict's word begins, or None if there is none.
    """

    dimension: str
    value: int | None
    reason: str
    status: Status
    start: int | None


def load_dialect(name: str) -> Dialect:
    """Read ``data/prompts/<name>.yaml``.

    Raises
    ------
    DialectError
        No such dialect, or each fault with file, line, key, the value given and what is allowed.
    """
    return yamlfile.read(file_of(name), Dialect, DialectError)


def file_of(name: str) -> Path:
    """Return the file of a dialect: its hash is the version of the prompts.

    Raises
    ------
    DialectError
        No such dialect: the list of those there are.
    """
    folder = paths.root() / "data" / "prompts"
    path: Path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise DialectError(f"No dialect {name!r} in {folder}. There are: {known}.")
    return path


def questions(
    passages: Sequence[Passage],
    taxonomy: Taxonomy,
    dialect: Dialect,
    form: FormName,
    *,
    swapped: bool = False,
    order: int | None = None,
) -> list[Question]:
    """Return the prompts that ask for every dimension of every passage that has a text.

    ``swapped`` names the two answers in the other order. ``order`` seeds a shuffle of the
    dimensions, another for each passage, where one prompt asks for all of them. A second text to
    compare with stands in ``meta.second``.

    Raises
    ------
    DialectError
        The dialect does not have this form.
    """
    if form not in dialect.forms:
        raise DialectError(f"dialect {dialect.id!r} has no form {form!r}; it has "
                           f"{', '.join(dialect.forms)}.")  # fmt: skip
    shape, words = dialect.forms[form], dialect.words_of(form)
    named = [_fill(shape.verdict, verdict=words[v]) for v in (max(words), min(words))]
    if swapped:
        named.reverse()
    asked = []
    for passage in passages:
        if passage.text is None:
            continue
        language: Language = "zh" if passage.language.startswith("zh") else "en"
        other = passage.meta.get("second", "")
        flags = tuple(injections.found(f"{passage.text}\n{other}"))
        for group in _groups(taxonomy, dialect):
            ordered = list(group)
            if order is not None:
                random.Random(f"{order} {passage.id}").shuffle(ordered)
            texts = [d.question.in_language(language) for d in ordered]
            if dialect.unit == "passage":
                texts = [f"{d.id}: {text}" for d, text in zip(ordered, texts, strict=True)]
            prompt = _fill(
                shape.prompt, passage=passage.text, question="\n".join(texts), first=named[0],
                second=named[1], fence=_fence(passage.text + other), other=other,
            )  # fmt: skip
            asked.append(Question(passage.id, tuple(d.id for d in ordered), prompt, flags))
    return asked


def completions(
    annotation: Annotation, taxonomy: Taxonomy, dialect: Dialect, form: FormName
) -> list[tuple[tuple[str, ...], str]]:
    """Return an annotation as the answers a model should learn: (dimensions, text) each."""
    judged = {j.dimension: j for j in annotation.judgements}
    answers = []
    for group in _groups(taxonomy, dialect):
        known = [judged[d.id] for d in group if d.id in judged]
        if not known:
            continue
        parts = [_section(j, dialect, form) for j in known]
        parts.append(_fill(dialect.forms[form].closing, summary=annotation.summary))
        text = " " + " ".join(part for part in parts if part)
        answers.append((tuple(d.id for d in group), text))
    return answers


def parse(text: str, dimensions: Sequence[str], dialect: Dialect, form: FormName) -> list[Answer]:
    """Read the verdict on each dimension from a completion.

    The last verdict within a dimension's own section counts, the first where the form puts the
    verdict first, and one in quotation marks never does: a model that only repeats the question's
    wording has not answered. Emphasis marks (``**Verdict:** no``) are read over. What stands after
    one of the dialect's stops is no answer. What is not there is ``unparsed``, never a value.
    """
    shape = dialect.forms[form]
    text = text[: min((at for stop in dialect.stops if (at := text.find(stop)) >= 0), default=None)]
    words = {word: value for value, word in dialect.words_of(form).items()}
    choice = "|".join(re.escape(w) for w in sorted(words, key=len, reverse=True))
    before, after = (_loosely(part) for part in shape.verdict.split("{verdict}"))
    pattern = re.compile(rf"(?<![\"'“‘「『]){before}(?P<word>{choice})(?!\w){after}", re.IGNORECASE)
    sections = _sections(text, dimensions, shape)
    answers = []
    for dimension in dimensions:
        span = sections.get(dimension)
        found = None if span is None else _verdict(pattern, text, *span, shape.verdict_first)
        if span is None or found is None:
            said = "" if span is None else text[slice(*span)].strip()
            answers.append(Answer(dimension, None, said, "unparsed", None))
            continue
        own = slice(found.end(), span[1]) if shape.verdict_first else slice(span[0], found.start())
        value = words[_as_written(found["word"], words)]
        answers.append(Answer(dimension, value, text[own].strip(), "ok", found.start("word")))
    return answers


def prefix(dialect: Dialect, constraints: Constraints | None) -> str:
    """Return the text before a passage: neutral, or the constraints it was to meet."""
    if constraints is None:
        return dialect.neutral
    return _fill(dialect.constrained, **constraints.model_dump())


def alone(dialect: Dialect, constraints: Constraints, source: Source) -> str:
    """Return the text before a passage that says one source of its constraints."""
    return _fill(dialect.alone[source], **{source: getattr(constraints, source)})


def padded(dialect: Dialect, n: int) -> str:
    """Return the text before a passage that says the filler ``n`` times."""
    return _fill(dialect.padded, filler=dialect.filler * n)


def lead(dimension: str, dialect: Dialect, form: FormName) -> str:
    """Return what stands before the word of a verdict, where a section holds nothing else."""
    shape = dialect.forms[form]
    head = _fill(shape.head, dimension=dimension)
    before = shape.verdict.split("{verdict}")[0]
    return f"{head}{shape.between}{before}" if head else before


def _fence(text: str) -> str:
    """Return a line of equals signs that is longer than any in the text."""
    return "=" * max(10, 1 + max(map(len, re.findall("=+", text)), default=0))


def _groups(taxonomy: Taxonomy, dialect: Dialect) -> list[tuple[Dimension, ...]]:
    whole = tuple(taxonomy.dimensions)
    return [whole] if dialect.unit == "passage" else [(d,) for d in whole]


def _section(judgement: Judgement, dialect: Dialect, form: FormName) -> str:
    shape = dialect.forms[form]
    verdict = _fill(shape.verdict, verdict=dialect.words_of(form)[judgement.value])
    said = [judgement.reason, verdict] if shape.with_reason else [verdict]
    if shape.verdict_first:
        said.reverse()
    parts = [_fill(shape.head, dimension=judgement.dimension), *said]
    return shape.between.join(part for part in parts if part)


def _sections(text: str, dimensions: Sequence[str], shape: Form) -> dict[str, tuple[int, int]]:
    if not shape.head:
        return {dimensions[0]: (0, len(text))}
    heads = [_fill(shape.head, dimension=d) for d in dimensions]
    starts: dict[str, tuple[int, int]] = {}
    at = 0
    for dimension, head in zip(dimensions, heads, strict=True):
        match = re.compile(r"(?<!\S)" + re.escape(head)).search(text, at)
        if match:
            starts[dimension] = (match.start(), match.end())
            at = match.end()
    order = [d for d in dimensions if d in starts]
    ends = [starts[d][0] for d in order[1:]] + [len(text)]
    return {d: (starts[d][1], end) for d, end in zip(order, ends, strict=bool(order))}


def _loosely(template: str) -> str:
    """Return a pattern for a part of the verdict that lets emphasis marks stand at its spaces."""
    return r"[\s*_]+".join(re.escape(part) for part in re.split(r"\s+", template))


def _verdict(
    pattern: re.Pattern[str], text: str, start: int, end: int, first: bool
) -> re.Match[str] | None:
    found = list(pattern.finditer(text, start, end))
    return found[0 if first else -1] if found else None


def _as_written(word: str, words: dict[str, int]) -> str:
    return next(w for w in words if w.lower() == word.lower())


def _fill(template: str, **values: str) -> str:
    # One pass, so that braces inside a passage are text and not a template.
    return re.sub(r"\{(\w+)\}", lambda m: values.get(m[1], m[0]), template)
