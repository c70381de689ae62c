"""How others load what was exported: code for transformers and peft, a command for vLLM."""

from __future__ import annotations

from typing import NamedTuple

# Ranks that vLLM can be told to make room for.
RANKS = (8, 16, 32, 64, 128, 256, 512)
FOLDER = "path/to/this/folder"
_QUANTISED = """\
quantised = BitsAndBytesConfig(
    load_in_4bit=True,
    bnb_4bit_quant_type="nf4",
    bnb_4bit_use_double_quant=True,
    bnb_4bit_compute_dtype="bfloat16",
)"""


class Loading(NamedTuple):
    """What the recipes need: ``base`` is null for merged weights, which need none.

    ``precision`` is the one in which it was trained, or written if it is merged.
    """

    name: str
    base: str | None
    revision: str | None
    precision: str
    rank: int
    prompt: str
    max_new_tokens: int


def transformers_code(of: Loading) -> str:
    """Return Python that loads the model and answers one prompt; safetensors only, no code."""
    quantised = of.precision == "nf4"
    names = [
        "AutoModelForCausalLM",
        "AutoTokenizer",
        *(["BitsAndBytesConfig"] if quantised else []),
    ]
    pinned = f", revision={of.revision!r}" if of.revision and of.base else ""
    weights = "quantization_config=quantised" if quantised else f'dtype="{of.precision}"'
    lines = [
        *(["from peft import PeftModel"] if of.base else []),
        f"from transformers import {', '.join(names)}", "",
        f"base = {(of.base or FOLDER)!r}", *([f"adapter = {FOLDER!r}"] if of.base else []),
        f"tokenizer = AutoTokenizer.from_pretrained(base{pinned}, trust_remote_code=False)",
        *([_QUANTISED] if quantised else []),
        "model = AutoModelForCausalLM.from_pretrained(",
        f"    base{pinned}, {weights}, use_safetensors=True, trust_remote_code=False",
        ")",
        *(["model = PeftModel.from_pretrained(model, adapter)"] if of.base else []),
        "model.eval()", "",
        f"prompt = {of.prompt!r}",
        'prompt = prompt.replace("{passage}", "Your passage.").replace("{question}", "Question?")',
        'inputs = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)',
        f"output = model.generate(**inputs.to(model.device), max_new_tokens={of.max_new_tokens})",
        'new = output[0, inputs["input_ids"].shape[1] :]',
        "answer = tokenizer.decode(new, skip_special_tokens=True)",
        "print(answer)",
    ]  # fmt: skip
    return "\n".join(lines)


def vllm_command(of: Loading) -> str:
    """Return the command that serves the model, or base and adapter, with vLLM."""
    if of.base is None:
        return f"vllm serve {FOLDER} --dtype {of.precision} --served-model-name {of.name}"
    rank = next((r for r in RANKS if r >= of.rank), RANKS[-1])
    precision = "bfloat16" if of.precision == "nf4" else of.precision
    pinned = f" --revision {of.revision}" if of.revision else ""
    return (
        f"vllm serve {of.base}{pinned} --dtype {precision} \\\n"
        f"    --enable-lora --max-lora-rank {rank} --lora-modules {of.name}={FOLDER}"
    )


def section(of: Loading) -> str:
    """Return both recipes as Markdown."""
    both = "transformers and peft" if of.base else "transformers"
    text = (
        f"With {both}, from safetensors and without code that comes with a model:\n\n"
        f"```python\n{transformers_code(of)}\n```\n\n"
        f"With vLLM; then ask the completions endpoint for the model `{of.name}`, with the prompt "
        f"above as plain text:\n\n```bash\n{vllm_command(of)}\n```"
    )
    if of.base and of.precision == "nf4":
        text += (
            "\n\nThe adapter was trained and measured on 4-bit weights (nf4); on the bfloat16 "
            "weights that vLLM serves here its answers differ a little, and that was not measured."
        )
    return text
