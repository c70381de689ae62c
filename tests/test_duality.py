from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from cqa_helpers import blinding, cohort, corpus, duality, finetuning, models, writings
from cqa_helpers.agreement import Interval
from cqa_helpers.calls import CallRecord
from cqa_helpers.cohort import Base, Member
from cqa_helpers.duality import DualityError, Effect
from cqa_helpers.models import LocalModel
from cqa_helpers.packets import Sheets
from cqa_helpers.params import Params
from cqa_helpers.prompts import load_dialect, prefix
from cqa_helpers.records import Constraints, Pair, Verdict
from cqa_helpers.rehearsal.world import factual_pairs, literary_pairs
from cqa_helpers.writings import Writing, WritingError

Maker = Callable[..., Params]
PAIRS = literary_pairs(3, 4)
REHEARSAL, QUESTION = load_dialect("rehearsal"), load_dialect("question")
BOTH = {"en": QUESTION, "zh": load_dialect("question-zh")}
DIMENSIONS = ("craft", "audience", "reality_logic")


def pair(**changes: Any) -> Pair:
    known: dict[str, Any] = {
        "id": "p", "good": "One came. Two went. Three stayed the night. Four left at dawn.",
        "degraded": "One {intent} came.", "dimension": "craft", "group": "literary",
        "constraints": Constraints(intent="To count.", audience="Knows two.", reality="No five."),
        "origin": "model-authored",
    }  # fmt: skip
    return Pair(**known | changes)


def writing(arm: str = "cot", seed: int = 1, text: str = "the rain .", **changes: Any) -> Writing:
    known: dict[str, Any] = {"pair": PAIRS[0].id, "kind": "continuation", "end": ""}
    return Writing(arm=arm, seed=seed, text=text, **known | changes)


@pytest.fixture
def params(small_params: Maker, tiny_folder: Path) -> Params:
    return small_params(
        models={"base": str(tiny_folder)},
        surprise={"duality": {"n_items": 2, "max_new_tokens": 4}},
    )


@pytest.fixture
def record(tmp_path: Path) -> Iterator[CallRecord]:
    with CallRecord(tmp_path / "calls.sqlite") as opened:
        yield opened


@pytest.mark.parametrize(
    ("text", "begun"),
    [
        ("One came. Two went. Three stayed the night. Four left at dawn.", "One came. Two went."),
        ("“Who?” She left. He sat there and waited for the night to end.", "“Who?” She left."),
        ("no sentence ends here and so words have to do", "no sentence"),
        ("他来了。她走了。雨下了一整夜，谁也没有说话，灯也没有亮。", "他来了。她走了。"),
        ("a b . c d . e f g h i j k l m n o p q r .", "a b . c d ."),
    ],
)
def test_a_beginning_is_whole_sentences_within_the_first_third_or_words(
    text: str, begun: str
) -> None:
    assert writings.beginning(text) == begun


@given(st.text(st.sampled_from("ab .。我\n"), max_size=60))
def test_a_beginning_begins_its_text_and_leaves_two_thirds(text: str) -> None:
    try:
        begun = writings.beginning(text)
    except WritingError:
        return
    assert text.startswith(begun)
    assert 0 < len(begun) <= len(text) / 3
    assert begun == begun.rstrip()


def test_a_text_too_short_to_be_continued_is_named() -> None:
    with pytest.raises(WritingError, match="Too short to be continued: 'word'"):
        writings.beginning("word")


def test_each_literary_pair_is_continued_under_its_constraints_and_told_again_by_a_template() -> (
    None
):
    pairs = [pair(), *factual_pairs(2, 1)]
    silent = {k: d.model_copy(update={"rewrite": ""}) for k, d in BOTH.items()}
    (one,) = writings.tasks(silent, pairs)
    assert one[1] == "continuation"
    assert one[2] == prefix(QUESTION, pair().constraints) + "One came. Two went."
    for language in ("en", "zh"):
        asked = [pair(meta={"language": language})]
        (_, (_, kind, prompt)) = writings.tasks(BOTH, asked)
        assert kind == "rewrite"
        assert prompt.startswith(BOTH[language].rewrite[:5])
        # A brace within the passage is text.
        for said in ("One {intent} came.", "To count.", "Knows two.", "No five."):
            assert prompt.count(said) == 1
        # A stop near the end of a prompt would end its text before it began.
        assert not any(stop in prompt for stop in BOTH[language].stops)
    with pytest.raises(WritingError, match="No literary pair"):
        writings.tasks(BOTH, factual_pairs(2, 1))


def test_from_writing_to_verdicts_and_again_from_the_record_without_a_model(
    params: Params, tmp_path: Path, record: CallRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    material = corpus.prepare(params, tmp_path)
    assert params.models is not None
    base, member = Base(params.models), Member("cot", 4, 2)
    cohort.train(member, base, params, material, tmp_path)
    known = (params, material.pairs, tmp_path, record, [member])
    with pytest.raises(finetuning.TuningError, match="run notebook 02-fine-tune"):
        writings.generate(*known[:-1], [Member("cot", 8, 1)], base=base)
    made = writings.generate(*known, base=base)
    writers = [("base", 1), ("base", 2), (writings.AGAIN, 1), (writings.AGAIN, 2), ("cot", 2)]
    literary = [p.id for p in material.pairs if p.group == "literary"][:2]
    assert [(w.arm, w.seed, w.pair) for w in made] == [
        (arm, seed, pair) for (arm, seed), pair in itertools.product(writers, literary)
    ]
    assert {w.kind for w in made} == {"continuation"}
    by = {(w.arm, w.seed, w.pair): w.text for w in made}
    assert any(by["base", 1, p] != by[writings.AGAIN, 1, p] for p in literary)
    verdicts = duality.judged(made, material.pairs, params, tmp_path, record, [member])
    assert {(v.judge_id, v.repeat) for v in verdicts} == {("tuned", 1)}

    def never(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(models, "load", never)
    assert writings.generate(*known) == made
    again = duality.judged(made, material.pairs, params, tmp_path, record, [member])
    assert again == verdicts


def test_nothing_is_written_that_is_not_declared(params: Params, tmp_path: Path) -> None:
    assert params.surprise is not None
    none = params.model_copy(
        update={"surprise": params.surprise.model_copy(update={"duality": None})}
    )
    with pytest.raises(WritingError, match=r"surprise\.duality is null"):
        writings.generate(none, PAIRS, tmp_path, None, [])  # type: ignore[arg-type]


def test_a_model_judges_the_seed_before_its_own_and_of_its_own_the_base_and_itself(
    params: Params, tmp_path: Path, record: CallRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, set[str]] = {}

    def ask(member: Member, *rest: Any) -> list[Verdict]:
        seen[member.seed] = {str(p.text).split()[-1] for p in rest[2]}
        return []

    monkeypatch.setattr(cohort, "ask", ask)
    arms = ("base", writings.AGAIN, "cot", "style-only")
    made = [writing(arm, seed, f"{arm}-{seed}") for arm in arms for seed in (1, 2, 3)]
    members = [Member("cot", 8, seed) for seed in (1, 2, 3)]
    duality.judged(made, PAIRS, params, tmp_path, record, members)
    assert seen == {
        s: {f"base-{s}", f"cot-{s}", f"base-{b}", f"cot-{b}", f"style-only-{b}"}
        for s, b in ((1, 3), (2, 1), (3, 2))
    }


def test_all_write_under_the_same_sampling_seed(
    params: Params, tiny: LocalModel, tmp_path: Path, record: CallRecord,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    seen: list[int] = []

    def sample(_: LocalModel, prompts: list[str], *, seed: int, **__: Any) -> list[str]:
        seen.append(seed)
        return ["x"] * len(prompts)

    monkeypatch.setattr(models, "sample", sample)
    for identity in ("base", "base+adapter"):
        writings._written(
            params, record, "arm", identity, lambda: _Open(tiny), 1, ["the rain ."], []
        )
    assert len(seen) == 2
    assert seen[0] == seen[1]


class _Open:
    """A model that is open already."""

    def __init__(self, local: LocalModel) -> None:
        self._local = local

    def __enter__(self) -> LocalModel:
        return self._local

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(
    ("said", "tokens", "text", "end"),
    [
        ("the rain . <rev_a> craft : verdict good .", 8, "the rain .", "<rev_a>"),
        ("<rev_a> craft :", 3, "", "<rev_a>"),
        ("the rain .", 3, "the rain .", ""),
        ("the rain fell and", 4, "the rain fell and", None),
    ],
)
def test_a_text_is_over_at_a_diagnosis_or_its_own_end_else_it_was_cut(
    params: Params, said: str, tokens: int, text: str, end: str | None
) -> None:
    stops = writings.openings(REHEARSAL)
    assert stops == ["<rev_a>", "<short_a>", "<rev_b>"]
    found = writings._cut({"text": said, "tokens": tokens}, stops, params)
    assert found == (text, end)


def test_a_prompt_that_leaves_no_room_for_a_text_is_refused(
    params: Params, tiny: LocalModel
) -> None:
    with pytest.raises(WritingError, match="and the model reads 512: leave"):
        writings._sampled(tiny, ["the " * 510], 1, params, [])


def by_hand(local: LocalModel, before: str, text: str) -> float:
    """Return bits per token of a text, by one plain pass."""
    import torch

    ids = torch.tensor([local.tokenizer(f"{before} {text}")["input_ids"]])
    start = len(local.tokenizer(before)["input_ids"])
    with torch.no_grad():
        logs = local.model(input_ids=ids).logits[0].double().log_softmax(-1)
    own = [float(logs[k - 1, ids[0, k]]) for k in range(start, ids.shape[1])]
    return -sum(own) / len(own) / math.log(2)


def test_the_score_is_that_of_the_text_alone_after_beginning_and_constraints(
    tiny: LocalModel,
) -> None:
    made = [
        writing(text="wilma was the killer after all ."), writing(text="", end="<rev_a>"),
        writing(text="the rain .", kind="rewrite", pair=PAIRS[1].id),
    ]  # fmt: skip
    found = duality.scored(made, PAIRS, tiny, {"en": REHEARSAL}, 2)
    begun = writings.beginning(PAIRS[0].good)
    for i, of, given_text in ((0, PAIRS[0], f" {begun}"), (2, PAIRS[1], "")):
        for name, constraints in (("h_neutral", None), ("h_constrained", of.constraints)):
            before = prefix(REHEARSAL, constraints) + given_text
            assert found[name][i] == pytest.approx(by_hand(tiny, before, made[i].text), abs=1e-4)
    assert found["n_tokens"].tolist() == [7, 0, 3]
    assert np.isnan(found["information"][1])


def test_who_wrote_a_passage_cannot_be_told_from_it_and_equal_texts_are_judged_once() -> None:
    made = [writing("base", 1), writing("cot", 2), writing("cot", 1, "the fog ."), writing(text="")]
    passages = writings.as_passages(made, PAIRS)
    assert passages == writings.as_passages(made[::-1], PAIRS)
    assert len(passages) == 2
    begun = writings.beginning(PAIRS[0].good)
    assert {p.text for p in passages} == {f"{begun} the rain .", f"{begun} the fog ."}
    assert not any(w in p.model_dump_json() for p in passages for w in ("base", "cot", "tuned"))
    rows = [
        Verdict(item_id=p.id, dimension=d, judge_id="tuned", value=value, meta={"seed": 7},
                probability=0.9 if value else None, status="ok" if value is not None else "failed")
        for p in passages for d, value in zip(DIMENSIONS, (1, 0, None), strict=True)
    ]  # fmt: skip
    found = duality.approvals(made, PAIRS, rows)
    assert found[["arm", "seed", "judge_seed"]].values.tolist() == [
        ["base", 1, 7], ["cot", 2, 7], ["cot", 1, 7],
    ]  # fmt: skip
    assert found["good"].tolist() == [pytest.approx(0.45)] * 3
    assert not found["same_seed"].any()


def grid(effect: float = 0.0, seeds: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        [
            {"arm": arm, "seed": s, "pair": f"p{k}",
             "value": rng.normal() + effect * (arm == "cot")}
            for arm in ("base", "cot", "style-only") for s in range(seeds) for k in range(6)
        ]
    )  # fmt: skip


def test_the_interval_is_student_s_over_seeds() -> None:
    found = grid(0.7)
    wide = found.groupby(["arm", "seed"])["value"].mean().unstack("arm")
    gaps = wide["cot"] - wide["base"]
    low, high = stats.ttest_1samp(gaps, 0).confidence_interval(0.95)
    effect = duality.contrasts(found, "value")["cot"]
    assert effect.mean == pytest.approx(Interval(gaps.mean(), low, high))
    assert effect.by_seed == pytest.approx(gaps.to_dict())
    assert effect.over_pairs.low is not None
    assert effect.over_pairs.high is not None
    assert effect.over_pairs.low < gaps.mean() < effect.over_pairs.high


@pytest.mark.parametrize("added", [-5.0, 1e-3, 2.0])
def test_what_is_added_to_one_arm_is_found_in_that_arm_alone(added: float) -> None:
    plain, moved = (
        duality.contrasts(grid(e), "value", n_boot=20, margin=0.5) for e in (0.0, added)
    )
    assert moved["style-only"] == plain["style-only"]
    assert moved["cot"].mean.value == pytest.approx((plain["cot"].mean.value or 0) + added)
    assert moved["cot"].equivalence is not None


def test_a_missing_text_is_left_out_with_its_pair_and_counted() -> None:
    found = grid()
    lost = (found["arm"] == "cot") & (found["seed"] == 1) & (found["pair"] == "p2")
    found.loc[lost, "value"] = np.nan
    effects = duality.contrasts(found, "value", n_boot=50)
    assert (effects["cot"].n_missing, effects["style-only"].n_missing) == (1, 0)
    rest = found[(found["seed"] == 1) & (found["pair"] != "p2")]
    means = rest.groupby("arm")["value"].mean()
    assert effects["cot"].by_seed[1] == pytest.approx(means["cot"] - means["base"])
    assert effects["cot"].n_pairs == 6


def test_one_seed_has_no_interval_and_no_base_is_an_error() -> None:
    effect = duality.contrasts(grid(seeds=1), "value")["cot"]
    assert effect.mean[1:] == (None, None)
    assert "Seeds too few" in duality.headline({"I(x; y)": {"cot": effect}}, "I(x; y)", "bits")
    with pytest.raises(DualityError, match="no rows of 'base'"):
        duality.contrasts(grid().query("arm != 'base'"), "value")


def effect_of(*limits: float, by_seed: tuple[float, ...] = ()) -> Effect:
    known = dict(enumerate(by_seed))
    return Effect(Interval(*limits), Interval(None, None, None), known, 3, 0)


@pytest.mark.parametrize(
    ("limits", "begins"),
    [
        (
            (0.1, -0.1, 0.3),
            "No effect of tuning on I of what is written was found: +0.100 (−0.100 to",
        ),
        ((0.2, 0.1, 0.3), "Tuning on diagnoses moves I of what is written: +0.200"),
        ((-0.2, -0.3, -0.1), "Tuning on diagnoses moves I of what is written: −0.200"),
    ],
)
def test_the_headline_says_no_effect_where_none_is_found_and_what_the_control_does(
    limits: tuple[float, float, float], begins: str
) -> None:
    up = effect_of(0.2, 0.1, 0.3, by_seed=(0.19, 0.2, 0.21))
    flat = effect_of(0.0, -0.1, 0.1, by_seed=(-0.1, 0.0, 0.1))
    # Found by itself, and not among four.
    faint = effect_of(0.2, 0.02, 0.38, by_seed=(0.12, 0.2, 0.28))
    assert faint.p == pytest.approx(0.0492, abs=1e-3)
    found = {
        "I": {"cot": effect_of(*limits), "style-only": flat}, "H": {"cot": up, "style-only": up},
        "length": {"cot": up, "style-only": flat}, "speech": {"cot": faint, "style-only": up},
        "verdicts": {"cot": flat, "style-only": flat},
    }  # fmt: skip
    said = duality.headline(found, "I", "bits")
    assert said.startswith(begins)
    assert said.endswith(
        "bits, style-only control +0.000 (−0.100 to +0.100). "
        "Tuning moves H, and so does the control. Tuning moves length"
    )
    assert duality.headline({}, "I", "bits").startswith("Nothing is known")


def approving(own: float, lenient: float) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"arm": arm, "seed": w, "pair": "p", "judge": "tuned", "judge_seed": j,
             "good": 0.3 + lenient * j + own * (arm == "cot" and w == j), "same_seed": w == j}
            for arm in ("base", "cot") for w in (1, 2, 3) for j in (w, w % 3 + 1)
        ]
    )  # fmt: skip


def test_preferring_one_s_own_text_is_found_and_leniency_is_none() -> None:
    planted = duality.self_preference(approving(0.1, 0.05))
    lenient = duality.self_preference(approving(0.0, 0.05))
    assert planted is not None
    assert lenient is not None
    assert planted.mean.value == pytest.approx(0.1)
    assert lenient.mean.value == pytest.approx(0.0, abs=1e-12)
    assert duality.self_preference(approving(0.1, 0.0).query("same_seed")) is None


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("“No,” he said.", 5 / 14),
        ('"Go." She went.', 5 / 15),
        ("他说：「走吧。」", 5 / 8),
        ("It wasn’t the Smiths’ dog.", 0.0),
        ("‘I can’t,’ he said.", 10 / 19),
    ],
)
def test_direct_speech_is_what_stands_in_quotation_marks(text: str, share: float) -> None:
    assert duality.speech_share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "dialect", "critique"),
    [
        ("craft : i note mood line of rain", REHEARSAL, True),
        ("so the verdict good .", REHEARSAL, True),
        ("so the verdict was good .", REHEARSAL, False),
        ("on audience ; seen : clue", REHEARSAL, True),
        ("The scene fails its reader.\nVerdict: no", QUESTION, True),
        ("The jury was out. There was no verdict: yes, she had waited.", QUESTION, False),
    ],
)
def test_a_diagnosis_in_the_dialect_s_form_is_known_from_prose(
    text: str, dialect: Any, critique: bool
) -> None:
    found = duality.lockin([writing(text=text)], {"en": dialect}, DIMENSIONS)
    assert found["critique"].tolist() == [critique]


def test_lock_in_is_shown_by_writer_and_what_is_empty_is_no_share_of_speech() -> None:
    made = [
        writing("base", text="“No,” he said."), writing("cot", text="", end="<rev_a>"),
        writing("cot", text="craft : the rain", end=None),
    ]  # fmt: skip
    rows = duality.lockin_rows(duality.lockin(made, {"en": REHEARSAL}, DIMENSIONS)).set_index(
        "Writer"
    )
    tuned = rows.loc["reasons first"]
    assert tuned["Texts"] == 2
    assert tuned[["Words", "In critique form", "Ended", "Empty"]].tolist() == [1.5, 0.5, 0.5, 0.5]
    assert tuned["Went over into a diagnosis"] == 0.5
    assert tuned["Direct speech"] == 0.0
    assert rows.loc["base, not tuned", "Direct speech"] == pytest.approx(5 / 14)


def test_continuations_are_sealed_into_packets_that_hold_no_writer_s_name(
    small_params: Maker, tmp_path: Path
) -> None:
    judges = ["tuned", "base", "tuned-style-only"]
    params = small_params(
        blind={"judges": judges, "n_items": 3}, study={"candidate": "tuned", "reference": "base"}
    )
    arms = ("base", writings.AGAIN, "cot", "style-only")
    made = [
        writing(arm, seed, f"text {i} {arm == 'cot'} {seed} .", pair=p.id, end="" if i else None)
        for i, p in enumerate(PAIRS) for arm in arms for seed in (1, 2)
    ]  # fmt: skip
    rows = writings.as_verdicts(made)
    assert {v.judge_id for v in rows} == set(judges)
    assert {v.repeat for v in rows} == {0, 1}
    briefs = writings.briefs(PAIRS)
    folder = blinding.seal(params, tmp_path, rows, briefs, writings.ENDINGS, Sheets())
    shown = (folder / "packets.jsonl").read_text(encoding="utf-8")
    assert not any(name in shown for name in ("tuned", "base", "style-only", "judge", "seed"))
    assert {e in shown for e in writings.ENDINGS.values()} == {True}
    for p in PAIRS:
        assert writings.beginning(p.good) in shown
        assert p.good not in shown
    key = blinding.read_key(tmp_path)
    assert sorted(d.judge_id for d in key) == sorted(judges * 3)


def test_the_table_of_effects_has_a_row_for_each_measure_and_writer() -> None:
    rows = duality.as_rows({"I": duality.contrasts(grid(), "value", n_boot=20)})
    assert rows["Writer"].tolist() == ["reasons first", "style alone (control)"]
    assert all(math.isfinite(x) for cell in rows["Difference"] for x in cell)
