from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from cqa_helpers import paths
from cqa_helpers.rehearsal import base, gate, voices
from cqa_helpers.rehearsal.people import annotate
from cqa_helpers.rehearsal.world import draw_stories

SHIPPED = [paths.root() / "data" / "rehearsal" / f"base-{lineage}" for lineage in base.LINEAGES]


def test_the_tokenizer_gives_back_what_it_reads_and_adds_nothing() -> None:
    words = base.tokenizer()
    story = draw_stories(1, seed=1)[0]
    text = f"{voices.prompt(story.text, '<rev_a>')} {annotate([story], 1)[0].cot_body} </s>"
    ids = words(text)["input_ids"]
    assert len(ids) == len(text.split())
    assert words.decode(ids) == text
    assert words.unk_token_id not in ids


def test_padding_stands_on_the_left() -> None:
    batch = base.tokenizer()(["<s> the", "<s> the watch ."], padding=True)["input_ids"]
    assert batch[0][:2] == [base.tokenizer().pad_token_id] * 2


def test_the_rate_warms_up_holds_and_ends_at_zero() -> None:
    rates = [base.learning_rate_factor(s, 1000) for s in range(1000)]
    assert rates[0] < 0.05
    assert rates[100] == rates[300] == 1
    assert 0 < rates[999] < 0.01
    assert all(a >= b for a, b in pairwise(rates[300:]))


def test_one_seed_trains_one_model_and_another_seed_another() -> None:
    one, again, other = (base.pretrain(seed, steps=3, log=False) for seed in (1, 1, 2))
    first, same, different = (m.model.embed_tokens.weight for m, _ in (one, again, other))
    assert torch.equal(first, same)
    assert one[1] == again[1]
    assert not torch.equal(first, different)


def test_a_short_training_lowers_the_loss(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "REPORT_EVERY", 10)
    monkeypatch.setattr(base, "TOKENS_A_STEP", 600)
    base.pretrain(1, steps=60)
    losses = [float(line.split()[3]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 6
    assert losses[-1] < 0.7 * losses[0]


def test_an_untrained_base_fails_its_gate_and_the_record_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "MAX_NEW_TOKENS", 4)
    reports = base.train_lineage("a", tmp_path, steps=2)
    record = json.loads((tmp_path / "training.json").read_text())
    assert not reports["a"].passed
    assert record["steps"] == 2
    assert record["seed"] == base.LINEAGES["a"]
    assert not record["gate"]["a"]["passed"]
    assert record["gate"]["a"]["failures"]


def test_the_command_asks_for_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        base.main([])
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda f: f.name)
class TestShipped:
    def test_it_reads_every_relevant_note(self, folder: Path) -> None:
        shares = gate.note_exactness(*gate.load(folder), draw_stories(64, seed=4321))
        assert min(shares.values()) >= gate.NOTE_EXACTNESS, shares

    def test_its_reviews_are_well_formed(self, folder: Path) -> None:
        model, tokenizer = gate.load(folder)
        stories = draw_stories(24, seed=4322)
        reviews = gate.sample_reviews(model, tokenizer, stories, seed=1)
        _, missing = gate.verdict_aucs(
            stories, gate.verdict_margins(model, tokenizer, stories, reviews)
        )
        assert max(missing.values()) <= gate.MOST_UNPARSED
        again = gate.sample_reviews(model, tokenizer, stories, seed=1)
        assert reviews == again

    def test_its_recorded_gate_is_within_the_thresholds(self, folder: Path) -> None:
        record = json.loads((folder / "training.json").read_text())
        for voice in ("a", "b"):
            measured = record["gate"][voice]
            assert measured["passed"] == (not measured["failures"])
            recomputed = gate.failures(
                measured["note_exactness"],
                measured["verdict_auc"],
                measured["mean_auc"],
                measured["unparsed"],
            )
            assert list(recomputed) == measured["failures"] == []

    def test_its_weights_are_small_and_of_the_declared_shape(self, folder: Path) -> None:
        file = folder / "model.safetensors"
        assert file.stat().st_size < 2_000_000
        with safe_open(file, framework="pt") as weights:
            names = list(weights.keys())
            assert {weights.get_tensor(n).dtype for n in names} == {torch.bfloat16}
        model, tokenizer = gate.load(folder)
        assert model.config.hidden_size == base.config().hidden_size
        assert tokenizer.get_vocab() == base.tokenizer().get_vocab()


def test_the_two_lineages_are_two_models() -> None:
    a, b = (gate.load(folder)[0].model.embed_tokens.weight for folder in SHIPPED)
    assert not torch.equal(a, b)
