"""A judge as a reward: what it says of a completion, as TRL's GRPO trainer wants to be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from cqa_helpers.judges.panel import Judge, Panel
from cqa_helpers.params import fingerprint
from cqa_helpers.records import Passage, Verdict

Completion = str | Sequence[Mapping[str, Any]]


def reward(
    judge: Judge,
    panel: Panel,
    *,
    language: str = "en",
    domain: str = "fiction",
    name: str | None = None,
) -> Callable[..., list[float | None]]:
    """Return a function that TRL's GRPO trainer takes as one of its ``reward_funcs``.

    A completion is put to the judge as a passage, without its prompt. The reward lies in [0, 1]:
    the mean probability over dimensions, or where the judge gives none the mean value within its
    scale. It is None, which the trainer leaves out, where a dimension has no verdict (unparsed,
    refused, failed) or there is no text: nothing is never a zero. Equal completions are asked
    about once; those without a reward again, when they come back.

    ``language`` is that of the completions, ``name`` the trainer's name for it in its logs (by
    default the judge's id); the share without a reward is logged beside it. What the judge
    raises, a spent budget for one, stops the training. A judge that shares its weights with the
    model in training would be a moving one: give it a copy of its own.
    """
    known: dict[str, float] = {}

    def given(
        prompts: Sequence[Any] = (), completions: Sequence[Completion] = (), **more: Any
    ) -> list[float | None]:
        texts = [_text(completion) for completion in completions]
        names = [f"completion-{fingerprint(text)}" for text in texts]
        new = {
            k: text for k, text in zip(names, texts, strict=True)
            if k not in known and text.strip()
        }  # fmt: skip
        if new:
            asked = panel.questions(
                [
                    Passage(id=k, work_id=k, language=language, domain=domain, text=text,
                            origin="model-authored", licence="unknown", source="a completion")
                    for k, text in new.items()
                ]
            )  # fmt: skip
            answers: dict[str, list[Verdict]] = {k: [] for k in new}
            for verdict in judge.ask(asked, panel):
                answers[verdict.item_id].append(verdict)
            known.update(
                (k, fmean(found)) for k, said in answers.items()
                if (found := strengths(said)) and len(found) == len(said)
            )  # fmt: skip
        if log := more.get("log_metric"):
            log(f"{given.__name__}/without_reward", sum(k not in known for k in names) / len(names))
        return [known.get(k) for k in names]

    given.__name__ = name or judge.judge_id
    return given


def strengths(verdicts: Sequence[Verdict]) -> list[float]:
    """Return how much each verdict speaks for its item, in [0, 1]; those without a value left out.

    The probabilities where all have one, else all the values within their scale: the two are not
    mixed.
    """
    read = [v for v in verdicts if v.value is not None]
    said = [v.probability for v in read if v.probability is not None]
    if len(said) == len(read):
        return said
    placed = []
    for v in read:
        low, high = map(int, v.scale.split("-"))
        placed.append(((v.value or 0) - low) / (high - low))
    return placed


def _text(completion: Completion) -> str:
    """Return what was written: the words of the assistant, without a tool's."""
    if isinstance(completion, str):
        return completion
    said = []
    for message in completion:
        if message.get("role", "assistant") == "assistant":
            content = message.get("content") or ""
            parts = [content] if isinstance(content, str) else [p.get("text", "") for p in content]
            said += [part for part in parts if part]
    return "\n".join(said)
