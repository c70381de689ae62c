from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import corpus, paths
from cqa_helpers.annotations import Annotation, Judgement
from cqa_helpers.corpus import CorpusError
from cqa_helpers.golden import GoldenError
from cqa_helpers.params import Params
from cqa_helpers.records import Passage, Verdict, write_jsonl
from cqa_helpers.splits import SplitError

Maker = Callable[..., Params]


def contents(run: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in (run / "corpus").iterdir()}


def test_the_rehearsals_corpus_has_what_the_params_ask_for(
    small_params: Maker, tmp_path: Path
) -> None:
    params = small_params()
    made = corpus.prepare(params, tmp_path)
    assert (len(made.split.train), len(made.split.test)) == (16, 16)
    assert [p.id for p in made.test()] == list(made.split.test)
    assert {p.origin for p in made.passages} == {"simulated"}
    assert [p.group for p in made.pairs] == ["literary"] * 3 + ["factual"] * 3
    assert len({v.judge_id for v in made.experts}) == 3
    assert {v.item_id for v in made.recorded} == set(made.split.test)
    # Nobody is taught on what is tested.
    assert {a.passage_id for a in made.annotations} == set(made.split.train)
    assert {a.meta["arm"] for a in made.annotations} == {"cot", "style-only"}
    assert corpus.read(tmp_path) == made


def test_equal_params_give_equal_files_and_another_seed_others(
    small_params: Maker, tmp_path: Path
) -> None:
    for name, seed in (("one", 1), ("two", 1), ("other", 2)):
        corpus.prepare(small_params(seed=seed), tmp_path / name)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one") != contents(tmp_path / "other")


def test_what_is_there_is_read_and_what_was_made_otherwise_is_made_anew(
    small_params: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = corpus.prepare(small_params(), tmp_path)
    made = []
    plain = corpus._SOURCES["rehearsal"]
    monkeypatch.setitem(corpus._SOURCES, "rehearsal", lambda p: made.append(1) or plain(p))
    assert corpus.prepare(small_params(), tmp_path) == first
    assert corpus.prepare(small_params(study={"margin": 0.2}), tmp_path) == first
    assert made == []
    assert corpus.prepare(small_params(corpus={"n_test": 8}), tmp_path) != first
    assert made == [1]


def test_a_corpus_that_leaks_is_not_written(
    small_params: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = corpus._SOURCES["rehearsal"]

    def leaking(params: Params) -> corpus.Corpus:
        made = plain(params)
        return made._replace(split=made.split._replace(test=made.split.train[:1]))

    monkeypatch.setitem(corpus._SOURCES, "rehearsal", leaking)
    with pytest.raises(SplitError, match="in training and in test"):
        corpus.prepare(small_params(), tmp_path)
    assert not (tmp_path / "corpus").exists()


def golden(params: Maker, others: dict[str, Any] | None = None, **changes: object) -> Params:
    return params(
        corpus={
            "source": "golden",
            "folder": "data/golden",
            "people": None,
            "n_train": 8,
            **changes,
        },
        status="funded-study",
        judging={"recorded": []},
        tuning={"arms": {"cot": [4]}},
        **(others or {}),
    )


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(paths.root() / "data" / "taxonomy", tmp_path / "data" / "taxonomy")
    monkeypatch.setattr(paths, "root", lambda: tmp_path)
    return tmp_path / "data"


def test_a_golden_profile_without_its_files_says_which_are_missing(
    small_params: Maker, data: Path
) -> None:
    with pytest.raises(CorpusError) as caught:
        corpus.prepare(golden(small_params), data.parent / "run")
    said = str(caught.value)
    for part in ("data/golden/", "passages.jsonl", "cqa form annotate", "cqa import-annotations"):
        assert part in said
    assert str(data) not in said


def fill(data: Path, n: int, annotated: int, works: int = 100) -> None:
    passages = [
        Passage(
            id=f"p{i}", work_id=f"w{i % works}", text=f"正文 {i}", origin="published",
            licence="l", source="s", language="zh",
        )
        for i in range(n)
    ]  # fmt: skip
    write_jsonl(data / "golden" / "passages.jsonl", passages)
    write_jsonl(
        data / "golden" / "annotations.jsonl",
        [
            Annotation(
                id=f"a{i}", passage_id=f"p{i}", protocol="bc", expert_id="e", cot_body="c",
                judgements=tuple(
                    Judgement(dimension=d, value=1, reason="r")
                    for d in ("craft", "audience", "reality_logic")
                ),
            )
            for i in range(annotated)
        ],
    )  # fmt: skip
    write_jsonl(
        data / "golden" / "verdicts.jsonl",
        [Verdict(item_id=p.id, dimension="craft", judge_id="expert-1", value=1) for p in passages],
    )


def test_the_golden_set_is_split_by_work_and_only_what_is_annotated_trains(
    small_params: Maker, data: Path
) -> None:
    fill(data, n=12, annotated=8)
    made = corpus.prepare(golden(small_params), data.parent / "run")
    assert set(made.split.train) == {f"p{i}" for i in range(8)}
    assert set(made.split.test) == {f"p{i}" for i in range(8, 12)}
    assert (made.recorded, made.pairs) == ([], [])
    # Eight annotations of three verdicts each, and a row more for each passage by expert-1.
    assert len(made.experts) == 8 * 3 + 12


def test_a_golden_work_never_stands_on_both_sides(small_params: Maker, data: Path) -> None:
    fill(data, n=12, annotated=8, works=5)
    made = corpus.prepare(golden(small_params, n_train=4), data.parent / "run")
    known = made.by_id()
    works = [{known[i].work_id for i in side} for side in made.split]
    assert not works[0] & works[1]
    fill(data, n=12, annotated=12, works=2)
    with pytest.raises(SplitError, match="A work never stands on both sides"):
        corpus.prepare(golden(small_params), data.parent / "run")


def test_near_duplicates_in_different_works_stay_on_one_side(
    small_params: Maker, data: Path
) -> None:
    fill(data, n=12, annotated=12)
    path = data / "golden" / "passages.jsonl"
    lines = path.read_text("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    for i in range(0, 12, 2):
        text = "".join(chr(0x4E00 + 97 * i + k) for k in range(40))
        rows[i]["text"], rows[i + 1]["text"] = f"{text}。", f"{text}！补"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), "utf-8")
    split = corpus.prepare(golden(small_params), data.parent / "run").split
    train = {int(i[1:]) for i in split.train}
    assert all((i in train) == (i ^ 1 in train) for i in range(12))


def test_faults_in_the_golden_set_are_listed_at_once(small_params: Maker, data: Path) -> None:
    fill(data, n=12, annotated=8)
    path = data / "golden" / "verdicts.csv"
    (data / "golden" / "verdicts.jsonl").unlink()
    path.write_text("item_id,dimension,judge_id,value\np0,rhyme,x,1\np1,craft,x,7\n", "utf-8")
    with pytest.raises(GoldenError) as caught:
        corpus.prepare(golden(small_params), data.parent / "run")
    assert "verdicts.csv:2: dimension: 'rhyme'" in str(caught.value)
    assert "verdicts.csv:3: record: " in str(caught.value)
    assert not (data.parent / "run" / "corpus").exists()


def test_a_study_of_one_s_own_needs_no_code(small_params: Maker, data: Path) -> None:
    fill(data, n=12, annotated=0)
    (data / "golden" / "annotations.jsonl").unlink()
    (data / "golden" / "verdicts.jsonl").unlink()
    table = "条目,维度,评委,分值,理由\n" + "".join(
        f"p{i},技艺,{judge},{'是' if i % 2 else '否'},\n"
        for i in range(12) for judge in ("赵", "钱", "机器")
    )  # fmt: skip
    (data / "golden" / "verdicts.csv").write_bytes(table.encode("gb18030"))
    made = corpus.prepare(
        golden(small_params).model_copy(
            update={
                "models": None, "tuning": None, "surprise": None,
                "judging": golden(small_params).judging.model_copy(update={"recorded": ["机器"]}),
            }
        ),
        data.parent / "run",
    )  # fmt: skip
    assert {v.judge_id for v in made.experts} == {"expert-赵", "expert-钱"}
    assert {v.judge_id for v in made.recorded} == {"机器"}
    assert (len(made.split.train), len(made.split.test)) == (0, 12)


def test_golden_files_that_were_changed_are_read_anew(small_params: Maker, data: Path) -> None:
    fill(data, n=12, annotated=8)
    assert len(corpus.prepare(golden(small_params), data.parent / "run").passages) == 12
    fill(data, n=14, annotated=8)
    assert len(corpus.prepare(golden(small_params), data.parent / "run").passages) == 14


def test_the_files_of_a_run_are_those_that_provenance_hashes(
    small_params: Maker, tmp_path: Path
) -> None:
    corpus.prepare(small_params(), tmp_path)
    assert all(path.is_file() for path in corpus.files(tmp_path))
    assert len(corpus.files(tmp_path)) == len(corpus.FILES)
    stamp = json.loads((tmp_path / "corpus" / "made.json").read_text())
    assert set(stamp) == {"made_from", "train", "test"}


def test_without_a_blind_test_and_before_ratings_return_there_are_none(
    small_params: Maker, data: Path
) -> None:
    assert corpus.ratings(small_params(blind=None), data) is None
    assert corpus.ratings(golden(small_params), data) is None
    (data / "ratings").mkdir()
    (data / "ratings" / "ratings.jsonl").write_text("")
    assert corpus.ratings(golden(small_params), data) == data / "ratings" / "ratings.jsonl"
