from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from cqa_helpers import finetuning, merging, models
from cqa_helpers.arms import TrainingRow
from cqa_helpers.choices import Spot
from cqa_helpers.merging import Asked, MergeError, Parity, Readings, Tolerance
from cqa_helpers.models import LocalModel
from cqa_helpers.params import Models, Params

ROWS = [
    TrainingRow("p1", "<s> <story> the inn at dawn . <rev_a>", " craft : verdict good ."),
    TrainingRow("p2", "<s> <story> a broken watch . <rev_a>", " craft : verdict bad ."),
]
ASKED = Asked(
    [(r.prompt, r.completion) for r in ROWS],
    [Spot(i, f"{r.prompt} craft : verdict ") for i, r in enumerate(ROWS)],
    ("bad", "good"),
)
LOOSE = Tolerance(9.0, 1.0)


@pytest.fixture
def adapter(tiny: LocalModel, tiny_params: Params, tmp_path: Path) -> Path:
    assert tiny_params.tuning is not None
    tuning = tiny_params.tuning.model_copy(update={"learning_rate": 0.05, "steps": 4})
    return finetuning.tune(tiny, ROWS, tuning, 1, tmp_path / "adapter").folder


@pytest.fixture
def spec(tiny_params: Params) -> Models:
    assert tiny_params.models is not None
    return tiny_params.models


def test_the_merged_model_is_the_judge_that_base_and_adapter_are(
    spec: Models, adapter: Path, tmp_path: Path
) -> None:
    found = merging.merge(spec, spec.base, adapter, tmp_path / "out", ASKED)
    assert (found.rows, found.verdicts) == (2, 2)
    assert found.tokens == sum(len(r.completion.split()) + 1 for r in ROWS)
    assert found.max_logit < 1e-4
    assert found.same_greedy == 1
    written = json.loads((tmp_path / "out" / "parity.json").read_text())
    assert written.pop("tolerance") == merging.TOLERANCE["float32"]._asdict()
    assert Parity(**written) == found
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names >= {"model.safetensors", "config.json", "tokenizer.json"}
    assert not [n for n in names if n.endswith((".bin", ".pt"))]


def test_the_merged_weights_hold_the_adapter_and_not_the_bare_base(
    spec: Models, adapter: Path, tmp_path: Path
) -> None:
    merging.merge(spec, spec.base, adapter, tmp_path / "out", ASKED)
    merged = models.load(spec, str(tmp_path / "out")).model
    bare = models.load(spec).model
    tuned = load_file(adapter / "adapter_model.safetensors")
    name = "model.layers.0.self_attn.q_proj"
    config = json.loads((adapter / "adapter_config.json").read_text())
    a, b = (tuned[f"base_model.model.{name}.lora_{x}.weight"] for x in "AB")
    change = config["lora_alpha"] / config["r"] * b @ a
    assert change.abs().max() > 0
    wanted = bare.get_submodule(name).weight + change
    assert torch.allclose(merged.get_submodule(name).weight, wanted, atol=1e-6)


def test_a_base_that_is_in_use_is_left_as_it_was(
    tiny: LocalModel, spec: Models, adapter: Path, tmp_path: Path
) -> None:
    before = {k: v.clone() for k, v in tiny.model.state_dict().items()}
    merging.merge(spec, spec.base, adapter, tmp_path / "out", ASKED, local=tiny)
    after = tiny.model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[k], before[k]) for k in before)


def test_an_adapter_of_4_bit_weights_is_merged_into_whole_ones_and_the_gap_is_told(
    spec: Models, adapter: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    coarse = Models.model_validate({**spec.model_dump(), "precision": "nf4"})
    found = merging.merge(coarse, spec.base, adapter, tmp_path / "out", ASKED, tolerance=LOOSE)
    assert (found.adapter_precision, found.merged_precision) == ("nf4", "bfloat16")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert "quantization_config" not in config
    weights = load_file(tmp_path / "out" / "model.safetensors")
    assert {v.dtype for v in weights.values()} == {torch.bfloat16}
    assert found.max_logit > 1e-3  # 4 bits against 16: were it zero, nothing would be compared


def test_a_difference_above_the_tolerance_raises_with_its_figures_and_leaves_nothing(
    spec: Models, adapter: Path, tmp_path: Path
) -> None:
    with pytest.raises(MergeError, match=r"divergence .*allowed 0\.5\).*allowed -1\)"):
        merging.merge(spec, spec.base, adapter, tmp_path / "o" / "out", ASKED,
                      tolerance=Tolerance(0.5, -1.0))  # fmt: skip
    assert list((tmp_path / "o").iterdir()) == []


def test_weights_that_are_not_numbers_are_not_merged(
    spec: Models, adapter: Path, tmp_path: Path
) -> None:
    file = adapter / "adapter_model.safetensors"
    weights = load_file(file)
    for name in weights:
        weights[name][:] = math.inf
    save_file(weights, file)
    with pytest.raises(MergeError, match="cannot be merged"):
        merging.merge(spec, spec.base, adapter, tmp_path / "o" / "out", ASKED)
    assert list((tmp_path / "o").iterdir()) == []


def test_a_folder_that_is_there_and_nothing_to_compare_on_are_refused(
    spec: Models, tmp_path: Path
) -> None:
    with pytest.raises(MergeError, match="is there already"):
        merging.merge(spec, spec.base, tmp_path, tmp_path, ASKED)
    with pytest.raises(MergeError, match="unmeasured"):
        merging.merge(spec, spec.base, tmp_path, tmp_path / "out", Asked([]))


def test_a_pickled_adapter_is_not_read(spec: Models, adapter: Path, tmp_path: Path) -> None:
    weights = load_file(adapter / "adapter_model.safetensors")
    (adapter / "adapter_model.safetensors").unlink()
    torch.save(weights, adapter / "adapter_model.bin")
    with pytest.raises(MergeError, match=r"no adapter_model\.safetensors"):
        merging.merge(spec, spec.base, adapter, tmp_path / "out", ASKED)


def test_spots_without_their_words_are_refused(spec: Models, adapter: Path, tmp_path: Path) -> None:
    with pytest.raises(MergeError, match="two words"):
        merging.merge(
            spec, spec.base, adapter, tmp_path / "out", Asked(ASKED.rows, ASKED.spots, None)
        )


def test_parity_by_hand() -> None:
    # p = (1/2, 1/4, 1/4) against q = (1/4, 1/2, 1/4): 1/2 log2 2 − 1/4 log2 2 = 1/4 bit.
    one = torch.tensor([[2.0, 1.0, 1.0], [0.0, 0.0, 0.0]]) * math.log(2)
    two = torch.tensor([[1.0, 2.0, 1.0], [0.0, 0.0, 0.0]]) * math.log(2)
    found = merging.compare(
        Readings([one], np.array([0.2, 0.9])), Readings([two], np.array([0.3, 0.9])), "nf4", "x"
    )
    assert found.max_kl_bits == pytest.approx(0.25)
    assert found.kl_bits == pytest.approx(0.125)
    assert found.max_logit == pytest.approx(math.log(2))
    assert found.mean_logit == pytest.approx(math.log(2) / 3)
    assert found.same_greedy == 0.5
    assert (found.max_probability, found.mean_probability) == pytest.approx((0.1, 0.05))
    assert (found.tokens, found.rows, found.verdicts) == (2, 1, 2)


@pytest.mark.parametrize(
    ("changes", "tolerance", "within"),
    [
        ({}, Tolerance(0.2, 0.1), True),
        ({}, Tolerance(0.05, 0.1), False),
        ({}, Tolerance(0.2, 0.01), False),
        ({"max_probability": None}, Tolerance(0.2, 0.01), True),
        ({"kl_bits": math.nan}, Tolerance(9.0, 1.0), False),
        ({"max_probability": math.nan}, Tolerance(9.0, 1.0), False),
    ],
)
def test_both_the_answers_and_the_verdicts_must_be_within(
    changes: dict[str, float | None], tolerance: Tolerance, within: bool
) -> None:
    parity = Parity("float32", "float32", 1, 2, 0.1, 0.1, 0.1, 0.2, 1.0, 2, 0.05, 0.05)
    assert parity._replace(**changes).within(tolerance) is within
