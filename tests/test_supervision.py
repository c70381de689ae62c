from __future__ import annotations

import pytest

from cqa_helpers import supervision
from cqa_helpers.arms import TrainingRow
from cqa_helpers.models import LocalModel
from cqa_helpers.supervision import TuningError

ROWS = [
    TrainingRow("p1", "<s> <story> the inn at dawn . <rev_a>", " craft : verdict good ."),
    TrainingRow("p2", "<s> <story> a broken watch . <rev_a>", " craft : verdict bad ."),
    TrainingRow(
        "p3", "<s> <story> the tower at ten . <rev_a>", " craft : the watch , verdict bad ."
    ),
]
LENGTHS = [len((r.prompt + r.completion).split()) + 1 for r in ROWS]


def long_row(words: int, completion: str = " craft : verdict good .") -> TrainingRow:
    names = ["the", "inn", "watch", "tower", "chair"]
    middle = " ".join(names[i % 5] for i in range(words))
    return TrainingRow("long", f"<s> <story> dawn {middle} ten <rev_a>", completion)


def test_words_of_the_completions_and_an_end_mark_each_are_supervised(tiny: LocalModel) -> None:
    counted = supervision.audit(ROWS, tiny.tokenizer, 100)
    words = sum(len(row.completion.split()) + 1 for row in ROWS)
    assert counted == (len(ROWS), words, max(LENGTHS), 0)


def test_rows_that_would_be_cut_off_are_all_named_and_refused(tiny: LocalModel) -> None:
    assert supervision.audit(ROWS, tiny.tokenizer, max(LENGTHS)).longest == max(LENGTHS)
    with pytest.raises(TuningError, match=rf"1 of 3 rows .* off: p3 \({max(LENGTHS)}\)\. R"):
        supervision.audit(ROWS, tiny.tokenizer, max(LENGTHS) - 1)
    with pytest.raises(TuningError, match=r"3 of 3 rows .*p3 .*p2"):
        supervision.audit(ROWS, tiny.tokenizer, 3)
    many = [row._replace(item_id=f"q{i}") for i in range(5) for row in ROWS]
    with pytest.raises(TuningError, match="and 5 more"):
        supervision.audit(many, tiny.tokenizer, 3)


@pytest.mark.parametrize("completion", ["", " ", "\n"])
def test_an_empty_completion_is_refused(tiny: LocalModel, completion: str) -> None:
    rows = [ROWS[0], TrainingRow("p9", "<s> a prompt", completion)]
    with pytest.raises(TuningError, match="p9: the completion has no token of its own"):
        supervision.audit(rows, tiny.tokenizer, 100)


@pytest.mark.parametrize(
    ("rows", "said"), [([], "no training row"), (ROWS[:1], "one training row")]
)
def test_nothing_and_next_to_nothing_is_refused(
    tiny: LocalModel, rows: list[TrainingRow], said: str
) -> None:
    with pytest.raises(TuningError, match=f"{said}: nothing can be learnt.*Give more annotations"):
        supervision.audit(rows, tiny.tokenizer, 100)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([[-100, 5, 3]], "2 rows went into tokenisation; 1 came out"),
        ([[-100, 5, 3], [-100, -100]], "1 of them without a supervised token"),
        ([[-100, 5, 3], [-100, 5]], "4 supervised tokens were counted and tokenisation made 3"),
    ],
)
def test_tokens_that_are_not_those_that_were_counted_stop_the_training(
    labels: list[list[int]], said: str
) -> None:
    counted = supervision.Audit(rows=2, supervised_tokens=4, longest=3)
    with pytest.raises(TuningError, match=said):
        supervision.check_tokenised({"labels": labels}, counted)


@pytest.mark.parametrize("words", [30, 31, 64, 200])
def test_a_prompt_that_is_cut_loses_its_middle_and_its_completion_nothing(
    tiny: LocalModel, words: int
) -> None:
    row = long_row(words)
    (kept,) = supervision.cut([row], tiny.tokenizer, 24)
    assert kept.completion == row.completion
    assert kept.prompt.startswith("<s> <story> dawn")
    assert kept.prompt.endswith("ten <rev_a>")
    assert supervision.audit([kept, kept], tiny.tokenizer, 24).longest in range(18, 25)


def test_rows_that_fit_are_left_alone(tiny: LocalModel) -> None:
    assert supervision.cut(ROWS, tiny.tokenizer, max(LENGTHS)) == ROWS


def test_a_completion_that_fills_the_context_is_refused_even_when_cutting(tiny: LocalModel) -> None:
    row = long_row(10, " craft : " + "the watch " * 20 + "verdict good .")
    with pytest.raises(TuningError, match=r"long: its completion alone has \d+ tokens.*Raise"):
        supervision.cut([row], tiny.tokenizer, 40)
