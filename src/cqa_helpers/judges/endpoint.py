"""A judge behind an OpenAI-compatible endpoint: asked once for each question, and paid once."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx2
import openai

from cqa_helpers import calls, prices
from cqa_helpers.judges import deferred, flight, replies
from cqa_helpers.judges.batchfiles import Memory
from cqa_helpers.judges.deferred import Job
from cqa_helpers.judges.panel import JudgeError, Panel, rows
from cqa_helpers.judges.tally import Progress, Tally, told
from cqa_helpers.prices import Budget, Hold
from cqa_helpers.prompts import Question
from cqa_helpers.records import Verdict
from cqa_helpers.sections import Live, Prices

PROVIDER = "https://api.openai.com/v1"
# The SDK takes a web page with status 200 for an answer: such a reply is asked for again by us.
AGAIN = 2
AGAIN_S = 0.5
NOT_ASKED = "not asked: the endpoint keeps failing"


class Endpoint:
    """A judge behind an OpenAI-compatible endpoint, temperature 0, one question a call.

    A call that fails is not recorded, so that the next run asks it again; in this run it is a
    verdict with status ``failed`` and the error's name. The budget is for all that this endpoint
    is asked and its record holds of it; it stops before a call that could exceed it.

    Parameters
    ----------
    live
        The judge's settings.
    record
        What was answered before is read from here, and what is answered is written here.
    prices
        The list prices, with one for ``live.model``.
    seed
        Sent with each call.
    client
        Stands for ``openai.AsyncOpenAI`` in tests.

    Attributes
    ----------
    tally
        What came of all that was asked so far.
    responses
        The answers to it, by key, without their bodies: what :mod:`cqa_helpers.prices` reads.
    """

    def __init__(
        self,
        live: Live,
        record: calls.CallRecord,
        prices: Prices,
        *,
        seed: int = 0,
        client: Any = None,
    ) -> None:
        self.judge_id = live.judge_id
        self.tally = Tally(live.judge_id)
        self.responses: dict[str, dict[str, Any]] = {}
        self._live = live
        self._record = record
        self._price = prices.usd_per_million_tokens[live.model]
        self._seed = seed
        self._client = client
        self._budget = Budget(live.budget_usd)
        self._proven = False
        self._secret = ""

    def ask(self, asked: Sequence[Question], panel: Panel, *, repeat: int = 0) -> list[Verdict]:
        """Return one verdict for each dimension of each question, in order.

        Raises
        ------
        JudgeError
            No key in the environment while something still has to be asked; a fault that every
            call would meet; the budget is spent; too many calls failed.
        """
        live = self._live

        def request(question: Question) -> dict[str, Any]:
            return replies.request(live, question, panel, seed=self._seed, repeat=repeat)

        keys = [calls.key(request(question)) for question in asked]
        responses = self._known(keys)
        jobs: dict[str, Job] = {}
        for key, question in zip(keys, asked, strict=True):
            if key not in responses:
                sent = replies.body(live, question, panel, seed=self._seed)
                share = self._price.batch if live.batch else 1.0
                most = replies.most_usd(self._price, sent, live.max_tokens, share)
                jobs[key] = Job(key, request(question), question, sent, Hold(self._budget, most))
        if jobs:
            self._send(list(jobs.values()), panel, responses)
        self.responses |= {k: r for k, r in responses.items() if r["status"] != "failed"}
        verdicts: list[Verdict] = []
        for key, question in zip(keys, asked, strict=True):
            response = responses[key]
            meta = {"model": live.model}
            if response.get("model", live.model) != live.model:
                meta["served"] = response["model"]
            verdicts += rows(live.judge_id, question, response, panel, repeat, meta)
        return verdicts

    def _known(self, keys: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return what is on record, by key, and count it."""
        known = self._record.by_key(keys)
        for key, response in known.items():
            cost = prices.usd(self._price, response)
            self._budget.pay(key, cost)
            self.tally.usd_recorded += cost
        self.tally.asked += len(set(keys))
        self.tally.from_record += len(known)
        return known

    def _send(self, jobs: list[Job], panel: Panel, responses: dict[str, Any]) -> None:
        """Ask what is not recorded, and put the responses, failed ones too, among the others."""
        live, begun = self._live, time.monotonic()
        self._secret = "" if self._client is not None else _secret(live)
        failed: Counter[str] = Counter()
        shown = Progress(live.judge_id, len(jobs))
        try:
            # What a run with batch: true submitted is paid for: it is waited for in any case.
            waiting = set() if live.batch else Memory.load(self._memory()).under_way()
            later = [job for job in jobs if live.batch or job.key in waiting]
            if later:
                self._deferred(later, panel, responses, failed, shown)
            single = [job for job in jobs if not live.batch and job.key not in waiting]
            ended: flight.Ended = "all sent"
            if single:
                ended = flight.in_own_loop(
                    lambda: self._asked(single, panel, responses, failed),
                    lambda: shown.tell(sum(j.key in responses for j in jobs), self.tally.usd),
                )
        finally:
            shown.close()
            self.tally.seconds += time.monotonic() - begun
            self.tally.usd_uncertain = self._budget.lost
            self.tally.failed += failed
        recorded = sum(responses.get(j.key, {}).get("status", "failed") != "failed" for j in jobs)
        if ended == "budget":
            raise JudgeError(
                f"{live.judge_id}: {self._budget.spent + self._budget.lost:.4f} of "
                f"{live.budget_usd:.4f} USD are spent, and the next call could cost "
                f"{next(j.hold.most for j in jobs if j.key not in responses):.4f} USD. The "
                f"{recorded:,} answers that came now are recorded; raise judging.live.budget_usd "
                "to go on."
            )
        for job in jobs:
            if job.key not in responses:
                responses[job.key] = {"text": "", "status": "failed", "why": NOT_ASKED}
                failed[NOT_ASKED] += 1
                self.tally.failed[NOT_ASKED] += 1
        if failed.total() > live.most_failed * len(responses):
            raise JudgeError(
                f"{live.judge_id}: {failed.total():,} of {len(responses):,} calls failed "
                f"({told(failed)}). What came is recorded. Run again: only the failed are asked."
            )

    def _deferred(
        self,
        jobs: list[Job],
        panel: Panel,
        responses: dict[str, Any],
        failed: Counter[str],
        shown: Progress,
    ) -> None:
        """Ask through the Batch API; the answers of each batch are recorded as it ends."""
        live, by_key = self._live, {job.key: job for job in jobs}

        def take(found: Mapping[str, dict[str, Any]]) -> None:
            self._keep([(by_key[k].request, r) for k, r in found.items()])
            for k, response in found.items():
                responses[k] = calls.without_bodies(response)
                self._count(by_key[k], response)

        client = self._client or openai.OpenAI(
            api_key=self._secret, base_url=live.base_url or PROVIDER, max_retries=live.retries,
            timeout=live.timeout_s,
        )  # fmt: skip
        try:
            whys, notes = deferred.ask(
                jobs, live, panel, client, self._memory(), take=take, scrubbed=self._scrubbed,
                left_usd=live.budget_usd - self._budget.spent - self._budget.lost,
                tell=lambda done: shown.tell(done, self.tally.usd),
            )  # fmt: skip
        finally:
            if self._client is None:
                client.close()
        self.tally.notes += notes
        for key, why in whys.items():
            responses[key] = {"text": "", "status": "failed", "why": why}
            failed[why] += 1

    def _memory(self) -> Path:
        """Return where the batches under way are remembered, beside the record."""
        return self._record.path.with_suffix(".batches.json")

    async def _asked(
        self, jobs: list[Job], panel: Panel, responses: dict[str, Any], failed: Counter[str]
    ) -> flight.Ended:
        live = self._live
        client = self._client or _client(live, self._secret)
        writer = flight.Writer(self._keep)

        async def send(job: Job) -> bool:
            try:
                response = await self._call(client, job, panel)
            finally:
                job.hold.end()
            if isinstance(response, replies.Failed):
                responses[job.key] = {"text": "", "status": "failed", "why": response.why}
                failed[response.why] += 1
                return response.own
            self._count(job, response)
            responses[job.key] = calls.without_bodies(response)
            self._proven = True
            writer.put((job.request, response))
            return True

        try:
            return await flight.fly(
                jobs, send, in_flight=live.in_flight,
                breaker=flight.Breaker(flight.AFTER, flight.WAITS),
                affords=lambda job: job.hold.take(), first_alone=not self._proven,
                grace_s=live.timeout_s,
            )  # fmt: skip
        finally:
            try:
                await writer.close()
            finally:
                if self._client is None:
                    await client.close()

    def _keep(self, batch: list[Any]) -> None:
        try:
            self._record.put(self.judge_id, batch)
        except sqlite3.Error as error:
            raise JudgeError(
                f"{self.judge_id}: answers cannot be put on record ({error}); {len(batch)} that "
                "were paid for are lost. Nothing more was sent."
            ) from None

    async def _call(self, client: Any, job: Job, panel: Panel) -> dict[str, Any] | replies.Failed:
        """Return the response to one call, or its failure; raise what every call would meet."""
        begun, tries, hold = time.monotonic(), 0, job.hold
        flight.HOLD.set(hold)
        for again in range(AGAIN + 1):
            got, fault = await self._attempted(client, job)
            # A stand-in's attempts pass by the HTTP client that counts them.
            tries = max(hold.attempts, tries + 1)
            found: dict[str, Any] | None
            if fault is None:
                raw = self._scrubbed(got.text)
                found = replies.read(raw, self._live, job.question, panel, job.sent)
            elif isinstance(fault, str):
                found = replies.declined(fault, self._live, job.sent, got)
            else:
                self.tally.retries += tries - 1
                if isinstance(fault, JudgeError):
                    raise fault
                return fault
            if found is not None:
                self.tally.retries += tries - 1
                seconds = round(time.monotonic() - begun, 3)
                return found | {"seconds": seconds, "attempts": tries}
            hold.lose()
            if again < AGAIN:
                await asyncio.sleep(AGAIN_S * 2**again * random.uniform(0.75, 1.0))
                if not hold.take():
                    break
        self.tally.retries += tries - 1
        return replies.Failed("NotACompletion")

    async def _attempted(
        self, client: Any, job: Job
    ) -> tuple[Any, JudgeError | replies.Failed | str | None]:
        """Return a reply; or what the SDK's error means, which is not passed on: it has the key.

        With a refusal's code comes the body of the reply.
        """
        try:
            # Not by its method for completions: that rewrites the body field by field, which
            # takes a fifth of the time of a call.
            return await client.post(
                "/chat/completions",
                cast_to=httpx2.Response,
                body=job.sent,
                options={"security": {"bearer_auth": True}},
            ), None
        except flight.UnaffordableError:
            # A budget that ends is no fault of the endpoint: the breaker has no part in it.
            return None, replies.Failed("cut, and the budget covers no second attempt", own=True)
        except asyncio.CancelledError:
            if not job.hold.attempts:
                job.hold.lose()
            raise
        except Exception as error:
            if isinstance(error, openai.APIConnectionError) and not job.hold.attempts:
                job.hold.lose()
            fault = replies.meaning(error, self._live)
            if not isinstance(fault, str):
                return None, fault
            return self._scrubbed(getattr(getattr(error, "response", None), "text", "")), fault

    def _count(self, job: Job, response: Mapping[str, Any]) -> None:
        cost = prices.usd(self._price, response)
        self._budget.pay(job.key, cost)
        self.tally.usd += cost
        self.tally.refused += response["status"] == "refused"
        self.tally.answered += response["status"] == "answered"
        notes = []
        if response["model"] != self._live.model:
            notes.append(
                f"Answers came from {response['model']}, asked for was {self._live.model}."
            )
        silent = "probabilities" not in response
        if silent and "logprobs" in job.sent and response["status"] == "answered":
            notes.append("Some answers came without probabilities.")
        self.tally.notes += [note for note in notes if note not in self.tally.notes]

    def _scrubbed(self, text: str) -> str:
        return text.replace(self._secret, "[key]") if self._secret else text


def _secret(live: Live) -> str:
    secret = os.environ.get(live.key_variable, "").strip()
    if not secret:
        raise JudgeError(
            f"{live.judge_id}: the environment variable {live.key_variable} is not set, and the "
            "record of calls does not hold all answers. Nothing was sent."
        )
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise JudgeError(
            f"{live.judge_id}: what the environment variable {live.key_variable} holds cannot be "
            "a key: it has blanks or letters that no header may hold. Nothing was sent."
        )
    return secret


def _client(live: Live, secret: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(
        api_key=secret,
        # Said even where it is the provider's own: the SDK would else read it from the environment.
        base_url=live.base_url or PROVIDER,
        max_retries=live.retries,
        timeout=live.timeout_s,
        http_client=flight.Wire(live.timeout_s, live.in_flight),
    )
