from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import contrastpairs, sources
from cqa_helpers.contrastpairs import Found
from cqa_helpers.sources import SourceError

real = pytest.mark.skipif(
    not os.environ.get(sources.MIRROR_VARIABLE),
    reason=f"needs the public files: set {sources.MIRROR_VARIABLE}",
)
FACTOR, CREAK = "factor-expert", "creak-contrast-set"


# Made up here, in the columns of the public files.
def answer(number: int, **cells: str) -> dict[str, str]:
    row = {
        "full_prefix": f"Question: What is river {number} like?\nAsnwer:It is long . It is old  . ",
        "doc_id": str(number),
        "completion": f"River {number} runs to the north sea and is {number} miles wide .",
        "contradiction_0": f"River {number} runs to the south sea and is {number} miles wide.",
        "contradiction_1": f"River {number} runs to the north sea and is never wide at all.",
        "contradiction_2": f"River {number} runs from the north sea and is {number} miles wide.",
    }
    return row | cells


def claim(pair: int, label: str, sentence: str, entity: str | None = None) -> dict[str, Any]:
    return {
        "ex_id": f"c_{pair}_{label}", "sentence": sentence, "explanation": "n/a", "label": label,
        "entity": f"Harbour {pair}" if entity is None else entity, "pair_id": f"p_{pair}",
    }  # fmt: skip


def claims(pair: int) -> list[dict[str, Any]]:
    return [
        claim(pair, "false", f"Harbour {pair} has been dry since the flood."),
        claim(pair, "true", f"Harbour {pair} has been full since the flood ."),
    ]


class Folder:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.factor([answer(k) for k in range(1, 9)])
        self.creak([row for k in range(1, 9) for row in claims(k)])

    def factor(self, rows: list[dict[str, str]]) -> None:
        with (self.path / FACTOR).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def creak(self, rows: list[Any]) -> None:
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (self.path / CREAK).write_text("\n".join(lines) + "\n", encoding="utf-8")

    def read(self, name: str, n: int, seed: int = 1, falsehoods: int = 1) -> Found:
        return contrastpairs.read([name], n, seed, falsehoods, self.path.__truediv__)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_an_answer_and_its_question_become_a_pair_and_its_intent(folder: Folder) -> None:
    folder.factor([answer(3)])
    found = folder.read(FACTOR, 1, falsehoods=3)
    assert [p.id for p in sorted(found.pairs, key=lambda p: p.id)] == [
        "factor-expert-0000-0", "factor-expert-0000-1", "factor-expert-0000-2",
    ]  # fmt: skip
    pair = next(p for p in found.pairs if p.id.endswith("-0"))
    assert pair.good == (
        "It is long. It is old. River 3 runs to the north sea and is 3 miles wide."
    )
    assert pair.degraded == (
        "It is long. It is old. River 3 runs to the south sea and is 3 miles wide."
    )
    assert pair.constraints.intent == "To answer the question: What is river 3 like?"
    assert (pair.group, pair.dimension, pair.origin) == (
        "factual", "reality_logic", "model-authored",
    )  # fmt: skip
    assert pair.meta == {
        "language": "en", "source": FACTOR, "licence": "MIT", "item": "0000",
        "document": "factor-expert-3",
    }  # fmt: skip


def test_two_claims_become_a_pair_about_what_both_name(folder: Folder) -> None:
    folder.creak(claims(5))
    pair = folder.read(CREAK, 1).pairs[0]
    assert pair.id == "creak-contrast-set-p_5-0"
    assert pair.good == "Harbour 5 has been full since the flood."
    assert pair.degraded == "Harbour 5 has been dry since the flood."
    assert pair.constraints.intent == "To make one claim about this: Harbour 5."
    assert pair.origin == "published"
    assert pair.meta["document"] == "creak-contrast-set-harbour 5"


def test_nothing_but_the_claim_tells_true_from_false(folder: Folder) -> None:
    for name in (FACTOR, CREAK):
        for pair in folder.read(name, 8).pairs:
            assert not re.search(r"\s[.,;:!?](\s|$)|\s\s|^\s|\s$", pair.good + pair.degraded)
            changed = set(pair.good.split()) ^ set(pair.degraded.split())
            said = pair.constraints.joint().split()
            assert changed
            assert not changed & set(said)


def test_a_draw_repeats_and_a_smaller_one_begins_a_larger(folder: Folder) -> None:
    both = contrastpairs.read([CREAK, FACTOR], 5, 7, 1, folder.path.__truediv__).pairs
    assert both == [*folder.read(CREAK, 5, 7).pairs, *folder.read(FACTOR, 5, 7).pairs]
    for name in (FACTOR, CREAK):
        eight = folder.read(name, 8, 7).pairs
        assert folder.read(name, 3, 7).pairs == eight[:3]
        others = [[p.id for p in folder.read(name, 8, seed).pairs] for seed in range(4)]
        assert len(set(map(tuple, others))) > 1


def test_no_document_comes_twice_before_each_has_come_once(folder: Folder) -> None:
    folder.factor([answer(k, doc_id=str(min(k, 4))) for k in range(1, 9)])
    for seed in range(5):
        drawn = [p.meta["document"] for p in folder.read(FACTOR, 8, seed).pairs]
        assert len(set(drawn[:4])) == 4


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"contradiction_0": "River 1 runs to the north sea and is 1 miles wide."},
            "the two texts are equal",
        ),
        (
            {"contradiction_0": "River 1 runs to the North Sea, and is 1 miles wide."},
            "the texts differ in capitals, blanks or punctuation alone",
        ),
        (
            {"contradiction_0": "River 1 runs from the north sea and is 1 miles wide ."},
            "the same false text twice",
        ),
        (
            {"contradiction_0": "River 1 runs to the south sea and is 1 miles wide"},
            "the texts end in different marks",
        ),
        ({"contradiction_0": "Nobody went there but a heron."}, "written anew, not edited"),
    ],
)
def test_what_makes_no_pair_is_counted_with_its_reason(
    folder: Folder, change: dict[str, str], reason: str
) -> None:
    folder.factor([answer(1, **change), answer(2)])
    found = folder.read(FACTOR, 1)
    assert found.dropped[FACTOR] == {reason: 1}
    # Its other two false texts are left.
    assert found.usable[FACTOR] == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"contradiction_0": ""}, "broken row"),
        ({"full_prefix": "The river is long."}, "no question that the text answers"),
    ],
)
def test_a_row_that_cannot_be_read_is_counted_once(
    folder: Folder, change: dict[str, str], reason: str
) -> None:
    folder.factor([answer(1, **change), answer(2)])
    found = folder.read(FACTOR, 1)
    assert found.dropped[FACTOR] == {reason: 1}
    assert found.usable[FACTOR] == 1


def test_the_same_item_twice_is_counted_and_used_once(folder: Folder) -> None:
    folder.factor([answer(1), answer(1), answer(2)])
    found = folder.read(FACTOR, 2)
    assert found.usable[FACTOR] == 2
    assert found.dropped[FACTOR] == {"the same true text as another item's": 1}


def test_claims_that_are_no_contrast_are_counted(folder: Folder) -> None:
    folder.creak([
        *claims(1),
        '{"sentence": ',
        claim(2, "true", "Harbour 2 is open."),
        claim(3, "true", "Sharks breathe under water all day.", "Sharks"),
        claim(3, "false", "Whales breathe under water all day.", "Whales"),
        claim(4, "true", ""),
    ])  # fmt: skip
    found = folder.read(CREAK, 1)
    assert found.usable[CREAK] == 1
    assert found.dropped[CREAK] == {
        "broken row": 2, "no entity that both claims name": 1,
        "not one true claim and one false": 1,
    }  # fmt: skip


def test_changed_columns_are_named(folder: Folder) -> None:
    folder.factor([{k: v for k, v in answer(1).items() if k != "completion"}])
    with pytest.raises(SourceError, match=r"factor-expert, the head: no completion; found full_"):
        folder.read(FACTOR, 1)
    folder.creak([*claims(1), {k: v for k, v in claims(2)[0].items() if k != "pair_id"}])
    with pytest.raises(SourceError, match=r"creak-contrast-set, line 3: no pair_id; found ex_id"):
        folder.read(CREAK, 1)


def test_more_items_than_there_are_is_refused_with_their_number(folder: Folder) -> None:
    with pytest.raises(SourceError, match=r"8 usable items and 9 were asked for.*at most 8"):
        folder.read(CREAK, 9)
    with pytest.raises(ValueError, match="at least 1"):
        folder.read(CREAK, 0)


def test_a_source_without_pairs_or_unknown_is_refused(folder: Folder) -> None:
    with pytest.raises(SourceError, match="'ttcw-stories' holds no pairs"):
        folder.read("ttcw-stories", 1)
    with pytest.raises(SourceError, match="No public file 'factor-news'"):
        folder.read("factor-news", 1)


def test_an_altered_file_is_refused(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    source = sources.load().get(CREAK)
    altered = folder.path / "mirror" / source.place
    altered.parent.mkdir(parents=True)
    altered.write_text("{}", encoding="utf-8")
    monkeypatch.setenv(sources.MIRROR_VARIABLE, str(folder.path / "mirror"))
    with pytest.raises(SourceError, match="expected sha256"):
        contrastpairs.read([CREAK], 1, 1)


@real
def test_the_public_files_hold_what_is_said_of_them() -> None:
    found = contrastpairs.read([FACTOR, CREAK], 174, 1, falsehoods=3)
    assert found.usable == {FACTOR: 235, CREAK: 196}
    assert sum(found.dropped[FACTOR].values()) == 8
    assert found.dropped[CREAK]["not one true claim and one false"] == 3
    answers = [p for p in found.pairs if p.meta["source"] == FACTOR]
    assert len({p.meta["document"] for p in answers}) == 174
    # Set alike, neither length nor stops tell the true text from the false one.
    longer = sum(len(p.good) > len(p.degraded) for p in answers)
    shorter = sum(len(p.good) < len(p.degraded) for p in answers)
    assert 0.35 < longer / (longer + shorter) < 0.65
    assert all(p.good[-1] == p.degraded[-1] for p in answers)
