"""Forms that a person fills in without a network: one HTML file out, one JSON file back.

Three forms: :func:`annotate` walks an expert and an engineer through the BC protocol, one passage
at a time; :func:`rate` asks for one answer a dimension on any texts and any taxonomy;
:func:`blind` shows one rater unsigned diagnoses beside the passage that they speak of. A file
holds its style, script and data, and its content security policy allows nothing else: no address
is ever asked. Passages are data to it and never markup.

What comes back, all forms::

    {"kind": "cqa-annotations" | "cqa-ratings" | "cqa-blind", "version": 1,
     "form_id": "…",                     which texts and questions were shown
     "taxonomy": "cqa", "exported": "2026-11-21T17:12:03+08:00",
     "passages": [{"id": "…", "sha256": "…"}],     of each text in UTF-8
     …,                                  the rows, below
     "header": {…}, "drafts": {"<passage id>": {…}}}

Rows of the annotation form: ``annotations``, finished ones only, each valid for
:class:`~cqa_helpers.annotations.Annotation`, and ``unfinished``, the ids of passages begun.
Rows of the rating sheet: ``judge_id`` and ``verdicts``, each valid for
:class:`~cqa_helpers.records.Verdict`; "cannot judge" has the status ``refused`` and no value, what
was not answered has no row, and without a judge's id there is none. ``drafts`` is the form's own
state of everything begun, finished or not: the same form takes it up again on another machine, and
nobody else should read it.

Rows of the blind form: ``rater_id``, ``consent`` (when it was given, else empty),
``consent_sha256`` (of the text in both languages, hashed like the checksum), ``sheets`` and apart
from them ``calibration``, the answers to the worked examples, each ``{"id", "turn", "seconds",
"status", "answers": [{"code", "position", "values", "rank", "why"}]}``; ``unfinished``, the ids of
sheets with something open; and ``checksum``, the SHA-256 of all else as JSON with sorted keys, no
blanks and ASCII alone. It tells a file that was edited or cut short from one that was not; it is no
signature. :mod:`cqa_helpers.ratings` reads these files.

An annotation's id is ``<passage>.<expert>.<protocol>``. Its ``meta`` holds form_id, taxonomy, time
of the last change, language, and the dimensions on which the expert said that they cannot judge.
Positions in a text are Unicode code points. Times carry their zone.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections import Counter
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from cqa_helpers.records import Passage, RecordError, write_atomically
from cqa_helpers.sheets import Sheet as Sheet
from cqa_helpers.sheets import Worked as Worked
from cqa_helpers.sheets import even, misfits, unanswered
from cqa_helpers.taxonomy import Language, Taxonomy, Text

ANNOTATE = ("common.js", "passage.js", "diff.js", "annotate.js")
RATE = ("common.js", "rate.js")
BLIND = ("common.js", "checksum.js", "blind.js")
TITLE = Text(en="Annotation of passages", zh="文段批注")
BLIND_TITLE = Text(en="Rating of diagnoses", zh="评语评分")


class FormError(RecordError):
    """A form cannot be made of these texts."""


def annotate(
    passages: Sequence[Passage],
    taxonomy: Taxonomy,
    out: Path,
    language: Language = "zh",
    expert_id: str = "",
    engineer_id: str = "",
) -> Path:
    """Write the annotation form for some passages as one HTML file and return its path.

    Parameters
    ----------
    language
        That of the interface at the first opening; it can be switched at any time.
    expert_id, engineer_id
        Filled in beforehand, and editable in the form.

    Raises
    ------
    FormError
        No passage, an id given twice, or a passage without text: the message names them.
    """
    items = [
        {"id": p.id, "title": str(p.meta.get("title") or p.id), "language": p.language,
         "text": p.text or ""}
        for p in passages
    ]  # fmt: skip
    header = {"expert_id": expert_id, "engineer_id": engineer_id, "protocol": "bc"}
    data = _data("cqa-annotations", items, taxonomy, language, TITLE, None, header)
    return _write(out, data, ANNOTATE)


def rate(
    items: Sequence[tuple[str, str]],
    taxonomy: Taxonomy,
    out: Path,
    language: Language,
    title: Text,
    intro: Text | None = None,
) -> Path:
    """Write a rating sheet for texts, given as (id, text), as one HTML file; return its path.

    Every dimension of the taxonomy is asked of every text, with its own scale and anchors. The
    judge sees the ids: pass ids that do not unblind.

    Raises
    ------
    FormError
        As :func:`annotate`.
    """
    texts = [{"id": id, "title": id, "language": "", "text": text} for id, text in items]
    data = _data("cqa-ratings", texts, taxonomy, language, title, intro, {"judge_id": ""})
    return _write(out, data, RATE)


def blind(
    sheets: Sequence[Sheet],
    taxonomy: Taxonomy,
    out: Path,
    language: Language,
    rater_id: str,
    *,
    worked: Sequence[Worked] = (),
    consent: Text | None = None,
    names: Sequence[str] = (),
    contact: str = "",
) -> Path:
    """Write the blind rating form of one rater as one HTML file and return its path.

    Each diagnosis is rated on every dimension of the taxonomy, and those of a sheet are ranked,
    ties allowed. Diagnoses stand in boxes of one size, with blank lines evened out.

    Parameters
    ----------
    language
        That of the interface at the first opening; it can be switched at any time.
    worked
        Rated before the sheets; their answers come back apart and are no ratings.
    consent
        Shown first and to be agreed to; by default a text of ours that names no study.
    names
        What must not be read in an id or a diagnosis, as the judges' names: whole words, in
        whatever case.
    contact
        Whom the exported file goes to, as a name or an address; else whoever sent the form.

    Raises
    ------
    FormError
        No sheet, an id or code given twice or with other signs than ``A-Z a-z 0-9 . _ -``,
        nothing to show, more than 26 diagnoses, a worked example without all its answers, or one
        of ``names``: all faults at once.
    """
    shown = [*(w.sheet for w in worked), *sheets]
    if not sheets:
        raise FormError("A form needs at least one sheet; none was given.")
    if faults := [*misfits(shown, rater_id, names), *unanswered(worked, taxonomy)]:
        raise FormError(f"{len(faults)} fault(s), no form was written.\n" + "\n".join(faults))
    items: list[dict[str, Any]] = []
    for n, sheet in enumerate(shown):
        example = worked[n] if n < len(worked) else None
        turn = n + 1 if example else n + 1 - len(worked)
        name = Text(en=f"Example {turn}", zh=f"示例 {turn}") if example else \
            Text(en=f"Passage {turn}", zh=f"第 {turn} 篇")  # fmt: skip
        items.append(
            {"id": sheet.id, "title": sheet.id, "language": sheet.language, "text": sheet.passage,
             "sha256": sheet.sha256(), "turn": turn, "name": name.model_dump(),
             "diagnoses": [{"code": c, "text": even(t)} for c, t in sheet.diagnoses],
             "worked": example and {
                 "values": {c: dict(example.values[c]) for c, _ in sheet.diagnoses},
                 "why": {c: example.why[c].model_dump() for c, _ in sheet.diagnoses}}}
        )  # fmt: skip
    header = {"rater_id": rater_id, "consent": ""}
    data = _data("cqa-blind", items, taxonomy, language, BLIND_TITLE, None, header, rater_id)
    data["contact"] = contact
    data["consent"] = (consent or Text(**yaml.safe_load(_asset("consent.yaml")))).model_dump()
    return _write(out, data, BLIND, ("form.css", "blind.css"))


def words() -> dict[str, dict[str, str]]:
    """Return every word of the interface, by key and language."""
    found: dict[str, dict[str, str]] = yaml.safe_load(_asset("words.yaml"))
    return found


def _data(
    kind: str,
    items: list[dict[str, Any]],
    taxonomy: Taxonomy,
    language: Language,
    title: Text,
    intro: Text | None,
    header: dict[str, str],
    owner: str = "",
) -> dict[str, Any]:
    """Return what the page reads.

    ``form_id`` names texts, questions and whom the form belongs to, not the interface.
    """
    if not items:
        raise FormError("A form needs at least one text; none was given.")
    if twice := sorted(id for id, n in Counter(i["id"] for i in items).items() if n > 1):
        raise FormError(f"Ids must differ within a form; given twice: {', '.join(twice)}.")
    if empty := [i["id"] for i in items if not i["text"].strip()]:
        raise FormError(
            f"No text to show for {', '.join(empty)}. Where only a link may be shared, add the "
            "text locally or leave the passage out."
        )
    for item in items:
        item.setdefault("sha256", hashlib.sha256(item["text"].encode("utf-8")).hexdigest())
    asked = {"id": taxonomy.id, "dimensions": [d.model_dump() for d in taxonomy.dimensions]}
    shown = {"kind": kind, "items": [[i["id"], i["sha256"]] for i in items], "taxonomy": asked}
    shown |= {"owner": owner} if owner else {}
    canonical = json.dumps(shown, sort_keys=True, ensure_ascii=True)
    return {
        "kind": kind,
        "form_id": hashlib.sha256(canonical.encode()).hexdigest()[:16],
        "language": language,
        "title": title.model_dump(),
        "intro": intro.model_dump() if intro else None,
        "header": header,
        "words": words(),
        "taxonomy": asked,
        "items": items,
    }


def _write(
    out: Path, data: dict[str, Any], scripts: Sequence[str], styles: Sequence[str] = ("form.css",)
) -> Path:
    script = "".join(_asset(name) for name in scripts)
    style = "".join(_asset(name) for name in styles)
    parts = {
        "language": "zh-Hans" if data["language"] == "zh" else "en",
        "title": html.escape(data["title"][data["language"]]),
        "script": script,
        "style": style,
        "script_hash": _policy(script),
        "style_hash": _policy(style),
        "data": _embedded(data),
    }
    write_atomically(out, _asset("page.html").format_map(parts))
    return out


def _policy(content: str) -> str:
    """Return the content security policy's name for an inline element."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _embedded(data: dict[str, Any]) -> str:
    """Return JSON that cannot end the element it stands in, nor break a line of script."""
    text = json.dumps(data, ensure_ascii=False)
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _asset(name: str) -> str:
    path = resources.files("cqa_helpers") / "forms_assets" / name
    return path.read_text(encoding="utf-8")
