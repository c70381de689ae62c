from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from cqa_helpers import cohort, corpus, probing, results
from cqa_helpers.calls import CallRecord
from cqa_helpers.cohort import Base, Member
from cqa_helpers.corpus import Corpus
from cqa_helpers.models import LocalModel
from cqa_helpers.params import Params
from cqa_helpers.prompts import FormName
from cqa_helpers.records import Verdict

COT = Member("cot", 8, 1)


@pytest.fixture
def params(small_params: Callable[..., Params], tiny_folder: Path) -> Params:
    # Long enough answers that even a random model is asked in earnest.
    return small_params(models={"base": str(tiny_folder)}, judging={"max_new_tokens": 3})


@pytest.fixture
def material(params: Params, tmp_path: Path) -> Corpus:
    return corpus.prepare(params, tmp_path)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[CallRecord]:
    with CallRecord(tmp_path / "calls.sqlite") as opened:
        yield opened


@pytest.fixture
def base(params: Params) -> Base:
    assert params.models is not None
    return Base(params.models)


def test_a_probe_asks_once_and_the_second_time_needs_no_model(
    params: Params,
    material: Corpus,
    base: Base,
    record: CallRecord,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cohort.train(COT, base, params, material, tmp_path)
    first = probing.probe(COT, base, params, material, tmp_path, record)

    def unloaded(self: Base) -> LocalModel:
        raise AssertionError("the record is full")

    monkeypatch.setattr(Base, "local", unloaded)
    second = probing.probe(COT, base, params, material, tmp_path, record)
    assert first[:3] == second[:3]
    assert first.reasons.equals(second.reasons)


def test_the_base_is_asked_with_one_draw_a_seed_and_reworded_passages_bear_their_originals_ids(
    params: Params, material: Corpus, base: Base, record: CallRecord, tmp_path: Path
) -> None:
    found = probing.probe(None, base, params, material, tmp_path, record)
    asked = {p.id for p in probing.items(material)}
    assert params.tuning is not None
    assert len(asked) == min(probing.ITEMS, len(material.test()))
    for part in found[:3]:
        assert {v.item_id for v in part} == asked
        assert {v.judge_id for v in part} == {"base"}
        assert {v.repeat for v in part} == set(range(len(params.tuning.seeds)))
    assert found.reasons["probability"].between(0, 1).all()


def test_a_second_draw_is_another_draw(
    params: Params, material: Corpus, base: Base, record: CallRecord, tmp_path: Path
) -> None:
    passages = probing.items(material)
    cohort.ask_base(base, params, passages, record)
    n = record.count()
    cohort.ask_base(base, params, passages, record)
    assert record.count() == n
    cohort.ask_base(base, params, passages, record, draw=1)
    assert record.count() == 2 * n


def test_a_reason_is_put_up_to_its_verdicts_place(params: Params, material: Corpus) -> None:
    asked = probing.reasons_put(params, material)
    assert {a.voice for a in asked} == {"first", "second"}
    known = {(p.passage_id, probing._voice(p)): p for p in material.probes}
    dialect = cohort.panel(params).dialect
    for a in asked:
        annotation = known[a.item_id, a.voice]
        argued = {j.dimension: j.value for j in annotation.judgements}
        reasons = {j.dimension: j.reason for j in annotation.judgements}
        assert argued[a.dimension] == a.argued
        assert a.context.endswith(("verdict ", "ruling "))
        assert reasons[a.dimension] in a.context
        # Neither the verdict's own word nor what comes after its place is seen.
        form: FormName = "second-voice" if a.voice == "second" else "reason-first"
        said = a.context[a.context.rindex(reasons[a.dimension]) + len(reasons[a.dimension]) :]
        assert not set(said.split()) & set(dialect.words_of(form).values())
        later = list(reasons)[list(reasons).index(a.dimension) + 1 :]
        assert not any(reasons[d] in a.context for d in later)


def test_reasons_are_spread_over_all_passages_where_there_are_many(
    params: Params, material: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = probing.reasons_put(params, material)
    monkeypatch.setattr(probing, "REASONS", 8)
    few = probing.reasons_put(params, material)
    assert len(few) == 16
    assert set(few) <= set(whole)
    assert len({a.item_id for a in few}) >= 7


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        (COT, True),
        (Member("cot", 4, 1), False),
        (Member("cot", 8, 1, "second"), False),
        (Member("cot", 8, 1, budget="tokens"), False),
        (Member("cot", 8, 1, sample=1), False),
        (Member("verdict-only", 8, 1), False),
        (Member("style-only", 8, 1), True),
    ],
)
def test_models_with_reasons_at_full_size_are_probed(
    small_params: Callable[..., Params], member: Member, expected: bool
) -> None:
    arms = {"cot": [4, 8], "verdict-only": [8], "style-only": [8]}
    assert probing.wanted(member, small_params(tuning={"arms": arms})) is expected


def test_by_arm_holds_full_sizes_of_the_main_comparison_and_probes_only_of_arms_with_reasons(
    small_params: Callable[..., Params], tiny_folder: Path, tmp_path: Path
) -> None:
    params = small_params(
        models={"base": str(tiny_folder)},
        judging={"max_new_tokens": 2},
        tuning={"arms": {"cot": [4, 8], "verdict-only": [8]}, "seeds": [1, 2]},
    )
    material = corpus.prepare(params, tmp_path)
    assert params.models is not None

    def answer(member: Member) -> list[Verdict]:
        return [Verdict(item_id=member.name, dimension="craft", judge_id="tuned", value=1)]

    bare = Member("verdict-only", 8, 1)
    left_out = [
        Member("cot", 4, 1), Member("cot", 8, 1, "second"), Member("cot", 8, 1, sample=1),
        Member("verdict-only", 8, 1, budget="tokens"),
    ]  # fmt: skip
    full = [COT, COT._replace(seed=2), bare]
    empty = pd.DataFrame(columns=probing.REASON_COLUMNS)
    probed = {m: probing.Probed(answer(m), [], [], empty) for m in full if m != bare}
    said, asked = probing.by_arm(
        {m: answer(m) for m in (*left_out, *full)}, probed, Base(params.models), params, material,
        tmp_path,
    )  # fmt: skip
    assert set(said) == {"cot", "verdict-only", "base"}
    assert [v.item_id for v in said["cot"]] == [m.name for m in full[:2]]
    assert [v.item_id for v in said["verdict-only"]] == [bare.name]
    assert {v.repeat for v in said["base"]} == {0, 1}
    assert asked["cot"] == [probed[m] for m in full[:2]]
    assert "verdict-only" not in asked
    assert len(asked["base"]) == 1


def test_what_the_base_can_read_is_computed_once_and_read_back_equal(
    params: Params,
    material: Corpus,
    base: Base,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = tmp_path / "recognition.json"
    made = probing.before_tuning(base, material, params, kept)
    assert made is not None

    def unloaded(self: Base) -> LocalModel:
        raise AssertionError("it is kept")

    monkeypatch.setattr(Base, "local", unloaded)
    again = probing.before_tuning(base, material, params, kept)
    assert again is not None
    assert again.sentence == made.sentence
    # What results.json is given is the same in a first run and in a resumed one.
    assert results.plain(again.results) == results.plain(made.results)
    assert again.results["all dimensions"]["right"]["value"] is not None
    pd.testing.assert_frame_equal(again.table, made.table)
    assert isinstance(again.table["Right"].iloc[0], tuple)
    study = params.study.model_copy(update={"level": 0.8})
    for other in ({"seed": params.seed + 1}, {"study": study}):
        with pytest.raises(AssertionError, match="it is kept"):
            probing.before_tuning(base, material, params.model_copy(update=other), kept)


def test_nothing_to_pair_is_no_probe(
    params: Params, material: Corpus, base: Base, tmp_path: Path
) -> None:
    alone = material._replace(annotations=material.annotations[:1])
    assert probing.before_tuning(base, alone, params, tmp_path / "r.json") is None
