from __future__ import annotations

from collections.abc import Sequence

import pytest

from cqa_helpers import conditions, prompts
from cqa_helpers.conditions import ConditionError
from cqa_helpers.records import Constraints, Pair

QUESTION = {"en": prompts.load_dialect("question"), "zh": prompts.load_dialect("question-zh")}


class Words:
    """A tokenizer that counts words, and Chinese signs."""

    def __call__(self, text: str) -> dict[str, list[int]]:
        pieces = text.split() if text.isascii() else list(text)
        return {"input_ids": [0] * len(pieces)}


def pair(
    name: str,
    intent: str = "To show a debt.",
    audience: str = "The reader knows of it.",
    reality: str = "A bailiff keeps a list.",
    language: str = "en",
    group: str = "literary",
    degraded: str = "worse",
) -> Pair:
    return Pair(
        id=name, good="better", degraded=degraded, dimension="craft",
        constraints=Constraints(intent=intent, audience=audience, reality=reality),
        group=group, origin="model-authored", meta={"language": language},  # type: ignore[arg-type]
    )  # fmt: skip


PAIRS = [
    pair("a"),
    pair("b", intent="To show a debt.", audience="The reader does not.", reality="No list."),
    pair("c", intent="To part.", audience="The reader waits.", reality="It rains."),
    pair("f", group="factual"),
    pair("z", "写一笔债。", "读者知道。", "有清单。", language="zh"),
]


def made(pairs: Sequence[Pair] = PAIRS, seed: int = 1) -> dict[str, dict[str, str]]:
    return conditions.prefixes(pairs, QUESTION, Words(), seed)


def test_every_condition_stands_in_the_pairs_own_language() -> None:
    found = made()
    assert set(found["a"]) == set(conditions.CONDITIONS)
    assert found["a"]["neutral"] == QUESTION["en"].neutral
    assert found["a"]["joint"] == prompts.prefix(QUESTION["en"], PAIRS[0].constraints)
    assert "To show a debt." in found["a"]["intent"]
    assert "bailiff" not in found["a"]["intent"]
    assert "写一笔债。" in found["z"]["intent"]
    assert found["z"]["intent"].startswith("下面是一段小说")


def test_irrelevant_constraints_are_those_of_the_farthest_pair_of_the_same_kind() -> None:
    found = made()
    # Pair b shares its intent; c shares nothing.
    assert found["a"]["irrelevant"] == found["c"]["joint"]
    # No other Chinese pair, and no other factual one.
    assert "irrelevant" not in found["z"]
    assert "irrelevant" not in found["f"]


def test_shuffled_constraints_have_the_same_words_and_are_not_the_same() -> None:
    found = made()
    for name in ("a", "z"):
        mixed, own = found[name]["shuffled"], found[name]["joint"]
        assert mixed != own
        assert sorted(mixed.split() if name == "a" else mixed) == sorted(
            own.split() if name == "a" else own
        )


def test_filler_is_as_long_as_the_constraints_to_within_one_filling() -> None:
    found = made()
    for name, dialect in (("a", QUESTION["en"]), ("z", QUESTION["zh"])):
        lengths = {k: len(Words()(text)["input_ids"]) for k, text in found[name].items()}
        one = len(Words()(dialect.filler)["input_ids"])
        assert abs(lengths["length-matched"] - lengths["joint"]) <= one
        assert "debt" not in found[name]["length-matched"]


def test_the_same_seed_gives_the_same_prefixes() -> None:
    assert made(seed=3) == made(seed=3)
    assert made(seed=3) != made(seed=4)


def test_a_pair_is_silent_where_its_constraints_are() -> None:
    found = made([pair("a", audience="", reality=""), pair("b", intent="Else.")])
    assert "audience" not in found["a"]
    assert "intent" in found["a"]


def test_pairs_that_cannot_be_read_are_named_all_at_once() -> None:
    bad = [pair("a", "", "", ""), pair("b"), pair("c", degraded="better ")]
    with pytest.raises(ConditionError, match=r"2 pair.*no constraint: a; good equals degraded: c"):
        made(bad)
