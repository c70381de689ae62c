from __future__ import annotations

import ast
from pathlib import Path

import pytest

from cqa_helpers import loading
from cqa_helpers.loading import Loading

SEVEN = Loading("cqa-x", "Qwen/Qwen2.5-7B", "abc123", "bfloat16", 16, "Read {passage}\n{question}",
                400)  # fmt: skip


@pytest.mark.parametrize(
    "of",
    [
        SEVEN,
        SEVEN._replace(base=None),
        SEVEN._replace(precision="nf4"),
        SEVEN._replace(revision=None, prompt='a "quoted" {passage}\\ 你'),
    ],
)
def test_the_code_is_python_that_reads_safetensors_only_and_runs_no_code(of: Loading) -> None:
    tree = ast.parse(loading.transformers_code(of))
    calls = {ast.unparse(c.func): {k.arg: ast.unparse(k.value) for k in c.keywords}
             for c in ast.walk(tree) if isinstance(c, ast.Call)}  # fmt: skip
    model = calls["AutoModelForCausalLM.from_pretrained"]
    assert model["use_safetensors"] == "True"
    assert model["trust_remote_code"] == "False"
    assert calls["AutoTokenizer.from_pretrained"]["trust_remote_code"] == "False"
    assert ("PeftModel.from_pretrained" in calls) == (of.base is not None)
    pinned = "'abc123'" if of.base and of.revision else None
    assert model.get("revision") == pinned
    said = [a.value for a in ast.walk(tree) if isinstance(a, ast.Constant)]
    assert of.prompt in said


@pytest.mark.parametrize(("rank", "room"), [(2, 8), (8, 8), (9, 16), (16, 16), (100, 128)])
def test_vllm_is_given_room_for_the_rank(rank: int, room: int) -> None:
    command = loading.vllm_command(SEVEN._replace(rank=rank))
    assert f"--enable-lora --max-lora-rank {room} " in command
    assert "serve Qwen/Qwen2.5-7B --revision abc123 --dtype bfloat16" in command
    assert f"--lora-modules cqa-x={loading.FOLDER}" in command


def test_a_merged_model_is_served_alone_and_4_bit_weights_are_owned_up_to() -> None:
    merged = loading.section(SEVEN._replace(base=None))
    assert "lora" not in merged
    assert f"vllm serve {loading.FOLDER}" in merged
    coarse = loading.section(SEVEN._replace(precision="nf4"))
    assert "--dtype bfloat16" in coarse
    assert "that was not measured" in coarse
    assert "that was not measured" not in loading.section(SEVEN)


def test_the_code_for_4_bit_weights_loads_a_base_in_4_bits(tiny_folder: Path) -> None:
    pytest.importorskip("bitsandbytes")
    code = loading.transformers_code(
        SEVEN._replace(base="BASE", revision=None, precision="nf4", max_new_tokens=2,
                       prompt="<s> {passage} <rev_a>")
    )  # fmt: skip
    code = code.replace("'BASE'", repr(str(tiny_folder)))
    code = code.replace("model = PeftModel.from_pretrained(model, adapter)\n", "")
    names: dict[str, object] = {}
    exec(code, names)
    assert getattr(names["model"], "is_loaded_in_4bit", False)
