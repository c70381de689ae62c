from __future__ import annotations

import numpy as np
import pytest

from cqa_helpers import overlap
from cqa_helpers.records import Passage


def passage(name: str, text: str) -> Passage:
    return Passage(
        id=name, work_id=name, text=text, origin="simulated", licence="none", source="test"
    )


def words(seed: int, n: int = 200) -> list[str]:
    return [f"w{k}" for k in np.random.default_rng(seed).integers(0, 5000, n)]


def test_a_lightly_edited_english_text_is_a_twin_and_another_text_is_not() -> None:
    first = words(1)
    edited = [*first[:100], "new", *first[101:]]
    found = overlap.near_duplicates(
        [passage("a", " ".join(first)), passage("b", " ".join(edited)),
         passage("c", " ".join(words(2)))]
    )  # fmt: skip
    assert [(t.first, t.second) for t in found] == [("a", "b")]
    kept, changed = 198 - 3, 3
    assert found[0].similarity == pytest.approx(kept / (kept + 2 * changed), abs=0.001)


def test_chinese_is_compared_by_characters_and_punctuation_does_not_hide_a_copy() -> None:
    text = "雨停的时候，老周还坐在值班室里，面前摆着那本翻烂了的登记簿，第七页被人撕去了一角。"
    found = overlap.near_duplicates(
        [passage("a", text), passage("b", text.replace("，", ",").replace("。", ".")),
         passage("c", "厂区的灯一盏接一盏地灭了，谁也没有问夜班的名单为什么多出一个名字。")]
    )  # fmt: skip
    assert found == [overlap.Twins("a", "b", 1.0)]


def test_every_pair_above_the_threshold_is_found_as_brute_force_finds_it() -> None:
    base = words(3)
    rng = np.random.default_rng(4)
    texts = []
    for k in range(40):
        changed = list(base)
        for place in rng.choice(200, size=rng.integers(0, 35), replace=False):
            changed[place] = f"x{k}-{place}"
        texts.append(passage(f"p{k:02}", " ".join(changed)))
    sets = {p.id: overlap.shingles(p.text or "") for p in texts}
    wanted = {
        (a, b) for a in sets for b in sets
        if a < b and overlap.jaccard(sets[a], sets[b]) >= overlap.THRESHOLD
    }  # fmt: skip
    found = {(t.first, t.second) for t in overlap.near_duplicates(texts)}
    assert len(wanted) > 20
    assert found <= wanted
    assert len(found) >= 0.99 * len(wanted)


def test_links_and_empty_texts_are_nobodys_twins() -> None:
    link = Passage(id="l", work_id="l", text=None, url="u", origin="published", licence="x",
                   source="s")  # fmt: skip
    assert overlap.near_duplicates([link, passage("a", "……"), passage("b", "!!")]) == []
