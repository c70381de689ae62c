from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from batchserver import BatchServer, Script, answered
from cqa_helpers import prompts, taxonomy
from cqa_helpers.calls import CallRecord
from cqa_helpers.judges import JudgeError, Panel, batches
from cqa_helpers.judges.endpoint import Endpoint
from cqa_helpers.prompts import Question
from cqa_helpers.records import Passage
from cqa_helpers.sections import Live, Price, Prices

KEY = "loop" + "back-0123456789"
PANEL = Panel(taxonomy.load("cqa"), prompts.load_dialect("editor"))
PRICES = Prices(
    as_of=date(2026, 1, 1), source="a list",
    usd_per_million_tokens={"scripted-1": Price(input=1, output=2, batch=0.5)},
)  # fmt: skip


class Setting(NamedTuple):
    server: BatchServer
    judge: Callable[..., Endpoint]
    folder: Path


def questions(n: int) -> list[Question]:
    return PANEL.questions(
        [
            Passage(
                id=f"p{i}", work_id=f"w{i}", text=f"tale {i} at dawn", origin="simulated",
                licence="none", source="test",
            )
            for i in range(n)
        ]
    )  # fmt: skip


@pytest.fixture
def setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setting]:
    monkeypatch.setenv("TEST_ONLY_NAME", KEY)
    quick = {
        **(batches.Batches.__init__.__kwdefaults__ or {}),
        "pace": batches.Pace(0.002, 1.5, 0.01, 0.05),
    }
    monkeypatch.setattr(batches.Batches.__init__, "__kwdefaults__", quick)
    with BatchServer(KEY).running() as server, CallRecord(tmp_path / "calls.sqlite") as record:

        def judge(**changes: Any) -> Endpoint:
            known: dict[str, Any] = {
                "judge_id": "j", "model": "scripted-1", "max_tokens": 20, "budget_usd": 1,
                "batch": True, "base_url": server.base_url, "key_variable": "TEST_ONLY_NAME",
                "most_failed": 0.9, "retries": 0,
            }  # fmt: skip
            return Endpoint(Live(**known | changes), record, PRICES)

        yield Setting(server, judge, tmp_path)


def test_questions_are_asked_in_a_batch_at_its_price_and_replayed(setting: Setting) -> None:
    asked, first = questions(3), setting.judge()
    rows = first.ask(asked, PANEL)
    assert {v.status for v in rows} == {"ok"}
    assert first.tally.answered == len(asked)
    tokens = [(r["input_tokens"], r["output_tokens"]) for r in first.responses.values()]
    assert first.tally.usd == pytest.approx(sum(0.5 * (i + 2 * o) for i, o in tokens) / 1e6)
    again = setting.judge()
    assert again.ask(asked, PANEL) == rows
    assert again.tally.usd_recorded == pytest.approx(first.tally.usd)
    assert setting.server.calls["POST batches"] == 1
    for file in setting.folder.iterdir():
        assert KEY.encode() not in file.read_bytes()
    with CallRecord(setting.folder / "calls.sqlite") as record:
        whole = record.whole(first.responses)
    assert len(whole) == len(asked)
    assert not any(KEY in text for text in whole.values())


def test_of_a_batch_refusals_are_kept_and_failures_asked_again(setting: Setting) -> None:
    def results(asked: list[dict[str, Any]]) -> tuple[list[Any], list[Any]]:
        ids = [line["custom_id"] for line in asked]
        other = {"custom_id": ids[2], "response": {"status_code": 200, "body": {"nonsense": 1}}}
        filtered = {"error": {"code": "content_filter"}}
        return [*map(answered, asked[3:]), other], [
            {"custom_id": ids[0], "response": {"status_code": 400, "body": filtered}},
            {"custom_id": ids[1], "response": {"status_code": 500, "body": {}}},
        ]

    setting.server.script.results = results
    first = setting.judge()
    rows = first.ask(questions(3), PANEL)
    assert [v.status for v in rows] == ["refused", "failed", "failed", *["ok"] * 6]
    assert first.tally.failed == {"batch request failed: 500": 1, "NotACompletion": 1}
    setting.server.script = Script()
    again = setting.judge()
    assert [v.status for v in again.ask(questions(3), PANEL)] == ["refused", *["ok"] * 8]
    assert again.tally.from_record == 7
    assert len(setting.server.asked("batch_2")) == 2


def test_a_batch_under_way_is_waited_for_though_batches_were_turned_off(setting: Setting) -> None:
    setting.server.script.refuse = lambda _, path: (500, {}) if "batch_1" in path else None
    with pytest.raises(JudgeError, match="remembered"):
        setting.judge().ask(questions(2), PANEL)
    setting.server.script = Script()
    rows = setting.judge(batch=False).ask(questions(2), PANEL)
    assert {v.status for v in rows} == {"ok"}
    assert setting.server.calls["POST batches"] == 1


def test_a_batch_that_could_pass_the_budget_is_not_sent(setting: Setting) -> None:
    with pytest.raises(JudgeError, match="in a batch"):
        setting.judge(budget_usd=0.0001).ask(questions(2), PANEL)
    assert not setting.server.files
