from __future__ import annotations

import csv
import itertools
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import cli, forms, paths, planlock, rounds, sheets, spreadsheets, taxonomy
from cqa_helpers.records import Verdict, read_jsonl
from cqa_helpers.sheets import RANK, Sheet
from cqa_helpers.taxonomy import Language, TaxonomyError
from rating_round import JUDGES, RATERS, Maker, Study, as_rows, export, make, put

# Three sheets of three diagnoses, each with four criteria and a place in the order.
ALL = 3 * 3 * 5
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def study(small_params: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    return make(small_params, tmp_path / "root", monkeypatch)


def form(study: Study, *options: str) -> int:
    return cli.main(["form", "rate", study.params.profile, *options])


def take(study: Study, *given: str | Path) -> int:
    return cli.main(["import-ratings", study.params.profile, *map(str, given)])


def again(study: Study, *options: str) -> int:
    """Import what was kept, and nothing new."""
    return take(study, *options, *(study.ratings() / rounds.RETURNED).glob("*.json"))


def rows(study: Study) -> list[Verdict]:
    return read_jsonl(study.ratings() / rounds.ROWS, Verdict)


# ---- out ---------------------------------------------------------------------------------------


def test_each_rater_gets_one_file_and_is_told_what_comes_back(
    study: Study, tmp_path: Path, capsys: Capture
) -> None:
    assert form(study, "--out", str(tmp_path / "out"), "--contact", "post@example.org") == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [f"{r}.html" for r in RATERS]
    said = capsys.readouterr().out
    for rater in RATERS:
        assert f"{rater}.html: 3 sheet(s). Send it to {rater} and nobody else." in said
    assert "sealed.key.json) stays here" in said
    assert f"cqa import-ratings {study.params.profile} FILE" in said
    text = (tmp_path / "out" / "rater-1.html").read_text("utf-8")
    assert '"contact": "post@example.org"' in text
    assert '<html lang="zh-Hans">' in text
    assert '"id": "example-1-zh"' in text
    # Titles of dimensions stand in the passage's own language.
    assert all(f"\\n\\n{title}" in text for title in ("技艺：", "Craft: "))


def test_no_judge_can_be_found_in_packets_or_forms(study: Study, tmp_path: Path) -> None:
    assert form(study, "--out", str(tmp_path / "out")) == 0
    key = (study.run / "blind" / "sealed.key.json").read_text("utf-8")
    passages = [f"Simulated text {i}, which tells of GPT4." for i in range(3)]
    files = [study.run / "blind" / "packets.jsonl", *(tmp_path / "out").iterdir()]
    assert len(files) == 3
    for file in files:
        text = file.read_text("utf-8")
        for passage in passages:
            text = text.replace(passage, "")
        assert [j for j in (*JUDGES, "GPT-4", "Qwen", "OpenAI") if j.casefold() in text.casefold()
                ] == []  # fmt: skip
        assert "[name]" in text
    assert all(judge in key for judge in JUDGES)


def test_one_rater_can_be_asked_for_in_another_language(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert form(study, "--out", str(out), "--language", "en", "--rater", "rater-2") == 0
    (file,) = out.iterdir()
    text = file.read_text("utf-8")
    assert file.name == "rater-2.html"
    assert '<html lang="en">' in text
    assert '"id": "example-1-en"' in text


def test_packets_for_everyone_make_a_file_for_each_named_rater(
    study: Study, tmp_path: Path
) -> None:
    blind = study.run / "blind"
    seal = json.loads((blind / "seal.json").read_text())
    lines = (blind / "packets.jsonl").read_text("utf-8").splitlines()
    kept = [line.replace('"rater-1"', '"everyone"') for line in lines if '"rater-1"' in line]
    (blind / "packets.jsonl").write_text("\n".join(kept) + "\n", "utf-8")
    seal["packets"] = rounds.sha256(blind / "packets.jsonl")
    (blind / "seal.json").write_text(json.dumps(seal))
    assert form(study, "--out", str(tmp_path / "out")) == 0
    assert [p.stem for p in sorted((tmp_path / "out").iterdir())] == list(RATERS)


def no_packets(study: Study) -> None:
    (study.run / "blind" / "packets.jsonl").unlink()


def other_packets(study: Study) -> None:
    file = study.run / "blind" / "packets.jsonl"
    file.write_text(file.read_text("utf-8").replace("lamp", "lamps"), "utf-8")


def old_packets(study: Study) -> None:
    file = study.run / "blind" / "packets.jsonl"
    file.write_text('{"code": "a1", "passage_id": "p1", "diagnosis": {}}\n', "utf-8")
    seal = json.loads((file.parent / "seal.json").read_text())
    seal["packets"] = rounds.sha256(file)
    (file.parent / "seal.json").write_text(json.dumps(seal))


@pytest.mark.parametrize(
    ("spoil", "options", "said"),
    [
        (old_packets, (), "an older version wrote it: run notebook 04-judge again"),
        (no_packets, (), "run notebook 04-judge first"),
        (other_packets, (), "packets.jsonl changed since it was sealed"),
        (lambda study: None, ("--rater", "rater-1", "ann"),
         "Unknown rater(s): ann. rehearsal has packets for rater-1, rater-2."),
    ],
)  # fmt: skip
def test_what_cannot_be_sent_is_refused_with_the_reason_and_nothing_is_written(
    study: Study, tmp_path: Path, capsys: Capture, spoil: Callable[[Study], None],
    options: tuple[str, ...], said: str,
) -> None:  # fmt: skip
    spoil(study)
    assert form(study, "--out", str(tmp_path / "out"), *options) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_profile_without_a_blind_test_has_no_forms(tmp_path: Path, capsys: Capture) -> None:
    assert cli.main(["form", "rate", "ttcw", "--out", str(tmp_path / "out")]) == 1
    assert "ttcw has no blind test" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s._replace(diagnoses=(("c1", "Says GPT4."), *s.diagnoses[1:])),
         "'GPT4' names a judge"),
        (lambda s: s._replace(diagnoses=(("c1", "所以base-7b认为好。"), *s.diagnoses[1:])),
         "'base-7b' names a judge"),
        (lambda s: s._replace(diagnoses=(("c1", "As tuned seed 2 saw."), *s.diagnoses[1:])),
         "'tuned seed 2' names a judge's run"),
        (lambda s: s._replace(id="s-20260"), "the id 's-20260' holds a seed"),
    ],
)  # fmt: skip
def test_a_form_that_tells_of_a_judge_is_caught_when_read_again(
    study: Study, tmp_path: Path, change: Callable[[Sheet], Sheet], said: str
) -> None:
    given = study.round()._replace(judges=("tuned", "base"))
    mine = given.sheets["rater-1"]
    spoilt = [change(mine[0]), *mine[1:]]
    file = forms.blind(spoilt, given.taxonomy, tmp_path / "f.html", "en", "rater-1")
    told = rounds.tells(file, given._replace(sheets={"rater-1": spoilt}), "rater-1", [])
    assert told == [said]


def test_a_form_in_another_order_than_the_packets_is_caught(study: Study, tmp_path: Path) -> None:
    given = study.round()
    mine = given.sheets["rater-1"]
    file = forms.blind(mine[::-1], given.taxonomy, tmp_path / "f.html", "en", "rater-1")
    (told,) = rounds.tells(file, given, "rater-1", [])
    assert "order" in told


def test_names_that_are_ordinary_words_forbid_no_form(
    small_params: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    changes = {"blind": {"judges": ["tuned", "base", "reference"], "control": "base"},
               "study": {"candidate": "tuned", "reference": "reference"}}  # fmt: skip
    study = make(small_params, tmp_path / "root", monkeypatch, **changes)
    assert not {"tuned", "base", "reference"} & set(study.round().names)
    assert form(study, "--out", str(tmp_path / "out")) == 0
    assert "being ordinary words: base, reference, tuned." in capsys.readouterr().out
    # They are counted at the seal; a form cannot do without the words.
    assert "I, base, say of" in (tmp_path / "out" / "rater-1.html").read_text("utf-8")


# ---- back --------------------------------------------------------------------------------------


def both(study: Study, to: Path) -> list[Path]:
    given = study.round()
    return [put(to / f"{rater}.json", export(given, rater)) for rater in RATERS]


def test_returned_files_become_rows_and_are_kept_as_they_came(
    study: Study, tmp_path: Path, capsys: Capture
) -> None:
    files = both(study, tmp_path)
    assert take(study, *files) == 0
    said = capsys.readouterr().out
    assert f"rater-1: {ALL} of {ALL} answers on 3 sheet(s)" in said
    assert f"{2 * ALL} rating(s): {2 * ALL} new or changed, 0 gone" in said
    found = rows(study)
    codes = {c for s in study.round().sheets["rater-1"] for c, _ in s.diagnoses}
    assert {v.item_id for v in found if v.judge_id == "rater-1"} == codes
    assert {v.value for v in found if v.dimension != RANK} == {3}
    kept = study.ratings() / rounds.RETURNED
    assert {p.name: p.read_bytes() for p in kept.iterdir()} == {
        p.name: p.read_bytes() for p in files
    }
    assert (study.ratings() / rounds.MISSING).read_text() == "rater,sheet,code,dimension\n"
    before = (study.ratings() / rounds.ROWS).read_bytes()
    assert take(study, *files) == 0
    assert "0 new or changed, 0 gone" in capsys.readouterr().out
    assert len(list(kept.iterdir())) == 2
    assert (study.ratings() / rounds.ROWS).read_bytes() == before


def test_rows_are_the_same_whatever_the_order_of_arrival(study: Study, tmp_path: Path) -> None:
    files = both(study, tmp_path)
    made = []
    for order in itertools.permutations(files):
        shutil.rmtree(study.ratings() / rounds.RETURNED, ignore_errors=True)
        for file in order:
            take(study, file)
        made.append((study.ratings() / rounds.ROWS).read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize("suffix", ["csv", "xlsx"])
def test_a_table_serves_as_well_as_the_form(study: Study, tmp_path: Path, suffix: str) -> None:
    given = study.round()
    file = tmp_path / f"back.{suffix}"
    content = as_rows(export(given, "rater-2", 4))
    if suffix == "csv":
        with file.open("w", encoding="utf-8-sig", newline="") as out:
            writer = csv.DictWriter(out, list(content[0]))
            writer.writeheader()
            writer.writerows(content)
    else:
        spreadsheets.write(file, content)
    assert take(study, file) == 0
    assert {v.judge_id for v in rows(study)} == {"rater-2"}
    assert len(rows(study)) == ALL
    missing = (study.ratings() / rounds.MISSING).read_text().splitlines()[1:]
    assert len(missing) == ALL
    assert all(line.startswith("rater-1,") for line in missing)


def tampered(study: Study, to: Path) -> Path:
    content = export(study.round(), "rater-1")
    content["sheets"][0]["answers"][0]["values"]["accuracy"] = 5
    return put(to / "tampered.json", content)


def test_an_edited_file_is_refused_by_name_and_the_good_rows_stand(
    study: Study, tmp_path: Path, capsys: Capture
) -> None:
    good = put(tmp_path / "good.json", export(study.round(), "rater-2"))
    assert take(study, tampered(study, tmp_path), good) == 1
    said = capsys.readouterr()
    assert "tampered.json: rater-1: the checksum does not fit" in said.err
    assert "1 error(s), see above" in said.err
    assert "good rows are kept" in said.err
    assert f"rater-1: 0 of {ALL} answers" in said.out
    assert {v.judge_id for v in rows(study)} == {"rater-2"}
    assert again(study, "--accept-edited") == 0
    assert len(rows(study)) == 2 * ALL
    # Without the word it falls out again, and that is said.
    assert again(study) == 1
    assert f"0 new or changed, {ALL} gone" in capsys.readouterr().out


def test_checking_tells_the_same_and_writes_nothing(
    study: Study, tmp_path: Path, capsys: Capture
) -> None:
    good = put(tmp_path / "good.json", export(study.round(), "rater-2"))
    assert take(study, "--check", tampered(study, tmp_path), good) == 1
    said = capsys.readouterr()
    assert "would hold 45 rating(s)" in said.out
    assert "tampered.json" in said.err
    assert sorted(p.name for p in study.ratings().iterdir()) == ["examples"]


def test_every_fault_of_all_files_is_told_at_once(
    study: Study, tmp_path: Path, capsys: Capture
) -> None:
    given = study.round()
    cut = tmp_path / "cut.json"
    cut.write_text(json.dumps(export(given, "rater-1"))[:300], "utf-8")
    stranger = export(given, "rater-1") | {"rater_id": "ann"}
    wild = as_rows(export(given, "rater-2"))
    wild[0]["value"] = 9
    wild[1]["item_id"] = "nope"
    spreadsheets.write(tmp_path / "wild.xlsx", wild)
    assert take(study, cut, tmp_path / "absent.json", put(tmp_path / "ann.json", stranger),
                tmp_path / "wild.xlsx") == 1  # fmt: skip
    said = capsys.readouterr().err
    for part in ("cut.json:1: file: not JSON", "absent.json: file: cannot be read",
                 "ann.json: ann: unknown rater", "accuracy: 9 lies outside the scale 1-5",
                 "nope.insight: unknown code"):  # fmt: skip
        assert part in said, part
    assert len(rows(study)) == ALL - 2
    kept = {p.name for p in (study.ratings() / rounds.RETURNED).iterdir()}
    assert kept == {"cut.json", "ann.json", "wild.xlsx"}


def test_differing_files_of_one_name_are_both_kept_and_none_counts_until_one_is_chosen(
    study: Study, tmp_path: Path, capsys: Capture
) -> None:
    given = study.round()
    first = put(tmp_path / "a" / "back.json", export(given, "rater-1", 2))
    later = put(tmp_path / "b" / "back.json", export(given, "rater-1", 4, "11:00:00"))
    assert take(study, first) == 0
    assert take(study, later) == 1
    assert "2 files of this rater differ" in capsys.readouterr().err
    kept = study.ratings() / rounds.RETURNED
    assert (kept / "back.json").read_bytes() == first.read_bytes()
    assert (kept / "back.2.json").read_bytes() == later.read_bytes()
    assert rows(study) == []
    assert again(study, "--later-wins") == 0
    assert {v.value for v in rows(study) if v.dimension != RANK} == {4}
    # Or the one that should not count is set aside by hand.
    (kept / rounds.ASIDE).mkdir()
    (kept / "back.2.json").rename(kept / rounds.ASIDE / "back.2.json")
    capsys.readouterr()
    assert again(study) == 0
    assert "back.2.json: set aside, not read." in capsys.readouterr().out
    assert {v.value for v in rows(study) if v.dimension != RANK} == {2}


def test_what_was_not_answered_is_listed_and_never_filled_in(
    study: Study, tmp_path: Path, capsys: Capture
) -> None:
    given = study.round()
    rows_ = as_rows(export(given, "rater-1"))
    spreadsheets.write(tmp_path / "part.xlsx", rows_[:-5])
    assert take(study, tmp_path / "part.xlsx") == 1
    assert "orders 2 of 3 diagnoses" in capsys.readouterr().err
    # The ranks of a half ordered sheet go with the diagnosis that was left out.
    assert len(rows(study)) == ALL - 5 - 2
    missing = (study.ratings() / rounds.MISSING).read_text()
    last = given.sheets["rater-1"][-1]
    assert f"rater-1,{last.id},{last.diagnoses[-1][0]},insight" in missing


def test_practice_is_kept_apart_from_the_ratings(study: Study, tmp_path: Path) -> None:
    content = export(study.round(), "rater-1")
    example = sheets.worked("zh")[0].sheet
    content["passages"].append({"id": example.id, "sha256": example.sha256()})
    content["calibration"] = [{"id": example.id, "turn": 1, "seconds": 9, "answers": [
        {"code": code, "values": {"insight": 2}, "rank": None, "why": ""}
        for code, _ in example.diagnoses]}]  # fmt: skip
    content["checksum"] = rounds.ratings.ballots.checksum(content)
    assert take(study, put(tmp_path / "r.json", content)) == 0
    practice = read_jsonl(study.ratings() / rounds.PRACTICE, Verdict)
    assert [(v.item_id, v.value) for v in practice] == [(f"example-1-zh-{k}", 2) for k in (1, 2, 3)]
    assert not any(v.item_id.startswith("example") for v in rows(study))


def test_frozen_ratings_are_not_imported_over(
    study: Study, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = study.root / "package"
    shutil.copytree(paths.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "*.js"))
    monkeypatch.setattr(paths, "PACKAGE", package)
    first, second = both(study, tmp_path)
    assert take(study, first) == 0
    planlock.lock(study.params, study.run)
    planlock.freeze(study.run, study.ratings() / rounds.ROWS)
    before = {p: p.read_bytes() for p in study.ratings().rglob("*") if p.is_file()}
    assert take(study, second) == 1
    said = capsys.readouterr().err
    assert f"Not imported: {ALL} ratings are frozen" in said
    assert f"make {2 * ALL}, of which {ALL} are not in" in said
    assert {p: p.read_bytes() for p in study.ratings().rglob("*") if p.is_file()} == before
    assert take(study, first) == 0


def test_a_simulated_profile_does_not_write_among_the_study_s_ratings(
    small_params: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make(small_params, tmp_path / "root", monkeypatch, status="simulated")
    file = put(tmp_path / "r.json", export(study.round(), "rater-1"))
    assert take(study, file) == 0
    assert (study.run / "ratings" / rounds.ROWS).is_file()
    assert not (study.ratings() / rounds.ROWS).exists()
    assert take(study, file, "--folder", tmp_path / "own") == 0
    assert (tmp_path / "own" / rounds.ROWS).is_file()


def test_returned_forms_and_practice_are_not_public() -> None:
    if not (paths.root() / ".git").exists():
        pytest.skip("not a git checkout")
    known = {"returned/ann.json": 0, "practice.jsonl": 0, "ratings.jsonl": 1, "missing.csv": 1}
    for name, status in known.items():
        done = subprocess.run(["git", "check-ignore", "-q", f"data/ratings/{name}"],
                              cwd=paths.root())  # fmt: skip
        assert done.returncode == status, name


# ---- worked examples ---------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh"])
def test_worked_examples_have_all_answers_and_one_best(language: Language) -> None:
    found = sheets.worked(language)
    of = taxonomy.load("blind-rating")
    assert len(found) == 3
    assert sheets.unanswered(found, of) == []
    for example in found:
        for code, values in example.values.items():
            assert all(1 <= values[d] <= 5 for d in of.ids())
            assert (values[RANK] == 1) == (values["accuracy"] == 5), code
        ranks = sorted(v[RANK] for v in example.values.values())
        assert ranks in ([1, 2, 3], [1, 2, 2])


@pytest.mark.parametrize("language", ["en", "zh"])
def test_neither_letter_nor_length_tells_the_best_example(language: Language) -> None:
    best, lengths = [], []
    for example in sheets.worked(language):
        of_code = {code: len(text) for code, text in example.sheet.diagnoses}
        code = next(c for c, v in example.values.items() if v[RANK] == 1)
        best.append(list(of_code).index(code))
        lengths.append(sorted(of_code.values()).index(of_code[code]))
    assert sorted(best) == [0, 1, 2]
    assert sorted(lengths) == [0, 1, 2]


def test_worked_examples_that_differ_between_languages_are_refused(
    study: Study,
) -> None:
    file = study.root / "data" / "ratings" / "examples" / "worked.zh.yaml"
    file.write_text(file.read_text("utf-8").replace("insight: 5", "insight: 4", 1), "utf-8")
    with pytest.raises(TaxonomyError, match=r"worked\.zh\.yaml: sheets or values differ"):
        sheets.worked("en")


def test_a_name_is_found_within_chinese_and_not_within_a_word() -> None:
    told = sheets.naming(["gpt4"])
    assert told.search("依gpt4所说")
    assert told.search("s_GPT4_1")
    assert not told.search("gpt45")
    assert not sheets.naming([]).search("anything")


def unread(_: Any) -> None:
    raise AssertionError("the key was read")


def test_the_key_is_never_read(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (study.run / "blind" / "sealed.key.json").unlink()
    monkeypatch.setattr("cqa_helpers.blinding.read_key", unread)
    assert form(study, "--out", str(tmp_path / "out")) == 0
    assert take(study, *both(study, tmp_path)) == 0
