from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from cqa_helpers import taxonomy
from cqa_helpers.calls import CallRecord
from cqa_helpers.judges import LocalJudge, Panel
from cqa_helpers.judges.reward import reward, strengths
from cqa_helpers.models import LocalModel
from cqa_helpers.params import Params, fingerprint
from cqa_helpers.prompts import Question, load_dialect
from cqa_helpers.records import Passage, Verdict

PANEL = Panel(taxonomy.load("cqa"), load_dialect("question"))
DIMENSIONS = taxonomy.load("cqa").ids()


def passage(item_id: str, text: str) -> Passage:
    return Passage(id=item_id, work_id=item_id, text=text, origin="model-authored",
                   licence="unknown", source="a completion")  # fmt: skip


class Reader:
    """A stand-in that gives each text the probability of its length, and counts its questions.

    What it refuses to judge it refuses on one dimension alone.
    """

    judge_id = "reader"

    def __init__(
        self,
        with_probability: bool = True,
        refuses: Callable[[str], bool] = lambda text: "refuse" in text,
    ) -> None:
        self.asked: list[str] = []
        self.with_probability = with_probability
        self.refuses = refuses

    def ask(self, asked: Sequence[Question], panel: Panel, *, repeat: int = 0) -> list[Verdict]:
        self.asked += [f"{q.item_id} {q.dimensions[0]}" for q in asked]
        said = []
        for q in asked:
            text = q.prompt.split("==========\n")[1].strip("\n=")
            p, status = len(text) % 100 / 100, "ok"
            if self.refuses(text) and q.dimensions[0] == DIMENSIONS[-1]:
                status = "refused"
            said.append(
                Verdict(
                    item_id=q.item_id, dimension=q.dimensions[0], judge_id=self.judge_id,
                    value=None if status != "ok" else int(p > 0.3), status=status,
                    probability=p if self.with_probability and status == "ok" else None,
                )
            )  # fmt: skip
        return said


def test_the_reward_is_the_mean_probability_and_else_the_mean_value() -> None:
    texts = ["x" * 25, "y" * 50]
    assert reward(Reader(), PANEL)(prompts=["p", "p"], completions=texts) == [0.25, 0.5]
    assert reward(Reader(False), PANEL)(prompts=["p", "p"], completions=texts) == [0.0, 1.0]


def test_what_has_no_verdict_or_no_text_has_no_reward_and_never_a_zero() -> None:
    given = reward(Reader(), PANEL)
    assert given(prompts=["p"] * 4, completions=["I refuse", "", " \n", "x" * 25]) == [
        None, None, None, 0.25,
    ]  # fmt: skip


def test_equal_completions_are_asked_about_once_and_those_without_a_reward_again() -> None:
    judge, same = Reader(), "s" * 25
    given = reward(judge, PANEL)
    assert given(prompts=["p"] * 3, completions=[same, same, "I refuse"]) == [0.25, 0.25, None]
    assert len(judge.asked) == 2 * len(DIMENSIONS)
    assert given(prompts=["q"] * 2, completions=[same, "I refuse"]) == [0.25, None]
    assert len(judge.asked) == 3 * len(DIMENSIONS)


def test_a_conversation_is_read_for_what_the_assistant_wrote() -> None:
    words = "x" * 25
    spoken = [
        [{"role": "assistant", "content": words}],
        [{"role": "assistant", "content": [{"type": "text", "text": words}]}],
        [{"role": "assistant", "content": None}, {"role": "tool", "content": words}],
    ]
    given = reward(Reader(), PANEL)
    assert given(prompts=[[]] * 3, completions=spoken) == [0.25, 0.25, None]


def test_the_share_without_a_reward_is_logged_under_the_functions_name() -> None:
    logged: list[tuple[str, float]] = []
    given = reward(Reader(), PANEL, name="taste")
    given(prompts=["p"] * 2, completions=["x", ""], log_metric=lambda *said: logged.append(said))
    assert given.__name__ == "taste"
    assert reward(Reader(), PANEL).__name__ == "reader"
    assert logged == [("taste/without_reward", 0.5)]


def test_strengths_lie_within_the_scale_and_do_not_mix_values_with_probabilities() -> None:
    def verdict(value: int | None, p: float | None = None) -> Verdict:
        return Verdict(item_id="i", dimension="d", judge_id="j", value=value, scale="1-5",
                       probability=p, status="ok" if value else "unparsed")  # fmt: skip

    assert strengths([verdict(5, 0.75), verdict(1, 0.25)]) == [0.75, 0.25]
    assert strengths([verdict(5, 0.75), verdict(2), verdict(None)]) == [1.0, 0.25]
    assert strengths([]) == []


Seen = list[tuple[list[str], list[float | None]]]


def trained(folder: Path, out: Path, given: Any) -> tuple[Any, Seen]:
    """Return a GRPO trainer after one step on four completions of a prompt, and what it asked."""
    from cqa_helpers import models

    models.quiet()
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    seen: Seen = []

    def watched(**told: Any) -> list[float | None]:
        seen.append((list(told["completions"]), given(**told)))
        return seen[-1][1]

    watched.__name__ = given.__name__
    torch.manual_seed(1)
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        processing_class=AutoTokenizer.from_pretrained(folder, padding_side="left"),
        reward_funcs=watched,
        train_dataset=Dataset.from_list([{"prompt": "<s> <plan> tone fresh . <story>"}] * 2),
        args=GRPOConfig(
            output_dir=str(out), max_steps=1, per_device_train_batch_size=4, num_generations=4,
            max_completion_length=6, learning_rate=1e-3, use_cpu=True, bf16=False,
            report_to="none", disable_tqdm=True, save_strategy="no", logging_steps=1, seed=1,
        ),
    )  # fmt: skip
    trainer.train()
    return trainer, seen


def test_trl_learns_from_what_a_local_judge_says(
    tiny_folder: Path, tmp_path: Path, tiny: LocalModel, tiny_params: Params
) -> None:
    panel = Panel(taxonomy.load("cqa"), load_dialect("rehearsal"), "verdict-only")
    with CallRecord(tmp_path / "calls.sqlite") as record:
        judge = LocalJudge("local", "tiny", tiny_params.judging, record, lambda: nullcontext(tiny))
        trainer, ((texts, rewards),) = trained(tiny_folder, tmp_path, reward(judge, panel))
        passages = [passage(f"completion-{fingerprint(t)}", t) for t in dict.fromkeys(texts)]
        said = judge.ask(panel.questions(passages), panel)
        assert record.count() == len(passages)
    by_text = {p.text: [v.probability or 0.0 for v in said if v.item_id == p.id] for p in passages}
    expected = [sum(by_text[t]) / len(by_text[t]) for t in texts]
    assert rewards == pytest.approx(expected)
    assert len(set(expected)) > 1
    assert list(trainer._logs["rewards"]["local"]) == pytest.approx(expected)
    logged = trainer.state.log_history[0]
    assert logged["reward"] == pytest.approx(sum(expected) / len(expected))
    assert logged["local/without_reward"] == 0
    assert math.isfinite(logged["loss"])
    assert logged["grad_norm"] > 0


def test_trl_leaves_out_what_has_no_reward(tiny_folder: Path, tmp_path: Path) -> None:
    judge = Reader(refuses=lambda text: len(text) % 2 == 1)
    trainer, ((texts, rewards),) = trained(tiny_folder, tmp_path, reward(judge, PANEL))
    assert [r is None for r in rewards] == [len(t) % 2 == 1 for t in texts]
    given = [r for r in rewards if r is not None]
    assert 0 < len(given) < len(rewards)
    logged = trainer.state.log_history[0]
    assert logged["reward"] == pytest.approx(sum(given) / len(given))
    assert logged["reader/without_reward"] == 1 - len(given) / len(rewards)
    advantages = list(trainer._logs["advantages"])
    assert [a for a, r in zip(advantages, rewards, strict=True) if r is None] == pytest.approx(
        [0.0] * (len(rewards) - len(given))
    )
    assert sum(advantages) == pytest.approx(0, abs=1e-5)
    assert math.isfinite(logged["loss"])


def test_reviews_without_a_verdict_give_no_reward(
    tmp_path: Path, tiny: LocalModel, tiny_params: Params
) -> None:
    panel = Panel(taxonomy.load("cqa"), load_dialect("rehearsal"))
    with CallRecord(tmp_path / "calls.sqlite") as record:
        judge = LocalJudge("local", "tiny", tiny_params.judging, record, lambda: nullcontext(tiny))
        assert reward(judge, panel)(prompts=["p"] * 2, completions=["a glove .", "b ."]) == [
            None, None,
        ]  # fmt: skip
