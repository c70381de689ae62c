from __future__ import annotations

import io
import itertools
import re
from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.mathtext import MathTextParser
from matplotlib.patches import Rectangle

from cqa_helpers import figures, heat
from cqa_helpers.heat import HeatError, Strip


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    figures.use_style()
    yield
    plt.close("all")


def strip_of(
    text: str, tokens: list[tuple[int, int]], gains: list[float], label: str = ""
) -> Strip:
    after = np.ones(len(tokens))
    return Strip(label, text, np.array(tokens).reshape(-1, 2), after + np.array(gains), after)


def by_words(text: str, gain: float = 0.0, label: str = "", **gains: float) -> Strip:
    """Return a strip with a token a word; words named gain what is said, and others ``gain``."""
    found = list(re.finditer(r"\S+", text))
    own = [gains.get(m[0].strip(".,"), gain) for m in found]
    return strip_of(text, [m.span() for m in found], own, label)


def drawn(figure: Figure) -> list[str]:
    return [t.get_text() for t in figure.axes[0].texts]


def colours(figure: Figure) -> dict[str, tuple[float, ...]]:
    """Return the shade behind each word, found by place."""
    ax = figure.axes[0]
    shades: dict[str, tuple[float, ...]] = {}
    for text in ax.texts:
        x, y = text.get_position()
        for patch in ax.patches:
            assert isinstance(patch, Rectangle)
            below = patch.get_y() < y < patch.get_y() + patch.get_height()
            if below and abs(patch.get_x() + 0.012 - x) < 1e-9:
                shades[text.get_text()] = to_rgb(patch.get_facecolor())
    return shades


def test_a_word_gains_what_its_tokens_gain() -> None:
    found = heat.words(strip_of("The carbon copy.", [(0, 3), (3, 6), (6, 10), (10, 16)],
                                [0.5, 1.0, 2.0, -3.0]))  # fmt: skip
    assert found["word"].tolist() == ["The", "carbon", "copy."]
    assert found["gain"].tolist() == [0.5, 3.0, -3.0]
    assert found[["start", "end"]].to_numpy().tolist() == [[0, 3], [4, 10], [11, 16]]


def test_chinese_words_are_signs_runs_and_what_a_token_joins() -> None:
    text = "签字——老金停住了。"
    tokens = [(0, 2), (2, 4), (4, 5), (4, 5), (5, 6), (6, 8), (8, 9)]
    found = heat.words(strip_of(text, tokens, [1, 2, 3, 4, 5, 6, 7]))
    assert found["word"].tolist() == ["签字", "——", "老", "金", "停住", "了", "。"]
    # Two tokens of one sign are pieces of its bytes; the full stop has no token here.
    assert found["gain"].tolist()[:6] == [1, 2, 7, 5, 6, 7]
    assert np.isnan(found["gain"].iloc[6])


def test_words_that_share_a_token_are_not_divided() -> None:
    found = heat.words(strip_of("went on home", [(0, 4), (4, 12)], [1.0, 5.0]))
    assert found["word"].tolist() == ["went", "on home"]
    assert found["gain"].tolist() == [1.0, 5.0]


def test_a_token_without_a_score_leaves_its_word_without_one() -> None:
    found = heat.words(strip_of("one two", [(0, 3), (3, 5), (5, 7)], [1.0, np.nan, 2.0]))
    assert found["gain"].iloc[0] == 1.0
    assert np.isnan(found["gain"].iloc[1])


@settings(max_examples=60, deadline=None)
@given(
    st.text(alphabet="ab 门，。—\n\u3000“”$", min_size=1, max_size=30).filter(str.strip),
    st.data(),
)
def test_no_bit_is_lost_and_no_word_overlaps(text: str, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    tokens = list(itertools.pairwise(sorted({0, len(text), *cuts})))
    gains = data.draw(st.lists(st.integers(-9, 9), min_size=len(tokens), max_size=len(tokens)))
    found = heat.words(strip_of(text, tokens, [float(g) for g in gains]))
    assert found["gain"].sum() == pytest.approx(sum(gains))
    assert (found["start"].to_numpy()[1:] >= found["end"].to_numpy()[:-1]).all()
    # Tokens that cover the text leave no word unscored and no mark out.
    assert found["gain"].notna().all()
    assert "".join("".join(found["word"]).split()) == "".join(text.split())


def test_the_words_that_gain_most_are_named_without_marks_and_once() -> None:
    part = by_words("The copy. The carbon, copy “bus” fell", The=1, copy=3, carbon=2, fell=-9)
    assert heat.where(part) == ["copy", "carbon", "The"]
    assert heat.where(part, 1) == ["copy"]
    assert heat.where(by_words("all fell", gain=-1.0)) == []


def test_tuned_minus_base_is_the_change_of_gain() -> None:
    base, tuned = by_words("a b c", a=1, b=2), by_words("a b c", a=4, b=1, label="tuned")
    change = heat.tuned_minus_base(base, tuned)
    assert change.label == "tuned"
    assert heat.words(change)["gain"].tolist() == [3, -1, 0]
    with pytest.raises(HeatError, match="not the same text in the same tokens"):
        heat.tuned_minus_base(base, by_words("a b d"))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        (strip_of("   ", [(0, 1)], [1]), "has no word"),
        (strip_of("one", [(0, 9)], [1]), "outside the text's 3 characters"),
        (strip_of("one two", [(4, 7), (0, 3)], [1, 1]), "run backwards"),
        (strip_of("one", [(0, 3)], [np.inf]), "infinitely many bits"),
        (Strip("x", "one", np.zeros((1, 2), int), np.ones(2), np.ones(1)), r"give \(T, 2\)"),
    ],
)
def test_bits_that_do_not_fit_the_text_are_refused(part: Strip, message: str) -> None:
    with pytest.raises(HeatError, match=message):
        heat.strip([part], "t", "s")
    with pytest.raises(HeatError, match="No text"):
        heat.strip([], "t", "s")


def test_white_is_no_change_blue_is_expected_and_orange_stranger_on_one_scale() -> None:
    good = by_words("door opened slowly", label="good", door=4.0, slowly=-4.0)
    bad = by_words("window opened quickly", label="bad", window=2.0, quickly=-2.0)
    shades = colours(heat.strip([good, bad], "t", "s"))
    assert shades["opened"] == (1, 1, 1)
    assert shades["door"] == pytest.approx(heat.COLOURS(1.0)[:3])
    assert shades["slowly"] == pytest.approx(heat.COLOURS(0.0)[:3])
    red, _, blue = shades["window"]
    assert blue > red > shades["door"][0]
    red, _, blue = shades["quickly"]
    assert red > blue > shades["slowly"][2]


def test_one_loud_word_does_not_set_the_scale_and_faint_ones_do_not_glow() -> None:
    text = " ".join(f"w{k}" for k in range(100))
    loud = colours(heat.strip([by_words(text, gain=2.0, w7=60.0)], "t", "s"))
    assert loud["w7"] == pytest.approx(heat.COLOURS(1.0)[:3])
    assert loud["w8"] == pytest.approx(heat.COLOURS(0.55)[:3], abs=0.01)
    faint = colours(heat.strip([by_words(text, gain=0.02, w7=6.0)], "t", "s"))
    assert min(faint["w8"]) > 0.98


def test_ink_can_be_read_on_every_shade() -> None:
    def luminance(colour: tuple[float, ...]) -> float:
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
        return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))

    ink = luminance(to_rgb(figures.INK))
    for share in np.linspace(0, 1, 21):
        # Contrast of normal text by WCAG 2, level AA.
        assert (luminance(heat.COLOURS(share)) + 0.05) / (ink + 0.05) >= 4.5


def test_two_versions_show_which_words_differ() -> None:
    parts = [by_words("the bailiff sat down", label="good"), by_words("the bailiff wept")]
    figure = heat.strip(parts, "t", "s")
    assert len(figure.axes[0].lines) == 3
    assert any("underlined" in said for said in drawn(figure))
    alone = heat.strip(parts[:1], "t", "s")
    assert not alone.axes[0].lines
    assert not any("underlined" in said for said in drawn(alone))


def test_no_text_becomes_a_formula_or_turns_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a text was read as a formula")

    monkeypatch.setattr(MathTextParser, "parse", refuse)
    text = "It cost $5_a^2 and $x\\frac{ \u202ethen \u200b \\alpha$ ended"
    figure = heat.strip([by_words(text, gain=1.0, label="$a$ {b}")], "A $1 to $2 finding", "$s$")
    figure.savefig(io.BytesIO(), format="svg")
    figure.canvas.draw()
    assert {"$5_a^2", "$x\\frac{", "\\alpha$", "then", "$a$ {b}"} <= set(drawn(figure))
    assert not any("\u202e" in said or "\u200b" in said for said in drawn(figure))


def test_every_word_stands_once_and_inside_the_figure() -> None:
    text = (
        "老金停住了，说西屋有个门洞。“原来通我兄弟那边”，七九年才封的。" * 3 + " x" * 90 + "y" * 300
    )
    part = strip_of(text, [(k, k + 1) for k in range(len(text))], [1.0] * len(text), "good")
    figure = heat.strip([part], "t", "s", lines=40)
    figure.canvas.draw()
    body = [t for t in figure.axes[0].texts if t.get_fontsize() == heat.SIZE]
    assert "".join(t.get_text() for t in body) == text.replace(" ", "")
    width = figure.bbox.width
    assert all(t.get_window_extent().x1 <= width for t in body)
    starts = [t.get_text() for t in body if t.get_position()[0] == 0.0]
    assert not set("".join(s[0] for s in starts)) & set("，。”")


def test_a_long_text_is_shown_where_most_happens_and_says_so() -> None:
    dull = "Nothing came of it at all that year. " * 60
    told = dull + "Then she touched the kettle. " + dull
    other = dull + "Then she kissed the kettle. " + dull
    good = by_words(told, label="good", touched=9.0, kettle=8.0)
    figure = heat.strip([good, by_words(other, label="bad", Nothing=0.1)], "t", "s", lines=3)
    said = drawn(figure)
    assert {"touched", "kissed"} <= set(said)
    assert said.count("…") == 4
    n = len(told.split())
    assert any(re.search(rf"\+17.0 bits over {n} words; shown: words \d+ to \d+$", s) for s in said)
    first = said[said.index("…") + 1]
    assert first in ("Nothing", "Then")
    short = drawn(heat.strip([by_words("One. Two. Three.", gain=0.5)], "t", "s", lines=3))
    assert "+1.5 bits over 3 words" in short
    assert "…" not in short


def test_what_was_not_scored_is_grey_and_said() -> None:
    figure = heat.strip([strip_of("one two", [(0, 3)], [1.0])], "t", "s")
    assert "two" not in colours(figure)
    assert any("grey: not scored" in said for said in drawn(figure))


def test_paragraphs_are_marked_and_the_legend_speaks_plainly() -> None:
    figure = heat.strip([by_words("“No.”\n\n“Yes.”", gain=1.0)], "t", "s", heat.CHANGE)
    assert drawn(figure).count("¶") == 1
    assert set(heat.CHANGE) <= set(drawn(figure))
    assert not set(heat.GAIN) & set(drawn(figure))
    assert figure.get_figwidth() == figures.WIDTH
