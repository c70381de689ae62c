"""Several judges as one: a jury's verdict on each cell, by majority of its members."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from statistics import fmean, median_low
from typing import NamedTuple

from cqa_helpers.records import Verdict

Cell = tuple[str, str]


class _Vote(NamedTuple):
    value: int
    probability: float | None


def verdicts(jury_id: str, members: Sequence[str], rows: Iterable[Verdict]) -> list[Verdict]:
    """Return a jury's verdict on every cell that one of its members was asked.

    Each member has one vote, the majority of its ok repeats; where these are tied and its mean
    probability does not decide, it does not vote. On the scale 0-1 the majority of votes wins. A
    tie goes by the mean of the voters' probabilities, if all have one and it is not .5; else the
    verdict is ``failed``, as it is where fewer than half of the members vote. On any other scale
    the verdict is the median, the lower of two middles: a value that somebody gave (all our
    choices).

    The probability is the mean of the voters', null where one has none; a mean may lean the other
    way than the majority. ``meta`` holds the votes by member, and who was silent.

    Raises
    ------
    ValueError
        No member, one named twice or without rows; a jury named like a judge; a member's repeat
        that stands twice; or several scales on one cell.
    """
    given = list(rows)
    _check(jury_id, members, given)
    said: dict[Cell, dict[str, list[Verdict]]] = defaultdict(lambda: defaultdict(list))
    scales: dict[Cell, str] = {}
    for v in given:
        if v.judge_id not in members:
            continue
        cell = v.item_id, v.dimension
        if scales.setdefault(cell, v.scale) != v.scale:
            raise ValueError(
                f"{jury_id}: {v.dimension} of {v.item_id} was judged on {scales[cell]} and on "
                f"{v.scale}; a jury needs one scale"
            )
        said[cell][v.judge_id].append(v)
    made = []
    for (item, dimension), by_member in sorted(said.items()):
        scale = scales[item, dimension]
        votes = {
            m: vote for m in members if (vote := _decide(_ballots(by_member[m]), scale)) is not None
        }
        outcome, reason = _outcome(list(votes.values()), len(members), scale)
        made.append(
            Verdict(
                item_id=item,
                dimension=dimension,
                judge_id=jury_id,
                value=None if outcome is None else outcome.value,
                probability=None if outcome is None else outcome.probability,
                scale=scale,
                reason=reason,
                status="failed" if outcome is None else "ok",
                meta={
                    "votes": {m: vote.value for m, vote in votes.items()},
                    "silent": [m for m in members if m not in votes],
                },
            )
        )
    return made


def _outcome(votes: list[_Vote], n_members: int, scale: str) -> tuple[_Vote | None, str]:
    if 2 * len(votes) < n_members:
        return None, f"{len(votes)} of {n_members} members gave a verdict, fewer than half"
    outcome = _decide(votes, scale)
    if outcome is None:
        n = len(votes) // 2
        return None, f"a tie, {n} to {n}, and no probability decides it"
    if scale != "0-1":
        return outcome, f"median of {len(votes)} votes"
    n_alike = sum(v.value == outcome.value for v in votes)
    by_probability = ", a tie that the probability decides" if 2 * n_alike == len(votes) else ""
    return outcome, f"{n_alike} of {len(votes)} votes{by_probability}"


def _decide(votes: list[_Vote], scale: str) -> _Vote | None:
    """Return the votes as one, or None where there are none or nothing decides a tie."""
    if not votes:
        return None
    known = [v.probability for v in votes if v.probability is not None]
    mean = fmean(known) if len(known) == len(votes) else None
    if scale != "0-1":
        return _Vote(median_low(v.value for v in votes), mean)
    lead = 2 * sum(v.value for v in votes) - len(votes)
    if lead == 0:
        lead = 0 if mean is None else (mean > 0.5) - (mean < 0.5)
    return None if lead == 0 else _Vote(int(lead > 0), mean)


def _ballots(repeats: Iterable[Verdict]) -> list[_Vote]:
    return [_Vote(v.value, v.probability) for v in repeats if v.value is not None]


def _check(jury_id: str, members: Sequence[str], rows: Sequence[Verdict]) -> None:
    known = {v.judge_id for v in rows}
    if not members:
        raise ValueError(f"{jury_id}: no member is named")
    if len(set(members)) < len(members):
        raise ValueError(f"{jury_id}: a member is named twice: {', '.join(members)}")
    if unknown := sorted(set(members) - known):
        raise ValueError(
            f"{jury_id}: no rows of {', '.join(unknown)}; there are: {', '.join(sorted(known))}"
        )
    if jury_id in known:
        raise ValueError(f"{jury_id}: a judge already has this name; call the jury otherwise")
    seen: set[tuple[str, str, str, int]] = set()
    for v in rows:
        key = v.judge_id, v.item_id, v.dimension, v.repeat
        if v.judge_id in members and key in seen:
            raise ValueError(
                f"{jury_id}: repeat {v.repeat} of {v.judge_id} on {v.dimension} of {v.item_id} "
                "stands twice"
            )
        seen.add(key)
