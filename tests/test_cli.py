from __future__ import annotations

from pathlib import Path

import pytest

from cqa_helpers import cli
from cqa_helpers.records import Verdict, write_jsonl


@pytest.mark.parametrize("name", [["export", "table"], ["export-table"]])
def test_an_export_goes_by_its_new_name_and_by_its_old_one(
    name: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = Verdict(item_id="i", dimension="craft", judge_id="j", value=1)
    write_jsonl(tmp_path / "v.jsonl", [verdict])
    assert cli.main([*name, str(tmp_path / "v.jsonl"), str(tmp_path / "v.xlsx")]) == 0
    assert "1 verdict(s)" in capsys.readouterr().out
    assert (tmp_path / "v.xlsx").is_file()


@pytest.mark.parametrize("name", [["export", "model"], ["export-model"]])
def test_a_model_that_no_profile_plans_is_refused_under_both_names(
    name: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*name, "ttcw", "first-cot-4-1", str(tmp_path / "out")]) == 1
    assert "first-cot-4-1" in capsys.readouterr().err


def test_a_fault_without_a_file_name_is_said_without_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(given: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cli, "_doctor", full)
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().err == "No space left on device\n"
