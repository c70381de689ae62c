from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from cqa_helpers import blinding, cli, corpus, fixed, params, paths, planlock
from cqa_helpers.blinding import Diagnosis, Packet, Sheets
from cqa_helpers.params import Params
from cqa_helpers.planlock import PlanError
from cqa_helpers.records import Passage, Verdict, read_jsonl, to_table, write_jsonl

Maker = Callable[..., Params]
JUDGES = ("tuned", "base", "reference")
PASSAGES = [
    Passage(
        id=f"p{i}", work_id=f"w{i}", text=f"text {i}", origin="simulated", licence="none",
        source="test",
    )
    for i in range(8)
]  # fmt: skip
ROWS = [
    Verdict(item_id=p.id, dimension=d, judge_id=j, value=1, reason=f"{d} of {p.id}, {k}")
    for k, j in enumerate(JUDGES)
    for p in PASSAGES
    for d in ("audience", "craft")
]
FUNDED = {
    "status": "funded-study",
    "corpus": {"source": "golden", "people": None, "folder": "data/golden"},
    "blind": {"n_items": 4},
}


class Study(NamedTuple):
    """A sealed study in a checkout of its own, with its ratings."""

    root: Path
    run: Path
    params: Params
    ratings: Path


@pytest.fixture
def study(small_params: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    for folder in ("notebooks", "params", "data/taxonomy"):
        shutil.copytree(paths.root() / folder, tmp_path / folder)
    package = tmp_path / "package"
    shutil.copytree(
        paths.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "forms_assets")
    )
    monkeypatch.setenv("CQA_ROOT", str(tmp_path))
    monkeypatch.setattr(paths, "PACKAGE", package)
    settings = small_params(**FUNDED)
    run = tmp_path / "runs" / settings.profile
    (tmp_path / "params" / f"{settings.profile}.yaml").write_text(params.dump(settings))
    return Study(tmp_path, run, settings, sealed(settings, run))


def sealed(settings: Params, run: Path) -> Path:
    """Seal a run and return its ratings: one a code, from 1 to 5."""
    (run / "corpus").mkdir(parents=True, exist_ok=True)
    for name in corpus.FILES:
        write_jsonl(run / "corpus" / f"{name}.jsonl", PASSAGES)
    to_table(ROWS).to_parquet(run / "verdicts.parquet", index=False)
    folder = blinding.seal(
        settings, run, ROWS, PASSAGES, {0: "no", 1: "yes"}, Sheets(("ann", "bo"))
    )
    packets = read_jsonl(folder / "packets.jsonl", Packet)
    rated = [
        Verdict(
            item_id=s.code, dimension="insight", judge_id=p.rater_id,
            value=1 + i % 5, scale="1-5",
        )
        for p in packets
        for i, s in enumerate(p.diagnoses)
    ]  # fmt: skip
    write_jsonl(run / "ratings.jsonl", rated)
    return run / "ratings.jsonl"


def locked(study: Study) -> None:
    planlock.lock(study.params, study.run)
    planlock.freeze(study.run, study.ratings)


def rewritten(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def one_rating(study: Study) -> str:
    rows = read_jsonl(study.ratings, Verdict)
    worse = rows[3].model_copy(update={"value": 1 + (rows[3].value or 0) % 5})
    write_jsonl(study.ratings, [*rows[:3], worse, *rows[4:]])
    return f"rating of {rows[3].judge_id}, {rows[3].item_id}, insight changed"


def one_rating_gone(study: Study) -> str:
    rows = read_jsonl(study.ratings, Verdict)
    write_jsonl(study.ratings, rows[1:])
    return f"rating of {rows[0].judge_id}, {rows[0].item_id}, insight is gone"


def ratings_gone(study: Study) -> str:
    study.ratings.unlink()
    return "ratings runs/rehearsal/ratings.jsonl is gone"


def one_line_of_the_analysis(study: Study) -> str:
    rewritten(study.root / "package" / "study.py", "\n\n\n", "\n\n\n# one line more\n")
    return "code cqa_helpers.study changed"


def the_notebook(study: Study) -> str:
    rewritten(study.root / fixed.NOTEBOOK, "plan.margin", "0.3")
    return "code notebooks/05-blind-analysis.py changed"


def one_param(study: Study) -> str:
    rewritten(study.root / "params" / "rehearsal.yaml", "margin: 0.1", "margin: 0.2")
    return "params study.margin: 0.1 → 0.2"


def the_key(study: Study) -> str:
    file = study.run / "blind" / "sealed.key.json"
    rows = read_jsonl(file, Diagnosis)
    write_jsonl(file, [rows[0].model_copy(update={"judge_id": "tuned2"}), *rows[1:]])
    return "sealed key changed"


def the_salt(study: Study) -> str:
    file = study.run / "blind" / "sealed.key.json"
    rows = read_jsonl(file, Diagnosis)
    write_jsonl(file, [d.model_copy(update={"salt": "00"}) for d in rows])
    return "sealed key changed"


def the_key_gone(study: Study) -> str:
    (study.run / "blind" / "sealed.key.json").unlink()
    return "sealed key is gone"


def a_packet(study: Study) -> str:
    rewritten(study.run / "blind" / "packets.jsonl", "text ", "texts ")
    return "sealed packets changed"


def a_passage(study: Study) -> str:
    rewritten(study.run / "corpus" / "passages.jsonl", "text 3", "text 4")
    return "data corpus/passages.jsonl changed"


def a_verdict(study: Study) -> str:
    to_table(ROWS[1:]).to_parquet(study.run / "verdicts.parquet", index=False)
    return "data verdicts.parquet changed"


def the_lock(study: Study) -> str:
    rewritten(study.run / "blind" / "plan.lock.json", '"margin": 0.1', '"margin": 0.2')
    return "params study.margin: 0.2 → 0.1"


def the_frozen_hashes(study: Study) -> str:
    rewritten(study.run / "blind" / "frozen.json", '"n_ratings": 24', '"n_ratings": 23')
    return "record frozen.json changed"


TAMPERING = [
    one_rating, one_rating_gone, ratings_gone, one_line_of_the_analysis, the_notebook, one_param,
    the_key, the_salt, the_key_gone, a_packet, a_passage, a_verdict, the_lock, the_frozen_hashes,
]  # fmt: skip


@pytest.mark.parametrize("tamper", TAMPERING, ids=lambda f: f.__name__)
def test_whatever_is_tampered_with_is_refused_by_its_name(
    study: Study, tamper: Callable[[Study], str]
) -> None:
    locked(study)
    assert planlock.verify(study.run) == []
    said = tamper(study)
    assert said in [str(change) for change in planlock.verify(study.run)]
    with pytest.raises(PlanError, match="Not unblinded: changed since") as refused:
        planlock.unblind(study.run)
    assert said in str(refused.value)
    assert not (study.run / "blind" / "unblinded.json").exists()


def test_a_library_of_another_version_is_named(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked(study)
    there = fixed.provenance.versions()
    monkeypatch.setattr(fixed.provenance, "versions", lambda: {**there, "numpy": "0.9"})
    assert [str(c) for c in planlock.verify(study.run)] == [
        f"versions numpy: {there['numpy']} → 0.9"
    ]


def test_a_second_unblinding_is_refused_and_says_what_changed_since(study: Study) -> None:
    locked(study)
    record = planlock.unblind(study.run, when="2026-12-01T10:00:00+00:00")
    written = record.read_bytes()
    held = json.loads(written)
    assert held["when"] == "2026-12-01T10:00:00+00:00"
    assert held["n_ratings"] == 24
    assert held["key"] == blinding.commitment(blinding.read_key(study.run))
    with pytest.raises(PlanError, match=r"unblinded before \(2026-12-01T10.*nothing has changed"):
        planlock.unblind(study.run)
    said = one_param(study)
    with pytest.raises(PlanError, match="since then:") as refused:
        planlock.unblind(study.run)
    assert said in str(refused.value)
    with pytest.raises(PlanError, match="is unblinded"):
        planlock.lock(params.load(params.file_of("rehearsal")), study.run, replace=True)
    assert record.read_bytes() == written


def test_a_record_taken_away_is_missed(study: Study) -> None:
    locked(study)
    planlock.unblind(study.run)
    planlock.opened(study.params, study.run, study.ratings)
    (study.run / "blind" / "unblinded.json").unlink()
    with pytest.raises(PlanError, match=r"record unblinded.json is gone"):
        planlock.unblind(study.run)


def test_the_analysis_sees_shuffled_labels_until_the_unblinding(study: Study) -> None:
    true = blinding.read_key(study.run)
    before = planlock.opened(study.params, study.run, study.ratings)
    assert before.shuffled
    assert before.key == blinding.shuffled_key(true, study.params.seed)
    locked(study)
    assert planlock.opened(study.params, study.run, study.ratings).shuffled
    planlock.unblind(study.run)
    after = planlock.opened(study.params, study.run, study.ratings)
    assert (after.key, after.shuffled) == (true, False)
    # Once open, the labels stand for what was locked alone.
    said = one_line_of_the_analysis(study)
    with pytest.raises(PlanError, match="Not opened: changed since") as refused:
        planlock.opened(study.params, study.run, study.ratings)
    assert said in str(refused.value)


def test_other_ratings_than_the_frozen_are_refused(study: Study, tmp_path: Path) -> None:
    locked(study)
    planlock.unblind(study.run)
    other = tmp_path / "other.jsonl"
    write_jsonl(other, read_jsonl(study.ratings, Verdict)[1:])
    with pytest.raises(PlanError, match="is not the file of ratings that was frozen"):
        planlock.opened(study.params, study.run, other)
    with pytest.raises(PlanError, match=r"(?s)other ratings are frozen.*is gone"):
        planlock.freeze(study.run, other)


def test_a_changed_plan_replaces_a_locked_one_only_in_so_many_words(study: Study) -> None:
    locked(study)
    first = json.loads((study.run / "blind" / "plan.lock.json").read_text())
    # The same plan may be locked again, and stays as it was.
    assert json.loads(planlock.lock(study.params, study.run).read_text()) == first
    one_line_of_the_analysis(study)
    with pytest.raises(PlanError, match="another plan is locked"):
        planlock.lock(study.params, study.run)
    second = json.loads(planlock.lock(study.params, study.run, replace=True).read_text())
    assert second["replaced"] == [
        {"digest": first["digest"], "changes": ["code cqa_helpers.study changed"]}
    ]
    # Ratings frozen under the plan that is gone are frozen no more.
    with pytest.raises(PlanError, match="no ratings are frozen"):
        planlock.unblind(study.run)


def test_nothing_is_locked_frozen_or_unblinded_out_of_turn(study: Study, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"No plan.lock.json in .*cqa plan lock first"):
        planlock.freeze(study.run, study.ratings)
    with pytest.raises(PlanError, match=r"No plan.lock.json"):
        planlock.unblind(study.run)
    with pytest.raises(PlanError, match="No seal in"):
        planlock.lock(study.params, tmp_path / "elsewhere")
    planlock.lock(study.params, study.run)
    with pytest.raises(PlanError, match="no ratings are frozen"):
        planlock.unblind(study.run)
    rows = read_jsonl(study.ratings, Verdict)
    write_jsonl(study.ratings, [*rows, rows[0].model_copy(update={"item_id": "ffff"})])
    with pytest.raises(PlanError, match=r"1 code.* that no packet has: ffff"):
        planlock.freeze(study.run, study.ratings)
    write_jsonl(study.ratings, [*rows, rows[0]])
    with pytest.raises(PlanError, match="ratings stand twice: of ann"):
        planlock.freeze(study.run, study.ratings)


def test_the_lock_holds_no_key_and_names_no_judge_by_code(study: Study) -> None:
    text = planlock.lock(study.params, study.run).read_text()
    key = blinding.read_key(study.run)
    assert not any(d.code in text for d in key)
    assert key[0].salt not in text


def test_the_code_under_lock_is_what_the_notebook_imports(study: Study) -> None:
    found = fixed.analysis_files()
    assert {"cqa_helpers.declared", "cqa_helpers.contrasts", "cqa_helpers.blinding"} <= set(found)
    # Imported inside a function, and imported by what is imported.
    assert {"cqa_helpers.rehearsal.people", "cqa_helpers.agreement"} <= set(found)
    assert "cqa_helpers.planlock" in found
    assert not {"cqa_helpers.report", "cqa_helpers.finetuning", "cqa_helpers.cli"} & set(found)


def test_a_rehearsal_goes_through_all_steps_at_once(study: Study, small_params: Maker) -> None:
    settings = small_params(blind={"n_items": 4})
    ratings = sealed(settings, study.run)
    for _ in range(2):
        found = planlock.opened(settings, study.run, ratings)
        assert (found.key, found.shuffled) == (blinding.read_key(study.run), False)
    assert json.loads((study.run / "blind" / "unblinded.json").read_text())["n_ratings"] == 24
    # Sealed anew, nothing of the old opening is left.
    sealed(settings, study.run)
    assert {f.name for f in (study.run / "blind").iterdir()} == {
        "packets.jsonl", "sealed.key.json", "seal.json",
    }  # fmt: skip


def test_the_commands_lock_check_freeze_and_unblind_once(
    study: Study, capsys: pytest.CaptureFixture[str]
) -> None:
    profile, file = study.params.profile, ["--ratings", str(study.ratings)]
    assert cli.main(["unblind", profile]) == 1
    assert "cqa plan lock first" in capsys.readouterr().err
    assert cli.main(["plan", "lock", profile]) == 0
    assert blinding.commitment(blinding.read_key(study.run)) in capsys.readouterr().out
    assert cli.main(["plan", "freeze", profile]) == 1
    assert "no ratings have been returned" in capsys.readouterr().err
    assert cli.main(["plan", "freeze", profile, *file]) == 0
    assert cli.main(["plan", "check", profile]) == 0
    assert "as it was locked" in capsys.readouterr().out
    said = a_packet(study)
    assert cli.main(["plan", "check", profile]) == 1
    assert said in capsys.readouterr().out
    assert cli.main(["unblind", profile]) == 1
    assert said in capsys.readouterr().err
    rewritten(study.run / "blind" / "packets.jsonl", "texts ", "text ")
    assert cli.main(["unblind", profile]) == 0
    assert cli.main(["unblind", profile]) == 1
    assert "unblinded before" in capsys.readouterr().err
