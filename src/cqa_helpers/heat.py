"""The heat strip: where in a text does knowing what it is for save bits, word by word?"""

from __future__ import annotations

import difflib
import re
import textwrap
import unicodedata
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from matplotlib.textpath import text_to_path
from numpy.typing import NDArray

from cqa_helpers import figures

# What the two ends of the colours mean: of a gain, and of a change of gain by tuning.
GAIN = ("stranger, once you know what it is for", "expected, once you know what it is for")
CHANGE = ("the purpose helps less after tuning", "the purpose helps more after tuning")
# Tints of the study's orange and blue, on which ink stays readable; white is no difference.
# An odd number of steps, so that there is a middle one.
COLOURS = LinearSegmentedColormap.from_list("heat", ["#F0914A", "#FFFFFF", "#56A3DC"], N=257)
UNSCORED = "#B9BEC3"
# Of each text, at most so many lines are shown (our choice).
LINES = 9
SIZE, HEAD_SIZE = 10.0, 9.0
# Inches. The first label stands nearer to the subtitle than an axis would.
LEADING, HEAD, GAP, LEGEND, HANGING, LIFT = 0.265, 0.27, 0.16, 0.50, 0.20, 0.22

# Signs that are words of their own: Chinese characters and full-width marks. A run of one sign
# (a dash of two, an ellipsis) is one word, and so is anything else between blanks.
_SIGN = "\u2e80-\u2fff\u3001-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff65\U00020000-\U0003ffff"
_WORD = re.compile(rf"([{_SIGN}])\1*|[—…]+|[^\s—…{_SIGN}]+[—…]*")
_ENDED = re.compile(r"(?:[.!?。！？][”’」』)\"']*|¶)$")
_CLOSING = "，。！？、；：”’）》」』】〉…—,.;:!?)]}"
_OPENING = "“‘（《「『【〈([{"
_MARKS = "".join(sorted(set(_CLOSING + _OPENING + "\"'*_·-–")))


class HeatError(ValueError):
    """Bits and spans do not fit the text."""


class Strip(NamedTuple):
    """A text and its tokens: ``spans`` (T, 2) in characters, end excluded; bits of each (T,).

    ``before`` is −log2 p of a token after the neutral prefix, ``after`` with the constraint; nan
    where a token was not scored.
    """

    label: str
    text: str
    spans: NDArray[np.int64]
    before: NDArray[np.float64]
    after: NDArray[np.float64]


class _Piece(NamedTuple):
    """What is set as one, of the table's row ``row`` (−1: a sign of ours); lengths in inches."""

    text: str
    blank: float
    width: float
    gain: float
    row: int
    differs: bool = False


def words(strip: Strip) -> pd.DataFrame:
    """Return a text's words with the bits that knowing the constraint saves at each.

    Columns ``word``, ``start``, ``end`` (characters, end excluded) and ``gain``, the sum of
    H(x_t) − H(x_t|y) over the word's tokens: bits, nan if one of them was not scored. Words that
    share a token are one row, as its bits cannot be divided. A token of blanks alone belongs to
    the word after it, or to the last, so that no bit is lost.

    Raises
    ------
    HeatError
        Shapes, spans or bits do not fit; or the text has no word.
    """
    gains = _gains(strip)
    found = [(m.start(), m.end()) for m in _WORD.finditer(strip.text)]
    if not found:
        raise HeatError(f"{strip.label!r} has no word to colour.")
    ends = np.array([end for _, end in found])
    starts = np.array([start for start, _ in found])
    first = np.minimum(np.searchsorted(ends, strip.spans[:, 0], side="right"), len(found) - 1)
    last = np.searchsorted(starts, strip.spans[:, 1], side="left") - 1
    last = np.maximum(last, first)
    joined = np.zeros(len(found), dtype=bool)
    for a, b in zip(first, last, strict=True):
        joined[a + 1 : b + 1] = True
    row = np.cumsum(~joined)[first] - 1
    heads = np.flatnonzero(~joined)
    sums = np.bincount(row, weights=gains, minlength=len(heads))
    sums[np.bincount(row, minlength=len(heads)) == 0] = np.nan
    begins, stops = starts[heads], ends[np.append(heads[1:], len(found)) - 1]
    return pd.DataFrame(
        {
            "word": [strip.text[a:b] for a, b in zip(begins, stops, strict=True)],
            "start": begins, "end": stops, "gain": sums,
        }
    )  # fmt: skip


def where(strip: Strip, n: int = 3) -> list[str]:
    """Return the words at which most bits are saved, most first, without marks; each once."""
    table = words(strip)
    table = table[table["gain"] > 0].sort_values("gain", ascending=False, kind="stable")
    bare = (word.strip(_MARKS) for word in table["word"])
    return list(dict.fromkeys(word for word in bare if word))[:n]


def tuned_minus_base(base: Strip, tuned: Strip) -> Strip:
    """Return the strip of what tuning changed: its gain is the tuned model's minus the base's.

    To be drawn with ``ends=CHANGE``. Both must hold the same text in the same tokens.

    Raises
    ------
    HeatError
        Texts or tokens differ, or a strip does not fit.
    """
    if base.text != tuned.text or not np.array_equal(base.spans, tuned.spans):
        raise HeatError(
            f"{base.label!r} and {tuned.label!r} are not the same text in the same tokens: their "
            "words' bits cannot be subtracted."
        )
    return tuned._replace(before=_gains(tuned), after=_gains(base))


def strip(
    parts: Sequence[Strip],
    title: str,
    subtitle: str,
    ends: tuple[str, str] = GAIN,
    lines: int = LINES,
) -> Figure:
    """Draw texts one above the other, each word shaded by the bits saved there.

    One scale serves all parts: the colour is full at the 95th percentile of the words' gains
    without their sign, or at a third of the greatest if that is more, so that one word does not
    pale the rest nor faint ones glow (our choice). Of two versions, the words that the other has
    not are underlined. Of a text longer than ``lines`` the stretch of the first part with most
    bits moved is shown, and of the others the stretch that answers to it; the label says so.

    Raises
    ------
    HeatError
        No part, or one that does not fit its text.
    """
    if not parts:
        raise HeatError("No text to draw.")
    tables = [words(part) for part in parts]
    known = np.abs(np.concatenate([t["gain"].dropna().to_numpy() for t in tables]))
    limit = max(*np.quantile(known, [0.95, 1.0]) / [1, 3], 0.01) if len(known) else 0.01
    wide = figures.WIDTH * 0.98
    room = wide - HANGING
    differ = _differing(tables)
    shown: list[list[list[_Piece]]] = []
    begin: int | None = None
    for part, table, differs in zip(parts, tables, differ, strict=True):
        pieces = _pieces(part.text, table, differs, room)
        start = None if begin is None else _answering(tables[0], begin, table)
        shown.append(_stretch(pieces, room, lines, start))
        begin = _rows(shown[0])[0]
    height = sum(HEAD + LEADING * len(own) + GAP for own in shown) + LEGEND - LIFT
    # A dollar sign is a dollar sign and opens no formula.
    title, subtitle = title.replace("$", r"\$"), subtitle.replace("$", r"\$")
    figure, ax = figures.canvas(title, subtitle, height, left=0.01, right=0.99)
    ax.set(xlim=(0, wide), ylim=(height, 0))
    ax.set_axis_off()
    y = -LIFT
    for part, table, own in zip(parts, tables, shown, strict=True):
        label = textwrap.shorten(part.label, 48, placeholder=" …")
        _say(ax, 0, y, label, HEAD_SIZE, fontweight="bold", va="top")
        _say(ax, wide, y, _summary(table, own), 8, color=figures.SOFT, ha="right", va="top")
        y = _body(ax, y + HEAD, own, limit) + GAP
    notes = ["underlined: words that the other version has not"] if any(map(any, differ)) else []
    if any(table["gain"].isna().any() for table in tables):
        notes.append("grey: not scored")
    _legend(ax, y, wide, limit, ends, notes)
    return figure


def _gains(strip: Strip) -> NDArray[np.float64]:
    spans, bits = np.asarray(strip.spans), (np.asarray(strip.before), np.asarray(strip.after))
    if spans.ndim != 2 or spans.shape[1] != 2 or any(b.shape != (len(spans),) for b in bits):
        raise HeatError(
            f"{strip.label!r}: spans are {spans.shape}, bits {bits[0].shape} and {bits[1].shape}; "
            "give (T, 2), (T,) and (T,)."
        )
    flat = spans.ravel()
    if len(flat) and (flat.min() < 0 or flat.max() > len(strip.text)):
        raise HeatError(
            f"{strip.label!r}: a span lies outside the text's {len(strip.text)} characters: count "
            "from the passage's beginning, not the prompt's."
        )
    if (spans[:, 0] > spans[:, 1]).any() or (np.diff(spans[:, 0]) < 0).any():
        raise HeatError(f"{strip.label!r}: spans run backwards.")
    if any(np.isinf(b).any() for b in bits):
        raise HeatError(f"{strip.label!r}: a token has infinitely many bits.")
    return np.asarray(bits[0] - bits[1], dtype=np.float64)


def _sequence(table: pd.DataFrame) -> tuple[list[str], list[int]]:
    """Return a text's words in small letters, without marks, and the table's row of each.

    Taken apart again where a token had joined them, so that two texts can be compared.
    """
    own = [
        (match[0].strip(_MARKS).lower(), row)
        for row, joined in enumerate(table["word"]) for match in _WORD.finditer(joined)
    ]  # fmt: skip
    return [word for word, _ in own if word], [row for word, row in own if word]


def _differing(tables: Sequence[pd.DataFrame]) -> list[list[bool]]:
    """Return, of two versions, whether a word is not in the other; of one or three, nothing."""
    differ = [[False] * len(table) for table in tables]
    if len(tables) == 2:
        (first, rows), (second, other_rows) = map(_sequence, tables)
        matcher = difflib.SequenceMatcher(None, first, second, autojunk=False)
        for kind, a, b, c, d in matcher.get_opcodes():
            if kind != "equal":
                for row in rows[a:b]:
                    differ[0][row] = True
                for row in other_rows[c:d]:
                    differ[1][row] = True
    return differ


def _answering(first: pd.DataFrame, row: int, other: pd.DataFrame) -> int:
    """Return the row of another version at which it says what the first says at a row."""
    (mine, rows), (theirs, other_rows) = _sequence(first), _sequence(other)
    matcher = difflib.SequenceMatcher(None, mine, theirs, autojunk=False)
    for a, b, size in matcher.get_matching_blocks():
        for k in range(size):
            if rows[a + k] >= row:
                return other_rows[b + k]
    return 0


def _width(text: str) -> float:
    return float(
        text_to_path.get_text_width_height_descent(text, FontProperties(size=SIZE), False)[0] / 72
    )


def _pieces(text: str, table: pd.DataFrame, differs: Sequence[bool], room: float) -> list[_Piece]:
    """Return what is set, in order; a word too wide for a line in several."""
    space, end = _width("n n") - _width("nn"), 0
    pieces: list[_Piece] = []
    for row, (word, start, stop, gain) in enumerate(table.itertuples(index=False)):
        between = text[end:start]
        blank = space if between else 0.0
        if "\n" in between.strip(" ") and pieces:
            pieces.append(_Piece("¶", space, _width("¶"), np.nan, -1))
        # What turns the direction of writing, or cannot be seen, is not drawn.
        seen = "".join(c for c in word if c.isspace() or unicodedata.category(c)[0] != "C")
        seen = " ".join(seen.split())
        parts = max(int(np.ceil(_width(seen) / (0.9 * room))), 1)
        size = max(-(-len(seen) // parts), 1)
        for k in range(0, max(len(seen), 1), size):
            part = seen[k : k + size]
            pieces.append(_Piece(part, 0.0 if k else blank, _width(part), gain, row, differs[row]))
        end = stop
    return pieces


def _broken(pieces: Sequence[_Piece], room: float, lines: int) -> list[list[_Piece]]:
    """Return the pieces in lines no wider than ``room``; at most ``lines`` of them are filled.

    A closing mark hangs over the edge and an opening one goes with the word that it opens.
    """
    done: list[list[_Piece]] = [[]]
    x = 0.0
    for k, piece in enumerate(pieces):
        need = x + piece.blank + piece.width
        if piece.text[-1:] in _OPENING and piece.text and k + 1 < len(pieces):
            need += pieces[k + 1].width
        hangs = not piece.text.strip(_CLOSING)
        if done[-1] and need > room and not hangs:
            if len(done) == lines:
                break
            done.append([])
            x = 0.0
        x += piece.width + (piece.blank if done[-1] else 0.0)
        done[-1].append(piece)
    return done


def _stretch(
    pieces: list[_Piece], room: float, lines: int, start: int | None
) -> list[list[_Piece]]:
    """Return the lines shown: all of them, those from row ``start`` on, or the most telling.

    A stretch begins with a sentence.
    """
    whole = _broken(pieces, room, lines)
    if sum(map(len, whole)) == len(pieces):
        return whole
    dots = _Piece("…", 0.0, _width("…"), np.nan, -1)
    if start is not None:
        begins = [next(k for k, piece in enumerate(pieces) if piece.row >= start)]
    else:
        begins = [0] + [
            k for k in range(1, len(pieces))
            if pieces[k].row >= 0 and _ENDED.search(pieces[k - 1].text)
        ]  # fmt: skip
    best, most = whole, -1.0
    for k in begins:
        head = [dots] if k else []
        found = _broken(head + pieces[k:], room, lines)
        moved = float(np.nansum([abs(p.gain) for line in found for p in line]))
        if moved > most:
            best, most = found, moved
    if best[-1][-1] is not pieces[-1]:
        best[-1].append(dots)
    return best


def _rows(shown: Sequence[Sequence[_Piece]]) -> tuple[int, int]:
    rows = [piece.row for line in shown for piece in line if piece.row >= 0]
    return min(rows), max(rows)


def _summary(table: pd.DataFrame, shown: Sequence[Sequence[_Piece]]) -> str:
    total = table["gain"].sum(min_count=1)
    bits = figures.number(float(total), 1)
    said = f"{'+' if total > 0 else ''}{bits} bits over {len(table)} words"
    first, last = _rows(shown)
    if (first, last) == (0, len(table) - 1):
        return said
    return f"{said}; shown: words {first + 1} to {last + 1}"


def _say(ax: Axes, x: float, y: float, text: str, size: float, **look: Any) -> None:
    ax.text(x, y, text, fontsize=size, parse_math=False, **look)


def _body(ax: Axes, y: float, lines: Sequence[Sequence[_Piece]], limit: float) -> float:
    """Draw the lines from ``y`` (inches) downwards; return where they end."""
    for line in lines:
        x = 0.0
        for piece in line:
            x += piece.blank if x else 0.0
            if not np.isnan(piece.gain):
                colour = COLOURS(0.5 + 0.5 * float(np.clip(piece.gain / limit, -1, 1)))
                ax.add_patch(
                    Rectangle((x - 0.012, y), piece.width + 0.024, 0.84 * LEADING, fc=colour, lw=0)
                )
            ink = UNSCORED if np.isnan(piece.gain) else figures.INK
            _say(ax, x, y + 0.62 * LEADING, piece.text, SIZE, color=ink, va="baseline")
            if piece.differs:
                rule = y + 0.76 * LEADING
                ax.plot([x, x + piece.width], [rule, rule], color=figures.SOFT, lw=0.8)
            x += piece.width
        y += LEADING
    return y


def _legend(
    ax: Axes, y: float, wide: float, limit: float, ends: tuple[str, str], notes: Sequence[str]
) -> None:
    bar, tall, steps = 1.5, 0.14, 15
    left = (wide - bar) / 2
    for k in range(steps):
        ax.add_patch(
            Rectangle((left + k * bar / steps, y), bar / steps, tall,
                      fc=COLOURS(k / (steps - 1)), lw=0)
        )  # fmt: skip
    soft = {"color": figures.SOFT, "va": "top"}
    _say(ax, left - 0.1, y - 0.01, ends[0], 8, ha="right", **soft)
    _say(ax, left + bar + 0.1, y - 0.01, ends[1], 8, ha="left", **soft)
    most = figures.number(limit, 1)
    for share, text in ((0, f"−{most} or less"), (0.5, "0"), (1, f"+{most} bits or more")):
        _say(ax, left + share * bar, y + tall + 0.03, text, 7.5, ha="center", **soft)
    _say(ax, 0, y + tall + 0.19, "; ".join(notes), 7.5, **soft)
