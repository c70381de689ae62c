"""What models write: literary pairs continued and told again, by base and tuned, as rows.

All write under the same sampling seeds and nothing is written twice. What was written goes to
judges as passages and to raters as unsigned packets, which name no writer.
"""

from __future__ import annotations

import re
import time
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd

from cqa_helpers import cohort, models, reading
from cqa_helpers.arms import TITLES
from cqa_helpers.calls import CallRecord
from cqa_helpers.cohort import Base, Member
from cqa_helpers.conditions import language_of
from cqa_helpers.models import LocalModel
from cqa_helpers.params import Params, fingerprint
from cqa_helpers.prompts import Dialect, prefix
from cqa_helpers.records import Origin, Pair, Passage, Verdict
from cqa_helpers.sections import Duality

Kind = Literal["continuation", "rewrite"]
# The untouched base under other seeds than its own: what differs between the two is noise.
AGAIN = "base-again"
WRITERS = {**TITLES, AGAIN: "base, other seeds (noise)"}
# How a text is asked for again, by language; a dialect of another language has none.
# What blind packets put after a text in place of a verdict: whether its writer was done.
ENDINGS = {0: "cut off here", 1: "ends here"}
_SENTENCE_END = re.compile(r"(?:[.!?]+[\"”’)\]]*(?=\s)|[。！？…]+[”’」』）]*)\s*")
_WORD_END = re.compile(r"(?<=\S)(?=\s)|(?<=[㐀-鿿，、；])")
# A text tokenised anew may have fewer tokens than were sampled (our choice of how many).
_ANEW = 0.95


class WritingError(ValueError):
    """Nothing can be written."""


class Writing(NamedTuple):
    """What one model wrote for a pair under a seed.

    ``end`` is the text at which it was over (a stop of the dialect, or what opens a diagnosis),
    empty where it ended of itself, and null where it was cut at the longest.
    """

    arm: str
    seed: int
    pair: str
    kind: Kind
    text: str
    end: str | None

    @property
    def ended(self) -> bool:
        """Whether the text came to its own end."""
        return self.end is not None


def beginning(text: str) -> str:
    """Return about the first third of a text: its sentences that end within it, or its words.

    Raises
    ------
    WritingError
        The text has no third.
    """
    third = len(text) / 3
    for cut in (_SENTENCE_END, _WORD_END):
        ends = [m.end() for m in cut.finditer(text)]
        if within := [begun for end in ends if 0 < len(begun := text[:end].rstrip()) <= third]:
            return within[-1]
    raise WritingError(f"Too short to be continued: {text[:40]!r}.")


def tasks(
    dialects: Mapping[str, Dialect], pairs: Sequence[Pair], n: int | None = None
) -> list[tuple[Pair, Kind, str]]:
    """Return the prompts of the first literary pairs: to be continued and told again.

    ``dialects`` are by language; where one has no ``rewrite`` a text is only continued.
    """
    literary = [p for p in pairs if p.group == "literary"][:n]
    if not literary:
        raise WritingError("No literary pair to write for: give pairs in corpus.pairs.")
    asked: list[tuple[Pair, Kind, str]] = []
    for p in literary:
        dialect = dialects[language_of(p)]
        prompt = joined(prefix(dialect, p.constraints), beginning(p.good))
        asked.append((p, "continuation", prompt))
        if dialect.rewrite:
            asking = dialect.model_copy(update={"constrained": dialect.rewrite})
            before, _, after = prefix(asking, p.constraints).partition("{passage}")
            asked.append((p, "rewrite", f"{before}{p.degraded}{after}"))
    return asked


def generate(
    params: Params,
    pairs: Sequence[Pair],
    run_dir: Path,
    record: CallRecord,
    members: Sequence[Member],
    *,
    base: Base | None = None,
) -> list[Writing]:
    """Return what base, base again and members write for each literary pair; kept in the record.

    All write under the same sampling seeds. Where the dialect has no ``rewrite`` texts are only
    continued. A passage is over at the dialect's ``ends`` and stops.

    Raises
    ------
    WritingError
        The params declare none, no literary pair, one too short, or a prompt too long for the
        model.
    TuningError
        A member has no finished adapter.
    """
    assert params.models is not None
    assert params.tuning is not None
    how, untouched = _declared(params), base or Base(params.models)
    dialects = reading.dialects(params)
    asked = tasks(dialects, pairs, how.n_items)
    known = [s for d in dialects.values() for s in (*d.stops, *openings(d), *d.ends)]
    stops = list(dict.fromkeys(known))
    writers: list[tuple[str, int, int, str, Callable[[], AbstractContextManager[LocalModel]]]] = [
        (arm, seed, seed + shift, untouched.identity, lambda: nullcontext(untouched.local()))
        for arm, shift in (("base", 0), (AGAIN, cohort.DRAW))
        for seed in params.tuning.seeds
    ]
    for m in members:
        # As a judge, so that an adapter which is not finished is refused in the same words.
        judge = cohort.judge(m, untouched, params, run_dir, record)
        assert judge.opened is not None
        writers.append((m.arm, m.seed, m.seed, judge.identity, judge.opened))
    made = []
    for arm, seed, draw, identity, opened in writers:
        texts = _written(params, record, arm, identity, opened, draw, [a[2] for a in asked], stops)
        made += [
            Writing(arm, seed, pair.id, kind, *_cut(response, stops, params))
            for (pair, kind, _), response in zip(asked, texts, strict=True)
        ]
    return made


def openings(dialect: Dialect) -> list[str]:
    """Return what a dialect puts after a passage to open its diagnosis, where that is fixed."""
    after = [form.prompt.partition("{passage}")[2] for form in dialect.forms.values()]
    fixed = [part.partition("{")[0].strip() for part in after]
    return list(dict.fromkeys(part.splitlines()[0] for part in fixed if part))


def _declared(params: Params) -> Duality:
    if params.surprise is None or params.surprise.duality is None:
        raise WritingError(
            "surprise.duality is null: nothing is to be written. Give n_items and max_new_tokens."
        )
    return params.surprise.duality


def _written(
    params: Params, record: CallRecord, arm: str, identity: str,
    opened: Callable[[], AbstractContextManager[LocalModel]], draw: int, prompts: Sequence[str],
    stops: Sequence[str],
) -> list[dict[str, Any]]:  # fmt: skip
    """Return the responses to prompts, drawn by whole batches as judges are."""
    how, longest = params.judging, _declared(params).max_new_tokens
    parts = [prompts[b] for b in models.batches(len(prompts), how.batch_size)]
    # The writer is no part of the seed: all write under the same.
    seeds = [models.seed_of("duality", draw, n, *part) for n, part in enumerate(parts)]
    requests = [
        [
            {"task": "duality", "prompt": prompt, "model": identity, "draw": seed, "row": row,
             "temperature": how.temperature, "max_new_tokens": longest,
             "stops": list(stops)}
            for row, prompt in enumerate(part)
        ]
        for part, seed in zip(parts, seeds, strict=True)
    ]  # fmt: skip
    found: list[list[Any]] = [record.get(batch) for batch in requests]
    missing = [n for n, batch in enumerate(found) if any(r is None for r in batch)]
    if missing:
        with opened() as local:
            for n in missing:
                found[n] = _sampled(local, parts[n], seeds[n], params, stops)
                record.put(f"writer-{arm}", zip(requests[n], found[n], strict=True))
    return [response for batch in found for response in batch]


def _sampled(
    local: LocalModel, prompts: Sequence[str], seed: int, params: Params, stops: Sequence[str]
) -> list[dict[str, Any]]:
    new, since = _declared(params).max_new_tokens, time.monotonic()
    most = getattr(local.model.config, "max_position_embeddings", None)
    longest = max(len(local.tokenizer(p)["input_ids"]) for p in prompts) + new
    if most is not None and longest > most:
        raise WritingError(
            f"A prompt and its text have up to {longest} tokens and the model reads {most}: leave "
            "the longest pairs out, or lower surprise.duality.max_new_tokens."
        )
    texts = models.sample(
        local, prompts, temperature=params.judging.temperature, max_new_tokens=new, seed=seed,
        stops=stops,
    )  # fmt: skip
    each = round((time.monotonic() - since) / len(prompts), 5)
    counts = [len(local.tokenizer(t, add_special_tokens=False)["input_ids"]) for t in texts]
    return [
        {"text": text, "tokens": n, "seconds": each} for text, n in zip(texts, counts, strict=True)
    ]


def _cut(
    response: Mapping[str, Any], stops: Sequence[str], params: Params
) -> tuple[str, str | None]:
    text = str(response["text"])
    found = [(at, stop) for stop in stops if (at := text.find(stop)) >= 0]
    if found:
        at, stop = min(found)
        return text[:at].strip(), stop
    return text, "" if response["tokens"] < _ANEW * _declared(params).max_new_tokens else None


def joined(before: str, after: str) -> str:
    """Return two texts as one, with no space after Chinese."""
    wide = any(unicodedata.east_asian_width(c) in "WF" for c in before[-2:])
    return before + ("" if wide or not before or before[-1].isspace() else " ") + after


def table(writings: Sequence[Writing]) -> pd.DataFrame:
    """Return writings as a table, one row each, with ``ended``."""
    rows = [w._asdict() | {"ended": w.ended} for w in writings]
    return pd.DataFrame(rows, columns=[*Writing._fields, "ended"])


def whole(writing: Writing, pair: Pair) -> str:
    """Return a text as a reader has it: after the beginning that it continues."""
    if writing.kind == "rewrite" or not writing.text:
        return writing.text
    return joined(beginning(pair.good), writing.text)


def as_passages(writings: Sequence[Writing], pairs: Sequence[Pair]) -> list[Passage]:
    """Return what was written as passages to be judged; ids and their order name no writer."""
    of = {p.id: p for p in pairs}
    made = {}
    for w in writings:
        pair = of[w.pair]
        origin: Origin = "simulated" if pair.origin == "simulated" else "model-authored"
        if w.text:
            name = passage_id(w, pair)
            made[name] = Passage(
                id=name, work_id=pair.id, language=language_of(pair),
                text=whole(w, pair), origin=origin, licence="as its pair", source="writings",
            )  # fmt: skip
    return [made[name] for name in sorted(made)]


def as_verdicts(writings: Sequence[Writing], kind: Kind = "continuation") -> list[Verdict]:
    """Return texts of one kind as rows that blind packets take, the writer as judge.

    The value is whether a text ended (:data:`ENDINGS` are its words), the repeat its seed's place.
    """
    mine = [w for w in writings if w.kind == kind and w.text and w.arm != AGAIN]
    places = {s: i for i, s in enumerate(sorted({w.seed for w in mine}))}
    return [
        Verdict(
            item_id=w.pair, dimension=kind, judge_id=writer(w.arm), repeat=places[w.seed],
            value=int(w.ended), reason=w.text, meta={"seed": w.seed},
        )
        for w in mine
    ]  # fmt: skip


def briefs(pairs: Sequence[Pair], kind: Kind = "continuation") -> list[Passage]:
    """Return what raters see above the texts: the constraints, and the beginning or the text."""
    return [
        Passage(
            id=p.id, work_id=p.id, language=language_of(p), origin=p.origin,
            text=f"{p.constraints.joint()}\n\n"
            + (beginning(p.good) if kind == "continuation" else p.degraded),
            licence="as its pair", source="pairs",
        )
        for p in pairs if p.group == "literary"
    ]  # fmt: skip


def writer(arm: str) -> str:
    """Return the name under which an arm writes: that under which it judges."""
    return "base" if arm == "base" else cohort.judge_id(Member(arm, 0, 0))


def passage_id(writing: Writing, pair: Pair) -> str:
    """Return the id under which a text is judged, the same whoever wrote it."""
    return f"written-{fingerprint([writing.pair, whole(writing, pair)])}"
