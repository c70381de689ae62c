from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cqa_helpers import cli, preferences
from cqa_helpers.params import Params
from cqa_helpers.preferences import Preferences, Task
from cqa_helpers.prompts import load_dialect, prefix
from cqa_helpers.records import (
    Constraints,
    Pair,
    Passage,
    Verdict,
    to_table,
    write_jsonl,
)

DIALECT = load_dialect("rehearsal")
ENGLISH = load_dialect("question")


def pair(k: int = 0, **changes: Any) -> Pair:
    constraints = Constraints(intent="tone fresh", audience="clue glove", reality="alibi lionel")
    whole = {
        "id": f"p{k}", "good": f"ash leaned on the shutters {'x ' * k}.",
        "degraded": "the wind howled like a wolf .", "dimension": "craft",
        "constraints": constraints, "group": "literary", "origin": "simulated",
    }  # fmt: skip
    return Pair(**whole | changes)


def verdict(item_id: str, p: float | None, **changes: Any) -> Verdict:
    value = changes.pop("value", None if p is None else int(p > 0.5))
    whole = {
        "item_id": item_id, "dimension": "craft", "judge_id": "j", "value": value,
        "probability": p, "status": "unparsed" if value is None else "ok",
    }  # fmt: skip
    return Verdict(**whole | changes)


def passage(item_id: str, **changes: Any) -> Passage:
    whole = {"id": item_id, "work_id": "w", "text": f"text of {item_id}", "licence": "MIT",
             "origin": "model-authored", "source": "s"}  # fmt: skip
    return Passage(**whole | changes)


def two() -> list[Task]:
    return preferences.of_pairs([pair()], DIALECT, "CC-BY-4.0")


def orders(forth: float | None, back: float | None, **changes: Any) -> list[Verdict]:
    """Return what a judge says of the pair's good text first, and of its degraded text first."""
    return [
        verdict("p0#good>p0#degraded", forth, **changes),
        verdict("p0#degraded>p0#good", back, **changes),
    ]


def test_a_row_has_what_a_trainer_reads_and_where_it_comes_from() -> None:
    said = [verdict("p0#good", 0.9), verdict("p0#degraded", 0.3)]
    (row,) = preferences.pointwise(two(), said, dialect="rehearsal@1").rows
    assert row == {
        "prompt": "<s> <plan> tone fresh , clue glove , alibi lionel . <story>",
        "chosen": " ash leaned on the shutters .",
        "rejected": " the wind howled like a wolf .",
        "margin": 0.6,
        "judge_id": "j",
        "dimension": "all",
        "source": "pointwise",
        "chosen_id": "p0#good",
        "rejected_id": "p0#degraded",
        "score_chosen": 0.9,
        "score_rejected": 0.3,
        "n_judged": 1,
        "consistent": None,
        "origin": "simulated",
        "licence": "CC-BY-4.0",
        "prompt_hash": row["prompt_hash"],
        "dialect": "rehearsal@1",
    }
    assert len(row["prompt_hash"]) == 16
    assert list(row) == preferences.SCHEMA.names


def test_the_text_begins_where_the_prompt_ends() -> None:
    (task,) = preferences.of_pairs([pair()], ENGLISH, None)
    said = [verdict("p0#good", 0.9), verdict("p0#degraded", 0.3)]
    (row,) = preferences.pointwise([task], said).rows
    assert row["prompt"] == prefix(ENGLISH, pair().constraints)
    assert row["prompt"].endswith("\n\n")
    assert row["chosen"] == pair().good
    assert row["licence"] == "unknown"


def test_the_score_is_the_mean_over_what_both_texts_were_judged_on() -> None:
    said = [
        verdict("p0#good", 0.2), verdict("p0#degraded", 0.6),
        verdict("p0#good", 0.5, repeat=1), verdict("p0#degraded", 0.5, repeat=1),
        verdict("p0#good", 1.0, dimension="audience"),
        verdict("p0#degraded", None, dimension="audience"),
    ]  # fmt: skip
    (row,) = preferences.pointwise(two(), said).rows
    assert row["chosen_id"] == "p0#degraded"
    assert [row["score_chosen"], row["score_rejected"], row["n_judged"]] == [0.55, 0.35, 2]


def test_values_count_within_their_scale_where_a_probability_is_missing() -> None:
    said = [
        verdict("p0#good", None, value=4, scale="1-5"),
        verdict("p0#degraded", 0.99, value=2, scale="1-5"),
    ]
    (row,) = preferences.pointwise(two(), said).rows
    assert [row["score_chosen"], row["score_rejected"], row["margin"]] == [0.75, 0.25, 0.5]


def test_ties_and_what_has_no_verdict_are_dropped_and_counted() -> None:
    tasks = preferences.of_pairs([pair(k) for k in range(4)], DIALECT, None)
    said = [
        verdict("p0#good", 0.50), verdict("p0#degraded", 0.54),
        verdict("p1#good", 0.50), verdict("p1#degraded", 0.56),
        verdict("p2#good", 0.50), verdict("p2#degraded", None),
        verdict("p3#good", 0.90), verdict("p3#degraded", 0.10),
    ]  # fmt: skip
    made = preferences.pointwise(tasks, said)
    assert [row["chosen_id"] for row in made.rows] == ["p1#degraded", "p3#good"]
    assert [made.ties, made.unparsed, made.planted, made.agreed] == [1, 1, 2, 1]
    assert made.mean_margin == pytest.approx(0.43)
    text = "\n".join(preferences.said(made, "pointwise"))
    assert "2 preference(s) kept, mean margin 0.430; 1 tie(s) dropped (margin below 0.05)" in text
    assert "1 comparison(s) without a verdict" in text
    assert "Planted: in 1 of 2 (50%) the judge prefers" in text
    assert len(preferences.pointwise(tasks, said, tie=0).rows) == 3


def test_equal_scores_are_a_tie_whatever_the_threshold() -> None:
    made = preferences.pointwise(two(), [verdict("p0#good", 1), verdict("p0#degraded", 1)], tie=0)
    assert [made.rows, made.ties, made.mean_margin] == [[], 1, None]
    assert "mean margin none" in preferences.said(made, "pointwise")[0]


def test_dimensions_are_compared_apart_if_asked() -> None:
    said = [
        verdict("p0#good", 0.9), verdict("p0#degraded", 0.1),
        verdict("p0#good", 0.2, dimension="audience"),
        verdict("p0#degraded", 0.6, dimension="audience"),
    ]  # fmt: skip
    rows = preferences.pointwise(two(), said, each_dimension=True).rows
    assert [(r["dimension"], r["chosen_id"], r["margin"]) for r in rows] == [
        ("craft", "p0#good", 0.8), ("audience", "p0#degraded", 0.4),
    ]  # fmt: skip


def test_both_orders_must_prefer_the_same_text() -> None:
    (row,) = preferences.pairwise(two(), orders(0.8, 0.4)).rows
    assert [row["chosen_id"], row["margin"], row["consistent"]] == ["p0#good", 0.4, True]
    assert [row["score_chosen"], row["score_rejected"]] == [0.7, 0.3]
    (row,) = preferences.pairwise(two(), orders(0.1, 0.7)).rows
    assert [row["chosen_id"], row["margin"]] == ["p0#degraded", 0.6]
    made = preferences.pairwise(two(), orders(0.9, 0.9))
    assert [made.rows, made.inconsistent, made.ties] == [[], 1, 0]
    assert "1 dropped: the two orders disagree." in preferences.said(made, "pairwise")
    made = preferences.pairwise(two(), orders(0.9, 0.5))
    assert [made.rows, made.inconsistent, made.ties] == [[], 0, 1]
    made = preferences.pairwise(two(), orders(0.9, None))
    assert [made.rows, made.unparsed] == [[], 1]


def test_without_probabilities_a_consistent_preference_has_margin_one() -> None:
    (row,) = preferences.pairwise(two(), orders(None, None, value=1)[:1] + orders(
        None, None, value=0)[1:]).rows  # fmt: skip
    assert [row["chosen_id"], row["margin"], row["score_chosen"]] == ["p0#good", 1.0, 1.0]


@given(
    st.floats(0, 1).filter(lambda p: abs(p - 0.5) > 0.01),
    st.floats(0, 1).filter(lambda p: abs(p - 0.5) > 0.01),
)
def test_a_judge_that_answers_by_position_alone_leaves_no_preference(p: float, q: float) -> None:
    made = preferences.pairwise(two(), orders(p, q), tie=0)
    same_place = (p > 0.5) == (q > 0.5)
    assert bool(made.rows) != same_place
    assert made.inconsistent == int(same_place)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_a_margin_is_never_negative_and_the_chosen_text_never_the_lower(ps: list[float]) -> None:
    task = Task("p ", tuple(passage(f"t{k}") for k in range(len(ps))))
    made = preferences.pointwise([task], [verdict(f"t{k}", p) for k, p in enumerate(ps)])
    assert all(row["margin"] >= 0.05 - 1e-6 for row in made.rows)
    assert all(row["score_chosen"] > row["score_rejected"] for row in made.rows)
    assert len(made.rows) + made.ties == math.comb(len(ps), 2)


def test_verdicts_of_two_judges_are_refused() -> None:
    said = [verdict("p0#good", 0.9), verdict("p0#degraded", 0.3, judge_id="k")]
    with pytest.raises(ValueError, match="one judge's, and these are of j, k"):
        preferences.pointwise(two(), said)


def test_works_are_compared_within_themselves_and_without_what_has_no_text() -> None:
    rows = [
        passage("a"), passage("b", licence="CC0-1.0"), passage("c", text=None, url="https://x.y"),
        passage("d", work_id="alone"),
    ]  # fmt: skip
    (task,) = preferences.of_works(rows, ENGLISH)
    assert [p.id for p in task.passages] == ["a", "b"]
    assert task.prompt == prefix(ENGLISH, None)
    (row,) = preferences.pointwise([task], [verdict("a", 0.1), verdict("b", 0.9)]).rows
    assert row["licence"] == "CC0-1.0 / MIT"
    assert preferences.pointwise([task], [verdict("a", 0.1), verdict("b", 0.9)]).planted == 0


def test_each_order_of_each_two_texts_is_asked_about_once() -> None:
    tasks = [Task("p", (passage("a"), passage("b"), passage("c"))), *two()]
    asked = preferences.side_by_side(tasks)
    assert len({p.id for p in asked}) == len(asked) == 6 + 2
    first = asked[0]
    assert [first.id, first.text, first.meta] == ["a>b", "text of a", {"second": "text of b"}]
    assert [p.id for p in preferences.alone(tasks)] == ["a", "p0#good", "b", "p0#degraded", "c"]


def exported(path: Path, n: int = 4) -> Preferences:
    tasks = preferences.of_pairs([pair(k) for k in range(n)], DIALECT, "CC-BY-4.0")
    said = [
        verdict(f"p{k}#{side}", 0.5 + sign * 0.1 * (k + 1))
        for k in range(n) for side, sign in (("good", 1), ("degraded", -1))
    ]  # fmt: skip
    made = preferences.pointwise(tasks, said)
    preferences.write(path, made)
    return made


@pytest.mark.parametrize("name", ["p.jsonl", "p.parquet"])
def test_what_is_written_is_read_by_the_data_sets_library(name: str, tmp_path: Path) -> None:
    import datasets

    datasets.disable_progress_bars()
    made = exported(tmp_path / name)
    kind = "parquet" if name.endswith("parquet") else "json"
    read = datasets.load_dataset(
        kind, data_files=str(tmp_path / name), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert read.to_list() == made.rows
    assert len(made.rows) == 4


def loaded(folder: Path, path: Path) -> Any:
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset(
        "json", data_files=str(path), split="train", cache_dir=str(folder / "cache")
    )


CHEAP: dict[str, Any] = {
    "max_steps": 2, "per_device_train_batch_size": 2, "learning_rate": 1e-3, "use_cpu": True,
    "bf16": False, "report_to": "none", "disable_tqdm": True, "save_strategy": "no",
    "logging_steps": 1, "max_length": 64, "seed": 1,
}  # fmt: skip


def test_trls_dpo_trainer_learns_from_an_export(tiny_folder: Path, tmp_path: Path) -> None:
    from cqa_helpers import models

    models.quiet()
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer

    made = exported(tmp_path / "p.jsonl")
    trainer = DPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(tiny_folder),
        processing_class=AutoTokenizer.from_pretrained(tiny_folder),
        train_dataset=loaded(tmp_path, tmp_path / "p.jsonl"),
        args=DPOConfig(output_dir=str(tmp_path), **CHEAP),
    )
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "grad_norm" in entry]
    assert len(logs) == 2
    assert all(math.isfinite(entry["loss"]) and entry["grad_norm"] > 0 for entry in logs)
    assert list(trainer.train_dataset["margin"]) == [row["margin"] for row in made.rows]
    # The texts are tokens of their own, none of them glued to the prompt's last word.
    tokenizer = trainer.processing_class
    row = trainer.train_dataset[0]
    assert tokenizer.decode(row["chosen_ids"]) == "ash leaned on the shutters . </s>"
    assert tokenizer.unk_token_id not in row["prompt_ids"]


def test_trls_reward_trainer_is_given_the_margins(tiny_folder: Path, tmp_path: Path) -> None:
    from cqa_helpers import models

    models.quiet()
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    seen: list[float] = []

    class Watched(RewardTrainer):  # type: ignore[misc]
        def compute_loss(self, model: Any, inputs: Any, *rest: Any, **more: Any) -> Any:
            seen.extend(inputs["margin"].tolist())
            return super().compute_loss(model, inputs, *rest, **more)

    made = exported(tmp_path / "p.jsonl")
    trainer = Watched(
        model=AutoModelForSequenceClassification.from_pretrained(tiny_folder, num_labels=1),
        processing_class=AutoTokenizer.from_pretrained(tiny_folder),
        train_dataset=loaded(tmp_path, tmp_path / "p.jsonl"),
        args=RewardConfig(output_dir=str(tmp_path), **CHEAP),
    )
    trainer.train()
    assert sorted(seen) == pytest.approx([row["margin"] for row in made.rows])
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2
    assert all(map(math.isfinite, losses))


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_the_command_asks_a_model_about_pairs_once_and_says_what_it_dropped(
    tmp_path: Path, tiny_folder: Path, small_params: Callable[..., Params],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from cqa_helpers import corpus, models

    params = small_params(models={"base": str(tiny_folder)}, judging={"max_new_tokens": 4},
                          tuning={"arms": {"verdict-only": [4]}, "equal_tokens": []},
                          surprise=None)  # fmt: skip
    monkeypatch.setattr(cli.params, "load", lambda file: params)
    monkeypatch.setattr(cli.paths, "run_dir", lambda profile: tmp_path / "run")
    command = ["export", "preferences", "rehearsal", str(tmp_path / "p.jsonl"), "--judge"]
    assert cli.main([*command, "base"]) == 1
    assert "run notebook 01-annotate-audit first" in capsys.readouterr().err
    corpus.prepare(params, tmp_path / "run")
    for judge, why in (
        ("gpt4", "can ask no judge 'gpt4' about these texts; it can ask tuned-verdict-only, base"),
        ("tuned-verdict-only", "run notebook 02-fine-tune"),
    ):
        assert cli.main([*command, judge]) == 1
        assert why in capsys.readouterr().err
    assert cli.main([*command, "base", "--source", "pairwise"]) == 1
    assert "has no form 'pairwise'" in capsys.readouterr().err
    assert cli.main([*command, "base", "--of", "works"]) == 1
    assert "no work has two held-out passages" in capsys.readouterr().err
    assert not (tmp_path / "p.jsonl").exists()
    # A random model's reviews have no verdict: all six pairs are counted as such.
    assert cli.main([*command, "base"]) == 0
    assert "6 comparison(s) without a verdict" in capsys.readouterr().out
    monkeypatch.setattr(models, "load", None)
    assert cli.main([*command, "base"]) == 0
    assert read(tmp_path / "p.jsonl") == []


def test_the_command_reads_works_off_the_verdicts_that_are_there(
    tmp_path: Path, small_params: Callable[..., Params],
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from cqa_helpers.corpus import FILES

    run = tmp_path / "run"
    for name in FILES:
        write_jsonl(run / "corpus" / f"{name}.jsonl", [])
    write_jsonl(run / "corpus" / "passages.jsonl", [passage("a"), passage("b"), passage("c")])
    (run / "corpus" / "made.json").write_text(json.dumps({"train": ["c"], "test": ["a", "b"]}))
    said: Sequence[Verdict] = [verdict("a", 0.2), verdict("b", 0.7), verdict("c", 0.9)]
    monkeypatch.setattr(cli.params, "load", lambda file: small_params())
    monkeypatch.setattr(cli.paths, "run_dir", lambda profile: run)
    out = tmp_path / "p.parquet"
    command = ["export", "preferences", "rehearsal", str(out), "--of", "works", "--judge"]
    assert cli.main([*command, "j"]) == 1
    assert "Run notebook 04-judge first" in capsys.readouterr().err
    to_table(list(said)).to_parquet(run / "verdicts.parquet", index=False)
    assert cli.main([*command, "k"]) == 1
    assert "has no verdicts of 'k'; it has those of j" in capsys.readouterr().err
    assert cli.main([*command, "j", "--tie", "0.6"]) == 0
    assert "0 preference(s) kept" in capsys.readouterr().out
    assert cli.main([*command, "j"]) == 0
    (row,) = pq.read_table(out).to_pylist()
    assert [row["chosen_id"], row["rejected_id"], row["margin"]] == ["b", "a", 0.5]
    assert row["dialect"] is None
