from __future__ import annotations

import numpy as np
import pytest
import torch

from cqa_helpers import choices, models, prefixes
from cqa_helpers.choices import Spot
from cqa_helpers.models import LocalModel, ModelError


def brute_force(local: LocalModel, context: str, words: tuple[str, ...]) -> np.ndarray:
    """P(each word | context, one of the words) by a forward pass of each whole text."""
    start = len(local.tokenizer(context)["input_ids"])
    logs = []
    for word in words:
        ids = local.tokenizer(f"{context}{word}", return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            logits = local.model(input_ids=ids).logits[0].double().log_softmax(-1)
        logs.append(sum(logits[k - 1, ids[0, k]].item() for k in range(start, ids.shape[1])))
    odds = np.exp(np.array(logs))
    return odds / odds.sum()


CONTEXTS = [
    (0, "<s> <story> the inn at dawn . <rev_a> craft : verdict "),
    (0, "<s> <story> the inn at dawn . <rev_a> craft : verdict good . audience : verdict "),
    (1, "<s> <story> a broken watch <rev_a> verdict "),
    (0, "<s> <story> the watch <rev_a> verdict "),
    (2, "<s> "),
]


LONG = "<s> <story> " + "the inn at dawn . a broken watch . " * 6
ALIKE = [
    (0, f"{LONG} the inn <rev_a> craft : verdict "),
    (0, f"{LONG} the inn <rev_a> craft : verdict good . audience : verdict "),
    (1, f"{LONG} a watch <rev_a> craft : verdict "),
    (2, f"{LONG} <rev_a> verdict "),
    (3, "<s> <story> " + "a door . " * 20 + "<rev_a> verdict "),
    (4, "<s> <story> " + "a door . " * 20 + "the inn <rev_a> craft : verdict "),
    (5, "<s> <story> the inn <rev_a> craft : verdict "),
    (5, "<s> <story> the inn <rev_a> craft : verdict bad . audience : verdict "),
]


@pytest.mark.parametrize("batch_size", [1, 2, 8])
def test_choice_probabilities_equal_two_whole_forward_passes(
    tiny: LocalModel, batch_size: int
) -> None:
    spots = [Spot(row, context) for row, context in CONTEXTS]
    found = choices.choice_probabilities(tiny, spots, ("bad", "good"), batch_size)
    expected = [brute_force(tiny, context, ("bad", "good"))[1] for _, context in CONTEXTS]
    assert found == pytest.approx(expected, abs=1e-6)
    assert np.ptp(found) > 0.01


def test_choice_probabilities_of_swapped_words_sum_to_one(tiny: LocalModel) -> None:
    spots = [Spot(row, context) for row, context in CONTEXTS]
    there = choices.choice_probabilities(tiny, spots, ("bad", "good"), 4)
    back = choices.choice_probabilities(tiny, spots, ("good", "bad"), 4)
    assert there + back == pytest.approx(np.ones(len(spots)))


def test_spots_of_one_row_share_a_pass_only_where_one_continues_the_other() -> None:
    rows = [0, 0, 0, 1]
    prefixes = [[1, 2], [1, 2, 3, 4], [1, 9], [1, 2]]
    sequences, homes = choices._share_prefixes(rows, prefixes)
    assert sorted(sequences) == [[1, 2], [1, 2, 3, 4], [1, 9]]
    assert homes[0] == homes[1]
    assert len({homes[1], homes[2], homes[3]}) == 3
    for prefix, home in zip(prefixes, homes, strict=True):
        assert sequences[home][: len(prefix)] == prefix


def test_no_spot_gives_no_probability(tiny: LocalModel) -> None:
    assert choices.choice_probabilities(tiny, [], ("bad", "good"), 4).shape == (0,)


def test_words_that_the_tokenizer_does_not_tell_apart_are_an_error(tiny: LocalModel) -> None:
    with pytest.raises(ModelError, match="does not tell 'xyzzy' from 'plugh'"):
        choices.choice_probabilities(tiny, [Spot(0, "<s> ")], ("xyzzy", "plugh"), 4)


@pytest.mark.parametrize(
    "words",
    [
        ("bad", "good watch"),
        ("the bad", "the good"),
        ("the bad inn", "the good", "a broken watch"),
        ("bad", "good", "the"),
    ],
)
@pytest.mark.parametrize("batch_size", [2, 16])
def test_words_of_several_tokens_are_scored_whole(
    tiny: LocalModel, words: tuple[str, ...], batch_size: int
) -> None:
    spots = [Spot(row, context) for row, context in CONTEXTS]
    found = choices.distribution(tiny, spots, words, batch_size)
    expected = np.array([brute_force(tiny, context, words) for _, context in CONTEXTS])
    assert found == pytest.approx(expected, abs=1e-6)
    assert found.sum(axis=1) == pytest.approx(np.ones(len(spots)))


@pytest.mark.parametrize("words", [("bad", "good"), ("bad", "good watch")])
@pytest.mark.parametrize(
    "labels", [["a", "a", "a", "a", "b", "b", "c", "c"], list("abcdefgh"), None]
)
def test_a_beginning_that_is_read_once_changes_no_probability(
    tiny: LocalModel,
    words: tuple[str, ...],
    labels: list[str] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spots = [Spot(row, context) for row, context in ALIKE]
    begun: list[bool] = []
    real = prefixes.prefill

    def watched(*given: object) -> object:
        made = real(*given)  # type: ignore[arg-type]
        begun.append(made is not None)
        return made

    monkeypatch.setattr(choices, "prefill", watched)
    found = choices.distribution(tiny, spots, words, 16, labels)
    expected = np.array([brute_force(tiny, context, words) for _, context in ALIKE])
    assert found == pytest.approx(expected, abs=1e-6)
    assert any(begun) == (labels == ["a", "a", "a", "a", "b", "b", "c", "c"])


def test_a_word_that_another_begins_with_cannot_be_told_apart(tiny: LocalModel) -> None:
    with pytest.raises(ModelError, match="does not tell 'good' from 'good watch'"):
        choices.distribution(tiny, [Spot(0, "<s> ")], ("good", "good watch"), 4)


ROWS = [[1, 2, 3, 4, 5], [1, 2, 3, 9], [7, 8, 9, 9], [7, 8, 9]]


def test_neighbours_with_a_label_share_what_they_begin_with_and_leave_a_token_to_read() -> None:
    assert prefixes.shared(ROWS, ["a", "a", "b", "b"]) == [(0, 3), (0, 3), (1, 2), (1, 2)]
    assert prefixes.shared([[1, 2, 3], [1, 2, 4]], None) == [(0, 2), (0, 2)]
    assert prefixes.shared([[1, 2, 3], [1, 2, 3]], ["a", "b"]) == [(0, 2), (0, 2)]
    assert prefixes.shared([[1, 2], [3, 4]], None) == [(0, 0), (0, 0)]


def test_a_beginning_is_read_apart_only_where_that_saves_enough() -> None:
    long = [[*range(100), 7], [*range(100), 8]]
    assert prefixes.worthwhile(long, prefixes.shared(long, None))
    assert not prefixes.worthwhile(ROWS, prefixes.shared(ROWS, None))
    lonely = [*long, [5] * 100]
    assert prefixes.shared(lonely, ["a", "a", "b"])[2] == (1, 99)
    assert prefixes.worthwhile(lonely, prefixes.shared(lonely, ["a", "a", "b"]))
    assert not prefixes.worthwhile([*long, [5]], prefixes.shared([*long, [5]], ["a", "a", "b"]))


def test_what_is_to_be_read_off_a_row_is_not_read_with_its_beginning() -> None:
    assert prefixes.shared(ROWS[:2], ["a", "a"], [2, 3]) == [(0, 2), (0, 2)]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_completions_are_the_same_when_beginnings_are_read_once(
    tiny: LocalModel, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = [context for _, context in ALIKE]
    labels = ["a", "a", "a", "a", "b", "b", "c", "c"]
    how = {"temperature": temperature, "max_new_tokens": 6, "seed": 3}
    shared = models.sample(tiny, prompts, labels=labels, **how)  # type: ignore[arg-type]
    assert shared == models.sample(tiny, prompts, **how)  # type: ignore[arg-type]


def test_a_completion_ends_at_a_stop(tiny: LocalModel) -> None:
    whole = models.sample(tiny, ["<s> the inn"], temperature=0, max_new_tokens=12, seed=0)[0]
    word = whole.split()[2]
    cut = models.sample(
        tiny, ["<s> the inn"], temperature=0, max_new_tokens=12, seed=0, stops=[f" {word}"]
    )[0]
    assert whole.startswith(cut)
    assert len(cut.split()) < 12
    assert cut.endswith(word)
