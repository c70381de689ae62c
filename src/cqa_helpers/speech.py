"""How something is said: closed-class words, markers of speech, punctuation and lengths.

A content word enters as a length and never as itself, and neither does a word that carries a
verdict: two texts that differ in nouns and verdicts are alike. The lists are ours, one file a
language in ``data/style``.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cache

import numpy as np
import pandas as pd
from pydantic import model_validator

from cqa_helpers import paths, yamlfile
from cqa_helpers.records import Record

MARKERS = ("hesitations", "hedges", "connectives", "first_person")
PUNCTUATION = {
    "comma": ",", "enumeration comma": "、", "semicolon": ";", "colon": ":",
    "question mark": r"\?", "exclamation mark": "!", "dash": "[—–]+|--+",
    "ellipsis": r"\.\.+|⋯+", "quotation mark": "[\"“”「」『』«»]", "bracket": r"[()\[\]【】]",
}  # fmt: skip
_SENTENCE = re.compile(r"[.!?。⋯]+")


class SpeechError(ValueError):
    """A language has no word lists, or they contradict each other."""


class Lexicon(Record):
    """The closed-class words and markers of one language, ``data/style/<language>.yaml``."""

    language: str
    characters: bool
    function: tuple[str, ...]
    hesitations: tuple[str, ...]
    hedges: tuple[str, ...]
    connectives: tuple[str, ...]
    first_person: tuple[str, ...]
    content: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Lexicon:
        if both := sorted(set(self.content) & set(self.listed())):
            raise ValueError(f"listed as content and as style at once: {', '.join(both)}")
        return self

    def listed(self) -> list[str]:
        """Return all words that are read as style, each once."""
        marked = [w for kind in MARKERS for w in getattr(self, kind)]
        return list(dict.fromkeys([*self.function, *marked]))


@cache
def lexicon(language: str) -> Lexicon:
    """Return the word lists of a language (``en``, ``zh``, or a tag that begins so).

    Raises
    ------
    SpeechError
        No lists for it: which there are. Or each fault of the file.
    """
    folder = paths.root() / "data" / "style"
    known = sorted(p.stem for p in folder.glob("*.yaml"))
    stem = language.split("-")[0].lower()
    if stem not in known:
        raise SpeechError(
            f"No word lists for language {language!r} in {folder}. There are: "
            f"{', '.join(known) or 'none'}. Add {stem}.yaml after the model of en.yaml."
        )
    return yamlfile.read(folder / f"{stem}.yaml", Lexicon, SpeechError)


@cache
def _reader(words: Lexicon) -> re.Pattern[str]:
    known = sorted({*words.listed(), *words.content}, key=len, reverse=True)
    listed = "|".join(r"\s+".join(map(re.escape, w.split())) for w in known)
    if words.characters:
        return re.compile(rf"{listed}|[㐀-鿿]|[^\W_㐀-鿿]+")
    # A clipped verb counts after a listed word alone: elsewhere 's is a possessive.
    return re.compile(rf"(?<!\w)(?:{listed})(?!\w|'t\b)|'(?:m|ve|ll|re|d|s)\b|\w+(?:'\w+)?")


def features(texts: Sequence[str], words: Lexicon) -> pd.DataFrame:
    """Return the style of each text, one row a text; a text without a word has nan throughout.

    Function words, markers and punctuation are shares of the words (in Chinese: of listed words,
    other characters and foreign words, the longest listed word first); ``length`` is the log of
    the number of words, ``sentence length`` the log of words a sentence.
    """
    names = set(words.listed())
    columns = [*words.function, *MARKERS, "contractions", *PUNCTUATION, "length", "sentence length"]
    table = np.full((len(texts), len(columns)), np.nan)
    for row, raw in enumerate(texts):
        text, found = _plain(raw), _units(raw, words)
        clipped = sum(w.startswith("'") for w in found)
        n = len(found) - clipped
        if not n:
            continue
        times = Counter(w for w in found if w in names)
        kinds = [sum(times[w] for w in set(getattr(words, m))) for m in MARKERS]
        marks = [len(re.findall(mark, text)) for mark in PUNCTUATION.values()]
        sentences = max(1, len(_SENTENCE.findall(text)))
        shares = np.array([*(times[w] for w in words.function), *kinds, clipped, *marks]) / n
        table[row] = [*shares, np.log(n), np.log(n / sentences)]
    return pd.DataFrame(table, columns=columns)


def has_words(text: str, words: Lexicon) -> bool:
    """Return whether a text has a word at all, so that it has a style."""
    return any(not w.startswith("'") for w in _units(text, words))


def _units(text: str, words: Lexicon) -> list[str]:
    return [" ".join(w.split()) for w in _reader(words).findall(_plain(text))]


def _plain(text: str) -> str:
    text = unicodedata.normalize("NFKC", text).lower()
    return text.replace("’", "'").replace("‘", "'")
