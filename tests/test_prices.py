from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqa_helpers import prices
from cqa_helpers.prices import Budget, Hold
from cqa_helpers.sections import Price, Prices

LISTED = Price(input=10.0, output=30.0, batch=0.5)
CALL = {"input_tokens": 2000, "output_tokens": 100, "seconds": 1.5}
LIST = Prices(
    as_of=date(2026, 8, 1), source="https://example.org/prices",
    usd_per_million_tokens={"m": LISTED},
)  # fmt: skip


def test_a_response_costs_its_tokens_and_half_in_a_batch_that_costs_half() -> None:
    assert prices.usd(LISTED, CALL) == pytest.approx(0.020 + 0.003)
    assert prices.usd(LISTED, {**CALL, "batch": True}) == pytest.approx(0.0115)


def test_a_thousand_verdicts_cost_what_all_calls_cost_even_those_without_one() -> None:
    cost = prices.of_judge(LISTED, [CALL, CALL], verdicts=1)
    assert cost is not None
    assert cost.usd == pytest.approx(46.0)
    assert cost.seconds == pytest.approx(3000.0)


def test_a_batch_has_no_seconds_and_no_verdict_no_cost() -> None:
    batched = {k: v for k, v in CALL.items() if k != "seconds"} | {"batch": True}
    cost = prices.of_judge(LISTED, [CALL, batched], verdicts=2)
    assert cost is not None
    assert cost.seconds is None
    assert prices.of_judge(LISTED, [CALL], verdicts=0) is None


def test_a_price_list_older_than_ninety_days_is_told() -> None:
    assert prices.outdated(LIST, date(2026, 10, 30)) is None
    assert prices.outdated(LIST, date(2026, 8, 1)) is None
    old = prices.outdated(LIST, date(2026, 10, 31))
    assert old is not None
    assert "91 days old" in old
    assert "https://example.org/prices" in old
    assert "from the future" in str(prices.outdated(LIST, date(2026, 7, 31)))


def test_an_answer_that_is_counted_twice_is_paid_once() -> None:
    budget = Budget(1.0)
    budget.pay("a", 0.4)
    budget.pay("a", 0.4)
    budget.pay("b", 0.1)
    assert budget.spent == pytest.approx(0.5)


def test_what_was_cut_stays_counted_and_what_ended_is_given_back() -> None:
    budget = Budget(1.0)
    cut, ended, late = (Hold(budget, 0.4) for _ in range(3))
    assert cut.take()
    assert ended.take()
    assert not late.take()
    cut.lose()
    cut.end()
    ended.end()
    assert (budget.held, budget.lost) == (pytest.approx(0.0), pytest.approx(0.4))
    assert late.take()
    assert not cut.take(), "0.4 lost, 0.4 held: another 0.4 would pass 1.0"


@given(
    st.lists(
        st.tuples(st.sampled_from(["take", "lose", "end", "pay"]), st.integers(0, 4)), max_size=60
    )
)
def test_nothing_is_let_through_that_could_pass_the_cap(steps: list[tuple[str, int]]) -> None:
    budget = Budget(1.0)
    holds = [Hold(budget, most) for most in (0.1, 0.25, 0.3, 0.5, 0.9)]
    for number, (step, which) in enumerate(steps):
        hold = holds[which]
        if step == "pay":
            # An answer costs no more than was kept back for it, and ends its call.
            if hold.take():
                hold.end()
                budget.pay(str(number), hold.most)
        else:
            getattr(hold, step)()
        assert budget.spent + budget.held + budget.lost <= 1.0 + 1e-9
