from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers.calls import CallRecord, Row, as_text, files_of, key, opened


def request(**changes: Any) -> dict[str, Any]:
    return {"prompt": "问题 {x}", "model": "m", "draw": 1, "repeat": 0} | changes


@pytest.mark.parametrize(
    "changes", [{"repeat": 1}, {"draw": 2}, {"model": "m2"}, {"prompt": "p"}, {"extra": None}]
)
def test_everything_in_a_request_is_in_its_key(changes: dict[str, Any]) -> None:
    assert key(request(**changes)) != key(request())


def test_the_key_does_not_depend_on_the_order_of_fields() -> None:
    assert key(dict(reversed(request().items()))) == key(request())


def test_what_was_put_is_got_back_in_the_order_of_the_asking(tmp_path: Path) -> None:
    asked = [request(repeat=k) for k in range(3)]
    with CallRecord(tmp_path / "deep" / "calls.sqlite") as record:
        assert record.get(asked) == [None, None, None]
        record.put("j", [(asked[2], {"text": "二"}), (asked[0], {"text": "zero", "p": 0.25})])
        assert record.get(asked) == [{"text": "zero", "p": 0.25}, None, {"text": "二"}]
        assert record.count() == 2
    with CallRecord(tmp_path / "deep" / "calls.sqlite") as again:
        assert again.get(asked[::-1]) == [{"text": "二"}, None, {"text": "zero", "p": 0.25}]


def test_a_batch_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    with CallRecord(tmp_path / "calls.sqlite") as record:
        with pytest.raises(TypeError):
            record.put("j", [(request(), {"text": "a"}), (request(repeat=1), {"text": object()})])
        assert record.count() == 0
        record._db.execute(
            "CREATE TRIGGER stop BEFORE INSERT ON calls WHEN NEW.request LIKE '%\"repeat\": 1%' "
            "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
        with pytest.raises(Exception, match="disk full"):
            record.put("j", [(request(), {"text": "a"}), (request(repeat=1), {"text": "b"})])
        assert record.count() == 0


MANY = """
import sys
from pathlib import Path
from cqa_helpers.calls import CallRecord
who = sys.argv[2]
sys.stdin.readline()
with CallRecord(Path(sys.argv[1])) as record:
    for k in range(20):
        record.put(who, [({"who": who, "k": k, "row": row}, {"text": "x"}) for row in range(5)])
"""


def test_processes_that_begin_together_write_to_one_record_and_lose_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "calls.sqlite"
    command = [sys.executable, "-c", MANY, str(path)]
    workers = [subprocess.Popen([*command, f"j{k}"], stdin=subprocess.PIPE) for k in range(3)]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"go\n")
        worker.stdin.close()
    assert [worker.wait(60) for worker in workers] == [0] * 3
    with CallRecord(path) as record:
        assert record.count() == 3 * 20 * 5


ENDLESS = """
import sys
from pathlib import Path
from cqa_helpers.calls import CallRecord
with CallRecord(Path(sys.argv[1])) as record:
    k = 0
    while True:
        record.put("j", [({"k": k, "row": row}, {"text": "x" * 1000}) for row in range(20)])
        k += 1
"""


def test_a_kill_in_the_middle_leaves_whole_batches_and_a_record_that_goes_on(
    tmp_path: Path,
) -> None:
    path = tmp_path / "calls.sqlite"
    worker = subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)])
    try:
        for _ in range(600):
            time.sleep(0.05)
            if path.exists():
                with CallRecord(path) as record:
                    if record.count() > 40:
                        break
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    with CallRecord(path) as record:
        kept = record.count()
        assert kept > 40
        assert kept % 20 == 0
        record.put("j", [(request(), {"text": "after"})])
        assert record.get([request()]) == [{"text": "after"}]


def test_an_execution_reads_those_before_it_and_writes_to_its_own_alone(tmp_path: Path) -> None:
    for k in range(2):
        with opened(tmp_path, f"02/cell-{k}") as cell:
            cell.put("j", [(request(repeat=k), {"text": f"cell {k}"})])
    before = [(tmp_path / f"calls/02/cell-{k}.sqlite").read_bytes() for k in range(2)]
    asked = [request(repeat=k) for k in range(3)]
    with opened(tmp_path, "04", after=["02/cell-0", "02/cell-1", "02/not-run-yet", "04"]) as record:
        assert record.get(asked) == [{"text": "cell 0"}, {"text": "cell 1"}, None]
        record.put("j", [(asked[0], {"text": "its own"}), (asked[2], {"text": "new"})])
        assert record.get(asked) == [{"text": "its own"}, {"text": "cell 1"}, {"text": "new"}]
        assert record.count() == 3
    assert [(tmp_path / f"calls/02/cell-{k}.sqlite").read_bytes() for k in range(2)] == before
    assert not (tmp_path / "calls/02/not-run-yet.sqlite").exists()


def test_no_file_of_a_record_is_shared_memory(tmp_path: Path) -> None:
    with opened(tmp_path, "04") as record:
        record.put("j", [(request(), {"text": "x"})])
        assert {p.name for p in (tmp_path / "calls").iterdir()} == {"04.sqlite"}


def test_what_a_kill_left_in_a_file_before_is_rolled_back_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "calls" / "02.sqlite"
    worker = subprocess.Popen([sys.executable, "-c", ENDLESS, str(path)])
    try:
        for _ in range(600):
            time.sleep(0.05)
            if path.exists() and path.stat().st_size > 200_000:
                break
    finally:
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
    with opened(tmp_path, "04", after=["02"]) as record:
        assert record.count() > 0
        assert record.count() % 20 == 0


def test_threads_that_share_a_record_lose_nothing_and_see_whole_batches(tmp_path: Path) -> None:
    def work(who: int) -> list[int]:
        sizes = []
        for k in range(15):
            asked = [request(who=who, k=k, row=row) for row in range(4)]
            batch = [(a, {"text": f"{who} {k} {row}"}) for row, a in enumerate(asked)]
            record.put(f"j{who}", batch)
            sizes.append(record.count())
            assert record.get(asked) == [said for _, said in batch]
        return sizes

    with CallRecord(tmp_path / "calls.sqlite") as record:
        with ThreadPoolExecutor(4) as pool:
            seen = [size for sizes in pool.map(work, range(4)) for size in sizes]
        assert record.count() == 4 * 15 * 4
    assert all(size % 4 == 0 for size in seen)


def test_what_is_kept_together_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    with CallRecord(tmp_path / "calls.sqlite") as record:
        rows: list[Any] = [Row("k", "j", "{}", "{}", None), ("too few",)]
        with pytest.raises(sqlite3.ProgrammingError), record.together():
            record.keep(rows)
        assert record.count() == 0


def test_half_a_character_at_the_end_of_an_answer_does_not_cost_the_answer(tmp_path: Path) -> None:
    with CallRecord(tmp_path / "calls.sqlite") as record:
        record.put("j", [(request(), {"text": "好 \ud83d"})])
        assert record.get([request()]) == [{"text": "好 \ud83d"}]


def test_a_later_notebooks_file_comes_first(tmp_path: Path) -> None:
    for name in ("02-fine-tune", "04-judge", "02-fine-tune/first-cot-4", "03-surprise"):
        opened(tmp_path, name).close()
    names = [file.relative_to(tmp_path / "calls").as_posix() for file in files_of(tmp_path)]
    assert names == [
        "04-judge.sqlite", "03-surprise.sqlite", "02-fine-tune/first-cot-4.sqlite",
        "02-fine-tune.sqlite",
    ]  # fmt: skip
    assert files_of(tmp_path / "elsewhere") == []


BODIES = {
    "raw": '{"a": "é \\u00e9"}' * 50,
    "sent": {"messages": [{"content": "问" * 100}], "seed": 1},
}


def old_file(path: Path, calls: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    """Write a file of before bodies had a column."""
    path.parent.mkdir(parents=True, exist_ok=True)
    db = sqlite3.connect(path)
    db.execute(
        "CREATE TABLE calls (key TEXT PRIMARY KEY, judge_id TEXT NOT NULL, request TEXT NOT NULL, "
        "response TEXT NOT NULL)"
    )
    rows = [(key(request), "j", as_text(request), as_text(response)) for request, response in calls]
    db.executemany("INSERT INTO calls VALUES (?, ?, ?, ?)", rows)
    db.commit()
    db.close()


@pytest.mark.parametrize("said", [{"text": "x", "p": 0.1 + 0.2}, {"text": "\ud83d", "n": 2**70}])
@pytest.mark.parametrize("bodies", [BODIES, {"raw": "\ud83d half"}, {"sent": None}, {}])
def test_bodies_are_kept_apart_and_given_back_as_they_were(
    bodies: dict[str, Any], said: dict[str, Any], tmp_path: Path
) -> None:
    with CallRecord(tmp_path / "calls.sqlite") as record:
        record.put("j", [(request(), said | bodies)])
        assert record.get([request()]) == [said]
        assert record.by_key([key(request()), "none"]) == {key(request()): said}
        whole = record.whole([key(request()), "none"])
        assert whole == {key(request()): as_text(said | bodies)}
        (kept,) = record._db.execute("SELECT response FROM calls").fetchone()
    assert json.loads(kept) == said


def test_reading_never_opens_a_body(tmp_path: Path) -> None:
    with CallRecord(tmp_path / "calls.sqlite") as record:
        record.put("j", [(request(), {"text": "x"} | BODIES)])
        record._db.execute("UPDATE calls SET bodies = x'00'")
        assert record.get([request()]) == [{"text": "x"}]


def test_a_file_without_a_column_for_bodies_is_read_as_it_is_and_written_to(tmp_path: Path) -> None:
    path = tmp_path / "calls" / "02.sqlite"
    old_file(path, [(request(), {"text": "old"} | BODIES)])
    before = path.read_bytes()
    k, new = key(request()), key(request(repeat=1))
    for name, after in (("02", []), ("04", ["02"])):
        with opened(tmp_path, name, after) as record:
            assert record.get([request()]) == [{"text": "old"}]
            assert record.whole([k]) == {k: as_text({"text": "old"} | BODIES)}
    assert path.read_bytes() == before
    with opened(tmp_path, "02") as record:
        record.put("j", [(request(repeat=1), {"text": "new"} | BODIES)])
    with opened(tmp_path, "02") as record:
        assert record.get([request(), request(repeat=1)]) == [{"text": "old"}, {"text": "new"}]
        assert record.whole([k, new]) == {
            k: as_text({"text": "old"} | BODIES), new: as_text({"text": "new"} | BODIES),
        }  # fmt: skip


def test_processes_that_write_to_an_old_file_together_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "calls.sqlite"
    old_file(path, [(request(), {"text": "old"})])
    command = [sys.executable, "-c", MANY, str(path)]
    workers = [subprocess.Popen([*command, f"j{k}"], stdin=subprocess.PIPE) for k in range(3)]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"go\n")
        worker.stdin.close()
    assert [worker.wait(60) for worker in workers] == [0] * 3
    with CallRecord(path) as record:
        assert record.count() == 3 * 20 * 5 + 1
