from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cqa_helpers import figures, prompts, recognition, taxonomy
from cqa_helpers.agreement import Interval
from cqa_helpers.annotations import Annotation, Judgement
from cqa_helpers.models import LocalModel
from cqa_helpers.recognition import Recognition, RecognitionError, Told
from cqa_helpers.records import Passage

TAXONOMY = taxonomy.load("cqa")
DIALECT = prompts.load_dialect("rehearsal")
SIZE = 400


class Words:
    """Whitespace tokens, numbered as they come."""

    pad_token_id = 0

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def __call__(self, text: str, add_special_tokens: bool = True) -> dict[str, list[int]]:
        return {"input_ids": [self.known.setdefault(w, len(self.known) + 1) for w in text.split()]}


class Reader:
    """Finds a word that stood before ``weight`` times as likely as one that did not."""

    device = torch.device("cpu")
    config = SimpleNamespace(max_position_embeddings=1000)

    def __init__(self, weight: float) -> None:
        self.weight, self.rows = weight, 0

    def __call__(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, logits_to_keep: torch.Tensor
    ) -> Any:
        self.rows += len(input_ids)
        seen = torch.nn.functional.one_hot(input_ids, SIZE).cumsum(1) > 0
        logits = torch.where(seen, np.log(self.weight), 0.0)
        return SimpleNamespace(logits=logits[:, logits_to_keep])


def double(weight: float) -> LocalModel:
    return LocalModel(Reader(weight), Words(), "by hand")


def passage(i: int, work: str | None = None, text: str | None = None) -> Passage:
    return Passage(
        id=f"p{i}", work_id=work or f"w{i}", text=text or f"the thing{i} stood by the door{i} .",
        origin="simulated", licence="CC0-1.0", source="a test",
    )  # fmt: skip


def annotation(i: int, said: str | None = None, value: int = 1, expert: str = "e") -> Annotation:
    return Annotation(
        id=f"a-{expert}-{i}", passage_id=f"p{i}", protocol="solo", expert_id=expert, cot_body="c",
        judgements=tuple(
            Judgement(dimension=d, value=value, reason=said or f"i note thing{i} , well placed .")
            for d in TAXONOMY.ids()
        ),
    )  # fmt: skip


def told(n: int, **more: Any) -> list[Told]:
    return recognition.reasons(
        [annotation(i, **more) for i in range(n)], {f"p{i}": passage(i) for i in range(n)},
        TAXONOMY, DIALECT,
    )  # fmt: skip


def probe(weight: float, of: list[Told], **more: Any) -> Recognition:
    return recognition.probe(double(weight), of, seed=1, batch_size=7, **more)


def test_a_model_that_reads_the_passage_is_right_and_gains_what_the_shared_words_give() -> None:
    found = probe(8.0, told(10))
    whole = found.rows[0]
    assert whole.right.value == 1
    assert (whole.pairs, whole.passages, whole.works) == (60, 10, 10)
    # One word of eight is known from the passage: its odds rise eightfold, against one in 400.
    assert whole.bits.value == pytest.approx(3, abs=0.2)
    assert {r.name for r in found.rows[1:]} == set(TAXONOMY.ids())
    assert found.left_out == 0


def test_a_model_that_does_not_look_ties_everywhere_and_gets_half() -> None:
    found = probe(1.0, told(10))
    assert set(found.choices["right"]) == {0.5}
    assert found.rows[0].right.value == 0.5
    assert found.rows[0].bits.value == pytest.approx(0, abs=1e-6)


def test_a_model_that_shuns_what_it_read_is_wrong() -> None:
    assert probe(0.1, told(10)).rows[0].right.value == 0


def test_a_reason_that_is_likely_anywhere_and_an_easy_passage_decide_nothing() -> None:
    # Passage 0 holds what both reasons name, passage 1 neither; reason 1 is likely anywhere.
    of = recognition.reasons(
        [annotation(0, said="the chair"), annotation(1, said="the the the watch")],
        {"p0": passage(0, text="the chair the watch"), "p1": passage(1, text="the inn")},
        TAXONOMY, DIALECT,
    )  # fmt: skip
    found = probe(8.0, of)
    assert found.choices["bits"].abs().max() == pytest.approx(0, abs=0.1)


def test_the_contrast_is_that_of_the_four_log_probabilities(tiny: LocalModel) -> None:
    of = recognition.reasons(
        [annotation(0, "the watch was broken ."), annotation(1, "the inn at dawn .")],
        {"p0": passage(0, text="a broken watch ."), "p1": passage(1, text="dawn at the inn .")},
        TAXONOMY, DIALECT,
    )  # fmt: skip
    from cqa_helpers import likelihood

    found = recognition.probe(tiny, of, seed=0, batch_size=3)
    one, two = (next(t for t in of if (t.passage_id, t.dimension) == (p, "craft"))
                for p in ("p0", "p1"))  # fmt: skip
    lp = [
        likelihood.bits(tiny, [at.prompt], [of_.reason], 1)[0]
        for of_, at in ((one, one), (two, two), (one, two), (two, one))
    ]
    row = found.choices[found.choices["dimension"] == "craft"].iloc[0]
    assert row["bits"] == pytest.approx((lp[0] + lp[1] - lp[2] - lp[3]) / 2, abs=1e-3)


def test_the_order_of_passages_makes_no_difference_to_a_pair() -> None:
    of = told(2)
    first, turned = probe(8.0, of), probe(8.0, of[::-1])
    assert first.rows[0].bits.value == pytest.approx(turned.rows[0].bits.value)


def test_only_reasons_for_the_same_verdict_on_the_same_dimension_meet() -> None:
    of = [t._replace(value=i % 2) for i, t in enumerate(told(12))]
    pairs = probe(8.0, of).choices
    values = {(t.passage_id, t.dimension): t.value for t in of}
    for _, row in pairs.iterrows():
        assert values[row["first"], row["dimension"]] == row["value"]
        assert values[row["second"], row["dimension"]] == row["value"]
    assert (pairs["first"] != pairs["second"]).all()


def test_each_text_is_scored_once_under_each_passage_it_meets() -> None:
    local = double(8.0)
    recognition.probe(local, told(10), seed=1, batch_size=7, pairs_each=4)
    assert local.model.rows == 3 * (10 + 10 * 4)  # its own passage, and four others


def test_two_experts_on_one_passage_are_never_set_against_each_other() -> None:
    given = [annotation(i, expert=e) for i in range(5) for e in ("e1", "e2")]
    known = {f"p{i}": passage(i) for i in range(5)}
    found = probe(8.0, recognition.reasons(given, known, TAXONOMY, DIALECT))
    assert (found.choices["first"] != found.choices["second"]).all()
    assert found.rows[0].passages == 5


def test_the_reason_stands_right_after_its_own_dimensions_head() -> None:
    by_dimension = {t.dimension: t for t in told(1)}
    for name, one in by_dimension.items():
        assert one.prompt.endswith(f"<rev_a> {name} :")
        assert one.reason == "i note thing0 , well placed ."
    asked = recognition.reasons(
        [annotation(0)], {"p0": passage(0)}, TAXONOMY, prompts.load_dialect("question")
    )
    assert all(t.prompt.endswith("Diagnosis:") for t in asked)
    assert len({t.prompt for t in asked}) == len(TAXONOMY.ids())


def test_a_passage_without_text_is_left_out_and_an_unknown_one_is_an_error() -> None:
    linked = passage(1).model_copy(update={"text": None, "url": "https://example.org"})
    given, known = [annotation(0), annotation(1)], {"p0": passage(0), "p1": linked}
    assert {t.passage_id for t in recognition.reasons(given, known, TAXONOMY, DIALECT)} == {"p0"}
    with pytest.raises(RecognitionError, match="a-e-1 is of passage 'p1'"):
        recognition.reasons(given, {"p0": passage(0)}, TAXONOMY, DIALECT)


def test_a_dialect_that_gives_no_reasons_is_refused() -> None:
    bare = DIALECT.model_copy(update={"forms": {"verdict-only": DIALECT.forms["verdict-only"]}})
    with pytest.raises(RecognitionError, match="no form 'reason-first'"):
        recognition.reasons([annotation(0)], {"p0": passage(0)}, TAXONOMY, bare)


def test_reasons_that_find_no_partner_are_counted_and_none_at_all_is_an_error() -> None:
    of = told(4)
    odd = [t._replace(value=0) if t.passage_id == "p3" else t for t in of]
    assert probe(8.0, odd).left_out == 3
    with pytest.raises(RecognitionError, match="None of 3 reason"):
        probe(8.0, told(1))


def test_under_five_works_nothing_is_concluded() -> None:
    found = probe(8.0, told(4))
    assert (found.rows[0].right.value, found.rows[0].right.low) == (1, None)
    assert "4 work(s) are too few" in recognition.sentence(found)


def test_pairs_within_one_work_have_a_row_of_their_own() -> None:
    known = {f"p{i}": passage(i, work=f"w{i // 2}") for i in range(12)}
    of = recognition.reasons([annotation(i) for i in range(12)], known, TAXONOMY, DIALECT)
    found = probe(8.0, of, pairs_each=8)
    within = next(r for r in found.rows if r.name == recognition.ONE_WORK)
    same = found.choices["first_work"] == found.choices["second_work"]
    assert 0 < within.pairs == same.sum() < len(found.choices)


def test_shared_words_alone_choose_as_counted_by_hand() -> None:
    texts = {f"p{i}": f"the thing{i} stood by the door{i} ." for i in range(10)}
    found = recognition.by_shared_words(told(10), texts, seed=1)
    assert found.rows[0].right.value == 1
    assert found.rows[0].bits == Interval(None, None, None)
    empty = recognition.by_shared_words(told(10, said="so it should be ."), texts, seed=1)
    assert set(empty.choices["right"]) == {0.5}


def test_what_the_base_reads_beyond_shared_words_is_counted_apart() -> None:
    of = told(20)
    texts = {f"p{i}": "nothing shared" for i in range(20)}
    words = recognition.by_shared_words(of, texts, seed=1)
    beyond = recognition.beyond_words(probe(8.0, of), words)
    assert (beyond.rows[-1].name, beyond.rows[-1].pairs) == (recognition.BEYOND, 120)
    assert "the base is right in 100% of 120 pairs" in recognition.sentence(probe(8.0, of), words)
    texts = {f"p{i}": f"thing{i}" for i in range(20)}
    easy = recognition.by_shared_words(of, texts, seed=1)
    assert "not shown (0 pair(s)" in recognition.sentence(probe(8.0, of), easy)
    with pytest.raises(RecognitionError, match="other pairs"):
        recognition.beyond_words(probe(8.0, of), recognition.by_shared_words(of, texts, seed=2))


@pytest.mark.parametrize(
    ("right", "said"),
    [
        (Interval(0.8, 0.7, 0.9), "tells a passage's own reason from another's in 80%"),
        (Interval(0.55, 0.45, 0.65), "is not shown to tell a passage's own reason"),
        (Interval(0.2, 0.1, 0.3), "prefers another passage's reason"),
    ],
)
def test_the_sentence_follows_the_interval(right: Interval, said: str) -> None:
    found = probe(8.0, told(10))
    rows = (
        found.rows[0]._replace(right=right),
        found.rows[1]._replace(right=Interval(0.5, 0.4, 0.6)),
    )
    text = recognition.sentence(found._replace(rows=rows))
    assert said in text
    assert ("not shown for audience" in text) == (right.low is not None and right.low > 0.5)


def test_the_table_and_the_figure_take_what_the_probe_gives() -> None:
    found = probe(8.0, told(10))
    table = recognition.table({"base": found, "random weights": probe(1.0, told(10))})
    assert list(table["Model"]) == ["base"] * 4 + ["random weights"] * 4
    assert table["Right"][0] == tuple(found.rows[0].right)
    rows = recognition.forest_rows({"base": ("base", found), "random": ("baseline", found)})
    assert list(rows["label"])[:2] == ["base", "random"]
    assert len(rows) == 5
    drawn = figures.forest(rows, "t", "s", "share right", {0.5: "chance"})
    assert drawn.axes
