"""What a run of calls came to, and how far it is."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tqdm.auto import tqdm
from tqdm.notebook import tqdm_notebook

PLAIN_EVERY_S = 60.0


@dataclass
class Tally:
    """What an endpoint was asked in this run, equal questions counted once.

    ``retries`` counts attempts after the first. ``usd`` is what this run's answers cost by list
    price, ``usd_recorded`` what those of earlier runs did, ``usd_uncertain`` what calls that were
    cut after they were sent may have cost at most. ``seconds`` is time waited.
    """

    judge_id: str
    asked: int = 0
    from_record: int = 0
    answered: int = 0
    refused: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    retries: int = 0
    usd: float = 0.0
    usd_recorded: float = 0.0
    usd_uncertain: float = 0.0
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    def said(self) -> str:
        """Return it in one to three lines."""
        lines = [f"{self.judge_id}: {self.asked:,} questions, {self.from_record:,} on record"]
        if now := self.asked - self.from_record:
            parts = [f"{self.answered:,} answered"]
            if self.refused:
                parts.append(f"{self.refused:,} refused")
            if self.failed:
                parts.append(f"{self.failed.total():,} failed ({told(self.failed)})")
            if self.retries:
                parts.append(f"{self.retries:,} retries")
            lines[0] += f", {now:,} asked now in {self.seconds:,.0f} s: {', '.join(parts)}"
        lines.append(f"{self.usd:.2f} USD now, {self.usd_recorded:.2f} USD before")
        if self.usd_uncertain:
            lines[1] += f", at most {self.usd_uncertain:.2f} USD more for calls cut after sending"
        return "\n".join([f"{line}." for line in lines] + [" ".join(self.notes)]).rstrip()


def told(failed: Mapping[str, int]) -> str:
    """Return failures by name, as in ``3 RateLimitError, 1 APITimeoutError``."""
    return ", ".join(f"{n} {name}" for name, n in Counter(failed).most_common())


class Progress:
    """A bar where somebody sees it, else a line a minute: a headless run keeps what it prints.

    Parameters
    ----------
    title
        The judge.
    total
        Calls to be made.
    """

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._begun = self._said = time.monotonic()
        self._bar: Any = None
        if issubclass(tqdm, tqdm_notebook) or sys.stderr.isatty():
            self._bar = tqdm(total=total, desc=title, delay=3, leave=False, unit="call")

    def tell(self, done: int, usd: float) -> None:
        """Show how far it is, and what it has cost."""
        if self._bar is not None:
            self._bar.set_postfix_str(f"{usd:.2f} USD", refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if done and now - self._said >= PLAIN_EVERY_S:
            self._said = now
            left = (now - self._begun) / done * (self._total - done)
            print(
                f"{self._title}: {done:,} of {self._total:,} calls, {usd:.2f} USD, "
                f"about {left / 60:.0f} min left",
                flush=True,
            )

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
