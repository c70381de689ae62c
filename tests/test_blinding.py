from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cqa_helpers import blinding
from cqa_helpers.blinding import BlindError, Diagnosis, Packet, Sheets
from cqa_helpers.packets import sheets_of
from cqa_helpers.params import Params
from cqa_helpers.records import Passage, Verdict, read_jsonl, write_jsonl

Maker = Callable[..., Params]
WORDS = {0: "bad", 1: "good"}
DIMENSIONS = ("craft", "audience", "reality_logic")
PASSAGES = [
    Passage(
        id=f"p{i:02}", work_id=f"w{i}", text=f"text {i}", origin="simulated", licence="none",
        source="test",
    )
    for i in range(20)
]  # fmt: skip


def verdicts(judges: tuple[str, ...] = ("tuned", "base", "reference")) -> list[Verdict]:
    made = []
    for k, judge in enumerate(judges):
        # Each judge speaks of the dimensions in an order of its own.
        for dimension in DIMENSIONS[k:] + DIMENSIONS[:k]:
            for i, passage in enumerate(PASSAGES):
                for repeat in (0, 1):
                    lost = (i + k) % 7 == 0
                    made.append(
                        Verdict(
                            item_id=passage.id, dimension=dimension, judge_id=judge,
                            repeat=repeat, value=None if lost else (i + k) % 2,
                            status="unparsed" if lost else "ok",
                            reason=f"words number {i * 3 + k} on {dimension}, draw {repeat}",
                        )
                    )  # fmt: skip
    return made


@pytest.fixture
def params(small_params: Maker) -> Params:
    return small_params(blind={"n_items": 12})


def seal(params: Params, run: Path, **changes: Any) -> Path:
    known: dict[str, Any] = {
        "verdicts": verdicts(), "passages": PASSAGES, "words": WORDS, "sheets": Sheets(),
    }  # fmt: skip
    return blinding.seal(params, run, **known | changes)


def packets(folder: Path) -> list[Packet]:
    return read_jsonl(folder / "packets.jsonl", Packet)


def key(folder: Path) -> list[Diagnosis]:
    return read_jsonl(folder / "sealed.key.json", Diagnosis)


def rated(folder: Path, name: str = "ratings.jsonl", value: int = 3) -> Path:
    path = folder / name
    codes = [s.code for p in packets(folder) for s in p.diagnoses]
    write_jsonl(
        path,
        [Verdict(item_id=c, dimension="d", judge_id="r1", value=value, scale="1-5") for c in codes],
    )
    return path


def test_a_sheet_is_a_passage_with_every_judges_diagnosis(params: Params, tmp_path: Path) -> None:
    folder = seal(params, tmp_path)
    sheets = packets(folder)
    assert [p.position for p in sheets] == list(range(1, 13))
    assert all([s.label for s in p.diagnoses] == ["A", "B", "C"] for p in sheets)
    codes = [s.code for p in sheets for s in p.diagnoses]
    assert len(set(codes) | {p.sheet for p in sheets}) == 36 + 12
    assert sorted(codes) == [d.code for d in key(folder)]
    assert sorted((d.judge_id, d.passage_id) for d in key(folder)) == sorted(
        (j, i) for j in ("tuned", "base", "reference") for i in {d.passage_id for d in key(folder)}
    )
    assert {d.rater_id for d in key(folder)} == {blinding.EVERYONE}


def test_a_packet_tells_nothing_of_its_judge(params: Params, tmp_path: Path) -> None:
    folder = seal(params, tmp_path)
    text = (folder / "packets.jsonl").read_text(encoding="utf-8")
    assert not any(name in text for name in ("tuned", "base", "reference", "judge"))
    # The passage's own id may name who wrote it: raters get none.
    assert not any(f'"{p.id}"' in text for p in PASSAGES)
    # The same dimensions in the same order for all.
    assert {tuple(s.diagnosis) for p in packets(folder) for s in p.diagnoses} == {
        tuple(sorted(DIMENSIONS))
    }


def test_labels_are_dealt_evenly_and_neither_order_nor_code_follows_the_judge(
    params: Params, tmp_path: Path
) -> None:
    folder = seal(params, tmp_path)
    under = Counter((d.judge_id, d.label) for d in key(folder))
    assert set(under.values()) == {4}
    by_code = [d.judge_id for d in key(folder)]
    assert by_code != sorted(by_code)
    # Sorted, there would be 3 runs; dealt in turn, 36; at random about 25.
    assert 15 < 1 + sum(a != b for a, b in itertools.pairwise(by_code)) < 34


def test_the_diagnosis_is_the_first_draws_words_with_the_verdict(
    params: Params, tmp_path: Path
) -> None:
    folder = seal(params, tmp_path)
    said = {(v.judge_id, v.item_id, v.dimension): v for v in verdicts() if v.repeat == 0}
    whose = {d.code: d for d in key(folder)}
    for packet in packets(folder):
        for shown in packet.diagnoses:
            who = whose[shown.code]
            assert packet.passage == f"text {int(who.passage_id[1:])}"
            assert (who.sheet, who.label, who.position) == (
                packet.sheet, shown.label, packet.position,
            )  # fmt: skip
            for dimension, text in shown.diagnosis.items():
                verdict = said[who.judge_id, who.passage_id, dimension]
                word = "no verdict" if verdict.value is None else WORDS[verdict.value]
                assert text == f"{verdict.reason} [{word}]"
                assert who.values[dimension] == verdict.value


def test_seeds_are_spread_over_passages_if_asked_for(params: Params, tmp_path: Path) -> None:
    folder = seal(params, tmp_path, sheets=Sheets(seeds="spread"))
    for judge in ("tuned", "base", "reference"):
        assert Counter(d.repeat for d in key(folder) if d.judge_id == judge) == {0: 6, 1: 6}
    whose = {d.code: d for d in key(folder)}
    for shown in (s for p in packets(folder) for s in p.diagnoses):
        assert all(f"draw {whose[shown.code].repeat}" in t for t in shown.diagnosis.values())


RATERS = ("ann", "bo", "cy")
DEALT = Sheets(RATERS, repeats=0.25, attention=2, excluded={("ann", "p03")})


def test_the_key_says_which_sheets_are_repeats_and_which_diagnoses_are_wrong(
    small_params: Maker, tmp_path: Path
) -> None:
    # Two raters a passage: one cannot see p03.
    params = small_params(blind={"n_items": 12})
    folder = seal(params, tmp_path, sheets=DEALT._replace(raters_a_passage=2))
    rows = {d.code: d for d in key(folder)}
    assert not any(d.rater_id == "ann" and d.passage_id == "p03" for d in rows.values())
    again = [d for d in rows.values() if d.kind == "repeat"]
    assert len(again) == 3 * 2 * 3
    texts = {s.code: s.diagnosis for p in packets(folder) for s in p.diagnoses}
    for d in again:
        first = rows[d.of or ""]
        assert (first.judge_id, first.passage_id, first.rater_id, first.kind) == (
            d.judge_id, d.passage_id, d.rater_id, "item",
        )  # fmt: skip
        assert texts[d.code] == texts[first.code]
        assert first.label != d.label
        assert d.position - first.position >= 4
    sheets = [d for d in rows.values() if d.kind == "attention"]
    wrong = [d for d in sheets if d.donor]
    assert (len(sheets), len(wrong)) == (3 * 2 * 3, 3 * 2)
    said = {(v.judge_id, v.item_id, v.dimension): v.reason for v in verdicts() if v.repeat == 0}
    for d in wrong:
        assert d.donor != d.passage_id
        assert said[d.judge_id, d.donor or "", "craft"] in texts[d.code]["craft"]
    # Nothing in a packet says what kind of sheet it is.
    text = (folder / "packets.jsonl").read_text(encoding="utf-8")
    assert not any(word in text for word in ("repeat", "attention", "donor", "kind"))


# Names that no passage, diagnosis or field of a packet holds by itself.
NAMES = st.lists(
    st.from_regex(r"[qxzQXZ][a-z0-9_.-]{3,10}[qxz7]", fullmatch=True),
    min_size=2, max_size=4, unique_by=str.lower,
)  # fmt: skip


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(NAMES)
def test_no_name_of_a_judge_is_anywhere_in_the_packets(
    small_params: Maker, tmp_path: Path, names: list[str]
) -> None:
    params = small_params(
        blind={"n_items": 4, "judges": names, "control": None},
        study={"candidate": names[0], "reference": names[1]},
    )
    odd = {n for n in names if not n.isalpha() or not n.islower()}
    rows = [
        v.model_copy(update={"reason": f"I, {v.judge_id}, say: {v.reason}"})
        if v.judge_id in odd else v
        for v in verdicts(tuple(names))
    ]  # fmt: skip
    sheets = Sheets(("r1", "r2"), repeats=0.5, attention=1)
    folder = seal(params, tmp_path, verdicts=rows, sheets=sheets)
    for file in ("packets.jsonl", "seal.json"):
        text = (folder / file).read_text(encoding="utf-8").lower()
        assert not any(name.lower() in text for name in names)
    assert all(bool(d.struck) == (d.judge_id in odd) for d in key(folder))
    assert json.loads((folder / "seal.json").read_text())["struck"] == sum(
        len(d.struck) for d in key(folder) if d.kind == "item"
    )


def test_shuffled_labels_give_no_information(params: Params, tmp_path: Path) -> None:
    folder = seal(params, tmp_path, sheets=Sheets(RATERS, repeats=0.25))
    true = key(folder)
    hits = []
    for seed in range(60):
        mixed = blinding.shuffled_key(true, seed)
        assert [d.code for d in mixed] == [d.code for d in true]
        assert not any(d.values or d.struck or d.salt for d in mixed)
        on_sheet = Counter((d.sheet, d.judge_id) for d in mixed)
        assert on_sheet == Counter((d.sheet, d.judge_id) for d in true)
        hits += [a.judge_id == b.judge_id for a, b in zip(mixed, true, strict=True)]
    # A third is right by chance; 8,100 labels stray by about half a percent.
    assert abs(sum(hits) / len(hits) - 1 / 3) < 0.03
    assert blinding.shuffled_key(true, 1) == blinding.shuffled_key(true[::-1], 1)


def test_a_shuffle_is_the_same_whatever_the_truth(params: Params, tmp_path: Path) -> None:
    true = key(seal(params, tmp_path))
    turned = {"tuned": "base", "base": "reference", "reference": "tuned"}
    other = [d.model_copy(update={"judge_id": turned[d.judge_id]}) for d in true]
    assert [d.judge_id for d in blinding.shuffled_key(true, 5)] == [
        d.judge_id for d in blinding.shuffled_key(other, 5)
    ]


def test_the_commitment_needs_the_salt_and_minds_no_order(params: Params, tmp_path: Path) -> None:
    rows = key(seal(params, tmp_path))
    assert blinding.commitment(rows) == blinding.commitment(rows[::-1])
    resalted = [d.model_copy(update={"salt": "00"}) for d in rows]
    one = [*rows[1:], rows[0].model_copy(update={"salt": "00"})]
    assert len({blinding.commitment(r) for r in (rows, resalted, one)}) == 3
    assert len({d.salt for d in rows}) == 1
    assert len(rows[0].salt) == 32


def test_a_form_gets_a_raters_own_sheets_in_order(params: Params, tmp_path: Path) -> None:
    shown = packets(seal(params, tmp_path, sheets=Sheets(RATERS)))
    sheets = sheets_of(shown, "bo", {"craft": "Craft"})
    assert [s.id for s in sheets] == [p.sheet for p in shown if p.rater_id == "bo"]
    assert sheets[0].diagnoses[0][1].split("\n\n")[1].startswith("Craft: words number")


def test_the_key_opens_on_what_was_sealed_and_the_same_opening_may_be_replayed(
    params: Params, tmp_path: Path
) -> None:
    folder = seal(params, tmp_path)
    ratings = rated(folder)
    first = blinding.open_key(params, tmp_path, ratings)
    assert first == key(folder)
    assert blinding.open_key(params, tmp_path, ratings) == first


def test_a_second_opening_with_other_ratings_is_refused(params: Params, tmp_path: Path) -> None:
    folder = seal(params, tmp_path)
    blinding.open_key(params, tmp_path, rated(folder))
    with pytest.raises(BlindError, match="opened before, with other ratings"):
        blinding.open_key(params, tmp_path, rated(folder, "other.jsonl", value=4))
    assert blinding.open_key(params, tmp_path, folder / "ratings.jsonl")


@pytest.mark.parametrize(
    ("section", "changes"),
    [
        ("study", {"margin": 0.2}),
        ("study", {"reference": "base"}),
        ("study", {"level": 0.9}),
        ("blind", {"n_items": 11}),
    ],
)
def test_a_changed_plan_is_refused(
    small_params: Maker, tmp_path: Path, section: str, changes: dict[str, Any]
) -> None:
    sealed = small_params(blind={"n_items": 12})
    folder = seal(sealed, tmp_path)
    blind = {"n_items": 12} | (changes if section == "blind" else {})
    changed = small_params(blind=blind, study=changes if section == "study" else {})
    with pytest.raises(BlindError, match="plan changed since the seal"):
        blinding.open_key(changed, tmp_path, rated(folder))
    assert not (folder / "opened.json").exists()


@pytest.mark.parametrize(
    ("file", "what"), [("packets.jsonl", "packets"), ("sealed.key.json", "key")]
)
@pytest.mark.parametrize("harm", ["changed", "gone"])
def test_changed_packets_or_a_changed_key_are_refused(
    params: Params, tmp_path: Path, file: str, what: str, harm: str
) -> None:
    folder = seal(params, tmp_path)
    ratings = rated(folder)
    path = folder / file
    if harm == "gone":
        path.unlink()
    elif file == "packets.jsonl":
        path.write_text("\n".join(path.read_text().splitlines()[::-1]) + "\n")
    else:
        rows = key(folder)
        one, two = rows[0], next(d for d in rows if d.judge_id != rows[0].judge_id)
        changed = {
            one.code: one.model_copy(update={"judge_id": two.judge_id}),
            two.code: two.model_copy(update={"judge_id": one.judge_id}),
        }
        write_jsonl(path, [changed.get(d.code, d) for d in rows])
    with pytest.raises(BlindError, match=f"{what} changed since the seal"):
        blinding.open_key(params, tmp_path, ratings)


def test_without_a_seal_nothing_opens(params: Params, tmp_path: Path) -> None:
    with pytest.raises(BlindError, match=r"No seal in .*run notebook 04-judge first"):
        blinding.open_key(params, tmp_path, tmp_path / "r.jsonl")


def test_what_the_seal_holds_names_no_judge(params: Params, tmp_path: Path) -> None:
    sealed = json.loads((seal(params, tmp_path) / "seal.json").read_text())
    assert set(sealed) == {
        "plan", "packets", "key", "n_packets", "n_diagnoses", "n_raters", "imbalance", "struck",
        "standing",
    }  # fmt: skip
    assert not any(j in json.dumps(sealed) for j in ("tuned", "base", "reference"))


def funded(maker: Maker, **changes: Any) -> Params:
    corpus = {"source": "golden", "people": None, "folder": "data/golden"}
    return maker(status="funded-study", corpus=corpus, blind={"n_items": 12}, **changes)


def test_a_funded_key_does_not_follow_from_the_params(small_params: Maker, tmp_path: Path) -> None:
    one, two = (seal(funded(small_params), tmp_path / name) for name in ("one", "two"))
    assert {d.code for d in key(one)}.isdisjoint({d.code for d in key(two)})
    assert key(one)[0].salt != key(two)[0].salt


def test_a_rehearsed_key_is_repeatable(params: Params, tmp_path: Path) -> None:
    one, two = (seal(params, tmp_path / name) for name in ("one", "two"))
    assert (one / "seal.json").read_bytes() == (two / "seal.json").read_bytes()


def test_a_funded_seal_is_never_drawn_anew(small_params: Maker, tmp_path: Path) -> None:
    params = funded(small_params)
    folder = seal(params, tmp_path)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert seal(params, tmp_path) == folder
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    with pytest.raises(BlindError, match="is sealed, and plan changed since"):
        seal(funded(small_params, study={"margin": 0.2}), tmp_path)


def test_a_funded_key_does_not_open_before_the_unblinding(
    small_params: Maker, tmp_path: Path
) -> None:
    params = funded(small_params)
    folder = seal(params, tmp_path)
    with pytest.raises(BlindError, match="is not unblinded"):
        blinding.open_key(params, tmp_path, rated(folder))
    assert not (folder / "opened.json").exists()


def test_a_rehearsal_may_be_sealed_again_and_is_then_unopened(
    params: Params, small_params: Maker, tmp_path: Path
) -> None:
    folder = seal(params, tmp_path)
    blinding.open_key(params, tmp_path, rated(folder))
    other = small_params(blind={"n_items": 11})
    seal(other, tmp_path)
    assert len(blinding.open_key(other, tmp_path, rated(folder))) == 33


def test_an_absent_judge_and_too_few_passages_are_named(params: Params, tmp_path: Path) -> None:
    with pytest.raises(BlindError, match="without a diagnosis: reference"):
        seal(params, tmp_path, verdicts=verdicts(("tuned", "base")))
    with pytest.raises(BlindError, match=r"5 passages have a diagnosis of every judge; .* 12"):
        seal(params, tmp_path, passages=PASSAGES[:5])
    assert not (tmp_path / "blind").exists()
