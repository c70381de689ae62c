"""What signs a diagnosis, and the one layout in which all are shown.

A rater who can tell a chat model by its bullets or by "as an AI" is not blind. Nothing is
taken away in silence: what was struck is returned beside the text, to be counted and reported.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

# Models and makers that are not also a person, a wind or a sign of the zodiac.
_MORE = r"[A-Za-z\d.-]*"
_MAKERS = (
    r"open\s?ai|anthropic|deep\s?mind|deepseek|moonshot\s+ai|alibaba\s+cloud|zhipu"
    rf"|chat\s?gpt(?:[- ]?\d{_MORE})?|gpt[- ]?\d{_MORE}|qwen{_MORE}|llama[- ]?\d{_MORE}"
    rf"|claude[- ](?:opus|sonnet|haiku|instant|v?\d){_MORE}|(?:chat)?glm[- ]?\d{_MORE}"
    rf"|gemini[- ](?:pro|flash|ultra|nano|\d){_MORE}|mi[sx]tral[- ](?:ai|large|\d){_MORE}"
)
_PERHAPS = ("claude", "gemini", "mistral", "llama")
# Stands where a name stood: the sentence stays whole, and is the same for every judge.
NAME = "[name]"
_MODEL = r"(?:(?:an?|the)\s+)?(?:large\s+)?(?:ai|artificial intelligence|language)"
# Speech of oneself; a story's own machines and models are left alone.
_SELF = (
    rf"\bas\s+{_MODEL}(?:\s+(?:language\s+)?(?:model|assistant|system))?\s*,\s*",
    rf"\bspeaking\s+as\s+{_MODEL}(?:\s+(?:language\s+)?(?:model|assistant))?\s*,?\s*",
    rf"\b(?:I\s+am|I['’]m)\s+(?:just\s+)?{_MODEL}\s+(?:language\s+)?(?:model|assistant)"
    r"(?:\s+(?:trained|developed|made)\s+by\s+[\w ]+?)?\s*[.,;]\s*(?:and\s+|so\s+|but\s+)?",
    r"(?:作为|身为)(?:一个|一名|一款)?(?:大型?)?(?:AI|人工智能|语言)(?:语言)?(?:模型|助手|系统)?\s*[,，、]\s*",
    r"我(?:只)?是(?:一个|一名|一款)?(?:大型?)?(?:AI|人工智能|语言)(?:语言)?(?:模型|助手)\s*[,，。；]\s*",
)
_SPEECH = [re.compile(p, re.IGNORECASE) for p in _SELF]
_MADE = re.compile(rf"(?<![A-Za-z\d_])(?:{_MAKERS})(?![A-Za-z\d_])", re.IGNORECASE)
_MARKS = (
    (re.compile(r"^\s*```.*$", re.MULTILINE), ""),
    (re.compile(r"^\s{0,3}#{1,6}\s+", re.MULTILINE), ""),
    (re.compile(r"^\s*(?:[-*•·]|\d{1,2}[.)、])\s+", re.MULTILINE), ""),
    (re.compile(r"^\s*>\s?", re.MULTILINE), ""),
    (re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1", re.DOTALL), r"\2"),
    (re.compile(r"(?<![\w*])\*(?=\S)([^*\n]+?)(?<=\S)\*(?![\w*])"), r"\1"),
    (re.compile(r"`([^`\n]+)`"), r"\1"),
)
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])")
_WORD = re.compile(r"[\u3400-\u9fff]|[^\W\u3400-\u9fff]+(?:['’-][^\W\u3400-\u9fff]+)*")


class Unsigned(NamedTuple):
    """A text as raters see it; what was struck of it, and what was seen and left standing.

    ``laid_out`` says that marks of layout went, ``cut`` that whole sentences did.
    """

    text: str
    struck: tuple[str, ...]
    standing: tuple[str, ...]
    laid_out: bool
    cut: bool


def unsigned(text: str, names: Collection[str] = (), most_words: int | None = None) -> Unsigned:
    """Return a text without what signs its judge, in one layout.

    Struck are speech of oneself as a model, which goes, and names of models, of their makers and
    ``names``, for which ``[name]`` stands. A name of small letters alone, such as ``base``, can be
    ordinary language: it is left standing and returned as such. Our choice of words; it finds
    what is listed and nothing subtler.

    Parameters
    ----------
    names
        Ids and names of the judges.
    most_words
        Whole sentences beyond so many words go, one at least stays. A Chinese character counts as
        a word.
    """
    struck: list[str] = []
    plain = [n for n in names if re.fullmatch(r"[^\W\d_A-Z]+", n) and n.islower()]
    odd = sorted({n for n in names if n.strip()} - set(plain), key=lambda n: (-len(n), n))
    shown = text
    for pattern in _SPEECH:
        struck += [m[0].strip() for m in pattern.finditer(shown)]
        shown = pattern.sub("", shown)
    if struck and text.lstrip()[:1].isupper():
        shown = shown[:1].upper() + shown[1:]
    for pattern in (*map(_whole, odd), _MADE):
        struck += [m[0] for m in pattern.finditer(shown)]
        shown = pattern.sub(NAME, shown)
    marked = shown
    for pattern, kept in _MARKS:
        marked = pattern.sub(kept, marked)
    laid_out = marked != shown
    shown = " ".join(marked.split())
    whole = shown
    if most_words is not None:
        shown = _shortened(shown, most_words)
    standing = tuple(n for n in (*plain, *_PERHAPS) if _whole(n).search(shown))
    return Unsigned(shown, tuple(struck), standing, laid_out, shown != whole)


def diagnosis(
    reasons: Mapping[str, str],
    verdicts: Mapping[str, str],
    names: Collection[str] = (),
    most_words: int | None = None,
) -> tuple[dict[str, str], Unsigned]:
    """Return the text of each dimension with its verdict, and what went, over all of them.

    Dimensions stand in the order of their ids: a judge's own order would give it away. No
    probability is shown.
    """
    parts = {d: unsigned(reasons[d], names, most_words) for d in sorted(reasons)}
    texts = {d: f"{p.text} [{verdicts[d]}]".lstrip() for d, p in parts.items()}
    return texts, Unsigned(
        " ".join(texts.values()),
        tuple(s for p in parts.values() for s in p.struck),
        tuple(dict.fromkeys(s for p in parts.values() for s in p.standing)),
        any(p.laid_out for p in parts.values()),
        any(p.cut for p in parts.values()),
    )


def n_words(text: str) -> int:
    """Return the words of a text; each Chinese character is one."""
    return len(_WORD.findall(text))


def _whole(name: str) -> re.Pattern[str]:
    # Chinese has no spaces: only letters and digits of a Latin word go on with a name.
    return re.compile(rf"(?<![A-Za-z\d_]){re.escape(name)}(?![A-Za-z\d_])", re.IGNORECASE)


def _shortened(text: str, most: int) -> str:
    kept: list[str] = []
    left = most
    for sentence in _SENTENCE_END.split(text):
        left -= n_words(sentence)
        if kept and left < 0:
            break
        kept.append(sentence)
    return text[: _end(text, kept)]


def _end(text: str, kept: list[str]) -> int:
    end = 0
    for sentence in kept:
        end = text.index(sentence, end) + len(sentence)
    return end
