"""A small blind study, sealed for two raters in a checkout of its own, and what they send back.

Everything in it is simulated.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from cqa_helpers import ballots, blinding, corpus, params, paths, rounds
from cqa_helpers.params import Params
from cqa_helpers.records import Passage, Verdict, to_table, write_jsonl
from cqa_helpers.rounds import Round
from cqa_helpers.sheets import RANK

Maker = Callable[..., Params]
JUDGES = ("tuned-7b", "base-7b", "gpt4")
RATERS = ("rater-1", "rater-2")
FUNDED: dict[str, Any] = {
    "status": "funded-study",
    "language": "zh",
    "corpus": {"source": "golden", "people": None, "folder": "data/golden"},
    "blind": {"n_items": 3, "judges": list(JUDGES), "raters": list(RATERS), "control": "base-7b"},
    "study": {"candidate": "tuned-7b", "reference": "gpt4"},
}
PASSAGES = [
    Passage(
        id=f"p{i}", work_id=f"w{i}", text=f"Simulated text {i}, which tells of GPT4." if i % 2 else
        f"模拟文段第{i}篇。", language="en" if i % 2 else "zh", origin="simulated", licence="none",
        source="test",
    )
    for i in range(3)
]  # fmt: skip
VERDICTS = [
    Verdict(item_id=p.id, dimension=d, judge_id=j, value=k % 2,
            reason=f"I, {j}, say of {d}: in number {p.id[1:]} the lamp does it, {k} times.")
    for k, j in enumerate(JUDGES) for p in PASSAGES for d in ("audience", "craft", "reality_logic")
]  # fmt: skip


class Study(NamedTuple):
    """A sealed study: its root, run folder and params."""

    root: Path
    run: Path
    params: Params

    def round(self) -> Round:
        return rounds.load(self.params, self.run)

    def ratings(self) -> Path:
        return self.root / "data" / "ratings"


def make(small_params: Maker, root: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Study:
    """Return a study that is sealed below ``root``, which becomes the repository's root."""
    for folder in ("notebooks", "params", "data/taxonomy", "data/ratings/examples"):
        shutil.copytree(paths.root() / folder, root / folder)
    monkeypatch.setenv("CQA_ROOT", str(root))
    given = {k: {**v, **changes.get(k, {})} if isinstance(v, dict) else changes.get(k, v)
             for k, v in FUNDED.items()}  # fmt: skip
    settings = small_params(**given)
    (root / "params" / f"{settings.profile}.yaml").write_text(params.dump(settings), "utf-8")
    run = root / "runs" / settings.profile
    (run / "corpus").mkdir(parents=True)
    for name in corpus.FILES:
        write_jsonl(run / "corpus" / f"{name}.jsonl", PASSAGES)
    judges = settings.blind.judges if settings.blind else []
    called = {v.judge_id: judges[JUDGES.index(v.judge_id)] for v in VERDICTS}
    rows = [
        v.model_copy(update={"judge_id": called[v.judge_id],
                             "reason": v.reason.replace(v.judge_id, called[v.judge_id])})
        for v in VERDICTS
    ]  # fmt: skip
    to_table(rows).to_parquet(run / "verdicts.parquet", index=False)
    blinding.seal(settings, run, rows, PASSAGES, {0: "no", 1: "yes"})
    return Study(root, run, settings)


def export(given: Round, rater: str, value: int = 3, at: str = "10:00:00") -> dict[str, Any]:
    """Return what the form of a rater exports: all answered alike, the first diagnosis best."""
    answered = [
        {"id": s.id, "turn": n, "seconds": 60 + n, "status": "done", "answers": [
            {"code": code, "position": k, "rank": k, "why": f"why {code}",
             "values": dict.fromkeys(given.taxonomy.ids(), value)}
            for k, (code, _) in enumerate(s.diagnoses, start=1)]}
        for n, s in enumerate(given.sheets[rater], start=1)
    ]  # fmt: skip
    content = {
        "kind": "cqa-blind", "version": 1, "form_id": "f", "taxonomy": given.taxonomy.id,
        "exported": f"2026-11-21T{at}+08:00",
        "passages": [{"id": s.id, "sha256": s.sha256()} for s in given.sheets[rater]],
        "rater_id": rater, "consent": "2026-11-21T09:00:00+08:00", "language": "zh",
        "sheets": answered, "calibration": [], "unfinished": [], "header": {}, "drafts": {},
    }  # fmt: skip
    return content | {"checksum": ballots.checksum(content)}


def put(path: Path, content: dict[str, Any]) -> Path:
    """Write an export as it stands, its checksum included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    return path


def as_rows(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an export as the rows of a table."""
    return [
        {"sheet": s["id"], "item_id": a["code"], "dimension": d, "value": v, "reason": a["why"],
         "judge_id": content["rater_id"], "seconds": s["seconds"]}
        for s in content["sheets"] for a in s["answers"]
        for d, v in {**a["values"], RANK: a["rank"]}.items()
    ]  # fmt: skip
