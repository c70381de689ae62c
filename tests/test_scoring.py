from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cqa_helpers import likelihood, models, paths, scoring
from cqa_helpers.models import LocalModel
from cqa_helpers.params import Params
from cqa_helpers.scoring import Asked, Bits, SurpriseError

ENGLISH = (
    "The bailiff was kind about it. He wiped his feet, and asked which of the things were hers. "
)
CHINESE = "她数了数码头上的灯，又有一盏灭了。“是谁？”他问。没有人回答，雨下了一夜。"
PREFIXES = (
    "Here is a passage of fiction.\n\n", "下面是一段小说。", "What it is meant to do: to frighten",
    "Here is a passage of fiction. What must hold: the lamps are out.\n\n",
)  # fmt: skip
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>"]


def subwords(opening: bool = False) -> Any:
    """Return a byte-level tokenizer with a few merges; ``opening``: it writes <s> by itself."""
    from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.train_from_iterator(
        [ENGLISH, CHINESE],
        BpeTrainer(
            vocab_size=380, special_tokens=SPECIAL, show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )  # fmt: skip
    if opening:
        inner.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", 2)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


@pytest.fixture(scope="module")
def bytewise() -> Any:
    return subwords()


@pytest.fixture
def mixed(tiny: LocalModel, bytewise: Any) -> LocalModel:
    """Return the tiny model with tokens that are parts of words and of Chinese signs."""
    return LocalModel(tiny.model, bytewise, "tiny")


def plainly(local: LocalModel, before: Sequence[int], own: Sequence[int]) -> NDArray[np.float64]:
    """Return the bits of ``own`` from one forward pass, all logits in float64."""
    ids = [*before, *own]
    with torch.inference_mode():
        logits = local.model(input_ids=torch.tensor([ids])).logits[0].double()
    logs = torch.log_softmax(logits, -1)
    return np.array([
        -logs[t - 1, ids[t]].item() / math.log(2) for t in range(len(before), len(ids))
    ])  # fmt: skip


def apart(local: LocalModel, asked: Asked) -> tuple[list[int], list[int]]:
    """Return prefix and text tokenised each for itself: the same here, as a newline parts them."""
    head = asked.prefix if asked.prefix[-1].isspace() else asked.prefix + "\n"
    return local.tokenizer(head)["input_ids"], local.tokenizer(asked.text)["input_ids"]


def random_texts(n: int) -> list[Asked]:
    rng = np.random.default_rng(5)
    made = []
    for i in range(n):
        source = (ENGLISH, CHINESE, ENGLISH + CHINESE)[i % 3]
        signs = rng.choice(list(source), int(rng.integers(1, 40)))
        # Signs in a random order, or a piece of prose.
        at = int(rng.integers(0, len(source) - 1))
        text = "".join(signs) if i % 2 else source[at : at + 40]
        made.append(Asked(str(rng.choice(PREFIXES)), text.strip() or "x"))
    return made


def test_bits_equal_a_plain_computation_on_200_random_texts(mixed: LocalModel) -> None:
    asked = random_texts(200)
    assert any("灯" in a.text for a in asked)
    for found, question in zip(scoring.score(mixed, asked), asked, strict=True):
        wanted = plainly(mixed, *apart(mixed, question))
        assert found.bits == pytest.approx(wanted, abs=1e-4)
        assert found.total == pytest.approx(wanted.sum(), abs=1e-3)
        assert (found.n_chars, found.windows) == (len(question.text), 1)
        assert not found.straddles


def test_the_rehearsal_base_is_read_as_by_a_plain_computation(small_params: Any) -> None:
    params: Params = small_params()
    assert params.models is not None
    local = models.load(params.models)
    file = paths.root() / "data" / "pairs" / "literary.en.jsonl"
    asked = [
        Asked(prefix, text)
        for prefix in ("<s> <story>", "<s> <plan> the watch was in the tower . <story>")
        for text in ("it was midnight . frost gathered on the slates .", "the watch was in the",
                     file.read_text(encoding="utf-8")[:200])
    ]  # fmt: skip
    for found, (prefix, text) in zip(scoring.score(local, asked), asked, strict=True):
        before, own = (local.tokenizer(part)["input_ids"] for part in (prefix, text))
        assert found.bits == pytest.approx(plainly(local, before, own), abs=1e-4)


@pytest.mark.parametrize("batch_tokens", [1, 64, 300, 10_000])
def test_neither_batches_nor_order_change_a_bit(mixed: LocalModel, batch_tokens: int) -> None:
    asked = random_texts(40)
    alone = [scoring.score(mixed, [question])[0] for question in asked]
    turn = np.random.default_rng(batch_tokens).permutation(len(asked))
    found = scoring.score(mixed, [asked[i] for i in turn], batch_tokens=batch_tokens)
    for i, bits in zip(turn, found, strict=True):
        assert bits.bits == pytest.approx(alone[i].bits, abs=1e-5)


def test_spans_cover_a_text_in_order_from_its_first_sign_to_its_last(mixed: LocalModel) -> None:
    text = "He asked “谁？” twice."
    found = scoring.score(mixed, [Asked("A story:", text)])[0]
    assert found.spans.shape == (len(found.bits), 2)
    assert (found.spans[0, 0], found.spans[-1, 1]) == (0, len(text))
    covered = {i for a, b in found.spans for i in range(a, b)}
    assert covered == set(range(len(text)))
    assert (np.diff(found.spans[:, 0]) >= 0).all()


def test_the_space_before_a_word_belongs_to_it(mixed: LocalModel) -> None:
    # After a space, the first token is " kind": it is the text's, and straddles nothing.
    spaced, ended = scoring.score(mixed, [Asked("So: ", "kind feet"), Asked("So:", "kind feet")])
    before, own = (mixed.tokenizer(part)["input_ids"] for part in ("So:", " kind feet"))
    assert spaced.bits == pytest.approx(plainly(mixed, before, own), abs=1e-4)
    assert not spaced.straddles
    assert spaced.spans[0].tolist() == [0, 4]
    # But it is another token than after a newline, and that is said.
    assert spaced.varies
    assert ended.varies


def test_the_same_tokens_after_every_prefix_do_not_vary(mixed: LocalModel) -> None:
    found = scoring.score(mixed, [Asked(p, ENGLISH.strip()) for p in PREFIXES])
    assert not any(bits.varies or bits.straddles for bits in found)
    assert len({len(bits.bits) for bits in found}) == 1


def barred() -> Any:
    """Return a tokenizer that parts words at bars alone, whatever whitespace they hold."""
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL, "d", "u\nb", "c", "\nb", "u", "b"]
    inner = Tokenizer(WordLevel({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = Split(Regex(r"\|"), "removed")
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>")


def test_a_token_over_the_seam_is_scored_with_the_text_and_flagged(tiny: LocalModel) -> None:
    local = LocalModel(tiny.model, barred(), "bars")
    over, clean = scoring.score(local, [Asked("d|u", "b|c"), Asked("d|", "b|c")])
    assert over.straddles
    assert not clean.straddles
    assert over.bits == pytest.approx(plainly(local, [4], [5, 6]), abs=1e-4)
    assert clean.bits == pytest.approx(plainly(local, [4], [7, 6]), abs=1e-4)
    assert over.varies
    assert clean.varies
    assert over.spans.tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize("prefix", ["", "<s>", "A story.\n", "<s>A story.\n"])
def test_a_tokenizer_that_opens_texts_does_so_once(tiny: LocalModel, prefix: str) -> None:
    local = LocalModel(tiny.model, subwords(opening=True), "opening")
    own = local.tokenizer("The bailiff", add_special_tokens=False)["input_ids"]
    rest = prefix.removeprefix("<s>")
    before = local.tokenizer(rest or ("\n" if prefix else ""), add_special_tokens=False)
    found = scoring.score(local, [Asked(prefix, "The bailiff")])[0]
    assert found.bits == pytest.approx(plainly(local, [2, *before["input_ids"]], own), abs=1e-4)


def test_an_empty_prefix_is_the_opening_token_or_an_error(mixed: LocalModel) -> None:
    own = mixed.tokenizer("The bailiff")["input_ids"]
    found = scoring.score(mixed, [Asked("", "The bailiff")])[0]
    assert found.bits == pytest.approx(plainly(mixed, [2], own), abs=1e-4)
    without = LocalModel(mixed.model, barred(), "no opening token")
    with pytest.raises(SurpriseError, match="nothing stands before the first token"):
        scoring.score(without, [Asked("", "b|c")])


@pytest.mark.parametrize("asked", [Asked("u", " \n"), Asked("u", ""), Asked(" \n", "b")])
def test_blank_texts_and_prefixes_are_refused_by_name(mixed: LocalModel, asked: Asked) -> None:
    with pytest.raises(
        SurpriseError, match=r"Text .* after .*: the (text is empty|prefix is blan)"
    ):
        scoring.score(mixed, [Asked("A story.", "The bailiff"), asked])


def test_nothing_asked_is_nothing_scored(mixed: LocalModel) -> None:
    assert scoring.score(mixed, []) == []


def test_a_tokenizer_without_offsets_is_refused(tiny: LocalModel) -> None:
    class Slow:
        is_fast = False

    with pytest.raises(SurpriseError, match="use the fast tokenizer"):
        scoring.score(LocalModel(tiny.model, Slow(), "slow"), [Asked("a", "b")])


def test_probabilities_that_are_no_numbers_name_their_text(mixed: LocalModel) -> None:
    token = mixed.tokenizer("Z")["input_ids"][0]
    with torch.no_grad():
        mixed.model.get_input_embeddings().weight[token] = math.nan
    asked = [Asked("A story.", "The lamps"), Asked("A story.", "Z lamps")]
    assert np.isfinite(scoring.score(mixed, asked[:1])[0].bits).all()
    with pytest.raises(SurpriseError, match=r"Text 'Z lamps' after 'A story\.': .* no numbers"):
        scoring.score(mixed, asked)


def windows_by_hand(
    local: LocalModel, before: list[int], own: list[int], limit: int, stride: int
) -> Iterator[float]:
    room = limit - len(before)
    done = 0
    while done < len(own):
        end = min(len(own), done + (stride if done else room))
        left = own[max(0, end - room) : done]
        yield from plainly(local, [*before, *left], own[done:end])
        done = end


@pytest.mark.parametrize("stride", [1, 7, 30])
def test_windows_score_each_token_once_with_all_the_context_that_fits(
    mixed: LocalModel, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(PREFIXES[2], (ENGLISH * 3).strip())
    before, own = apart(mixed, asked)
    monkeypatch.setattr(mixed.model.config, "max_position_embeddings", limit := len(before) + 30)
    assert len(own) > 32
    found = scoring.score(mixed, [asked], too_long="window", stride=stride)[0]
    wanted = list(windows_by_hand(mixed, before, own, limit, stride))
    assert found.bits == pytest.approx(wanted, abs=1e-4)
    assert found.windows == 1 + math.ceil((len(own) - 30) / stride)
    assert len(found.spans) == len(own)
    short = Asked(PREFIXES[2], "The bailiff")
    assert scoring.score(mixed, [short], too_long="window", stride=stride)[0].windows == 1


def test_a_text_too_long_is_refused_by_name_and_never_cut(mixed: LocalModel) -> None:
    asked = [Asked("A story.", "The bailiff"), Asked("A story.", "lamp " * 400)]
    with pytest.raises(
        SurpriseError, match=r"Text 'lamp lamp.*: \d+ tokens .* the model reads 512"
    ):
        scoring.score(mixed, asked)
    for stride in (0, 512):
        with pytest.raises(SurpriseError, match=f"the stride is {stride}"):
            scoring.score(mixed, asked, too_long="window", stride=stride)
    with pytest.raises(SurpriseError, match="with a stride"):
        scoring.score(mixed, asked, too_long="window")
    with pytest.raises(SurpriseError, match="without one"):
        scoring.score(mixed, asked, stride=7)


def test_an_adapter_that_is_switched_on_is_heard(mixed: LocalModel) -> None:
    from peft import LoraConfig, get_peft_model

    asked = random_texts(6)
    before = [bits.total for bits in scoring.score(mixed, asked)]
    tuned = get_peft_model(
        mixed.model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    ).eval()
    local = LocalModel(tuned, mixed.tokenizer, "tuned")
    found = scoring.score(local, asked)
    for bits, question, was in zip(found, asked, before, strict=True):
        assert bits.bits == pytest.approx(plainly(local, *apart(local, question)), abs=1e-4)
        assert bits.total != pytest.approx(was, abs=1e-3)


def test_bfloat16_stays_near(mixed: LocalModel) -> None:
    asked = random_texts(12)
    exact = np.array([bits.total for bits in scoring.score(mixed, asked)])
    local = LocalModel(mixed.model.to(torch.bfloat16), mixed.tokenizer, "half")
    assert np.array([bits.total for bits in scoring.score(local, asked)]) == pytest.approx(
        exact, rel=0.03
    )


def test_a_head_that_bends_logits_and_layers_that_look_back_a_little_are_exact(
    bytewise: Any,
) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=380, hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, head_dim=8, sliding_window=6,
        final_logit_softcapping=2.0, initializer_range=1.0,
    )  # fmt: skip
    local = LocalModel(Gemma2ForCausalLM(config).eval(), bytewise, "gemma")
    asked = random_texts(12)
    for found, question in zip(scoring.score(local, asked), asked, strict=True):
        assert found.bits == pytest.approx(plainly(local, *apart(local, question)), abs=1e-4)


def test_what_texts_begin_with_is_read_once_and_only_their_tokens_become_logits(
    mixed: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(likelihood.LOGITS, "cpu", 1)
    read, asked_of_head = [], []
    decoder, head = mixed.model.get_decoder(), mixed.model.get_output_embeddings()
    hooks = [
        decoder.register_forward_pre_hook(
            lambda _, __, named: read.append(named["input_ids"].numel()), with_kwargs=True
        ),
        head.register_forward_pre_hook(lambda _, given: asked_of_head.append(given[0].shape[:-1])),
    ]
    text = (ENGLISH * 3).strip()
    asked = [Asked(PREFIXES[0], text + end) for end in (" The end.", " It rained.", "")]
    found = scoring.score(mixed, asked)
    for hook in hooks:
        hook.remove()
    alone = len(apart(mixed, asked[0])[0]) + max(len(bits.bits) for bits in found)
    assert sum(read) < 1.4 * alone
    # A few more are read to see that the head is but a matrix.
    assert sum(math.prod(shape) for shape in asked_of_head) < sum(len(b.bits) for b in found) / 2
    assert max(math.prod(shape) for shape in asked_of_head) <= 64


def test_a_sum_of_bits_is_the_bits_of_the_whole() -> None:
    bits = Bits(np.array([1.0, 0.5]), np.array([[0, 1], [1, 2]]), 2, False, 1)
    assert bits.total == 1.5
