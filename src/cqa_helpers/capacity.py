"""What fine-tuning a model needs, what the machine has, and the gentlest way that fits.

The figures are arithmetic on a model's shape, checked against what autograd really keeps on a
small model. No model is loaded here.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from cqa_helpers.hardware import GIB, Machine, machine

__all__ = [
    "CapacityError", "Choice", "Machine", "Need", "Precision", "Shape", "choose", "layer_bytes",
    "machine", "need", "shape_of", "weights_bytes",
]  # fmt: skip

Precision = Literal["float32", "bfloat16", "nf4"]
# Dettmers et al. 2023 (QLoRA), section 3: 4 bits, and 0.127 bits of constants with double
# quantisation in blocks of 64 and 256.
NF4_BITS = 4 + 8 / 64 + 32 / (64 * 256)
BYTES: dict[Precision, int] = {"float32": 4, "bfloat16": 2, "nf4": 2}
OVERHEAD_GIB = 1.0  # CUDA context, libraries, fragmentation: our choice
MARGIN = 0.10  # of the free memory is left alone: our choice
KNOWN = ("llama", "qwen2", "qwen3", "mistral")
# In the order in which they are tried: no compromise first, the slowest last.
WAYS: tuple[tuple[Precision, bool], ...] = (
    ("bfloat16", False), ("bfloat16", True), ("nf4", False), ("nf4", True),
)  # fmt: skip


class CapacityError(RuntimeError):
    """A model does not fit, or its shape is not one whose needs are known."""


class Shape(NamedTuple):
    """A decoder's sizes; ``linear`` counts the parameters of the layers that LoRA targets.

    ``head_width`` is the width of one attention head, ``lora_in_out`` the sum of inputs and
    outputs over all targeted layers: times the rank, it is the number of LoRA's parameters.
    """

    parameters: int
    linear: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    vocab: int
    tied: bool
    head_width: int
    lora_in_out: int

    def lora(self, rank: int) -> int:
        """Return the number of LoRA's parameters at a rank, on all linear layers but the head."""
        return rank * self.lora_in_out


class Need(NamedTuple):
    """Memory that training takes, in GiB."""

    weights: float
    adapter: float
    activations: float
    logits: float
    overhead: float
    total: float


class Choice(NamedTuple):
    """How a model is trained on a machine, and why so in one sentence."""

    precision: Precision
    checkpointing: bool
    need: Need
    why: str


def shape_of(config: Any) -> Shape:
    """Return the shape that a transformers config describes, without making the model.

    Raises
    ------
    CapacityError
        Not of a family (Llama, Mistral, Qwen2, Qwen3) whose layers are known here.
    """
    family = getattr(config, "model_type", None)
    if family not in KNOWN:
        raise CapacityError(
            f"The needs of model type {family!r} are not known; known are {', '.join(KNOWN)}."
        )
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    heads = config.num_attention_heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or hidden // heads
    q, kv = heads * width, kv_heads * width
    sizes = [(hidden, q), (hidden, kv), (hidden, kv), (q, hidden)]
    sizes += [(hidden, inner), (hidden, inner), (inner, hidden)]
    biases = q + 2 * kv if family == "qwen2" else 0
    if family in ("llama", "qwen3") and getattr(config, "attention_bias", False):
        biases = q + 2 * kv + hidden
    if getattr(config, "mlp_bias", False):
        biases += 2 * inner + hidden
    norms = 2 * hidden + (2 * width if family == "qwen3" else 0)
    weights = sum(a * b for a, b in sizes)
    embeddings = config.vocab_size * hidden * (1 if config.tie_word_embeddings else 2)
    return Shape(
        parameters=layers * (weights + biases + norms) + hidden + embeddings,
        linear=layers * weights,
        layers=layers,
        hidden=hidden,
        intermediate=inner,
        heads=heads,
        kv_heads=kv_heads,
        vocab=config.vocab_size,
        tied=bool(config.tie_word_embeddings),
        head_width=width,
        lora_in_out=layers * sum(a + b for a, b in sizes),
    )


def weights_bytes(shape: Shape, precision: Precision) -> float:
    """Return the bytes of the base's weights; 4-bit is for linear layers, all else has 16 bits."""
    if precision != "nf4":
        return shape.parameters * BYTES[precision]
    return shape.linear * NF4_BITS / 8 + (shape.parameters - shape.linear) * 2


def layer_bytes(shape: Shape, precision: Precision, rank: int, dropout: bool = False) -> float:
    """Return the bytes of one block's activations that autograd keeps for one token.

    With b bytes a number, h hidden, i intermediate, q and k the widths of queries and keys, r the
    rank: two norms keep their input in float32 (8h); LoRA keeps the input of each targeted layer
    it is given (5h + q + i: in 16 bits mixed precision makes each layer a copy of its own, in
    float32 equal inputs are shared, 2h + i) and what its first matrix makes of it (7r); attention
    without a score matrix (SDPA) keeps queries, keys, values and its output (2q + 2k); the gated
    unit keeps its gate, the gate's SiLU and the other half (3i). Derived from the operations of
    transformers' Llama and Qwen2 blocks and compared with what autograd keeps; our arithmetic.
    Dropout gives every layer its own copy and a mask: a byte a number on a GPU, four on a CPU,
    where training is in float32.
    """
    b = BYTES[precision]
    h, i = shape.hidden, shape.intermediate
    q, k = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    inputs = 5 * h + q + i
    kept = inputs if b == 2 or dropout else 2 * h + i
    mask = inputs * (4 if precision == "float32" else 1) if dropout else 0
    numbers = kept + 7 * rank + 2 * q + 2 * k + 3 * i
    return 8.0 * h + b * numbers + mask + 4 * shape.heads


def need(
    shape: Shape,
    precision: Precision,
    rank: int,
    micro_batch: int,
    length: int,
    supervised: int,
    checkpointing: bool,
    dropout: bool = False,
) -> Need:
    """Return the memory that LoRA training takes, in GiB.

    Parameters
    ----------
    length, supervised
        Tokens of the longest row, and those of them on which the loss is taken.

    Notes
    -----
    weights
        2 bytes a parameter in bfloat16, 4 in float32; nf4: 4.127 bits in linear layers (QLoRA,
        section 3), 2 bytes in embeddings, head and norms.
    adapter
        16 bytes a LoRA parameter: float32 weight, gradient and Adam's two moments.
    activations
        :func:`layer_bytes` a layer and token. With checkpointing (Chen et al. 2016) only each
        block's input, and one block in full while it is worked out again. One block's worth more
        for the gradients on their way back (our choice).
    logits
        Head and loss on supervised tokens alone: the logits, their float32 copy, and its
        log-softmax, whose place the gradient takes (our choice).
    overhead
        1 GiB (our choice), and in nf4 the largest layer in 16 bits while it is multiplied.
    """
    b = BYTES[precision]
    tokens = micro_batch * length
    block = layer_bytes(shape, precision, rank, dropout) * tokens
    kept = shape.layers * (b * shape.hidden * tokens if checkpointing else block)
    kept += 2 * block if checkpointing else block
    logits = micro_batch * supervised * shape.vocab * (b + 8)
    unpacked = 2 * shape.hidden * shape.intermediate if precision == "nf4" else 0
    parts = (
        weights_bytes(shape, precision) / GIB,
        16 * shape.lora(rank) / GIB,
        kept / GIB,
        logits / GIB,
        OVERHEAD_GIB + unpacked / GIB,
    )
    return Need(*parts, total=sum(parts))


def choose(
    shape: Shape,
    free_gib: float | None,
    *,
    precision: str = "auto",
    checkpointing: str = "auto",
    rank: int = 16,
    micro_batch: int = 1,
    length: int = 4096,
    supervised: int = 1024,
    dropout: bool = False,
    device: str = "cuda",
) -> Choice:
    """Return the gentlest way to train that fits, 10 % of the free memory left alone.

    ``auto`` on a GPU: bfloat16 without gradient checkpointing, with it, nf4 without, with it; on
    a CPU: float32. Memory that is not known (None) refuses nothing, and ``why`` says so.

    Raises
    ------
    CapacityError
        Nothing fits: what is short and what to change.
    """
    ways = WAYS if device != "cpu" else (("float32", False), ("float32", True))
    if precision != "auto":
        ways = tuple((p, c) for p in BYTES for c in (False, True) if p == precision)
    if checkpointing != "auto":
        ways = tuple((p, c) for p, c in ways if c == (checkpointing == "on"))
    if not ways:
        raise CapacityError(
            f"precision {precision!r} with checkpointing {checkpointing!r} is no way to train; "
            "precision is auto, float32, bfloat16 or nf4, checkpointing auto, on or off."
        )
    tried: list[tuple[str, Need]] = []
    for name, saved in ways:
        wanted = need(shape, name, rank, micro_batch, length, supervised, saved, dropout)
        way = f"{name} {'with' if saved else 'without'} gradient checkpointing"
        if free_gib is None:
            return Choice(name, saved, wanted, f"{way}: needs {_gib(wanted.total)}; "
                          "free memory is not known")  # fmt: skip
        if wanted.total <= (1 - MARGIN) * free_gib:
            why = f"{way}: needs {_gib(wanted.total)} of the {_gib(free_gib)} free"
            if tried:
                why += f" ({tried[0][0]} would need {_gib(tried[0][1].total)})"
            return Choice(name, saved, wanted, why)
        tried.append((way, wanted))
    way, least = min(tried, key=lambda t: t[1].total)
    assert free_gib is not None
    raise CapacityError(_short(way, least, free_gib, micro_batch, length, precision, checkpointing))


def _short(
    way: str,
    least: Need,
    free: float,
    micro_batch: int,
    length: int,
    precision: str,
    checkpointing: str,
) -> str:
    """Return what is short and which settings would ease it most."""
    room = (1 - MARGIN) * free
    todo = []
    if precision not in ("auto", "nf4"):
        todo.append("set models.precision to nf4 or auto (on a GPU)")
    if checkpointing == "off":
        todo.append("set tuning.activation_checkpointing to auto")
    if micro_batch > 1:
        todo.append(f"lower tuning.micro_batch_size from {micro_batch}")
    fixed = least.weights + least.adapter + least.overhead
    if fixed < room:
        fits = int(length * (room - fixed) / (least.activations + least.logits))
        todo.append(f"shorten the rows (about {fits} tokens would fit, the longest has {length})")
    todo.append(f"take a card with {_gib(least.total / (1 - MARGIN))} free")
    return (
        f"Out of memory before it began: even {way} needs {_gib(least.total)} (weights "
        f"{_gib(least.weights)}, activations {_gib(least.activations)}, logits "
        f"{_gib(least.logits)}), and of {_gib(free)} free {_gib(room)} may be used. "
        f"What helps: {'; '.join(todo)}."
    )


def _gib(value: float) -> str:
    return f"{value:.0f} GiB" if value >= 100 else f"{value:.1f} GiB"
