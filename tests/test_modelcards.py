from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from huggingface_hub import ModelCard

from cqa_helpers import modelcards, prompts
from cqa_helpers.agreement import Interval
from cqa_helpers.cohort import Member
from cqa_helpers.merging import Parity
from cqa_helpers.modelcards import Data, Facts, Metric
from cqa_helpers.params import Params

DATA = Data(8, 8, 5, ("en", "zh"), {"published": 8}, {"CC-BY-4.0": 8}, "CC-BY-4.0", 0, "f" * 16,
            {"annotations.jsonl": "a" * 64})  # fmt: skip
RECORD = {"base": "Qwen/Qwen2.5-7B@abc/bfloat16", "rows": 24, "supervised_tokens": 12345,
          "steps": 70, "losses": [1.0, 0.5], "recipe": "r" * 16, "weights": "w" * 16}  # fmt: skip
PARITY = Parity("nf4", "bfloat16", 8, 700, 0.5, 0.01, 0.002, 0.1, 0.99, 24, 0.03, 0.01)


@pytest.fixture
def facts(small_params: Callable[..., Params]) -> Facts:
    return Facts(
        small_params(), Member("cot", 8, 1), prompts.load_dialect("question"),
        {"craft": "Do the choices achieve what the author is after?"}, "Qwen/Qwen2.5-7B", True,
        "abc", "apache-2.0", RECORD, DATA, [Metric("kappa", "all seeds", Interval(.31, .2, .42))],
        {"git_commit": "c" * 40, "git_dirty": False},
    )  # fmt: skip


def head(facts: Facts) -> dict[str, Any]:
    return dict(ModelCard(modelcards.write(facts)).data.to_dict())


def test_the_head_is_the_hubs(facts: Facts) -> None:
    found = head(facts)
    assert found["base_model"] == "Qwen/Qwen2.5-7B"
    assert found["base_model_relation"] == "adapter"
    assert found["library_name"] == "peft"
    assert found["language"] == ["en", "zh"]
    assert found["pipeline_tag"] == "text-generation"
    assert {"lora", "simulated"} <= set(found["tags"])
    merged = head(facts._replace(parity=PARITY))
    assert (merged["library_name"], merged["base_model_relation"]) == ("transformers", "finetune")


def test_a_base_that_is_only_a_folder_is_no_base_model_of_the_hub(facts: Facts) -> None:
    found = facts._replace(base="data/rehearsal/base-a", on_hub=False, revision=None)
    assert "base_model" not in head(found)
    assert "`data/rehearsal/base-a` (a folder where it was trained" in modelcards.write(found)


@pytest.mark.parametrize(
    ("base", "annotations", "passages", "wanted"),
    [
        ("cc-by-4.0", "CC-BY-4.0", ["CC-BY-4.0"], "cc-by-4.0"),
        ("weights and text CC-BY-4.0", "CC-BY-4.0", ["CC-BY-4.0"], "cc-by-4.0"),
        ("apache-2.0", "CC-BY-4.0", ["CC-BY-4.0"], "other"),
        ("apache-2.0", "Apache-2.0", ["the author's; not shared"], "other"),
        (None, "CC-BY-4.0", ["CC-BY-4.0"], "unknown"),
        ("apache-2.0", None, ["Apache-2.0"], "unknown"),
        ("a licence of our own", "a licence of our own", ["a licence of our own"], "other"),
    ],
)
def test_the_licence_follows_base_and_data_and_unknown_stays_unknown(
    facts: Facts, base: str | None, annotations: str | None, passages: list[str], wanted: str
) -> None:
    data = DATA._replace(
        annotation_licence=annotations, passage_licences=dict.fromkeys(passages, 1)
    )
    given = facts._replace(base_licence=base, data=data)
    found = head(given)
    assert found["license"] == wanted
    assert ("license_link" in found) == (wanted == "other")
    text, note = modelcards.write(given), modelcards.licence_note(given)
    for stated in (base, annotations):
        assert (stated or "unknown") in text
        assert (stated or "licence unknown") in note
    assert all(p in note for p in passages)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ("simulated", "**Simulated.**"),
        ("model-authored", "**Model-authored.**"),
        ("public-replay", "Taught with public verdicts"),
        ("funded-study", "Taught with the study's own expert"),
    ],
)
def test_the_first_words_say_where_the_teaching_came_from(
    facts: Facts, status: str, said: str
) -> None:
    params = facts.params.model_copy(update={"status": status})
    text = ModelCard(modelcards.write(facts._replace(params=params))).text.strip()
    assert text.split("\n\n")[1].startswith(said)


def test_a_measure_has_its_interval_and_one_not_taken_is_no_number(facts: Facts) -> None:
    more = [*facts.metrics, Metric("AUC", "this seed", Interval(None, None, None)),
            Metric("share", "this seed", Interval(0.0, None, None))]  # fmt: skip
    text = modelcards.write(facts._replace(metrics=more))
    assert "| kappa | all seeds | 0.310 | 0.200 to 0.420 |" in text
    assert "| AUC | this seed | not measured | none |" in text
    assert "| share | this seed | 0.000 | none |" in text


def test_all_that_made_the_weights_stands_in_the_card(facts: Facts) -> None:
    text = modelcards.write(facts)
    for said in ("8 annotations of 8 passages from 5 works", "24 training rows", "12,345",
                 "a" * 64, "f" * 16, "| Steps | 70 |", "r" * 16, "w" * 16, "c" * 40, "0.5000",
                 "**Revision:** `abc`", "Do the choices achieve"):  # fmt: skip
        assert said in text, said
    for section in ("Intended Use", "Out-of-Scope Use", "How to Load", "Training Data",
                    "Training Recipe", "Evaluation", "Limitations", "Provenance"):  # fmt: skip
        assert section in text


def test_passages_that_may_not_be_passed_on_are_warned_of(facts: Facts) -> None:
    warned = modelcards.write(facts._replace(data=DATA._replace(withheld=3)))
    assert "3 of the 8 training passages may not be passed on" in warned
    assert "may not be passed on" not in modelcards.write(facts)


def test_a_merged_models_card_gives_its_parity(facts: Facts) -> None:
    text = modelcards.write(facts._replace(parity=PARITY))
    assert "in nf4, this model in bfloat16 on 700 tokens of 8 training answers" in text
    assert "mean divergence 0.002 bits a token (allowed 0.1)" in text
    assert "P of 24 verdicts differs by at most 0.03 (allowed 0.15)" in text
    bare = PARITY._replace(verdicts=0, max_probability=None, mean_probability=None)
    assert "no verdict was compared" in modelcards.write(facts._replace(parity=bare))


def test_a_hostile_licence_stays_within_its_line(facts: Facts) -> None:
    data = DATA._replace(passage_licences={"x\n---\n# Owned | <b>": 1})
    text = modelcards.write(facts._replace(data=data))
    assert "\n# Owned" not in text
    assert "<b>" not in text
