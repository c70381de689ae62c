from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cqa_helpers import models, prefixes, prompts, taxonomy
from cqa_helpers.calls import CallRecord
from cqa_helpers.judges import JudgeError, LocalJudge, NotRecordedError, Panel, local
from cqa_helpers.models import LocalModel
from cqa_helpers.params import Judging
from cqa_helpers.records import Passage, Verdict

CQA = taxonomy.load("cqa")
TTCW = taxonomy.load("ttcw")
WHOLE = Panel(CQA, prompts.load_dialect("rehearsal"))
SINGLE = Panel(CQA, prompts.load_dialect("question"))
JUDGING = Judging(temperature=1.0, max_new_tokens=4, batch_size=3, baselines=[])


def passages(n: int, text: str = "the inn at dawn , tale {}") -> list[Passage]:
    return [
        Passage(
            id=f"p{i}", work_id=f"w{i}", text=text.format(i), origin="simulated", licence="none",
            source="test",
        )
        for i in range(n)
    ]  # fmt: skip


class Speaker:
    """Stands for sampling: says verdicts that follow from the seed and the place in the batch."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, garbled: Sequence[int] = ()) -> None:
        self.batches: list[list[str]] = []
        self.garbled = garbled
        monkeypatch.setattr(local, "sample", self.sample)

    def sample(self, local: Any, asked: Sequence[str], *, seed: int, **_: Any) -> list[str]:
        self.batches.append(list(asked))
        dice = np.random.default_rng(seed).integers(0, 2, (len(asked), 3))
        words = np.array(["bad", "good"])[dice]
        return [
            "no sense" if row in self.garbled else
            " ".join(f"{d} : so , verdict {w} ." for d, w in zip(CQA.ids(), said, strict=True))
            for row, said in enumerate(words)
        ]  # fmt: skip


def judge(record: CallRecord, model: LocalModel | None, **changes: Any) -> LocalJudge:
    opened = None if model is None else (lambda: nullcontext(model))
    known: dict[str, Any] = {"judging": JUDGING, "seed": 1, "meta": {"arm": "cot"}} | changes
    return LocalJudge("tuned", "m@1", known.pop("judging"), record, opened, **known)


def ask(
    record: CallRecord,
    model: LocalModel | None,
    asked: Sequence[Passage],
    panel: Panel = WHOLE,
    repeat: int = 0,
    **changes: Any,
) -> list[Verdict]:
    return judge(record, model, **changes).ask(panel.questions(asked), panel, repeat=repeat)


@pytest.fixture
def record(tmp_path: Path) -> Any:
    with CallRecord(tmp_path / "calls.sqlite") as opened:
        yield opened


def test_a_full_record_needs_no_model_and_gives_the_identical_rows(
    record: CallRecord, tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = Speaker(monkeypatch, garbled=[1])
    first = ask(record, tiny, passages(7))
    assert [len(b) for b in speaker.batches] == [3, 3, 1]
    assert ask(record, None, passages(7)) == first
    assert len(speaker.batches) == 3
    assert len(first) == 7 * 3
    assert {v.judge_id for v in first} == {"tuned"}
    assert first[0].meta == {"arm": "cot"}


def test_without_a_model_what_is_missing_is_an_error_that_counts_it(
    record: CallRecord, tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    Speaker(monkeypatch)
    ask(record, tiny, passages(3))
    with pytest.raises(NotRecordedError, match="tuned: 2 answers are not in the record"):
        ask(record, None, passages(5))
    with pytest.raises(NotRecordedError):
        ask(record, None, passages(3), repeat=1)


def test_a_batch_that_is_partly_on_record_is_redrawn_whole_and_ends_as_an_uninterrupted_run(
    record: CallRecord, tiny: LocalModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    speaker = Speaker(monkeypatch)
    with CallRecord(tmp_path / "other.sqlite") as other:
        whole = ask(other, tiny, passages(7))
    ask(record, tiny, passages(7))
    record._db.execute("DELETE FROM calls WHERE request LIKE '%tale 4 %'")
    record._db.commit()
    speaker.batches.clear()
    assert ask(record, tiny, passages(7)) == whole
    assert [["tale 3" in b[0], len(b)] for b in speaker.batches] == [[True, 3]]
    assert ask(record, None, passages(7)) == whole


def test_an_answer_belongs_to_its_batch(
    record: CallRecord, tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    Speaker(monkeypatch)
    whole = ask(record, tiny, passages(7))
    # The same passage beside others is another draw, and does not overwrite the first.
    ask(record, tiny, [passages(7)[2], *passages(2)])
    assert ask(record, None, passages(7)) == whole


def test_equal_texts_in_one_batch_keep_their_own_answers(
    record: CallRecord, tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    Speaker(monkeypatch)
    alike = passages(3, text="one and the same")
    first = ask(record, tiny, alike)
    assert len({tuple(v.value for v in first if v.item_id == p.id) for p in alike}) > 1
    assert ask(record, None, alike) == first


def test_seeds_and_repeats_are_drawn_apart(
    record: CallRecord, tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    Speaker(monkeypatch)
    rows = [ask(record, tiny, passages(7), seed=s, repeat=r) for s, r in ((1, 0), (2, 1), (1, 2))]
    values = [[v.value for v in found] for found in rows]
    assert values[0] != values[1]
    assert {v.repeat for v in rows[1]} == {1}
    assert record.count() == 21


def test_what_is_unparsed_has_no_value_and_no_probability_and_is_kept(
    record: CallRecord, tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    Speaker(monkeypatch, garbled=[0, 2])
    found = ask(record, tiny, passages(3))
    lost = [v for v in found if v.item_id != "p1"]
    assert {(v.status, v.value, v.probability) for v in lost} == {("unparsed", None, None)}
    read = [v for v in found if v.item_id == "p1"]
    assert {v.status for v in read} == {"ok"}
    assert all(v.probability is not None and 0 < v.probability < 1 for v in read)
    assert len(found) == 9


def test_a_real_model_is_asked_from_prompt_to_row(record: CallRecord, tiny: LocalModel) -> None:
    first = ask(record, tiny, passages(4))
    assert len(first) == 12
    assert ask(record, None, passages(4)) == first


BARE = Panel(CQA, WHOLE.dialect, "verdict-only")


def test_bare_verdicts_are_drawn_by_the_probability_of_the_full_words(
    record: CallRecord, tiny: LocalModel
) -> None:
    found = ask(record, tiny, passages(5), BARE)
    assert {v.status for v in found} == {"ok"}
    assert all(v.probability is not None and 0 < v.probability < 1 for v in found)
    assert ask(record, None, passages(5), BARE) == found
    likely = ask(record, tiny, passages(5), BARE, judging=JUDGING.model_copy(
        update={"temperature": 0.0}))  # fmt: skip
    assert all(v.value == int(v.probability > 0.5) for v in likely if v.probability is not None)


def test_bare_verdicts_come_as_often_as_their_probability_says(
    record: CallRecord, tiny: LocalModel
) -> None:
    alike = passages(200, text="one and the same")
    found = [v for v in ask(record, tiny, alike, BARE, judging=JUDGING.model_copy(
        update={"batch_size": 200})) if v.dimension == CQA.ids()[0]]  # fmt: skip
    p = found[0].probability
    assert p is not None
    assert {v.probability for v in found} == {p}
    spread = 4 * (p * (1 - p) / 200) ** 0.5
    assert abs(np.mean([v.value for v in found]) - p) < spread


def test_several_draws_are_one_verdict_with_their_mean_probability(
    record: CallRecord, tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    speaker = Speaker(monkeypatch)
    thrice = JUDGING.model_copy(update={"draws": 3})
    found = ask(record, tiny, passages(4), judging=thrice)
    assert len(found) == 4 * 3
    assert sum(map(len, speaker.batches)) == 12
    assert {(v.meta["draws"], v.meta["read"]) for v in found} == {(3, 3)}
    assert ask(record, None, passages(4), judging=thrice) == found


def verdict(value: int | None, p: float | None, reason: str = "") -> Verdict:
    return Verdict(
        item_id="p", dimension="plot", judge_id="j", value=value, probability=p, reason=reason,
        status="unparsed" if value is None else "ok", meta={} if value else {"why": "empty"},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("draws", "value", "probability"),
    [
        ([(1, 0.9), (1, 0.6), (0, 0.3)], 1, 0.6),
        ([(1, 0.9), (0, 0.3)], 1, 0.6),
        ([(1, 0.6), (0, 0.2)], 0, 0.4),
        ([(None, None), (0, 0.2)], 0, 0.2),
        ([(1, None), (0, None)], 0, None),
    ],
)
def test_draws_are_averaged(
    draws: list[tuple[int | None, float | None]], value: int, probability: float | None
) -> None:
    found = local.averaged([verdict(*draw) for draw in draws])
    assert (found.value, found.probability, found.status) == (value, probability, "ok")
    assert "why" not in found.meta


def test_draws_that_all_say_nothing_stay_unparsed() -> None:
    found = local.averaged([verdict(None, None), verdict(None, None)])
    assert (found.status, found.value, found.meta["read"]) == ("unparsed", None, 0)


def test_a_local_model_is_not_asked_for_json(record: CallRecord, tiny: LocalModel) -> None:
    panel = Panel(CQA, prompts.load_dialect("editor"))
    with pytest.raises(JudgeError, match=r"'editor' asks for JSON.*models\.dialect"):
        ask(record, tiny, passages(1), panel)


def test_the_seconds_of_the_asking_are_kept_with_the_answers(
    record: CallRecord, tiny: LocalModel
) -> None:
    first, again = judge(record, tiny), judge(record, None)
    for one in (first, again):
        one.ask(WHOLE.questions(passages(2)), WHOLE)
    assert first.seconds == again.seconds > 0


def test_questions_on_one_passage_are_sampled_alike_with_and_without_reading_it_once(
    tmp_path: Path, tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    cold = JUDGING.model_copy(update={"temperature": 0.0, "batch_size": 8, "max_new_tokens": 6})
    reads: list[bool] = []

    def run(name: str) -> list[dict[str, Any]]:
        with CallRecord(tmp_path / name) as record:
            one = judge(record, tiny, judging=cold)
            asked = SINGLE.questions(passages(4, text="the inn " * 20 + "tale {}"))
            one.ask(asked, SINGLE)
            rows = record._db.execute("SELECT response FROM calls ORDER BY key").fetchall()
        return [json.loads(row[0])["text"] for row in rows]

    whole = prefixes.prefill

    def watched(*given: Any) -> Any:
        found = whole(*given)
        reads.append(found is not None)
        return found

    monkeypatch.setattr(models, "prefill", watched)
    shared = run("shared.sqlite")
    assert any(reads)
    monkeypatch.setattr(models, "prefill", lambda *_: None)
    assert run("apart.sqlite") == shared
