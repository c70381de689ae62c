from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from cqa_helpers import cloze, clozescores
from cqa_helpers.cloze import ClozeStory, Filling
from cqa_helpers.judges import Panel
from cqa_helpers.models import LocalModel
from cqa_helpers.prompts import load_dialect
from cqa_helpers.records import Verdict
from cqa_helpers.rehearsal import blanks, voices
from cqa_helpers.rehearsal.blanks import Planted, holds, kind
from cqa_helpers.rehearsal.telling import SHAPES
from cqa_helpers.taxonomy import load as load_taxonomy

STORIES = blanks.stories(1)
PANEL = Panel(load_taxonomy("cqa"), load_dialect("rehearsal"), "verdict-only")
FIRST_OF_TWO = {"clue": "reveal", "question": "answer", "claim": "witness"}


def place(about: str) -> tuple[ClozeStory, int]:
    """Return the first story with a blank of this kind, and its number."""
    return next(
        (s, k) for s in STORIES for k in range(1, len(s.blanks) + 1) if kind(s, k) == about
    )  # fmt: skip


def truth(about: str, text: str | None, *, first: str | None = None) -> bool | None:
    """Return whether a text holds in a blank; ``first`` stands in the blank it depends on."""
    story, k = place(about)
    earlier = list(story.own()[: k - 1])
    if first is not None:
        earlier[story.blanks[k - 1].after[0] - 1] = first
    return holds(story, Filling(story.id, k, "m", text, tuple(earlier)))


@pytest.mark.parametrize("seed", range(6))
def test_the_authors_fillings_always_satisfy(seed: int) -> None:
    stories = blanks.stories(seed)
    held = Planted(stories, own := cloze.by_author(stories)).ask(
        cloze.asked(stories, own, PANEL), PANEL
    )
    assert {v.value for v in held} == {1}
    assert len(held) == sum(len(s.blanks) for s in stories)


def test_shuffled_fillings_satisfy_about_as_often_as_chance() -> None:
    by_id = {s.id: s for s in STORIES}
    level = blanks.chance(STORIES)
    assert 0.02 < level < 0.2
    held = [
        bool(holds(by_id[f.story], f)) for seed in range(40) for f in cloze.shuffled(STORIES, seed)
    ]
    error = math.sqrt(level * (1 - level) / len(held))
    assert np.mean(held) == pytest.approx(level, abs=4 * error)


def test_eight_stories_one_of_each_shape_with_few_blanks_in_the_words_of_the_base() -> None:
    known = set(voices.vocabulary())
    assert len(STORIES) == len(SHAPES)
    for story in STORIES:
        assert 3 <= len(story.blanks) <= 5
        whole = f"{blanks.opening(story, story.blanks[0])} {story.filled(story.own())}"
        assert set(whole.split()) <= known
        assert story.meta["plan"] in whole
        assert story.meta["plan"] not in blanks.opening(story, None)
    assert len({s.text for s in STORIES}) == 8
    assert {kind(s, k) for s in STORIES for k in range(1, len(s.blanks) + 1)} == {
        "mood", "speech", "clue", "reveal", "question", "answer", "claim", "witness", "mover",
    }  # fmt: skip
    assert blanks.stories(1) == STORIES
    assert blanks.stories(2) != STORIES


def test_what_is_said_twice_depends_on_its_first_place() -> None:
    for story in STORIES:
        kinds = [kind(story, k) for k in range(1, len(story.blanks) + 1)]
        for about, blank in zip(kinds, story.blanks, strict=True):
            wanted = [kinds.index(a) + 1 for a, b in FIRST_OF_TWO.items() if b == about]
            assert list(blank.after) == wanted


@pytest.mark.parametrize(
    ("about", "text", "first", "held"),
    [
        ("mood", "hung above the slates", None, True),
        ("mood", "lay thick as snow", None, False),
        ("mood", "hung above the", None, False),
        ("mood", None, None, False),
        ("speech", "we must send for help", None, True),
        ("speech", "lol we are totally done", None, False),
        ("clue", "ring lay by the desk", None, True),
        ("clue", "ring lay by the map", None, False),
        ("clue", "lay by the desk", None, False),
        ("reveal", "the ring showed", "ring lay by the desk", True),
        ("reveal", "the ring showed", "map lay by the desk", False),
        ("reveal", "everyone saw", "ring lay by the desk", False),
        ("question", "cleaned the tower", None, True),
        ("question", "cleaned the", None, False),
        ("answer", "cleaned the tower", "cleaned the tower", True),
        ("answer", "cleaned the attic", "cleaned the tower", False),
        ("answer", "cleaned the attic", "the the the", None),
        ("claim", "the tower at ten", None, True),
        ("claim", "ten", None, False),
        ("witness", "the tower at ten", "the tower", True),
        ("witness", "the attic at ten", "the tower", False),
        ("witness", "the attic or the tower", "the tower", False),
        ("witness", "the attic", "home", None),
        ("mover", "nobody fed the geese", None, False),
    ],
)
def test_each_rule_holds_fails_or_is_left_open(
    about: str, text: str | None, first: str | None, held: bool | None
) -> None:
    assert truth(about, text, first=first) is held


def test_the_dead_do_not_move() -> None:
    victim = place("mover")[0].meta["victim"]
    living = "ida" if victim != "ida" else "ruth"
    assert truth("mover", f"{living} fed the geese") is True
    assert truth("mover", f"{victim} fed the geese") is False


def test_what_an_earlier_filling_leaves_open_has_no_verdict() -> None:
    story, k = place("witness")
    earlier = tuple("home" for _ in range(k - 1))
    open_still = [Filling(story.id, k, "m", "the tower", earlier)]
    judge = Planted([story], open_still)
    (verdict,) = judge.ask(cloze.asked([story], open_still, PANEL), PANEL)
    assert (verdict.value, verdict.status) == (None, "failed")
    assert "leaves it open" in verdict.meta["why"]


def test_a_reviewer_of_whole_tales_speaks_of_the_blanks_that_can_break_them() -> None:
    own = cloze.by_author(STORIES)
    tales = blanks.passages(STORIES, own)
    by_id = {s.id: s for s in STORIES}
    assert len(tales) == sum(kind(by_id[f.story], f.blank) not in FIRST_OF_TWO for f in own)
    assert {t.text for t in tales} == {s.filled(s.own()) for s in STORIES}
    said = [
        Verdict(item_id=t.id, dimension=d, judge_id="j", value=int(d == "craft"))
        for t in tales for d in ("craft", "audience", "reality_logic")
    ]  # fmt: skip
    kept = blanks.judged(STORIES, own, said)
    assert len(kept) == len(tales)
    sources = {f.item_id: by_id[f.story].blanks[f.blank - 1].source for f in own}
    assert all(v.value == int(sources[v.item_id] == "intent") for v in kept)


def test_a_filling_is_judged_in_the_tale_in_which_it_was_made() -> None:
    story, k = place("witness")
    earlier = ("x", "y", "z", "u")[: k - 1]
    (tale,) = blanks.passages([story], [Filling(story.id, k, "m", "the tower", earlier)])
    assert tale.text == story.filled([*earlier, "the tower", *story.own()[k:]])
    assert blanks.passages([story], [Filling(story.id, k, "m", None, earlier)]) == []


def test_estimated_stands_beside_planted_on_blanks_that_both_have() -> None:
    columns = ["item_id", "filler", "satisfy", "score"]
    planted = pd.DataFrame(
        [("a", "m", 1.0, 1.5), ("b", "m", 0.0, 0.0), ("c", "m", 1.0, 2.0), ("d", "n", 1.0, 1.0)],
        columns=columns,
    )
    judged = pd.DataFrame(
        [("a", "m", 1.0, 1.5), ("b", "m", 1.0, 1.4), ("c", "m", math.nan, math.nan),
         ("d", "n", math.nan, math.nan)],
        columns=columns,
    )  # fmt: skip
    rows = blanks.against_truth(judged, planted).set_index("Filled by")
    assert rows.loc["m", "Blanks"] == 2
    assert rows.loc["m", "Satisfied, judged"] == 1.0
    assert rows.loc["m", "Satisfied, planted"] == 0.5
    assert rows.loc["m", "Score, judged"] == pytest.approx(1.45)
    assert rows.loc["m", "Score, planted"] == pytest.approx(0.75)
    assert rows.loc["m", "Judged right"] == 0.5
    assert rows.loc["n", "Blanks"] == 0
    assert math.isnan(rows.loc["n", "Judged right"])


def test_a_random_model_scores_far_below_the_author(tiny: LocalModel) -> None:
    found = cloze.fill(
        tiny, STORIES, filler="base", temperature=1.0, max_new_tokens=5, seed=1,
        before=blanks.opening,
    )  # fmt: skip
    fillings = [*cloze.by_author(STORIES), *found]
    readings = clozescores.read(tiny, STORIES, fillings, before=blanks.opening)
    verdicts = Planted(STORIES, fillings).ask(cloze.asked(STORIES, fillings, PANEL), PANEL)
    scored = clozescores.score(readings, verdicts, clozescores.reference(readings))
    rows = clozescores.as_rows(scored, n_boot=50).set_index("Filled by")
    assert rows.loc["author", "Satisfied"][0] == 1
    assert rows.loc["base", "Satisfied"][0] < 0.2
    assert rows.loc["base", "Without a score"] > 0
