"""What answers of an endpoint cost: by list price, under a cap, for a thousand verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from cqa_helpers.sections import Price, Prices

# Providers change their lists some times a year: our choice of when to look again.
MOST_DAYS = 90


class Cost(NamedTuple):
    """Of 1,000 verdicts: USD by list price; seconds of waiting, one call after another.

    ``usd`` is None where no price is known, ``seconds`` where a call has none, as in a batch.
    """

    usd: float | None
    seconds: float | None


def usd(price: Price, response: Mapping[str, Any]) -> float:
    """Return what a response cost, in USD: its tokens at list price, less where from a batch."""
    tokens = response["input_tokens"] * price.input + response["output_tokens"] * price.output
    return float(tokens * (price.batch if response.get("batch") else 1.0) / 1e6)


def of_judge(price: Price, responses: Sequence[Mapping[str, Any]], verdicts: int) -> Cost | None:
    """Return the cost of 1,000 verdicts of a judge, from the responses that gave ``verdicts``.

    All that was paid for counts: an answer without a verdict makes the others dearer. None where
    there is no verdict.
    """
    if not verdicts:
        return None
    waited = [response.get("seconds") for response in responses]
    seconds = None if None in waited else sum(s for s in waited if s is not None)
    return Cost(
        usd=sum(usd(price, response) for response in responses) * 1000 / verdicts,
        seconds=None if seconds is None else seconds * 1000 / verdicts,
    )


def outdated(prices: Prices, today: date) -> str | None:
    """Return a warning where the price list is older than 90 days, or from the future."""
    days = (today - prices.as_of).days
    if 0 <= days <= MOST_DAYS:
        return None
    age = f"{days} days old" if days > 0 else "from the future"
    return (
        f"The price list of {prices.as_of} is {age}. Look it up at {prices.source}, and set "
        "judging.prices with the day."
    )


class Budget:
    """A cap in USD: what is spent, what is held for calls in flight, what may have been charged.

    Parameters
    ----------
    cap
        USD that ``spent + held + lost`` never passes when a call is let through.
    """

    def __init__(self, cap: float) -> None:
        self.cap = cap
        self.spent = 0.0
        self.held = 0.0
        self.lost = 0.0
        self._paid: set[str] = set()

    def pay(self, key: str, amount: float) -> None:
        """Count an answer; the same one again counts once."""
        if key not in self._paid:
            self._paid.add(key)
            self.spent += amount

    def hold(self, most: float) -> bool:
        """Keep back what a call could cost at most; False where the cap would not cover it."""
        if self.spent + self.lost + self.held + most > self.cap:
            return False
        self.held += most
        return True


class Hold:
    """What is kept back for one call, however many attempts it takes."""

    def __init__(self, budget: Budget, most: float) -> None:
        self._budget = budget
        self.most = most
        self._held = False
        self.attempts = 0

    def take(self) -> bool:
        """Keep back the most that an attempt costs; False where the cap would not cover it."""
        self._held = self._held or self._budget.hold(self.most)
        return self._held

    def lose(self) -> None:
        """Count an attempt that was cut after it was sent: it may have been charged."""
        if self._held:
            self._held = False
            self._budget.held -= self.most
            self._budget.lost += self.most

    def end(self) -> None:
        """Give back what is still held."""
        if self._held:
            self._held = False
            self._budget.held -= self.most
