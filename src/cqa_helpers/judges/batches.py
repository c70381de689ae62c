"""Asking through a provider's Batch API: cheaper, within a day, submitted and paid once.

What is about to be submitted is written beside the record of calls, and completed with the batch's
name before anything is waited for. A run that was killed takes up the same batch; one that was
killed before the name came finds it at the provider by what the batch is labelled with.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import openai
from openai.pagination import SyncCursorPage
from openai.types import Batch

from cqa_helpers.judges import batchfiles, replies
from cqa_helpers.judges.batchfiles import Fault, Limits, Memory, Submission
from cqa_helpers.judges.panel import JudgeError
from cqa_helpers.params import fingerprint
from cqa_helpers.records import write_atomically
from cqa_helpers.sections import Live

T = TypeVar("T")

LABEL = "cqa_requests"
ENDED = {"completed", "failed", "expired", "cancelled"}
# A line that is no JSON may be a download that was cut: our choice of how often to fetch again.
FETCHES = 3
NO_KEY = "\0"  # stands in no text


class Pace(NamedTuple):
    """Seconds between two looks at a batch, growing from the first to the longest.

    ``patience_s`` is for how long an endpoint that does not answer is asked on. Our choice.
    """

    first_s: float = 5.0
    growth: float = 1.5
    longest_s: float = 300.0
    patience_s: float = 3600.0


class Outcome(NamedTuple):
    """Raw bodies of answers and faults, by key; ``notes`` tell what a reader should look at."""

    answers: dict[str, str]
    faults: dict[str, Fault]
    notes: list[str]


class _NoNewsError(Exception):
    """The endpoint did not answer, or not in the API's form: the same may be asked again."""


class Batches:
    """Requests asked in batches, over however many runs it takes.

    Parameters
    ----------
    client
        The SDK's client of the endpoint.
    live
        The judge's settings.
    memory
        The file that remembers what was submitted: beside the record, for one process at a time.
    tell
        Is told after each look at the batches: requests that are through, all, and the states.
    """

    def __init__(
        self,
        client: openai.OpenAI,
        live: Live,
        memory: Path,
        *,
        pace: Pace = Pace(),  # noqa: B008
        limits: Limits = Limits(),  # noqa: B008
        tell: Callable[[int, int, str], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._live = live
        self._path = memory
        self._pace = pace
        self._limits = limits
        self._tell = tell
        self._sleep = sleep
        self._memory = Memory.load(memory)

    def ask(
        self,
        requests: Sequence[tuple[str, Mapping[str, Any]]],
        keep: Callable[[dict[str, str]], None],
        *,
        most_usd: Callable[[str], float],
        left_usd: float,
    ) -> Outcome:
        """Return the answers to requests, pairs of a key and the body of a chat completion.

        What an earlier run submitted is waited for; only the rest is submitted. ``keep`` gets the
        answers of each batch as it ends, and must have them on disk when it returns: only then is
        the batch forgotten. A key without an answer is free to be asked again in a later run.

        Parameters
        ----------
        most_usd
            The most that the request of a key can cost, in USD.
        left_usd
            What may still be spent, with what is under way counted in.

        Raises
        ------
        JudgeError
            All of it together could cost more than is left (then nothing new is submitted, and
            what was under way is fetched first); the endpoint refuses, or has no Batch API; it did
            not answer for ``patience_s``; the results of a batch are gone.
        """
        bodies = dict(requests)
        self._find_nameless()
        waiting = [s for s in self._memory.open if not bodies.keys().isdisjoint(s.keys)]
        held = {key for s in waiting for key in s.keys}
        rest = {key: body for key, body in bodies.items() if key not in held}
        files, too_long = batchfiles.uploads(rest, self._limits)
        outcome = Outcome({}, {k: Fault("longer than a batch's file may be") for k in too_long}, [])
        new = sum(most_usd(key) for file in files for key in file)
        fits = sum(s.most_usd for s in waiting) + new <= left_usd
        if fits:
            waiting += [self._submit(file, sum(map(most_usd, file))) for file in files]
        self._await(waiting, bodies, keep, outcome)
        if not fits:
            raise JudgeError(
                f"{self._live.judge_id}: {len(rest):,} questions could cost {new:.4f} USD in a "
                f"batch, and of the {left_usd:.4f} USD that were left "
                f"{sum(s.most_usd for s in waiting):.4f} were under way. Nothing new was "
                "submitted, and what came is recorded; raise judging.live.budget_usd to go on."
            )
        return outcome

    def _remember(self) -> None:
        self._memory.save(self._path)

    def _find_nameless(self) -> None:
        """Name the batches whose name a killed run never heard; drop what was never made."""
        for submission in [s for s in self._memory.open if s.batch_id is None]:
            found = self._patiently(partial(self._found, submission.label))
            if found is None:
                self._memory.open.remove(submission)
            else:
                submission.batch_id = found
            self._remember()

    def _submit(self, file: Mapping[str, str], most_usd: float) -> Submission:
        """Submit a file of requests, remembered before and after."""
        label = fingerprint(sorted(file))
        submission = Submission(label=label, keys=list(file), most_usd=most_usd)
        self._memory.open.append(submission)
        self._remember()
        uploaded: list[str] = []
        submission.batch_id = self._patiently(
            lambda: self._found(label) or self._created(label, file, uploaded)
        )
        self._remember()
        return submission

    def _found(self, label: str) -> str | None:
        """Return the batch that the provider has under a label, if its results can be had."""
        page = self._page(partial(self._client.batches.list, limit=100))
        while True:
            for batch in page.data:
                known = isinstance(batch, Batch) and (batch.metadata or {}).get(LABEL) == label
                if known and batch.id not in self._memory.settled and (
                    batch.status not in ENDED or batch.output_file_id
                ):  # fmt: skip
                    return batch.id
            if not page.has_next_page():
                return None
            page = self._page(page.get_next_page)

    def _page(self, call: Callable[[], SyncCursorPage[Batch]]) -> SyncCursorPage[Batch]:
        try:
            page = call()
        except AttributeError:  # the SDK takes a web page with status 200 for a list, and stumbles
            raise _NoNewsError from None
        if not isinstance(page.data, list):
            raise _NoNewsError
        return page

    def _created(self, label: str, file: Mapping[str, str], uploaded: list[str]) -> str:
        if not uploaded:
            text = "".join(f"{line}\n" for line in file.values()).encode()
            sent = self._client.files.create(file=(f"{label}.jsonl", text), purpose="batch")
            if not isinstance(getattr(sent, "id", None), str):
                raise _NoNewsError
            uploaded.append(sent.id)
        # The SDK would repeat a call whose answer was lost, and so make a second batch.
        batch = self._client.with_options(max_retries=0).batches.create(
            input_file_id=uploaded[0],
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={LABEL: label},
        )
        return _batch(batch).id

    def _await(
        self,
        waiting: Iterable[Submission],
        bodies: Mapping[str, Any],
        keep: Callable[[dict[str, str]], None],
        outcome: Outcome,
    ) -> None:
        """Look at batches until each has ended, and take in what they gave, each as it ends."""
        left, pause, through = list(waiting), self._pace.first_s, 0
        total = sum(len(s.keys) for s in left)
        while left:
            states, under_way = set(), 0
            for submission in list(left):
                batch = self._patiently(
                    partial(self._seen, submission), partial(self._unknown, submission)
                )
                states.add(batch.status)
                if batch.status in ENDED:
                    left.remove(submission)
                    through += len(submission.keys)
                    self._take_in(submission, batch, bodies, keep, outcome)
                elif counts := batch.request_counts:
                    under_way += (counts.completed or 0) + (counts.failed or 0)
            if self._tell:
                self._tell(through + under_way, total, ", ".join(sorted(states)))
            if left:
                self._sleep(pause)
                pause = min(pause * self._pace.growth, self._pace.longest_s)

    def _seen(self, submission: Submission) -> Batch:
        assert submission.batch_id is not None, submission
        return _batch(self._client.batches.retrieve(submission.batch_id))

    def _unknown(self, submission: Submission) -> JudgeError:
        return JudgeError(
            f"{self._live.judge_id}: the endpoint knows no batch {submission.batch_id}, which was "
            f"submitted before. Check that the key in {self._live.key_variable} and "
            "judging.live.base_url are those of then. To ask, and pay, anew: delete "
            f"{self._path}."
        )

    def _take_in(
        self,
        submission: Submission,
        batch: Batch,
        bodies: Mapping[str, Any],
        keep: Callable[[dict[str, str]], None],
        outcome: Outcome,
    ) -> None:
        """Keep the answers of a batch that has ended, then forget what was asked for here."""

        def gone() -> JudgeError:
            self._settle(submission, batch.id, bodies)
            return JudgeError(
                f"{self._live.judge_id}: the results of batch {batch.id} are no longer at the "
                "endpoint. Running again asks, and pays for, its questions anew."
            )

        lines = self._lines(batch, gone)
        done = batch.request_counts.completed if batch.request_counts else 0
        if not batch.output_file_id and (done or 0) > len(lines):
            raise JudgeError(
                f"{self._live.judge_id}: batch {batch.id} has {done:,} answers, and the endpoint "
                "names no file of them. It is remembered: run again later."
            )
        results = batchfiles.read(batch.id, submission.keys, lines)
        mine = [key for key in submission.keys if key in bodies]
        answers = {key: results.answers[key] for key in mine if key in results.answers}
        if results.odd:
            name = f"{self._path.stem}.{re.sub(r'[^A-Za-z0-9_-]', '', batch.id)}.odd.jsonl"
            odd = "".join(f"{line}\n" for line in results.odd)
            write_atomically(self._path.with_name(name), odd)
            outcome.notes.extend([*results.notes, f"Those lines are kept in {name}."])
        if batch.status == "failed":
            outcome.notes.append(f"Batch {batch.id} was refused: {self._refusal(batch)}.")
        keep(answers)
        outcome.answers.update(answers)
        missing = Fault(f"no result, batch {batch.status}")
        outcome.faults.update({k: results.faults.get(k, missing) for k in mine if k not in answers})
        self._settle(submission, batch.id, bodies)

    def _settle(self, submission: Submission, batch_id: str, bodies: Mapping[str, Any]) -> None:
        """Forget what was asked for here; what others asked for in the same batch stays."""
        submission.keys = [key for key in submission.keys if key not in bodies]
        if not submission.keys:
            self._memory.open.remove(submission)
            self._memory.settled.append(batch_id)
        self._remember()

    def _lines(self, batch: Batch, gone: Callable[[], JudgeError]) -> list[str]:
        """Return the lines of a batch's results and errors."""
        lines: list[str] = []
        for file_id in (batch.output_file_id, batch.error_file_id):
            if not file_id:  # some servers say "" for no file
                continue
            for _ in range(FETCHES):
                text = self._patiently(partial(self._content, file_id), gone)
                found, whole = batchfiles.lines_of(text)
                if whole:
                    break
            lines += found
        return lines

    def _content(self, file_id: str) -> str:
        content = self._client.files.content(file_id).content.decode("utf-8", "replace")
        return content.replace(self._client.api_key or NO_KEY, "[key]")

    def _refusal(self, batch: Batch) -> str:
        """Return what the validation said: each fault once, with the first line that has it."""
        said: dict[str, int | None] = {}
        for error in (batch.errors.data if batch.errors else None) or []:
            text = " ".join(part for part in (error.code, error.message) if part)
            text = text.replace(self._client.api_key or NO_KEY, "[key]")
            said.setdefault(re.sub(r"\bsk-[\w*.-]+", "[key]", text)[:300], error.line)
        parts = [f"{t} (line {n})" if n is not None else t for t, n in said.items()]
        return "; ".join(parts[:5]) or "the provider gives no reason"

    def _patiently(self, call: Callable[[], T], gone: Callable[[], JudgeError] | None = None) -> T:
        """Return what a call gives, asked again while the endpoint does not answer.

        ``gone`` is raised where what is asked for is not there.
        """
        pause, waited = self._pace.first_s, 0.0
        while True:
            try:
                return call()
            except (_NoNewsError, json.JSONDecodeError, UnicodeDecodeError):
                name = "no answer of a Batch API"
            except openai.OpenAIError as error:
                if gone and isinstance(error, openai.NotFoundError):
                    raise gone() from None
                name = self._passing(error)
            if waited >= self._pace.patience_s:
                raise JudgeError(
                    f"{self._live.judge_id}: for {waited:,.0f} s the endpoint has answered {name}. "
                    "What was submitted is remembered: run again, and it is waited for."
                )
            self._sleep(pause)
            waited += pause
            pause = min(pause * self._pace.growth, self._pace.longest_s)

    def _passing(self, error: openai.OpenAIError) -> str:
        """Return the name of an error that may pass; raise what would not. Its text is not told."""
        status = getattr(error, "status_code", None)
        fault = replies.meaning(error, self._live)
        if isinstance(fault, JudgeError) and status != 404:
            raise fault from None
        name = re.sub(r"[^A-Za-z]", "", type(error).__name__)
        if status is None or status in (408, 409, 429) or status >= 500:
            return name
        code = batchfiles.plain(getattr(error, "code", None))
        raise JudgeError(
            f"{self._live.judge_id}: the endpoint answers {name}, status {status}"
            f"{', ' + code if code else ''}, to its Batch API. Check judging.live.base_url and "
            "judging.live.model, or set judging.live.batch to false. What came before is recorded."
        ) from None


def _batch(said: object) -> Batch:
    """Return a batch; the SDK takes a web page with status 200 for one."""
    if not isinstance(said, Batch) or not isinstance(said.id, str) or not said.id:
        raise _NoNewsError
    return said
