from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import blinding
from cqa_helpers.blinding import BlindError, Diagnosis, Packet
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
    known: dict[str, Any] = {"verdicts": verdicts(), "passages": PASSAGES, "words": WORDS}
    return blinding.seal(params, run, **known | changes)


def packets(folder: Path) -> list[Packet]:
    return read_jsonl(folder / "packets.jsonl", Packet)


def key(folder: Path) -> list[Diagnosis]:
    return read_jsonl(folder / "sealed.key.json", Diagnosis)


def rated(folder: Path, name: str = "ratings.jsonl", value: int = 3) -> Path:
    path = folder / name
    write_jsonl(
        path,
        [
            Verdict(item_id=p.code, dimension="d", judge_id="r1", value=value, scale="1-5")
            for p in packets(folder)
        ],
    )
    return path


def test_every_judges_diagnosis_of_a_passage_is_one_packet(params: Params, tmp_path: Path) -> None:
    folder = seal(params, tmp_path)
    assert len(packets(folder)) == 12 * 3
    assert [p.code for p in packets(folder)] == [d.code for d in key(folder)]
    assert len({p.code for p in packets(folder)}) == 36
    assert sorted((d.judge_id, d.passage_id) for d in key(folder)) == sorted(
        (j, i) for j in ("tuned", "base", "reference") for i in {d.passage_id for d in key(folder)}
    )


def test_a_packet_tells_nothing_of_its_judge(params: Params, tmp_path: Path) -> None:
    folder = seal(params, tmp_path)
    text = (folder / "packets.jsonl").read_text(encoding="utf-8")
    assert not any(name in text for name in ("tuned", "base", "reference", "judge"))
    # The same dimensions in the same order for all.
    assert {tuple(p.diagnosis) for p in packets(folder)} == {tuple(sorted(DIMENSIONS))}
    assert set(Packet.model_fields) == {"code", "passage_id", "passage", "diagnosis"}


def test_the_order_of_packets_follows_neither_judge_nor_code(
    params: Params, tmp_path: Path
) -> None:
    folder = seal(params, tmp_path)
    order = [d.judge_id for d in key(folder)]
    runs = 1 + sum(a != b for a, b in itertools.pairwise(order))
    # Sorted, there would be 3 runs; dealt in turn, 36; at random about 25.
    assert 15 < runs < 34
    first_half = order[:18]
    assert all(2 <= first_half.count(j) <= 10 for j in set(order))
    codes = [d.code for d in key(folder)]
    assert codes != sorted(codes)
    in_code_order = [d.judge_id for d in sorted(key(folder), key=lambda d: d.code)]
    assert in_code_order != sorted(order)


def test_the_diagnosis_is_the_first_draws_words_with_the_verdict(
    params: Params, tmp_path: Path
) -> None:
    folder = seal(params, tmp_path)
    said = {(v.judge_id, v.item_id, v.dimension): v for v in verdicts() if v.repeat == 0}
    for packet, who in zip(packets(folder), key(folder), strict=True):
        assert packet.passage == f"text {int(packet.passage_id[1:])}"
        for dimension, text in packet.diagnosis.items():
            verdict = said[who.judge_id, who.passage_id, dimension]
            word = "no verdict" if verdict.value is None else WORDS[verdict.value]
            assert text == f"{verdict.reason} [{word}]"
            assert who.values[dimension] == verdict.value


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
    else:
        lines = path.read_text().splitlines()
        path.write_text("\n".join(lines[::-1]) + "\n")
    with pytest.raises(BlindError, match=f"{what} changed since the seal"):
        blinding.open_key(params, tmp_path, ratings)


def test_without_a_seal_nothing_opens(params: Params, tmp_path: Path) -> None:
    with pytest.raises(BlindError, match=r"No seal in .*run notebook 04-judge first"):
        blinding.open_key(params, tmp_path, tmp_path / "r.jsonl")


def test_what_the_seal_holds_names_no_judge(params: Params, tmp_path: Path) -> None:
    sealed = json.loads((seal(params, tmp_path) / "seal.json").read_text())
    assert set(sealed) == {"plan", "packets", "key", "n_packets"}


def funded(maker: Maker, **changes: Any) -> Params:
    corpus = {"source": "golden", "people": None, "folder": "data/golden"}
    return maker(status="funded-study", corpus=corpus, blind={"n_items": 12}, **changes)


def test_a_funded_key_does_not_follow_from_the_params(small_params: Maker, tmp_path: Path) -> None:
    one, two = (seal(funded(small_params), tmp_path / name) for name in ("one", "two"))
    assert {d.code for d in key(one)}.isdisjoint({d.code for d in key(two)})


def test_a_rehearsed_key_is_repeatable(params: Params, tmp_path: Path) -> None:
    one, two = (seal(params, tmp_path / name) for name in ("one", "two"))
    assert (one / "seal.json").read_bytes() == (two / "seal.json").read_bytes()


def test_a_funded_seal_is_never_drawn_anew(small_params: Maker, tmp_path: Path) -> None:
    params = funded(small_params)
    folder = seal(params, tmp_path)
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    assert seal(params, tmp_path) == folder
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    opened = blinding.open_key(params, tmp_path, rated(folder))
    seal(params, tmp_path)
    assert blinding.open_key(params, tmp_path, folder / "ratings.jsonl") == opened
    with pytest.raises(BlindError, match="is sealed, and plan changed since"):
        seal(funded(small_params, study={"margin": 0.2}), tmp_path)


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
