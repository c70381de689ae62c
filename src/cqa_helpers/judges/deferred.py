"""Questions put to an endpoint through its Batch API: cheaper, and answered within a day."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cqa_helpers.judges import replies
from cqa_helpers.judges.batches import Batches
from cqa_helpers.judges.panel import Panel
from cqa_helpers.prices import Hold
from cqa_helpers.prompts import Question
from cqa_helpers.sections import Live


class Job(NamedTuple):
    """A call to be made: its key and request in the record, its body as sent, its hold on money."""

    key: str
    request: dict[str, Any]
    question: Question
    sent: dict[str, Any]
    hold: Hold


def ask(
    jobs: Sequence[Job],
    live: Live,
    panel: Panel,
    client: Any,
    memory: Path,
    *,
    take: Callable[[Mapping[str, dict[str, Any]]], None],
    scrubbed: Callable[[str], str],
    left_usd: float,
    tell: Callable[[int], None],
) -> tuple[dict[str, str], list[str]]:
    """Ask in batches; ``take`` is given the responses of each as it ends, to be put on record.

    Returns
    -------
    tuple
        Why each of those failed that have no response, by key, and notes for the reader.
    """
    by_key, answered = {job.key: job for job in jobs}, set[str]()

    def taken(found: Mapping[str, dict[str, Any] | None]) -> None:
        new = {k: r | {"batch": True, "attempts": 1} for k, r in found.items() if r is not None}
        take(new)
        answered.update(new)

    def read(raws: Mapping[str, str]) -> None:
        taken({
            k: replies.read(scrubbed(raw), live, by_key[k].question, panel, by_key[k].sent)
            for k, raw in raws.items()
        })  # fmt: skip

    batches = Batches(client, live, memory, tell=lambda done, *_: tell(min(done, len(jobs))))
    outcome = batches.ask(
        [(job.key, job.sent) for job in jobs], read,
        most_usd=lambda key: by_key[key].hold.most, left_usd=left_usd,
    )  # fmt: skip
    taken({
        k: replies.declined(fault.code, live, by_key[k].sent, scrubbed(fault.raw))
        for k, fault in outcome.faults.items() if fault.code in replies.REFUSALS
    })  # fmt: skip
    whys = {
        job.key: outcome.faults[job.key].why if job.key in outcome.faults else "NotACompletion"
        for job in jobs if job.key not in answered
    }  # fmt: skip
    return whys, list(outcome.notes)
