from __future__ import annotations

import contextlib
import json
import resource
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import cli, ledger
from cqa_helpers.calls import CallRecord, as_text, files_of, key, opened
from cqa_helpers.ledger import Account, Exported, Imported, LedgerError
from cqa_helpers.params import Params

KEY = "sk-" + "very/secret+value" * 2


def request(**changes: Any) -> dict[str, Any]:
    return {
        "prompt": "问题 “x”\u2028",
        "dimensions": ["craft"],
        "model": "m",
        "repeat": 0,
    } | changes


def response(**changes: Any) -> dict[str, Any]:
    return {"text": "Verdict: yes\n", "probabilities": {"craft": 0.1 + 0.2}} | changes


def line(**changes: Any) -> str:
    whole = {"key": key(request()), "judge_id": "gpt4", "request": request()}
    return json.dumps(whole | {"response": response()} | changes)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run with calls in two files: one call stands in both, another way in each."""
    place = tmp_path / "run"
    with opened(place, "02-fine-tune/first-cot-4") as record:
        record.put("tuned", [(request(model="t", repeat=k), response()) for k in (1, 0)])
        record.put("base", [(request(model="b"), response(text="early"))])
    with opened(place, "04-judge") as record:
        record.put("base", [(request(model="b"), response(text="late"))])
        told = {"input_tokens": 90, "output_tokens": 9, "model": "m-2026-01-01"}
        record.put("gpt4", [(request(), response(**told, at="2026-11-02T01:00:00Z"))])
        record.put("gpt4", [(request(repeat=1), response(at="2026-11-01T01:00:00Z"))])
    return place


@pytest.fixture
def record(tmp_path: Path) -> Any:
    with CallRecord(tmp_path / "taken.sqlite") as there:
        yield there


def test_a_run_that_was_published_replays_to_the_same_answers(
    run: Path, tmp_path: Path, record: CallRecord
) -> None:
    out = tmp_path / "deep" / "calls.jsonl"
    assert ledger.export(files_of(run), out) == Exported(calls=5, differing=1)
    assert ledger.import_calls(out, record) == Imported(new=5, known=0, replaced=0)
    asked = [
        request(),
        request(repeat=1),
        request(model="t"),
        request(model="b"),
        request(model=""),
    ]
    with opened(run, "04-judge", ["02-fine-tune/first-cot-4"]) as before:
        assert record.get(asked) == before.get(asked)
    assert record.get([request(model="b")]) == [response(text="late")]
    again = tmp_path / "again.jsonl"
    ledger.export([tmp_path / "taken.sqlite"], again)
    assert again.read_bytes() == out.read_bytes()


def test_bodies_stand_in_an_export_as_before_whatever_file_they_come_from(
    tmp_path: Path, record: CallRecord
) -> None:
    whole = response(raw='{"said": "é “x”"}', sent={"messages": ["问"], "seed": 1})
    record.put("gpt4", [(request(), whole)])
    before = tmp_path / "before.sqlite"
    with contextlib.closing(sqlite3.connect(before)) as db, db:
        db.execute("CREATE TABLE calls (key, judge_id, request, response)")
        row = (key(request()), "gpt4", as_text(request()), as_text(whole))
        db.execute("INSERT INTO calls VALUES (?, ?, ?, ?)", row)
    out, old = tmp_path / "calls.jsonl", tmp_path / "old.jsonl"
    # The same response, kept in one piece and in two: they do not differ.
    assert ledger.export([tmp_path / "taken.sqlite", before], out) == Exported(1, 0)
    assert ledger.export([before], old) == Exported(1, 0)
    assert out.read_bytes() == old.read_bytes()
    assert json.loads(out.read_text())["response"] == whole
    with CallRecord(before) as taken:
        assert ledger.import_calls(out, taken) == Imported(new=0, known=1, replaced=0)
    other = line(response=whole | {"raw": "other"})
    out.write_text(other + "\n")
    with pytest.raises(LedgerError, match="is on record with another response"):
        ledger.import_calls(out, record)


def test_an_export_is_one_line_a_call_in_a_stable_order(run: Path, tmp_path: Path) -> None:
    with opened(run, "04-judge") as more:
        more.put("gpt4", [(request(repeat=2), response(text="长\n" * 5_000_000))])
    out = tmp_path / "calls.jsonl"
    ledger.export(files_of(run), out)
    lines = out.read_bytes().split(b"\n")
    calls = [json.loads(text) for text in lines[:-1]]
    assert [len(lines), lines[-1]] == [7, b""]
    order = [(call["judge_id"], call["key"]) for call in calls]
    assert order == sorted(order)
    assert all(call["key"] == key(call["request"]) for call in calls)
    assert "问题".encode() in lines[0]


def test_judges_that_are_named_are_exported_alone(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "calls.jsonl"
    assert ledger.export(files_of(run), out, ["gpt4"]).calls == 2
    with pytest.raises(LedgerError, match=r"no calls of gpt5; on record are those of base, gpt4"):
        ledger.export(files_of(run), tmp_path / "none.jsonl", ["gpt5", "gpt4"])
    with pytest.raises(LedgerError, match="no calls are on record"):
        ledger.export([], tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()


@pytest.mark.parametrize("where", ["prompt", "text", "raw", "judge"])
@pytest.mark.parametrize("value", [KEY, 'with "quotes" \\ in it', "密" * 13])
def test_a_key_is_never_published_and_never_named(
    where: str, value: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = request(prompt=f"say {value}") if where == "prompt" else request(repeat=5)
    said = {"text": response(text=f"… {value}"), "raw": response(raw=json.dumps({"you": value}))}
    with opened(run, "04-judge") as more:
        more.put(value if where == "judge" else "gpt4", [(asked, said.get(where, response()))])
    out = tmp_path / "calls.jsonl"
    out.write_text("old")
    monkeypatch.setenv("My_Provider_Token", f"{value}\n")
    with pytest.raises(LedgerError, match="My_Provider_Token") as fault:
        ledger.export(files_of(run), out)
    assert value not in str(fault.value)
    assert [out.read_text(), *tmp_path.glob(".calls*")] == ["old"]


def test_a_short_value_of_a_token_stops_no_export(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "Verdict")
    assert ledger.export(files_of(run), tmp_path / "calls.jsonl").calls == 5


def test_a_disk_that_fills_leaves_the_old_export_and_nothing_else(
    run: Path, tmp_path: Path
) -> None:
    with opened(run, "04-judge") as more:
        more.put("gpt4", [(request(repeat=7), response(text="x" * 400_000))])
    out = tmp_path / "out" / "calls.jsonl"
    out.parent.mkdir()
    out.write_text("old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(LedgerError, match=r"calls\.jsonl: no room for it on the disk"):
            ledger.export(files_of(run), out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [(f.name, f.read_text()) for f in out.parent.iterdir()] == [("calls.jsonl", "old")]


FAULTS: dict[str, tuple[str | bytes, str]] = {
    "no JSON": ("{", "not JSON"),
    "no object": ("[1]", "call: Input should be"),
    "no UTF-8": (b'{"key": "\xff"}', "not JSON in UTF-8"),
    "a field too many": (line(extra=1), "extra: "),
    "a field too few": (json.dumps({"key": "k", "judge_id": "j"}), "response: Field required"),
    "another request's key": (line(key=key(request(repeat=9))), "is not that of the request"),
    "no judge": (line(judge_id=""), "judge_id: "),
    "an answer without a text": (line(response={"p": 1}), "response.text: "),
    "a failed call": (line(response=response(status="failed")), "response.status: "),
    "a probability of two": (line(response=response(probabilities={"craft": 2})), "probabilities"),
    "tokens in words": (line(response=response(input_tokens="many")), "response.input_tokens: "),
    "deep nesting": ('{"key": ' + "[" * 200_000, "not JSON"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_listed_with_its_line_and_nothing_is_taken_in(
    name: str, tmp_path: Path, record: CallRecord
) -> None:
    bad, said = FAULTS[name]
    raw = bad if isinstance(bad, bytes) else bad.encode()
    good = line(request=request(repeat=3), key=key(request(repeat=3)))
    file = tmp_path / "calls.jsonl"
    file.write_bytes(b"\xef\xbb\xbf" + good.encode() + b"\n\n" + raw + b"\n" + b"{\n")
    with pytest.raises(LedgerError, match=r"nothing was taken in") as fault:
        ledger.import_calls(file, record)
    assert f"{file}:3: " in str(fault.value)
    assert said in str(fault.value)
    assert f"{file}:4: not JSON" in str(fault.value)
    assert record.count() == 0


def test_what_is_there_is_known_and_another_response_is_never_taken_silently(
    tmp_path: Path, record: CallRecord
) -> None:
    file = tmp_path / "calls.jsonl"
    record.put("gpt4", [(request(), response(text="mine"))])
    new = line(request=request(repeat=1), key=key(request(repeat=1)))
    file.write_text(f"{new}\n{line()}\n{new}\n")
    with pytest.raises(LedgerError, match=r":2: key \w+ of gpt4 is on record with another"):
        ledger.import_calls(file, record)
    assert record.get([request(), request(repeat=1)]) == [response(text="mine"), None]
    assert ledger.import_calls(file, record, replace=True) == Imported(1, 1, 1)
    assert record.get([request(), request(repeat=1)]) == [response(), response()]
    assert ledger.import_calls(file, record) == Imported(0, 3, 0)


def test_a_file_that_contradicts_itself_is_refused_even_to_replace(
    tmp_path: Path, record: CallRecord
) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text(f"{line()}\n{line(response=response(text='other'))}\n")
    with pytest.raises(LedgerError, match=r":2: key \w+ stands in line 1 with another response"):
        ledger.import_calls(file, record, replace=True)
    assert record.count() == 0
    file.write_text("\n")
    with pytest.raises(LedgerError, match="no calls in it"):
        ledger.import_calls(file, record)


def test_what_another_file_of_the_run_holds_is_not_overruled_silently(
    run: Path, tmp_path: Path
) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text(line(request=request(model="t"), key=key(request(model="t")),
                         response=response(text="other")))  # fmt: skip
    with opened(run, "04-judge", ["02-fine-tune/first-cot-4"]) as record:
        with pytest.raises(LedgerError, match="is on record with another response"):
            ledger.import_calls(file, record)
        assert ledger.import_calls(file, record, replace=True) == Imported(0, 0, 1)
        assert record.get([request(model="t")]) == [response(text="other")]


def test_a_full_disk_at_import_is_a_sentence_and_takes_nothing(
    tmp_path: Path, record: CallRecord
) -> None:
    file = tmp_path / "calls.jsonl"
    file.write_text(line(response=response(text="x" * 200_000)) + "\n")
    record._db.execute("PRAGMA max_page_count = 10")
    with pytest.raises(LedgerError, match=r"calls\.jsonl: database or disk is full"):
        ledger.import_calls(file, record)
    assert record.count() == 0


def test_accounts_count_each_call_once_and_say_what_is_not_known(run: Path) -> None:
    base, gpt4, tuned = ledger.accounts(files_of(run))
    assert base == Account("base", 1, None, None, 1, None, None, ("b",))
    assert gpt4 == Account(
        "gpt4", 2, 90, 9, 1, "2026-11-01T01:00:00Z", "2026-11-02T01:00:00Z", ("m", "m-2026-01-01")
    )
    assert tuned.calls == 2


def test_a_file_that_is_no_record_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "calls" / "04-judge.sqlite"
    bad.parent.mkdir()
    bad.write_text("not a database, but long enough to be looked at" * 20)
    with pytest.raises(LedgerError, match=r"04-judge\.sqlite: file is not a database"):
        ledger.accounts(files_of(tmp_path))
    bad.unlink()
    sqlite3.connect(bad).execute("CREATE TABLE other (x)")
    with pytest.raises(LedgerError, match=r"04-judge\.sqlite: no such table: calls"):
        ledger.export(files_of(tmp_path), tmp_path / "out.jsonl")


def test_the_commands_write_take_and_count(
    run: Path, tmp_path: Path, small_params: Callable[..., Params],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    other = tmp_path / "other"
    places = {"rehearsal": run, "smoke": other}
    monkeypatch.setattr(cli.params, "load", lambda file: small_params())
    monkeypatch.setattr(cli.paths, "run_dir", places.__getitem__)
    out = tmp_path / "calls.jsonl"
    assert cli.main(["calls", "export", "rehearsal", str(out), "--judge", "gpt4", "base"]) == 0
    said = capsys.readouterr().out
    assert "3 call(s), one a line" in said
    assert "1 of them stand in several files" in said
    assert cli.main(["calls", "import", str(out), "smoke"]) == 0
    assert "3 call(s) taken in, 0 replaced, 0 there already" in capsys.readouterr().out
    assert [f.name for f in files_of(other)] == ["04-judge.sqlite"]
    assert cli.main(["calls", "count", "smoke"]) == 0
    assert (
        "gpt4: 2 call(s); 90 tokens in, 9 out; 1 without a count of tokens; "
        "2026-11-01T01:00:00Z to 2026-11-02T01:00:00Z; m, m-2026-01-01\n"
    ) in capsys.readouterr().out
    out.write_text(out.read_text().replace("yes", "no"))
    assert cli.main(["calls", "import", str(out), "smoke"]) == 1
    assert "--replace" in capsys.readouterr().err
    assert cli.main(["calls", "import", str(out), "smoke", "--replace"]) == 0
    assert cli.main(["calls", "import", str(tmp_path / "none"), "smoke"]) == 1
    assert cli.main(["calls", "count", "no-such"]) == 1
    assert "No profile 'no-such'" in capsys.readouterr().err
