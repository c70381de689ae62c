from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cqa_helpers import cohort, corpus, finetuning, models
from cqa_helpers.calls import CallRecord
from cqa_helpers.cohort import Base, Member
from cqa_helpers.corpus import Corpus
from cqa_helpers.params import Params

Maker = Callable[..., Params]


@pytest.fixture
def params(tiny_params: Params) -> Params:
    return tiny_params


@pytest.fixture
def material(params: Params, tmp_path: Path) -> Corpus:
    return corpus.prepare(params, tmp_path)


@pytest.fixture
def record(tmp_path: Path) -> Iterator[CallRecord]:
    with CallRecord(tmp_path / "calls.sqlite") as opened:
        yield opened


def base_of(params: Params) -> Base:
    assert params.models is not None
    return Base(params.models)


def test_every_arm_size_and_seed_is_planned_and_the_second_base_repeats_the_largest(
    small_params: Maker,
) -> None:
    arms = {"cot": [4, 8], "shuffled": [8]}
    one = cohort.planned(small_params(tuning={"arms": arms}))
    assert [(m.arm, m.n, m.seed) for m in one] == [
        ("cot", 4, 1), ("cot", 4, 2), ("cot", 8, 1), ("cot", 8, 2), ("shuffled", 8, 1),
        ("shuffled", 8, 2),
    ]  # fmt: skip
    both = cohort.planned(small_params(tuning={"arms": arms}, models={"second_base": "b"}))
    assert both[len(one) :] == [Member("cot", 8, 1, "second"), Member("cot", 8, 2, "second")]
    assert len({m.name for m in both}) == len(both)
    assert cohort.planned(small_params(models=None, tuning=None, surprise=None)) == []


@pytest.mark.parametrize(
    ("member", "name"),
    [
        (Member("cot", 8, 1), "tuned"),
        (Member("style-only", 8, 1), "tuned-style-only"),
        (Member("cot", 8, 1, "second"), "tuned-second-base"),
    ],
)
def test_the_seeds_of_an_arm_are_repeats_of_one_judge(member: Member, name: str) -> None:
    assert cohort.judge_id(member) == name
    assert cohort.judge_id(member._replace(seed=2)) == name


def test_a_second_lineage_that_is_not_there_is_an_error(params: Params) -> None:
    assert params.models is not None
    with pytest.raises(models.ModelError, match="there is no second lineage"):
        Base(params.models, "second")


def test_a_model_that_is_not_trained_yet_says_which_notebook_to_run(
    params: Params, material: Corpus, tmp_path: Path, record: CallRecord
) -> None:
    with pytest.raises(finetuning.TuningError, match=r"run notebook 02-fine-tune for arm 'cot'"):
        cohort.ask(Member("cot", 4, 1), base_of(params), params, [], tmp_path, record)


def test_from_training_to_rows_and_again_from_the_record_without_a_model(
    params: Params, material: Corpus, tmp_path: Path, record: CallRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    base, member = base_of(params), Member("cot", 4, 2)
    made = cohort.train(member, base, params, material, tmp_path)
    assert made.folder == tmp_path / "adapters" / "first-cot-4-2"
    asked = material.test()[:7]
    untuned = cohort.ask_base(base, params, asked, record)
    rows = cohort.ask(member, base, params, asked, tmp_path, record)
    assert {(v.judge_id, v.repeat) for v in rows} == {("tuned", 1)}
    assert {"arm": "cot", "n_train": 4, "seed": 2}.items() <= rows[0].meta.items()
    assert {(v.judge_id, v.repeat) for v in untuned} == {("base", 0), ("base", 1)}
    # The adapter came off again: the base says what it said before.
    with CallRecord(tmp_path / "other.sqlite") as fresh:
        assert cohort.ask_base(base, params, asked, fresh) == untuned

    def never(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(models, "load", never)
    again = base_of(params)
    assert cohort.train(member, again, params, material, tmp_path) == made
    assert cohort.ask(member, again, params, asked, tmp_path, record) == rows
    assert cohort.ask_base(again, params, asked, record) == untuned
