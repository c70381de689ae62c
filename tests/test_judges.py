from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cqa_helpers import judges, prompts, taxonomy
from cqa_helpers.calls import CallRecord
from cqa_helpers.judges import JudgeError, NotRecordedError, Panel
from cqa_helpers.models import LocalModel
from cqa_helpers.params import Judging, Live, Params
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
        monkeypatch.setattr(judges, "sample", self.sample)

    def sample(self, local: Any, asked: Sequence[str], *, seed: int, **_: Any) -> list[str]:
        self.batches.append(list(asked))
        dice = np.random.default_rng(seed).integers(0, 2, (len(asked), 3))
        words = np.array(["bad", "good"])[dice]
        return [
            "no sense" if row in self.garbled else
            " ".join(f"{d} : so , verdict {w} ." for d, w in zip(CQA.ids(), said, strict=True))
            for row, said in enumerate(words)
        ]  # fmt: skip


def ask(
    record: CallRecord, local: LocalModel | None, asked: Sequence[Passage], **changes: Any
) -> list[Verdict]:
    known: dict[str, Any] = {"seed": 1, "repeat": 0, "meta": {"arm": "cot"}}
    return judges.ask_local("tuned", local, "m@1", asked, WHOLE, JUDGING, record, **known | changes)


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


def live(**changes: Any) -> Live:
    known: dict[str, Any] = {
        "judge_id": "gpt", "model": "gpt-x", "max_tokens": 100, "key_variable": "TEST_ONLY_NAME",
        "usd_per_million_input": 0.0, "usd_per_million_output": 10_000.0, "budget_usd": 100.0,
    }  # fmt: skip
    return Live(**known | changes)


class Client:
    """Stands for an endpoint: gives scripted replies in turn and counts what it was asked."""

    def __init__(self, *replies: Any) -> None:
        self.replies = list(replies)
        self.asked: list[dict[str, Any]] = []
        self.chat = SimpleNamespace(completions=SimpleNamespace(create=self.create))

    def create(self, **request: Any) -> Any:
        self.asked.append(request)
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply


def reply(text: str | None, refusal: str | None = None, finish: str = "stop", n: int = 100) -> Any:
    message = SimpleNamespace(content=text, refusal=refusal)
    return SimpleNamespace(
        choices=[SimpleNamespace(message=message, finish_reason=finish)],
        model="gpt-x-2026",
        usage=SimpleNamespace(prompt_tokens=50, completion_tokens=n),
    )


YES, NO = reply("It works. Verdict: yes"), reply("It fails. Verdict: no")


class RateLimitError(Exception):
    pass


def ask_live(
    record: CallRecord, client: Client | None, n: int = 1, **changes: Any
) -> list[Verdict]:
    return judges.ask_live(live(**changes), passages(n), SINGLE, record, client=client)


def test_a_live_judge_writes_the_same_rows_and_is_asked_once(record: CallRecord) -> None:
    client = Client(YES, NO, YES)
    first = ask_live(record, client)
    assert [v.value for v in first] == [1, 0, 1]
    assert first[0].reason == "It works."
    assert all(request["temperature"] == 0 for request in client.asked)
    assert ask_live(record, None) == first
    assert ask_live(record, Client()) == first


def test_a_failed_call_is_a_row_without_value_and_is_asked_again(record: CallRecord) -> None:
    first = ask_live(record, Client(YES, RateLimitError("secret-in-message"), NO))
    assert [(v.status, v.value) for v in first] == [("ok", 1), ("failed", None), ("ok", 0)]
    assert first[1].reason == "RateLimitError"
    assert record.count() == 2
    client = Client(YES)
    assert [v.value for v in ask_live(record, client)] == [1, 1, 0]
    assert len(client.asked) == 1
    assert record.count() == 3


@pytest.mark.parametrize(
    "refused",
    [
        reply(None, refusal="I will not judge. Verdict: no"),
        reply(None, finish="content_filter"),
        reply("Verdict: yes, but", finish="content_filter"),
    ],
)
def test_a_refusal_is_refused_whatever_its_words(record: CallRecord, refused: Any) -> None:
    found = ask_live(record, Client(refused, YES, NO))
    assert [(v.status, v.value) for v in found] == [("refused", None), ("ok", 1), ("ok", 0)]
    assert ask_live(record, None) == found


def test_an_answer_without_a_verdict_is_unparsed_and_kept(record: CallRecord) -> None:
    found = ask_live(record, Client(reply("Hard to say."), reply(""), reply(None)))
    assert {(v.status, v.value) for v in found} == {("unparsed", None)}
    assert record.count() == 3


def test_the_budget_stops_before_a_call_that_could_exceed_it_and_keeps_what_was_paid(
    record: CallRecord,
) -> None:
    # One reply of 100 tokens costs 1 USD, and so could the next.
    client = Client(YES, NO, YES)
    with pytest.raises(
        JudgeError, match=r"could cost 1\.0000 USD and 2\.00 of 2\.50 USD are spent"
    ):
        ask_live(record, client, budget_usd=2.5)
    assert len(client.asked) == 2
    assert record.count() == 2


def test_the_budget_counts_what_earlier_runs_paid(record: CallRecord) -> None:
    with pytest.raises(JudgeError):
        ask_live(record, Client(YES, NO), budget_usd=2.5)
    again = Client(YES)
    with pytest.raises(JudgeError, match=r"2\.00 of 2\.50 USD are spent"):
        ask_live(record, again, budget_usd=2.5)
    assert again.asked == []
    assert len(ask_live(record, again, budget_usd=3.5)) == 3


def test_a_chinese_prompt_is_not_taken_for_cheaper_than_it_can_be(record: CallRecord) -> None:
    # A character can be three tokens: 300 of them, and the frame, pass a budget for 400.
    dear = live(usd_per_million_input=1e4, usd_per_million_output=0.0, budget_usd=4.0)
    client = Client(YES)
    with pytest.raises(JudgeError, match="could cost"):
        judges.ask_live(dear, passages(1, text="书" * 300), SINGLE, record, client=client)
    assert client.asked == []


def test_a_server_that_does_not_count_tokens_is_counted_at_its_most(record: CallRecord) -> None:
    silent = reply("Verdict: yes")
    silent.usage = None
    with pytest.raises(JudgeError, match=r"1\.00 of 1\.50 USD"):
        ask_live(record, Client(silent, YES), budget_usd=1.5)


def test_a_missing_key_is_told_by_the_name_of_its_variable(
    record: CallRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TEST_ONLY_NAME", raising=False)
    with pytest.raises(JudgeError, match="environment variable TEST_ONLY_NAME is not set"):
        ask_live(record, None)


def test_the_key_is_in_no_row_and_not_in_the_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import openai

    secret = "not-a-" + "real-key-1234"
    monkeypatch.setenv("TEST_ONLY_NAME", secret)
    given: list[dict[str, Any]] = []

    def make(**options: Any) -> Client:
        given.append(options)
        return Client(YES, RuntimeError(f"bad key {secret}"), NO)

    monkeypatch.setattr(openai, "OpenAI", make)
    with CallRecord(tmp_path / "calls.sqlite") as record:
        found = ask_live(record, None)
    assert given[0]["api_key"] == secret
    assert secret not in repr(found)
    for file in tmp_path.iterdir():
        assert secret.encode() not in file.read_bytes()


def test_the_repeat_and_the_endpoint_are_in_the_live_key(
    record: CallRecord, small_params: Callable[..., Params]
) -> None:
    ask_live(record, Client(YES, YES, YES))
    other = Client(NO, NO, NO)
    found = ask_live(record, other, base_url="https://example.org/v1")
    assert [v.value for v in found] == [0, 0, 0]
    assert record.count() == 6
